//! The time that the entry program takes for a packet that passes, by the kernel's own accounting.
//!
//! The kernel counts the runs of a program and reads its clock around each, while a file of `BPF_ENABLE_STATS` is open, so
//! it counts no longer once this process has ended, however it does. The figure has one reading of the clock in it.

use std::fs;
use std::time::Duration;

use aya::sys::{Stats, enable_stats};

use crate::bed::Bed;
use crate::policy::Length;
use crate::traffic::{Kind, Pace, Traffic};
use crate::variants::{Peer, Variant};

/// The runs of the programs that a process holds.
#[derive(Debug, Clone, Copy, Default)]
struct Runs {
    count: u64,
    nanoseconds: u64,
}

/// Prints the nanoseconds a packet, for packets that the tables let pass and for those of a flow that the filter has cleared.
pub(crate) fn print(bed: &Bed, traffic: &Traffic<'_>, rounds: usize, turn: Duration) {
    let counting = match enable_stats(Stats::RunTime) {
        Ok(file) => file,
        Err(error) => return println!("SKIPPED: the time of the entry program: {error}"),
    };
    println!("\nThe entry program, a packet that passes (lowest and median of {rounds} rounds):");
    for (what, peer, kind) in MEASURED {
        for length in [Length::Ten, Length::TenThousand] {
            let running = Variant { peer, length }.start(bed, None);
            let process = running.process().expect("offramp is a process");
            let send = |turn| {
                let warm_up = Duration::ZERO;
                traffic.turn(kind, Pace { warm_up, turn }, Some(process));
            };
            // Until the filter has cleared the flow, its packets are diverted.
            send(WARM_UP);
            let mut figures = Vec::new();
            for _ in 0..rounds {
                let before = runs_of(process);
                send(turn);
                figures.push(runs_of(process).since(before));
            }
            running.stop();
            figures.sort_by(|a, b| a.each().total_cmp(&b.each()));
            let (lowest, median) = (figures[0], figures[figures.len() / 2]);
            println!(
                "  {what:<32}{:>7} prefixes  {:>5.0} ns  {:>5.0} ns   target: at most {MAX_EACH} ns   {} packets a round",
                match length {
                    Length::Ten => "10",
                    Length::TenThousand => "10,000",
                },
                lowest.each(),
                median.each(),
                median.count,
            );
        }
    }
    drop(counting);
}

impl Runs {
    fn since(self, earlier: Self) -> Self {
        Self {
            count: self.count - earlier.count,
            nanoseconds: self.nanoseconds - earlier.nanoseconds,
        }
    }

    /// Nanoseconds of a run.
    fn each(self) -> f64 {
        self.nanoseconds as f64 / self.count as f64
    }
}

/// Returns the runs of the program that has run most often of those that `process` holds, which is the one where the traffic
/// enters.
fn runs_of(process: u32) -> Runs {
    let files = fs::read_dir(format!("/proc/{process}/fdinfo")).expect("it runs");
    let runs = files.flatten().filter_map(|file| {
        let text = fs::read_to_string(file.path()).ok()?;
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().parse().ok()
        };
        Some(Runs {
            count: value("run_cnt:")?,
            nanoseconds: value("run_time_ns:")?,
        })
    });
    runs.max_by_key(|it| it.count).unwrap_or_default()
}

/// The traffic: small datagrams that the tables let pass, and one flow that the filter has to clear.
const MEASURED: [(&str, Peer, Kind); 2] = [
    ("passed by the tables", Peer::Programs, Kind::OutsideUdp),
    ("passed as a cleared flow", Peer::Cleared, Kind::UdpAlike),
];

const WARM_UP: Duration = Duration::from_millis(500);

/// The most nanoseconds a packet, the kernel's clock included.
const MAX_EACH: u32 = 90;
