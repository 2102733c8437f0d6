//! [`Meter`]: the processor time that a packet's way costs, also on a machine that others use at the same time.
//!
//! Counted is the time of this process (sender, receiver, and the obvious filter, which is a thread of it), of `offramp
//! run`, and of the kernel's soft interrupts: the whole way of a packet from the sender's hands into the receiver's.
//! Forwarding happens mostly on the time of whoever sends, so leaving out sender and receiver would leave out most of the
//! work. The builds of others on the same machine are not counted, only told beside the results.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};

/// Reads clocks.
#[derive(Debug)]
pub(crate) struct Meter {
    /// What the kernel says of its threads `ksoftirqd/0`, `ksoftirqd/1`, …
    soft_interrupts: Vec<PathBuf>,
    interrupts: Interrupts,
}

/// Where the time goes that soft interrupts take from a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interrupts {
    /// It is part of the thread's time.
    WithThreads,
    /// It is counted apart, for the whole machine (`CONFIG_IRQ_TIME_ACCOUNTING`).
    Apart,
}

/// Clocks, at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    ours: Duration,
    machine: Duration,
}

/// What passed between two readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// Time on the wall.
    pub(crate) elapsed: Duration,
    /// Processor time on the packets' way.
    pub(crate) ours: Duration,
    /// The part of the machine that others had, from 0 to 1.
    pub(crate) strangers: f64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let processes = fs::read_dir("/proc").expect("every Linux has it").flatten();
        let is_one = |path: &PathBuf| {
            let name = fs::read_to_string(path.join("comm"));
            name.is_ok_and(|name| name.starts_with("ksoftirqd/"))
        };
        let paths = processes.map(|process| process.path()).filter(is_one);
        Self {
            soft_interrupts: paths.map(|path| path.join("schedstat")).collect(),
            interrupts: Interrupts::of_this_kernel(),
        }
    }

    /// The clocks; `filter` is the process beside this one.
    pub(crate) fn read(&self, filter: Option<u32>) -> Reading {
        let own = getrusage(UsageWho::RUSAGE_SELF).expect("the own process");
        let kernel: Duration = self.soft_interrupts.iter().map(run_time).sum();
        let filter = filter.map_or(Duration::ZERO, process_time);
        Reading {
            at: Instant::now(),
            ours: duration(own.user_time())
                + duration(own.system_time())
                + filter
                + match self.interrupts {
                    Interrupts::WithThreads => kernel,
                    Interrupts::Apart => machine_time(|column| column == SOFT_INTERRUPTS),
                },
            machine: machine_time(|column| BUSY.contains(&column)),
        }
    }
}

impl Reading {
    /// What passed since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        let elapsed = self.at - earlier.at;
        let ours = self.ours.saturating_sub(earlier.ours);
        let machine = self.machine.saturating_sub(earlier.machine);
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let strangers = machine.saturating_sub(ours).as_secs_f64();
        Spent {
            elapsed,
            ours,
            strangers: (strangers / elapsed.as_secs_f64() / processors).min(1.0),
        }
    }
}

/// The processor time of all threads of a process.
pub(crate) fn process_time(process: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Duration::ZERO;
    };
    let paths = threads.flatten().map(|thread| thread.path());
    paths.map(|path| run_time(&path.join("schedstat"))).sum()
}

/// The memory that a process has in RAM, in KiB.
pub(crate) fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// The first number of `schedstat`: nanoseconds on a processor.
fn run_time(path: &PathBuf) -> Duration {
    // A thread that has ended has no file.
    let text = fs::read_to_string(path).unwrap_or_default();
    let first = text.split_whitespace().next();
    let nanoseconds = first.and_then(|it| it.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanoseconds)
}

impl Interrupts {
    fn of_this_kernel() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let configuration = fs::read_to_string(format!("/boot/config-{}", release.trim()));
        let configuration = configuration.or_else(|_| {
            let mut text = String::new();
            GzDecoder::new(File::open("/proc/config.gz")?).read_to_string(&mut text)?;
            io::Result::Ok(text)
        });
        match configuration {
            Ok(text) if text.contains("CONFIG_IRQ_TIME_ACCOUNTING=y") => Self::Apart,
            _ => Self::WithThreads,
        }
    }
}

/// What all processors did since the start, in some columns of `/proc/stat`.
fn machine_time(columns: impl Fn(usize) -> bool) -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks = line.split_whitespace().skip(1).enumerate();
    let ticks = ticks.filter(|(at, _)| columns(*at));
    let ticks: u64 = ticks.filter_map(|(_, it)| it.parse::<u64>().ok()).sum();
    let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Duration::from_secs_f64(ticks as f64 / a_second as f64)
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0))
        + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
}

/// Columns of `/proc/stat`: everything but waiting, and what others take from a virtual machine.
const BUSY: [usize; 5] = [0, 1, 2, 5, SOFT_INTERRUPTS];
const SOFT_INTERRUPTS: usize = 6;
