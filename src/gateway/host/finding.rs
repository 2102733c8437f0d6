//! [`Finding`]: a condition of the host that stands in the gateway's way, and what to change.

/// A condition of the host that stands in the gateway's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub what: String,
    /// What to change.
    pub advice: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The gateway works, but not for everything.
    Warning,
    /// The gateway would lose traffic, or judge none.
    Error,
}

impl Finding {
    /// A finding that keeps the gateway from starting.
    pub fn error(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            what: what.into(),
            advice: advice.into(),
        }
    }

    /// A finding that the gateway starts in spite of.
    pub fn warning(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(what, advice)
        }
    }
}
