//! The page as HTML: a pure function of the gateway's state.
//!
//! Parts are what may change while the page is open: each is the content of a section of its own, so that the script replaces
//! only what has changed, and no reader is interrupted in another.

mod document;
mod effect;
mod explain;
mod health;
mod policy;
mod standing;

pub(super) use document::document;

use maud::{Markup, html};

use crate::gateway::report::series::Snapshot;
use crate::number;
use standing::Standing;

/// The parts of the page that change, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parts(Vec<Part>);

/// A part of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// The id of its element.
    id: &'static str,
    /// The content of the element.
    html: String,
}

/// The parts of the page for a gateway in this state.
pub(super) fn parts(snapshot: &Snapshot) -> Parts {
    let Snapshot { status, ready } = snapshot;
    Parts(vec![
        part("standing", &Standing::of(status, *ready).view(status)),
        part("effect", &effect::view(status)),
        part("losses", &policy::losses(status)),
        part("health", &health::view(status)),
        part("agreement", &policy::agreement(status)),
        part("feeds", &policy::feeds(status)),
        part("rules", &policy::rules(status)),
        part("process", &health::process(status)),
    ])
}

/// The parts of the page for a gateway that does not answer.
pub(super) fn unanswered() -> Parts {
    Parts(vec![part("standing", &Standing::Unanswered.view_alone())])
}

fn part(id: &'static str, markup: &Markup) -> Part {
    Part {
        id,
        html: markup.0.clone(),
    }
}

impl Parts {
    /// The content of the part `id`; empty if there is none.
    fn html(&self, id: &str) -> &str {
        let part = self.0.iter().find(|it| it.id == id);
        part.map_or("", |it| &it.html)
    }

    /// The server-sent event that has the parts which differ from `before`; one without parts tells that nothing has changed.
    pub(super) fn event_since(&self, before: &Self) -> String {
        let changed = self.0.iter().filter(|it| before.html(it.id) != it.html);
        let changed = changed.map(|it| (it.id.to_owned(), it.html.clone().into()));
        let changed: serde_json::Map<String, serde_json::Value> = changed.collect();
        // JSON has no line breaks, which would end the event.
        format!("data: {}\n\n", serde_json::Value::Object(changed))
    }
}

/// A number and its unit, the number written as a whole.
fn counted(count: u64, one: &str, many: &str) -> String {
    let unit = if count == 1 { one } else { many };
    format!("{} {unit}", number::whole(count))
}

/// A reference to a line of the policy, as a link to its rule.
fn line_link(policy: &str, line: u32) -> Markup {
    html! { a href=(format!("#line-{line}")) { (file_name(policy)) ":" (line) } }
}

/// A sentence of others, in which commands and words of the policy stand between backticks.
fn prose(text: &str) -> Markup {
    // Where the backticks do not pair, the last one is text.
    let pieces: Vec<&str> = text.split('`').collect();
    let pairs = (pieces.len() - 1) / 2 * 2;
    html! {
        @for (at, piece) in pieces.iter().enumerate() {
            @if at > pairs { "`" (piece) } @else if at % 2 == 1 { code { (piece) } } @else { (piece) }
        }
    }
}

/// The same, with a capital at its beginning.
fn sentence(text: &str) -> Markup {
    let mut chars = text.chars();
    let first = chars.next().map(|it| it.to_uppercase().to_string());
    prose(&(first.unwrap_or_default() + chars.as_str()))
}

/// A remedy: a sentence, and what to write on the lines behind it, if there are any.
fn advice(remedy: &str) -> Markup {
    let (said, lines) = remedy.split_once('\n').unwrap_or((remedy, ""));
    html! {
        p.remedy { "Advice: " (prose(said)) }
        @if !lines.is_empty() { pre tabindex="0" aria-label="Lines to write" { (lines) } }
    }
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A time of `seconds`, in its two greatest units: `3 d 4 h`.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
pub(super) mod tests;
