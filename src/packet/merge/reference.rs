//! A slow, simple model of the kernel's segmentation of a frame: segments with incremented counters, and every checksum
//! computed by third-party code.

use std::io::IoSlice;

use etherparse::{Ipv4Header, Ipv6Header, TcpHeader, UdpHeader};

use super::flows::{Flow, Oddity, Sent};
use super::{Merged, Merger, Offload, PIECES};
use crate::packet::BATCH;
use crate::packet::virtio::{Framing, VirtioHeader};

/// Fuzzes `assert_cut_gives_back`: the first byte chooses the offload and the size of payloads, and five bytes each a
/// packet: its flow, payload, oddity, and two of detail.
pub fn fuzz_merge(data: &[u8]) {
    let Some((choice, packets)) = data.split_first() else {
        return;
    };
    let offload = match choice & 1 {
        0 => Offload::Tcp,
        _ => Offload::TcpAndUdp,
    };
    // Batches of the larger ones pass the longest packet that there is.
    let scale = if choice & 2 == 0 { 1 } else { 6 };
    let mut flows = Flow::all();
    let count = flows.len();
    let (packets, _) = packets.as_chunks::<5>();
    let frames: Vec<Vec<u8>> = packets
        .iter()
        .take(BATCH)
        .map(|&[flow, payload, oddity, high, low]| {
            flows[usize::from(flow) % count].send(Sent {
                payload: usize::from(payload) * scale,
                oddity: Oddity::numbered(oddity, u16::from_be_bytes([high, low])),
            })
        })
        .collect();
    assert_cut_gives_back(&frames, offload);
}

/// Merges `frames`, a batch, and cuts what is written as the kernel does: each flow has its packets again, byte for
/// byte and in order.
///
/// Behind Ethernet headers the same frames are merged in the same way, except over a change of the header.
pub(super) fn assert_cut_gives_back(frames: &[Vec<u8>], offload: Offload) {
    let of_one: Vec<Vec<u8>> = frames.iter().map(|it| behind_ethernet(it, 1)).collect();
    let over_ethernet = written_as(Framing::Ethernet, &of_one, offload);
    let bare = over_ethernet
        .iter()
        .map(|(frame, packets)| (without_ethernet(frame), *packets));
    assert_eq!(bare.collect::<Vec<_>>(), written(frames, offload));

    let apart = (0..)
        .zip(frames)
        .map(|(number, it)| behind_ethernet(it, number));
    let apart: Vec<Vec<u8>> = apart.collect();
    let written_apart = written_as(Framing::Ethernet, &apart, offload);
    assert_eq!(
        written_apart,
        apart.into_iter().map(|it| (it, 1)).collect::<Vec<_>>()
    );

    let before: Vec<Vec<u8>> = frames.iter().map(|frame| alone(frame)).collect();
    let mut after = Vec::new();
    for (frame, packets) in written(frames, offload) {
        let cut = match packets {
            1 => vec![alone(&frame)],
            _ => on_the_wire(&frame),
        };
        assert_eq!(cut.len(), packets);
        after.extend(cut);
    }
    assert_eq!(by_flow(&before), by_flow(&after));
}

/// The same frame of a tap device: behind an Ethernet header with this number in its destination.
fn behind_ethernet(frame: &[u8], number: u8) -> Vec<u8> {
    let Some((virtio, packet)) = VirtioHeader::split(frame) else {
        return frame.to_vec();
    };
    let header = [2, 0, 0, 0, 0, number, 4, 0, 0, 0, 0, 1, 8, 0];
    [&Framing::Ethernet.to_bytes(virtio)[..], &header, packet].concat()
}

/// Its opposite.
fn without_ethernet(frame: &[u8]) -> Vec<u8> {
    match Framing::Ethernet.split(frame) {
        Some((virtio, packet)) => [&virtio.to_bytes()[..], packet].concat(),
        None => frame.to_vec(),
    }
}

/// The writes for `frames` of a tun device, each with the number of its packets.
pub(super) fn written(frames: &[Vec<u8>], offload: Offload) -> Vec<(Vec<u8>, usize)> {
    written_as(Framing::Ip, frames, offload)
}

fn written_as(framing: Framing, frames: &[Vec<u8>], offload: Offload) -> Vec<(Vec<u8>, usize)> {
    let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut merger = Merger::new(offload, framing);
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let writes = merger.merge(&slices, &mut pieces);
    let whole = |merged: Merged<'_>| {
        let pieces: Vec<&[u8]> = merged.pieces.iter().map(|piece| &**piece).collect();
        (pieces.concat(), merged.frames.len())
    };
    writes.map(whole).collect()
}

/// The packet of a frame as it leaves a host that does not merge.
fn alone(frame: &[u8]) -> Vec<u8> {
    match VirtioHeader::split(frame) {
        Some((virtio, packet)) if virtio.flags & VirtioHeader::NEEDS_CHECKSUM != 0 => completed(
            packet,
            virtio.checksum_start.into(),
            virtio.checksum_offset.into(),
        ),
        Some((_, packet)) => packet.to_vec(),
        None => frame.to_vec(),
    }
}

/// The flow in which order must be kept: addresses, protocol and, with TCP and UDP, ports. A packet of `None` may
/// belong to any flow.
fn flow(packet: &[u8]) -> Option<Vec<u8>> {
    let (protocol, addresses, ports) = match packet.first()? {
        0x45 if packet.len() >= 20 && packet[6] & 0x3f == 0 && packet[7] == 0 => {
            (9, 12..20, 20..24)
        }
        0x60..0x70 if packet.len() >= 40 && !EXTENSIONS.contains(&packet[6]) => (6, 8..40, 40..44),
        _ => return None,
    };
    let ports = match packet[protocol] {
        6 | 17 => packet.get(ports)?,
        // Cut short or not, it is no part of a flow that has ports.
        _ => &[],
    };
    Some([&[packet[protocol]], &packet[addresses], ports].concat())
}

/// Hop-by-hop and destination options, routing, fragment, AH, mobility, HIP, shim6.
const EXTENSIONS: [u8; 8] = [0, 60, 43, 44, 51, 135, 139, 140];

/// The packets of each flow, together with those of unknown flows, in order.
fn by_flow(packets: &[Vec<u8>]) -> Vec<Vec<&[u8]>> {
    let mut flows: Vec<_> = packets.iter().filter_map(|packet| flow(packet)).collect();
    flows.sort();
    flows.dedup();
    let of = |wanted: &Vec<u8>| {
        let is_of = |packet: &&Vec<u8>| flow(packet).is_none_or(|flow| flow == *wanted);
        packets.iter().filter(is_of).map(Vec::as_slice).collect()
    };
    let mut lists: Vec<Vec<&[u8]>> = flows.iter().map(of).collect();
    let unnamed = packets.iter().filter(|packet| flow(packet).is_none());
    lists.push(unnamed.map(Vec::as_slice).collect());
    lists
}

/// The packets that leave the host for `frame`.
fn on_the_wire(frame: &[u8]) -> Vec<Vec<u8>> {
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
fn completed(packet: &[u8], start: usize, offset: usize) -> Vec<u8> {
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
