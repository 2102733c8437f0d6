//! [`Entry`]: one prefix of a plan, with what it was made of.

use ipnet::IpNet;

use super::Source;
use crate::address::PrefixSet;

/// One prefix that the VPN pushes, or keeps out of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The prefix.
    pub prefix: IpNet,
    /// Positions in [`RoutePlan::sources`](super::RoutePlan::sources) of what has addresses in it; none in an entry
    /// that is there because everything is, but for the rest.
    pub sources: Vec<usize>,
}

impl Entry {
    /// Whether it is made of several prefixes, or of a piece of one: whether it stands nowhere as it is.
    pub fn is_aggregated(&self, sources: &[Source]) -> bool {
        let stands = |&at: &usize| sources.get(at).is_some_and(|it| it.prefix == self.prefix);
        !self.sources.iter().any(stands)
    }
}

/// The prefixes of `set`, each with the positions of those `sources` for which `counts` and that have addresses in it.
pub(super) fn entries(
    set: &PrefixSet,
    sources: &[Source],
    counts: impl Fn(&Source) -> bool,
) -> Vec<Entry> {
    let mut entries: Vec<Entry> = set
        .prefixes()
        .map(|prefix| Entry {
            prefix,
            sources: Vec::new(),
        })
        .collect();
    for (at, source) in sources.iter().enumerate().filter(|(_, it)| counts(it)) {
        // Entries are ascending and disjoint: those that the source overlaps stand side by side.
        let (first, last) = (source.prefix.network(), source.prefix.broadcast());
        let from = entries.partition_point(|entry| entry.prefix.broadcast() < first);
        let to = entries.partition_point(|entry| entry.prefix.network() <= last);
        for entry in entries.iter_mut().take(to).skip(from) {
            entry.sources.push(at);
        }
    }
    entries
}
