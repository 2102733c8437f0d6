//! [`ReferenceFilter`]: a model of the specified verdicts, written to be reviewed and not to be fast.
//!
//! It is the oracle of the property tests and of fuzzing: a second implementation that shares nothing with the
//! classifier but [`Policy`] and [`Verdict`]. It reads bytes by their offset in the RFC, scans lists from the front and
//! tries every port that could make a difference. Never use it in a packet path.
//!
//! A packet enters from the VPN side. Only its outermost IP header counts, and the first rule that matches wins:
//!
//! 1. a header that no host would accept → drop `malformed`
//! 2. source outside `vpn.client_subnets` → forward `not-a-client`, or drop `spoofed-source`
//! 3. a source route with hops left → drop `source-routed`
//! 4. destination in a `[[public]]` service or a feed → forward `public`, or drop it
//! 5. destination is one of the gateway's own addresses → forward `gateway`, unless a `[[server]]` names exactly it;
//!    TCP or UDP to a `[[server]]` → drop `servers`, unless an `[[allow]]` lifts it → forward `allow`
//! 6. TCP or UDP to a media port of a client → drop `hairpin`, of a corporate host → drop `media`, unless an
//!    `[[allow]]` lifts it → forward `allow`; between clients by a prefix that lies inside the client subnets alone.
//!    Under a `media.match` other than `"ports"`, only what `packet::media` recognizes
//! 7. anything else → forward `default`
//!
//! Servers in rule 5, and rule 6, may need ports, and not every packet has them. `Payload` lists the ways in which they can be missing;
//! in each case the model considers the verdicts that any ports could lead to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use self::reading::{
    ANY_TRANSPORT, Carries, FragmentKey, Packet, Payload, Ports, Transport, read, read_segment,
};
use super::RuleTable;
use crate::packet::Protocol;
use crate::packet::media::FlowKey;
use crate::packet::media::reference::ReferenceFlows;
use crate::policy::{
    Allow, Destination, LeakedPublic, Policy, PortRange, Server, Sourced, UnknownSource,
};
use crate::verdict::{Action, Reason, RuleId, Verdict};

mod reading;
#[cfg(test)]
mod tests;

/// A non-first fragment that arrives within this time of the first fragment is judged by it; a later one is not.
const FRAGMENT_LIFETIME: Duration = Duration::from_secs(30);

/// A slow, simple model of the filter.
#[derive(Debug)]
pub struct ReferenceFilter {
    rules: Arc<Rules>,
    firsts: HashMap<FragmentKey, First>,
    /// `None` if ports alone decide.
    flows: Option<ReferenceFlows>,
}

/// The part of a filter that does not change with packets.
#[derive(Debug)]
struct Rules {
    policy: Policy,
    /// The addresses of the gateway.
    own: Vec<IpAddr>,
    numbers: RuleTable,
    /// The prefixes of the public services, then those of the feeds.
    publics: Vec<Vec<Sourced<IpNet>>>,
    /// Source ports that represent all others: no rule distinguishes a port from the nearest of these.
    telling_source_ports: Vec<u16>,
    /// Destination ports that represent all others.
    telling_destination_ports: Vec<u16>,
}

impl Rules {
    fn of(policy: &Policy, own: &[IpAddr]) -> Self {
        let services = policy.publics.iter().map(|it| it.addresses.clone());
        let feeds = policy.feeds.iter().map(|feed| {
            let prefixes = feed.prefixes.iter().flatten();
            let sourced = prefixes.map(|taken| Sourced {
                value: taken.prefix,
                line: 0,
            });
            sourced.collect()
        });
        let allows = policy.allows.iter();
        let media = policy.media.ports.iter();
        Self {
            policy: policy.clone(),
            own: own.to_vec(),
            numbers: RuleTable::new(policy),
            publics: services.chain(feeds).collect(),
            telling_source_ports: edges(allows.clone().flat_map(|allow| &allow.from_ports)),
            telling_destination_ports: edges(media.chain(allows.flat_map(|allow| &allow.ports))),
        }
    }
}

/// The state kept for a first fragment.
#[derive(Debug, Clone, Copy)]
struct First {
    verdict: Verdict,
    seen: Duration,
}

impl ReferenceFilter {
    /// Creates a filter for `policy` that has seen no packet, and that no gateway runs.
    pub fn new(policy: &Policy) -> Self {
        Self::at_gateway(policy, &[])
    }

    /// Creates a filter for `policy` that has seen no packet, run by a gateway whose addresses are `own`.
    pub fn at_gateway(policy: &Policy, own: &[IpAddr]) -> Self {
        Self::by(Arc::new(Rules::of(policy, own)))
    }

