//! [`Shared`]: the state of pushes that the task writes and the control thread reads.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::content::{Known, add_servers};
use crate::policy::{Policy, PushTarget};

/// A target of `routes.push`, and the last push to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushStatus {
    /// As the policy has it.
    pub target: String,
    /// Its state.
    pub state: PushState,
    /// The time of the last push, or of the last attempt: RFC 3339, in UTC; `null` if there was none since the start.
    pub time: Option<String>,
    /// Generation of the policy whose routes the last successful push had; `null` if there was none since the start.
    pub generation: Option<u64>,
    /// The result of the last push, why it failed, or why none is made, in words.
    pub result: String,
    /// Successful pushes since the start.
    pub pushed: u64,
    /// Failed ones.
    pub failed: u64,
}

/// The state of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PushState {
    /// It had the routes already, so nothing was pushed since the start.
    Unchanged,
    /// It has the routes of the policy, by a push.
    Pushed,
    /// Routes wait for the time of their push.
    Waiting,
    /// Routes have changed, and are not pushed for as long as the policy is not enforced for everybody.
    Held,
    /// The last push failed: it has older routes.
    Failed,
}

impl PushStatus {
    fn new(target: &PushTarget) -> Self {
        Self {
            target: target.to_string(),
            state: PushState::Unchanged,
            time: None,
            generation: None,
            result: UNCHANGED.to_owned(),
            pushed: 0,
            failed: 0,
        }
    }

    /// Sets the state, with its reason.
    pub(super) fn set(&mut self, state: PushState, result: &str) {
        self.state = state;
        result.clone_into(&mut self.result);
    }

    /// Takes note that nothing is to be pushed: what waited or failed before is over.
    pub(super) fn set_unchanged(&mut self) {
        match self.state {
            PushState::Unchanged | PushState::Pushed => {}
            PushState::Waiting | PushState::Held | PushState::Failed => {
                self.set(PushState::Unchanged, UNCHANGED);
            }
        }
    }

    /// Takes note of a push of the routes of `generation` at `at`.
    pub(super) fn note(&mut self, at: SystemTime, generation: u64, result: Result<&str, &str>) {
        let at = at.max(SystemTime::UNIX_EPOCH);
        self.time = Some(humantime::format_rfc3339_seconds(at).to_string());
        match result {
            Ok(words) => {
                self.generation = Some(generation);
                self.pushed += 1;
                self.set(PushState::Pushed, words);
            }
            Err(why) => {
                self.failed += 1;
                self.set(PushState::Failed, why);
            }
        }
    }
}

const UNCHANGED: &str = "the routes are those that it has";

/// The state of pushes.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of the policy.
    statuses: Vec<PushStatus>,
    known: Known,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The targets, with the last push to each.
    pub(super) fn statuses(&self) -> Vec<PushStatus> {
        self.lock().statuses.clone()
    }

    /// The routes that the clients of OpenVPN servers have, as options.
    pub(super) fn known(&self) -> Known {
        self.lock().known.clone()
    }

    /// Takes note of the routes that the clients of an OpenVPN server have.
    pub(super) fn know(&self, target: &PushTarget, options: String) {
        self.lock().known.insert(target.clone(), options);
    }

    /// Takes on the targets of `policy`; others are forgotten. Clients of servers that are new have the routes of `before`.
    pub(super) fn follow(&self, policy: &Policy, before: &Policy) {
        let targets = || policy.routes.push.iter().map(|it| &it.value);
        let mut known = self.known();
        known.retain(|target, _| targets().any(|it| it == target));
        add_servers(&mut known, policy, before);
        let mut state = self.lock();
        state.known = known;
        let before = std::mem::take(&mut state.statuses);
        for target in targets() {
            let name = target.to_string();
            if state.statuses.iter().any(|it| it.target == name) {
                continue;
            }
            let status = before.iter().find(|it| it.target == name).cloned();
            state
                .statuses
                .push(status.unwrap_or_else(|| PushStatus::new(target)));
        }
    }

    /// Changes the status of a target.
    pub(super) fn change(&self, target: &PushTarget, change: impl FnOnce(&mut PushStatus)) {
        let name = target.to_string();
        let mut state = self.lock();
        if let Some(status) = state.statuses.iter_mut().find(|it| it.target == name) {
            change(status);
        }
    }
}
