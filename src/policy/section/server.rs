//! `[[server]]`: the internal servers (Table 1, row 2).

use std::fmt;

use ipnet::IpNet;

use crate::policy::diagnostic::Collector;
use crate::policy::syntax::write::{header, list, pair, values};
use crate::policy::syntax::{Form, Header, Key, Kind, Names, PolicyFile, Section, SectionTable};
use crate::policy::value::{Sourced, parse_host, parse_prefix};

/// `[[server]]`: Table 1, row 2; blocked on all ports, TCP and UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The operator's name for it.
    pub name: Sourced<String>,
    /// Addresses and prefixes of the servers; at least one.
    pub addresses: Vec<Sourced<IpNet>>,
    /// Internal names that clients must not resolve.
    pub hosts: Vec<Sourced<String>>,
}

const NAME: Key = Key::new("name", Kind::Text(Form::Name))
    .required()
    .example("\"Front End pool\"")
    .means("Your name for it, in verdicts, logs and metrics; no two servers share one")
    .since("0.1");

pub(in crate::policy) const ADDRESSES: Key = Key::new("addresses", Kind::Texts(Form::Prefix))
    .required()
    .example("[\"10.1.0.10\"]")
    .means("Addresses and prefixes of the servers (Table 1, row 2): TCP and UDP to them is dropped as `servers`, on all ports")
    .since("0.1");

const HOSTS: Key = Key::new("hosts", Kind::Texts(Form::Host))
    .default("[]")
    .example("[\"pool01.contoso.com\"]")
    .means("Their internal names, which clients must not resolve: `[dns]` answers that they do not exist")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "server",
    header: Header::Repeated,
    meaning: "Internal servers of Lync or Skype for Business (Table 1, row 2): a client that reaches one through the \
              tunnel registers inside and is given an internal media relay. Internal interfaces of Edge servers belong \
              here, external ones never do.",
    keys: &[NAME, ADDRESSES, HOSTS],
    examples: &[],
};

/// Reads every `[[server]]`.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<Server> {
    let mut names = Names::default();
    let mut servers = Vec::new();
    for section in Section::repeated(file, &SECTION, out) {
        let name = names.read(&section, &NAME, out);
        let addresses = section.list(&ADDRESSES, parse_prefix, out);
        let hosts = section.list(&HOSTS, parse_host, out);
        servers.extend(name.map(|name| Server {
            name,
            addresses,
            hosts,
        }));
    }
    servers
}

impl Server {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &NAME, &self.name.value)?;
        list(out, &ADDRESSES, values(&self.addresses))?;
        list(out, &HOSTS, values(&self.hosts))
    }
}
