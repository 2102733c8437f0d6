//! [`Look`]: what is known of a flow once one of its packets was examined.

use std::fmt;

use super::Evidence;

/// A packet that is media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Recognized {
    /// The evidence, in this packet or an earlier one of its flow.
    pub evidence: Evidence,
    /// The packet that the evidence comes from.
    pub by: By,
}

/// The state of a flow after one of its packets was examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is media.
    Media(Recognized),
    /// Later packets may show evidence.
    Undecided,
    /// It is not media, and none of its packets will be, but for one with the cookie of STUN (UDP) or the start of
    /// another connection (TCP).
    NotMedia,
}

impl Look {
    /// The evidence, if it is media.
    pub fn media(self) -> Option<Recognized> {
        match self {
            Self::Media(recognized) => Some(recognized),
            Self::Undecided | Self::NotMedia => None,
        }
    }
}

/// The packet that the evidence comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum By {
    /// The packet itself shows or completes the evidence.
    Itself,
    /// An earlier packet of its flow showed the evidence.
    Flow,
}

/// As logs, captures and summaries name it: `stun-check`, or `flow of stun-check` for a packet after the one that showed
/// it.
impl fmt::Display for Recognized {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            By::Itself => self.evidence.fmt(out),
            By::Flow => write!(out, "flow of {}", self.evidence),
        }
    }
}

impl By {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Itself, Self::Flow];

    /// The word for it in the drop log and in `status`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Itself => "packet",
            Self::Flow => "flow",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_that_showed_the_evidence_and_later_ones_have_words() {
        assert_eq!(By::ALL.map(By::word), ["packet", "flow"]);
        let recognized = By::ALL.map(|by| Recognized {
            evidence: Evidence::StunCheck,
            by,
        });
        assert_eq!(
            recognized.map(|it| it.to_string()),
            ["stun-check", "flow of stun-check"]
        );
    }
}
