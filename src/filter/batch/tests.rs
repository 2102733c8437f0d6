//! Batches of all kinds of packets, and what the judge remembers between them.

use std::num::NonZeroU16;
use std::time::Duration;

use super::*;
use crate::policy;
use crate::verdict::{Action, Reason};

/// Drops UDP to 10.1.0.10 except to port 443: non-first fragments follow the first.
const TWO_SERVERS: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[[server]]
name = "another"
addresses = ["10.1.0.9"]
[[server]]
name = "pool"
addresses = ["10.1.0.10"]
[[allow]]
name = "web"
to = ["10.1.0.10"]
ports = ["443"]
lifts = ["servers"]
"#;

/// Also judges UDP to 10.1.0.10 by its ports, with fewer rules.
const ONE_SUBNET: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
"#;

fn compiled(text: &str, generation: u64) -> CompiledPolicy {
    let (policy, _) = policy::parse("batch.toml", text.as_bytes()).expect("a good policy");
    CompiledPolicy::new(policy, Generation(generation)).expect("a small policy")
}

/// A fragment of UDP from 172.16.1.10 to port 50000 of 10.1.0.10.
fn fragment(flags_and_offset: u16) -> Vec<u8> {
    let [high, low] = flags_and_offset.to_be_bytes();
    let mut packet = vec![0x45, 0, 0, 28, 0, 77, high, low, 64, 17, 0, 0];
    packet.extend([172, 16, 1, 10, 10, 1, 0, 10]);
    packet.extend([0xc3, 0x50, 0xc3, 0x50, 0, 8, 0, 0]);
    packet
}

const FIRST: u16 = 0x2000;
const NON_FIRST: u16 = 1;

