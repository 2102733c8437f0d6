//! [`CompiledPolicy::explain`]: explains why a packet gets its verdict.
//!
//! Builds the packet in question, judges it with the compiled policy like any other, and then looks up the prefixes and
//! the rule behind the verdict.

mod words;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use ipnet::IpNet;

use super::{Capacity, CompiledPolicy, Judge, Rule};
use crate::packet::media::Payload;
use crate::packet::{Protocol, Received};
use crate::policy::{Allow, EntryKey, PortRange, Sourced};
use crate::verdict::{DecidedBy, Reason, Verdict};
pub use words::End;

/// A packet whose verdict is to be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Source address.
    pub from: IpAddr,
    /// Source port; [`Question::EPHEMERAL_PORT`] if not given.
    pub from_port: Option<u16>,
    /// Destination address.
    pub to: IpAddr,
    /// Destination port; every port if not given.
    pub to_port: Option<u16>,
    /// TCP or UDP; `None` is ICMP.
    pub protocol: Option<Protocol>,
    /// Its payload: counts where the policy asks for evidence of media.
    pub payload: Payload,
}

/// The verdicts on the packet in question, and the sets of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// The sets of the policy that the source belongs to, most specific prefix first.
    pub source: Vec<Membership<'a>>,
    /// The sets of the policy that the destination belongs to, most specific prefix first.
    pub destination: Vec<Membership<'a>>,
    /// The verdicts, by ranges of destination ports; one if a port was given or ports do not matter.
    pub answers: Vec<Answer<'a>>,
}

/// A verdict, with the rule and the prefix behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The destination ports that get this verdict.
    pub ports: PortRange,
    /// The verdict.
    pub verdict: Verdict,
    /// The rule that gave it.
    pub rule: Option<&'a Rule>,
    /// The prefix that led to it.
    pub matched: Option<Membership<'a>>,
    /// For a `hairpin`: the `[[allow]]` that matches the destination and one of the ports, but by a prefix that reaches
    /// beyond `vpn.client_subnets` and therefore lifts nothing between clients.
    pub beyond_clients: Option<Membership<'a>>,
}

/// A prefix of the policy that holds an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership<'a> {
    /// The set that the prefix belongs to.
    pub set: Set<'a>,
    /// The prefix.
    pub prefix: IpNet,
    /// Its line in the policy file.
    pub line: u32,
}

