//! [`Meter`]: the processor time that a packet costs, measurable also on a shared machine.
//!
//! Counts the time of this process (sender, receiver, and the obvious filter, which is one of its threads), of
//! `offramp run`, and of the kernel's soft interrupts: the whole path of a packet from the sender to the receiver.
//! Forwarding happens mostly on the sender's time, so leaving out sender and receiver would leave out most of the work.
//! Other processes on the machine are not counted, only reported beside the results.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{SysconfVar, sysconf};

/// The source of the clocks' readings.
#[derive(Debug)]
pub(crate) struct Meter {
    /// The `/proc` files of the kernel's threads `ksoftirqd/0`, `ksoftirqd/1`, …
    soft_interrupts: Vec<PathBuf>,
    interrupts: Interrupts,
}

/// The account to which the kernel charges soft interrupts that run on top of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interrupts {
    /// The thread's own time.
    WithThreads,
    /// A separate account for the whole machine (`CONFIG_IRQ_TIME_ACCOUNTING`).
    Apart,
}

/// The clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    ours: Duration,
    machine: Duration,
}

/// The time between two readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// Wall-clock time.
    pub(crate) elapsed: Duration,
    /// Processor time on the packets' path.
    pub(crate) ours: Duration,
    /// The share of the machine used by other processes, from 0 to 1.
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

    /// Reads the clocks; `filter` is the process beside this one.
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
    /// Returns the time since `earlier`.
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

/// Describes the machine of the measurement.
pub(crate) fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("?");
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} cores of {model}, Linux {}", kernel.trim())
}

/// Returns the processor time of all threads of a process.
pub(crate) fn process_time(process: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Duration::ZERO;
    };
    let paths = threads.flatten().map(|thread| thread.path());
    paths.map(|path| run_time(&path.join("schedstat"))).sum()
}

/// Returns the resident memory of a process, in KiB.
pub(crate) fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// Returns the first number of `schedstat`: nanoseconds on a processor.
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

/// Returns the time of all processors since boot in some columns of `/proc/stat`.
fn machine_time(columns: impl Fn(usize) -> bool) -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks = line.split_whitespace().skip(1).enumerate();
    let ticks = ticks.filter(|(at, _)| columns(*at));
    let ticks: u64 = ticks.filter_map(|(_, it)| it.parse::<u64>().ok()).sum();
    let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Duration::from_secs_f64(ticks as f64 / a_second as f64)
}

pub(crate) fn duration(time: TimeVal) -> Duration {
    Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or(0))
        + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or(0))
}

/// Columns of `/proc/stat`: all but idle, iowait and steal.
const BUSY: [usize; 5] = [0, 1, 2, 5, SOFT_INTERRUPTS];
const SOFT_INTERRUPTS: usize = 6;
