//! `[[accept]]`: warnings that the operator has looked at and accepts.

use std::fmt;

use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector};
use crate::policy::syntax::write::{header, pair};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{Problem, Sourced, nearest, parse_name};

/// `[[accept]]`: a kind of warning that is no news any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// The kind.
    pub warning: Sourced<Code>,
    /// Text that the warning, or a line it is about, must have; `None` accepts all of the kind.
    pub about: Option<Sourced<String>>,
    /// The operator's reason.
    pub reason: Sourced<String>,
}

pub(in crate::policy) const WARNING: Key = Key::new("warning", Kind::Text(Form::Code))
    .required()
    .example("\"media-ports-cover-services\"")
    .means("The kind of warning that is accepted: the word in brackets behind `warning`")
    .since("0.1");

const ABOUT: Key = Key::new("about", Kind::Text(Form::Name))
    .otherwise("every warning of this kind")
    .example("\"ports\"")
    .means("Accepts only those whose message, or a line that they point at, has this text")
    .since("0.1");

const REASON: Key = Key::new("reason", Kind::Text(Form::Name))
    .required()
    .example("\"agreed with the database team: SQL is reached over the web\"")
    .means("Why it is accepted; `check` lists it")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "accept",
    header: Header::Repeated,
    meaning: "A kind of warning that somebody has looked at, and the reason why it may stay: `check` lists it apart, and \
              `--deny-warnings` passes it. Errors cannot be accepted. An entry that no warning is left for is a warning itself.",
    keys: &[WARNING, ABOUT, REASON],
    examples: &[],
};

/// Reads every `[[accept]]`.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<Accept> {
    let mut accepts = Vec::new();
    for section in Section::repeated(file, &SECTION, out) {
        let warning = section.string(&WARNING, parse_code, out);
        let about = section.string(&ABOUT, parse_name, out);
        let reason = section.string(&REASON, parse_name, out);
        if let (Some(warning), Some(reason)) = (warning, reason) {
            accepts.push(Accept {
                warning,
                about,
                reason,
            });
        }
    }
    accepts
}

/// Reads the name of a kind of warning.
fn parse_code(text: &str) -> Result<Code, Problem> {
    let known = Code::ALL.iter().find(|code| code.as_str() == text);
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let text = shorten(text);
        let message = match nearest(&text, &names) {
            Some(meant) => format!("no warning is called `{text}`; did you mean `{meant}`?"),
            None => format!("no warning is called `{text}`"),
        };
        Problem::new(Code::UnknownValue, message)
            .help("`offramp check` shows the name of a warning in brackets: warning[name]")
    })
}

impl Accept {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &WARNING, self.warning.value.as_str())?;
        if let Some(about) = &self.about {
            pair(out, &ABOUT, &about.value)?;
        }
        pair(out, &REASON, &self.reason.value)
    }
}
