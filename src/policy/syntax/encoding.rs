//! [`decode`]: the bytes of a policy file as text.
//!
//! Everything that can be wrong with a file before it is TOML is found here: size, encoding, NUL bytes. A byte order
//! mark is taken off; line ends may be LF or CRLF.

use std::borrow::Cow;

use crate::policy::diagnostic::{Code, Diagnostic, SourceText};

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

/// A file as text, and what is wrong with its bytes.
#[derive(Debug)]
pub(in crate::policy) struct Decoded<'a> {
    /// The text; empty where the file is none.
    pub(in crate::policy) text: SourceText<'a>,
    /// Wrong bytes, each with its place.
    pub(in crate::policy) problems: Vec<Diagnostic>,
    /// Worth parsing: text, but for a few wrong bytes.
    pub(in crate::policy) is_readable: bool,
}

/// Reads `bytes` as text.
pub(in crate::policy) fn decode(bytes: &[u8]) -> Decoded<'_> {
    if let Some(problem) = unreadable(bytes) {
        return Decoded {
            text: SourceText::new(Cow::Borrowed("")),
            problems: vec![problem],
            is_readable: false,
        };
    }
    let (mark, body) = match bytes.strip_prefix(BYTE_ORDER_MARK) {
        Some(body) => (BYTE_ORDER_MARK.len(), body),
        None => (0, bytes),
    };
    let text = SourceText::new(String::from_utf8_lossy(body));
    let (mut problems, mut is_readable) = encoding_errors(&text, body, mark);
    if let Some(at) = body.iter().position(|&byte| byte == 0) {
        problems.push(nul_error(&text, body, at, mark));
        is_readable = false;
    }
    Decoded {
        text,
        problems,
        is_readable,
    }
}

/// The bytes of `body` that are not UTF-8, each where `text` has its replacement. Beyond [`MAX_ENCODING_ERRORS`] the file
/// is not readable, and one message says so.
fn encoding_errors(text: &SourceText<'_>, body: &[u8], mark: usize) -> (Vec<Diagnostic>, bool) {
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
            problems.truncate(1);
            problems[0].message = format!(
                "the file is not UTF-8: more than {MAX_ENCODING_ERRORS} wrong bytes, the first at byte {}",
                problems[0]
                    .labels
                    .first()
                    .map_or(0, |label| label.span.start)
                    + mark,
            );
            return (problems, false);
        }
        let replacement = text_offset..text_offset + char::REPLACEMENT_CHARACTER.len_utf8();
        let label = text.label(replacement, "not UTF-8");
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
    (problems, true)
}

fn nul_error(text: &SourceText<'_>, body: &[u8], at: usize, mark: usize) -> Diagnostic {
    // Valid text before the byte keeps its offset; after a replacement the first NUL of the text is the same one.
    let span_start = text.as_str().find('\0').unwrap_or(0);
    let label = text.label(span_start..span_start + 1, "NUL byte");
    let count = body.iter().filter(|&&byte| byte == 0).count();
    let message = format!(
        "NUL byte at offset {} (line {}), {count} in all: the file is damaged or not text",
        at + mark,
        label.line,
    );
    Diagnostic::error(Code::NulByte, message)
        .with_label(label)
        .with_help("restore the file from its source; a write that was cut short leaves such bytes")
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
