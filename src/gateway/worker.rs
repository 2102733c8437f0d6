//! The worker: the loop that judges what a backend brings.

use super::backend::{Backend, BackendError, Progress};
use crate::filter::{CompiledPolicy, Judge};

/// Judges the packets of `backend` by `policy` until it has no more.
///
/// # Errors
/// [`BackendError`] when packets cannot be received or dealt with.
pub fn run(
    backend: &mut impl Backend,
    policy: &CompiledPolicy,
    judge: &mut Judge,
) -> Result<(), BackendError> {
    while backend.exchange(|packets, verdicts| judge.judge(policy, packets, verdicts))?
        == Progress::More
    {}
    Ok(())
}
