//! `[media]`: what counts as media (Table 1, row 1).

use std::fmt;

use crate::policy::diagnostic::{Code, Collector};
use crate::policy::syntax::write::{header, list, pair, values};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{PortRange, Problem, Sourced, Word, parse_ports, parse_word};

/// How media is told from other traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MediaMatch {
    /// By destination port, as the article's Table 1 is written.
    #[default]
    Ports,
}

impl Word for MediaMatch {
    const WORDS: &'static [(&'static str, Self)] = &[("ports", Self::Ports)];
}

/// `[media]`: Table 1, row 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaOptions {
    /// Destination ports that carry peer-to-peer media; 1024-65535 unless the file says otherwise.
    pub ports: Vec<Sourced<PortRange>>,
    /// How media is recognized.
    pub recognition: MediaMatch,
}

pub(in crate::policy) const PORTS: Key = Key::new("ports", Kind::Texts(Form::Ports))
    .non_empty()
    .default("[\"1024-65535\"]")
    .example("[\"1024-65535\"]")
    .means("Destination ports, TCP and UDP, that carry peer-to-peer media (Table 1, row 1); narrower where the clients' port ranges are configured")
    .since("0.1");

const MATCH: Key = Key::new("match", Kind::word::<MediaMatch>())
    .default("\"ports\"")
    .example("\"ports\"")
    .means(
        "Recognition of media: `\"ports\"` takes all that goes to `ports`, as Table 1 is written",
    )
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "media",
    header: Header::Single,
    meaning: "The media that must not take the tunnel (Table 1, row 1): dropped at addresses of `corporate.subnets` and \
              of other clients, forwarded anywhere else.",
    keys: &[PORTS, MATCH],
    examples: &[],
};

/// Reads the section.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> MediaOptions {
    let Some(section) = Section::single(file, &SECTION, out) else {
        return MediaOptions::default();
    };
    let ports = if section.has(&PORTS) {
        section.list(&PORTS, parse_ports, out)
    } else {
        MediaOptions::default().ports
    };
    let recognition = section.string(&MATCH, parse_match, out);
    MediaOptions {
        ports,
        recognition: recognition.map_or(MediaMatch::Ports, |word| word.value),
    }
}

fn parse_match(text: &str) -> Result<MediaMatch, Problem> {
    if text == "ice" {
        let message =
            "`match` is \"ice\", which is planned: this version judges media by its ports";
        return Err(Problem::new(Code::NotSupported, message).help("write match = \"ports\""));
    }
    parse_word(MATCH.name, text, MediaMatch::WORDS)
}

impl MediaOptions {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        list(out, &PORTS, values(&self.ports))?;
        pair(out, &MATCH, self.recognition.word())
    }
}

impl Default for MediaOptions {
    fn default() -> Self {
        Self {
            ports: vec![Sourced {
                value: DEFAULT_PORTS,
                line: 0,
            }],
            recognition: MediaMatch::default(),
        }
    }
}

/// Table 1, row 1: what Lync's clients use unless told otherwise.
const DEFAULT_PORTS: PortRange = match PortRange::new(1024, 65535) {
    Some(ports) => ports,
    None => PortRange::ALL,
};
