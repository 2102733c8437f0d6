//! Recognizes real-time media in the packets of one direction.
//!
//! A call starts with connectivity checks (ICE, RFC 8445) or with a relay allocation (TURN), and a client whose checks
//! all fail sends no media. [`FlowTable`] recognizes these packets, remembers their flow, and classifies everything
//! that follows from the same port to the same port as media, too.
//!
//! ```text
//!  PacketView ──▶ FlowKey, Segment ──▶ FlowTable::look ──▶ Option<Recognized { evidence, by }>
//!                                        │  datagram   one UDP payload: STUN, TURN, DTLS, ZRTP, RTCP, Zoom
//!                                        │  rows       several UDP payloads: RTP with its media clock, SRTCP
//!                                        │  prefix     the first bytes of a TCP stream: ICE, TURN, pseudo-TLS
//!                                        │  frames     RTP in the frames of RFC 4571
//! ```
//!
//! * A flow is directed: source address and port to destination address and port. The other direction is a flow of its
//!   own, and nothing of it is needed: with asymmetric paths a concentrator does not see it.
//! * A verdict holds for a flow, never for a host or a port.
//! * [`Profile`] decides which [`Evidence`] counts. A missed check costs one call through the tunnel; a false verdict
//!   cuts an application off, so every condition is one that random bytes meet less than once in 2^30.
//! * Nothing is allocated per packet, time is an argument, and no payload is kept but the first bytes of a TCP stream
//!   whose sender splits them.
//!
//! `reference` (feature `fuzzing`, and tests) is the same recognition written down slowly, and `traffic`
//! generates the media and the protocols that resemble it.

mod datagram;
mod dtls;
mod evidence;
mod flow;
mod frames;
mod ice_tcp;
mod look;
mod ms_turn;
mod payload;
mod pool;
mod prefix;
mod pseudo_tls;
pub mod quality;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
mod rows;
mod rtcp;
mod rtp;
mod segment;
mod stun;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "fuzzing"))]
pub mod traffic;
mod turn;
mod zoom;
mod zrtp;

use std::num::NonZeroU16;

pub use evidence::{Evidence, EvidenceRow, Profile};
pub use flow::{FLOW_IDLE, FlowTable};
pub use look::{By, Look, Recognized};
pub use payload::Payload;
pub use segment::{FlowKey, Segment};

/// The protocol that the first byte of a UDP payload announces, among those that share a media port; it splits the
/// work, and proves nothing (RFC 7983 §7, RFC 9443 §3). `None` without a payload, or for another transport.
pub fn payload_kind(packet: &super::PacketView<'_>) -> Option<&'static str> {
    let (_, Segment::Udp { payload, .. }) = Segment::of(packet)? else {
        return None;
    };
    Some(match payload.first()? {
        0..=3 => "stun",
        16..=19 => "zrtp",
        20..=63 => "dtls",
        64..=79 => "turn-channel",
        80..=127 => "quic",
        128..=191 => "rtp",
        255 => "ms-turn",
        _ => "other",
    })
}

/// True for a datagram that is media by itself, of any kind: a connectivity check, relay control, a handshake. `datagram` is the
/// payload of each of a super-packet's datagrams, of which the first is read.
pub fn announces_media(segment: Segment<'_>, datagram: Option<NonZeroU16>) -> bool {
    let Segment::Udp { payload, size } = segment else {
        return false;
    };
    let size = size.min(datagram.map_or(size, |it| it.get().into()));
    datagram::recognize(&payload[..size.min(payload.len())], size).is_some()
}

/// Evidence in one packet or stream, and the mark that the narrowest profile asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sighting {
    evidence: Evidence,
    /// Something that only Microsoft's clients and relays send.
    is_microsoft: bool,
}

impl Sighting {
    const fn new(evidence: Evidence) -> Self {
        Self {
            evidence,
            is_microsoft: false,
        }
    }

    const fn of_microsoft(evidence: Evidence) -> Self {
        Self {
            evidence,
            is_microsoft: true,
        }
    }
}

/// Two bytes in network order.
const fn half(bytes: [u8; 2]) -> usize {
    u16::from_be_bytes(bytes) as usize
}
