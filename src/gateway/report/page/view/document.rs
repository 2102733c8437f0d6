//! The whole page: its parts in their sections, style and script.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::ask::Reply;
use super::{Parts, explain};

/// The page with these parts, and the answer to a question; style and script carry `nonce`.
pub(in crate::gateway::report::page) fn document(
    parts: &Parts,
    reply: Option<&Reply>,
    nonce: &str,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "offramp: status" }
                link rel="icon" href="data:,";
                style nonce=(nonce) { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                header {
                    h1 { "offramp" }
                    p id="freshness" { "Numbers as of this loading of the page." }
                }
                nav aria-label="Sections" {
                    ul {
                        @for (id, text) in SECTIONS { li { a href={ "#" (id) } { (text) } } }
                    }
                }
                main {
                    section id="standing" aria-live="polite" aria-label="Verdict" { (html_of(parts, "standing")) }
                    section id="effect" { (html_of(parts, "effect")) }
                    section id="losses" { (html_of(parts, "losses")) }
                    section id="health" { (html_of(parts, "health")) }
                    section id="agreement" { (html_of(parts, "agreement")) }
                    section id="feeds" { (html_of(parts, "feeds")) }
                    section id="rules" { (html_of(parts, "rules")) }
                    section id="explain" { (explain::view(reply)) }
                }
                footer { p id="process" { (html_of(parts, "process")) } }
                script nonce=(nonce) { (PreEscaped(include_str!("page.js"))) }
            }
        }
    }
}

fn html_of(parts: &Parts, id: &str) -> Markup {
    PreEscaped(parts.html(id).to_owned())
}

/// The sections by their ids, as the navigation names them.
const SECTIONS: [(&str, &str); 7] = [
    ("effect", "Effect"),
    ("losses", "Cut off"),
    ("health", "Health"),
    ("agreement", "Agreement"),
    ("feeds", "Feeds"),
    ("rules", "Policy"),
    ("explain", "Explain"),
];
