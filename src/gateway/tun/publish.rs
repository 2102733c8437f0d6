//! [`Published`]: the policy that all workers judge by, exchanged atomically.
//!
//! ```text
//!  control ──▶ Published ◀── load, once a batch ── worker 0: Live { judge, counters }
//!              │ current    ◀── load, once a batch ── worker 1: Live { judge, counters }
//!              │ past: generations that a worker may still use
//! ```
//!
//! A worker loads the current [`Enforced`] policy before a batch and judges all of it by that one. The policy holds the
//! counters of its rules; those of earlier generations are summed by the rules' kinds and names. The number of names is
//! bounded: of the rules that the policy no longer has, the last few keep theirs; older ones are summed as [`OTHERS`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::counters::{TrafficTally, VerdictCounters};
use super::feedback::ClearFlows;
use super::quality::{QualityCounters, StreamMeter};
use crate::datapath::Judgement;
use crate::filter::{Capacity, CompiledPolicy, Generation, Judge, is_enforced_for};
use crate::gateway::record::PolicyNames;
use crate::gateway::record::drops::{SampleWriter, Suppressed};
use crate::gateway::record::trace::Traces;
use crate::gateway::reject::{Offer, Rejector};
use crate::packet::Received;
use crate::packet::Traffic;
use crate::packet::media::{By, Segment};
use crate::policy::{DivertScope, Enforcement, MediaMatch};
use crate::verdict::{Action, Reason, RuleKind, Verdict};

/// The policy that all workers judge by.
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Enforced>,
    past: Mutex<Past>,
    workers: usize,
    rejector: Option<Rejector>,
    traces: Arc<Traces>,
}

/// A policy in force, and the counters of its rules.
#[derive(Debug)]
pub struct Enforced {
    policy: Arc<CompiledPolicy>,
    /// The counters of each worker, and those of the kernel, one for each rule.
    rules: Vec<Vec<TrafficTally>>,
    /// Records dropped packets, if the policy or the operator asks for it.
    writer: Option<SampleWriter>,
    /// The names for records of packets, and the clients for whom the policy takes effect: those of its file, or of a trial.
    names: Arc<PolicyNames>,
}

#[derive(Debug, Default)]
struct Past {
    /// Generations that a worker may still use.
    generations: Vec<Arc<Enforced>>,
    /// Sums of the counters of earlier generations.
    rules: RuleTotals,
    /// Those among them that the policy no longer has, the oldest first.
    retired: VecDeque<(RuleKind, String)>,
}

/// Traffic decided by rules, by their kind and name.
pub type RuleTotals = BTreeMap<(RuleKind, String), Traffic>;

/// The name that sums all rules without a name of their own in status and metrics.
pub const OTHERS: &str = "(others)";

impl Enforced {
    fn new(
        policy: Arc<CompiledPolicy>,
        enforcement: Enforcement,
        writer: Option<SampleWriter>,
        workers: usize,
    ) -> Self {
        let of_worker = || policy.rules().iter().map(|_| TrafficTally::default());
        let rules = (0..=workers).map(|_| of_worker().collect()).collect();
        Self {
            names: Arc::new(PolicyNames::enforced(&policy, enforcement)),
            policy,
            rules,
            writer,
        }
    }

    /// The policy.
    pub fn policy(&self) -> &CompiledPolicy {
        &self.policy
    }

    /// The clients for whom it takes effect.
    pub fn enforcement(&self) -> &Enforcement {
        &self.names.enforcement
    }

