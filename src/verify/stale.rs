//! Checks for outdated public prefixes: old feeds, and withdrawn prefixes written by hand.

use ipnet::IpNet;

use super::subject::{Subject, bare};
use super::{Finding, FindingCode, Part};
use crate::policy::{Code, Diagnostics};
use crate::verify::call::relay;

pub(super) fn check(subject: &Subject<'_>, read: &Diagnostics, found: &mut Vec<Finding>) {
    for diagnostic in read {
        let (finding, part) = match diagnostic.code() {
            Code::FeedOld => (
                Finding::warning(FindingCode::Stale, diagnostic.message()),
                "its prefixes may have changed since",
            ),
            Code::FeedWithdrawn => (
                Finding::warning(FindingCode::Stale, diagnostic.message()),
                "the publisher has taken it back: it may be anybody's",
            ),
            // If the policy also names a service by hand, calls have a relay without the feed.
            Code::FeedNotLoaded if relay(subject.policy).is_none() => (
                Finding::error(FindingCode::Stale, diagnostic.message()),
                "nothing of it is known: what it would exclude enters a full tunnel",
            ),
            _ => continue,
        };
        found.push(
            finding
                .at(diagnostic.line())
                .because(Part::Feeds, part)
                .remedy(diagnostic.help().first().map_or("", String::as_str)),
        );
    }
    withdrawn_long_ago(subject, found);
}

/// Reports Microsoft 365 prefixes that many guides still list, and that Microsoft has withdrawn.
fn withdrawn_long_ago(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    for public in &subject.policy.publics {
        for prefix in &public.addresses {
            let old = WITHDRAWN
                .iter()
                .find(|(text, _)| text.parse::<IpNet>().is_ok_and(|old| old == prefix.value));
            let Some((_, instead)) = old else {
                continue;
            };
            let what = format!(
                "{} of \"{}\" is not of Microsoft 365 any more",
                bare(prefix.value),
                public.name.value
            );
            found.push(
                Finding::warning(FindingCode::Stale, what)
                    .at(prefix.line)
                    .because(
                        Part::Feeds,
                        "it was withdrawn from the endpoints for Teams' media (id 11)",
                    )
                    .because(
                        Part::Routes,
                        "its addresses are kept outside the tunnel, whoever has them",
                    )
                    .remedy(*instead),
            );
        }
    }
}

/// From the change log of the endpoints; each with its replacement.
const WITHDRAWN: [(&str, &str); 2] = [
    (
        "13.107.64.0/18",
        "take it out; a [[feed]] of the format microsoft-365 keeps Teams' prefixes current",
    ),
    (
        "52.120.0.0/14",
        "write 52.122.0.0/15, or a [[feed]] of the format microsoft-365",
    ),
];
