//! [`Diagnostic`]: one mistake or doubt about a policy file, with the places that it is about.

use std::fmt;
use std::ops::Range;

use super::code::{Code, Severity};

/// A place in the text that a diagnostic points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub(in crate::policy) span: Range<usize>,
    pub(in crate::policy) line: u32,
    pub(in crate::policy) column: u32,
    pub(in crate::policy) text: String,
}

impl Label {
    /// Bytes of the text, without a byte order mark.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Line, counted from 1.
    pub const fn line(&self) -> u32 {
        self.line
    }

    /// Column in characters, counted from 1.
    pub const fn column(&self) -> u32 {
        self.column
    }

    /// Text beside the underline; may be empty.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// One mistake or doubt about a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub(in crate::policy) severity: Severity,
    pub(in crate::policy) code: Code,
    pub(in crate::policy) message: String,
    pub(in crate::policy) labels: Vec<Label>,
    pub(in crate::policy) help: Vec<String>,
}

impl Diagnostic {
    pub(in crate::policy) fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    pub(in crate::policy) fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    pub(super) fn new(severity: Severity, code: Code, message: String) -> Self {
        Self {
            severity,
            code,
            message,
            labels: Vec::new(),
            help: Vec::new(),
        }
    }

    pub(in crate::policy) fn with_label(mut self, label: Label) -> Self {
        self.labels.push(label);
        self
    }

    pub(in crate::policy) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Error or warning.
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// Its kind.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The mistake, with the value, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The places it is about, the main one first; none when it is about the whole file.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Advice on what to write; each entry may have several lines.
    pub fn help(&self) -> &[String] {
        &self.help
    }

    /// Line of the main place, counted from 1.
    pub fn line(&self) -> u32 {
        self.labels.first().map_or(1, Label::line)
    }

    /// Column of the main place in characters, counted from 1.
    pub fn column(&self) -> u32 {
        self.labels.first().map_or(1, Label::column)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.severity, self.message)
    }
}
