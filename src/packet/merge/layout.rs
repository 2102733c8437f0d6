//! Classifies frames for the merger: their [`Kind`], the [`Layout`] of their headers, their flow, their checksums.

use super::Offload;
use crate::packet::checksum::{Sum, is_canonical_tcp, is_canonical_udp};
use crate::packet::virtio::{Framing, VirtioHeader};

/// Offsets and lengths in a packet that can be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Offset of the packet in its frame.
    pub(super) framing: Framing,
    pub(super) protocol: Protocol,
    /// Bytes of the IP header.
    pub(super) network: u8,
    /// Bytes of all headers.
    pub(super) headers: u8,
    /// Bytes of payload.
    pub(super) payload: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// The merge class of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It may begin or continue a run.
    Mergeable(Layout),
    /// TCP or UDP that cannot be merged: it is written alone, and ends the run of its flow.
    Alone(Protocol),
    /// A packet that may belong to any flow: it ends every run.
    Barrier,
    /// Not part of any flow that is merged.
    Other,
}

/// The kind of `frame`, by its headers; checksums are not verified.
pub(super) fn kind_of(frame: &[u8], offload: Offload, framing: Framing) -> Kind {
    let Some((virtio, packet)) = framing.split(frame) else {
        return Kind::Barrier;
    };
    let Some((protocol, network, length)) = plain(packet) else {
        return Kind::Barrier;
    };
    let protocol = match protocol {
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        _ => return Kind::Other,
    };
    let transport = &packet[network..];
    let headers = match protocol {
        Protocol::Tcp => {
            let Some(header) = transport.first_chunk::<TCP_HEADER>() else {
                return Kind::Barrier;
            };
            let headers = usize::from(header[TCP_OFFSET] >> 4) * 4;
            let is_usual = header[TCP_OFFSET] & 0x0f == 0
                && header[TCP_FLAGS] & !(TCP_LAST | TCP_ECE) == TCP_ACK
                && header[18..20] == [0, 0]
                && headers >= TCP_HEADER;
            if !is_usual {
                return Kind::Alone(protocol);
            }
            headers
        }
        Protocol::Udp => {
            let Some(header) = transport.first_chunk::<UDP_HEADER>() else {
                return Kind::Barrier;
            };
            let says = usize::from(u16::from_be_bytes([header[4], header[5]]));
            if says != transport.len() || offload == Offload::Tcp {
                return Kind::Alone(protocol);
            }
            UDP_HEADER
        }
    };
    let headers = network + headers;
    if length != packet.len()
        || virtio.gso_type != VirtioHeader::NONE
        || headers >= packet.len()
        || virtio.flags & VirtioHeader::NEEDS_CHECKSUM != 0
            && !is_usual_partial(virtio, network, protocol)
    {
        return Kind::Alone(protocol);
    }
    Kind::Mergeable(Layout {
        framing,
        protocol,
        // Both at most 100, and the payload is part of a packet whose length has 16 bits.
        network: network as u8,
        headers: headers as u8,
        payload: (length - headers) as u16,
    })
}

/// Protocol, length of the header and of the packet, if it is whole, behind a header without options or extensions.
fn plain(packet: &[u8]) -> Option<(u8, usize, usize)> {
    match packet.first()? {
        0x45 => {
            let header = packet.first_chunk::<IPV4_HEADER>()?;
            // More fragments, or an offset; the reserved bit is ignored.
            let is_whole = header[6] & 0xbf == 0 && header[7] == 0;
            let length = u16::from_be_bytes([header[2], header[3]]);
            is_whole.then_some((header[9], IPV4_HEADER, length.into()))
        }
        0x60..=0x6f => {
            let header = packet.first_chunk::<IPV6_HEADER>()?;
            let length = u16::from_be_bytes([header[4], header[5]]);
            let has_extensions = matches!(header[6], 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140);
            let length = IPV6_HEADER + usize::from(length);
            (!has_extensions).then_some((header[6], IPV6_HEADER, length))
        }
        _ => None,
    }
}

/// True if the checksum that the kernel is to complete is at its usual offset.
fn is_usual_partial(virtio: VirtioHeader, network: usize, protocol: Protocol) -> bool {
    let offset = match protocol {
        Protocol::Tcp => TCP_CHECKSUM,
        Protocol::Udp => UDP_CHECKSUM,
    };
    usize::from(virtio.checksum_start) == network && usize::from(virtio.checksum_offset) == offset
}

/// True if no packet may follow this one in a run: the kernel sets these flags on the last segment only.
pub(super) fn ends_run(frame: &[u8], layout: Layout) -> bool {
    let flags = layout.framing.prefix() + usize::from(layout.network) + TCP_FLAGS;
    layout.protocol == Protocol::Tcp && frame[flags] & TCP_LAST != 0
}

