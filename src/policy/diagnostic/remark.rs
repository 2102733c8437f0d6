//! [`Remark`]: a diagnostic by a later stage, which knows lines but not the text.

use super::code::{Code, Severity};

/// Something to say about a policy by who knows its meaning alone: lines instead of spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    pub(super) severity: Severity,
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) lines: Vec<u32>,
    pub(super) help: Option<String>,
}

impl Remark {
    /// Something that forbids to act on the policy.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    /// Something that somebody should look at.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    const fn new(severity: Severity, code: Code, message: String) -> Self {
        Self {
            severity,
            code,
            message,
            lines: Vec::new(),
            help: None,
        }
    }

    /// The same, about a line of the policy file too.
    #[must_use]
    pub fn at(mut self, line: u32) -> Self {
        self.lines.push(line);
        self
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same as something to look at, for who does not act on it.
    #[must_use]
    pub const fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Returns `true` if it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Its kind.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The mistake, with the value, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The lines of the policy file that it is about.
    pub fn lines(&self) -> &[u32] {
        &self.lines
    }
}
