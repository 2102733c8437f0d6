//! Reads the fields of a packet by their offset in the RFC, independently of any policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::Protocol;
use crate::packet::media::Segment;

/// The fields of a packet that the rules use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// True if a source route has hops left.
    pub(super) source_routed: bool,
    /// The fragments it begins, if it is a first fragment.
    pub(super) first_of: Option<FragmentKey>,
    pub(super) payload: Payload,
    /// Start of the transport header and end of the packet, in bytes from the start of the packet.
    pub(super) transport: (usize, usize),
}

/// The part of the transport header that the packet contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// Everything that the rules need.
    Whole(Transport),
    /// TCP or UDP that ends before its ports do.
    TruncatedHeader(Protocol),
    /// IPv6 extension headers that end before the transport header begins.
    TruncatedChain,
    /// A non-first fragment: the transport header is in another one.
    NonFirst { key: FragmentKey, carries: Carries },
}

/// The transport of a datagram, as a non-first fragment shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// IPv4: this protocol, in every fragment (`None`: neither TCP nor UDP).
    Known(Option<Protocol>),
    /// IPv6: unknown, as a receiver ignores the next header of a non-first fragment (RFC 8200 §4.5).
    Anything,
}

/// The fields of a transport header that the rules use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Ports(Ports),
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) protocol: Protocol,
    pub(super) source: u16,
    pub(super) destination: u16,
}

/// Every transport that a packet may carry; `None` is neither TCP nor UDP.
pub(super) const ANY_TRANSPORT: [Option<Protocol>; 3] =
    [Some(Protocol::Tcp), Some(Protocol::Udp), None];

/// The fields that all fragments of one datagram share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum FragmentKey {
    /// RFC 791 §3.2.
    V4 {
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        id: u16,
    },
    /// RFC 8200 §4.5: the next header is not part of it.
    V6 {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        id: u32,
    },
}

/// Maximum length of a datagram (RFC 791 §3.1, RFC 8200 §4.5).
const LARGEST_DATAGRAM: usize = 65_535;

/// Reads `packet`; `None` if no host would accept its header.
pub(super) fn read(packet: &[u8], length_on_the_wire: usize) -> Option<Packet> {
    if packet.is_empty() {
        return None;
    }
    match packet[0] >> 4 {
        4 => read_ipv4(packet, length_on_the_wire),
        6 => read_ipv6(packet, length_on_the_wire),
        _ => None,
    }
}

/// An IPv4 packet, RFC 791 §3.1.
///
/// ```text
///  0  version, header length in 4 bytes     9  protocol
///  2  total length                         12  source
///  4  identification                       16  destination
///  6  flags (3 bits), fragment offset      20  options
/// ```
fn read_ipv4(packet: &[u8], length_on_the_wire: usize) -> Option<Packet> {
    if packet.len() < 20 {
        return None;
    }
    let header_length = usize::from(packet[0] & 0x0f) * 4;
    if header_length < 20 || header_length > packet.len() {
        return None;
    }
    let total_length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if total_length != 0 && (total_length < header_length || total_length > length_on_the_wire) {
        return None;
    }
    // A super-packet is too long for the field and leaves it 0.
    let end = if total_length == 0 {
        length_on_the_wire
    } else {
        total_length
    };

    let id = u16::from_be_bytes([packet[4], packet[5]]);
    let flags_and_offset = u16::from_be_bytes([packet[6], packet[7]]);
    let more_fragments = flags_and_offset & 0x2000 != 0;
    let offset = usize::from(flags_and_offset & 0x1fff) * 8;
    let is_fragment = more_fragments || offset > 0;
    if is_fragment && offset.saturating_add(end - header_length) > LARGEST_DATAGRAM {
        return None;
    }

    let protocol = packet[9];
    let source = Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]);
    let destination = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
    let key = FragmentKey::V4 {
        source,
        destination,
        protocol,
        id,
    };
    let payload = if offset > 0 {
        Payload::NonFirst {
            key,
            carries: Carries::Known(protocol_with_ports(protocol)),
        }
    } else {
        read_transport(packet, end, header_length, protocol)
    };
    Some(Packet {
        source: IpAddr::V4(source),
        destination: IpAddr::V4(destination),
        source_routed: ipv4_source_routed(&packet[20..header_length]),
        first_of: (is_fragment && offset == 0).then_some(key),
        payload,
        transport: (header_length, end),
    })
}

/// True if IPv4 options hold a loose (131) or strict (137) source route with hops left.
///
/// RFC 791 §3.1: option 0 ends the list, option 1 is one byte long, every other has its length in its second byte.
/// The third byte of a source route points at the next hop, and past the option when none is left.
fn ipv4_source_routed(options: &[u8]) -> bool {
    let mut at = 0;
    while at < options.len() {
        let kind = options[at];
        if kind == 0 {
            return false;
        }
        if kind == 1 {
            at += 1;
            continue;
        }
        if at + 1 >= options.len() {
            return false;
        }
        let length = usize::from(options[at + 1]);
        if length < 2 || at + length > options.len() {
            return false;
        }
        if (kind == 131 || kind == 137) && length >= 3 && usize::from(options[at + 2]) <= length {
            return true;
        }
        at += length;
    }
    false
}

