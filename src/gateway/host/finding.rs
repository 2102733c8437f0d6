//! [`Finding`]: a condition of the host that hinders the gateway, and the change that solves it.

use crate::policy::Severity;

/// A condition of the host that hinders the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// An error keeps the gateway from starting: it would lose traffic, or judge none. After a warning it works in part.
    pub severity: Severity,
    /// The problem.
    pub what: String,
    /// The change that solves it.
    pub advice: String,
}

impl Finding {
    /// Creates a finding that keeps the gateway from starting.
    pub fn error(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            what: what.into(),
            advice: advice.into(),
        }
    }

    /// Creates a finding that does not keep the gateway from starting.
    pub fn warning(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(what, advice)
        }
    }
}
