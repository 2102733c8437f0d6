//! Compares the tries with the reference table.

use super::reference::LinearTable;
use super::{BuildError, ClassNumber, Ipv4Trie, Ipv6Trie};
use crate::random::Random;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The tests of one family: a prefix from its text, addresses to ask about, and comparisons with the reference.
macro_rules! of_family {
    ($family:ident, $trie:ty, $net:ty, $address:ty, $bits:ty) => {
        mod $family {
            use super::*;

            pub(super) fn net(text: &str) -> $net {
                text.parse().expect("a literal prefix")
            }

            /// Ends of a prefix and their neighbors outside, then somewhere in the middle.
            fn edges(net: &$net) -> [$bits; 5] {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                [
                    first,
                    last,
                    first.wrapping_sub(1),
                    last.wrapping_add(1),
                    first + (last - first) / 3,
                ]
            }

            /// Asserts that lookups agree with the reference, one at a time and as a batch.
            pub(super) fn assert_agrees(prefixes: &[($net, ClassNumber)], extra: &[$bits]) {
                let trie = <$trie>::build(prefixes.iter().copied()).expect("no conflict");
                let reference = LinearTable::new(prefixes.iter().copied());
                let mut addresses = vec![0, 1, <$bits>::MAX - 1, <$bits>::MAX];
                addresses.extend_from_slice(extra);
                addresses.extend(prefixes.iter().flat_map(|(net, _)| edges(net)));
                let mut batch = vec![ClassNumber::MAX; addresses.len()];
                trie.lookup_batch(&addresses, &mut batch);
                for (address, from_batch) in addresses.iter().zip(batch) {
                    let expected = reference.lookup(*address);
                    let shown = <$address>::from_bits(*address);
                    assert_eq!(trie.lookup(*address), expected, "{shown}");
                    assert_eq!(from_batch, expected, "{shown} in a batch");
                }
            }

            /// Asserts that lookups in a full routing table agree with the reference around every `step`th prefix.
            pub(super) fn assert_table_agrees(file: &str, step: usize) {
                let table: Vec<($net, ClassNumber)> = bgp(file);
                let trie = <$trie>::build(table.iter().copied()).expect("no conflict");
                let reference = LinearTable::new(table.iter().copied());
                for (net, _) in table.iter().step_by(step) {
                    for address in edges(net) {
                        assert_eq!(trie.lookup(address), reference.lookup(address), "{net}");
                    }
                }
            }
        }
    };
}

of_family!(v4, Ipv4Trie, Ipv4Net, Ipv4Addr, u32);
of_family!(v6, Ipv6Trie, Ipv6Net, Ipv6Addr, u128);

/// Prefixes that nest and touch: few distinct bits, all lengths, and a few far apart.
fn v4_prefixes() -> impl Strategy<Value = Vec<(Ipv4Net, ClassNumber)>> {
    let near = (0u32..64, 0u32..4, 0u32..4, 0u32..8)
        .prop_map(|(a, b, c, d)| 0x0a00_0000 | a << 22 | b << 15 | c << 7 | d);
    let bits = prop_oneof![4 => near, 1 => any::<u32>()];
    let class = prop_oneof![8 => 0..6u16, 1 => 250..260u16, 1 => any::<u16>()];
    vec((bits, 0u8..=32, class), 0..40).prop_map(|list| {
        let unique: BTreeMap<Ipv4Net, ClassNumber> = list
            .into_iter()
            .map(|(bits, length, class)| {
                let net = Ipv4Net::new(Ipv4Addr::from_bits(bits), length).expect("length is valid");
                (net.trunc(), class)
            })
            .collect();
        unique.into_iter().collect()
    })
}

