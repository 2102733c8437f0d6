//! Compares sets with a scan over prefixes, and their lists with every other list.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;

use super::reference::{contains, edges, longest_match, shortest_lists};
use super::{PrefixSet, more_specific};

fn set(prefixes: &[&str]) -> PrefixSet {
    prefixes.iter().map(|text| net(text)).collect()
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a literal prefix")
}

fn texts(set: &PrefixSet) -> Vec<String> {
    set.prefixes().map(|prefix| prefix.to_string()).collect()
}

#[test]
fn the_five_addresses_of_the_article_are_two_prefixes() {
    let five: PrefixSet = (32..37)
        .map(|last| net(&format!("167.55.49.{last}/32")))
        .collect();
    assert_eq!(texts(&five), ["167.55.49.32/30", "167.55.49.36/32"]);
    assert_eq!(five.v4_addresses(), 5);
}

#[test]
fn everything_but_teams_takes_fifteen_prefixes() {
    let teams = set(&["52.112.0.0/14", "52.122.0.0/15"]);
    assert_eq!(teams.complement().v4_prefixes().count(), 15);
    let v6 = set(&["2603:1063::/38"]).complement();
    assert_eq!(v6.v6_prefixes().count(), 38);
}

#[test]
fn everything_and_nothing_are_each_others_complement() {
    let all = PrefixSet::EMPTY.complement();
    assert_eq!(texts(&all), ["0.0.0.0/0", "::/0"]);
    assert_eq!(all.complement(), PrefixSet::EMPTY);
    assert_eq!(all.v4_addresses(), 1 << 32);
    assert_eq!(all.v6_addresses(), u128::MAX);
    assert_eq!(PrefixSet::all_v4().union(&PrefixSet::all_v6()), all);
}

#[test]
fn the_last_address_ends_a_set_without_overflow() {
    let last = set(&["255.255.255.255/32", "ffff:ffff::/32"]);
    assert!(
        !last
            .complement()
            .contains("255.255.255.255".parse().expect("an address"))
    );
    assert_eq!(last.complement().complement(), last);
    assert_eq!(last.subtract(&last), PrefixSet::EMPTY);
    assert_eq!(
        last.union(&last.complement()),
        PrefixSet::EMPTY.complement()
    );
}

#[test]
fn a_hole_that_reaches_over_two_prefixes_cuts_both() {
    let two = set(&["10.0.0.0/24", "10.0.2.0/24"]);
    let hole = set(&["10.0.0.128/25", "10.0.1.0/24", "10.0.2.0/25"]);
    assert_eq!(
        texts(&two.subtract(&hole)),
        ["10.0.0.0/25", "10.0.2.128/25"]
    );
}

#[test]
fn no_list_of_prefixes_is_shorter() {
    let shortest = shortest_lists();
    // At both ends of the family, across a boundary of many bits, and somewhere else.
    for base in [0_u32, u32::MAX - 7, 0x7fff_fff8, 0x0a00_0108] {
        for members in 0..=255_u8 {
            let chosen = (0..8).filter(|at| members >> at & 1 == 1);
            let set: PrefixSet = chosen
                .map(|at| Ipv4Net::from(std::net::Ipv4Addr::from_bits(base + at)))
                .collect();
            let length = set.v4_prefixes().count();
            assert_eq!(length as u32, shortest[usize::from(members)], "{set}");
        }
    }
}

/// Prefixes that nest, touch and repeat, of both families.
fn prefixes() -> impl Strategy<Value = Vec<IpNet>> {
    let v4 = (
        prop_oneof![0_u32..64, 0xffff_ffc0..=u32::MAX, any::<u32>()],
        24..=32_u8,
    );
    let v4 = v4.prop_map(|(bits, length)| {
        IpNet::V4(
            Ipv4Net::new(bits.into(), length)
                .expect("a length up to 32")
                .trunc(),
        )
    });
    let v6 = (
        prop_oneof![0_u128..64, u128::MAX - 63..=u128::MAX, any::<u128>()],
        120..=128_u8,
    );
    let v6 = v6.prop_map(|(bits, length)| {
        IpNet::V6(
            Ipv6Net::new(bits.into(), length)
                .expect("a length up to 128")
                .trunc(),
        )
    });
    let wide = prop_oneof![
        Just(net("0.0.0.0/0")),
        Just(net("::/0")),
        Just(net("0.0.0.0/1")),
        Just(net("8000::/1")),
    ];
    vec(prop_oneof![8 => v4, 8 => v6, 1 => wide], 0..24)
}

