//! [`CompiledPolicy`]: a policy made for speed.

use std::time::Duration;

use ipnet::IpNet;

use super::RuleTable;
use super::class::{Class, Classes};
use super::ports::{FunctionNumber, PortCompiler, PortFunction, PortFunctions};
use crate::address::{ClassNumber, FewRanges, Ipv4Trie, Ipv6Trie};
use crate::packet::{
    Addresses, Fragment, FragmentTable, Malformed, PacketView, Protocol, Transport,
};
use crate::policy::{LeakedPublic, Policy, UnknownSource};
use crate::verdict::{Reason, Verdict};

/// A policy that judges packets; immutable, and shared between threads.
///
/// A few comparisons tell whether the source is a client, a lookup finds the class of the destination, and a table what
/// that class makes of the protocol and of the range that the port lies in: the cost does not grow with the number of
/// rules. A policy with many client pools or port ranges takes a second lookup and a longer way to the range.
#[derive(Debug)]
pub struct CompiledPolicy {
    policy: Policy,
    generation: Generation,
    rules: RuleTable,
    v4: Ipv4Trie,
    v6: Ipv6Trie,
    /// The clients' addresses, where they are few ranges.
    few_clients_v4: Option<FewRanges<u32>>,
    few_clients_v6: Option<FewRanges<u128>>,
    /// Of each class: whether it is a client's. Kept apart from the plans, so that a source costs one byte of cache.
    clients: Vec<bool>,
    /// Of each class: what the ports decide, by [`Protocol`]; behind them what other protocols get, by any "ports".
    by_ports: Vec<[PortFunction; 3]>,
    /// Of each class: what is decided without ports.
    plans: Vec<Plan>,
    ports: PortFunctions,
    unknown_source: Verdict,
}

/// Which of the policies that a gateway has had since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

/// Why a policy that means something cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
    Prefixes(#[from] crate::address::BuildError),
}

/// What a policy may take to be judged by the quicker ways; beyond that it is judged by those that know no bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Ranges of client addresses that a source is compared with. Eight comparisons take as long as an IPv4 lookup.
    pub(super) client_ranges: usize,
    /// Cells of port functions that share one map: 256 KiB, of which traffic touches little.
    pub(super) shared_cells: usize,
}

impl Bounds {
    /// What pays.
    pub(super) const USUAL: Self = Self {
        client_ranges: 8,
        shared_cells: 1 << 15,
    };

    /// No policy fits: the oracle of the quicker ways.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) const NOTHING: Self = Self {
        client_ranges: 0,
        shared_cells: 0,
    };
}

/// What follows from the class of an address.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// The one verdict that all ports of a protocol get, where there is only one, by [`Protocol`].
    single: [Option<Verdict>; 2],
    /// Protocols without ports.
    other: Verdict,
    /// TCP or UDP whose ports are cut off, by [`Protocol`].
    truncated_header: [Verdict; 2],
    /// A header chain that ends before it names the transport.
    truncated_chain: Verdict,
    /// The one verdict of every protocol and port, where there is only one.
    uniform: Option<Verdict>,
}

impl CompiledPolicy {
    /// Compiles `policy`; `generation` tells it from those before.
    ///
    /// # Errors
    /// [`CompileError`] when the policy is too large for the tables.
    pub fn new(policy: Policy, generation: Generation) -> Result<Self, CompileError> {
        Self::within(Bounds::USUAL, policy, generation)
    }

