//! Predicts calls: the pair of candidates that wins, and the reason why each other pair fails, with and without a
//! policy.
//!
//! The article's clients try, in this order, *UDP direct*, *UDP NAT* (both ends behind routers), *UDP relay* and *TCP
//! relay*, and use the first path that works. Without a filter, the direct path through the tunnel wins. This module
//! follows that order for a policy: two agents ([`agent`](self)) gather candidates and check pairs by RFC 8445, and
//! every check is a packet that routes, NATs and the gateway treat like a real one.
//!
//! ```text
//!  CompiledPolicy ─┐                          ┌─ pairs, the best first, each with its way or its obstacle
//!  RoutePlan ──────┼─▶ predict ──▶ Prediction ┼─ the pair that wins, and the nodes it passes
//!  Call ───────────┘                          └─ what both offered, and who reached no relay
//! ```
//!
//! # Assumptions
//!
//! A policy does not specify everything. Homes have no path to each other's private addresses; their routers admit only
//! answers; offices and the Edge's internal interface reach each other; offices of a site with an Edge have no other
//! path to the Internet for media; media ports are those of the policy. Properties that differ between sites are
//! arguments: port allocation by routers, UDP through their firewalls, the relay. `tests/gateway/ice.rs` compares
//! predictions with calls of real agents through the running gateway.

mod agent;
mod candidate;
mod scene;
#[cfg(test)]
mod tests;
mod world;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub use candidate::{Candidate, CandidateKind, Interface};
pub use scene::{HostAddresses, Party, Registration, Relay, relay};

use crate::address::{Family, PrefixSet};
use crate::filter::{CompiledPolicy, Question};
use crate::packet::Protocol;
use crate::packet::media::Payload;
use crate::plan::RoutePlan;
use crate::verdict::{Action, Reason};
use agent::Agents;
use scene::Scene;
use world::World;

/// The location of a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// At home, with the VPN up.
    Vpn,
    /// In the office.
    Internal,
    /// At home or elsewhere on the Internet, without the VPN.
    External,
}

/// The state of the gateway: filtering or open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GatewayMode {
    /// Forwards everything; nothing is excluded from the tunnel, and clients sign in internally.
    Open,
    /// Filters by the policy; the VPN pushes the policy's routes.
    Judging,
}

/// The port allocation of a home router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Translation {
    /// One port for all peers: most homes.
    #[default]
    KeepsPorts,
    /// Another port for each peer ("symmetric"): the address seen by the relay is valid for the relay alone.
    RandomPorts,
}

/// The UDP policy of homes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HomeUdp {
    /// UDP passes.
    #[default]
    Open,
    /// Only TCP passes.
    Closed,
}

/// The parameters of a predicted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The caller's location.
    pub from: Side,
    /// The called party's location.
    pub to: Side,
    /// The state of the gateway.
    pub gateway: GatewayMode,
    /// The port allocation of home routers.
    pub translation: Translation,
    /// The UDP policy of home firewalls.
    pub home_udp: HomeUdp,
    /// The only family used; `None` uses both.
    pub family: Option<Family>,
    /// The address of the media relay; `None` takes the policy's A/V Edge.
    pub relay: Option<IpAddr>,
    /// The addresses of the party in the office; for a missing family, an address that no rule names.
    pub office: HostAddresses,
    /// The place where VPN clients have signed in; `None` derives it from the policy.
    pub registration: Option<Registration>,
}

impl Call {
    /// Creates a call between typical homes, with the policy in force.
    pub const fn new(from: Side, to: Side) -> Self {
        Self {
            from,
            to,
            gateway: GatewayMode::Judging,
            translation: Translation::KeepsPorts,
            home_udp: HomeUdp::Open,
            family: None,
            relay: None,
            office: HostAddresses { v4: None, v6: None },
            registration: None,
        }
    }
}

/// The predicted outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// The caller and the called party.
    pub parties: [Party; 2],
    /// The relay.
    pub relay: Relay,
    /// The candidates that each party offers.
    pub candidates: [Vec<Candidate>; 2],
    /// Failed attempts to reach the relay.
    pub attempts: Vec<Attempt>,
    /// Every pair that the caller checks, the best first.
    pub pairs: Vec<Pair>,
}

/// Two candidates, and the outcome of the check between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The caller's candidate.
    pub local: Candidate,
    /// The other party's candidate.
    pub remote: Candidate,
    /// Priority of the pair (RFC 8445 §6.1.2.3).
    pub priority: u64,
    /// The outcome of the check.
    pub outcome: Result<Success, Obstacle>,
}

