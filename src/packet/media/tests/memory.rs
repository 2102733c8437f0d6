//! The memory of flows: lifetimes, and the share of each client.

use super::*;
use crate::packet::media::traffic::stun;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

fn check() -> Vec<u8> {
    stun(1, COOKIE, &[0, 6, 0, 4, b'a', b':', b'b', b'c'])
}

#[test]
fn what_follows_a_check_is_media() {
    let mut datagrams = Datagrams::new(Profile::Ice);
    assert_eq!(datagrams.look(&check(), START), Some("stun-check"));
    assert_eq!(datagrams.look(b"anything", START), Some("stun-check"));
}

#[test]
fn media_is_forgotten_after_a_minute_without_a_packet() {
    let mut datagrams = Datagrams::new(Profile::Ice);
    datagrams.look(&check(), START);
    let later = START + Duration::from_millis(59_999);
    assert_eq!(datagrams.look(b"junk", later), Some("stun-check"));
    assert_eq!(
        datagrams.look(b"junk", later + Duration::from_secs(60)),
        None
    );
}

#[test]
fn nine_packets_of_junk_do_not_hide_a_check() {
    let mut datagrams = Datagrams::new(Profile::Ice);
    for _ in 0..9 {
        assert_eq!(datagrams.look(b"junk", START), None);
    }
    assert_eq!(datagrams.look(&check(), START), Some("stun-check"));
}

#[test]
fn other_evidence_is_lost_after_eight_packets_of_junk() {
    let classic = stun(1, [1, 2, 3, 4], &[0, 6, 0, 4, b'a', b':', b'b', b'c']);
    for (junk, expected) in [(7, Some("stun-classic")), (8, None)] {
        let mut datagrams = Datagrams::new(Profile::Ice);
        for _ in 0..junk {
            assert_eq!(datagrams.look(b"junk", START), None);
        }
        assert_eq!(datagrams.look(&classic, START), expected);
    }
}

#[test]
fn a_flow_that_is_not_media_gets_another_chance_after_a_minute() {
    let classic = stun(1, [1, 2, 3, 4], &[0, 6, 0, 4, b'a', b':', b'b', b'c']);
    let mut datagrams = Datagrams::new(Profile::Ice);
    for _ in 0..8 {
        datagrams.look(b"junk", START);
    }
    let later = START + Duration::from_secs(60);
    assert_eq!(datagrams.look(&classic, later), Some("stun-classic"));
}

#[test]
fn the_other_direction_and_other_ports_are_other_flows() {
    let mut table = FlowTable::new(64);
    let check = check();
    let segment = |payload| Segment::Udp { payload, size: 28 };
    let client = Ipv4Addr::new(172, 16, 1, 10);
    let found = table
        .look(
            Profile::Ice,
            &flow_of(Protocol::Udp, client, 50_000),
            segment(&check),
            START,
        )
        .media();
    assert!(found.is_some());
    let junk = [0xff; 28];
    let other_port = flow_of(Protocol::Udp, client, 50_002);
    assert_eq!(
        table
            .look(Profile::Ice, &other_port, segment(&junk), START)
            .media(),
        None
    );
    let back = FlowKey::new(
        Protocol::Udp,
        (Ipv4Addr::new(10, 2, 0, 20).into(), 50_010),
        (client.into(), 50_000),
    );
    assert_eq!(
        table
            .look(Profile::Ice, &back, segment(&junk), START)
            .media(),
        None
    );
}

#[test]
fn a_cleared_table_knows_no_flow() {
    let mut datagrams = Datagrams::new(Profile::Ice);
    datagrams.look(&check(), START);
    datagrams.table.clear();
    assert_eq!(datagrams.look(b"junk", START), None);
}

#[test]
fn a_client_that_opens_a_million_flows_evicts_none_of_another_client() {
    let mut table = FlowTable::new(1 << 14);
    let check = check();
    let media = Segment::Udp {
        payload: &check,
        size: check.len(),
    };
    let quiet = |port| flow_of(Protocol::Udp, Ipv4Addr::new(172, 16, 1, 10), port);
    for port in 2000..2500 {
        assert!(
            table
                .look(Profile::Ice, &quiet(port), media, START)
                .media()
                .is_some()
        );
    }
    let junk = Segment::Udp {
        payload: b"junk",
        size: 4,
    };
    for number in 0..1_000_000u32 {
        let key = FlowKey::new(
            Protocol::Udp,
            (Ipv4Addr::new(172, 16, 1, 11).into(), number as u16),
            (
                Ipv4Addr::from_bits(0x0a00_0000 + (number >> 16)).into(),
                50_000,
            ),
        );
        table.look(Profile::Ice, &key, junk, START + Duration::from_millis(1));
    }
    let later = START + Duration::from_secs(1);
    let kept = (2000..2500).filter(|&port| {
        table
            .look(Profile::Ice, &quiet(port), junk, later)
            .media()
            .is_some()
    });
    assert_eq!(kept.count(), 500);
    assert!(table.evicted() > 900_000);
}

