//! [`VirtioHeader`]: the header before each packet of a tun device that passes super-packets.
//!
//! ```text
//!  struct virtio_net_hdr (linux/virtio_net.h)
//!  0       1          2         4          6            8              10
//!  │ flags │ gso_type │ hdr_len │ gso_size │ csum_start │ csum_offset │ packet …
//! ```
//!
//! Numbers are in host byte order, not in network byte order. Offsets count from the beginning of the packet: on a tap
//! device that is its Ethernet header ([`Framing`]).

use std::num::NonZeroU16;

use super::Traffic;

/// The headers before the IP packet in a frame of the filter's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Of a tun device: the virtio header.
    Ip,
    /// Of a tap device: the virtio header and an Ethernet header.
    Ethernet,
}

impl Framing {
    /// Bytes before the IP packet.
    pub const fn prefix(self) -> usize {
        VirtioHeader::LENGTH + self.link()
    }

    /// Bytes of the Ethernet header (IEEE 802.3 §3.1.1, without the check sequence).
    const fn link(self) -> usize {
        match self {
            Self::Ip => 0,
            Self::Ethernet => 14,
        }
    }

    /// Splits a frame into its virtio header and its IP packet, from which the header's offsets count then; `None` if
    /// it is shorter than its headers.
    #[inline]
    pub fn split(self, frame: &[u8]) -> Option<(VirtioHeader, &[u8])> {
        let (mut header, rest) = VirtioHeader::split(frame)?;
        let packet = rest.get(self.link()..)?;
        // What lies in the Ethernet header becomes an offset beyond every packet.
        let link = self.link() as u16;
        header.header_length = header.header_length.wrapping_sub(link);
        header.checksum_start = header.checksum_start.wrapping_sub(link);
        Some((header, packet))
    }

    /// The bytes of a virtio header whose offsets count from the IP packet.
    pub fn to_bytes(self, header: VirtioHeader) -> [u8; VirtioHeader::LENGTH] {
        let link = self.link() as u16;
        let header = VirtioHeader {
            header_length: header.header_length.wrapping_add(link),
            checksum_start: header.checksum_start.wrapping_add(link),
            ..header
        };
        header.to_bytes()
    }
}

/// Describes how to segment the packet after it, and how to complete its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VirtioHeader {
    /// [`NEEDS_CHECKSUM`](Self::NEEDS_CHECKSUM) and others.
    pub flags: u8,
    /// The kind of segments: [`NONE`](Self::NONE), [`TCP_V4`](Self::TCP_V4), ….
    pub gso_type: u8,
    /// Bytes of all headers.
    pub header_length: u16,
    /// Payload of each segment, in bytes; the last may be shorter.
    pub segment: u16,
    /// Offset of the first byte that the checksum covers.
    pub checksum_start: u16,
    /// Offset of the checksum itself, from there.
    pub checksum_offset: u16,
}

impl VirtioHeader {
    /// Its length.
    pub const LENGTH: usize = 10;

    /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds the sum of the pseudo-header; the rest must be added.
    pub const NEEDS_CHECKSUM: u8 = 1;

    /// `VIRTIO_NET_HDR_GSO_NONE`: an ordinary packet.
    pub const NONE: u8 = 0;
    /// `VIRTIO_NET_HDR_GSO_TCPV4`.
    pub const TCP_V4: u8 = 1;
    /// `VIRTIO_NET_HDR_GSO_TCPV6`.
    pub const TCP_V6: u8 = 4;
    /// `VIRTIO_NET_HDR_GSO_UDP_L4`.
    pub const UDP: u8 = 5;
    /// `VIRTIO_NET_HDR_GSO_ECN`, beside a TCP type.
    const ECN: u8 = 0x80;

    /// Splits a frame into header and packet; `None` if it is shorter than the header.
    #[inline]
    pub fn split(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (header, packet) = frame.split_first_chunk::<{ Self::LENGTH }>()?;
        let [flags, gso_type, l0, l1, s0, s1, c0, c1, o0, o1] = *header;
        let header = Self {
            flags,
            gso_type,
            header_length: u16::from_ne_bytes([l0, l1]),
            segment: u16::from_ne_bytes([s0, s1]),
            checksum_start: u16::from_ne_bytes([c0, c1]),
            checksum_offset: u16::from_ne_bytes([o0, o1]),
        };
        Some((header, packet))
    }

    /// Payload of each datagram, in bytes; `None` if the packet is no super-packet of UDP.
    #[inline]
    pub fn datagram(self) -> Option<NonZeroU16> {
        match self.gso_type {
            Self::UDP => NonZeroU16::new(self.segment),
            _ => None,
        }
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let [l0, l1] = self.header_length.to_ne_bytes();
        let [s0, s1] = self.segment.to_ne_bytes();
        let [c0, c1] = self.checksum_start.to_ne_bytes();
        let [o0, o1] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.gso_type, l0, l1, s0, s1, c0, c1, o0, o1]
    }
}

