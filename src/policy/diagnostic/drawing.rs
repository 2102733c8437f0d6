//! The drawn form of a [`Diagnostic`]: the lines that it is about, with marks below the text (feature `snippets`).

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::code::Severity;
use super::item::{Diagnostic, Label};
use super::list::Diagnostics;
use super::report::Style;

/// Draws one of `diagnostics`, with an empty line behind it.
pub(super) fn write(out: &mut String, diagnostics: &Diagnostics, item: &Diagnostic, style: Style) {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colored => Renderer::styled(),
    };
    out.push_str(&renderer.render(&[diagnostics.group(item)]));
    out.push_str("\n\n");
}

impl Diagnostics {
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
    // A line of a machine-made list, or a value, may be megabytes long: show what surrounds the beginning of the label, as
    // drawing takes many times the memory of the text.
    if end - start <= 2 * CONTEXT {
        return start..end;
    }
    let from = source.floor_char_boundary(label.span.start.saturating_sub(CONTEXT));
    let shown = label.span.end.min(label.span.start + CONTEXT);
    let to = source.ceil_char_boundary(shown + CONTEXT).min(end);
    from.max(start)..to.max(label.span.start)
}

/// Bytes of a very long line that are shown on either side of a label, and of a label itself.
const CONTEXT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;

    #[test]
    fn a_value_of_megabytes_is_drawn_in_part() {
        let value = "ä".repeat(1 << 20);
        let text = format!("[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"{value}\", \"7\"]\n");
        let errors = policy::parse("p.toml", text.as_bytes()).expect_err("no prefixes");
        for item in errors.iter() {
            let excerpt = excerpt(errors.source(), &item.labels()[0]);
            assert!(excerpt.len() <= 3 * CONTEXT + 8, "{excerpt:?}");
        }
        let drawn = errors.render(Style::Plain);
        assert!(drawn.len() < 8 * CONTEXT, "{} bytes", drawn.len());
        assert!(drawn.contains("is not an address"), "{drawn}");
        assert!(drawn.contains("prefix 7 has 1 of 4 octets"), "{drawn}");
    }
}
