//! [`Vendor`]: services for calls and meetings beside a site's own, and facts about each: [`Facts`].
//!
//! ```text
//!  data/zoom.toml ─┐
//!  data/webex.toml ├──▶ Facts: addresses, ports, direct calls, fallback, domains, each with its source and date
//!  ...            ─┘      └──▶ [[profile]] of a policy
//! ```
//!
//! The data is what a vendor's own pages say; what they leave open is left out, and said to be. To add a vendor: a file in
//! `data/`, a variant of [`Vendor`] and its word.

mod date;

use std::sync::LazyLock;

use ipnet::IpNet;
use serde::Deserialize;

use crate::address::PortRange;

pub use date::AsOf;

/// A vendor with facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vendor {
    /// Microsoft Teams.
    Teams,
    /// Zoom.
    Zoom,
    /// Cisco Webex.
    Webex,
    /// Google Meet.
    Meet,
    /// RingCentral.
    RingCentral,
    /// GoTo Meeting and its siblings.
    Goto,
    /// Huddles of Slack.
    Slack,
}

impl Vendor {
    /// Every vendor, with its word in a policy.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("teams", Self::Teams),
        ("zoom", Self::Zoom),
        ("webex", Self::Webex),
        ("meet", Self::Meet),
        ("ringcentral", Self::RingCentral),
        ("goto", Self::Goto),
        ("slack", Self::Slack),
    ];

    /// Every vendor.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().map(|(_, vendor)| *vendor)
    }

    /// The word for it in a policy.
    pub fn word(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        names
            .find(|(_, vendor)| *vendor == self)
            .map_or("", |(word, _)| word)
    }

    /// Facts about it.
    ///
    /// ```
    /// use offramp::vendor::Vendor;
    /// assert_eq!(Vendor::Slack.facts().addresses.prefixes[0].to_string(), "99.77.128.0/18");
    /// ```
    pub fn facts(self) -> &'static Facts {
        match self {
            Self::Teams => &TEAMS,
            Self::Zoom => &ZOOM,
            Self::Webex => &WEBEX,
            Self::Meet => &MEET,
            Self::RingCentral => &RINGCENTRAL,
            Self::Goto => &GOTO,
            Self::Slack => &SLACK,
        }
    }
}

/// Facts about a vendor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Its name for people.
    pub title: String,
    /// Its program on Windows, by the name that `[[endpoint]] product` has for it.
    pub product: Option<String>,
    /// Limit of the facts that a user must know.
    pub caveat: Option<String>,
    /// The place of the vendor's list of addresses.
    pub feed: Source,
    /// Addresses of its media servers.
    pub addresses: Addresses,
    /// Ports of its media servers.
    #[serde(default)]
    pub media: Vec<Ports>,
    /// Media by TCP where UDP is blocked.
    pub fallback: Option<Fallback>,
    /// Direct calls from client to client.
    pub peer_to_peer: Option<PeerToPeer>,
    /// Names of its servers.
    pub domains: Option<Domains>,
}

/// The place of a vendor's list of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Format of the list, as `[[feed]] format` has it.
    pub format: String,
    /// Its URL; none for a web service that the format knows.
    pub url: Option<String>,
    /// Usual name of the file.
    pub file: String,
    /// Service areas that are about calls.
    #[serde(default)]
    pub service_areas: Vec<String>,
    /// Categories that are about calls.
    #[serde(default)]
    pub categories: Vec<String>,
}

/// Addresses as a vendor has published them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// Date of the list.
    pub as_of: AsOf,
    /// The document.
    pub source: String,
    /// The prefixes.
    pub prefixes: Vec<IpNet>,
}

/// Ports of media servers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// `udp` or `tcp`.
    pub protocol: String,
    /// Ports and ranges.
    pub ports: Vec<String>,
    /// Date of the document.
    pub as_of: AsOf,
    /// The document.
    pub source: String,
}

/// Media by TCP where UDP is blocked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// Ports and ranges.
    pub tcp_ports: Vec<String>,
    /// Date of the document.
    pub as_of: AsOf,
    /// The document.
    pub source: String,
}

/// Direct calls from client to client: they hairpin at the concentrator where they take the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerToPeer {
    /// The calls that go so, in words.
    pub behavior: String,
    /// Ports of the clients, where they are fixed.
    pub ports: Vec<String>,
    /// Packets by which such calls are recognized, in words; none where it is not known.
    pub recognition: Option<String>,
    /// Date of the document.
    pub as_of: AsOf,
    /// The document.
    pub source: String,
}

impl PeerToPeer {
    /// Its ports.
    pub fn port_ranges(&self) -> impl Iterator<Item = PortRange> {
        self.ports.iter().filter_map(|text| port_range(text))
    }
}

/// Reads `3478` and `8801-8810`.
fn port_range(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    PortRange::new(first.parse().ok()?, last.parse().ok()?)
}

/// Names of a vendor's servers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domains {
    /// Host names, some with `*`.
    pub names: Vec<String>,
    /// Date of the document.
    pub as_of: AsOf,
    /// The document.
    pub source: String,
}

fn read(text: &str) -> Facts {
    toml::from_str(text).expect("a test reads the facts of every vendor")
}

static TEAMS: LazyLock<Facts> = LazyLock::new(|| read(include_str!("data/teams.toml")));
static ZOOM: LazyLock<Facts> = LazyLock::new(|| read(include_str!("data/zoom.toml")));
static WEBEX: LazyLock<Facts> = LazyLock::new(|| read(include_str!("data/webex.toml")));
static MEET: LazyLock<Facts> = LazyLock::new(|| read(include_str!("data/meet.toml")));
static RINGCENTRAL: LazyLock<Facts> = LazyLock::new(|| read(include_str!("data/ringcentral.toml")));
static GOTO: LazyLock<Facts> = LazyLock::new(|| read(include_str!("data/goto.toml")));
static SLACK: LazyLock<Facts> = LazyLock::new(|| read(include_str!("data/slack.toml")));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{EntryKey, guard};

    #[test]
    fn the_facts_of_every_vendor_are_read_and_have_sources() {
        for vendor in Vendor::all() {
            let facts = vendor.facts();
            let prefixes = (1..).zip(&facts.addresses.prefixes);
            let prefixes: Vec<_> = prefixes
                .map(|(number, prefix)| (EntryKey::Line(number), *prefix))
                .collect();
            assert!(!prefixes.is_empty(), "{}", facts.title);
            assert!(prefixes.iter().all(|(_, it)| *it == it.trunc()));
            guard::refuse_wide(&prefixes).expect(&facts.title);
            guard::refuse_not_public(&prefixes).expect(&facts.title);
            let fallback = facts.fallback.iter().flat_map(|it| &it.tcp_ports);
            let direct = facts.peer_to_peer.iter().flat_map(|it| &it.ports);
            let media = facts.media.iter().flat_map(|it| &it.ports);
            for ports in media.chain(fallback).chain(direct) {
                assert!(port_range(ports).is_some(), "{}: {ports}", facts.title);
            }
            let ports = facts.media.iter().map(|it| &it.source);
            let sources = ports
                .chain(facts.fallback.iter().map(|it| &it.source))
                .chain(facts.peer_to_peer.iter().map(|it| &it.source))
                .chain(facts.domains.iter().map(|it| &it.source))
                .chain([&facts.addresses.source]);
            for source in sources {
                assert!(!source.is_empty(), "{}", facts.title);
            }
        }
    }

    #[test]
    fn a_word_is_that_of_its_vendor() {
        for (word, vendor) in Vendor::NAMES {
            assert_eq!(vendor.word(), *word);
        }
    }
}
