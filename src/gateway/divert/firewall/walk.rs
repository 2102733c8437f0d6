//! The way of a packet through a chain, under assumptions about conditions that only its contents decide.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::chain::{
    Chain, Condition, Direction, Policy, Rule, Ruleset, Step, Tracking, Translation,
};
use crate::address::Family;
use crate::gateway::divert::names;

/// A packet, as far as the checks tell packets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe<'a> {
    /// The interface that it came from.
    pub(super) input: &'a str,
    /// The interface that it goes to, once it is routed.
    pub(super) output: Option<&'a str>,
    /// Its family.
    pub(super) family: Family,
    /// Its state of connection tracking.
    pub(super) tracking: Tracking,
    /// The routes back to its source.
    pub(super) way_back: WayBack,
    /// The prefixes that its source may be in; none if they are unknown.
    pub(super) sources: &'a [IpNet],
}

/// The routes by which a reverse path filter finds the interface that a packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WayBack {
    /// They lead to that interface.
    Found,
    /// They lead elsewhere if the packet's mark takes part in the search.
    MissingWithMark,
    /// They lead elsewhere.
    Missing,
}

/// The numbers of the conditions that hold for a packet, of those that only its contents decide.
pub(super) type Assumed = BTreeSet<u32>;

/// The fate of a packet in a chain at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate<'a> {
    /// It goes on.
    Accepted,
    /// It goes on with another address.
    Translated,
    /// It is dropped by this rule; `None` for the policy of the chain.
    Dropped(Option<&'a Rule>),
}

impl Probe<'_> {
    /// Returns `true` if the packet meets the condition; `Other` ones by `assumed`.
    fn meets(&self, condition: &Condition, assumed: &Assumed) -> bool {
        self.decides(condition).unwrap_or_else(|| match condition {
            Condition::Other(number) | Condition::Source(_, number) => assumed.contains(number),
            Condition::All(parts) => parts.iter().all(|it| self.meets(it, assumed)),
            Condition::Not(inner) => !self.meets(inner, assumed),
            _ => false,
        })
    }

    /// Adds the numbers of the parts of a condition that only the packet's contents decide.
    fn add_numbers(&self, condition: &Condition, numbers: &mut Assumed) {
        match condition {
            Condition::Other(number) => _ = numbers.insert(*number),
            Condition::Source(_, number) if self.decides(condition).is_none() => {
                numbers.insert(*number);
            }
            Condition::All(parts) => parts.iter().for_each(|it| self.add_numbers(it, numbers)),
            _ => {}
        }
    }

    /// The number of a condition that must not hold.
    fn negated(&self, condition: &Condition) -> Option<u32> {
        let Condition::Not(inner) = condition else {
            return None;
        };
        let mut numbers = Assumed::new();
        self.add_numbers(inner, &mut numbers);
        numbers.first().copied()
    }

    /// Returns `true` if a rule with these conditions can apply to the packet, whatever it holds.
    pub(super) fn can_meet(&self, rule: &Rule) -> bool {
        rule.conditions
            .iter()
            .all(|it| self.decides(it) != Some(false))
    }

    /// Returns whether the packet meets the condition; `None` if only its contents tell.
    fn decides(&self, condition: &Condition) -> Option<bool> {
        Some(match condition {
            Condition::Interface(direction, patterns) => {
                let interface = match direction {
                    Direction::In => self.input,
                    Direction::Out => self.output?,
                };
                patterns.iter().any(|pattern| names(pattern, interface))
            }
            Condition::Tracking(states) => states.contains(&self.tracking),
            Condition::Family(family) => *family == self.family,
            Condition::NoWayBack { with_mark } => match self.way_back {
                WayBack::Found => false,
                WayBack::MissingWithMark => *with_mark,
                WayBack::Missing => true,
            },
            Condition::Source(ranges, _) => return self.is_from(ranges),
            Condition::Other(_) => return None,
            Condition::All(parts) => {
                let mut decided = parts.iter().map(|it| self.decides(it));
                if decided.clone().any(|it| it == Some(false)) {
                    false
                } else if decided.all(|it| it == Some(true)) {
                    true
                } else {
                    return None;
                }
            }
            Condition::Not(inner) => !self.decides(inner)?,
        })
    }

    /// Returns whether the source is in one of `ranges`; `None` if that depends on the client.
    fn is_from(&self, ranges: &[(IpAddr, IpAddr)]) -> Option<bool> {
        let of_family = |it: &&IpNet| Family::from(it.addr()) == self.family;
        let mut sources = self.sources.iter().filter(of_family).peekable();
        sources.peek()?;
        let within = |it: &IpNet| {
            let mut ranges = ranges.iter();
            ranges.any(|(first, last)| *first <= it.network() && it.broadcast() <= *last)
        };
        let beside = |it: &IpNet| {
            let mut ranges = ranges.iter();
            ranges.all(|(first, last)| it.broadcast() < *first || *last < it.network())
        };
        if sources.clone().all(within) {
            Some(true)
        } else if sources.all(beside) {
            Some(false)
        } else {
            None
        }
    }
}

/// Chains that call each other, at most: the kernel allows 16.
const MAX_DEPTH: usize = 20;

/// Follows `probe` through `chain`, which is at a hook.
pub(super) fn follow<'a>(
    ruleset: &'a Ruleset,
    chain: &'a Chain,
    probe: &Probe<'_>,
    assumed: &Assumed,
) -> Fate<'a> {
    let decided = follow_in(ruleset, chain, probe, assumed, 0);
    decided.unwrap_or(match chain.policy {
        Policy::Accept => Fate::Accepted,
        Policy::Drop => Fate::Dropped(None),
    })
}

