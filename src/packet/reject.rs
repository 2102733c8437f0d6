//! [`Rejectable`]: a dropped packet that may be answered, so that its sender gives up at once.
//!
//! ```text
//!  TCP   ┌───────────┬─────────────┐
//!        │ IP header │ RST, 20 B   │  RFC 9293 §3.10.7.1
//!        └───────────┴─────────────┘
//!  UDP   ┌───────────┬─────────────┬───────────────────────────┐
//!        │ IP header │ ICMP, 8 B   │ the packet's first bytes  │  RFC 792, RFC 4443 §3.1: port unreachable
//!        └───────────┴─────────────┴───────────────────────────┘
//! ```
//!
//! The answer comes from the address that the packet was sent to, as if that host had no such port. It is never longer than
//! the segment (TCP), or quotes no more than it was sent (UDP). Nothing is answered that hosts must not answer: a RST,
//! an address that does not name one host, a non-first fragment (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::{Addresses, Fragment, PacketView, Protocol, Transport};

/// The kinds of answers to dropped packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectionKind {
    /// A TCP segment that ends the connection (RST).
    Reset,
    /// The ICMP error "port unreachable".
    Unreachable,
}

impl RejectionKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Reset, Self::Unreachable];

    /// The word for it in metric labels and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reset => "rst",
            Self::Unreachable => "unreachable",
        }
    }

    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "RST",
            Self::Unreachable => "ICMP port unreachable",
        }
    }

    /// The kind that answers packets of `protocol`.
    pub const fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Reset,
            Protocol::Udp => Self::Unreachable,
        }
    }
}

/// A packet that may be answered.
#[derive(Debug, Clone, Copy)]
pub struct Rejectable<'a> {
    packet: PacketView<'a>,
    answer: Answer,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Reset(Reset),
    Unreachable,
}

/// The numbers of a RST, as the header has them.
#[derive(Debug, Clone, Copy)]
struct Reset {
    ports: [u8; 4],
    sequence: [u8; 4],
    acknowledgment: [u8; 4],
    flags: u8,
}

/// An answer: an IP packet.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// Its kind.
    pub kind: RejectionKind,
    addresses: Addresses,
    length: usize,
    bytes: [u8; Self::MAX],
}

impl<'a> Rejectable<'a> {
    /// The packet in question; `None` if it must not be answered.
    pub fn of(packet: PacketView<'a>) -> Option<Self> {
        let addresses = packet.addresses();
        if !names_one_host(addresses.source()) || !names_one_host(addresses.destination()) {
            return None;
        }
        let Transport::Ports { protocol, .. } = packet.transport() else {
            return None;
        };
        let answer = match (protocol, packet.fragment()) {
            (Protocol::Tcp, Fragment::Whole) => Answer::Reset(Reset::of(&packet)?),
            (Protocol::Udp, Fragment::Whole | Fragment::First { .. }) => {
                packet.transport_bytes().first_chunk::<UDP_HEADER>()?;
                Answer::Unreachable
            }
            // The length of a segment in fragments is unknown.
            (Protocol::Tcp, Fragment::First { .. }) | (_, Fragment::NonFirst { .. }) => {
                return None;
            }
        };
        Some(Self { packet, answer })
    }

    /// The sender of the packet, to which the answer goes.
    pub fn client(&self) -> IpAddr {
        self.packet.addresses().source()
    }

    /// The answer.
    pub fn answer(&self) -> Rejection {
        let addresses = reverse(self.packet.addresses());
        let mut bytes = [0; Rejection::MAX];
        let (header, payload) = match addresses {
            Addresses::V4 { .. } => bytes.split_at_mut(IPV4_HEADER),
            Addresses::V6 { .. } => bytes.split_at_mut(IPV6_HEADER),
        };
        let (kind, protocol, length) = match self.answer {
            Answer::Reset(reset) => (RejectionKind::Reset, TCP, reset.write(addresses, payload)),
            Answer::Unreachable => {
                let protocol = match addresses {
                    Addresses::V4 { .. } => ICMP,
                    Addresses::V6 { .. } => ICMPV6,
                };
                let length = write_unreachable(addresses, self.packet.bytes(), payload);
                (RejectionKind::Unreachable, protocol, length)
            }
        };
        write_ip_header(addresses, protocol, length, header);
        Rejection {
            kind,
            addresses,
            length: header.len() + length,
            bytes,
        }
    }
}

impl Rejection {
    /// The longest answer: an ICMPv6 error (RFC 4443 §3.1).
    pub const MAX: usize = 1_280;

    /// The IP packet.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The client that it goes to.
    pub fn client(&self) -> IpAddr {
        self.addresses.destination()
    }

    /// The address that the client tried, from which the answer comes.
    pub fn tried(&self) -> IpAddr {
        self.addresses.source()
    }
}

impl Reset {
    /// `None` for a RST, and for a segment whose header is truncated.
    fn of(packet: &PacketView<'_>) -> Option<Self> {
        let segment = packet.transport_bytes();
        let &[
            s0,
            s1,
            d0,
            d1,
            q0,
            q1,
            q2,
            q3,
            a0,
            a1,
            a2,
            a3,
            offset,
            flags,
            ..,
        ] = segment.first_chunk::<TCP_HEADER>()?;
        let header = usize::from(offset >> 4) * 4;
        if flags & RST != 0 || header < TCP_HEADER {
            return None;
        }
        let payload = segment.len().checked_sub(header)?;
        let ports = [d0, d1, s0, s1];
        if flags & ACK != 0 {
            return Some(Self {
                ports,
                sequence: [a0, a1, a2, a3],
                acknowledgment: [0; 4],
                flags: RST,
            });
        }
        let length = payload as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let expected = u32::from_be_bytes([q0, q1, q2, q3]).wrapping_add(length);
        Some(Self {
            ports,
            sequence: [0; 4],
            acknowledgment: expected.to_be_bytes(),
            flags: RST | ACK,
        })
    }

