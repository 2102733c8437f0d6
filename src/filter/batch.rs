//! [`Judge`]: judges batches of packets in passes.
//!
//! Judging one packet is a chain of dependent loads: header, three steps of the trie, the table of ports. The chains of
//! the 64 packets of a batch are independent. So the work is done in passes over the batch, each short enough that a
//! core has many packets in flight: read all headers, look up all addresses, then decide. The first pass sets aside
//! packets that are not plain (fragments, options, extension headers); these are judged one by one, in order.
//!
//! Beyond that, the number of instructions counts, so each pass does little. It is a function of its own, because a
//! loop that shares a core's registers with three others spills them; and it writes its results to columns, only those
//! that the next pass reads.

use super::memory::{Capacity, Memory};
use super::ports::PortFunction;
use super::{CompiledPolicy, Generation};
use crate::address::{ClassNumber, FewRanges, NO_CLASS, Number};
use crate::packet::media::{Look, Profile, Segment};
use crate::packet::{PlainPacket, Protocol, Received, plain_ipv4, plain_ipv6};
use crate::verdict::Verdict;

/// Judges packets; keeps first fragments and flows between batches, and buffers for the passes.
#[derive(Debug)]
pub struct Judge {
    /// The policy that gave the verdicts in `memory`: rule ids of another policy name other rules.
    generation: Option<Generation>,
    memory: Memory,
    v4: Lanes<u32>,
    v6: Lanes<u128>,
    /// Lanes of the packets of a batch that are not plain.
    rare: [u8; Self::BATCH],
    /// Of the batch that was judged last, a bit for each lane: it is not plain, or its flow may still show to be media.
    uncertain: u64,
}

/// The number of packets of each kind in a batch.
struct Counts {
    v4: usize,
    v6: usize,
    rare: usize,
}

impl Judge {
    /// Packets that go through the passes together: enough to hide the latency of memory, few enough to stay in L1.
    pub const BATCH: usize = crate::packet::BATCH;

