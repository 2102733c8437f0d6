//! Judges packets by a policy.
//!
//! ```text
//!  Policy ──▶ CompiledPolicy                                      explain
//!               │  RuleTable   names and lines of the rules         ▲
//!               │  tries       address → class                      │ asks the same
//!               │  plans       class → what is left to ask          │ compiled policy
//!               │  functions   ports → verdict                      │
//!               ▼                                                   │
//!  packets ──▶ Judge ──▶ Verdict { action, reason, media, rule } ───┘
//!               memory: first fragments, flows to media ports
//! ```
//!
//! The order of the rules is the order of [`Reason`](crate::verdict::Reason). `class` explains why one lookup answers
//! every question about an address, `ports` how a port decides, `batch` why packets are judged in passes. `reference`
//! (feature `fuzzing`, and tests) is a slow model of the same verdicts, written like the specification; `agreement`
//! compares the two, and `leak` proves that no blocked datagram completes behind the filter in fragments. `kernel` is what
//! a policy forwards for certain, as tables that the kernel can look up; `reject` decides which drops are answered, `enforcement`
//! which are for real.

#[cfg(any(test, feature = "fuzzing"))]
pub mod agreement;
mod batch;
mod class;
mod compiled;
mod enforcement;
mod explain;
mod kernel;
#[cfg(any(test, feature = "fuzzing"))]
pub mod leak;
mod memory;
mod ports;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
mod reject;
mod rule;
#[cfg(any(test, feature = "fuzzing"))]
pub mod strategy;

pub use batch::Judge;
pub use compiled::{CompileError, CompiledPolicy, Generation};
pub use enforcement::is_enforced_for;
pub use explain::{Answer, End, Explanation, Membership, Question, Set};
pub use kernel::{KernelTables, TableRoom};
pub use memory::Capacity;
pub use reject::{rejectable, rejection_kind};
pub use rule::{Rule, RuleTable};
