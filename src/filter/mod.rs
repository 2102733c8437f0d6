//! Policy and packet to verdict.

mod rule;
mod verdict;

pub use rule::{Rule, RuleKind, RuleTable};
pub use verdict::{Action, Reason, RuleId, Verdict};
