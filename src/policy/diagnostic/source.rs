//! [`SourceText`]: the text of a policy file, and where its lines begin.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use super::item::Label;

/// The text of a policy file and where its lines begin.
#[derive(Debug)]
pub(in crate::policy) struct SourceText<'a> {
    text: Cow<'a, str>,
    line_starts: Vec<u32>,
    /// Line found last: values are read in file order, so the next one is near.
    last_line: Cell<usize>,
}

impl<'a> SourceText<'a> {
    /// A text whose lines are known.
    pub(in crate::policy) fn new(text: Cow<'a, str>) -> Self {
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        // The largest file taken bounds every offset; replacement characters at most triple a text.
        let starts = newlines.map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX));
        let line_starts = std::iter::once(0).chain(starts).collect();
        Self {
            text,
            line_starts,
            last_line: Cell::new(0),
        }
    }

    /// The whole text.
    pub(in crate::policy) fn as_str(&self) -> &str {
        &self.text
    }

    /// Line of the byte at `offset`, counted from 1.
    pub(in crate::policy) fn line(&self, offset: usize) -> u32 {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let hint = self.last_line.get();
        let near = self.line_starts[hint..]
            .iter()
            .take(4)
            .take_while(|&&start| start <= offset)
            .count();
        let index = if (1..4).contains(&near) {
            hint + near - 1
        } else {
            self.line_starts.partition_point(|&start| start <= offset) - 1
        };
        self.last_line.set(index);
        u32::try_from(index + 1).unwrap_or(u32::MAX)
    }

    /// A label for `span`, clipped to the text and to whole characters.
    pub(in crate::policy) fn label(&self, span: Range<usize>, text: impl Into<String>) -> Label {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.ceil_char_boundary(span.end.max(start));
        let line = self.line(start);
        let line_start = self.line_starts[line as usize - 1] as usize;
        let column = self.text[line_start..start].chars().count() + 1;
        Label {
            span: start..end,
            line,
            column: u32::try_from(column).unwrap_or(u32::MAX),
            text: text.into(),
        }
    }
}
