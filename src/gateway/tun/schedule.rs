//! [`Schedule`]: the workers' real-time priority and CPUs.

use std::io;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Pid;
use tracing::warn;

use crate::gateway::sys;

/// The settings `gateway.realtime` and `gateway.cpus`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule {
    realtime: Option<u8>,
    cpus: Vec<usize>,
}

impl Schedule {
    /// Threads of real-time priority `realtime`, if any, on `cpus`, if any; what that takes is asked for while this process
    /// has the right to.
    pub fn new(realtime: Option<u8>, cpus: impl Iterator<Item = usize>) -> Self {
        if let Some(priority) = realtime {
            // If the system refuses this, it also refuses the priority, and that refusal is logged.
            _ = setrlimit(Resource::RLIMIT_RTPRIO, priority.into(), priority.into());
        }
        let cpus = cpus.collect();
        Self { realtime, cpus }
    }

    /// Applies the schedule to this thread, which is worker number `worker` of `workers`.
    ///
    /// A setting that the system refuses is logged and skipped: the worker's verdicts do not depend on it.
    pub fn apply(&self, worker: usize, workers: usize) {
        if let Some(priority) = self.realtime
            && let Err(error) = sys::set_realtime(priority)
        {
            warn!(
                "the kernel refuses gateway.realtime = {priority}: {error}; a systemd unit needs LimitRTPRIO={priority} and RestrictRealtime=no"
            );
        }
        let cpus = share(&self.cpus, worker, workers);
        if let Err(error) = keep_to(&cpus) {
            warn!(
                "gateway.cpus: cannot pin worker {worker} to {cpus:?}: {error}; `nproc --all` says how many processors there are"
            );
        }
    }
}

/// Returns the share of `cpus` for worker number `worker`: shares differ by at most one CPU, and none is empty.
fn share(cpus: &[usize], worker: usize, workers: usize) -> Vec<usize> {
    if cpus.len() < workers {
        return cpus
            .iter()
            .copied()
            .cycle()
            .skip(worker)
            .take(cpus.len().min(1))
            .collect();
    }
    cpus.iter().copied().skip(worker).step_by(workers).collect()
}

fn keep_to(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    let this_thread = Pid::from_raw(0);
    sched_setaffinity(this_thread, &set)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_processors_evenly() {
        let shares = |cpus: &[usize], workers: usize| -> Vec<Vec<usize>> {
            (0..workers)
                .map(|worker| share(cpus, worker, workers))
                .collect()
        };
        assert_eq!(shares(&[], 2), [[0; 0]; 2]);
        assert_eq!(shares(&[2, 3], 1), [[2, 3]]);
        assert_eq!(shares(&[2, 3], 2), [[2], [3]]);
        assert_eq!(shares(&[2, 3], 3), [[2], [3], [2]]);
        assert_eq!(shares(&[4, 5, 6], 2), [vec![4, 6], vec![5]]);
    }
}
