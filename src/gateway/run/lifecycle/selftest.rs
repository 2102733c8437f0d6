//! [`SelfTests`]: the outcome of the last self-test, and when another is due.

use std::time::{Duration, Instant};

use tracing::{error, info};

use super::Gateway;
use crate::gateway::divert::{Divert, SelfTestOutcome};
use crate::gateway::report::status::SelfTestStatus;
use crate::verify::probe::{self_test, thorough_self_test};

/// The number of packets that a self-test sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway::run) enum Extent {
    /// One that the filter must forward and one that it must drop.
    Brief,
    /// One that it must drop for each prefix.
    Thorough,
}

/// The self-tests of a gateway.
#[derive(Debug, Default)]
pub(super) struct SelfTests {
    /// The outcome of the last one; `None` without one, and where the diversion has no way to make one.
    last: Option<SelfTestStatus>,
    made: Option<Instant>,
    /// True if a thorough one has failed: only such a one can pass.
    are_thorough: bool,
}

impl SelfTests {
    /// The outcome of the last one.
    pub(super) fn last(&self) -> Option<&SelfTestStatus> {
        self.last.as_ref()
    }

    /// True if the last one has failed.
    pub(super) fn have_failed(&self) -> bool {
        self.last.as_ref().is_some_and(|it| !it.failures.is_empty())
    }

    /// Forgets the last one: it tells nothing of a gateway that is bypassed.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// True if another is to be made: `pause` after one that passed, at once after any other.
    pub(super) fn are_due(&self, pause: Duration) -> bool {
        let has_passed = self.last.is_some() && !self.have_failed();
        !has_passed || self.made.is_none_or(|at| at.elapsed() >= pause)
    }

    /// Takes note of one, and logs it if it differs from the one before.
    fn note(&mut self, extent: Extent, outcome: Option<SelfTestOutcome>) {
        let failed_before = self.have_failed();
        let before = self.last.take().unwrap_or_default();
        let Some(SelfTestOutcome { failures, untested }) = outcome else {
            return;
        };
        match (&failures[..], failed_before) {
            ([], true) => info!("the self-test passes again"),
            ([], false) | ([_, ..], true) => {}
            ([first, rest @ ..], false) => {
                let more = match rest.len() {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                };
                error!(
                    "the self-test failed: {first}{more}; traffic may not be judged as the policy says"
                );
            }
        }
        if untested != before.untested && !untested.is_empty() {
            info!("the self-test leaves out: {}", untested.join("; "));
        }
        self.are_thorough = extent == Extent::Thorough && !failures.is_empty();
        self.last = Some(SelfTestStatus { failures, untested });
    }
}

impl<D: Divert> Gateway<D> {
    /// Follows packets of its own through the diversion and the filter.
    pub(in crate::gateway::run) async fn test_itself(&mut self, extent: Extent) {
        self.self_tests.made = Some(Instant::now());
        let extent = match self.self_tests.are_thorough {
            true => Extent::Thorough,
            false => extent,
        };
        let current = self.published.current();
        let packets = match extent {
            Extent::Brief => self_test(current.policy()),
            Extent::Thorough => thorough_self_test(current.policy()),
        };
        let outcome = self.divert.self_test(&packets).await;
        self.self_tests.note(extent, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(60);

    fn outcome(failures: &[&str]) -> Option<SelfTestOutcome> {
        Some(SelfTestOutcome {
            failures: failures.iter().map(ToString::to_string).collect(),
            untested: Vec::new(),
        })
    }

    #[test]
    fn one_that_failed_is_made_again_at_once_and_one_that_passed_after_a_pause() {
        let mut tests = SelfTests::default();
        assert!(tests.are_due(PAUSE));
        tests.made = Some(Instant::now());
        tests.note(Extent::Brief, outcome(&["lost"]));
        assert!(tests.have_failed() && tests.are_due(PAUSE));
        tests.note(Extent::Brief, outcome(&[]));
        assert!(!tests.have_failed() && !tests.are_due(PAUSE));
        assert!(tests.are_due(Duration::ZERO));
        tests.note(Extent::Brief, None);
        assert!(tests.last().is_none() && tests.are_due(PAUSE));
    }

    #[test]
    fn after_a_thorough_one_that_failed_all_are_thorough_until_one_passes() {
        let mut tests = SelfTests::default();
        tests.note(Extent::Thorough, outcome(&["lost"]));
        assert!(tests.are_thorough);
        tests.note(Extent::Thorough, outcome(&[]));
        assert!(!tests.are_thorough);
        tests.note(Extent::Brief, outcome(&["lost"]));
        assert!(!tests.are_thorough);
    }
}
