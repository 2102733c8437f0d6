//! [`CompiledPolicy::explain`]: explains why a packet gets its verdict.
//!
//! Builds the packet in question, judges it with the compiled policy like any other, and then looks up the prefixes and
//! the rule behind the verdict.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use ipnet::IpNet;

use super::{Capacity, CompiledPolicy, Judge, Rule};
use crate::packet::media::Payload;
use crate::packet::{Protocol, Received};
use crate::policy::{Allow, EntryKey, PortRange, Sourced};
use crate::verdict::{DecidedBy, Reason, Verdict};

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
            DecidedBy::Public => matches!(set, Set::Public(_) | Set::Feed(..)),
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
            Set::Clients | Set::Corporate | Set::Server(_) | Set::Public(_) | Set::Feed(..) => {
                false
            }
        })
    }

    /// The prefixes of the policy that hold `address`, most specific first, then in file order.
    fn memberships(&self, address: IpAddr) -> Vec<Membership<'_>> {
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
                set: Set::Feed(&feed.name.value, taken.entry),
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
            Self::Server(name) | Self::Allow(name) | Self::Public(name) | Self::Feed(name, _) => {
                Some(name)
            }
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
mod tests {
    use super::*;
    use crate::filter::Generation;
    use crate::policy;

    const POLICY: &[u8] = br#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[[server]]
name = "Front End pool"
addresses = ["10.1.0.0/28", "10.1.0.10"]
[[allow]]
name = "Remote Desktop"
to = ["10.9.0.0/24"]
ports = ["3389"]
[[allow]]
name = "one host"
to = ["10.9.0.5"]
ports = ["3389"]
"#;

    fn compiled() -> CompiledPolicy {
        let (policy, _) = policy::parse("explain.toml", POLICY).expect("a good policy");
        CompiledPolicy::new(policy, Generation(1)).expect("a small policy")
    }

    fn question(to: &str, to_port: Option<u16>, protocol: Option<Protocol>) -> Question {
        let from = IpAddr::from([172, 16, 1, 10]);
        let to = to.parse().expect("an address");
        Question {
            from,
            from_port: None,
            to,
            to_port,
            protocol,
            payload: Payload::Other,
        }
    }

    #[test]
    fn the_most_specific_prefix_of_the_rule_is_named_with_its_line() {
        let policy = compiled();
        let explanation = policy.explain(&question("10.1.0.10", Some(5061), Some(Protocol::Tcp)));
        let answers = explanation.expect("one family").answers;
        let [answer] = &answers[..] else {
            panic!("one port, one answer: {answers:?}")
        };
        assert_eq!(answer.verdict.to_string(), "drop servers");
        assert_eq!(
            answer.rule.map(|rule| (&*rule.name, rule.line)),
            Some(("Front End pool", Some(7)))
        );
        let matched = answer.matched.expect("a prefix led to it");
        assert_eq!(
            (matched.prefix.to_string(), matched.line),
            ("10.1.0.10/32".to_owned(), 8)
        );
    }

    #[test]
    fn without_a_port_every_range_is_answered() {
        let policy = compiled();
        let explanation = policy.explain(&question("10.9.0.5", None, Some(Protocol::Tcp)));
        let answers = explanation.expect("one family").answers;
        let lines: Vec<String> = answers
            .iter()
            .map(|answer| format!("{} {}", answer.ports, answer.verdict))
            .collect();
        assert_eq!(
            lines,
            [
                "0-1023 forward default",
                "1024-3388 drop media",
                "3389 forward allow",
                "3390-65535 drop media"
            ]
        );
    }

    /// True if, by the compiled policy, an `[[allow]]` to `entries` lifts UDP from a client to port 50000 of `to`.
    fn is_lifted(entries: &str, to: &str) -> bool {
        let text = format!(
            "[vpn]\nclient_subnets = [\"10.8.0.0/25\", \"10.8.0.128/25\", \"172.16.1.0/24\"]\n\
             [corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
             [[allow]]\nname = \"a\"\nto = [{entries}]\n"
        );
        let (policy, _) = policy::parse("explain.toml", text.as_bytes()).expect("a good policy");
        let question = question(to, Some(50_000), Some(Protocol::Udp));
        let compiled = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        let explanation = compiled.explain(&question).expect("one family");
        let verdict = explanation.answers[0].verdict;
        match verdict.reason {
            Reason::Allow => true,
            Reason::Media | Reason::Hairpin => false,
            other => panic!("{other} for {to}"),
        }
    }

    #[test]
    fn between_clients_an_allow_counts_by_its_prefixes_inside_their_subnets_alone() {
        let pools = ["10.8.0.5", "10.8.0.200", "172.16.1.5"];
        let lifted = |entries: &str| pools.map(|to| is_lifted(entries, to));
        // A client pool lies inside it, but the entry is meant for the offices.
        assert_eq!(lifted("\"10.0.0.0/8\""), [false, false, false]);
        assert!(is_lifted("\"10.0.0.0/8\"", "10.8.1.5"));
        // Two adjacent pools cover it together.
        assert_eq!(lifted("\"10.8.0.0/24\""), [true, true, false]);
        assert_eq!(lifted("\"10.8.0.0/25\""), [true, false, false]);
        assert_eq!(lifted("\"10.8.0.5\""), [true, false, false]);
        // Half of it is office addresses.
        assert_eq!(lifted("\"10.8.0.0/23\""), [false, false, false]);
        assert!(is_lifted("\"10.8.0.0/23\"", "10.8.1.5"));
        // The word "clients" stands for all pools, and for nothing else.
        assert_eq!(lifted("\"clients\""), [true, true, true]);
        assert!(!is_lifted("\"clients\"", "10.8.1.5"));
        assert_eq!(lifted("\"10.0.0.0/8\", \"clients\""), [true, true, true]);
        assert!(is_lifted("\"10.0.0.0/8\", \"clients\"", "10.8.1.5"));
        assert_eq!(
            lifted("\"10.0.0.0/8\", \"10.8.0.128/25\""),
            [false, true, false]
        );
    }

