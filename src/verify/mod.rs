//! Whether filter, routes and names agree: [`verify`].
//!
//! A policy has several outlets, and calls work only where they fit together. What a client resolves must lie outside of
//! what is pushed, what is hidden must be dropped, too, and nothing that a client needs may be cut off:
//!
//! ```text
//!  RoutePlan        what enters the tunnel ─┐
//!  CompiledPolicy   what is dropped there  ─┼─▶ Finding { code, what, where, which parts disagree, what to write }
//!  Zones            what clients resolve   ─┤
//!  predicted calls  which way they take    ─┘
//! ```
//!
//! The compiled policy is asked as for any packet, sets of addresses are compared exactly, and calls are predicted by
//! [`call`] in every family that clients have. So a rule that nobody thought of is still found, as a call
//! that takes the tunnel or none at all.
//!
//! What counts is what the article wants, not how it is reached: a policy that lets Remote Desktop to jump hosts, or
//! leaves names to another DNS server, is in order. `docs/verify.md` has the codes, each with the mistakes that
//! `tests/verify/` seeds.

pub mod against;
pub mod call;
mod collateral;
mod expect;
mod finding;
mod media;
mod names;
mod overlap;
mod parity;
mod reach;
mod stale;
mod subject;
#[cfg(test)]
mod tests;

pub use expect::{BrokenExpectation, Happens, broken_expectations};
pub use finding::{Finding, FindingCode, Part, Reason};

use crate::filter::CompiledPolicy;
use crate::plan::{RoutePlan, Zones};
use crate::policy::Diagnostics;
use subject::Subject;

/// What does not fit together in a policy, the worst first.
///
/// `read` is what reading the policy and its feeds has earned: how old feeds are is known there.
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
