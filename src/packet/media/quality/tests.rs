//! Streams against a slow model, and the table's bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;

use super::*;
use crate::packet::Protocol;
use crate::packet::media::traffic::Scenario;
use crate::packet::media::{FlowKey, Segment};

const START: Duration = Duration::from_secs(1_000);

/// One packet of a stream.
#[derive(Debug, Clone, Copy)]
struct Sent {
    sequence: u16,
    stamp: u32,
    payload_type: u8,
    is_marked: bool,
    at: Duration,
}

impl Sent {
    fn bytes(self, source: u32) -> Vec<u8> {
        let kind = self.payload_type | u8::from(self.is_marked) << 7;
        let mut bytes = vec![0x80, kind];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.stamp.to_be_bytes());
        bytes.extend(source.to_be_bytes());
        bytes.extend([0; 20]);
        bytes
    }

    fn header(self) -> Header {
        let bytes = self.bytes(7);
        Header::read(&bytes, bytes.len()).expect("an RTP header")
    }
}

/// Telephony: 20 ms a packet, on time.
fn speech(number: u32, payload_type: u8, clock: u32) -> Sent {
    Sent {
        sequence: number as u16,
        stamp: number.wrapping_mul(clock / 50),
        payload_type,
        is_marked: false,
        at: START + Duration::from_millis(20) * number,
    }
}

fn measure(packets: &[Sent]) -> RtpStream {
    let (first, rest) = packets.split_first().expect("a first packet");
    let mut stream = RtpStream::start(first.header(), first.at);
    for packet in rest {
        stream.add(packet.header(), packet.at);
    }
    stream
}

/// Figures of a stream, from the list of its packets: what RFC 3550 A.3 and A.8 say, without anything kept in between.
struct Model {
    expected: u64,
    distinct: u64,
    reordered: u64,
    last_jitter: f64,
    mean_jitter: f64,
    max_jitter: f64,
}

