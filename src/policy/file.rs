//! [`PolicyFile`]: the syntax of a policy file, every value with its span.
//!
//! A file with syntax errors still yields what can be made of it, so that wrong values beside a forgotten quote are
//! reported in the same run.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::address::{parse_address, parse_prefix};
use super::diagnostic::{Code, Collector, Diagnostic};
use super::port::parse_ports;
use super::text::SourceText;

/// A policy file as it is written.
#[derive(Debug)]
pub(super) struct PolicyFile<'t> {
    root: DeTable<'t>,
}

/// Where in a file a value stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// Section: `vpn`, `server`, ...
    pub(super) section: &'a str,
    /// Position among the sections of this name; 0 for those that stand once.
    pub(super) position: usize,
    /// Key in the section.
    pub(super) key: &'a str,
    /// Position in the key's list.
    pub(super) item: usize,
}

impl<'t> PolicyFile<'t> {
    /// Parses `source`; syntax errors go to `out`, and what remains is the file.
    pub(super) fn parse(
        source: &'t str,
        text: &SourceText<'_>,
        out: &mut Collector<'_>,
    ) -> Option<Self> {
        let first_error = match DeTable::parse(source) {
            Ok(root) => {
                return Some(Self {
                    root: root.into_inner(),
                });
            }
            Err(error) => error,
        };
        if source.len() > RECOVERY_LIMIT {
            out.add(
                syntax_error(&first_error, source, text).with_help(
                    "the file is large: what follows this place is read when it is mended",
                ),
            );
            return None;
        }
        let (root, errors) = DeTable::parse_recoverable(source);
        for error in &errors {
            out.add(syntax_error(error, source, text));
        }
        Some(Self {
            root: root.into_inner(),
        })
    }

    /// The tables and values at the top of the file.
    pub(super) const fn root(&self) -> &DeTable<'t> {
        &self.root
    }

    /// The section at `position` among those called `section`.
    fn section(&self, section: &str, position: usize) -> Option<&Spanned<DeValue<'t>>> {
        let value = self.root.get(section)?;
        match value.get_ref() {
            DeValue::Array(sections) => sections.get(position),
            _ => Some(value),
        }
    }

    /// Span of the value at `place`, or of the nearest thing around it that the file has.
    pub(super) fn span(&self, place: Place<'_>) -> Range<usize> {
        let Some(section) = self.section(place.section, place.position) else {
            return 0..0;
        };
        let value = section
            .get_ref()
            .as_table()
            .and_then(|table| table.get(place.key));
        let Some(value) = value else {
            return section.span();
        };
        match value.get_ref() {
            DeValue::Array(items) => items.get(place.item).map_or(value.span(), Spanned::span),
            _ => value.span(),
        }
    }

    /// Whether the section has the key.
    pub(super) fn has(&self, section: &str, key: &str) -> bool {
        self.section(section, 0)
            .and_then(|section| section.get_ref().as_table())
            .is_some_and(|table| table.contains_key(key))
    }
}

/// `source` with the lines of its syntax errors blanked, every other byte in its place.
///
/// TOML's parser gives up on what follows some errors; without the broken lines it reads the rest.
pub(super) fn without_broken_lines(source: &str) -> Option<String> {
    if source.len() > RECOVERY_LIMIT {
        return None;
    }
    let (_, errors) = DeTable::parse_recoverable(source);
    let mut bytes = source.as_bytes().to_vec();
    for error in &errors {
        let at = error.span()?.start.min(source.len());
        let start = source.as_bytes()[..at]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        for byte in bytes[start..].iter_mut().take_while(|byte| **byte != b'\n') {
            *byte = b' ';
        }
    }
    String::from_utf8(bytes).ok()
}

fn syntax_error(error: &toml::de::Error, source: &str, text: &SourceText<'_>) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let span = source.floor_char_boundary(span.start)..source.ceil_char_boundary(span.end);
    let message = error.message();
    if message == "duplicate key" {
        let key = &source[span.clone()];
        let label = text.label(span, "given before");
        let message = format!("`{key}` is given twice");
        let problem = Diagnostic::error(Code::DuplicateKey, message).with_label(label);
        return problem.with_help("keep one of them, or write one list with both values");
    }
    let problem = Diagnostic::error(Code::Syntax, format!("not TOML: {message}"))
        .with_label(text.label(span.clone(), ""));
    match unquoted(source, span) {
        Some(word) => problem.with_help(format!("write it in quotes: \"{word}\"")),
        None => problem,
    }
}

/// The address, prefix or port range without quotes that the error is about.
fn unquoted(source: &str, span: Range<usize>) -> Option<&str> {
    let outside = |char: char| {
        char.is_whitespace() || matches!(char, '"' | '\'' | ',' | '[' | ']' | '=' | '#' | '{' | '}')
    };
    let start = source[..span.start].rfind(outside).map_or(0, |at| at + 1);
    let start = source.ceil_char_boundary(start);
    let rest = source.get(start..)?;
    let word = &rest[..rest.find(outside).unwrap_or(rest.len())];
    let known =
        parse_prefix(word).is_ok() || parse_address(word).is_ok() || parse_ports(word).is_ok();
    known.then_some(word)
}

/// Bytes up to which all syntax errors of a file are looked for; in a larger one, only the first.
///
/// Every byte of a file that is not TOML at all may be an error of some hundred bytes in memory.
const RECOVERY_LIMIT: usize = 4 << 20;
