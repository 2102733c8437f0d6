//! [`World`]: the path of a call's packets: the outgoing interface, NAT, and the points that drop them.
//!
//! ```text
//!  client ─┬─ tunnel ─────────── gateway ─── company ─┬─ office
//!          └─ home (NAT) ── internet ─ company's NAT ─┴─ Edge, internal interface
//!                              └────── Edge, public interface and relayed addresses
//! ```
//!
//! The gateway queries the compiled policy, as for any packet. Routes are those of the plan: packets to an address in
//! the tunnel leave through the tunnel, and sockets of other interfaces cannot reach it. Home routers translate IPv4,
//! admit only answers (also for IPv6), and track peers by port (the strictest common filtering, RFC 4787 §5).

use std::net::{IpAddr, SocketAddr};

use super::candidate::Interface;
use super::scene::Scene;
use super::{HomeUdp, Node, Obstacle, Side, Translation};
use crate::address::{PrefixSet, special};
use crate::filter::{CompiledPolicy, Question};
use crate::packet::Protocol;
use crate::packet::media::Payload;
use crate::policy::MediaMatch;

/// A packet in transit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) protocol: Protocol,
}

/// The destination of a delivered packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) at: Receiver,
    /// The packet on arrival.
    pub(super) packet: Packet,
    /// The nodes on its path, including its origin and destination.
    pub(super) path: Vec<Node>,
}

/// The receivers of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiver {
    /// A socket of a party.
    Party(usize),
    /// The relay's listener, at which clients request an address.
    Server,
    /// A relayed address that a party has requested, by index.
    Relayed(usize),
}

/// A relayed address that a party has requested.
#[derive(Debug, Clone)]
pub(super) struct Allocation {
    pub(super) party: usize,
    pub(super) relayed: SocketAddr,
    /// The path to the relay.
    pub(super) path: Vec<Node>,
}

/// A mapping of a NAT, or of a stateful firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mapping {
    router: Router,
    inside: SocketAddr,
    outside: SocketAddr,
    peer: SocketAddr,
    protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Router {
    Home(usize),
    Company,
}

