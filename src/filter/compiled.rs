//! [`CompiledPolicy`]: a policy made for speed.

use std::time::Duration;

use super::class::{Class, Classes};
use super::ports::{Decision, PortCompiler, PortTables};
use super::{Reason, RuleTable, Verdict};
use crate::packet::{Addresses, Fragment, FragmentTable, Malformed, PacketView, Protocol, Transport};
use crate::policy::{LeakedPublic, Policy, UnknownSource};
use crate::prefix::{ClassNumber, Ipv4Trie, Ipv6Trie};

/// A policy that judges packets; immutable, and shared between threads.
///
/// Two lookups find the classes of source and destination, a table what the class of the destination makes of the
/// protocol, and, only where they matter, a search over a few port ranges the verdict: the cost does not grow with the
/// number of rules.
#[derive(Debug)]
pub struct CompiledPolicy {
    policy: Policy,
    generation: Generation,
    rules: RuleTable,
    v4: Ipv4Trie,
    v6: Ipv6Trie,
    plans: Vec<Plan>,
    ports: PortTables,
    unknown_source: Verdict,
}

/// Which of the policies that a gateway has had since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

/// Why a policy that means something cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More combinations of sets than a class number can tell apart.
    #[error(
        "the policy's servers, allows and public services overlap in more than {} ways; \
         put addresses of the same purpose into one entry",
        ClassNumber::MAX
    )]
    TooManyClasses,
    /// More prefixes than the trie can hold.
    #[error(transparent)]
    Prefixes(#[from] crate::prefix::BuildError),
}

/// What follows from the class of an address.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Packets from it are judged; from any other they are `unknown_source`.
    is_client: bool,
    tcp: Decision,
    udp: Decision,
    /// Protocols without ports.
    other: Verdict,
    /// TCP or UDP whose ports would decide, but are cut off.
    ports_cut: Verdict,
    /// A header chain that ends before it names the transport.
    chain_cut: Verdict,
    /// The one verdict of every protocol and port, where there is only one.
    uniform: Option<Verdict>,
}

impl CompiledPolicy {
    /// Compiles `policy`; `generation` tells it from those before.
    ///
    /// # Errors
    /// [`CompileError`] when the policy is too large for the tables.
    pub fn new(policy: Policy, generation: Generation) -> Result<Self, CompileError> {
        let rules = RuleTable::new(&policy);
        let classes = Classes::of(&policy).map_err(|_| CompileError::TooManyClasses)?;
        let v4 = Ipv4Trie::build(classes.v4)?;
        let v6 = Ipv6Trie::build(classes.v6)?;
        let mut compiler = PortCompiler::new(&policy, &rules);
        let decisions: Vec<(Decision, Decision)> = classes
            .classes
            .iter()
            .map(|class| (compiler.decide(class, Protocol::Tcp), compiler.decide(class, Protocol::Udp)))
            .collect();
        let ports = compiler.finish();
        let plan = |(class, (tcp, udp))| Plan::new(class, tcp, udp, &policy, &rules, &ports);
        let plans = classes.classes.iter().zip(decisions).map(plan).collect();
        let unknown_source = match policy.filter.unknown_source {
            UnknownSource::Forward => Verdict::forward(Reason::NotAClient),
            UnknownSource::Drop => Verdict::drop(Reason::SpoofedSource),
        };
        Ok(Self { policy, generation, rules, v4, v6, plans, ports, unknown_source })
    }

    /// The policy it was compiled from.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Which of the policies that a gateway has had.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The rules that verdicts name.
    pub fn rules(&self) -> &RuleTable {
        &self.rules
    }

    /// Bytes that the tables of the packet path take.
    pub fn memory_bytes(&self) -> usize {
        self.v4.memory_bytes()
            + self.v6.memory_bytes()
            + self.plans.capacity() * size_of::<Plan>()
            + self.ports.memory_bytes()
    }

    /// Judges one packet, as it was parsed.
    #[inline]
    pub fn judge(
        &self,
        packet: &Result<PacketView<'_>, Malformed>,
        fragments: &mut FragmentTable<Verdict>,
        now: Duration,
    ) -> Verdict {
        match packet {
            Ok(packet) => self.classify(packet, fragments, now),
            Err(_) => Verdict::drop(Reason::Malformed),
        }
    }

