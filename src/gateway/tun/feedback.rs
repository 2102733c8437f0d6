//! [`Feedback`]: what workers tell the diversion, if it asks: that they read, and which packets of a self-test arrived.
//!
//! For each queue, a program in the kernel notes when the oldest packet that its worker has not read was diverted, and counts
//! what it diverts. A worker that does not erase the note in time counts as hung, and one that has found the queue empty has
//! written everything that was counted before.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::filter::Generation;
use crate::gateway::sys::memory::SharedMemory;
use crate::packet::media::FlowKey;
use crate::packet::virtio::{Framing, VirtioHeader};
use crate::verdict::Verdict;

/// The reports of workers to the diversion; clones share it. By default there are none.
#[derive(Debug, Clone, Default)]
pub struct Feedback {
    notes: Arc<ArcSwapOption<SharedMemory>>,
    probes: Option<UnboundedSender<ArrivedProbe>>,
    secret: Arc<AtomicU32>,
    flows: Option<Arc<dyn ClearFlows>>,
}

/// A diversion that need not lead a flow to the filter any more, once that has decided.
pub trait ClearFlows: fmt::Debug + Send + Sync {
    /// Has the packets of `flow` forwarded by `verdict`, which the policy of this generation gives all of them, but for one
    /// that begins a connection or has the cookie of STUN.
    fn clear(&self, generation: Generation, flow: &FlowKey, verdict: Verdict);

    /// Has the packets of `flow` judged again: one of those that are judged all the same was media.
    fn forget(&self, generation: Generation, flow: &FlowKey);
}

/// A packet of a self-test that a worker has read and judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedProbe {
    /// The index of the interface that it entered.
    pub interface: u32,
    /// True if the kernel would have forwarded it for certain.
    pub passes: bool,
    /// The IP packet.
    pub packet: Vec<u8>,
    /// The verdict of the policy in force.
    pub verdict: Verdict,
}

/// The places of the notes in the shared memory: words of `struct control` (`divert/ebpf/maps.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoteLayout;

impl NoteLayout {
    /// The first word of the first queue.
    pub const FIRST: usize = 8;
    /// Words of a queue.
    pub const STRIDE: usize = 8;
    /// Of these: when the oldest of its packets that is not read was diverted, or 0.
    const WAITING_SINCE: usize = 0;
    /// Packets that were led to it.
    const DIVERTED: usize = 1;
    /// As many of them, the oldest, were read and written, or lost before.
    const SETTLED: usize = 2;
    /// Set at a change of tables.
    pub const SETTLING: usize = 3;
}

impl Feedback {
    /// Has the workers send packets of self-tests to the receiver, too.
    pub fn with_probes() -> (Self, UnboundedReceiver<ArrivedProbe>) {
        let (probes, arrivals) = unbounded_channel();
        let feedback = Self {
            notes: Arc::default(),
            probes: Some(probes),
            ..Self::default()
        };
        (feedback, arrivals)
    }

    /// The secret of the self-test that goes on, in the [`ProbeId`] of its packets; 0 if there is none.
    pub(in crate::gateway) fn secret(&self) -> &Arc<AtomicU32> {
        &self.secret
    }

    /// Tells the packets of the self-test that goes on, if any, from others.
    pub(super) fn probes(&self, framing: Framing) -> Probes {
        match framing {
            Framing::Ethernet => Probes::ByHeader,
            Framing::Ip => Probes::ById(self.secret.load(Ordering::Acquire)),
        }
    }

    /// Has workers tell `flows` of those that they have cleared, too.
    pub fn with_flows(self, flows: Arc<dyn ClearFlows>) -> Self {
        Self {
            flows: Some(flows),
            ..self
        }
    }

    /// The diversion that asks which flows are cleared.
    pub(super) fn flows(&self) -> Option<&Arc<dyn ClearFlows>> {
        self.flows.as_ref()
    }

    /// Has the workers note in `memory` what they read.
    pub(in crate::gateway) fn note_in(&self, memory: Arc<SharedMemory>) {
        self.notes.store(Some(memory));
    }

    /// Begins to read queue number `queue`.
    pub(in crate::gateway) fn begin(&self, queue: usize) -> Reading {
        let notes = self.notes.load();
        let at = NoteLayout::FIRST + NoteLayout::STRIDE * queue;
        let diverted = match notes
            .as_deref()
            .and_then(|it| it.words().get(at..at + NoteLayout::STRIDE))
        {
            Some(words) => words[NoteLayout::DIVERTED].load(Ordering::Acquire),
            None => 0,
        };
        Reading {
            notes,
            at,
            diverted,
        }
    }

    /// Reports a packet of a self-test.
    pub(super) fn report(&self, probe: ArrivedProbe) {
        if let Some(probes) = &self.probes {
            // A self-test that is over needs it no longer.
            _ = probes.send(probe);
        }
    }
}

/// A queue that is being read.
pub(in crate::gateway) struct Reading {
    notes: Guard<Option<Arc<SharedMemory>>>,
    at: usize,
    diverted: u64,
}

impl Reading {
    /// Notes that everything was read that could be: `count` packets.
    pub(in crate::gateway) fn end(&self, count: usize) {
        let Some(words) = self.words() else { return };
        words[NoteLayout::WAITING_SINCE].store(0, Ordering::Relaxed);
        if count == 0 {
            words[NoteLayout::SETTLED].store(self.diverted, Ordering::Release);
        }
    }

