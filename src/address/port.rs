//! [`PortRange`] and [`PortSet`]: TCP and UDP ports, as policies write them and as rules compare, cut and list them.
//!
//! ```text
//!   ranges, any order          the set: sorted, disjoint, never touching
//!   5000-5009                  80
//!   80                   ──▶   5000-5019
//!   5010-5019
//! ```
//!
//! The ranges are the canonical form: two sets are equal exactly when their ranges are, and no other list of ranges
//! with the same ports is shorter.

use std::fmt;

/// An inclusive range of TCP or UDP ports; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port, 0 included.
    pub const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// The range from `first` to `last`, both included; `None` when `first` is above `last`.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The range that holds one port.
    pub const fn single(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// Lowest port of the range.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// Highest port of the range.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Returns `true` if `port` lies in the range.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(out, "{}", self.first)
        } else {
            write!(out, "{}-{}", self.first, self.last)
        }
    }
}

/// A set of ports: disjoint ranges that do not touch, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortSet {
    ranges: Vec<PortRange>,
}

impl PortSet {
    /// Every port.
    pub fn all() -> Self {
        Self {
            ranges: vec![PortRange::ALL],
        }
    }

    /// Its ranges, ascending.
    pub fn ranges(&self) -> &[PortRange] {
        &self.ranges
    }

    /// Returns `true` if the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns `true` if the set contains every port.
    pub fn is_all(&self) -> bool {
        self.ranges == [PortRange::ALL]
    }

    /// Returns `true` if the set contains `port`.
    pub fn contains(&self, port: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(port))
    }

    /// The ports of both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let pairs = self.ranges.iter().flat_map(|left| {
            let right = other.ranges.iter();
            right.filter_map(|right| {
                let first = left.first().max(right.first());
                PortRange::new(first, left.last().min(right.last()))
            })
        });
        pairs.collect()
    }

    /// The ports of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.ranges.iter().chain(&other.ranges).copied().collect()
    }

    /// The ports that are not in the set.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut next = Some(0);
        for range in &self.ranges {
            if let (Some(first), Some(last)) = (next, range.first.checked_sub(1)) {
                ranges.extend(PortRange::new(first, last));
            }
            next = range.last.checked_add(1);
        }
        ranges.extend(next.and_then(|first| PortRange::new(first, u16::MAX)));
        Self { ranges }
    }

    /// Returns `true` if the set contains every port of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        self.intersect(other) == *other
    }

    /// The ports at which membership can change; between two of them, all ports are alike to this set.
    pub(crate) fn starts(&self) -> impl Iterator<Item = u16> {
        let edges = self
            .ranges
            .iter()
            .map(|it| (it.first(), it.last().checked_add(1)));
        edges.flat_map(|(first, beyond)| [Some(first), beyond].into_iter().flatten())
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> Self {
        let mut sorted: Vec<PortRange> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut ranges: Vec<PortRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match ranges.last_mut() {
                Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => {
                    last.last = last.last.max(range.last);
                }
                Some(_) | None => ranges.push(range),
            }
        }
        Self { ranges }
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(out, "{separator}{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The slow oracle: one flag a port.
    fn flags(ranges: &[PortRange]) -> Vec<bool> {
        let has = |port| ranges.iter().any(|range| range.contains(port));
        (0..=u16::MAX).map(has).collect()
    }

    /// The runs of ports that are in it, of which no list of ranges has fewer.
    fn runs(flags: &[bool]) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for (port, _) in (0..=u16::MAX).zip(flags).filter(|(_, is_in)| **is_in) {
            match runs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
                Some(_) | None => runs.push((port, port)),
            }
        }
        runs
    }

    fn written(set: &PortSet) -> Vec<(u16, u16)> {
        set.ranges()
            .iter()
            .map(|it| (it.first(), it.last()))
            .collect()
    }

    /// Ranges that touch and overlap often, at both ends of the space, too.
    fn ranges() -> impl Strategy<Value = Vec<PortRange>> {
        let edge = prop_oneof![0_u16..12, 1_020_u16..1_030, 65_530_u16..=u16::MAX];
        let range = (edge.clone(), edge).prop_map(|(one, other)| {
            PortRange::new(one.min(other), one.max(other)).expect("in this order")
        });
        vec(range, 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_set_has_the_ports_of_its_ranges_in_the_fewest(ranges in ranges()) {
            let set: PortSet = ranges.iter().copied().collect();
            let flags = flags(&ranges);
            prop_assert_eq!(written(&set), runs(&flags));
            for (port, is_in) in (0..=u16::MAX).zip(flags) {
                prop_assert_eq!(set.contains(port), is_in);
            }
        }

        #[test]
        fn union_and_intersection_are_those_of_each_port(left in ranges(), right in ranges()) {
            let (lefts, rights) = (flags(&left), flags(&right));
            let either = |which: fn(bool, bool) -> bool| -> Vec<bool> {
                lefts.iter().zip(&rights).map(|(left, right)| which(*left, *right)).collect()
            };
            let left: PortSet = left.into_iter().collect();
            let right: PortSet = right.into_iter().collect();
            prop_assert_eq!(written(&left.union(&right)), runs(&either(|left, right| left || right)));
            let both = runs(&either(|left, right| left && right));
            prop_assert_eq!(written(&left.intersect(&right)), both);
            let covers = rights.iter().zip(&lefts).all(|(right, left)| !right || *left);
            prop_assert_eq!(left.covers(&right), covers);
        }
    }

    #[test]
    fn a_set_without_one_port_is_not_all() {
        let set = |ranges: &[(u16, u16)]| -> PortSet {
            let ranges = ranges.iter();
            ranges
                .filter_map(|(first, last)| PortRange::new(*first, *last))
                .collect()
        };
        assert!(set(&[(0, 1_023), (1_024, u16::MAX)]).is_all());
        assert!(set(&[]).is_empty());
        assert!(!set(&[(0, 0)]).is_empty());
        for ranges in [
            &[][..],
            &[(1, u16::MAX)],
            &[(0, 65_534)],
            &[(0, 79), (81, u16::MAX)],
        ] {
            assert!(!set(ranges).is_all(), "{ranges:?}");
        }
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let set: PortSet = [(5_000, 5_009), (80, 80), (5_010, 5_019)]
            .into_iter()
            .filter_map(|(first, last)| PortRange::new(first, last))
            .collect();
        assert_eq!(set.to_string(), "80, 5000-5019");
    }
}