    /// Creates a filter by the same rules that has seen no packet.
    pub fn afresh(&self) -> Self {
        Self::by(Arc::clone(&self.rules))
    }

    fn by(rules: Arc<Rules>) -> Self {
        let recognition = rules.policy.media.recognition;
        Self {
            rules,
            firsts: HashMap::new(),
            flows: recognition.profile().map(ReferenceFlows::new),
        }
    }

    /// Judges `packet`, which arrives at `now`.
    ///
    /// `length_on_the_wire` is the packet's length, unless a capture cut it by a snap length: then it is what the
    /// packet had before. A value below the length of `packet` counts as that length.
    pub fn judge(&mut self, packet: &[u8], length_on_the_wire: usize, now: Duration) -> Verdict {
        // 1. A header that no host would accept.
        let bytes = packet;
        let Some(packet) = read(bytes, length_on_the_wire.max(bytes.len())) else {
            return Verdict::drop(Reason::Malformed);
        };
        // 2. Source outside the client subnets.
        if !covered(&self.rules.policy.vpn.client_subnets, packet.source) {
            return match self.rules.policy.filter.unknown_source {
                UnknownSource::Forward => Verdict::forward(Reason::NotAClient),
                UnknownSource::Drop => Verdict::drop(Reason::SpoofedSource),
            };
        }
        // 3. A source route with hops left; then 4. to 7., with the available part of the transport header.
        let verdict = match packet.payload {
            _ if packet.source_routed => Verdict::drop(Reason::SourceRouted),
            Payload::Whole(transport) => {
                let verdict = self.rules_4_to_7(packet.destination, transport);
                self.recognized(verdict, bytes, &packet, transport, now)
            }
            Payload::TruncatedHeader(protocol) => {
                self.truncated_header(packet.destination, protocol)
            }
            Payload::TruncatedChain => self.truncated_chain(packet.destination),
            Payload::NonFirst { key, carries } => self.tail(packet.destination, key, carries, now),
        };
        // The newest first fragment decides for the non-first fragments of its key.
        if let Some(key) = packet.first_of {
            self.firsts.insert(key, First { verdict, seen: now });
        }
        verdict
    }

    /// Rule 6, where it asks for evidence: what shows none is forwarded like anything else.
    fn recognized(
        &mut self,
        verdict: Verdict,
        bytes: &[u8],
        packet: &Packet,
        transport: Transport,
        now: Duration,
    ) -> Verdict {
        let (Some(flows), Transport::Ports(ports)) = (&mut self.flows, transport) else {
            return verdict;
        };
        if verdict.reason != Reason::Media && verdict.reason != Reason::Hairpin {
            return verdict;
        }
        let key = FlowKey::new(
            ports.protocol,
            (packet.source, ports.source),
            (packet.destination, ports.destination),
        );
        let segment = read_segment(bytes, packet.transport, ports.protocol);
        match flows.look(&key, segment, now) {
            Some(evidence) => verdict.because_of(evidence),
            None => Verdict::forward(Reason::Default),
        }
    }

    /// Rules 4 to 7, one after the other.
    fn rules_4_to_7(&self, destination: IpAddr, transport: Transport) -> Verdict {
        self.rule_4_public(destination)
            .or_else(|| self.rule_5_gateway(destination))
            .or_else(|| self.rule_5_servers(destination, transport))
            .or_else(|| self.rule_6_media(destination, transport))
            .unwrap_or(Verdict::forward(Reason::Default))
    }

    /// Rule 4: any protocol.
    fn rule_4_public(&self, destination: IpAddr) -> Option<Verdict> {
        // Feeds come after the services, in the rule table and if both have a prefix.
        let publics = self.rules.publics.iter().map(Vec::as_slice);
        let position = longest_match(publics, destination)?;
        let rule = self.rules.numbers.public(position);
        let verdict = match self.rules.policy.filter.leaked_public {
            LeakedPublic::Forward => Verdict::forward(Reason::Public),
            LeakedPublic::Drop => Verdict::drop(Reason::Public),
        };
        Some(verdict.by(rule))
    }

    /// Rule 5, first half: any protocol.
    fn rule_5_gateway(&self, destination: IpAddr) -> Option<Verdict> {
        let names_it = |server: &Server| {
            let mut prefixes = server.addresses.iter().map(|it| it.value);
            prefixes.any(|it| it.addr() == destination && it.prefix_len() == it.max_prefix_len())
        };
        let is_named = self.rules.policy.servers.iter().any(names_it);
        (self.rules.own.contains(&destination) && !is_named)
            .then(|| Verdict::forward(Reason::Gateway))
    }

