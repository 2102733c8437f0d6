//! [`Collector`]: takes what the stages of reading find, and puts it in file order.

use std::ops::Range;

use super::code::{Code, Severity};
use super::item::Diagnostic;
use super::list::{Diagnostics, MAX_DIAGNOSTICS};
use super::source::SourceText;

/// Collects the findings of all stages of reading.
#[derive(Debug)]
pub(in crate::policy) struct Collector<'a> {
    pub(in crate::policy) text: &'a SourceText<'a>,
    /// The file has syntax errors: what is absent from the tree may stand on a broken line.
    pub(in crate::policy) damaged: bool,
    /// The title of the section that a key belongs to; set by the stage that knows the sections.
    pub(in crate::policy) home_of: fn(&str) -> Option<String>,
    items: Vec<Diagnostic>,
    errors: usize,
    omitted: usize,
}

impl<'a> Collector<'a> {
    pub(in crate::policy) fn new(text: &'a SourceText<'a>) -> Self {
        Self {
            text,
            damaged: false,
            home_of: |_| None,
            items: Vec::new(),
            errors: 0,
            omitted: 0,
        }
    }

    pub(in crate::policy) fn add(&mut self, item: Diagnostic) {
        self.errors += usize::from(item.severity == Severity::Error);
        if self.items.len() < MAX_DIAGNOSTICS {
            self.items.push(item);
        } else {
            self.omitted += 1;
        }
    }

    /// Adds an error at `span`.
    pub(in crate::policy) fn error(
        &mut self,
        span: Range<usize>,
        label: &str,
        code: Code,
        message: impl Into<String>,
    ) {
        let label = self.text.label(span, label);
        self.add(Diagnostic::error(code, message).with_label(label));
    }

    pub(in crate::policy) const fn has_errors(&self) -> bool {
        self.errors > 0
    }

    pub(in crate::policy) fn finish(mut self, origin: &str) -> Diagnostics {
        self.items.sort_by_key(|item| {
            let start = item.labels.first().map_or(0, |label| label.span.start);
            (start, item.severity, item.code)
        });
        Diagnostics {
            origin: origin.to_owned(),
            source: self.text.as_str().to_owned(),
            items: self.items,
            omitted: self.omitted,
            accepted: Vec::new(),
        }
    }
}
