//! A set of few ranges, tested by one comparison per range, without a table.
//!
//! For the source of a packet the filter only needs to know if it is a client's, and a site has a handful of client
//! pools. Comparing an address with all of them takes fewer steps than a lookup, touches one cache line, and handles
//! several addresses of a batch at once on machines with vector instructions.

use super::ranges::{Prefix, flatten};
use super::{ClassNumber, NO_CLASS};

/// The addresses of a few ranges; `Address` is [`u32`] or [`u128`].
#[derive(Debug, Clone)]
pub(crate) struct FewRanges<Address> {
    /// The first address of each range, and the distance from it to the last.
    ranges: Vec<(Address, Address)>,
}

/// An address as a number.
pub(crate) trait Number: Copy + Ord {
    const ZERO: Self;
    const ONE: Self;

    /// The distance from `other` up to it, wrapping around the end of the family if it is lower.
    fn distance_from(self, other: Self) -> Self;
}

impl Number for u32 {
    const ZERO: Self = 0;
    const ONE: Self = 1;

    #[inline(always)]
    fn distance_from(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }
}

impl Number for u128 {
    const ZERO: Self = 0;
    const ONE: Self = 1;

    #[inline(always)]
    fn distance_from(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }
}

/// Addresses that are compared with one range before the next range is taken: two vectors of IPv4 addresses on x86-64.
const LANES: usize = 8;

impl<Address: Number> FewRanges<Address> {
    /// The addresses of `prefixes`; `None` if they form more than `limit` ranges.
    ///
    /// Prefixes that contain or adjoin one another form one range.
    pub(crate) fn of<Net: Prefix<Address = Address>>(
        prefixes: impl IntoIterator<Item = Net>,
        limit: usize,
    ) -> Option<Self> {
        const MEMBER: ClassNumber = NO_CLASS + 1;
        let steps = flatten(prefixes.into_iter().map(|prefix| (prefix, MEMBER)))
            .expect("prefixes of one class cannot conflict");
        let starts_after = steps.iter().skip(1).map(|step| step.start);
        let ranges: Vec<(Address, Address)> = steps
            .iter()
            .zip(starts_after.chain([Address::ZERO]))
            .filter(|(step, _)| step.class == MEMBER)
            .map(|(step, after)| {
                let last = after.distance_from(Address::ONE);
                (step.start, last.distance_from(step.start))
            })
            .collect();
        (ranges.len() <= limit).then_some(Self { ranges })
    }

    /// Writes 1 for each address that is in the set, else 0.
    ///
    /// # Panics
    /// If the slices differ in length.
    #[inline(never)] // a pass of its own: see `filter::batch`
    pub(crate) fn contains_batch(&self, addresses: &[Address], answers: &mut [u32]) {
        assert_eq!(
            addresses.len(),
            answers.len(),
            "one answer for each address"
        );
        let (groups, rest) = addresses.as_chunks::<LANES>();
        let (answer_groups, answer_rest) = answers.as_chunks_mut::<LANES>();
        for (addresses, answers) in groups.iter().zip(answer_groups) {
            *answers = self.contains_lanes(addresses);
        }
        for (address, answer) in rest.iter().zip(answer_rest) {
            [*answer] = self.contains_lanes(&[*address]);
        }
    }

    #[inline(always)]
    fn contains_lanes<const N: usize>(&self, addresses: &[Address; N]) -> [u32; N] {
        let mut answers = [0; N];
        for &(first, behind) in &self.ranges {
            for (address, answer) in addresses.iter().zip(&mut answers) {
                *answer |= u32::from(address.distance_from(first) <= behind);
            }
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::Ipv4Net;
    use proptest::prelude::*;

    fn v4(text: &str) -> Ipv4Net {
        text.parse().expect("a literal prefix")
    }

    #[test]
    fn prefixes_that_touch_are_one_range() {
        let pools = ["10.0.0.0/24", "10.0.1.0/24", "10.0.1.128/25"].map(v4);
        let set = FewRanges::of(pools, 1).expect("one range");
        assert_eq!(set.ranges, [(0x0a00_0000, 0x1ff)]);
    }

    #[test]
    fn more_ranges_than_the_limit_are_refused() {
        let pools = ["10.0.0.0/24", "10.0.2.0/24"].map(v4);
        assert!(FewRanges::of(pools, 2).is_some());
        assert!(FewRanges::of(pools, 1).is_none());
    }

    #[test]
    fn a_set_may_end_with_the_family_or_be_all_of_it_or_empty() {
        let answers = |prefixes: &[&str]| {
            let set = FewRanges::of(prefixes.iter().map(|text| v4(text)), 8).expect("few");
            let mut answers = [7; 3];
            set.contains_batch(&[0, 0xffff_ff00, u32::MAX], &mut answers);
            answers
        };
        assert_eq!(answers(&["255.255.255.0/24"]), [0, 1, 1]);
        assert_eq!(answers(&["0.0.0.0/0"]), [1, 1, 1]);
        assert_eq!(answers(&[]), [0, 0, 0]);
    }

    #[test]
    fn a_set_of_ipv6_has_what_lies_between_both_ends_of_its_ranges() {
        let pools = ["fd00:1::/64", "::/127"].map(|it| it.parse().expect("a literal prefix"));
        let set = FewRanges::of::<ipnet::Ipv6Net>(pools, 2).expect("two ranges");
        let pool = 0xfd00_0001_u128 << 96;
        let end = u128::from(u64::MAX);
        let mut answers = [7; 8];
        let addresses = [
            0,
            1,
            2,
            pool - 1,
            pool,
            pool + end,
            pool + end + 1,
            u128::MAX,
        ];
        set.contains_batch(&addresses, &mut answers);
        assert_eq!(answers, [1, 1, 0, 0, 1, 1, 0, 0]);
    }

    proptest! {
        #[test]
        fn a_set_has_the_addresses_of_its_prefixes(
            prefixes in proptest::collection::vec((0u32..64, 24u8..=32), 0..20),
            addresses in proptest::collection::vec(0u32..0x1100, 0..40),
        ) {
            let prefixes = prefixes.into_iter().map(|(bits, length)| {
                Ipv4Net::new((bits * 61).into(), length).expect("a length up to 32")
            });
            let set = FewRanges::of(prefixes.clone(), usize::MAX).expect("no limit");
            let mut answers = vec![7; addresses.len()];
            set.contains_batch(&addresses, &mut answers);
            for (address, answer) in addresses.iter().zip(answers) {
                let expected = prefixes.clone().any(|prefix| prefix.contains(&std::net::Ipv4Addr::from_bits(*address)));
                prop_assert_eq!(answer, u32::from(expected));
            }
        }
    }
}
