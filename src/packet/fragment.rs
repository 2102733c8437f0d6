//! [`FragmentTable`]: remembers the verdict on a first fragment, so that the non-first fragments of its datagram
//! follow.
//!
//! The table saves bandwidth and is not needed for security: a datagram whose first fragment was dropped never
//! completes at the receiver, so a non-first fragment without an entry may pass. That is why the table can be small,
//! may evict entries, and never delays traffic.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Lifetime of a remembered first fragment; receivers give up on a datagram after 15 to 120 s (RFC 1122 §3.3.2: 60 to
/// 120 s, RFC 8200 §4.5: 60 s; Linux: 30 s).
pub const FRAGMENT_LIFETIME: Duration = Duration::from_secs(30);

/// The fields that all fragments of one datagram share.
///
/// IPv4: source, destination, protocol and identification (RFC 791 §3.2). IPv6: without the protocol, as the next
/// header of a non-first fragment says nothing (RFC 8200 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    source: [u8; 16],
    destination: [u8; 16],
    id: u32,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Version {
    V4 { protocol: u8 },
    V6,
}

impl FragmentKey {
    /// The key of an IPv4 datagram.
    pub fn v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, id: u32) -> Self {
        Self {
            source: source.to_ipv6_mapped().octets(),
            destination: destination.to_ipv6_mapped().octets(),
            id,
            version: Version::V4 { protocol },
        }
    }

    /// The key of an IPv6 datagram.
    pub fn v6(source: Ipv6Addr, destination: Ipv6Addr, id: u32) -> Self {
        Self {
            source: source.octets(),
            destination: destination.octets(),
            id,
            version: Version::V6,
        }
    }

    /// Hashes a key to a set. The hash is not keyed: forced collisions only cause evictions, which are harmless.
    fn spread(&self) -> u64 {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 / golden ratio: consecutive ids land far apart
        let fold = |hash: u64, word: u64| (hash ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
        let halves = |octets: [u8; 16]| {
            let address = u128::from_ne_bytes(octets);
            (address as u64) ^ ((address >> 64) as u64).rotate_left(17)
        };
        let hash = fold(
            halves(self.source),
            halves(self.destination).rotate_left(31),
        );
        let hash = fold(hash, u64::from(self.id));
        hash ^ hash >> 32
    }
}

/// A bounded memory of first fragments, keyed by datagram; `V` is the decision on it.
///
/// Sets of four entries: a new datagram takes an empty entry, else evicts the oldest of its set. The table allocates
/// nothing after [`new`](Self::new), and every call examines at most four entries.
#[derive(Debug, Clone)]
pub struct FragmentTable<V> {
    sets: Vec<[Option<Entry<V>>; WAYS]>,
    evicted: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry<V> {
    key: FragmentKey,
    seen: Duration,
    value: V,
}

/// Entries in a set.
const WAYS: usize = 4;

impl<V: Copy> FragmentTable<V> {
    /// Creates a table for `capacity` datagrams, rounded up to a power of two, at least 4.
    pub fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).next_power_of_two();
        Self {
            sets: vec![[None; WAYS]; sets],
            evicted: 0,
        }
    }

    /// Remembers the decision on the datagram of `key`, whose first fragment arrived at `now`; it replaces an earlier
    /// one for the same key.
    pub fn insert(&mut self, key: FragmentKey, now: Duration, value: V) {
        let set = self.set(&key);
        let slot = slot_for(&self.sets[set], &key);
        let entry = &mut self.sets[set][slot];
        if entry
            .as_ref()
            .is_some_and(|old| old.key != key && !old.is_outdated(now))
        {
            self.evicted += 1;
        }
        *entry = Some(Entry {
            key,
            seen: now,
            value,
        });
    }

    /// The decision on the datagram of `key`, if its first fragment arrived within [`FRAGMENT_LIFETIME`] of `now`.
    pub fn get(&self, key: &FragmentKey, now: Duration) -> Option<V> {
        let set = &self.sets[self.set(key)];
        let entry = set.iter().flatten().find(|entry| entry.key == *key)?;
        (!entry.is_outdated(now)).then_some(entry.value)
    }

    /// Datagrams evicted within their lifetime, since the table was made.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets every datagram.
    pub fn clear(&mut self) {
        self.sets.fill([None; WAYS]);
    }

    fn set(&self, key: &FragmentKey) -> usize {
        // A power of two, one at least: the remainder is below the length.
        key.spread() as usize & (self.sets.len() - 1)
    }
}

impl<V> Entry<V> {
    fn is_outdated(&self, now: Duration) -> bool {
        now.saturating_sub(self.seen) > FRAGMENT_LIFETIME
    }
}

/// The place in `set` for the datagram of `key`: its own entry, else an empty or the oldest one, which
/// is an outdated one where there is any.
fn slot_for<V>(set: &[Option<Entry<V>>; WAYS], key: &FragmentKey) -> usize {
    let rank = |entry: &Option<Entry<V>>| match entry {
        Some(entry) if entry.key == *key => (0, Duration::ZERO),
        None => (1, Duration::ZERO),
        Some(entry) => (2, entry.seen),
    };
    (0..WAYS).min_by_key(|&slot| rank(&set[slot])).unwrap_or(0)
}
