//! [`Policy`]: what one policy file means, free of syntax.
//!
//! Every value here is valid by construction; [`Sourced`] keeps the line of the file it was written on, so that
//! `explain` can point at it. Two policies are equal when they mean the same and stand on the same lines.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::address::PrefixSet;

use crate::policy::section::dns::DnsOptions;
use crate::policy::section::test::Expectation;

pub use crate::feed::EntryKey;
pub use crate::policy::value::{PortRange, Protocol, ProtocolSet, Sourced};

use crate::policy::value::{Product, STANDARD_OUTPUT};

/// Which rules an `[[allow]]` lifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lifts {
    /// Verdict order 6: media ports at corporate and client addresses.
    pub media: bool,
    /// Verdict order 5: all ports of the `[[server]]` addresses.
    pub servers: bool,
}

/// `[vpn]`: who the clients are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpnOptions {
    /// Names of the interfaces that the VPN daemon makes; a trailing `*` matches any rest (`vpns*` for ocserv).
    pub interfaces: Vec<Sourced<String>>,
    /// Addresses of the VPN clients; at least one.
    pub client_subnets: Vec<Sourced<IpNet>>,
}

impl VpnOptions {
    /// The addresses of the clients as a set.
    pub fn client_addresses(&self) -> PrefixSet {
        self.client_subnets.iter().map(|pool| pool.value).collect()
    }
}

/// `[corporate]`: what is internal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Corporate {
    /// Internal prefixes: the destinations of Table 1, row 1.
    pub subnets: Vec<Sourced<IpNet>>,
    /// Internal DNS servers.
    pub dns_servers: Vec<Sourced<IpAddr>>,
}

/// How media is told from other traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MediaMatch {
    /// By destination port, as the article's Table 1 is written.
    #[default]
    Ports,
}

/// `[media]`: Table 1, row 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaOptions {
    /// Destination ports that carry peer-to-peer media; 1024-65535 unless the file says otherwise.
    pub ports: Vec<Sourced<PortRange>>,
    /// How media is recognized.
    pub recognition: MediaMatch,
}

/// Treatment of a packet whose source is not in `vpn.client_subnets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UnknownSource {
    /// Forward it as `not-a-client`.
    #[default]
    Forward,
    /// Drop it as `spoofed-source`.
    Drop,
}

/// Treatment of a packet to a public service that enters the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LeakedPublic {
    /// Forward it and count the leak.
    #[default]
    Forward,
    /// Drop it, so that the client falls back to its direct path.
    Drop,
}

/// `[filter]`: choices the article leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilterOptions {
    /// `filter.unknown_source`.
    pub unknown_source: UnknownSource,
    /// `filter.leaked_public`.
    pub leaked_public: LeakedPublic,
}

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

impl PublicService {
    /// The addresses that its hosts resolve to: those that are not prefixes of several.
    pub fn host_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.addresses.iter().map(|prefix| prefix.value);
        addresses
            .filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len())
            .map(|prefix| prefix.addr())
    }
}

/// Format of a `[[feed]]` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedFormat {
    /// Microsoft 365 endpoints web service, JSON.
    Microsoft365,
    /// One prefix a line.
    Prefixes,
}

/// `[[feed]]`: public prefixes that somebody else publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// The operator's name for it.
    pub name: Sourced<String>,
    /// How the file is written.
    pub format: FeedFormat,
    /// Path of the file, relative to the policy file.
    pub file: Sourced<String>,
    /// Service areas to take; all when empty.
    pub service_areas: Vec<Sourced<String>>,
    /// Categories to take; all when empty.
    pub categories: Vec<Sourced<String>>,
    /// The entries that are taken: all, or only those that the publisher does not call optional.
    pub entries: EntryChoice,
    /// URL from which `offramp feed fetch` gets the file; the publisher's own where the format has one.
    pub url: Option<Sourced<String>>,
    /// Age of the file from which `offramp check` warns.
    pub max_age_days: u16,
    /// Treatment of prefixes so wide that they would empty the tunnel.
    pub wide_prefixes: WidePrefixes,
    /// Contents of the file, once [`Policy::take_feed`] has read it. No part of the policy file, so printing leaves it out.
    pub prefixes: Option<Vec<FeedPrefix>>,
}

