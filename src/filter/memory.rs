//! [`Memory`]: the state that a judge keeps between packets, all of it bounded.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::packet::media::{FlowKey, FlowTable, Look, Profile, Segment};
use crate::packet::{FragmentTable, Received};
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
    /// The memory of a gateway: 2,000 fragmented datagrams a second for the 30 s of
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

    /// The verdict on `packet`, which `rule` blocks if it is media, and what is known of its flow; `part` is the flow and its
    /// segment.
    #[inline]
    pub(super) fn recognize(
        &mut self,
        rule: Verdict,
        profile: Profile,
        packet: Received<'_>,
        part: Option<(FlowKey, Segment<'_>)>,
    ) -> (Verdict, Look) {
        let look = match (part, &mut self.flows) {
            (Some((key, segment)), Some(flows)) => match (packet.datagram, segment) {
                (Some(datagram), Segment::Udp { payload, .. }) => {
                    look_at_each(flows, profile, &key, payload, datagram, packet.at)
                }
                _ => flows.look(profile, &key, segment, packet.at),
            },
            _ => Look::Undecided,
        };
        let verdict = match look {
            Look::Media(recognized) => rule.because_of(recognized),
            Look::Undecided | Look::NotMedia => Verdict::forward(Reason::Default),
        };
        (verdict, look)
    }

    /// First fragments evicted before their lifetime ended.
    pub(super) fn evicted_fragments(&self) -> u64 {
        self.fragments.evicted()
    }

    /// Flows remembered, idle ones included.
    pub(super) fn flows(&self) -> usize {
        self.flows.as_ref().map_or(0, FlowTable::taken)
    }

    /// Flows evicted before they were idle.
    pub(super) fn evicted_flows(&self) -> u64 {
        self.flows.as_ref().map_or(0, FlowTable::evicted)
    }
}

/// Examines each datagram of a super-packet; all of them are media if one is.
#[cold]
fn look_at_each(
    flows: &mut FlowTable,
    profile: Profile,
    key: &FlowKey,
    payload: &[u8],
    datagram: NonZeroU16,
    now: Duration,
) -> Look {
    let datagrams = payload.chunks(datagram.get().into());
    datagrams.fold(Look::Undecided, |found, payload| {
        let size = payload.len();
        let segment = Segment::Udp { payload, size };
        match (found, flows.look(profile, key, segment, now)) {
            (Look::Media(_), _) => found,
            (_, here) => here,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_remembers_2_000_fragmented_datagrams_a_second_and_131_072_flows() {
        let Capacity { fragments, flows } = Capacity::GATEWAY;
        let lifetime = crate::packet::FRAGMENT_LIFETIME.as_secs() as usize;
        assert!(fragments >= 2_000 * lifetime, "{fragments}");
        assert_eq!(flows, 131_072);
    }

    #[test]
    fn workers_share_the_flows_and_not_the_fragments() {
        for (workers, flows) in [(0, 10), (1, 10), (3, 4), (10, 1)] {
            let each = Capacity::of(10).for_each_of(workers);
            let expected = Capacity {
                fragments: 10,
                flows,
            };
            assert_eq!(each, expected, "{workers}");
        }
    }
}
