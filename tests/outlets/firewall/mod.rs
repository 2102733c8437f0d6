//! Rules rendered for other firewalls decide as the filter does: the kernel's own forwarding is the reference.
//!
//! ```text
//!  the test ──▶ vpn0 ──▶ kernel, rules ──▶ out0 ──▶ the test
//! ```
//!
//! Every packet is sent twice: without rules, to see which packets the kernel forwards at all, and with them.
//! `OFFRAMP_PACKETS` sets the number of packets, e.g. a million.

mod appliance_files;
mod converter;
mod endpoint_files;
mod policies;
mod rule_files;
mod shape;

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use offramp::filter::{Capacity, CompiledPolicy, Generation, Judge};
use offramp::packet::Received;
use offramp::policy::Policy;
use offramp::random::Random;
use offramp::render::{Options, Target, render, rules};
use offramp::verdict::{Action, Reason, Verdict};

use crate::packets::{Forwarder, Identity, checksum, drain, identity, packet, sentinel};
use crate::site::{Host, in_sandbox, poll};
use crate::support::Folder;
use shape::{Shape, shape};

/// Packets for each policy.
const PACKETS: usize = 4_000;
/// Packets in flight: no queue is smaller, that of the processor (net.core.netdev_max_backlog) included.
const BATCH: usize = 500;
/// Policies unless a number is given.
const POLICIES: usize = 8;

fn rendered(target: &'static Target, policy: &Policy) -> String {
    let rendered = render(target, policy, &Options::default());
    rendered.unwrap_or_else(|error| panic!("{error}")).text
}

/// Returns the number of policies to try.
fn policies_to_try() -> usize {
    let wanted = std::env::var("OFFRAMP_PACKETS").ok();
    let wanted = wanted.map(|text| text.parse::<usize>().expect("OFFRAMP_PACKETS is a number"));
    wanted.map_or(POLICIES, |packets| packets.div_ceil(PACKETS))
}

/// Returns an ICMP packet from a client to an address outside every policy: every rule lets it pass.
fn last_from(client: Ipv4Addr) -> Vec<u8> {
    sentinel(client, 1, [8, 0, 0xf7, 0xff, 0, 0, 0, 0])
}

/// Sends a batch and `last` after it, which must be forwarded; returns the packets forwarded.
fn send(bed: &mut Forwarder, packets: &[Vec<u8>], last: &Vec<u8>) -> HashSet<Identity> {
    bed.write(packets.iter().chain([last]));
    let behind = identity(last).expect("a packet");
    let mut forwarded = HashSet::new();
    poll("the packet behind the batch", || {
        forwarded.extend(drain(&bed.out, 0));
        forwarded.remove(&behind).then_some(())
    });
    forwarded
}

/// A packet that was sent, and the filter's verdict.
struct Sent {
    packet: Vec<u8>,
    shape: Shape,
    verdict: Verdict,
}

/// The results for the packets of one policy.
#[derive(Debug, Default)]
struct Outcome {
    /// Packets that reached the rules, by the filter's verdict.
    verdicts: BTreeMap<String, usize>,
    /// Packets by the title of the rule that must have counted them.
    counters: BTreeMap<String, usize>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        for (verdict, count) in other.verdicts {
            *self.verdicts.entry(verdict).or_default() += count;
        }
    }
}

/// Sends packets of all kinds under `policy`, `load`s the rules, sends them again, and compares what the kernel forwards
/// with the filter's verdicts. Packets that `skips` names are not sent.
fn compare(
    bed: &mut Forwarder,
    policy: &Policy,
    random: &mut Random,
    load: impl FnOnce(),
    skips: impl Fn(&Shape, Verdict) -> bool,
) -> Outcome {
    let places = policies::places(policy);
    let compiled = CompiledPolicy::new(policy.clone(), Generation(1)).expect("a small policy");
    let client = places.clients.iter().find_map(|client| match client {
        IpAddr::V4(client) => Some(*client),
        IpAddr::V6(_) => None,
    });
    let last = last_from(client.unwrap_or(Ipv4Addr::LOCALHOST));
    let mut judge = Judge::new(Capacity::of(16));
    let mut now = Duration::ZERO;
    let mut batches = Vec::new();
    while batches.len() * BATCH < PACKETS {
        let mut batch = Vec::with_capacity(BATCH);
        let mut number = 0;
        while batch.len() < BATCH {
            let mut packet = packet(random, &places, number);
            if random.one_in(32) {
                end_in_the_chain(random, &mut packet);
            }
            // Bytes after the packet are not part of it; with a length of 0 the filter takes them for a super-packet.
            let is_empty = packet[0] >> 4 == 6 && packet[4..6] == [0, 0];
            if random.one_in(16) && !is_empty {
                packet.extend([0xc3, 0x50, 0xc3, 0x50, 0, 8, 0, 0]);
            }
            // No fragment depends on another: stateless rules have no memory.
            now += Duration::from_secs(60);
            let verdict = judge.judge_one(&compiled, Received::whole(&packet, now));
            let shape = shape(&packet);
            if !shape.is_beyond && !skips(&shape, verdict) {
                batch.push(Sent {
                    packet,
                    shape,
                    verdict,
                });
                number += 1;
            }
        }
        batches.push(batch);
    }
    let bytes =
        |batch: &[Sent]| -> Vec<Vec<u8>> { batch.iter().map(|sent| sent.packet.clone()).collect() };
    let reached: Vec<_> = batches
        .iter()
        .map(|batch| send(bed, &bytes(batch), &last))
        .collect();
    load();
    let mut outcome = Outcome::default();
    for (batch, reached) in batches.iter().zip(reached) {
        let forwarded = send(bed, &bytes(batch), &last);
        for sent in batch {
            let identity = identity(&sent.packet).expect("a packet");
            if !reached.contains(&identity) {
                continue;
            }
            let Sent { verdict, shape, .. } = sent;
            assert_eq!(
                forwarded.contains(&identity),
                verdict.action == Action::Forward,
                "{verdict}, {shape:?}: {:02x?}\n{policy}",
                sent.packet
            );
            *outcome.verdicts.entry(verdict.to_string()).or_default() += 1;
            let title = title(&compiled, verdict, shape);
            *outcome.counters.entry(title).or_default() += 1;
        }
    }
    outcome
}

