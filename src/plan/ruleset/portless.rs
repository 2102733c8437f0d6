//! [`Portless`]: the handling of TCP and UDP packets whose ports cannot be read.
//!
//! Rules that match ports cannot decide a packet with a truncated header or a non-first fragment. The certain verdicts
//! follow from the address rules alone:
//!
//! ```text
//!  ends before its ports     dropped where some ports would have it dropped     `cut`
//!  IPv4, non-first fragment  dropped where all ports would have it dropped      `tails`
//!  IPv6, non-first fragment  forwarded: what it carries is said in the first
//! ```
//!
//! A non-first fragment that passes is useless if its first fragment was dropped. Public destinations have been decided
//! earlier.

use super::{PacketRule, Traffic};
use crate::address::PortSet;
use crate::address::PrefixSet;
use crate::policy::Protocol;
use crate::verdict::Action;

/// Destinations at which packets without readable ports are dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Portless {
    /// Destinations for TCP with a truncated header.
    pub truncated_tcp: PrefixSet,
    /// Destinations for UDP with a truncated header.
    pub truncated_udp: PrefixSet,
    /// Destinations for non-first IPv4 fragments of TCP.
    pub non_first_tcp: PrefixSet,
    /// Destinations for non-first IPv4 fragments of UDP.
    pub non_first_udp: PrefixSet,
}

impl Portless {
    /// Derives the destinations from `rules`, in their order.
    pub(super) fn of(rules: &[PacketRule]) -> Self {
        let (truncated_tcp, non_first_tcp) = dropped(rules, Protocol::Tcp);
        let (truncated_udp, non_first_udp) = dropped(rules, Protocol::Udp);
        Self {
            truncated_tcp,
            truncated_udp,
            non_first_tcp,
            non_first_udp,
        }
    }

    /// Returns destinations at which a packet too short to tell TCP from UDP is dropped.
    pub fn truncated_either(&self) -> PrefixSet {
        self.truncated_tcp.union(&self.truncated_udp)
    }
}

/// Returns the destinations at which `rules` drop some ports of `protocol`, and those at which they drop all; the
/// second is IPv4 only.
fn dropped(rules: &[PacketRule], protocol: Protocol) -> (PrefixSet, PrefixSet) {
    let speaks = |rule: &&PacketRule| rule.traffic.ports_of(protocol).is_some();
    let rules: Vec<&PacketRule> = rules.iter().filter(speaks).collect();
    let mut some = PrefixSet::EMPTY;
    let mut all = PrefixSet::EMPTY;
    for (at, drops) in rules.iter().enumerate() {
        if drops.action != Action::Drop {
            continue;
        }
        // Earlier rules decide these.
        let (before, reach) = (&rules[..at], &drops.destinations);
        let mut untouched = reach.clone();
        let mut partly: Vec<&PacketRule> = Vec::new();
        let mut left = reach.clone();
        for rule in before {
            untouched = untouched.subtract(&rule.destinations);
            if covers(&[*rule], drops, protocol) {
                left = left.subtract(&rule.destinations);
            } else {
                partly.push(rule);
            }
        }
        some = some.union(&left.subtract(&covered_together(&partly, drops, &left, protocol)));
        if is_every_port(&drops.traffic, protocol) {
            all = all.union(&untouched);
        }
    }
    (some, all.only_v4())
}

/// Returns the addresses of `reach` at which several of `rules` together leave nothing for `drops` to drop.
fn covered_together(
    rules: &[&PacketRule],
    drops: &PacketRule,
    reach: &PrefixSet,
    protocol: Protocol,
) -> PrefixSet {
    let mut covered = PrefixSet::EMPTY;
    // Most often even all of them together leave something, whatever their addresses.
    if !covers(rules, drops, protocol) {
        return covered;
    }
    let mut regions: Vec<(PrefixSet, Vec<&PacketRule>)> = vec![(reach.clone(), Vec::new())];
    for rule in rules {
        let mut next = Vec::with_capacity(regions.len() + 1);
        for (region, with) in regions {
            let inside = region.intersect(&rule.destinations);
            let outside = region.subtract(&rule.destinations);
            if !inside.is_empty() {
                let mut with = with.clone();
                with.push(*rule);
                next.push((inside, with));
            }
            if !outside.is_empty() {
                next.push((outside, with));
            }
        }
        regions = next;
    }
    for (region, with) in regions {
        if covers(&with, drops, protocol) {
            covered = covered.union(&region);
        }
    }
    covered
}

/// Returns `true` if `rules` decide every pair of ports of `protocol` that `drops` would drop.
fn covers(rules: &[&PacketRule], drops: &PacketRule, protocol: Protocol) -> bool {
    let ports_of = |rule: &PacketRule| {
        let (from, to) = rule.traffic.ports_of(protocol)?;
        Some((from.clone(), to.clone()))
    };
    let Some((wanted_from, wanted_to)) = ports_of(drops) else {
        return true;
    };
    let parts: Vec<(PortSet, PortSet)> = rules.iter().filter_map(|rule| ports_of(rule)).collect();
    let telling = |of: &PortSet, which: fn(&(PortSet, PortSet)) -> &PortSet| -> Vec<u16> {
        let mut starts: Vec<u16> = of.starts().collect();
        for part in &parts {
            starts.extend(which(part).starts().filter(|port| of.contains(*port)));
        }
        starts.retain(|port| of.contains(*port));
        starts.sort_unstable();
        starts.dedup();
        starts
    };
    let to = telling(&wanted_to, |(_, to)| to);
    telling(&wanted_from, |(from, _)| from)
        .into_iter()
        .all(|from| {
            to.iter().all(|&to| {
                parts
                    .iter()
                    .any(|part| part.0.contains(from) && part.1.contains(to))
            })
        })
}

fn is_every_port(traffic: &Traffic, protocol: Protocol) -> bool {
    let ports = traffic.ports_of(protocol);
    ports.is_some_and(|(from, to)| from.is_all() && to.is_all())
}
