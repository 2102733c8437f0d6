//! [`Trial`]: enforcement for a limited time, which ends unless an operator keeps it.
//!
//! ```text
//!           begin                keep
//!  None ───────────▶ Running ───────────▶ Kept      enforced, until the process ends
//!   │ the file        │ enforced  time is over, or end
//!   │ alone counts    └─────────────────▶ Over      enforced for nobody, whatever the file says
//! ```
//!
//! An operator who has cut himself off cannot say that he has: so enforcement ends by itself, and what keeps it is a command
//! that takes a working connection. A reload changes nothing about it. The state is not kept on disk: after a restart the file alone
//! counts, unless the command line begins another trial.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::lifecycle::Gateway;
use crate::gateway::divert::Divert;
use crate::gateway::report::status::{TrialState, TrialStatus};
use crate::policy::{Enforcement, EnforcementOff};

/// Enforcement for a limited time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Trial {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    None,
    Running {
        until: Instant,
        /// True once the approaching end was announced.
        is_announced: bool,
    },
    Kept,
    Over,
}

/// Event of a trial that comes with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The end is this near.
    Near(Duration),
    /// The end.
    Over,
}

impl Trial {
    /// Begins a trial, or has a running one end later or earlier.
    pub(super) fn begin(&mut self, now: Instant, duration: Duration) {
        self.state = State::Running {
            until: now + duration,
            // The beginning of a short one is announced, which is enough.
            is_announced: duration <= ANNOUNCED_BEFORE,
        };
    }

    /// Has enforcement go on beyond the end of the trial; `false` if none is running and none was.
    pub(super) fn keep(&mut self) -> bool {
        let is_known = self.state != State::None;
        if is_known {
            self.state = State::Kept;
        }
        is_known
    }

    /// Ends enforcement at once; `false` if there is no trial, running or kept.
    pub(super) fn end(&mut self) -> bool {
        let is_known = self.state != State::None;
        if is_known {
            self.state = State::Over;
        }
        is_known
    }

    /// Returns the time of the next event; `None` if nothing will happen by itself.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.state {
            State::Running {
                until,
                is_announced: false,
            } => Some(until.checked_sub(ANNOUNCED_BEFORE).unwrap_or(until)),
            State::Running { until, .. } => Some(until),
            State::None | State::Kept | State::Over => None,
        }
    }

    /// Waits for the next event; without one, forever. Cancel-safe.
    pub(super) async fn due(&self) {
        match self.next() {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Takes note of the time, and returns what it has brought.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Due> {
        let State::Running {
            until,
            is_announced,
        } = &mut self.state
        else {
            return None;
        };
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            self.state = State::Over;
            return Some(Due::Over);
        }
        if *is_announced || left > ANNOUNCED_BEFORE {
            return None;
        }
        *is_announced = true;
        Some(Due::Near(left))
    }

    /// Returns the enforcement that is in force, where the policy file asks for `file`. A pilot stays one.
    pub(super) fn effect(&self, file: &Enforcement) -> Enforcement {
        let off = match self.state {
            State::None => file.off,
            State::Running { .. } | State::Kept => None,
            State::Over => Some(EnforcementOff::TrialOver),
        };
        Enforcement {
            off,
            pilot: file.pilot.clone(),
        }
    }

    /// Describes it; `None` if there is and was no trial. `file` is what the policy file asks for.
    pub(super) fn status(&self, now: Instant, file: &Enforcement) -> Option<TrialStatus> {
        let (state, left) = match self.state {
            State::None => return None,
            State::Running { until, .. } => {
                let left = rounded(until.saturating_duration_since(now));
                (TrialState::Running, Some(left.as_secs()))
            }
            State::Kept => (TrialState::Kept, None),
            State::Over => (TrialState::Over, None),
        };
        Some(TrialStatus {
            state,
            seconds_left: left,
            file_enforces: file.off.is_none(),
        })
    }
}

impl<D: Divert> Gateway<D> {
    /// Begins a trial.
    pub(super) fn begin_trial(&mut self, duration: Duration) {
        self.trial.begin(Instant::now(), duration);
        self.apply_enforcement();
        warn!("{}", beginning(duration));
        self.report_ready();
    }

    /// Has enforcement go on beyond the end of the trial.
    pub(super) fn keep_trial(&mut self) {
        if self.trial.keep() {
            self.apply_enforcement();
            info!("the policy stays enforced until offramp ends: `offramp keep` was said");
            let current = self.published.current();
            if current.policy().policy().gateway.enforcement.off.is_some() {
                warn!(
                    "{} says `enforce = false`, and that counts at the next start: take the line out",
                    self.name
                );
            }
            self.report_ready();
        }
    }

