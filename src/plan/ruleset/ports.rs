//! [`PortSet`]: port ranges as a set, so that rules can be compared, cut and written in the fewest ranges.

use std::fmt;

use crate::policy::{PortRange, Sourced};

/// A set of ports: disjoint ranges that do not touch, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortSet {
    ranges: Vec<PortRange>,
}

impl PortSet {
    /// Every port.
    pub fn all() -> Self {
        Self {
            ranges: vec![PortRange::ALL],
        }
    }

    /// The ports of an option that means every port where it is empty.
    pub(super) fn of_option(ranges: &[Sourced<PortRange>]) -> Self {
        if ranges.is_empty() {
            Self::all()
        } else {
            ranges.iter().map(|it| it.value).collect()
        }
    }

    /// Its ranges, ascending.
    pub fn ranges(&self) -> &[PortRange] {
        &self.ranges
    }

    /// Whether it has no port.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether it has every port.
    pub fn is_all(&self) -> bool {
        self.ranges == [PortRange::ALL]
    }

    /// Whether it has `port`.
    pub fn contains(&self, port: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(port))
    }

    /// What both have.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let pairs = self.ranges.iter().flat_map(|left| {
            let right = other.ranges.iter();
            right.filter_map(|right| {
                let first = left.first().max(right.first());
                PortRange::new(first, left.last().min(right.last()))
            })
        });
        pairs.collect()
    }

    /// Whether every port of `other` is in it.
    pub fn covers(&self, other: &Self) -> bool {
        self.intersect(other) == *other
    }

    /// Ports that stand for all others: no set of ports of which these are the starts can tell two ports apart that have
    /// the same one below them.
    pub(super) fn starts(&self) -> impl Iterator<Item = u16> {
        let edges = self
            .ranges
            .iter()
            .map(|it| (it.first(), it.last().checked_add(1)));
        edges.flat_map(|(first, beyond)| [Some(first), beyond].into_iter().flatten())
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> Self {
        let mut sorted: Vec<PortRange> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut ranges: Vec<PortRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match ranges.last_mut() {
                Some(last) if u32::from(range.first()) <= u32::from(last.last()) + 1 => {
                    let end = last.last().max(range.last());
                    *last = PortRange::new(last.first(), end).unwrap_or(*last);
                }
                Some(_) | None => ranges.push(range),
            }
        }
        Self { ranges }
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(out, "{separator}{range}")?;
        }
        Ok(())
    }
}