/// The network of a call.
pub(super) struct World<'a> {
    pub(super) scene: &'a Scene,
    /// The addresses that enter the tunnel.
    pub(super) tunnel: &'a PrefixSet,
    /// The policy that the gateway applies; `None` forwards everything.
    pub(super) filter: Option<&'a CompiledPolicy>,
    pub(super) translation: Translation,
    pub(super) home_udp: HomeUdp,
    pub(super) allocations: Vec<Allocation>,
    mappings: Vec<Mapping>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        scene: &'a Scene,
        tunnel: &'a PrefixSet,
        filter: Option<&'a CompiledPolicy>,
        translation: Translation,
        home_udp: HomeUdp,
    ) -> Self {
        Self {
            scene,
            tunnel,
            filter,
            translation,
            home_udp,
            allocations: Vec::new(),
            mappings: Vec::new(),
        }
    }

    /// Sends a packet from a socket of `party`.
    pub(super) fn send(&mut self, party: usize, packet: Packet) -> Result<Arrival, Obstacle> {
        let scene = self.scene;
        let own = &scene.parties[party];
        let path = vec![Node::Party(party)];
        match own.side {
            Side::Vpn => {
                let route = if self.tunnel.contains(packet.to.ip()) {
                    Interface::Tunnel
                } else {
                    Interface::Local
                };
                let of_base = if own.tunnel.has(packet.from.ip()) {
                    Interface::Tunnel
                } else {
                    Interface::Local
                };
                match (route, of_base) {
                    (Interface::Tunnel, Interface::Tunnel) => self.at_gateway(packet, path),
                    (Interface::Local, Interface::Local) => self.at_home(party, packet, path),
                    (Interface::Tunnel, Interface::Local)
                    | (Interface::Local, Interface::Tunnel) => Err(Obstacle::OtherInterface {
                        to: packet.to.ip(),
                        route,
                    }),
                }
            }
            Side::Internal => self.in_company(packet, path),
            Side::External => self.at_home(party, packet, path),
        }
    }

    /// Sends a packet from a relayed address, after the path from its owner to the relay.
    pub(super) fn send_relayed(
        &mut self,
        allocation: usize,
        to: SocketAddr,
    ) -> Result<Arrival, Obstacle> {
        let own = &self.allocations[allocation];
        let packet = Packet {
            from: own.relayed,
            to,
            protocol: Protocol::Udp,
        };
        let path = own.path.clone();
        if self.scene.relay.public.has(to.ip()) {
            return self.at_relay(packet, path);
        }
        self.on_internet(packet, path)
    }

    fn at_gateway(&mut self, packet: Packet, mut path: Vec<Node>) -> Result<Arrival, Obstacle> {
        path.push(Node::Gateway);
        if let Some(obstacle) = self.filter.and_then(|policy| judge(policy, packet)) {
            return Err(obstacle);
        }
        if self.scene.clients.contains(packet.to.ip()) {
            return self.through_tunnel(packet, path);
        }
        self.in_company(packet, path)
    }

    /// Sends a packet from the gateway to a client. Packets from the inside are not filtered.
    fn through_tunnel(&self, packet: Packet, mut path: Vec<Node>) -> Result<Arrival, Obstacle> {
        let has = |party: &super::Party| party.tunnel.has(packet.to.ip());
        let at = self.scene.parties.iter().position(has);
        let party = at.ok_or(Obstacle::Nobody { to: packet.to.ip() })?;
        if path.last() != Some(&Node::Gateway) {
            path.push(Node::Gateway);
        }
        path.push(Node::Party(party));
        Ok(Arrival {
            at: Receiver::Party(party),
            packet,
            path,
        })
    }

    fn in_company(&mut self, packet: Packet, mut path: Vec<Node>) -> Result<Arrival, Obstacle> {
        let to = packet.to.ip();
        path.push(Node::Company);
        if self.scene.relay.inside.has(to) {
            path.push(Node::Edge);
            return Ok(Arrival {
                at: Receiver::Server,
                packet,
                path,
            });
        }
        if self.scene.clients.contains(to) {
            return self.through_tunnel(packet, path);
        }
        let office = |party: &super::Party| party.side == Side::Internal && party.local.has(to);
        if let Some(party) = self.scene.parties.iter().position(office) {
            path.push(Node::Party(party));
            return Ok(Arrival {
                at: Receiver::Party(party),
                packet,
                path,
            });
        }
        let is_relay = self.scene.relay.public.has(to);
        if self.scene.internal.contains(to) && !is_relay {
            return Err(Obstacle::Nobody { to });
        }
        // Offices with an Edge of their own reach relays through its internal interface, and nothing else outside.
        // Clients of a full tunnel reach the Internet through the company, whatever offices can reach.
        let from_office = path.first().is_some_and(|first| self.is_office(*first));
        let has_edge = self.scene.relay.inside.iter().next().is_some();
        if from_office && has_edge {
            return Err(Obstacle::NoWayOut);
        }
        if !self.is_routed(to) {
            return Err(Obstacle::NotRouted { to });
        }
        let company = SocketAddr::new(IpAddr::V4(self.scene.company), packet.from.port());
        let packet = self.leave(Router::Company, packet, company);
        if !self.is_routed(packet.from.ip()) {
            return Err(Obstacle::NotRouted {
                to: packet.from.ip(),
            });
        }
        self.on_internet(packet, path)
    }

    fn is_office(&self, node: Node) -> bool {
        match node {
            Node::Party(party) => self.scene.parties[party].side == Side::Internal,
            Node::Home(_) | Node::Gateway | Node::Company | Node::Internet | Node::Edge => false,
        }
    }

    fn at_home(
        &mut self,
        home: usize,
        packet: Packet,
        mut path: Vec<Node>,
    ) -> Result<Arrival, Obstacle> {
        path.push(Node::Home(home));
        let to = packet.to.ip();
        if packet.protocol == Protocol::Udp && self.home_udp == HomeUdp::Closed {
            return Err(Obstacle::UdpClosed);
        }
        if !self.is_routed(to) {
            return Err(Obstacle::NotRouted { to });
        }
        let outside = self.scene.parties[home].home.like(packet.from.ip());
        let outside = outside.unwrap_or(packet.from.ip());
        let outside = SocketAddr::new(outside, packet.from.port());
        let packet = self.leave(Router::Home(home), packet, outside);
        self.on_internet(packet, path)
    }

    /// Returns `true` if the Internet routes an address: a public one, or one that stands for it in the scene.
    fn is_routed(&self, address: IpAddr) -> bool {
        special::is_public(address) || self.scene.stand_ins.contains(&address)
    }

    fn on_internet(&mut self, packet: Packet, mut path: Vec<Node>) -> Result<Arrival, Obstacle> {
        let to = packet.to.ip();
        path.push(Node::Internet);
        if !self.is_routed(to) {
            return Err(Obstacle::NotRouted { to });
        }
        if self.scene.relay.public.has(to) {
            path.push(Node::Edge);
            return self.at_relay(packet, path);
        }
        let mut homes = self.scene.parties.iter();
        if let Some(home) = homes.position(|party| party.home.has(to)) {
            path.push(Node::Home(home));
            let packet = self.enter(Router::Home(home), packet)?;
            path.push(Node::Party(home));
            return Ok(Arrival {
                at: Receiver::Party(home),
                packet,
                path,
            });
        }
        if to == IpAddr::V4(self.scene.company) {
            let packet = self.enter(Router::Company, packet)?;
            return self.in_company(packet, path);
        }
        Err(Obstacle::Nobody { to })
    }

    fn at_relay(&self, packet: Packet, path: Vec<Node>) -> Result<Arrival, Obstacle> {
        let relayed = self
            .allocations
            .iter()
            .position(|it| it.relayed == packet.to);
        let at = match (relayed, packet.to.port()) {
            (Some(number), _) => Receiver::Relayed(number),
            (None, STUN_PORT | TLS_PORT) => Receiver::Server,
            (None, _) => return Err(Obstacle::Nobody { to: packet.to.ip() }),
        };
        Ok(Arrival { at, packet, path })
    }

    /// Sends a packet out through a router: IPv4 is translated, and a mapping is kept for both families.
    fn leave(&mut self, router: Router, packet: Packet, outside: SocketAddr) -> Packet {
        let same = |known: &&Mapping| {
            known.router == router
                && known.inside == packet.from
                && known.peer == packet.to
                && known.protocol == packet.protocol
        };
        let known = self.mappings.iter().find(same).copied();
        let mapping = known.unwrap_or_else(|| {
            let mut outside = match packet.from {
                SocketAddr::V4(_) => outside,
                SocketAddr::V6(_) => packet.from,
            };
            let at_home = matches!(router, Router::Home(_));
            if outside.is_ipv4() && at_home && self.translation == Translation::RandomPorts {
                // An unused port stands for a random one.
                let used = u16::try_from(self.mappings.len()).unwrap_or(u16::MAX);
                outside.set_port(FIRST_RANDOM_PORT.saturating_add(used));
            }
            let mapping = Mapping {
                router,
                inside: packet.from,
                outside,
                peer: packet.to,
                protocol: packet.protocol,
            };
            self.mappings.push(mapping);
            mapping
        });
        Packet {
            from: mapping.outside,
            ..packet
        }
    }

    /// Admits a packet through a router only if it is an answer.
    fn enter(&self, router: Router, packet: Packet) -> Result<Packet, Obstacle> {
        let asked = |known: &&Mapping| {
            known.router == router
                && known.outside == packet.to
                && known.peer == packet.from
                && known.protocol == packet.protocol
        };
        let known = self.mappings.iter().find(asked);
        let mapping = known.ok_or(Obstacle::NotLetIn { to: packet.to.ip() })?;
        Ok(Packet {
            to: mapping.inside,
            ..packet
        })
    }
}