/// An IPv6 packet, RFC 8200 §3, and its extension headers, §4.
///
/// ```text
///  0  version, traffic class, flow label     8  source
///  4  payload length                        24  destination
///  6  next header                           40  extension headers, transport
/// ```
fn read_ipv6(packet: &[u8], length_on_the_wire: usize) -> Option<Packet> {
    if packet.len() < 40 {
        return None;
    }
    let payload_length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    if 40 + payload_length > length_on_the_wire {
        return None;
    }
    // A super-packet or jumbogram is too long for the field and leaves it 0.
    let end = if payload_length == 0 {
        length_on_the_wire
    } else {
        40 + payload_length
    };
    let source = ipv6_address(packet, 8);
    let destination = ipv6_address(packet, 24);

    let mut source_routed = false;
    let mut first_of = None;
    let mut at = 40;
    let mut next_header = packet[6];
    let payload = loop {
        // An extension header is 8 bytes long at least, and its second byte says how much longer it is.
        let units = byte(packet, end, at + 1).map_or(0, usize::from);
        let length = match next_header {
            // Hop-by-hop options, routing, destination options (RFC 8200 §4.3, §4.4, §4.6), mobility (RFC 6275
            // §6.1.1), HIP (RFC 7401 §5.1), shim6 (RFC 5533 §5.1)
            0 | 43 | 60 | 135 | 139 | 140 => (units + 1) * 8,
            // Authentication header (RFC 4302 §2.2)
            51 => (units + 2) * 4,
            // Fragment header: its second byte is reserved (RFC 8200 §4.5)
            44 => 8,
            transport => break read_transport(packet, end, at, transport),
        };
        // Routing header: the fourth byte counts the segments left (RFC 8200 §4.4)
        if next_header == 43 && byte(packet, end, at + 3).is_some_and(|left| left > 0) {
            source_routed = true;
        }
        if at + length > end {
            // The rest may come in a non-first fragment; an unfragmented packet has no rest.
            if first_of.is_some() {
                break Payload::TruncatedChain;
            }
            return None;
        }
        if at + length > packet.len() {
            break Payload::TruncatedChain;
        }
        // Fragment header (RFC 8200 §4.5):
        // 0 next header, 2 offset in 8 bytes (13 bits), reserved, more fragments (1 bit), 4 identification
        if next_header == 44 {
            let offset_and_more = u16::from_be_bytes([packet[at + 2], packet[at + 3]]);
            let offset = usize::from(offset_and_more & 0xfff8);
            let more_fragments = offset_and_more & 1 != 0;
            let id = [
                packet[at + 4],
                packet[at + 5],
                packet[at + 6],
                packet[at + 7],
            ];
            let key = FragmentKey::V6 {
                source,
                destination,
                id: u32::from_be_bytes(id),
            };
            let fragment_payload = end - (at + 8);
            if more_fragments && !fragment_payload.is_multiple_of(8) {
                return None;
            }
            let is_fragment = more_fragments || offset > 0;
            if is_fragment && offset.saturating_add(fragment_payload) > LARGEST_DATAGRAM {
                return None;
            }
            if offset > 0 {
                first_of = None;
                break Payload::NonFirst {
                    key,
                    carries: Carries::Anything,
                };
            }
            // Offset 0 without more fragments is an atomic fragment (RFC 6946): an ordinary packet.
            if more_fragments {
                first_of = Some(key);
            }
        }
        next_header = packet[at];
        at += length;
    };
    Some(Packet {
        source: IpAddr::V6(source),
        destination: IpAddr::V6(destination),
        source_routed,
        first_of,
        payload,
        transport: (at, end),
    })
}

/// The address in the 16 bytes from `at`, which the caller knows to be there.
fn ipv6_address(packet: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    Ipv6Addr::from(octets)
}

/// The byte at `at`, if both the packet (up to `end`) and the capture contain it.
fn byte(packet: &[u8], end: usize, at: usize) -> Option<u8> {
    if at < end && at < packet.len() {
        Some(packet[at])
    } else {
        None
    }
}

/// The transport header at `at`: TCP (RFC 9293 §3.1) and UDP (RFC 768) both begin with source and destination port.
fn read_transport(packet: &[u8], end: usize, at: usize, protocol: u8) -> Payload {
    let Some(protocol) = protocol_with_ports(protocol) else {
        return Payload::Whole(Transport::Other);
    };
    if at + 4 > end || at + 4 > packet.len() {
        return Payload::TruncatedHeader(protocol);
    }
    Payload::Whole(Transport::Ports(Ports {
        protocol,
        source: u16::from_be_bytes([packet[at], packet[at + 1]]),
        destination: u16::from_be_bytes([packet[at + 2], packet[at + 3]]),
    }))
}

/// The part of its flow that `packet` carries, with the transport header at `at` and its last byte before `end`.
pub(super) fn read_segment(
    packet: &[u8],
    (at, end): (usize, usize),
    protocol: Protocol,
) -> Segment<'_> {
    let bytes = &packet[at..end.min(packet.len())];
    match protocol {
        // RFC 768: 4 length of header and payload, 8 payload
        Protocol::Udp if bytes.len() < 8 => Segment::Udp {
            payload: &[],
            size: 0,
        },
        Protocol::Udp => {
            let mut length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
            if length == 0 {
                length = end - at;
            }
            let size = length.saturating_sub(8);
            let available = size.min(bytes.len() - 8);
            Segment::Udp {
                payload: &bytes[8..8 + available],
                size,
            }
        }
        // RFC 9293 §3.1: 4 sequence number, 12 length of the header in 4 bytes (4 bits), 13 flags
        Protocol::Tcp if bytes.len() < 20 => Segment::Tcp {
            sequence: 0,
            is_start: false,
            payload: &[],
        },
        Protocol::Tcp => {
            let header = usize::from(bytes[12] >> 4) * 4;
            let is_sound = header >= 20 && header <= bytes.len();
            Segment::Tcp {
                sequence: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
                is_start: bytes[13] & 2 != 0,
                payload: if is_sound { &bytes[header..] } else { &[] },
            }
        }
    }
}

/// TCP or UDP; the rules do not distinguish other protocols.
fn protocol_with_ports(protocol: u8) -> Option<Protocol> {
    match protocol {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        _ => None,
    }
}
