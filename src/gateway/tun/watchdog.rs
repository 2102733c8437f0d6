//! [`Watchdog`]: sends the service manager a heartbeat for as long as every worker makes progress.
//!
//! A worker counts its exchanges with the kernel; one that has nothing to do looks up all the same, every
//! [`IDLE_LIMIT`](super::device::IDLE_LIMIT). So a count that stands still is a stalled worker. The watchdog is a task of its own: what
//! control waits for, such as another program, does not delay a heartbeat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use super::counters::IoCounters;
use super::device;
use crate::gateway::host::service::{Notice, ServiceManager};

/// Watches the workers until it is dropped.
#[derive(Debug)]
pub struct Watchdog {
    watching: JoinHandle<()>,
    all_live: Arc<AtomicBool>,
}

impl Watchdog {
    /// Begins to watch the workers with these counters; goes on in the tokio runtime that calls.
    pub fn start(workers: Vec<Arc<IoCounters>>, manager: Arc<ServiceManager>) -> Self {
        let all_live = Arc::new(AtomicBool::new(true));
        Self {
            watching: tokio::spawn(watch(workers, manager, Arc::clone(&all_live))),
            all_live,
        }
    }

    /// Returns `true` if every worker had made progress at the last check.
    pub fn all_live(&self) -> bool {
        self.all_live.load(Ordering::Relaxed)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn watch(
    workers: Vec<Arc<IoCounters>>,
    manager: Arc<ServiceManager>,
    all_live: Arc<AtomicBool>,
) {
    let mut ticks = interval(period(manager.watchdog()));
    // After a pause of the whole process, workers get the full time again to make progress.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = Progress::default();
    loop {
        ticks.tick().await;
        let exchanges = workers.iter().map(|worker| worker.exchanges());
        let hang = progress.stalled_workers(exchanges.collect());
        let lived = all_live.swap(hang.is_empty(), Ordering::Relaxed);
        match (lived, hang.is_empty()) {
            (true, false) => {
                let numbers: Vec<String> = hang.iter().map(ToString::to_string).collect();
                let numbers = numbers.join(", ");
                error!("worker {numbers} has stalled: packets diverted to it wait");
            }
            (false, true) => info!("every worker makes progress again"),
            (true, true) | (false, false) => {}
        }
        if hang.is_empty() && manager.watchdog().is_some() {
            manager.tell(Notice::Alive);
        }
    }
}

/// The workers' progress at the last check.
#[derive(Debug, Default)]
struct Progress {
    exchanges: Vec<u64>,
}

impl Progress {
    /// Returns the numbers of the workers that have made no progress since the last check, given their present counts.
    fn stalled_workers(&mut self, exchanges: Vec<u64>) -> Vec<usize> {
        let before = std::mem::replace(&mut self.exchanges, exchanges);
        let pairs = before.iter().zip(&self.exchanges).enumerate();
        let stand_still = pairs.filter(|(_, (before, now))| before == now);
        stand_still.map(|(number, _)| number).collect()
    }
}

/// The interval between checks: a fraction of the manager's timeout, and never below two idle periods of a worker.
fn period(watchdog: Option<Duration>) -> Duration {
    let wanted = watchdog.map_or(UNWATCHED_PERIOD, |limit| limit / CHECKS);
    wanted.max(2 * device::IDLE_LIMIT)
}

/// Checks per timeout of the service manager: one may come late, or meet a busy machine.
const CHECKS: u32 = 4;
/// The interval between checks if no service manager waits for a heartbeat.
const UNWATCHED_PERIOD: Duration = Duration::from_millis(2_500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stands_still_is_named_until_it_moves() {
        let mut progress = Progress::default();
        assert_eq!(
            progress.stalled_workers(vec![0, 0]),
            [0; 0],
            "nobody was looked at before"
        );
        assert_eq!(progress.stalled_workers(vec![1, 0]), [1]);
        assert_eq!(progress.stalled_workers(vec![1, 0]), [0, 1]);
        assert_eq!(progress.stalled_workers(vec![2, u64::MAX]), [0; 0]);
        // A counter that has wrapped round has moved.
        assert_eq!(progress.stalled_workers(vec![3, 0]), [0; 0]);
    }

    #[test]
    fn no_worker_is_asked_for_more_signs_than_an_idle_one_gives() {
        let of = |seconds| period(Some(Duration::from_secs(seconds)));
        assert_eq!(of(10), Duration::from_millis(2_500));
        assert!(of(1) >= 2 * device::IDLE_LIMIT);
        assert_eq!(period(None), UNWATCHED_PERIOD);
    }
}
