//! Checks for outdated public prefixes: old feeds, and withdrawn prefixes written by hand.

use super::subject::{Subject, bare};
use super::{Finding, FindingCode, Part};
use crate::feed::withdrawn_long_ago;
use crate::policy::{Code, Diagnostics, Feed, FeedFormat};
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
    // A feed that has been read has told of these prefixes already.
    let has_told = |it: &Feed| it.format == FeedFormat::Microsoft365 && it.prefixes.is_some();
    if !subject.policy.feeds.iter().any(has_told) {
        withdrawn_by_hand(subject, found);
    }
}

/// Reports Microsoft 365 prefixes that many guides still list, and that Microsoft has withdrawn.
fn withdrawn_by_hand(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    for public in &subject.policy.publics {
        for prefix in &public.addresses {
            let Some(row) = withdrawn_long_ago(prefix.value) else {
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
                    .because(Part::Feeds, row.was)
                    .because(
                        Part::Routes,
                        "its addresses are kept outside the tunnel, whoever has them",
                    )
                    .remedy(row.instead),
            );
        }
    }
}
