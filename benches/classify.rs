//! Parse and classify: what one verdict costs, beside the obvious build.
//!
//! `cargo bench --bench classify`. The obvious build parses the same way and keeps a `prefix-trie` table for each set of
//! the policy (clients, corporate, servers, public services, and one for each `[[allow]]`).

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipnet::IpNet;
use offramp::filter::{Action, CompiledPolicy, Generation, Judge, Reason, Verdict};
use offramp::packet::{PacketView, Received, Transport};
use prefix_trie::PrefixMap;
use support::{Sets, packets, policy, sets};

/// A `prefix-trie` table for each set, asked one after the other in verdict order.
struct ObviousBuild {
    clients: PrefixMap<IpNetKey, ()>,
    corporate: PrefixMap<IpNetKey, ()>,
    servers: PrefixMap<IpNetKey, usize>,
    publics: PrefixMap<IpNetKey, usize>,
    allows: Vec<PrefixMap<IpNetKey, ()>>,
}

type IpNetKey = (u32, u8);

fn key(prefix: &IpNet) -> IpNetKey {
    match prefix {
        IpNet::V4(prefix) => (prefix.network().to_bits(), prefix.prefix_len()),
        IpNet::V6(_) => unreachable!("IPv4 only"),
    }
}

impl ObviousBuild {
    fn new(sets: &Sets) -> Self {
        let set = |prefixes: &[IpNet]| prefixes.iter().map(|prefix| (key(prefix), ())).collect();
        let numbered = |prefixes: &[IpNet]| {
            prefixes
                .iter()
                .enumerate()
                .map(|(at, prefix)| (key(prefix), at))
                .collect()
        };
        Self {
            clients: set(&sets.clients),
            corporate: set(&sets.corporate),
            servers: numbered(&sets.servers),
            publics: numbered(&sets.publics),
            allows: sets
                .allows
                .chunks(sets.allows.len().div_ceil(8).max(1))
                .map(set)
                .collect(),
        }
    }

    fn classify(&self, packet: &PacketView<'_>) -> Action {
        let offramp::packet::Addresses::V4 {
            source,
            destination,
        } = packet.addresses()
        else {
            return Action::Forward;
        };
        let (source, destination) = ((source.to_bits(), 32), (destination.to_bits(), 32));
        let Transport::Ports {
            destination: port, ..
        } = packet.transport()
        else {
            return Action::Forward;
        };
        if self.clients.get_lpm(&source).is_none() || self.publics.get_lpm(&destination).is_some() {
            return Action::Forward;
        }
        if self.servers.get_lpm(&destination).is_some() {
            return Action::Drop;
        }
        if port < 1024
            || (self.corporate.get_lpm(&destination).is_none()
                && self.clients.get_lpm(&destination).is_none())
        {
            return Action::Forward;
        }
        if matches!(port, 3389 | 1433)
            && self
                .allows
                .iter()
                .any(|allow| allow.get_lpm(&destination).is_some())
        {
            return Action::Forward;
        }
        Action::Drop
    }
}

/// Bytes of a packet.
const LENGTH: usize = 64;

/// Packets of a batch, as the worker of the gateway judges them.
const BATCH: usize = 64;

fn judge_all(policy: &CompiledPolicy, packets: &[Received<'_>], judge: &mut Judge) -> usize {
    let mut verdicts = [Verdict::drop(Reason::Malformed); BATCH];
    let mut dropped = 0;
    for batch in packets.chunks(BATCH) {
        let verdicts = &mut verdicts[..batch.len()];
        judge.judge(policy, batch, verdicts);
        dropped += verdicts
            .iter()
            .filter(|verdict| verdict.action == Action::Drop)
            .count();
    }
    dropped
}

fn classify(criterion: &mut Criterion) {
    for v6 in [false, true] {
        let family = if v6 { "IPv6" } else { "IPv4" };
        for (ring, count) in [("ring of 65536", 65_536), ("ring in L2", 4096)] {
            let mut group = criterion.benchmark_group(format!("classify/{family}/64 bytes/{ring}"));
            group.throughput(Throughput::Elements(count as u64));
            group
                .sample_size(20)
                .warm_up_time(Duration::from_millis(500))
                .measurement_time(Duration::from_secs(1));
            for size in [16, 1000, 10_000] {
                let sets = sets(size, v6);
                let ring = packets(&sets, count, LENGTH);
                let packets: Vec<Received<'_>> = ring
                    .chunks_exact(LENGTH)
                    .map(|packet| Received::whole(packet, Duration::ZERO))
                    .collect();
                let policy = CompiledPolicy::new(policy(&sets), Generation(1))
                    .expect("a policy of this size fits");
                let mut judge = Judge::new(1024);
                group.bench_with_input(
                    BenchmarkId::new("offramp", size),
                    &packets,
                    |bencher, packets| {
                        bencher.iter(|| judge_all(black_box(&policy), packets, &mut judge));
                    },
                );
                if v6 {
                    continue;
                }
                let obvious = ObviousBuild::new(&sets);
                let dropped = |packet: &Received<'_>| {
                    let packet = packet.parse().expect("a well-formed packet");
                    obvious.classify(&packet) == Action::Drop
                };
                let ours = judge_all(&policy, &packets, &mut judge);
                assert_eq!(
                    packets.iter().filter(|packet| dropped(packet)).count(),
                    ours,
                    "both builds drop the same"
                );
                group.bench_with_input(
                    BenchmarkId::new("a table a set", size),
                    &packets,
                    |bencher, packets| {
                        bencher.iter(|| packets.iter().filter(|packet| dropped(packet)).count());
                    },
                );
            }
            group.finish();
        }
    }
}

criterion_group!(benches, classify);
criterion_main!(benches);
