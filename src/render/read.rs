//! [`ReadError`], and what the readers of all targets share.

use thiserror::Error;

/// A line of a file that has no meaning for its program, or another meaning than any policy asks for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {message}")]
pub struct ReadError {
    /// Line, from 1.
    pub line: usize,
    /// The problem, with the value.
    pub message: String,
}

impl ReadError {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
        }
    }
}

/// The lines of a text with their numbers, without what follows `comment` and without empty ones.
pub(crate) fn code_lines<'t>(
    text: &'t str,
    comment: &'t [char],
) -> impl Iterator<Item = (usize, &'t str)> {
    let numbered = text.lines().enumerate();
    let code = numbered.map(move |(index, line)| {
        let end = line.find(comment).unwrap_or(line.len());
        (index + 1, line[..end].trim())
    });
    code.filter(|(_, line)| !line.is_empty())
}
