//! Reads the headers of one packet, compared with the general parsers etherparse and pnet.
//!
//! `cargo bench --bench parse`. Each parser reads the fields that rules need: addresses, protocol, ports, fragment
//! position. pnet checks no lengths and walks no extension headers: samples that need either have no row for it. A
//! super-packet of 64 KiB must cost what a packet of 64 bytes costs, since only headers are read.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use offramp::packet::{Addresses, Fragment, PacketView, Transport};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv4::Ipv4Packet;
use pnet_packet::ipv6::Ipv6Packet;
use pnet_packet::tcp::TcpPacket;
use pnet_packet::udp::UdpPacket;

const CLIENT: [u8; 4] = [172, 16, 1, 10];
const HOST: [u8; 4] = [10, 9, 10, 20];
const CLIENT_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const HOST_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// A packet, and the fields that a correct parser reads from it.
struct Sample {
    name: &'static str,
    bytes: Vec<u8>,
    expected: Option<(Fragment, u16)>,
    /// True if pnet can read it, too.
    pnet: bool,
}

fn samples() -> Vec<Sample> {
    let whole = |name, bytes| Sample {
        name,
        bytes,
        expected: Some((Fragment::Whole, PORT)),
        pnet: true,
    };
    let mut fragment = udp_v4(64);
    fragment[4..8].copy_from_slice(&[0, 7, 0x20, 0]);
    let mut malformed = udp_v4(64);
    malformed[0] = 0x4f;
    malformed.truncate(40);
    vec![
        whole("IPv4 UDP", udp_v4(64)),
        whole("IPv4 TCP with options", tcp_v4_with_options()),
        whole("IPv4 UDP, 64 KiB", udp_v4(65_535)),
        Sample {
            expected: Some((Fragment::First { id: 7 }, PORT)),
            ..whole("IPv4 first fragment", fragment)
        },
        Sample {
            expected: None,
            pnet: false,
            ..whole("IPv4 malformed", malformed)
        },
        whole("IPv6 UDP", udp_v6(0, 84)),
        whole("IPv6 UDP, 64 KiB", udp_v6(0, 65_575)),
        Sample {
            pnet: false,
            ..whole("IPv6, 3 extension headers", udp_v6(3, 108))
        },
        Sample {
            pnet: false,
            ..whole("IPv6, 12 extension headers", udp_v6(12, 180))
        },
    ]
}

/// Destination port of all samples.
const PORT: u16 = 50_010;

fn udp_v4(length: usize) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(CLIENT, HOST, 64).udp(50_000, PORT);
    let mut bytes = Vec::new();
    let written = builder.write(&mut bytes, &vec![0x80; length - 28]);
    written.expect("writing to memory");
    bytes
}

/// Options in both headers: router alert of IP (RFC 2113), timestamps of TCP.
fn tcp_v4_with_options() -> Vec<u8> {
    use etherparse::{IpFragOffset, IpNumber, Ipv4Header, TcpHeader, TcpOptionElement};
    let mut tcp = TcpHeader::new(50_000, PORT, 1, 64_000);
    tcp.set_options(&[TcpOptionElement::Timestamp(1, 2)])
        .expect("options of 12 bytes");
    let payload = tcp.header_len_u16() + 24;
    let mut ip =
        Ipv4Header::new(payload, 64, IpNumber::TCP, CLIENT, HOST).expect("a short payload");
    ip.fragment_offset = IpFragOffset::ZERO;
    ip.options = [148, 4, 0, 0].into();
    ip.total_len += 4;
    let mut bytes = Vec::new();
    ip.write(&mut bytes).expect("writing to memory");
    tcp.write(&mut bytes).expect("writing to memory");
    bytes.extend([0; 24]);
    bytes
}

/// UDP behind hop-by-hop options and destination options of 8 bytes each (RFC 8200 §4.3, §4.6).
fn udp_v6(extensions: usize, length: usize) -> Vec<u8> {
    const HOP_BY_HOP: u8 = 0;
    const DESTINATION: u8 = 60;
    const UDP: u8 = 17;
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(((length - 40) as u16).to_be_bytes());
    let kinds: Vec<u8> = (0..extensions)
        .map(|at| if at == 0 { HOP_BY_HOP } else { DESTINATION })
        .chain([UDP])
        .collect();
    bytes.extend([kinds[0], 64]);
    bytes.extend(CLIENT_V6);
    bytes.extend(HOST_V6);
    for next in &kinds[1..] {
        bytes.extend([*next, 0, 1, 4, 0, 0, 0, 0]);
    }
    let left = length - bytes.len();
    bytes.extend(50_000_u16.to_be_bytes());
    bytes.extend(PORT.to_be_bytes());
    bytes.extend((left as u16).to_be_bytes());
    bytes.resize(length, 0);
    bytes
}

/// Addresses in words of 64 bits, folded; then place in a datagram and destination port.
type Read = (u64, bool, u16);

fn fold(address: u128) -> u64 {
    (address >> 64) as u64 ^ address as u64
}

fn ours(bytes: &[u8]) -> Option<Read> {
    let packet = PacketView::parse(bytes).ok()?;
    let addresses = match packet.addresses() {
        Addresses::V4 {
            source,
            destination,
        } => u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits()),
        Addresses::V6 {
            source,
            destination,
        } => fold(source.to_bits()) ^ fold(destination.to_bits()),
    };
    let Transport::Ports { destination, .. } = packet.transport() else {
        return None;
    };
    Some((addresses, packet.fragment() != Fragment::Whole, destination))
}

