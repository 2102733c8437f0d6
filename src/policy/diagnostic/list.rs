//! [`Diagnostics`]: all that is to be said about one policy file.

use std::error::Error;
use std::fmt;

use super::code::Severity;
use super::item::{Diagnostic, Label};
use super::remark::Remark;

/// Most diagnostics kept of one file; what is beyond is counted.
///
/// A list of a million wrong prefixes has one cause, and nobody reads ten thousand messages.
pub const MAX_DIAGNOSTICS: usize = 10_000;

/// Diagnostics of one policy file, in file order; errors before warnings at one place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics {
    pub(in crate::policy) origin: String,
    pub(in crate::policy) source: String,
    pub(in crate::policy) items: Vec<Diagnostic>,
    pub(in crate::policy) omitted: usize,
    pub(in crate::policy) accepted: Vec<AcceptedWarning>,
}

/// A warning that the policy accepts (`[[accept]]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedWarning {
    /// The warning.
    pub item: Diagnostic,
    /// The operator's reason.
    pub reason: String,
    /// The line that accepts it.
    pub by_line: u32,
}

impl Diagnostics {
    /// Name of the file.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The text that the labels' spans point into: the file without a byte order mark, wrong bytes replaced by U+FFFD.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All of them, in file order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// How many are kept; see [`MAX_DIAGNOSTICS`].
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns `true` if the file earned nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The warnings that the policy accepts, once they were set apart; none of them is among the others.
    pub fn accepted(&self) -> &[AcceptedWarning] {
        &self.accepted
    }

    /// How many there were beyond [`MAX_DIAGNOSTICS`].
    pub const fn omitted(&self) -> usize {
        self.omitted
    }

    /// The same file without what it earned so far, for a stage that has nothing to do with the rest.
    #[must_use]
    pub fn cleared(mut self) -> Self {
        self.items.clear();
        self.omitted = 0;
        self
    }

    /// Adds what a later stage says, with the lines it is about underlined, and puts it in its place.
    pub fn remark(&mut self, remark: &Remark) {
        if self.items.len() >= MAX_DIAGNOSTICS {
            self.omitted += 1;
            return;
        }
        let mut item = Diagnostic::new(remark.severity, remark.code, remark.message.clone());
        item.labels = remark
            .lines
            .iter()
            .filter_map(|&line| self.line_label(line))
            .collect();
        item.help.extend(remark.help.clone());
        let start = |item: &Diagnostic| {
            let first = item.labels.first();
            (first.map_or(0, |label| label.span.start), item.severity)
        };
        let at = self
            .items
            .partition_point(|other| start(other) <= start(&item));
        self.items.insert(at, item);
    }

    /// A label that underlines `line`, without its indent and its comment; none for a line that is not there.
    fn line_label(&self, line: u32) -> Option<Label> {
        let wanted = usize::try_from(line).ok()?.checked_sub(1)?;
        let mut from = 0;
        let mut lines = self.source.split_inclusive('\n');
        for before in lines.by_ref().take(wanted) {
            from += before.len();
        }
        let text = lines.next()?;
        let indent = text.len() - text.trim_start().len();
        let code = match text.find(" #") {
            Some(comment) if !text[..comment].trim().is_empty() => &text[..comment],
            Some(_) | None => text,
        };
        let code = code.trim();
        // A machine-made line may be megabytes long.
        let length = code.floor_char_boundary(code.len().min(MAX_UNDERLINED));
        let start = from + indent;
        Some(Label {
            span: start..start + length,
            line,
            column: u32::try_from(text[..indent].chars().count()).ok()? + 1,
            text: String::new(),
        })
    }

    /// How many kept ones have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|item| item.severity == severity).count()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One line each, `origin:line:column: severity: message`, for logs; [`Diagnostics::render`] has the pictures.
impl fmt::Display for Diagnostics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            let (line, column) = (item.line(), item.column());
            write!(out, "{}:{line}:{column}: {item}", self.origin)?;
        }
        if self.omitted > 0 {
            write!(out, "\n{}: and {} more", self.origin, self.omitted)?;
        }
        Ok(())
    }
}

impl Error for Diagnostics {}

/// Bytes of a line that a remark underlines.
const MAX_UNDERLINED: usize = 120;
