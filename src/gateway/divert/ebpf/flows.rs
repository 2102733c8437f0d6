//! [`ClearedFlows`]: the flows whose packets the kernel passes without asking, since the filter has cleared them.
//!
//! ```text
//!   hash of the key ──┬─▶ set ┌────────┬────────┬────────┬────────┐
//!                     │       │ flow   │ flow   │ -      │ -      │    nonce, key, after, seen, counter
//!                     └─▶ set ├────────┼────────┼────────┼────────┤
//!                             │ flow   │ -      │ -      │ -      │
//!                             └────────┴────────┴────────┴────────┘
//! ```
//!
//! The table is the map `flows` of `maps.h`. Workers write flows; the entry program looks them up, notes when a packet
//! passed, and hands over in order: it passes a packet once the worker has forwarded all that were diverted before it. A
//! flow lapses after a minute without a packet, and with the generation of its policy. A new one takes the place of a
//! lapsed one, or of the oldest of its first set; a client that has half of the set loses its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use nix::time::{ClockId, clock_gettime};

use crate::filter::{Generation, KernelTables};
use crate::gateway::divert::FlowCounts;
use crate::gateway::sys::memory::SharedMemory;
use crate::gateway::tun::ClearFlows;
use crate::packet::media::FlowKey;
use crate::verdict::Verdict;

/// The flows that a kernel program passes, and the tables that they are counted by.
#[derive(Debug)]
pub(super) struct ClearedFlows {
    memory: SharedMemory,
    tables: ArcSwap<KernelTables>,
    /// Held by a worker that enters a flow.
    writing: Mutex<()>,
    cleared: AtomicU64,
    evicted: AtomicU64,
}

impl ClearedFlows {
    /// Words that the map has.
    pub(super) const WORDS: usize = SETS * WAYS * ENTRY;

    /// The flows of `memory`, the map.
    pub(super) fn new(memory: SharedMemory) -> Self {
        Self {
            memory,
            tables: ArcSwap::from_pointee(KernelTables::empty(Generation(0))),
            writing: Mutex::new(()),
            cleared: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        }
    }

    /// Has flows cleared for `tables`, those in force; flows of others are forgotten.
    pub(super) fn count_by(&self, tables: Arc<KernelTables>) {
        self.tables.store(tables);
    }

    /// Flows cleared so far.
    pub(super) fn counts(&self) -> FlowCounts {
        FlowCounts {
            cleared: self.cleared.load(Ordering::Relaxed),
            evicted: self.evicted.load(Ordering::Relaxed),
        }
    }

    fn entry(&self, set: usize, way: usize) -> Entry<'_> {
        let at = (set * WAYS + way) * ENTRY;
        Entry(&self.memory.words()[at..at + ENTRY])
    }

    /// The entry of a flow that has not lapsed.
    fn find(&self, key: &Key, now: u32) -> Option<Entry<'_>> {
        let entries = places(key.sets()).map(|(set, way)| self.entry(set, way));
        let is_same = |flow: Flow| flow.key == *key && !flow.is_idle(now);
        entries
            .into_iter()
            .find(|it| it.read().is_some_and(is_same))
    }

    /// Enters a flow.
    #[cold]
    fn insert(&self, key: &Key, counter: u16, now: u32) {
        let sets = key.sets();
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = |(set, way): &(usize, usize)| {
            let entry = self.entry(*set, *way).read();
            entry.is_none_or(|it| it.key.generation() != key.generation() || it.is_idle(now))
        };
        let free = places(sets).find(is_free);
        let (set, way) = free.unwrap_or_else(|| (sets[0], self.oldest(sets[0], key, now)));
        let nonce = rand::random::<u64>() | 1;
        self.entry(set, way).write(nonce, key, counter, now);
        self.cleared.fetch_add(1, Ordering::Relaxed);
    }

    /// The way of a full set that loses its flow to one with `key`.
    fn oldest(&self, set: usize, key: &Key, now: u32) -> usize {
        self.evicted.fetch_add(1, Ordering::Relaxed);
        let flows: [Option<Flow>; WAYS] = std::array::from_fn(|way| self.entry(set, way).read());
        let is_own = |flow: &Option<Flow>| flow.is_some_and(|it| it.key.source() == key.source());
        let has_its_share = flows.iter().filter(|it| is_own(it)).count() >= WAYS / 2;
        let age = |way: &usize| flows[*way].map_or(i32::MAX, |it| it.age(now));
        (0..WAYS)
            .filter(|way| !has_its_share || is_own(&flows[*way]))
            .max_by_key(age)
            .unwrap_or(0)
    }
}

impl ClearFlows for ClearedFlows {
    fn clear(&self, generation: Generation, flow: &FlowKey, verdict: Verdict) {
        let tables = self.tables.load();
        if tables.generation() != generation {
            return;
        }
        let Some(counter) = tables.counter(verdict) else {
            return;
        };
        let key = Key::of(generation, flow);
        let now = now();
        if self.find(&key, now).is_none() {
            self.insert(&key, counter, now);
        }
    }

    fn forget(&self, generation: Generation, flow: &FlowKey) {
        if let Some(entry) = self.find(&Key::of(generation, flow), now()) {
            entry.empty();
        }
    }
}

