//! DNS messages: what a client asks, what the policy answers, and what of an upstream's answer may pass.
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
//! It is pure: no sockets, no clocks. `gateway::resolver` moves the bytes.
//!
//! A forwarded answer is the upstream's own message, byte for byte, signatures and unknown types included; only the
//! transaction's id, the letter case of the question, what EDNS says of a hop, and the time that is left to it are
//! ours. Where a record must not pass, the message is taken apart and put together again without it (`screen`).

mod query;
mod reply;
mod screen;
mod upstream;
mod wire;

#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
#[cfg(test)]
mod tests;

pub use query::{Incoming, Key, LONGEST_KEY, Query, Refusal, asked_for};
pub use reply::{Local, STREAM_LIMIT, write_local};
pub use screen::{Prepared, Unusable, screen};
pub use upstream::{EdnsUse, Heard, Upstream};
pub use wire::Malformed;

use self::wire::Header;
use crate::name::DnsName;

/// The response codes that are given or understood (RFC 1035 §4.1.1, RFC 6891 §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseCode {
    /// As it was asked for.
    NoError,
    /// The question is not understood.
    FormErr,
    /// No upstream answered.
    ServFail,
    /// There is no such name.
    NxDomain,
    /// Not what this server does.
    NotImp,
    /// Not for this client, or not at all.
    Refused,
    /// A version of EDNS that is not known.
    BadVers,
}

impl ResponseCode {
    /// Its number; above 15, the higher bits stand in the OPT record.
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

    /// The mnemonic of a code that an answer has, where it is one of these.
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

    /// The code of an answer, without the bits that its OPT record has.
    pub fn of(answer: &[u8]) -> Option<u16> {
        Some(Header::read(answer)?.flags & wire::flag::RCODE)
    }
}
