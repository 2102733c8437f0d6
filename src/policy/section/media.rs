//! `[media]`: what counts as media (Table 1, row 1).

use std::fmt;

use crate::packet::media::Profile;
use crate::policy::diagnostic::Collector;
use crate::policy::services::parse_ports_of_services;
use crate::policy::syntax::write::{header, list, pair, values};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{PortRange, Protocol, ProtocolSet, Sourced, Word};

/// How media is told from other traffic to media ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MediaMatch {
    /// Everything to a media port, as the article's Table 1 is written.
    #[default]
    Ports,
    /// Connectivity checks and relay control of any ICE client, and what follows them in the same flow: all media that
    /// can fall back to a relay.
    Ice,
    /// The same, of Lync, Skype for Business and native Teams alone.
    IceMicrosoft,
    /// Real-time media of any kind, that of phones and cameras without ICE among it.
    Media,
}

impl Word for MediaMatch {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("ports", Self::Ports),
        ("ice", Self::Ice),
        ("ice-microsoft", Self::IceMicrosoft),
        ("media", Self::Media),
    ];
}

impl MediaMatch {
    /// Every value, in the order of the manual.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::WORDS.iter().map(|(_, value)| *value)
    }

    /// The evidence that counts; `None` if ports alone decide.
    pub const fn profile(self) -> Option<Profile> {
        match self {
            Self::Ports => None,
            Self::Ice => Some(Profile::Ice),
            Self::IceMicrosoft => Some(Profile::Microsoft),
            Self::Media => Some(Profile::Any),
        }
    }

    /// Its word in a policy.
    pub fn word(self) -> &'static str {
        <Self as Word>::word(self)
    }
}

/// `[media]`: Table 1, row 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaOptions {
    /// Destination ports that carry peer-to-peer media; 1024-65535 unless the file says otherwise.
    pub ports: Vec<Sourced<PortRange>>,
    /// How media is recognized among the packets to these ports.
    pub recognition: MediaMatch,
    /// Transport protocols of these packets; others are not blocked.
    pub protocols: ProtocolSet,
}

pub(in crate::policy) const PORTS: Key = Key::new("ports", Kind::Texts(Form::Ports))
    .non_empty()
    .default("[\"1024-65535\"]")
    .example("[\"1024-65535\"]")
    .means("Destination ports, TCP and UDP, that carry peer-to-peer media (Table 1, row 1); narrower where the clients' port ranges are configured")
    .since("0.1");

const MATCH: Key = Key::new("match", Kind::word::<MediaMatch>())
    .default("\"ports\"")
    .example("\"ice\"")
    .means(
        "What counts as media among the packets to `ports`: `\"ports\"`, all of them, as Table 1 is written; `\"ice\"`, \
         connectivity checks, relay control and what follows in their flow; `\"ice-microsoft\"`, the same of Microsoft's \
         clients alone; `\"media\"`, real-time media of any kind ([media.md](media.md))",
    )
    .since("0.1");

const PROTOCOLS: Key = Key::new("protocols", Kind::words::<Protocol>())
    .non_empty()
    .default("[\"tcp\", \"udp\"]")
    .example("[\"udp\"]")
    .means("Transport protocols whose packets to `ports` count as media; the others are forwarded")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "media",
    header: Header::Single,
    meaning: "The media that must not take the tunnel (Table 1, row 1): dropped at addresses of `corporate.subnets` and \
              of other clients, forwarded anywhere else.",
    keys: &[PORTS, MATCH, PROTOCOLS],
    examples: &[],
};

/// Reads the section.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> MediaOptions {
    let Some(section) = Section::single(file, &SECTION, out) else {
        return MediaOptions::default();
    };
    let ports = if section.has(&PORTS) {
        section.list(&PORTS, parse_ports_of_services, out)
    } else {
        MediaOptions::default().ports
    };
    MediaOptions {
        ports,
        recognition: section.word_or_default(&MATCH, out),
        protocols: ProtocolSet::of(&section.words(&PROTOCOLS, out)),
    }
}

impl MediaOptions {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        list(out, &PORTS, values(&self.ports))?;
        pair(out, &MATCH, self.recognition.word())?;
        let protocols = self.protocols.members();
        list(out, &PROTOCOLS, protocols.map(|protocol| protocol.word()))
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
            protocols: ProtocolSet::Both,
        }
    }
}

/// Table 1, row 1: what Lync's clients use unless told otherwise.
const DEFAULT_PORTS: PortRange = match PortRange::new(1024, 65535) {
    Some(ports) => ports,
    None => PortRange::ALL,
};
