//! [`FlowKey`] and [`Segment`]: the flow of a packet, and the part of the flow that it carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::{Addresses, PacketView, Protocol, Transport, plain_ipv4, plain_ipv6};
use super::half;

/// A directed flow: protocol, source address and port, destination address and port.
///
/// Addresses are words, not octets: a key is built and compared in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    pub(super) source: [u64; 2],
    destination: [u64; 2],
    /// Source port above, destination port below.
    ports: u32,
    protocol: Protocol,
}

/// The part of a flow that one packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    /// A datagram, or the first of its fragments (RFC 768).
    Udp {
        /// The available bytes of the payload, none beyond its size.
        payload: &'a [u8],
        /// Length of the whole payload, by the UDP header.
        size: usize,
    },
    /// A segment of a connection (RFC 9293 §3.1).
    Tcp {
        /// Sequence number of the segment.
        sequence: u32,
        /// True if it begins a connection (SYN), which takes one sequence number.
        is_start: bool,
        /// Its payload.
        payload: &'a [u8],
    },
}

/// Length of an IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// Length of an IPv6 header.
const IPV6_HEADER: usize = 40;
/// Length of the UDP header.
const UDP_HEADER: usize = 8;
/// Length of the TCP header without options.
const TCP_HEADER: usize = 20;
/// Flag of the TCP header: synchronize sequence numbers.
const SYN: u8 = 0x02;

impl FlowKey {
    /// A key that no flow has.
    pub(super) const EMPTY: Self = Self {
        source: [0; 2],
        destination: [0; 2],
        ports: 0,
        protocol: Protocol::Udp,
    };

    /// The key of a flow between two addresses of one family.
    #[inline]
    pub fn new(protocol: Protocol, source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        let words = |address: IpAddr| match address {
            IpAddr::V4(address) => words_v4(address),
            IpAddr::V6(address) => words_v6(address),
        };
        let (source, destination) = (
            (words(source.0), source.1),
            (words(destination.0), destination.1),
        );
        Self::of_words(protocol, source, destination)
    }

    #[inline]
    fn of_words(protocol: Protocol, source: ([u64; 2], u16), destination: ([u64; 2], u16)) -> Self {
        Self {
            source: source.0,
            destination: destination.0,
            ports: u32::from(source.1) << 16 | u32::from(destination.1),
            protocol,
        }
    }

    #[inline]
    fn of(protocol: Protocol, addresses: Addresses, (source_port, port): (u16, u16)) -> Self {
        let (source, destination) = match addresses {
            Addresses::V4 {
                source,
                destination,
            } => (words_v4(source), words_v4(destination)),
            Addresses::V6 {
                source,
                destination,
            } => (words_v6(source), words_v6(destination)),
        };
        Self::of_words(protocol, (source, source_port), (destination, port))
    }

    /// Source address and port.
    pub fn source(&self) -> SocketAddr {
        SocketAddr::new(address_of(self.source), (self.ports >> 16) as u16)
    }

    /// Destination address and port.
    pub fn destination(&self) -> SocketAddr {
        SocketAddr::new(address_of(self.destination), self.ports as u16)
    }

    /// The transport protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Hashes a key to a set. The hash is not keyed: a client that forces collisions evicts its own flows first.
    ///
    /// Source and ports are multiplied with each other, not added: many clients beside many ports would have the same few sums.
    #[inline]
    pub(super) fn spread(&self) -> u64 {
        // Factors without a pattern: the golden ratio, and the roots of 2 and 3, as fractions of 2^64.
        const FACTORS: [u64; 3] = [
            0x9e37_79b9_7f4a_7c15,
            0x6a09_e667_f3bc_c909,
            0xbb67_ae85_84ca_a73b,
        ];
        let multiply = |left: u64, right: u64| {
            let product = u128::from(left) * u128::from(right);
            product as u64 ^ (product >> 64) as u64
        };
        let halves = |[high, low]: [u64; 2]| low ^ high.rotate_left(17);
        let ports = u64::from(self.protocol as u8) << 32 | u64::from(self.ports);
        let hash = multiply(halves(self.source) ^ FACTORS[1], ports ^ FACTORS[2]);
        multiply(hash.rotate_left(29) ^ halves(self.destination), FACTORS[0])
    }
}

