//! [`StreamMeter`]: measures the RTP streams that a worker forwards, and [`QualityCounters`]: sums those that have ended.
//!
//! ```text
//!  forwarded packets ──▶ RtpTable ──▶ ended streams ──▶ QualityCounters: histograms by client pool and kind of peer
//! ```
//!
//! A gateway is handed what clients send, so these streams have their way through the tunnel behind them; the other direction
//! is not seen. Nothing is measured where ports alone decide (`media.match = "ports"`): there, no packet costs more. A
//! stream is summed when it has ended: a minute after its last packet, with the next packets of the worker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;

use crate::audit::quality::{Ends, Peer};
use crate::filter::CompiledPolicy;
use crate::packet::Received;
use crate::packet::media::quality::{MeasuredStream, RtpStream, RtpTable};
use crate::packet::media::{FlowKey, Segment};
use crate::verdict::{Action, Reason, Verdict};

/// Streams that a gateway measures at the same time, over all workers; about 2 MiB.
const MAX_STREAMS: usize = 4_096;

/// Groups with sums of their own: more pools than most sites have, each with every kind of peer.
const MAX_GROUPS: usize = 16 * Peer::ALL.len();

/// Bounds of the histogram of loss, in millionths.
pub const LOSS_BOUNDS: [u64; 6] = [0, 5_000, 10_000, 20_000, 50_000, 100_000];
/// Bounds of the histogram of jitter, in microseconds.
pub const JITTER_BOUNDS: [u64; 6] = [2_000, 5_000, 10_000, 20_000, 50_000, 100_000];

/// Sums of streams by client pool and kind of peer; `None` sums the pools beyond `MAX_GROUPS`.
pub type Groups = BTreeMap<(Option<IpNet>, Peer), Group>;

/// Sums of the streams of one client pool to one kind of peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Group {
    /// The share of packets that was lost, in millionths.
    pub loss: Histogram,
    /// The mean jitter, in microseconds, of streams whose clock is known or estimated.
    pub jitter: Histogram,
    /// The longest stream.
    pub longest: Duration,
}

/// Values by rising bounds, the last bucket without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// The number of values in each bucket.
    pub buckets: [u64; LOSS_BOUNDS.len() + 1],
    /// The sum of all values.
    pub sum: u64,
}

const _: () = assert!(JITTER_BOUNDS.len() == LOSS_BOUNDS.len());

