//! [`PacketView`]: parses the bytes of one IP packet.
//!
//! [`PacketView::parse`] reads and bounds-checks once everything that a rule needs (addresses, protocol, ports, place
//! in a fragmented datagram, source route); the accessors of a view cannot fail. Only the outermost IP header counts: a
//! tunnel inside the tunnel is a protocol like any other.
//!
//! ```text
//!  IPv4    ┌──────────────┬─────────┬─────────────┬───────────┐
//!          │ header, 20 B │ options │ ports, 4 B  │ the rest  │
//!          └──────────────┴─────────┴─────────────┴───────────┘
//!  IPv6    ┌──────────────┬───────────┬────────────┬───────────┐
//!          │ header, 40 B │ extension │ ports, 4 B │ the rest  │
//!          │              │ headers*  │            │           │
//!          └──────────────┴───────────┴────────────┴───────────┘
//!           read            walked      read         never read
//! ```
//!
//! Headers are read by hand, not with etherparse: the judgement of a packet has a budget of 15 ns, and slicing every
//! header with a general parser takes 10 of them. etherparse builds and checks the packets of the tests.

pub mod checksum;
mod fragment;
mod ipv4;
mod ipv6;
pub mod media;
pub mod merge;
mod plain;
pub mod rdp_udp;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
pub mod reject;
mod traffic;
pub mod virtio;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::time::Duration;

pub use fragment::{FRAGMENT_LIFETIME, FragmentKey, FragmentTable};
pub use plain::{PlainPacket, plain_ipv4, plain_ipv6};
pub use traffic::Traffic;

/// A transport protocol whose ports the rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// IP protocol 6 (RFC 9293).
    Tcp,
    /// IP protocol 17 (RFC 768).
    Udp,
}

impl Protocol {
    /// The protocol with this number in the IP header; `None` for any but TCP and UDP.
    /// Its number in IP headers.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Maximum number of packets handled at once: enough for memory latencies to overlap, few enough for the first-level
/// cache.
pub const BATCH: usize = 64;

/// An IP packet as received, not yet parsed.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Its bytes; link-layer padding may follow them.
    pub bytes: &'a [u8],
    /// Its length before a capture truncated it to `bytes`; the length of `bytes` if none did.
    pub length_on_wire: usize,
    /// Time of its arrival, since any fixed moment; determines the lifetime of fragments and flows.
    pub at: Duration,
    /// For a super-packet of UDP: the payload of each of its datagrams, in bytes; the last may be shorter.
    pub datagram: Option<NonZeroU16>,
}

impl<'a> Received<'a> {
    /// A whole packet that arrived at `at`.
    pub fn whole(bytes: &'a [u8], at: Duration) -> Self {
        Self::captured(bytes, bytes.len(), at)
    }

    /// A packet that arrived at `at`, as far as a capture has it.
    pub fn captured(bytes: &'a [u8], length_on_wire: usize, at: Duration) -> Self {
        Self {
            bytes,
            length_on_wire,
            at,
            datagram: None,
        }
    }

    /// A super-packet, if `datagram` says so.
    pub fn with_datagrams_of(self, datagram: Option<NonZeroU16>) -> Self {
        Self { datagram, ..self }
    }

    /// Reads its headers.
    ///
    /// # Errors
    /// [`Malformed`] when no host would accept them.
    pub fn parse(&self) -> Result<PacketView<'a>, Malformed> {
        PacketView::parse_captured(self.bytes, self.length_on_wire)
    }
}

/// Source and destination of the outermost IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// RFC 791.
    V4 {
        /// The sender, as the header claims.
        source: Ipv4Addr,
        /// The receiver, as the header names it.
        destination: Ipv4Addr,
    },
    /// RFC 8200.
    V6 {
        /// The sender, as the header claims.
        source: Ipv6Addr,
        /// The receiver, as the header names it.
        destination: Ipv6Addr,
    },
}

impl Addresses {
    /// The source address.
    pub fn source(self) -> IpAddr {
        match self {
            Self::V4 { source, .. } => source.into(),
            Self::V6 { source, .. } => source.into(),
        }
    }

    /// The destination address.
    pub fn destination(self) -> IpAddr {
        match self {
            Self::V4 { destination, .. } => destination.into(),
            Self::V6 { destination, .. } => destination.into(),
        }
    }
}

/// The part of a datagram that a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// All of it; an atomic fragment (RFC 6946) is whole, too.
    Whole,
    /// Its first fragment, with more to come.
    First {
        /// Identification that all fragments of the datagram share.
        id: u32,
    },
    /// A fragment with an offset: it has no ports.
    NonFirst {
        /// Identification that all fragments of the datagram share.
        id: u32,
    },
}

