use std::net::IpAddr;

use arbitrary::{Arbitrary, Unstructured};
use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::filter::strategy::Scenario;
use crate::filter::{Capacity, Judge};
use crate::packet::{Received, plain_ipv4, plain_ipv6};
use crate::policy;

fn compiled(text: &str) -> CompiledPolicy {
    at_gateway(text, &[])
}

fn at_gateway(text: &str, own: &[IpAddr]) -> CompiledPolicy {
    let (policy, _) = policy::parse("kernel.toml", text.as_bytes()).expect("a good policy");
    CompiledPolicy::at_gateway(policy, Generation(3), own).expect("a small policy")
}

/// Looks a packet up as the program does: step by step, without knowledge of how the tables were made.
fn certain(tables: &KernelTables, packet: &[u8]) -> Option<Verdict> {
    let cell = |row: usize, byte: u8| tables.rows()[row][usize::from(byte)];
    let lookup = |root: usize, bytes: &[u8]| {
        let mut row = root;
        for byte in bytes {
            match cell(row, *byte) {
                end if end & RESULT != 0 => return end & !RESULT,
                next => row = next.into(),
            }
        }
        panic!("no result behind the last byte")
    };
    let (source, destination, protocol, port) = match packet.first()? >> 4 {
        4 => {
            let plain = plain_ipv4(packet)?;
            let class = |address: u32| {
                let [first, rest @ ..] = address.to_be_bytes();
                lookup(first.into(), &rest)
            };
            let (source, destination) = (class(plain.source), class(plain.destination));
            (source, destination, plain.protocol, plain.destination_port)
        }
        _ => {
            // ICMPv6 is the one protocol without ports that the program passes.
            let mut as_udp = packet.to_vec();
            let is_icmp = packet.get(6) == Some(&58);
            if is_icmp {
                as_udp[6] = 17;
            }
            let plain = plain_ipv6(&as_udp)?;
            let class = |address: u128| lookup(IPV6_ROOT, &address.to_be_bytes());
            let (source, destination) = (class(plain.source), class(plain.destination));
            let protocol = plain.protocol.filter(|_| !is_icmp);
            (source, destination, protocol, plain.destination_port)
        }
    };
    let of_class = |class: u16, at: usize| {
        let number = usize::from(class & !CLIENT) * CLASS_CELLS + at;
        tables.rows()[CLASS_ROOT + number / 256][number % 256]
    };
    let result = if source & CLIENT == 0 {
        of_class(source, 0) & !RESULT
    } else {
        let at = PROTOCOLS.iter().position(|it| *it == protocol)?;
        match of_class(destination, 1 + at) {
            end if end & RESULT != 0 => end & !RESULT,
            row => lookup(row.into(), &port.to_be_bytes()),
        }
    };
    let counter = result.checked_sub(1)?;
    Some(tables.verdicts()[usize::from(counter)])
}

