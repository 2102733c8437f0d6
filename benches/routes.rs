//! Set algebra: the complement of 10,000 prefixes, 10,000 prefixes taken out of a full BGP table, and aggregation.
//!
//! `cargo bench --bench routes`. Every row begins with a list of prefixes and ends with one, as its users do, and its
//! answers are compared before anything is timed. Beside it the crates `iprange` (all three) and `ipnet` (aggregation is
//! all it has).
//!
//! - `OFFRAMP_TABLES=DIR` where `bgp_v4.txt.gz` lies; without it a made-up table of a million prefixes takes its place.

mod support;

use std::hint::black_box;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use criterion::Criterion;
use ipnet::Ipv4Net;
use iprange::IpRange;
use offramp::address::PrefixSet;
use offramp::random::Random;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let excludes = excludes(10_000);
    let table = table(if is_bench { 1_000_000 } else { 10_000 });
    println!(
        "{} prefixes in the table, {} to exclude",
        table.len(),
        excludes.len()
    );

    assert_eq!(complement(&excludes), complement_iprange(&excludes));
    assert_eq!(
        subtract(&table, &excludes),
        subtract_iprange(&table, &excludes)
    );
    assert_eq!(aggregate(&table), aggregate_ipnet(&table));
    assert_eq!(aggregate(&table), aggregate_iprange(&table));

    let mut group = criterion.benchmark_group("complement of 10k");
    group.bench_function("offramp", |bench| {
        bench.iter(|| complement(black_box(&excludes)))
    });
    group.bench_function("iprange", |bench| {
        bench.iter(|| complement_iprange(black_box(&excludes)))
    });
    group.finish();
    let mut group = criterion.benchmark_group("10k out of the table");
    group.bench_function("offramp", |bench| {
        bench.iter(|| subtract(black_box(&table), &excludes))
    });
    group.bench_function("iprange", |bench| {
        bench.iter(|| subtract_iprange(black_box(&table), &excludes))
    });
    group.finish();
    let mut group = criterion.benchmark_group("aggregate the table");
    group.bench_function("offramp", |bench| {
        bench.iter(|| aggregate(black_box(&table)))
    });
    group.bench_function("iprange", |bench| {
        bench.iter(|| aggregate_iprange(black_box(&table)))
    });
    group.bench_function("ipnet", |bench| {
        bench.iter(|| aggregate_ipnet(black_box(&table)))
    });
    group.finish();
    criterion.final_summary();
}

fn set(prefixes: &[Ipv4Net]) -> PrefixSet {
    prefixes.iter().copied().collect()
}

fn range(prefixes: &[Ipv4Net]) -> IpRange<Ipv4Net> {
    prefixes.iter().copied().collect()
}

fn sorted(prefixes: &IpRange<Ipv4Net>) -> Vec<Ipv4Net> {
    let mut prefixes: Vec<Ipv4Net> = prefixes.iter().collect();
    prefixes.sort_unstable();
    prefixes
}

fn complement(prefixes: &[Ipv4Net]) -> Vec<Ipv4Net> {
    set(prefixes).complement().v4_prefixes().collect()
}

fn complement_iprange(prefixes: &[Ipv4Net]) -> Vec<Ipv4Net> {
    sorted(&range(&[Ipv4Net::default()]).exclude(&range(prefixes)))
}

fn subtract(table: &[Ipv4Net], prefixes: &[Ipv4Net]) -> Vec<Ipv4Net> {
    set(table).subtract(&set(prefixes)).v4_prefixes().collect()
}

fn subtract_iprange(table: &[Ipv4Net], prefixes: &[Ipv4Net]) -> Vec<Ipv4Net> {
    let mut rest = range(table).exclude(&range(prefixes));
    rest.simplify();
    sorted(&rest)
}

fn aggregate(table: &[Ipv4Net]) -> Vec<Ipv4Net> {
    set(table).v4_prefixes().collect()
}

fn aggregate_iprange(table: &[Ipv4Net]) -> Vec<Ipv4Net> {
    let mut table = range(table);
    table.simplify();
    sorted(&table)
}

fn aggregate_ipnet(table: &[Ipv4Net]) -> Vec<Ipv4Net> {
    let mut table = Ipv4Net::aggregate(&table.to_vec());
    table.sort_unstable();
    table
}

/// Prefixes of public services, /14 to /32, anywhere.
fn excludes(count: usize) -> Vec<Ipv4Net> {
    let mut random = Random(7);
    let net = |_| {
        let length = 14 + random.below(19) as u8;
        let address = std::net::Ipv4Addr::from_bits((random.next_u64() >> 32) as u32);
        Ipv4Net::new(address, length)
            .expect("a length up to 32")
            .trunc()
    };
    (0..count).map(net).collect()
}

/// Returns a full table: the Internet's, or one of that size.
fn table(count: usize) -> Vec<Ipv4Net> {
    if let Some(table) =
        std::env::var_os("OFFRAMP_TABLES").and_then(|folder| bgp(Path::new(&folder)))
    {
        return table;
    }
    let mut random = Random(11);
    let net = |_| {
        let length = 16 + random.below(9) as u8;
        let address = std::net::Ipv4Addr::from_bits((random.next_u64() >> 32) as u32);
        Ipv4Net::new(address, length)
            .expect("a length up to 32")
            .trunc()
    };
    (0..count).map(net).collect()
}

fn bgp(folder: &Path) -> Option<Vec<Ipv4Net>> {
    let file = std::fs::File::open(folder.join("bgp_v4.txt.gz")).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .ok()?;
    text.lines().map(|line| line.trim().parse().ok()).collect()
}
