//! The model of the packet path: the reference filter, and sums.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::filter::RuleTable;
use crate::filter::reference::ReferenceFilter;
use crate::filter::strategy::Arrival;
use crate::gateway::tun::counters::VerdictCounters;
use crate::gateway::tun::publish::Published;
use crate::packet::{Received, Traffic};
use crate::policy::{Enforcement, Policy};
use crate::verdict::{Action, Reason, RuleKind, Verdict};

/// How far runs have come, for a test that says that nothing is missing.
#[derive(Debug, Default)]
pub struct Reached {
    /// Verdicts that packets got.
    pub verdicts: HashSet<(Reason, Action)>,
    /// Packets that the diversion passed by itself.
    pub passed: u64,
    /// Packets that were forwarded though their verdict was to drop.
    pub spared: u64,
    /// Answers of upstreams that clients got.
    pub answers: u64,
}

/// The state that a gateway should have.
#[derive(Debug)]
pub(super) struct Model {
    /// Knows the packets that the filter was handed.
    reference: ReferenceFilter,
    /// Knows those, too, that the diversion passed by itself.
    whole: ReferenceFilter,
    rules: RuleTable,
    enforcement: Enforcement,
    verdicts: HashMap<(Reason, Action), Traffic>,
    by_kind: HashMap<RuleKind, Traffic>,
    /// Packets that the diversion passed by itself.
    passed: u64,
    /// Packets that were dropped, but for senders for whom the policy does not take effect.
    spared: u64,
}

impl Model {
    pub(super) fn new(policy: &Policy, own: &[IpAddr], enforcement: &Enforcement) -> Self {
        Self {
            reference: ReferenceFilter::at_gateway(policy, own),
            whole: ReferenceFilter::at_gateway(policy, own),
            rules: RuleTable::new(policy),
            enforcement: enforcement.clone(),
            verdicts: HashMap::new(),
            by_kind: HashMap::new(),
            passed: 0,
            spared: 0,
        }
    }

    /// Goes on by another policy: flows and first fragments are forgotten, sums are not.
    pub(super) fn adopt(&mut self, policy: &Policy, own: &[IpAddr], enforcement: &Enforcement) {
        let fresh = Self::new(policy, own, enforcement);
        self.reference = fresh.reference;
        self.whole = fresh.whole;
        self.rules = fresh.rules;
        self.enforcement = fresh.enforcement;
    }

    /// Goes on with the same policy, for these clients.
    pub(super) fn enforce(&mut self, enforcement: &Enforcement) {
        self.enforcement = enforcement.clone();
    }

    /// Compares the verdict of the filter.
    pub(super) fn judged(&mut self, packet: Received<'_>, verdict: Verdict) {
        let expected = self
            .reference
            .judge(packet.bytes, packet.length_on_wire, packet.at);
        assert_eq!(verdict, expected, "{packet:02x?}");
        self.whole
            .judge(packet.bytes, packet.length_on_wire, packet.at);
    }

    /// Compares what the diversion has passed by itself.
    pub(super) fn passed(&mut self, arrival: &Arrival, verdict: Verdict) {
        let length = arrival.length_on_the_wire;
        let expected = self.whole.judge(&arrival.packet, length, arrival.now);
        assert_eq!(verdict, expected, "{arrival:02x?}");
        self.passed += 1;
    }

    /// Counts what the filter counts.
    pub(super) fn count(&mut self, verdict: Verdict, traffic: Traffic) {
        *self
            .verdicts
            .entry((verdict.reason, verdict.action))
            .or_default() += traffic;
        if let Some(rule) = verdict.rule {
            let kind = self.rules.rule(rule).expect("a rule of the policy").kind;
            *self.by_kind.entry(kind).or_default() += traffic;
        }
    }

    /// Compares which of the dropped packets are forwarded, since the policy does not take effect for their senders.
    pub(super) fn spared(&mut self, packet: Received<'_>, is_spared: bool) {
        let enforcement = &self.enforcement;
        let sender = packet.parse().map(|view| view.addresses().source());
        let is_pilot = |sender: IpAddr| {
            let mut pilot = enforcement.pilot.iter();
            pilot.any(|prefix| prefix.value.contains(&sender))
        };
        let is_dropped = match (&enforcement.off, enforcement.pilot.is_empty()) {
            (Some(_), _) => false,
            (None, true) => true,
            (None, false) => sender.is_ok_and(is_pilot),
        };
        assert_eq!(
            is_spared,
            !is_dropped && !packet.bytes.is_empty(),
            "{packet:02x?}"
        );
        self.spared += u64::from(is_spared);
    }

    /// Adds what has happened to `reached`.
    pub(super) fn tell(&self, reached: &mut Reached) {
        reached.verdicts.extend(self.verdicts.keys());
        reached.passed += self.passed;
        reached.spared += self.spared;
    }

    /// Compares the sums.
    pub(super) fn compare(&self, counters: &VerdictCounters, published: &Published) {
        for (reason, action, traffic) in counters.read() {
            let expected = self.verdicts.get(&(reason, action)).copied();
            assert_eq!(traffic, expected.unwrap_or_default(), "{reason} {action}");
        }
        let mut by_kind: HashMap<RuleKind, Traffic> = HashMap::new();
        for ((kind, _), traffic) in published.rule_totals() {
            *by_kind.entry(kind).or_default() += traffic;
        }
        by_kind.retain(|_, traffic| traffic.packets > 0);
        assert_eq!(by_kind, self.by_kind);
    }
}
