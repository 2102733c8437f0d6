//! `tests/verify/` has the mistakes; here is what must hold for every policy.

use arbitrary::Unstructured;
use proptest::prelude::*;

use super::*;
use crate::filter::{Generation, strategy};
use crate::plan::enters_tunnel;
use crate::policy;

/// What reading a policy without feeds has earned.
fn nothing_read() -> Diagnostics {
    let (_, read) = policy::parse(
        "site.toml",
        b"[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n",
    )
    .expect("a good policy");
    read.cleared()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// An address that is public and enters the tunnel is never overlooked.
    #[test]
    fn a_public_address_inside_the_tunnel_is_found_in_every_policy(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let policy = strategy::policy(&mut Unstructured::new(&bytes)).expect("any bytes do");
        let (plan, zones) = (RoutePlan::new(&policy), Zones::of(&policy));
        let compiled = CompiledPolicy::new(policy.clone(), Generation(1)).expect("a small policy");
        let found = verify(&compiled, &plan, &zones, &nothing_read());
        let is_dns = |address| {
            let mut servers = policy.corporate.dns_servers.iter();
            let mut listen = policy.dns.listen.iter();
            servers.any(|it| it.value == address) || listen.any(|it| it.value.ip() == address)
        };
        let is_bad = |code| code == FindingCode::Leak || code == FindingCode::Blackhole;
        for source in plan.sources.iter().filter(|it| it.kind.is_public()) {
            let address = source.prefix.network();
            if enters_tunnel(&policy, address) && !is_dns(address) {
                prop_assert!(found.iter().any(|it| is_bad(it.code)), "{}: {:#?}", address, found);
            }
        }
        let severities = found.iter().map(|it| it.severity);
        prop_assert!(severities.is_sorted(), "the worst first");
    }
}
