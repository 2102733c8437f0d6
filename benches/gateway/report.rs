//! [`Results`]: the results of all turns, as ratios to the kernel's turns around them.

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
    /// The kernel's turns just before and just after.
    kernel: [Turn; 2],
}

/// One value per round: the median, and the range without the outermost fifths.
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
        let scale = 10_f64.powi(i32::try_from(digits).unwrap_or(2));
        // Adding zero removes the sign of values that round to it.
        let [median, low, high] =
            [self.median, self.low, self.high].map(|it| (it * scale).round() / scale + 0.0);
        write!(f, "{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}

impl Results {
    /// Adds a turn of a variant, between two of the kernel.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        variant: Variant,
        round: usize,
        turn: Turn,
        kernel: [Turn; 2],
    ) {
        self.turns.push(Measured {
            kind,
            variant,
            round,
            turn,
            kernel,
        });
    }

    /// Returns the kinds that were sent, in order.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        distinct(self.turns.iter().map(|it| it.kind))
    }

    /// Returns the variants that had turns of a kind, in order of their names here.
    pub(crate) fn variants(&self, kind: Kind) -> Vec<Variant> {
        let turns = self.turns.iter().filter(|it| it.kind == kind);
        distinct(turns.map(|it| it.variant))
    }

    /// Returns the number of rounds.
    pub(crate) fn rounds(&self) -> usize {
        self.turns.iter().map(|it| it.round + 1).max().unwrap_or(0)
    }

    /// Returns packets per second, relative to the kernel.
    pub(crate) fn throughput(&self, kind: Kind, variant: Variant) -> Option<Spread> {
        Spread::of(self.of(kind, variant).filter_map(Measured::throughput))
    }

    /// Returns packets per second, relative to another variant in the same round.
    pub(crate) fn throughput_beside(
        &self,
        kind: Kind,
        one: Variant,
        other: Variant,
    ) -> Option<Spread> {
        let ratios = self.of(kind, one).filter_map(|one| {
            let mut others = self.of(kind, other);
            let other = others.find(|it| it.round == one.round)?;
            Some(one.throughput()? / other.throughput()?)
        });
        Spread::of(ratios)
    }

    /// Returns processor time a packet, relative to the kernel.
    pub(crate) fn cost(&self, kind: Kind, variant: Variant) -> Option<Spread> {
        Spread::of(self.of(kind, variant).filter_map(Measured::cost))
    }

    /// Returns latency in microseconds above the kernel's: median and 99th percentile.
    pub(crate) fn delays_added(&self, kind: Kind, variant: Variant) -> Option<(Spread, Spread)> {
        let added = |what: fn(Delays) -> f64| {
            let turns = self.of(kind, variant);
            Spread::of(turns.filter_map(|turn| turn.added(what)))
        };
        Some((added(|it| it.median)?, added(|it| it.p99)?))
    }

    /// Returns the share of the machine used by other processes, from 0 to 1.
    pub(crate) fn strangers(&self) -> f64 {
        let flows = self.turns.iter().filter_map(|it| it.turn.flow());
        Spread::of(flows.map(|it| it.strangers)).map_or(0.0, |it| it.median)
    }

    fn of(&self, kind: Kind, variant: Variant) -> impl Iterator<Item = &Measured> {
        let turns = self.turns.iter();
        turns.filter(move |it| it.kind == kind && it.variant == variant)
    }

    /// Panics if there is a turn in which nothing arrived.
    pub(crate) fn assert_that_everything_arrived(&self) {
        for Measured {
            kind,
            variant,
            turn,
            ..
        } in &self.turns
        {
            let arrived = match turn {
                Turn::Flow(flow) => flow.rate > 0.0,
                Turn::Delays(delays) => delays.lost < 1.0,
            };
            assert!(
                arrived,
                "{}: {}: nothing arrived",
                kind.title(),
                variant.name()
            );
        }
    }

    /// Prints a table for each kind.
    pub(crate) fn print(&self) {
        for kind in self.kinds() {
            if kind.has_delays() {
                self.print_delays(kind);
            } else {
                self.print_flow(kind);
            }
        }
    }

    fn print_flow(&self, kind: Kind) {
        println!(
            "\n{:<38}{:<22}{:<22}{:>8}{:>11}{:>9}{:>9}",
            kind.title(),
            "throughput (spread)",
            "CPU/packet (spread)",
            kind.unit(),
            "ns/packet",
            "lost",
            "others"
        );
        let kernel: Vec<Flow> = self
            .turns
            .iter()
            .filter(|it| it.kind == kind)
            .flat_map(|it| it.kernel)
            .filter_map(Turn::flow)
            .collect();
        print_flow_line("kernel", "1", "1", &kernel);
        for variant in self.variants(kind) {
            let flows: Vec<Flow> = self
                .of(kind, variant)
                .filter_map(|it| it.turn.flow())
                .collect();
            let text = |ratio: Option<Spread>| ratio.map_or_else(String::new, |it| it.to_string());
            print_flow_line(
                variant.name(),
                &text(self.throughput(kind, variant)),
                &text(self.cost(kind, variant)),
                &flows,
            );
        }
    }

    fn print_delays(&self, kind: Kind) {
        println!(
            "\n{:<38}{:<22}{:<22}{:>8}{:>11}{:>9}",
            kind.title(),
            "added to the median",
            "added to the p99",
            "median",
            "p99, µs",
            "lost"
        );
        let kernel = self.turns.iter().filter(|it| it.kind == kind);
        let kernel: Vec<Delays> = kernel
            .flat_map(|it| it.kernel)
            .filter_map(Turn::delays)
            .collect();
        print_delays_line("kernel", "0", "0", &kernel);
        for variant in self.variants(kind) {
            let Some((median, p99)) = self.delays_added(kind, variant) else {
                continue;
            };
            let turns = self.of(kind, variant);
            let delays: Vec<Delays> = turns.filter_map(|it| it.turn.delays()).collect();
            let (median, p99) = (format!("{median:.0}"), format!("{p99:.0}"));
            print_delays_line(variant.name(), &median, &p99, &delays);
        }
    }
}

