//! [`ReferenceFilter`]: the verdicts of the contract, written to be checked by eye and not to be fast.
//!
//! It is the oracle of the property tests and of fuzzing: a second implementation that shares nothing with the
//! classifier but [`Policy`] and [`Verdict`]. It reads bytes by their offset in the RFC, scans lists from the front and
//! tries every port that could make a difference. It belongs in no packet path.
//!
//! A packet enters from the VPN side. Only its outermost IP header counts, and the first rule that matches wins:
//!
//! 1. a header that no host would accept → drop `malformed`
//! 2. source outside `vpn.client_subnets` → forward `not-a-client`, or drop `spoofed-source`
//! 3. a source route with hops left → drop `source-routed`
//! 4. destination in a `[[public]]` service or a feed → forward `public`, or drop it
//! 5. TCP or UDP to a `[[server]]` → drop `servers`, unless an `[[allow]]` lifts it → forward `allow`
//! 6. TCP or UDP to a media port of a client → drop `hairpin`, of a corporate host → drop `media`, unless an
//!    `[[allow]]` lifts it → forward `allow`
//! 7. anything else → forward `default`
//!
//! Rules 5 and 6 may ask for ports, and not every packet shows them. `Payload` names the ways in which they can be
//! missing; for each of them the question is which verdicts the ports could still bring about.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::{Action, Reason, RuleId, RuleTable, Verdict};
use crate::packet::Protocol;
use crate::policy::{Allow, LeakedPublic, MediaMatch, Policy, PortRange, Sourced, UnknownSource};

#[cfg(test)]
mod tests;

/// A tail this long after its first fragment is still judged by it; a later one is not.
const FRAGMENT_LIFETIME: Duration = Duration::from_secs(30);

/// The slow, obviously right model of the filter.
#[derive(Debug, Clone)]
pub struct ReferenceFilter {
    policy: Policy,
    rules: RuleTable,
    firsts: HashMap<FragmentKey, First>,
}

/// What the filter remembers of a first fragment.
#[derive(Debug, Clone, Copy)]
struct First {
    verdict: Verdict,
    seen: Duration,
}

impl ReferenceFilter {
    /// A filter for `policy` that has seen no packet.
    pub fn new(policy: &Policy) -> Self {
        Self {
            policy: policy.clone(),
            rules: RuleTable::new(policy),
            firsts: HashMap::new(),
        }
    }

    /// The verdict on `packet` that arrives at `now`.
    ///
    /// `length_on_the_wire` is the packet's length, unless a capture cut it by a snap length: then it is what the
    /// packet had before. A value below the length of `packet` counts as that length.
    pub fn judge(&mut self, packet: &[u8], length_on_the_wire: usize, now: Duration) -> Verdict {
        // 1. A header that no host would accept.
        let Some(packet) = read(packet, length_on_the_wire.max(packet.len())) else {
            return Verdict::drop(Reason::Malformed);
        };
        // 2. Source outside the client subnets.
        if !covered(&self.policy.vpn.client_subnets, packet.source) {
            return match self.policy.filter.unknown_source {
                UnknownSource::Forward => Verdict::forward(Reason::NotAClient),
                UnknownSource::Drop => Verdict::drop(Reason::SpoofedSource),
            };
        }
        // 3. A source route with hops left; then 4. to 7., with as much of the transport header as there is.
        let verdict = match packet.payload {
            _ if packet.source_routed => Verdict::drop(Reason::SourceRouted),
            Payload::Whole(transport) => self.rules_4_to_7(packet.destination, transport),
            Payload::PortsCut(protocol) => self.ports_cut(packet.destination, protocol),
            Payload::ChainCut => self.chain_cut(packet.destination),
            Payload::Tail { key, carries } => self.tail(packet.destination, key, carries, now),
        };
        // The newest first fragment speaks for the tails of its key.
        if let Some(key) = packet.first_of {
            self.firsts.insert(key, First { verdict, seen: now });
        }
        verdict
    }

