//! Checks for outdated public prefixes: old feeds, and withdrawn prefixes written by hand.

use super::subject::Subject;
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
            Code::PrefixWithdrawn => (
                Finding::warning(FindingCode::Stale, diagnostic.message()),
                "Microsoft has withdrawn it: its addresses are kept outside the tunnel, whoever has them",
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
}
