//! `[[public]]`: services that clients must reach outside the tunnel (Tables 2-4).

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::diagnostic::Collector;
use crate::policy::syntax::write::{Quoted, header, list, pair, values};
use crate::policy::syntax::{Form, Header, Key, Kind, Names, PolicyFile, Section, SectionTable};
use crate::policy::value::{Sourced, parse_host, parse_prefix, parse_service};

/// `[[public]]`: a service that must be reached outside the tunnel (Tables 2-4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicService {
    /// The operator's name for it.
    pub name: Sourced<String>,
    /// Public addresses and prefixes; at least one.
    pub addresses: Vec<Sourced<IpNet>>,
    /// Names that resolve to these addresses.
    pub hosts: Vec<Sourced<String>>,
    /// Service records that point at them.
    pub srv: Vec<SrvRecord>,
}

/// An SRV record of a public service (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvRecord {
    /// Owner name, e.g. `_sip._tls.contoso.com`.
    pub name: Sourced<String>,
    /// Host that provides the service.
    pub target: String,
    /// Port of the service.
    pub port: u16,
    /// Lower ones are tried first; 0 unless the file says otherwise.
    pub priority: u16,
    /// Share among records of one priority; 0 unless the file says otherwise.
    pub weight: u16,
}

const NAME: Key = Key::new("name", Kind::Text(Form::Name))
    .required()
    .example("\"Access Edge\"")
    .means("Your name for it, in verdicts, logs and metrics; no two services share one")
    .since("0.1");

pub(in crate::policy) const ADDRESSES: Key = Key::new("addresses", Kind::Texts(Form::Prefix))
    .required()
    .example("[\"167.55.49.32\"]")
    .means("Addresses and prefixes as the Internet sees them, behind NAT the translated ones; routes keep them outside the tunnel")
    .since("0.1");

pub(in crate::policy) const HOSTS: Key = Key::new("hosts", Kind::Texts(Form::Host))
    .default("[]")
    .example("[\"sip.contoso.com\"]")
    .means("Names that resolve to the single addresses among `addresses`, whatever the internal DNS servers say of them")
    .since("0.1");

pub(in crate::policy) const SRV: Key = Key::new("srv", Kind::Tables(&SRV_RECORD))
    .default("[]")
    .example("[{ name = \"_sip._tls.contoso.com\", target = \"sip.contoso.com\", port = 443 }]")
    .means("Service records (RFC 2782) by which clients find the service outside")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "public",
    header: Header::Repeated,
    meaning: "A service that clients must reach outside the tunnel (Tables 2 to 4): Access, Web Conferencing and A/V Edge, \
              reverse proxy, published Exchange. Packets to it that enter the tunnel all the same are \
              forwarded as `public`, ahead of all rules for servers and media, unless `filter.leaked_public` is `\"drop\"`.",
    keys: &[NAME, ADDRESSES, HOSTS, SRV],
    examples: &[],
};

const SRV_NAME: Key = Key::new("name", Kind::Text(Form::Service))
    .required()
    .example("\"_sip._tls.contoso.com\"")
    .means("Owner name of the record")
    .since("0.1");

const SRV_TARGET: Key = Key::new("target", Kind::Text(Form::Host))
    .required()
    .example("\"sip.contoso.com\"")
    .means("Host that provides the service; clients refuse one outside the SIP domain of the record's name")
    .since("0.1");

const SRV_PORT: Key = Key::new("port", Kind::Integer(1, u16::MAX as i64))
    .required()
    .example("443")
    .means("Port of the service")
    .since("0.1");

const SRV_PRIORITY: Key = Key::new("priority", Kind::Integer(0, u16::MAX as i64))
    .default("0")
    .example("10")
    .means("Records with a lower number are tried first")
    .since("0.1");

const SRV_WEIGHT: Key = Key::new("weight", Kind::Integer(0, u16::MAX as i64))
    .default("0")
    .example("5")
    .means("Share of clients among records of one priority")
    .since("0.1");

const SRV_RECORD: SectionTable = SectionTable {
    name: "srv",
    header: Header::Inline,
    meaning: "One service record.",
    keys: &[SRV_NAME, SRV_TARGET, SRV_PORT, SRV_PRIORITY, SRV_WEIGHT],
    examples: &[],
};

/// Reads every `[[public]]`.
pub(in crate::policy) fn read(
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) -> Vec<PublicService> {
    let mut names = Names::default();
    let mut publics = Vec::new();
    for section in Section::repeated(file, &SECTION, out) {
        let name = names.read(&section, &NAME, out);
        let addresses = section.list(&ADDRESSES, parse_prefix, out);
        let hosts = section.list(&HOSTS, parse_host, out);
        let records = section.tables(&SRV, out);
        let srv = records
            .iter()
            .filter_map(|record| read_record(record, out))
            .collect();
        publics.extend(name.map(|name| PublicService {
            name,
            addresses,
            hosts,
            srv,
        }));
    }
    publics
}

fn read_record(record: &Section<'_, '_>, out: &mut Collector<'_>) -> Option<SrvRecord> {
    let name = record.string(&SRV_NAME, parse_service, out);
    let target = record.string(&SRV_TARGET, parse_host, out);
    let port = record.integer(&SRV_PORT, out);
    let priority = record.integer(&SRV_PRIORITY, out);
    let weight = record.integer(&SRV_WEIGHT, out);
    Some(SrvRecord {
        name: name?,
        target: target?.value,
        port: port?.value,
        priority: priority.map_or(0, |it| it.value),
        weight: weight.map_or(0, |it| it.value),
    })
}

impl PublicService {
    /// The addresses that its hosts resolve to: those that are not prefixes of several.
    pub fn host_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.addresses.iter().map(|prefix| prefix.value);
        addresses
            .filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len())
            .map(|prefix| prefix.addr())
    }

    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &NAME, &self.name.value)?;
        list(out, &ADDRESSES, values(&self.addresses))?;
        list(out, &HOSTS, values(&self.hosts))?;
        writeln!(out, "{} = [", SRV.name)?;
        self.srv.iter().try_for_each(|record| record.write(out))?;
        writeln!(out, "]")
    }
}

impl SrvRecord {
    fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "    {{ {} = {}, {} = {}, {} = {}, {} = {}, {} = {} }},",
            SRV_NAME.name,
            Quoted(&self.name.value),
            SRV_TARGET.name,
            Quoted(&self.target),
            SRV_PORT.name,
            self.port,
            SRV_PRIORITY.name,
            self.priority,
            SRV_WEIGHT.name,
            self.weight,
        )
    }
}
