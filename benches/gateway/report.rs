//! [`Results`]: what came of all turns, as ratios within rounds.

use std::fmt;

use crate::traffic::{Delays, Flow, Kind, Turn};
use crate::variants::Variant;

/// The turns of a run.
#[derive(Debug, Default)]
pub(crate) struct Results {
    turns: Vec<Measured>,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    kind: Kind,
    variant: Variant,
    round: usize,
    turn: Turn,
}

/// A value a round: the median, and the range without the outermost fifths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |part: f64| values[(last as f64 * part).round() as usize];
        Some(Self {
            median: at(0.5),
            low: at(0.2),
            high: at(0.8),
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self { median, low, high } = self;
        write!(f, "{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}

impl Results {
    pub(crate) fn add(&mut self, kind: Kind, variant: Variant, round: usize, turn: Turn) {
        self.turns.push(Measured {
            kind,
            variant,
            round,
            turn,
        });
    }

    /// The kinds that were sent, in order.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        distinct(self.turns.iter().map(|it| it.kind))
    }

    /// The variants that had turns of a kind, the kernel first.
    pub(crate) fn variants(&self, kind: Kind) -> Vec<Variant> {
        let turns = self.turns.iter().filter(|it| it.kind == kind);
        distinct(turns.map(|it| it.variant))
    }

    /// How many rounds there were.
    pub(crate) fn rounds(&self) -> usize {
        self.turns.iter().map(|it| it.round + 1).max().unwrap_or(0)
    }

    /// Packets a second, beside another variant's.
    pub(crate) fn throughput(&self, kind: Kind, one: Variant, other: Variant) -> Option<Spread> {
        self.compare_flows(kind, one, other, |one, other| one.rate / other.rate)
    }

    /// Processor time a packet, beside another variant's.
    pub(crate) fn cost(&self, kind: Kind, one: Variant, other: Variant) -> Option<Spread> {
        self.compare_flows(kind, one, other, |one, other| {
            one.nanoseconds / other.nanoseconds
        })
    }

    /// Microseconds that a variant adds to the kernel's: to the median, and to the 99th percentile.
    pub(crate) fn delays_added(&self, variant: Variant) -> Option<(Spread, Spread)> {
        let added = |what: fn(Delays) -> f64| {
            self.compare(Kind::Latency, variant, Variant::KERNEL, |one, other| {
                Some(what(one.delays()?) - what(other.delays()?))
            })
        };
        Some((added(|it| it.median)?, added(|it| it.p99)?))
    }

    fn compare_flows(
        &self,
        kind: Kind,
        one: Variant,
        other: Variant,
        how: impl Fn(Flow, Flow) -> f64,
    ) -> Option<Spread> {
        self.compare(kind, one, other, |one, other| {
            Some(how(one.flow()?, other.flow()?))
        })
    }

    /// How a variant compares with another in the same round.
    fn compare(
        &self,
        kind: Kind,
        one: Variant,
        other: Variant,
        how: impl Fn(Turn, Turn) -> Option<f64>,
    ) -> Option<Spread> {
        let values = self.of(kind, one).filter_map(|one| {
            let mut others = self.of(kind, other);
            let other = others.find(|it| it.round == one.round)?;
            how(one.turn, other.turn)
        });
        Spread::of(values)
    }

    fn of(&self, kind: Kind, variant: Variant) -> impl Iterator<Item = &Measured> {
        let turns = self.turns.iter();
        turns.filter(move |it| it.kind == kind && it.variant == variant)
    }

    /// Prints a table for each kind.
    pub(crate) fn print(&self) {
        for kind in self.kinds() {
            if kind == Kind::Latency {
                self.print_delays();
            } else {
                self.print_flow(kind);
            }
        }
    }

    fn print_flow(&self, kind: Kind) {
        println!(
            "\n{:<34}{:<22}{:<22}{:>8}{:>11}{:>8}{:>8}",
            kind.title(),
            "throughput (spread)",
            "CPU/packet (spread)",
            kind.unit(),
            "ns/packet",
            "lost",
            "others"
        );
        for variant in self.variants(kind) {
            let median = |what: fn(Flow) -> f64| {
                let flows = self.of(kind, variant).filter_map(|it| it.turn.flow());
                Spread::of(flows.map(what)).map_or(f64::NAN, |it| it.median)
            };
            let ratios = [
                self.throughput(kind, variant, Variant::KERNEL),
                self.cost(kind, variant, Variant::KERNEL),
            ];
            let [throughput, cost] =
                ratios.map(|ratio| ratio.map_or_else(String::new, |it| it.to_string()));
            println!(
                "  {:<32}{throughput:<22}{cost:<22}{:>8.2}{:>11.0}{:>7.2}%{:>7.0}%",
                variant.name(),
                median(|it| it.rate),
                median(|it| it.nanoseconds),
                100.0 * median(|it| it.lost),
                100.0 * median(|it| it.strangers)
            );
        }
    }

    fn print_delays(&self) {
        let kind = Kind::Latency;
        println!(
            "\n{:<34}{:<22}{:<22}{:>8}{:>11}{:>8}",
            kind.title(),
            "added to the median",
            "added to the p99",
            "median",
            "p99, µs",
            "lost"
        );
        for variant in self.variants(kind) {
            let Some((added, p99_added)) = self.delays_added(variant) else {
                continue;
            };
            let median = |what: fn(Delays) -> f64| {
                let delays = self.of(kind, variant).filter_map(|it| it.turn.delays());
                Spread::of(delays.map(what)).map_or(f64::NAN, |it| it.median)
            };
            println!(
                "  {:<32}{:<22}{:<22}{:>8.0}{:>11.0}{:>7.2}%",
                variant.name(),
                format!("{added:.0}"),
                format!("{p99_added:.0}"),
                median(|it| it.median),
                median(|it| it.p99),
                100.0 * median(|it| it.lost)
            );
        }
    }
}

/// Each value once, where it comes first.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}
