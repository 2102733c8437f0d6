//! [`Scene`]: the participants of a predicted call and their addresses.
//!
//! A policy names prefixes, but a call needs addresses. They are taken from the policy if it has them; homes and the
//! company's NAT get documentation addresses (RFC 5737, RFC 3849) that the policy does not cover.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Call, Side};
use crate::address::{Family, PrefixSet};
use crate::plan::RoutePlan;
use crate::policy::{Policy, PortRange, PublicService, Server};

/// Addresses of a host in both families, each optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostAddresses {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl HostAddresses {
    /// Returns both, IPv6 first (RFC 8421 §4).
    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        let v6 = self.v6.map(IpAddr::V6);
        v6.into_iter().chain(self.v4.map(IpAddr::V4))
    }

    /// Returns `true` if one of them is `address`.
    pub fn has(self, address: IpAddr) -> bool {
        self.iter().any(|own| own == address)
    }

    /// Returns the address of the same family as `other`.
    pub fn like(self, other: IpAddr) -> Option<IpAddr> {
        self.iter().find(|own| own.is_ipv4() == other.is_ipv4())
    }

    fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut found = Self::default();
        for address in addresses {
            match address {
                IpAddr::V4(address) => _ = found.v4.get_or_insert(address),
                IpAddr::V6(address) => _ = found.v6.get_or_insert(address),
            }
        }
        found
    }
}

/// One party of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The location of the party.
    pub side: Side,
    /// Addresses in the tunnel; only VPN clients have them.
    pub tunnel: HostAddresses,
    /// Addresses on its local network: home or office.
    pub local: HostAddresses,
    /// Public addresses of its home.
    pub home: HostAddresses,
    /// The relay announced to it at sign-in.
    pub relay: HostAddresses,
    /// The place of sign-in, which determines the relay.
    pub registration: Registration,
}

/// The place where a client has signed in; it decides which interface of the Edge is announced to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Registration {
    /// At the Front End, which announces the Edge's internal interface.
    Internal,
    /// At the Access Edge or in the cloud, which announce the public relay.
    External,
}

/// The relay of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// The service of the policy; `None` if the policy names none and a relay on the Internet is assumed.
    pub name: Option<String>,
    /// Its public addresses.
    pub public: HostAddresses,
    /// The internal interface of the Edge, if the policy names one.
    pub inside: HostAddresses,
}

/// All participants and their addresses.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) parties: [Party; 2],
    pub(super) relay: Relay,
    /// The company's NAT towards the Internet.
    pub(super) company: Ipv4Addr,
    /// The media port of all parties.
    pub(super) port: u16,
    /// Client and corporate addresses.
    pub(super) internal: PrefixSet,
    /// Client addresses.
    pub(super) clients: PrefixSet,
    /// Documentation addresses that stand for public addresses missing from the policy.
    pub(super) stand_ins: Vec<IpAddr>,
}