    /// Compiles `policy` to the ways that `bounds` allow: the verdicts are the same.
    pub(super) fn within(
        bounds: Bounds,
        policy: Policy,
        generation: Generation,
    ) -> Result<Self, CompileError> {
        let rules = RuleTable::new(&policy);
        let classes = Classes::of(&policy).map_err(|_| CompileError::TooManyClasses)?;
        let v4 = Ipv4Trie::build(classes.v4)?;
        let v6 = Ipv6Trie::build(classes.v6)?;
        let mut compiler = PortCompiler::new(&policy, &rules);
        let plan = |class| Plan::new(class, &policy, &rules, &mut compiler);
        let (plans, by_ports): (_, Vec<_>) = classes.classes.iter().map(plan).unzip();
        let clients = classes.classes.iter().map(|class| class.client).collect();
        let (ports, functions) = compiler.finish(bounds.shared_cells);
        let by_ports = by_ports
            .into_iter()
            .map(|numbers: [FunctionNumber; 3]| numbers.map(|number| functions[number as usize]))
            .collect();
        let unknown_source = match policy.filter.unknown_source {
            UnknownSource::Forward => Verdict::forward(Reason::NotAClient),
            UnknownSource::Drop => Verdict::drop(Reason::SpoofedSource),
        };
        let pools = || policy.vpn.client_subnets.iter().map(|pool| pool.value);
        let pools_v4 = pools().filter_map(|pool| match pool {
            IpNet::V4(pool) => Some(pool),
            IpNet::V6(_) => None,
        });
        let pools_v6 = pools().filter_map(|pool| match pool {
            IpNet::V4(_) => None,
            IpNet::V6(pool) => Some(pool),
        });
        let few_clients_v4 = FewRanges::of(pools_v4, bounds.client_ranges);
        let few_clients_v6 = FewRanges::of(pools_v6, bounds.client_ranges);
        Ok(Self {
            policy,
            generation,
            rules,
            v4,
            v6,
            few_clients_v4,
            few_clients_v6,
            clients,
            by_ports,
            plans,
            ports,
            unknown_source,
        })
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
            + self.clients.capacity() * size_of::<bool>()
            + self.by_ports.capacity() * size_of::<[PortFunction; 3]>()
            + self.plans.capacity() * size_of::<Plan>()
            + self.ports.memory_bytes()
    }

    /// Judges one packet, as it was parsed: a header that is not in order is dropped as `malformed`.
    ///
    /// `now` is a time since any fixed moment; only `fragments` looks at it.
    #[inline(never)] // the way of rare packets: kept out of the loop over plain ones
    pub fn judge(
        &self,
        packet: Result<PacketView<'_>, Malformed>,
        fragments: &mut FragmentTable<Verdict>,
        now: Duration,
    ) -> Verdict {
        let Ok(packet) = packet else {
            return Verdict::drop(Reason::Malformed);
        };
        let (source, class) = self.classes(packet.addresses());
        let destination = &self.plans[class];
        if !self.clients[source] {
            return self.unknown_source;
        }
        let verdict = match packet.transport() {
            _ if packet.is_source_routed() => Verdict::drop(Reason::SourceRouted),
            Transport::Ports {
                protocol,
                source,
                destination: port,
            } => self
                .ports
                .verdict(self.by_ports[class][place(Some(protocol))], source, port),
            Transport::Other(_) => destination.other,
            Transport::TruncatedHeader(protocol) => destination.truncated_header[protocol as usize],
            Transport::TruncatedChain => destination.truncated_chain,
            Transport::NonFirst(protocol) => destination.single[protocol as usize]
                .unwrap_or_else(|| follow(packet, fragments, now)),
            Transport::UnknownNonFirst => destination
                .uniform
                .unwrap_or_else(|| follow(packet, fragments, now)),
        };
        // Where every tail has the same verdict, or is known not to be TCP or UDP, none will ask.
        let tails_ask = destination.uniform.is_none()
            && !matches!(
                (packet.addresses(), packet.transport()),
                (Addresses::V4 { .. }, Transport::Other(_))
            );
        if let Fragment::First { .. } = packet.fragment()
            && tails_ask
        {
            remember(packet, fragments, now, verdict);
        }
        verdict
    }

    /// The classes of IPv4 addresses.
    pub(super) fn lookup_v4(&self, addresses: &[u32], classes: &mut [ClassNumber]) {
        self.v4.lookup_batch(addresses, classes);
    }

    /// The classes of IPv6 addresses.
    pub(super) fn lookup_v6(&self, addresses: &[u128], classes: &mut [ClassNumber]) {
        self.v6.lookup_batch(addresses, classes);
    }

    /// The clients' IPv4 addresses, where a comparison finds them.
    pub(super) fn few_clients_v4(&self) -> Option<&FewRanges<u32>> {
        self.few_clients_v4.as_ref()
    }

    /// The clients' IPv6 addresses, where a comparison finds them.
    pub(super) fn few_clients_v6(&self) -> Option<&FewRanges<u128>> {
        self.few_clients_v6.as_ref()
    }

