//! [`Ruleset`]: the chains of a host's packet filters, as far as a check understands them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;

use crate::address::Family;

/// The chains of a packet filter, but for the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ruleset {
    /// Every chain, at a hook or not.
    pub(super) chains: Vec<Chain>,
    /// The place of each chain, by table and name.
    places: HashMap<Table, HashMap<String, usize>>,
}

/// A list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    /// The program that the chain is changed with.
    pub(super) tool: Tool,
    /// The chain's family and table.
    pub(super) table: Table,
    /// The chain's name.
    pub(super) name: String,
    /// The place where packets enter it; `None` if only other chains lead there.
    pub(super) hook: Option<Hook>,
    /// The fate of packets that no rule decides.
    pub(super) policy: Policy,
    /// The rules, in order.
    pub(super) rules: Vec<Rule>,
}

/// The table of a chain. Chains jump within a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Table {
    /// `ip`, `ip6` or `inet`.
    pub(super) family: String,
    /// The name of the table.
    pub(super) name: String,
}

/// The program that a table is changed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// `nft`.
    Nft,
    /// `firewall-cmd`.
    Firewalld,
    /// `ufw`.
    Ufw,
    /// `iptables`, `ip6tables`.
    Iptables,
    /// `iptables-legacy`, `ip6tables-legacy`.
    IptablesLegacy,
}

impl Tool {
    /// Returns its name in output.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nft => "nftables",
            Self::Firewalld => "firewalld",
            Self::Ufw => "ufw",
            Self::Iptables => "iptables",
            Self::IptablesLegacy => "iptables-legacy",
        }
    }
}

/// A hook of the kernel at which a chain is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hook {
    /// The place in the kernel.
    pub(super) point: HookPoint,
    /// Chains with a lower one are called earlier.
    pub(super) priority: i64,
    /// True for a chain of NAT.
    pub(super) is_nat: bool,
}

/// The hooks that clients' packets pass on their way through the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookPoint {
    /// Before routing.
    Prerouting,
    /// Between interfaces.
    Forward,
    /// Before they leave.
    Postrouting,
}

/// The fate of packets at the end of a chain at a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// They go on.
    Accept,
    /// They are dropped.
    Drop,
}

/// Conditions, and what becomes of packets that meet all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rule {
    /// All of them have to be met.
    pub(super) conditions: Vec<Condition>,
    /// The rule's verdict.
    pub(super) step: Step,
    /// True if it changes the packet's mark.
    pub(super) sets_mark: bool,
    /// True if it changes the largest segment that the ends of a connection agree on.
    pub(super) sets_segment_size: bool,
    /// The destination ports that it asks for, if it does.
    pub(super) ports: Vec<(u16, u16)>,
    /// The protocol that it asks for: `tcp`, `udp`; `None` for any.
    pub(super) protocol: Option<String>,
    /// The rule in words, for messages.
    pub(super) text: String,
}

/// A condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// The interface that a packet came from, or goes to, has one of these names; a trailing `*` matches any suffix.
    Interface(Direction, BTreeSet<String>),
    /// Connection tracking has given the packet one of these states.
    Tracking(BTreeSet<Tracking>),
    /// The packet is of this family.
    Family(Family),
    /// The source has no route back by the interface that the packet came from.
    NoWayBack {
        /// True if the packet's mark takes part in the search for the route.
        with_mark: bool,
    },
    /// The source is in one of these ranges; where that depends on the client, it has a number as other conditions have.
    Source(Vec<(IpAddr, IpAddr)>, u32),
    /// Anything else, by a number that equal conditions share.
    Other(u32),
    /// All of these.
    All(Vec<Self>),
    /// The opposite.
    Not(Box<Self>),
}

/// An end of a packet's way through the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// It came from there.
    In,
    /// It goes there.
    Out,
}

/// A state of connection tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tracking {
    /// Of no valid connection.
    Invalid,
    /// The first of a connection.
    New,
    /// Of a connection with packets in both directions.
    Established,
    /// Of a connection that another one has announced.
    Related,
    /// Not tracked.
    Untracked,
}

/// The verdict of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Step {
    /// The next rule decides.
    #[default]
    Continue,
    /// The packet goes on.
    Accept,
    /// The packet is dropped, or rejected.
    Drop,
    /// Another chain of the table decides; then the next rule.
    Jump(String),
    /// Another chain of the table decides; then the caller of this one.
    Goto(String),
    /// The caller of this chain decides.
    Return,
    /// An address or a port is changed.
    Translate(Translation),
}

/// A change of an address or a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Translation {
    /// Of the destination.
    Destination {
        /// The first and the last address; `None` if it is unknown, or the packet's own.
        addresses: Option<(IpAddr, IpAddr)>,
        /// The first and the last port; `None` for that of the packet.
        ports: Option<(u16, u16)>,
    },
    /// Of the destination, to the gateway itself.
    Redirect,
    /// Of the source.
    Source,
}

impl Condition {
    /// The opposite of this condition where `is_negated`.
    pub(super) fn negated_if(self, is_negated: bool) -> Self {
        match (self, is_negated) {
            (it, false) => it,
            (Self::Not(inner), true) => *inner,
            (it, true) => Self::Not(Box::new(it)),
        }
    }
}

impl Tracking {
    /// Reads a state as `nft` and `iptables` write it.
    pub(super) fn named(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "invalid" => Self::Invalid,
            "new" => Self::New,
            "established" => Self::Established,
            "related" => Self::Related,
            "untracked" => Self::Untracked,
            _ => return None,
        })
    }
}

impl Ruleset {
    pub(super) fn new(chains: Vec<Chain>) -> Self {
        let mut places: HashMap<Table, HashMap<String, usize>> = HashMap::new();
        for (place, chain) in chains.iter().enumerate() {
            let of_table = places.entry(chain.table.clone()).or_default();
            of_table.insert(chain.name.clone(), place);
        }
        Self { chains, places }
    }

    /// Returns the chain called `name` in the table of `from`.
    pub(super) fn target(&self, from: &Chain, name: &str) -> Option<&Chain> {
        let place = self.places.get(&from.table)?.get(name)?;
        self.chains.get(*place)
    }

    /// Returns the chains that are called at `point`, and their hooks.
    pub(super) fn at(&self, point: HookPoint) -> impl Iterator<Item = (&Chain, Hook)> {
        let hooked = self
            .chains
            .iter()
            .filter_map(|chain| Some((chain, chain.hook?)));
        hooked.filter(move |(_, hook)| hook.point == point)
    }
}

/// `ip filter FORWARD`, as messages name it.
impl fmt::Display for Chain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { family, name } = &self.table;
        write!(out, "{family} {name} {}", self.name)?;
        match self.tool {
            Tool::IptablesLegacy => out.write_str(" (iptables-legacy)"),
            Tool::Nft | Tool::Firewalld | Tool::Ufw | Tool::Iptables => Ok(()),
        }
    }
}
