//! [`NameChange`]: the names that clients get another answer for.

use std::fmt;

use crate::name::{DnsName, record_type};
use crate::plan::zones::{Owner, Treatment};
use crate::plan::{Answer, Zones};
use crate::policy::Policy;

/// A name that clients get another answer for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameChange {
    /// The name.
    pub name: DnsName,
    /// The answer before: `pinned to 192.0.2.1`, `hidden`, `no data` or `forwarded`.
    pub before: String,
    /// The answer after.
    pub after: String,
}

/// Writes `sip.contoso.com: forwarded becomes pinned to 192.0.2.1`.
impl fmt::Display for NameChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            before,
            after,
        } = self;
        write!(out, "{name}: {before} becomes {after}")
    }
}

/// Returns the names that differ, in alphabetical order.
pub(super) fn changes(before: &Policy, after: &Policy) -> Vec<NameChange> {
    let (old, new) = (Zones::of(before), Zones::of(after));
    let mut names: Vec<&DnsName> = old
        .owners()
        .iter()
        .chain(new.owners())
        .map(|it| &it.name)
        .collect();
    names.sort_by_key(|name| name.to_string());
    names.dedup();
    let changes = names.into_iter().map(|name| NameChange {
        name: *name,
        before: treatment(&old, name),
        after: treatment(&new, name),
    });
    changes.filter(|it| it.before != it.after).collect()
}

/// Describes what clients get for `name` itself.
fn treatment(zones: &Zones, name: &DnsName) -> String {
    let own = zones.find(name);
    match own.map(|Owner { treatment, .. }| treatment) {
        Some(Treatment::Pinned(records)) => {
            let v4 = records.ipv4.iter().map(ToString::to_string);
            let v6 = records.ipv6.iter().map(ToString::to_string);
            let srv = records.srv.iter().map(ToString::to_string);
            let data: Vec<String> = v4.chain(v6).chain(srv).collect();
            format!("pinned to {}", data.join(", "))
        }
        Some(Treatment::Hidden) => "hidden".to_owned(),
        Some(Treatment::NoData(_)) => "no data".to_owned(),
        // It may lie below a hidden one.
        None => match zones.answer(name, record_type::A) {
            Answer::NxDomain { owner } => format!("hidden with {}", owner.name),
            Answer::Records { .. } | Answer::NoData { .. } | Answer::Forward => {
                "forwarded".to_owned()
            }
        },
    }
}
