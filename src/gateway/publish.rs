//! [`Published`]: the policy that all workers judge by, exchanged in one stroke.
//!
//! ```text
//!  control ──▶ Published ◀── load, once a batch ── worker 0: Live { judge, counters }
//!              │ current    ◀── load, once a batch ── worker 1: Live { judge, counters }
//!              │ past: epochs that a worker may still be in
//! ```
//!
//! A worker loads the current [`Epoch`] before a batch and judges all of it by that one. The counters of rules belong to
//! the epoch, whose rules they are; those of the past are added up by the rules' kinds and names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::backend::{Judgement, Traffic};
use super::counters::{TrafficTally, VerdictCounters};
use crate::filter::{CompiledPolicy, Generation, Judge, RuleKind, Verdict};
use crate::packet::Received;

/// The policy that all workers judge by.
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Epoch>,
    past: Mutex<Past>,
    workers: usize,
}

/// A policy, and what its rules have decided.
#[derive(Debug)]
pub struct Epoch {
    policy: CompiledPolicy,
    /// Of each worker: of each rule.
    rules: Vec<Vec<TrafficTally>>,
}

#[derive(Debug, Default)]
struct Past {
    /// Epochs that a worker may still be in.
    epochs: Vec<Arc<Epoch>>,
    /// What those before have counted.
    rules: RuleTotals,
}

/// What rules have decided, by their kind and name.
pub type RuleTotals = BTreeMap<(RuleKind, String), Traffic>;

impl Epoch {
    fn new(policy: CompiledPolicy, workers: usize) -> Self {
        let of_worker = || policy.rules().iter().map(|_| TrafficTally::default());
        let rules = (0..workers).map(|_| of_worker().collect()).collect();
        Self { policy, rules }
    }

    /// The policy.
    pub fn policy(&self) -> &CompiledPolicy {
        &self.policy
    }

    fn add_to(&self, totals: &mut RuleTotals) {
        for (at, rule) in self.policy.rules().iter().enumerate() {
            let total = totals.entry((rule.kind, rule.name.clone())).or_default();
            for worker in &self.rules {
                *total += worker[at].read();
            }
        }
    }
}

impl Published {
    /// Publishes the first policy, for `workers` workers.
    pub fn new(policy: CompiledPolicy, workers: usize) -> Self {
        Self {
            current: ArcSwap::from_pointee(Epoch::new(policy, workers)),
            past: Mutex::default(),
            workers,
        }
    }

    /// Has every batch from here on judged by `policy`.
    pub fn publish(&self, policy: CompiledPolicy) {
        let before = self
            .current
            .swap(Arc::new(Epoch::new(policy, self.workers)));
        let mut past = self.past();
        past.epochs.push(before);
        past.fold();
    }

    /// The policy of the moment.
    pub fn current(&self) -> Arc<Epoch> {
        self.current.load_full()
    }

    /// The generation of the moment.
    pub fn generation(&self) -> Generation {
        self.current.load().policy.generation()
    }

    /// What the rules of this and all earlier policies have decided.
    pub fn rule_totals(&self) -> RuleTotals {
        let mut past = self.past();
        past.fold();
        let mut totals = past.rules.clone();
        for epoch in &past.epochs {
            epoch.add_to(&mut totals);
        }
        self.current.load().add_to(&mut totals);
        totals
    }

    fn past(&self) -> std::sync::MutexGuard<'_, Past> {
        // A panic while it was held left sums behind that are right for what was added.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    /// Adds up the epochs that no worker is in any more.
    fn fold(&mut self) {
        let (over, rest) = std::mem::take(&mut self.epochs)
            .into_iter()
            .partition(|epoch| Arc::strong_count(epoch) == 1);
        self.epochs = rest;
        for epoch in over {
            let epoch: Arc<Epoch> = epoch;
            epoch.add_to(&mut self.rules);
        }
    }
}

/// The judgement of one worker of a live gateway.
#[derive(Debug)]
pub struct Live {
    published: Arc<Published>,
    counters: Arc<VerdictCounters>,
    worker: usize,
    judge: Judge,
    epoch: Guard<Arc<Epoch>>,
}

impl Live {
    /// The judgement of worker number `worker`, by what is `published`.
    pub fn new(published: Arc<Published>, worker: usize, counters: Arc<VerdictCounters>) -> Self {
        let epoch = published.current.load();
        Self {
            published,
            counters,
            worker,
            judge: Judge::new(Judge::GATEWAY_FRAGMENTS),
            epoch,
        }
    }
}

impl Judgement for Live {
    fn judge(&mut self, packets: &[Received<'_>], verdicts: &mut [Verdict]) {
        self.epoch = self.published.current.load();
        self.judge.judge(&self.epoch.policy, packets, verdicts);
        self.counters
            .note_evicted_fragments(self.judge.evicted_fragments());
    }

    fn count(&mut self, verdict: Verdict, traffic: Traffic) {
        self.counters.add(verdict, traffic);
        if let Some(rule) = verdict.rule {
            self.epoch.rules[self.worker][rule.index()].add(traffic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::memory::MemoryBackend;
    use crate::gateway::worker;

    fn policy(server: &str, generation: u64) -> CompiledPolicy {
        let text = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
             [[server]]\nname = \"{server}\"\naddresses = [\"10.1.0.10\"]\n"
        );
        let (policy, _) = crate::policy::parse("test.toml", text.as_bytes()).expect("a policy");
        CompiledPolicy::new(policy, Generation(generation)).expect("a small policy")
    }

    fn to_server() -> Vec<u8> {
        let mut packet = Vec::new();
        etherparse::PacketBuilder::ipv4([172, 16, 1, 10], [10, 1, 0, 10], 64)
            .udp(50_000, 5_061)
            .write(&mut packet, &[0; 72])
            .expect("room");
        packet
    }

    #[test]
    fn every_packet_is_counted_for_the_rule_of_the_policy_that_judged_it() {
        let published = Arc::new(Published::new(policy("pool", 1), 1));
        let counters = Arc::new(VerdictCounters::default());
        let mut live = Live::new(Arc::clone(&published), 0, Arc::clone(&counters));
        let packets = vec![to_server(); 100];
        let judge = |live: &mut Live| {
            worker::run(&mut MemoryBackend::new(&packets), live).expect("memory");
        };

        judge(&mut live);
        published.publish(policy("pool", 2));
        judge(&mut live);
        published.publish(policy("another", 3));
        judge(&mut live);

        let totals = published.rule_totals();
        let of = |name: &str| totals[&(RuleKind::Server, name.to_owned())];
        assert_eq!((of("pool").packets, of("pool").bytes), (200, 200 * 100));
        assert_eq!(of("another").packets, 100);
        let decided: u64 = counters.read().map(|(.., traffic)| traffic.packets).sum();
        assert_eq!(decided, 300);
        assert_eq!(published.generation(), Generation(3));
    }

    #[test]
    fn epochs_without_a_worker_are_not_kept() {
        let published = Arc::new(Published::new(policy("pool", 1), 1));
        let live = Live::new(
            Arc::clone(&published),
            0,
            Arc::new(VerdictCounters::default()),
        );
        for generation in 2..100 {
            published.publish(policy("pool", generation));
        }
        // The first, which the idle worker still holds.
        assert_eq!(published.past().epochs.len(), 1);
        drop(live);
        published.rule_totals();
        assert_eq!(published.past().epochs.len(), 0);
    }
}
