use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use etherparse::{IpFragOffset, Ipv4Header, Ipv4Options, PacketBuilder};
use proptest::prelude::*;

use super::*;

const HERE: [u8; 4] = [172, 16, 1, 10];
const THERE: [u8; 4] = [10, 1, 0, 20];

fn udp4(source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(HERE, THERE, 64).udp(source, destination);
    builder
        .write(&mut bytes, &[0; 36])
        .expect("writing to a vector cannot fail");
    bytes
}

/// An IPv6 header whose payload is `chain`, and `next_header` its first header.
fn ipv6(next_header: u8, chain: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(
        u16::try_from(chain.len())
            .expect("a short chain")
            .to_be_bytes(),
    );
    bytes.extend([next_header, 64]);
    bytes.extend(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 10).octets());
    bytes.extend(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 20).octets());
    bytes.extend(chain);
    bytes
}

/// Eight bytes of UDP header: from 50000 to 3478.
const UDP: [u8; 8] = [0xc3, 0x50, 0x0d, 0x96, 0, 8, 0, 0];
const TO_3478: Transport = Transport::Ports {
    protocol: Protocol::Udp,
    source: 50_000,
    destination: 3478,
};

fn parse(bytes: &[u8]) -> PacketView<'_> {
    PacketView::parse(bytes).expect("a well-formed packet")
}

#[test]
fn addresses_and_ports_of_a_udp_packet_are_read() {
    let bytes = udp4(50_000, 3478);
    let packet = parse(&bytes);
    assert_eq!(packet.addresses().source(), Ipv4Addr::from(HERE));
    assert_eq!(packet.addresses().destination(), Ipv4Addr::from(THERE));
    assert_eq!(packet.transport(), TO_3478);
    assert_eq!(packet.fragment(), Fragment::Whole);
    assert_eq!(packet.length(), 64);
}

#[test]
fn protocols_are_printed_as_policies_write_them() {
    assert_eq!(
        format!("{}, {:>4}", Protocol::Tcp, Protocol::Udp),
        "tcp,  udp"
    );
}

#[test]
fn padding_behind_the_total_length_is_not_part_of_the_packet() {
    let mut bytes = udp4(50_000, 3478);
    bytes.extend([0xff; 18]);
    assert_eq!(parse(&bytes).bytes().len(), 64);
}

#[test]
fn ports_are_not_read_from_padding() {
    let mut bytes = udp4(50_000, 3478);
    bytes[2..4].copy_from_slice(&22_u16.to_be_bytes());
    assert_eq!(
        parse(&bytes).transport(),
        Transport::TruncatedHeader(Protocol::Udp)
    );
}

#[test]
fn total_length_zero_is_a_super_packet() {
    let mut bytes = udp4(50_000, 3478);
    bytes[2..4].fill(0);
    bytes.resize(90_000, 0);
    let packet = parse(&bytes);
    assert_eq!((packet.length(), packet.transport()), (90_000, TO_3478));
}

#[test]
fn a_packet_cut_by_the_snap_length_is_read_as_far_as_it_goes() {
    let bytes = udp4(50_000, 3478);
    let packet = PacketView::parse_captured(&bytes[..24], 64).expect("the header is there");
    assert_eq!((packet.length(), packet.transport()), (64, TO_3478));
    assert_eq!(
        PacketView::parse(&bytes[..24]).expect_err("cut on the wire"),
        Malformed::Length
    );
}

#[test]
fn ports_stand_behind_the_options() {
    let mut header =
        Ipv4Header::new(8, 64, etherparse::IpNumber::UDP, HERE, THERE).expect("a short payload");
    header.options = Ipv4Options::from([148, 4, 0, 0]); // router alert, RFC 2113
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend(UDP);
    let packet = parse(&bytes);
    assert_eq!(packet.transport(), TO_3478);
    assert!(!packet.is_source_routed());
}

#[test]
fn a_source_route_counts_only_while_it_has_hops_left() {
    let route = |kind: u8, pointer: u8| {
        let mut header = Ipv4Header::new(8, 64, etherparse::IpNumber::UDP, HERE, THERE)
            .expect("a short payload");
        header.options = Ipv4Options::from([1, kind, 7, pointer, 192, 0, 2, 1]);
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(UDP);
        parse(&bytes).is_source_routed()
    };
    assert!(route(131, 4), "loose, first hop next");
    assert!(route(137, 4), "strict, first hop next");
    assert!(!route(131, 8), "loose, exhausted");
    assert!(!route(7, 4), "record route");
}