    /// Rules 4 to 7, one after the other.
    fn rules_4_to_7(&self, destination: IpAddr, transport: Transport) -> Verdict {
        self.rule_4_public(destination)
            .or_else(|| self.rule_5_servers(destination, transport))
            .or_else(|| self.rule_6_media(destination, transport))
            .unwrap_or(Verdict::forward(Reason::Default))
    }

    /// Rule 4: whatever the protocol.
    fn rule_4_public(&self, destination: IpAddr) -> Option<Verdict> {
        // Feeds come behind the services, in the rule table and where both have a prefix.
        let services = self.policy.publics.iter().map(|it| it.addresses.clone());
        let feeds = self.policy.feeds.iter().map(|feed| {
            let prefixes = feed.prefixes.iter().flatten();
            let sourced = prefixes.map(|taken| Sourced {
                value: taken.prefix,
                line: 0,
            });
            sourced.collect()
        });
        let lists: Vec<Vec<Sourced<IpNet>>> = services.chain(feeds).collect();
        let position = longest_match(lists.iter().map(Vec::as_slice), destination)?;
        let rule = self.rules.public(position);
        let verdict = match self.policy.filter.leaked_public {
            LeakedPublic::Forward => Verdict::forward(Reason::Public),
            LeakedPublic::Drop => Verdict::drop(Reason::Public),
        };
        Some(verdict.by(rule))
    }

    /// Rule 5: TCP and UDP, all ports.
    fn rule_5_servers(&self, destination: IpAddr, transport: Transport) -> Option<Verdict> {
        let Transport::Ports(ports) = transport else {
            return None;
        };
        let server = self.server_of(destination)?;
        let lifted = self.first_allow(destination, ports, |allow| allow.lifts.servers);
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
        let reason = if covered(&self.policy.vpn.client_subnets, destination) {
            Reason::Hairpin
        } else if covered(&self.policy.corporate.subnets, destination) {
            Reason::Media
        } else {
            return None;
        };
        let is_media = match self.policy.media.recognition {
            MediaMatch::Ports => any_range(&self.policy.media.ports, ports.destination),
        };
        if !is_media {
            return None;
        }
        let lifted = self.first_allow(destination, ports, |allow| allow.lifts.media);
        Some(match lifted {
            Some(allow) => Verdict::forward(Reason::Allow).by(allow),
            None => Verdict::drop(reason).by(self.rules.media()),
        })
    }

    /// The `[[server]]` that is named for `destination`.
    fn server_of(&self, destination: IpAddr) -> Option<RuleId> {
        let servers = self.policy.servers.iter().map(|it| &it.addresses[..]);
        longest_match(servers, destination).map(|position| self.rules.server(position))
    }

    /// The first `[[allow]]` in the file that lifts the rule in question and matches.
    fn first_allow(
        &self,
        destination: IpAddr,
        ports: Ports,
        lifts_the_rule: impl Fn(&Allow) -> bool,
    ) -> Option<RuleId> {
        let matches = |allow: &Allow| {
            lifts_the_rule(allow)
                && covered(&allow.to, destination)
                && allow.protocols.contains(ports.protocol)
                && (allow.ports.is_empty() || any_range(&allow.ports, ports.destination))
                && (allow.from_ports.is_empty() || any_range(&allow.from_ports, ports.source))
        };
        let position = self.policy.allows.iter().position(matches)?;
        Some(self.rules.allow(position))
    }

    /// TCP or UDP whose ports are not there: dropped wherever they would make a difference.
    fn ports_cut(&self, destination: IpAddr, protocol: Protocol) -> Verdict {
        let possible = self.possible_verdicts(destination, &[Some(protocol)]);
        if possible.iter().any(|it| it.action == Action::Drop) {
            only(&possible).unwrap_or_else(|| self.tiny_fragment(destination))
        } else {
            // Nothing to drop: an `allow` is named before `default`, the first of them in the file.
            let first = possible.into_iter().min_by_key(|it| (it.reason, it.rule));
            first.unwrap_or(Verdict::forward(Reason::Default))
        }
    }

    /// An IPv6 packet that does not come as far as its transport header: dropped where the transport could be blocked.
    fn chain_cut(&self, destination: IpAddr) -> Verdict {
        let possible = self.possible_verdicts(destination, &ANY_TRANSPORT);
        if let Some(verdict) = only(&possible) {
            verdict
        } else if possible.iter().any(|it| it.action == Action::Drop) {
            self.tiny_fragment(destination)
        } else {
            Verdict::forward(Reason::Default)
        }
    }

