//! DNS messages: client queries, the policy's answers, and screening of upstream answers.
//!
//! ```text
//!  bytes ──▶ Incoming ─┬─▶ nothing                       responses, scraps
//!                      ├─▶ Refusal ──▶ bytes             FORMERR, NOTIMP, REFUSED, BADVERS
//!                      └─▶ Query ─┬─▶ write_local        pinned, hidden: by Zones::answer, whatever upstreams say
//!                                 └─▶ Upstream ──▶ bytes ··▶ upstream ··▶ bytes
//!                                                                           │ the right id and question, else ignored
//!                                      bytes ◀── Prepared ◀── screen ◀──────┘
//!                                                (cached)     without records of names that are pinned or hidden
//! ```
//!
//! This module is pure: no sockets, no clocks. `gateway::resolver` sends and receives the bytes.
//!
//! A forwarded answer is the upstream's own message, byte for byte, including signatures and unknown types. Only the
//! transaction id, the letter case of the question, the EDNS data of the hop and the remaining TTLs are replaced. If a
//! record must not pass, the message is rebuilt without it (`screen`).

mod query;
mod reply;
mod screen;
mod upstream;
mod wire;

#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
#[cfg(test)]
mod tests;

pub use query::{Incoming, Key, MAX_KEY, Query, Refusal, asked_for};
pub use reply::{Local, STREAM_LIMIT, is_hidden, write_local};
pub use screen::{Prepared, Unusable, screen, screen_spared};
pub use upstream::{EdnsUse, Upstream, UpstreamReply};
pub use wire::Malformed;

use self::wire::Header;
use crate::name::DnsName;

/// The response codes that this server sends or understands (RFC 1035 §4.1.1, RFC 6891 §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseCode {
    /// No error.
    NoError,
    /// The query is malformed.
    FormErr,
    /// No upstream answered.
    ServFail,
    /// The name does not exist.
    NxDomain,
    /// This server does not implement the operation.
    NotImp,
    /// Refused to this client, or to all.
    Refused,
    /// Unsupported EDNS version.
    BadVers,
}

impl ResponseCode {
    /// Returns the numeric code; above 15, the OPT record has the higher bits.
    pub const fn number(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::BadVers => 16,
        }
    }

    /// Returns the mnemonic of a response code; `None` for a code not listed here.
    pub const fn name(number: u16) -> Option<&'static str> {
        Some(match number {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            16 => "BADVERS",
            _ => return None,
        })
    }

    /// Returns the code of an answer, without the bits in its OPT record.
    pub fn of(answer: &[u8]) -> Option<u16> {
        Some(Header::read(answer)?.flags & wire::flag::RCODE)
    }
}
