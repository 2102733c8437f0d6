//! [`Merger`]: merges packets of one flow into a super-packet for the write back into the kernel (GRO).
//!
//! ```text
//!  frames    a1 b1 a2 c1 a3 b2            a, b, c: flows; what may pass of one batch, in the order it came
//!  runs      [a1 a2 a3] [b1 b2] [c1]      one write each, at the place of its first packet
//!
//!  a write   ┌───────────────┬──────────────┬────────────┬────────────┬────────────┐
//!            │ virtio header │ headers of a │ payload a1 │ payload a2 │ payload a3 │
//!            └───────────────┴──────────────┴────────────┴────────────┴────────────┘
//!              made here                      where they were read to
//! ```
//!
//! The kernel forwards a super-packet at the cost of one packet, and segments it where it leaves the host. The segments
//! must be, byte for byte, the packets that came in; so a packet joins a run only if segmentation restores it:
//!
//! - it has the headers of the packet before it, but for lengths, checksums, counters (TCP's sequence number, the
//!   identification of IPv4) and, on the last packet, PSH and FIN;
//! - it is no longer than the first of the run, and all between are just as long;
//! - its checksums are right: the kernel writes them anew, and would hide the corruption of a packet;
//! - it is whole, without IP options or extension headers.
//!
//! The order within a flow is kept: a packet that does not join begins a run of its own, and what comes after joins
//! that one or none. Nothing is held back from one batch to the next.

use std::io::IoSlice;

use self::layout::{
    IPV4_CHECKSUM, IPV4_HEADER, IPV4_ID, IPV6_HEADER, Kind, Layout, Protocol, TCP_CHECKSUM,
    TCP_FLAGS, TCP_HEADER, TCP_LAST, TCP_SEQUENCE, UDP_CHECKSUM, ends_run, flow_of, is_intact,
    kind_of, pseudo_header,
};
use super::BATCH;
use super::checksum::Sum;
use super::virtio::{Framing, VirtioHeader};

mod layout;

/// The super-packets that the kernel accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// TCP only.
    Tcp,
    /// TCP and UDP: Linux 6.2 and later.
    TcpAndUdp,
}

/// Merges the packets of one batch after another; allocates nothing.
#[derive(Debug)]
pub struct Merger {
    offload: Offload,
    framing: Framing,
    runs: [Run; BATCH],
    count: usize,
    /// For each packet, the next of its run.
    next: [u8; BATCH],
    /// The run that a flow's next packet may join, by a hash of the flow. Another flow with the same hash replaces it:
    /// that ends a run early, and does no other harm.
    open: [u8; FLOWS],
    /// The headers of what was merged.
    heads: [[u8; MAX_HEAD]; BATCH],
}

/// Packets that are written as one super-packet.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u8,
    last: u8,
    packets: u8,
    joins: Joins,
    /// The layout of the first packet, which all share.
    layout: Layout,
    /// Payload of all packets, in bytes.
    payload: u32,
}

/// The state of a run: if another packet may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joins {
    /// A packet may join; the checksums of the first are not verified yet.
    Unproven,
    /// A packet may join.
    Yes,
    /// No packet may join.
    No,
}

/// One write to the device.
#[derive(Debug)]
pub struct Merged<'a> {
    /// Its bytes, virtio header first.
    pub pieces: &'a [IoSlice<'a>],
    /// The frames that it was merged from, in order.
    pub frames: Frames<'a>,
}

impl Merged<'_> {
    /// Its length in bytes.
    pub fn length(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }
}

/// The writes of a batch.
#[derive(Debug, Clone)]
pub struct Writes<'a> {
    runs: &'a [Run],
    frames: &'a [&'a [u8]],
    next: &'a [u8; BATCH],
    /// Those of the runs, one after the other.
    pieces: &'a [IoSlice<'a>],
}

impl<'a> Iterator for Writes<'a> {
    type Item = Merged<'a>;