/// An answered check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    /// The source address that the other party saw.
    pub seen: SocketAddr,
    /// The nodes on the path, from the caller to the called party.
    pub path: Vec<Node>,
}

/// A failed request to a relay for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Index of the party.
    pub party: usize,
    /// The socket that sent the request.
    pub base: SocketAddr,
    /// Its interface.
    pub interface: Interface,
    /// The relay's address and port.
    pub server: SocketAddr,
    /// The protocol of the request.
    pub leg: Protocol,
    /// The reason for the failure.
    pub obstacle: Obstacle,
}

/// A node on the path of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Node {
    /// The caller (0) or the called (1).
    Party(usize),
    /// The home router of a party.
    Home(usize),
    /// The VPN concentrator, at the end of the tunnel.
    Gateway,
    /// The corporate network.
    Company,
    /// The Internet.
    Internet,
    /// The Edge.
    Edge,
}

/// The article's call paths, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// Directly between the addresses.
    UdpDirect,
    /// From home to home, through the NAT mappings that both open.
    UdpNat,
    /// Through the relay.
    UdpRelay,
    /// Through the relay, over TCP.
    TcpRelay,
}

/// The reason why a check fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The gateway drops it.
    Dropped {
        /// The reason of the verdict.
        reason: Reason,
        /// The rule's name.
        rule: Option<String>,
        /// Line of the prefix that the rule matched.
        line: Option<u32>,
    },
    /// The route leads to another interface than the socket's.
    OtherInterface {
        /// The destination of the packet.
        to: IpAddr,
        /// The interface that the route leads to.
        route: Interface,
    },
    /// The destination is a private address of another network.
    NotRouted {
        /// The address.
        to: IpAddr,
    },
    /// A router admits only answers.
    NotLetIn {
        /// The router's address.
        to: IpAddr,
    },
    /// The home blocks UDP.
    UdpClosed,
    /// Offices reach the Internet only through the Edge.
    NoWayOut,
    /// No host has the address, or none answers there.
    Nobody {
        /// The address.
        to: IpAddr,
    },
    /// The check arrives, but its answer does not.
    Unanswered(Box<Obstacle>),
}

/// Predicts the outcome of `call` under `policy` and its `plan`.
pub fn predict(policy: &CompiledPolicy, plan: &RoutePlan, call: &Call) -> Prediction {
    let open;
    let (tunnel, filter) = match call.gateway {
        GatewayMode::Open => {
            open = plan.base.subtract(&plan.gateways);
            (&open, None)
        }
        GatewayMode::Judging => (&plan.tunnel, Some(policy)),
    };
    let registration =
        call.registration
            .unwrap_or_else(|| match sign_in_server(policy, tunnel, filter) {
                Some(_) => Registration::Internal,
                None => Registration::External,
            });
    let mut scene = Scene::new(policy.policy(), plan, call, registration);
    if let Some(family) = call.family {
        scene.keep(family);
    }
    let world = World::new(&scene, tunnel, filter, call.translation, call.home_udp);
    let (pairs, candidates, attempts) = Agents::new(world).talk();
    Prediction {
        parties: scene.parties,
        relay: scene.relay,
        candidates,
        attempts,
        pairs,
    }
}

/// Returns the first address of a `[[server]]` at which a VPN client reaches SIP, and so registers internally.
fn sign_in_server(
    policy: &CompiledPolicy,
    tunnel: &PrefixSet,
    filter: Option<&CompiledPolicy>,
) -> Option<IpAddr> {
    let servers = policy.policy().servers.iter();
    let mut addresses =
        servers.flat_map(|server| server.addresses.iter().map(|it| it.value.addr()));
    addresses.find(|&address| {
        let mut clients = policy
            .policy()
            .vpn
            .client_subnets
            .iter()
            .map(|it| it.value.addr());
        let Some(from) = clients.find(|client| client.is_ipv4() == address.is_ipv4()) else {
            return false;
        };
        let passes = |policy: &CompiledPolicy| {
            let explanation = policy.explain(&Question {
                from,
                from_port: None,
                to: address,
                to_port: Some(SIP_PORT),
                protocol: Some(Protocol::Tcp),
                payload: Payload::Other,
            });
            let answers = explanation.map(|it| it.answers).unwrap_or_default();
            answers
                .iter()
                .all(|it| it.verdict.action == Action::Forward)
        };
        tunnel.contains(address) && filter.is_none_or(passes)
    })
}

