//! The diversion by nftables: packets of clients are marked, and marked packets are routed to the filter.
//!
//! [`Diversion`] is the plan that follows from a policy, [`Installation`] the plan in the kernel.
//!
//! ```text
//!  tun0, vpns*    nftables, prerouting           ip rules               route tables
//!  ──────────▶  marks what enters from   ──▶  900: ordinary      ──▶  28528: 10.1.0.10   dev offramp0
//!  a client's   vpn.interfaces                901: anywhere      ──▶  28529: default     dev offramp0
//!  packet                                     902: may be media  ──▶  28530: 10.0.0.0/8  dev offramp0
//!                                             32766: main
//!                                                                             │ offramp0
//!  eth1, tun0 ◀── routed by main, as before ◀── no mark: it entered ◀─ Judge ◀┘
//!                                               from offramp0
//! ```
//!
//! Ports belong in the marks, where one comparison tells them apart, and prefixes in the routes, where thousands cost
//! as much as one. Under [`DivertScope::Suspects`] a packet to a media port may be media, and so may a truncated
//! header. It goes to the filter if a rule speaks of its destination at all. An ordinary packet goes there only where
//! every port matters: to servers, and to public services, which are counted. Packets whose first header does not tell
//! all go there in any case: fragments, IPv4 options and IPv6 extension headers, which may be source routes.
//!
//! A packet that finds no route in its table takes the main one: it never leaves the kernel. Packets on their way to
//! the filter are not tracked, so that connection tracking and NAT see them once, behind the filter. The kernel chooses
//! the packets to look at; the judge gives the verdict.
//!
//! Why a mark, and not `ip rule iif`: interface names with a `*` match nothing there, and strict reverse path filters on
//! the uplink would drop the answers. Why not `ip rule dport`: it sees no port on any fragment, not even the first.
//!
//! Leftovers of a killed process are recognized: one nftables table by its name, routes and rules by a routing protocol number
//! of their own.

mod cleared;
mod install;
mod ipsec;
mod marks;
pub(super) mod nft;
mod observe;
mod preflight;
mod route;
mod selftest;

pub use install::{DivertError, Installation};

use std::fmt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::firewall::Passage;
use super::netlink;
use super::{DivertPlan, DivertSummary};
use crate::address::{Family, PortSet, PrefixSet};
use crate::filter::{CompiledPolicy, Generation};
use crate::plan::{diverted, diverted_on_every_port};
use crate::policy::{DivertScope, FailMode, GatewayOptions, MarkBits, PortRange, UnknownSource};

/// The kernel state that one policy needs: marks, routing rules and routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diversion {
    /// The interfaces on which clients' packets enter; a trailing `*` matches any suffix.
    pub interfaces: Vec<String>,
    /// The share of the traffic that is diverted.
    pub scope: DivertScope,
    /// The prefixes of the clients.
    pub clients: Vec<IpNet>,
    /// Every destination that a rule speaks of, as few prefixes as cover them; empty under [`DivertScope::All`].
    pub destinations: Vec<IpNet>,
    /// The destinations where every port matters: servers and public services; empty except under
    /// [`DivertScope::Suspects`].
    pub on_every_port: Vec<IpNet>,
    /// The media ports, ascending, no two adjacent; empty except under [`DivertScope::Suspects`].
    pub media_ports: Vec<PortRange>,
    /// The policy's generation: flows that another has cleared are marked.
    pub generation: Generation,
    /// The fate of diverted packets while nobody reads them.
    pub on_failure: FailMode,
    /// The filter's tun device.
    pub device: String,
    /// The bits of the firewall mark.
    pub mark: MarkBits,
    /// The route table of ordinary packets; those that may go anywhere have the next, those that may be media the one after.
    pub table: u32,
}

/// A rule of the routing policy database: packets with `mark` are looked up in `table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkRule {
    /// The rule's priority; a lower one is looked up earlier.
    pub priority: u32,
    /// The mark that it matches, under [`Diversion::mark`].
    pub mark: u32,
    /// The table that it leads to.
    pub table: u32,
}

/// A route to the filter, or a blackhole while the filter is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DivertRoute {
    /// The route table that holds it.
    pub table: u32,
    /// The destinations that it covers.
    pub prefix: IpNet,
    /// The route's target.
    pub target: RouteTarget,
}

/// The target of one of the diversion's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteTarget {
    /// To the filter's tun device; gone when the device is gone.
    Filter,
    /// A blackhole, behind the route to the filter: it keeps the gateway closed after its process was killed.
    Blackhole,
}

impl Diversion {
    /// True if flows that the filter has cleared are not marked any more: where media ports are what is diverted.
    fn clears(&self) -> bool {
        self.scope == DivertScope::Suspects
    }

