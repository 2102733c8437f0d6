//! Fast path: reads a plain packet at fixed offsets.
//!
//! Nearly every packet of a VPN is a whole packet behind a header without options. Six facts decide its verdict, all at
//! fixed offsets, and a few comparisons prove that they are there. A packet that fails these is not malformed, only
//! rare: it goes to [`PacketView::parse`](super::PacketView::parse), which reads the same facts of a usual packet (a
//! property test compares the two). This path exists for speed alone: it takes a third of the time of the general one.
//!
//! No branch depends on the protocol, as a mix of TCP and UDP would mispredict it: a table maps its number. So IPv4
//! packets without ports are plain, too, if they have as many bytes.

use super::Protocol;

/// A whole packet behind a header without options or extension headers; `Address` is [`u32`] or [`u128`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainPacket<Address> {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// TCP or UDP; `None` for a protocol without ports, whose ports below are any four bytes.
    pub protocol: Option<Protocol>,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

/// The protocol behind each number, `None` where it has no ports.
const PROTOCOLS: [Option<Protocol>; 256] = {
    let mut protocols = [None; 256];
    let mut number = 0;
    while number < protocols.len() {
        protocols[number] = Protocol::from_number(number as u8);
        number += 1;
    }
    protocols
};

/// Reads an IPv4 packet (RFC 791 §3.1) if it is plain: 20 bytes of header, no fragment, room for ports in the total
/// length.
#[inline(always)]
pub fn plain_ipv4(bytes: &[u8]) -> Option<PlainPacket<u32>> {
    let packet: &[u8; 24] = bytes.first_chunk()?;
    let half = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let word = |at: usize| {
        u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
    };
    let length = usize::from(half(2));
    if packet[0] != 0x45
        || word(4) & 0x3fff != 0
        || length.wrapping_sub(packet.len()) > bytes.len() - packet.len()
    {
        return None;
    }
    let ports = word(20);
    Some(PlainPacket {
        source: word(12),
        destination: word(16),
        protocol: PROTOCOLS[usize::from(packet[9])],
        source_port: (ports >> 16) as u16,
        destination_port: ports as u16,
    })
}

/// Reads an IPv6 packet (RFC 8200 §3) if it is plain: TCP or UDP right behind its header, ports within the payload
/// length.
#[inline(always)]
pub fn plain_ipv6(bytes: &[u8]) -> Option<PlainPacket<u128>> {
    let packet: &[u8; 44] = bytes.first_chunk()?;
    let half = |at: usize| {
        let octets: &[u8; 8] = packet[at..].first_chunk().unwrap_or(&[0; 8]);
        u64::from_be_bytes(*octets)
    };
    let address = |at: usize| u128::from(half(at)) << 64 | u128::from(half(at + 8));
    let payload_length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    if packet[0] >> 4 != 6 || payload_length < 4 || payload_length + 40 > bytes.len() {
        return None;
    }
    let protocol = PROTOCOLS[usize::from(packet[6])];
    protocol?;
    Some(PlainPacket {
        source: address(8),
        destination: address(24),
        protocol,
        source_port: u16::from_be_bytes([packet[40], packet[41]]),
        destination_port: u16::from_be_bytes([packet[42], packet[43]]),
    })
}
