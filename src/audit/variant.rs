//! [`Variant`]: a policy with another value of `media.match`.

use crate::filter::{Capacity, CompileError, CompiledPolicy, Judge};
use crate::packet::Received;
use crate::policy::MediaMatch;
use crate::verdict::Verdict;

/// Judges packets by the policy with another `media.match`.
#[derive(Debug)]
pub(super) struct Variant {
    policy: CompiledPolicy,
    judge: Judge,
}

impl Variant {
    /// The variant of `policy` that recognizes media by `recognition`.
    ///
    /// # Errors
    /// [`CompileError`] never, for a policy that was compiled before.
    pub(super) fn new(
        policy: &CompiledPolicy,
        recognition: MediaMatch,
    ) -> Result<Self, CompileError> {
        let mut variant = policy.policy().clone();
        variant.media.recognition = recognition;
        Ok(Self {
            policy: CompiledPolicy::new(variant, policy.generation())?,
            judge: Judge::new(Capacity::GATEWAY),
        })
    }

    /// The policy that it judges by.
    pub(super) fn policy(&self) -> &CompiledPolicy {
        &self.policy
    }

    /// The verdict on one packet.
    pub(super) fn judge(&mut self, packet: Received<'_>) -> Verdict {
        self.judge.judge_one(&self.policy, packet)
    }
}