    #[test]
    fn a_hairpin_names_the_allow_whose_prefix_reaches_beyond_the_clients() {
        let text = String::from_utf8_lossy(POLICY)
            .replace("172.16.1.0/24\"]", "172.16.1.0/24\", \"10.9.0.0/28\"]");
        let (policy, _) = policy::parse("explain.toml", text.as_bytes()).expect("a good policy");
        let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        let beyond = |port| {
            let explanation = policy.explain(&question("10.9.0.6", port, Some(Protocol::Tcp)));
            let answers = explanation.expect("one family").answers;
            let said = answers.iter().map(|answer| {
                let named = answer.beyond_clients.map(|it| it.prefix.to_string());
                format!("{} {:?}", answer.verdict, named)
            });
            said.collect::<Vec<_>>()
        };
        assert_eq!(beyond(Some(3389)), ["drop hairpin Some(\"10.9.0.0/24\")"]);
        assert_eq!(beyond(Some(3390)), ["drop hairpin None"]);
        assert_eq!(
            beyond(None),
            ["forward default None", "drop hairpin Some(\"10.9.0.0/24\")"]
        );
    }

    #[test]
    fn the_prefix_of_the_set_that_led_to_the_verdict_is_named() {
        let policy = compiled();
        let exactly = |to: &str, port| {
            let from = SocketAddr::from(([172, 16, 1, 10], 50_000));
            let to = SocketAddr::new(to.parse().expect("an address"), port);
            let answer = policy.explain_exactly(from, to, Some(Protocol::Udp), Payload::Other);
            let answer = answer.expect("one family");
            let matched = answer.matched.map(|it| format!("{} {}", it.set, it.prefix));
            (answer.verdict.to_string(), matched)
        };
        let named = |verdict: &str, matched: &str| (verdict.to_owned(), Some(matched.to_owned()));
        assert_eq!(
            exactly("10.2.0.20", 50_010),
            named("drop media", "corporate.subnets 10.0.0.0/8")
        );
        assert_eq!(
            exactly("172.16.1.20", 50_010),
            named("drop hairpin", "vpn.client_subnets 172.16.1.0/24")
        );
        assert_eq!(
            exactly("10.1.0.3", 80),
            named("drop servers", "[[server]] \"Front End pool\" 10.1.0.0/28")
        );
        // Another entry is more specific, but this one is the first in the file.
        assert_eq!(
            exactly("10.9.0.5", 3389),
            named("forward allow", "[[allow]] \"Remote Desktop\" 10.9.0.0/24")
        );
        assert_eq!(
            exactly("10.9.0.5", 80),
            ("forward default".to_owned(), None)
        );
    }

    #[test]
    fn each_match_drops_the_payloads_that_it_is_for() {
        let forwarded = "forward default";
        let told = |recognition: &str, protocol, payload| {
            let text = format!(
                "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
                 [media]\nmatch = \"{recognition}\"\n"
            );
            let (policy, _) = policy::parse("media.toml", text.as_bytes()).expect("a good policy");
            let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
            let from = SocketAddr::from(([172, 16, 1, 10], 50_000));
            let to = SocketAddr::from(([10, 2, 0, 20], 50_010));
            let answer = policy.explain_exactly(from, to, Some(protocol), payload);
            let verdict = answer.expect("one family").verdict;
            let evidence = verdict.media.map(|it| format!(", {}", it.evidence));
            format!("{verdict}{}", evidence.unwrap_or_default())
        };
        use Payload::{Dtls, MicrosoftCheck, Other, Rtp, StunCheck};
        use Protocol::{Tcp, Udp};
        for (payload, udp, tcp) in [
            (StunCheck, "stun-check", "ice-tcp"),
            (MicrosoftCheck, "stun-check", "ice-tcp"),
            (Rtp, "rtp", "rtp-tcp"),
        ] {
            assert_eq!(told("media", Udp, payload), format!("drop media, {udp}"));
            assert_eq!(told("media", Tcp, payload), format!("drop media, {tcp}"));
        }
        assert_eq!(told("media", Udp, Dtls), "drop media, dtls-srtp");
        assert_eq!(told("ice", Udp, StunCheck), "drop media, stun-check");
        assert_eq!(told("ice", Tcp, StunCheck), "drop media, ice-tcp");
        for payload in [Dtls, Rtp, Other] {
            assert_eq!(told("ice", Udp, payload), forwarded);
            assert_eq!(told("ice", Tcp, payload), forwarded);
        }
        assert_eq!(
            told("ice-microsoft", Udp, MicrosoftCheck),
            "drop media, stun-check"
        );
        assert_eq!(
            told("ice-microsoft", Tcp, MicrosoftCheck),
            "drop media, ice-tcp"
        );
        assert_eq!(told("ice-microsoft", Udp, StunCheck), forwarded);
        for (_, payload) in Payload::WORDS {
            assert_eq!(told("ports", Udp, *payload), "drop media");
            assert_eq!(told("ports", Tcp, *payload), "drop media");
        }
    }

    #[test]
    fn a_question_across_families_has_no_answer() {
        assert_eq!(
            compiled().explain(&question("2001:db8::1", Some(80), Some(Protocol::Tcp))),
            None
        );
    }
}