    fn next(&mut self) -> Option<Merged<'a>> {
        let (run, runs) = self.runs.split_first()?;
        let (pieces, rest) = self.pieces.split_at_checked(run.pieces())?;
        (self.runs, self.pieces) = (runs, rest);
        Some(Merged {
            pieces,
            frames: run.frames(self.frames, self.next),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.runs.len(), Some(self.runs.len()))
    }
}

impl ExactSizeIterator for Writes<'_> {}

/// The frames of a [`Merged`].
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    frames: &'a [&'a [u8]],
    next: &'a [u8; BATCH],
    at: usize,
    left: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let frame = self.frames[self.at];
        self.at = self.next[self.at].into();
        Some(frame)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Frames<'_> {}

impl Merger {
    /// A merger for frames of `framing`, and for a kernel that accepts super-packets of `offload`.
    pub fn new(offload: Offload, framing: Framing) -> Self {
        Self {
            offload,
            framing,
            runs: [Run::NONE; BATCH],
            count: 0,
            next: [0; BATCH],
            open: [NO_RUN; FLOWS],
            heads: [[0; MAX_HEAD]; BATCH],
        }
    }

    /// Merges `frames`, at most [`BATCH`] of them, and returns the writes in order. `pieces` is room for them.
    pub fn merge<'a>(
        &'a mut self,
        frames: &'a [&'a [u8]],
        pieces: &'a mut [IoSlice<'a>; PIECES],
    ) -> Writes<'a> {
        let frames = &frames[..frames.len().min(BATCH)];
        self.arrange(frames);
        let runs = &self.runs[..self.count];
        let mut room = pieces.iter_mut();
        for (run, head) in runs.iter().zip(&mut self.heads) {
            let first = frames[usize::from(run.first)];
            if run.packets == 1 {
                if let Some(piece) = room.next() {
                    *piece = IoSlice::new(first);
                }
                continue;
            }
            let payload = self.framing.prefix() + usize::from(run.layout.headers);
            run.write_head(head, first, frames[usize::from(run.last)]);
            let payloads = run
                .frames(frames, &self.next)
                .map(|frame| &frame[payload..]);
            let all = std::iter::once(&head[..payload]).chain(payloads);
            // In this order: the end of the payloads takes no room.
            all.zip(room.by_ref())
                .for_each(|(bytes, piece)| *piece = IoSlice::new(bytes));
        }
        Writes {
            runs,
            frames,
            next: &self.next,
            pieces,
        }
    }

    /// Makes runs of `frames`.
    fn arrange(&mut self, frames: &[&[u8]]) {
        self.count = 0;
        self.open.fill(NO_RUN);
        // A batch has at most 64 frames, so their numbers fit.
        for (number, frame) in (0_u8..).zip(frames) {
            match kind_of(frame, self.offload, self.framing) {
                Kind::Mergeable(layout) => self.add(frames, number, layout),
                Kind::Alone(protocol) => {
                    let flow = place_of(frame, protocol, self.framing);
                    self.open[flow] = NO_RUN;
                    self.begin(number, Run::alone(number));
                }
                Kind::Barrier => {
                    self.open.fill(NO_RUN);
                    self.begin(number, Run::alone(number));
                }
                Kind::Other => self.begin(number, Run::alone(number)),
            }
        }
    }

    /// Adds a packet to the run of its flow, or begins a run with it.
    fn add(&mut self, frames: &[&[u8]], number: u8, layout: Layout) {
        let frame = frames[usize::from(number)];
        let flow = place_of(frame, layout.protocol, self.framing);
        let open = self.open[flow];
        if let Some(run) = self.runs[..self.count].get_mut(usize::from(open))
            && run.can_take(frames, frame, layout)
        {
            self.next[usize::from(run.last)] = number;
            run.take(frame, number, layout);
            return;
        }
        // There are no more runs than frames.
        self.open[flow] = self.count as u8;
        let joins = match ends_run(frame, layout) {
            true => Joins::No,
            false => Joins::Unproven,
        };
        let run = Run {
            joins,
            layout,
            payload: layout.payload.into(),
            ..Run::alone(number)
        };
        self.begin(number, run);
    }

    fn begin(&mut self, number: u8, run: Run) {
        self.next[usize::from(number)] = number;
        self.runs[self.count] = run;
        self.count += 1;
    }
}