#[test]
fn a_source_route_stands_behind_an_option_without_contents() {
    let mut header =
        Ipv4Header::new(20, 64, etherparse::IpNumber::UDP, HERE, THERE).expect("a short payload");
    header.options = Ipv4Options::from([30, 2, 131, 7, 4, 192, 0, 2, 1, 0, 0, 0]);
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend(UDP);
    assert!(parse(&bytes).is_source_routed());
}

#[test]
fn protocols_have_the_numbers_of_ip_headers() {
    assert_eq!(
        [Protocol::Tcp, Protocol::Udp].map(Protocol::number),
        [6, 17]
    );
}

#[test]
fn only_the_first_fragment_has_ports() {
    let fragment = |offset: u16, more: bool| {
        let mut header = Ipv4Header::new(8, 64, etherparse::IpNumber::UDP, HERE, THERE)
            .expect("a short payload");
        header.identification = 77;
        header.more_fragments = more;
        header.fragment_offset = IpFragOffset::try_new(offset).expect("13 bits");
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(UDP);
        bytes
    };
    let (first, later) = (fragment(0, true), fragment(1, false));
    let (first, later) = (parse(&first), parse(&later));
    assert_eq!(
        (first.fragment(), first.transport()),
        (Fragment::First { id: 77 }, TO_3478)
    );
    assert_eq!(
        (later.fragment(), later.transport()),
        (
            Fragment::NonFirst { id: 77 },
            Transport::NonFirst(Protocol::Udp)
        )
    );
    assert_eq!(first.fragment_key(), later.fragment_key());
    assert_eq!(
        PacketView::parse(&fragment(0x1fff, false)).expect_err("past 65,535"),
        Malformed::FragmentLength
    );
}

#[test]
fn bad_ipv4_headers_are_malformed() {
    let good = udp4(1, 2);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        PacketView::parse(&bytes).expect_err("a header that no host accepts")
    };
    assert_eq!(with(0, 0x55), Malformed::Version(5));
    assert_eq!(with(0, 0x44), Malformed::HeaderLength);
    assert_eq!(with(3, 19), Malformed::Length);
    assert_eq!(with(3, 65), Malformed::Length);
    assert_eq!(
        PacketView::parse(&good[..19]).expect_err("19 bytes"),
        Malformed::Truncated
    );
    assert_eq!(
        PacketView::parse(&[]).expect_err("0 bytes"),
        Malformed::Empty
    );
}

#[test]
fn twelve_extension_headers_are_walked() {
    let mut chain = Vec::new();
    for header in 0..12 {
        chain.extend([if header < 11 { 60 } else { 17 }, 0, 1, 4, 0, 0, 0, 0]);
    }
    chain.extend(UDP);
    assert_eq!(parse(&ipv6(60, &chain)).transport(), TO_3478);
}

