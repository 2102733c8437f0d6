//! Fast against slow: the compiled policy and the reference model give the same verdicts.

use std::time::Duration;

use super::reference::ReferenceFilter;
use super::strategy::Scenario;
use super::{CompiledPolicy, Generation, Judge, Reason, Verdict};
use crate::packet::FRAGMENT_LIFETIME;

/// Judges the packets of `scenario` by the compiled policy, one by one and in batches, and by the reference model.
///
/// # Panics
/// Where two of them differ: this is the oracle of property tests and fuzzing.
pub fn assert_agreement(scenario: &Scenario) {
    let policy = CompiledPolicy::new(scenario.policy.clone(), Generation(1))
        .expect("a generated policy is small");
    let mut reference = ReferenceFilter::new(&scenario.policy);
    let mut judge = Judge::new(REMEMBERED);
    for (number, arrival) in scenario.arrivals.iter().enumerate() {
        let expected = reference.judge(&arrival.packet, arrival.length_on_the_wire, arrival.now);
        let verdict = judge.judge_captured(
            &policy,
            &arrival.packet,
            arrival.length_on_the_wire,
            arrival.now,
        );
        assert_eq!(
            verdict, expected,
            "packet {number}: {arrival:02x?}\npolicy {:?}",
            scenario.policy
        );
    }
    assert_batches_agree(scenario, &policy);
}

/// A batch of n packets is n batches of one packet.
fn assert_batches_agree(scenario: &Scenario, policy: &CompiledPolicy) {
    let packets: Vec<&[u8]> = scenario
        .arrivals
        .iter()
        .map(|arrival| &*arrival.packet)
        .collect();
    let mut whole = vec![Verdict::drop(Reason::Malformed); packets.len()];
    Judge::new(REMEMBERED).judge(policy, &packets, &mut whole, Duration::ZERO);
    let mut judge = Judge::new(REMEMBERED);
    for (packet, expected) in packets.iter().zip(&whole) {
        let verdict = judge.judge_captured(policy, packet, packet.len(), Duration::ZERO);
        assert_eq!(
            verdict, *expected,
            "packet {packet:02x?}\npolicy {:?}",
            scenario.policy
        );
    }
}

/// More datagrams than a scenario has, with no more than a handful that could share a set of the table.
const REMEMBERED: usize = 4096;

const _: () = assert!(
    FRAGMENT_LIFETIME.as_secs() == 30,
    "the reference model has its own copy"
);

#[cfg(test)]
mod tests {
    use arbitrary::{Arbitrary, Unstructured};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn the_compiled_policy_agrees_with_the_reference_model(
            bytes in proptest::collection::vec(any::<u8>(), 0..1400),
        ) {
            if let Ok(scenario) = Scenario::arbitrary(&mut Unstructured::new(&bytes)) {
                assert_agreement(&scenario);
            }
        }
    }
}