    /// The counters of its rules that belong to the kernel, behind those of all workers.
    fn of_kernel(&self) -> Option<&Vec<TrafficTally>> {
        self.rules.last()
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
    /// Publishes the first policy, enforced as its file says, for `workers` workers; dropped packets are handed to `writer`.
    pub fn new(policy: CompiledPolicy, writer: Option<SampleWriter>, workers: usize) -> Self {
        let enforcement = policy.policy().gateway.enforcement.clone();
        let enforced = Enforced::new(Arc::new(policy), enforcement, writer, workers);
        Self {
            current: ArcSwap::from_pointee(enforced),
            past: Mutex::default(),
            workers,
            rejector: None,
            traces: Arc::default(),
        }
    }

    /// Has clients answered by `rejector`, as far as policies ask for it.
    pub fn with_rejector(mut self, rejector: Option<Rejector>) -> Self {
        if let Some(rejector) = &rejector {
            rejector.follow(&self.current.load().policy);
        }
        self.rejector = rejector;
        self
    }

    /// Returns the traces of clients.
    pub fn traces(&self) -> &Arc<Traces> {
        &self.traces
    }

    /// Returns what answers clients.
    pub fn rejector(&self) -> Option<&Rejector> {
        self.rejector.as_ref()
    }

    /// Has every batch from now on judged by `policy`, which takes effect for these clients; dropped packets are handed to
    /// `writer`.
    pub fn publish(
        &self,
        policy: CompiledPolicy,
        enforcement: Enforcement,
        writer: Option<SampleWriter>,
    ) {
        self.exchange(Enforced::new(
            Arc::new(policy),
            enforcement,
            writer,
            self.workers,
        ));
    }

    /// Has the current policy take effect for these clients.
    pub fn enforce(&self, enforcement: Enforcement) {
        let current = self.current.load();
        let policy = Arc::clone(&current.policy);
        let writer = current.writer.clone();
        self.exchange(Enforced::new(policy, enforcement, writer, self.workers));
    }

    fn exchange(&self, enforced: Enforced) {
        let enforced = Arc::new(enforced);
        if let Some(rejector) = &self.rejector {
            rejector.follow(&enforced.policy);
        }
        let before = self.current.swap(Arc::clone(&enforced));
        let mut past = self.past();
        past.generations.push(before);
        past.fold(&enforced.policy);
    }

    /// Counts traffic that the kernel has forwarded by verdicts of the current policy: for its rules, and in `counters`.
    /// Called by one thread.
    pub fn count_passed(&self, counters: &VerdictCounters, passed: Vec<(Verdict, Traffic)>) {
        let current = self.current.load();
        for (verdict, traffic) in passed {
            counters.add(verdict, traffic);
            if let (Some(rule), Some(rules)) = (verdict.rule, current.of_kernel()) {
                rules[rule.index()].add(traffic);
            }
        }
    }

    /// Returns the current policy.
    pub fn current(&self) -> Arc<Enforced> {
        self.current.load_full()
    }

    /// Returns the current generation.
    pub fn generation(&self) -> Generation {
        self.current.load().policy.generation()
    }

    /// Returns the clients for whom the current policy takes effect.
    pub fn enforcement(&self) -> Enforcement {
        self.current.load().enforcement().clone()
    }

    /// Returns `media.match` of the current policy.
    pub fn media_match(&self) -> MediaMatch {
        self.current.load().policy.policy().media.recognition
    }

    /// Returns the traffic decided by the rules of this and all earlier policies.
    pub fn rule_totals(&self) -> RuleTotals {
        let mut past = self.past();
        let current = self.current.load();
        past.fold(&current.policy);
        let mut totals = past.rules.clone();
        for generation in &past.generations {
            generation.add_to(&mut totals);
        }
        current.add_to(&mut totals);
        totals
    }

    fn past(&self) -> std::sync::MutexGuard<'_, Past> {
        // A panic while the lock was held leaves sums that are right for everything added so far.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    /// Sums the generations that no worker uses any more, and retires rules that `current` no longer has.
    fn fold(&mut self, current: &CompiledPolicy) {
        let (over, rest) = std::mem::take(&mut self.generations)
            .into_iter()
            .partition::<Vec<_>, _>(|generation| Arc::strong_count(generation) == 1);
        self.generations = rest;
        if over.is_empty() {
            return;
        }
        for generation in over {
            generation.add_to(&mut self.rules);
        }
        self.retire(current);
    }

    /// Drops the names of all but [`MAX_RETIRED`] of the rules that `current` no longer has.
    fn retire(&mut self, current: &CompiledPolicy) {
        let rules = current.rules().iter();
        let in_force: BTreeSet<(RuleKind, &str)> =
            rules.map(|rule| (rule.kind, rule.name.as_str())).collect();
        let is_in_force = |(kind, name): &(RuleKind, String)| {
            name == OTHERS || in_force.contains(&(*kind, name.as_str()))
        };
        // A rule that has decided nothing needs no sum.
        self.rules
            .retain(|key, total| total.packets > 0 || is_in_force(key));
        self.retired.retain(|key| !is_in_force(key));
        let known: BTreeSet<_> = self.retired.iter().cloned().collect();
        let new = self.rules.keys();
        let new = new.filter(|key| !is_in_force(key) && !known.contains(key));
        self.retired.extend(new.cloned());
        while self.retired.len() > MAX_RETIRED {
            let Some((kind, name)) = self.retired.pop_front() else {
                return;
            };
            if let Some(total) = self.rules.remove(&(kind, name)) {
                *self.rules.entry((kind, OTHERS.to_owned())).or_default() += total;
            }
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
    meter: StreamMeter,
    /// The diversion, if it asks which flows are cleared.
    flows: Option<Arc<dyn ClearFlows>>,
    enforced: Guard<Arc<Enforced>>,
    suppressed: Suppressed,
}

impl Live {
    /// Creates the judgement of worker number `worker`, by the `published` policy.
    pub fn new(
        published: Arc<Published>,
        worker: usize,
        counters: Arc<VerdictCounters>,
        quality: Arc<QualityCounters>,
    ) -> Self {
        let enforced = published.current.load();
        let capacity = Capacity::GATEWAY.for_each_of(published.workers);
        let meter = StreamMeter::new(quality, published.workers);
        Self {
            published,
            counters,
            worker,
            judge: Judge::new(capacity),
            meter,
            flows: None,
            enforced,
            suppressed: Suppressed::default(),
        }
    }

    /// Has it tell `flows` of those that are cleared, if the diversion asks for them.
    pub fn with_flows(self, flows: Option<Arc<dyn ClearFlows>>) -> Self {
        Self { flows, ..self }
    }
}

impl Live {
    /// Tells the diversion of flows that it need not lead here any more. RTP is not among them: it is measured.
    fn clear(&self, flows: &dyn ClearFlows, packets: &[Received<'_>], verdicts: &[Verdict]) {
        let policy = &self.enforced.policy;
        if policy.policy().gateway.divert == DivertScope::All {
            return;
        }
        for (lane, (packet, verdict)) in packets.iter().zip(verdicts).enumerate() {
            let is_clear = verdict.action == Action::Forward
                && verdict.reason != Reason::NotAClient
                && self.judge.is_certain(lane);
            let shows_media = verdict.media.is_some_and(|it| it.by == By::Itself);
            if !is_clear && !shows_media {
                continue;
            }
            // A packet with options, or a first fragment, shows media of its flow like any other.
            let part = match shows_media {
                true => packet.parse().ok().and_then(|view| Segment::of(&view)),
                false => Segment::of_plain(packet.bytes),
            };
            let Some((key, segment)) = part else {
                continue;
            };
            if shows_media {
                flows.forget(policy.generation(), &key);
            } else if !self.meter.may_measure(&key, segment) {
                flows.clear(policy.generation(), &key, *verdict);
            }
        }
    }
}

impl Judgement for Live {
    fn judge(&mut self, packets: &[Received<'_>], verdicts: &mut [Verdict]) {
        self.enforced = self.published.current.load();
        self.judge.judge(&self.enforced.policy, packets, verdicts);
        self.counters.note_memory(&self.judge);
        self.meter.measure(&self.enforced.policy, packets, verdicts);
        let names = &self.enforced.names;
        if let Some(writer) = &self.enforced.writer {
            writer.note(packets, verdicts, names, &mut self.suppressed);
        }
        self.published.traces.note(packets, verdicts, names);
        if let Some(flows) = &self.flows {
            self.clear(flows.as_ref(), packets, verdicts);
        }
    }

    fn judge_probe(&mut self, packet: Received<'_>) -> Verdict {
        self.enforced = self.published.current.load();
        self.judge.judge_one(&self.enforced.policy, packet)
    }

    fn count(&mut self, verdict: Verdict, traffic: Traffic) {
        self.counters.add(verdict, traffic);
        if let Some(rule) = verdict.rule {
            self.enforced.rules[self.worker][rule.index()].add(traffic);
        }
    }

    #[cold]
    fn spares(&mut self, packet: Received<'_>, traffic: Traffic) -> bool {
        let enforcement = self.enforced.enforcement();
        // An empty packet is a frame that is shorter than its headers.
        let is_spared = !packet.bytes.is_empty() && !is_enforced_for(enforcement, packet);
        if is_spared {
            self.counters.spare(traffic);
        }
        is_spared
    }

    fn dropped(&mut self, verdict: Verdict, packet: Received<'_>, frame: &[u8]) {
        if let Some(rejector) = &self.published.rejector {
            match rejector.offer(&self.enforced.policy, verdict, packet, frame) {
                Offer::Unwanted | Offer::Taken => {}
                Offer::Suppressed => self.counters.rejection_suppressed(),
            }
        }
    }
}

/// The number of rules that keep their name in status and metrics after the policy has lost them: few, since most
/// series of rules are for those that it has.
const MAX_RETIRED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::MemoryBackend;
    use crate::datapath::worker;
    use crate::gateway::host::sample::{compiled, datagram};

    fn policy(server: &str, generation: u64) -> CompiledPolicy {
        let server = format!("[[server]]\nname = \"{server}\"\naddresses = [\"10.1.0.10\"]\n");
        compiled(&server, generation)
    }

    fn publish(published: &Published, policy: CompiledPolicy) {
        let enforcement = policy.policy().gateway.enforcement.clone();
        published.publish(policy, enforcement, None);
    }

    fn to_server() -> Vec<u8> {
        datagram([10, 1, 0, 10], 5_061, 72)
    }

    #[test]
    fn every_packet_is_counted_for_the_rule_of_the_policy_that_judged_it() {
        let published = Arc::new(Published::new(policy("pool", 1), None, 1));
        let counters = Arc::new(VerdictCounters::default());
        let mut live = Live::new(
            Arc::clone(&published),
            0,
            Arc::clone(&counters),
            Arc::default(),
        );
        let packets = vec![to_server(); 100];
        let judge = |live: &mut Live| {
            worker::run(&mut MemoryBackend::new(&packets), live).expect("memory");
        };

        judge(&mut live);
        publish(&published, policy("pool", 2));
        judge(&mut live);
        publish(&published, policy("another", 3));
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
    fn generations_without_a_worker_are_not_kept() {
        let published = Arc::new(Published::new(policy("pool", 1), None, 1));
        let live = Live::new(
            Arc::clone(&published),
            0,
            Arc::new(VerdictCounters::default()),
            Arc::default(),
        );
        for generation in 2..100 {
            publish(&published, policy("pool", generation));
        }
        // The first, which the idle worker still holds.
        assert_eq!(published.past().generations.len(), 1);
        drop(live);
        published.rule_totals();
        assert_eq!(published.past().generations.len(), 0);
    }

    #[test]
    fn rules_that_are_renamed_a_thousand_times_leave_a_few_names_and_no_packet_uncounted() {
        let published = Arc::new(Published::new(policy("pool 0", 1), None, 1));
        let mut live = Live::new(Arc::clone(&published), 0, Arc::default(), Arc::default());
        let packets = vec![to_server(); 3];
        for round in 1..=1_000 {
            worker::run(&mut MemoryBackend::new(&packets), &mut live).expect("memory");
            publish(&published, policy(&format!("pool {round}"), round + 1));
        }
        worker::run(&mut MemoryBackend::new(&packets), &mut live).expect("memory");

        let totals = published.rule_totals();
        let names: Vec<&str> = totals.keys().map(|(_, name)| name.as_str()).collect();
        // Those of the last policy, and the others.
        assert_eq!(totals.len(), MAX_RETIRED + 3, "{names:?}");
        assert!(published.past().rules.len() <= MAX_RETIRED + 3);
        let of = |name: &str| totals[&(RuleKind::Server, name.to_owned())].packets;
        assert_eq!((of("pool 1000"), of("pool 990")), (3, 3));
        let sum: u64 = totals.values().map(|total| total.packets).sum();
        assert_eq!(sum, 3 * 1_001);
    }

    #[test]
    fn rules_that_decided_nothing_leave_no_names_behind() {
        let published = Published::new(policy("pool 0", 1), None, 1);
        for round in 1..=100 {
            publish(&published, policy(&format!("pool {round}"), round + 1));
        }
        let names: Vec<String> = published.rule_totals().into_keys().map(|it| it.1).collect();
        assert!(names.contains(&"pool 100".to_owned()));
        let gone = names.iter().filter(|name| name.starts_with("pool")).count();
        assert_eq!(gone, 1, "{names:?}");
    }

    /// The first fragment of a datagram to a service, or what follows it (RFC 791 §3.1).
    fn fragment(is_first: bool) -> Vec<u8> {
        let mut packet = to_remote_desktop();
        // More fragments to come; or 80 bytes on, with none to come.
        let flags_and_offset: u16 = if is_first { 0x2000 } else { 80 / 8 };
        packet[4..6].copy_from_slice(&[0x12, 0x34]);
        packet[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
        packet
    }

    fn to_remote_desktop() -> Vec<u8> {
        datagram([10, 9, 0, 1], 3_389, 72)
    }

    #[test]
    fn a_fragment_behind_a_reload_counts_for_no_rule_of_the_policy_before() {
        let with_rules = |names: &[&str], generation| {
            let allow = |name| {
                format!(
                    "[[allow]]\nname = \"{name}\"\nto = [\"10.9.0.0/24\"]\nports = [\"3389\"]\n"
                )
            };
            compiled(&names.iter().map(allow).collect::<String>(), generation)
        };
        let published = Arc::new(Published::new(with_rules(&["jump hosts"], 1), None, 1));
        let mut live = Live::new(Arc::clone(&published), 0, Arc::default(), Arc::default());
        let judge = |live: &mut Live, packet: Vec<u8>| {
            let packets = [packet];
            let mut backend = MemoryBackend::new(&packets);
            worker::run(&mut backend, live).expect("memory");
            assert_eq!(backend.forwarded().len(), 1);
        };
        judge(&mut live, fragment(true));
        judge(&mut live, fragment(false));
        let of = |name: &str| published.rule_totals()[&(RuleKind::Allow, name.to_owned())].packets;
        assert_eq!(of("jump hosts"), 2, "it follows its first fragment");

        // The rule of that number is another one, and then there is none of that number.
        publish(&published, with_rules(&["another"], 2));
        judge(&mut live, fragment(false));
        assert_eq!(of("another"), 0);
        publish(&published, with_rules(&["jump hosts"], 3));
        judge(&mut live, fragment(true));
        publish(&published, with_rules(&[], 4));
        judge(&mut live, fragment(false));
        assert_eq!(of("jump hosts"), 3);
    }

    #[test]
    fn a_rule_that_comes_back_goes_on_where_it_was() {
        let published = Arc::new(Published::new(policy("one", 1), None, 1));
        let mut live = Live::new(Arc::clone(&published), 0, Arc::default(), Arc::default());
        let packets = vec![to_server(); 3];
        for round in 1..=100 {
            worker::run(&mut MemoryBackend::new(&packets), &mut live).expect("memory");
            let name = ["one", "two"][round % 2];
            publish(&published, policy(name, round as u64 + 1));
        }
        let totals = published.rule_totals();
        let of = |name: &str| totals[&(RuleKind::Server, name.to_owned())].packets;
        assert_eq!((of("one"), of("two")), (150, 150));
    }
}
