//! A predicted call: which pair of candidates wins, and why each other fails, with a policy and without it.
//!
//! The article's clients try, in this order, *UDP direct*, *UDP NAT* (both ends behind routers), *UDP relay* and *TCP
//! relay*, and take the first way that works. Without a filter the direct way leads through the tunnel, and wins. This
//! module walks that order for a policy: two agents ([`agent`](self)) gather candidates and check pairs by RFC 8445, and
//! every check is a packet that routes, translators and the gateway treat as they would treat a real one.
//!
//! ```text
//!  CompiledPolicy ─┐                          ┌─ pairs, the best first, each with its way or its obstacle
//!  RoutePlan ──────┼─▶ predict ──▶ Prediction ┼─ the pair that wins, and the places it passes
//!  Call ───────────┘                          └─ what both offered, and who reached no relay
//! ```
//!
//! # What is assumed
//!
//! A policy does not say everything. Homes have no path to each other's private addresses; their routers let in only
//! answers; offices and the Edge's internal interface reach each other; offices of a site with an Edge have no other way
//! to the Internet for media; media ports are those of the policy. What may differ between sites is an argument: how
//! routers choose ports, whether they pass UDP, the relay. `tests/gateway/ice.rs` compares predictions with calls of real
//! agents through the running gateway.

mod agent;
mod candidate;
mod scene;
#[cfg(test)]
mod tests;
mod world;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub use candidate::{Candidate, CandidateKind, Interface};
pub use scene::{Addresses, Party, Registration, Relay, relay};

use crate::address::PrefixSet;
use crate::filter::{CompiledPolicy, Question};
use crate::packet::Protocol;
use crate::plan::RoutePlan;
use crate::verdict::{Action, Reason};
use agent::Agents;
use scene::Scene;
use world::World;

/// Where somebody is who takes part in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// At home, with the VPN up.
    Vpn,
    /// In the office.
    Internal,
    /// At home or elsewhere on the Internet, without the VPN.
    External,
}

/// Whether the policy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gateway {
    /// It forwards everything, nothing is excluded from the tunnel, and clients sign in internally.
    Open,
    /// It judges by the policy, and the VPN pushes the policy's routes.
    Judging,
}

/// How the router of a home chooses the port of a translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Translation {
    /// One for all peers: most homes.
    #[default]
    KeepsPorts,
    /// Another for each peer ("symmetric"): what the relay sees is good for the relay alone.
    RandomPorts,
}

/// Whether homes pass UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HomeUdp {
    /// They do.
    #[default]
    Open,
    /// They pass TCP alone.
    Closed,
}

/// A version of the Internet Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A call in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Who calls.
    pub from: Side,
    /// Who is called.
    pub to: Side,
    /// Whether the policy holds.
    pub gateway: Gateway,
    /// Routers of homes.
    pub translation: Translation,
    /// Firewalls of homes.
    pub home_udp: HomeUdp,
    /// The only family that is used; both without one.
    pub family: Option<Family>,
    /// The address of the media relay; that of the policy's A/V Edge without one.
    pub relay: Option<IpAddr>,
    /// The addresses of who is in the office; one that no rule speaks of for a family without one.
    pub office: Addresses,
    /// Where VPN clients have signed in; what follows from the policy without it.
    pub registration: Option<Registration>,
}

impl Call {
    /// A call between usual homes, with the policy in force.
    pub const fn new(from: Side, to: Side) -> Self {
        Self {
            from,
            to,
            gateway: Gateway::Judging,
            translation: Translation::KeepsPorts,
            home_udp: HomeUdp::Open,
            family: None,
            relay: None,
            office: Addresses { v4: None, v6: None },
            registration: None,
        }
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// The caller and the called.
    pub parties: [Party; 2],
    /// The relay.
    pub relay: Relay,
    /// What each offers.
    pub candidates: [Vec<Candidate>; 2],
    /// Ways to the relay that do not work.
    pub attempts: Vec<Attempt>,
    /// Every pair that the caller checks, the best first.
    pub pairs: Vec<Pair>,
}

/// Two candidates, and what became of the check from one to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The caller's.
    pub local: Candidate,
    /// The other's.
    pub remote: Candidate,
    /// RFC 8445 §6.1.2.3.
    pub priority: u64,
    /// How the check went.
    pub outcome: Result<Success, Obstacle>,
}

