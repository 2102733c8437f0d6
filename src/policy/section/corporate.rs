//! `[corporate]`: what is internal.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::diagnostic::Collector;
use crate::policy::syntax::write::{header, list, values};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{Sourced, parse_address, parse_prefix};

/// `[corporate]`: what is internal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Corporate {
    /// Internal prefixes: the destinations of Table 1, row 1.
    pub subnets: Vec<Sourced<IpNet>>,
    /// Internal DNS servers.
    pub dns_servers: Vec<Sourced<IpAddr>>,
}

pub(in crate::policy) const SUBNETS: Key = Key::new("subnets", Kind::Texts(Form::Prefix))
    .default("[]")
    .example("[\"10.0.0.0/8\"]")
    .means("Internal prefixes (Table 1, row 1: \"Corporate VPN network\"): media to them is dropped as `media`, and a split tunnel carries them")
    .since("0.1");

pub(in crate::policy) const DNS_SERVERS: Key =
    Key::new("dns_servers", Kind::Texts(Form::Address))
        .default("[]")
        .example("[\"10.0.0.53\"]")
        .means("Internal DNS servers: routes keep them inside the tunnel, and they answer the names that no other section decides")
        .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "corporate",
    header: Header::Single,
    meaning: "The internal network behind the VPN.",
    keys: &[SUBNETS, DNS_SERVERS],
    examples: &[],
};

/// Reads the section.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Corporate {
    let Some(section) = Section::single(file, &SECTION, out) else {
        return Corporate::default();
    };
    Corporate {
        subnets: section.list(&SUBNETS, parse_prefix, out),
        dns_servers: section.list(&DNS_SERVERS, parse_address, out),
    }
}

impl Corporate {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        list(out, &SUBNETS, values(&self.subnets))?;
        list(out, &DNS_SERVERS, values(&self.dns_servers))
    }
}