/// Internal SIP over TLS; the Access Edge uses 443.
const SIP_PORT: u16 = 5061;

impl Prediction {
    /// Returns the pair that carries the media; `None` if no check is answered.
    pub fn winner(&self) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.outcome.is_ok())
    }

    /// Returns `true` if the media enters the tunnel.
    pub fn is_in_tunnel(&self) -> bool {
        let success = self.winner().and_then(|pair| pair.outcome.as_ref().ok());
        success.is_some_and(|success| success.path.contains(&Node::Gateway))
    }
}

impl Pair {
    /// Returns the call path, in the article's terms.
    pub fn way(&self) -> Way {
        let relayed = [&self.local, &self.remote]
            .into_iter()
            .filter(|it| it.kind == CandidateKind::Relayed);
        let legs: Vec<Protocol> = relayed.map(|it| it.leg).collect();
        let translated = match &self.outcome {
            Ok(success) => success.seen != self.local.base,
            Err(_) => false,
        };
        if legs.contains(&Protocol::Tcp) {
            Way::TcpRelay
        } else if !legs.is_empty() {
            Way::UdpRelay
        } else if translated || self.remote.kind != CandidateKind::Host {
            Way::UdpNat
        } else {
            Way::UdpDirect
        }
    }
}

impl Way {
    /// All paths, in the article's order.
    pub const ALL: [Self; 4] = [
        Self::UdpDirect,
        Self::UdpNat,
        Self::UdpRelay,
        Self::TcpRelay,
    ];

    /// Returns its machine-readable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UdpDirect => "udp-direct",
            Self::UdpNat => "udp-nat",
            Self::UdpRelay => "udp-relay",
            Self::TcpRelay => "tcp-relay",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::UdpDirect => "UDP direct",
            Self::UdpNat => "UDP NAT",
            Self::UdpRelay => "UDP relay",
            Self::TcpRelay => "TCP relay",
        })
    }
}

impl Side {
    /// Returns its name in commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vpn => "vpn",
            Self::Internal => "internal",
            Self::External => "external",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Vpn => "VPN user",
            Self::Internal => "user in the office",
            Self::External => "user on the Internet",
        })
    }
}

impl Obstacle {
    /// Returns its machine-readable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dropped { .. } => "dropped",
            Self::OtherInterface { .. } => "other-interface",
            Self::NotRouted { .. } => "not-routed",
            Self::NotLetIn { .. } => "not-let-in",
            Self::UdpClosed => "udp-closed",
            Self::NoWayOut => "no-way-out",
            Self::Nobody { .. } => "nobody",
            Self::Unanswered(_) => "unanswered",
        }
    }

    /// Returns `true` if the gateway causes the failure.
    pub fn is_dropped(&self) -> bool {
        match self {
            Self::Dropped { .. } => true,
            Self::Unanswered(obstacle) => obstacle.is_dropped(),
            Self::OtherInterface { .. }
            | Self::NotRouted { .. }
            | Self::NotLetIn { .. }
            | Self::UdpClosed
            | Self::NoWayOut
            | Self::Nobody { .. } => false,
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped { reason, rule, line } => {
                write!(out, "dropped on the gateway: {reason}")?;
                if let Some(rule) = rule {
                    write!(out, ", \"{rule}\"")?;
                }
                match line {
                    Some(line) => write!(out, ", line {line}"),
                    None => Ok(()),
                }
            }
            Self::OtherInterface {
                to,
                route: Interface::Tunnel,
            } => write!(
                out,
                "{to} is routed into the tunnel, and this address is not the tunnel's"
            ),
            Self::OtherInterface {
                to,
                route: Interface::Local,
            } => write!(out, "{to} is routed outside the tunnel"),
            Self::NotRouted { to } => write!(out, "{to} is private to another network"),
            Self::NotLetIn { to } => write!(out, "the NAT at {to} lets in replies only"),
            Self::UdpClosed => out.write_str("the home's firewall blocks UDP"),
            Self::NoWayOut => out.write_str("offices reach the Internet by the Edge alone"),
            Self::Nobody { to } => write!(out, "nobody answers at {to}"),
            Self::Unanswered(obstacle) => {
                write!(out, "the request arrives, the answer does not: {obstacle}")
            }
        }
    }
}