/// A check that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    /// The address that the other saw it come from.
    pub seen: SocketAddr,
    /// The places it passed, from the caller to the called.
    pub path: Vec<Place>,
}

/// A relay that was asked for an address, in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Number of the party.
    pub party: usize,
    /// The socket.
    pub base: SocketAddr,
    /// Its interface.
    pub interface: Interface,
    /// The relay's address and port.
    pub server: SocketAddr,
    /// By what it was asked.
    pub leg: Protocol,
    /// Why nothing came of it.
    pub obstacle: Obstacle,
}

/// A place that packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The caller (0) or the called (1).
    Party(usize),
    /// The router of the home of one of them.
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

/// The article's ways of a call, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// From address to address.
    UdpDirect,
    /// From home to home, through the holes that both make in their routers.
    UdpNat,
    /// By the relay.
    UdpRelay,
    /// By the relay, which is reached by TCP.
    TcpRelay,
}

/// What a check does not get past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The gateway drops it.
    Dropped {
        /// Why.
        reason: Reason,
        /// The rule's name.
        rule: Option<String>,
        /// Line of the prefix that led to it.
        line: Option<u32>,
    },
    /// The route leads to another interface than the socket's.
    OtherInterface {
        /// Where the packet was to go.
        to: IpAddr,
        /// Where the route leads.
        route: Interface,
    },
    /// A private address of another network.
    NotRouted {
        /// The address.
        to: IpAddr,
    },
    /// A router lets in nothing that it did not ask for.
    NotLetIn {
        /// The router's address.
        to: IpAddr,
    },
    /// The home passes no UDP.
    UdpClosed,
    /// Offices have no way to the Internet but the Edge.
    NoWayOut,
    /// Nobody has the address, or answers there.
    Nobody {
        /// The address.
        to: IpAddr,
    },
    /// It arrives, and the answer does not.
    Unanswered(Box<Obstacle>),
}

/// What becomes of `call` under `policy` and its `plan`.
pub fn predict(policy: &CompiledPolicy, plan: &RoutePlan, call: &Call) -> Prediction {
    let open;
    let (tunnel, filter) = match call.gateway {
        Gateway::Open => {
            open = plan.base.subtract(&plan.gateways);
            (&open, None)
        }
        Gateway::Judging => (&plan.tunnel, Some(policy)),
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

/// The first address of a `[[server]]` at which a VPN client reaches SIP, and so registers internally.
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
            });
            let answers = explanation.map(|it| it.answers).unwrap_or_default();
            answers
                .iter()
                .all(|it| it.verdict.action == Action::Forward)
        };
        tunnel.contains(address) && filter.is_none_or(passes)
    })
}

/// SIP over TLS inside; at the Access Edge it is 443.
const SIP_PORT: u16 = 5061;

impl Prediction {
    /// The pair that carries the media; none where no check is answered.
    pub fn winner(&self) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.outcome.is_ok())
    }

    /// Whether the media enters the tunnel.
    pub fn is_in_tunnel(&self) -> bool {
        let success = self.winner().and_then(|pair| pair.outcome.as_ref().ok());
        success.is_some_and(|success| success.path.contains(&Place::Gateway))
    }
}

impl Pair {
    /// Which of the article's ways it is.
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
    /// All of them, in the article's order.
    pub const ALL: [Self; 4] = [
        Self::UdpDirect,
        Self::UdpNat,
        Self::UdpRelay,
        Self::TcpRelay,
    ];

    /// Its name, for programs.
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
    /// Its name in commands.
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
    /// Its name, for programs.
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

    /// Whether the gateway is the reason.
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
            Self::NotLetIn { to } => write!(out, "the router at {to} lets in only answers"),
            Self::UdpClosed => out.write_str("the home passes no UDP"),
            Self::NoWayOut => out.write_str("offices reach the Internet by the Edge alone"),
            Self::Nobody { to } => write!(out, "nobody answers at {to}"),
            Self::Unanswered(obstacle) => write!(out, "it arrives, but of the answer: {obstacle}"),
        }
    }
}
