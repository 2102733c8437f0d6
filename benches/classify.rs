//! Parse and classify: the cost of one verdict, compared with a obvious implementation.
//!
//! `cargo bench --bench classify` runs criterion and then prints the ratios; `CLASSIFY=ratios` prints only those.
//!
//! The obvious implementation slices the headers with etherparse and keeps a `prefix-trie` table for each set of
//! the policy (clients, corporate, servers, public services, and one for each `[[allow]]`), queried one after the other
//! in verdict order. A second peer has the same tables behind the parser of offramp, to tell the two gains apart.
//! All implementations must agree on every packet before any is timed.

mod support;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use ipnet::{IpNet, Ipv4Net};
use offramp::filter::{Capacity, CompiledPolicy, Generation, Judge};
use offramp::packet::{Addresses, Received, Transport};
use offramp::verdict::{Action, Reason, Verdict};
use prefix_trie::{PrefixMap, PrefixSet};
use support::{Sets, packets, policy, sets};

/// Prefixes in the policies that are compared.
const SIZES: [usize; 3] = [16, 1000, 10_000];
/// Packets in the two rings: one fits into the L2 cache, the other does not.
const RINGS: [(&str, usize); 2] = [("in L2", 2048), ("65,536", 65_536)];

/// A `prefix-trie` table for each set.
struct ObviousBuild {
    clients: PrefixSet<Ipv4Net>,
    corporate: PrefixSet<Ipv4Net>,
    servers: PrefixMap<Ipv4Net, usize>,
    publics: PrefixMap<Ipv4Net, usize>,
    allows: Vec<PrefixSet<Ipv4Net>>,
}

impl ObviousBuild {
    fn new(sets: &Sets) -> Self {
        fn v4(prefixes: &[IpNet]) -> impl Iterator<Item = Ipv4Net> {
            prefixes.iter().filter_map(|prefix| match prefix {
                IpNet::V4(prefix) => Some(*prefix),
                IpNet::V6(_) => None,
            })
        }
        let numbered = |prefixes| {
            v4(prefixes)
                .enumerate()
                .map(|(at, prefix)| (prefix, at))
                .collect()
        };
        Self {
            clients: v4(&sets.clients).collect(),
            corporate: v4(&sets.corporate).collect(),
            servers: numbered(&sets.servers),
            publics: numbered(&sets.publics),
            allows: support::entries(&sets.allows)
                .map(|entry| v4(entry).collect())
                .collect(),
        }
    }

    fn decide(&self, source: Ipv4Addr, destination: Ipv4Addr, port: u16) -> Action {
        let (source, destination) = (Ipv4Net::from(source), Ipv4Net::from(destination));
        if self.clients.get_lpm(&source).is_none() || self.publics.get_lpm(&destination).is_some() {
            return Action::Forward;
        }
        if self.servers.get_lpm(&destination).is_some() {
            return Action::Drop;
        }
        let internal = || {
            self.corporate.get_lpm(&destination).is_some()
                || self.clients.get_lpm(&destination).is_some()
        };
        if port < 1024 || !internal() {
            return Action::Forward;
        }
        let lifted = || {
            self.allows
                .iter()
                .any(|allow| allow.get_lpm(&destination).is_some())
        };
        if support::ALLOWED_PORTS.contains(&port) && lifted() {
            Action::Forward
        } else {
            Action::Drop
        }
    }

    /// Classifies a packet with etherparse in front.
    fn classify(&self, packet: &Received<'_>) -> Action {
        let Ok(SlicedPacket {
            net: Some(NetSlice::Ipv4(ip)),
            transport,
            ..
        }) = SlicedPacket::from_ip(packet.bytes)
        else {
            return Action::Drop;
        };
        let port = match transport {
            Some(TransportSlice::Udp(udp)) => udp.destination_port(),
            Some(TransportSlice::Tcp(tcp)) => tcp.destination_port(),
            _ => return Action::Forward,
        };
        self.decide(
            ip.header().source_addr(),
            ip.header().destination_addr(),
            port,
        )
    }

    /// Classifies a packet with the parser of offramp in front.
    fn classify_parsed(&self, packet: &Received<'_>) -> Action {
        let Ok(view) = packet.parse() else {
            return Action::Drop;
        };
        match (view.addresses(), view.transport()) {
            (
                Addresses::V4 {
                    source,
                    destination,
                },
                Transport::Ports {
                    destination: port, ..
                },
            ) => self.decide(source, destination, port),
            _ => Action::Forward,
        }
    }
}

fn is_dropped(action: Action) -> usize {
    usize::from(action == Action::Drop)
}

/// Judges all packets in batches, as the worker of the gateway does; returns the number dropped.
fn judge_all(policy: &CompiledPolicy, packets: &[Received<'_>], judge: &mut Judge) -> usize {
    let mut verdicts = [Verdict::drop(Reason::Malformed); Judge::BATCH];
    let mut dropped = 0;
    for batch in packets.chunks(Judge::BATCH) {
        let verdicts = &mut verdicts[..batch.len()];
        judge.judge(policy, batch, verdicts);
        dropped += verdicts
            .iter()
            .map(|verdict| is_dropped(verdict.action))
            .sum::<usize>();
    }
    dropped
}

/// One policy, and packets that match it.
struct Case {
    sets: Sets,
    policy: CompiledPolicy,
    ring: Vec<u8>,
    length: usize,
}

impl Case {
    fn new(v6: bool, size: usize, count: usize, length: usize) -> Self {
        let sets = sets(size, v6);
        let policy =
            CompiledPolicy::new(policy(&sets), Generation(1)).expect("a policy of this size fits");
        let ring = packets(&sets, count, length);
        Self {
            sets,
            policy,
            ring,
            length,
        }
    }

    fn packets(&self) -> Vec<Received<'_>> {
        let packets = self.ring.chunks_exact(self.length);
        packets
            .map(|packet| Received::whole(packet, Duration::ZERO))
            .collect()
    }
}