impl Scene {
    /// Builds the scene of `call`, with VPN clients signed in as `registered` says.
    pub(super) fn new(
        policy: &Policy,
        plan: &RoutePlan,
        call: &Call,
        registered: Registration,
    ) -> Self {
        let clients: PrefixSet = values(&policy.vpn.client_subnets).collect();
        let corporate: PrefixSet = values(&policy.corporate.subnets).collect();
        let internal = clients.union(&corporate);
        let spoken_of: PrefixSet = plan.sources.iter().map(|it| it.prefix).collect();
        let free = |candidates: &[[u8; 4]]| {
            let mut candidates = candidates.iter().map(|octets| Ipv4Addr::from(*octets));
            let last = candidates.clone().next_back();
            let free = candidates.find(|address| !spoken_of.contains(IpAddr::V4(*address)));
            free.or(last).unwrap_or(Ipv4Addr::new(198, 51, 100, 2))
        };
        let relay = match call.relay {
            Some(address) => Relay {
                name: relay_named_by(policy, address),
                public: HostAddresses::of([address]),
                inside: edge_inside(policy),
            },
            None => relay(policy).unwrap_or_else(|| Relay {
                name: None,
                public: HostAddresses {
                    v4: Some(free(&[
                        [192, 0, 2, 34],
                        [198, 51, 100, 34],
                        [203, 0, 113, 34],
                    ])),
                    v6: clients.has_v6().then_some(ASSUMED_RELAY_V6),
                },
                inside: edge_inside(policy),
            }),
        };
        let office = HostAddresses::of(
            call.office
                .iter()
                .chain(office(policy, &corporate, &clients).iter()),
        );
        let party = |number: u8, side: Side| {
            let index = usize::from(number);
            let internal = !policy.servers.is_empty();
            let registration = match side {
                Side::Internal if internal => Registration::Internal,
                Side::Vpn => registered,
                Side::Internal | Side::External => Registration::External,
            };
            let announced = match registration {
                Registration::Internal if relay.inside != HostAddresses::default() => relay.inside,
                Registration::Internal | Registration::External => relay.public,
            };
            let lan = free(&[
                [192, 168, 1 + number, 10],
                [172, 31, 254, 10 + number],
                [10, 255, 254, 10 + number],
                [198, 18, number, 10],
            ]);
            let public = free(&[
                [[198, 51, 100, 2], [203, 0, 113, 2]][index.min(1)],
                [198, 51, 100, 200 + number],
                [203, 0, 113, 200 + number],
            ]);
            let home_v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xa1 + u16::from(number), 0, 0, 0, 0, 0x10);
            let home_v6 = clients.has_v6().then_some(home_v6);
            let (tunnel, local, home) = match side {
                Side::Vpn => (
                    HostAddresses::of(
                        policy
                            .vpn
                            .client_subnets
                            .iter()
                            .filter_map(|subnet| client(policy, subnet.value, number)),
                    ),
                    HostAddresses {
                        v4: Some(lan),
                        v6: home_v6,
                    },
                    HostAddresses {
                        v4: Some(public),
                        v6: home_v6,
                    },
                ),
                Side::Internal => (HostAddresses::default(), office, HostAddresses::default()),
                Side::External => (
                    HostAddresses::default(),
                    HostAddresses {
                        v4: Some(lan),
                        v6: home_v6,
                    },
                    HostAddresses {
                        v4: Some(public),
                        v6: home_v6,
                    },
                ),
            };
            Party {
                side,
                tunnel,
                local,
                home,
                relay: announced,
                registration,
            }
        };
        let parties = [party(0, call.from), party(1, call.to)];
        let company = free(&[[192, 0, 2, 2], [198, 51, 100, 222], [203, 0, 113, 222]]);
        let assumed = (call.relay.is_none() && relay.name.is_none()).then_some(relay.public);
        let homes = parties.iter().map(|party| party.home);
        let stand_ins = homes.chain(assumed).flat_map(HostAddresses::iter);
        Self {
            stand_ins: stand_ins.chain([IpAddr::V4(company)]).collect(),
            parties,
            company,
            port: media_port(policy),
            relay,
            internal,
            clients,
        }
    }
}

impl Scene {
    /// Removes the addresses of the other family.
    pub(super) fn keep(&mut self, family: Family) {
        let keep = |addresses: &mut HostAddresses| match family {
            Family::V4 => addresses.v6 = None,
            Family::V6 => addresses.v4 = None,
        };
        for party in &mut self.parties {
            keep(&mut party.tunnel);
            keep(&mut party.local);
            keep(&mut party.home);
            keep(&mut party.relay);
        }
        keep(&mut self.relay.public);
        keep(&mut self.relay.inside);
    }
}

/// The relay assumed if the policy names none and clients have IPv6.
const ASSUMED_RELAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x34);

fn values(prefixes: &[crate::policy::Sourced<IpNet>]) -> impl Iterator<Item = IpNet> {
    prefixes.iter().map(|prefix| prefix.value)
}

/// Returns the service of `policy` that relays media, if there is one: the A/V Edge by its usual names, else a feed or
/// a service of Teams media, else any Edge.
pub fn relay(policy: &Policy) -> Option<Relay> {
    let inside = edge_inside(policy);
    let is_named = |public: &&PublicService, words: &[&str]| {
        let name = public.name.value.to_lowercase();
        let labels = public.hosts.iter().map(|host| host.value.split('.').next());
        let mut labels = labels.flatten();
        words.iter().any(|word| name.contains(word)) || labels.any(|label| label == "av")
    };
    let service = |words: &[&str]| {
        let mut publics = policy.publics.iter();
        publics
            .find(|public| is_named(public, words))
            .map(|public| Relay {
                name: Some(public.name.value.clone()),
                public: HostAddresses::of(values(&public.addresses).filter_map(|net| nth(net, 1))),
                inside,
            })
    };
    let feed = || {
        let mut loaded = policy.feeds.iter().filter(|feed| feed.prefixes.is_some());
        loaded.next().map(|feed| Relay {
            name: Some(feed.name.value.clone()),
            public: HostAddresses::of(
                feed.prefixes
                    .iter()
                    .flatten()
                    .filter_map(|taken| nth(taken.prefix, 1)),
            ),
            inside,
        })
    };
    service(&["a/v", "av edge", "audio", "media", "relay"])
        .or_else(feed)
        .or_else(|| service(&["edge"]))
}