    /// A fragment without the transport header: it follows its first fragment, where ports make a difference.
    fn tail(
        &self,
        destination: IpAddr,
        key: FragmentKey,
        carries: TailCarries,
        now: Duration,
    ) -> Verdict {
        let possible = match carries {
            TailCarries::Known(protocol) => self.possible_verdicts(destination, &[protocol]),
            TailCarries::Anything => self.possible_verdicts(destination, &ANY_TRANSPORT),
        };
        only(&possible)
            .or_else(|| self.remembered(key, now))
            .unwrap_or(Verdict::forward(Reason::Default))
    }

    /// The verdict on the newest first fragment of `key`, while it lasts. Time that goes backwards stands still.
    fn remembered(&self, key: FragmentKey, now: Duration) -> Option<Verdict> {
        let first = self.firsts.get(&key)?;
        let elapsed = now.saturating_sub(first.seen);
        (elapsed <= FRAGMENT_LIFETIME).then_some(first.verdict)
    }

    /// Drop `tiny-fragment`, by the rule that would have decided: the server's, else `[media]`.
    fn tiny_fragment(&self, destination: IpAddr) -> Verdict {
        let rule = self.server_of(destination).unwrap_or(self.rules.media());
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
            for &source_port in &self.telling_source_ports() {
                for &destination_port in &self.telling_destination_ports() {
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

    /// Source ports that stand for all others: no rule can tell any port from the nearest of these.
    fn telling_source_ports(&self) -> Vec<u16> {
        let allows = self.policy.allows.iter();
        edges(allows.flat_map(|allow| &allow.from_ports))
    }

    /// Destination ports that stand for all others.
    fn telling_destination_ports(&self) -> Vec<u16> {
        let allows = self.policy.allows.iter();
        let media = self.policy.media.ports.iter();
        edges(media.chain(allows.flat_map(|allow| &allow.ports)))
    }
}

/// Whether one of `prefixes` holds `address`; an IPv4 prefix holds no IPv6 address, mapped or not.
fn covered(prefixes: &[Sourced<IpNet>], address: IpAddr) -> bool {
    prefixes.iter().any(|it| it.value.contains(&address))
}

/// Whether one of `ranges` holds `port`.
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

/// The verdict, when there is only one.
fn only(possible: &[Verdict]) -> Option<Verdict> {
    match possible {
        [verdict] => Some(*verdict),
        _ => None,
    }
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

// What the bytes say. Nothing below knows a policy.

/// What the rules look at in one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    /// A source route names hops that the packet has yet to visit.
    source_routed: bool,
    /// The fragments it begins, if it is a first fragment.
    first_of: Option<FragmentKey>,
    payload: Payload,
}

/// How much of the transport header the packet shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    /// All that the rules ask for.
    Whole(Transport),
    /// TCP or UDP that ends before its ports do.
    PortsCut(Protocol),
    /// IPv6 extension headers that end before the transport header begins.
    ChainCut,
    /// A fragment with an offset: the transport header is in another one.
    Tail {
        key: FragmentKey,
        carries: TailCarries,
    },
}

/// What a tail says about the transport of its datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TailCarries {
    /// IPv4: this protocol, in every fragment (`None`: neither TCP nor UDP).
    Known(Option<Protocol>),
    /// IPv6: nothing, as a receiver ignores the next header of a tail (RFC 8200 §4.5).
    Anything,
}

/// A transport header, as far as the rules look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Ports(Ports),
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    protocol: Protocol,
    source: u16,
    destination: u16,
}

/// Every transport that a packet can turn out to carry; `None` is neither TCP nor UDP.
const ANY_TRANSPORT: [Option<Protocol>; 3] = [Some(Protocol::Tcp), Some(Protocol::Udp), None];

/// What the fragments of one datagram have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum FragmentKey {
    /// RFC 791 §3.2.
    V4 {
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        id: u16,
    },
    /// RFC 8200 §4.5: the next header is not part of it.
    V6 {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        id: u32,
    },
}

