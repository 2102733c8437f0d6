//! Picks the rule named for an address that several rules have: the one with the longest prefix, and the first in the
//! file among equals.

use ipnet::IpNet;

use crate::address::PrefixSet;

/// Returns the owners' addresses in an order in which the first match is the owner named for the address.
///
/// An owner that shares no address with another appears once. The others are split by prefix length, longest first, so
/// no prefix has to be cut up and the list stays readable.
pub(super) fn in_order(owners: &[Vec<IpNet>]) -> Vec<(usize, PrefixSet)> {
    let sets: Vec<PrefixSet> = owners
        .iter()
        .map(|prefixes| prefixes.iter().copied().collect())
        .collect();
    let is_alone = |at: usize| {
        let mut others = sets.iter().enumerate().filter(|(other, _)| *other != at);
        others.all(|(_, other)| other.intersect(&sets[at]).is_empty())
    };
    let (alone, entangled): (Vec<usize>, Vec<usize>) =
        (0..owners.len()).partition(|&at| is_alone(at));
    let mut ordered: Vec<(usize, PrefixSet)> =
        alone.into_iter().map(|at| (at, sets[at].clone())).collect();
    let prefixes = entangled.iter().flat_map(|&at| &owners[at]);
    let mut lengths: Vec<u8> = prefixes.map(IpNet::prefix_len).collect();
    lengths.sort_unstable();
    lengths.dedup();
    // Prefixes of one length in different families do not overlap, so treating them together is harmless.
    for length in lengths.into_iter().rev() {
        for &at in &entangled {
            let of_length = owners[at].iter().filter(|it| it.prefix_len() == length);
            let of_length: PrefixSet = of_length.copied().collect();
            if !of_length.is_empty() {
                ordered.push((at, of_length));
            }
        }
    }
    ordered
}
