//! [`Verdict`]: what happens to a packet, and why.

use std::fmt;
use std::num::NonZeroU32;

/// What the gateway does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Action {
    /// It goes on its way, unchanged.
    Forward,
    /// It ends here, silently, as the article's firewall rules do it.
    Drop,
}

/// Why a packet got its verdict; one counter each.
///
/// The order is the order of the verdicts: the first reason that applies wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// A header that no host would accept.
    Malformed,
    /// The source is outside `vpn.client_subnets`.
    NotAClient,
    /// The same, under `filter.unknown_source = "drop"`.
    SpoofedSource,
    /// A source route with hops left: the header does not name the destination.
    SourceRouted,
    /// The destination is a public service: it should have gone outside the tunnel.
    Public,
    /// TCP or UDP to a `[[server]]` (Table 1, row 2).
    Servers,
    /// An `[[allow]]` lifted the rule that would have dropped it.
    Allow,
    /// TCP or UDP to a media port of a corporate host (Table 1, row 1).
    Media,
    /// TCP or UDP to a media port of another VPN client.
    Hairpin,
    /// The ports would decide, and the fragment that has to carry them does not reach them.
    TinyFragment,
    /// No rule speaks of it.
    Default,
}

impl Reason {
    /// Every reason, in verdict order.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::NotAClient,
        Self::SpoofedSource,
        Self::SourceRouted,
        Self::Public,
        Self::Servers,
        Self::Allow,
        Self::Media,
        Self::Hairpin,
        Self::TinyFragment,
        Self::Default,
    ];

    /// The name used in verdict files, counters and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAClient => "not-a-client",
            Self::SpoofedSource => "spoofed-source",
            Self::SourceRouted => "source-routed",
            Self::Public => "public",
            Self::Servers => "servers",
            Self::Allow => "allow",
            Self::Media => "media",
            Self::Hairpin => "hairpin",
            Self::TinyFragment => "tiny-fragment",
            Self::Default => "default",
        }
    }
}

/// The rule of a policy that decided: its number in [`RuleTable`](crate::filter::RuleTable).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(NonZeroU32);

impl RuleId {
    /// The rule at `index` (from 0) of the rule table.
    pub(crate) fn from_index(index: usize) -> Self {
        let number = u32::try_from(index)
            .ok()
            .and_then(|index| index.checked_add(1));
        Self(
            number
                .and_then(NonZeroU32::new)
                .expect("a policy file is too small to hold 2^32 rules"),
        )
    }

    /// Position in the rule table, from 0.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// What happens to one packet, why, and by which rule of the policy.
// In this order: the tables of `ports` tell a verdict from another decision by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Verdict {
    /// Forward or drop.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The rule that decided; `None` where no rule of the policy was needed (`malformed`, `default`, …).
    pub rule: Option<RuleId>,
}

// A verdict travels in one register, and a batch of 64 in eight cache lines.
const _: () = assert!(size_of::<Verdict>() <= 8);

impl Verdict {
    /// Forward for `reason`, by no rule of the policy.
    pub const fn forward(reason: Reason) -> Self {
        Self {
            action: Action::Forward,
            reason,
            rule: None,
        }
    }

    /// Drop for `reason`, by no rule of the policy.
    pub const fn drop(reason: Reason) -> Self {
        Self {
            action: Action::Drop,
            reason,
            rule: None,
        }
    }

    /// The same verdict, given by `rule`.
    pub const fn by(self, rule: RuleId) -> Self {
        Self {
            rule: Some(rule),
            ..self
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Forward => "forward",
            Self::Drop => "drop",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// As a line of a verdict file says it: `drop media`.
impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.action, self.reason)
    }
}
