//! [`rejectable`]: decides which dropped packets are answered (`filter.reject`).
//!
//! Answered are drops by a rule of the policy, so that a program that tried a forgotten service fails at once. Media in UDP finds
//! no answer, whichever rule drops it: a client's system reports an ICMP error to the socket that sent the connectivity check
//! (on Windows as WSAECONNRESET, at its next read), and that socket serves all candidates of the call, those that work among
//! them. Media in TCP has a connection for each candidate, and a RST ends only that.

use crate::packet::media::{Payload, Segment, announces_media};
use crate::packet::reject::{Rejectable, RejectionKind};
use crate::packet::{Protocol, Received};
use crate::policy::Reject;
use crate::verdict::{Action, Reason, Verdict};

/// The answer to a packet with `verdict` whose payload is `payload`; `None` if there is none.
pub fn rejection_kind(
    reject: Reject,
    verdict: Verdict,
    protocol: Protocol,
    payload: Payload,
) -> Option<RejectionKind> {
    let wanted = may_answer(reject, verdict, protocol)?;
    match protocol {
        Protocol::Udp if payload != Payload::Other => None,
        Protocol::Udp | Protocol::Tcp => Some(wanted),
    }
}

/// The packet with `verdict`, if it is to be answered.
pub fn rejectable<'a>(
    reject: Reject,
    verdict: Verdict,
    received: Received<'a>,
) -> Option<Rejectable<'a>> {
    if reject == Reject::Nothing || !is_by_rule(verdict) {
        return None;
    }
    let packet = received.parse().ok()?;
    let (key, segment) = Segment::of(&packet)?;
    may_answer(reject, verdict, key.protocol())?;
    if announces_media(segment, received.datagram) {
        return None;
    }
    Rejectable::of(packet)
}

fn may_answer(reject: Reject, verdict: Verdict, protocol: Protocol) -> Option<RejectionKind> {
    if !is_by_rule(verdict) {
        return None;
    }
    let is_wanted = match (reject, protocol) {
        (Reject::Nothing, _) | (Reject::Tcp, Protocol::Udp) => false,
        (Reject::Tcp | Reject::All, Protocol::Tcp) => true,
        (Reject::All, Protocol::Udp) => verdict.media.is_none(),
    };
    is_wanted.then_some(RejectionKind::of(protocol))
}

/// True for a drop by Table 1. Whatever is malformed, has a source that is no client's or takes another way than its header
/// says finds no answer, and neither does what should go outside the tunnel.
fn is_by_rule(verdict: Verdict) -> bool {
    verdict.action == Action::Drop
        && match verdict.reason {
            Reason::Servers | Reason::Media | Reason::Hairpin => true,
            Reason::Malformed
            | Reason::NotAClient
            | Reason::SpoofedSource
            | Reason::SourceRouted
            | Reason::Public
            | Reason::Gateway
            | Reason::Allow
            | Reason::TinyFragment
            | Reason::Default => false,
        }
}
