//! Chains that stop packets because of a diversion by nftables, which leads each through them twice.
//!
//! ```text
//!  without offramp   tun0 ──▶ eth1
//!  first passage     tun0 ──▶ offramp0     not tracked, with the filter's mark
//!  second passage              offramp0 ──▶ eth1
//! ```
//!
//! Packets that a chain lets go on without offramp have to pass both times. Which packets these are is asked of the rules that
//! let them go on: each stands for those that meet its conditions, and no other condition that only contents decide.
//!
//! What a chain stops without offramp must not pass by being led around its rule: nothing is diverted then.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::chain::{Chain, Condition, Hook, HookPoint, Rule, Ruleset, Tracking};
use super::legacy::family_of;
use super::walk::{self, Assumed, Fate, Probe, WayBack, applicable, cases, follow};
use super::{Firewalls, remedy};
use crate::address::Family;
use crate::gateway::divert::names;
use crate::gateway::divert::nftables::nft;
use crate::verify::Finding;

/// A diversion whose packets pass the chains twice.
#[derive(Debug, Clone)]
pub(in crate::gateway::divert) struct Passage {
    /// The interfaces of the VPN, as the policy names them.
    pub(in crate::gateway::divert) interfaces: Vec<String>,
    /// The filter's device.
    pub(in crate::gateway::divert) device: String,
    /// The families of the diverted packets.
    pub(in crate::gateway::divert) families: Vec<Family>,
    /// The prefixes of the clients.
    pub(in crate::gateway::divert) clients: Vec<IpNet>,
}

/// Packets of one of the VPN's interfaces that a chain stops.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Loss {
    /// The interface of the VPN.
    pub(super) interface: String,
    /// It stops them on their way to the filter.
    pub(super) first: bool,
    /// It stops them behind the filter.
    pub(super) second: bool,
    /// It stops them as a reverse path filter does.
    pub(super) is_reverse_path: bool,
    /// It translates addresses of the packets without offramp, and not behind the filter.
    pub(super) translation: bool,
    /// Some packets that it stops on one of both ways, and the rule by which it does.
    pub(super) some: Option<String>,
    /// What it stops without offramp, and lets go on from the filter: by this rule, or by its policy.
    pub(super) opened: Option<String>,
}

/// Checks all chains; `present` are the interfaces of the host.
pub(in crate::gateway::divert) fn check_passage(
    firewalls: &Firewalls,
    passage: &Passage,
    present: &[String],
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = firewalls.unread().into_iter().collect();
    findings.extend(firewalls.unread_legacy());
    let rulesets = firewalls.rulesets();
    findings.extend(rulesets.flat_map(|it| check_ruleset(it, passage, present)));
    findings
}

/// Returns `true` if a chain lets pass behind the filter what it stops without offramp.
pub(in crate::gateway::divert) fn opens(
    firewalls: &Firewalls,
    passage: &Passage,
    present: &[String],
) -> bool {
    let rulesets = firewalls.rulesets();
    let mut checks = rulesets.flat_map(|ruleset| checks(ruleset, passage, present));
    let interfaces = interfaces(passage, present);
    checks.any(|check| {
        let losses = interfaces.iter().filter_map(|it| check.loss(it));
        losses.into_iter().any(|loss| loss.opened.is_some())
    })
}

/// Checks the chains of `ruleset`.
pub(super) fn check_ruleset(
    ruleset: &Ruleset,
    passage: &Passage,
    present: &[String],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let interfaces = interfaces(passage, present);
    for check in checks(ruleset, passage, present) {
        let ChainCheck { chain, hook, .. } = check;
        let losses = interfaces.iter().filter_map(|it| check.loss(it));
        if let Some(loss) = losses.reduce(worse) {
            if loss.opened.is_some() {
                findings.push(remedy::of_opening(chain, hook, passage, &loss));
            }
            if loss.first || loss.second || loss.translation {
                findings.push(remedy::of_loss(chain, hook, passage, &loss));
            } else if loss.some.is_some() {
                findings.push(remedy::of_some(chain, hook, passage, &loss));
            }
        } else if interfaces.iter().all(|it| check.stops_everything(it)) {
            findings.push(remedy::of_stop(chain, &passage.interfaces));
        }
        if check.is_cut_short(&interfaces) {
            findings.push(remedy::of_length(chain, passage));
        }
        for (change, rule) in check.changes_left_out(&interfaces) {
            findings.push(remedy::of_change(chain, hook, passage, change, rule));
        }
    }
    findings.dedup();
    findings
}

