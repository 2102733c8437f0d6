//! Counters: one writer each, local to its worker, summed by the reader.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::filter::Judge;
use crate::packet::Traffic;
use crate::packet::media::{By, Evidence, Recognized};
use crate::verdict::{Action, Reason, Verdict};

/// A number that one thread increments and others read.
#[derive(Debug, Default)]
struct Tally(AtomicU64);

impl Tally {
    /// Adds `more`; only ever called by the one thread that owns it, so a load and a store do what a locked addition would.
    #[inline(always)]
    fn add(&self, more: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(sum, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Packets and bytes.
#[derive(Debug, Default)]
pub struct TrafficTally {
    packets: Tally,
    bytes: Tally,
}

impl TrafficTally {
    /// Adds `traffic`, on the thread that owns the tally.
    #[inline(always)]
    pub fn add(&self, traffic: Traffic) {
        self.packets.add(traffic.packets);
        self.bytes.add(traffic.bytes);
    }

    /// Returns the sums.
    pub fn read(&self) -> Traffic {
        Traffic {
            packets: self.packets.read(),
            bytes: self.bytes.read(),
        }
    }
}

/// One worker's verdicts since its start, by reason and action.
#[derive(Debug, Default)]
// Two cache lines: processors fetch them in pairs, and no other worker's counters may be among them.
#[repr(align(128))]
pub struct VerdictCounters {
    by_reason: [[TrafficTally; 2]; Reason::ALL.len()],
    spared: TrafficTally,
    by_evidence: [[TrafficTally; By::ALL.len()]; Evidence::TABLE.len()],
    evicted_fragments: AtomicU64,
    flows: AtomicU64,
    evicted_flows: AtomicU64,
    suppressed_rejections: Tally,
}

impl VerdictCounters {
    /// Counts a verdict, on the thread that owns the counters.
    #[inline(always)]
    pub fn add(&self, verdict: Verdict, traffic: Traffic) {
        self.by_reason[verdict.reason as usize][verdict.action as usize].add(traffic);
        if let Some(Recognized { evidence, by }) = verdict.media {
            self.by_evidence[evidence as usize][by as usize].add(traffic);
        }
    }

    /// Counts what was forwarded though its verdict is "drop", on the thread that owns the counters.
    pub fn spare(&self, traffic: Traffic) {
        self.spared.add(traffic);
    }

    /// The traffic that was forwarded though its verdict is "drop": the policy is not enforced for its client.
    pub fn spared(&self) -> Traffic {
        self.spared.read()
    }

    /// Records how full the memory of `judge` is, and what it has evicted so far for lack of room.
    #[inline(always)]
    pub fn note_memory(&self, judge: &Judge) {
        self.evicted_fragments
            .store(judge.evicted_fragments(), Ordering::Relaxed);
        self.flows.store(judge.flows() as u64, Ordering::Relaxed);
        self.evicted_flows
            .store(judge.evicted_flows(), Ordering::Relaxed);
    }

    /// Counts an answer to a client that exceeds the rate, on the thread that owns the counters.
    pub fn rejection_suppressed(&self) {
        self.suppressed_rejections.add(1);
    }

    /// Answers to clients that exceeded the rate.
    pub fn suppressed_rejections(&self) -> u64 {
        self.suppressed_rejections.read()
    }

    /// Flows to media ports in memory.
    pub fn flows(&self) -> u64 {
        self.flows.load(Ordering::Relaxed)
    }

    /// Flows evicted for lack of room before they were idle.
    pub fn evicted_flows(&self) -> u64 {
        self.evicted_flows.load(Ordering::Relaxed)
    }

    /// Returns the traffic recognized as media, by evidence and the packet that showed it.
    pub fn recognized(&self) -> impl Iterator<Item = (Recognized, Traffic)> + '_ {
        Evidence::TABLE.iter().flat_map(move |row| {
            By::ALL.map(|by| {
                let evidence = row.evidence;
                let tally = &self.by_evidence[evidence as usize][by as usize];
                (Recognized { evidence, by }, tally.read())
            })
        })
    }

    /// First fragments evicted for lack of room.
    pub fn evicted_fragments(&self) -> u64 {
        self.evicted_fragments.load(Ordering::Relaxed)
    }

    /// Returns the counts of every reason and action that occurred.
    pub fn read(&self) -> impl Iterator<Item = (Reason, Action, Traffic)> + '_ {
        Reason::ALL.into_iter().flat_map(move |reason| {
            [Action::Forward, Action::Drop].map(|action| {
                let tally = &self.by_reason[reason as usize][action as usize];
                (reason, action, tally.read())
            })
        })
    }
}

/// One worker's counters other than its verdicts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct IoCounters {
    exchanges: Tally,
    failed_writes: Tally,
    batching: AtomicBool,
}

impl IoCounters {
    /// Counts an exchange with the kernel, on the thread that owns the counters; the watchdog takes it for progress.
    pub fn exchanged(&self) {
        self.exchanges.add(1);
    }

    /// Exchanges with the kernel so far, including those that brought nothing.
    pub fn exchanges(&self) -> u64 {
        self.exchanges.read()
    }

    /// Counts forwarded packets that the kernel did not take back, on the thread that owns the counters.
    pub fn writes_failed(&self, packets: usize) {
        self.failed_writes.add(packets as u64);
    }

    /// Records that a batch is, or is not, one system call.
    pub fn note_batching(&self, is_batching: bool) {
        self.batching.store(is_batching, Ordering::Relaxed);
    }

    /// Returns `true` if a batch is one system call.
    pub fn is_batching(&self) -> bool {
        self.batching.load(Ordering::Relaxed)
    }

    /// Forwarded packets that the kernel did not take back.
    pub fn failed_writes(&self) -> u64 {
        self.failed_writes.read()
    }
}
