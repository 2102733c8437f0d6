//! What the kernel keeps to itself would have been forwarded: real nftables, rules and routes against the judge.
//!
//! ```text
//!  the test ──▶ vpn0 ──▶ kernel ──┬──▶ offramp0 ──▶ the test: to be judged
//!                                 └──▶ out0     ──▶ the test: left in the kernel
//! ```

#![cfg(feature = "gateway")]

mod site;
mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use offramp::filter::{Action, CompiledPolicy, Generation, Judge, Reason, Verdict};
use offramp::gateway::divert::Diversion;
use offramp::gateway::divert::install::{Installation, remove_all};
use offramp::gateway::divert::route::Netlink;
use offramp::gateway::tun::{TunDevice, make_plain_device};
use offramp::packet::Received;
use offramp::policy::DivertScope;

use site::{Host, in_sandbox, poll};

/// Packets for each policy and scope.
const PACKETS: u32 = 12_000;
/// Packets on their way at a time: no queue has less room.
const BATCH: u32 = 128;
/// Bytes of the virtio header on the filter's device.
const VIRTIO: usize = 10;

/// Numbers that look random and are the same in every run (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Whether the one of `of` cases comes up.
    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// Policies that differ in what matters to the diversion: nested and overlapping sets, several ranges of ports, replies.
const POLICIES: [&str; 3] = [
    r#"
    [vpn]
    interfaces = ["vpn0"]
    client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
    [corporate]
    subnets = ["10.0.0.0/8", "fd00:2::/48"]
    [[server]]
    name = "pool"
    addresses = ["10.1.0.10", "10.1.0.16/28", "fd00:2::10"]
    [[allow]]
    name = "Remote Desktop"
    to = ["10.9.0.0/24", "fd00:2:0:9::/64"]
    ports = ["3389"]
    [[public]]
    name = "Edge"
    addresses = ["167.55.49.32/29", "2001:db8:ed9e::/64"]
    "#,
    r#"
    [vpn]
    interfaces = ["vpn0"]
    client_subnets = ["10.8.0.0/16", "fd00:1::/64"]
    [corporate]
    subnets = ["10.0.0.0/8", "192.168.0.0/16", "fd00::/16"]
    [media]
    ports = ["3478-3481", "50000-50059", "50060-50099", "16384"]
    [filter]
    leaked_public = "drop"
    [[server]]
    name = "everything in the data center"
    addresses = ["10.1.0.0/16", "10.8.0.1"]
    [[allow]]
    name = "replies"
    to = ["10.0.0.0/8"]
    from_ports = ["1-1023"]
    lifts = ["media", "servers"]
    [[public]]
    name = "public space used inside"
    addresses = ["10.200.0.0/24", "203.0.113.0/24"]
    "#,
    r#"
    [vpn]
    interfaces = ["vpn0"]
    client_subnets = ["100.64.0.0/10"]
    [corporate]
    subnets = []
    [media]
    ports = ["1-1023", "65535"]
    "#,
];

/// Addresses in and around every prefix that a policy of this file names.
const PLACES: [&str; 26] = [
    "172.16.1.10",
    "172.16.1.255",
    "172.16.2.1",
    "10.0.0.1",
    "10.1.0.10",
    "10.1.0.9",
    "10.1.0.31",
    "10.1.0.32",
    "10.9.0.4",
    "10.8.0.1",
    "10.8.3.4",
    "10.200.0.7",
    "11.0.0.1",
    "192.168.3.4",
    "167.55.49.34",
    "203.0.113.9",
    "100.64.0.9",
    "100.127.255.254",
    "8.8.8.8",
    "fd00:1::10",
    "fd00:2::10",
    "fd00:2::7",
    "fd00:2:0:9::4",
    "fd00:3::1",
    "2001:db8:ed9e::34",
    "2001:db8:1::1",
];

const PORTS: [u16; 17] = [
    0, 53, 443, 1023, 1024, 3389, 3478, 3481, 3482, 16384, 49999, 50000, 50059, 50060, 50099,
    50100, 65535,
];