/// The interfaces of the VPN that are there; one that may come for an entry that names none.
fn interfaces(passage: &Passage, present: &[String]) -> Vec<String> {
    let mut interfaces = BTreeSet::new();
    for pattern in &passage.interfaces {
        let is_of_clients = |name: &&String| names(pattern, name) && **name != passage.device;
        let mut there = present.iter().filter(is_of_clients).cloned().peekable();
        if there.peek().is_none() {
            interfaces.insert(pattern.replace('*', "0"));
        }
        // ocserv has an interface for each client, which rules do not tell apart.
        interfaces.extend(there.take(MAX_INTERFACES));
    }
    interfaces.into_iter().collect()
}

fn worse(one: Loss, other: Loss) -> Loss {
    Loss {
        first: one.first || other.first,
        second: one.second || other.second,
        is_reverse_path: one.is_reverse_path || other.is_reverse_path,
        translation: one.translation || other.translation,
        some: one.some.or(other.some),
        opened: one.opened.or(other.opened),
        interface: one.interface,
    }
}

struct ChainCheck<'a> {
    ruleset: &'a Ruleset,
    chain: &'a Chain,
    hook: Hook,
    passage: &'a Passage,
    present: &'a [String],
}

impl ChainCheck<'_> {
    /// Returns what is lost of the packets of `interface`, if anything is.
    fn loss(&self, interface: &str) -> Option<Loss> {
        let mut loss = Loss::of(interface);
        for probe in self.probes(interface) {
            let is_answer = probe.tracking == Tracking::Established;
            if is_answer && !self.may_begin(&probe) {
                continue;
            }
            for assumed in cases(self.ruleset, self.chain, &probe) {
                if loss.first && loss.second {
                    break;
                }
                self.compare(&probe, &assumed, &mut loss);
            }
        }
        for probe in self.probes(interface) {
            self.compare_drops(&probe, &mut loss);
        }
        (loss != Loss::of(interface)).then_some(loss)
    }

    /// Looks for packets that a rule drops without offramp or behind the filter, and not in both cases.
    fn compare_drops(&self, probe: &Probe<'_>, loss: &mut Loss) {
        if probe.tracking == Tracking::Established && !self.may_begin(probe) {
            return;
        }
        let [first, second] = self.passages(probe);
        let drops = |it: &Probe<'_>| walk::drops(self.ruleset, self.chain, it);
        for assumed in drops(probe) {
            let passes = |it: &Probe<'_>| !matches!(self.fate(it, &assumed), Fate::Dropped(_));
            if let Fate::Dropped(rule) = self.fate(probe, &assumed)
                && passes(&first)
                && passes(&second)
                && loss.opened.is_none()
            {
                loss.opened = Some(in_words(rule));
            }
        }
        let (interface, device) = (probe.input, self.passage.device.as_str());
        let mut ways = vec![(second, format!("goes on from {device}"))];
        // What is not tracked is not translated.
        if !self.hook.is_nat {
            ways.push((first, format!("goes from {interface} to {device}")));
        }
        for (way, what) in ways {
            for assumed in drops(&way) {
                if let Fate::Dropped(rule) = self.fate(&way, &assumed)
                    && !matches!(self.fate(probe, &assumed), Fate::Dropped(_))
                    && loss.some.is_none()
                {
                    loss.some = Some(format!("some of what {what} ({})", in_words(rule)));
                }
            }
        }
    }

    /// Returns `true` if the chain has more ways for packets than are followed.
    fn is_cut_short(&self, interfaces: &[String]) -> bool {
        let probes = interfaces.iter().flat_map(|it| self.probes(it));
        probes.into_iter().any(|probe| {
            let [first, second] = self.passages(&probe);
            let dropped = |it: &Probe<'_>| walk::drops(self.ruleset, self.chain, it).len();
            let passed = cases(self.ruleset, self.chain, &probe).len();
            let dropped = [&probe, &first, &second].map(dropped);
            passed.max(dropped.into_iter().max().unwrap_or(0)) >= walk::MAX_CASES
        })
    }

    /// The packets of `probe` on their way to the filter, and behind it.
    fn passages<'p>(&'p self, probe: &Probe<'p>) -> [Probe<'p>; 2] {
        let device = self.passage.device.as_str();
        let is_marked = self.hook.priority > nft::FIRST.into();
        let first = Probe {
            output: probe.output.map(|_| device),
            tracking: Tracking::Untracked,
            way_back: if is_marked {
                WayBack::MissingWithMark
            } else {
                WayBack::Found
            },
            ..*probe
        };
        let second = Probe {
            input: device,
            way_back: WayBack::Missing,
            ..*probe
        };
        [first, second]
    }

    /// The packets of clients without offramp, by family, state and the interface that they go to.
    fn probes<'p>(&'p self, interface: &'p str) -> Vec<Probe<'p>> {
        let own = family_of(&self.chain.table);
        let families = self.passage.families.iter().copied();
        let families = families.filter(|it| own.is_none_or(|own| own == *it));
        let mut probes = Vec::new();
        for family in families {
            for output in self.outputs() {
                for tracking in [Tracking::New, Tracking::Established] {
                    // Address translation decides about the first packet of a connection.
                    if self.hook.is_nat && tracking == Tracking::Established {
                        continue;
                    }
                    probes.push(Probe {
                        input: interface,
                        output,
                        family,
                        tracking,
                        way_back: WayBack::Found,
                        sources: &self.passage.clients,
                    });
                }
            }
        }
        probes
    }

    /// The interfaces to which packets go: those that rules name, and one of the others.
    fn outputs(&self) -> Vec<Option<&str>> {
        if self.hook.point == HookPoint::Prerouting {
            return vec![None];
        }
        let others = self
            .present
            .iter()
            .filter(|name| **name != self.passage.device && name.as_str() != "lo");
        let (named, unnamed): (Vec<_>, Vec<_>) = others.partition(|name| {
            let rules = self.ruleset.chains.iter().flat_map(|chain| &chain.rules);
            let mut conditions = rules.flat_map(|rule| &rule.conditions);
            conditions.any(|condition| is_named(condition, name))
        });
        let unnamed = unnamed.into_iter().take(1);
        let outputs = named.into_iter().take(MAX_INTERFACES).chain(unnamed);
        outputs.map(|name| Some(name.as_str())).collect()
    }

    /// Returns `true` if a connection may begin between the ends of `probe`, in either direction.
    fn may_begin(&self, probe: &Probe<'_>) -> bool {
        let Some(output) = probe.output else {
            return true;
        };
        let there = Probe {
            tracking: Tracking::New,
            ..*probe
        };
        let back = Probe {
            input: output,
            output: Some(probe.input),
            ..there
        };
        [there, back].iter().any(|it| self.lets_on(it))
    }

    /// Returns `true` if the chain lets some of these packets go on.
    fn lets_on(&self, probe: &Probe<'_>) -> bool {
        let mut cases = cases(self.ruleset, self.chain, probe).into_iter();
        cases.any(|assumed| !matches!(self.fate(probe, &assumed), Fate::Dropped(_)))
    }

    fn fate(&self, probe: &Probe<'_>, assumed: &Assumed) -> Fate<'_> {
        follow(self.ruleset, self.chain, probe, assumed)
    }

    /// Compares the fate of packets without offramp with that of both passages.
    fn compare(&self, probe: &Probe<'_>, assumed: &Assumed, loss: &mut Loss) {
        let before = self.fate(probe, assumed);
        if matches!(before, Fate::Dropped(_)) {
            return;
        }
        let [first, second] = self.passages(probe);
        // What is not tracked is not translated.
        if !self.hook.is_nat
            && let Fate::Dropped(rule) = self.fate(&first, assumed)
        {
            loss.first = true;
            loss.is_reverse_path |= rule.is_some_and(|it| it.conditions.iter().any(is_way_back));
        }
        match self.fate(&second, assumed) {
            Fate::Dropped(rule) => {
                loss.second = true;
                loss.is_reverse_path |=
                    rule.is_some_and(|it| it.conditions.iter().any(is_way_back));
            }
            Fate::Accepted if before == Fate::Translated => loss.translation = true,
            Fate::Accepted | Fate::Translated => {}
        }
    }

    /// Returns `true` if clients reach nothing at all, with offramp or without.
    fn stops_everything(&self, interface: &str) -> bool {
        let probes = self.probes(interface);
        self.hook.point == HookPoint::Forward
            && !probes.is_empty()
            && !probes.iter().any(|it| self.may_begin(it))
    }

    /// The changes of packets that a rule makes without offramp, and not behind the filter.
    fn changes_left_out(&self, interfaces: &[String]) -> Vec<(Change, &Rule)> {
        let mut left_out: Vec<(Change, &Rule)> = Vec::new();
        for probe in interfaces.iter().flat_map(|it| self.probes(it)) {
            let [_, second] = self.passages(&probe);
            let kept = applicable(self.ruleset, self.chain, &second);
            for (_, rule) in applicable(self.ruleset, self.chain, &probe) {
                let changes = [
                    (rule.sets_mark, Change::Mark),
                    (rule.sets_segment_size, Change::SegmentSize),
                ];
                let is_kept = kept.iter().any(|(_, it)| std::ptr::eq(*it, rule));
                for (_, change) in changes.into_iter().filter(|it| it.0 && !is_kept) {
                    if !left_out.iter().any(|(it, _)| *it == change) {
                        left_out.push((change, rule));
                    }
                }
            }
        }
        left_out
    }
}

