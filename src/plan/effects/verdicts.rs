//! [`VerdictChange`]: the addresses whose packets get another verdict.
//!
//! Every prefix of either policy begins and ends somewhere; between two such places no verdict changes. So one address of
//! each stretch is asked for, by both policies, and stretches with the same change are named together.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::address::PrefixSet;
use crate::filter::{CompiledPolicy, Question, Set};
use crate::packet::Protocol;
use crate::packet::media::Payload;
use crate::policy::{Feed, Policy, PortRange};
use crate::verdict::Verdict;

/// Addresses whose packets get a different verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictChange {
    /// The addresses.
    pub addresses: PrefixSet,
    /// The same in words, an entry a line: prefixes, and `10.0.0.0/8 but for 10.1.0.10/32` where that is shorter.
    pub named: Vec<String>,
    /// The packets it is about: empty for all, else the payloads, as `explain --payload` has them.
    pub payloads: Vec<Payload>,
    /// Verdicts before, on client packets to these addresses: `forward default`, `tcp 1024-65535 drop media, ...`.
    pub before: String,
    /// Verdicts after.
    pub after: String,
}

/// Writes `verdict: forward default becomes forward public`, or `verdict on rtp, other: …`.
impl fmt::Display for VerdictChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payloads: Vec<&str> = self.payloads.iter().map(|it| it.word()).collect();
        match &payloads[..] {
            [] => write!(out, "verdict: ")?,
            some => write!(out, "verdict on {}: ", some.join(", "))?,
        }
        write!(out, "{} becomes {}", self.before, self.after)
    }
}

/// Returns the changed verdicts, in the order of the first address of each.
pub(super) fn changes(before: &CompiledPolicy, after: &CompiledPolicy) -> Vec<VerdictChange> {
    let policies = [before.policy(), after.policy()];
    let starts = starts(policies);
    let ports = port_starts(policies);
    let mut known = policies.map(prefixes).concat();
    known.sort_by_key(IpNet::prefix_len);
    let (before, after) = (Judged::new(before), Judged::new(after));
    let mut answers: (Memo, Memo) = Default::default();
    let mut found: Vec<(Change, Vec<(IpAddr, IpAddr)>)> = Vec::new();
    for (at, first) in starts.iter().enumerate() {
        let was = before.verdicts(*first, &ports, &mut answers.0);
        let becomes = after.verdicts(*first, &ports, &mut answers.1);
        let (Some(was), Some(becomes)) = (was, becomes) else {
            continue;
        };
        let span = (*first, last_before(*first, starts.get(at + 1).copied()));
        for change in Change::all(&was, &becomes) {
            match found.iter_mut().find(|(known, _)| *known == change) {
                Some((_, spans)) => spans.push(span),
                None => found.push((change, vec![span])),
            }
        }
    }
    let changes = found.into_iter().map(|(change, spans)| {
        let addresses = PrefixSet::of_spans(spans);
        VerdictChange {
            named: brief(&addresses, &known),
            addresses,
            payloads: change.payloads,
            before: change.before,
            after: change.after,
        }
    });
    changes.collect()
}

/// Names a set by the prefixes of the policies, the widest first, and by what of them is not in it, where that is shorter.
fn brief(set: &PrefixSet, known: &[IpNet]) -> Vec<String> {
    let mut rest = set.clone();
    let mut named = Vec::new();
    for prefix in known.iter().filter(|it| set.overlaps(**it)) {
        let whole = PrefixSet::from_iter([*prefix]);
        let inside = rest.intersect(&whole);
        let others = whole.subtract(&inside);
        if !others.is_empty() && others.prefixes().count() + 1 < inside.prefixes().count() {
            named.push(format!("{prefix} but for {others}"));
            rest = rest.subtract(&whole);
        }
    }
    named.extend(rest.prefixes().map(|prefix| prefix.to_string()));
    named
}

