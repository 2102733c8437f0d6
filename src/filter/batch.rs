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
        let mut parts = [None; Self::BATCH];
        for ((packet, verdict), part) in packets.iter().zip(verdicts.iter()).zip(&mut parts) {
            if verdict.is_media_rule() {
                *part = Segment::of_plain(packet.bytes);
            }
        }
        let mut spreads = [None; Self::BATCH];
        for (part, spread) in parts.iter().zip(&mut spreads) {
            *spread = part.and_then(|(key, _)| self.memory.spread(&key));
        }
        for (lane, (packet, verdict)) in packets.iter().zip(verdicts).enumerate() {
            match rare {
                [first, rest @ ..] if usize::from(*first) == lane => {
                    *verdict = policy.judge(*packet, &mut self.memory);
                    rare = rest;
                }
                _ if verdict.is_media_rule() => {
                    let part = parts[lane].zip(spreads[lane]);
                    let part = part.map(|((key, segment), spread)| (key, spread, segment));
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
mod tests {
    use std::num::NonZeroU16;
    use std::time::Duration;

    use super::*;
    use crate::policy;
    use crate::verdict::{Action, Reason};

    /// Drops UDP to 10.1.0.10 except to port 443: non-first fragments follow the first.
    const TWO_SERVERS: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[[server]]
name = "another"
addresses = ["10.1.0.9"]
[[server]]
name = "pool"
addresses = ["10.1.0.10"]
[[allow]]
name = "web"
to = ["10.1.0.10"]
ports = ["443"]
lifts = ["servers"]
"#;

    /// Also judges UDP to 10.1.0.10 by its ports, with fewer rules.
    const ONE_SUBNET: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
"#;

    fn compiled(text: &str, generation: u64) -> CompiledPolicy {
        let (policy, _) = policy::parse("batch.toml", text.as_bytes()).expect("a good policy");
        CompiledPolicy::new(policy, Generation(generation)).expect("a small policy")
    }

    /// A fragment of UDP from 172.16.1.10 to port 50000 of 10.1.0.10.
    fn fragment(flags_and_offset: u16) -> Vec<u8> {
        let [high, low] = flags_and_offset.to_be_bytes();
        let mut packet = vec![0x45, 0, 0, 28, 0, 77, high, low, 64, 17, 0, 0];
        packet.extend([172, 16, 1, 10, 10, 1, 0, 10]);
        packet.extend([0xc3, 0x50, 0xc3, 0x50, 0, 8, 0, 0]);
        packet
    }

    const FIRST: u16 = 0x2000;
    const NON_FIRST: u16 = 1;

    /// The verdicts on a first fragment by `before` and on a later one by `after`.
    fn judge_two(
        before: &CompiledPolicy,
        after: &CompiledPolicy,
        judge_one: impl Fn(&mut Judge, &CompiledPolicy, Received<'_>) -> Verdict,
    ) -> [Verdict; 2] {
        let mut judge = Judge::new(Capacity::of(64));
        [(before, FIRST), (after, NON_FIRST)].map(|(policy, flags_and_offset)| {
            let packet = fragment(flags_and_offset);
            judge_one(&mut judge, policy, Received::whole(&packet, Duration::ZERO))
        })
    }

    fn alone(judge: &mut Judge, policy: &CompiledPolicy, packet: Received<'_>) -> Verdict {
        judge.judge_one(policy, packet)
    }

    fn as_a_batch(judge: &mut Judge, policy: &CompiledPolicy, packet: Received<'_>) -> Verdict {
        let mut verdicts = [Verdict::drop(Reason::Malformed)];
        judge.judge(policy, &[packet], &mut verdicts);
        verdicts[0]
    }

    /// Forwards packets from port 80, and drops other media to corporate hosts.
    const WEB_SERVERS: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00::/64"]
[corporate]
subnets = ["10.0.0.0/8", "fd01::/64"]
[[allow]]
name = "web"
to = ["10.0.0.0/8", "fd01::/64"]
from_ports = ["80"]
"#;

    /// A whole UDP packet from a client to port 50000 of a corporate host.
    fn media(is_ipv6: bool, source_port: u16) -> Vec<u8> {
        let [high, low] = source_port.to_be_bytes();
        let mut packet = if is_ipv6 {
            let mut packet = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
            for site in [0, 1] {
                packet.extend([0xfd, site, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
            }
            packet
        } else {
            let header = vec![0x45, 0, 0, 28, 0, 77, 0, 0, 64, 17, 0, 0];
            [header, vec![172, 16, 1, 10, 10, 1, 0, 10]].concat()
        };
        packet.extend([high, low, 0xc3, 0x50, 0, 8, 0, 0]);
        packet
    }

    #[test]
    fn a_batch_is_judged_by_source_ports_too() {
        let policy = compiled(WEB_SERVERS, 1);
        for is_ipv6 in [false, true] {
            let bytes = [80, 50_000, 81, 80].map(|port| media(is_ipv6, port));
            let packets = bytes
                .each_ref()
                .map(|bytes| Received::whole(bytes, Duration::ZERO));
            let mut verdicts = [Verdict::drop(Reason::Malformed); 4];
            Judge::new(Capacity::of(4)).judge(&policy, &packets, &mut verdicts);
            assert_eq!(
                verdicts.map(|verdict| verdict.to_string()),
                ["forward allow", "drop media", "drop media", "forward allow"]
            );
        }
    }

    /// Drops connectivity checks to corporate hosts.
    const ICE: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00::/64"]
[corporate]
subnets = ["10.0.0.0/8", "fd01::/64"]
[media]
match = "ice"
"#;

    /// A connectivity check of 28 bytes.
    fn check() -> Vec<u8> {
        let mut check = vec![0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
        check.extend([0x5a; 12]);
        check.extend([0, 6, 0, 4, b'a', b':', b'b', b'c']);
        check
    }

    /// A packet of [`media`] with this payload.
    fn with_payload(is_ipv6: bool, payload: &[u8]) -> Vec<u8> {
        let mut packet = media(is_ipv6, 50_000);
        let udp_length = packet.len() - 8 + 5;
        let ip_length = if is_ipv6 { 5 } else { 3 };
        for at in [ip_length, udp_length] {
            packet[at] += payload.len() as u8;
        }
        packet.extend(payload);
        packet
    }

    #[test]
    fn each_datagram_of_a_super_packet_may_be_a_check() {
        let policy = compiled(ICE, 1);
        let junk = vec![0x17; check().len()];
        for payload in [[check(), junk.clone()], [junk, check()]] {
            for is_ipv6 in [false, true] {
                let bytes = with_payload(is_ipv6, &payload.concat());
                let judged = |datagram| {
                    let packet =
                        Received::whole(&bytes, Duration::ZERO).with_datagrams_of(datagram);
                    let mut verdicts = [Verdict::drop(Reason::Malformed)];
                    Judge::new(Capacity::of(4)).judge(&policy, &[packet], &mut verdicts);
                    verdicts[0].to_string()
                };
                assert_eq!(judged(NonZeroU16::new(28)), "drop media");
                assert_eq!(judged(None), "forward default", "56 bytes are no check");
            }
        }
    }

    #[test]
    fn what_is_media_is_forgotten_with_its_generation() {
        let check = with_payload(false, &check());
        let later = media(false, 50_000);
        let policies = [compiled(ICE, 1), compiled(ICE, 2)];
        let mut judge = Judge::new(Capacity::of(4));
        let mut told = |policy: &CompiledPolicy, bytes: &[u8]| {
            let verdict = judge.judge_one(policy, Received::whole(bytes, Duration::ZERO));
            policy.rules().tell(verdict)
        };
        assert_eq!(told(&policies[0], &check), "media: stun-check");
        assert_eq!(told(&policies[0], &later), "media: flow of stun-check");
        assert_eq!(told(&policies[1], &later), "default");
        assert_eq!(judge.flows(), 1);
    }

    #[test]
    fn a_packet_is_certain_unless_it_is_rare_or_its_flow_may_still_be_media() {
        let policy = compiled(ICE, 1);
        let other = with_payload(false, &[0x17; 28]);
        let mut default = other.clone();
        // To port 80, no port of media.
        (default[22], default[23]) = (0, 80);
        let fragment = fragment(NON_FIRST);
        let check = with_payload(false, &check());
        let mut judge = Judge::new(Capacity::of(4));
        assert!(!judge.is_certain(0), "nothing was judged");
        let packets = [&default, &other, &fragment, &default, &check]
            .map(|bytes| Received::whole(bytes, Duration::ZERO));
        let mut verdicts = [Verdict::drop(Reason::Malformed); 5];
        judge.judge(&policy, &packets, &mut verdicts);
        assert_eq!(
            std::array::from_fn(|lane| judge.is_certain(lane)),
            [true, false, false, true, true]
        );
        assert!(!judge.is_certain(Judge::BATCH));
        // Without recognition, ports tell everything.
        judge.judge(&compiled(ONE_SUBNET, 2), &packets, &mut verdicts);
        assert_eq!(
            std::array::from_fn(|lane| judge.is_certain(lane)),
            [true, true, false, true, true]
        );
    }

    #[test]
    fn flows_are_remembered_or_counted_as_evicted() {
        let policy = compiled(ICE, 1);
        let mut judge = Judge::new(Capacity::of(16));
        assert_eq!((judge.flows(), judge.evicted_flows()), (0, 0));
        let mut judge_flows = |count: u16| {
            for port in 0..count {
                let bytes = media(false, 40_000 + port);
                judge.judge_one(&policy, Received::whole(&bytes, Duration::ZERO));
            }
            (judge.flows(), judge.evicted_flows())
        };
        assert_eq!(judge_flows(2), (2, 0));
        let (remembered, evicted) = judge_flows(1_000);
        assert!(evicted > 900, "{evicted}");
        assert_eq!(remembered as u64 + evicted, 1_000);
    }

    #[test]
    fn a_later_fragment_follows_no_first_where_an_allow_has_every_port() {
        let policy = compiled(&TWO_SERVERS.replace("ports = [\"443\"]\n", ""), 1);
        let later = fragment(NON_FIRST);
        let mut judge = Judge::new(Capacity::of(4));
        let verdict = judge.judge_one(&policy, Received::whole(&later, Duration::ZERO));
        assert_eq!(policy.rules().tell(verdict), "allow: web");
    }

    #[test]
    fn only_first_fragments_that_later_ones_ask_for_take_room() {
        let policy = compiled(TWO_SERVERS, 1);
        let mut judge = Judge::new(Capacity::of(4));
        let mut judge_ids = |ids: std::ops::Range<u8>, protocol: u8, last: u8| {
            for id in ids {
                let mut packet = fragment(FIRST);
                (packet[5], packet[9], packet[19]) = (id, protocol, last);
                judge.judge_one(&policy, Received::whole(&packet, Duration::ZERO));
            }
            judge.evicted_fragments()
        };
        // ICMP has no ports, and no rule speaks of 10.1.0.8.
        assert_eq!(judge_ids(0..20, 1, 10), 0);
        assert_eq!(judge_ids(0..20, 17, 8), 0);
        // The table has room for four.
        assert_eq!(judge_ids(0..4, 17, 10), 0);
        assert_eq!(judge_ids(4..9, 17, 10), 5);
    }

    #[test]
    fn a_later_fragment_follows_its_first_within_a_generation() {
        let policy = compiled(TWO_SERVERS, 1);
        for judge_one in [alone, as_a_batch] {
            let [first, later] = judge_two(&policy, &policy, judge_one);
            assert_eq!(first.action, Action::Drop);
            assert_eq!(policy.rules().tell(first), "servers: pool");
            assert_eq!(later, first);
        }
    }

    #[test]
    fn fragments_of_another_generation_are_forgotten() {
        let before = compiled(TWO_SERVERS, 1);
        for after in [compiled(ONE_SUBNET, 2), compiled(TWO_SERVERS, 2)] {
            for judge_one in [alone, as_a_batch] {
                let [_, later] = judge_two(&before, &after, judge_one);
                // Its rule would be one that `after` does not have, or another.
                assert_eq!(later, Verdict::forward(Reason::Default));
            }
        }
    }
}