impl Model {
    /// Of packets within one cycle of numbers, none further from its place than the window, with one clock.
    fn of(packets: &[Sent], clock: f64) -> Self {
        let numbers: Vec<u16> = packets.iter().map(|it| it.sequence).collect();
        let highest_before = |at: usize| numbers[..at].iter().max().copied();
        let is_new = |at: usize| !numbers[..at].contains(&numbers[at]);
        let is_late = |at: usize| highest_before(at).is_some_and(|highest| numbers[at] < highest);
        let last = numbers.iter().max().expect("a packet");
        let transit = |packet: &Sent| packet.at.as_secs_f64() - f64::from(packet.stamp) / clock;
        let mut estimates = vec![0.0_f64];
        for pair in packets.windows(2) {
            let jitter = estimates[estimates.len() - 1];
            let difference = (transit(&pair[1]) - transit(&pair[0])).abs();
            estimates.push(jitter + (difference - jitter) / 16.0);
        }
        let estimates = &estimates[1..];
        Self {
            expected: u64::from(last - numbers[0]) + 1,
            distinct: numbers.iter().collect::<BTreeSet<_>>().len() as u64,
            reordered: (0..numbers.len())
                .filter(|&at| is_new(at) && is_late(at))
                .count() as u64,
            last_jitter: estimates.last().copied().unwrap_or_default(),
            mean_jitter: estimates.iter().sum::<f64>() / estimates.len().max(1) as f64,
            max_jitter: estimates.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// Packets in the order of arrival: lost, late, doubled, each up to 30 ms late.
fn arrivals(payload_type: u8, clock: u32) -> impl Strategy<Value = Vec<Sent>> {
    let packet = (0_u8..20, 0_u64..30_000);
    proptest::collection::vec(packet, 70..200).prop_map(move |packets| {
        let mut sent = vec![speech(0, payload_type, clock)];
        for (number, (fate, late)) in (1..).zip(packets) {
            let mut packet = speech(number, payload_type, clock);
            packet.at += Duration::from_micros(late);
            match fate {
                19 => {}
                18 => {
                    packet.at += Duration::from_millis(70);
                    sent.push(packet);
                }
                17 => {
                    sent.push(packet);
                    packet.at += Duration::from_millis(1);
                    sent.push(packet);
                }
                _ => sent.push(packet),
            }
        }
        sent.sort_by_key(|it| it.at);
        // The first packet opens the stream in the model, too.
        let first = sent.iter().position(|it| it.sequence == 0);
        sent.swap(0, first.expect("it was not lost"));
        sent
    })
}

fn assert_close(ours: f64, model: f64) {
    assert!((ours - model).abs() < 1e-9, "{ours} is not {model}");
}

fn assert_agreement(packets: &[Sent], clock: u32) {
    let stream = measure(packets);
    let model = Model::of(packets, f64::from(clock));
    assert_eq!(stream.received(), packets.len() as u64);
    assert_eq!(stream.expected(), model.expected);
    assert_eq!(stream.lost(), model.expected as i64 - packets.len() as i64);
    assert_eq!(stream.duplicates(), packets.len() as u64 - model.distinct);
    assert_eq!(stream.reordered(), model.reordered);
    let missing = model.expected - model.distinct;
    assert_close(stream.loss(), missing as f64 / model.expected as f64);
    let jitter = stream.jitter().expect("a clock");
    assert_close(jitter.last, model.last_jitter);
    assert_close(jitter.mean, model.mean_jitter);
    assert_close(jitter.max, model.max_jitter);
}

proptest! {
    #[test]
    fn a_stream_is_measured_as_by_the_model(packets in arrivals(0, 8_000)) {
        assert_agreement(&packets, 8_000);
    }

    #[test]
    fn the_clock_of_an_agreed_type_is_found(
        packets in arrivals(111, 48_000),
        slower in arrivals(104, 16_000),
    ) {
        let clock = measure(&packets).clock().expect("a clock");
        prop_assert_eq!((clock.rate, clock.basis), (48_000, ClockBasis::Estimated));
        assert_agreement(&packets, 48_000);
        assert_agreement(&slower, 16_000);
    }
}

#[test]
fn a_payload_type_with_a_clock_needs_no_estimate() {
    let two: Vec<Sent> = (0..2).map(|number| speech(number, 0, 8_000)).collect();
    let clock = measure(&two).clock().expect("a clock");
    assert_eq!((clock.rate, clock.basis), (8_000, ClockBasis::PayloadType));
    let two: Vec<Sent> = (0..2).map(|number| speech(number, 111, 48_000)).collect();
    assert_eq!(measure(&two).clock(), None);
    assert!(measure(&two).jitter().is_none());
}

#[test]
fn stamps_and_numbers_wrap() {
    let packet = |number: u32| Sent {
        sequence: (65_530 + number) as u16,
        stamp: (u32::MAX - 800).wrapping_add(number * 160),
        ..speech(number, 8, 8_000)
    };
    let stream = measure(&(0..50).map(packet).collect::<Vec<_>>());
    assert_eq!((stream.expected(), stream.lost()), (50, 0));
    assert!(stream.jitter().is_some_and(|it| it.max < 1e-9));
    assert_eq!(stream.duration(), Duration::from_millis(980));
}

#[test]
fn comfort_noise_and_markers_are_left_out_of_mean_and_maximum() {
    let jitter = |payload_type, is_marked| {
        let mut packets: Vec<Sent> = (0..40).map(|number| speech(number, 0, 8_000)).collect();
        packets[20].at += Duration::from_millis(10);
        packets[20].payload_type = payload_type;
        packets[20].is_marked = is_marked;
        let stream = measure(&packets);
        assert_eq!(stream.payload_type(), 0);
        stream.jitter().expect("a clock")
    };
    let (plain, noise, marked) = (jitter(0, false), jitter(13, false), jitter(0, true));
    // The late packet, and the one behind it, which is 10 ms less late.
    let first = 0.010 / 16.0;
    let second = first + (0.010 - first) / 16.0;
    assert_close(plain.max, second);
    assert_close(noise.max, second * 15.0 / 16.0);
    assert_close(marked.max, second);
    assert!(noise.mean < marked.mean && marked.mean < plain.mean);
    assert_close(noise.last, plain.last);
}

#[test]
fn a_capture_whose_times_go_back_is_measured() {
    let mut packets: Vec<Sent> = (0..10).map(|number| speech(number, 0, 8_000)).collect();
    let before = START - Duration::from_secs(1);
    packets[5].at = before;
    let stream = measure(&packets);
    assert_eq!(
        (stream.first(), stream.duration()),
        (before, Duration::from_millis(1_180))
    );
    // A second and 100 ms back, and forth.
    let back = 1.1 / 16.0;
    let forth = back + (1.1 - back) / 16.0;
    let jitter = stream.jitter().expect("a clock");
    assert_close(jitter.max, forth);
}

/// A table of few entries, and the streams that ended.
struct Table {
    table: RtpTable<u32>,
    ended: Vec<(u32, u64, u32)>,
}

fn flow(port: u16) -> FlowKey {
    let (client, host) = (Ipv4Addr::new(172, 16, 1, 10), Ipv4Addr::new(10, 2, 0, 20));
    FlowKey::new(Protocol::Udp, (client.into(), port), (host.into(), 50_010))
}

impl Table {
    fn new(capacity: usize) -> Self {
        Self {
            table: RtpTable::new(capacity),
            ended: Vec::new(),
        }
    }

    fn put(&mut self, port: u16, source: u32, packet: Sent) {
        self.put_bytes(port, &packet.bytes(source), packet.at);
    }

    fn put_bytes(&mut self, port: u16, payload: &[u8], at: Duration) {
        let size = payload.len();
        let segment = Segment::Udp { payload, size };
        let note = port.into();
        let ended = &mut self.ended;
        self.table.record(&flow(port), segment, at, note, |stream| {
            ended.push((stream.source, stream.measured.received(), stream.note));
        });
    }

    fn finish(mut self) -> Vec<(u32, u64, u32)> {
        let ended = &mut self.ended;
        self.table.finish(|stream| {
            ended.push((stream.source, stream.measured.received(), stream.note));
        });
        assert_eq!(self.table.streams(), 0);
        self.ended.sort_unstable();
        self.ended
    }
}

#[test]
fn streams_are_counted_from_their_first_packet_on_and_candidates_are_not_told() {
    let mut table = Table::new(64);
    for number in 0..10 {
        table.put(1, 7, speech(number, 0, 8_000));
        table.put(1, 8, speech(number, 111, 48_000));
        table.put(2, 7, speech(number, 0, 8_000));
        // A counter, not a clock.
        table.put(
            3,
            9,
            Sent {
                stamp: number,
                ..speech(number, 0, 8_000)
            },
        );
    }
    table.put(4, 10, speech(0, 0, 8_000));
    assert_eq!(table.table.streams(), 3);
    assert_eq!(table.finish(), [(7, 10, 1), (7, 10, 2), (8, 10, 1)]);
}

#[test]
fn rtp_in_channel_data_is_measured() {
    let mut table = Table::new(64);
    for number in 0..10 {
        let packet = speech(number, 0, 8_000);
        let rtp = packet.bytes(7);
        let mut framed = vec![0x40, 0x01, 0, rtp.len() as u8];
        framed.extend(&rtp);
        framed.resize(framed.len() + number as usize % 4, 0);
        table.put_bytes(1, &framed, packet.at);
    }
    assert_eq!(table.finish(), [(7, 10, 1)]);
}

#[test]
fn a_minute_of_silence_ends_a_stream() {
    let mut table = Table::new(64);
    let late = |number, by| {
        let packet = speech(number, 0, 8_000);
        Sent {
            at: packet.at + by,
            ..packet
        }
    };
    (0..10).for_each(|number| table.put(1, 7, speech(number, 0, 8_000)));
    let short_of_it = Duration::from_millis(59_980);
    (10..20)
        .for_each(|number| table.put(1, 7, late(number, short_of_it - Duration::from_nanos(1))));
    assert_eq!(table.ended, []);
    (20..30).for_each(|number| table.put(1, 7, late(number, short_of_it * 2)));
    assert_eq!(table.ended, [(7, 20, 1)]);
    assert_eq!(table.finish(), [(7, 10, 1), (7, 20, 1)]);
}

#[test]
fn a_sweep_ends_idle_streams_whatever_comes() {
    let mut table = Table::new(64);
    (0..10).for_each(|number| table.put(1, 7, speech(number, 0, 8_000)));
    let mut ended = 0;
    let mut sweep = |table: &mut Table, after| {
        let now = START + Duration::from_millis(180) + Duration::from_secs(after);
        (0..8).for_each(|_| table.table.sweep(now, |_| ended += 1));
        ended
    };
    assert_eq!(sweep(&mut table, 59), 0);
    assert_eq!(sweep(&mut table, 60), 1);
    assert_eq!(table.table.streams(), 0);
}

#[test]
fn candidates_make_room_first_and_evicted_streams_are_told_and_counted() {
    let mut table = Table::new(8);
    for number in 0..10 {
        (0..8).for_each(|port| table.put(port, 7, speech(number, 0, 8_000)));
    }
    assert_eq!(table.table.streams(), 8);
    // Each takes an entry, the first from the oldest stream, and the next from the candidate before it.
    (0..100).for_each(|source| table.put(9, 1_000 + source, speech(10, 0, 8_000)));
    assert_eq!((table.table.evicted(), table.ended.len()), (1, 1));
    assert_eq!(table.table.streams(), 7);
}

#[test]
fn a_table_keeps_to_its_memory() {
    let table = RtpTable::<u32>::new(8_192);
    assert!(table.memory_bytes() < 4 << 20, "{}", table.memory_bytes());
}

#[test]
fn streams_of_a_table_are_those_of_each_flow_alone() {
    let mut together = Table::new(1_024);
    let mut alone = BTreeMap::new();
    for number in 0..60 {
        for port in 0..40_u16 {
            if (number + u32::from(port)) % 7 == 0 {
                continue;
            }
            let packet = speech(number, 0, 8_000);
            together.put(port, port.into(), packet);
            let table = alone.entry(port).or_insert_with(|| Table::new(8));
            table.put(port, port.into(), packet);
        }
    }
    let mut separate: Vec<_> = alone.into_values().flat_map(Table::finish).collect();
    separate.sort_unstable();
    assert_eq!(separate.len(), 40);
    assert_eq!(together.finish(), separate);
}

proptest! {
    /// Media, media with changed bits, and what resembles it: no arithmetic fails, and the figures are those of packets.
    #[test]
    fn any_traffic_is_measured_within_its_packets(bytes in proptest::collection::vec(any::<u8>(), 0..3_000)) {
        let mut traffic = Unstructured::new(&bytes);
        let scenario = Scenario::arbitrary(&mut traffic).expect("it takes any bytes");
        let mut table = RtpTable::<u32>::new(16);
        let arrivals = scenario.arrivals.len() as u64;
        let mut received = 0;
        let mut check = |stream: &MeasuredStream<u32>| {
            let measured = &stream.measured;
            received += measured.received();
            assert!((0.0..=1.0).contains(&measured.loss()), "{measured:?}");
            assert!(measured.duplicates() + measured.reordered() < measured.received());
            assert!(measured.jitter().is_none_or(|it| it.mean <= it.max && it.max.is_finite()));
        };
        for arrival in &scenario.arrivals {
            table.record(&arrival.key, arrival.segment.borrow(), arrival.at, 0, &mut check);
        }
        table.finish(&mut check);
        prop_assert!(received <= arrivals);
    }
}

#[test]
fn the_types_of_most_packets_say_if_the_clock_is_known() {
    let clock = |types: &[u8]| {
        let packets = types.iter().zip(0..);
        let packets: Vec<Sent> = packets
            .map(|(payload_type, number)| speech(number, *payload_type, 8_000))
            .collect();
        let stream = measure(&packets);
        assert_eq!(Some(&stream.payload_type()), types.last());
        stream.clock().map(|it| (it.rate, it.basis))
    };
    let known = Some((8_000, ClockBasis::PayloadType));
    for (types, expected) in [
        (&[0][..], known),
        (&[8], known),
        (&[96, 0], None),
        (&[0, 96, 0, 0], known),
        (&[0, 96, 96, 96, 0], None),
        (&[96], None),
    ] {
        assert_eq!(clock(types), expected, "{types:?}");
    }
    // Eight packets in more than a second are enough to estimate a clock from their stamps.
    let estimated = |count| {
        let packets = (0..count).map(|number| speech(10 * number, 111, 8_000));
        let clock = measure(&packets.collect::<Vec<_>>()).clock();
        clock.map(|it| (it.rate, it.basis))
    };
    assert_eq!(estimated(7), None);
    assert_eq!(estimated(8), Some((8_000, ClockBasis::Estimated)));
    let words = [ClockBasis::PayloadType, ClockBasis::Estimated].map(ClockBasis::word);
    assert_eq!(words, ["payload type", "estimated"]);
}

#[test]
fn a_flow_has_a_stream_from_the_packet_on_that_shows_media() {
    let mut table = Table::new(64);
    let mut has = Vec::new();
    for number in 0..3 {
        table.put(1, 7, speech(number, 0, 8_000));
        // A counter, not a clock.
        let counter = Sent {
            stamp: number,
            ..speech(number, 0, 8_000)
        };
        table.put(3, 9, counter);
        has.push([1, 2, 3].map(|port| table.table.has_stream_of(&flow(port))));
    }
    let none = [false; 3];
    assert_eq!(has, [none, none, [true, false, false]]);
}

#[test]
fn a_header_alone_says_what_may_be_rtp() {
    let table = Table::new(4);
    let may_be = |payload: &[u8]| {
        let size = payload.len();
        table.table.may_be_rtp(Segment::Udp { payload, size })
    };
    assert!(may_be(&speech(1, 0, 8_000).bytes(7)));
    assert!(!may_be(b"a few bytes of something else"));
}

#[test]
fn sources_of_one_flow_that_differ_in_one_bit_are_streams_of_their_own() {
    let mut table = Table::new(64);
    for number in 0..10 {
        for source in [6, 7, 1 << 31 | 6] {
            table.put(1, source, speech(number, 0, 8_000));
        }
    }
    assert_eq!(
        table.finish(),
        [(6, 10, 1), (7, 10, 1), (1 << 31 | 6, 10, 1)]
    );
}

/// With two sets to choose from, a table that is half full has room for nearly every stream.
#[test]
fn half_a_table_of_streams_evicts_next_to_none() {
    let mut table = Table::new(1 << 12);
    for number in 0..3 {
        for port in 0..1 << 11 {
            table.put(port, 7, speech(number, 0, 8_000));
        }
    }
    let (streams, evicted) = (table.table.streams(), table.table.evicted());
    assert!(streams > (1 << 11) - 16, "{streams} streams");
    assert!(evicted < 16, "{evicted} evicted");
}

#[test]
fn a_packet_is_late_up_to_a_bound_and_then_one_out_of_any_order() {
    let late = |by: u32| {
        let packet = |number| speech(number, 0, 8_000);
        let stream = measure(&[packet(1_000), packet(1_001), packet(1_001 - by)]);
        (stream.expected(), stream.reordered())
    };
    assert_eq!(late(99), (2, 1));
    // It is expected by itself, as another sender might have begun.
    assert_eq!(late(100), (3, 0));
}
