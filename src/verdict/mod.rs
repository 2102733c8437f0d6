//! [`Verdict`]: the action that a packet gets, the reason, and the rule of the policy that decided.
//!
//! The filter and everything that reports on it use these types. [`Reason`] and [`RuleKind`] are tables: words,
//! meanings and lists elsewhere are derived from them.

mod reason;
mod rule;

use std::fmt;

use crate::packet::media::Recognized;

pub use reason::{DecidedBy, Reason};
pub use rule::{RuleId, RuleKind};

/// The gateway's treatment of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Action {
    /// The packet is forwarded unchanged.
    Forward,
    /// The packet is dropped: silently, as by the article's firewall rules, unless `filter.reject` asks for an answer.
    Drop,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 2] = [Self::Forward, Self::Drop];

    /// The word for it in verdict files, `[[test]]` expectations, JSON, metric labels and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Drop => "drop",
        }
    }
}

/// The judgement of one packet: the action, the reason, and the rule of the policy that decided.
// The order of fields matters: the tables of `ports` tell a verdict from another decision by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Verdict {
    /// Forward or drop.
    pub action: Action,
    /// The reason.
    pub reason: Reason,
    /// For `media` and `hairpin`: the evidence, if the policy asks for any (`media.match`).
    pub media: Option<Recognized>,
    /// The rule that decided; `None` if no rule of the policy was needed (`malformed`, `default`, …).
    pub rule: Option<RuleId>,
}

// A verdict travels in one register, and a batch of 64 in eight cache lines.
const _: () = assert!(size_of::<Verdict>() <= 8);

impl Verdict {
    /// Forwards for `reason`, without a rule of the policy.
    pub const fn forward(reason: Reason) -> Self {
        Self {
            action: Action::Forward,
            reason,
            media: None,
            rule: None,
        }
    }

    /// Drops for `reason`, without a rule of the policy.
    pub const fn drop(reason: Reason) -> Self {
        Self {
            action: Action::Drop,
            reason,
            media: None,
            rule: None,
        }
    }

    /// True if it blocks a media port: it stands for media alone, if the policy asks for evidence.
    pub const fn is_media_rule(self) -> bool {
        matches!(self.reason, Reason::Media | Reason::Hairpin)
    }

    /// The same verdict, because of `recognized`.
    pub const fn because_of(self, recognized: Recognized) -> Self {
        Self {
            media: Some(recognized),
            ..self
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
        out.pad(self.name())
    }
}

/// The form of verdict files: `drop media`.
impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.action, self.reason)
    }
}
