//! [`Lists`]: a plan as the prefixes that a target lists, each with its origin.

use std::collections::HashSet;

use ipnet::IpNet;

use crate::address::PrefixSet;
use crate::plan::{PlannedPrefix, RoutePlan};
use crate::policy::TunnelMode;
use crate::render::{Form, Measures, Options, RenderError, Target};

/// Prefixes that a target lists.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists {
    pub(super) includes: Vec<Line>,
    pub(super) excludes: Vec<Line>,
}

/// A prefix, and where it comes from.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) prefix: IpNet,
    /// In words, one line of text; empty where there is nothing to say.
    pub(super) origin: String,
}

/// The party that keeps the VPN gateway's own address out of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gateways {
    /// The VPN client, by a route of its own.
    LeftToClient,
    /// The list, by a hole.
    Carved,
}

impl Lists {
    /// The lists of `plan`, IPv4 and IPv6 each in its form.
    pub(super) fn of(plan: &RoutePlan, v4: Form, v6: Form, gateways: Gateways) -> Self {
        let mut lists = Self::default();
        for (form, is_v6) in [(v4, false), (v6, true)] {
            match form {
                Form::Include => {
                    let included = match gateways {
                        Gateways::Carved => plan.tunnel.clone(),
                        Gateways::LeftToClient => plan.included_but_gateways(),
                    };
                    // What is left of everything came from nowhere.
                    if included == plan.tunnel && plan.mode == TunnelMode::Split {
                        lists.includes.extend(lines(plan, &plan.includes, is_v6));
                    } else {
                        lists.includes.extend(bare(&included, is_v6));
                    }
                }
                Form::Exclude => {
                    let mut includes = bare(&plan.base, is_v6);
                    let mut excludes = lines(plan, &plan.excludes, is_v6);
                    without_pairs(&mut includes, &mut excludes);
                    lists.includes.extend(includes);
                    lists.excludes.extend(excludes);
                }
            }
        }
        lists
    }

    /// The exclude form for programs that include everything by a word of its own: a family that is excluded whole is
    /// excluded in halves, which are more specific than that word.
    pub(super) fn out_of_everything(plan: &RoutePlan) -> Self {
        let mut lists = Self::default();
        for is_v6 in [false, true] {
            lists.includes.extend(bare(&plan.base, is_v6));
            let excludes = lines(plan, &plan.excludes, is_v6);
            lists.excludes.extend(excludes.iter().flat_map(halves));
        }
        lists
    }

    /// The lists with an include of a whole family as its halves, for programs that would take the whole for both
    /// families, or for a default route. A half that is excluded is in neither list.
    pub(super) fn in_halves(mut self) -> Self {
        self.includes = self.includes.iter().flat_map(halves).collect();
        without_pairs(&mut self.includes, &mut self.excludes);
        self
    }

    /// Returns `true` if a half of a family is excluded from the whole of it.
    pub(super) fn exclude_half_of_v4(&self) -> bool {
        let mut v4 = self.excludes.iter().map(|line| line.prefix);
        v4.any(|prefix| prefix.addr().is_ipv4() && prefix.prefix_len() == 1)
    }

    /// Every line.
    pub(super) fn all(&self) -> impl Iterator<Item = &Line> {
        self.includes.iter().chain(&self.excludes)
    }
}

/// The entries of one family as lines.
fn lines(plan: &RoutePlan, entries: &[PlannedPrefix], is_v6: bool) -> Vec<Line> {
    let entries = entries
        .iter()
        .filter(|it| it.prefix.addr().is_ipv6() == is_v6);
    // A comment stands above all entries that it is about.
    let mut said = String::new();
    let line = |entry: &PlannedPrefix| {
        let mut origin = origin(plan, entry);
        if origin == said {
            origin.clear();
        } else {
            said.clone_from(&origin);
        }
        Line {
            prefix: entry.prefix,
            origin,
        }
    };
    entries.map(line).collect()
}

/// A line of a whole family as the lines of its halves; any other as it is.
fn halves(line: &Line) -> Vec<Line> {
    let half = |prefix, origin: &str| Line {
        prefix,
        origin: origin.to_owned(),
    };
    match (line.prefix.prefix_len(), line.prefix.subnets(1)) {
        (0, Ok(halves)) => halves
            .zip([line.origin.as_str(), ""])
            .map(|(prefix, origin)| half(prefix, origin))
            .collect(),
        _ => vec![line.clone()],
    }
}

/// Takes a prefix that is both included and excluded out of both lists: it does not enter the tunnel, and of two routes
/// to one prefix a client keeps either.
fn without_pairs(includes: &mut Vec<Line>, excludes: &mut Vec<Line>) {
    let included: HashSet<IpNet> = includes.iter().map(|line| line.prefix).collect();
    let pairs: HashSet<IpNet> = excludes
        .iter()
        .map(|line| line.prefix)
        .filter(|prefix| included.contains(prefix))
        .collect();
    for list in [includes, excludes] {
        list.retain(|line| !pairs.contains(&line.prefix));
    }
}

/// The form for programs that list either what enters the tunnel or what is taken out of everything.
pub(super) fn form_out_of_everything(
    target: &'static Target,
    plan: &RoutePlan,
    options: &Options,
) -> Result<Form, RenderError> {
    match (plan.mode, options.form) {
        (TunnelMode::Split, Some(Form::Exclude)) => Err(RenderError::NoSuchForm {
            target,
            form: Form::Exclude,
            why: "its exclusions are taken out of everything, and this tunnel is split",
        }),
        (TunnelMode::Split, Some(Form::Include) | None) => Ok(Form::Include),
        (TunnelMode::Full, form) => Ok(form.unwrap_or(Form::Exclude)),
    }
}

/// How many prefixes of each family the lines have.
pub(super) fn measures<'l>(lines: impl IntoIterator<Item = &'l Line>) -> Measures {
    let mut measures = Measures::default();
    for line in lines {
        match line.prefix {
            IpNet::V4(_) => measures.v4_entries += 1,
            IpNet::V6(_) => measures.v6_entries += 1,
        }
    }
    measures
}

fn bare(set: &PrefixSet, is_v6: bool) -> Vec<Line> {
    let half = if is_v6 { set.only_v6() } else { set.only_v4() };
    let line = |prefix| Line {
        prefix,
        origin: String::new(),
    };
    half.prefixes().map(line).collect()
}

/// The sources of an entry, each name once, the first few.
fn origin(plan: &RoutePlan, entry: &PlannedPrefix) -> String {
    // One entry may be made of thousands.
    let mut said = HashSet::new();
    let sources = entry.sources.iter().filter_map(|&at| plan.sources.get(at));
    let names = sources.map(|source| format!("{} (line {})", source.kind, source.line));
    let mut names: Vec<String> = names.filter(|name| said.insert(name.clone())).collect();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let mut text = names.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// The two lines at the head of a file: what it is, and what it says.
pub(super) fn head(plan: &RoutePlan, what: &str) -> [String; 2] {
    let mode = match plan.mode {
        TunnelMode::Split => "split tunnel",
        TunnelMode::Full => "full tunnel",
    };
    // The name of a file may have any character.
    let origin: String = plan
        .origin
        .chars()
        .map(|char| if char.is_control() { '?' } else { char })
        .collect();
    [
        format!("{MARK}{origin}; changes here are lost."),
        format!("{mode}: {what}"),
    ]
}

/// Begins the first comment of every file of routes.
pub const MARK: &str = "Written by offramp from ";
/// Sources that a comment names.
const SHOWN: usize = 3;