/// The ways of two sets.
fn places(sets: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    let ways = |set| (0..WAYS).map(move |way| (set, way));
    sets.into_iter().flat_map(ways)
}

/// The bits of a generation that keys have, in the upper part of a word.
pub(super) fn generation_bits(generation: Generation) -> u64 {
    generation.0 << GENERATION_SHIFT
}

/// The key of a flow, as the programs read it from a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key([u64; 5]);

impl Key {
    fn of(generation: Generation, flow: &FlowKey) -> Self {
        use std::net::IpAddr::{V4, V6};
        let (source, destination) = (flow.source(), flow.destination());
        let ports = [
            source.port().to_be_bytes(),
            destination.port().to_be_bytes(),
        ];
        let ports = native(ports.as_flattened());
        let first = generation_bits(generation) | u64::from(flow.protocol().number()) << 32 | ports;
        Self(match (source.ip(), destination.ip()) {
            (V4(source), V4(destination)) => {
                let addresses = native(&source.octets()) << 32 | native(&destination.octets());
                [first, addresses, 0, 0, 0]
            }
            (V6(source), V6(destination)) => {
                let halves = |octets: [u8; 16]| {
                    let word = |at: usize| native(&octets[at..at + 4]);
                    [word(0) << 32 | word(4), word(8) << 32 | word(12)]
                };
                let [a, b] = halves(source.octets());
                let [c, d] = halves(destination.octets());
                [first, a, b, c, d]
            }
            _ => [0; 5],
        })
    }

    fn generation(&self) -> u64 {
        self.0[0] >> GENERATION_SHIFT
    }

    /// The words of the flow's source address.
    fn source(&self) -> [u64; 2] {
        match self.0 {
            [_, addresses, 0, 0, 0] => [0, addresses >> 32],
            [_, a, b, ..] => [a, b],
        }
    }

    /// As `find` of `program.c`.
    fn sets(&self) -> [usize; 2] {
        const FACTORS: [u64; 5] = [
            1,
            0xd6e8_feb8_6659_fd93,
            0xa076_1d64_78bd_642f,
            0xe703_7ed1_a0b4_28db,
            0x8ebc_6af0_9c88_c6e3,
        ];
        let products = self.0.iter().zip(FACTORS);
        let sum = products.fold(0_u64, |sum, (word, factor)| {
            sum.wrapping_add(word.wrapping_mul(factor))
        });
        let hash = (sum ^ sum >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        [48, 32].map(|shift| (hash >> shift) as usize & (SETS - 1))
    }
}

/// Four bytes as a word, in the order of this machine.
fn native(bytes: &[u8]) -> u64 {
    let mut word = [0; 4];
    word[..bytes.len().min(4)].copy_from_slice(&bytes[..bytes.len().min(4)]);
    u32::from_ne_bytes(word).into()
}

/// A flow that was cleared.
#[derive(Debug, Clone, Copy)]
struct Flow {
    key: Key,
    seen: u32,
}

impl Flow {
    /// The time since its last packet, in ticks; negative if another clock has noted it, a tick later.
    fn age(&self, now: u32) -> i32 {
        now.wrapping_sub(self.seen).cast_signed()
    }

    fn is_idle(&self, now: u32) -> bool {
        self.age(now) >= IDLE
    }
}

/// `struct cleared` of `maps.h`.
#[derive(Clone, Copy)]
struct Entry<'a>(&'a [AtomicU64]);

impl Entry<'_> {
    fn read(self) -> Option<Flow> {
        let nonce = self.0[0].load(Ordering::Acquire);
        let words = std::array::from_fn(|at| self.0[1 + at].load(Ordering::Relaxed) ^ nonce);
        let [a, b, c, d, ..] = self.0[7].load(Ordering::Relaxed).to_ne_bytes();
        (nonce != 0).then_some(Flow {
            key: Key(words),
            seen: u32::from_ne_bytes([a, b, c, d]),
        })
    }

    fn empty(self) {
        self.0[0].store(0, Ordering::Release);
    }

    /// Writes a flow; while it is half written, it is none.
    fn write(self, nonce: u64, key: &Key, counter: u16, now: u32) {
        self.empty();
        for (word, value) in self.0[1..6].iter().zip(key.0) {
            word.store(value ^ nonce, Ordering::Release);
        }
        // The next packet is diverted, and has the programs note its number here.
        self.0[6].store(u64::MAX, Ordering::Relaxed);
        let [a, b, c, d] = now.to_ne_bytes();
        let [e, f, g, h] = u32::from(counter).to_ne_bytes();
        let last = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        self.0[7].store(last, Ordering::Relaxed);
        self.0[0].store(nonce, Ordering::Release);
    }
}

/// The programs' clock: CLOCK_MONOTONIC in 2^20 ns.
fn now() -> u32 {
    // Every Linux has this clock.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    (now.as_nanos() >> 20) as u32
}

// `flows` of `maps.h`.
const SETS: usize = 1 << 15;
const WAYS: usize = 4;
/// Words of an entry.
const ENTRY: usize = 8;
/// A minute in 2^20 ns: as long as the filter remembers a flow.
const IDLE: i32 = (crate::packet::media::FLOW_IDLE.as_nanos() >> 20) as i32;
const GENERATION_SHIFT: u32 = 40;
