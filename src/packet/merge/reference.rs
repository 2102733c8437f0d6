//! The kernel's segmentation of a frame, the slow and obvious way: segments with counters increased, and every checksum
//! computed by code of others.

use etherparse::{Ipv4Header, Ipv6Header, TcpHeader, UdpHeader};

/// The packets that leave the host for `frame`.
pub(super) fn on_the_wire(frame: &[u8]) -> Vec<Vec<u8>> {
    let field = |at: usize| usize::from(u16::from_ne_bytes([frame[at], frame[at + 1]]));
    let (needs_checksum, gso_type) = (frame[0] & 1 != 0, frame[1]);
    let (size, start, offset) = (field(4), field(6), field(8));
    let packet = &frame[10..];
    match gso_type {
        0 if needs_checksum => vec![completed(packet, start, offset)],
        0 => vec![packet.to_vec()],
        1 => cut_tcp(cut_v4, packet, size),
        4 => cut_tcp(cut_v6, packet, size),
        5 if packet[0] >> 4 == 4 => cut_udp(cut_v4, packet, size),
        5 => cut_udp(cut_v6, packet, size),
        other => panic!("gso_type {other}"),
    }
}

/// The packet with the checksum at `start` + `offset` completed, which holds the sum of the pseudo-header.
pub(super) fn completed(packet: &[u8], start: usize, offset: usize) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&packet[start..]);
    let checksum = match packet[if packet[0] >> 4 == 4 { 9 } else { 6 }] {
        17 => sum.to_ones_complement_with_no_zero(),
        _ => sum.ones_complement(),
    };
    // etherparse sums up in the machine's order.
    packet[start + offset..][..2].copy_from_slice(&checksum.to_ne_bytes());
    packet
}

/// An IP header, and how to write it for the segment of a number and length.
enum Network {
    V4(Ipv4Header),
    V6(Ipv6Header),
}

impl Network {
    fn write(&mut self, number: usize, length: usize, out: &mut Vec<u8>) {
        match self {
            Self::V4(header) => {
                let mut header = header.clone();
                header.identification = header.identification.wrapping_add(number as u16);
                header.set_payload_len(length).expect("a short segment");
                header.write(out).expect("room");
            }
            Self::V6(header) => {
                header.set_payload_length(length).expect("a short segment");
                header.write(out).expect("room");
            }
        }
    }
}

type Cut = fn(&[u8]) -> (Network, &[u8]);

fn cut_v4(packet: &[u8]) -> (Network, &[u8]) {
    let (header, rest) = Ipv4Header::from_slice(packet).expect("an IPv4 header");
    assert_eq!(header.total_len as usize, packet.len());
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    (Network::V4(header), rest)
}

fn cut_v6(packet: &[u8]) -> (Network, &[u8]) {
    let (header, rest) = Ipv6Header::from_slice(packet).expect("an IPv6 header");
    assert_eq!(usize::from(header.payload_length), rest.len());
    (Network::V6(header), rest)
}

fn cut_tcp(cut: Cut, packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (mut network, rest) = cut(packet);
    let (header, payload) = TcpHeader::from_slice(rest).expect("a TCP header");
    let segments = payload.chunks(size);
    let count = segments.len();
    let one = |(number, segment): (usize, &[u8])| {
        let mut header = header.clone();
        header.sequence_number = header.sequence_number.wrapping_add((number * size) as u32);
        if number + 1 < count {
            (header.psh, header.fin) = (false, false);
        }
        if number > 0 {
            header.cwr = false;
        }
        header.checksum = match &network {
            Network::V4(ip) => header.calc_checksum_ipv4(ip, segment),
            Network::V6(ip) => header.calc_checksum_ipv6(ip, segment),
        }
        .expect("a short segment");
        let mut out = Vec::new();
        network.write(number, header.header_len() + segment.len(), &mut out);
        header.write(&mut out).expect("room");
        out.extend(segment);
        out
    };
    segments.enumerate().map(one).collect()
}

fn cut_udp(cut: Cut, packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (mut network, rest) = cut(packet);
    let (header, payload) = UdpHeader::from_slice(rest).expect("a UDP header");
    assert_eq!(usize::from(header.length), rest.len());
    let (from, to) = (header.source_port, header.destination_port);
    let one = |(number, segment): (usize, &[u8])| {
        let header = match &network {
            Network::V4(ip) => UdpHeader::with_ipv4_checksum(from, to, ip, segment),
            Network::V6(ip) => UdpHeader::with_ipv6_checksum(from, to, ip, segment),
        }
        .expect("a short segment");
        let mut out = Vec::new();
        network.write(number, usize::from(header.length), &mut out);
        header.write(&mut out).expect("room");
        out.extend(segment);
        out
    };
    payload.chunks(size).enumerate().map(one).collect()
}
