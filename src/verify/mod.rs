//! Checks that filter, routes and names agree: [`verify`].
//!
//! A policy has several outputs, and calls work only if they fit together: the addresses that clients resolve must lie
//! outside the pushed routes, hidden services must also be dropped, and nothing that a client needs may be blocked.
//!
//! ```text
//!  RoutePlan        what enters the tunnel ─┐
//!  CompiledPolicy   what is dropped there  ─┼─▶ Finding { code, what, where, which parts disagree, what to write }
//!  Zones            what clients resolve   ─┤
//!  EndpointRules    what clients block     ─┤
//!  predicted calls  which way they take    ─┘
//! ```
//!
//! The compiled policy is queried as for any packet, sets of addresses are compared exactly, and calls are predicted by
//! [`call`] in every family that clients have. So the checks also find the effects of unexpected rules, as calls that
//! take the tunnel or fail.
//!
//! The checks test the article's goals, not its means: a policy that allows Remote Desktop to jump hosts, or leaves
//! names to another DNS server, is correct. `docs/verify.md` lists the codes, each with the mistakes that
//! `tests/verify/` seeds.

pub mod against;
pub mod call;
mod collateral;
mod endpoints;
mod expect;
mod finding;
mod media;
mod names;
mod overlap;
mod parity;
pub mod probe;
mod reach;
mod stale;
mod subject;
#[cfg(test)]
mod tests;

pub use expect::{ActualOutcome, BrokenExpectation, broken_expectations};
pub use finding::{Finding, FindingCode, Part, Statement};

use crate::filter::CompiledPolicy;
use crate::plan::{RoutePlan, Zones};
use crate::policy::{Diagnostics, MediaMatch};
use subject::Subject;

/// Returns what routes and the filter do about calls in browsers.
///
/// Microsoft ("Overview: VPN split tunneling for Microsoft 365"): Edge 96 and later once its policy is enabled; "at this
/// time, other browsers may not support VPN split tunneling for peer-to-peer traffic".
pub const fn browsers(recognition: MediaMatch) -> &'static str {
    match recognition {
        MediaMatch::Ports | MediaMatch::Ice | MediaMatch::Media => {
            "calls in browsers: Edge follows the client's routes by its policy WebRtcRespectOsRoutingTableEnabled alone, \
             other browsers do not; the gateway's filter keeps their media off the tunnel"
        }
        MediaMatch::IceMicrosoft => {
            "calls in browsers: Edge follows the client's routes by its policy WebRtcRespectOsRoutingTableEnabled alone, \
             other browsers do not, and match = \"ice-microsoft\" lets their media pass; match = \"ice\" does not"
        }
    }
}

/// Returns the inconsistencies of a policy, the worst first.
///
/// `read` holds the diagnostics from reading the policy and its feeds, which include the age of feeds.
pub fn verify(
    policy: &CompiledPolicy,
    plan: &RoutePlan,
    zones: &Zones,
    read: &Diagnostics,
) -> Vec<Finding> {
    let subject = Subject::new(policy, plan, zones);
    let mut found = Vec::new();
    reach::check(&subject, &mut found);
    media::check(&subject, &mut found);
    names::check(&subject, &mut found);
    overlap::check(&subject, &mut found);
    parity::check(&subject, &mut found);
    stale::check(&subject, read, &mut found);
    collateral::check(&subject, &mut found);
    endpoints::check(&subject, &mut found);
    // A call that fails by one of these needs no second finding.
    reach::check_calls(&subject, &mut found);
    found.sort_by_key(|finding| {
        (
            finding.severity,
            finding.code,
            finding.lines.first().copied(),
        )
    });
    found
}
