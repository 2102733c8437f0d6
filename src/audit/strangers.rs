//! [`Strangers`]: the sources of packets that no client sent.

use std::net::IpAddr;

use ipnet::IpNet;

use super::report::Tally;
use crate::packet::Addresses;

/// Sources outside the clients' subnets, by prefix, in bounded memory.
///
/// With a mistyped subnet every client is one of them; a listener that sees both directions counts what is sent to clients, too.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    seen: Vec<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    from: IpNet,
    to: IpNet,
    traffic: Tally,
}

impl Strangers {
    /// Most bytes that it takes.
    pub(super) const MEMORY_MAX: usize = PAIRS * size_of::<Seen>();

    /// Counts a packet; one of a new pair of prefixes is left out once there are [`PAIRS`] of them.
    pub(super) fn record(&mut self, addresses: Addresses, length: usize) {
        let from = prefix_of(addresses.source());
        let to = prefix_of(addresses.destination());
        if let Some(seen) = self
            .seen
            .iter_mut()
            .find(|it| it.from == from && it.to == to)
        {
            seen.traffic.count(length);
        } else if self.seen.len() < PAIRS {
            let mut traffic = Tally::default();
            traffic.count(length);
            self.seen.push(Seen { from, to, traffic });
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.seen.capacity() * size_of::<Seen>()
    }

    /// The sources, those with the most packets first, without what was sent to `clients`.
    pub(super) fn report(&self, is_client: impl Fn(IpNet) -> bool) -> Vec<(IpNet, Tally)> {
        let mut sources: Vec<(IpNet, Tally)> = Vec::new();
        for seen in self.seen.iter().filter(|it| !is_client(it.to)) {
            match sources.iter_mut().find(|(from, _)| *from == seen.from) {
                Some((_, traffic)) => *traffic += seen.traffic,
                None => sources.push((seen.from, seen.traffic)),
            }
        }
        sources.sort_by_key(|(from, traffic)| (std::cmp::Reverse(traffic.packets), *from));
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
        assert!(strangers.memory_bytes() <= 2 * Strangers::MEMORY_MAX);
    }
}
