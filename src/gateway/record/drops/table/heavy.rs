//! [`HeavyHitters`]: the keys that occur most, in a table of fixed size (space-saving: Metwally, Agrawal, El Abbadi 2005).
//!
//! A key that finds the table full takes the place of the one with the lowest count, and inherits that count as its
//! possible error. So a count is never too low, and a key that has more than a `CAPACITY`th of all is always in the table:
//!
//! ```text
//!  capacity 2   a 5, b 2   + c   ─▶   a 5, c 3 (of which up to 2 may have been others)
//! ```

/// The keys that occur most, and what was noted about each last.
#[derive(Debug, Clone)]
pub(super) struct HeavyHitters<K, V> {
    places: Vec<Hitter<K, V>>,
    capacity: usize,
    /// Keys that have entered the table.
    entered: u64,
}

/// A key of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hitter<K, V> {
    pub(super) key: K,
    /// A number that no other entry of the table has ever had: it names a key without telling it.
    pub(super) number: u64,
    /// How often it occurred, at most.
    pub(super) count: u64,
    /// The part of `count` that may belong to keys that were in its place before.
    pub(super) error: u64,
    /// The note that came last.
    pub(super) latest: V,
}

impl<K, V> Hitter<K, V> {
    /// How often it occurred, at least.
    pub(super) fn at_least(&self) -> u64 {
        self.count - self.error
    }
}

impl<K: PartialEq, V> HeavyHitters<K, V> {
    /// Makes an empty table for `capacity` keys.
    pub(super) fn of(capacity: usize) -> Self {
        Self {
            places: Vec::with_capacity(capacity),
            capacity,
            entered: 0,
        }
    }

    /// Adds `more` occurrences of `key`, and notes `latest` about it.
    pub(super) fn add(&mut self, key: K, more: u64, latest: V) {
        if let Some(known) = self.places.iter_mut().find(|it| it.key == key) {
            known.count += more;
            known.latest = latest;
            return;
        }
        self.entered += 1;
        let mut entry = Hitter {
            key,
            number: self.entered,
            count: more,
            error: 0,
            latest,
        };
        if self.places.len() < self.capacity {
            return self.places.push(entry);
        }
        if let Some(least) = self.places.iter_mut().min_by_key(|it| it.count) {
            entry.error = least.count;
            entry.count += least.count;
            *least = entry;
        }
    }

    /// Adds `more` occurrences of `key` if it is in the table; returns whether it is.
    pub(super) fn add_to_known(&mut self, key: &K, more: u64) -> bool {
        let known = self.places.iter_mut().find(|it| it.key == *key);
        if let Some(known) = known {
            known.count += more;
            return true;
        }
        false
    }

    /// The keys, those first that occurred most.
    pub(super) fn ranked(&self) -> Vec<&Hitter<K, V>> {
        let mut ranked: Vec<_> = self.places.iter().collect();
        ranked.sort_by_key(|it| (std::cmp::Reverse(it.at_least()), it.number));
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_table_with_room_counts_exactly() {
        let mut table = HeavyHitters::of(4);
        for key in ["a", "b", "a", "c", "a"] {
            table.add(key, 2, ());
        }
        let ranked: Vec<_> = table.ranked().iter().map(|it| (it.key, it.count)).collect();
        assert_eq!(ranked, [("a", 6), ("b", 2), ("c", 2)]);
    }

    #[test]
    fn a_key_that_returns_has_another_number() {
        let mut table = HeavyHitters::of(1);
        for key in ["a", "b", "a"] {
            table.add(key, 1, ());
        }
        let [only] = table.ranked()[..] else {
            panic!("one place");
        };
        assert_eq!((only.number, only.count, only.at_least()), (3, 3, 1));
    }

    proptest! {
        /// The promises of the algorithm, against a map without bounds.
        #[test]
        fn counts_are_bounded_from_both_sides_and_no_frequent_key_is_missing(
            keys in prop::collection::vec((0_u8..30, 1_u64..5), 1..400),
        ) {
            const CAPACITY: usize = 8;
            let mut table = HeavyHitters::of(CAPACITY);
            let mut exact = BTreeMap::<u8, u64>::new();
            for (key, more) in keys {
                table.add(key, more, ());
                *exact.entry(key).or_default() += more;
            }
            let all: u64 = exact.values().sum();
            prop_assert!(table.places.len() <= CAPACITY);
            for it in &table.places {
                prop_assert!(it.at_least() <= exact[&it.key] && exact[&it.key] <= it.count);
            }
            for (key, count) in exact {
                let is_there = table.places.iter().any(|it| it.key == key);
                prop_assert!(is_there || count * CAPACITY as u64 <= all);
            }
        }
    }
}