impl Measured {
    fn throughput(&self) -> Option<f64> {
        Some(self.turn.flow()?.rate / self.kernel(|turn| Some(turn.flow()?.rate))?)
    }

    fn cost(&self) -> Option<f64> {
        Some(self.turn.flow()?.nanoseconds / self.kernel(|turn| Some(turn.flow()?.nanoseconds))?)
    }

    fn added(&self, what: fn(Delays) -> f64) -> Option<f64> {
        Some(what(self.turn.delays()?) - self.kernel(|turn| turn.delays().map(what))?)
    }

    /// Returns the average of the kernel's turns before and after.
    fn kernel(&self, what: impl Fn(Turn) -> Option<f64>) -> Option<f64> {
        let [before, after] = self.kernel;
        Some((what(before)? + what(after)?) / 2.0)
    }
}

fn print_flow_line(name: &str, throughput: &str, cost: &str, flows: &[Flow]) {
    let median = |what: fn(&Flow) -> f64| median(flows.iter().map(what));
    let lost = Spread::of(flows.iter().filter_map(|it| it.lost));
    let lost = lost.map_or_else(|| "-".to_owned(), |it| format!("{:.2}%", 100.0 * it.median));
    println!(
        "  {name:<36}{throughput:<22}{cost:<22}{:>8.2}{:>11.0}{lost:>9}{:>8.0}%",
        median(|it| it.rate),
        median(|it| it.nanoseconds),
        100.0 * median(|it| it.strangers)
    );
}

fn print_delays_line(name: &str, added: &str, p99_added: &str, delays: &[Delays]) {
    let median = |what: fn(&Delays) -> f64| median(delays.iter().map(what));
    println!(
        "  {name:<36}{added:<22}{p99_added:<22}{:>8.0}{:>11.0}{:>8.2}%",
        median(|it| it.median),
        median(|it| it.p99),
        100.0 * median(|it| it.lost)
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    Spread::of(values).map_or(f64::NAN, |it| it.median)
}

/// Returns each value once, in order of first appearance.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}