/// True if the checksums of a packet are those that the kernel would write.
pub(super) fn is_intact(frame: &[u8], layout: Layout) -> bool {
    let Some((virtio, packet)) = layout.framing.split(frame) else {
        return false;
    };
    let network = usize::from(layout.network);
    if network == IPV4_HEADER {
        let header = &packet[..network];
        let is_right = Sum::of(header).is_whole();
        if !is_right || header[IPV4_CHECKSUM..][..2] == [0xff, 0xff] {
            return false;
        }
    }
    let transport = &packet[network..];
    let pseudo = pseudo_header(packet, network, layout.protocol, transport.len() as u32);
    let (at, is_canonical): (usize, fn([u8; 2]) -> bool) = match layout.protocol {
        Protocol::Tcp => (TCP_CHECKSUM, is_canonical_tcp),
        Protocol::Udp => (UDP_CHECKSUM, is_canonical_udp),
    };
    let checksum = [transport[at], transport[at + 1]];
    if virtio.flags & VirtioHeader::NEEDS_CHECKSUM != 0 {
        return checksum == pseudo.folded();
    }
    is_canonical(checksum) && pseudo.and(transport).is_whole()
}

/// The sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1).
pub(super) fn pseudo_header(packet: &[u8], network: usize, protocol: Protocol, length: u32) -> Sum {
    let addresses = match network {
        IPV4_HEADER => &packet[12..20],
        _ => &packet[8..40],
    };
    let number = match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
    };
    Sum::of(addresses)
        .and(&length.to_be_bytes())
        .and(&[0, number])
}

/// A hash of a packet's flow: its addresses, ports and protocol.
pub(super) fn flow_of(packet: &[u8], protocol: Protocol) -> u64 {
    let word = |at: usize| {
        let bytes = packet.get(at..at + 8).and_then(<[u8]>::first_chunk);
        u64::from_le_bytes(*bytes.unwrap_or(&[0; 8]))
    };
    let (addresses, ports) = match packet.first() {
        Some(0x45) => (word(12), word(20)),
        _ => {
            let (source, destination) = (
                word(8) ^ word(16).rotate_left(32),
                word(24).rotate_left(16) ^ word(32),
            );
            (source ^ destination, word(40))
        }
    };
    let ports = ports & u64::from(u32::MAX);
    let flow = addresses ^ ports.rotate_left(16) ^ protocol as u64;
    let product = u128::from(flow) * u128::from(MIX);
    // The halves of the product, so that every bit of the flow counts.
    product as u64 ^ (product >> 64) as u64
}

/// 2^64 divided by the golden ratio, odd.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// IP protocol 6.
pub(super) const TCP: u8 = 6;
/// IP protocol 17.
pub(super) const UDP: u8 = 17;

/// RFC 791 §3.1, without options.
pub(super) const IPV4_HEADER: usize = 20;
pub(super) const IPV4_ID: usize = 4;
pub(super) const IPV4_CHECKSUM: usize = 10;
/// RFC 8200 §3.
pub(super) const IPV6_HEADER: usize = 40;

/// RFC 9293 §3.1, without options.
pub(super) const TCP_HEADER: usize = 20;
pub(super) const TCP_SEQUENCE: usize = 4;
pub(super) const TCP_OFFSET: usize = 12;
pub(super) const TCP_FLAGS: usize = 13;
pub(super) const TCP_CHECKSUM: usize = 16;
pub(super) const TCP_ACK: u8 = 0x10;
/// RFC 3168 §6.1: the kernel repeats it on every segment. It does not repeat CWR: packets with CWR are written alone.
pub(super) const TCP_ECE: u8 = 0x40;
/// PSH and FIN, which the kernel keeps for the last segment.
pub(super) const TCP_LAST: u8 = 0x08 | 0x01;

/// RFC 768.
pub(super) const UDP_HEADER: usize = 8;
pub(super) const UDP_CHECKSUM: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(is_ipv6: bool) -> Vec<u8> {
        let ip = match is_ipv6 {
            false => etherparse::PacketBuilder::ipv4([172, 16, 1, 10], [10, 2, 0, 20], 64),
            true => {
                let [client, host] =
                    [37, 91].map(|step| std::array::from_fn(|at| (at as u8).wrapping_mul(step)));
                etherparse::PacketBuilder::ipv6(client, host, 64)
            }
        };
        let mut packet = Vec::new();
        let written = ip.udp(50_000, 50_010).write(&mut packet, b"voice");
        written.expect("a vector takes any packet");
        packet
    }

    #[test]
    fn every_bit_of_addresses_and_ports_counts_in_the_hash_of_a_flow() {
        for (is_ipv6, bytes) in [(false, 12..24), (true, 8..44)] {
            let packet = udp(is_ipv6);
            let hash = flow_of(&packet, Protocol::Udp);
            assert_ne!(hash, flow_of(&packet, Protocol::Tcp));
            for at in bytes {
                for bit in 0..8 {
                    let mut flipped = packet.clone();
                    flipped[at] ^= 1 << bit;
                    assert_ne!(hash, flow_of(&flipped, Protocol::Udp), "{at} {bit}");
                }
            }
        }
    }

    #[test]
    fn no_part_of_a_datagram_is_whole() {
        let packet = udp(false);
        assert_eq!(plain(&packet), Some((UDP, 20, 33)));
        // More fragments, the offset's high byte, its low byte; the reserved bit is ignored.
        for (at, byte, is_whole) in [
            (6, 0x20, false),
            (6, 1, false),
            (7, 1, false),
            (6, 0x40, true),
        ] {
            let mut packet = packet.clone();
            packet[at] = byte;
            assert_eq!(plain(&packet).is_some(), is_whole, "{at}: {byte:#x}");
        }
    }
}
