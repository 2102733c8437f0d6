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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::time::Duration;

    use super::*;
    use crate::packet::media::{By, Evidence, Recognized};

    const ALL: [Reject; 3] = [Reject::Nothing, Reject::Tcp, Reject::All];
    const MEDIA: Verdict = Verdict::drop(Reason::Media);

    fn packet(protocol: Protocol, payload: &[u8]) -> Vec<u8> {
        let ip = etherparse::PacketBuilder::ipv4([172, 16, 1, 10], [10, 20, 0, 7], 64);
        let mut packet = Vec::new();
        match protocol {
            Protocol::Tcp => ip.tcp(50_000, 50_020, 1, 1_024).write(&mut packet, payload),
            Protocol::Udp => ip.udp(50_000, 50_020).write(&mut packet, payload),
        }
        .expect("room");
        packet
    }

    fn answers(verdict: Verdict, protocol: Protocol, payload: &[u8]) -> [bool; 3] {
        let packet = packet(protocol, payload);
        let received = Received::whole(&packet, Duration::ZERO);
        ALL.map(|reject| rejectable(reject, verdict, received).is_some())
    }

    #[test]
    fn drops_by_table_1_are_answered_and_no_others() {
        for reason in Reason::ALL {
            let is_by_table = ["servers", "media", "hairpin"].contains(&reason.name());
            let verdict = Verdict::drop(reason);
            let found = [Protocol::Tcp, Protocol::Udp].map(|it| answers(verdict, it, b"a query"));
            let expected = [
                [false, is_by_table, is_by_table],
                [false, false, is_by_table],
            ];
            assert_eq!(found, expected, "{verdict}");
            let forwarded = Verdict::forward(reason);
            assert_eq!(answers(forwarded, Protocol::Tcp, b"a query"), [false; 3]);
        }
    }

    #[test]
    fn media_is_answered_in_tcp_alone() {
        let recognized = MEDIA.because_of(Recognized {
            evidence: Evidence::Rtp,
            by: By::Flow,
        });
        assert_eq!(answers(recognized, Protocol::Udp, b"media"), [false; 3]);
        let by_tcp = answers(recognized, Protocol::Tcp, b"media");
        assert_eq!(by_tcp, [false, true, true]);
    }

    #[test]
    fn a_check_finds_no_answer_whichever_rule_drops_it() {
        for payload in [Payload::StunCheck, Payload::MicrosoftCheck, Payload::Dtls] {
            for reason in [Reason::Media, Reason::Servers, Reason::Hairpin] {
                let verdict = Verdict::drop(reason);
                for check in payload.packets(Protocol::Udp) {
                    let found = answers(verdict, Protocol::Udp, &check);
                    assert_eq!(found, [false; 3], "{}", payload.word());
                    // The first of several in a super-packet.
                    let bytes = packet(Protocol::Udp, &[&check[..], &check].concat());
                    let datagram = NonZeroU16::new(check.len() as u16);
                    let received = Received::whole(&bytes, Duration::ZERO);
                    let received = received.with_datagrams_of(datagram);
                    assert!(rejectable(Reject::All, verdict, received).is_none());
                }
                let kind = |payload| rejection_kind(Reject::All, verdict, Protocol::Udp, payload);
                assert_eq!(kind(payload), None);
                assert_eq!(kind(Payload::Other), Some(RejectionKind::Unreachable));
            }
        }
    }
}
