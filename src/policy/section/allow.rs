//! `[[allow]]`: what must pass although a rule would drop it.

use std::fmt;

use ipnet::IpNet;

use super::vpn::VpnOptions;
use crate::address::PrefixSet;
use crate::policy::diagnostic::Collector;
use crate::policy::services::parse_ports_of_services;
use crate::policy::syntax::write::{header, list, pair, values};
use crate::policy::syntax::{Form, Header, Key, Kind, Names, PolicyFile, Section, SectionTable};
use crate::policy::value::{
    PortRange, Problem, Protocol, ProtocolSet, Sourced, Word, nearest, parse_prefix,
};

/// `[[allow]]`: traffic that a blocking rule would hit and that must pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// The operator's name for it.
    pub name: Sourced<String>,
    /// Destinations; at least one.
    pub to: Vec<Sourced<Destination>>,
    /// Transport protocols.
    pub protocols: ProtocolSet,
    /// Destination ports; every port when the file gives none.
    pub ports: Vec<Sourced<PortRange>>,
    /// Source ports, for replies of services that run on clients; every port when the file gives none.
    pub from_ports: Vec<Sourced<PortRange>>,
    /// The rules it lifts; at least one.
    pub lifts: Lifts,
}

impl Allow {
    /// The prefixes that `to` stands for in a policy with these clients, each on the line of its entry.
    pub fn prefixes<'a>(&'a self, vpn: &'a VpnOptions) -> impl Iterator<Item = Sourced<IpNet>> {
        self.to.iter().flat_map(|entry| entry.prefixes(vpn))
    }

    /// The prefixes at which it lifts media between clients: those of [`Self::prefixes`] that hold only addresses of
    /// `clients`, which are those of `vpn`.
    ///
    /// A prefix that reaches beyond the clients was written for other hosts. That pools often lie inside it, as inside
    /// 10.0.0.0/8, does not make calls through the tunnel wanted.
    pub fn prefixes_between_clients<'a>(
        &'a self,
        vpn: &'a VpnOptions,
        clients: &PrefixSet,
    ) -> impl Iterator<Item = Sourced<IpNet>> {
        self.prefixes(vpn)
            .filter(|prefix| clients.covers(prefix.value))
    }
}

/// Which rules an `[[allow]]` lifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lifts {
    /// Verdict order 6: media ports at corporate and client addresses.
    pub media: bool,
    /// Verdict order 5: all ports of the `[[server]]` addresses.
    pub servers: bool,
}

/// One rule that an `[[allow]]` may lift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lifted {
    Media,
    Servers,
}

impl Word for Lifted {
    const WORDS: &'static [(&'static str, Self)] =
        &[("media", Self::Media), ("servers", Self::Servers)];
}

/// A destination of an `[[allow]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Destination {
    /// The addresses of a prefix.
    Prefix(IpNet),
    /// `"clients"`: every address of `vpn.client_subnets`.
    Clients,
}

impl Destination {
    /// How a policy writes [`Destination::Clients`].
    pub const CLIENTS: &'static str = "clients";
}

