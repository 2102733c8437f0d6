//! [`Strangers`]: the sources of packets that no client sent.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::hash::MapHasher;
use super::report::Tally;
use crate::packet::Addresses;

/// Sources outside the clients' subnets, by prefix, in bounded memory.
///
/// With a mistyped subnet every client is one of them; a listener that sees both directions counts what is sent to clients, too.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// By the prefixes of source and destination.
    seen: HashMap<(IpNet, IpNet), Tally, MapHasher>,
}

impl Strangers {
    /// Most bytes that it takes: a map keeps an eighth of its places free, and has a byte for each.
    pub(super) const MEMORY_MAX: usize =
        (PAIRS * 8).div_ceil(7).next_power_of_two() * (size_of::<((IpNet, IpNet), Tally)>() + 1);

    /// Counts a packet; one of a new pair of prefixes is left out once there are [`PAIRS`] of them.
    pub(super) fn record(&mut self, addresses: Addresses, length: usize) {
        let pair = (
            prefix_of(addresses.source()),
            prefix_of(addresses.destination()),
        );
        let has_room = self.seen.len() < PAIRS;
        match self.seen.entry(pair) {
            Entry::Occupied(mut seen) => seen.get_mut().count(length),
            Entry::Vacant(place) if has_room => place.insert(Tally::default()).count(length),
            Entry::Vacant(_) => {}
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.seen.capacity() * size_of::<((IpNet, IpNet), Tally)>()
    }

    /// The sources, those with the most packets first, without what was sent to `clients`.
    pub(super) fn report(&self, is_client: impl Fn(IpNet) -> bool) -> Vec<(IpNet, Tally)> {
        let mut sources: BTreeMap<IpNet, Tally> = BTreeMap::new();
        for ((from, _), traffic) in self.seen.iter().filter(|((_, to), _)| !is_client(*to)) {
            *sources.entry(*from).or_default() += *traffic;
        }
        let mut sources: Vec<(IpNet, Tally)> = sources.into_iter().collect();
        sources.sort_by_key(|(from, traffic)| (Reverse(traffic.packets), *from));
        sources
    }
}

/// The /24 or /64 of an address: a pool, not a person.
fn prefix_of(address: IpAddr) -> IpNet {
    let length = match address {
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 64,
    };
    IpNet::new(address, length).map_or_else(|_| address.into(), |net| net.trunc())
}

/// Pairs of prefixes that are told apart.
const PAIRS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_by_their_packets_without_what_goes_to_clients() {
        let mut strangers = Strangers::default();
        let mut record = |source: [u8; 4], destination: [u8; 4]| {
            let addresses = Addresses::V4 {
                source: source.into(),
                destination: destination.into(),
            };
            strangers.record(addresses, 100);
        };
        for host in 1..=3 {
            record([172, 61, 1, host], [10, 0, 0, 1]);
            record([10, 0, 0, 1], [172, 16, 1, host]);
        }
        record([172, 61, 1, 9], [10, 9, 0, 1]);
        record([192, 168, 7, 7], [10, 0, 0, 1]);
        let clients: IpNet = "172.16.1.0/24".parse().expect("a prefix");
        let told = strangers.report(|to| clients.contains(&to));
        let told: Vec<(String, u64)> = told
            .iter()
            .map(|(from, traffic)| (from.to_string(), traffic.packets))
            .collect();
        let expected = [("172.61.1.0/24", 4), ("192.168.7.0/24", 1)];
        assert_eq!(
            told,
            expected.map(|(from, packets)| (from.to_owned(), packets))
        );
    }

    #[test]
    fn memory_stays_bounded() {
        let mut strangers = Strangers::default();
        for third in 0..=255 {
            let addresses = Addresses::V4 {
                source: [172, 61, third, 1].into(),
                destination: [10, 0, 0, 1].into(),
            };
            strangers.record(addresses, 100);
        }
        assert_eq!(strangers.report(|_| false).len(), PAIRS);
        assert!(strangers.memory_bytes() <= Strangers::MEMORY_MAX);
    }
}