/// Truncates an IPv6 packet at an extension header whose next-header field is missing (RFC 8200 §4).
fn end_in_the_chain(random: &mut Random, packet: &mut Vec<u8>) {
    if packet[0] >> 4 == 6 {
        packet.truncate(40 + random.below(2));
        let length = u8::try_from(packet.len() - 40).expect("0 or 1");
        packet[4..7].copy_from_slice(&[0, length, random.of(&[43, 60])]);
    }
}

/// Returns the comment of the rule that has to count a packet.
fn title(policy: &CompiledPolicy, verdict: &Verdict, shape: &Shape) -> String {
    let by_ports = match verdict.reason {
        Reason::Malformed | Reason::NotAClient | Reason::SpoofedSource | Reason::SourceRouted => {
            return verdict.reason.name().to_owned();
        }
        Reason::Public => true,
        Reason::Servers | Reason::Allow | Reason::Media | Reason::Hairpin => shape.shows_ports,
        Reason::TinyFragment | Reason::Default => false,
        other => panic!("a reason without a rule in nftables: {other}"),
    };
    let rule = verdict.rule.and_then(|id| policy.rules().rule(id));
    match rule.filter(|_| by_ports) {
        None => "other".to_owned(),
        Some(rule) => {
            let mut title = verdict.reason.name().to_owned();
            if rule.name != "media" {
                title.push_str(&format!(": {}", rule.name));
            }
            if let Some(line) = rule.line {
                title.push_str(&format!(" (line {line})"));
            }
            title
        }
    }
}

/// Returns the table's counters by comment, without the last packets of the batches.
fn counted(host: &Host) -> BTreeMap<String, usize> {
    let mut list = Command::new("nft");
    let listed = host.run(list.args(["--json", "list", "table", "inet", "offramp_rules"]));
    let mut counted = BTreeMap::new();
    for item in listed.json()["nftables"].as_array().expect("a list") {
        let rule = &item["rule"];
        let Some(comment) = rule["comment"].as_str() else {
            continue;
        };
        let named = comment.starts_with("default")
            || matches!(comment, "tiny-fragment" | "non-first fragment");
        let title = if named { "other" } else { comment };
        for statement in rule["expr"].as_array().expect("a list") {
            let packets = statement["counter"]["packets"].as_u64().unwrap_or(0);
            *counted.entry(title.to_owned()).or_default() += packets as usize;
        }
    }
    let other = counted.entry("other".to_owned()).or_default();
    *other -= PACKETS.div_ceil(BATCH);
    counted.retain(|_, packets| *packets > 0);
    counted
}

#[test]
fn nftables_decides_and_counts_every_packet_as_the_filter_does() {
    in_sandbox(&[], || {
        let host = Host::new("concentrator");
        let mut bed = Forwarder::new(&host);
        let mut all = Outcome::default();
        let tried = policies_to_try();
        for seed in 0..tried as u64 {
            let mut random = Random(seed);
            let policy = policies::parsed(&policies::text(&mut random));
            let file = rendered(&rules::nftables::TARGET, &policy);
            let outcome = compare(
                &mut bed,
                &policy,
                &mut random,
                || host.nft(&file),
                |_, _| false,
            );
            let mut counters = outcome.counters.clone();
            counters.retain(|_, packets| *packets > 0);
            assert_eq!(counted(&host), counters, "{file}");
            host.nft("delete table inet offramp_rules");
            all.add(outcome);
        }
        println!(
            "{} packets under {tried} policies, of which the kernel forwards these: {:#?}",
            tried * PACKETS,
            all.verdicts
        );
        if tried >= POLICIES {
            // The rules of another firewall speak of forwarded packets only.
            let forwarded = |reason: &Reason| *reason != Reason::Gateway;
            for reason in Reason::ALL.into_iter().filter(forwarded) {
                let reached =
                    |action: &str| all.verdicts.contains_key(&format!("{action} {reason}"));
                assert!(
                    reached("drop") || reached("forward"),
                    "{reason} never came up"
                );
            }
        }
    });
}

