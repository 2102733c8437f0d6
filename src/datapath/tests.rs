//! Decorators change only what they document.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::capture::CaptureReader;
use crate::capture::reference::read_all;
use crate::filter::{CompiledPolicy, Generation};
use crate::packet::{Received, Traffic};
use crate::verdict::Verdict;

fn policy() -> CompiledPolicy {
    let text =
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n";
    let (policy, _) = crate::policy::parse("test.toml", text.as_bytes()).expect("a policy");
    CompiledPolicy::new(policy, Generation(1)).expect("a small policy")
}

/// Packets to media ports and to others, each with bytes of its own.
fn packets(count: u8) -> Vec<Vec<u8>> {
    let packet = |number: u8| {
        let mut packet = Vec::new();
        let port = if number.is_multiple_of(3) { 50_020 } else { 53 };
        etherparse::PacketBuilder::ipv4([172, 16, 1, 10], [10, 2, 0, number], 64)
            .udp(50_000, port)
            .write(&mut packet, &[number; 64])
            .expect("room");
        packet
    };
    (0..count).map(packet).collect()
}

/// Counts the packets it judges, besides those it is told to count.
struct Counting<'a> {
    judgement: worker::ByPolicy<'a>,
    judged: u64,
    counted: u64,
    /// The last byte of each destination, in the order of judgement.
    order: Vec<u8>,
}

impl Judgement for Counting<'_> {
    fn judge(&mut self, packets: &[Received<'_>], verdicts: &mut [Verdict]) {
        self.judged += packets.len() as u64;
        let destinations = packets.iter().filter_map(|packet| packet.bytes.get(19));
        self.order.extend(destinations);
        self.judgement.judge(packets, verdicts);
    }

    fn count(&mut self, _verdict: Verdict, traffic: Traffic) {
        self.counted += traffic.packets;
    }
}

fn counting(policy: &CompiledPolicy) -> Counting<'_> {
    Counting {
        judgement: worker::ByPolicy::new(policy),
        judged: 0,
        counted: 0,
        order: Vec::new(),
    }
}

#[test]
fn what_is_recorded_is_what_came_with_its_verdict() {
    let (policy, packets) = (policy(), packets(200));
    let mut recorded = Recorded::new(MemoryBackend::new(&packets), Vec::new()).expect("memory");
    let mut judgement = counting(&policy);
    worker::run(&mut recorded, &mut judgement).expect("memory");
    assert_eq!((judgement.judged, judgement.counted), (200, 200));

    let (backend, capture) = recorded.finish().expect("memory");
    let mut alone = MemoryBackend::new(&packets);
    worker::run(&mut alone, &mut counting(&policy)).expect("memory");
    assert_eq!(backend.forwarded(), alone.forwarded());
    let (frames, damage) = read_all(CaptureReader::new(&capture[..]), 64);
    assert!(damage.is_none());
    let bytes: Vec<&[u8]> = frames.iter().map(|frame| &frame.bytes[..]).collect();
    assert_eq!(bytes, packets);
    let text = String::from_utf8_lossy(&capture);
    assert_eq!(text.matches("drop media").count(), 67);
    assert_eq!(text.matches("forward default").count(), 133);
}

#[test]
fn a_capture_that_cannot_be_written_ends_the_backend_behind_its_batch() {
    let (policy, packets) = (policy(), packets(200));
    // Room for the beginning, and no batch.
    let mut full = [0; 256];
    let mut recorded = Recorded::new(MemoryBackend::new(&packets), &mut full[..]).expect("room");
    let mut judgement = counting(&policy);
    let ended = worker::run(&mut recorded, &mut judgement);
    assert!(matches!(ended, Err(BackendError::Sink(_))), "{ended:?}");
    assert_eq!(judgement.counted, 64);
}

#[test]
fn a_device_that_fails_ends_the_worker() {
    let (policy, packets) = (policy(), packets(200));
    let rates = FaultRates {
        error: 255,
        ..FaultRates::default()
    };
    let mut faulty = Faulty::new(MemoryBackend::new(&packets), rates, 7);
    let ended = worker::run(&mut faulty, &mut counting(&policy));
    assert!(
        matches!(ended, Err(BackendError::Interface { .. })),
        "{ended:?}"
    );
}

#[test]
fn each_fault_happens() {
    let (policy, packets) = (policy(), packets(200));
    let under = |rates| {
        let mut faulty = Faulty::new(MemoryBackend::new(&packets), rates, 7);
        let mut judgement = counting(&policy);
        worker::run(&mut faulty, &mut judgement).expect("no error is asked for");
        (judgement.order, faulty.into_inner().forwarded().len())
    };
    let none = FaultRates::default();
    let (plain, passed) = under(none);
    let (lost, _) = under(FaultRates { lost: 128, ..none });
    assert!(lost.len() < plain.len() && !lost.is_empty());
    let (duplicated, _) = under(FaultRates {
        duplicated: 128,
        ..none
    });
    assert!(duplicated.len() > plain.len() && duplicated.is_sorted());
    let (reordered, _) = under(FaultRates {
        reordered: 128,
        ..none
    });
    assert_eq!(reordered.len(), plain.len());
    assert!(!reordered.is_sorted());
    let (_, of_short) = under(FaultRates { short: 128, ..none });
    assert!(of_short < passed, "{of_short} of {passed}");
}

fn rates() -> impl Strategy<Value = FaultRates> {
    let rate = 0_u8..=128;
    (rate.clone(), rate.clone(), rate.clone(), rate, 0_u8..=255).prop_map(
        |(lost, duplicated, reordered, short, idle)| FaultRates {
            lost,
            duplicated,
            reordered,
            short,
            idle,
            error: 0,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn faults_let_nothing_pass_that_is_dropped_without_them(rates in rates(), seed: u64) {
        let (policy, packets) = (policy(), packets(200));
        let mut alone = MemoryBackend::new(&packets);
        worker::run(&mut alone, &mut counting(&policy)).expect("memory");
        let passes: BTreeSet<&[u8]> = alone.forwarded().iter().copied().collect();

        let mut faulty = Faulty::new(MemoryBackend::new(&packets), rates, seed);
        let mut judgement = counting(&policy);
        worker::run(&mut faulty, &mut judgement).expect("no error is asked for");

        prop_assert_eq!(judgement.judged, judgement.counted);
        let backend = faulty.into_inner();
        prop_assert!(backend.forwarded().iter().all(|packet| passes.contains(packet)));
        if (FaultRates { idle: 0, duplicated: 0, reordered: 0, ..rates }) == FaultRates::default() {
            prop_assert_eq!(backend.forwarded(), alone.forwarded());
        }
    }
}

#[test]
fn without_faults_a_backend_behaves_as_it_does_alone() {
    let (policy, packets) = (policy(), packets(200));
    let mut alone = MemoryBackend::new(&packets);
    worker::run(&mut alone, &mut counting(&policy)).expect("memory");
    let mut faulty = Faulty::new(MemoryBackend::new(&packets), FaultRates::default(), 1);
    let mut judgement = counting(&policy);
    worker::run(&mut faulty, &mut judgement).expect("memory");
    assert_eq!((judgement.judged, judgement.counted), (200, 200));
    assert_eq!(faulty.into_inner().forwarded(), alone.forwarded());
}
