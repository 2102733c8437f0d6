//! [`Candidate`]: a transport address that an ICE agent offers, and the order in which agents try pairs of them.
//!
//! RFC 8445, for the one component that media needs:
//!
//! ```text
//!  candidate   2^24 · type  +  2^8 · local preference  +  (256 − component)                        §5.1.2.1
//!  type        126 host, 110 peer reflexive, 100 server reflexive, 0 relayed                       §5.1.2.2
//!  pair        2^32 · min(G, D)  +  2 · max(G, D)  +  (G > D)     G: who controls, D: the other    §6.1.2.3
//! ```

use std::fmt;
use std::net::SocketAddr;

use crate::packet::Protocol;

/// An address that an agent offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The way in which the agent obtained the address.
    pub kind: CandidateKind,
    /// The address that the other agent sends to.
    pub address: SocketAddr,
    /// The socket that sends from it.
    pub base: SocketAddr,
    /// The interface of the base.
    pub interface: Interface,
    /// The protocol between the base and its relay; UDP if there is no relay.
    pub leg: Protocol,
    /// Its priority.
    pub priority: u32,
}

/// The type of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CandidateKind {
    /// A local address of the agent.
    Host,
    /// The source address of the agent's checks, as the other agent sees it.
    PeerReflexive,
    /// The source address as the relay sees it: that of a NAT.
    ServerReflexive,
    /// An address of the relay.
    Relayed,
}

/// A network interface of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interface {
    /// The interface of the VPN.
    Tunnel,
    /// The interface to the local network of the host.
    Local,
}

impl CandidateKind {
    /// Returns the type as candidates are written (RFC 8839 §5.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::PeerReflexive => "prflx",
            Self::ServerReflexive => "srflx",
            Self::Relayed => "relay",
        }
    }

    /// Returns the type preference that RFC 8445 §5.1.2.2 recommends.
    const fn preference(self) -> u32 {
        match self {
            Self::Host => 126,
            Self::PeerReflexive => 110,
            Self::ServerReflexive => 100,
            Self::Relayed => 0,
        }
    }
}

impl fmt::Display for CandidateKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// Returns the priority of a candidate of `kind`.
pub(super) const fn priority(kind: CandidateKind, local_preference: u16) -> u32 {
    (kind.preference() << 24) + ((local_preference as u32) << 8) + (256 - COMPONENT)
}

/// Returns the local preference of a candidate of this priority.
pub(super) const fn local_preference(priority: u32) -> u16 {
    // Truncation keeps the two bytes that hold it.
    (priority >> 8) as u16
}

/// Returns the priority of a pair; the caller is the controlling agent.
pub(super) fn pair_priority(caller: u32, called: u32) -> u64 {
    let (low, high) = (caller.min(called), caller.max(called));
    (u64::from(low) << 32) + 2 * u64::from(high) + u64::from(caller > called)
}

/// RTP; RTCP takes the same path.
const COMPONENT: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_those_of_the_standard() {
        // A host with one address, as in RFC 8839's example.
        assert_eq!(priority(CandidateKind::Host, 65_535), 2_130_706_431);
        assert_eq!(
            priority(CandidateKind::ServerReflexive, 65_535),
            1_694_498_815
        );
        assert_eq!(priority(CandidateKind::Relayed, 65_535), 16_777_215);
        assert_eq!(
            local_preference(priority(CandidateKind::Relayed, 40_000)),
            40_000
        );
    }

    #[test]
    fn a_pair_is_as_good_as_its_worse_half() {
        let host = priority(CandidateKind::Host, 65_535);
        let reflexive = priority(CandidateKind::ServerReflexive, 65_535);
        let relayed = priority(CandidateKind::Relayed, 65_535);
        assert!(pair_priority(host, host) > pair_priority(host, reflexive));
        assert!(pair_priority(reflexive, reflexive) > pair_priority(host, relayed));
        assert!(pair_priority(host, relayed) > pair_priority(relayed, relayed));
        // Both agents order their pairs alike; the controlling role breaks ties.
        assert_eq!(
            pair_priority(host, relayed),
            pair_priority(relayed, host) + 1
        );
    }
}