impl Feed {
    /// `max_age_days` where the file leaves it open: Microsoft announces additions 30 days ahead.
    pub const DEFAULT_MAX_AGE_DAYS: u16 = 30;
}

/// A prefix that a feed publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedPrefix {
    /// The prefix.
    pub prefix: IpNet,
    /// The entry of the feed that has it.
    pub entry: EntryKey,
}

/// Which entries of a Microsoft 365 feed are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EntryChoice {
    /// All that the service areas and categories leave.
    #[default]
    All,
    /// Only those that Microsoft calls required.
    Required,
}

/// Treatment of a feed with prefixes so wide that they would empty the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WidePrefixes {
    /// The feed is refused.
    #[default]
    Refuse,
    /// They are taken as they are.
    Accept,
}

/// Which addresses enter the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TunnelMode {
    /// Only internal prefixes enter.
    #[default]
    Split,
    /// Everything enters but the excluded prefixes.
    Full,
}

/// `[routes]`: what the VPN pushes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteOptions {
    /// `routes.tunnel`.
    pub tunnel: TunnelMode,
    /// Public addresses of the concentrator, to which clients connect: never inside the tunnel that they carry.
    pub gateways: Vec<Sourced<IpAddr>>,
}

/// How much the gateway diverts from the kernel's path.
///
/// Whatever is left in the kernel is not judged, and not counted. Fragments, and packets with IP options or extension headers,
/// are diverted under every scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DivertScope {
    /// Everything that enters from the VPN.
    All,
    /// Packets to the policy's destination prefixes.
    Policy,
    /// Packets that a rule could drop or count: to servers and public services, to media ports at corporate and client
    /// addresses, and to those whatever hides its ports.
    #[default]
    Suspects,
}

/// Treatment of traffic while the filter is not running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FailMode {
    /// Traffic passes unfiltered.
    #[default]
    Open,
    /// Diverted traffic stops.
    Closed,
}

/// Two adjacent bits of a packet's firewall mark, by which the kernel knows what to divert.
///
/// The three values that are not 0 each lead to a route table of their own. The other 30 bits belong to whoever else marks
/// packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MarkBits {
    mask: u32,
}

impl MarkBits {
    /// Bits that the usual users of marks leave alone: Kubernetes, Calico, Tailscale and Docker keep to the lower half,
    /// or to bits 14 to 23.
    pub const DEFAULT: Self = Self { mask: 0x3000_0000 };

    /// The two bits that are set in `mask`; `None` unless they are two, side by side.
    pub const fn new(mask: u32) -> Option<Self> {
        if mask != 0 && mask >> mask.trailing_zeros() == 0b11 {
            Some(Self { mask })
        } else {
            None
        }
    }

    /// Both bits.
    pub const fn mask(self) -> u32 {
        self.mask
    }

    /// A packet of which nothing special is known.
    pub const fn ordinary(self) -> u32 {
        1 << self.mask.trailing_zeros()
    }

    /// A packet that goes to the filter wherever it goes.
    pub const fn anywhere(self) -> u32 {
        self.mask ^ self.ordinary()
    }

    /// A packet that may be media.
    pub const fn may_be_media(self) -> u32 {
        self.mask
    }
}

