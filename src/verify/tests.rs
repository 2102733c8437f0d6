//! Properties of every policy; `tests/verify/` has the individual mistakes.

use arbitrary::Unstructured;
use proptest::prelude::*;

use super::*;
use crate::address::special;
use crate::feed::{EntryKey, guard};
use crate::filter::{Generation, strategy};
use crate::plan::enters_tunnel;
use crate::policy;

/// Returns the diagnostics of a policy without feeds.
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

    /// Every public address that enters the tunnel is reported.
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

/// Returns the answers of `check`, `verify` and the feed guard: `true` if a public service at `address` is refused.
fn answers(address: &str) -> [bool; 3] {
    let text = format!(
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
         [[public]]\nname = \"Edge\"\naddresses = [\"{address}\"]\n"
    );
    let (policy, read) = policy::parse("site.toml", text.as_bytes()).expect("a good policy");
    let (plan, zones) = (RoutePlan::new(&policy), Zones::of(&policy));
    let compiled = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
    let found = verify(&compiled, &plan, &zones, &read);
    let prefix: ipnet::IpNet = match address.parse::<std::net::IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => address.parse().expect("an address or a prefix"),
    };
    [
        read.iter()
            .any(|it| it.code() == policy::Code::PublicIsPrivate),
        found
            .iter()
            .any(|it| it.what.contains("not on the Internet")),
        guard::refuse_not_public(&[(EntryKey::Line(1), prefix)]).is_err(),
    ]
}

#[test]
fn check_verify_and_the_guard_of_feeds_agree_about_every_special_address() {
    // `check` refuses IPv4-mapped IPv6 addresses before it checks the range.
    let is_mapped = |prefix: ipnet::IpNet| match prefix {
        ipnet::IpNet::V4(_) => false,
        ipnet::IpNet::V6(prefix) => prefix.network().to_ipv4_mapped().is_some(),
    };
    for row in special::TABLE {
        if is_mapped(row.prefix) {
            continue;
        }
        let first = row.prefix.network().to_string();
        let whole = row.prefix.to_string();
        let expected = !special::is_public(row.prefix.network());
        assert_eq!(answers(&first), [expected; 3], "{first}, {}", row.name);
        let expected = special::unreachable(row.prefix).is_some();
        assert_eq!(answers(&whole), [expected; 3], "{whole}, {}", row.name);
    }
}

#[test]
fn check_verify_and_the_guard_of_feeds_know_the_addresses_that_are_not_on_the_internet() {
    for (address, is_refused) in [
        ("10.1.1.1", true),
        ("100.64.1.1", true),
        ("100.128.1.1", false),
        ("127.0.0.1", true),
        ("169.254.1.1", true),
        ("172.31.255.1", true),
        ("172.32.0.1", false),
        ("192.0.2.1", false),
        ("192.168.1.1", true),
        ("198.18.0.1", true),
        ("198.19.255.1", true),
        ("198.20.0.1", false),
        ("198.51.100.1", false),
        ("203.0.113.1", false),
        ("240.1.1.1", true),
        ("167.55.49.34", false),
        ("52.112.0.0/14", false),
        ("fd00::1", true),
        ("fe80::1", true),
        ("2001:db8::1", false),
        ("3fff::1", false),
        ("2603:1063::1", false),
    ] {
        assert_eq!(answers(address), [is_refused; 3], "{address}");
    }
}