    /// Whether addresses of this class are clients'.
    pub(super) fn is_client(&self, class: ClassNumber) -> bool {
        self.clients[usize::from(class)]
    }

    /// What the ports decide.
    pub(super) fn ports(&self) -> &PortFunctions {
        &self.ports
    }

    /// The verdict of a plain packet to an address of this class; `range` is that of its destination port.
    #[inline(always)]
    pub(super) fn judge_plain(
        &self,
        is_from_client: bool,
        destination: ClassNumber,
        protocol: Option<Protocol>,
        source_port: u16,
        range: impl Fn(PortFunction) -> usize,
    ) -> Verdict {
        if !is_from_client {
            return self.unknown_source;
        }
        let function = self.by_ports[usize::from(destination)][place(protocol)];
        self.ports
            .verdict_of_range(function, range(function), source_port)
    }

    fn classes(&self, addresses: Addresses) -> (usize, usize) {
        let (source, destination) = match addresses {
            Addresses::V4 {
                source,
                destination,
            } => (
                self.v4.lookup(source.to_bits()),
                self.v4.lookup(destination.to_bits()),
            ),
            Addresses::V6 {
                source,
                destination,
            } => (
                self.v6.lookup(source.to_bits()),
                self.v6.lookup(destination.to_bits()),
            ),
        };
        (usize::from(source), usize::from(destination))
    }
}

impl Plan {
    fn new(
        class: &Class,
        policy: &Policy,
        rules: &RuleTable,
        compiler: &mut PortCompiler<'_>,
    ) -> (Self, [FunctionNumber; 3]) {
        if let Some(public) = class.public {
            let verdict = match policy.filter.leaked_public {
                LeakedPublic::Forward => Verdict::forward(Reason::Public),
                LeakedPublic::Drop => Verdict::drop(Reason::Public),
            };
            return Self::of_one(verdict.by(rules.public(public as usize)), compiler);
        }
        let [tcp, udp] =
            [Protocol::Tcp, Protocol::Udp].map(|protocol| compiler.compile(class, protocol));
        let other = Verdict::forward(Reason::Default);
        let would_decide = class
            .server
            .map_or(rules.media(), |server| rules.server(server as usize));
        let tiny = Verdict::drop(Reason::TinyFragment).by(would_decide);
        let truncated_header = [tcp, udp].map(|by| by.single.or(by.harmless).unwrap_or(tiny));
        let uniform = (tcp.single == Some(other) && udp.single == tcp.single).then_some(other);
        let plan = Self {
            single: [tcp.single, udp.single],
            other,
            truncated_header,
            truncated_chain: if tcp.harmless.and(udp.harmless).is_some() {
                other
            } else {
                tiny
            },
            uniform,
        };
        (plan, [tcp.function, udp.function, compiler.constant(other)])
    }

    /// The plan of a class whose packets all get `verdict`.
    fn of_one(verdict: Verdict, compiler: &mut PortCompiler<'_>) -> (Self, [FunctionNumber; 3]) {
        let plan = Self {
            single: [Some(verdict); 2],
            other: verdict,
            truncated_header: [verdict; 2],
            truncated_chain: verdict,
            uniform: Some(verdict),
        };
        (plan, [compiler.constant(verdict); 3])
    }
}

/// Where the function of a protocol stands among those of a class.
#[inline(always)]
const fn place(protocol: Option<Protocol>) -> usize {
    match protocol {
        Some(protocol) => protocol as usize,
        None => 2,
    }
}

/// The verdict of the datagram that a tail belongs to. Without its first fragment it never completes: it may pass.
#[cold]
fn follow(packet: PacketView<'_>, fragments: &FragmentTable<Verdict>, now: Duration) -> Verdict {
    let decided = packet
        .fragment_key()
        .and_then(|key| fragments.get(&key, now));
    decided.unwrap_or(Verdict::forward(Reason::Default))
}

/// Keeps the verdict of a first fragment for its tails.
#[cold]
fn remember(
    packet: PacketView<'_>,
    fragments: &mut FragmentTable<Verdict>,
    now: Duration,
    verdict: Verdict,
) {
    if let Some(key) = packet.fragment_key() {
        fragments.insert(key, now, verdict);
    }
}
