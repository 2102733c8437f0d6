//! [`Names`]: the names given in one kind of section, each once.

use std::collections::HashMap;
use std::ops::Range;

use super::key::Key;
use super::section::Section;
use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::value::{Sourced, parse_name};

/// The names given so far in one kind of section, and where.
#[derive(Debug, Default)]
pub(in crate::policy) struct Names {
    seen: HashMap<String, Range<usize>>,
}

impl Names {
    /// Reads the name of `section`, which no section of its kind may share.
    pub(in crate::policy) fn read(
        &mut self,
        section: &Section<'_, '_>,
        key: &Key,
        out: &mut Collector<'_>,
    ) -> Option<Sourced<String>> {
        let name = section.string(key, parse_name, out)?;
        let span = section.span_of(key);
        if let Some(first) = self.seen.get(&name.value) {
            let message = format!(
                "two {} are named \"{}\"",
                section.title,
                shorten(&name.value)
            );
            let problem = Diagnostic::error(Code::DuplicateName, message)
                .with_label(out.text.label(span, "second"))
                .with_label(out.text.label(first.clone(), "first"));
            out.add(problem.with_help("a verdict names its rule: give each a name of its own"));
        } else {
            self.seen.insert(name.value.clone(), span);
        }
        Some(name)
    }
}