    /// Writes the segment and returns its length.
    fn write(self, addresses: Addresses, out: &mut [u8]) -> usize {
        let segment = &mut out[..TCP_HEADER];
        segment[0..4].copy_from_slice(&self.ports);
        segment[4..8].copy_from_slice(&self.sequence);
        segment[8..12].copy_from_slice(&self.acknowledgment);
        segment[12] = (TCP_HEADER as u8 / 4) << 4;
        segment[13] = self.flags;
        let sum = pseudo_header(addresses, TCP, TCP_HEADER).and(segment);
        segment[16..18].copy_from_slice(&sum.checksum());
        TCP_HEADER
    }
}

/// Writes an ICMP error that quotes the beginning of `packet`, and returns its length.
fn write_unreachable(addresses: Addresses, packet: &[u8], out: &mut [u8]) -> usize {
    let (most, kind, code) = match addresses {
        Addresses::V4 { .. } => (MAX_ICMP - IPV4_HEADER, DESTINATION_UNREACHABLE_V4, PORT_V4),
        Addresses::V6 { .. } => (
            Rejection::MAX - IPV6_HEADER,
            DESTINATION_UNREACHABLE_V6,
            PORT_V6,
        ),
    };
    let quoted = packet.len().min(most - ICMP_HEADER);
    let message = &mut out[..ICMP_HEADER + quoted];
    message[0] = kind;
    message[1] = code;
    message[ICMP_HEADER..].copy_from_slice(&packet[..quoted]);
    let sum = match addresses {
        Addresses::V4 { .. } => Sum::of(message),
        Addresses::V6 { .. } => pseudo_header(addresses, ICMPV6, message.len()).and(message),
    };
    message[2..4].copy_from_slice(&sum.checksum());
    message.len()
}

fn write_ip_header(addresses: Addresses, protocol: u8, payload: usize, header: &mut [u8]) {
    match addresses {
        Addresses::V4 {
            source,
            destination,
        } => {
            let length = (IPV4_HEADER + payload) as u16;
            header[0] = 0x45;
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
            header[8] = HOP_LIMIT;
            header[9] = protocol;
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            let sum = Sum::of(header).checksum();
            header[10..12].copy_from_slice(&sum);
        }
        Addresses::V6 {
            source,
            destination,
        } => {
            header[0] = 0x60;
            header[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
            header[6] = protocol;
            header[7] = HOP_LIMIT;
            header[8..24].copy_from_slice(&source.octets());
            header[24..40].copy_from_slice(&destination.octets());
        }
    }
}

/// The sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1).
fn pseudo_header(addresses: Addresses, protocol: u8, length: usize) -> Sum {
    let sum = match addresses {
        Addresses::V4 {
            source,
            destination,
        } => Sum::of(&source.octets()).and(&destination.octets()),
        Addresses::V6 {
            source,
            destination,
        } => Sum::of(&source.octets()).and(&destination.octets()),
    };
    sum.and(&[0, protocol]).and(&(length as u16).to_be_bytes())
}

const fn reverse(addresses: Addresses) -> Addresses {
    match addresses {
        Addresses::V4 {
            source,
            destination,
        } => Addresses::V4 {
            source: destination,
            destination: source,
        },
        Addresses::V6 {
            source,
            destination,
        } => Addresses::V6 {
            source: destination,
            destination: source,
        },
    }
}

/// False for addresses of nobody, of this host itself and of many (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)).
fn names_one_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_unicast_v4(address),
        IpAddr::V6(address) => is_unicast_v6(address),
    }
}

fn is_unicast_v4(address: Ipv4Addr) -> bool {
    // From 224.0.0.0 on: multicast, class E, and the broadcast address.
    let [first, ..] = address.octets();
    first != 0 && first < 224 && !address.is_loopback()
}

fn is_unicast_v6(address: Ipv6Addr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

/// RFC 791 §3.1, without options.
const IPV4_HEADER: usize = 20;
/// RFC 8200 §3.
const IPV6_HEADER: usize = 40;
/// RFC 9293 §3.1, without options.
const TCP_HEADER: usize = 20;
/// RFC 768.
const UDP_HEADER: usize = 8;
/// RFC 792, RFC 4443 §3.1: type, code, checksum, and four bytes that are not used.
const ICMP_HEADER: usize = 8;
/// The longest ICMP error of IPv4 (RFC 1812 §4.3.2.3).
const MAX_ICMP: usize = 576;

/// Flags of TCP (RFC 9293 §3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;

/// RFC 792: destination unreachable, port unreachable.
const DESTINATION_UNREACHABLE_V4: u8 = 3;
const PORT_V4: u8 = 3;
/// RFC 4443 §3.1: destination unreachable, port unreachable.
const DESTINATION_UNREACHABLE_V6: u8 = 1;
const PORT_V6: u8 = 4;

/// RFC 791 §3.1; with it, an identification of zero is unambiguous (RFC 6864 §4.1).
const DONT_FRAGMENT: u16 = 0x4000;
/// As hosts send it.
const HOP_LIMIT: u8 = 64;

#[cfg(test)]
mod tests;
