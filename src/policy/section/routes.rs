//! `[routes]`: what the VPN pushes to its clients.

use std::fmt;
use std::net::IpAddr;

use crate::policy::diagnostic::Collector;
use crate::policy::syntax::write::{header, list, pair, values};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{Sourced, Word, parse_address};

/// Which addresses enter the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TunnelMode {
    /// Only internal prefixes enter.
    #[default]
    Split,
    /// Everything enters but the excluded prefixes.
    Full,
}

impl Word for TunnelMode {
    const WORDS: &'static [(&'static str, Self)] = &[("split", Self::Split), ("full", Self::Full)];
}

/// `[routes]`: what the VPN pushes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteOptions {
    /// `routes.tunnel`.
    pub tunnel: TunnelMode,
    /// Public addresses of the concentrator, to which clients connect: never inside the tunnel that they carry.
    pub gateways: Vec<Sourced<IpAddr>>,
}

const TUNNEL: Key = Key::new("tunnel", Kind::word::<TunnelMode>())
    .default("\"split\"")
    .example("\"full\"")
    .means("Addresses that enter the tunnel: internal ones alone (split-include), or all but public services and `gateways` (split-exclude)")
    .since("0.1");

const GATEWAYS: Key = Key::new("gateways", Kind::Texts(Form::Address))
    .default("[]")
    .example("[\"203.0.113.10\"]")
    .means("Public addresses of the concentrator, to which clients connect: kept out of the tunnel that they carry")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "routes",
    header: Header::Single,
    meaning: "Addresses that enter the tunnel: `offramp render` writes them as routes for VPN servers and clients.",
    keys: &[TUNNEL, GATEWAYS],
    examples: &[],
};

/// Reads the section.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> RouteOptions {
    let Some(section) = Section::single(file, &SECTION, out) else {
        return RouteOptions::default();
    };
    RouteOptions {
        tunnel: section.word_or_default(&TUNNEL, out),
        gateways: section.list(&GATEWAYS, parse_address, out),
    }
}

impl RouteOptions {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &TUNNEL, self.tunnel.word())?;
        list(out, &GATEWAYS, values(&self.gateways))
    }
}
