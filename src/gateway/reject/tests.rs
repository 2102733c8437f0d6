//! The fate of offers, without the thread that sends.

use std::time::Duration;

use super::*;
use crate::gateway::host::sample::{compiled, datagram};
use crate::verdict::Reason;

const DROPPED: Verdict = Verdict::drop(Reason::Media);

/// The outcomes of `count` offers of the same packet.
fn offers(shared: &Shared, policy: &str, verdict: Verdict, count: usize) -> Vec<Offer> {
    let policy = compiled(policy, 1);
    let packet = datagram([10, 20, 0, 7], 50_020, 8);
    let received = Received::whole(&packet, Duration::ZERO);
    let offer = |_| shared.offer(&policy, verdict, received, &[], Framing::Ip);
    (0..count).map(offer).collect()
}

#[test]
fn what_exceeds_the_rate_is_suppressed() {
    let shared = Shared::new(QUEUE);
    let outcomes = offers(&shared, "[filter]\nreject = \"all\"", DROPPED, 1_000);
    assert_eq!(outcomes[..20], [Offer::Taken; 20]);
    assert_eq!(outcomes[20..], [Offer::Suppressed; 980]);
    assert_eq!(shared.queue.len(), 20);
}

#[test]
fn what_exceeds_the_queue_is_suppressed() {
    let shared = Shared::new(5);
    let outcomes = offers(&shared, "[filter]\nreject = \"all\"", DROPPED, 6);
    assert_eq!(outcomes[4..], [Offer::Taken, Offer::Suppressed]);
    shared.queue.pop().expect("it is full");
    let outcomes = offers(&shared, "[filter]\nreject = \"all\"", DROPPED, 1);
    assert_eq!(outcomes, [Offer::Taken]);
}

#[test]
fn what_the_policy_does_not_ask_for_costs_nobody_a_share_of_the_rate() {
    let shared = Shared::new(QUEUE);
    let malformed = Verdict::drop(Reason::Malformed);
    for (policy, verdict) in [
        ("", DROPPED),
        ("[filter]\nreject = \"tcp\"", DROPPED),
        ("[filter]\nreject = \"all\"", malformed),
    ] {
        let outcomes = offers(&shared, policy, verdict, 100);
        assert_eq!(outcomes, [Offer::Unwanted; 100], "{policy}");
    }
    let outcomes = offers(&shared, "[filter]\nreject = \"all\"", DROPPED, 20);
    assert_eq!(outcomes, [Offer::Taken; 20]);
}

#[test]
fn the_ethernet_header_tells_where_a_packet_entered() {
    let mut frame = vec![0; VirtioHeader::LENGTH];
    frame.extend([0x02, 0x0f]);
    frame.extend(7_u32.to_ne_bytes());
    frame.extend([0x52, 0x54, 0, 1, 2, 3]);
    frame.extend([0x08, 0x00, 0x45]);
    let entry = Entry {
        interface: 7,
        source: [0x52, 0x54, 0, 1, 2, 3],
    };
    assert_eq!(Entry::of(&frame, Framing::Ethernet), Some(entry));
    assert_eq!(Entry::of(&frame, Framing::Ip), None);
    assert_eq!(Entry::of(&frame[..20], Framing::Ethernet), None);
}