    /// Judges a packet whose header is in order.
    ///
    /// `now` is a time since any fixed moment; only `fragments` looks at it.
    #[inline]
    pub fn classify(
        &self,
        packet: &PacketView<'_>,
        fragments: &mut FragmentTable<Verdict>,
        now: Duration,
    ) -> Verdict {
        let (source, destination) = self.plans_of(packet.addresses());
        if !source.is_client {
            return self.unknown_source;
        }
        if packet.is_source_routed() {
            return Verdict::drop(Reason::SourceRouted);
        }
        let verdict = match packet.transport() {
            Transport::Ports { protocol, source, destination: port } => {
                self.ports.resolve(destination.decision(protocol), source, port)
            }
            Transport::Other(_) => destination.other,
            Transport::PortsCut(protocol) => match destination.decision(protocol) {
                Decision::Verdict(verdict) => verdict,
                Decision::DestinationPort(_) | Decision::SourcePort(_) => destination.ports_cut,
            },
            Transport::ChainCut => destination.chain_cut,
            Transport::Tail(protocol) => match destination.decision(protocol) {
                Decision::Verdict(verdict) => verdict,
                Decision::DestinationPort(_) | Decision::SourcePort(_) => follow(packet, fragments, now),
            },
            Transport::UnknownTail => destination.uniform.unwrap_or_else(|| follow(packet, fragments, now)),
        };
        if let Fragment::First { .. } = packet.fragment()
            && destination.uniform.is_none()
        {
            remember(packet, fragments, now, verdict);
        }
        verdict
    }

    #[inline]
    fn plans_of(&self, addresses: Addresses) -> (&Plan, &Plan) {
        let (source, destination) = match addresses {
            Addresses::V4 { source, destination } => {
                (self.v4.lookup(source.to_bits()), self.v4.lookup(destination.to_bits()))
            }
            Addresses::V6 { source, destination } => {
                (self.v6.lookup(source.to_bits()), self.v6.lookup(destination.to_bits()))
            }
        };
        (&self.plans[usize::from(source)], &self.plans[usize::from(destination)])
    }
}

impl Plan {
    fn new(
        class: &Class,
        tcp: Decision,
        udp: Decision,
        policy: &Policy,
        rules: &RuleTable,
        ports: &PortTables,
    ) -> Self {
        if let Some(public) = class.public {
            let verdict = match policy.filter.leaked_public {
                LeakedPublic::Forward => Verdict::forward(Reason::Public),
                LeakedPublic::Drop => Verdict::drop(Reason::Public),
            };
            return Self::of_one(class, verdict.by(rules.public(public as usize)));
        }
        let other = Verdict::forward(Reason::Default);
        if tcp == Decision::Verdict(other) && udp == tcp {
            return Self::of_one(class, other);
        }
        let scope = match class.server {
            Some(server) if !class.client && !class.corporate => rules.server(server as usize),
            _ => rules.media(),
        };
        let ports_cut = Verdict::drop(Reason::TinyFragment).by(scope);
        let may_drop = [tcp, udp]
            .into_iter()
            .flat_map(|decision| ports.verdicts(decision))
            .any(|verdict| verdict.action == super::Action::Drop);
        let chain_cut = if may_drop { ports_cut } else { other };
        Self { is_client: class.client, tcp, udp, other, ports_cut, chain_cut, uniform: None }
    }

    /// The plan of a class whose packets all get `verdict`.
    fn of_one(class: &Class, verdict: Verdict) -> Self {
        Self {
            is_client: class.client,
            tcp: Decision::Verdict(verdict),
            udp: Decision::Verdict(verdict),
            other: verdict,
            ports_cut: verdict,
            chain_cut: verdict,
            uniform: Some(verdict),
        }
    }

    #[inline]
    fn decision(&self, protocol: Protocol) -> Decision {
        match protocol {
            Protocol::Tcp => self.tcp,
            Protocol::Udp => self.udp,
        }
    }
}

/// The verdict of the datagram that a tail belongs to. Without its first fragment it never completes: it may pass.
#[cold]
fn follow(packet: &PacketView<'_>, fragments: &FragmentTable<Verdict>, now: Duration) -> Verdict {
    let decided = packet.fragment_key().and_then(|key| fragments.get(&key, now));
    decided.unwrap_or(Verdict::forward(Reason::Default))
}

/// Keeps the verdict of a first fragment for its tails.
#[cold]
fn remember(packet: &PacketView<'_>, fragments: &mut FragmentTable<Verdict>, now: Duration, verdict: Verdict) {
    if let Some(key) = packet.fragment_key() {
        fragments.insert(key, now, verdict);
    }
}
