//! The names of a policy, in the words of other DNS servers and of clients.
//!
//! ```text
//!               ┌─ pinned: its records, no data for other types ─┐
//!  Zones ──────▶│  hidden: no such name, nor any below it        │──▶ one file a target
//!               └─ empty: no data                                ┘
//! ```
//!
//! Each file says the same as [`Zones::answer`] as far as its program can; where it cannot, the file says so in a
//! comment. Names of a policy are letters, digits, `-`, `_` and dots, so none needs quoting.

mod dnsmasq;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
mod rpz;
mod said;
mod target;
mod unbound;
mod windows;

#[cfg(test)]
mod tests;

use thiserror::Error;

pub use target::NameTarget;

use crate::name::record_type;
use crate::plan::Zones;
use crate::plan::zones::{Answer, Owner, Records, Treatment};
use crate::policy::Policy;
use crate::render::ReadError;

/// The names of a policy in the words of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesFile {
    /// The file.
    pub text: String,
    /// What there is to say about it.
    pub warnings: Vec<String>,
}

/// Why names cannot be written for a target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NamesError {
    /// There is nothing to say.
    #[error(
        "the policy pins and hides no name: it has no hosts with addresses, no srv, no sip_domains"
    )]
    NoNames,
    /// Clients are sent to a DNS server that the policy does not name.
    #[error(
        "{target} sends clients to the pin-point DNS server, at port 53: write its address into `dns.listen`"
    )]
    NoResolver {
        /// The target.
        target: NameTarget,
    },
    /// No room for the name below the policy zone's.
    #[error(
        "{target} cannot say {name}: with the name of the policy zone behind it, it is longer than 255 bytes"
    )]
    TooLong {
        /// The target.
        target: NameTarget,
        /// The name.
        name: String,
    },
}

/// Writes the names of `policy` for `target`.
///
/// # Errors
/// [`NamesError`] where there are none, or the target cannot say them.
pub fn render_names(target: NameTarget, policy: &Policy) -> Result<NamesFile, NamesError> {
    let zones = Zones::of(policy);
    // Canaries alone are no reason to put a DNS server between clients and theirs.
    if !zones.owners().iter().any(|it| match it.treatment {
        Treatment::Pinned(_) | Treatment::Hidden => true,
        Treatment::NoData(_) => false,
    }) {
        return Err(NamesError::NoNames);
    }
    match target {
        NameTarget::Unbound => Ok(unbound::write(policy, &zones)),
        NameTarget::Bind => Ok(rpz::write_view(policy, &zones)),
        NameTarget::Rpz => rpz::write_zone(policy, &zones),
        NameTarget::Dnsmasq => Ok(dnsmasq::write(policy, &zones)),
        NameTarget::WindowsDnscmd => Ok(windows::write_dnscmd(policy, &zones)),
        NameTarget::WindowsDns => Ok(windows::write_zones(policy, &zones)),
        NameTarget::WindowsDnsPolicy => Ok(windows::write_policies(policy, &zones)),
        NameTarget::WindowsNrpt => windows::write_nrpt(policy, &zones),
    }
}

/// How a file for `target` differs from what `policy` says of names, a line each; lines and comments of the file do not
/// matter. `None` for targets whose files are not read: they act once, and are not there to be compared.
///
/// # Errors
/// [`ReadError`] at the first line of the file that says something in another way.
pub fn names_difference(
    target: NameTarget,
    policy: &Policy,
    text: &str,
) -> Option<Result<Vec<String>, ReadError>> {
    let read = match said::read(target, text)? {
        Ok(read) => read,
        Err(error) => return Some(Err(error)),
    };
    let wanted = said::of(target, &Zones::of(policy));
    let mut lines = Vec::new();
    for (name, saying) in &wanted {
        match read.get(name) {
            Some(other) if other == saying => {}
            Some(other) => lines.push(format!("{name}: {other}, and should be: {saying}")),
            None => lines.push(format!("{name}: nothing, and should be: {saying}")),
        }
    }
    let surplus = read.iter().filter(|(name, _)| !wanted.contains_key(*name));
    lines.extend(
        surplus.map(|(name, saying)| format!("{name}: {saying}, and should be left alone")),
    );
    Some(Ok(lines))
}

/// What a server is told about an owner.
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

/// What asks for an owner, as the comment above it.
fn because(owner: &Owner) -> String {
    let sources = owner.sources.iter().map(|source| match source.line {
        0 => source.kind.to_string(),
        line => format!("{}, line {line}", source.kind),
    });
    sources.collect::<Vec<_>>().join("; ")
}