    /// Rule 5, second half: TCP and UDP, all ports.
    fn rule_5_servers(&self, destination: IpAddr, transport: Transport) -> Option<Verdict> {
        let Transport::Ports(ports) = transport else {
            return None;
        };
        let server = self.server_of(destination)?;
        let lifted = self.first_allow(ports, |allow| {
            allow.lifts.servers && self.is_named(allow, destination)
        });
        Some(match lifted {
            Some(allow) => Verdict::forward(Reason::Allow).by(allow),
            None => Verdict::drop(Reason::Servers).by(server),
        })
    }

    /// Rule 6: TCP and UDP to media ports of clients and corporate hosts; a corporate client is a client.
    fn rule_6_media(&self, destination: IpAddr, transport: Transport) -> Option<Verdict> {
        let Transport::Ports(ports) = transport else {
            return None;
        };
        let reason = if covered(&self.rules.policy.vpn.client_subnets, destination) {
            Reason::Hairpin
        } else if covered(&self.rules.policy.corporate.subnets, destination) {
            Reason::Media
        } else {
            return None;
        };
        let media = &self.rules.policy.media;
        if !media.protocols.contains(ports.protocol) || !any_range(&media.ports, ports.destination)
        {
            return None;
        }
        let lifted = self.first_allow(ports, |allow| {
            let named = match reason {
                Reason::Hairpin => self.is_named_among_clients(allow, destination),
                _ => self.is_named(allow, destination),
            };
            allow.lifts.media && named
        });
        Some(match lifted {
            Some(allow) => Verdict::forward(Reason::Allow).by(allow),
            None => Verdict::drop(reason).by(self.rules.numbers.media()),
        })
    }

    /// The `[[server]]` that `destination` belongs to.
    fn server_of(&self, destination: IpAddr) -> Option<RuleId> {
        let servers = self.rules.policy.servers.iter().map(|it| &it.addresses[..]);
        longest_match(servers, destination).map(|position| self.rules.numbers.server(position))
    }

    /// True if `to` of the `[[allow]]` contains `destination`.
    fn is_named(&self, allow: &Allow, destination: IpAddr) -> bool {
        allow.to.iter().any(|entry| match entry.value {
            Destination::Prefix(prefix) => prefix.contains(&destination),
            Destination::Clients => covered(&self.rules.policy.vpn.client_subnets, destination),
        })
    }

    /// True if `to` of the `[[allow]]` contains `destination` by an entry for clients only.
    fn is_named_among_clients(&self, allow: &Allow, destination: IpAddr) -> bool {
        let clients = &self.rules.policy.vpn.client_subnets;
        allow.to.iter().any(|entry| match entry.value {
            Destination::Prefix(prefix) => {
                prefix.contains(&destination) && lies_inside(prefix, clients)
            }
            Destination::Clients => covered(clients, destination),
        })
    }

    /// The first `[[allow]]` in the file that lifts the rule for `destination` and matches the ports.
    fn first_allow(
        &self,
        ports: Ports,
        lifts_the_rule_there: impl Fn(&Allow) -> bool,
    ) -> Option<RuleId> {
        let matches = |allow: &Allow| {
            lifts_the_rule_there(allow)
                && allow.protocols.contains(ports.protocol)
                && (allow.ports.is_empty() || any_range(&allow.ports, ports.destination))
                && (allow.from_ports.is_empty() || any_range(&allow.from_ports, ports.source))
        };
        let position = self.rules.policy.allows.iter().position(matches)?;
        Some(self.rules.numbers.allow(position))
    }

    /// Judges TCP or UDP without ports: dropped if they could make a difference.
    fn truncated_header(&self, destination: IpAddr, protocol: Protocol) -> Verdict {
        let possible = self.possible_verdicts(destination, &[Some(protocol)]);
        if possible.iter().any(|it| it.action == Action::Drop) {
            self.only(&possible)
                .unwrap_or_else(|| self.tiny_fragment(destination))
        } else {
            // Nothing to drop: an `allow` takes precedence over `default`; of several, the first in the file.
            let first = possible.into_iter().min_by_key(|it| (it.reason, it.rule));
            first.unwrap_or(Verdict::forward(Reason::Default))
        }
    }

    /// Judges an IPv6 packet that ends before its transport header: dropped if the transport could be blocked.
    fn truncated_chain(&self, destination: IpAddr) -> Verdict {
        let possible = self.possible_verdicts(destination, &ANY_TRANSPORT);
        if let Some(verdict) = self.only(&possible) {
            verdict
        } else if possible.iter().any(|it| it.action == Action::Drop) {
            self.tiny_fragment(destination)
        } else {
            Verdict::forward(Reason::Default)
        }
    }

