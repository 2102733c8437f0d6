//! [`Agents`]: two ICE agents that gather candidates, check pairs, and nominate.
//!
//! Each agent gathers an address of every interface, the address from which the relay sees it, and an address of the
//! relay (RFC 8445 §5.1.1). Checks are packets through the [`World`], and answers are routed like any packet. The
//! source address of a check becomes a candidate if it was not signaled. Rounds are repeated until none adds a
//! candidate, so the order of checks does not matter; then the caller nominates the best pair whose check was answered.

use std::net::SocketAddr;

use super::candidate::{
    Candidate, CandidateKind, Interface, local_preference, pair_priority, priority,
};
use super::world::{Allocation, Arrival, Packet, Receiver, STUN_PORT, TLS_PORT, World};
use super::{Attempt, Obstacle, Pair, Success};
use crate::packet::Protocol;

/// The two agents of a call.
pub(super) struct Agents<'a> {
    world: World<'a>,
    /// The candidates that each party offers.
    local: [Vec<Candidate>; 2],
    /// The candidates of the other party that each party knows.
    remote: [Vec<Candidate>; 2],
    attempts: Vec<Attempt>,
}

/// Indexes of the parties: the caller, which controls, and the called party.
const CALLER: usize = 0;
const CALLED: usize = 1;

/// Maximum number of rounds: each adds at least one candidate, and there are few.
const MAX_ROUNDS: usize = 8;

impl<'a> Agents<'a> {
    pub(super) fn new(world: World<'a>) -> Self {
        Self {
            world,
            local: [Vec::new(), Vec::new()],
            remote: [Vec::new(), Vec::new()],
            attempts: Vec::new(),
        }
    }

    /// Gathers and checks. Returns the outcome of every pair (the best first), the candidates that both offered, and
    /// the failed attempts to reach the relay.
    pub(super) fn talk(mut self) -> (Vec<Pair>, [Vec<Candidate>; 2], Vec<Attempt>) {
        for party in [CALLER, CALLED] {
            self.gather(party);
        }
        self.remote = [self.local[CALLED].clone(), self.local[CALLER].clone()];
        for _ in 0..MAX_ROUNDS {
            let before = self.remote.each_ref().map(Vec::len);
            // The first checks of one side open the NAT for those of the other.
            self.check_all(CALLER);
            self.check_all(CALLED);
            let pairs = self.check_all(CALLER);
            if before == self.remote.each_ref().map(Vec::len) {
                return self.finish(pairs);
            }
        }
        let pairs = self.check_all(CALLER);
        self.finish(pairs)
    }

