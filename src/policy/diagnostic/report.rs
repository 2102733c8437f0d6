//! All [`Diagnostics`] of a file for people, drawn where feature `snippets` is on, else as lines.

use std::fmt::Write as _;

use super::code::Severity;
#[cfg(feature = "snippets")]
use super::drawing as form;
#[cfg(not(feature = "snippets"))]
use super::lines as form;
use super::list::Diagnostics;

/// Style of a report: plain, or with terminal colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// Text alone: for files, logs and tests.
    Plain,
    /// ANSI colors: for terminals. Without feature `snippets` there are none.
    Colored,
}

impl Diagnostics {
    /// Renders all of them, and a last line that counts them; empty when there are none.
    ///
    /// Each is drawn with its lines of the file. Without feature `snippets` it has its place, `origin:line:column`, instead.
    pub fn render(&self, style: Style) -> String {
        let mut out = String::new();
        for item in self {
            form::write(&mut out, self, item, style);
        }
        if !self.is_empty() {
            self.write_summary(&mut out);
        }
        out
    }

    fn write_summary(&self, out: &mut String) {
        let errors = self.count(Severity::Error);
        let warnings = self.count(Severity::Warning);
        let parts = [plural(errors, "error"), plural(warnings, "warning")];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        // Writing to a String cannot fail.
        let _ = write!(out, "{}: {}", self.origin, parts.join(", "));
        if self.omitted > 0 {
            let _ = write!(out, ", and {} more that are not shown", self.omitted);
        }
        out.push('\n');
    }
}

fn plural(count: usize, word: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{count} {word}s")),
    }
}