    /// Creates a judge with memory for `capacity`; allocates after this only when the first policy that recognizes media
    /// is adopted.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            generation: None,
            memory: Memory::new(capacity),
            v4: Lanes::new(0),
            v6: Lanes::new(0),
            rare: [0; Self::BATCH],
            uncertain: u64::MAX,
        }
    }

    /// Judges `packets` by `policy`: `verdicts[n]` is that of `packets[n]`.
    ///
    /// Packets get the same verdicts in a batch as one by one.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn judge(
        &mut self,
        policy: &CompiledPolicy,
        packets: &[Received<'_>],
        verdicts: &mut [Verdict],
    ) {
        assert_eq!(packets.len(), verdicts.len(), "one verdict for each packet");
        self.adopt(policy);
        for (packets, verdicts) in packets
            .chunks(Self::BATCH)
            .zip(verdicts.chunks_mut(Self::BATCH))
        {
            self.judge_chunk(policy, packets, verdicts);
        }
    }

    /// Judges one packet.
    pub fn judge_one(&mut self, policy: &CompiledPolicy, packet: Received<'_>) -> Verdict {
        self.adopt(policy);
        policy.judge(packet, &mut self.memory)
    }

    /// True if packet number `lane` of the last [`BATCH`](Self::BATCH) that was judged speaks for its flow: every plain
    /// packet with its addresses, protocol and ports gets the same verdict, if that is to forward; but for one with the
    /// cookie of STUN (UDP) or at the start of a connection (TCP).
    pub fn is_certain(&self, lane: usize) -> bool {
        lane < Self::BATCH && self.uncertain >> lane & 1 == 0
    }

    /// First fragments evicted for lack of room: the non-first fragments of their datagrams are forwarded.
    pub fn evicted_fragments(&self) -> u64 {
        self.memory.evicted_fragments()
    }

    /// Flows to media ports that it remembers, idle ones included.
    pub fn flows(&self) -> usize {
        self.memory.flows()
    }

    /// Flows evicted for lack of room before they were idle: media is recognized again at its next check.
    pub fn evicted_flows(&self) -> u64 {
        self.memory.evicted_flows()
    }

    /// Forgets the verdicts of another generation. Non-first fragments of datagrams that it dropped may pass, and never
    /// complete; media is recognized again at its next check.
    fn adopt(&mut self, policy: &CompiledPolicy) {
        if self.generation != Some(policy.generation()) {
            self.memory.start_over(policy.recognition());
            self.generation = Some(policy.generation());
        }
    }

    fn judge_chunk(
        &mut self,
        policy: &CompiledPolicy,
        packets: &[Received<'_>],
        verdicts: &mut [Verdict],
    ) {
        let counts = self.read(packets);
        self.uncertain = 0;
        for &lane in &self.rare[..counts.rare] {
            self.uncertain |= 1 << lane;
        }
        let recognition = policy.recognition();
        if recognition.is_none() {
            for &lane in &self.rare[..counts.rare] {
                let packet = packets[usize::from(lane)];
                verdicts[usize::from(lane)] = policy.judge(packet, &mut self.memory);
            }
        }
        if counts.v4 > 0 {
            self.v4.look_up(
                counts.v4,
                policy,
                policy.few_clients_v4(),
                CompiledPolicy::lookup_v4,
            );
            self.v4.decide(counts.v4, policy, verdicts);
        }
        if counts.v6 > 0 {
            self.v6.look_up(
                counts.v6,
                policy,
                policy.few_clients_v6(),
                CompiledPolicy::lookup_v6,
            );
            self.v6.decide(counts.v6, policy, verdicts);
        }
        if let Some(profile) = recognition {
            self.recognize(profile, policy, packets, verdicts, counts.rare);
        }
    }

    /// Judges packets that are not plain, and asks for evidence where a rule of media blocks: one by one, since a packet
    /// changes what is known of those that follow in its flow.
    #[inline(never)]
    fn recognize(
        &mut self,
        profile: Profile,
        policy: &CompiledPolicy,
        packets: &[Received<'_>],
        verdicts: &mut [Verdict],
        rare: usize,
    ) {
        let mut rare = &self.rare[..rare];
        if rare.is_empty() && !verdicts.iter().any(|verdict| verdict.is_media_rule()) {
            return;
        }
        for (lane, (packet, verdict)) in packets.iter().zip(verdicts).enumerate() {
            match rare {
                [first, rest @ ..] if usize::from(*first) == lane => {
                    *verdict = policy.judge(*packet, &mut self.memory);
                    rare = rest;
                }
                _ if verdict.is_media_rule() => {
                    let part = Segment::of_plain(packet.bytes);
                    let (recognized, look) =
                        self.memory.recognize(*verdict, profile, *packet, part);
                    *verdict = recognized;
                    self.uncertain |= u64::from(look == Look::Undecided) << lane;
                }
                _ => {}
            }
        }
    }

    /// Reads the headers of up to [`BATCH`](Self::BATCH) packets.
    #[inline(never)]
    fn read(&mut self, packets: &[Received<'_>]) -> Counts {
        let (mut v4, mut v6, mut rare) = (0, 0, 0);
        for (lane, packet) in packets.iter().enumerate() {
            let lane = lane as u8;
            if let Some(plain) = plain_ipv4(packet.bytes) {
                self.v4.put(v4, lane, plain);
                v4 += 1;
            } else if let Some(plain) = plain_ipv6(packet.bytes) {
                self.v6.put(v6, lane, plain);
                v6 += 1;
            } else {
                self.rare[rare] = lane;
                rare += 1;
            }
        }
        Counts { v4, v6, rare }
    }
}

const _: () = assert!(Judge::BATCH <= 1 << u8::BITS, "a lane is a byte");

/// The plain packets of one family in a batch, a row for each, a column for each fact.
#[derive(Debug)]
struct Lanes<Address> {
    lanes: [u8; Judge::BATCH],
    sources: [Address; Judge::BATCH],
    destinations: [Address; Judge::BATCH],
    protocols: [Option<Protocol>; Judge::BATCH],
    /// Source ports above, destination ports below: one word, as the packet has them.
    ports: [u32; Judge::BATCH],
    /// 0 if the source is not a client; as wide as an IPv4 address, so that the comparison vectorizes.
    from_clients: [u32; Judge::BATCH],
    classes: [ClassNumber; Judge::BATCH],
}

impl<Address: Copy> Lanes<Address> {
    fn new(zero: Address) -> Self {
        Self {
            lanes: [0; Judge::BATCH],
            sources: [zero; Judge::BATCH],
            destinations: [zero; Judge::BATCH],
            protocols: [None; Judge::BATCH],
            ports: [0; Judge::BATCH],
            from_clients: [0; Judge::BATCH],
            classes: [NO_CLASS; Judge::BATCH],
        }
    }

    /// Puts `packet` into row `at`.
    #[inline(always)]
    fn put(&mut self, at: usize, lane: u8, packet: PlainPacket<Address>) {
        self.lanes[at] = lane;
        self.sources[at] = packet.source;
        self.destinations[at] = packet.destination;
        self.protocols[at] = packet.protocol;
        self.ports[at] = u32::from(packet.source_port) << 16 | u32::from(packet.destination_port);
    }

    /// Finds which sources are clients, and the classes of the destinations, in the first `count` rows.
    fn look_up(
        &mut self,
        count: usize,
        policy: &CompiledPolicy,
        few_clients: Option<&FewRanges<Address>>,
        lookup: impl Fn(&CompiledPolicy, &[Address], &mut [ClassNumber]),
    ) where
        Address: Number,
    {
        let sources = &self.sources[..count];
        let classes = &mut self.classes[..count];
        let from_clients = &mut self.from_clients[..count];
        match few_clients {
            Some(clients) => clients.contains_batch(sources, from_clients),
            None => {
                lookup(policy, sources, classes);
                for (class, from_client) in classes.iter().zip(from_clients) {
                    *from_client = policy.is_client(*class).into();
                }
            }
        }
        lookup(policy, &self.destinations[..count], classes);
    }

    /// Writes the verdict of each of the first `count` rows to its lane.
    fn decide(&self, count: usize, policy: &CompiledPolicy, verdicts: &mut [Verdict]) {
        let ports = policy.ports();
        match ports.shared_map() {
            Some(map) => self.decide_by(count, policy, |_, port| map.range(port), verdicts),
            None => {
                let range = |function, port| ports.range(function, port);
                self.decide_by(count, policy, range, verdicts);
            }
        }
    }

    #[inline(never)]
    fn decide_by(
        &self,
        count: usize,
        policy: &CompiledPolicy,
        range: impl Fn(PortFunction, u16) -> usize,
        verdicts: &mut [Verdict],
    ) {
        for at in 0..count.min(Judge::BATCH) {
            let ports = self.ports[at];
            verdicts[usize::from(self.lanes[at])] = policy.judge_plain(
                self.from_clients[at] != 0,
                self.classes[at],
                self.protocols[at],
                (ports >> 16) as u16,
                |function| range(function, ports as u16),
            );
        }
    }
}

#[cfg(test)]
mod tests;
