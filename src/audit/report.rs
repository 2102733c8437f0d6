//! [`Report`]: what an audit found out, as plain data.

use std::net::IpAddr;
use std::ops::AddAssign;

use ipnet::IpNet;
#[cfg(feature = "gateway")]
use serde::{Serialize, Serializer};

use super::service::{Role, Scope};
use crate::packet::Protocol;
use crate::packet::media::Evidence;
use crate::policy::PortRange;
use crate::verdict::{Action, Reason, RuleKind};

/// Packets and the bytes in them, IP headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes as on the wire.
    pub bytes: u64,
}

impl Tally {
    /// One more packet of `length` bytes.
    #[inline]
    pub(super) fn count(&mut self, length: usize) {
        self.packets += 1;
        self.bytes += length as u64;
    }

    /// Returns the counts of `self` without those of its part `other`.
    pub(super) fn without(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(other.packets),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// How many distinct things there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct Estimate {
    /// The number.
    pub count: u64,
    /// True if it was counted; else it is estimated, or the least it can be where the field says so.
    pub exact: bool,
}

impl Estimate {
    /// A number that was counted.
    pub const fn exactly(count: u64) -> Self {
        Self { count, exact: true }
    }

    /// A number that was not.
    pub const fn about(count: u64) -> Self {
        Self {
            count,
            exact: false,
        }
    }
}

/// The traffic of one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct ReasonTraffic {
    /// Forwarded or dropped.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_text"))]
    pub action: Action,
    /// Why.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_text"))]
    pub reason: Reason,
    /// How much.
    #[cfg_attr(feature = "gateway", serde(flatten))]
    pub traffic: Tally,
    /// In how many flows: a flow is one direction between two addresses and ports, the one that is judged.
    pub flows: Estimate,
}

/// The traffic that one `[[server]]`, `[[allow]]` or `[[public]]` decided about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct RuleTraffic {
    /// Kind of the rule.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "rule_kind"))]
    pub kind: RuleKind,
    /// The operator's name for it.
    pub name: String,
    /// Line of the policy file that names it.
    pub line: Option<u32>,
    /// How much.
    #[cfg_attr(feature = "gateway", serde(flatten))]
    pub traffic: Tally,
}

/// The traffic of sources that are no clients.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct StrangerTraffic {
    /// Their prefix, a /24 or a /64.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_text"))]
    pub from: IpNet,
    /// How much.
    #[cfg_attr(feature = "gateway", serde(flatten))]
    pub traffic: Tally,
}

/// Meaning of a cut-off service to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
#[cfg_attr(feature = "gateway", serde(rename_all = "kebab-case"))]
pub enum Nature {
    /// A service that users lose: worth an `[[allow]]`.
    Service,
    /// It may be a service or media: worth a look.
    Unclear,
    /// Media or its signaling: what the filter is for.
    Media,
}

/// The traffic to one host that was recognized as media by one kind of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct MediaTraffic {
    /// The evidence, in the packet itself or an earlier one of its flow.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_text"))]
    pub evidence: Evidence,
    /// The kind of host that it went to.
    pub scope: Scope,
    /// The host; `None` for all that have no line of their own.
    pub destination: Option<IpAddr>,
    /// How much.
    #[cfg_attr(feature = "gateway", serde(flatten))]
    pub traffic: Tally,
}

/// A host that would be cut off from a service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct Destination {
    /// Its address.
    pub address: IpAddr,
    /// Its port, where the service is found at many and this host uses one.
    pub port: Option<u16>,
    /// How much was sent to it.
    #[cfg_attr(feature = "gateway", serde(flatten))]
    pub traffic: Tally,
}

