//! Limits of targets: the size of a file as its program counts, and ways to a smaller one.

use std::fmt;

use super::{Form, Options, RenderError, Rendered, Target, measures};
use crate::plan::RoutePlan;
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
    if plan.mode == TunnelMode::Split && limit.measure != Measure::Bytes {
        ways.push("write fewer, wider corporate subnets".to_owned());
    }
    if ways.is_empty() {
        ways.push("take fewer services, or categories of a feed, out of the tunnel".to_owned());
    }
    format!("; {}", ways.join("; "))
}