#[test]
fn every_kind_of_extension_header_is_walked() {
    for kind in [0, 43, 60, 135, 139, 140] {
        let mut chain = vec![17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        chain.extend(UDP);
        assert_eq!(
            parse(&ipv6(kind, &chain)).transport(),
            TO_3478,
            "next header {kind}"
        );
    }
    let mut authenticated = vec![17, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    authenticated.extend(UDP);
    assert_eq!(
        parse(&ipv6(51, &authenticated)).transport(),
        TO_3478,
        "authentication header"
    );
    assert_eq!(
        parse(&ipv6(50, &[0; 32])).transport(),
        Transport::Other(50),
        "ESP hides what follows"
    );
}

#[test]
fn a_routing_header_counts_only_while_it_has_segments_left() {
    let routed = |segments_left: u8| {
        let mut chain = vec![17, 2, 0, segments_left, 0, 0, 0, 0];
        chain.extend([0; 16]);
        chain.extend(UDP);
        let bytes = ipv6(43, &chain);
        parse(&bytes).is_source_routed()
    };
    assert!(routed(1));
    assert!(!routed(0));
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let mut chain = vec![17, 0, 0, 0, 0, 0, 0, 9];
    chain.extend(UDP);
    let bytes = ipv6(44, &chain);
    let packet = parse(&bytes);
    assert_eq!(
        (packet.fragment(), packet.transport()),
        (Fragment::Whole, TO_3478)
    );
}

#[test]
fn the_next_header_of_a_non_first_ipv6_fragment_is_ignored() {
    let mut chain = vec![58, 0, 0, 8, 0, 0, 0, 9];
    chain.extend([0; 8]);
    let bytes = ipv6(44, &chain);
    let packet = parse(&bytes);
    assert_eq!(
        (packet.fragment(), packet.transport()),
        (Fragment::NonFirst { id: 9 }, Transport::UnknownNonFirst)
    );
}

#[test]
fn a_chain_that_ends_early_is_malformed_unless_more_fragments_follow() {
    let chain = [60, 9, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        PacketView::parse(&ipv6(60, &chain)).expect_err("runs past the end"),
        Malformed::ExtensionChain
    );
    let mut first = vec![60, 0, 0, 1, 0, 0, 0, 9];
    first.extend(chain);
    let bytes = ipv6(44, &first);
    let packet = parse(&bytes);
    assert_eq!(
        (packet.fragment(), packet.transport()),
        (Fragment::First { id: 9 }, Transport::TruncatedChain)
    );
}

/// An IPv6 fragment of `length` bytes at `offset`, in units of 8 bytes.
fn fragment6(offset: u8, more: bool, length: usize) -> Vec<u8> {
    let mut chain = vec![17, 0, 0, offset << 3 | u8::from(more), 0, 0, 0, 9];
    chain.resize(8 + length, 0);
    ipv6(44, &chain)
}

#[test]
fn an_ipv6_fragment_with_more_to_come_is_a_multiple_of_eight_bytes() {
    for (offset, length) in [(0, 1), (0, 7), (0, 9), (0, 13), (2, 9), (2, 15)] {
        assert_eq!(
            PacketView::parse(&fragment6(offset, true, length)).expect_err("no multiple of 8"),
            Malformed::FragmentLength,
            "{length} bytes at {offset}"
        );
    }
    for (offset, length) in [(0, 0), (0, 8), (0, 16), (2, 8)] {
        assert!(PacketView::parse(&fragment6(offset, true, length)).is_ok());
    }
}

#[test]
fn the_length_of_a_last_and_of_an_atomic_ipv6_fragment_is_free() {
    for length in [0, 1, 7, 8, 9, 13] {
        assert!(
            PacketView::parse(&fragment6(0, false, length)).is_ok(),
            "atomic"
        );
        assert!(
            PacketView::parse(&fragment6(2, false, length)).is_ok(),
            "last"
        );
    }
}

#[test]
fn the_length_of_an_ipv6_fragment_is_that_on_the_wire() {
    let whole = fragment6(0, true, 16);
    let odd = fragment6(0, true, 17);
    assert!(PacketView::parse_captured(&whole[..57], whole.len()).is_ok());
    assert_eq!(
        PacketView::parse_captured(&odd[..56], odd.len()).expect_err("17 bytes"),
        Malformed::FragmentLength
    );
}

#[test]
fn an_ipv4_fragment_with_more_to_come_may_have_any_length() {
    // Linux truncates the excess, and completes the datagram.
    for (offset, length) in [(0, 8), (0, 13), (0, 9), (1, 11)] {
        let mut header = Ipv4Header::new(length, 64, etherparse::IpNumber::UDP, HERE, THERE)
            .expect("a short payload");
        header.more_fragments = true;
        header.fragment_offset = IpFragOffset::try_new(offset).expect("13 bits");
        let mut bytes = header.to_bytes().to_vec();
        bytes.resize(20 + usize::from(length), 0);
        assert_ne!(parse(&bytes).fragment(), Fragment::Whole);
    }
}

#[test]
fn a_fragment_may_end_with_the_largest_datagram() {
    // Offset 65,528, and 7 bytes or 8.
    let v4 = |length: u16| {
        let mut header = Ipv4Header::new(length, 64, etherparse::IpNumber::UDP, HERE, THERE)
            .expect("a short payload");
        header.fragment_offset = IpFragOffset::try_new(0x1fff).expect("13 bits");
        let mut bytes = header.to_bytes().to_vec();
        bytes.resize(20 + usize::from(length), 0);
        bytes
    };
    let v6 = |length: usize| {
        let mut chain = vec![17, 0, 0xff, 0xf8, 0, 0, 0, 9];
        chain.resize(8 + length, 0);
        ipv6(44, &chain)
    };
    for (whole, beyond) in [(v4(7), v4(8)), (v6(7), v6(8))] {
        assert!(PacketView::parse(&whole).is_ok());
        assert_eq!(
            PacketView::parse(&beyond).expect_err("65,536 bytes"),
            Malformed::FragmentLength
        );
    }
}

#[test]
fn usual_packets_take_the_fast_path() {
    for length in [4, 8, 100, 1_400, 65_000] {
        for padding in [0, 6] {
            let mut v4 = udp4(50_000, 3478);
            v4.resize(20 + length + padding, 0);
            v4[2..4].copy_from_slice(&(20 + length as u16).to_be_bytes());
            let plain = plain_ipv4(&v4).expect("a plain packet");
            assert_eq!(
                (plain.protocol, plain.source_port, plain.destination_port),
                (Some(Protocol::Udp), 50_000, 3478)
            );
            assert_eq!(plain.source, u32::from_be_bytes(HERE));
            assert_eq!(plain.destination, u32::from_be_bytes(THERE));

            let mut chain = UDP.to_vec();
            chain.resize(length, 0);
            let mut v6 = ipv6(17, &chain);
            v6.resize(v6.len() + padding, 0);
            let plain = plain_ipv6(&v6).expect("a plain packet");
            assert_eq!(
                (plain.protocol, plain.source_port, plain.destination_port),
                (Some(Protocol::Udp), 50_000, 3478)
            );
            assert_eq!(plain.source.to_be_bytes()[..], v6[8..24]);
            assert_eq!(plain.destination.to_be_bytes()[..], v6[24..40]);
        }
    }
}

#[test]
fn whatever_is_not_plain_takes_the_long_way() {
    let with = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = value;
        bytes
    };
    let v4 = udp4(50_000, 3478);
    // Length of the header, a fragment and its offset, a total length before the ports, none, and one beyond the
    // packet.
    for (at, value) in [
        (0, 0x46),
        (0, 0x55),
        (6, 0x20),
        (6, 1),
        (7, 1),
        (3, 23),
        (3, 0),
        (3, 65),
    ] {
        assert_eq!(plain_ipv4(&with(&v4, at, value)), None, "{value} at {at}");
    }
    assert_eq!(plain_ipv4(&v4[..23]), None);
    // The reserved bit and "don't fragment" change nothing.
    assert!(plain_ipv4(&with(&v4, 6, 0xc0)).is_some());

    let v6 = ipv6(17, &UDP);
    for (at, value) in [(0, 0x50), (5, 3), (5, 0), (5, 9), (6, 44), (6, 58)] {
        assert_eq!(plain_ipv6(&with(&v6, at, value)), None, "{value} at {at}");
    }
    assert_eq!(plain_ipv6(&v6[..43]), None);
}

#[test]
fn a_table_holds_as_many_datagrams_as_it_was_made_for() {
    // Consecutive ids and consecutive hosts: sets of four fill evenly enough at a quarter of the capacity.
    let mut table = FragmentTable::new(1 << 12);
    let key = |number: u32| {
        let source = Ipv4Addr::from_bits(0xac10_0000 | (number / 64));
        FragmentKey::v4(source, THERE.into(), 17, number % 64)
    };
    for number in 0..1 << 10 {
        table.insert(key(number), Duration::ZERO, number);
    }
    assert!(table.evicted() < 16, "{} of 1,024", table.evicted());
    let mut table = FragmentTable::new(1 << 12);
    for id in 0..1 << 10 {
        let of_one_host = FragmentKey::v4(HERE.into(), THERE.into(), 17, id);
        table.insert(of_one_host, Duration::ZERO, id);
    }
    assert!(table.evicted() < 16, "{} of 1,024", table.evicted());
    let mut table = FragmentTable::new(1 << 12);
    for number in 0..1_u32 << 10 {
        let source = Ipv6Addr::from_bits(u128::from(u64::MAX) << 64 | u128::from(number));
        let of_one_id = FragmentKey::v6(source, Ipv6Addr::LOCALHOST, 1);
        table.insert(of_one_id, Duration::ZERO, number);
    }
    assert!(table.evicted() < 32, "{} of 1,024", table.evicted());
    let v6 = |number: u32| {
        let source = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number / 64));
        FragmentKey::v6(source, Ipv6Addr::LOCALHOST, number % 64)
    };
    let mut table = FragmentTable::new(1 << 12);
    for number in 0..1 << 10 {
        table.insert(v6(number), Duration::ZERO, number);
    }
    assert!(table.evicted() < 16, "{} of 1,024", table.evicted());
}

