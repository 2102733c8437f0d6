//! Tests of the rules against the reference filter, with packets that are hard to judge.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::Ruleset;
use crate::address::PortSet;
use crate::address::set::reference::edges;
use crate::filter::reference::ReferenceFilter;
use crate::filter::strategy;
use crate::packet::Protocol;
use crate::policy::{MediaMatch, Policy, PortRange};
use crate::verdict::{Action, Reason};

/// Generates a policy, and bytes that select packets.
fn cases() -> impl Strategy<Value = (Policy, Vec<u8>)> {
    let bytes = proptest::collection::vec(any::<u8>(), 1_500);
    let choices = proptest::collection::vec(any::<u8>(), 600);
    (bytes, choices).prop_map(|(bytes, choices)| {
        let mut bytes = arbitrary::Unstructured::new(&bytes);
        let policy = strategy::policy(&mut bytes).expect("every byte string makes a policy");
        (policy, choices)
    })
}

/// Returns every address and port at which a rule of `policy` could begin or end.
fn places(policy: &Policy) -> (Vec<IpAddr>, Vec<u16>) {
    let mut prefixes: Vec<_> = Vec::new();
    prefixes.extend(policy.vpn.client_subnets.iter().map(|it| it.value));
    prefixes.extend(policy.corporate.subnets.iter().map(|it| it.value));
    for server in &policy.servers {
        prefixes.extend(server.addresses.iter().map(|it| it.value));
    }
    for allow in &policy.allows {
        prefixes.extend(allow.prefixes(&policy.vpn).map(|it| it.value));
    }
    for public in &policy.publics {
        prefixes.extend(public.addresses.iter().map(|it| it.value));
    }
    for feed in &policy.feeds {
        prefixes.extend(feed.prefixes.iter().flatten().map(|it| it.prefix));
    }
    let allows = policy.allows.iter();
    let ranges = allows.flat_map(|it| it.ports.iter().chain(&it.from_ports));
    let mut ports = vec![0, u16::MAX];
    for range in ranges.chain(&policy.media.ports) {
        let (first, last) = (range.value.first(), range.value.last());
        ports.extend([first.saturating_sub(1), first, last, last.saturating_add(1)]);
    }
    (edges(&prefixes), ports)
}

/// The part of its ports that a TCP or UDP packet shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Ports,
    Nothing,
    Tail,
}

fn packet(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: (u16, u16),
    shows: Shows,
) -> Vec<u8> {
    let mut payload = Vec::new();
    if shows != Shows::Nothing {
        payload.extend(ports.0.to_be_bytes());
        payload.extend(ports.1.to_be_bytes());
        payload.extend([0, 8, 0, 0]);
    }
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let offset = if shows == Shows::Tail { 2 } else { 0 };
            let length = 20 + payload.len() as u8;
            let mut packet = vec![0x45, 0, 0, length, 0, 1, 0, offset, 64, protocol, 0, 0];
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(payload);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let fragment: &[u8] = match shows {
                Shows::Tail => &[protocol, 0, 0, 16, 0, 0, 0, 1],
                Shows::Ports | Shows::Nothing => &[],
            };
            let next = if fragment.is_empty() { protocol } else { 44 };
            let length = (payload.len() + fragment.len()) as u8;
            let mut packet = vec![0x60, 0, 0, 0, 0, length, next, 64];
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(fragment);
            packet.extend(payload);
            packet
        }
        _ => Vec::new(),
    }
}

