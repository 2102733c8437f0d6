//! `[dns]`: the pin-point DNS server, and what it says about names that the other sections leave open.

use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::gateway::{GatewayOptions, MAX_LOG_RATE};
use crate::policy::diagnostic::Collector;
use crate::policy::syntax::write::{header, list, pair, raw, values};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{
    Problem, Sourced, Word, parse_endpoint, parse_host, parse_log, parse_prefix, parse_socket,
};

/// `[dns]`: the pin-point DNS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsOptions {
    /// Addresses and ports it answers on; it is not run where there is none.
    pub listen: Vec<Sourced<SocketAddr>>,
    /// SIP domains whose internal discovery names are hidden.
    pub sip_domains: Vec<Sourced<String>>,
    /// Servers that answer what is not pinned or hidden, as the file gives them; [`Policy::dns_upstreams`](crate::policy::Policy::dns_upstreams) knows the
    /// default.
    pub upstreams: Vec<Sourced<SocketAddr>>,
    /// Prefixes that are answered, as the file gives them; [`Policy::dns_clients`](crate::policy::Policy::dns_clients) knows the default.
    pub clients: Vec<Sourced<IpNet>>,
    /// TTL of pinned records and of negative answers of one's own.
    pub ttl_seconds: u16,
    /// Queries of one client that are answered within a second.
    pub queries_per_second: u32,
    /// Answers of upstreams that are kept; 0 keeps none.
    pub cache_entries: u32,
    /// Names that are answered without data, so that software keeps to this server.
    pub canaries: Vec<Sourced<Canary>>,
    /// Absolute path of the log of queries, or [`GatewayOptions::STANDARD_OUTPUT`]; `None` switches it off.
    pub query_log: Option<Sourced<String>>,
    /// Lines a second of that log at most, for each outcome.
    pub query_log_rate: u32,
}

impl DnsOptions {
    /// `dns.ttl_seconds` where the file leaves it open: clients that leave the VPN forget soon.
    pub const DEFAULT_TTL_SECONDS: u16 = 60;
    /// `dns.queries_per_second` where the file leaves it open: far above what a browser asks for.
    pub const DEFAULT_QUERIES_PER_SECOND: u32 = 100;
    /// `dns.cache_entries` where the file leaves it open.
    pub const DEFAULT_CACHE_ENTRIES: u32 = 10_000;
    /// `dns.query_log_rate` where the file leaves it open: as that of the drop log.
    pub const DEFAULT_QUERY_LOG_RATE: u32 = GatewayOptions::DROP_LOG_RATE;
    /// `dns.canaries` where the file leaves it open.
    pub const DEFAULT_CANARIES: [Canary; 2] = [Canary::Doh, Canary::Ddr];
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            sip_domains: Vec::new(),
            upstreams: Vec::new(),
            clients: Vec::new(),
            ttl_seconds: Self::DEFAULT_TTL_SECONDS,
            queries_per_second: Self::DEFAULT_QUERIES_PER_SECOND,
            cache_entries: Self::DEFAULT_CACHE_ENTRIES,
            canaries: Self::DEFAULT_CANARIES
                .map(|value| Sourced { value, line: 0 })
                .to_vec(),
            query_log: None,
            query_log_rate: Self::DEFAULT_QUERY_LOG_RATE,
        }
    }
}

/// Names by which software asks whether it may choose a resolver of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Canary {
    /// `use-application-dns.net`: Firefox leaves DNS over HTTPS off.
    Doh,
    /// `mask.icloud.com` and `mask-h2.icloud.com`: Apple's devices leave Private Relay off.
    PrivateRelay,
    /// `_dns.resolver.arpa`: nobody is led from this resolver to an encrypted one (RFC 9462).
    Ddr,
}

impl Canary {
    /// The names.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Doh => &["use-application-dns.net"],
            Self::PrivateRelay => &["mask.icloud.com", "mask-h2.icloud.com"],
            Self::Ddr => &["_dns.resolver.arpa"],
        }
    }

    /// Its word in `dns.canaries`.
    pub fn word(self) -> &'static str {
        Word::word(self)
    }
}

impl Word for Canary {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("doh", Self::Doh),
        ("private-relay", Self::PrivateRelay),
        ("ddr", Self::Ddr),
    ];
}

pub(in crate::policy) const LISTEN: Key = Key::new("listen", Kind::Texts(Form::Socket))
    .default("[]")
    .example("[\"172.16.1.1:53\"]")
    .means("Addresses and ports that the DNS server answers on; it is not run where there is none")
    .since("0.1");

pub(in crate::policy) const SIP_DOMAINS: Key = Key::new("sip_domains", Kind::Texts(Form::Host))
    .default("[]")
    .example("[\"contoso.com\"]")
    .means("SIP domains whose internal discovery names (lyncdiscoverinternal, sipinternal, _sipinternaltls._tcp, _sipinternal._tcp) do not exist for clients")
    .since("0.1");

pub(in crate::policy) const UPSTREAMS: Key = Key::new("upstreams", Kind::Texts(Form::Endpoint))
    .non_empty()
    .otherwise("`corporate.dns_servers`")
    .example("[\"10.0.0.53\"]")
    .means("Servers that answer all other names; the port is 53 where none is given")
    .since("0.1");

const CLIENTS: Key = Key::new("clients", Kind::Texts(Form::Prefix))
    .non_empty()
    .otherwise("`vpn.client_subnets`")
    .example("[\"172.16.1.0/24\"]")
    .means("Prefixes that are answered; queries from elsewhere are refused")
    .since("0.1");

