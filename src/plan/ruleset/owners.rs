//! Which rule is named for an address that several have: that of the longest prefix, and the first in the file among equals.

use ipnet::IpNet;

use crate::address::PrefixSet;

/// The addresses of owners in an order in which the first that has an address is the one that is named for it.
///
/// An owner that shares no address with another stands there once. The others are taken apart by the length of their
/// prefixes, the longest first: nothing has to be cut out of a prefix, which would leave a list that nobody can read.
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
    // Prefixes of one length and of two families have nothing to do with each other, and no harm comes of it.
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
