//! Compares real nftables, rules and routes with the judge: packets left in the kernel must be ones it would forward.
//!
//! ```text
//!  the test ──▶ vpn0 ──▶ kernel ──┬──▶ offramp0 ──▶ the test: to be judged
//!                                 └──▶ out0     ──▶ the test: left in the kernel
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use offramp::filter::{Capacity, CompiledPolicy, Generation, Judge};
use offramp::gateway::divert::netlink::Netlink;
use offramp::gateway::divert::nftables::Diversion;
use offramp::gateway::divert::{Divert, DivertPlan, ebpf, nftables};
use offramp::gateway::tun::TunDevice;
use offramp::packet::Received;
use offramp::policy::DivertScope;
use offramp::random::Random;
use offramp::verdict::{Action, Reason, Verdict};

use crate::packets::{Forwarder, Identity, Places, drain, identity, packet, sentinel};
use crate::site::{self, Host, in_sandbox, poll};

/// Packets for each policy and scope.
const PACKETS: u32 = 12_000;
/// Packets in flight: no queue is smaller.
const BATCH: u32 = 128;

/// Policies that differ in what the diversion looks at: nested and overlapping sets, several port ranges, replies.
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

/// Sources are clients more often than not.
fn places() -> Places {
    let parsed = |text: &[&str]| -> Vec<IpAddr> {
        let addresses = text.iter().map(|text| text.parse().expect("an address"));
        addresses.collect()
    };
    Places {
        clients: parsed(&["172.16.1.10", "10.8.3.4", "100.64.0.9", "fd00:1::10"]),
        others: parsed(&PLACES),
        ports: PORTS.to_vec(),
    }
}

struct Bed<D> {
    kernel: Forwarder,
    /// The queues of the filter's device.
    filter: Vec<File>,
    /// Held as long as the diversion.
    installation: D,
    netlink: Netlink,
    runtime: tokio::runtime::Runtime,
}

impl<D: Divert> Bed<D> {
    /// To be called in the concentrator, in which `kernel` is.
    fn new(kernel: Forwarder, diversion: D::Plan) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let name = diversion.summary().device;
        let device = TunDevice::create(&name, 1, D::FRAMING).expect("a device");
        let prepared = D::prepare(&diversion, &device).expect("all rights");
        let (netlink, installation) = runtime.block_on(async {
            let netlink = Netlink::new().expect("rtnetlink");
            let installation = D::install(netlink.clone(), diversion, prepared).await;
            (netlink, installation.expect("a namespace of ours"))
        });
        Self {
            kernel,
            filter: device.into_queues().remove(0).into_files().collect(),
            installation,
            netlink,
            runtime,
        }
    }

    /// Sends all of `packets`; returns those that reached the filter, and those that stayed in the kernel.
    fn send(&mut self, packets: &[Vec<u8>]) -> (Vec<Identity>, Vec<Identity>) {
        // To an address outside every prefix of this file's policies, and not from a client.
        let last = sentinel(Ipv4Addr::new(198, 51, 100, 1), 17, [0, 9, 0, 9, 0, 8, 0, 0]);
        self.kernel.write(packets.iter().chain([&last]));
        let behind = identity(&last).expect("a packet");
        // With everything diverted, it goes to the filter, too; either way it arrives last.
        let (mut diverted, mut kept) = (Vec::new(), Vec::new());
        let mut read = || {
            kept.extend(drain(&self.kernel.out, 0));
            for queue in &self.filter {
                diverted.extend(drain(queue, D::FRAMING.prefix()));
            }
            (kept.contains(&behind) || diverted.contains(&behind)).then_some(())
        };
        poll("the packet behind the batch", &mut read);
        // What was before it in queues that were read before its own.
        read();
        (diverted, kept)
    }

    fn take_down(self) {
        let (installation, netlink) = (self.installation, self.netlink);
        self.runtime.block_on(async {
            let removed = installation.remove().await;
            removed.expect("a namespace of ours");
            let removed = D::remove_leftovers(&netlink).await;
            removed.expect("a namespace of ours");
        });
    }
}

/// Sends packets of all kinds through the diversion for `policy`, and judges those that stayed in the kernel.
fn compare<D: Divert<Plan: Send> + Send>(
    host: &Host,
    policy: &str,
    scope: &str,
    seed: u64,
) -> BTreeMap<String, u32> {
    // Closed, so that a test that is slow to read is not taken for a hung worker.
    let text = format!("{policy}\n[gateway]\ndivert = \"{scope}\"\non_failure = \"closed\"\n");
    let (policy, _) = match offramp::policy::parse("test.toml", text.as_bytes()) {
        Ok(taken) => taken,
        Err(errors) => panic!("{errors}"),
    };
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
    let diversion = D::Plan::of(&policy);
    let kernel = Forwarder::new(host);
    let mut bed = host.enter(|| Bed::<D>::new(kernel, diversion));

    let mut random = Random(seed);
    let places = places();
    let mut judge = Judge::new(Capacity::of(1 << 10));
    let mut seen = BTreeMap::new();
    let mut number = 0;
    while number < PACKETS {
        let batch: Vec<Vec<u8>> = (number..number + BATCH)
            .map(|number| packet(&mut random, &places, number))
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
        // Any other packet is the kernel's own: an ICMP error, or a multicast report.
        for sent in kept {
            let Some(verdict) = verdicts.get(&sent) else {
                continue;
            };
            let may_be_kept = verdict.action == Action::Forward
                && matches!(
                    verdict.reason,
                    Reason::Default | Reason::Allow | Reason::NotAClient | Reason::Public
                )
                // Marks count nothing, and leaks are to be counted.
                && (verdict.reason != Reason::Public || D::NAME == "ebpf");
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
    in_sandbox(&[], || {
        let host = Host::new("concentrator");
        let compare = match site::Diversion::here() {
            site::Diversion::Nftables => compare::<nftables::Installation>,
            site::Diversion::Ebpf => compare::<ebpf::Installation>,
        };
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
        // Every reason for diversion came up, and suspects are fewer than packets to prefixes of the policy.
        for reason in [
            "media",
            "hairpin",
            "servers",
            "public",
            "source-routed",
            "tiny-fragment",
        ] {
            if reason == "public" && site::Diversion::here() == site::Diversion::Ebpf {
                assert!(
                    all.contains_key("suspects: kept forward public"),
                    "{all:#?}"
                );
                continue;
            }
            let action = if reason == "public" {
                "forward"
            } else {
                "drop"
            };
            let name = format!("suspects: diverted {action} {reason}");
            assert!(all.contains_key(&name), "{name}: {all:#?}");
        }
        if site::Diversion::here() == site::Diversion::Ebpf {
            return;
        }
        let harmless = |scope: &str| all[&format!("{scope}: diverted forward default")];
        assert!(harmless("suspects") < harmless("policy"), "{all:#?}");
        assert!(all["suspects: kept forward default"] > all["policy: kept forward default"]);
    });
}

#[test]
fn everything_is_diverted_where_unknown_sources_are_dropped() {
    let text = format!("{}\n[filter]\nunknown_source = \"drop\"\n", POLICIES[2]);
    let (policy, _) = offramp::policy::parse("test.toml", text.as_bytes()).expect("a policy");
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
    assert_eq!(Diversion::of(&policy).scope, DivertScope::All);
}