proptest! {
    #[test]
    fn the_algebra_is_that_of_addresses(left in prefixes(), right in prefixes()) {
        let a: PrefixSet = left.iter().copied().collect();
        let b: PrefixSet = right.iter().copied().collect();
        let all: Vec<IpNet> = left.iter().chain(&right).copied().collect();
        let specific = more_specific(left.iter().copied(), right.iter().copied());
        for address in edges(&all) {
            let (in_a, in_b) = (contains(&left, address), contains(&right, address));
            prop_assert_eq!(a.contains(address), in_a);
            prop_assert_eq!(a.union(&b).contains(address), in_a || in_b);
            prop_assert_eq!(a.intersect(&b).contains(address), in_a && in_b);
            prop_assert_eq!(a.subtract(&b).contains(address), in_a && !in_b);
            prop_assert_eq!(a.complement().contains(address), !in_a);
            prop_assert_eq!(
                specific.contains(address),
                longest_match(&left, address) > longest_match(&right, address),
            );
        }
        for prefix in all {
            prop_assert_eq!(b.covers(prefix), b.intersect(&PrefixSet::from_iter([prefix])) == PrefixSet::from_iter([prefix]));
            prop_assert_eq!(b.overlaps(prefix), !b.intersect(&PrefixSet::from_iter([prefix])).is_empty());
        }
    }

    #[test]
    fn the_operations_obey_the_laws_of_sets(left in prefixes(), right in prefixes()) {
        let a: PrefixSet = left.into_iter().collect();
        let b: PrefixSet = right.into_iter().collect();
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.subtract(&b), a.intersect(&b.complement()));
        prop_assert_eq!(a.union(&b).complement(), a.complement().intersect(&b.complement()));
        prop_assert_eq!(&a.subtract(&b).union(&a.intersect(&b)), &a);
        prop_assert_eq!(&a.complement().complement(), &a);
        prop_assert_eq!(a.only_v4().union(&a.only_v6()), a);
    }

    #[test]
    fn a_set_is_the_set_of_its_prefixes_and_no_two_of_them_are_one(list in prefixes()) {
        let set: PrefixSet = list.iter().copied().collect();
        let prefixes: Vec<IpNet> = set.prefixes().collect();
        prop_assert_eq!(&prefixes.iter().copied().collect::<PrefixSet>(), &set);
        prop_assert_eq!(&IpNet::aggregate(&prefixes), &prefixes);
        let mut aggregated = IpNet::aggregate(&list);
        aggregated.sort();
        prop_assert_eq!(prefixes, aggregated);
    }
}

#[test]
fn neighbors_together_cover_what_neither_does() {
    let halves = set(&["10.128.0.0/9", "10.0.0.0/9"]);
    assert!(halves.covers(net("10.0.0.0/8")));
    assert!(!halves.covers(net("10.0.0.0/7")));
    assert!(halves.overlaps(net("0.0.0.0/0")));
}

#[test]
fn families_are_apart() {
    let all_v4 = set(&["0.0.0.0/0"]);
    assert!(!all_v4.overlaps(net("::/0")));
    assert!(all_v4.covers(net("255.255.255.255/32")));
    assert!(set(&["::/0"]).covers(net("ffff::/16")));
}

#[test]
fn a_range_inside_a_larger_one_does_not_shorten_it() {
    let nested = set(&["10.0.0.0/8", "10.1.0.0/16", "10.2.0.1/32"]);
    assert!(nested.covers(net("10.255.0.0/16")));
    assert!(!nested.overlaps(net("11.0.0.0/8")));
}

#[test]
fn addresses_make_a_set_of_the_fewest_prefixes() {
    let addresses = ["10.0.0.4", "10.0.0.5", "::1", "10.0.0.4"];
    let addresses = addresses.map(|it| it.parse::<std::net::IpAddr>().expect("an address"));
    let set: PrefixSet = addresses.into_iter().collect();
    assert_eq!(texts(&set), ["10.0.0.4/31", "::1/128"]);
}