/// Fails if the tables of the policy pass a packet with another verdict than the judge's.
fn assert_agreement(scenario: &Scenario, own: &[IpAddr]) {
    let policy = CompiledPolicy::at_gateway(scenario.policy.clone(), Generation(1), own);
    let policy = policy.expect("it is small");
    // Also with too little room: for rows, for classes, for counters.
    for (rows, counters) in [(1 << 15, 100), (280, 2), (258, 1), (0, 0)] {
        let tables = KernelTables::within(TableRoom { rows, counters }, &policy);
        assert!(tables.rows().len() <= rows.max(CLASS_ROOT + 1), "{rows}");
        let mut judge = Judge::new(Capacity::of(4096));
        for arrival in &scenario.arrivals {
            let received = arrival.received();
            let verdict = judge.judge_one(&policy, received);
            // A live packet is whole.
            if received.length_on_wire == received.bytes.len()
                && let Some(certain) = certain(&tables, received.bytes)
            {
                let policy = &scenario.policy;
                assert_eq!(certain, verdict, "{received:02x?} {own:?} {policy:?}");
                assert_eq!(certain.action, Action::Forward);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn packets_pass_only_where_the_judge_forwards_for_the_same_reason(
        bytes in proptest::collection::vec(any::<u8>(), 0..1400),
    ) {
        if let Ok(scenario) = Scenario::arbitrary(&mut Unstructured::new(&bytes)) {
            assert_agreement(&scenario, &[]);
            assert_agreement(&scenario, &scenario.own_addresses());
        }
    }
}

const SITE: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
[corporate]
subnets = ["10.0.0.0/8", "fd00:2::/48"]
[[server]]
name = "pool"
addresses = ["10.1.0.10", "fd00:2::10"]
[[allow]]
name = "jump hosts"
to = ["10.9.0.0/24"]
ports = ["3389"]
[[allow]]
name = "services of clients"
to = ["10.0.0.0/8"]
from_ports = ["1-1023"]
[[public]]
name = "Edge"
addresses = ["167.55.49.32"]
"#;

/// Each kind of packet of [`SITE`], and the reason for which it passes for certain.
#[test]
fn what_the_policy_forwards_passes_and_the_rest_is_left_to_the_judge() {
    let policy = compiled(SITE);
    let tables = KernelTables::of(&policy);
    assert!(!tables.is_partial());
    let told = |from: &str, to: &str, protocol: &str, port: u16| {
        let bytes = packet(from, to, protocol, port);
        Some(policy.rules().tell(certain(&tables, &bytes)?))
    };
    for (from, to, protocol, port, expected) in [
        ("172.16.1.10", "10.2.0.1", "udp", 53, Some("default")),
        ("172.16.1.10", "10.2.0.1", "udp", 1023, Some("default")),
        ("172.16.1.10", "10.2.0.1", "tcp", 443, Some("default")),
        ("172.16.1.10", "10.2.0.1", "icmp", 443, Some("default")),
        ("172.16.1.10", "10.2.0.1", "udp", 1024, None),
        ("172.16.1.10", "10.2.0.1", "tcp", 50_000, None),
        ("172.16.1.10", "172.16.1.11", "udp", 50_000, None),
        ("172.16.1.10", "10.1.0.10", "tcp", 443, None),
        ("172.16.1.10", "10.1.0.10", "icmp", 443, Some("default")),
        (
            "172.16.1.10",
            "10.9.0.7",
            "tcp",
            3389,
            Some("allow: jump hosts"),
        ),
        ("172.16.1.10", "10.9.0.7", "tcp", 3390, None),
        (
            "172.16.1.10",
            "167.55.49.32",
            "tcp",
            443,
            Some("public: Edge"),
        ),
        (
            "172.16.1.10",
            "93.184.216.34",
            "udp",
            50_000,
            Some("default"),
        ),
        (
            "192.0.2.1",
            "10.1.0.10",
            "udp",
            50_000,
            Some("not-a-client"),
        ),
        ("fd00:1::10", "fd00:2::20", "udp", 53, Some("default")),
        ("fd00:1::10", "fd00:2::20", "udp", 50_000, None),
        ("fd00:1::10", "fd00:2::10", "tcp", 443, None),
        ("fd00:1::10", "fd00:2::10", "icmp", 443, Some("default")),
        ("fd00:1::10", "2001:db8::1", "udp", 50_000, Some("default")),
        (
            "fd00:3::10",
            "fd00:2::10",
            "udp",
            50_000,
            Some("not-a-client"),
        ),
    ] {
        let found = told(from, to, protocol, port);
        assert_eq!(found.as_deref(), expected, "{from} {to} {protocol} {port}");
    }
}

/// The gateway's own addresses, among clients, in the company and on the internet.
#[test]
fn packets_to_the_gateway_itself_pass_unless_a_server_lists_the_address() {
    let own = ["172.16.1.1", "fd00:1::1", "10.1.0.10", "192.0.2.1"];
    let own = own.map(|it| it.parse().expect("an address"));
    let policy = at_gateway(SITE, &own);
    let tables = KernelTables::of(&policy);
    for (from, to, protocol, expected) in [
        ("172.16.1.10", "172.16.1.1", "udp", Some("gateway")),
        ("172.16.1.10", "172.16.1.1", "tcp", Some("gateway")),
        ("172.16.1.10", "172.16.1.1", "icmp", Some("gateway")),
        ("172.16.1.10", "172.16.1.2", "udp", None),
        ("172.16.1.10", "192.0.2.1", "udp", Some("gateway")),
        ("172.16.1.10", "10.1.0.10", "udp", None),
        ("fd00:1::10", "fd00:1::1", "udp", Some("gateway")),
        ("fd00:1::10", "fd00:1::2", "udp", None),
        ("192.0.2.9", "172.16.1.1", "udp", Some("not-a-client")),
    ] {
        let found = certain(&tables, &packet(from, to, protocol, 50_000));
        let found = found.map(|verdict| policy.rules().tell(verdict));
        assert_eq!(found.as_deref(), expected, "{from} {to} {protocol}");
    }
}

#[test]
fn what_hides_something_is_left_to_the_judge() {
    let policy = compiled(SITE);
    let tables = KernelTables::of(&policy);
    let plain = packet("172.16.1.10", "10.2.0.1", "udp", 53);
    assert!(certain(&tables, &plain).is_some());
    // More fragments, an offset, a longer header, a length that is too long or too short.
    for (at, byte) in [(6, 0x20), (7, 1), (0, 0x46), (3, 200), (3, 23)] {
        let mut odd = plain.clone();
        odd[at] = byte;
        assert_eq!(certain(&tables, &odd), None, "{at}");
    }
}

#[test]
fn tables_without_room_pass_less_and_say_so() {
    let policy = compiled(SITE);
    let bytes = packet("172.16.1.10", "10.9.0.7", "tcp", 3389);
    let few_rows = TableRoom {
        rows: 260,
        ..TableRoom::MAX
    };
    let few_counters = TableRoom {
        counters: 1,
        ..TableRoom::MAX
    };
    let no_rows = TableRoom {
        rows: 0,
        ..TableRoom::MAX
    };
    for room in [few_rows, few_counters, no_rows] {
        let tables = KernelTables::within(room, &policy);
        assert!(tables.is_partial());
        assert_eq!(certain(&tables, &bytes), None);
        assert!(tables.verdicts().len() <= room.counters);
    }
    let empty = KernelTables::empty(Generation(1));
    assert!(!empty.is_partial());
    assert_eq!(
        certain(&empty, &packet("172.16.1.10", "8.8.8.8", "udp", 53)),
        None
    );
}

#[test]
fn rows_and_counters_have_numbers_of_15_bits() {
    let TableRoom { rows, counters } = TableRoom::MAX;
    assert_eq!(rows, 1 + 0x7fff);
    assert_eq!(counters, 0x7fff, "counter 0 is none");
}

#[test]
fn each_forwarding_verdict_has_a_counter() {
    let policy = compiled(SITE);
    let tables = KernelTables::of(&policy);
    assert_eq!(tables.generation(), Generation(3));
    for (verdict, counter) in tables.verdicts().iter().zip(1..) {
        assert_eq!(tables.counter(*verdict), Some(counter));
    }
    let mut judge = Judge::new(Capacity::of(1));
    let mut judged = |from_port: u16, to: &str, port: u16| {
        let mut bytes = packet("172.16.1.10", to, "udp", port);
        bytes[20..22].copy_from_slice(&from_port.to_be_bytes());
        judge.judge_one(&policy, Received::whole(&bytes, std::time::Duration::ZERO))
    };
    // The judge forwards by the source port, which no table has.
    let by_source = judged(80, "10.2.0.1", 50_000);
    assert_eq!(policy.rules().tell(by_source), "allow: services of clients");
    let counter = tables.counter(by_source).expect("a counter");
    assert_eq!(tables.verdicts()[usize::from(counter) - 1], by_source);
    let media = judged(50_001, "10.2.0.1", 50_000);
    assert_eq!(media.to_string(), "drop media");
    assert_eq!(tables.counter(media), None);
    let one = TableRoom {
        counters: 1,
        ..TableRoom::MAX
    };
    let without_room = KernelTables::within(one, &policy);
    assert_eq!(without_room.counter(by_source), None);
}

#[test]
fn each_of_many_classes_has_its_cells() {
    let services: String = (0..200)
        .map(|at| format!("[[public]]\nname = \"service {at}\"\naddresses = [\"52.1.{at}.7\"]\n"))
        .collect();
    let policy = compiled(&format!("{SITE}{services}"));
    let tables = KernelTables::of(&policy);
    for at in 0..200 {
        let bytes = packet("172.16.1.10", &format!("52.1.{at}.7"), "tcp", 443);
        let verdict = certain(&tables, &bytes).expect("a public service");
        assert_eq!(
            policy.rules().tell(verdict),
            format!("public: service {at}")
        );
    }
}

#[test]
fn a_row_of_one_result_is_no_row() {
    let tables = KernelTables::of(&compiled(SITE));
    let behind_classes = tables.rows().iter().skip(CLASS_ROOT + 1);
    assert!(behind_classes.clone().count() > 0);
    for row in behind_classes {
        assert!(row.iter().any(|cell| *cell != row[0]), "{row:?}");
    }
}

/// Host 5 of each subnet: the same row is behind every third byte, and the row in front of it is a row still.
#[test]
fn addresses_are_looked_up_by_each_of_their_bytes() {
    let hosts: Vec<String> = (0..256)
        .map(|third| format!("\"52.1.{third}.5\""))
        .collect();
    let policy = compiled(&SITE.replace("\"167.55.49.32\"", &hosts.join(", ")));
    let tables = KernelTables::of(&policy);
    for (to, expected) in [
        ("52.1.7.5", "public: Edge"),
        ("52.1.5.5", "public: Edge"),
        ("52.1.5.7", "default"),
        ("52.2.7.5", "default"),
    ] {
        let found = certain(&tables, &packet("172.16.1.10", to, "udp", 50_000));
        let found = found.map(|verdict| policy.rules().tell(verdict));
        assert_eq!(found.as_deref(), Some(expected), "{to}");
    }
}

/// A packet from port 50001 with a few bytes of payload.
fn packet(from: &str, to: &str, protocol: &str, port: u16) -> Vec<u8> {
    let (from, to): (IpAddr, IpAddr) = (
        from.parse().expect("an address"),
        to.parse().expect("an address"),
    );
    let ip = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        _ => panic!("one family"),
    };
    let mut bytes = Vec::new();
    let written = match protocol {
        "udp" => ip.udp(50_001, port).write(&mut bytes, b"voice"),
        "tcp" => ip.tcp(50_001, port, 1, 1_024).write(&mut bytes, b"voice"),
        _ if from.is_ipv4() => ip.icmpv4_echo_request(1, 2).write(&mut bytes, b"voice"),
        _ => ip.icmpv6_echo_request(1, 2).write(&mut bytes, b"voice"),
    };
    written.expect("room");
    bytes
}
