//! `[dns]`: the pin-point DNS server, and what it says about names that the other sections leave open.
//!
//! ```toml
//! [dns]
//! listen = ["172.16.1.1:53"]            # none: no DNS server is run
//! sip_domains = ["contoso.com"]         # their internal discovery names are hidden
//! upstreams = ["10.0.0.53", "10.0.1.53:5353"]   # default corporate.dns_servers, port 53
//! clients = ["172.16.1.0/24"]           # who is answered; default vpn.client_subnets
//! ttl_seconds = 60                      # of pinned and hidden names, 1 to 300
//! queries_per_second = 100              # of one client, 1 to 1000000
//! cache_entries = 10000                 # answers of upstreams that are kept, 0 to 1000000
//! canaries = ["doh", "ddr"]             # default; "private-relay" by choice
//! query_log = "/var/log/offramp/queries.jsonl"  # a file or "-"; none: queries are not logged
//! query_log_rate = 10                   # lines a second for each outcome, 1 to 1000
//! ```

use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;

use crate::policy::diagnostic::Collector;
use crate::policy::meaning::{GatewayOptions, Policy, Sourced};
use crate::policy::print::{list, pair, values};
use crate::policy::read::{MAX_LOG_RATE, single};
use crate::policy::syntax::file::PolicyFile;
use crate::policy::syntax::section::{Need, parse_word};
use crate::policy::value::Problem;
use crate::policy::value::{parse_endpoint, parse_prefix, parse_socket};
use crate::policy::value::{parse_host, parse_log};

/// `[dns]`: the pin-point DNS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsOptions {
    /// Addresses and ports it answers on; it is not run where there is none.
    pub listen: Vec<Sourced<SocketAddr>>,
    /// SIP domains whose internal discovery names are hidden.
    pub sip_domains: Vec<Sourced<String>>,
    /// Servers that answer what is not pinned or hidden, as the file gives them; [`Policy::dns_upstreams`] knows the
    /// default.
    pub upstreams: Vec<Sourced<SocketAddr>>,
    /// Prefixes that are answered, as the file gives them; [`Policy::dns_clients`] knows the default.
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

    /// Writes the section as TOML.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n[dns]")?;
        list(out, "listen", values(&self.listen))?;
        list(out, "sip_domains", values(&self.sip_domains))?;
        if !self.upstreams.is_empty() {
            list(out, "upstreams", values(&self.upstreams))?;
        }
        if !self.clients.is_empty() {
            list(out, "clients", values(&self.clients))?;
        }
        writeln!(out, "ttl_seconds = {}", self.ttl_seconds)?;
        writeln!(out, "queries_per_second = {}", self.queries_per_second)?;
        writeln!(out, "cache_entries = {}", self.cache_entries)?;
        list(
            out,
            "canaries",
            values(&self.canaries).map(|canary| canary.word()),
        )?;
        if let Some(place) = &self.query_log {
            pair(out, "query_log", &place.value)?;
        }
        writeln!(out, "query_log_rate = {}", self.query_log_rate)
    }
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
    pub const fn word(self) -> &'static str {
        match self {
            Self::Doh => "doh",
            Self::PrivateRelay => "private-relay",
            Self::Ddr => "ddr",
        }
    }
}

impl Policy {
    /// The servers that answer what is not pinned or hidden: `dns.upstreams`, else `corporate.dns_servers` at port 53.
    pub fn dns_upstreams(&self) -> Vec<Sourced<SocketAddr>> {
        if !self.dns.upstreams.is_empty() {
            return self.dns.upstreams.clone();
        }
        let servers = self.corporate.dns_servers.iter();
        let upstreams = servers.map(|server| Sourced {
            value: SocketAddr::new(server.value, DNS_PORT),
            line: server.line,
        });
        upstreams.collect()
    }

    /// Prefixes that are answered: `dns.clients`, else `vpn.client_subnets`.
    pub fn dns_clients(&self) -> &[Sourced<IpNet>] {
        if self.dns.clients.is_empty() {
            &self.vpn.client_subnets
        } else {
            &self.dns.clients
        }
    }
}

/// Reads `[dns]`.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> DnsOptions {
    let Some(section) = single(file, "dns", DNS_KEYS, out) else {
        return DnsOptions::default();
    };
    let defaults = DnsOptions::default();
    let example = "[\"172.16.1.1:53\"]";
    let listen = section.list("listen", Need::Optional, example, parse_socket, out);
    let example = "[\"contoso.com\"]";
    let sip_domains = section.list("sip_domains", Need::Optional, example, parse_host, out);
    let example = "[\"10.0.0.53\"]";
    let upstreams = section.list("upstreams", Need::NonEmpty, example, parse_upstream, out);
    let example = "[\"172.16.1.0/24\"]";
    let clients = section.list("clients", Need::NonEmpty, example, parse_prefix, out);
    let ttl_seconds = section.integer("ttl_seconds", 1..=MAX_TTL_SECONDS, out);
    let queries_per_second = section.integer("queries_per_second", 1..=MAX_QUERIES_PER_SECOND, out);
    let cache_entries = section.integer("cache_entries", 0..=MAX_CACHE_ENTRIES, out);
    let canaries = match section.value("canaries") {
        Some(_) => section.list("canaries", Need::Optional, "[\"doh\"]", parse_canary, out),
        None => defaults.canaries,
    };
    let query_log = section.string("query_log", parse_log, out);
    let query_log_rate = section.integer("query_log_rate", 1..=MAX_LOG_RATE, out);
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

/// Reads an address, and a port where it is not 53.
fn parse_upstream(text: &str) -> Result<SocketAddr, Problem> {
    let (address, port) = parse_endpoint(text)?;
    Ok(SocketAddr::new(address, port.unwrap_or(DNS_PORT)))
}

fn parse_canary(text: &str) -> Result<Canary, Problem> {
    let words =
        [Canary::Doh, Canary::PrivateRelay, Canary::Ddr].map(|canary| (canary.word(), canary));
    parse_word("canaries", text, &words)
}

/// The keys of the section.
pub(in crate::policy) const DNS_KEYS: &[&str] = &[
    "listen",
    "sip_domains",
    "upstreams",
    "clients",
    "ttl_seconds",
    "queries_per_second",
    "cache_entries",
    "canaries",
    "query_log",
    "query_log_rate",
];

/// RFC 1035 §4.2.
pub(in crate::policy) const DNS_PORT: u16 = 53;

/// Five minutes: who has left the VPN, or came to it, is not to be held up by what the other side said.
const MAX_TTL_SECONDS: u16 = 300;

/// Beyond it, there is no limit.
const MAX_QUERIES_PER_SECOND: u32 = 1_000_000;

/// An answer takes up to some kilobytes of memory.
const MAX_CACHE_ENTRIES: u32 = 1_000_000;