    /// Notes that `count` diverted packets, the oldest ones, were written or dropped.
    pub(super) fn settle(self, count: usize) {
        if let Some(words) = self.words() {
            // The queue's worker alone writes it.
            let settled = words[NoteLayout::SETTLED].load(Ordering::Relaxed);
            words[NoteLayout::SETTLED].store(settled + count as u64, Ordering::Release);
        }
    }

    fn words(&self) -> Option<&[AtomicU64]> {
        let notes = self.notes.as_deref()?;
        notes.words().get(self.at..self.at + NoteLayout::STRIDE)
    }
}

/// Tells packets of a self-test from others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Probes {
    /// By the header that the programs in the kernel write.
    ByHeader,
    /// By the first number of their [`ProbeId`]; 0 while there is no self-test.
    ById(u32),
}

impl Probes {
    /// Returns `true` if `frame` is a packet of a self-test.
    #[inline]
    pub(super) fn has(self, frame: &[u8]) -> bool {
        match self {
            Self::ByHeader => ProbeHeader::is_of(frame),
            Self::ById(0) => false,
            Self::ById(_) => self.read(frame).is_some(),
        }
    }

    /// The index of the interface, and true if the kernel would have forwarded it.
    pub(super) fn read(self, frame: &[u8]) -> Option<(u32, bool)> {
        match self {
            Self::ByHeader => ProbeHeader::read(frame),
            Self::ById(secret) => {
                let (_, packet) = Framing::Ip.split(frame)?;
                let id = ProbeId::of(packet).filter(|id| id.secret == secret);
                id.map(|id| (id.interface, false))
            }
        }
    }
}

/// The transaction id of a connectivity check that is a packet of a self-test, where frames have no Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct ProbeId {
    /// Drawn anew for each self-test, so that nobody else's packet is taken for one of it; not 0.
    pub secret: u32,
    /// The index of the interface that it enters.
    pub interface: u32,
    /// Its number in the self-test.
    pub number: u32,
}

impl ProbeId {
    /// Its place in an IPv4 packet, behind 20 or 24 bytes of header, that of UDP, and type, length and cookie of STUN.
    pub(in crate::gateway) const IN_IPV4: [u8; 2] = [36, 40];
    /// Its place in an IPv6 packet, without and with an extension header of 8 bytes.
    pub(in crate::gateway) const IN_IPV6: [u8; 2] = [56, 64];

    /// The id as it stands in the check.
    pub(in crate::gateway) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let numbers = [self.secret, self.interface, self.number];
        for (place, number) in bytes.chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// The id of `packet`, if it is a check with one of these headers.
    pub(in crate::gateway) fn of(packet: &[u8]) -> Option<Self> {
        const UDP: u8 = 17;
        const DESTINATION_OPTIONS: u8 = 60;
        const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
        let (protocol, place) = match *packet.first()? {
            0x45 => (*packet.get(9)?, Self::IN_IPV4[0]),
            0x46 => (*packet.get(9)?, Self::IN_IPV4[1]),
            0x60..0x70 => match *packet.get(6)? {
                DESTINATION_OPTIONS => (*packet.get(40)?, Self::IN_IPV6[1]),
                protocol => (protocol, Self::IN_IPV6[0]),
            },
            _ => return None,
        };
        let place = usize::from(place);
        let (words, _) = packet.get(place - 4..place + 12)?.as_chunks::<4>();
        let [COOKIE, secret, interface, number] = *words else {
            return None;
        };
        (protocol == UDP).then_some(Self {
            secret: u32::from_be_bytes(secret),
            interface: u32::from_be_bytes(interface),
            number: u32::from_be_bytes(number),
        })
    }
}

/// The Ethernet header of a packet of a self-test (`struct ethernet` of `divert/ebpf/maps.h`).
pub(in crate::gateway) struct ProbeHeader;

impl ProbeHeader {
    /// The first bytes of the destination.
    const TAG: [u8; 2] = [0x02, 0x1f];

    /// The first bytes of the destination of a diverted packet.
    const DIVERTED: [u8; 2] = [0x02, 0x0f];

    /// Returns `true` if `frame` is a packet that the programs have diverted, and counted.
    pub(super) fn is_diverted(frame: &[u8]) -> bool {
        frame.get(VirtioHeader::LENGTH..VirtioHeader::LENGTH + 2) == Some(&Self::DIVERTED)
    }

    /// Returns `true` if `frame` is a packet of a self-test.
    #[inline]
    pub(super) fn is_of(frame: &[u8]) -> bool {
        frame.get(VirtioHeader::LENGTH..VirtioHeader::LENGTH + 2) == Some(&Self::TAG)
    }

    /// The index of the interface, and true if the kernel would have forwarded it.
    pub(super) fn read(frame: &[u8]) -> Option<(u32, bool)> {
        let header = frame.get(VirtioHeader::LENGTH..Framing::Ethernet.prefix())?;
        let [_, _, a, b, c, d, passes, ..] = *header else {
            return None;
        };
        Some((u32::from_ne_bytes([a, b, c, d]), passes != 0))
    }

    /// The frame that has `packet` enter at the interface of this index.
    pub(in crate::gateway) fn frame(interface: u32, packet: &[u8]) -> Vec<u8> {
        let protocol: [u8; 2] = match packet.first() {
            Some(first) if first >> 4 == 6 => [0x86, 0xdd],
            _ => [0x08, 0x00],
        };
        let mut frame = vec![0; VirtioHeader::LENGTH];
        frame.extend(Self::TAG);
        frame.extend(interface.to_ne_bytes());
        frame.extend([0; 6]);
        frame.extend(protocol);
        frame.extend(packet);
        frame
    }
}
