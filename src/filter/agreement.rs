//! Asserts that the compiled policy and the reference model give the same verdicts.

use std::net::IpAddr;

use super::compiled::Bounds;
use super::reference::ReferenceFilter;
use super::strategy::{Arrival, Scenario};
use super::{Capacity, CompiledPolicy, Generation, Judge};
use crate::packet::{FRAGMENT_LIFETIME, Received};
use crate::verdict::{Reason, Verdict};

/// Judges the packets of `scenario` by the compiled policy, one by one and in batches, and by the reference model.
///
/// Does so with the fast paths that a policy of its size gets, and without them, as for a large one; and with and
/// without addresses of the gateway's own.
///
/// # Panics
/// If two of them differ. Property tests and fuzzing use this as their oracle.
pub fn assert_agreement(scenario: &Scenario) {
    for own in [Vec::new(), scenario.own_addresses()] {
        assert_agreement_within(Bounds::USUAL, scenario, &own);
        assert_agreement_within(Bounds::NOTHING, scenario, &own);
    }
}

fn assert_agreement_within(bounds: Bounds, scenario: &Scenario, own: &[IpAddr]) {
    let policy = CompiledPolicy::within(bounds, scenario.policy.clone(), Generation(1), own)
        .expect("a generated policy is small");
    let packets: Vec<Received<'_>> = scenario.arrivals.iter().map(Arrival::received).collect();
    let mut in_a_batch = vec![Verdict::drop(Reason::Malformed); packets.len()];
    Judge::new(Capacity::of(REMEMBERED)).judge(&policy, &packets, &mut in_a_batch);

    let mut judge = Judge::new(Capacity::of(REMEMBERED));
    let mut reference = ReferenceFilter::at_gateway(&scenario.policy, own);
    for (packet, in_a_batch) in packets.iter().zip(in_a_batch) {
        let expected = reference.judge(packet.bytes, packet.length_on_wire, packet.at);
        let alone = judge.judge_one(&policy, *packet);
        let context = || {
            let policy = &scenario.policy;
            format!("{packet:02x?}\n{bounds:?}, own addresses {own:?}, policy {policy:?}")
        };
        assert_eq!(
            alone,
            expected,
            "compiled policy against reference: {}",
            context()
        );
        assert_eq!(
            in_a_batch,
            expected,
            "batch against reference: {}",
            context()
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
    use crate::policy;

    /// A plain UDP packet to port 50000 of a corporate host of the same family.
    fn packet(source: IpAddr) -> Vec<u8> {
        let ip = match source {
            IpAddr::V4(source) => {
                etherparse::PacketBuilder::ipv4(source.octets(), [10, 1, 0, 10], 64)
            }
            IpAddr::V6(source) => {
                let host = std::net::Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 10);
                etherparse::PacketBuilder::ipv6(source.octets(), host.octets(), 64)
            }
        };
        let mut packet = Vec::new();
        let written = ip.udp(50_001, 50_000).write(&mut packet, b"voice");
        written.expect("a vector takes any packet");
        packet
    }

    /// A few pools are compared with a source one by one; beyond, it is looked up.
    #[test]
    fn sources_of_few_and_of_many_pools_are_told_from_strangers() {
        for pools in [1, 8, 9, 20] {
            let v4 = (0..pools).map(|at| format!("\"172.16.{}.0/24\"", 2 * at));
            let v6 = (0..pools).map(|at| format!("\"fd00:{}::/64\"", 2 * at));
            let subnets: Vec<String> = v4.chain(v6).collect();
            let text = format!(
                "[vpn]\nclient_subnets = [{}]\n[corporate]\nsubnets = [\"10.0.0.0/8\", \"fd01::/64\"]\n",
                subnets.join(", ")
            );
            let (policy, _) = policy::parse("pools.toml", text.as_bytes()).expect("a good policy");
            let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
            let sources = [
                ("172.16.0.1", "drop media"),
                ("172.16.1.1", "forward not-a-client"),
                ("fd00::1", "drop media"),
                ("fd00:1::1", "forward not-a-client"),
                ("192.0.2.1", "forward not-a-client"),
                ("2001:db8::1", "forward not-a-client"),
            ];
            let bytes = sources.map(|(source, _)| packet(source.parse().expect("an address")));
            let packets = bytes
                .each_ref()
                .map(|bytes| Received::whole(bytes, std::time::Duration::ZERO));
            let mut verdicts = [Verdict::drop(Reason::Malformed); 6];
            Judge::new(Capacity::of(1)).judge(&policy, &packets, &mut verdicts);
            for ((source, expected), verdict) in sources.into_iter().zip(verdicts) {
                assert_eq!(verdict.to_string(), expected, "{source}, {pools} pools");
            }
        }
    }

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
