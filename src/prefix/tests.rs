//! The tries against the table that is obviously right.

use super::reference::LinearTable;
use super::{BuildError, ClassNumber, Ipv4Trie};
use ipnet::{IpNet, Ipv4Net};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

fn v4(text: &str) -> Ipv4Net {
    text.parse().expect("a literal prefix")
}

/// Ends of a prefix and their neighbors outside, then somewhere in the middle.
fn v4_edges(net: &Ipv4Net) -> [u32; 5] {
    let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
    [
        first,
        last,
        first.wrapping_sub(1),
        last.wrapping_add(1),
        first + (last - first) / 3,
    ]
}

/// Answers for every address agree with the reference, one at a time and as a batch.
fn assert_v4_agrees(prefixes: &[(Ipv4Net, ClassNumber)], extra: &[u32]) {
    let trie = Ipv4Trie::build(prefixes.iter().copied()).expect("no conflict");
    let reference = LinearTable::new(prefixes.iter().copied());
    let mut addresses = vec![0, 1, u32::MAX - 1, u32::MAX];
    addresses.extend_from_slice(extra);
    addresses.extend(prefixes.iter().flat_map(|(net, _)| v4_edges(net)));
    let mut batch = vec![ClassNumber::MAX; addresses.len()];
    trie.lookup_batch(&addresses, &mut batch);
    for (address, from_batch) in addresses.iter().zip(batch) {
        let expected = reference.lookup(*address);
        let shown = Ipv4Addr::from_bits(*address);
        assert_eq!(trie.lookup(*address), expected, "{shown}");
        assert_eq!(from_batch, expected, "{shown} in a batch");
    }
}

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

proptest! {
    #[test]
    fn ipv4_agrees_with_the_reference(
        prefixes in v4_prefixes().prop_shuffle(),
        addresses in vec(any::<u32>(), 0..20),
    ) {
        assert_v4_agrees(&prefixes, &addresses);
    }
}

#[test]
fn an_empty_ipv4_trie_knows_no_class() {
    assert_v4_agrees(&[], &[0x0a00_0001]);
}

#[test]
fn ipv4_default_route_and_hosts_at_both_ends() {
    assert_v4_agrees(
        &[
            (v4("0.0.0.0/0"), 9),
            (v4("0.0.0.0/32"), 1),
            (v4("255.255.255.255/32"), 2),
            (v4("255.255.0.0/16"), 3),
            (v4("0.0.0.0/1"), 4),
        ],
        &[],
    );
}

#[test]
fn ipv4_host_bits_are_ignored() {
    let trie = Ipv4Trie::build([(v4("172.16.1.7/24"), 5)]).expect("no conflict");
    assert_eq!(trie.lookup(0xac10_0100), 5);
    assert_eq!(trie.lookup(0xac10_01ff), 5);
    assert_eq!(trie.lookup(0xac10_0200), 0);
}

#[test]
fn an_ipv4_prefix_may_repeat_only_with_its_class() {
    let twice = |other| Ipv4Trie::build([(v4("10.0.0.0/8"), 1), (v4("10.0.0.0/8"), other)]);
    assert_eq!(twice(1).expect("the same").lookup(0x0a00_0001), 1);
    let conflict = BuildError::Conflict {
        prefix: IpNet::V4(v4("10.0.0.0/8")),
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
