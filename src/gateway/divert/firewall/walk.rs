//! The way of a packet through a chain, under assumptions about conditions that only its contents decide.

use std::collections::BTreeSet;

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
            Condition::Other(number) => assumed.contains(number),
            Condition::Not(inner) => !self.meets(inner, assumed),
            _ => false,
        })
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
            Condition::Other(_) => return None,
            Condition::Not(inner) => !self.decides(inner)?,
        })
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
    let mut cases = vec![Assumed::new()];
    collect(ruleset, chain, probe, &Assumed::new(), 0, &mut cases);
    cases
}

/// Adds the cases of a chain, which a packet reaches under `assumed`. Returns `true` if no packet gets beyond it.
fn collect(
    ruleset: &Ruleset,
    chain: &Chain,
    probe: &Probe<'_>,
    assumed: &Assumed,
    depth: usize,
    cases: &mut Vec<Assumed>,
) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    let mut assumed = assumed.clone();
    for rule in &chain.rules {
        if cases.len() >= MAX_CASES {
            return true;
        }
        let can_apply = |it| probe.decides(it) != Some(false) && !contradicts(it, &assumed);
        if !rule.conditions.iter().all(can_apply) {
            continue;
        }
        let mut here = assumed.clone();
        here.extend(rule.conditions.iter().filter_map(|it| match it {
            Condition::Other(number) => Some(*number),
            _ => None,
        }));
        let mut lead = |name: &str| {
            let target = ruleset.target(chain, name);
            target.is_some_and(|it| collect(ruleset, it, probe, &here, depth + 1, cases))
        };
        let (ends, leaves) = match &rule.step {
            Step::Continue => (false, false),
            Step::Drop => (true, true),
            Step::Jump(name) => {
                let ends = lead(name);
                (ends, ends)
            }
            Step::Goto(name) => (lead(name), true),
            Step::Return => (false, true),
            Step::Accept | Step::Translate(_) => {
                if !cases.contains(&here) {
                    cases.push(here.clone());
                }
                (true, true)
            }
        };
        if leaves && here == assumed {
            // Packets that do not meet a negated condition go on.
            match rule.conditions.iter().find_map(negated) {
                Some(number) => _ = assumed.insert(number),
                None => return ends,
            }
        }
    }
    false
}

/// Returns `true` if the condition asks that what is assumed does not hold.
fn contradicts(condition: &Condition, assumed: &Assumed) -> bool {
    negated(condition).is_some_and(|number| assumed.contains(&number))
}

/// The number of a condition that must not hold.
fn negated(condition: &Condition) -> Option<u32> {
    match condition {
        Condition::Not(inner) => match **inner {
            Condition::Other(number) => Some(number),
            _ => None,
        },
        _ => None,
    }
}

/// Cases at most: beyond, a firewall is only checked in part.
const MAX_CASES: usize = 128;

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