/// Returns the fate in `chain`; `None` if its caller decides.
fn follow_in<'a>(
    ruleset: &'a Ruleset,
    chain: &'a Chain,
    probe: &Probe<'_>,
    assumed: &Assumed,
    depth: usize,
) -> Option<Fate<'a>> {
    if depth > MAX_DEPTH {
        return None;
    }
    let lead = |name: &str| {
        let target = ruleset.target(chain, name)?;
        follow_in(ruleset, target, probe, assumed, depth + 1)
    };
    for rule in &chain.rules {
        if !rule.conditions.iter().all(|it| probe.meets(it, assumed)) {
            continue;
        }
        match &rule.step {
            Step::Continue => {}
            Step::Accept => return Some(Fate::Accepted),
            Step::Drop => return Some(Fate::Dropped(Some(rule))),
            Step::Translate(
                Translation::Destination { .. } | Translation::Redirect | Translation::Source,
            ) => return Some(Fate::Translated),
            Step::Return => return None,
            Step::Goto(name) => return lead(name),
            Step::Jump(name) => {
                if let Some(fate) = lead(name) {
                    return Some(fate);
                }
            }
        }
    }
    None
}

/// Returns sets of assumptions under which `probe` may come to an end in `chain` in different ways: one for each rule that
/// lets it go on, and for the end of the chain.
pub(super) fn cases(ruleset: &Ruleset, chain: &Chain, probe: &Probe<'_>) -> Vec<Assumed> {
    cases_of(Collected::Passing, ruleset, chain, probe)
}

/// Returns sets of assumptions under which a rule of `chain` may drop `probe`, and that for the end of the chain.
pub(super) fn drops(ruleset: &Ruleset, chain: &Chain, probe: &Probe<'_>) -> Vec<Assumed> {
    cases_of(Collected::Dropping, ruleset, chain, probe)
}

/// The rules that have a case each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Collected {
    /// Those that let packets go on.
    Passing,
    /// Those that drop them.
    Dropping,
}

fn cases_of(
    collected: Collected,
    ruleset: &Ruleset,
    chain: &Chain,
    probe: &Probe<'_>,
) -> Vec<Assumed> {
    let mut cases = Cases {
        collected,
        found: vec![Assumed::new()],
    };
    cases.collect(ruleset, chain, probe, &Assumed::new(), 0);
    cases.found
}

struct Cases {
    collected: Collected,
    found: Vec<Assumed>,
}

impl Cases {
    fn add(&mut self, case: &Assumed) {
        if !self.found.contains(case) {
            self.found.push(case.clone());
        }
    }

    /// Adds the cases of a chain, which a packet reaches under `assumed`. Returns `true` if no packet gets beyond it.
    fn collect(
        &mut self,
        ruleset: &Ruleset,
        chain: &Chain,
        probe: &Probe<'_>,
        assumed: &Assumed,
        depth: usize,
    ) -> bool {
        if depth > MAX_DEPTH {
            return false;
        }
        let mut assumed = assumed.clone();
        for rule in &chain.rules {
            if self.found.len() >= MAX_CASES {
                return true;
            }
            let contradicts =
                |it| (probe.negated(it)).is_some_and(|number| assumed.contains(&number));
            let can_apply = |it| probe.decides(it) != Some(false) && !contradicts(it);
            if !rule.conditions.iter().all(can_apply) {
                continue;
            }
            let mut here = assumed.clone();
            for condition in &rule.conditions {
                probe.add_numbers(condition, &mut here);
            }
            let mut lead = |name: &str| {
                let target = ruleset.target(chain, name);
                target.is_some_and(|it| self.collect(ruleset, it, probe, &here, depth + 1))
            };
            let (ends, leaves) = match &rule.step {
                Step::Continue => (false, false),
                Step::Drop => {
                    if self.collected == Collected::Dropping {
                        self.add(&here);
                    }
                    (true, true)
                }
                Step::Jump(name) => {
                    let ends = lead(name);
                    (ends, ends)
                }
                Step::Goto(name) => (lead(name), true),
                Step::Return => (false, true),
                Step::Accept | Step::Translate(_) => {
                    if self.collected == Collected::Passing {
                        self.add(&here);
                    }
                    (true, true)
                }
            };
            if leaves && here == assumed {
                // Packets that do not meet a negated condition go on.
                match rule.conditions.iter().find_map(|it| probe.negated(it)) {
                    Some(number) => _ = assumed.insert(number),
                    None => return ends,
                }
            }
        }
        if depth == 0 {
            self.add(&assumed);
        }
        false
    }
}

/// Cases at most: beyond, a firewall is only checked in part.
pub(super) const MAX_CASES: usize = 128;

/// Returns the rules that can apply to `probe` in `chain` and in those that it leads to, each with its chain.
pub(super) fn applicable<'a>(
    ruleset: &'a Ruleset,
    chain: &'a Chain,
    probe: &Probe<'_>,
) -> Vec<(&'a Chain, &'a Rule)> {
    let mut found = Vec::new();
    let mut chains = vec![chain];
    let mut next = 0;
    while let Some(chain) = chains.get(next).copied() {
        next += 1;
        for rule in chain.rules.iter().filter(|rule| probe.can_meet(rule)) {
            found.push((chain, rule));
            let (Step::Jump(name) | Step::Goto(name)) = &rule.step else {
                continue;
            };
            let target = ruleset.target(chain, name);
            let target = target.filter(|it| !chains.iter().any(|seen| std::ptr::eq(*seen, *it)));
            chains.extend(target);
        }
    }
    found
}