fn etherparse(bytes: &[u8]) -> Option<Read> {
    let packet = SlicedPacket::from_ip(bytes).ok()?;
    let addresses = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            u64::from(u32::from_be_bytes(header.source())) << 32
                | u64::from(u32::from_be_bytes(header.destination()))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            fold(u128::from_be_bytes(header.source()))
                ^ fold(u128::from_be_bytes(header.destination()))
        }
        NetSlice::Arp(_) => return None,
    };
    // etherparse slices no transport of a fragment: its payload begins with the ports.
    let destination = match (&packet.transport, packet.ip_payload()) {
        (Some(TransportSlice::Udp(udp)), _) => udp.destination_port(),
        (Some(TransportSlice::Tcp(tcp)), _) => tcp.destination_port(),
        (None, Some(payload)) if payload.fragmented => {
            let ports = payload.payload.first_chunk::<4>()?;
            u16::from_be_bytes([ports[2], ports[3]])
        }
        _ => return None,
    };
    Some((addresses, packet.is_ip_payload_fragmented(), destination))
}

fn pnet(bytes: &[u8]) -> Option<Read> {
    let (addresses, fragment, protocol, payload) = if bytes.first()? >> 4 == 4 {
        let ip = Ipv4Packet::new(bytes)?;
        let addresses =
            u64::from(ip.get_source().to_bits()) << 32 | u64::from(ip.get_destination().to_bits());
        let fragment = ip.get_flags() & 1 != 0 || ip.get_fragment_offset() != 0;
        let header = usize::from(ip.get_header_length()) * 4;
        let payload = bytes.get(header..)?;
        (addresses, fragment, ip.get_next_level_protocol(), payload)
    } else {
        let ip = Ipv6Packet::new(bytes)?;
        let addresses = fold(ip.get_source().to_bits()) ^ fold(ip.get_destination().to_bits());
        let payload = bytes.get(Ipv6Packet::minimum_packet_size()..)?;
        (addresses, false, ip.get_next_header(), payload)
    };
    let destination = match protocol {
        IpNextHeaderProtocols::Udp => UdpPacket::new(payload)?.get_destination(),
        IpNextHeaderProtocols::Tcp => TcpPacket::new(payload)?.get_destination(),
        _ => return None,
    };
    Some((addresses, fragment, destination))
}

type Parser = fn(&[u8]) -> Option<Read>;

const PARSERS: [(&str, Parser); 3] = [
    ("offramp", ours),
    ("etherparse", etherparse),
    ("pnet", pnet),
];

/// Returns the parsers that read `sample` correctly.
fn parsers(sample: &Sample) -> impl Iterator<Item = (&'static str, Parser)> {
    let pnet = sample.pnet;
    let able = move |(name, _): &(&str, Parser)| pnet || *name != "pnet";
    PARSERS.into_iter().filter(able)
}

fn main() {
    let samples = samples();
    for sample in &samples {
        let expected = sample
            .expected
            .map(|(fragment, port)| (fragment != Fragment::Whole, port));
        let first = ours(&sample.bytes);
        for (name, parser) in parsers(sample) {
            let read = parser(&sample.bytes);
            assert_eq!(read, first, "{}: {name}", sample.name);
            let told = read.map(|(_, fragment, port)| (fragment, port));
            assert_eq!(told, expected, "{}: {name}", sample.name);
        }
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    for sample in &samples {
        let mut group = criterion.benchmark_group(format!("parse/{}", sample.name));
        for (name, parser) in parsers(sample) {
            group.bench_with_input(name, sample.bytes.as_slice(), |bencher, bytes| {
                bencher.iter(|| parser(black_box(bytes)));
            });
        }
        group.finish();
    }
    criterion.final_summary();
    if std::env::args().any(|argument| argument == "--bench") {
        print_ratios(&samples);
    }
}

/// Turns of each parser in the table of ratios, and packets of a turn.
const ROUNDS: usize = 41;
const PACKETS: u32 = 20_000;

/// Prints the median of turns that all parsers take one after the other: on a busy machine only these compare.
fn print_ratios(samples: &[Sample]) {
    println!("\nOne packet in nanoseconds, and how many times that of offramp");
    println!(
        "{:<28}{:>10}{:>12}{:>8}{:>10}{:>8}",
        "", "offramp", "etherparse", "", "pnet", ""
    );
    for sample in samples {
        let mut turns = vec![Vec::with_capacity(ROUNDS); PARSERS.len()];
        for _ in 0..ROUNDS {
            for ((_, parser), turns) in parsers(sample).zip(&mut turns) {
                let start = Instant::now();
                for _ in 0..PACKETS {
                    black_box(parser(black_box(&sample.bytes)));
                }
                turns.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(PACKETS));
            }
        }
        let medians = turns.into_iter().map(|mut turns| {
            turns.sort_by(f64::total_cmp);
            turns.get(ROUNDS / 2).copied()
        });
        let cells: Vec<Option<f64>> = medians.collect();
        let ours = cells[0].unwrap_or(f64::NAN);
        let peer = |cell: Option<f64>, width| match cell {
            Some(time) => format!("{time:>width$.1}{:>7.1}x", time / ours),
            None => format!("{:>width$}{:>8}", "-", ""),
        };
        println!(
            "{:<28}{ours:>10.1}{}{}",
            sample.name,
            peer(cells[1], 12),
            peer(cells[2], 10)
        );
    }
}