/// The part of the transport header that the packet contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP or UDP, with its ports.
    Ports {
        /// TCP or UDP.
        protocol: Protocol,
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// The beginning of TCP or UDP, truncated before the end of its ports.
    TruncatedHeader(Protocol),
    /// An IPv6 header chain that ends before it names the transport, in a first fragment or in a packet truncated by
    /// the capture's snap length.
    TruncatedChain,
    /// A non-first fragment of an IPv4 datagram of this protocol.
    NonFirst(Protocol),
    /// A non-first fragment of an IPv6 datagram: its own next header says nothing (RFC 8200 §4.5).
    UnknownNonFirst,
    /// Another protocol, by its number.
    Other(u8),
}

/// The defect of a packet whose header no host would accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// No bytes at all.
    #[error("empty packet")]
    Empty,
    /// The first four bits are neither 4 nor 6.
    #[error("IP version {0}")]
    Version(u8),
    /// Fewer bytes than the fixed header has.
    #[error("shorter than its header")]
    Truncated,
    /// IPv4 header length below 20 bytes or beyond the packet (RFC 791 §3.1, IHL).
    #[error("bad header length")]
    HeaderLength,
    /// IPv4 total length or IPv6 payload length that disagrees with the packet.
    #[error("length field beyond the packet, or below its header")]
    Length,
    /// A fragment that ends beyond 65,535 bytes, or an IPv6 one with more to come whose length is not a multiple of 8.
    #[error("bad fragment length")]
    FragmentLength,
    /// IPv6 extension headers that run past the end of the packet.
    #[error("extension headers beyond the packet")]
    ExtensionChain,
}

/// One IP packet, validated; its accessors cannot fail.
#[derive(Debug, Clone, Copy)]
pub struct PacketView<'a> {
    bytes: &'a [u8],
    length: usize,
    /// Offset of the transport header in `bytes`; their end if there is none.
    transport_offset: usize,
    addresses: Addresses,
    fragment: Fragment,
    transport: Transport,
    source_routed: bool,
}

impl<'a> PacketView<'a> {
    /// Reads the packet that `bytes` holds from its first to its last byte; link-layer padding may follow it.
    ///
    /// A length field of zero means a super-packet (GSO, BIG TCP, RFC 2675): the packet is as long as `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] when no host would accept the header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse_captured(bytes, bytes.len())
    }

    /// Like [`parse`](Self::parse), for a packet of `length_on_wire` bytes of which a capture kept only `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] when no host would accept the header, or when the capture truncated it.
    pub fn parse_captured(bytes: &'a [u8], length_on_wire: usize) -> Result<Self, Malformed> {
        let length_on_wire = length_on_wire.max(bytes.len());
        match bytes.first().map(|first| first >> 4) {
            Some(4) => ipv4::parse(bytes, length_on_wire),
            Some(6) => ipv6::parse(bytes, length_on_wire),
            Some(version) => Err(Malformed::Version(version)),
            None => Err(Malformed::Empty),
        }
    }

    /// The bytes of the packet, without padding, and only as many as were captured.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The transport header and all behind it, as much as was captured; empty in a non-first fragment.
    pub fn transport_bytes(&self) -> &'a [u8] {
        &self.bytes[self.transport_offset..]
    }

    /// Length in bytes, header included, as the packet has it on the wire.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Source and destination.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The part of its datagram that it carries.
    pub fn fragment(&self) -> Fragment {
        self.fragment
    }

    /// The part of its transport header that it contains.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// True if a source route has hops left: the destination of the header is then not the final one.
    ///
    /// IPv4 loose and strict source route (RFC 791 §3.1), IPv6 routing header of any type (RFC 8200 §4.4).
    pub fn is_source_routed(&self) -> bool {
        self.source_routed
    }

    /// The key that all fragments of its datagram share; `None` for a whole one.
    pub fn fragment_key(&self) -> Option<FragmentKey> {
        let (Fragment::First { id } | Fragment::NonFirst { id }) = self.fragment else {
            return None;
        };
        Some(match self.addresses {
            Addresses::V4 {
                source,
                destination,
            } => FragmentKey::v4(source, destination, self.bytes[ipv4::PROTOCOL], id),
            Addresses::V6 {
                source,
                destination,
            } => FragmentKey::v6(source, destination, id),
        })
    }
}

/// The ports at the start of `payload`, the same place for TCP (RFC 9293 §3.1) and UDP (RFC 768).
fn read_transport(protocol_number: u8, payload: &[u8]) -> Transport {
    let Some(protocol) = Protocol::from_number(protocol_number) else {
        return Transport::Other(protocol_number);
    };
    match payload.first_chunk::<4>() {
        Some(&[s0, s1, d0, d1]) => Transport::Ports {
            protocol,
            source: u16::from_be_bytes([s0, s1]),
            destination: u16::from_be_bytes([d0, d1]),
        },
        None => Transport::TruncatedHeader(protocol),
    }
}

/// Maximum length of a datagram after reassembly, in bytes: its length field has 16 bits.
const MAX_DATAGRAM: usize = 65_535;

#[cfg(test)]
mod tests;