fn criterion_half() {
    let mut criterion = Criterion::default().configure_from_args();
    for v6 in [false, true] {
        let family = if v6 { "IPv6" } else { "IPv4" };
        for (ring, count) in RINGS {
            let mut group =
                criterion.benchmark_group(format!("classify {family}, 64 bytes, ring {ring}"));
            group
                .throughput(Throughput::Elements(count as u64))
                .sample_size(20);
            group
                .warm_up_time(Duration::from_millis(300))
                .measurement_time(Duration::from_secs(1));
            for size in SIZES {
                let case = Case::new(v6, size, count, 64);
                let packets = case.packets();
                let mut judge = Judge::new(Capacity::of(1024));
                group.bench_with_input(
                    BenchmarkId::new("offramp", size),
                    &packets,
                    |bencher, packets| {
                        bencher.iter(|| judge_all(black_box(&case.policy), packets, &mut judge));
                    },
                );
                if v6 {
                    continue;
                }
                let obvious = ObviousBuild::new(&case.sets);
                group.bench_with_input(
                    BenchmarkId::new("obvious", size),
                    &packets,
                    |bencher, packets| {
                        bencher.iter(|| {
                            packets
                                .iter()
                                .map(|it| is_dropped(obvious.classify(it)))
                                .sum::<usize>()
                        });
                    },
                );
            }
            group.finish();
        }
    }
    criterion.final_summary();
}

/// Nanoseconds a packet for each contender: the median of interleaved rounds.
fn interleaved<const N: usize>(
    count: usize,
    mut contenders: [&mut dyn FnMut() -> usize; N],
) -> [f64; N] {
    // One of each is enough to test that the benchmark works.
    let (rounds, repeats) = if is_bench() {
        (31, (1 << 17) / count)
    } else {
        (1, 1)
    };
    let mut times = [(); N].map(|()| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..repeats {
                black_box(contender());
            }
            times.push(start.elapsed().as_nanos() as f64 / (count * repeats) as f64);
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[rounds / 2]
    })
}

fn ratios() {
    println!(
        "\nparse + classify, 64-byte UDP packets, ns a packet (median of interleaved rounds)\n"
    );
    println!("IPv4   prefixes  ring      offramp   obvious build    same, our parser    tables");
    for size in SIZES {
        for (ring, count) in RINGS {
            let case = Case::new(false, size, count, 64);
            let packets = case.packets();
            let obvious = ObviousBuild::new(&case.sets);
            let mut judge = Judge::new(Capacity::of(1024));
            let ours: Vec<Action> = packets
                .iter()
                .map(|packet| judge.judge_one(&case.policy, *packet).action)
                .collect();
            for (packet, ours) in packets.iter().zip(&ours) {
                assert_eq!(obvious.classify(packet), *ours, "the builds differ");
                assert_eq!(obvious.classify_parsed(packet), *ours, "the builds differ");
            }
            let [ours, theirs, parsed] = interleaved(
                count,
                [
                    &mut || judge_all(&case.policy, &packets, &mut judge),
                    &mut || {
                        packets
                            .iter()
                            .map(|it| is_dropped(obvious.classify(it)))
                            .sum()
                    },
                    &mut || {
                        packets
                            .iter()
                            .map(|it| is_dropped(obvious.classify_parsed(it)))
                            .sum()
                    },
                ],
            );
            println!(
                "{size:>15}  {ring:<8}  {ours:>7.1}   {theirs:>5.0} ({:>4.1} x)    {parsed:>5.0} ({:>4.1} x)      {:>6} KiB",
                theirs / ours,
                parsed / ours,
                case.policy.memory_bytes() / 1024,
            );
        }
    }
    println!("IPv6");
    for size in SIZES {
        for (ring, count) in RINGS {
            let case = Case::new(true, size, count, 64);
            let packets = case.packets();
            let mut judge = Judge::new(Capacity::of(1024));
            let [ours] = interleaved(
                count,
                [&mut || judge_all(&case.policy, &packets, &mut judge)],
            );
            let memory = case.policy.memory_bytes() / 1024;
            println!("{size:>15}  {ring:<8}  {ours:>7.1}{memory:>50} KiB");
        }
    }
    println!("\nsuper-packets beside small ones, 1,000 prefixes, 32 packets");
    let small = Case::new(false, 1000, 32, 64);
    let large = Case::new(false, 1000, 32, 65_535);
    let (small_packets, large_packets) = (small.packets(), large.packets());
    let (mut one, mut other) = (
        Judge::new(Capacity::of(1024)),
        Judge::new(Capacity::of(1024)),
    );
    let [small_ns, large_ns] = interleaved(
        32,
        [
            &mut || judge_all(&small.policy, &small_packets, &mut one),
            &mut || judge_all(&large.policy, &large_packets, &mut other),
        ],
    );
    println!("  64 bytes {small_ns:.1} ns, 65,535 bytes {large_ns:.1} ns");
}

/// Returns `true` if cargo runs this as a benchmark, not as a test of it.
fn is_bench() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn main() {
    if std::env::var_os("CLASSIFY").is_none_or(|half| half != "ratios") {
        criterion_half();
    }
    // With a criterion filter, no ratios are printed.
    if std::env::args()
        .skip(1)
        .all(|argument| argument == "--bench")
    {
        ratios();
    }
}
