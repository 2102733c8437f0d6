//! Asserts that the compiled policy and the reference model give the same verdicts.

use std::net::IpAddr;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};

use super::compiled::Bounds;
use super::reference::ReferenceFilter;
use super::strategy::{Arrival, Places, Scenario};
use super::{Capacity, CompiledPolicy, Generation, Judge};
use crate::packet::{FRAGMENT_LIFETIME, Received};
use crate::policy::Policy;
use crate::random::Random;
use crate::verdict::{Reason, Verdict};

/// Judges the packets of `scenario` by the compiled policy, one by one and in batches, and by the reference model.
///
/// Does so with the fast paths that a policy of its size gets, and without them, as for a large one; and with and
/// without addresses of the gateway's own.
///
/// # Panics
/// If two of them differ. Property tests and fuzzing use this as their oracle.
pub fn assert_agreement(scenario: &Scenario) {
    for compiled in Compiled::all(scenario) {
        compiled.assert_agreement(&scenario.arrivals, REMEMBERED);
    }
}

/// Judges packets by policies that are compiled once, since an execution of [`assert_agreement`] spends most of its time on compiling
/// its policy: the first byte of `data` is the number of a policy, the others make packets for it.
pub fn fuzz_compiled(data: &[u8]) {
    static PREPARED: [OnceLock<Prepared>; 256] = [const { OnceLock::new() }; 256];
    let Some((&number, data)) = data.split_first() else {
        return;
    };
    let prepared = PREPARED[usize::from(number)].get_or_init(|| Prepared::numbered(number));
    let packets = Prepared::PACKETS;
    let arrivals = prepared
        .places
        .arrivals(&mut Unstructured::new(data), packets);
    let arrivals = arrivals.expect("any bytes make packets");
    prepared
        .compiled
        .assert_agreement(&arrivals, Prepared::REMEMBERED);
}

/// A policy of pseudorandom bytes in one of its four forms.
struct Prepared {
    compiled: Compiled,
    places: Places,
}

impl Prepared {
    /// Enough for a flow or a datagram in fragments; the fewer, the more executions.
    const PACKETS: usize = 3;
    /// Little, since each execution makes it anew; all packets fit in a set of a judge's table.
    const REMEMBERED: usize = 8;

    fn numbered(number: u8) -> Self {
        let mut random = Random(u64::from(number / 4));
        let bytes: Vec<u8> = (0..512)
            .flat_map(|_| random.next_u64().to_le_bytes())
            .collect();
        let scenario = Scenario::arbitrary(&mut Unstructured::new(&bytes)).expect("any bytes do");
        let mut forms = Compiled::all(&scenario);
        Self {
            compiled: forms.swap_remove(usize::from(number % 4)),
            places: Places::of(&scenario.policy),
        }
    }
}

/// A policy, compiled for a gateway with these addresses of its own.
struct Compiled {
    policy: Policy,
    own: Vec<IpAddr>,
    bounds: Bounds,
    compiled: CompiledPolicy,
    reference: ReferenceFilter,
}

impl Compiled {
    /// The policy of `scenario` with and without the fast paths that one of its size gets, and with and without own addresses.
    fn all(scenario: &Scenario) -> Vec<Self> {
        let policy = &scenario.policy;
        let all = [Vec::new(), scenario.own_addresses()].into_iter();
        let all = all.flat_map(|own| [(Bounds::USUAL, own.clone()), (Bounds::NOTHING, own)]);
        let compiled = all.map(|(bounds, own)| Self {
            compiled: CompiledPolicy::within(bounds, policy.clone(), Generation(1), &own)
                .expect("a generated policy is small"),
            reference: ReferenceFilter::at_gateway(policy, &own),
            policy: policy.clone(),
            own,
            bounds,
        });
        compiled.collect()
    }

    fn assert_agreement(&self, arrivals: &[Arrival], remembered: usize) {
        let packets: Vec<Received<'_>> = arrivals.iter().map(Arrival::received).collect();
        let mut in_a_batch = vec![Verdict::drop(Reason::Malformed); packets.len()];
        Judge::new(Capacity::of(remembered)).judge(&self.compiled, &packets, &mut in_a_batch);

        let mut judge = Judge::new(Capacity::of(remembered));
        let mut reference = self.reference.afresh();
        for (packet, in_a_batch) in packets.iter().zip(in_a_batch) {
            let expected = reference.judge(packet.bytes, packet.length_on_wire, packet.at);
            let alone = judge.judge_one(&self.compiled, *packet);
            let context = || {
                let Self {
                    policy,
                    own,
                    bounds,
                    ..
                } = self;
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

        #[test]
        fn policies_that_are_compiled_once_agree_with_it_too(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            fuzz_compiled(&bytes);
        }
    }
}