/// Maps to an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2), which no packet on the wire has.
#[inline]
fn words_v4(address: Ipv4Addr) -> [u64; 2] {
    [0, 0xffff << 32 | u64::from(address.to_bits())]
}

#[inline]
fn words_v6(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

/// The address of `words`.
fn address_of([high, low]: [u64; 2]) -> IpAddr {
    let bits = u128::from(high) << 64 | u128::from(low);
    Ipv6Addr::from_bits(bits).to_canonical()
}

impl<'a> Segment<'a> {
    /// The flow of `packet` and its segment; `None` if it has no ports.
    #[inline]
    pub fn of(packet: &PacketView<'a>) -> Option<(FlowKey, Self)> {
        let Transport::Ports {
            protocol,
            source,
            destination,
        } = packet.transport()
        else {
            return None;
        };
        let key = FlowKey::of(protocol, packet.addresses(), (source, destination));
        let bytes = packet.transport_bytes();
        let on_wire = packet.length() - (packet.bytes().len() - bytes.len());
        Some((
            key,
            match protocol {
                Protocol::Udp => Self::udp(bytes, on_wire),
                Protocol::Tcp => Self::tcp(bytes),
            },
        ))
    }

    /// The flow of a plain packet of TCP or UDP, and its segment; `None` for any other packet.
    ///
    /// Fast path of [`of`](Self::of), which has the same result.
    #[inline]
    pub fn of_plain(packet: &'a [u8]) -> Option<(FlowKey, Self)> {
        if let Some(plain) = plain_ipv4(packet) {
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            let key = FlowKey::of_words(
                plain.protocol?,
                (words_v4(plain.source.into()), plain.source_port),
                (words_v4(plain.destination.into()), plain.destination_port),
            );
            return Some((
                key,
                Self::within(key.protocol, packet.get(IPV4_HEADER..length)?),
            ));
        }
        let plain = plain_ipv6(packet)?;
        let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
        let key = FlowKey::of_words(
            plain.protocol?,
            (words_v6(plain.source.into()), plain.source_port),
            (words_v6(plain.destination.into()), plain.destination_port),
        );
        let end = IPV6_HEADER + length;
        Some((
            key,
            Self::within(key.protocol, packet.get(IPV6_HEADER..end)?),
        ))
    }

    /// The segment in `bytes`, which are all that its packet has behind the IP header.
    #[inline]
    fn within(protocol: Protocol, bytes: &'a [u8]) -> Self {
        match protocol {
            Protocol::Udp => Self::udp(bytes, bytes.len()),
            Protocol::Tcp => Self::tcp(bytes),
        }
    }

    /// A length of zero means a super-packet: the datagram is as long as the packet.
    #[inline]
    fn udp(bytes: &'a [u8], on_wire: usize) -> Self {
        let Some((&[_, _, _, _, l0, l1, _, _], payload)) = bytes.split_first_chunk::<UDP_HEADER>()
        else {
            return Self::Udp {
                payload: &[],
                size: 0,
            };
        };
        let length = match half([l0, l1]) {
            0 => on_wire,
            length => length,
        };
        let size = length.saturating_sub(UDP_HEADER);
        Self::Udp {
            payload: &payload[..size.min(payload.len())],
            size,
        }
    }

    #[inline]
    fn tcp(bytes: &'a [u8]) -> Self {
        let Some(&[_, _, _, _, q0, q1, q2, q3, _, _, _, _, offset, flags, ..]) =
            bytes.first_chunk::<TCP_HEADER>()
        else {
            return Self::Tcp {
                sequence: 0,
                is_start: false,
                payload: &[],
            };
        };
        let header = usize::from(offset >> 4) * 4;
        Self::Tcp {
            sequence: u32::from_be_bytes([q0, q1, q2, q3]),
            is_start: flags & SYN != 0,
            payload: match header {
                TCP_HEADER.. => bytes.get(header..).unwrap_or_default(),
                _ => &[],
            },
        }
    }
}
