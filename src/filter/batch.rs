//! [`Judge`]: batches of packets, judged in passes.
//!
//! One packet is a chain of loads that wait for each other: header, three steps of the trie, the table of ports. A batch
//! is 64 such chains that do not. So the work goes in passes over the batch, each short enough that a core has many
//! packets of it under way: read all headers, look all addresses up, then decide. Packets that are not plain (fragments,
//! options, extension headers) are judged one by one on the way, in their order.

use super::{CompiledPolicy, Generation, Verdict};
use crate::packet::{FragmentTable, PlainPacket, Protocol, Received, plain_ipv4, plain_ipv6};
use crate::prefix::{ClassNumber, NO_CLASS};

/// What a worker keeps between batches: the fragments it waits for, and room for the passes.
#[derive(Debug)]
pub struct Judge {
    /// The policy whose verdicts `fragments` remembers: those of another name other rules.
    generation: Option<Generation>,
    fragments: FragmentTable<Verdict>,
    v4: Lanes<u32>,
    v6: Lanes<u128>,
}

impl Judge {
    /// Packets that go through the passes together: enough to hide the latency of memory, few enough to stay in L1.
    pub const BATCH: usize = 64;

    /// Datagrams that a gateway should remember: 2,000 fragmented ones a second for the 30 s of
    /// [`FRAGMENT_LIFETIME`](crate::packet::FRAGMENT_LIFETIME), in about 5 MiB.
    pub const GATEWAY_FRAGMENTS: usize = 1 << 16;

    /// A judge that remembers `fragments` datagrams; allocates nothing after this.
    pub fn new(fragments: usize) -> Self {
        Self {
            generation: None,
            fragments: FragmentTable::new(fragments),
            v4: Lanes::new(0),
            v6: Lanes::new(0),
        }
    }

    /// Judges `packets` by `policy`: `verdicts[n]` is that of `packets[n]`.
    ///
    /// A batch and its packets one by one get the same verdicts.
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
        policy.judge(packet.parse(), &mut self.fragments, packet.at)
    }

    /// First fragments forgotten before their time, for lack of room: their tails are forwarded.
    pub fn evicted_fragments(&self) -> u64 {
        self.fragments.evicted()
    }

    /// Forgets the verdicts of another generation; tails of datagrams that it dropped may pass, and never complete.
    fn adopt(&mut self, policy: &CompiledPolicy) {
        if self.generation != Some(policy.generation()) {
            self.fragments.clear();
            self.generation = Some(policy.generation());
        }
    }

    fn judge_chunk(
        &mut self,
        policy: &CompiledPolicy,
        packets: &[Received<'_>],
        verdicts: &mut [Verdict],
    ) {
        let (mut v4, mut v6) = (0, 0);
        for (lane, packet) in packets.iter().enumerate() {
            if let Some(plain) = plain_ipv4(packet.bytes) {
                v4 = self.v4.put(v4, lane, plain);
            } else if let Some(plain) = plain_ipv6(packet.bytes) {
                v6 = self.v6.put(v6, lane, plain);
            } else {
                verdicts[lane] = policy.judge(packet.parse(), &mut self.fragments, packet.at);
            }
        }
        self.v4
            .decide(v4, policy, CompiledPolicy::lookup_v4, verdicts);
        self.v6
            .decide(v6, policy, CompiledPolicy::lookup_v6, verdicts);
    }
}

/// The plain packets of one family in a batch, a column for each fact.
#[derive(Debug)]
struct Lanes<Address> {
    lanes: [usize; Judge::BATCH],
    sources: [Address; Judge::BATCH],
    destinations: [Address; Judge::BATCH],
    protocols: [Protocol; Judge::BATCH],
    source_ports: [u16; Judge::BATCH],
    destination_ports: [u16; Judge::BATCH],
    source_classes: [ClassNumber; Judge::BATCH],
    destination_classes: [ClassNumber; Judge::BATCH],
}

impl<Address: Copy> Lanes<Address> {
    fn new(zero: Address) -> Self {
        Self {
            lanes: [0; Judge::BATCH],
            sources: [zero; Judge::BATCH],
            destinations: [zero; Judge::BATCH],
            protocols: [Protocol::Tcp; Judge::BATCH],
            source_ports: [0; Judge::BATCH],
            destination_ports: [0; Judge::BATCH],
            source_classes: [NO_CLASS; Judge::BATCH],
            destination_classes: [NO_CLASS; Judge::BATCH],
        }
    }

    /// Puts `packet` into row `at`; the row after it.
    #[inline(always)]
    fn put(&mut self, at: usize, lane: usize, packet: PlainPacket<Address>) -> usize {
        self.lanes[at] = lane;
        self.sources[at] = packet.source;
        self.destinations[at] = packet.destination;
        self.protocols[at] = packet.protocol;
        self.source_ports[at] = packet.source_port;
        self.destination_ports[at] = packet.destination_port;
        at + 1
    }

    /// Looks up the addresses of the first `count` rows, and writes the verdict of each to its lane.
    #[inline(always)]
    fn decide(
        &mut self,
        count: usize,
        policy: &CompiledPolicy,
        lookup: impl Fn(&CompiledPolicy, &[Address], &mut [ClassNumber]),
        verdicts: &mut [Verdict],
    ) {
        let count = count.min(Judge::BATCH);
        lookup(
            policy,
            &self.sources[..count],
            &mut self.source_classes[..count],
        );
        lookup(
            policy,
            &self.destinations[..count],
            &mut self.destination_classes[..count],
        );
        for at in 0..count {
            verdicts[self.lanes[at]] = policy.judge_plain(
                self.source_classes[at],
                self.destination_classes[at],
                self.protocols[at],
                self.source_ports[at],
                self.destination_ports[at],
            );
        }
    }
}