/// A packet that carries `number`, so that it is known again: in IPv4's identification, in IPv6's flow label.
fn packet(random: &mut Random, number: u32) -> Vec<u8> {
    let place = |random: &mut Random| -> IpAddr { random.of(&PLACES).parse().expect("an address") };
    let (source, destination) = loop {
        // Sources are clients more often than not.
        let source = if random.one_in(4) {
            place(random)
        } else {
            random
                .of(&["172.16.1.10", "10.8.3.4", "100.64.0.9", "fd00:1::10"])
                .parse()
                .expect("an address")
        };
        let destination = place(random);
        if source.is_ipv4() == destination.is_ipv4() && source != destination {
            break (source, destination);
        }
    };
    let protocol = match random.below(8) {
        0..3 => 6,
        3..6 => 17,
        6 => random.of(&[1, 47, 50, 58, 132, 136, 4, 41]),
        _ => random.of(&[0_u8, 2, 33, 51, 89, 200, 253, 255]),
    };
    let mut transport = Vec::new();
    transport.extend(random.of(&PORTS).to_be_bytes());
    transport.extend(random.of(&PORTS).to_be_bytes());
    transport.extend([0, 28, 0, 0]);
    transport.extend([0x50; 20]);
    if random.one_in(8) {
        transport.truncate(random.below(9));
    }
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let options: &[u8] = match random.below(12) {
                0 => &[1, 1, 1, 0],
                // Loose and strict source routes with a hop left, and one at its end (RFC 791 §3.1).
                1 => &[131, 7, 4, 10, 20, 0, 7, 0],
                2 => &[1, 137, 7, 4, 10, 20, 0, 7],
                3 => &[131, 7, 8, 10, 20, 0, 7, 0],
                4 => &[7, 7, 4, 0, 0, 0, 0, 0],
                _ => &[],
            };
            let fragment: u16 = if random.one_in(4) {
                random.of(&[0x2000, 0x2001, 0x0001, 0x00b9, 0x4000, 0x1fff])
            } else {
                0
            };
            let length = 20 + options.len() + transport.len();
            let mut packet = vec![0x45 + (options.len() / 4) as u8, 0];
            packet.extend(u16::try_from(length).expect("short").to_be_bytes());
            packet.extend(u16::try_from(number).expect("below 2^16").to_be_bytes());
            packet.extend(fragment.to_be_bytes());
            packet.extend([64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(options);
            let sum = checksum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet.extend(transport);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (next, chain) = chain(random, protocol);
            let length = chain.len() + transport.len();
            let mut packet = (0x6000_0000 | number).to_be_bytes().to_vec();
            packet.extend(u16::try_from(length).expect("short").to_be_bytes());
            packet.extend([next, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(chain);
            packet.extend(transport);
            packet
        }
        _ => unreachable!("both are of one family"),
    }
}

/// Extension headers before `protocol` (RFC 8200 §4), and the number of the first of them.
fn chain(random: &mut Random, protocol: u8) -> (u8, Vec<u8>) {
    let mut next = protocol;
    let mut chain = Vec::new();
    while random.one_in(3) && chain.len() < 100 {
        let (kind, mut header): (u8, Vec<u8>) = match random.below(5) {
            // Hop-by-hop and destination options with padding.
            0 if chain.is_empty() && random.one_in(2) => (0, vec![next, 0, 1, 4, 0, 0, 0, 0]),
            0 | 1 => (60, vec![next, 0, 1, 4, 0, 0, 0, 0]),
            // Routing headers with and without segments left.
            2 => (
                43,
                vec![
                    next,
                    0,
                    random.of(&[0, 4, 253]),
                    random.of(&[0, 1]),
                    0,
                    0,
                    0,
                    0,
                ],
            ),
            // Fragments: atomic, first, tail.
            3 => {
                let [high, low] = random.of(&[0_u16, 1, 8, 9, 0x0b90]).to_be_bytes();
                (44, vec![next, 0, high, low, 0, 0, 0, 7])
            }
            _ => (
                51,
                vec![
                    next, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                ],
            ),
        };
        header.extend(&chain);
        chain = header;
        next = kind;
    }
    (next, chain)
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What tells a packet from every other: the number that it carries, and its addresses. The kernel's own packets, such as
/// ICMP errors, have numbers, too.
type Identity = (u32, Vec<u8>);

fn identity(packet: &[u8]) -> Option<Identity> {
    match packet.first()? >> 4 {
        4 => {
            let number = u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]);
            Some((number.into(), packet.get(12..20)?.to_vec()))
        }
        6 => {
            let word: [u8; 4] = *packet.first_chunk()?;
            let number = u32::from_be_bytes(word) & 0xf_ffff;
            Some((number, packet.get(8..40)?.to_vec()))
        }
        _ => None,
    }
}

fn nonblocking(file: File) -> File {
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("an open file");
    file
}

/// All packets that wait in `device`, behind `header` bytes each.
fn drain(mut device: &File, header: usize) -> Vec<Identity> {
    let mut packets = Vec::new();
    let mut frame = [0; 4_096];
    loop {
        match device.read(&mut frame) {
            Ok(length) => packets.extend(identity(&frame[header..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return packets,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The packet behind a batch: to nowhere that a policy of this file names, and from no client.
fn sentinel() -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 0, 28, 0xff, 0xff, 0, 0, 64, 17, 0, 0, 198, 51, 100, 1, 198, 51, 100, 2,
    ];
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0, 9, 0, 9, 0, 8, 0, 0]);
    packet
}

struct Bed {
    vpn: File,
    out: File,
    filter: File,
    /// Held as long as the diversion is.
    _installation: Installation,
    netlink: Netlink,
    runtime: tokio::runtime::Runtime,
}

impl Bed {
    /// To be called in the concentrator.
    fn new(diversion: Diversion) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let device = TunDevice::create(&diversion.device, 1).expect("a tun device");
        let (netlink, installation) = runtime.block_on(async {
            let netlink = Netlink::new().expect("rtnetlink");
            let installation = Installation::install(netlink.clone(), diversion).await;
            (netlink, installation.expect("a namespace of ours"))
        });
        Self {
            vpn: nonblocking(make_plain_device("vpn0").expect("a tun device")),
            out: nonblocking(make_plain_device("out0").expect("a tun device")),
            filter: device.into_queues().remove(0).into(),
            _installation: installation,
            netlink,
            runtime,
        }
    }

    /// Sends all of `packets`; those that came to the filter, and those that the kernel kept.
    fn send(&mut self, packets: &[Vec<u8>]) -> (Vec<Identity>, Vec<Identity>) {
        for packet in packets {
            self.vpn.write_all(packet).expect("the device is on");
        }
        self.vpn.write_all(&sentinel()).expect("the device is on");
        let behind = identity(&sentinel()).expect("a packet");
        // Where everything is diverted, it goes to the filter, too; either way it comes last.
        let (mut diverted, mut kept) = (Vec::new(), Vec::new());
        poll("the packet behind the batch", || {
            kept.extend(drain(&self.out, 0));
            diverted.extend(drain(&self.filter, VIRTIO));
            (kept.contains(&behind) || diverted.contains(&behind)).then_some(())
        });
        (diverted, kept)
    }

    fn take_down(self) {
        let netlink = self.netlink;
        self.runtime
            .block_on(remove_all(&netlink))
            .expect("a namespace of ours");
    }
}

/// Sends packets of all kinds through the kernel's part for `policy`, and judges what it kept.
fn compare(host: &Host, policy: &str, scope: &str, seed: u64) -> BTreeMap<String, u32> {
    let text = format!("{policy}\n[gateway]\ndivert = \"{scope}\"\n");
    let (policy, _) = match offramp::policy::parse("test.toml", text.as_bytes()) {
        Ok(taken) => taken,
        Err(errors) => panic!("{errors}"),
    };
    let diversion = Diversion::of(&policy);
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
    let mut bed = host.enter(|| Bed::new(diversion));
    host.ip("
        link set vpn0 txqueuelen 2000 up
        link set out0 txqueuelen 2000 up
        address add 192.0.2.1/32 dev vpn0
        address add 192.0.2.2/32 dev out0
        route add default dev out0
        route add default dev out0 metric 5
        route add ::/0 dev out0");
    for (key, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/vpn0/rp_filter", "0"),
        ("ipv4/conf/all/accept_source_route", "1"),
        ("ipv4/conf/vpn0/accept_source_route", "1"),
    ] {
        host.set(key, value);
    }

    let mut random = Random(seed);
    let mut judge = Judge::new(1 << 10);
    let mut seen = BTreeMap::new();
    let mut number = 0;
    while number < PACKETS {
        let batch: Vec<Vec<u8>> = (number..number + BATCH)
            .map(|number| packet(&mut random, number))
            .collect();
        number += BATCH;
        let verdicts: BTreeMap<Identity, Verdict> = batch
            .iter()
            .map(|packet| {
                let verdict = judge.judge_one(&policy, Received::whole(packet, Duration::ZERO));
                (identity(packet).expect("a packet"), verdict)
            })
            .collect();
        let (diverted, kept) = bed.send(&batch);
        // What is not among them is the kernel's own: an ICMP error, or news of its groups.
        for sent in kept {
            let Some(verdict) = verdicts.get(&sent) else {
                continue;
            };
            let may_be_kept = verdict.action == Action::Forward
                && matches!(
                    verdict.reason,
                    Reason::Default | Reason::Allow | Reason::NotAClient
                );
            let packet = batch.iter().find(|it| identity(it).as_ref() == Some(&sent));
            assert!(
                may_be_kept,
                "{scope}: the kernel kept what is {verdict}: {packet:02x?}"
            );
            *seen.entry(format!("kept {verdict}")).or_insert(0) += 1;
        }
        for sent in diverted {
            if let Some(verdict) = verdicts.get(&sent) {
                *seen.entry(format!("diverted {verdict}")).or_insert(0) += 1;
            }
        }
    }
    host.enter(|| bed.take_down());
    seen
}

#[test]
fn what_the_kernel_keeps_would_have_been_forwarded() {
    in_sandbox(
        "what_the_kernel_keeps_would_have_been_forwarded",
        &[],
        || {
            let host = Host::new("concentrator");
            let mut all = BTreeMap::new();
            for (seed, policy) in (1..).zip(POLICIES) {
                for scope in ["suspects", "policy", "all"] {
                    let seen = compare(&host, policy, scope, seed);
                    println!("policy {seed}, {scope}: {seen:#?}");
                    let count = |what: &str| -> u32 {
                        let matching = seen.iter().filter(|(name, _)| name.starts_with(what));
                        matching.map(|(_, count)| count).sum()
                    };
                    assert!(count("diverted drop") > 100, "there is something to drop");
                    assert!(
                        scope == "all" || count("kept") > 1_000,
                        "there is something to keep"
                    );
                    assert!(scope != "all" || count("kept") == 0, "nothing is kept");
                    for (name, count) in seen {
                        *all.entry(format!("{scope}: {name}")).or_insert(0) += count;
                    }
                }
            }
            // Every reason to look at a packet came up, and suspects are fewer than what goes to a prefix of the policy.
            for reason in [
                "media",
                "hairpin",
                "servers",
                "public",
                "source-routed",
                "tiny-fragment",
            ] {
                let action = if reason == "public" {
                    "forward"
                } else {
                    "drop"
                };
                let name = format!("suspects: diverted {action} {reason}");
                assert!(all.contains_key(&name), "{name}: {all:#?}");
            }
            let harmless = |scope: &str| all[&format!("{scope}: diverted forward default")];
            assert!(harmless("suspects") < harmless("policy"), "{all:#?}");
            assert!(all["suspects: kept forward default"] > all["policy: kept forward default"]);
        },
    );
}

#[test]
fn everything_is_diverted_where_unknown_sources_are_dropped() {
    let text = format!("{}\n[filter]\nunknown_source = \"drop\"\n", POLICIES[2]);
    let (policy, _) = offramp::policy::parse("test.toml", text.as_bytes()).expect("a policy");
    assert_eq!(Diversion::of(&policy).scope, DivertScope::All);
}
