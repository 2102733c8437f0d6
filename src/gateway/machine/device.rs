//! A device in memory, and a judgement that is compared with the model.

use super::model::Model;
use crate::datapath::{Backend, BackendError, Judgement, Progress};
use crate::filter::Judge;
use crate::filter::strategy::Arrival;
use crate::gateway::tun::publish::Live;
use crate::packet::{Received, Traffic};
use crate::verdict::{Action, Reason, Verdict};

/// Hands out packets in batches, and counts as the device of a gateway does.
pub(super) struct SimulatedDevice<'a> {
    packets: Vec<Received<'a>>,
    next: usize,
}

impl<'a> SimulatedDevice<'a> {
    pub(super) fn new(arrivals: &'a [Arrival]) -> Self {
        Self {
            packets: arrivals.iter().map(Arrival::received).collect(),
            next: 0,
        }
    }
}

impl Backend for SimulatedDevice<'_> {
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError> {
        let rest = &self.packets[self.next..];
        let batch = &rest[..rest.len().min(Judge::BATCH)];
        if batch.is_empty() {
            return Ok(Progress::End);
        }
        let mut verdicts = [Verdict::drop(Reason::Malformed); Judge::BATCH];
        judgement.judge(batch, &mut verdicts[..batch.len()]);
        for (packet, verdict) in batch.iter().zip(verdicts) {
            let traffic = Traffic {
                packets: 1,
                bytes: packet.bytes.len() as u64,
            };
            judgement.count(verdict, traffic);
            if verdict.action == Action::Drop && !judgement.spares(*packet, traffic) {
                judgement.dropped(verdict, *packet, packet.bytes);
            }
        }
        self.next += batch.len();
        Ok(Progress::More)
    }
}

/// The judgement of a worker, each of its answers compared with the model's.
pub(super) struct Checked<'a> {
    pub(super) live: &'a mut Live,
    pub(super) model: &'a mut Model,
}

impl Judgement for Checked<'_> {
    fn judge(&mut self, packets: &[Received<'_>], verdicts: &mut [Verdict]) {
        self.live.judge(packets, verdicts);
        for (packet, verdict) in packets.iter().zip(verdicts) {
            self.model.judged(*packet, *verdict);
        }
    }

    fn count(&mut self, verdict: Verdict, traffic: Traffic) {
        self.live.count(verdict, traffic);
        self.model.count(verdict, traffic);
    }

    fn spares(&mut self, packet: Received<'_>, traffic: Traffic) -> bool {
        let is_spared = self.live.spares(packet, traffic);
        self.model.spared(packet, is_spared);
        is_spared
    }

    fn dropped(&mut self, verdict: Verdict, packet: Received<'_>, frame: &[u8]) {
        self.live.dropped(verdict, packet, frame);
    }
}