const TTL_SECONDS: Key = Key::new("ttl_seconds", Kind::Integer(1, MAX_TTL_SECONDS))
    .default("60")
    .example("30")
    .means("TTL, in seconds, of the policy's own answers")
    .since("0.1");

const QUERIES_PER_SECOND: Key = Key::new(
    "queries_per_second",
    Kind::Integer(1, MAX_QUERIES_PER_SECOND),
)
.default("100")
.example("500")
.means("Queries of one client that are answered within a second")
.since("0.1");

const CACHE_ENTRIES: Key = Key::new("cache_entries", Kind::Integer(0, MAX_CACHE_ENTRIES))
    .default("10000")
    .example("50000")
    .means("Answers of upstreams that are kept, by all threads together; 0 keeps none")
    .since("0.1");

const CANARIES: Key = Key::new("canaries", Kind::words::<Canary>())
    .default("[\"doh\", \"ddr\"]")
    .example("[\"doh\"]")
    .means("Names answered without data, so that software keeps to this server: `\"doh\"` for Firefox, `\"private-relay\"` for Apple's, `\"ddr\"` for discovery of encrypted resolvers (RFC 9462)")
    .since("0.1");

const QUERY_LOG: Key = Key::new("query_log", Kind::Text(Form::Log))
    .otherwise("off")
    .example("\"/var/log/offramp/queries.jsonl\"")
    .means("Log with a JSON line for each query, sampled; it has addresses of clients")
    .since("0.1");

const QUERY_LOG_RATE: Key = Key::new("query_log_rate", Kind::Integer(1, MAX_LOG_RATE))
    .default("10")
    .example("100")
    .means("Lines of `query_log` a second, at most, for each outcome")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "dns",
    header: Header::Single,
    meaning: "The DNS server of `offramp run` and `offramp dns`, which clients ask: names of `[[public]]` have the records of \
              this policy alone, hosts of `[[server]]` and internal discovery names do not exist, and all other names are asked of \
              the upstreams.",
    keys: &[
        LISTEN,
        SIP_DOMAINS,
        UPSTREAMS,
        CLIENTS,
        TTL_SECONDS,
        QUERIES_PER_SECOND,
        CACHE_ENTRIES,
        CANARIES,
        QUERY_LOG,
        QUERY_LOG_RATE,
    ],
    examples: &[],
};

/// RFC 1035 §4.2.
pub(in crate::policy) const DNS_PORT: u16 = 53;

/// Five minutes: who has left the VPN, or came to it, is not to be held up by what the other side said.
const MAX_TTL_SECONDS: i64 = 300;

/// Beyond it, there is no limit.
const MAX_QUERIES_PER_SECOND: i64 = 1_000_000;

/// An answer takes up to some kilobytes of memory.
const MAX_CACHE_ENTRIES: i64 = 1_000_000;

/// Reads the section.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> DnsOptions {
    let defaults = DnsOptions::default();
    let Some(section) = Section::single(file, &SECTION, out) else {
        return defaults;
    };
    let listen = read_listen(&section, out);
    let sip_domains = section.list(&SIP_DOMAINS, parse_host, out);
    let upstreams = section.list(&UPSTREAMS, parse_upstream, out);
    let clients = section.list(&CLIENTS, parse_prefix, out);
    let ttl_seconds = section.integer(&TTL_SECONDS, out);
    let queries_per_second = section.integer(&QUERIES_PER_SECOND, out);
    let cache_entries = section.integer(&CACHE_ENTRIES, out);
    let canaries = if section.has(&CANARIES) {
        section.words(&CANARIES, out)
    } else {
        defaults.canaries
    };
    let query_log = section.string(&QUERY_LOG, parse_log, out);
    let query_log_rate = section.integer(&QUERY_LOG_RATE, out);
    DnsOptions {
        listen,
        sip_domains,
        upstreams,
        clients,
        ttl_seconds: ttl_seconds.map_or(defaults.ttl_seconds, |it| it.value),
        queries_per_second: queries_per_second.map_or(defaults.queries_per_second, |it| it.value),
        cache_entries: cache_entries.map_or(defaults.cache_entries, |it| it.value),
        canaries,
        query_log,
        query_log_rate: query_log_rate.map_or(defaults.query_log_rate, |it| it.value),
    }
}

/// Reads `dns.listen`.
pub(in crate::policy) fn read_listen(
    section: &Section<'_, '_>,
    out: &mut Collector<'_>,
) -> Vec<Sourced<SocketAddr>> {
    section.list(&LISTEN, parse_socket, out)
}

/// Reads an address, and a port where it is not 53.
fn parse_upstream(text: &str) -> Result<SocketAddr, Problem> {
    let (address, port) = parse_endpoint(text)?;
    Ok(SocketAddr::new(address, port.unwrap_or(DNS_PORT)))
}

impl DnsOptions {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        list(out, &LISTEN, values(&self.listen))?;
        list(out, &SIP_DOMAINS, values(&self.sip_domains))?;
        if !self.upstreams.is_empty() {
            list(out, &UPSTREAMS, values(&self.upstreams))?;
        }
        if !self.clients.is_empty() {
            list(out, &CLIENTS, values(&self.clients))?;
        }
        raw(out, &TTL_SECONDS, self.ttl_seconds)?;
        raw(out, &QUERIES_PER_SECOND, self.queries_per_second)?;
        raw(out, &CACHE_ENTRIES, self.cache_entries)?;
        let canaries = values(&self.canaries).map(|canary| canary.word());
        list(out, &CANARIES, canaries)?;
        if let Some(place) = &self.query_log {
            pair(out, &QUERY_LOG, &place.value)?;
        }
        raw(out, &QUERY_LOG_RATE, self.query_log_rate)
    }
}
