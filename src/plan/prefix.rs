//! [`PlannedPrefix`]: one prefix of a plan, with the sources it was made of.

use ipnet::IpNet;

use super::Source;
use crate::address::PrefixSet;

/// A prefix that the VPN pushes, or keeps out of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPrefix {
    /// The prefix.
    pub prefix: IpNet,
    /// Positions in [`RoutePlan::sources`](super::RoutePlan::sources) of the sources with addresses in the prefix.
    /// Empty for an entry that follows from the full tunnel alone.
    pub sources: Vec<usize>,
}

impl PlannedPrefix {
    /// Returns `true` if the prefix was merged from several sources or is part of one, so that no source has exactly
    /// this prefix.
    pub fn is_aggregated(&self, sources: &[Source]) -> bool {
        let stands = |&at: &usize| sources.get(at).is_some_and(|it| it.prefix == self.prefix);
        !self.sources.iter().any(stands)
    }
}

/// Returns the prefixes of `set`, each with the positions of the `sources` for which `counts` is true and that overlap
/// it.
pub(super) fn planned(
    set: &PrefixSet,
    sources: &[Source],
    counts: impl Fn(&Source) -> bool,
) -> Vec<PlannedPrefix> {
    let mut entries: Vec<PlannedPrefix> = set
        .prefixes()
        .map(|prefix| PlannedPrefix {
            prefix,
            sources: Vec::new(),
        })
        .collect();
    for (at, source) in sources.iter().enumerate().filter(|(_, it)| counts(it)) {
        // Entries are ascending and disjoint, so those that the source overlaps are consecutive.
        let (first, last) = (source.prefix.network(), source.prefix.broadcast());
        let from = entries.partition_point(|entry| entry.prefix.broadcast() < first);
        let to = entries.partition_point(|entry| entry.prefix.network() <= last);
        for entry in entries.iter_mut().take(to).skip(from) {
            entry.sources.push(at);
        }
    }
    entries
}
