//! [`Subject`]: a policy and everything derived from it, as queried by the checks.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::{PrefixSet, special};
use crate::filter::{Answer, CompiledPolicy, Question};
use crate::packet::Protocol;
use crate::packet::media::Payload;
use crate::plan::{RoutePlan, Source, SourceKind, Zones};
use crate::policy::{Allow, Policy, PortRange, Sourced};
use crate::verdict::Action;

/// The policy under verification.
pub(super) struct Subject<'a> {
    pub(super) compiled: &'a CompiledPolicy,
    pub(super) policy: &'a Policy,
    pub(super) plan: &'a RoutePlan,
    pub(super) zones: &'a Zones,
    pub(super) clients: PrefixSet,
    pub(super) corporate: PrefixSet,
    pub(super) servers: PrefixSet,
    pub(super) public: PrefixSet,
    publics: Vec<Published<'a>>,
}

/// A `[[public]]` service or a feed, with all its prefixes.
pub(super) struct Published<'a> {
    pub(super) name: &'a str,
    pub(super) set: PrefixSet,
    sources: Vec<&'a Source>,
}

impl<'a> Published<'a> {
    /// Returns the first of its prefixes that overlaps `set`.
    pub(super) fn first_of(&self, set: &PrefixSet) -> Option<&'a Source> {
        self.sources
            .iter()
            .copied()
            .find(|it| set.overlaps(it.prefix))
    }

    /// Returns its prefixes that have no address on the public Internet.
    pub(super) fn not_public(&self) -> PrefixSet {
        let prefixes = self.sources.iter().map(|it| it.prefix);
        let unreachable = prefixes.filter(|prefix| special::unreachable(*prefix).is_some());
        unreachable.collect()
    }

    fn all(plan: &'a RoutePlan) -> Vec<Self> {
        // Prefixes of one rule are consecutive.
        let mut rules: Vec<(&str, Vec<&Source>)> = Vec::new();
        for source in &plan.sources {
            let name = match &source.kind {
                SourceKind::Public(name) | SourceKind::Feed(name, _) => name.as_str(),
                SourceKind::Clients
                | SourceKind::Corporate
                | SourceKind::PinPointDns
                | SourceKind::DnsServer
                | SourceKind::Gateway => continue,
            };
            match rules.last_mut() {
                Some((last, sources)) if *last == name => sources.push(source),
                Some(_) | None => rules.push((name, vec![source])),
            }
        }
        let published = rules.into_iter().map(|(name, sources)| Self {
            name,
            set: sources.iter().map(|it| it.prefix).collect(),
            sources,
        });
        published.collect()
    }
}

impl<'a> Subject<'a> {
    pub(super) fn new(compiled: &'a CompiledPolicy, plan: &'a RoutePlan, zones: &'a Zones) -> Self {
        let policy = compiled.policy();
        let servers = policy.servers.iter().flat_map(|it| &it.addresses);
        let publics = Published::all(plan);
        Self {
            compiled,
            policy,
            plan,
            zones,
            clients: set(&policy.vpn.client_subnets),
            corporate: set(&policy.corporate.subnets),
            servers: servers.map(|it| it.value).collect(),
            public: publics
                .iter()
                .fold(PrefixSet::EMPTY, |all, it| all.union(&it.set)),
            publics,
        }
    }

    /// Returns the gateway's verdict on a client's packet; `None` if no client has the family.
    pub(super) fn answer(&self, to: IpAddr, port: u16, protocol: Protocol) -> Option<Answer<'a>> {
        let mut clients = self
            .policy
            .vpn
            .client_subnets
            .iter()
            .map(|it| it.value.addr());
        let from = clients.find(|client| client.is_ipv4() == to.is_ipv4())?;
        let explanation = self.compiled.explain(&Question {
            from,
            from_port: None,
            to,
            to_port: Some(port),
            protocol: Some(protocol),
            payload: Payload::Other,
        })?;
        explanation.answers.into_iter().next()
    }

    /// Returns `true` if a client's packet would be dropped.
    pub(super) fn drops(&self, to: IpAddr, port: u16, protocol: Protocol) -> bool {
        let answer = self.answer(to, port, protocol);
        answer.is_some_and(|answer| answer.verdict.action == Action::Drop)
    }

    /// Returns the policy's public services and feeds.
    pub(super) fn publics(&self) -> &[Published<'a>] {
        &self.publics
    }

    /// Returns the service or feed that overlaps `set`, and its overlapping prefix.
    pub(super) fn published(&self, set: &PrefixSet) -> Option<(&Published<'a>, &'a Source)> {
        let mut found = self
            .publics
            .iter()
            .filter(|it| !it.set.intersect(set).is_empty());
        let public = found.next()?;
        public.first_of(set).map(|source| (public, source))
    }

    /// Returns the sources of one kind.
    pub(super) fn sources(&self, kind: &SourceKind) -> impl Iterator<Item = &'a Source> {
        self.plan.sources.iter().filter(move |it| it.kind == *kind)
    }

    /// Returns the number of ports in both `media.ports` and `ports`; no ranges mean all ports.
    pub(super) fn media_ports_in(&self, ports: &[Sourced<PortRange>]) -> usize {
        let media = &self.policy.media.ports;
        let holds =
            |list: &[Sourced<PortRange>], port| list.iter().any(|range| range.value.contains(port));
        (0..=u16::MAX)
            .filter(|&port| holds(media, port) && (ports.is_empty() || holds(ports, port)))
            .count()
    }

    /// Returns `true` if the `[[allow]]` lifts the media rule regardless of source port.
    pub(super) fn lifts_media(&self, allow: &Allow) -> bool {
        allow.lifts.media
            && self.media_ports_in(&allow.from_ports)
                >= PORTS_OF_A_CALL.min(self.media_ports_in(&[]))
    }

    /// Returns `true` if the policy lists Lync or Skype for Business servers.
    pub(super) fn has_servers(&self) -> bool {
        !self.policy.servers.is_empty()
    }
}

/// Ports that a client needs for one kind of media (Microsoft, "Port requirements": at least 20).
pub(super) const PORTS_OF_A_CALL: usize = 20;

pub(super) fn set(prefixes: &[Sourced<IpNet>]) -> PrefixSet {
    prefixes.iter().map(|prefix| prefix.value).collect()
}

/// Returns the addresses of a prefix.
pub(super) fn of(prefix: IpNet) -> PrefixSet {
    PrefixSet::from_iter([prefix])
}

/// Returns the first address of a set.
pub(super) fn first(set: &PrefixSet) -> Option<IpAddr> {
    set.prefixes().next().map(|prefix| prefix.network())
}

/// Returns a set as prose, with only its first few prefixes listed.
pub(super) fn some(set: &PrefixSet) -> String {
    let mut shown: Vec<String> = set.prefixes().take(SHOWN).map(bare).collect();
    let more = set.prefixes().count().saturating_sub(SHOWN);
    if more > 0 {
        shown.push(format!("and {more} more prefixes"));
    }
    shown.join(", ")
}

/// Returns a prefix in common notation: a single address without its length.
pub(super) fn bare(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

const SHOWN: usize = 3;