/// The verdicts on a first fragment by `before` and on a later one by `after`.
fn judge_two(
    before: &CompiledPolicy,
    after: &CompiledPolicy,
    judge_one: impl Fn(&mut Judge, &CompiledPolicy, Received<'_>) -> Verdict,
) -> [Verdict; 2] {
    let mut judge = Judge::new(Capacity::of(64));
    [(before, FIRST), (after, NON_FIRST)].map(|(policy, flags_and_offset)| {
        let packet = fragment(flags_and_offset);
        judge_one(&mut judge, policy, Received::whole(&packet, Duration::ZERO))
    })
}

fn alone(judge: &mut Judge, policy: &CompiledPolicy, packet: Received<'_>) -> Verdict {
    judge.judge_one(policy, packet)
}

fn as_a_batch(judge: &mut Judge, policy: &CompiledPolicy, packet: Received<'_>) -> Verdict {
    let mut verdicts = [Verdict::drop(Reason::Malformed)];
    judge.judge(policy, &[packet], &mut verdicts);
    verdicts[0]
}

/// Forwards packets from port 80, and drops other media to corporate hosts.
const WEB_SERVERS: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00::/64"]
[corporate]
subnets = ["10.0.0.0/8", "fd01::/64"]
[[allow]]
name = "web"
to = ["10.0.0.0/8", "fd01::/64"]
from_ports = ["80"]
"#;

/// A whole UDP packet from a client to port 50000 of a corporate host.
fn media(is_ipv6: bool, source_port: u16) -> Vec<u8> {
    let [high, low] = source_port.to_be_bytes();
    let mut packet = if is_ipv6 {
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
        for site in [0, 1] {
            packet.extend([0xfd, site, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
        }
        packet
    } else {
        let header = vec![0x45, 0, 0, 28, 0, 77, 0, 0, 64, 17, 0, 0];
        [header, vec![172, 16, 1, 10, 10, 1, 0, 10]].concat()
    };
    packet.extend([high, low, 0xc3, 0x50, 0, 8, 0, 0]);
    packet
}

#[test]
fn a_batch_is_judged_by_source_ports_too() {
    let policy = compiled(WEB_SERVERS, 1);
    for is_ipv6 in [false, true] {
        let bytes = [80, 50_000, 81, 80].map(|port| media(is_ipv6, port));
        let packets = bytes
            .each_ref()
            .map(|bytes| Received::whole(bytes, Duration::ZERO));
        let mut verdicts = [Verdict::drop(Reason::Malformed); 4];
        Judge::new(Capacity::of(4)).judge(&policy, &packets, &mut verdicts);
        assert_eq!(
            verdicts.map(|verdict| verdict.to_string()),
            ["forward allow", "drop media", "drop media", "forward allow"]
        );
    }
}

/// Drops connectivity checks to corporate hosts.
const ICE: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00::/64"]
[corporate]
subnets = ["10.0.0.0/8", "fd01::/64"]
[media]
match = "ice"
"#;

/// A connectivity check of 28 bytes.
fn check() -> Vec<u8> {
    let mut check = vec![0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
    check.extend([0x5a; 12]);
    check.extend([0, 6, 0, 4, b'a', b':', b'b', b'c']);
    check
}

/// A packet of [`media`] with this payload.
fn with_payload(is_ipv6: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = media(is_ipv6, 50_000);
    let udp_length = packet.len() - 8 + 5;
    let ip_length = if is_ipv6 { 5 } else { 3 };
    for at in [ip_length, udp_length] {
        packet[at] += payload.len() as u8;
    }
    packet.extend(payload);
    packet
}

#[test]
fn each_datagram_of_a_super_packet_may_be_a_check() {
    let policy = compiled(ICE, 1);
    let junk = vec![0x17; check().len()];
    for payload in [[check(), junk.clone()], [junk, check()]] {
        for is_ipv6 in [false, true] {
            let bytes = with_payload(is_ipv6, &payload.concat());
            let judged = |datagram| {
                let packet = Received::whole(&bytes, Duration::ZERO).with_datagrams_of(datagram);
                let mut verdicts = [Verdict::drop(Reason::Malformed)];
                Judge::new(Capacity::of(4)).judge(&policy, &[packet], &mut verdicts);
                verdicts[0].to_string()
            };
            assert_eq!(judged(NonZeroU16::new(28)), "drop media");
            assert_eq!(judged(None), "forward default", "56 bytes are no check");
        }
    }
}

#[test]
fn what_is_media_is_forgotten_with_its_generation() {
    let check = with_payload(false, &check());
    let later = media(false, 50_000);
    let policies = [compiled(ICE, 1), compiled(ICE, 2)];
    let mut judge = Judge::new(Capacity::of(4));
    let mut told = |policy: &CompiledPolicy, bytes: &[u8]| {
        let verdict = judge.judge_one(policy, Received::whole(bytes, Duration::ZERO));
        policy.rules().tell(verdict)
    };
    assert_eq!(told(&policies[0], &check), "media: stun-check");
    assert_eq!(told(&policies[0], &later), "media: flow of stun-check");
    assert_eq!(told(&policies[1], &later), "default");
    assert_eq!(judge.flows(), 1);
}

#[test]
fn a_packet_is_certain_unless_it_is_rare_or_its_flow_may_still_be_media() {
    let policy = compiled(ICE, 1);
    let other = with_payload(false, &[0x17; 28]);
    let mut default = other.clone();
    // To port 80, no port of media.
    (default[22], default[23]) = (0, 80);
    let fragment = fragment(NON_FIRST);
    let check = with_payload(false, &check());
    let mut judge = Judge::new(Capacity::of(4));
    assert!(!judge.is_certain(0), "nothing was judged");
    let packets = [&default, &other, &fragment, &default, &check]
        .map(|bytes| Received::whole(bytes, Duration::ZERO));
    let mut verdicts = [Verdict::drop(Reason::Malformed); 5];
    judge.judge(&policy, &packets, &mut verdicts);
    assert_eq!(
        std::array::from_fn(|lane| judge.is_certain(lane)),
        [true, false, false, true, true]
    );
    assert!(!judge.is_certain(Judge::BATCH));
    // Without recognition, ports tell everything.
    judge.judge(&compiled(ONE_SUBNET, 2), &packets, &mut verdicts);
    assert_eq!(
        std::array::from_fn(|lane| judge.is_certain(lane)),
        [true, true, false, true, true]
    );
}

#[test]
fn flows_are_remembered_or_counted_as_evicted() {
    let policy = compiled(ICE, 1);
    let mut judge = Judge::new(Capacity::of(16));
    assert_eq!((judge.flows(), judge.evicted_flows()), (0, 0));
    let mut judge_flows = |count: u16| {
        for port in 0..count {
            let bytes = media(false, 40_000 + port);
            judge.judge_one(&policy, Received::whole(&bytes, Duration::ZERO));
        }
        (judge.flows(), judge.evicted_flows())
    };
    assert_eq!(judge_flows(2), (2, 0));
    let (remembered, evicted) = judge_flows(1_000);
    assert!(evicted > 900, "{evicted}");
    assert_eq!(remembered as u64 + evicted, 1_000);
}

#[test]
fn a_later_fragment_follows_no_first_where_an_allow_has_every_port() {
    let policy = compiled(&TWO_SERVERS.replace("ports = [\"443\"]\n", ""), 1);
    let later = fragment(NON_FIRST);
    let mut judge = Judge::new(Capacity::of(4));
    let verdict = judge.judge_one(&policy, Received::whole(&later, Duration::ZERO));
    assert_eq!(policy.rules().tell(verdict), "allow: web");
}

#[test]
fn only_first_fragments_that_later_ones_ask_for_take_room() {
    let policy = compiled(TWO_SERVERS, 1);
    let mut judge = Judge::new(Capacity::of(4));
    let mut judge_ids = |ids: std::ops::Range<u8>, protocol: u8, last: u8| {
        for id in ids {
            let mut packet = fragment(FIRST);
            (packet[5], packet[9], packet[19]) = (id, protocol, last);
            judge.judge_one(&policy, Received::whole(&packet, Duration::ZERO));
        }
        judge.evicted_fragments()
    };
    // ICMP has no ports, and no rule speaks of 10.1.0.8.
    assert_eq!(judge_ids(0..20, 1, 10), 0);
    assert_eq!(judge_ids(0..20, 17, 8), 0);
    // The table has room for four.
    assert_eq!(judge_ids(0..4, 17, 10), 0);
    assert_eq!(judge_ids(4..9, 17, 10), 5);
}

#[test]
fn a_later_fragment_follows_its_first_within_a_generation() {
    let policy = compiled(TWO_SERVERS, 1);
    for judge_one in [alone, as_a_batch] {
        let [first, later] = judge_two(&policy, &policy, judge_one);
        assert_eq!(first.action, Action::Drop);
        assert_eq!(policy.rules().tell(first), "servers: pool");
        assert_eq!(later, first);
    }
}

#[test]
fn fragments_of_another_generation_are_forgotten() {
    let before = compiled(TWO_SERVERS, 1);
    for after in [compiled(ONE_SUBNET, 2), compiled(TWO_SERVERS, 2)] {
        for judge_one in [alone, as_a_batch] {
            let [_, later] = judge_two(&before, &after, judge_one);
            // Its rule would be one that `after` does not have, or another.
            assert_eq!(later, Verdict::forward(Reason::Default));
        }
    }
}
