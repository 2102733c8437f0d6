//! [`PrefixSet`]: a set of addresses of both families, with exact set algebra.
//!
//! The tries give the class of an address; a set gives the addresses that remain when others are removed, in the fewest
//! prefixes. Routes are computed with it.
//!
//! ```text
//!   prefixes, any order     ranges: sorted, disjoint, never touching     prefixes again, the fewest
//!   167.55.49.36/32         167.55.49.32 ─ 167.55.49.36                  167.55.49.32/30
//!   167.55.49.32/31    ──▶                                         ──▶   167.55.49.36/32
//!   167.55.49.34/31
//! ```
//!
//! Ranges are the canonical form: two sets are equal exactly when their ranges are, union, intersection and difference
//! walk two sorted lists once, and each range splits into its largest aligned blocks, which no other list of prefixes
//! undercuts (two ranges never touch, so no prefix reaches over the gap between them).

mod ranges;
pub mod reference;
mod specific;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use ranges::Ranges;
pub use specific::more_specific;

/// A set of IPv4 and IPv6 addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct PrefixSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl PrefixSet {
    /// The set without addresses.
    pub const EMPTY: Self = Self {
        v4: Ranges::EMPTY,
        v6: Ranges::EMPTY,
    };

    /// The addresses of all `spans`, each from its first to its last address. A span of two families, or one whose last
    /// address comes first, is empty.
    pub fn of_spans(spans: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for span in spans.into_iter().filter(|(first, last)| first <= last) {
            match span {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((first.to_bits(), last.to_bits())),
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
            }
        }
        Self {
            v4: Ranges::of(v4),
            v6: Ranges::of(v6),
        }
    }

    /// Every IPv4 address.
    pub fn all_v4() -> Self {
        Self {
            v4: Ranges::all(),
            v6: Ranges::EMPTY,
        }
    }

    /// Every IPv6 address.
    pub fn all_v6() -> Self {
        Self {
            v4: Ranges::EMPTY,
            v6: Ranges::all(),
        }
    }

    /// The addresses of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            v4: self.v4.union(&other.v4),
            v6: self.v6.union(&other.v6),
        }
    }

    /// The addresses of both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self {
            v4: self.v4.intersect(&other.v4),
            v6: self.v6.intersect(&other.v6),
        }
    }

    /// The addresses of this set that `other` does not have.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        Self {
            v4: self.v4.subtract(&other.v4),
            v6: self.v6.subtract(&other.v6),
        }
    }

    /// The addresses of both families that this set does not have.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self {
            v4: self.v4.complement(),
            v6: self.v6.complement(),
        }
    }

    /// The IPv4 half.
    #[must_use]
    pub fn only_v4(&self) -> Self {
        Self {
            v4: self.v4.clone(),
            v6: Ranges::EMPTY,
        }
    }

    /// The IPv6 half.
    #[must_use]
    pub fn only_v6(&self) -> Self {
        Self {
            v4: Ranges::EMPTY,
            v6: self.v6.clone(),
        }
    }

    /// True if the set holds the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => {
                let address = address.to_bits();
                self.v4.covers(address, address)
            }
            IpAddr::V6(address) => {
                let address = address.to_bits();
                self.v6.covers(address, address)
            }
        }
    }

    /// True if the set holds every address of `prefix`.
    pub fn covers(&self, prefix: IpNet) -> bool {
        match prefix {
            IpNet::V4(net) => self.v4.covers(first_v4(net), last_v4(net)),
            IpNet::V6(net) => self.v6.covers(first_v6(net), last_v6(net)),
        }
    }

    /// True if the set holds any address of `prefix`.
    pub fn overlaps(&self, prefix: IpNet) -> bool {
        match prefix {
            IpNet::V4(net) => self.v4.overlaps(first_v4(net), last_v4(net)),
            IpNet::V6(net) => self.v6.overlaps(first_v6(net), last_v6(net)),
        }
    }

    /// True if it holds no address.
    pub const fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// True if it holds any IPv4 address.
    pub const fn has_v4(&self) -> bool {
        !self.v4.is_empty()
    }

    /// True if it holds any IPv6 address.
    pub const fn has_v6(&self) -> bool {
        !self.v6.is_empty()
    }

    /// The number of IPv4 addresses in the set.
    pub fn v4_addresses(&self) -> u64 {
        self.v4
            .iter()
            .map(|(first, last)| u64::from(last - first) + 1)
            .sum()
    }

    /// The number of IPv6 addresses in the set; `u128::MAX` also for all 2^128 of them.
    pub fn v6_addresses(&self) -> u128 {
        self.v6.iter().fold(0, |sum: u128, (first, last)| {
            sum.saturating_add((last - first).saturating_add(1))
        })
    }

    /// The fewest IPv4 prefixes that have the same addresses, ascending.
    pub fn v4_prefixes(&self) -> impl Iterator<Item = Ipv4Net> {
        self.v4.blocks().map(|(first, length)| {
            Ipv4Net::new(first.into(), length).expect("a block is at most 32 bits long")
        })
    }

    /// The fewest IPv6 prefixes that have the same addresses, ascending.
    pub fn v6_prefixes(&self) -> impl Iterator<Item = Ipv6Net> {
        self.v6.blocks().map(|(first, length)| {
            Ipv6Net::new(first.into(), length).expect("a block is at most 128 bits long")
        })
    }

    /// The fewest prefixes that have the same addresses: IPv4, then IPv6, each ascending.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.v4_prefixes()
            .map(IpNet::V4)
            .chain(self.v6_prefixes().map(IpNet::V6))
    }
}

impl FromIterator<IpNet> for PrefixSet {
    fn from_iter<T: IntoIterator<Item = IpNet>>(prefixes: T) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            match prefix {
                IpNet::V4(net) => v4.push((first_v4(net), last_v4(net))),
                IpNet::V6(net) => v6.push((first_v6(net), last_v6(net))),
            }
        }
        Self {
            v4: Ranges::of(v4),
            v6: Ranges::of(v6),
        }
    }
}

impl FromIterator<IpAddr> for PrefixSet {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        addresses.into_iter().map(IpNet::from).collect()
    }
}

impl FromIterator<Ipv4Net> for PrefixSet {
    fn from_iter<T: IntoIterator<Item = Ipv4Net>>(prefixes: T) -> Self {
        let spans = prefixes
            .into_iter()
            .map(|net| (first_v4(net), last_v4(net)));
        Self {
            v4: Ranges::of(spans.collect()),
            v6: Ranges::EMPTY,
        }
    }
}

/// The prefixes, separated by commas.
impl fmt::Display for PrefixSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, prefix) in self.prefixes().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(out, "{separator}{prefix}")?;
        }
        Ok(())
    }
}

fn first_v4(net: Ipv4Net) -> u32 {
    net.network().to_bits()
}

fn last_v4(net: Ipv4Net) -> u32 {
    net.broadcast().to_bits()
}

fn first_v6(net: Ipv6Net) -> u128 {
    net.network().to_bits()
}

fn last_v6(net: Ipv6Net) -> u128 {
    net.broadcast().to_bits()
}