/// The checks of the chains of `ruleset` that clients' packets meet.
fn checks<'a>(
    ruleset: &'a Ruleset,
    passage: &'a Passage,
    present: &'a [String],
) -> impl Iterator<Item = ChainCheck<'a>> {
    let chains = HOOKS.into_iter().flat_map(|point| ruleset.at(point));
    chains.map(move |(chain, hook)| ChainCheck {
        ruleset,
        chain,
        hook,
        passage,
        present,
    })
}

impl Loss {
    /// No loss of packets of `interface`.
    fn of(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            ..Self::default()
        }
    }
}

/// The rule that decided, or the chain's policy.
fn in_words(rule: Option<&Rule>) -> String {
    rule.map_or_else(
        || "its policy".to_owned(),
        |it| format!("rule: {}", it.text),
    )
}

fn is_way_back(condition: &Condition) -> bool {
    match condition {
        Condition::NoWayBack { .. } => true,
        Condition::Not(inner) => is_way_back(inner),
        Condition::All(parts) => parts.iter().any(is_way_back),
        _ => false,
    }
}

fn is_named(condition: &Condition, interface: &str) -> bool {
    match condition {
        Condition::Interface(_, patterns) => patterns.iter().any(|it| names(it, interface)),
        Condition::Not(inner) => is_named(inner, interface),
        Condition::All(parts) => parts.iter().any(|it| is_named(it, interface)),
        _ => false,
    }
}

/// A change that a rule makes to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Of the mark.
    Mark,
    /// Of the largest segment that the ends of a connection agree on.
    SegmentSize,
}

/// The hooks of forwarded packets, in order.
const HOOKS: [HookPoint; 3] = [
    HookPoint::Prerouting,
    HookPoint::Forward,
    HookPoint::Postrouting,
];
/// Interfaces that are told apart, at most.
const MAX_INTERFACES: usize = 8;
