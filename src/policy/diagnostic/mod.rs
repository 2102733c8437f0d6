//! [`Diagnostic`]: one mistake or doubt about a policy file, and [`Diagnostics`]: all of them.
//!
//! Plain data with accessors, so that a program can print them as JSON; [`Diagnostics::render`] writes them for people.

mod code;
mod collector;
#[cfg(feature = "snippets")]
mod drawing;
mod item;
#[cfg(any(test, not(feature = "snippets")))]
mod lines;
mod list;
mod remark;
mod report;
mod source;

pub use code::{Code, Severity};
pub(in crate::policy) use collector::Collector;
pub use item::{Diagnostic, Label};
pub use list::{AcceptedWarning, Diagnostics, MAX_DIAGNOSTICS};
pub use remark::Remark;
pub use report::Style;
pub(in crate::policy) use source::SourceText;
