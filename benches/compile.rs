//! Compiles policies of 16 to a million prefixes into the tables of the packet path.
//!
//! `cargo bench --bench compile`. Medians of repeated builds; a gateway's reload takes this time plus that of reading
//! the file. The targets are 50 ms for 10,000 prefixes and 2 s for a million, about as many as the Internet has.

mod support;

use std::time::{Duration, Instant};

use offramp::filter::{CompiledPolicy, Generation};
use offramp::policy::Policy;
use support::{Sets, distinct_sets, policy};

/// Prefixes in a policy, and the time allowed for compiling it.
const ROWS: [(usize, Option<Duration>); 5] = [
    (16, None),
    (1_000, None),
    (10_000, Some(Duration::from_millis(50))),
    (100_000, None),
    (1_000_000, Some(Duration::from_secs(2))),
];

/// Total time for the builds of a row: at least three of them and at most a hundred.
const ROW_TIME: Duration = Duration::from_secs(3);

fn main() {
    // Without it, this is a test that the benchmark works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let rows = if is_bench { &ROWS[..] } else { &ROWS[..2] };
    println!(
        "\n{:<8}{:>10}{:>14}{:>14}{:>12}{:>12}{:>14}{:>22}",
        "", "prefixes", "build", "a prefix", "memory", "a prefix", "median of", "aim"
    );
    for v6 in [false, true] {
        for &(size, aim) in rows {
            let sets = distinct_sets(size, v6);
            let row = measure(&policy(&sets), is_bench);
            print(v6, count(&sets), &row, aim);
        }
    }
}

fn count(sets: &Sets) -> usize {
    let all = [
        &sets.clients,
        &sets.corporate,
        &sets.servers,
        &sets.publics,
        &sets.allows,
    ];
    all.iter().map(|set| set.len()).sum()
}

struct Row {
    build: Duration,
    builds: usize,
    memory: usize,
}

fn measure(policy: &Policy, is_bench: bool) -> Row {
    let (fewest, most) = if is_bench { (3, 100) } else { (1, 1) };
    let start = Instant::now();
    let mut times = Vec::new();
    let mut memory = 0;
    while times.len() < fewest || (start.elapsed() < ROW_TIME && times.len() < most) {
        // The compiled policy keeps the policy it was compiled from; making that copy is not part of the build.
        let policy = policy.clone();
        let build = Instant::now();
        let compiled = CompiledPolicy::new(policy, Generation(1)).expect("the tables hold it");
        times.push(build.elapsed());
        memory = compiled.memory_bytes();
    }
    times.sort();
    Row {
        build: times[times.len() / 2],
        builds: times.len(),
        memory,
    }
}

fn print(v6: bool, prefixes: usize, row: &Row, aim: Option<Duration>) {
    let aim = aim.map_or(String::new(), |aim| {
        let ratio = aim.as_secs_f64() / row.build.as_secs_f64();
        if ratio >= 1.0 {
            format!("{aim:?}, {ratio:.1}x faster")
        } else {
            format!("{aim:?}, {:.1}x slower", 1.0 / ratio)
        }
    });
    println!(
        "{:<8}{prefixes:>10}{:>11.3} ms{:>11.0} ns{:>8.0} KiB{:>10.1} B{:>14}{aim:>22}",
        if v6 { "IPv6" } else { "IPv4" },
        row.build.as_secs_f64() * 1e3,
        row.build.as_secs_f64() * 1e9 / prefixes as f64,
        row.memory as f64 / 1024.0,
        row.memory as f64 / prefixes as f64,
        row.builds,
    );
}
