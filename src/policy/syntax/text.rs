//! [`SourceText`]: the bytes of a policy file as text, with its lines.
//!
//! Everything that can be wrong with a file before it is TOML is found here: size, encoding, NUL bytes. A byte order
//! mark is taken off; line ends may be LF or CRLF.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use crate::policy::diagnostic::{Code, Diagnostic, Label};

/// Largest policy file taken, in bytes.
///
/// A policy of a million prefixes is about 25 MB; a file far above that is something else (a capture, a disk image), and
/// reading it would cost several times its size in memory.
pub const MAX_FILE_SIZE: usize = 64 << 20;

const _: () = assert!(
    MAX_FILE_SIZE < u32::MAX as usize,
    "lines and columns are u32"
);

/// Wrong bytes shown one by one; a file with more is in another encoding, and one message says so.
const MAX_ENCODING_ERRORS: usize = 16;

/// The text of a policy file and where its lines begin.
#[derive(Debug)]
pub(in crate::policy) struct SourceText<'a> {
    text: Cow<'a, str>,
    line_starts: Vec<u32>,
    readable: bool,
    /// Line found last: values are read in file order, so the next one is near.
    last_line: Cell<usize>,
}

impl<'a> SourceText<'a> {
    /// Text of `bytes` and what is wrong with its encoding; where it is unreadable as a whole, the text is empty.
    pub(in crate::policy) fn new(bytes: &'a [u8]) -> (Self, Vec<Diagnostic>) {
        if let Some(problem) = unreadable(bytes) {
            let mut text = Self::of(Cow::Borrowed(""));
            text.readable = false;
            return (text, vec![problem]);
        }
        let (mark, body) = match bytes.strip_prefix(BYTE_ORDER_MARK) {
            Some(body) => (BYTE_ORDER_MARK.len(), body),
            None => (0, bytes),
        };
        let mut text = match std::str::from_utf8(body) {
            Ok(text) => Self::of(Cow::Borrowed(text)),
            Err(_) => Self::of(String::from_utf8_lossy(body)),
        };
        let mut problems = text.encoding_errors(body, mark);
        if let Some(at) = body.iter().position(|&byte| byte == 0) {
            problems.push(text.nul_error(body, at, mark));
            text.readable = false;
        }
        (text, problems)
    }

    fn of(text: Cow<'a, str>) -> Self {
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        // MAX_FILE_SIZE bounds every offset; replacement characters at most triple a text.
        let starts = newlines.map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX));
        let line_starts = std::iter::once(0).chain(starts).collect();
        Self {
            text,
            line_starts,
            readable: true,
            last_line: Cell::new(0),
        }
    }

    /// Returns `true` if it is worth parsing: text, but for a few wrong bytes.
    pub(in crate::policy) const fn is_readable(&self) -> bool {
        self.readable
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

    fn encoding_errors(&mut self, body: &[u8], mark: usize) -> Vec<Diagnostic> {
        let mut problems: Vec<Diagnostic> = Vec::new();
        let mut raw_offset = 0;
        let mut text_offset = 0;
        for chunk in body.utf8_chunks() {
            raw_offset += chunk.valid().len();
            text_offset += chunk.valid().len();
            let invalid = chunk.invalid();
            let Some(first) = invalid.first() else {
                continue;
            };
            if problems.len() == MAX_ENCODING_ERRORS {
                self.readable = false;
                problems.truncate(1);
                problems[0].message = format!(
                    "the file is not UTF-8: more than {MAX_ENCODING_ERRORS} wrong bytes, the first at byte {}",
                    problems[0]
                        .labels
                        .first()
                        .map_or(0, |label| label.span.start)
                        + mark,
                );
                return problems;
            }
            let replacement = text_offset..text_offset + char::REPLACEMENT_CHARACTER.len_utf8();
            let label = self.label(replacement, "not UTF-8");
            let message = format!(
                "byte 0x{first:02x} at offset {} (line {}) is not UTF-8",
                raw_offset + mark,
                label.line,
            );
            problems.push(
                Diagnostic::error(Code::NotUtf8, message)
                    .with_label(label)
                    .with_help("save the file as UTF-8, or write the text in ASCII"),
            );
            raw_offset += invalid.len();
            text_offset += char::REPLACEMENT_CHARACTER.len_utf8();
        }
        problems
    }

    fn nul_error(&self, body: &[u8], at: usize, mark: usize) -> Diagnostic {
        // Valid text before the byte keeps its offset; after a replacement the first NUL of the text is the same one.
        let span_start = self.text.find('\0').unwrap_or(0);
        let label = self.label(span_start..span_start + 1, "NUL byte");
        let count = body.iter().filter(|&&byte| byte == 0).count();
        let message = format!(
            "NUL byte at offset {} (line {}), {count} in all: the file is damaged or not text",
            at + mark,
            label.line,
        );
        Diagnostic::error(Code::NulByte, message)
            .with_label(label)
            .with_help(
                "restore the file from its source; a write that was cut short leaves such bytes",
            )
    }
}

/// Describes why `bytes` are no text at all.
fn unreadable(bytes: &[u8]) -> Option<Diagnostic> {
    if bytes.len() > MAX_FILE_SIZE {
        let message = format!(
            "the file has {} bytes; a policy has at most {MAX_FILE_SIZE}",
            bytes.len(),
        );
        let problem = Diagnostic::error(Code::FileTooLarge, message);
        return Some(
            problem
                .with_help("check that the path names a policy; long lists belong in a [[feed]]"),
        );
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let problem = Diagnostic::error(Code::NotUtf8, "the file is UTF-16, not UTF-8");
        return Some(problem.with_help("save it as UTF-8 (in Notepad: Save as, Encoding, UTF-8)"));
    }
    None
}

/// U+FEFF in UTF-8, which some Windows editors write first.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
