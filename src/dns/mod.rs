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
//! It is pure: no sockets, no clocks. `gateway::dns` moves the bytes.
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

pub use query::{Incoming, Key, LONGEST_KEY, Query, Refusal};
pub use reply::{Local, STREAM_LIMIT, write_local};
pub use screen::{Prepared, Unusable, screen};
pub use upstream::{EdnsUse, Heard, Upstream};
pub use wire::Malformed;

use crate::plan::DnsName;

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
}
