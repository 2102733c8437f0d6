//! The answers that every peer must give before it is timed: a hash table for each prefix length.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

/// An address as a number of its family's width.
pub(crate) trait Address: Copy + Ord + Hash + Debug {
    const WIDTH: u8;
    fn widen(self) -> u128;
    fn narrow(wide: u128) -> Self;

    /// Returns the first `length` bits, the others zero.
    fn truncate(self, length: u8) -> Self {
        let host_bits = Self::WIDTH - length;
        let kept = self.widen().checked_shr(host_bits.into()).unwrap_or(0);
        Self::narrow(kept.checked_shl(host_bits.into()).unwrap_or(0))
    }
}

/// A prefix of either family.
pub(crate) trait Prefix: Copy + Eq + Hash {
    type Address: Address;
    fn with_length(bits: Self::Address, length: u8) -> Self;
    fn bits(&self) -> (Self::Address, u8);
    fn last(&self) -> Self::Address;

    fn address_inside(&self, random: u128) -> Self::Address {
        let (first, _) = self.bits();
        let host_mask = first.widen() ^ self.last().widen();
        Self::Address::narrow(first.widen() | (random & host_mask))
    }

    /// Shares about half of the prefix, so it misses where a careless table would hit.
    fn address_near(&self, random: u128) -> Self::Address {
        let (first, length) = self.bits();
        let half = Self::with_length(first, length / 2);
        half.address_inside(random)
    }
}

pub(crate) struct Oracle<Net: Prefix> {
    /// Longest first.
    lengths: Vec<(u8, HashMap<Net::Address, u16>)>,
}

impl<Net: Prefix> Oracle<Net> {
    pub(crate) fn new(table: &[(Net, u16)]) -> Self {
        let mut lengths: Vec<_> = (0..=Net::Address::WIDTH)
            .rev()
            .map(|length| (length, HashMap::new()))
            .collect();
        for (net, class) in table {
            let (bits, length) = net.bits();
            lengths[usize::from(Net::Address::WIDTH - length)]
                .1
                .insert(bits, *class);
        }
        lengths.retain(|(_, prefixes)| !prefixes.is_empty());
        Self { lengths }
    }

    pub(crate) fn lookup(&self, address: Net::Address) -> u16 {
        self.lengths
            .iter()
            .find_map(|(length, prefixes)| prefixes.get(&address.truncate(*length)))
            .copied()
            .unwrap_or(0)
    }
}
