//! [`Faulty`]: a backend that fails as devices and wires do, by a seed, for tests.
//!
//! ```text
//!  inner ─▶ lost? cut short? twice? out of order? ─▶ judge     and sometimes: nothing to read, or an error
//! ```

use std::io;

use super::backend::{Backend, BackendError, Judgement, Progress};
use crate::filter::Judge;
use crate::packet::{Received, Traffic};
use crate::verdict::{Reason, Verdict};

/// How often each fault happens, of 256 chances. Without any, a backend behaves as it does alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultRates {
    /// A packet is lost before it is judged: it is neither forwarded nor counted.
    pub lost: u8,
    /// A packet comes twice.
    pub duplicated: u8,
    /// A packet comes behind one of the next [`REORDER_DISTANCE`] ones.
    pub reordered: u8,
    /// A read returns the beginning of a packet only.
    pub short: u8,
    /// There is nothing to read (`EAGAIN`), though there will be.
    pub idle: u8,
    /// The device fails (`EIO`), and the backend with it.
    pub error: u8,
}

/// How far a packet can fall behind.
pub const REORDER_DISTANCE: usize = 8;
/// Exchanges in a row that find nothing to read: so a run ends, whatever the seed.
const MAX_IDLE: u32 = 16;

/// Brings the packets of another backend with faults.
#[derive(Debug)]
pub struct Faulty<B> {
    inner: B,
    rates: FaultRates,
    random: Random,
    idle: u32,
}

impl<B> Faulty<B> {
    /// Brings what `inner` receives with faults at `rates`; the same seed makes the same ones.
    pub const fn new(inner: B, rates: FaultRates, seed: u64) -> Self {
        Self {
            inner,
            rates,
            random: Random(seed),
            idle: 0,
        }
    }

    /// Gives the backend back.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Backend> Backend for Faulty<B> {
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError> {
        if self.random.happens(self.rates.error) {
            return Err(BackendError::Interface {
                interface: "a faulty device".to_owned(),
                source: io::Error::other("an injected fault"),
            });
        }
        if self.idle < MAX_IDLE && self.random.happens(self.rates.idle) {
            self.idle += 1;
            return Ok(Progress::More);
        }
        self.idle = 0;
        self.inner.exchange(&mut FaultyJudgement {
            judgement,
            rates: self.rates,
            random: &mut self.random,
            arrivals: [0; Judge::BATCH],
            counted: 0,
        })
    }
}

struct FaultyJudgement<'a, J> {
    judgement: &'a mut J,
    rates: FaultRates,
    random: &'a mut Random,
    /// How often each packet of the batch was judged.
    arrivals: [u8; Judge::BATCH],
    /// Packets of the batch that the backend has counted: it counts in their order.
    counted: usize,
}

impl<J: Judgement> Judgement for FaultyJudgement<'_, J> {
    fn judge(&mut self, packets: &[Received<'_>], verdicts: &mut [Verdict]) {
        let mut arriving: Vec<(usize, Received<'_>)> = Vec::with_capacity(2 * packets.len());
        for (number, packet) in packets.iter().enumerate() {
            // A lost packet is not forwarded.
            verdicts[number] = Verdict::drop(Reason::Malformed);
            if self.random.happens(self.rates.lost) {
                continue;
            }
            let mut packet = *packet;
            if self.random.happens(self.rates.short) {
                let length = self.random.below(packet.bytes.len() + 1);
                packet = Received::whole(&packet.bytes[..length], packet.at);
            }
            arriving.push((number, packet));
            if self.random.happens(self.rates.duplicated) {
                arriving.push((number, packet));
            }
        }
        let last = arriving.len().saturating_sub(1);
        for place in 0..arriving.len() {
            if self.random.happens(self.rates.reordered) {
                let further = self.random.below(REORDER_DISTANCE + 1);
                arriving.swap(place, (place + further).min(last));
            }
        }
        for batch in arriving.chunks(Judge::BATCH) {
            let judged: Vec<Received<'_>> = batch.iter().map(|(_, packet)| *packet).collect();
            let mut given = vec![Verdict::drop(Reason::Malformed); judged.len()];
            self.judgement.judge(&judged, &mut given);
            for ((number, _), verdict) in batch.iter().zip(given) {
                verdicts[*number] = verdict;
                self.arrivals[*number] += 1;
            }
        }
    }

    fn count(&mut self, verdict: Verdict, traffic: Traffic) {
        for _ in 0..self.arrivals[self.counted] {
            self.judgement.count(verdict, traffic);
        }
        self.counted += 1;
    }
}

/// SplitMix64: all that faults need of randomness.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn happens(&mut self, rate: u8) -> bool {
        self.below(256) < rate.into()
    }
}
