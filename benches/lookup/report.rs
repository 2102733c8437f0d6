//! The tables at the end of a run: the time of each peer, and the speedup of our batch lookup.

use crate::peers::{Kind, Peer};
use std::fmt;

/// The mixes of addresses: the columns of the times.
pub(crate) const MIXES: [&str; 3] = ["in-table", "missing", "skewed"];

/// The peer that the ratios refer to.
const OURS: &str = "ours, batch";

/// All peers on one table of prefixes.
pub(crate) struct Section {
    name: String,
    prefixes: usize,
    rows: Vec<Row>,
}

struct Row {
    peer: &'static str,
    kind: Kind,
    bytes: isize,
    built_in_ms: f64,
    /// Nanoseconds a lookup; `None` where a mix was not timed.
    times: [Option<f64>; MIXES.len()],
}

impl Section {
    pub(crate) fn new<A>(name: String, prefixes: usize, peers: &[Peer<A>]) -> Self {
        let row = |peer: &Peer<A>| Row {
            peer: peer.name,
            kind: peer.kind,
            bytes: peer.bytes,
            built_in_ms: peer.built_in.as_secs_f64() * 1e3,
            times: [None; MIXES.len()],
        };
        Self {
            name,
            prefixes,
            rows: peers.iter().map(row).collect(),
        }
    }

    /// Fills a column: nanoseconds a lookup of each peer.
    pub(crate) fn set_times(&mut self, mix: usize, times: &[f64]) {
        for (row, time) in self.rows.iter_mut().zip(times) {
            row.times[mix] = Some(*time);
        }
    }

    /// Returns the speedup of our batch over the fastest peer of a kind.
    fn ratio(&self, mix: usize, kind: Kind) -> Option<String> {
        let ours = self.rows.iter().find(|row| row.peer == OURS)?.times[mix]?;
        let others = self.rows.iter().filter(|row| row.kind == kind);
        let (time, peer) = others
            .filter_map(|row| Some((row.times[mix]?, row.peer)))
            .min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        Some(format!("{:.1}x {peer}", time / ours))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [in_table, missing, skewed] = MIXES;
        writeln!(f, "\n{}: {} prefixes", self.name, self.prefixes)?;
        writeln!(
            f,
            "{:<18}{:>10}{:>11}{:>10}{in_table:>11}{missing:>10}{skewed:>10}",
            "", "memory", "a prefix", "build"
        )?;
        writeln!(
            f,
            "{:<18}{:>10}{:>11}{:>10}{:>11}{:>10}{:>10}",
            "", "KiB", "bytes", "ms", "ns", "ns", "ns"
        )?;
        for row in &self.rows {
            write!(
                f,
                "{:<18}{:>10.1}{:>11.1}{:>10.2} ",
                row.peer,
                row.bytes as f64 / 1024.0,
                row.bytes as f64 / self.prefixes as f64,
                row.built_in_ms,
            )?;
            for time in row.times {
                let time = time.map_or("-".to_owned(), |time| format!("{time:.2}"));
                write!(f, "{time:>10}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Prints the time of each peer, then the ratios of the whole run, which are its main result.
pub(crate) fn print(sections: &[Section]) {
    println!("\nOne lookup in nanoseconds, the median of passes in which all peers take turns");
    for section in sections {
        print!("{section}");
    }
    let kinds = [(Kind::Crate, "crate"), (Kind::Textbook, "textbook table")];
    for (kind, noun) in kinds {
        println!("\nHow many times faster \"{OURS}\" is than the fastest {noun}");
        println!("{}", line("", MIXES.map(|mix| Some(mix.to_owned()))));
        for section in sections {
            let ratios = std::array::from_fn(|mix| section.ratio(mix, kind));
            println!("{}", line(&section.name, ratios));
        }
    }
}

fn line(name: &str, cells: [Option<String>; MIXES.len()]) -> String {
    let [first, second, third] = cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
    format!("{name:<18}{first:<24}{second:<24}{third}")
}