    /// Judges a non-first fragment: it follows its first fragment if ports make a difference.
    fn tail(
        &self,
        destination: IpAddr,
        key: FragmentKey,
        carries: Carries,
        now: Duration,
    ) -> Verdict {
        let possible = match carries {
            Carries::Known(protocol) => self.possible_verdicts(destination, &[protocol]),
            Carries::Anything => self.possible_verdicts(destination, &ANY_TRANSPORT),
        };
        self.only(&possible)
            .or_else(|| self.remembered(key, now))
            .unwrap_or(Verdict::forward(Reason::Default))
    }

    /// The verdict on the newest first fragment of `key`, within its lifetime. Time that goes backwards counts as no
    /// time.
    fn remembered(&self, key: FragmentKey, now: Duration) -> Option<Verdict> {
        let first = self.firsts.get(&key)?;
        let elapsed = now.saturating_sub(first.seen);
        (elapsed <= FRAGMENT_LIFETIME).then_some(first.verdict)
    }

    /// Drops as `tiny-fragment`, by the rule that would have decided: the server's, else `[media]`.
    fn tiny_fragment(&self, destination: IpAddr) -> Verdict {
        let rule = self
            .server_of(destination)
            .unwrap_or(self.rules.numbers.media());
        Verdict::drop(Reason::TinyFragment).by(rule)
    }

    /// Every verdict that rules 4 to 7 could give, each once, if the packet carries one of `protocols`
    /// (`None`: neither TCP nor UDP) and its ports are any at all.
    fn possible_verdicts(
        &self,
        destination: IpAddr,
        protocols: &[Option<Protocol>],
    ) -> Vec<Verdict> {
        let mut possible = Vec::new();
        let mut add = |verdict| {
            if !possible.contains(&verdict) {
                possible.push(verdict);
            }
        };
        for &protocol in protocols {
            let Some(protocol) = protocol else {
                add(self.rules_4_to_7(destination, Transport::Other));
                continue;
            };
            for &source_port in &self.rules.telling_source_ports {
                for &destination_port in &self.rules.telling_destination_ports {
                    let ports = Ports {
                        protocol,
                        source: source_port,
                        destination: destination_port,
                    };
                    add(self.rules_4_to_7(destination, Transport::Ports(ports)));
                }
            }
        }
        possible
    }

    /// The verdict, if there is only one, and it needs no evidence.
    fn only(&self, possible: &[Verdict]) -> Option<Verdict> {
        match possible {
            [verdict] if self.flows.is_none() => Some(*verdict),
            [verdict] if !matches!(verdict.reason, Reason::Media | Reason::Hairpin) => {
                Some(*verdict)
            }
            _ => None,
        }
    }
}

/// True if one of `prefixes` contains `address`; an IPv4 prefix contains no IPv6 address, mapped or not.
fn covered(prefixes: &[Sourced<IpNet>], address: IpAddr) -> bool {
    prefixes.iter().any(|it| it.value.contains(&address))
}

/// True if every address of `inner` is in one of `prefixes`: either all of it, or both its halves.
fn lies_inside(inner: IpNet, prefixes: &[Sourced<IpNet>]) -> bool {
    if prefixes.iter().any(|outer| outer.value.contains(&inner)) {
        return true;
    }
    let may_be_in_parts = prefixes.iter().any(|part| inner.contains(&part.value));
    let halves = inner.subnets(inner.prefix_len().saturating_add(1));
    may_be_in_parts && halves.is_ok_and(|mut halves| halves.all(|half| lies_inside(half, prefixes)))
}

/// True if one of `ranges` contains `port`.
fn any_range(ranges: &[Sourced<PortRange>], port: u16) -> bool {
    ranges.iter().any(|it| it.value.contains(port))
}

/// Position of the rule with the longest prefix that holds `address`; among equal prefixes, the first in the file.
fn longest_match<'a>(
    rules: impl Iterator<Item = &'a [Sourced<IpNet>]>,
    address: IpAddr,
) -> Option<usize> {
    let mut longest: Option<(u8, usize)> = None;
    for (position, prefixes) in rules.enumerate() {
        for prefix in prefixes {
            let length = prefix.value.prefix_len();
            if prefix.value.contains(&address) && longest.is_none_or(|(other, _)| length > other) {
                longest = Some((length, position));
            }
        }
    }
    longest.map(|(_, position)| position)
}

/// Lowest and highest port, the edges of `ranges`, and the ports on both sides of every edge.
fn edges<'a>(ranges: impl Iterator<Item = &'a Sourced<PortRange>>) -> Vec<u16> {
    let mut ports = vec![0, u16::MAX];
    for range in ranges {
        for edge in [range.value.first(), range.value.last()] {
            ports.extend([edge.saturating_sub(1), edge, edge.saturating_add(1)]);
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}
