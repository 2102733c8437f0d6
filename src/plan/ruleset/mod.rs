//! [`Ruleset`]: the filter's verdicts as a list of rules, for firewalls that match addresses, protocols and ports.
//!
//! ```text
//!  Policy ──▶ Ruleset ──▶ rules, the first that matches decides       public, allow, servers, allow, hairpin, media
//!                    ├──▶ clients     from anybody else: not-a-client or spoofed-source, before all rules
//!                    └──▶ portless    TCP and UDP whose ports cannot be read
//! ```
//!
//! If several rules cover an address, the one that the filter names comes first, so a counter on each rule matches the
//! filter's. Rules that can never match are left out. The renderer has to add what such a list cannot express: drops of
//! malformed headers and source routes before the rules, and non-first fragments that share the verdict of their first.

mod owners;
mod portless;

use std::net::IpAddr;

use ipnet::IpNet;

pub use portless::Portless;

use crate::address::{PortRange, PortSet, PrefixSet};
use crate::policy::{Allow, LeakedPublic, Policy, Protocol, ProtocolSet, Sourced, UnknownSource};
use crate::verdict::{Action, Reason};

#[cfg(test)]
mod tests;

/// The verdicts of a policy as a list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// Name of the policy file.
    pub origin: String,
    /// `vpn.interfaces`: the interfaces on which client packets arrive; any interface if empty.
    pub interfaces: Vec<String>,
    /// Source addresses to which `rules` apply.
    pub clients: PrefixSet,
    /// The action for packets from other sources.
    pub unknown_source: UnknownSource,
    /// The rules in order: the first match decides; a packet that matches none is forwarded as `default`.
    pub rules: Vec<PacketRule>,
    /// Destinations at which TCP and UDP without readable ports is dropped; applied after the rules for every protocol.
    pub portless: Portless,
}

/// One rule: destinations, traffic and action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketRule {
    /// The action on matching packets.
    pub action: Action,
    /// The reason of the verdict.
    pub reason: Reason,
    /// The operator's name of the rule; `None` for `[media]`.
    pub name: Option<String>,
    /// Line of the policy file; `None` if the file leaves `[media]` at its default.
    pub line: Option<u32>,
    /// Destination addresses that match.
    pub destinations: PrefixSet,
    /// Protocols and ports that match.
    pub traffic: Traffic,
}

/// The traffic that a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Traffic {
    /// Every protocol.
    Any,
    /// TCP, UDP or both, with these ports.
    Transport {
        /// The protocols.
        protocols: ProtocolSet,
        /// Source ports.
        from_ports: PortSet,
        /// Destination ports.
        ports: PortSet,
    },
}

impl Traffic {
    /// Returns the source and destination ports of `protocol` that match; `None` if ports are not matched.
    fn ports_of(&self, protocol: Protocol) -> Option<(&PortSet, &PortSet)> {
        match self {
            Self::Transport {
                protocols,
                from_ports,
                ports,
            } if protocols.contains(protocol) => Some((from_ports, ports)),
            Self::Any | Self::Transport { .. } => None,
        }
    }

    /// Returns `true` if a packet of `transport` matches: protocol, source port and destination port; `None` for
    /// neither TCP nor UDP.
    fn matches(&self, transport: Option<(Protocol, u16, u16)>) -> bool {
        match (self, transport) {
            (Self::Any, _) => true,
            (Self::Transport { .. }, None) => false,
            (Self::Transport { .. }, Some((protocol, from, to))) => self
                .ports_of(protocol)
                .is_some_and(|(sources, ports)| sources.contains(from) && ports.contains(to)),
        }
    }
}

impl Ruleset {
    /// Builds the rules of `policy`, whose feeds must be loaded, and whose `media.match` is `"ports"`: rules read no
    /// payload.
    pub fn of(policy: &Policy) -> Self {
        let set = |prefixes: &[Sourced<IpNet>]| -> PrefixSet {
            prefixes.iter().map(|it| it.value).collect()
        };
        let clients = set(&policy.vpn.client_subnets);
        let corporate = set(&policy.corporate.subnets);
        let media: PortSet = policy.media.ports.iter().map(|it| it.value).collect();
        let server_lists = policy.servers.iter().map(|it| values(&it.addresses));
        let server_lists: Vec<Vec<IpNet>> = server_lists.collect();
        let servers: PrefixSet = server_lists.iter().flatten().copied().collect();

        let mut rules = public_rules(policy);
        for allow in policy.allows.iter().filter(|it| it.lifts.servers) {
            let to: PrefixSet = allow.prefixes(&policy.vpn).map(|it| it.value).collect();
            let at_servers = to.intersect(&servers);
            rules.push(lifted(allow, allow.protocols, at_servers, &PortSet::all()));
        }
        for (at, destinations) in owners::in_order(&server_lists) {
            let name = &policy.servers[at].name;
            rules.push(PacketRule {
                action: Action::Drop,
                reason: Reason::Servers,
                name: Some(name.value.clone()),
                line: Some(name.line),
                destinations,
                traffic: transport(ProtocolSet::Both, PortSet::all(), PortSet::all()),
            });
        }
        let offices = corporate.subtract(&clients);
        for allow in policy.allows.iter().filter(|it| it.lifts.media) {
            let Some(protocols) = allow.protocols.intersect(policy.media.protocols) else {
                continue;
            };
            let to: PrefixSet = allow.prefixes(&policy.vpn).map(|it| it.value).collect();
            let between_clients = allow.prefixes_between_clients(&policy.vpn, &clients);
            let between_clients: PrefixSet = between_clients.map(|it| it.value).collect();
            let destinations = to.intersect(&offices).union(&between_clients);
            rules.push(lifted(allow, protocols, destinations, &media));
        }
        let line = policy.media.ports.first().map(|it| it.line);
        for (reason, destinations) in [(Reason::Hairpin, &clients), (Reason::Media, &corporate)] {
            rules.push(PacketRule {
                action: Action::Drop,
                reason,
                name: None,
                line: line.filter(|&line| line > 0),
                destinations: destinations.clone(),
                traffic: transport(policy.media.protocols, PortSet::all(), media.clone()),
            });
        }
        leave_out_idle(&mut rules);
        Self {
            origin: policy.origin.clone(),
            interfaces: policy
                .vpn
                .interfaces
                .iter()
                .map(|it| it.value.clone())
                .collect(),
            clients,
            unknown_source: policy.filter.unknown_source,
            portless: Portless::of(&rules),
            rules,
        }
    }