/// `[gateway]`: diversion, workers, fail mode, metrics address, drop log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayOptions {
    /// `gateway.divert`.
    pub divert: DivertScope,
    /// Name of the filter's tun device; `None` is [`GatewayOptions::DEVICE`].
    pub device: Option<Sourced<String>>,
    /// Bits of the firewall mark; `None` is [`MarkBits::DEFAULT`].
    pub mark: Option<Sourced<MarkBits>>,
    /// The first of the three route tables that lead to the filter; `None` is [`GatewayOptions::TABLE`].
    pub table: Option<Sourced<u32>>,
    /// Worker threads; `None` lets the gateway choose.
    pub workers: Option<u16>,
    /// Real-time priority of the workers (SCHED_FIFO, 1 to 99); `None` leaves them to the ordinary scheduler.
    pub realtime: Option<u8>,
    /// Processors that the workers keep to, each to its share of them; empty for any.
    pub cpus: Vec<Sourced<u16>>,
    /// `gateway.on_failure`.
    pub on_failure: FailMode,
    /// Path of the control socket; `None` is [`GatewayOptions::CONTROL`].
    pub control: Option<Sourced<String>>,
    /// Address of the metrics endpoint; `None` switches it off.
    pub metrics: Option<Sourced<SocketAddr>>,
    /// Absolute path of the log of dropped packets, or [`GatewayOptions::STANDARD_OUTPUT`]; `None` switches it off.
    pub drop_log: Option<Sourced<String>>,
    /// Lines a second at most for each reason; `None` is [`GatewayOptions::DROP_LOG_RATE`].
    pub drop_log_rate: Option<Sourced<u32>>,
}

impl GatewayOptions {
    /// The filter's tun device where the file names none.
    pub const DEVICE: &'static str = "offramp0";
    /// The first route table where the file names none; above the 256 that are usually given names.
    pub const TABLE: u32 = 28_528;
    /// The control socket where the file names none.
    pub const CONTROL: &'static str = "/run/offramp/control.sock";
    /// Name that stands for standard output.
    pub const STANDARD_OUTPUT: &'static str = STANDARD_OUTPUT;
    /// Lines a second of the drop log, for each reason, where the file leaves it open: to read along, and for no disk a load.
    pub const DROP_LOG_RATE: u32 = 10;
}

/// `[[endpoint]]`: a client program that Windows Firewall keeps off the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The operator's name for it.
    pub name: Sourced<String>,
    /// The product whose programs they are; at least one program without it.
    pub product: Option<Sourced<Product>>,
    /// Paths of programs, beside those of the product.
    pub programs: Vec<Sourced<String>>,
    /// The network profile under which its rules hold.
    pub profile: FirewallProfile,
    /// The kind of interface on which its rules hold.
    pub interface_type: InterfaceType,
    /// The client's own addresses; `vpn.client_subnets` when empty.
    pub local: Vec<Sourced<IpNet>>,
    /// Addresses at which it is blocked; corporate and client subnets and servers, without what is public, when empty.
    pub remote: Vec<Sourced<IpNet>>,
}

/// Windows Firewall's network profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FirewallProfile {
    /// Networks on which the computer reaches its domain.
    Domain,
    /// Networks marked as private.
    Private,
    /// All other networks.
    Public,
    /// Every network; the rules' local address keeps them to the VPN.
    #[default]
    Any,
}

/// Windows Firewall's kinds of interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum InterfaceType {
    /// The VPN that Windows itself makes; third-party clients' adapters are not of this kind.
    RemoteAccess,
    /// Wired LAN, most third-party VPN adapters included.
    Wired,
    /// Wireless LAN.
    Wireless,
    /// Every interface; the rules' local address keeps them to the VPN.
    #[default]
    Any,
}

/// The meaning of one policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Name of the file, for messages.
    pub origin: String,
    /// `[vpn]`.
    pub vpn: VpnOptions,
    /// `[corporate]`.
    pub corporate: Corporate,
    /// `[media]`.
    pub media: MediaOptions,
    /// `[filter]`.
    pub filter: FilterOptions,
    /// `[[server]]`, in file order.
    pub servers: Vec<Server>,
    /// `[[allow]]`, in file order.
    pub allows: Vec<Allow>,
    /// `[[public]]`, in file order.
    pub publics: Vec<PublicService>,
    /// `[[feed]]`, in file order.
    pub feeds: Vec<Feed>,
    /// `[routes]`.
    pub routes: RouteOptions,
    /// `[dns]`.
    pub dns: DnsOptions,
    /// `[gateway]`.
    pub gateway: GatewayOptions,
    /// `[[endpoint]]`, in file order.
    pub endpoints: Vec<Endpoint>,
    /// `[[test]]`, in file order.
    pub tests: Vec<Expectation>,
}
