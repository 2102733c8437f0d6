//! The worker loop: reads batches of packets from a backend and has them judged.

use super::backend::{Backend, BackendError, Judgement, Progress};
use crate::filter::{Capacity, CompiledPolicy, Judge};
use crate::packet::Received;
use crate::verdict::Verdict;

/// Has the packets of `backend` judged until it has no more.
///
/// # Errors
/// [`BackendError`] when packets cannot be received or handled.
pub fn run(backend: &mut impl Backend, judgement: &mut impl Judgement) -> Result<(), BackendError> {
    while backend.exchange(judgement)? == Progress::More {}
    Ok(())
}

/// Judgement by one policy: for captures, tests and benchmarks.
#[derive(Debug)]
pub struct ByPolicy<'a> {
    policy: &'a CompiledPolicy,
    judge: Judge,
}

impl<'a> ByPolicy<'a> {
    /// Creates a judgement by `policy` that remembers as many datagrams as a gateway does.
    pub fn new(policy: &'a CompiledPolicy) -> Self {
        Self {
            policy,
            judge: Judge::new(Capacity::GATEWAY),
        }
    }

    /// First fragments evicted before their lifetime ended, for lack of room.
    pub fn evicted_fragments(&self) -> u64 {
        self.judge.evicted_fragments()
    }
}

impl Judgement for ByPolicy<'_> {
    fn judge(&mut self, packets: &[Received<'_>], verdicts: &mut [Verdict]) {
        self.judge.judge(self.policy, packets, verdicts);
    }
}
