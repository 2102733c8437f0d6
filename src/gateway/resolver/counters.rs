//! Counters of queries by outcome, and of the time that answers took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The outcome of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered by the policy: a pinned name.
    Pinned,
    /// Answered by the policy: a hidden name or a canary.
    Hidden,
    /// Answered by an upstream.
    Forwarded,
    /// Answered from the cache.
    Cached,
    /// Refused: not from a client, not a question, or not one for this server.
    Refused,
    /// No upstream answered: `SERVFAIL`.
    Failed,
    /// Not answered: too many of this client, or nothing that may be answered.
    Dropped,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pinned,
        Self::Hidden,
        Self::Forwarded,
        Self::Cached,
        Self::Refused,
        Self::Failed,
        Self::Dropped,
    ];

    /// The name, in the status and as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Hidden => "hidden",
            Self::Forwarded => "forwarded",
            Self::Cached => "cached",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Counters of a thread of a DNS server: only it writes them.
#[derive(Debug, Default)]
pub struct DnsCounters {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    /// Answers by [`BOUNDS`], and beyond.
    latency: [AtomicU64; BOUNDS.len() + 1],
    latency_microseconds: AtomicU64,
    evicted: AtomicU64,
    spared: AtomicU64,
}

impl DnsCounters {
    /// Returns the sums of `counters`.
    pub(super) fn sum<'a>(counters: impl Iterator<Item = &'a Self>) -> Self {
        let sum = Self::default();
        for of_thread in counters {
            for (sum, counter) in sum.all().zip(of_thread.all()) {
                bump(sum, counter.load(Ordering::Relaxed));
            }
        }
        sum
    }

    fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        let Self {
            outcomes,
            latency,
            latency_microseconds,
            evicted,
            spared,
        } = self;
        let single = [latency_microseconds, evicted, spared];
        outcomes.iter().chain(latency).chain(single)
    }

    /// Counts a query.
    pub(super) fn add(&self, outcome: Outcome) {
        bump(&self.outcomes[outcome as usize], 1);
    }

    /// Counts the time that an answer took.
    pub(super) fn note_latency(&self, answers: u64, took: Duration) {
        let bucket = BOUNDS.iter().position(|bound| took <= *bound);
        bump(&self.latency[bucket.unwrap_or(BOUNDS.len())], answers);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        bump(
            &self.latency_microseconds,
            microseconds.saturating_mul(answers),
        );
    }

    /// Counts a connection that was evicted to make room for another one.
    pub(super) fn add_evicted(&self) {
        bump(&self.evicted, 1);
    }

    /// Returns the number of connections evicted to make room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Counts a query whose answer has names that would be hidden if the policy were enforced for the client.
    pub(super) fn add_spared(&self) {
        bump(&self.spared, 1);
    }

    /// Returns the number of queries whose answers had names that would be hidden otherwise.
    pub fn spared(&self) -> u64 {
        self.spared.load(Ordering::Relaxed)
    }

    /// Returns the number of queries with each outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL
            .into_iter()
            .zip(&self.outcomes)
            .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
    }

    /// Returns the histogram of the time that answers took.
    pub fn latency(&self) -> Histogram {
        let buckets = BOUNDS.into_iter().map(Some).chain([None]);
        let counts = self.latency.iter().map(|it| it.load(Ordering::Relaxed));
        Histogram {
            buckets: buckets.zip(counts).collect(),
            sum: Duration::from_micros(self.latency_microseconds.load(Ordering::Relaxed)),
        }
    }
}

/// A histogram of the time that answers took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Answers that took as long at most, and longer than the bound before; the last has no bound.
    pub buckets: Vec<(Option<Duration>, u64)>,
    /// Sum for all answers.
    pub sum: Duration,
}

fn bump(counter: &AtomicU64, by: u64) {
    // One writer: no read-modify-write is needed.
    let sum = counter.load(Ordering::Relaxed).wrapping_add(by);
    counter.store(sum, Ordering::Relaxed);
}

/// Typical times: an own answer, a server near by, one far away, the second server asked, no server at all.
const BOUNDS: [Duration; 5] = [
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_threads_are_added_up() {
        let threads = [DnsCounters::default(), DnsCounters::default()];
        for (number, counters) in threads.iter().enumerate() {
            counters.add(Outcome::Pinned);
            counters.note_latency(2, Duration::from_millis(5 + number as u64));
            counters.add_evicted();
            counters.add_spared();
        }
        threads[1].add(Outcome::Dropped);
        let sum = DnsCounters::sum(threads.iter());
        let outcomes: Vec<_> = sum.outcomes().map(|(_, count)| count).collect();
        assert_eq!(outcomes, [2, 0, 0, 0, 0, 0, 1]);
        let latency = sum.latency();
        assert_eq!(latency.sum, Duration::from_millis(2 * 5 + 2 * 6));
        let answers: Vec<_> = latency.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(answers, [0, 0, 4, 0, 0, 0]);
        assert_eq!((sum.evicted(), sum.spared()), (2, 2));
    }
}