impl Run {
    const NONE: Self = Self::alone(0);

    const fn alone(number: u8) -> Self {
        Self {
            first: number,
            last: number,
            packets: 1,
            joins: Joins::No,
            layout: Layout {
                framing: Framing::Ip,
                protocol: Protocol::Udp,
                network: 0,
                headers: 0,
                payload: 0,
            },
            payload: 0,
        }
    }

    /// The number of pieces that it is written from.
    fn pieces(&self) -> usize {
        match self.packets {
            1 => 1,
            packets => 1 + usize::from(packets),
        }
    }

    /// Its part of `frames`.
    fn frames<'a>(&self, frames: &'a [&'a [u8]], next: &'a [u8; BATCH]) -> Frames<'a> {
        Frames {
            frames,
            next,
            at: self.first.into(),
            left: self.packets.into(),
        }
    }

    /// True if segmentation would restore `frame`, had it joined; verifies the checksums of the first packet, too.
    fn can_take(&mut self, frames: &[&[u8]], frame: &[u8], layout: Layout) -> bool {
        let first = frames[usize::from(self.first)];
        let length = usize::from(self.layout.headers) + self.payload as usize;
        let fits = length + usize::from(layout.payload) <= MAX_PACKET
            && layout.payload <= self.layout.payload
            && layout.headers == self.layout.headers
            && layout.network == self.layout.network
            && layout.protocol == self.layout.protocol;
        if self.joins == Joins::No || !fits || !self.continues(first, frame) {
            return false;
        }
        if self.joins == Joins::Unproven {
            if !is_intact(first, self.layout) {
                self.joins = Joins::No;
                return false;
            }
            self.joins = Joins::Yes;
        }
        is_intact(frame, layout)
    }

    /// True if the headers of `frame` are those that the kernel would write behind this run.
    fn continues(&self, first: &[u8], frame: &[u8]) -> bool {
        let network = usize::from(self.layout.network);
        let headers = usize::from(self.layout.headers);
        let prefix = self.layout.framing.prefix();
        let part = |frame: &'_ [u8], from: usize, to: usize| -> u128 {
            // At most 16 bytes each, all within the headers, which both have.
            let bytes = &frame[prefix..][..headers][from..to];
            let mut sixteen = [0; 16];
            sixteen[..bytes.len()].copy_from_slice(bytes);
            u128::from_ne_bytes(sixteen)
        };
        let same = |from: usize, to: usize| part(first, from, to) == part(frame, from, to);
        let half = |frame: &[u8], at: usize| {
            let at = prefix + at;
            u16::from_be_bytes([frame[at], frame[at + 1]])
        };
        let network_continues = match network {
            IPV4_HEADER => {
                let id = half(first, IPV4_ID).wrapping_add(self.packets.into());
                same(0, 2) && half(frame, IPV4_ID) == id && same(6, 10) && same(12, 20)
            }
            _ => same(0, 4) && same(6, 16) && same(16, 32) && same(32, 40),
        };
        // The Ethernet header names the interface that a packet came from.
        let link = VirtioHeader::LENGTH..prefix;
        if first[link.clone()] != frame[link] || !network_continues || !same(network, network + 4) {
            return false;
        }
        match self.layout.protocol {
            Protocol::Udp => true,
            Protocol::Tcp => {
                let sequence = |frame: &[u8]| {
                    let at = network + TCP_SEQUENCE;
                    (u32::from(half(frame, at)) << 16) | u32::from(half(frame, at + 2))
                };
                let options = prefix + network + TCP_HEADER;
                let end = prefix + headers;
                sequence(frame) == sequence(first).wrapping_add(self.payload)
                    && same(network + 8, network + TCP_FLAGS)
                    && (first[prefix + network + TCP_FLAGS] ^ frame[prefix + network + TCP_FLAGS])
                        & !TCP_LAST
                        == 0
                    && same(network + 14, network + 16)
                    && first[options..end] == frame[options..end]
            }
        }
    }

    fn take(&mut self, frame: &[u8], number: u8, layout: Layout) {
        if layout.payload < self.layout.payload || ends_run(frame, layout) {
            self.joins = Joins::No;
        }
        self.last = number;
        self.packets += 1;
        self.payload += u32::from(layout.payload);
    }

    /// Writes the headers of the super-packet that begins with `first` and ends with `last`.
    fn write_head(&self, head: &mut [u8], first: &[u8], last: &[u8]) {
        let network = usize::from(self.layout.network);
        let headers = usize::from(self.layout.headers);
        let framing = self.layout.framing;
        let prefix = framing.prefix();
        head[..prefix + headers].copy_from_slice(&first[..prefix + headers]);
        let (before, packet) = head.split_at_mut(prefix);

        // A run is no longer than the longest packet.
        let transport_length = (headers - network) as u32 + self.payload;
        let gso_type = match network {
            IPV4_HEADER => {
                let total = network as u16 + transport_length as u16;
                packet[2..4].copy_from_slice(&total.to_be_bytes());
                packet[IPV4_CHECKSUM..][..2].fill(0);
                let checksum = Sum::of(&packet[..network]).checksum();
                packet[IPV4_CHECKSUM..][..2].copy_from_slice(&checksum);
                VirtioHeader::TCP_V4
            }
            _ => {
                packet[4..6].copy_from_slice(&(transport_length as u16).to_be_bytes());
                VirtioHeader::TCP_V6
            }
        };
        let sum = pseudo_header(packet, network, self.layout.protocol, transport_length);
        let (gso_type, checksum) = match self.layout.protocol {
            Protocol::Tcp => {
                let flags = prefix + network + TCP_FLAGS;
                packet[network + TCP_FLAGS] |= last[flags] & TCP_LAST;
                (gso_type, TCP_CHECKSUM)
            }
            Protocol::Udp => {
                let length = (transport_length as u16).to_be_bytes();
                packet[network + 4..][..2].copy_from_slice(&length);
                (VirtioHeader::UDP, UDP_CHECKSUM)
            }
        };
        packet[network + checksum..][..2].copy_from_slice(&sum.folded());
        let header = VirtioHeader {
            flags: VirtioHeader::NEEDS_CHECKSUM,
            gso_type,
            header_length: self.layout.headers.into(),
            segment: self.layout.payload,
            checksum_start: self.layout.network.into(),
            checksum_offset: checksum as u16,
        };
        before[..VirtioHeader::LENGTH].copy_from_slice(&framing.to_bytes(header));
    }
}

/// The place of a flow's run.
fn place_of(frame: &[u8], protocol: Protocol, framing: Framing) -> usize {
    flow_of(&frame[framing.prefix()..], protocol) as usize % FLOWS
}

/// Places for runs of flows: several times as many as there can be runs, so that few share one.
const FLOWS: usize = 4 * BATCH;

/// No run has this number.
const NO_RUN: u8 = u8::MAX;
const _: () = assert!(BATCH < NO_RUN as usize);

/// Maximum of IPv4's length field; IPv6 would allow 40 more.
const MAX_PACKET: usize = 65_535;

/// Maximum length of the headers: virtio, Ethernet, IPv6, and TCP with all options.
const MAX_HEAD: usize = Framing::Ethernet.prefix() + IPV6_HEADER + 60;

/// Maximum number of pieces of a batch: two packets that are merged make three.
pub const PIECES: usize = BATCH / 2 * 3;

#[cfg(any(test, feature = "fuzzing"))]
mod flows;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
#[cfg(test)]
mod tests;
