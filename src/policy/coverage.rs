//! [`Coverage`]: which addresses a list of prefixes covers, for the checks of a policy.

use std::net::IpAddr;

use ipnet::IpNet;

/// The addresses of some prefixes as sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Coverage {
    pub(super) fn of(prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        let mut coverage = Self::default();
        for prefix in prefixes {
            let range = range(prefix);
            match prefix {
                IpNet::V4(_) => coverage.v4.push(range),
                IpNet::V6(_) => coverage.v6.push(range),
            }
        }
        coverage.v4 = merged(coverage.v4);
        coverage.v6 = merged(coverage.v6);
        coverage
    }

    /// Whether any address of `prefix` is covered.
    pub(super) fn overlaps(&self, prefix: IpNet) -> bool {
        let (first, last) = range(prefix);
        let ranges = self.family(prefix);
        let after = ranges.partition_point(|range| range.0 <= last);
        after > 0 && ranges[after - 1].1 >= first
    }

    /// Whether every address of `prefix` is covered.
    pub(super) fn contains(&self, prefix: IpNet) -> bool {
        let (first, last) = range(prefix);
        let ranges = self.family(prefix);
        let after = ranges.partition_point(|range| range.0 <= first);
        after > 0 && ranges[after - 1].1 >= last
    }

    /// Whether it covers any IPv4 address.
    pub(super) const fn has_v4(&self) -> bool {
        !self.v4.is_empty()
    }

    /// Whether it covers any IPv6 address.
    pub(super) const fn has_v6(&self) -> bool {
        !self.v6.is_empty()
    }

    const fn family(&self, prefix: IpNet) -> &Vec<(u128, u128)> {
        match prefix {
            IpNet::V4(_) => &self.v4,
            IpNet::V6(_) => &self.v6,
        }
    }
}

fn range(prefix: IpNet) -> (u128, u128) {
    (number(prefix.network()), number(prefix.broadcast()))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joins = next.0 <= kept.1.saturating_add(1);
        if joins {
            kept.1 = kept.1.max(next.1);
        }
        joins
    });
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(prefixes: &[&str]) -> Coverage {
        Coverage::of(prefixes.iter().map(|text| prefix(text)))
    }

    fn prefix(text: &str) -> IpNet {
        text.parse().expect("the test's own prefix is valid")
    }

    #[test]
    fn neighbors_together_contain_what_neither_does() {
        let halves = coverage(&["10.128.0.0/9", "10.0.0.0/9"]);
        assert!(halves.contains(prefix("10.0.0.0/8")));
        assert!(!halves.contains(prefix("10.0.0.0/7")));
        assert!(halves.overlaps(prefix("0.0.0.0/0")));
    }

    #[test]
    fn families_are_apart() {
        let all_v4 = coverage(&["0.0.0.0/0"]);
        assert!(!all_v4.overlaps(prefix("::/0")));
        assert!(all_v4.contains(prefix("255.255.255.255/32")));
        assert!(coverage(&["::/0"]).contains(prefix("ffff::/16")));
    }

    #[test]
    fn a_range_inside_a_larger_one_does_not_shorten_it() {
        let nested = coverage(&["10.0.0.0/8", "10.1.0.0/16", "10.2.0.1/32"]);
        assert!(nested.contains(prefix("10.255.0.0/16")));
        assert!(!nested.overlaps(prefix("11.0.0.0/8")));
    }
}
