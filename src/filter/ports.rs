//! What the ports of a packet decide, once its addresses and its protocol are known.

use std::collections::HashMap;

use super::{RuleTable, Verdict, class::Class, verdict::Reason};
use crate::packet::Protocol;
use crate::policy::{Allow, Policy, PortRange, Sourced};

/// What is left to ask about a TCP or UDP packet to an address of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Decision {
    /// Nothing: every pair of ports gets this verdict.
    Verdict(Verdict),
    /// The destination port, in the [`PortTable`] of this number.
    DestinationPort(u32),
    /// The source port, in the [`PortTable`] of this number.
    SourcePort(u32),
}

/// A function from a port to a decision, as the ranges over which it is constant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PortTable {
    /// First port of each range, ascending from 0.
    starts: Vec<u16>,
    /// What the ports of each range decide; as many as `starts`.
    decisions: Vec<Decision>,
}

impl PortTable {
    fn lookup(&self, port: u16) -> Decision {
        let ranges_up_to_port = self.starts.partition_point(|&start| start <= port);
        self.decisions[ranges_up_to_port - 1]
    }
}

/// The port tables of a policy; equal ones are kept once.
#[derive(Debug, Clone, Default)]
pub(super) struct PortTables {
    tables: Vec<PortTable>,
}

impl PortTables {
    /// Follows `decision` to the verdict of a packet with these ports.
    #[inline]
    pub(super) fn resolve(&self, mut decision: Decision, source: u16, destination: u16) -> Verdict {
        // Two steps at most: a table of destination ports leads to tables of source ports, those to verdicts.
        loop {
            decision = match decision {
                Decision::Verdict(verdict) => return verdict,
                Decision::DestinationPort(table) => self.tables[table as usize].lookup(destination),
                Decision::SourcePort(table) => self.tables[table as usize].lookup(source),
            }
        }
    }

    /// Every verdict that `decision` can lead to.
    pub(super) fn verdicts(&self, decision: Decision) -> Vec<Verdict> {
        match decision {
            Decision::Verdict(verdict) => vec![verdict],
            Decision::DestinationPort(table) | Decision::SourcePort(table) => {
                let decisions = &self.tables[table as usize].decisions;
                decisions.iter().flat_map(|&decision| self.verdicts(decision)).collect()
            }
        }
    }

    /// Bytes that the tables take.
    pub(super) fn memory_bytes(&self) -> usize {
        let of_table = |table: &PortTable| {
            size_of::<PortTable>()
                + table.starts.capacity() * size_of::<u16>()
                + table.decisions.capacity() * size_of::<Decision>()
        };
        self.tables.iter().map(of_table).sum()
    }
}

/// Builds the port tables of one policy.
pub(super) struct PortCompiler<'a> {
    policy: &'a Policy,
    rules: &'a RuleTable,
    tables: PortTables,
    numbers: HashMap<PortTable, u32>,
}

impl<'a> PortCompiler<'a> {
    pub(super) fn new(policy: &'a Policy, rules: &'a RuleTable) -> Self {
        Self { policy, rules, tables: PortTables::default(), numbers: HashMap::new() }
    }

    pub(super) fn finish(self) -> PortTables {
        self.tables
    }

    /// What decides about packets of `protocol` to an address of `class`: rules 5 to 7 of the verdict order.
    pub(super) fn decide(&mut self, class: &Class, protocol: Protocol) -> Decision {
        let (blocked_ports, blocked) = if let Some(server) = class.server {
            (vec![PortRange::ALL], Verdict::drop(Reason::Servers).by(self.rules.server(server as usize)))
        } else if class.client {
            (values(&self.policy.media.ports), Verdict::drop(Reason::Hairpin).by(self.rules.media()))
        } else if class.corporate {
            (values(&self.policy.media.ports), Verdict::drop(Reason::Media).by(self.rules.media()))
        } else {
            return Decision::Verdict(Verdict::forward(Reason::Default));
        };
        let lifts_it = |allow: &Allow| if class.server.is_some() { allow.lifts.servers } else { allow.lifts.media };
        let exceptions: Vec<Exception> = class
            .allows
            .iter()
            .map(|&position| (position as usize, &self.policy.allows[position as usize]))
            .filter(|(_, allow)| allow.protocols.contains(protocol) && lifts_it(allow))
            .map(|(position, allow)| Exception {
                ports: values_or_all(&allow.ports),
                from_ports: values_or_all(&allow.from_ports),
                verdict: Verdict::forward(Reason::Allow).by(self.rules.allow(position)),
            })
            .collect();

        let ranges = blocked_ports.iter().chain(exceptions.iter().flat_map(|exception| &exception.ports));
        let starts = starts_of(ranges);
        let decisions = starts.iter().map(|&port| {
            if !any_contains(&blocked_ports, port) {
                return Decision::Verdict(Verdict::forward(Reason::Default));
            }
            let matching: Vec<&Exception> =
                exceptions.iter().filter(|exception| any_contains(&exception.ports, port)).collect();
            self.decide_by_source(&matching, blocked)
        });
        let decisions = decisions.collect();
        self.table(starts, decisions, Decision::DestinationPort)
    }

    /// What the source port decides where the first of `exceptions` that takes it wins, and else `blocked`.
    fn decide_by_source(&mut self, exceptions: &[&Exception], blocked: Verdict) -> Decision {
        let starts = starts_of(exceptions.iter().flat_map(|exception| &exception.from_ports));
        let verdict_of = |port| {
            let first = exceptions.iter().find(|exception| any_contains(&exception.from_ports, port));
            Decision::Verdict(first.map_or(blocked, |exception| exception.verdict))
        };
        let decisions = starts.iter().map(|&port| verdict_of(port)).collect();
        self.table(starts, decisions, Decision::SourcePort)
    }

    /// The shortest form of the function that has `decisions` from each of `starts` on.
    fn table(&mut self, starts: Vec<u16>, decisions: Vec<Decision>, by_port: fn(u32) -> Decision) -> Decision {
        let mut ranges: Vec<(u16, Decision)> = starts.into_iter().zip(decisions).collect();
        ranges.dedup_by_key(|(_, decision)| *decision);
        if let [(_, decision)] = ranges[..] {
            return decision;
        }
        let (starts, decisions) = ranges.into_iter().unzip();
        let table = PortTable { starts, decisions };
        let next = u32::try_from(self.tables.tables.len()).expect("fewer tables than classes, of which there are 2^16");
        let number = *self.numbers.entry(table).or_insert_with_key(|table| {
            self.tables.tables.push(table.clone());
            next
        });
        by_port(number)
    }
}

/// An `[[allow]]` as it concerns one class and protocol.
struct Exception {
    ports: Vec<PortRange>,
    from_ports: Vec<PortRange>,
    verdict: Verdict,
}

fn values(ranges: &[Sourced<PortRange>]) -> Vec<PortRange> {
    ranges.iter().map(|range| range.value).collect()
}

fn values_or_all(ranges: &[Sourced<PortRange>]) -> Vec<PortRange> {
    if ranges.is_empty() { vec![PortRange::ALL] } else { values(ranges) }
}

fn any_contains(ranges: &[PortRange], port: u16) -> bool {
    ranges.iter().any(|range| range.contains(port))
}

/// The ports at which membership in any of `ranges` can change, 0 included, ascending.
fn starts_of<'r>(ranges: impl Iterator<Item = &'r PortRange>) -> Vec<u16> {
    let edges = ranges.flat_map(|range| [Some(range.first()), range.last().checked_add(1)]);
    let mut starts: Vec<u16> = edges.flatten().chain([0]).collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}
