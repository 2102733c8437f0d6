//! A slow, simple reference set: a linear scan over prefixes for each address, and a search over every list of prefixes
//! for the shortest.
//!
//! It shares no code with [`PrefixSet`](super::PrefixSet).

use std::net::IpAddr;

use ipnet::IpNet;

/// True if any of `prefixes` holds the address.
pub fn contains(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}

/// Length of the longest of `prefixes` that has the address.
pub fn longest_match(prefixes: &[IpNet], address: IpAddr) -> Option<u8> {
    let holds = prefixes.iter().filter(|prefix| prefix.contains(&address));
    holds.map(IpNet::prefix_len).max()
}

/// For every set of 8 addresses (a byte, bit n for address n), the length of the shortest list of aligned blocks whose
/// union it is, found by trying every list.
pub fn shortest_lists() -> [u32; 256] {
    let blocks: Vec<u8> = [8, 4, 2, 1]
        .iter()
        .flat_map(|size: &u32| {
            let block = ((1_u32 << size) - 1) as u8;
            (0..8 / size).map(move |at| block << (at * size))
        })
        .collect();
    let mut shortest = [u32::MAX; 256];
    for list in 0_u32..1 << blocks.len() {
        let chosen = (0..blocks.len()).filter(|at| list >> at & 1 == 1);
        let union = chosen.fold(0, |union, at| union | blocks[at]);
        let entry = &mut shortest[usize::from(union)];
        *entry = (*entry).min(list.count_ones());
    }
    shortest
}

/// Addresses at which membership in a set made of `prefixes` can change: both ends of each and their neighbors outside.
pub fn edges(prefixes: &[IpNet]) -> Vec<IpAddr> {
    let mut edges: Vec<IpAddr> = Vec::with_capacity(prefixes.len() * 4 + 4);
    for prefix in prefixes {
        match prefix {
            IpNet::V4(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                let near = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
                edges.extend(near.map(|bits| IpAddr::V4(bits.into())));
            }
            IpNet::V6(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                let near = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
                edges.extend(near.map(|bits| IpAddr::V6(bits.into())));
            }
        }
    }
    edges.extend([0, u32::MAX].map(|bits: u32| IpAddr::V4(bits.into())));
    edges.extend([0, u128::MAX].map(|bits: u128| IpAddr::V6(bits.into())));
    edges
}