    fn finish(self, mut pairs: Vec<Pair>) -> (Vec<Pair>, [Vec<Candidate>; 2], Vec<Attempt>) {
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.priority));
        (pairs, self.local, self.attempts)
    }

    fn gather(&mut self, party: usize) {
        let scene = self.world.scene;
        let own = &scene.parties[party];
        let interfaces = [
            (Interface::Tunnel, own.tunnel),
            (Interface::Local, own.local),
        ];
        let addresses = interfaces
            .into_iter()
            .flat_map(|(interface, addresses)| addresses.iter().map(move |it| (interface, it)));
        let mut found = Vec::new();
        for (index, (interface, address)) in addresses.enumerate() {
            let preference = u16::MAX - u16::try_from(index).unwrap_or(u16::MAX);
            let base = SocketAddr::new(address, scene.port);
            let candidate = |kind, address, leg| Candidate {
                kind,
                address,
                base,
                interface,
                leg,
                priority: priority(
                    kind,
                    match leg {
                        Protocol::Udp => preference,
                        Protocol::Tcp => preference - LESS_FOR_TCP,
                    },
                ),
            };
            found.push(candidate(CandidateKind::Host, base, Protocol::Udp));
            let Some(server) = own.relay.like(address) else {
                continue;
            };
            let legs = [(Protocol::Udp, STUN_PORT), (Protocol::Tcp, TLS_PORT)];
            for (leg, port) in legs {
                let server = SocketAddr::new(server, port);
                match self.allocate(party, base, server, leg) {
                    Ok((seen, relayed)) => {
                        if seen != base && leg == Protocol::Udp {
                            found.push(candidate(CandidateKind::ServerReflexive, seen, leg));
                        }
                        found.push(candidate(CandidateKind::Relayed, relayed, leg));
                        break;
                    }
                    Err(obstacle) => self.attempts.push(Attempt {
                        party,
                        base,
                        interface,
                        server,
                        leg,
                        obstacle,
                    }),
                }
            }
        }
        self.local[party] = found;
    }

    /// Asks the relay for an address. Returns the base as the relay sees it, and the address.
    fn allocate(
        &mut self,
        party: usize,
        base: SocketAddr,
        server: SocketAddr,
        leg: Protocol,
    ) -> Result<(SocketAddr, SocketAddr), Obstacle> {
        let packet = Packet {
            from: base,
            to: server,
            protocol: leg,
        };
        let arrival = self.world.send(party, packet)?;
        // An answer takes the reverse path, through the NATs and firewalls that hold its mapping.
        let public = self.world.scene.relay.public.like(base.ip());
        let address = public.ok_or(Obstacle::Nobody { to: server.ip() })?;
        let number = u16::try_from(self.world.allocations.len()).unwrap_or(u16::MAX);
        let relayed = SocketAddr::new(address, FIRST_RELAYED_PORT.saturating_add(number));
        self.world.allocations.push(Allocation {
            party,
            relayed,
            path: arrival.path,
        });
        Ok((arrival.packet.from, relayed))
    }

    /// Checks all pairs of `party`.
    fn check_all(&mut self, party: usize) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for local in self.local[party].clone() {
            // A reflexive candidate sends from its base, which has a pair of its own (RFC 8445 §6.1.2.4).
            match local.kind {
                CandidateKind::Host | CandidateKind::Relayed => {}
                CandidateKind::ServerReflexive | CandidateKind::PeerReflexive => continue,
            }
            let remotes = self.remote[party].clone();
            let same_family = |it: &&Candidate| it.address.is_ipv4() == local.address.is_ipv4();
            for remote in remotes.iter().filter(same_family) {
                let outcome = self.check(party, &local, remote);
                let (caller, called) = match party {
                    CALLER => (local.priority, remote.priority),
                    _ => (remote.priority, local.priority),
                };
                pairs.push(Pair {
                    local,
                    remote: *remote,
                    priority: pair_priority(caller, called),
                    outcome,
                });
            }
        }
        pairs
    }

    /// Sends a check from `local` to `remote`, and the answer back.
    fn check(
        &mut self,
        party: usize,
        local: &Candidate,
        remote: &Candidate,
    ) -> Result<Success, Obstacle> {
        let there = self.send(party, local, remote.address)?;
        let (other, socket) = self.owner(&there)?;
        if other == party {
            return Err(Obstacle::Nobody {
                to: remote.address.ip(),
            });
        }
        self.learn(other, there.packet.from, local);
        let back = match there.at {
            Receiver::Relayed(number) => self.world.send_relayed(number, there.packet.from),
            Receiver::Party(_) | Receiver::Server => {
                let answer = Packet {
                    from: socket,
                    to: there.packet.from,
                    protocol: Protocol::Udp,
                };
                self.world.send(other, answer)
            }
        };
        let back = back.map_err(|obstacle| Obstacle::Unanswered(Box::new(obstacle)))?;
        let (owner, _) = self.owner(&back)?;
        if owner != party {
            return Err(Obstacle::Unanswered(Box::new(Obstacle::Nobody {
                to: back.packet.to.ip(),
            })));
        }
        let mut path = there.path;
        if let Receiver::Relayed(number) = there.at {
            let rest = self.world.allocations[number].path.iter().rev();
            path.extend(rest.skip(1));
        }
        Ok(Success {
            seen: there.packet.from,
            path,
        })
    }

    fn send(
        &mut self,
        party: usize,
        local: &Candidate,
        to: SocketAddr,
    ) -> Result<Arrival, Obstacle> {
        let own = |it: &Allocation| it.party == party && it.relayed == local.address;
        match self.world.allocations.iter().position(own) {
            Some(number) => self.world.send_relayed(number, to),
            None => self.world.send(
                party,
                Packet {
                    from: local.base,
                    to,
                    protocol: Protocol::Udp,
                },
            ),
        }
    }

    /// Returns the party and socket at which a packet has arrived.
    fn owner(&self, arrival: &Arrival) -> Result<(usize, SocketAddr), Obstacle> {
        let to = arrival.packet.to;
        match arrival.at {
            Receiver::Party(party) => Ok((party, to)),
            Receiver::Relayed(number) => Ok((self.world.allocations[number].party, to)),
            Receiver::Server => Err(Obstacle::Nobody { to: to.ip() }),
        }
    }

    /// Records that `party` has received a check from `address`, sent for `candidate` of the other party.
    fn learn(&mut self, party: usize, address: SocketAddr, candidate: &Candidate) {
        if self.remote[party].iter().any(|it| it.address == address) {
            return;
        }
        let kind = CandidateKind::PeerReflexive;
        self.remote[party].push(Candidate {
            kind,
            address,
            priority: priority(kind, local_preference(candidate.priority)),
            ..*candidate
        });
    }
}

/// Relays of the A/V Edge use 50000-59999; ports in predictions are above those of the parties.
const FIRST_RELAYED_PORT: u16 = 52_000;
/// TCP to the relay is the last resort: its preference is below UDP on every interface.
const LESS_FOR_TCP: u16 = 256;