#[test]
fn iptables_decides_every_packet_as_the_filter_does() {
    in_sandbox(&["iptables-restore", "ip6tables-restore", "ipset"], || {
        let folder = Folder::new("firewall-iptables");
        let host = Host::new("concentrator");
        let mut bed = Forwarder::new(&host);
        let shell = |script: String| {
            host.run(Command::new("sh").args(["-ec", &script]))
                .success()
        };
        for seed in 100..103 {
            let mut random = Random(seed);
            let policy = policies::parsed(&policies::text(&mut random));
            let sets = folder.write("offramp.ipset", rendered(&rules::ipset::TARGET, &policy));
            let load = || {
                // Twice: an existing table is replaced.
                shell(format!(
                    "ipset restore -exist < {sets}; ipset restore -exist < {sets}"
                ));
                for (program, target) in [
                    ("iptables", &rules::iptables::TARGET),
                    ("ip6tables", &rules::ip6tables::TARGET),
                ] {
                    let file = folder.write(target.file, rendered(target, &policy));
                    shell(format!(
                        "{program}-restore --test --noflush < {file}; {program}-restore --noflush < {file}; \
                         {program} -C FORWARD -i vpn0 -j OFFRAMP 2>/dev/null || {program} -I FORWARD -i vpn0 -j OFFRAMP"
                    ));
                }
            };
            // Limits stated in the headers of the files.
            let skips = |shape: &Shape, verdict: Verdict| {
                let short = !shape.is_tail && shape.transport < 20;
                short || matches!(verdict.reason, Reason::SourceRouted | Reason::Malformed)
            };
            let outcome = compare(&mut bed, &policy, &mut random, load, skips);
            println!("policy {seed}: {:#?}", outcome.verdicts);
            for program in ["iptables", "ip6tables"] {
                shell(format!("{program} -D FORWARD -i vpn0 -j OFFRAMP"));
            }
        }
    });
}

/// TCP flags (RFC 9293 §3.1).
const SYN: u8 = 2;
const SYN_ACK: u8 = 18;

/// Returns IPv4 TCP with `flags`, or UDP without; its number is 1.
fn plain(protocol: u8, from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, protocol, 0, 0];
    packet.extend(from.0);
    packet.extend(to.0);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut transport = Vec::new();
    transport.extend(from.1.to_be_bytes());
    transport.extend(to.1.to_be_bytes());
    if protocol == 6 {
        transport.extend([0, 0, 0, 1, 0, 0, 0, u8::from(flags & 16 != 0) * 2]);
        transport.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    } else {
        transport.extend([0, 20, 0, 0]);
        transport.resize(20, 0);
    }
    if protocol == 6 {
        let mut pseudo = [&from.0[..], &to.0, &[0, protocol, 0, 20]].concat();
        pseudo.extend(&transport);
        transport[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    }
    packet.extend(transport);
    packet
}

#[test]
fn with_connection_tracking_replies_to_sessions_from_inside_pass_and_media_does_not() {
    in_sandbox(&[], || {
        let host = Host::new("concentrator");
        let mut bed = Forwarder::new(&host);
        host.ip("route add 172.16.1.0/24 dev vpn0");
        let text = "[vpn]\ninterfaces = [\"vpn0\"]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
                    [[server]]\nname = \"pool\"\naddresses = [\"10.1.0.10\"]\n";
        let policy = policies::parsed(text);
        let last = last_from(Ipv4Addr::new(172, 16, 1, 10));
        let (client, inside, server) = ([172, 16, 1, 10], [10, 0, 0, 5], [10, 1, 0, 10]);
        for (target, replies_pass) in [
            (&rules::nftables_conntrack::TARGET, true),
            (&rules::nftables::TARGET, false),
        ] {
            host.nft(&rendered(target, &policy));
            for (protocol, opens, answers) in [(6, SYN, SYN_ACK), (17, 0, 0)] {
                for host_inside in [inside, server] {
                    let (theirs, ours) = ((host_inside, 50_123), (client, 3_389));
                    let opening = plain(protocol, theirs, ours, opens);
                    bed.out.write_all(&opening).expect("the device is on");
                    let wanted = identity(&opening).expect("a packet");
                    poll("what was sent from inside", || {
                        drain(&bed.vpn, 0).contains(&wanted).then_some(())
                    });
                    let reply = plain(protocol, ours, theirs, answers);
                    let wanted = identity(&reply).expect("a packet");
                    let passes = send(&mut bed, &[reply], &last).contains(&wanted);
                    let may_pass = replies_pass && protocol == 6 && host_inside == inside;
                    assert_eq!(passes, may_pass, "{target}, {protocol} to {host_inside:?}");
                }
            }
            // Connections opened by the client are judged by their ports.
            for (port, may_pass) in [(50_124, false), (443, true)] {
                let packet = plain(6, (client, 40_000), (inside, port), SYN);
                let wanted = identity(&packet).expect("a packet");
                let passes = send(&mut bed, &[packet], &last).contains(&wanted);
                assert_eq!(passes, may_pass, "{target}, to port {port}");
            }
        }
    });
}