proptest! {
    #[test]
    fn the_rules_decide_every_packet_as_the_filter_does((mut policy, choices) in cases()) {
        // Rules read no payload; `render` refuses them for a policy that recognizes media.
        policy.media.recognition = MediaMatch::Ports;
        let ruleset = Ruleset::of(&policy);
        let (addresses, ports) = places(&policy);
        for choice in choices.chunks_exact(6) {
            let of = |index: usize, count: usize| usize::from(choice[index]) % count;
            let source = match choice[5] % 4 {
                0 => addresses[of(0, addresses.len())],
                _ => policy.vpn.client_subnets[of(0, policy.vpn.client_subnets.len())].value.network(),
            };
            // Reaches the second half of a long list, too.
            let at = (usize::from(choice[1]) << 2 | usize::from(choice[5] >> 6)) % addresses.len();
            let destination = addresses[at];
            if source.is_ipv4() != destination.is_ipv4() {
                continue;
            }
            let (number, protocol) = match choice[2] % 5 {
                0 | 1 => (6, Some(Protocol::Tcp)),
                2 | 3 => (17, Some(Protocol::Udp)),
                _ => (132, None),
            };
            let (from, to) = (ports[of(3, ports.len())], ports[of(4, ports.len())]);
            let shows = match choice[5] % 3 {
                0 => Shows::Ports,
                1 => Shows::Nothing,
                _ => Shows::Tail,
            };
            let bytes = packet(source, destination, number, (from, to), shows);
            let verdict = ReferenceFilter::new(&policy).judge(&bytes, bytes.len(), Duration::ZERO);
            let known = shows == Shows::Ports || protocol.is_none();
            let public_or_none = ruleset.decide(source, destination, None);
            if known && !(shows == Shows::Tail && source.is_ipv6()) {
                let decided = ruleset.decide(source, destination, protocol.map(|it| (it, from, to)));
                prop_assert_eq!(decided, (verdict.action, verdict.reason), "{:?} {:?}", bytes, ruleset);
            } else if public_or_none != (Action::Forward, Reason::Default) {
                prop_assert_eq!(public_or_none, (verdict.action, verdict.reason));
            } else {
                let portless = &ruleset.portless;
                let dropped = match (shows, protocol) {
                    (Shows::Tail, Some(Protocol::Tcp)) => &portless.non_first_tcp,
                    (Shows::Tail, Some(Protocol::Udp)) => &portless.non_first_udp,
                    (_, Some(Protocol::Tcp)) => &portless.truncated_tcp,
                    (_, Some(Protocol::Udp) | None) => &portless.truncated_udp,
                };
                let is_dropped = protocol.is_some() && dropped.contains(destination);
                prop_assert_eq!(
                    is_dropped,
                    verdict.action == Action::Drop,
                    "{:?} {:?} {} {:?}", shows, bytes, verdict, ruleset
                );
            }
        }
    }

    #[test]
    fn a_set_of_ports_has_what_its_ranges_have(
        left in proptest::collection::vec((any::<u16>(), any::<u16>()), 0..5),
        right in proptest::collection::vec((any::<u16>(), any::<u16>()), 0..5),
        asked in proptest::collection::vec(any::<u16>(), 50),
    ) {
        let ranges = |pairs: &[(u16, u16)]| -> Vec<PortRange> {
            pairs.iter().filter_map(|&(one, other)| PortRange::new(one.min(other), one.max(other))).collect()
        };
        let (left, right) = (ranges(&left), ranges(&right));
        let (lefts, rights): (PortSet, PortSet) = (left.iter().copied().collect(), right.iter().copied().collect());
        let both = lefts.intersect(&rights);
        let edges = left.iter().chain(&right).flat_map(|it| [it.first(), it.last(), it.last().wrapping_add(1)]);
        for port in asked.into_iter().chain(edges) {
            let (in_left, in_right) = (left.iter().any(|it| it.contains(port)), right.iter().any(|it| it.contains(port)));
            prop_assert_eq!(lefts.contains(port), in_left);
            prop_assert_eq!(both.contains(port), in_left && in_right);
        }
        prop_assert!(lefts.covers(&both) && rights.covers(&both));
        for pair in lefts.ranges().windows(2) {
            prop_assert!(u32::from(pair[0].last()) + 1 < u32::from(pair[1].first()));
        }
    }
}

#[test]
fn two_allows_that_together_lift_every_media_port_lift_what_shows_none() {
    let text = r#"
        [vpn]
        client_subnets = ["172.16.1.0/24"]
        [corporate]
        subnets = ["10.1.0.0/24"]
        [[allow]]
        name = "one port of other hosts"
        to = ["10.1.0.128/26"]
        ports = ["5000"]
        [[allow]]
        name = "low"
        to = ["10.1.0.0/25"]
        ports = ["1024-49999"]
        [[allow]]
        name = "high"
        to = ["10.1.0.64/26", "10.1.0.200"]
        ports = ["50000-65535"]
    "#;
    let (policy, _) = crate::policy::parse("test.toml", text.as_bytes()).expect("a policy");
    let portless = Ruleset::of(&policy).portless;
    let contains = |address: &str| {
        let address = address.parse().expect("an address");
        portless.truncated_tcp.contains(address)
    };
    // Both have this one, and one of them alone or none the others.
    assert!(!contains("10.1.0.64"));
    assert!(contains("10.1.0.63") && contains("10.1.0.128") && contains("10.1.0.200"));
    assert!(portless.non_first_tcp.is_empty(), "ports below 1024 pass");
}

fn titles(text: &str) -> Vec<String> {
    let (policy, _) = crate::policy::parse("test.toml", text.as_bytes()).expect("a policy");
    let rules = Ruleset::of(&policy).rules;
    rules.iter().map(|it| it.title()).collect()
}

#[test]
fn rules_of_media_name_the_line_of_their_ports_unless_these_are_the_default() {
    let site =
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n";
    assert_eq!(titles(site), ["hairpin", "media"]);
    let ports = format!("{site}[media]\nports = [\"5000-6000\"]\n");
    assert_eq!(titles(&ports), ["hairpin (line 6)", "media (line 6)"]);
}

/// Each rule that is left out could not decide a packet: it has no destination, or an earlier rule has them all.
#[test]
fn rules_that_can_decide_nothing_are_left_out() {
    let text = r#"
        [vpn]
        client_subnets = ["172.16.1.0/24"]
        [corporate]
        subnets = ["10.0.0.0/8"]
        [[public]]
        name = "all of it"
        addresses = ["172.16.0.0/16"]
        [[allow]]
        name = "some ports"
        to = ["10.1.0.0/24"]
        ports = ["3389"]
        [[allow]]
        name = "no media port"
        to = ["10.1.0.0/24"]
        ports = ["80"]
        [[allow]]
        name = "elsewhere"
        to = ["192.0.2.0/24"]
        [[server]]
        name = "pool"
        addresses = ["10.1.0.10"]
        [[server]]
        name = "the same pool"
        addresses = ["10.1.0.10"]
    "#;
    assert_eq!(
        titles(text),
        [
            "public: all of it (line 7)",
            "servers: pool (line 21)",
            "allow: some ports (line 10)",
            "media"
        ]
    );
}