#[test]
fn the_oldest_flow_of_a_full_set_is_evicted() {
    let mut table = FlowTable::new(8);
    let check = check();
    let media = Segment::Udp {
        payload: &check,
        size: check.len(),
    };
    let junk = Segment::Udp {
        payload: b"junk",
        size: 4,
    };
    let client = |number| flow_of(Protocol::Udp, Ipv4Addr::new(172, 16, 1, number), 50_000);
    // The first flow is seen again, so the second one is the oldest.
    for (number, seconds) in [0, 1, 2, 3, 4, 5, 6, 7, 0, 8].into_iter().zip(0..) {
        let at = START + Duration::from_secs(seconds);
        table.look(Profile::Ice, &client(number), media, at);
    }
    let later = START + Duration::from_secs(10);
    assert_eq!(table.evicted(), 1);
    for number in [0, 2, 3, 4, 5, 6, 7, 8] {
        assert!(
            table
                .look(Profile::Ice, &client(number), junk, later)
                .media()
                .is_some()
        );
    }
    assert_eq!(
        table.look(Profile::Ice, &client(1), junk, later).media(),
        None
    );
}

#[test]
fn a_table_for_a_gateway_takes_less_than_20_mib() {
    let table = FlowTable::new(FlowTable::GATEWAY_FLOWS);
    assert!(table.memory_bytes() < 20 << 20, "{}", table.memory_bytes());
}

/// With two sets to choose from, a table that is half full has room for nearly every flow.
#[test]
fn half_a_table_of_flows_evicts_next_to_none() {
    let evicted = |key: &dyn Fn(u32) -> FlowKey| {
        let mut table = FlowTable::new(1 << 12);
        for number in 0..1 << 11 {
            let segment = Segment::Udp {
                payload: b"junk",
                size: 4,
            };
            table.look(Profile::Ice, &key(number), segment, START);
        }
        assert_eq!(table.taken() as u64 + table.evicted(), 1 << 11);
        table.evicted()
    };
    let client = |number: u32| Ipv4Addr::from_bits(0xac10_0000 + number);
    let by_client = |number| flow_of(Protocol::Udp, client(number), 50_000);
    assert!(evicted(&by_client) < 16);
    let by_both = |number: u32| {
        flow_of(
            Protocol::Udp,
            client(number / 8),
            50_000 + (number % 8) as u16,
        )
    };
    assert!(evicted(&by_both) < 16);
    let of_v6 = |number: u32| {
        let client = std::net::Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(number) << 64 | 10);
        let server = std::net::Ipv6Addr::LOCALHOST;
        FlowKey::new(
            Protocol::Udp,
            (client.into(), 50_000),
            (server.into(), 50_010),
        )
    };
    assert!(evicted(&of_v6) < 16);
}

/// Flows that may be RTP borrow their rows from a pool with room for a part of the table.
#[test]
fn a_flow_with_the_latest_rows_is_recognized_whatever_came_before() {
    let mut table = FlowTable::new(64);
    let rtp = |number: u8| {
        let mut packet = vec![0x80, 8, 0, number, 0, 0];
        packet.extend((160 * u16::from(number)).to_be_bytes());
        packet.extend([7; 32]);
        packet
    };
    for flow in 0..200 {
        let client = Ipv4Addr::new(172, 16, 1, flow);
        let found = [0, 1, 2].map(|number| {
            let payload = &rtp(number)[..];
            let size = payload.len();
            let segment = Segment::Udp { payload, size };
            let at = START + Duration::from_millis(20) * number.into();
            let key = flow_of(Protocol::Udp, client, 50_000);
            table
                .look(Profile::Any, &key, segment, at)
                .media()
                .is_some()
        });
        assert_eq!(found, [false, false, true], "{client}");
    }
}

/// Clients and ports in sequence: of as many flows as there are entries few evict others, whatever is counted up.
#[test]
fn flows_of_many_clients_to_many_ports_find_room() {
    let number_of = |at: usize, part: usize| (at / part) as u16;
    type Flow = fn(u16, u16) -> (std::net::Ipv4Addr, u16, u16);
    let kinds: [Flow; 3] = [
        |client, port| (address_of(client), 40_000, 50_000 + port),
        |client, port| (address_of(client), 50_000 + port, 443),
        |client, port| (address_of(client), 50_000 + port, 50_000 + port),
    ];
    for (kind, of) in kinds.into_iter().enumerate() {
        let mut table = FlowTable::new(1 << 14);
        for at in 0..1 << 14 {
            let (client, from, to) = of(number_of(at, 128), (at % 128) as u16);
            let office = std::net::Ipv4Addr::new(10, 2, 0, 20);
            let key = FlowKey::new(Protocol::Udp, (client.into(), from), (office.into(), to));
            let segment = Segment::Udp {
                payload: &[0x17; 24],
                size: 24,
            };
            table.look(Profile::Ice, &key, segment, Duration::from_secs(1));
        }
        assert!(
            table.evicted() < (1 << 14) / 8,
            "kind {kind}: {}",
            table.evicted()
        );
    }
}

fn address_of(client: u16) -> std::net::Ipv4Addr {
    let [high, low] = client.to_be_bytes();
    std::net::Ipv4Addr::new(172, 16, high, low)
}
