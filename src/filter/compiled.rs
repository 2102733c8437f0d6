//! [`CompiledPolicy`]: a policy compiled to lookup tables.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::RuleTable;
use super::class::{Class, Classes};
use super::memory::Memory;
use super::ports::{Compiled, FunctionNumber, PortCompiler, PortFunction, PortFunctions};
use crate::address::{ClassNumber, FewRanges, Ipv4Trie, Ipv6Trie};
use crate::packet::media::{Profile, Segment};
use crate::packet::{Addresses, Fragment, PacketView, Protocol, Received, Transport};
use crate::policy::{LeakedPublic, Policy, UnknownSource};
use crate::verdict::{Reason, Verdict};

/// A policy that judges packets; immutable, and shared between threads.
///
/// A few comparisons show if the source is a client, a lookup finds the class of the destination, and a table gives the
/// verdict for the class, the protocol and the range of the port: the cost does not grow with the number of rules. A
/// policy with many client pools or port ranges needs a second lookup and more steps to find the range.
#[derive(Debug)]
pub struct CompiledPolicy {
    policy: Policy,
    generation: Generation,
    /// The gateway's own addresses, ascending; none for a policy that is judged anywhere else.
    own: Vec<IpAddr>,
    rules: RuleTable,
    v4: Ipv4Trie,
    v6: Ipv6Trie,
    /// The clients' addresses, if they form few ranges.
    few_clients_v4: Option<FewRanges<u32>>,
    few_clients_v6: Option<FewRanges<u128>>,
    /// For each class: true if it is a client's. Kept apart from the plans, so that a source costs one byte of cache.
    clients: Vec<bool>,
    /// For each class: the port functions by [`Protocol`], then that of other protocols, constant for any "ports".
    by_ports: Vec<[PortFunction; 3]>,
    /// For each class: the verdicts that do not depend on ports.
    plans: Vec<Plan>,
    ports: PortFunctions,
    unknown_source: Verdict,
    /// The evidence by which rules of media block; `None` if ports alone decide.
    recognition: Option<Profile>,
}

/// The number of a policy among those that a gateway has had since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

/// The reason why a valid policy cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// More combinations of sets than class numbers.
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

/// The limits up to which a policy is judged by the fast paths; a larger one is judged by the general ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Ranges of client addresses that a source is compared with. Eight comparisons take as long as an IPv4 lookup.
    pub(super) client_ranges: usize,
    /// Cells of port functions that share one map: 256 KiB, of which traffic touches little.
    pub(super) shared_cells: usize,
}

impl Bounds {
    /// The limits up to which the fast paths are faster.
    pub(super) const USUAL: Self = Self {
        client_ranges: 8,
        shared_cells: 1 << 15,
    };

    /// No policy fits: tests the fast paths against the general ones.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) const NOTHING: Self = Self {
        client_ranges: 0,
        shared_cells: 0,
    };
}

/// The verdicts that follow from the class of an address.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// The verdict of all ports of a protocol, if there is only one, by [`Protocol`].
    single: [Option<Verdict>; 2],
    /// Protocols without ports.
    other: Verdict,
    /// TCP or UDP with a truncated header, by [`Protocol`].
    truncated_header: [Verdict; 2],
    /// A header chain that ends before it names the transport.
    truncated_chain: Verdict,
    /// The verdict of every protocol and port, if there is only one.
    uniform: Option<Verdict>,
}

impl CompiledPolicy {
    /// Compiles `policy`; `generation` distinguishes it from earlier ones.
    ///
    /// # Errors
    /// [`CompileError`] when the policy is too large for the tables.
    pub fn new(policy: Policy, generation: Generation) -> Result<Self, CompileError> {
        Self::at_gateway(policy, generation, &[])
    }

    /// Compiles `policy` for a gateway whose addresses are `own`: it receives packets to them itself.
    ///
    /// # Errors
    /// [`CompileError`] when the policy is too large for the tables.
    pub fn at_gateway(
        policy: Policy,
        generation: Generation,
        own: &[IpAddr],
    ) -> Result<Self, CompileError> {
        Self::within(Bounds::USUAL, policy, generation, own)
    }

    /// Compiles `policy`, with the fast paths that `bounds` allow; the verdicts are the same.
    pub(super) fn within(
        bounds: Bounds,
        policy: Policy,
        generation: Generation,
        own: &[IpAddr],
    ) -> Result<Self, CompileError> {
        let rules = RuleTable::new(&policy);
        let mut own = own.to_vec();
        own.sort_unstable();
        own.dedup();
        let classes = Classes::of(&policy, &own).map_err(|_| CompileError::TooManyClasses)?;
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
        let recognition = policy.media.recognition.profile();
        Ok(Self {
            policy,
            generation,
            own,
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
            recognition,
        })
    }

    /// The policy it was compiled from.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The addresses of the gateway that it was compiled for, ascending, each once.
    pub fn own(&self) -> &[IpAddr] {
        &self.own
    }

    /// The number of the policy among those that a gateway has had.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The rules that verdicts refer to.
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

    /// The evidence by which the policy's rules of media block; `None` if ports alone decide.
    pub fn recognition(&self) -> Option<Profile> {
        self.recognition
    }