impl Histogram {
    fn add(&mut self, value: u64, bounds: &[u64; LOSS_BOUNDS.len()]) {
        self.buckets[bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    fn add_all(&mut self, other: &Self) {
        for (sum, more) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += more;
        }
        self.sum += other.sum;
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Group {
    fn add(&mut self, stream: &RtpStream) {
        self.loss
            .add((stream.loss() * 1e6).ceil() as u64, &LOSS_BOUNDS);
        if let Some(jitter) = stream.jitter() {
            self.jitter.add((jitter.mean * 1e6) as u64, &JITTER_BOUNDS);
        }
        self.longest = self.longest.max(stream.duration());
    }

    /// Adds the streams of another group.
    pub fn add_all(&mut self, other: &Self) {
        self.loss.add_all(&other.loss);
        self.jitter.add_all(&other.jitter);
        self.longest = self.longest.max(other.longest);
    }
}

/// One worker's sums of streams.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct QualityCounters {
    streams: AtomicU64,
    evicted: AtomicU64,
    /// Locked by the worker for the end of a stream alone.
    groups: Mutex<Groups>,
}

impl QualityCounters {
    /// Streams under way.
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Streams that ended early, for lack of room.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Adds the sums to `groups`.
    pub fn add_to(&self, groups: &mut Groups) {
        for (key, group) in self.lock().iter() {
            groups.entry(*key).or_default().add_all(group);
        }
    }

    fn add(&self, policy: &CompiledPolicy, flow: &FlowKey, stream: &RtpStream) {
        let (source, destination) = (flow.source().ip(), flow.destination().ip());
        let ends = Ends::of(policy.policy(), source, destination);
        let mut groups = self.lock();
        let own = (ends.pool, ends.peer);
        let key = match groups.len() < MAX_GROUPS || groups.contains_key(&own) {
            true => own,
            false => (None, ends.peer),
        };
        groups.entry(key).or_default().add(stream);
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        // A panic while the lock was held leaves sums that are right for everything added so far.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures the streams that one worker forwards.
#[derive(Debug)]
pub struct StreamMeter {
    /// `None` until a policy asks for recognition.
    table: Option<RtpTable<()>>,
    counters: Arc<QualityCounters>,
    capacity: usize,
}

impl StreamMeter {
    /// A meter of one of `workers`, which sums into `counters`.
    pub fn new(counters: Arc<QualityCounters>, workers: usize) -> Self {
        Self {
            table: None,
            counters,
            capacity: MAX_STREAMS.div_ceil(workers.max(1)),
        }
    }

    /// Measures the packets of a batch that `policy` forwards.
    #[inline]
    pub fn measure(
        &mut self,
        policy: &CompiledPolicy,
        packets: &[Received<'_>],
        verdicts: &[Verdict],
    ) {
        if policy.recognition().is_some() || self.table.is_some() {
            self.measure_batch(policy, packets, verdicts);
        }
    }

    /// True if a packet of `flow`, or an earlier one, can be RTP that is to be measured.
    pub fn may_measure(&self, flow: &FlowKey, segment: Segment<'_>) -> bool {
        let table = self.table.as_ref();
        table.is_some_and(|it| it.may_be_rtp(segment) || it.has_stream_of(flow))
    }

    #[inline(never)]
    fn measure_batch(
        &mut self,
        policy: &CompiledPolicy,
        packets: &[Received<'_>],
        verdicts: &[Verdict],
    ) {
        let capacity = self.capacity;
        let table = self.table.get_or_insert_with(|| RtpTable::new(capacity));
        let counters = &self.counters;
        let ended = |stream: &MeasuredStream<()>| {
            counters.add(policy, &stream.flow, &stream.measured);
        };
        if policy.recognition().is_none() {
            table.finish(ended);
            self.table = None;
            counters.streams.store(0, Ordering::Relaxed);
            return;
        }
        for (packet, verdict) in packets.iter().zip(verdicts) {
            if verdict.action == Action::Forward
                && verdict.reason != Reason::NotAClient
                && is_udp(packet.bytes)
            {
                record(table, packet, ended);
            }
        }
        if let Some(packet) = packets.first() {
            table.sweep(packet.at, ended);
        }
        let streams = table.streams() as u64;
        counters.streams.store(streams, Ordering::Relaxed);
        counters.evicted.store(table.evicted(), Ordering::Relaxed);
    }
}

/// Records each datagram of a packet.
fn record(
    table: &mut RtpTable<()>,
    packet: &Received<'_>,
    mut ended: impl FnMut(&MeasuredStream<()>),
) {
    let part = Segment::of_plain(packet.bytes);
    let part = part.or_else(|| Segment::of(&packet.parse().ok()?));
    let Some((flow, segment)) = part else {
        return;
    };
    match (packet.datagram, segment) {
        (Some(datagram), Segment::Udp { payload, .. }) => {
            for payload in payload.chunks(datagram.get().into()) {
                let size = payload.len();
                let segment = Segment::Udp { payload, size };
                table.record(&flow, segment, packet.at, (), &mut ended);
            }
        }
        _ => table.record(&flow, segment, packet.at, (), &mut ended),
    }
}

/// True if the IP header names UDP; behind extension headers of IPv6, streams are not measured.
#[inline]
fn is_udp(packet: &[u8]) -> bool {
    let at = match packet.first().map(|first| first >> 4) {
        Some(4) => IPV4_PROTOCOL,
        _ => IPV6_NEXT_HEADER,
    };
    packet.get(at) == Some(&UDP)
}

/// RFC 791 §3.1.
const IPV4_PROTOCOL: usize = 9;
/// RFC 8200 §3.
const IPV6_NEXT_HEADER: usize = 6;
const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::gateway::host::sample::compiled;

    const ICE: &str = "[media]\nmatch = \"ice\"\n";

    /// RTP from a client: 20 ms a packet, on time.
    fn rtp(from: [u8; 4], to: [u8; 4], port: u16, number: u16) -> Vec<u8> {
        let mut payload = vec![0x80, 0];
        payload.extend(number.to_be_bytes());
        payload.extend((u32::from(number) * 160).to_be_bytes());
        payload.resize(172, 7);
        let mut packet = Vec::new();
        etherparse::PacketBuilder::ipv4(from, to, 64)
            .udp(port, 24_000)
            .write(&mut packet, &payload)
            .expect("room");
        packet
    }

    fn at(number: u16) -> Duration {
        Duration::from_millis(1_000 + 20 * u64::from(number))
    }

    struct Worker {
        meter: StreamMeter,
        counters: Arc<QualityCounters>,
    }

    impl Worker {
        fn new() -> Self {
            let counters = Arc::<QualityCounters>::default();
            Self {
                meter: StreamMeter::new(Arc::clone(&counters), 1),
                counters,
            }
        }

        fn put(&mut self, policy: &CompiledPolicy, bytes: &[u8], at: Duration, verdict: Verdict) {
            let packets = [Received::whole(bytes, at)];
            self.meter.measure(policy, &packets, &[verdict]);
        }

        /// Telephony with every tenth packet lost.
        fn call(&mut self, policy: &CompiledPolicy, to: [u8; 4], verdict: Verdict) {
            for number in (0..100).filter(|number| number % 10 != 9) {
                let packet = rtp([172, 16, 1, 10], to, 50_000, number);
                self.put(policy, &packet, at(number), verdict);
            }
        }

        /// Lets a minute pass.
        fn wait(&mut self, policy: &CompiledPolicy) {
            let now = at(100) + Duration::from_secs(60);
            for _ in 0..MAX_STREAMS {
                self.put(policy, b"", now, Verdict::drop(Reason::Malformed));
            }
        }

        fn groups(&self) -> Vec<(Option<String>, Peer, Group)> {
            let mut groups = Groups::new();
            self.counters.add_to(&mut groups);
            let groups = groups.into_iter();
            let groups = groups
                .map(|((pool, peer), group)| (pool.map(|pool| pool.to_string()), peer, group));
            groups.collect()
        }
    }

    const FORWARD: Verdict = Verdict::forward(Reason::Default);

    #[test]
    fn a_stream_that_still_tunnels_is_summed_when_it_has_ended() {
        let policy = compiled(ICE, 1);
        let mut worker = Worker::new();
        worker.call(&policy, [10, 0, 0, 9], FORWARD);
        assert_eq!((worker.counters.streams(), worker.groups().len()), (1, 0));
        worker.wait(&policy);
        assert_eq!(worker.counters.streams(), 0);
        let groups = worker.groups();
        let (pool, peer, group) = &groups[0];
        assert_eq!(pool.as_deref(), Some("172.16.1.0/24"));
        assert_eq!(*peer, Peer::Corporate);
        assert_eq!(group.loss.buckets, [0, 0, 0, 0, 0, 1, 0]);
        // 9 of 99.
        assert_eq!(group.loss.sum, 90_910);
        assert_eq!(group.jitter.buckets, [1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(group.longest, Duration::from_millis(20 * 98));
        assert_eq!(groups.len(), 1);
    }

    #[test]
    fn streams_that_are_dropped_or_do_not_come_from_clients_do_not_tunnel() {
        let policy = compiled(ICE, 1);
        let mut worker = Worker::new();
        worker.call(&policy, [10, 0, 0, 9], Verdict::drop(Reason::Media));
        worker.call(&policy, [10, 0, 0, 9], Verdict::forward(Reason::NotAClient));
        assert_eq!(worker.counters.streams(), 0);
    }

    #[test]
    fn nothing_is_measured_where_ports_alone_decide() {
        let mut worker = Worker::new();
        let (ports, ice) = (compiled("", 1), compiled(ICE, 2));
        worker.call(&ports, [10, 0, 0, 9], FORWARD);
        assert!(worker.meter.table.is_none());
        worker.call(&ice, [10, 0, 0, 9], FORWARD);
        // A reload ends what was measured.
        worker.put(&ports, b"", at(100), FORWARD);
        assert!(worker.meter.table.is_none());
        assert_eq!((worker.counters.streams(), worker.groups().len()), (0, 1));
    }

    #[test]
    fn the_datagrams_of_a_super_packet_are_measured_one_by_one() {
        let policy = compiled(ICE, 1);
        let mut worker = Worker::new();
        let one = |number| rtp([172, 16, 1, 10], [10, 0, 0, 9], 50_000, number);
        let mut together = one(0);
        (1..5).for_each(|number| together.extend(&one(number)[28..]));
        let length = together.len() as u16;
        together[2..4].copy_from_slice(&length.to_be_bytes());
        together[24..26].copy_from_slice(&(length - 20).to_be_bytes());
        let datagram = NonZeroU16::new(172);
        let packet = Received::whole(&together, at(0)).with_datagrams_of(datagram);
        worker.meter.measure(&policy, &[packet], &[FORWARD]);
        assert_eq!(worker.counters.streams(), 1);
    }

    #[test]
    fn pools_beyond_the_bound_are_summed() {
        let pools: Vec<String> = (0..60)
            .map(|pool| format!("\"172.17.{pool}.0/24\""))
            .collect();
        let text = format!(
            "[vpn]\nclient_subnets = [{}]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n{ICE}",
            pools.join(", ")
        );
        let (policy, _) = crate::policy::parse("pools.toml", text.as_bytes()).expect("in order");
        let policy = CompiledPolicy::new(policy, crate::filter::Generation(1)).expect("small");
        let mut worker = Worker::new();
        for pool in 0..60 {
            for number in 0..10 {
                let packet = rtp([172, 17, pool, 1], [10, 0, 0, 9], 50_000, number);
                worker.put(&policy, &packet, at(number), FORWARD);
            }
        }
        worker.wait(&policy);
        let groups = worker.groups();
        assert_eq!(groups.len(), MAX_GROUPS + 1);
        let others = groups.iter().find(|(pool, ..)| pool.is_none());
        let count = others.map(|(.., group)| group.loss.count());
        assert_eq!(count, Some(60 - MAX_GROUPS as u64));
    }
}
