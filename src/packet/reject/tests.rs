//! Answers, as etherparse reads them and as a slow oracle of RFC 9293 expects them.

use etherparse::{IpNumber, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;

const CLIENT: [u8; 4] = [172, 16, 1, 10];
const OFFICE: [u8; 4] = [10, 20, 0, 7];
const CLIENT6: [u8; 16] = [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
const OFFICE6: [u8; 16] = [0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

fn answer(packet: &[u8]) -> Option<Rejection> {
    let view = PacketView::parse(packet).ok()?;
    Some(Rejectable::of(view)?.answer())
}

fn is_answered(packet: &[u8]) -> bool {
    answer(packet).is_some()
}

/// Bits of the flags byte of TCP.
#[derive(Debug, Clone, Copy)]
struct Flags(u8);

fn tcp(is_ipv6: bool, flags: Flags, sequence: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let ip = match is_ipv6 {
        false => PacketBuilder::ipv4(CLIENT, OFFICE, 60),
        true => PacketBuilder::ipv6(CLIENT6, OFFICE6, 60),
    };
    let mut header = etherparse::TcpHeader::new(50_000, 3_389, sequence, 1_024);
    header.acknowledgment_number = ack;
    header.fin = flags.0 & FIN != 0;
    header.syn = flags.0 & SYN != 0;
    header.rst = flags.0 & RST != 0;
    header.ack = flags.0 & ACK != 0;
    let mut packet = Vec::new();
    let built = ip.tcp_header(header).write(&mut packet, payload);
    built.expect("room");
    packet
}

fn udp(is_ipv6: bool, payload: &[u8]) -> Vec<u8> {
    let ip = match is_ipv6 {
        false => PacketBuilder::ipv4(CLIENT, OFFICE, 60),
        true => PacketBuilder::ipv6(CLIENT6, OFFICE6, 60),
    };
    let mut packet = Vec::new();
    ip.udp(50_000, 50_020)
        .write(&mut packet, payload)
        .expect("room");
    packet
}

/// Asserts what holds for each answer: its addresses, lengths and checksums, and the parts of the IP header that are the same.
fn assert_sound(packet: &[u8], rejection: &Rejection) {
    let bytes = rejection.bytes();
    let sent = SlicedPacket::from_ip(bytes).expect("a packet");
    let (view, back) = (
        PacketView::parse(packet).expect("it was answered"),
        PacketView::parse(bytes).expect("a packet"),
    );
    assert_eq!(back.length(), bytes.len());
    assert_eq!(back.addresses().source(), view.addresses().destination());
    assert_eq!(back.addresses().destination(), view.addresses().source());
    assert_eq!(rejection.client(), view.addresses().source());
    assert_eq!(rejection.tried(), view.addresses().destination());
    let payload = match sent.net.expect("an IP header") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(
                header.header_checksum(),
                header.to_header().calc_header_checksum()
            );
            assert!(header.dont_fragment());
            assert_eq!((header.ttl(), header.ihl()), (64, 5));
            ip.payload().payload.len()
        }
        NetSlice::Ipv6(ip) => {
            assert_eq!(ip.header().hop_limit(), 64);
            ip.payload().payload.len()
        }
        NetSlice::Arp(_) => unreachable!("it is IP"),
    };
    let header = bytes.len() - payload;
    // Its checksum makes the whole sum right (RFC 1071 §1).
    let sum = match (
        sent.transport.expect("a transport header"),
        back.addresses(),
    ) {
        (TransportSlice::Icmpv4(_), _) => Sum::of(&bytes[header..]),
        (TransportSlice::Icmpv6(_), addresses) => {
            pseudo_header(addresses, ICMPV6, payload).and(&bytes[header..])
        }
        (TransportSlice::Tcp(_), addresses) => {
            pseudo_header(addresses, TCP, payload).and(&bytes[header..])
        }
        (TransportSlice::Udp(_) | TransportSlice::Igmp(_), _) => unreachable!("none is"),
    };
    assert!(sum.is_whole(), "{bytes:02x?}");
    match rejection.kind {
        RejectionKind::Reset => assert!(bytes.len() <= view.length()),
        RejectionKind::Unreachable => {
            let most = if header == 20 { 576 } else { 1_280 };
            assert_eq!(bytes.len(), most.min(header + 8 + view.bytes().len()));
            assert_eq!(bytes[header + 8..], packet[..bytes.len() - header - 8]);
        }
    }
}

/// RFC 9293 §3.10.7.1, word by word: sequence number, acknowledgment number if there is one.
fn expected_reset(flags: Flags, sequence: u32, ack: u32, payload: u32) -> (u32, Option<u32>) {
    if flags.0 & ACK != 0 {
        return (ack, None);
    }
    let mut after = u64::from(sequence) + u64::from(payload);
    for flag in [SYN, FIN] {
        if flags.0 & flag != 0 {
            after += 1;
        }
    }
    (0, Some((after % (1 << 32)) as u32))
}

proptest! {
    #[test]
    fn a_segment_is_answered_by_the_reset_of_the_rfc(
        is_ipv6: bool,
        bits in 0..64_u8,
        sequence: u32,
        ack: u32,
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let flags = Flags(bits & (FIN | SYN | RST | ACK));
        let packet = tcp(is_ipv6, flags, sequence, ack, &payload);
        let Some(rejection) = answer(&packet) else {
            prop_assert!(flags.0 & RST != 0, "only a reset finds no answer");
            return Ok(());
        };
        prop_assert_eq!(flags.0 & RST, 0);
        assert_sound(&packet, &rejection);
        let Ok(SlicedPacket { transport: Some(TransportSlice::Tcp(reset)), .. }) = SlicedPacket::from_ip(rejection.bytes()) else {
            panic!("it is TCP");
        };
        prop_assert!(reset.rst() && !reset.syn() && !reset.fin());
        prop_assert_eq!((reset.source_port(), reset.destination_port()), (3_389, 50_000));
        let numbers = (reset.sequence_number(), reset.ack().then(|| reset.acknowledgment_number()));
        prop_assert_eq!(numbers, expected_reset(flags, sequence, ack, payload.len() as u32));
        prop_assert!(!is_answered(rejection.bytes()), "no reset is answered");
    }

    #[test]
    fn a_datagram_is_answered_by_an_error_that_quotes_it(
        is_ipv6: bool,
        payload in proptest::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let packet = udp(is_ipv6, &payload);
        let rejection = answer(&packet).expect("it has ports");
        assert_sound(&packet, &rejection);
        let header = if is_ipv6 { 40 } else { 20 };
        let kind_and_code = if is_ipv6 { [1, 4] } else { [3, 3] };
        prop_assert_eq!(&rejection.bytes()[header..header + 2], &kind_and_code);
        prop_assert!(!is_answered(rejection.bytes()), "no error is answered");
    }

    #[test]
    fn any_bytes_are_read_without_panic_and_answers_to_them_are_sound(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
        first in prop::sample::select(vec![0x45_u8, 0x46, 0x60]),
        protocol in prop::sample::select(vec![6_u8, 17, 1, 58, 0, 44]),
        is_consistent: bool,
    ) {
        if is_consistent && bytes.len() >= 40 {
            let length = bytes.len() as u16;
            bytes[0] = first;
            match first >> 4 {
                4 => {
                    bytes[2..4].copy_from_slice(&length.to_be_bytes());
                    bytes[6..8].fill(0);
                    bytes[9] = protocol;
                }
                _ => {
                    bytes[4..6].copy_from_slice(&(length - 40).to_be_bytes());
                    bytes[6] = protocol;
                }
            }
        }
        if let Some(rejection) = answer(&bytes) {
            assert_sound(&bytes, &rejection);
        }
    }
}

#[test]
fn kinds_of_answers_have_a_word_and_a_name() {
    let words = RejectionKind::ALL.map(RejectionKind::word);
    assert_eq!(words, ["rst", "unreachable"]);
    let names = RejectionKind::ALL.map(RejectionKind::name);
    assert_eq!(names, ["RST", "ICMP port unreachable"]);
}

#[test]
fn a_packet_cut_short_anywhere_is_no_reason_to_panic() {
    for packet in [
        tcp(false, Flags(SYN), 7, 0, b"data"),
        tcp(true, Flags(ACK), 7, 9, b"data"),
        udp(false, b"data"),
        udp(true, b"data"),
    ] {
        for length in 0..packet.len() {
            assert!(!is_answered(&packet[..length]), "{length} bytes");
        }
        assert!(is_answered(&packet));
    }
}

#[test]
fn addresses_that_are_not_those_of_one_host_find_no_answer() {
    let v4 = |source: [u8; 4], destination: [u8; 4]| {
        let mut packet = tcp(false, Flags(SYN), 1, 0, &[]);
        packet[12..16].copy_from_slice(&source);
        packet[16..20].copy_from_slice(&destination);
        is_answered(&packet)
    };
    assert!(v4(CLIENT, OFFICE));
    let of_nobody: [[u8; 4]; 6] = [
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [224, 0, 0, 251],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
    ];
    for address in of_nobody {
        assert!(!v4(address, OFFICE), "from {address:?}");
        assert!(!v4(CLIENT, address), "to {address:?}");
    }
    let v6 = |source: &str, destination: &str| {
        let mut packet = udp(true, &[]);
        for (at, text) in [(8, source), (24, destination)] {
            let address: Ipv6Addr = text.parse().expect("an address");
            packet[at..at + 16].copy_from_slice(&address.octets());
        }
        is_answered(&packet)
    };
    assert!(v6("fd00:1::10", "fd00:2::7"));
    for address in ["::", "::1", "ff02::1", "ff3e::5"] {
        assert!(!v6(address, "fd00:2::7"), "from {address}");
        assert!(!v6("fd00:1::10", address), "to {address}");
    }
}

#[test]
fn of_fragments_only_the_first_of_a_datagram_is_answered() {
    let fragment = |protocol: IpNumber, flags_and_offset: u16| {
        let mut packet = match protocol {
            IpNumber::TCP => tcp(false, Flags(SYN), 1, 0, &[0; 4]),
            _ => udp(false, &[0; 8]),
        };
        packet[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
        is_answered(&packet)
    };
    let (first, non_first) = (0x2000, 0x0003);
    assert!(fragment(IpNumber::UDP, first));
    assert!(!fragment(IpNumber::UDP, non_first));
    assert!(!fragment(IpNumber::TCP, first), "its length is unknown");
    assert!(!fragment(IpNumber::TCP, non_first));
}

#[test]
fn other_protocols_and_bad_headers_find_no_answer() {
    for protocol in [1, 2, 47, 50, 58, 132] {
        let mut packet = udp(false, &[8, 0, 0, 0]);
        packet[9] = protocol;
        assert!(!is_answered(&packet), "protocol {protocol}");
    }
    for length in [4_u8, 7, 8] {
        let mut packet = udp(false, &[]);
        packet.truncate(20 + usize::from(length));
        packet[3] = 20 + length;
        assert_eq!(is_answered(&packet), length == 8, "{length} bytes of UDP");
    }
    let mut packet = tcp(false, Flags(SYN), 1, 0, &[]);
    for (offset, answered) in [(0x40, false), (0x50, true), (0x60, false), (0xf0, false)] {
        packet[32] = offset;
        assert_eq!(is_answered(&packet), answered, "data offset {offset:#x}");
    }
}
