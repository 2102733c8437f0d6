//! Names: what VPN clients resolve, for other DNS servers and for clients.
//!
//! ```text
//!               ┌─ pinned: its records, no data for other types ─┐
//!  Zones ──────▶│  hidden: no such name, nor any below it        │──▶ one file a target
//!               └─ empty: no data                                ┘
//! ```
//!
//! Each file says the same as [`Zones::answer`] as far as its program can; where it cannot, a comment of the file says
//! so. Names of a policy are letters, digits, `-`, `_` and dots, so none needs quoting.

pub mod bind;
pub mod dnsmasq;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
pub mod rpz;
pub(super) mod table;
pub mod unbound;
mod windows;
pub mod windows_dns;
pub mod windows_dns_policy;
pub mod windows_dnscmd;
pub mod windows_nrpt;
pub mod windows_nrpt_profilexml;

#[cfg(test)]
mod tests;

use super::{ReadError, ReadNames, RenderError, Rendered, Target};
use crate::name::record_type;
use crate::plan::Zones;
use crate::plan::zones::{Answer, Owner, Records, Treatment};
use crate::policy::Policy;

/// The targets of names, in the order of lists.
pub const TARGETS: &[&Target] = &[
    &unbound::TARGET,
    &bind::TARGET,
    &rpz::TARGET,
    &dnsmasq::TARGET,
    &windows_dnscmd::TARGET,
    &windows_dns::TARGET,
    &windows_dns_policy::TARGET,
    &windows_nrpt::TARGET,
    &windows_nrpt_profilexml::TARGET,
];

/// Writes the names of `policy`, if there is one that is pinned or hidden.
pub(super) fn render(
    policy: &Policy,
    write: fn(&Policy, &Zones) -> Result<Rendered, RenderError>,
) -> Result<Rendered, RenderError> {
    let zones = Zones::of(policy);
    // Canaries alone are no reason to put a DNS server between clients and theirs.
    if !zones.owners().iter().any(|it| match it.treatment {
        Treatment::Pinned(_) | Treatment::Hidden => true,
        Treatment::NoData(_) => false,
    }) {
        return Err(RenderError::NoNames);
    }
    write(policy, &zones)
}

/// How a file differs from what `policy` says of names, a line each; order and comments of the file do not matter.
pub(super) fn difference(
    reader: ReadNames,
    policy: &Policy,
    text: &str,
) -> Result<Vec<String>, ReadError> {
    let read = (reader.read)(text)?;
    let wanted = table::of(&Zones::of(policy), reader.lists_names_below);
    let mut lines = Vec::new();
    for (name, answer) in &wanted {
        match read.get(name) {
            Some(other) if other == answer => {}
            Some(other) => lines.push(format!("{name}: {other}, and should be: {answer}")),
            None => lines.push(format!("{name}: nothing, and should be: {answer}")),
        }
    }
    let surplus = read.iter().filter(|(name, _)| !wanted.contains_key(*name));
    lines.extend(
        surplus.map(|(name, answer)| format!("{name}: {answer}, and should be left alone")),
    );
    Ok(lines)
}

/// The answers that a server gives for an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape<'z> {
    /// These records; names below are forwarded.
    Pinned(&'z Records),
    /// No data; names below are forwarded.
    Empty,
    /// No such name, and none below it.
    Hidden,
    /// No data, because something is pinned below it; the rest below does not exist.
    HiddenBelow,
}

impl<'z> Shape<'z> {
    fn of(zones: &'z Zones, owner: &'z Owner) -> Self {
        match &owner.treatment {
            Treatment::Pinned(records) => Self::Pinned(records),
            Treatment::NoData(_) => Self::Empty,
            Treatment::Hidden => match zones.answer(&owner.name, record_type::ANY) {
                Answer::NoData { .. } => Self::HiddenBelow,
                Answer::Records { .. } | Answer::NxDomain { .. } | Answer::Forward => Self::Hidden,
            },
        }
    }
}

/// The lines at the head of a file: where it comes from, what it holds, and what to do with it.
fn head(comment: &str, policy: &Policy, zones: &Zones, advice: &[&str]) -> String {
    // The name of a file may have any character.
    let origin: String = policy
        .origin
        .chars()
        .map(|char| if char.is_control() { '?' } else { char })
        .collect();
    let count = |is: fn(&Treatment) -> bool| {
        let owners = zones.owners().iter();
        owners.filter(|owner| is(&owner.treatment)).count()
    };
    let pinned = count(|it| matches!(it, Treatment::Pinned(_)));
    let hidden = count(|it| matches!(it, Treatment::Hidden));
    let canaries = count(|it| matches!(it, Treatment::NoData(_)));
    let mut text = format!(
        "{comment} Written by offramp from {origin}; changes here are lost.\n\
         {comment} names: {pinned} pinned, {hidden} hidden, {canaries} without data\n"
    );
    for line in advice {
        text.push_str(&format!("{comment} {line}\n"));
    }
    text
}

/// The lines of the policy that ask for an owner, as the comment above it.
fn because(owner: &Owner) -> String {
    let sources = owner.sources.iter().map(|source| match source.line {
        0 => source.kind.to_string(),
        line => format!("{}, line {line}", source.kind),
    });
    sources.collect::<Vec<_>>().join("; ")
}
