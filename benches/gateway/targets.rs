//! The performance targets of the gateway, and whether a run met them.

use crate::report::{Results, Spread};
use crate::resources::Resources;
use crate::traffic::Kind;
use crate::variants::{Peer, Variant};

/// A line of the table at the end.
#[derive(Debug)]
struct Line {
    what: String,
    target: String,
    measured: String,
    is_met: &'static str,
}

/// The minimum throughput relative to the kernel, by kind and by diverted traffic.
const THROUGHPUT: [(Kind, &[Peer], f64); 9] = [
    (Kind::OutsideUdp, &[Peer::Offramp], 0.95),
    (Kind::OutsideTcp, &[Peer::Offramp], 0.95),
    (Kind::Https, &[Peer::Offramp], 0.85),
    (Kind::Smb, &[Peer::Offramp], 0.85),
    (Kind::TcpSingles, &[Peer::Offramp, Peer::All], 1.0),
    (Kind::TcpGso, &[Peer::Offramp, Peer::All], 0.8),
    (Kind::TcpGsoRead, &[Peer::Offramp, Peer::All], 0.8),
    (Kind::UdpAlike, &[Peer::Offramp, Peer::All], 0.9),
    (Kind::UdpMixed, &[Peer::Offramp, Peer::All], 0.75),
];

/// The minimum for traffic left in the kernel: that of nftables with the same policy.
const KEPT: [Kind; 4] = [Kind::OutsideUdp, Kind::OutsideTcp, Kind::Https, Kind::Smb];

/// The maximum processor time for a packet that cannot be merged, relative to the kernel.
const COST: f64 = 2.0;
/// The maximum latency above the kernel's forwarding in microseconds, median and 99th percentile.
const MEDIAN_ADDED: f64 = 60.0;
const P99_ADDED: f64 = 250.0;
/// The minimum throughput with ten thousand prefixes relative to ten, less the resolution of a run.
const LONG_POLICY: f64 = 0.97;
/// The maximum share of a processor while idle.
const IDLE: f64 = 0.01;
/// The maximum growth of memory under load, in KiB.
const GROWTH: u64 = 1_024;

/// Returns the minimum throughput of offramp relative to the kernel.
pub(crate) fn least(kind: Kind) -> Option<f64> {
    let target = THROUGHPUT.iter().find(|(of, ..)| *of == kind);
    target.map(|(.., target)| *target)
}

/// Prints the table.
pub(crate) fn print(results: &Results, resources: Option<Resources>) {
    let mut lines = Vec::new();
    for (kind, peers, target) in THROUGHPUT {
        for peer in peers {
            let variant = Variant::short(*peer);
            let what = format!("{}, {}: throughput", kind.title(), variant.name());
            let measured = results.throughput(kind, variant);
            let of = "of the kernel";
            lines.extend(measured.map(|it| Line::at_least(what, target, of, it)));
        }
        if KEPT.contains(&kind) {
            let (ours, other) = (
                Variant::short(Peer::Offramp),
                Variant::short(Peer::Nftables),
            );
            let what = format!("{}, offramp: throughput", kind.title());
            let measured = results.throughput_beside(kind, ours, other);
            let of = "of nftables";
            lines.extend(measured.map(|it| Line::at_least(what, 1.0, of, it)));
        }
    }
    for peer in [Peer::Offramp, Peer::All] {
        let variant = Variant::short(peer);
        let what = format!(
            "{}, {}: CPU a packet",
            Kind::UdpMixed.title(),
            variant.name()
        );
        let measured = results.cost(Kind::UdpMixed, variant);
        lines.extend(measured.map(|it| Line::at_most(what, COST, "times the kernel's", it)));
    }
    for peer in [Peer::Offramp, Peer::All] {
        let variant = Variant::short(peer);
        if let Some((median, p99)) = results.delays_added(Kind::Latency, variant) {
            for (name, target, it) in [("median", MEDIAN_ADDED, median), ("p99", P99_ADDED, p99)] {
                let what = format!(
                    "{}, {}: {name} added",
                    Kind::Latency.title(),
                    variant.name()
                );
                lines.push(Line::at_most(what, target, "µs", it));
            }
        }
    }
    for kind in results.kinds() {
        let (long, short) = (Variant::long(Peer::Offramp), Variant::short(Peer::Offramp));
        let what = format!("{}, {}: throughput", kind.title(), long.name());
        let measured = results.throughput_beside(kind, long, short);
        let of = "of that with ten";
        lines.extend(measured.map(|it| Line::at_least(what, LONG_POLICY, of, it)));
    }
    if let Some(Resources { idle, resident }) = resources {
        let (first, last) = resident;
        let growth = last.saturating_sub(first);
        lines.push(Line {
            what: "offramp, divert all: processor time while nothing arrives".to_owned(),
            target: format!("below {:.0} %", 100.0 * IDLE),
            measured: format!("{:.2} %", 100.0 * idle),
            is_met: if idle < IDLE { "yes" } else { "no" },
        });
        lines.push(Line {
            what: "offramp, divert all: memory under load".to_owned(),
            target: format!("at most {GROWTH} KiB more"),
            measured: format!("{growth} KiB more than {first}"),
            is_met: if growth <= GROWTH { "yes" } else { "no" },
        });
    }
    println!(
        "\n{:<72}{:<34}{:<26}met",
        "What", "target", "measured (spread)"
    );
    for line in lines {
        println!(
            "{:<72}{:<34}{:<26}{}",
            line.what, line.target, line.measured, line.is_met
        );
    }
}

impl Line {
    fn at_least(what: String, target: f64, of: &str, measured: Spread) -> Self {
        Self {
            what,
            target: format!("at least {target:.2} {of}"),
            measured: measured.to_string(),
            is_met: in_words(measured.median >= target, measured.high >= target),
        }
    }

    fn at_most(what: String, target: f64, of: &str, measured: Spread) -> Self {
        let digits = if target >= 10.0 { 0 } else { 2 };
        Self {
            what,
            target: format!("at most {target} {of}"),
            measured: format!("{measured:.digits$}"),
            is_met: in_words(measured.median <= target, measured.low <= target),
        }
    }
}

fn in_words(by_median: bool, by_spread: bool) -> &'static str {
    match (by_median, by_spread) {
        (true, _) => "yes",
        (false, true) => "no, but some rounds",
        (false, false) => "no",
    }
}