/// A service of which packets are dropped as `media` or `hairpin`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct CutService {
    /// Its meaning to the operator.
    pub nature: Nature,
    /// The name it is known by.
    pub name: Option<&'static str>,
    /// TCP or UDP.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_text"))]
    pub protocol: Protocol,
    /// Ports at which it is found.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_text"))]
    pub ports: PortRange,
    /// On which side of it the clients are.
    pub role: Role,
    /// The kind of host on the other side.
    pub scope: Scope,
    /// How much would be dropped.
    #[cfg_attr(feature = "gateway", serde(flatten))]
    pub traffic: Tally,
    /// In how many flows.
    pub flows: Estimate,
    /// True if there was nothing but TCP's first packet: nobody answered, or somebody else already drops the rest.
    pub attempts_only: bool,
    /// Hosts on the other side; at least so many where it is not exact.
    pub destinations: Estimate,
    /// Those that most of it goes to, the first before all.
    pub top: Vec<Destination>,
}

/// An `[[allow]]` that would keep a service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct Suggestion {
    /// Its name; no `[[allow]]` of the policy has it.
    pub name: String,
    /// Destinations: all the hosts that were seen, and no other.
    #[cfg_attr(feature = "gateway", serde(serialize_with = "as_texts"))]
    pub to: Vec<IpNet>,
    /// Prefixes that are left out, because there are too many.
    pub left_out: usize,
    /// The entry, for the end of the policy file.
    pub toml: String,
}

/// Services that a policy cuts off, for readers who may not learn the addresses of clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses {
    /// The services, each with the `[[allow]]` that would keep it, if any: services first, then unclear ones, then media.
    pub services: Vec<(CutService, Option<Suggestion>)>,
    /// The `[[allow]]` that would keep RDP Shortpath to corporate hosts, if it is dropped.
    pub shortpath: Option<Suggestion>,
}

/// A session host whose RDP Shortpath would be dropped, because it is found by the checks of ICE.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct ShortpathHost {
    /// Its address.
    pub address: IpAddr,
    /// The kind of host.
    pub scope: Scope,
    /// Connections of clients to it.
    pub connections: u64,
}

/// Report of an audit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "gateway", derive(Serialize))]
pub struct Report {
    /// All packets that were judged.
    pub judged: Tally,
    /// Those that pass.
    pub forwarded: Tally,
    /// Those that do not.
    pub dropped: Tally,
    /// Frames that hold no IP packet.
    pub skipped: u64,
    /// Frames that came faster than they were judged, and are in no other number.
    pub missed: u64,
    /// First fragments of datagrams.
    pub fragments: u64,
    /// Later fragments: they follow their first one.
    pub tails: u64,
    /// By action and reason, in verdict order, dropped ones first; none without packets.
    pub reasons: Vec<ReasonTraffic>,
    /// By rule, in file order; none without packets.
    pub rules: Vec<RuleTraffic>,
    /// Dropped because it was recognized as media, by evidence and host; empty where ports alone decide.
    pub media: Vec<MediaTraffic>,
    /// Session hosts whose RDP Shortpath would be dropped, those with the most connections first.
    pub shortpath: Vec<ShortpathHost>,
    /// Sources that are no clients, those with the most packets first; without what was sent to clients.
    pub strangers: Vec<StrangerTraffic>,
    /// Services that would be cut off: services, then unclear ones, then media; the most packets first.
    pub cut_off: Vec<CutService>,
    /// Dropped as `media` or `hairpin` at ports that were too many to keep apart: somebody scans.
    pub scattered: Tally,
    /// Dropped as `media` or `hairpin` without showing ports: later fragments.
    pub without_ports: Tally,
    /// `[[allow]]` entries that would keep the services, in their order.
    pub suggestions: Vec<Suggestion>,
}

#[cfg(feature = "gateway")]
fn as_text<S: Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(feature = "gateway")]
fn as_texts<S: Serializer>(
    values: &[impl std::fmt::Display],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}

/// The word that a policy file has for a rule of this kind.
#[cfg(feature = "gateway")]
fn rule_kind<S: Serializer>(kind: &RuleKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}