#[test]
fn a_table_forgets_after_thirty_seconds() {
    let mut table = FragmentTable::new(16);
    let key = FragmentKey::v4(HERE.into(), THERE.into(), 17, 1);
    table.insert(key, Duration::from_secs(100), 'a');
    assert_eq!(table.get(&key, Duration::from_secs(130)), Some('a'));
    assert_eq!(table.get(&key, Duration::from_millis(130_001)), None);
    assert_eq!(
        table.get(&key, Duration::from_secs(1)),
        Some('a'),
        "a clock that goes back ages nothing"
    );
}

#[test]
fn a_full_table_forgets_the_oldest_and_counts_it() {
    let mut table = FragmentTable::new(4);
    let key = |id| FragmentKey::v4(HERE.into(), THERE.into(), 17, id);
    for id in 0..5 {
        table.insert(key(id), Duration::from_millis(id.into()), id);
    }
    assert_eq!(table.get(&key(0), Duration::from_millis(5)), None);
    assert_eq!(table.get(&key(4), Duration::from_millis(5)), Some(4));
    assert_eq!(table.evicted(), 1);
}

#[test]
fn an_outdated_fragment_makes_room_and_is_no_eviction() {
    let mut table = FragmentTable::new(4);
    let key = |id| FragmentKey::v4(HERE.into(), THERE.into(), 17, id);
    for id in 0..4 {
        table.insert(key(id), Duration::ZERO, id);
    }
    table.insert(key(4), Duration::from_secs(31), 4);
    assert_eq!(table.evicted(), 0);
    assert_eq!(table.get(&key(4), Duration::from_secs(31)), Some(4));
    // The other three are outdated as well: three more fit, the fourth takes a live entry.
    for id in 5..8 {
        table.insert(key(id), Duration::from_secs(32), id);
    }
    assert_eq!(table.evicted(), 0);
    table.insert(key(8), Duration::from_secs(33), 8);
    assert_eq!(table.evicted(), 1);
}

