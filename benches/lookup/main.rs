//! Compares longest-prefix match in our tries, four crates, DIR-24-8 and binary search.
//!
//! Measures the throughput of independent lookups, because a worker handles packets in batches. Every
//! answer of every peer is compared with an oracle before anything is timed. Criterion measures
//! each row; then all peers of a row take turns, pass by pass, and the medians make the table of
//! ratios: on a busy machine only numbers of one run compare.
//!
//! - `cargo bench --bench lookup` everything, a few minutes
//! - `cargo bench --bench lookup -- ipv4/10k` the rows that start so
//! - `LOOKUP=ratios cargo bench --bench lookup` the table of ratios only; `LOOKUP=criterion` the other half
//! - `OFFRAMP_TABLES=DIR` the folder of `bgp_v4.txt.gz` and `bgp_v6.txt.gz`

mod oracle;
mod peers;
mod report;
mod tables;

use criterion::{Criterion, SamplingMode, Throughput};
use oracle::{Oracle, Prefix};
use peers::{Peer, peers_v4, peers_v6, time_pass};
use report::{MIXES, Section};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::time::Duration;
use tables::Table;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Addresses of one pass: too many for a branch predictor to learn.
const ADDRESSES: usize = 32_768;

/// Passes of each peer in the table of ratios.
const ROUNDS: usize = 41;

fn main() {
    let wanted = std::env::var("LOOKUP").unwrap_or_default();
    // Without it, this is a test that the benchmark works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let mut run = Run {
        criterion: (wanted != "ratios").then(|| {
            Criterion::default()
                .sample_size(10)
                .warm_up_time(Duration::from_millis(100))
                .measurement_time(Duration::from_millis(300))
                .configure_from_args()
        }),
        ratios: wanted != "criterion" && is_bench,
        filter: std::env::args()
            .skip(1)
            .find(|argument| !argument.starts_with('-')),
        sections: Vec::new(),
    };
    let sizes = [("16", 16), ("1k", 1_000), ("10k", 10_000)];
    for (size, count) in sizes {
        run.family("ipv4", size, &tables::policy_v4(count), peers_v4);
    }
    if is_bench && let Some(table) = tables::bgp("bgp_v4.txt.gz") {
        run.family("ipv4", "bgp", &table, peers_v4);
    }
    for (size, count) in sizes {
        run.family("ipv6", size, &tables::policy_v6(count), peers_v6);
    }
    if is_bench && let Some(table) = tables::bgp("bgp_v6.txt.gz") {
        run.family("ipv6", "bgp", &table, peers_v6);
    }
    if let Some(criterion) = &run.criterion {
        criterion.final_summary();
    }
    if run.ratios {
        report::print(&run.sections);
    }
}

struct Run {
    criterion: Option<Criterion>,
    ratios: bool,
    /// Criterion's filter, which avoids building tables whose rows were not requested.
    filter: Option<String>,
    /// The rows to print at the end, after criterion's own lines.
    sections: Vec<Section>,
}

impl Run {
    fn family<Net: Prefix>(
        &mut self,
        family: &str,
        size: &str,
        table: &Table<Net>,
        build_peers: impl Fn(&Table<Net>, &Oracle<Net>) -> Vec<Peer<Net::Address>>,
    ) {
        if let Some(filter) = &self.filter
            && !filter.starts_with(&format!("{family}/{size}"))
            && !format!("{family}/{size}").starts_with(filter.as_str())
        {
            return;
        }
        let oracle = Oracle::new(table);
        let peers = build_peers(table, &oracle);
        let mut section = Section::new(format!("{family}/{size}"), table.len(), &peers);
        let mixes = [
            tables::in_table(table, ADDRESSES),
            tables::missing(table, &oracle, ADDRESSES),
            tables::skewed(table, ADDRESSES),
        ];
        for (mix, addresses) in mixes.into_iter().enumerate() {
            let row = format!("{family}/{size}/{}", MIXES[mix]);
            if addresses.len() < ADDRESSES {
                eprintln!("SKIPPED: {row}, the table matches nearly every address");
                continue;
            }
            let expected: Vec<u16> = addresses.iter().map(|a| oracle.lookup(*a)).collect();
            for peer in &peers {
                let mut classes = vec![u16::MAX; ADDRESSES];
                (peer.lookup_all)(&addresses, &mut classes);
                assert!(classes == expected, "{row}: {} answers wrongly", peer.name);
            }
            if let Some(criterion) = &mut self.criterion {
                measure(criterion, &row, &peers, &addresses);
            }
            if self.ratios {
                section.set_times(mix, &medians(&peers, &addresses));
            }
        }
        self.sections.push(section);
    }
}

/// Nanoseconds a lookup of each peer; all peers take turns, pass by pass.
fn medians<A>(peers: &[Peer<A>], addresses: &[A]) -> Vec<f64> {
    let mut passes = vec![Vec::with_capacity(ROUNDS); peers.len()];
    let mut classes = vec![0; addresses.len()];
    for _ in 0..ROUNDS {
        for (peer, passes) in peers.iter().zip(&mut passes) {
            // The first pass brings back what the other peers evicted, as steady traffic would.
            time_pass(peer, addresses, &mut classes);
            passes.push(time_pass(peer, addresses, &mut classes));
        }
    }
    let median = |mut passes: Vec<f64>| {
        passes.sort_by(f64::total_cmp);
        passes[ROUNDS / 2]
    };
    passes.into_iter().map(median).collect()
}

fn measure<A>(criterion: &mut Criterion, row: &str, peers: &[Peer<A>], addresses: &[A]) {
    let mut group = criterion.benchmark_group(row);
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(addresses.len() as u64));
    let mut classes = vec![0; addresses.len()];
    for peer in peers {
        group.bench_function(peer.name, |bencher| {
            bencher.iter(|| time_pass(peer, addresses, &mut classes));
        });
    }
    group.finish();
}
