//! Limits of targets: the size of a file as its program counts, and ways to a smaller one.

use std::fmt;

use super::{Form, Options, RenderError, Rendered, Target, measures};
use crate::plan::{RoutePlan, Source, SourceKind};
use crate::policy::TunnelMode;

/// A unit in which the size of a file is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Prefixes of both families.
    Entries,
    /// Prefixes of IPv4.
    V4Entries,
    /// Prefixes of IPv6.
    V6Entries,
    /// Prefixes of both families that are kept out of the tunnel.
    Exclusions,
    /// Bytes that the program hands on: of one DHCP option, or of one command.
    Bytes,
}

impl fmt::Display for Measure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Entries => "entries",
            Self::V4Entries => "IPv4 entries",
            Self::V6Entries => "IPv6 entries",
            Self::Exclusions => "exclusions",
            Self::Bytes => "bytes",
        })
    }
}

/// The size of a file, as its program counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measures {
    /// Prefixes of IPv4.
    pub v4_entries: usize,
    /// Prefixes of IPv6.
    pub v6_entries: usize,
    /// Prefixes that are kept out of the tunnel, where the program counts them by themselves; they are entries, too.
    pub exclusions: usize,
    /// Bytes of what the program hands on, where it has a limit.
    pub bytes: usize,
    /// Messages in which the program hands it on, where it cuts it.
    pub messages: Option<usize>,
    /// Rules of a firewall, as the file has them.
    pub rules: usize,
}

impl Measures {
    /// The count of one measure.
    pub const fn of(&self, measure: Measure) -> usize {
        match measure {
            Measure::Entries => self.v4_entries + self.v6_entries,
            Measure::V4Entries => self.v4_entries,
            Measure::V6Entries => self.v6_entries,
            Measure::Exclusions => self.exclusions,
            Measure::Bytes => self.bytes,
        }
    }
}

/// A limit of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The unit.
    pub measure: Measure,
    /// The largest count that is taken.
    pub most: usize,
    /// A larger count is refused; otherwise it earns a warning.
    pub is_strict: bool,
    /// The program or standard that sets the limit.
    pub whose: &'static str,
}

/// Refuses what is past a strict limit, and warns of the others.
pub(super) fn check(
    target: &'static Target,
    plan: &RoutePlan,
    options: &Options,
    rendered: &mut Rendered,
) -> Result<(), RenderError> {
    for limit in target.limits {
        let count = rendered.measures.of(limit.measure);
        if count <= limit.most {
            continue;
        }
        let shrink = shrink(target, plan, options, rendered.form, limit);
        let over = RenderError::OverBudget {
            target,
            measure: limit.measure,
            count,
            most: limit.most,
            whose: limit.whose,
            shrink,
        };
        if limit.is_strict {
            return Err(over);
        }
        rendered.warnings.push(over.to_string());
    }
    Ok(())
}

/// Names the change that would bring it below the limit.
fn shrink(
    target: &'static Target,
    plan: &RoutePlan,
    options: &Options,
    form: Option<Form>,
    limit: &Limit,
) -> String {
    let mut ways = Vec::new();
    if let Some(other) = form.map(Form::other) {
        let options = Options {
            form: Some(other),
            ..options.clone()
        };
        let counted = measures(target, plan, &options).map(|it| it.of(limit.measure));
        if let Ok(count) = counted
            && count <= limit.most
        {
            ways.push(format!("--form {other} has {count}"));
        }
    }
    if plan.mode == TunnelMode::Full && limit.measure != Measure::Bytes {
        ways.push(format!(
            "--widen-to {} takes wider prefixes out of the tunnel, and lists what that adds",
            limit.most
        ));
    }
    let groups = groups(plan);
    if let Some(largest) = groups.first() {
        // Wider exclusions are offered above; they need no other list.
        if plan.mode == TunnelMode::Split || limit.measure == Measure::Bytes {
            ways.push(largest.advice());
        }
        let shown = groups.iter().take(GROUPS_SHOWN);
        let shown: Vec<String> = shown.map(ToString::to_string).collect();
        let role = match plan.mode {
            TunnelMode::Full => "kept outside the tunnel:",
            TunnelMode::Split => "entries come from",
        };
        ways.insert(0, format!("{role} {}", shown.join(", ")));
    }
    match ways.is_empty() {
        true => String::new(),
        false => format!("; {}", ways.join("; ")),
    }
}

/// Prefixes of a plan that come from one list of the policy.
#[derive(Debug)]
struct Group {
    list: PolicyList,
    prefixes: usize,
}

/// A list of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PolicyList {
    Clients,
    Corporate,
    Dns,
    Gateways,
    Public(String),
    Feed(String),
}

impl PolicyList {
    fn of(kind: &SourceKind) -> Self {
        match kind {
            SourceKind::Clients => Self::Clients,
            SourceKind::Corporate => Self::Corporate,
            SourceKind::PinPointDns | SourceKind::DnsServer => Self::Dns,
            SourceKind::Gateway => Self::Gateways,
            SourceKind::Public(name) => Self::Public(name.clone()),
            SourceKind::Feed(name, _) => Self::Feed(name.clone()),
        }
    }
}

impl Group {
    fn advice(&self) -> String {
        match &self.list {
            PolicyList::Clients => "write fewer, wider client subnets".to_owned(),
            PolicyList::Corporate => "write fewer, wider corporate subnets".to_owned(),
            PolicyList::Dns => "write fewer DNS servers".to_owned(),
            PolicyList::Gateways => "write fewer gateways".to_owned(),
            PolicyList::Public(name) => {
                format!("write fewer or wider addresses of [[public]] \"{name}\"")
            }
            PolicyList::Feed(name) => {
                format!("take fewer service areas or categories of feed \"{name}\"")
            }
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (noun, list) = match &self.list {
            PolicyList::Clients => ("client subnet", String::new()),
            PolicyList::Corporate => ("corporate subnet", String::new()),
            PolicyList::Dns => ("DNS server", String::new()),
            PolicyList::Gateways => ("gateway", String::new()),
            PolicyList::Public(name) => ("prefix", format!(" of [[public]] \"{name}\"")),
            PolicyList::Feed(name) => ("prefix", format!(" of feed \"{name}\"")),
        };
        let ending = match (self.prefixes, noun) {
            (1, _) => "",
            (_, "prefix") => "es",
            _ => "s",
        };
        write!(out, "{} {noun}{ending}{list}", self.prefixes)
    }
}

/// The lists that decide the entries of `plan`, the largest first: in a full tunnel those of what is kept outside.
fn groups(plan: &RoutePlan) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let counts = |source: &Source| match plan.mode {
        TunnelMode::Full => source.kind.is_public(),
        TunnelMode::Split => !source.kind.is_public() || plan.base.overlaps(source.prefix),
    };
    for source in plan.sources.iter().filter(|it| counts(it)) {
        let list = PolicyList::of(&source.kind);
        match groups.iter_mut().find(|group| group.list == list) {
            Some(group) => group.prefixes += 1,
            None => groups.push(Group { list, prefixes: 1 }),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.prefixes));
    groups
}

/// Lists that a message has.
const GROUPS_SHOWN: usize = 3;