    /// Returns the action on a packet with readable ports, and the rule that decides: the oracle of rendered rules.
    ///
    /// `transport` is its protocol, source and destination port; `None` for neither TCP nor UDP.
    pub fn decide(
        &self,
        source: IpAddr,
        destination: IpAddr,
        transport: Option<(Protocol, u16, u16)>,
    ) -> (Action, Reason) {
        if !self.clients.contains(source) {
            return match self.unknown_source {
                UnknownSource::Forward => (Action::Forward, Reason::NotAClient),
                UnknownSource::Drop => (Action::Drop, Reason::SpoofedSource),
            };
        }
        let mut rules = self.rules.iter();
        let decides = rules.find(|rule| {
            rule.destinations.contains(destination) && rule.traffic.matches(transport)
        });
        decides.map_or((Action::Forward, Reason::Default), |rule| {
            (rule.action, rule.reason)
        })
    }
}

impl PacketRule {
    /// Returns a one-line description: reason, name, line.
    pub fn title(&self) -> String {
        let mut title = self.reason.name().to_owned();
        if let Some(name) = &self.name {
            title.push_str(": ");
            title.push_str(name);
        }
        if let Some(line) = self.line {
            title.push_str(&format!(" (line {line})"));
        }
        title
    }
}

/// Removes rules that can never match: those without ports, and those whose packets earlier rules decide.
fn leave_out_idle(rules: &mut Vec<PacketRule>) {
    let mut decided = PrefixSet::EMPTY;
    rules.retain(|rule| {
        let (has_ports, decides_all) = match &rule.traffic {
            Traffic::Any => (true, true),
            Traffic::Transport {
                protocols,
                from_ports,
                ports,
            } => (
                !from_ports.is_empty() && !ports.is_empty(),
                *protocols == ProtocolSet::Both && from_ports.is_all() && ports.is_all(),
            ),
        };
        let can_match = has_ports && !rule.destinations.subtract(&decided).is_empty();
        if can_match && decides_all {
            decided = decided.union(&rule.destinations);
        }
        can_match
    });
}

/// Returns a rule for each public service and feed.
fn public_rules(policy: &Policy) -> Vec<PacketRule> {
    let services = policy.publics.iter();
    let services = services.map(|it| (&it.name, values(&it.addresses)));
    let feeds = policy.feeds.iter().map(|feed| {
        let prefixes = feed.prefixes.iter().flatten();
        (&feed.name, prefixes.map(|it| it.prefix).collect())
    });
    let (names, lists): (Vec<&Sourced<String>>, Vec<Vec<IpNet>>) = services.chain(feeds).unzip();
    let action = match policy.filter.leaked_public {
        LeakedPublic::Forward => Action::Forward,
        LeakedPublic::Drop => Action::Drop,
    };
    let ordered = owners::in_order(&lists).into_iter();
    let rule = |(at, destinations): (usize, PrefixSet)| PacketRule {
        action,
        reason: Reason::Public,
        name: Some(names[at].value.clone()),
        line: Some(names[at].line),
        destinations,
        traffic: Traffic::Any,
    };
    ordered.map(rule).collect()
}

/// Returns the rule by which `allow` forwards `protocols` and those of its ports that are among `ports`: what would
/// otherwise be dropped at `destinations`.
fn lifted(
    allow: &Allow,
    protocols: ProtocolSet,
    destinations: PrefixSet,
    ports: &PortSet,
) -> PacketRule {
    PacketRule {
        action: Action::Forward,
        reason: Reason::Allow,
        name: Some(allow.name.value.clone()),
        line: Some(allow.name.line),
        destinations,
        traffic: transport(
            protocols,
            ports_of_option(&allow.from_ports),
            ports_of_option(&allow.ports).intersect(ports),
        ),
    }
}

/// Returns the ports of an option that means every port if it is empty.
pub(super) fn ports_of_option(ranges: &[Sourced<PortRange>]) -> PortSet {
    if ranges.is_empty() {
        PortSet::all()
    } else {
        ranges.iter().map(|it| it.value).collect()
    }
}

const fn transport(protocols: ProtocolSet, from_ports: PortSet, ports: PortSet) -> Traffic {
    Traffic::Transport {
        protocols,
        from_ports,
        ports,
    }
}

fn values(prefixes: &[Sourced<IpNet>]) -> Vec<IpNet> {
    prefixes.iter().map(|it| it.value).collect()
}