/// A datagram ends here, whatever its fragments say (RFC 791 §3.1, RFC 8200 §4.5).
const LARGEST_DATAGRAM: usize = 65_535;

/// What `packet` says; `None` when no host would accept its header.
fn read(packet: &[u8], length_on_the_wire: usize) -> Option<Packet> {
    if packet.is_empty() {
        return None;
    }
    match packet[0] >> 4 {
        4 => read_ipv4(packet, length_on_the_wire),
        6 => read_ipv6(packet, length_on_the_wire),
        _ => None,
    }
}

/// An IPv4 packet, RFC 791 §3.1.
///
/// ```text
///  0  version, header length in 4 bytes     9  protocol
///  2  total length                         12  source
///  4  identification                       16  destination
///  6  flags (3 bits), fragment offset      20  options
/// ```
fn read_ipv4(packet: &[u8], length_on_the_wire: usize) -> Option<Packet> {
    if packet.len() < 20 {
        return None;
    }
    let header_length = usize::from(packet[0] & 0x0f) * 4;
    if header_length < 20 || header_length > packet.len() {
        return None;
    }
    let total_length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    if total_length != 0 && (total_length < header_length || total_length > length_on_the_wire) {
        return None;
    }
    // A super-packet is too long for the field and leaves it 0.
    let end = if total_length == 0 {
        length_on_the_wire
    } else {
        total_length
    };

    let id = u16::from_be_bytes([packet[4], packet[5]]);
    let flags_and_offset = u16::from_be_bytes([packet[6], packet[7]]);
    let more_fragments = flags_and_offset & 0x2000 != 0;
    let offset = usize::from(flags_and_offset & 0x1fff) * 8;
    let is_fragment = more_fragments || offset > 0;
    if is_fragment && offset.saturating_add(end - header_length) > LARGEST_DATAGRAM {
        return None;
    }

    let protocol = packet[9];
    let source = Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]);
    let destination = Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]);
    let key = FragmentKey::V4 {
        source,
        destination,
        protocol,
        id,
    };
    let payload = if offset > 0 {
        Payload::Tail {
            key,
            carries: TailCarries::Known(protocol_with_ports(protocol)),
        }
    } else {
        read_transport(packet, end, header_length, protocol)
    };
    Some(Packet {
        source: IpAddr::V4(source),
        destination: IpAddr::V4(destination),
        source_routed: ipv4_source_routed(&packet[20..header_length]),
        first_of: (is_fragment && offset == 0).then_some(key),
        payload,
    })
}

/// Whether IPv4 options hold a loose (131) or strict (137) source route with hops left.
///
/// RFC 791 §3.1: option 0 ends the list, option 1 is one byte long, every other has its length in its second byte.
/// The third byte of a source route points at the next hop, and past the option when none is left.
fn ipv4_source_routed(options: &[u8]) -> bool {
    let mut at = 0;
    while at < options.len() {
        let kind = options[at];
        if kind == 0 {
            return false;
        }
        if kind == 1 {
            at += 1;
            continue;
        }
        if at + 1 >= options.len() {
            return false;
        }
        let length = usize::from(options[at + 1]);
        if length < 2 || at + length > options.len() {
            return false;
        }
        if (kind == 131 || kind == 137) && length >= 3 && usize::from(options[at + 2]) <= length {
            return true;
        }
        at += length;
    }
    false
}