    /// Ends enforcement at once.
    pub(super) fn end_trial(&mut self) {
        if self.trial.end() {
            self.apply_enforcement();
            warn!("the trial was ended: from now on the policy is not enforced");
            self.warn_of_gap();
            self.report_ready();
        }
    }

    /// Does what the time of the trial asks for.
    pub(super) fn advance_trial(&mut self) {
        match self.trial.advance(Instant::now()) {
            None => {}
            Some(Due::Near(left)) => warn!(
                "the trial ends in {}: `offramp keep` keeps the policy enforced",
                humantime::format_duration(rounded(left))
            ),
            Some(Due::Over) => {
                self.apply_enforcement();
                warn!(
                    "the trial has ended, and nobody said `offramp keep`: from now on the policy is not enforced"
                );
                self.warn_of_gap();
                self.report_ready();
            }
        }
    }

    /// Has the policy in force take effect as the trial asks for.
    fn apply_enforcement(&mut self) {
        let current = self.published.current();
        let policy = current.policy().policy();
        let enforcement = self.trial.effect(&policy.gateway.enforcement);
        if let Some(dns) = &self.dns {
            dns.publish(policy, &enforcement, &self.queries);
        }
        self.published.enforce(enforcement);
        self.offer_routes();
    }
}

/// Says that a trial of `duration` has begun.
pub(super) fn beginning(duration: Duration) -> String {
    format!(
        "the policy is enforced for {}, and then no longer, unless `offramp keep` is said",
        humantime::format_duration(duration)
    )
}

/// To whole seconds, up: what is left of one counts.
fn rounded(left: Duration) -> Duration {
    Duration::from_secs(left.as_secs_f64().ceil() as u64)
}

/// The time before the end of a trial at which it is announced: enough to log in and say `offramp keep`.
const ANNOUNCED_BEFORE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const FILE_OFF: Enforcement = Enforcement {
        off: Some(EnforcementOff::File),
        pilot: Vec::new(),
    };
    const FILE_ON: Enforcement = Enforcement {
        off: None,
        pilot: Vec::new(),
    };
    const TEN_MINUTES: Duration = Duration::from_secs(600);

    #[test]
    fn a_trial_is_announced_a_minute_before_it_ends_and_then_ends() {
        let start = Instant::now();
        let mut trial = Trial::default();
        assert_eq!(trial.next(), None);
        assert_eq!(trial.effect(&FILE_OFF), FILE_OFF);

        trial.begin(start, TEN_MINUTES);
        assert_eq!(trial.effect(&FILE_OFF), FILE_ON);
        let nine = Duration::from_secs(540);
        assert_eq!(trial.next(), Some(start + nine));
        let early = start + nine - Duration::from_millis(1);
        assert_eq!(trial.advance(early), None);
        let near = Some(Due::Near(Duration::from_secs(60)));
        assert_eq!(trial.advance(start + nine), near);
        assert_eq!(trial.advance(start + nine), None, "it is announced once");
        assert_eq!(trial.next(), Some(start + TEN_MINUTES));
        assert_eq!(trial.effect(&FILE_OFF), FILE_ON);
        assert_eq!(trial.advance(start + TEN_MINUTES), Some(Due::Over));
        assert_eq!(trial.next(), None);
        for file in [FILE_ON, FILE_OFF] {
            let effect = trial.effect(&file);
            assert_eq!(
                effect.off,
                Some(EnforcementOff::TrialOver),
                "whatever the file says"
            );
        }
    }

    #[test]
    fn a_trial_that_is_kept_does_not_end_and_one_that_is_over_can_still_be_kept() {
        let start = Instant::now();
        let mut trial = Trial::default();
        assert!(!trial.keep(), "there is nothing to keep");
        assert!(!trial.end());
        trial.begin(start, TEN_MINUTES);
        assert!(trial.keep());
        assert_eq!(trial.advance(start + 2 * TEN_MINUTES), None);
        assert_eq!(trial.effect(&FILE_OFF), FILE_ON);
        assert!(trial.end());
        assert_eq!(trial.effect(&FILE_ON).off, Some(EnforcementOff::TrialOver));
        assert!(trial.keep());
        assert_eq!(trial.effect(&FILE_OFF), FILE_ON);
    }

    #[test]
    fn another_trial_replaces_the_end_of_the_first() {
        let start = Instant::now();
        let mut trial = Trial::default();
        trial.begin(start, TEN_MINUTES);
        trial.begin(start, Duration::from_secs(5));
        assert_eq!(trial.next(), Some(start + Duration::from_secs(5)));
        let status = trial.status(start, &FILE_OFF).expect("a trial");
        assert_eq!(
            (status.seconds_left, status.file_enforces),
            (Some(5), false)
        );
        assert_eq!(
            trial.advance(start + Duration::from_secs(5)),
            Some(Due::Over)
        );
    }
}
