//! [`Sourced`]: a value and the line that it was written on.

/// A value and the line of the policy file that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Line of the policy file, counted from 1; 0 where the file leaves the value to its default.
    pub line: u32,
}

impl<T> Sourced<T> {
    /// The same place, with what `change` makes of the value.
    pub(in crate::policy) fn map<U>(self, change: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced {
            value: change(self.value),
            line: self.line,
        }
    }
}
