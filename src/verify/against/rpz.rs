//! Response policy zones: what they make of a query name, and where that is not all that they say.
//!
//! The owners of a policy zone are the names that it applies to, below the zone's own name; a CNAME to a reserved name is an
//! action. Triggers other than the query's name are noted, as they depend on the client or on the answers of others.

use std::rc::Rc;

use super::files::{Loader, Place};
use super::reply::{Asked, Reply};
use super::zone::{Found, Zone, child, replaced};
use crate::name::DnsName;

/// Outcome of a query in a policy zone.
#[expect(
    clippy::large_enum_variant,
    reason = "a value lives for one question, and names are not allocated"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing: later zones are asked.
    Miss,
    /// The query is answered as without policy zones.
    Pass,
    Reply(Reply),
    /// Another name has the answer.
    Alias(DnsName),
}

/// Override of a zone's matches by the server's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Override {
    /// As the zone says.
    #[default]
    Given,
    /// Matches are logged alone.
    Disabled,
    Decision(Decision),
    /// A local alias.
    Alias(DnsName),
}

/// A policy zone in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PolicyZone {
    pub(super) zone: Rc<Zone>,
    pub(super) override_: Override,
}

impl PolicyZone {
    /// Notes the triggers that are not read.
    pub(super) fn note_triggers(&self, place: &Place, loader: &Loader<'_>) {
        note_triggers(&self.zone, place, loader);
    }

    /// Returns what the zone makes of a query for a name.
    pub(super) fn decide(&self, name: &DnsName, asked: Asked) -> Decision {
        let found = replaced(name, &DnsName::ROOT, &self.zone.origin)
            .and_then(|owner| self.zone.policy(&owner, asked));
        let Some(found) = found else {
            return Decision::Miss;
        };
        match &self.override_ {
            Override::Given => given(name, found),
            Override::Disabled => Decision::Miss,
            Override::Decision(decision) => decision.clone(),
            Override::Alias(target) => aliased(name, *target),
        }
    }
}

fn given(name: &DnsName, found: Found) -> Decision {
    match found {
        Found::Alias(target) => aliased(name, target),
        // DNAME and NS have no meaning in policy zones: the name has no data of the type.
        Found::Delegated => Decision::Reply(Reply::NoData),
        Found::Reply(reply) => Decision::Reply(reply),
    }
}

/// Returns the action of a CNAME.
fn aliased(name: &DnsName, target: DnsName) -> Decision {
    let text = target.to_string();
    match text.as_str() {
        "." => Decision::Reply(Reply::NxDomain),
        "*" => Decision::Reply(Reply::NoData),
        "rpz-drop" => Decision::Reply(Reply::NoAnswer),
        // Asked again by TCP, the query is answered as without the zone.
        "rpz-passthru" | "rpz-tcp-only" => Decision::Pass,
        _ if target == *name => Decision::Pass,
        _ => match target.labels().next() {
            Some(b"*") => {
                let below = target
                    .parent()
                    .and_then(|it| replaced(name, &DnsName::ROOT, &it));
                below.map_or(Decision::Reply(Reply::NoAnswer), Decision::Alias)
            }
            Some(_) | None => Decision::Alias(target),
        },
    }
}

/// Notes triggers by client, address and name server, the first of each kind.
fn note_triggers(zone: &Zone, place: &Place, loader: &Loader<'_>) {
    for (label, why) in [
        (
            "rpz-client-ip",
            "triggers by the client's address are not read",
        ),
        (
            "rpz-ip",
            "triggers by the addresses of an answer are not read",
        ),
        ("rpz-nsdname", "triggers by name servers are not read"),
        ("rpz-nsip", "triggers by name servers are not read"),
    ] {
        let Some(branch) = child(label.as_bytes(), &zone.origin) else {
            continue;
        };
        if zone.owners().any(|owner| owner.is_below(&branch)) {
            loader.note(place, label, why);
        }
    }
}

/// Returns `true` if a zone has what only policy zones have, for one of `names` or in general.
pub(super) fn is_policy<'n>(zone: &Zone, names: impl Iterator<Item = &'n DnsName>) -> bool {
    let mut names = names;
    let has_actions = zone.owners().any(|owner| {
        let alias = zone.node(owner).and_then(|it| it.alias);
        alias.is_some_and(|it| {
            matches!(
                it.to_string().as_str(),
                "." | "*" | "rpz-drop" | "rpz-passthru" | "rpz-tcp-only"
            )
        })
    });
    let has_triggers = zone
        .owners()
        .any(|owner| owner.labels().any(|label| label.starts_with(b"rpz-")));
    has_actions
        || has_triggers
        || names.any(|name| {
            let owner = replaced(name, &DnsName::ROOT, &zone.origin);
            owner.is_some_and(|owner| zone.node(&owner).is_some())
        })
}
