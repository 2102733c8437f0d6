//! [`MemoryBackend`]: reads packets from memory and keeps the forwarded ones, for tests and benchmarks.

use std::time::Duration;

use super::backend::{Backend, BackendError, Judgement, Progress};
use crate::filter::Judge;
use crate::packet::{Received, Traffic};
use crate::verdict::{Action, Reason, Verdict};

/// Reads packets from memory, and keeps the forwarded ones in order.
#[derive(Debug)]
pub struct MemoryBackend<'a> {
    packets: &'a [Vec<u8>],
    next: usize,
    forwarded: Vec<&'a [u8]>,
}

impl<'a> MemoryBackend<'a> {
    /// Creates a backend that hands out `packets` in batches, as if all arrived at once.
    pub fn new(packets: &'a [Vec<u8>]) -> Self {
        Self {
            packets,
            next: 0,
            forwarded: Vec::with_capacity(packets.len()),
        }
    }

    /// The forwarded packets, in order.
    pub fn forwarded(&self) -> &[&'a [u8]] {
        &self.forwarded
    }
}

impl Backend for MemoryBackend<'_> {
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError> {
        let rest = &self.packets[self.next..];
        let batch = &rest[..rest.len().min(Judge::BATCH)];
        if batch.is_empty() {
            return Ok(Progress::End);
        }
        let mut packets = [Received::whole(&[], Duration::ZERO); Judge::BATCH];
        for (slot, packet) in packets.iter_mut().zip(batch) {
            *slot = Received::whole(packet, Duration::ZERO);
        }
        let mut verdicts = [Verdict::drop(Reason::Malformed); Judge::BATCH];
        judgement.judge(&packets[..batch.len()], &mut verdicts[..batch.len()]);
        for (packet, verdict) in batch.iter().zip(&verdicts) {
            let bytes = packet.len() as u64;
            judgement.count(*verdict, Traffic { packets: 1, bytes });
        }
        let judged = batch.iter().zip(&verdicts);
        let passes = judged.filter(|(_, verdict)| verdict.action == Action::Forward);
        self.forwarded
            .extend(passes.map(|(packet, _)| packet.as_slice()));
        self.next += batch.len();
        Ok(Progress::More)
    }
}
