//! [`Faulty`]: a decorator that injects the faults of devices and links, reproducibly from a seed, for tests.
//!
//! ```text
//!  inner ─▶ lost? cut short? twice? out of order? ─▶ judge     and sometimes: nothing to read, or an error
//! ```

use std::io;

use super::backend::{Backend, BackendError, Judgement, Progress};
use crate::filter::Judge;
use crate::packet::{Received, Traffic};
use crate::random::Random;
use crate::verdict::{Reason, Verdict};

/// Probability of each fault, in 1/256. With all at 0, the backend behaves as if undecorated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultRates {
    /// A packet is lost before it is judged: it is neither forwarded nor counted.
    pub lost: u8,
    /// A packet is duplicated.
    pub duplicated: u8,
    /// A packet arrives after one of the next [`REORDER_DISTANCE`] packets.
    pub reordered: u8,
    /// A read returns only the beginning of a packet.
    pub short: u8,
    /// A read finds nothing yet (`EAGAIN`).
    pub idle: u8,
    /// The device fails (`EIO`), and the backend with it.
    pub error: u8,
}

/// Maximum number of packets that a reordered one falls behind.
pub const REORDER_DISTANCE: usize = 8;
/// Maximum number of idle exchanges in a row, so that a run ends with any seed.
const MAX_IDLE: u32 = 16;

/// Injects faults into the packets of another backend.
#[derive(Debug)]
pub struct Faulty<B> {
    inner: B,
    rates: FaultRates,
    random: Random,
    idle: u32,
}

impl<B> Faulty<B> {
    /// Injects faults at `rates` into the packets of `inner`; the same seed makes the same faults.
    pub const fn new(inner: B, rates: FaultRates, seed: u64) -> Self {
        Self {
            inner,
            rates,
            random: Random(seed),
            idle: 0,
        }
    }

    /// Returns the inner backend.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Backend> Backend for Faulty<B> {
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError> {
        if happens(&mut self.random, self.rates.error) {
            return Err(BackendError::Interface {
                interface: "a faulty device".to_owned(),
                source: io::Error::other("an injected fault"),
            });
        }
        if self.idle < MAX_IDLE && happens(&mut self.random, self.rates.idle) {
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
    /// The number of times that each packet of the batch was judged.
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
            if happens(self.random, self.rates.lost) {
                continue;
            }
            let mut packet = *packet;
            if happens(self.random, self.rates.short) {
                let length = self.random.below(packet.bytes.len() + 1);
                packet = Received::whole(&packet.bytes[..length], packet.at);
            }
            arriving.push((number, packet));
            if happens(self.random, self.rates.duplicated) {
                arriving.push((number, packet));
            }
        }
        let last = arriving.len().saturating_sub(1);
        for place in 0..arriving.len() {
            if happens(self.random, self.rates.reordered) {
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

    fn spares(&mut self, packet: Received<'_>, traffic: Traffic) -> bool {
        self.has_arrived() && self.judgement.spares(packet, traffic)
    }

    fn dropped(&mut self, verdict: Verdict, packet: Received<'_>, frame: &[u8]) {
        if self.has_arrived() {
            self.judgement.dropped(verdict, packet, frame);
        }
    }
}

impl<J> FaultyJudgement<'_, J> {
    /// Returns `true` unless the packet that was counted last was lost.
    fn has_arrived(&self) -> bool {
        self.counted > 0 && self.arrivals[self.counted - 1] > 0
    }
}

/// Returns `true` in `rate` of 256 cases.
fn happens(random: &mut Random, rate: u8) -> bool {
    random.below(256) < rate.into()
}