/// A few sites, subnets and dense hosts in one /32, random hosts, and prefixes at both ends.
fn v6_prefixes(
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<(Ipv6Net, ClassNumber)>> {
    let near = (0u128..4, 0u128..4, 0u128..4, 0u128..300)
        .prop_map(|(a, b, c, d)| 0x2001_0db8 << 96 | a << 85 | b << 70 | c << 62 | d);
    let bits = prop_oneof![
        4 => near,
        1 => any::<u64>().prop_map(|host| 0x2001_0db8 << 96 | u128::from(host)),
        1 => any::<u128>(),
        1 => (0u128..300).prop_map(|below| u128::MAX - below),
    ];
    let class = prop_oneof![8 => 0..6u16, 1 => any::<u16>()];
    let length = prop_oneof![2 => 0u8..=128, 2 => 120u8..=128, 1 => Just(64u8)];
    vec((bits, length, class), count).prop_map(|list| {
        let unique: BTreeMap<Ipv6Net, ClassNumber> = list
            .into_iter()
            .map(|(bits, length, class)| {
                let net = Ipv6Net::new(Ipv6Addr::from_bits(bits), length).expect("length is valid");
                (net.trunc(), class)
            })
            .collect();
        unique.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn ipv4_agrees_with_the_reference(
        prefixes in v4_prefixes().prop_shuffle(),
        addresses in vec(any::<u32>(), 0..20),
    ) {
        v4::assert_agrees(&prefixes, &addresses);
    }

    #[test]
    fn ipv6_agrees_with_the_reference(
        prefixes in v6_prefixes(0..40).prop_shuffle(),
        addresses in vec(any::<u128>(), 0..20),
    ) {
        v6::assert_agrees(&prefixes, &addresses);
    }

    #[test]
    fn ipv6_agrees_with_the_reference_over_several_levels(
        prefixes in v6_prefixes(100..300),
        addresses in vec(any::<u128>(), 0..20),
    ) {
        v6::assert_agrees(&prefixes, &addresses);
    }
}

#[test]
fn an_empty_ipv4_trie_knows_no_class() {
    v4::assert_agrees(&[], &[0x0a00_0001]);
}

#[test]
fn ipv4_default_route_and_hosts_at_both_ends() {
    v4::assert_agrees(
        &[
            (v4::net("0.0.0.0/0"), 9),
            (v4::net("0.0.0.0/32"), 1),
            (v4::net("255.255.255.255/32"), 2),
            (v4::net("255.255.0.0/16"), 3),
            (v4::net("0.0.0.0/1"), 4),
        ],
        &[],
    );
}

#[test]
fn ipv4_host_bits_are_ignored() {
    let trie = Ipv4Trie::build([(v4::net("172.16.1.7/24"), 5)]).expect("no conflict");
    assert_eq!(trie.lookup(0xac10_0100), 5);
    assert_eq!(trie.lookup(0xac10_01ff), 5);
    assert_eq!(trie.lookup(0xac10_0200), 0);
}

#[test]
fn an_ipv4_prefix_may_repeat_only_with_its_class() {
    let twice =
        |other| Ipv4Trie::build([(v4::net("10.0.0.0/8"), 1), (v4::net("10.0.0.0/8"), other)]);
    assert_eq!(twice(1).expect("the same").lookup(0x0a00_0001), 1);
    let conflict = BuildError::Conflict {
        prefix: IpNet::V4(v4::net("10.0.0.0/8")),
        one: 1,
        other: 2,
    };
    assert_eq!(twice(2).expect_err("a conflict"), conflict);
}

#[test]
fn ipv4_works_with_60_000_classes_and_more_than_65_536_leaf_rows() {
    let hosts = (0..140_000u32).map(|i| {
        let net = Ipv4Net::new(Ipv4Addr::from_bits(0x0a00_0000 + i * 197), 32);
        (net.expect("a host"), (i % 60_000 + 1) as ClassNumber)
    });
    let trie = Ipv4Trie::build(hosts).expect("no conflict");
    for i in 0..140_000u32 {
        let address = 0x0a00_0000 + i * 197;
        assert_eq!(u32::from(trie.lookup(address)), i % 60_000 + 1);
        assert_eq!(trie.lookup(address + 1), 0);
    }
}

#[test]
fn ten_thousand_hosts_of_one_class_share_their_rows() {
    let hosts = (0..10_000u32).map(|i| {
        let net = Ipv4Net::new(Ipv4Addr::from_bits(0x0a00_0000 + i * 257), 32);
        (net.expect("a host"), 1)
    });
    let trie = Ipv4Trie::build(hosts).expect("no conflict");
    assert!(trie.memory_bytes() < 320 * 1024, "{}", trie.memory_bytes());
}

#[test]
fn up_to_65_536_leaf_rows_are_numbered_in_16_bits() {
    // A host and a class in each /24, and a row of its own: one more is that of no class.
    let bytes = |hosts: u32| {
        let hosts = (0..hosts).map(|i| {
            let net = Ipv4Net::new(Ipv4Addr::from_bits(0x0a00_0000 + (i << 8) + i / 60_000), 32);
            (net.expect("a host"), (i % 60_000 + 1) as ClassNumber)
        });
        Ipv4Trie::build(hosts).expect("no conflict").memory_bytes()
    };
    let (narrow, wide) = (bytes(65_535), bytes(65_536));
    // 257 middle rows of 256 cells, of two bytes more each.
    assert!(wide - narrow > 257 * 256 * 2, "{narrow} {wide}");
}

#[test]
fn an_empty_ipv6_trie_knows_no_class() {
    v6::assert_agrees(&[], &[0x2001_0db8 << 96]);
}

#[test]
fn ipv6_default_route_and_hosts_at_both_ends() {
    let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128";
    v6::assert_agrees(
        &[
            (v6::net("::/0"), 9),
            (v6::net("::/128"), 1),
            (v6::net(all), 2),
            (v6::net("ffff::/16"), 3),
            (v6::net("::/1"), 4),
        ],
        &[],
    );
}

#[test]
fn ipv6_finds_each_of_many_hosts_at_the_end_of_the_address_space() {
    let hosts: Vec<_> = (0..1_000u128)
        .map(|i| Ipv6Net::new(Ipv6Addr::from_bits(u128::MAX - 2 * i), 128).expect("a host"))
        .zip(1..)
        .collect();
    v6::assert_agrees(&hosts, &[]);
}

#[test]
fn ipv6_prefix_may_repeat_only_with_its_class_host_bits_or_not() {
    let twice = |other| {
        Ipv6Trie::build([
            (v6::net("2001:db8::/32"), 1),
            (v6::net("2001:db8::7/32"), other),
        ])
    };
    assert_eq!(twice(1).expect("the same").lookup(0x2001_0db8 << 96), 1);
    assert!(matches!(
        twice(2),
        Err(BuildError::Conflict {
            one: 1,
            other: 2,
            ..
        })
    ));
}

/// Subnets side by side, of classes in turn: exactly `ranges` ranges of high halves.
fn v6_subnets(ranges: usize) -> Vec<(Ipv6Net, ClassNumber)> {
    // The addresses before and behind them make two.
    (2..ranges)
        .map(|i| {
            let bits = (0x2001_0db8 << 32 | i as u128) << 64;
            let net = Ipv6Net::new(Ipv6Addr::from_bits(bits), 64).expect("a subnet");
            (net, (i % 3 + 1) as ClassNumber)
        })
        .collect()
}

#[test]
fn more_ranges_than_cells_can_number_are_refused() {
    let built = |limit| Ipv6Trie::within(limit, v6_subnets(9)).map(drop);
    assert_eq!(built(9), Ok(()));
    assert_eq!(built(10), Ok(()));
    let refused = built(8).expect_err("one too many");
    assert_eq!(
        refused.to_string(),
        "the prefixes make 9 ranges of addresses; at most 8 fit"
    );
}

/// Hosts of one subnet, each of a class of its own.
fn v6_hosts(subnet: u64, hosts: impl IntoIterator<Item = u64>) -> Vec<(Ipv6Net, ClassNumber)> {
    let net = |host| {
        let bits = u128::from(subnet) << 64 | u128::from(host);
        Ipv6Net::new(Ipv6Addr::from_bits(bits), 128).expect("a host")
    };
    hosts.into_iter().map(net).zip(1..).collect()
}

#[test]
fn ipv6_levels_begin_and_end_where_they_should() {
    for edge in [8, 16, 64, 72, 81, 128, 512] {
        for ranges in edge - 1..=edge + 2 {
            v6::assert_agrees(&v6_subnets(ranges), &[]);
        }
    }
}

#[test]
fn ipv6_finds_1_to_100_hosts_of_a_subnet() {
    let subnet = 0x2001_0db8 << 32 | 5;
    for count in 1..=100 {
        v6::assert_agrees(&v6_hosts(subnet, 0..count), &[]);
        let apart = (1..=count).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        v6::assert_agrees(&v6_hosts(subnet, apart), &[]);
    }
}

/// The lanes of a batch stop at different depths, in all orders.
#[test]
fn ipv6_lanes_of_a_batch_do_not_disturb_each_other() {
    let mut prefixes = v6_subnets(100);
    for (subnet, hosts) in [(7, 1), (8, 3), (20, 40), (21, 300)] {
        prefixes.extend(v6_hosts(0x2001_0db8 << 32 | subnet, 0..hosts));
    }
    let trie = Ipv6Trie::build(prefixes.iter().copied()).expect("no conflict");
    let addresses: Vec<u128> = (0..10_000u128)
        .map(|i| ((0x2001_0db8 << 32) + i % 25) << 64 | (i * i % 310))
        .collect();
    for length in (0..40).chain([addresses.len()]) {
        let addresses = &addresses[addresses.len() - length..];
        let mut classes = vec![ClassNumber::MAX; length];
        trie.lookup_batch(addresses, &mut classes);
        let one_by_one: Vec<_> = addresses.iter().map(|a| trie.lookup(*a)).collect();
        assert_eq!(classes, one_by_one);
    }
}

#[test]
fn ipv6_subnets_with_the_same_hosts_share_a_tree() {
    let subnets = |count| {
        let prefixes = (0..count).flat_map(|i| v6_hosts(2 * i, (0..50).map(|host| host * 7)));
        let trie = Ipv6Trie::build(prefixes).expect("no conflict");
        trie.memory_bytes()
    };
    // A subnet of its own adds a range, and another behind it, at 8 and 4 bytes.
    let added = subnets(2_000) - subnets(1_000);
    assert!(added < 1_000 * 2 * 16, "{added}");
}

#[test]
fn ipv6_hosts_that_touch_take_no_more_than_one() {
    let subnet = 0x2001_0db8 << 32 | 5;
    let bytes = |hosts: std::ops::Range<u64>| {
        let trie = Ipv6Trie::build(v6_hosts(subnet, hosts)).expect("no conflict");
        trie.memory_bytes()
    };
    // Ranges of the subnet: before, the hosts, behind. Four are a leaf, five need a node.
    assert_eq!(bytes(7..9), bytes(7..8));
    assert!(bytes(7..10) > bytes(7..9));
}

#[test]
fn ipv6_hosts_of_the_first_and_the_last_subnet_leave_their_neighbors_alone() {
    let mut prefixes = v6_hosts(0, [0, 1, 9, u64::MAX]);
    prefixes.extend(v6_hosts(1, [u64::MAX]));
    prefixes.extend(v6_hosts(u64::MAX - 1, [0, 5, u64::MAX]));
    prefixes.extend(v6_hosts(u64::MAX, [0, 5, 6, 7, u64::MAX]));
    v6::assert_agrees(&prefixes, &[1 << 65, u128::MAX << 65]);
    prefixes.push((v6::net("::/0"), 77));
    v6::assert_agrees(&prefixes, &[1 << 65, u128::MAX << 65]);
}

/// The worst cases of interface identifiers: hosts far apart, or dense after long runs of zeros.
#[test]
fn ten_thousand_ipv6_hosts_fit_512_kib_random_or_dense() {
    let mut random = Random(1);
    let spread =
        (0..10_000).map(|i| (0x2001_0db8 << 96) | (i % 50) << 64 | u128::from(random.next_u64()));
    let dense = (0..10_000).map(|i| (0x2001_0db8 << 96) | (i % 500) << 64 | ((i / 500) * 2));
    for hosts in [spread.collect::<Vec<u128>>(), dense.collect()] {
        let hosts = hosts.into_iter().map(|bits| {
            (
                Ipv6Net::new(Ipv6Addr::from_bits(bits), 128).expect("a host"),
                1,
            )
        });
        let trie = Ipv6Trie::build(hosts).expect("one class");
        assert!(trie.memory_bytes() < 512 << 10, "{}", trie.memory_bytes());
    }
}

/// The prefixes of a full routing table that lies beside the repository; none where the test is skipped, which it never
/// is in CI.
fn bgp<Net: std::str::FromStr>(file: &str) -> Vec<(Net, ClassNumber)> {
    use std::io::{BufRead, BufReader};
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/tables/").to_owned() + file;
    let Ok(compressed) = std::fs::File::open(&path) else {
        assert!(std::env::var_os("CI").is_none(), "{path} is not there");
        // Not `eprintln!`, whose output the test runner keeps to itself when a test passes.
        let said = format!("SKIPPED: {path} is not there\n");
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).expect("a terminal");
        return Vec::new();
    };
    BufReader::new(flate2::read::GzDecoder::new(compressed))
        .lines()
        .zip((1..=60).cycle())
        .map(|(line, class)| {
            let net = line.expect("readable").parse().ok();
            (net.expect("one prefix a line"), class)
        })
        .collect()
}

#[test]
fn a_full_ipv4_routing_table_agrees_with_the_reference() {
    v4::assert_table_agrees("bgp_v4.txt.gz", 90_001);
}

#[test]
fn a_full_ipv6_routing_table_agrees_with_the_reference() {
    v6::assert_table_agrees("bgp_v6.txt.gz", 8_001);
}