/// Returns the gateway's reason to drop a check; `None` if it forwards it.
fn judge(policy: &CompiledPolicy, packet: Packet) -> Option<Obstacle> {
    let payload = match policy.policy().media.recognition {
        // The clients that such a policy is for.
        MediaMatch::IceMicrosoft => Payload::MicrosoftCheck,
        MediaMatch::Ports | MediaMatch::Ice | MediaMatch::Media => Payload::StunCheck,
    };
    let explanation = policy.explain(&Question {
        from: packet.from.ip(),
        from_port: Some(packet.from.port()),
        to: packet.to.ip(),
        to_port: Some(packet.to.port()),
        protocol: Some(packet.protocol),
        payload,
    })?;
    let answer = explanation.answers.first()?;
    match answer.verdict.action {
        crate::verdict::Action::Forward => None,
        crate::verdict::Action::Drop => Some(Obstacle::Dropped {
            reason: answer.verdict.reason,
            rule: answer.rule.map(|rule| rule.name.clone()),
            line: answer.matched.map(|matched| matched.line),
        }),
    }
}

/// Port of STUN and TURN over UDP (RFC 8656 §4).
pub(super) const STUN_PORT: u16 = 3478;
/// Port of the Edge's TURN over TCP, which looks like TLS (MS-TURN §2.1).
pub(super) const TLS_PORT: u16 = 443;
/// First port of a router that picks a port for each peer.
const FIRST_RANDOM_PORT: u16 = 20_000;
