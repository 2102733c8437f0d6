//! [`PolicyFile`]: the syntax of a policy file, every value with its span.
//!
//! It borrows the text, and a [`Place`] in the policy's meaning leads back to the span that says it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::hints::hint;
use super::key::{Key, SectionTable};
use crate::message::shorten;
use crate::policy::diagnostic::SourceText;
use crate::policy::diagnostic::{Code, Diagnostic};
use crate::policy::syntax::recovery::{SyntaxError, SyntaxErrorKind};
use crate::policy::value::parse_ports;
use crate::policy::value::{parse_address, parse_prefix};

/// A policy file as it is written.
#[derive(Debug)]
pub(in crate::policy) struct PolicyFile<'t> {
    root: DeTable<'t>,
}

/// Place of a value in a file.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Place {
    /// The section.
    pub(in crate::policy) section: &'static SectionTable,
    /// Position among the sections of this name; 0 for those that stand once.
    pub(in crate::policy) position: usize,
    /// Key in the section.
    pub(in crate::policy) key: &'static Key,
    /// Position in the key's list; [`usize::MAX`] for the whole of it.
    pub(in crate::policy) item: usize,
}

impl<'t> PolicyFile<'t> {
    /// Parses `source`, which must be TOML.
    pub(in crate::policy) fn parse(source: &'t str) -> Result<Self, Error> {
        let root = DeTable::parse(source)?;
        Ok(Self {
            root: root.into_inner(),
        })
    }

    /// The tables and values at the top of the file.
    pub(in crate::policy) const fn root(&self) -> &DeTable<'t> {
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
    pub(in crate::policy) fn span(&self, place: Place) -> Range<usize> {
        let Some(section) = self.section(place.section.name, place.position) else {
            return 0..0;
        };
        let value = section
            .get_ref()
            .as_table()
            .and_then(|table| table.get(place.key.name));
        let Some(value) = value else {
            return section.span();
        };
        match value.get_ref() {
            DeValue::Array(items) => items.get(place.item).map_or(value.span(), Spanned::span),
            _ => value.span(),
        }
    }

    /// Returns `true` if the section, which stands once, has the key.
    pub(in crate::policy) fn has(&self, section: &SectionTable, key: &Key) -> bool {
        self.section(section.name, 0)
            .and_then(|section| section.get_ref().as_table())
            .is_some_and(|table| table.contains_key(key.name))
    }
}

/// Returns the report of a syntax error of `source`.
pub(in crate::policy) fn report(
    error: &SyntaxError,
    source: &str,
    text: &SourceText<'_>,
) -> Diagnostic {
    let label = text.label(error.span.clone(), "");
    let span = label.span();
    match &error.kind {
        SyntaxErrorKind::Duplicate => {
            let message = format!("`{}` is given twice", shorten(&source[span.clone()]));
            Diagnostic::error(Code::DuplicateKey, message)
                .with_label(text.label(span, "given again"))
                .with_help("keep one of them, with what both say")
        }
        SyntaxErrorKind::Unending => {
            let message =
                "not TOML: the value that begins here has no end before the next key or section";
            Diagnostic::error(Code::Syntax, message)
                .with_label(text.label(span, "begins here"))
                .with_help("close the list with `]`, the table with `}` or the text with its quote")
        }
        SyntaxErrorKind::Other(message) => {
            if let Some(word) = unquoted(source, span.clone()) {
                let message = format!("not TOML: {word} is not in quotes");
                let problem = Diagnostic::error(Code::Syntax, message).with_label(label);
                return problem.with_help(format!("write \"{word}\""));
            }
            if let Some(hint) = hint(source, span.clone(), message) {
                let message = format!("not TOML: {}", hint.message);
                let problem = Diagnostic::error(Code::Syntax, message).with_label(label);
                return problem.with_help(hint.help);
            }
            let escapes = source[span].contains('\\') || message.contains("escape");
            let message = format!("not TOML: {}", message.replace('\n', " "));
            let problem = Diagnostic::error(Code::Syntax, message).with_label(label);
            if escapes {
                problem.with_help(
                    "in \"...\" a backslash begins an escape: write Windows paths in single quotes",
                )
            } else {
                problem
            }
        }
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
    // Elsewhere something else is wrong, e.g. a key without `=`.
    if !source[..start].trim_end().ends_with(['=', '[', ',']) {
        return None;
    }
    let known =
        parse_prefix(word).is_ok() || parse_address(word).is_ok() || parse_ports(word).is_ok();
    known.then_some(word)
}