/// Returns the name of the service, feed or profile that has `address`, if any.
fn relay_named_by(policy: &Policy, address: IpAddr) -> Option<String> {
    let mut publics = policy.publics.iter();
    let holds =
        |public: &&PublicService| values(&public.addresses).any(|net| net.contains(&address));
    let public = publics.find(holds).map(|public| &public.name);
    let mut feeds = policy.feeds.iter();
    let mut feed = || feeds.find(|feed| feed.addresses().contains(address));
    let name = public.or_else(|| feed().map(|feed| &feed.name));
    name.map(|name| name.value.clone())
}

/// Returns the internal interface of the Edge, found by its usual names.
fn edge_inside(policy: &Policy) -> HostAddresses {
    let is_edge = |server: &&Server| {
        let hosts = server.hosts.iter().map(|host| &host.value);
        let mut names = hosts.chain([&server.name.value]);
        names.any(|name| name.to_lowercase().contains("edge"))
    };
    let edges = policy.servers.iter().filter(is_edge);
    HostAddresses::of(edges.flat_map(|edge| values(&edge.addresses).filter_map(|net| nth(net, 0))))
}

/// Returns an address for client `number` in `subnet`, other than the gateway's own.
fn client(policy: &Policy, subnet: IpNet, number: u8) -> Option<IpAddr> {
    let listens = |address: IpAddr| policy.dns.listen.iter().any(|it| it.value.ip() == address);
    let number = u32::from(number);
    let wanted = [FIRST_CLIENT + number, 1 + number, 2 + number, number];
    let mut found = wanted.into_iter().filter_map(|offset| nth(subnet, offset));
    found.find(|address| !listens(*address))
}

/// The first addresses of a pool often belong to the gateway.
const FIRST_CLIENT: u32 = 10;

/// Returns a corporate host that no rule names, from the largest such block.
fn office(policy: &Policy, corporate: &PrefixSet, clients: &PrefixSet) -> HostAddresses {
    let servers: PrefixSet = policy
        .servers
        .iter()
        .flat_map(|server| values(&server.addresses))
        .collect();
    let publics = policy.publics.iter().flat_map(|it| values(&it.addresses));
    let dns = policy
        .corporate
        .dns_servers
        .iter()
        .map(|it| IpNet::from(it.value));
    let named: PrefixSet = publics.chain(dns).collect();
    // Hosts that an `[[allow]]` covers are used only if there are no others.
    let kept = policy
        .allows
        .iter()
        .filter(|allow| allow.from_ports.is_empty());
    let kept: PrefixSet = kept
        .flat_map(|allow| allow.prefixes(&policy.vpn))
        .map(|it| it.value)
        .collect();
    let plain = corporate
        .subtract(clients)
        .subtract(&servers)
        .subtract(&named);
    let plainest = plain.subtract(&kept);
    let pick = |v6: bool| {
        let largest = |set: &PrefixSet| {
            let family = set.prefixes().filter(|net| net.addr().is_ipv6() == v6);
            family.min_by_key(|net| (net.prefix_len(), net.network()))
        };
        let block = largest(&plainest).or_else(|| largest(&plain))?;
        nth(block, 7).or_else(|| nth(block, 0))
    };
    HostAddresses::of([pick(false), pick(true)].into_iter().flatten())
}

/// Returns the address at `offset` in `net`.
fn nth(net: IpNet, offset: u32) -> Option<IpAddr> {
    if net.prefix_len() == net.max_prefix_len() {
        return Some(net.addr());
    }
    let address = match net.network() {
        IpAddr::V4(first) => IpAddr::V4(u32::from(first).checked_add(offset)?.into()),
        IpAddr::V6(first) => IpAddr::V6(u128::from(first).checked_add(u128::from(offset))?.into()),
    };
    net.contains(&address).then_some(address)
}

/// Returns a port that counts as media under the policy.
fn media_port(policy: &Policy) -> u16 {
    let ranges = || policy.media.ports.iter().map(|ports| ports.value);
    if ranges().any(|ports| ports.contains(USUAL_PORT)) {
        USUAL_PORT
    } else {
        ranges().map(PortRange::first).min().unwrap_or(USUAL_PORT)
    }
}

/// An audio port, for administrators who have narrowed the range.
const USUAL_PORT: u16 = 50_020;