/// The traffic of a frame on the wire: a super-packet counts as its segments, each with headers of its own.
pub fn traffic_of(frame: &[u8], framing: Framing) -> Traffic {
    let Some((header, packet)) = framing.split(frame) else {
        return Traffic::ONE_EMPTY;
    };
    let one = Traffic {
        packets: 1,
        bytes: packet.len() as u64,
    };
    if header.gso_type == VirtioHeader::NONE {
        return one;
    }
    let transport = usize::from(header.checksum_start);
    let headers = match header.gso_type & !VirtioHeader::ECN {
        VirtioHeader::UDP => transport + UDP_HEADER,
        _ => match packet.get(transport + TCP_OFFSET) {
            Some(offset) => transport + usize::from(offset >> 4) * 4,
            None => return one,
        },
    };
    let headers = headers as u64;
    let payload = one.bytes.saturating_sub(headers);
    if header.segment == 0 || payload == 0 {
        return one;
    }
    let packets = payload.div_ceil(header.segment.into());
    Traffic {
        packets,
        bytes: payload + packets * headers,
    }
}

/// RFC 768.
const UDP_HEADER: usize = 8;
/// Offset of the header length in a TCP header (RFC 9293 §3.1).
const TCP_OFFSET: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(gso_type: u8, segment: u16, transport: u16, packet: &[u8]) -> Vec<u8> {
        let header = VirtioHeader {
            flags: VirtioHeader::NEEDS_CHECKSUM,
            gso_type,
            segment,
            checksum_start: transport,
            ..VirtioHeader::default()
        };
        [&header.to_bytes(), packet].concat()
    }

    fn of_tun(frame: &[u8]) -> Traffic {
        traffic_of(frame, Framing::Ip)
    }

    #[test]
    fn behind_an_ethernet_header_the_same_packet_counts_the_same() {
        let mut packet = vec![0; 20 + 32 + 3_000];
        packet[20 + TCP_OFFSET] = 8 << 4;
        let header = VirtioHeader {
            gso_type: VirtioHeader::TCP_V4,
            segment: 1_400,
            header_length: 52,
            checksum_start: 20,
            ..VirtioHeader::default()
        };
        let [tun, tap] = [(Framing::Ip, 0), (Framing::Ethernet, 14)].map(|(framing, link)| {
            let frame = [&framing.to_bytes(header)[..], &vec![7; link], &packet].concat();
            assert_eq!(framing.prefix(), frame.len() - packet.len());
            assert_eq!(framing.split(&frame).map(|it| it.1), Some(&packet[..]));
            assert_eq!(framing.split(&frame[..framing.prefix() - 1]), None);
            traffic_of(&frame, framing)
        });
        assert_eq!(tun, tap);
        assert_eq!(tap.packets, 3);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x45];
        let (header, packet) = VirtioHeader::split(&bytes).expect("longer than a header");
        assert_eq!(header.to_bytes(), bytes[..VirtioHeader::LENGTH]);
        assert_eq!(packet, [0x45]);
        assert_eq!(VirtioHeader::split(&bytes[..9]), None);
    }

    #[test]
    fn a_super_packet_of_udp_alone_has_datagrams() {
        let datagram = |gso_type, segment| {
            let header = VirtioHeader {
                gso_type,
                segment,
                ..VirtioHeader::default()
            };
            header.datagram().map(NonZeroU16::get)
        };
        assert_eq!(datagram(VirtioHeader::UDP, 1_200), Some(1_200));
        assert_eq!(datagram(VirtioHeader::UDP, 0), None);
        for other in [
            VirtioHeader::NONE,
            VirtioHeader::TCP_V4,
            VirtioHeader::TCP_V6,
        ] {
            assert_eq!(datagram(other, 1_200), None, "{other}");
        }
    }

    #[test]
    fn an_ordinary_packet_counts_once() {
        let traffic = of_tun(&frame(VirtioHeader::NONE, 0, 0, &[0; 100]));
        assert_eq!((traffic.packets, traffic.bytes), (1, 100));
    }

    #[test]
    fn a_super_packet_counts_as_what_it_is_cut_into() {
        // 20 bytes of IPv4, 32 of TCP, and 3,000 of payload in segments of 1,400.
        let mut packet = vec![0; 20 + 32 + 3_000];
        packet[20 + TCP_OFFSET] = 8 << 4;
        let with_ecn = VirtioHeader::TCP_V4 | VirtioHeader::ECN;
        let traffic = of_tun(&frame(with_ecn, 1_400, 20, &packet));
        assert_eq!((traffic.packets, traffic.bytes), (3, 3_000 + 3 * 52));

        let packet = [0; 40 + 8 + 12_000];
        let traffic = of_tun(&frame(VirtioHeader::UDP, 1_200, 40, &packet));
        assert_eq!((traffic.packets, traffic.bytes), (10, 12_000 + 10 * 48));
    }

    #[test]
    fn headers_that_lie_count_as_one_packet() {
        for (segment, transport, length) in [(0, 20, 60), (1_400, 60_000, 60), (1_400, 20, 0)] {
            let packet = vec![0xff; length];
            let traffic = of_tun(&frame(VirtioHeader::TCP_V4, segment, transport, &packet));
            assert_eq!((traffic.packets, traffic.bytes), (1, length as u64));
        }
        // Payload, but no length of segments; and segments, but no payload.
        for (segment, length) in [(0, 60), (1_400, 28)] {
            let traffic = of_tun(&frame(VirtioHeader::UDP, segment, 20, &vec![0; length]));
            assert_eq!((traffic.packets, traffic.bytes), (1, length as u64));
        }
        assert_eq!(of_tun(&[0; 3]).packets, 1);
    }
}