/// The first addresses of all stretches, sorted: IPv4 before IPv6.
fn starts(policies: [&Policy; 2]) -> Vec<IpAddr> {
    let mut starts: BTreeSet<IpAddr> =
        BTreeSet::from([Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]);
    for prefix in policies.into_iter().flat_map(prefixes) {
        starts.insert(prefix.network());
        starts.extend(successor(prefix.broadcast()));
    }
    starts.into_iter().collect()
}

/// Every prefix by which a verdict on a destination is given.
fn prefixes(policy: &Policy) -> Vec<IpNet> {
    let servers = policy.servers.iter().flat_map(|server| &server.addresses);
    let allows = policy.allows.iter();
    let allows = allows.flat_map(|allow| allow.prefixes(&policy.vpn));
    let publics = policy.publics.iter().flat_map(|public| &public.addresses);
    let clients = policy.vpn.client_subnets.iter();
    let internal = clients.chain(&policy.corporate.subnets);
    let all = internal
        .chain(servers)
        .chain(publics)
        .copied()
        .chain(allows);
    let mut prefixes: Vec<IpNet> = all.map(|prefix| prefix.value).collect();
    for feed in policy.feeds.iter().map(Feed::addresses) {
        prefixes.extend(feed.prefixes());
    }
    prefixes
}

/// The first ports of all stretches of ports between which no verdict changes, sorted.
fn port_starts(policies: [&Policy; 2]) -> Vec<u16> {
    let mut starts = BTreeSet::from([0]);
    for policy in policies {
        let media = policy.media.ports.iter();
        let allows = policy.allows.iter().flat_map(|allow| &allow.ports);
        for ports in media.chain(allows).map(|ports| ports.value) {
            starts.insert(ports.first());
            starts.extend(ports.last().checked_add(1));
        }
    }
    starts.into_iter().collect()
}

fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4
            .to_bits()
            .checked_add(1)
            .map(|it| Ipv4Addr::from_bits(it).into()),
        IpAddr::V6(v6) => v6
            .to_bits()
            .checked_add(1)
            .map(|it| Ipv6Addr::from_bits(it).into()),
    }
}

/// The last address of the stretch that begins with `first`, if the next one begins with `next`.
fn last_before(first: IpAddr, next: Option<IpAddr>) -> IpAddr {
    match (first, next) {
        (IpAddr::V4(_), Some(IpAddr::V4(next))) => {
            Ipv4Addr::from_bits(next.to_bits().saturating_sub(1)).into()
        }
        (IpAddr::V6(_), Some(IpAddr::V6(next))) => {
            Ipv6Addr::from_bits(next.to_bits().saturating_sub(1)).into()
        }
        (IpAddr::V4(_), _) => Ipv4Addr::BROADCAST.into(),
        (IpAddr::V6(_), _) => Ipv6Addr::from_bits(u128::MAX).into(),
    }
}

/// The verdicts of one policy on an address, a text for each of [`PAYLOADS`].
type Verdicts = [String; PAYLOADS.len()];
/// Verdicts by the sets that contain an address: the same sets give the same verdicts.
type Memo = HashMap<String, Option<Verdicts>>;

/// The payloads that a `media.match` may treat in different ways.
const PAYLOADS: [Payload; 4] = [
    Payload::MicrosoftCheck,
    Payload::StunCheck,
    Payload::Rtp,
    Payload::Other,
];

/// A change of the verdicts on an address, for the payloads that it is the same for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    /// Empty for all of them.
    payloads: Vec<Payload>,
    before: String,
    after: String,
}

impl Change {
    /// Every change between verdicts on one address.
    fn all(before: &Verdicts, after: &Verdicts) -> Vec<Self> {
        let mut changes: Vec<Self> = Vec::new();
        for ((before, after), payload) in before.iter().zip(after).zip(PAYLOADS) {
            if before == after {
                continue;
            }
            let mut known = changes.iter_mut();
            match known.find(|it| it.before == *before && it.after == *after) {
                Some(change) => change.payloads.push(payload),
                None => changes.push(Self {
                    payloads: vec![payload],
                    before: before.clone(),
                    after: after.clone(),
                }),
            }
        }
        for change in &mut changes {
            if change.payloads == PAYLOADS {
                change.payloads.clear();
            }
        }
        changes
    }
}