    /// The packets that meet the host's firewalls twice.
    fn passage(&self) -> Passage {
        let has = |is: fn(&IpNet) -> bool| {
            self.scope == DivertScope::All || self.destinations.iter().any(is)
        };
        let mut families = Vec::new();
        if has(|it| matches!(it, IpNet::V4(_))) {
            families.push(Family::V4);
        }
        if has(|it| matches!(it, IpNet::V6(_))) {
            families.push(Family::V6);
        }
        Passage {
            interfaces: self.interfaces.clone(),
            device: self.device.clone(),
            families,
            clients: self.clients.clone(),
        }
    }

    /// The mark of a packet to `port` that shows its headers.
    fn mark_of(&self, port: u16) -> u32 {
        let may_be_media = self.media_ports.iter().any(|it| it.contains(port));
        match self.scope {
            DivertScope::All => self.mark.anywhere(),
            DivertScope::Suspects if may_be_media => self.mark.may_be_media(),
            DivertScope::Suspects | DivertScope::Policy => self.mark.ordinary(),
        }
    }

    /// Priority of the first rule: after the table of local addresses (0), before everything that may route clients.
    pub const FIRST_PRIORITY: u32 = 900;
    /// Metric of blackhole routes: any other route to the same prefix is better.
    pub const BLACKHOLE_METRIC: u32 = 0xff00_0000;
    /// The routing protocol number of our routes and rules (`RTPROT_*`): none of those that iproute2 has names for.
    pub const PROTOCOL: u8 = 111;

    /// The rules, the same for IPv4 and IPv6.
    pub fn rules(&self) -> Vec<MarkRule> {
        let rule = |number, mark| MarkRule {
            priority: Self::FIRST_PRIORITY + number,
            mark,
            table: self.table + number,
        };
        let ordinary = rule(0, self.mark.ordinary());
        let anywhere = rule(1, self.mark.anywhere());
        let may_be_media = rule(2, self.mark.may_be_media());
        match self.scope {
            DivertScope::All => vec![anywhere],
            DivertScope::Policy => vec![ordinary, anywhere],
            DivertScope::Suspects => vec![ordinary, anywhere, may_be_media],
        }
    }

    /// The routes, sorted.
    pub fn routes(&self) -> Vec<DivertRoute> {
        let everywhere = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let (ordinary, may_be_media): (&[IpNet], &[IpNet]) = match self.scope {
            DivertScope::All => (&[], &[]),
            DivertScope::Policy => (&self.destinations, &[]),
            DivertScope::Suspects => (&self.on_every_port, &self.destinations),
        };
        let tables = [ordinary, &everywhere, may_be_media];
        let targets: &[_] = match self.on_failure {
            FailMode::Open => &[RouteTarget::Filter],
            FailMode::Closed => &[RouteTarget::Filter, RouteTarget::Blackhole],
        };
        let mut routes = Vec::new();
        for (table, prefixes) in (self.table..).zip(tables) {
            for &prefix in prefixes {
                routes.extend(targets.iter().map(|&target| DivertRoute {
                    table,
                    prefix,
                    target,
                }));
            }
        }
        routes.sort_unstable();
        routes
    }
}

impl DivertPlan for Diversion {
    fn of(policy: &CompiledPolicy) -> Self {
        let generation = policy.generation();
        let policy = policy.policy();
        let gateway = &policy.gateway;
        // A packet from an unknown source may go anywhere.
        let scope = match policy.filter.unknown_source {
            UnknownSource::Forward => gateway.divert,
            UnknownSource::Drop => DivertScope::All,
        };
        let destinations = match scope {
            DivertScope::All => PrefixSet::default(),
            DivertScope::Policy | DivertScope::Suspects => diverted(policy),
        };
        let (on_every_port, media_ports) = match scope {
            DivertScope::All | DivertScope::Policy => (PrefixSet::default(), Vec::new()),
            DivertScope::Suspects => (
                diverted_on_every_port(policy),
                PortSet::from_iter(policy.media.ports.iter().map(|it| it.value))
                    .ranges()
                    .to_vec(),
            ),
        };
        Self {
            interfaces: policy
                .vpn
                .interfaces
                .iter()
                .map(|name| name.value.clone())
                .collect(),
            scope,
            clients: policy
                .vpn
                .client_subnets
                .iter()
                .map(|prefix| prefix.value)
                .collect(),
            destinations: destinations.prefixes().collect(),
            on_every_port: on_every_port.prefixes().collect(),
            media_ports,
            generation,
            on_failure: gateway.on_failure,
            device: gateway.device.as_ref().map_or_else(
                || GatewayOptions::DEVICE.to_owned(),
                |device| device.value.clone(),
            ),
            mark: gateway
                .mark
                .map_or(MarkBits::DEFAULT, |sourced| sourced.value),
            table: gateway
                .table
                .map_or(GatewayOptions::TABLE, |sourced| sourced.value),
        }
    }

    fn summary(&self) -> DivertSummary {
        DivertSummary {
            interfaces: self.interfaces.clone(),
            device: self.device.clone(),
            scope: self.scope,
            prefixes: self.destinations.len(),
            on_failure: self.on_failure,
        }
    }

