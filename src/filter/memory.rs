//! [`Memory`]: the state that a judge keeps between packets, all of it bounded.

use std::time::Duration;

use crate::packet::FragmentTable;
use crate::packet::media::{FlowKey, FlowTable, Profile, Segment};
use crate::verdict::{Reason, Verdict};

/// The number of datagrams and flows that a judge remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Fragmented datagrams whose first fragment was judged, about 80 bytes each.
    pub fragments: usize,
    /// Flows to media ports, about 112 bytes each; they take no memory under a policy that judges by ports alone.
    pub flows: usize,
}

impl Capacity {
    /// What a gateway should remember: 2,000 fragmented datagrams a second for the 30 s of
    /// [`FRAGMENT_LIFETIME`](crate::packet::FRAGMENT_LIFETIME) in about 5 MiB, and 131,072 flows in about 14 MiB.
    pub const GATEWAY: Self = Self {
        fragments: 1 << 16,
        flows: FlowTable::GATEWAY_FLOWS,
    };

    /// As many datagrams as flows.
    pub const fn of(entries: usize) -> Self {
        Self {
            fragments: entries,
            flows: entries,
        }
    }

    /// The part of each of `workers` that share the flows; the datagrams of one worker may all be fragmented.
    pub const fn for_each_of(self, workers: usize) -> Self {
        Self {
            fragments: self.fragments,
            flows: self.flows.div_ceil(if workers == 0 { 1 } else { workers }),
        }
    }
}

/// Verdicts on first fragments, and flows to media ports.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) fragments: FragmentTable<Verdict>,
    /// `None` until a policy asks for recognition: most of the memory is here.
    flows: Option<FlowTable>,
    capacity: Capacity,
}

impl Memory {
    /// Remembers nothing yet.
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            fragments: FragmentTable::new(capacity.fragments),
            flows: None,
            capacity,
        }
    }

    /// Forgets everything that another policy decided; makes room for flows if `profile` asks for recognition.
    pub(super) fn start_over(&mut self, profile: Option<Profile>) {
        self.fragments.clear();
        match (&mut self.flows, profile) {
            (Some(flows), _) => flows.clear(),
            (none, Some(_)) => *none = Some(FlowTable::new(self.capacity.flows)),
            (None, None) => {}
        }
    }

    /// The verdict on a packet that `rule` blocks if it is media; `part` is its flow and its segment.
    #[inline]
    pub(super) fn recognize(
        &mut self,
        rule: Verdict,
        profile: Profile,
        part: Option<(FlowKey, Segment<'_>)>,
        now: Duration,
    ) -> Verdict {
        let recognized = match (part, &mut self.flows) {
            (Some((key, segment)), Some(flows)) => flows.look(profile, &key, segment, now),
            _ => None,
        };
        match recognized {
            Some(recognized) => rule.because_of(recognized),
            None => Verdict::forward(Reason::Default),
        }
    }

    /// First fragments evicted before their lifetime ended.
    pub(super) fn evicted_fragments(&self) -> u64 {
        self.fragments.evicted()
    }

    /// Flows evicted before they were idle.
    pub(super) fn evicted_flows(&self) -> u64 {
        self.flows.as_ref().map_or(0, FlowTable::evicted)
    }
}
