//! Policy and packet to verdict.

mod batch;
mod class;
mod compiled;
mod ports;
mod rule;
mod verdict;

pub use batch::Judge;
pub use compiled::{CompileError, CompiledPolicy, Generation};
pub use rule::{Rule, RuleKind, RuleTable};
pub use verdict::{Action, Reason, RuleId, Verdict};
