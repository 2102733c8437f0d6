//! [`Difference`]: what a later version of a feed adds and withdraws.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{Document, EntryKey, FeedEntry};
use crate::address::PrefixSet;

/// Differences between two versions of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Addresses that only the later version has, in any entry.
    pub added: PrefixSet,
    /// Addresses that only the earlier version has.
    pub removed: PrefixSet,
    /// Changes of each entry, by ascending key; empty for lists, whose lines have no identity.
    pub entries: Vec<EntryDifference>,
}

/// Changes of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryDifference {
    /// The entry.
    pub key: EntryKey,
    /// Its service area, for people.
    pub service_area: String,
    /// In words: `is new`, `is gone`, `category Allow is Optimize`, ...
    pub facts: Vec<String>,
    /// Prefixes that come.
    pub added: Vec<IpNet>,
    /// Prefixes that go.
    pub removed: Vec<IpNet>,
}

impl Difference {
    /// Returns the changes from `earlier` to `later`.
    pub fn between(earlier: &Document, later: &Document) -> Self {
        let (old, new) = (addresses(earlier), addresses(later));
        Self {
            added: new.subtract(&old),
            removed: old.subtract(&new),
            entries: entry_differences(earlier, later),
        }
    }

    /// Returns `true` if the two say the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.entries.is_empty()
    }
}

fn addresses(document: &Document) -> PrefixSet {
    let entries = document.entries.iter();
    entries
        .flat_map(|entry| entry.prefixes.iter().copied())
        .collect()
}

fn entry_differences(earlier: &Document, later: &Document) -> Vec<EntryDifference> {
    fn by_id(document: &Document) -> BTreeMap<EntryKey, &FeedEntry> {
        let entries = document.entries.iter();
        let with_id = entries.filter(|entry| matches!(entry.key, EntryKey::Id(_)));
        with_id.map(|entry| (entry.key, entry)).collect()
    }
    let (old, new) = (by_id(earlier), by_id(later));
    let keys: std::collections::BTreeSet<EntryKey> =
        old.keys().chain(new.keys()).copied().collect();
    keys.into_iter()
        .filter_map(|key| entry_difference(key, old.get(&key).copied(), new.get(&key).copied()))
        .collect()
}

fn entry_difference(
    key: EntryKey,
    old: Option<&FeedEntry>,
    new: Option<&FeedEntry>,
) -> Option<EntryDifference> {
    let prefixes =
        |entry: Option<&FeedEntry>| entry.map_or(&[][..], |entry| &entry.prefixes).to_vec();
    let (before, after) = (prefixes(old), prefixes(new));
    let without = |these: &[IpNet], others: &[IpNet]| -> Vec<IpNet> {
        let kept = these.iter().filter(|prefix| !others.contains(prefix));
        kept.copied().collect()
    };
    let difference = EntryDifference {
        key,
        service_area: new.or(old)?.service_area.clone(),
        facts: facts(old, new),
        added: without(&after, &before),
        removed: without(&before, &after),
    };
    let same =
        difference.facts.is_empty() && difference.added.is_empty() && difference.removed.is_empty();
    (!same).then_some(difference)
}

/// A change of ports, in words; the same ports written in another way are none.
fn ports_change(
    protocol: &str,
    old: &[RangeInclusive<u16>],
    new: &[RangeInclusive<u16>],
) -> Option<String> {
    let (old, new) = (merged(old), merged(new));
    let words = |ports: &[RangeInclusive<u16>]| {
        let words = ports
            .iter()
            .map(|range| match range.start() == range.end() {
                true => range.start().to_string(),
                false => format!("{}-{}", range.start(), range.end()),
            });
        match words.collect::<Vec<_>>().join(",") {
            none if none.is_empty() => "none".to_owned(),
            some => some,
        }
    };
    (old != new).then(|| format!("{protocol} ports {} become {}", words(&old), words(&new)))
}

/// The ranges in ascending order; those that touch are one.
fn merged(ports: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let mut ports = ports.to_vec();
    ports.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u16>> = Vec::with_capacity(ports.len());
    for range in ports {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=(*last.end()).max(*range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// Changes other than those of prefixes.
fn facts(old: Option<&FeedEntry>, new: Option<&FeedEntry>) -> Vec<String> {
    let (old, new) = match (old, new) {
        (None, Some(_)) => return vec!["is new".to_owned()],
        (Some(_), None) => return vec!["is gone".to_owned()],
        (None, None) => return Vec::new(),
        (Some(old), Some(new)) => (old, new),
    };
    let mut facts = Vec::new();
    if old.category != new.category {
        facts.push(format!(
            "category {} becomes {}",
            old.category.name(),
            new.category.name()
        ));
    }
    if old.required != new.required {
        let word = |required| if required { "required" } else { "optional" };
        facts.push(format!(
            "{} becomes {}",
            word(old.required),
            word(new.required)
        ));
    }
    if old.service_area != new.service_area {
        facts.push(format!(
            "service area {} becomes {}",
            old.service_area, new.service_area
        ));
    }
    for (protocol, old, new) in [
        ("TCP", &old.tcp_ports, &new.tcp_ports),
        ("UDP", &old.udp_ports, &new.udp_ports),
    ] {
        facts.extend(ports_change(protocol, old, new));
    }
    if old.urls != new.urls {
        facts.push("its names change".to_owned());
    }
    facts
}