/// A set of prefixes of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set<'a> {
    /// `vpn.client_subnets`
    Clients,
    /// `corporate.subnets`
    Corporate,
    /// A `[[server]]`, by its name.
    Server(&'a str),
    /// The `to` of an `[[allow]]`, by its name.
    Allow(&'a str),
    /// A `[[public]]` service, by its name.
    Public(&'a str),
    /// A `[[feed]]`, by its name, and the entry of it.
    Feed(&'a str, EntryKey),
    /// A prefix that a `[[profile]]` has, by its name, and the entry.
    Profile(&'a str, EntryKey),
}

impl Question {
    /// Source port of a question without one: the first of the dynamic range, also on Windows (RFC 6335 §6).
    pub const EPHEMERAL_PORT: u16 = 49_152;
}

impl CompiledPolicy {
    /// Explains the verdicts on the packet in question; `None` if its addresses are of different families.
    pub fn explain(&self, question: &Question) -> Option<Explanation<'_>> {
        let source = self.memberships(question.from);
        let destination = self.memberships(question.to);
        let from = SocketAddr::new(
            question.from,
            question.from_port.unwrap_or(Question::EPHEMERAL_PORT),
        );
        let ports = match (question.to_port, question.protocol) {
            (Some(port), _) => PortRange::single(port),
            (None, Some(_)) => PortRange::ALL,
            (None, None) => PortRange::single(0),
        };
        let mut answers: Vec<Answer<'_>> = Vec::new();
        for port in ports.first()..=ports.last() {
            let to = SocketAddr::new(question.to, port);
            let verdict = self.ask(from, to, question.protocol, question.payload)?;
            if let Some(last) = answers.last_mut()
                && last.verdict == verdict
                && let Some(longer) = PortRange::new(last.ports.first(), port)
            {
                last.ports = longer;
                continue;
            }
            answers.push(self.answer(PortRange::single(port), verdict, &destination));
        }
        for answer in &mut answers {
            answer.beyond_clients =
                self.beyond_clients(answer, from.port(), question.protocol, &destination);
        }
        Some(Explanation {
            source,
            destination,
            answers,
        })
    }

    /// Explains the verdict on a packet with exactly these ports (0 if they do not matter); `None` if its addresses are
    /// of different families.
    pub fn explain_exactly(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        protocol: Option<Protocol>,
        payload: Payload,
    ) -> Option<Answer<'_>> {
        let verdict = self.ask(from, to, protocol, payload)?;
        let destination = self.memberships(to.ip());
        let answer = self.answer(PortRange::single(to.port()), verdict, &destination);
        let beyond_clients = self.beyond_clients(&answer, from.port(), protocol, &destination);
        Some(Answer {
            beyond_clients,
            ..answer
        })
    }

    /// Builds the packets that show `payload`, and judges them; returns the verdict on the last.
    fn ask(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        protocol: Option<Protocol>,
        payload: Payload,
    ) -> Option<Verdict> {
        let mut judge = Judge::new(Capacity::of(1));
        let Some(protocol) = protocol else {
            let builder = builder(from, to)?;
            let mut bytes = Vec::new();
            let written = match from.is_ipv4() {
                true => builder.icmpv4_echo_request(0, 0).write(&mut bytes, &[]),
                false => builder.icmpv6_echo_request(0, 0).write(&mut bytes, &[]),
            };
            written.expect("an empty payload fits, and a vector takes every byte");
            return Some(judge.judge_one(self, Received::whole(&bytes, Duration::ZERO)));
        };
        // Without recognition, no packet depends on the ones before it, or on its payload.
        let packets = match (self.recognition(), protocol) {
            (None, _) => vec![Vec::new()],
            (Some(_), Protocol::Udp) => payload.packets(protocol),
            // The first segment begins the connection.
            (Some(_), Protocol::Tcp) => {
                let segments = payload.packets(protocol).into_iter();
                [Vec::new()].into_iter().chain(segments).collect()
            }
        };
        let mut verdict = None;
        let mut sequence = 0_u32;
        for (number, payload) in (0_u32..).zip(&packets) {
            let builder = builder(from, to)?;
            let mut bytes = Vec::new();
            let written = match protocol {
                Protocol::Udp => builder
                    .udp(from.port(), to.port())
                    .write(&mut bytes, payload),
                Protocol::Tcp => {
                    let segment = builder.tcp(from.port(), to.port(), sequence, 0);
                    match number {
                        0 => segment.syn().write(&mut bytes, payload),
                        _ => segment.ack(1).write(&mut bytes, payload),
                    }
                }
            };
            written.expect("a payload of a few bytes fits, and a vector takes every byte");
            // A SYN takes one number.
            sequence += payload.len() as u32 + u32::from(number == 0);
            let at = Duration::from_millis(20) * number;
            verdict = Some(judge.judge_one(self, Received::whole(&bytes, at)));
        }
        verdict
    }

    fn answer<'a>(
        &'a self,
        ports: PortRange,
        verdict: Verdict,
        destination: &[Membership<'a>],
    ) -> Answer<'a> {
        let rule = verdict.rule.and_then(|rule| self.rules().rule(rule));
        let named = |set: &Set<'_>| {
            set.name()
                .is_none_or(|name| rule.is_some_and(|rule| rule.name == name))
        };
        let led_here = |set: &Set<'_>| match verdict.reason.decided_by() {
            DecidedBy::Public => matches!(set, Set::Public(_) | Set::Feed(..) | Set::Profile(..)),
            DecidedBy::Server => matches!(set, Set::Server(_)),
            DecidedBy::Allow => matches!(set, Set::Allow(_)),
            DecidedBy::Corporate => *set == Set::Corporate,
            DecidedBy::Client => *set == Set::Clients,
            DecidedBy::Header | DecidedBy::Source | DecidedBy::Nothing => false,
        };
        let matched = destination
            .iter()
            .find(|it| led_here(&it.set) && named(&it.set))
            .copied();
        Answer {
            ports,
            verdict,
            rule,
            matched,
            beyond_clients: None,
        }
    }

    /// The `[[allow]]` that would lift a `hairpin` if its prefix lay inside `vpn.client_subnets`.
    fn beyond_clients<'a>(
        &self,
        answer: &Answer<'_>,
        from_port: u16,
        protocol: Option<Protocol>,
        destination: &[Membership<'a>],
    ) -> Option<Membership<'a>> {
        if answer.verdict.reason != Reason::Hairpin {
            return None;
        }
        let protocol = protocol?;
        let matches = |allow: &Allow| {
            let asked = answer.ports;
            let overlaps =
                |range: PortRange| range.first() <= asked.last() && asked.first() <= range.last();
            allow.lifts.media
                && allow.protocols.contains(protocol)
                && (allow.ports.is_empty() || allow.ports.iter().any(|it| overlaps(it.value)))
                && (allow.from_ports.is_empty()
                    || allow
                        .from_ports
                        .iter()
                        .any(|it| it.value.contains(from_port)))
        };
        let clients = self.policy().vpn.client_addresses();
        let by_name = |name: &str| {
            let mut allows = self.policy().allows.iter();
            allows.find(|allow| allow.name.value == name)
        };
        let mut found = destination.iter().copied();
        found.find(|it| match it.set {
            Set::Allow(name) => !clients.covers(it.prefix) && by_name(name).is_some_and(matches),
            Set::Clients
            | Set::Corporate
            | Set::Server(_)
            | Set::Public(_)
            | Set::Feed(..)
            | Set::Profile(..) => false,
        })
    }

    /// The prefixes of the policy that hold `address`, most specific first, then in file order.
    pub(crate) fn memberships(&self, address: IpAddr) -> Vec<Membership<'_>> {
        let policy = self.policy();
        let mut found = Vec::new();
        let mut look = |set, prefixes: &[Sourced<IpNet>]| {
            let holds = prefixes
                .iter()
                .filter(|prefix| prefix.value.contains(&address));
            found.extend(holds.map(|it| Membership {
                set,
                prefix: it.value,
                line: it.line,
            }));
        };
        policy
            .publics
            .iter()
            .for_each(|it| look(Set::Public(&it.name.value), &it.addresses));
        policy
            .servers
            .iter()
            .for_each(|it| look(Set::Server(&it.name.value), &it.addresses));
        for allow in &policy.allows {
            let prefixes: Vec<_> = allow.prefixes(&policy.vpn).collect();
            look(Set::Allow(&allow.name.value), &prefixes);
        }
        look(Set::Clients, &policy.vpn.client_subnets);
        look(Set::Corporate, &policy.corporate.subnets);
        for feed in &policy.feeds {
            let prefixes = feed.prefixes.iter().flatten();
            let holds = prefixes.filter(|taken| taken.prefix.contains(&address));
            found.extend(holds.map(|taken| Membership {
                set: match feed.vendor {
                    Some(_) => Set::Profile(&feed.name.value, taken.entry),
                    None => Set::Feed(&feed.name.value, taken.entry),
                },
                prefix: taken.prefix,
                line: feed.file.line,
            }));
        }
        found.sort_by_key(|membership| std::cmp::Reverse(membership.prefix.prefix_len()));
        found
    }
}

