use std::collections::{HashMap, HashSet};

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;

use super::Scenario;
use crate::filter::reference::ReferenceFilter;
use crate::packet::media::{By, Evidence, Recognized};
use crate::random::Random;
use crate::verdict::Reason;

fn scenario(bytes: &[u8]) -> Scenario {
    Scenario::arbitrary(&mut Unstructured::new(bytes)).expect("every byte string makes a scenario")
}

/// Bytes that look random and are the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..length.div_ceil(8))
        .flat_map(|_| random.next_u64().to_le_bytes())
        .collect()
}

proptest! {
    #[test]
    fn any_bytes_make_a_scenario_that_the_reference_judges(
        bytes in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let Scenario { policy, arrivals } = scenario(&bytes);
        prop_assert!(!arrivals.is_empty());
        let mut filter = ReferenceFilter::new(&policy);
        for arrival in arrivals {
            prop_assert!(arrival.length_on_the_wire >= arrival.packet.len());
            filter.judge(&arrival.packet, arrival.length_on_the_wire, arrival.now);
        }
    }

    #[test]
    fn any_bytes_as_a_packet_get_a_verdict(
        packet in proptest::collection::vec(any::<u8>(), 0..120),
        missing in prop_oneof![Just(0_usize), any::<usize>()],
        version in prop_oneof![Just(0x40_u8), Just(0x60)],
    ) {
        let mut filter = ReferenceFilter::new(&scenario(&noise(7, 400)).policy);
        let mut packet = packet;
        if let Some(first) = packet.first_mut() {
            *first = version | *first & 0x0f;
        }
        let wire = packet.len().saturating_add(missing);
        filter.judge(&packet, wire, std::time::Duration::ZERO);
    }
}

#[test]
fn the_same_bytes_make_the_same_scenario() {
    let bytes = noise(1, 1000);

    assert_eq!(scenario(&bytes), scenario(&bytes));
}

#[test]
fn no_bytes_make_a_scenario() {
    assert_eq!(scenario(&[]).arrivals.len(), 1);
}

#[test]
fn every_reason_is_reached() {
    let mut reached = HashSet::new();
    let mut evidence = HashMap::new();
    for seed in 0..400 {
        let scenario = scenario(&noise(seed, 1200));
        let Scenario { policy, arrivals } = &scenario;
        let at_gateway = ReferenceFilter::at_gateway(policy, &scenario.own_addresses());
        for mut filter in [ReferenceFilter::new(policy), at_gateway] {
            for arrival in arrivals {
                let verdict =
                    filter.judge(&arrival.packet, arrival.length_on_the_wire, arrival.now);
                reached.insert(verdict.reason);
                *evidence.entry(verdict.media).or_insert(0) += 1;
            }
        }
    }

    assert_eq!(reached, HashSet::from(Reason::ALL));
    for evidence_of in [Evidence::Stun, Evidence::IceTcp, Evidence::TurnTcp] {
        for by in [By::Itself, By::Flow] {
            let recognized = Recognized {
                evidence: evidence_of,
                by,
            };
            let times = evidence.get(&Some(recognized)).copied().unwrap_or(0);
            assert!(times > 0, "{recognized:?} {times} times: {evidence:?}");
        }
    }
}

#[test]
fn tails_follow_firsts_that_were_dropped() {
    let mut followed = 0;
    for seed in 0..400 {
        let Scenario { policy, arrivals } = scenario(&noise(seed, 1200));
        let mut filter = ReferenceFilter::new(&policy);
        for arrival in arrivals {
            let with_memory =
                filter.judge(&arrival.packet, arrival.length_on_the_wire, arrival.now);
            let without = ReferenceFilter::new(&policy).judge(
                &arrival.packet,
                arrival.length_on_the_wire,
                arrival.now,
            );
            followed += u32::from(with_memory != without);
        }
    }

    assert!(followed > 50, "only {followed} verdicts came from memory");
}
