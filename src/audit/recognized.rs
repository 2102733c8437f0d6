//! [`RecognizedMedia`]: the traffic that was recognized as media, by evidence and destination.

use std::collections::HashMap;
use std::net::IpAddr;

use super::report::{MediaTraffic, Tally};
use super::service::Scope;
use crate::packet::media::Evidence;

/// Tallies of media, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct RecognizedMedia {
    hosts: HashMap<(Evidence, Scope, IpAddr), Tally>,
    /// The traffic to hosts that have no tally of their own.
    others: HashMap<(Evidence, Scope), Tally>,
}

impl RecognizedMedia {
    /// Bytes that it takes at most: a map grows to the double of what it holds.
    pub(super) const MEMORY_MAX: usize = 2
        * (MAX_HOSTS * (size_of::<(Evidence, Scope, IpAddr)>() + size_of::<Tally>() + 1)
            + 2 * Evidence::TABLE.len()
                * (size_of::<(Evidence, Scope)>() + size_of::<Tally>() + 1));

    pub(super) fn record(&mut self, evidence: Evidence, scope: Scope, to: IpAddr, length: usize) {
        let is_full = self.hosts.len() >= MAX_HOSTS;
        let tally = match self.hosts.get_mut(&(evidence, scope, to)) {
            Some(tally) => tally,
            None if is_full => self.others.entry((evidence, scope)).or_default(),
            None => self.hosts.entry((evidence, scope, to)).or_default(),
        };
        tally.count(length);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.hosts.capacity() * size_of::<((Evidence, Scope, IpAddr), Tally)>()
            + self.others.capacity() * size_of::<((Evidence, Scope), Tally)>()
    }

    /// The traffic in the order of the evidence, the most packets first.
    pub(super) fn report(&self) -> Vec<MediaTraffic> {
        let hosts = self.hosts.iter();
        let hosts = hosts.map(|(&(evidence, scope, to), &traffic)| MediaTraffic {
            evidence,
            scope,
            destination: Some(to),
            traffic,
        });
        let others = self.others.iter();
        let others = others.map(|(&(evidence, scope), &traffic)| MediaTraffic {
            evidence,
            scope,
            destination: None,
            traffic,
        });
        let mut all: Vec<_> = hosts.chain(others).collect();
        all.sort_by_key(|it| {
            let most_first = std::cmp::Reverse(it.traffic.packets);
            (
                it.evidence,
                it.destination.is_none(),
                most_first,
                it.destination,
            )
        });
        all
    }
}

/// Hosts with a tally of their own: a site has fewer phones and servers in calls at a time.
const MAX_HOSTS: usize = 1_024;