impl<'a> Set<'a> {
    /// The operator's name for it, if it has one.
    pub fn name(self) -> Option<&'a str> {
        match self {
            Self::Clients | Self::Corporate => None,
            Self::Server(name)
            | Self::Allow(name)
            | Self::Public(name)
            | Self::Feed(name, _)
            | Self::Profile(name, _) => Some(name),
        }
    }
}

impl std::fmt::Display for Set<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clients => out.write_str("vpn.client_subnets"),
            Self::Corporate => out.write_str("corporate.subnets"),
            Self::Server(name) => write!(out, "[[server]] \"{name}\""),
            Self::Allow(name) => write!(out, "[[allow]] \"{name}\""),
            Self::Public(name) => write!(out, "[[public]] \"{name}\""),
            Self::Feed(name, entry) => write!(out, "[[feed]] \"{name}\" {entry}"),
            Self::Profile(name, entry) => write!(out, "[[profile]] \"{name}\" {entry}"),
        }
    }
}

/// The IP header of a packet; `None` if the addresses are of different families.
fn builder(from: SocketAddr, to: SocketAddr) -> Option<PacketBuilderStep<IpHeaders>> {
    const TTL: u8 = 64;
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Some(PacketBuilder::ipv4(from.octets(), to.octets(), TTL))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            Some(PacketBuilder::ipv6(from.octets(), to.octets(), TTL))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

#[cfg(test)]
mod tests;