#[test]
fn the_newest_first_fragment_of_an_id_counts() {
    let mut table = FragmentTable::new(4);
    let key = FragmentKey::v6(Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, 7);
    table.insert(key, Duration::ZERO, "old");
    table.insert(key, Duration::from_secs(1), "new");
    assert_eq!(table.get(&key, Duration::from_secs(2)), Some("new"));
    assert_eq!(table.evicted(), 0);
}

proptest! {
    #[test]
    fn any_bytes_keep_the_promises_of_a_view(version in 4_u8..7, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = version << 4 | *first & 0x0f;
        }
        reference::fuzz_packet(&bytes);
    }

    #[test]
    fn other_parsers_read_the_same_in_what_etherparse_builds(
        tcp: bool, v6: bool, source: u16, destination: u16, payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let builder = if v6 { PacketBuilder::ipv6([1; 16], [2; 16], 9) } else { PacketBuilder::ipv4(HERE, THERE, 9) };
        let mut bytes = Vec::new();
        if tcp {
            builder.tcp(source, destination, 1, 1024).write(&mut bytes, &payload).expect("a vector");
        } else {
            builder.udp(source, destination).write(&mut bytes, &payload).expect("a vector");
        }
        reference::fuzz_packet(&bytes);
        let is_transport = matches!(parse(&bytes).transport(), Transport::Ports { source: s, destination: d, .. } if (s, d) == (source, destination));
        prop_assert!(is_transport);
    }
}
