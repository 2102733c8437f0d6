//! [`Sketch`]: how many distinct things there were, in constant memory.
//!
//! Every thing is a 64-bit hash. Hashes spread evenly, so the k smallest of n lie at about 1/n, 2/n, … k/n of the range:
//! where the k-th lies tells n. The sketch keeps the smallest and forgets the rest.
//!
//! ```text
//!   0                kth smallest                                        2^64
//!   ├─x──x─x───x──x──x──────────────────────────────────────────────────────┤
//!   └── k kept ──────┘ threshold: what lies above is neither kept nor looked up
//!
//!   n ≈ (k - 1) · 2^64 / kth smallest          relative error about 1/√k
//! ```
//!
//! The k-minimum-values sketch of Bar-Yossef et al., "Counting Distinct Elements in a Data Stream" (RANDOM 2002), with
//! the unbiased estimator of Beyer et al., "On Synopses for Distinct-Value Estimation Under Multiset Operations" (SIGMOD
//! 2007). It keeps up to 2k hashes between two prunings, so that pruning costs little, and counts exactly until then.

use super::report::Estimate;

/// A set of hashes that remembers the smallest and so knows how many there were.
#[derive(Debug)]
pub(super) struct Sketch {
    /// Open addressing, half full at most; [`EMPTY`] where there is none.
    slots: Box<[u64]>,
    kept: usize,
    /// Hashes above it are not kept; [`u64::MAX`] as long as the count is exact.
    threshold: u64,
}

impl Sketch {
    /// A sketch that counts exactly up to `2 * smallest` things, and beyond with a relative error of `1/√smallest`.
    ///
    /// `smallest` is a power of two.
    pub(super) fn new(smallest: usize) -> Self {
        Self {
            slots: vec![EMPTY; SLOTS_EACH * smallest.next_power_of_two()].into_boxed_slice(),
            kept: 0,
            threshold: u64::MAX,
        }
    }

    /// Takes in one more thing; one that is in already changes nothing.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64) {
        if hash > self.threshold {
            return;
        }
        let hash = hash.max(EMPTY + 1);
        let Some(slot) = self.free_slot(hash) else {
            return;
        };
        self.slots[slot] = hash;
        self.kept += 1;
        if self.kept > 2 * self.smallest() {
            self.prune();
        }
    }

    /// How many distinct things there were.
    pub(super) fn estimate(&self) -> Estimate {
        self.estimate_where(|_| true)
    }

    /// How many distinct things there were whose hash is one of `belongs`.
    ///
    /// The hashes kept are a fair sample, whatever the question, as long as the question does not look at high bits.
    pub(super) fn estimate_where(&self, belongs: impl Fn(u64) -> bool) -> Estimate {
        let matching = self.hashes().filter(|&hash| belongs(hash)).count() as u64;
        if self.threshold == u64::MAX {
            return Estimate::exactly(matching);
        }
        let mut kept: Vec<u64> = self.hashes().collect();
        let (_, &mut last, _) = kept.select_nth_unstable(self.smallest() - 1);
        let all = (self.smallest() - 1) as f64 / (last as f64 / RANGE);
        let share = matching as f64 / self.kept as f64;
        Estimate::about((all * share).round() as u64)
    }

    /// Bytes it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val::<[u64]>(&self.slots)
    }

    const fn smallest(&self) -> usize {
        self.slots.len() / SLOTS_EACH
    }

    fn hashes(&self) -> impl Iterator<Item = u64> {
        self.slots.iter().copied().filter(|&hash| hash != EMPTY)
    }

    /// Returns the position at which to insert `hash`; `None` if it is present.
    #[inline]
    fn free_slot(&self, hash: u64) -> Option<usize> {
        let last = self.slots.len() - 1;
        // The high bits of what is kept are zeros in the end, the low ones name a destination: the ones between vary.
        let mut slot = (hash >> TAG_BITS) as usize & last;
        while self.slots[slot] != EMPTY {
            if self.slots[slot] == hash {
                return None;
            }
            slot = (slot + 1) & last;
        }
        Some(slot)
    }

    /// Forgets all but the k smallest. Each time halves the range that is looked at: a dozen times in the life of a sketch.
    #[cold]
    fn prune(&mut self) {
        let smallest = self.smallest();
        let mut kept: Vec<u64> = self.hashes().collect();
        let (_, &mut last, _) = kept.select_nth_unstable(smallest - 1);
        self.threshold = last;
        self.slots.fill(EMPTY);
        for &hash in &kept[..smallest] {
            if let Some(slot) = self.free_slot(hash) {
                self.slots[slot] = hash;
            }
        }
        self.kept = smallest;
    }
}

/// `hash` with its lowest bits replaced by `tag`, for [`Sketch::estimate_where`] to tell things apart by.
///
/// The 48 bits that remain make two of a million flows equal with a probability of 1 in 600.
pub(super) const fn tagged(hash: u64, tag: u16) -> u64 {
    hash >> TAG_BITS << TAG_BITS | tag as u64
}

/// The tag of a [`tagged`] hash.
pub(super) const fn tag(hash: u64) -> u16 {
    hash as u16
}

/// Bytes that a sketch of this size takes.
pub(super) const fn memory_of(smallest: usize) -> usize {
    SLOTS_EACH * smallest * size_of::<u64>()
}

/// No hash; one that is zero counts as one.
const EMPTY: u64 = 0;

/// Slots for each of the k: 2k are kept at most, in a table that is half full at most.
const SLOTS_EACH: usize = 4;

/// Low bits that a tag takes.
const TAG_BITS: u32 = u16::BITS;

/// Hashes there are.
const RANGE: f64 = 18_446_744_073_709_551_616.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::hash::hash_of;

    fn sketch_of(count: u64, smallest: usize) -> Sketch {
        let mut sketch = Sketch::new(smallest);
        for thing in 0..count {
            sketch.insert(hash_of(&thing));
            sketch.insert(hash_of(&(thing / 2)));
        }
        sketch
    }

    #[test]
    fn few_things_are_counted_exactly() {
        for count in [0, 1, 2, 2_047, 4_096] {
            assert_eq!(
                sketch_of(count, 2_048).estimate(),
                Estimate::exactly(count),
                "{count}"
            );
        }
    }

    #[test]
    fn many_things_are_estimated_within_three_standard_errors_and_say_so() {
        for count in [4_097_u64, 10_000, 100_000, 1_000_000, 3_000_000] {
            let estimate = sketch_of(count, 2_048).estimate();
            let error = estimate.count.abs_diff(count) as f64 / count as f64;
            assert!(!estimate.exact);
            assert!(error < 3.0 / 2_048_f64.sqrt(), "{count}: {estimate:?}");
        }
    }

    #[test]
    fn a_part_is_estimated_by_its_tag() {
        let mut sketch = Sketch::new(2_048);
        for thing in 0..300_000_u64 {
            sketch.insert(tagged(hash_of(&thing), u16::from(thing % 3 == 0)));
        }
        let third = sketch.estimate_where(|hash| tag(hash) == 1);
        assert!(third.count.abs_diff(100_000) < 10_000, "{third:?}");
    }

    #[test]
    fn it_never_grows() {
        let small = Sketch::new(2_048);
        assert_eq!(
            sketch_of(1_000_000, 2_048).memory_bytes(),
            small.memory_bytes()
        );
        assert_eq!(small.memory_bytes(), memory_of(2_048));
    }
}
