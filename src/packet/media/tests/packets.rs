//! From whole packets to flows and segments.

use std::net::IpAddr;

use etherparse::PacketBuilder;

use super::*;
use crate::packet::PacketView;

fn udp_packet(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([172, 16, 1, 10], [10, 2, 0, 20], 64)
        .udp(50_000, 50_010)
        .write(&mut packet, payload)
        .expect("a vector takes any packet");
    packet
}

/// The payload and its size.
fn udp_of(packet: &[u8]) -> (Vec<u8>, usize) {
    let view = PacketView::parse(packet).expect("a well-formed packet");
    let (key, segment) = Segment::of(&view).expect("ports");
    assert_eq!(key, flow(Protocol::Udp));
    match segment {
        Segment::Udp { payload, size } => (payload.to_vec(), size),
        Segment::Tcp { .. } => panic!("a datagram"),
    }
}

#[test]
fn a_datagram_is_as_long_as_its_udp_header_says() {
    let packet = udp_packet(b"twelve bytes");
    assert_eq!(udp_of(&packet), (b"twelve bytes".to_vec(), 12));
    for (length, expected) in [
        (19u16, (&b"twelve byte"[..], 11)),
        (1208, (b"twelve bytes", 1200)),
        (0, (b"twelve bytes", 12)),
        (7, (b"", 0)),
    ] {
        let mut packet = packet.clone();
        packet[24..26].copy_from_slice(&length.to_be_bytes());
        assert_eq!(
            udp_of(&packet),
            (expected.0.to_vec(), expected.1),
            "{length}"
        );
    }
}

#[test]
fn a_first_fragment_has_the_size_of_its_datagram() {
    let mut packet = udp_packet(&[7; 16]);
    packet[4..8].copy_from_slice(&[0, 7, 0x20, 0]);
    packet[24..26].copy_from_slice(&1008u16.to_be_bytes());
    assert_eq!(udp_of(&packet), (vec![7; 16], 1000));
}

#[test]
fn a_non_first_fragment_shows_no_flow() {
    let mut packet = udp_packet(&[7; 16]);
    packet[4..8].copy_from_slice(&[0, 7, 0, 185]);
    let view = PacketView::parse(&packet).expect("a well-formed packet");
    assert_eq!(Segment::of(&view), None);
    assert_eq!(view.transport_bytes(), b"");
}

#[test]
fn a_datagram_without_its_header_carries_nothing() {
    let mut packet = udp_packet(b"");
    packet.truncate(26);
    packet[2..4].copy_from_slice(&26u16.to_be_bytes());
    assert_eq!(udp_of(&packet), (Vec::new(), 0));
}

#[test]
fn the_payload_of_a_segment_stands_behind_its_options() {
    let mut packet = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64)
        .tcp(50_000, 50_010, 0xdead_beef, 1024)
        .syn()
        .options(&[etherparse::TcpOptionElement::MaximumSegmentSize(1400)])
        .expect("the option fits")
        .write(&mut packet, b"early")
        .expect("a vector takes any packet");
    let view = PacketView::parse(&packet).expect("a well-formed packet");
    let (key, segment) = Segment::of(&view).expect("ports");
    let addresses = [[1; 16], [2; 16]].map(std::net::Ipv6Addr::from_octets);
    let expected = FlowKey::new(
        Protocol::Tcp,
        (addresses[0].into(), 50_000),
        (addresses[1].into(), 50_010),
    );
    assert_eq!(key, expected);
    assert_eq!(
        segment,
        Segment::Tcp {
            sequence: 0xdead_beef,
            is_start: true,
            payload: b"early",
        }
    );
}

#[test]
fn a_header_beyond_its_segment_leaves_no_payload() {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([172, 16, 1, 10], [10, 2, 0, 20], 64)
        .tcp(50_000, 50_010, 1, 1024)
        .write(&mut packet, b"data")
        .expect("a vector takes any packet");
    for offset in [0xf0, 0x40, 0] {
        packet[32] = offset;
        let view = PacketView::parse(&packet).expect("a well-formed packet");
        let (_, segment) = Segment::of(&view).expect("ports");
        assert!(
            matches!(segment, Segment::Tcp { payload: [], .. }),
            "{offset:x}"
        );
    }
}

/// The low half of a hash selects the set.
#[test]
fn every_bit_of_a_flow_counts_in_the_low_half_of_its_hash() {
    let mut noise = Noise(7);
    for _ in 0..20 {
        let words: [u64; 5] = std::array::from_fn(|_| noise.next());
        let of = |words: [u64; 5]| {
            let address = |at: usize| {
                let bits = u128::from(words[at]) << 64 | u128::from(words[at + 1]);
                IpAddr::V6(bits.into())
            };
            let ports = words[4] as u32;
            let source = (address(0), (ports >> 16) as u16);
            FlowKey::new(Protocol::Udp, source, (address(2), ports as u16)).spread() as u32
        };
        for bit in 0..4 * 64 + 32 {
            let mut flipped = words;
            flipped[bit / 64] ^= 1 << (bit % 64);
            assert_ne!(of(words), of(flipped), "{bit} of {words:x?}");
        }
    }
    let [tcp, udp] = [Protocol::Tcp, Protocol::Udp].map(|it| flow(it).spread() as u32);
    assert_ne!(tcp, udp);
}

#[test]
fn a_key_tells_addresses_ports_and_protocol() {
    for (source, destination) in [
        ("172.16.1.10:50000", "10.2.0.20:50010"),
        ("[fd00:1:2:3:4:5:6:7]:1", "[2001:db8:8:9:a:b:c:d]:65535"),
    ] {
        let [source, destination] =
            [source, destination].map(|it| it.parse::<std::net::SocketAddr>().expect("a literal"));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let key = FlowKey::new(
                protocol,
                (source.ip(), source.port()),
                (destination.ip(), destination.port()),
            );
            let told = (key.protocol(), key.source(), key.destination());
            assert_eq!(told, (protocol, source, destination));
        }
    }
}