/// A compiled policy, and a client of each family as the source of test packets.
struct Judged<'p> {
    policy: &'p CompiledPolicy,
    clients: PrefixSet,
}

impl<'p> Judged<'p> {
    fn new(policy: &'p CompiledPolicy) -> Self {
        Self {
            policy,
            clients: policy.policy().vpn.client_addresses(),
        }
    }

    /// Returns the verdicts on packets to `address`; `None` if no client has its family.
    fn verdicts(&self, address: IpAddr, ports: &[u16], memo: &mut Memo) -> Option<Verdicts> {
        let clients = &self.policy.policy().vpn.client_subnets;
        let same_family = |net: &IpNet| net.addr().is_ipv4() == address.is_ipv4();
        let from = clients.iter().map(|it| it.value).find(same_family)?.addr();
        let sets = self.policy.memberships(address);
        let sets = sets.iter().map(|it| {
            let among_clients = self.clients.covers(it.prefix);
            set_name(it.set, among_clients)
        });
        let sets: Vec<String> = sets.collect();
        let key = format!("{} {}", address.is_ipv4(), sets.join(", "));
        if let Some(known) = memo.get(&key) {
            return known.clone();
        }
        let mut texts = Verdicts::default();
        for (text, payload) in texts.iter_mut().zip(PAYLOADS) {
            *text = self.of_payload(from, address, ports, payload)?;
        }
        memo.insert(key, Some(texts.clone()));
        Some(texts)
    }

    /// Describes the verdicts on packets of that payload, by protocols and ports.
    fn of_payload(
        &self,
        from: IpAddr,
        to: IpAddr,
        ports: &[u16],
        payload: Payload,
    ) -> Option<String> {
        let from = SocketAddr::new(from, Question::EPHEMERAL_PORT);
        let by_protocol = [Protocol::Tcp, Protocol::Udp].map(|protocol| {
            let mut stretches: Vec<(u16, Verdict)> = Vec::new();
            for port in ports {
                let to = SocketAddr::new(to, *port);
                let answer = self
                    .policy
                    .explain_exactly(from, to, Some(protocol), payload)?;
                let verdict = answer.verdict;
                let is_same =
                    |last: &Verdict| (last.action, last.reason) == (verdict.action, verdict.reason);
                if !stretches.last().is_some_and(|(_, last)| is_same(last)) {
                    stretches.push((*port, verdict));
                }
            }
            Some(by_ports(&stretches))
        });
        match by_protocol {
            [Some(tcp), Some(udp)] if tcp == udp => Some(tcp),
            [Some(tcp), Some(udp)] => Some(format!("tcp {tcp}; udp {udp}")),
            [None, _] | [_, None] => None,
        }
    }
}

/// Writes verdicts by the first port of each: `0-1023 forward default, 1024-65535 drop media`.
fn by_ports(stretches: &[(u16, Verdict)]) -> String {
    let texts = stretches.iter().enumerate().map(|(at, (first, verdict))| {
        let next = stretches.get(at + 1);
        let last = next.map_or(u16::MAX, |(next, _)| next - 1);
        match PortRange::new(*first, last) {
            Some(ports) if ports != PortRange::ALL => format!("{ports} {verdict}"),
            _ => verdict.to_string(),
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Returns a key for the set: without the parts that do not affect verdicts (the entry of a feed), and with the part
/// that does (whether an `[[allow]]` holds the address by a prefix that is `among_clients`).
fn set_name(set: Set<'_>, among_clients: bool) -> String {
    match set {
        Set::Feed(name, _) => format!("[[feed]] {name}"),
        Set::Profile(name, _) => format!("[[profile]] {name}"),
        Set::Allow(_) if among_clients => format!("{set} among clients"),
        Set::Clients | Set::Corporate | Set::Server(_) | Set::Allow(_) | Set::Public(_) => {
            set.to_string()
        }
    }
}