    fn keys_for_restart(&self, running: &Self) -> Vec<&'static str> {
        let keys = [
            ("gateway.device", running.device != self.device),
            ("gateway.mark", running.mark != self.mark),
            ("gateway.table", running.table != self.table),
        ];
        let changed = keys.iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| *key).collect()
    }
}

/// Prints the commands for `ip`, as `--dry-run` shows them.
impl fmt::Display for Diversion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "# the filter's device, from which everything else follows"
        )?;
        let device = &self.device;
        writeln!(out, "ip tuntap add dev {device} mode tun vnet_hdr")?;
        writeln!(
            out,
            "ip link set {device} mtu {} txqueuelen {} up",
            netlink::DEVICE_MTU,
            netlink::DEVICE_TX_QUEUE
        )?;
        writeln!(
            out,
            "ip address add {}/32 dev {device}",
            netlink::DEVICE_ADDRESS
        )?;
        writeln!(out, "tc qdisc add dev {device} ingress")?;
        for setting in install::SETTINGS {
            writeln!(out, "sysctl -w {}={}", setting.key(device), setting.value())?;
        }
        writeln!(out, "\n# what is marked goes to the filter")?;
        for DivertRoute {
            table,
            prefix,
            target,
        } in self.routes()
        {
            let family = family_flag(prefix);
            let protocol = Self::PROTOCOL;
            match target {
                RouteTarget::Filter => writeln!(
                    out,
                    "ip {family} route add {prefix} dev {device} table {table} protocol {protocol}"
                )?,
                RouteTarget::Blackhole => writeln!(
                    out,
                    "ip {family} route add blackhole {prefix} metric {} table {table} protocol {protocol}",
                    Self::BLACKHOLE_METRIC
                )?,
            }
        }
        for family in ["-4", "-6"] {
            for MarkRule {
                priority,
                mark,
                table,
            } in self.rules()
            {
                writeln!(
                    out,
                    "ip {family} rule add priority {priority} fwmark {mark:#x}/{:#x} table {table} protocol {}",
                    self.mark.mask(),
                    Self::PROTOCOL
                )?;
            }
        }
        writeln!(out, "\n# what enters from the VPN is marked (nft -f)")?;
        write!(out, "{}", nft::table(self))
    }
}

const fn family_flag(prefix: IpNet) -> &'static str {
    match prefix {
        IpNet::V4(_) => "-4",
        IpNet::V6(_) => "-6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::host::sample;

    fn diversion(options: &str) -> Diversion {
        Diversion::of(&sample::compiled(
            &format!(
                "[[server]]\nname = \"pool\"\naddresses = [\"10.1.0.10\"]\n\
             [[public]]\nname = \"Edge\"\naddresses = [\"167.55.49.32\", \"167.55.49.33\"]\n{options}"
            ),
            1,
        ))
    }

    #[test]
    fn the_prefixes_of_the_policy_are_diverted_and_nothing_is_written_twice() {
        let prefixes: Vec<String> = diversion("")
            .destinations
            .iter()
            .map(ToString::to_string)
            .collect();
        let wanted = [
            "10.0.0.0/8",
            "167.55.49.32/31",
            "172.16.1.0/24",
            "fd00:1::/64",
            "fd00:2::/48",
        ];
        assert_eq!(prefixes, wanted);
    }

    #[test]
    fn all_that_enters_is_diverted_where_unknown_sources_are_dropped() {
        let diversion = diversion("[filter]\nunknown_source = \"drop\"\n");
        assert_eq!(diversion.scope, DivertScope::All);
        assert_eq!(diversion.destinations, []);
    }

    #[test]
    fn media_ports_are_written_in_as_few_ranges_as_there_are() {
        let options = "[media]\nports = [\"5000-5099\", \"50000\", \"5100-6000\", \"5050-5060\", \"65535\"]\n";
        let ranges = diversion(options).media_ports;
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        assert_eq!(ranges, ["5000-6000", "50000", "65535"]);
    }

    #[test]
    fn an_ordinary_packet_is_a_suspect_only_where_every_port_matters() {
        let diversion = diversion("");
        let prefixes: Vec<String> = diversion
            .routes()
            .iter()
            .filter(|route| route.table == diversion.table)
            .map(|route| route.prefix.to_string())
            .collect();
        assert_eq!(prefixes, ["10.1.0.10/32", "167.55.49.32/31"]);
    }

    #[test]
    fn a_closed_gateway_has_a_blackhole_behind_every_route() {
        let open = diversion("").routes();
        let closed = diversion("[gateway]\non_failure = \"closed\"\n").routes();
        assert!(open.iter().all(|route| route.target == RouteTarget::Filter));
        assert_eq!(closed.len(), 2 * open.len());
        for route in open {
            let target = RouteTarget::Blackhole;
            assert!(
                closed.contains(&DivertRoute { target, ..route }),
                "{route:?}"
            );
        }
    }
}