/// An IPv6 packet, RFC 8200 §3, and its extension headers, §4.
///
/// ```text
///  0  version, traffic class, flow label     8  source
///  4  payload length                        24  destination
///  6  next header                           40  extension headers, transport
/// ```
fn read_ipv6(packet: &[u8], length_on_the_wire: usize) -> Option<Packet> {
    if packet.len() < 40 {
        return None;
    }
    let payload_length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    if 40 + payload_length > length_on_the_wire {
        return None;
    }
    // A super-packet or jumbogram is too long for the field and leaves it 0.
    let end = if payload_length == 0 {
        length_on_the_wire
    } else {
        40 + payload_length
    };
    let source = ipv6_address(packet, 8);
    let destination = ipv6_address(packet, 24);

    let mut source_routed = false;
    let mut first_of = None;
    let mut at = 40;
    let mut next_header = packet[6];
    let payload = loop {
        // An extension header is 8 bytes long at least, and its second byte says how much longer it is.
        let units = byte(packet, end, at + 1).map_or(0, usize::from);
        let length = match next_header {
            // Hop-by-hop options, routing, destination options (RFC 8200 §4.3, §4.4, §4.6), mobility (RFC 6275
            // §6.1.1), HIP (RFC 7401 §5.1), shim6 (RFC 5533 §5.1)
            0 | 43 | 60 | 135 | 139 | 140 => (units + 1) * 8,
            // Authentication header (RFC 4302 §2.2)
            51 => (units + 2) * 4,
            // Fragment header: its second byte is reserved (RFC 8200 §4.5)
            44 => 8,
            transport => break read_transport(packet, end, at, transport),
        };
        // Routing header: the fourth byte counts the segments left (RFC 8200 §4.4)
        if next_header == 43 && byte(packet, end, at + 3).is_some_and(|left| left > 0) {
            source_routed = true;
        }
        if at + length > end {
            // The rest may come in a tail; without one, there is no rest.
            if first_of.is_some() {
                break Payload::ChainCut;
            }
            return None;
        }
        if at + length > packet.len() {
            break Payload::ChainCut;
        }
        // Fragment header (RFC 8200 §4.5):
        // 0 next header, 2 offset in 8 bytes (13 bits), reserved, more fragments (1 bit), 4 identification
        if next_header == 44 {
            let offset_and_more = u16::from_be_bytes([packet[at + 2], packet[at + 3]]);
            let offset = usize::from(offset_and_more & 0xfff8);
            let more_fragments = offset_and_more & 1 != 0;
            let id = [
                packet[at + 4],
                packet[at + 5],
                packet[at + 6],
                packet[at + 7],
            ];
            let key = FragmentKey::V6 {
                source,
                destination,
                id: u32::from_be_bytes(id),
            };
            let fragment_payload = end - (at + 8);
            if more_fragments && !fragment_payload.is_multiple_of(8) {
                return None;
            }
            let is_fragment = more_fragments || offset > 0;
            if is_fragment && offset.saturating_add(fragment_payload) > LARGEST_DATAGRAM {
                return None;
            }
            if offset > 0 {
                first_of = None;
                break Payload::Tail {
                    key,
                    carries: TailCarries::Anything,
                };
            }
            // Offset 0 and nothing more to come is an atomic fragment (RFC 6946): an ordinary packet.
            if more_fragments {
                first_of = Some(key);
            }
        }
        next_header = packet[at];
        at += length;
    };
    Some(Packet {
        source: IpAddr::V6(source),
        destination: IpAddr::V6(destination),
        source_routed,
        first_of,
        payload,
    })
}

/// The address in the 16 bytes from `at`, which the caller knows to be there.
fn ipv6_address(packet: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    Ipv6Addr::from(octets)
}

/// The byte at `at`, if the packet comes that far (`end`) and the capture too.
fn byte(packet: &[u8], end: usize, at: usize) -> Option<u8> {
    if at < end && at < packet.len() {
        Some(packet[at])
    } else {
        None
    }
}

/// The transport header at `at`: TCP (RFC 9293 §3.1) and UDP (RFC 768) both begin with source and destination port.
fn read_transport(packet: &[u8], end: usize, at: usize, protocol: u8) -> Payload {
    let Some(protocol) = protocol_with_ports(protocol) else {
        return Payload::Whole(Transport::Other);
    };
    if at + 4 > end || at + 4 > packet.len() {
        return Payload::PortsCut(protocol);
    }
    Payload::Whole(Transport::Ports(Ports {
        protocol,
        source: u16::from_be_bytes([packet[at], packet[at + 1]]),
        destination: u16::from_be_bytes([packet[at + 2], packet[at + 3]]),
    }))
}

/// TCP and UDP; every other protocol is all the same to the rules.
fn protocol_with_ports(protocol: u8) -> Option<Protocol> {
    match protocol {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        _ => None,
    }
}