impl Sourced<Destination> {
    /// The prefixes that the entry stands for in a policy with these clients, all on its line.
    pub fn prefixes(self, vpn: &VpnOptions) -> impl Iterator<Item = Sourced<IpNet>> {
        let (own, pools) = match self.value {
            Destination::Prefix(prefix) => (Some(prefix), None),
            Destination::Clients => (None, Some(&vpn.client_subnets)),
        };
        let pools = pools.into_iter().flatten().map(|pool| pool.value);
        own.into_iter().chain(pools).map(move |value| Sourced {
            value,
            line: self.line,
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(out),
            Self::Clients => out.write_str(Self::CLIENTS),
        }
    }
}

const NAME: Key = Key::new("name", Kind::Text(Form::Name))
    .required()
    .example("\"Remote Desktop\"")
    .means("Your name for it, in verdicts, logs and metrics; no two exceptions share one")
    .since("0.1");

pub(in crate::policy) const TO: Key = Key::new("to", Kind::Texts(Form::Destination))
    .required()
    .example("[\"10.9.0.0/24\"]")
    .means("Destinations that stay reachable; for media between clients only `\"clients\"` and prefixes inside `vpn.client_subnets` count")
    .since("0.1");

const PROTOCOLS: Key = Key::new("protocols", Kind::words::<Protocol>())
    .non_empty()
    .default("[\"tcp\", \"udp\"]")
    .example("[\"tcp\", \"udp\"]")
    .means("Transport protocols that pass")
    .since("0.1");

pub(in crate::policy) const PORTS: Key = Key::new("ports", Kind::Texts(Form::Ports))
    .non_empty()
    .otherwise("every port")
    .example("[\"3389\"]")
    .means("Destination ports that pass")
    .since("0.1");

const FROM_PORTS: Key = Key::new("from_ports", Kind::Texts(Form::Ports))
    .non_empty()
    .otherwise("every port")
    .example("[\"1-1023\"]")
    .means("Source ports: for replies of services that run on the clients, whose destination port may be any")
    .since("0.1");

const LIFTS: Key = Key::new("lifts", Kind::words::<Lifted>())
    .non_empty()
    .default("[\"media\"]")
    .example("[\"media\"]")
    .means("Rules that it lifts: `\"media\"`, media ports at corporate and client addresses; `\"servers\"`, addresses of `[[server]]`")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "allow",
    header: Header::Repeated,
    meaning: "An exception: packets that match all of its keys are forwarded as `allow` where a rule would have dropped \
              them. Public services need none, they come first.",
    keys: &[NAME, TO, PROTOCOLS, PORTS, FROM_PORTS, LIFTS],
    examples: &[],
};

/// Reads every `[[allow]]`.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<Allow> {
    let mut names = Names::default();
    let mut allows = Vec::new();
    for section in Section::repeated(file, &SECTION, out) {
        let name = names.read(&section, &NAME, out);
        let to = section.list(&TO, parse_destination, out);
        let protocols = ProtocolSet::of(&section.words(&PROTOCOLS, out));
        let ports = section.list(&PORTS, parse_ports_of_services, out);
        let from_ports = section.list(&FROM_PORTS, parse_ports_of_services, out);
        let lifts = read_lifts(&section, out);
        allows.extend(name.map(|name| Allow {
            name,
            to,
            protocols,
            ports,
            from_ports,
            lifts,
        }));
    }
    allows
}

/// Reads a prefix, or the word for all clients.
fn parse_destination(text: &str) -> Result<Destination, Problem> {
    if text == Destination::CLIENTS {
        return Ok(Destination::Clients);
    }
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let word = nearest(text, &[Destination::CLIENTS]).filter(|_| is_word);
    parse_prefix(text)
        .map(Destination::Prefix)
        .map_err(|problem| match word {
            Some(word) => problem.help(format!("did you mean \"{word}\"?")),
            None => problem,
        })
}

fn read_lifts(section: &Section<'_, '_>, out: &mut Collector<'_>) -> Lifts {
    let words = section.words::<Lifted>(&LIFTS, out);
    let has = |lifted| words.iter().any(|word| word.value == lifted);
    Lifts {
        media: words.is_empty() || has(Lifted::Media),
        servers: has(Lifted::Servers),
    }
}

impl Allow {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &NAME, &self.name.value)?;
        list(out, &TO, values(&self.to))?;
        let protocols = self.protocols.members();
        list(out, &PROTOCOLS, protocols.map(|protocol| protocol.word()))?;
        for (key, ports) in [(&PORTS, &self.ports), (&FROM_PORTS, &self.from_ports)] {
            if !ports.is_empty() {
                list(out, key, values(ports))?;
            }
        }
        let lifts = [
            (Lifted::Media, self.lifts.media),
            (Lifted::Servers, self.lifts.servers),
        ];
        let lifts = lifts.into_iter().filter(|(_, is_lifted)| *is_lifted);
        list(out, &LIFTS, lifts.map(|(lifted, _)| lifted.word()))
    }
}
