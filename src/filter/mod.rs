//! Policy and packet to verdict.

#[cfg(any(test, feature = "fuzzing"))]
pub mod agreement;
mod batch;
mod class;
mod compiled;
#[cfg(any(test, feature = "fuzzing"))]
pub mod leak;
mod ports;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
mod rule;
#[cfg(any(test, feature = "fuzzing"))]
pub mod strategy;
mod verdict;

pub use batch::Judge;
pub use compiled::{CompileError, CompiledPolicy, Generation};
pub use rule::{Rule, RuleKind, RuleTable};
pub use verdict::{Action, Reason, RuleId, Verdict};
