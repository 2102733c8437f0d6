//! Drawing of [`Diagnostics`] for people: message, place, underlined text, help.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::code::Severity;
use super::item::{Diagnostic, Label};
use super::list::Diagnostics;

/// Style of a drawing: plain, or with terminal colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// Text alone: for files, logs and tests.
    Plain,
    /// ANSI colors: for terminals.
    Colored,
}

impl Diagnostics {
    /// Draws all of them, each with its lines of the file, and a last line that counts them; empty when there are none.
    pub fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Colored => Renderer::styled(),
        };
        let mut out = String::new();
        for item in self {
            out.push_str(&renderer.render(&[self.group(item)]));
            out.push_str("\n\n");
        }
        if !self.is_empty() {
            self.write_summary(&mut out);
        }
        out
    }

    fn group<'a>(&'a self, item: &'a Diagnostic) -> Group<'a> {
        let level = match item.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(&item.message).id(item.code.as_str());
        let mut group = if item.labels.is_empty() {
            title.element(Origin::path(&self.origin))
        } else {
            title.elements(self.snippets(item))
        };
        for help in &item.help {
            group = group.element(Level::HELP.message(help));
        }
        group
    }

    /// The labels' own lines only: drawing must not cost more on a longer file.
    fn snippets<'a>(&'a self, item: &'a Diagnostic) -> Vec<Snippet<'a, Annotation<'a>>> {
        let mut snippets: Vec<(Range<usize>, Snippet<'a, Annotation<'a>>)> = Vec::new();
        for (index, label) in item.labels.iter().enumerate() {
            let excerpt = excerpt(&self.source, label);
            let kind = if index == 0 {
                AnnotationKind::Primary
            } else {
                AnnotationKind::Context
            };
            let end = label.span.end.min(excerpt.end).max(label.span.start);
            let span = label.span.start - excerpt.start..end - excerpt.start;
            let annotation = kind
                .span(span)
                .label(label_text(label, &excerpt, &self.source));
            match snippets.iter_mut().find(|(other, _)| *other == excerpt) {
                Some((_, snippet)) => *snippet = snippet.clone().annotation(annotation),
                None => {
                    let snippet = Snippet::source(&self.source[excerpt.clone()])
                        .path(self.origin.as_str())
                        .line_start(label.line as usize);
                    snippets.push((excerpt, snippet.annotation(annotation)));
                }
            }
        }
        snippets.into_iter().map(|(_, snippet)| snippet).collect()
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

/// A label's text; with its column where only a part of the line is shown, from which the drawing would count.
fn label_text(label: &Label, excerpt: &Range<usize>, source: &str) -> Option<String> {
    let whole_line = excerpt.start == 0 || source.as_bytes()[excerpt.start - 1] == b'\n';
    let text = if whole_line {
        label.text.clone()
    } else {
        format!("{} (column {} of the line)", label.text, label.column)
            .trim_start()
            .to_owned()
    };
    (!text.is_empty()).then_some(text)
}

/// The line on which a label begins; a label over several lines is drawn on its first.
fn excerpt(source: &str, label: &Label) -> Range<usize> {
    let start = source[..label.span.start]
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let end = source[label.span.start..]
        .find('\n')
        .map_or(source.len(), |at| label.span.start + at);
    let line = source[start..end].trim_end_matches('\r');
    let end = (start + line.len()).max(label.span.start);
    // A line of a machine-made list may be megabytes long: show what surrounds the label.
    if end - start <= 2 * CONTEXT {
        return start..end;
    }
    let from = source.floor_char_boundary(label.span.start.saturating_sub(CONTEXT));
    let to = source
        .ceil_char_boundary(label.span.end.saturating_add(CONTEXT))
        .min(end);
    from.max(start)..to.max(label.span.start)
}

/// Bytes of a very long line that are shown on either side of a label.
const CONTEXT: usize = 4096;