    /// The port function of whole packets of `protocol` (`None`: one without ports) to addresses of `class`, and its
    /// verdict if it has only one.
    pub(super) fn function_to(
        &self,
        class: ClassNumber,
        protocol: Option<Protocol>,
    ) -> (PortFunction, Option<Verdict>) {
        let class = usize::from(class);
        let plan = &self.plans[class];
        let single = match protocol {
            Some(protocol) => plan.single[protocol as usize],
            None => Some(plan.other),
        };
        (self.by_ports[class][place(protocol)], single)
    }

    /// The verdict of packets that are not from a client.
    pub(super) fn verdict_of_strangers(&self) -> Verdict {
        self.unknown_source
    }

    /// Judges one packet: a malformed header is dropped as `malformed`.
    #[inline(never)] // the way of rare packets: kept out of the loop over plain ones
    pub(super) fn judge(&self, received: Received<'_>, memory: &mut Memory) -> Verdict {
        let Ok(packet) = received.parse() else {
            return Verdict::drop(Reason::Malformed);
        };
        let now = received.at;
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
            } => {
                let function = self.by_ports[class][place(Some(protocol))];
                let verdict = self.ports.verdict(function, source, port);
                match self.recognition {
                    Some(profile) if verdict.is_media_rule() => {
                        memory
                            .recognize(verdict, profile, received, Segment::of(&packet))
                            .0
                    }
                    _ => verdict,
                }
            }
            Transport::Other(_) => destination.other,
            Transport::TruncatedHeader(protocol) => destination.truncated_header[protocol as usize],
            Transport::TruncatedChain => destination.truncated_chain,
            Transport::NonFirst(protocol) => {
                destination.single[protocol as usize].unwrap_or_else(|| follow(packet, memory, now))
            }
            Transport::UnknownNonFirst => destination
                .uniform
                .unwrap_or_else(|| follow(packet, memory, now)),
        };
        // No non-first fragment needs it if all have the same verdict, or are known not to be TCP or UDP.
        let tails_ask = destination.uniform.is_none()
            && !matches!(
                (packet.addresses(), packet.transport()),
                (Addresses::V4 { .. }, Transport::Other(_))
            );
        if let Fragment::First { .. } = packet.fragment()
            && tails_ask
        {
            remember(packet, memory, now, verdict);
        }
        verdict
    }

    /// Looks up the classes of IPv4 addresses.
    pub(super) fn lookup_v4(&self, addresses: &[u32], classes: &mut [ClassNumber]) {
        self.v4.lookup_batch(addresses, classes);
    }

    /// Looks up the classes of IPv6 addresses.
    pub(super) fn lookup_v6(&self, addresses: &[u128], classes: &mut [ClassNumber]) {
        self.v6.lookup_batch(addresses, classes);
    }

    /// The clients' IPv4 addresses, if they form few enough ranges to compare with.
    pub(super) fn few_clients_v4(&self) -> Option<&FewRanges<u32>> {
        self.few_clients_v4.as_ref()
    }

    /// The clients' IPv6 addresses, if they form few enough ranges to compare with.
    pub(super) fn few_clients_v6(&self) -> Option<&FewRanges<u128>> {
        self.few_clients_v6.as_ref()
    }

    /// True if addresses of this class are clients'.
    pub(super) fn is_client(&self, class: ClassNumber) -> bool {
        self.clients[usize::from(class)]
    }

    /// The port functions.
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
        if class.gateway {
            return Self::of_one(Verdict::forward(Reason::Gateway), compiler);
        }
        let [tcp, udp] =
            [Protocol::Tcp, Protocol::Udp].map(|protocol| compiler.compile(class, protocol));
        let other = Verdict::forward(Reason::Default);
        let would_decide = class
            .server
            .map_or(rules.media(), |server| rules.server(server as usize));
        let tiny = Verdict::drop(Reason::TinyFragment).by(would_decide);
        // A rule of media that asks for evidence gives no verdict without the payload.
        let is_certain = |verdict: &Verdict| {
            policy.media.recognition.profile().is_none() || !verdict.is_media_rule()
        };
        let single = [tcp, udp].map(|by| by.single.filter(is_certain));
        let hidden_ports = |by: Compiled| by.single.filter(is_certain).or(by.harmless);
        let truncated_header = [tcp, udp].map(|by| hidden_ports(by).unwrap_or(tiny));
        let uniform = (single == [Some(other); 2]).then_some(other);
        let plan = Self {
            single,
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

/// The position of a protocol's function among those of a class.
#[inline(always)]
const fn place(protocol: Option<Protocol>) -> usize {
    match protocol {
        Some(protocol) => protocol as usize,
        None => 2,
    }
}

/// The verdict of a non-first fragment's datagram. Without its first fragment it never completes, so it may pass.
#[cold]
fn follow(packet: PacketView<'_>, memory: &Memory, now: Duration) -> Verdict {
    let decided = packet
        .fragment_key()
        .and_then(|key| memory.fragments.get(&key, now));
    decided.unwrap_or(Verdict::forward(Reason::Default))
}

/// Keeps the verdict of a first fragment for the non-first ones.
#[cold]
fn remember(packet: PacketView<'_>, memory: &mut Memory, now: Duration, verdict: Verdict) {
    if let Some(key) = packet.fragment_key() {
        memory.fragments.insert(key, now, verdict);
    }
}
