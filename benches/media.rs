//! The cost of media recognition per packet.
//!
//! `cargo bench --bench media`. `judge` compares the whole verdict under `media.match = "ports"` with that under `"ice"` and
//! `"media"`: to media ports, and to ports that the class rules out. Below it, recognition alone: packets of 1,000 and of 100,000 known flows arrive in random order, in batches
//! of 64. `parse` reads their headers alone; the difference to it is the cost of recognition. Flows are
//! of three kinds: known not to be media (RDP, SQL, …), known to be media, and new ones, which the table has to insert. `quality`
//! measures RTP streams, their headers included.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use etherparse::PacketBuilder;
use offramp::filter::{Capacity, CompiledPolicy, Generation, Judge};
use offramp::packet::media::quality::RtpTable;
use offramp::packet::media::{FlowTable, Profile, Segment};
use offramp::packet::{BATCH, PacketView, Received};
use offramp::verdict::{Action, Reason, Verdict};

const FLOWS: [usize; 2] = [1_000, 100_000];
const START: Duration = Duration::from_secs(1000);

/// The protocol of a flow.
#[derive(Clone, Copy)]
enum Kind {
    /// A protocol that is not media.
    Other,
    /// Connectivity checks.
    Media,
    /// RTP of telephony.
    Rtp,
}

/// The same packets for each flow, flows in an order without pattern; source ports and addresses tell flows apart.
fn packets(flows: usize, kind: Kind) -> Vec<Vec<u8>> {
    packets_to(50_010, flows, kind)
}

/// The same, to a port.
fn packets_to(port: u16, flows: usize, kind: Kind) -> Vec<Vec<u8>> {
    let mut payload = [0x17; 100];
    match kind {
        Kind::Other => {}
        Kind::Media => payload[..8].copy_from_slice(&[0, 1, 0, 80, 0x21, 0x12, 0xa4, 0x42]),
        Kind::Rtp => payload[..2].copy_from_slice(&[0x80, 0]),
    }
    let mut order: Vec<usize> = (0..flows).collect();
    // A multiplier without common divisor: the order of a full cycle.
    order.sort_by_key(|&flow| (flow * 48_271 + 11) % 65_537);
    let packet = |flow: usize| {
        let [_, _, high, low] = (flow as u32 / 50).to_be_bytes();
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([172, 16, high, low], [10, 2, 0, 20], 64)
            .udp(50_000 + (flow % 50) as u16, port)
            .write(&mut bytes, &payload)
            .expect("a vector takes any packet");
        bytes
    };
    order.into_iter().map(packet).collect()
}

/// The policy with this `media.match`.
fn compiled(recognition: &str) -> CompiledPolicy {
    let text = format!(
        "[vpn]\nclient_subnets = [\"172.16.0.0/16\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
         [media]\nmatch = \"{recognition}\"\n"
    );
    let (policy, _) = offramp::policy::parse("bench.toml", text.as_bytes()).expect("in order");
    CompiledPolicy::new(policy, Generation(1)).expect("it is small")
}

/// Judges all packets in batches.
fn judge(judge: &mut Judge, policy: &CompiledPolicy, packets: &[Received<'_>]) -> usize {
    let mut verdicts = [Verdict::drop(Reason::Malformed); BATCH];
    let mut dropped = 0;
    for batch in packets.chunks(BATCH) {
        judge.judge(policy, batch, &mut verdicts[..batch.len()]);
        dropped += verdicts[..batch.len()]
            .iter()
            .filter(|it| it.action == Action::Drop)
            .count();
    }
    dropped
}

/// The cost of whole verdicts.
fn measure_verdicts(criterion: &mut Criterion) {
    for flows in FLOWS {
        let mut group = criterion.benchmark_group(format!("judge, {flows} flows"));
        group
            .throughput(Throughput::Elements(flows as u64))
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        for (port, to) in [(50_010, "media ports"), (443, "port 443")] {
            let bytes = packets_to(port, flows, Kind::Other);
            let received: Vec<Received<'_>> =
                bytes.iter().map(|it| Received::whole(it, START)).collect();
            for recognition in ["ports", "ice", "media"] {
                let policy = compiled(recognition);
                let mut memory = Judge::new(Capacity::GATEWAY);
                for _ in 0..10 {
                    judge(&mut memory, &policy, &received);
                }
                group.bench_function(format!("{to}, match = {recognition}"), |bencher| {
                    bencher.iter(|| judge(&mut memory, &policy, black_box(&received)));
                });
            }
        }
        group.finish();
    }
}

/// Examines all packets; returns the number that are media.
fn look(table: &mut FlowTable, packets: &[Vec<u8>], at: Duration) -> usize {
    let mut media = 0;
    for batch in packets.chunks(BATCH) {
        for packet in batch {
            let view = PacketView::parse(packet).expect("packets of etherparse are well-formed");
            if let Some((key, segment)) = Segment::of(&view) {
                media += usize::from(
                    table
                        .look(Profile::Any, &key, segment, at)
                        .media()
                        .is_some(),
                );
            }
        }
    }
    media
}

/// Reads the headers of all packets.
fn parse(packets: &[Vec<u8>]) -> usize {
    let ports = |packet: &Vec<u8>| PacketView::parse(packet).map(|view| view.transport());
    packets
        .iter()
        .filter(|packet| black_box(ports(packet)).is_ok())
        .count()
}

fn measure(criterion: &mut Criterion) {
    for flows in FLOWS {
        let mut group = criterion.benchmark_group(format!("media, {flows} flows"));
        group
            .throughput(Throughput::Elements(flows as u64))
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        let other = packets(flows, Kind::Other);
        group.bench_function("parse", |bencher| bencher.iter(|| parse(&other)));
        for (name, kind) in [("not media", Kind::Other), ("media", Kind::Media)] {
            let packets = packets(flows, kind);
            let mut table = FlowTable::new(FlowTable::GATEWAY_FLOWS);
            for _ in 0..10 {
                look(&mut table, &packets, START);
            }
            group.bench_function(name, |bencher| {
                bencher.iter(|| look(&mut table, black_box(&packets), START));
            });
        }
        let mut table = FlowTable::new(FlowTable::GATEWAY_FLOWS);
        group.bench_function("new flows", |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    table.clear();
                    let start = Instant::now();
                    black_box(look(&mut table, black_box(&other), START));
                    spent += start.elapsed();
                }
                spent
            });
        });
        group.finish();
    }
}

/// The cost of measuring RTP: of a packet of 1,000 streams, and of one that cannot be RTP.
fn measure_streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("quality, 1000 streams");
    group
        .throughput(Throughput::Elements(1_000))
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    for (name, kind) in [("rtp", Kind::Rtp), ("other", Kind::Other)] {
        let mut packets = packets(1_000, kind);
        let mut table = RtpTable::<()>::new(4_096);
        let mut number = 0_u16;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    number = number.wrapping_add(1);
                    let at = START + Duration::from_millis(20) * u32::from(number);
                    for packet in packets.iter_mut().filter(|_| matches!(kind, Kind::Rtp)) {
                        packet[30..32].copy_from_slice(&number.to_be_bytes());
                        packet[32..36].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
                    }
                    let start = Instant::now();
                    for packet in black_box(&packets) {
                        let (flow, segment) = Segment::of_plain(packet).expect("a plain datagram");
                        table.record(&flow, segment, at, (), |_| {});
                    }
                    spent += start.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    measure_verdicts(&mut criterion);
    measure(&mut criterion);
    measure_streams(&mut criterion);
    criterion.final_summary();
}
