//! [`RecognizedMedia`]: the traffic that was recognized as media, by evidence and destination.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::report::{MediaTraffic, Tally};
use super::service::Scope;
use crate::packet::media::Evidence;

/// Tallies of media, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct RecognizedMedia {
    /// By evidence, kind of host, and host; `None` for all hosts that have no tally of their own.
    tallies: HashMap<Key, Tally>,
}

type Key = (Evidence, Scope, Option<IpAddr>);

impl RecognizedMedia {
    /// Bytes that it takes at most: a map grows to the double of what it holds, with a byte of control for each entry.
    pub(super) const MEMORY_MAX: usize = 2 * MAX_TALLIES * (size_of::<(Key, Tally)>() + 1);

    pub(super) fn record(&mut self, evidence: Evidence, scope: Scope, to: IpAddr, length: usize) {
        let own = (evidence, scope, Some(to));
        let is_full = self.tallies.len() >= MAX_HOSTS;
        let key = match is_full && !self.tallies.contains_key(&own) {
            true => (evidence, scope, None),
            false => own,
        };
        self.tallies.entry(key).or_default().count(length);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.tallies.capacity() * (size_of::<(Key, Tally)>() + 1)
    }

    /// The traffic in the order of the evidence, the most packets first, that of other hosts last.
    pub(super) fn report(&self) -> Vec<MediaTraffic> {
        let all = self.tallies.iter();
        let all = all.map(|(&(evidence, scope, destination), &traffic)| MediaTraffic {
            evidence,
            scope,
            destination,
            traffic,
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|it| {
            let most_first = Reverse(it.traffic.packets);
            let is_rest = it.destination.is_none();
            (it.evidence, is_rest, most_first, it.destination)
        });
        all
    }
}

/// Hosts with a tally of their own: a site has fewer phones and servers in calls at a time.
const MAX_HOSTS: usize = 1_024;

/// These, and one for the other hosts of each evidence and both kinds of host.
const MAX_TALLIES: usize = MAX_HOSTS + 2 * Evidence::TABLE.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_beyond_the_bound_are_summed_and_keep_nobody_from_counting() {
        let mut media = RecognizedMedia::default();
        let host = |number: u32| IpAddr::from(number.to_be_bytes());
        let hosts = MAX_HOSTS as u32 + 10;
        for number in (0..hosts).chain([0]) {
            media.record(Evidence::Stun, Scope::Corporate, host(number), 100);
        }
        let report = media.report();
        assert_eq!(report.len(), MAX_HOSTS + 1);
        let packets = |destination| {
            let mut rows = report.iter().filter(|row| row.destination == destination);
            rows.next().map(|row| row.traffic.packets)
        };
        assert_eq!(packets(Some(host(0))), Some(2));
        assert_eq!(packets(Some(host(1))), Some(1));
        assert_eq!(packets(Some(host(hosts - 1))), None);
        assert_eq!(packets(None), Some(10));
        assert_eq!(
            report[0].destination,
            Some(host(0)),
            "the most packets first"
        );
        assert_eq!(report[MAX_HOSTS].destination, None, "the rest last");
        assert!(media.memory_bytes() <= RecognizedMedia::MEMORY_MAX);
    }
}
