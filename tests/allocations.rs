//! The packet path allocates no memory: neither for the verdict of any packet nor, for known flows, in the audit.
//!
//! The packets come from our own captures, which hold every evasion that the tests know.

#![cfg(feature = "captures")]

use std::alloc::System;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use offramp::audit::Audit;
use offramp::capture::{CaptureReader, LinkPayload, gunzip, ip_packet};
use offramp::filter::{Capacity, CompiledPolicy, Generation, Judge};
use offramp::packet::Received;
use offramp::packet::virtio::Framing;
use offramp::verdict::{Reason, Verdict};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocator counts for all threads: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A kind of packets, and the capture that holds them.
const KINDS: [(&str, &str); 13] = [
    ("IPv4 and IPv6, TCP and UDP", "link-raw-101.pcap"),
    (
        "ICMP, IPsec and what else has no ports",
        "other-protocols.pcapng",
    ),
    (
        "IPv4 with options, source routes among them",
        "ipv4-options.pcapng",
    ),
    (
        "IPv4 fragments, first ones and tails",
        "ipv4-fragments.pcapng",
    ),
    (
        "IPv6 with chains of extension headers",
        "ipv6-extension-headers.pcapng",
    ),
    ("IPv6 fragments", "ipv6-fragments.pcapng"),
    ("malformed IPv4", "malformed-ipv4.pcapng"),
    ("malformed IPv6", "malformed-ipv6.pcapng"),
    ("neither IPv4 nor IPv6", "malformed-raw.pcapng"),
    ("GSO super-packets and jumbograms", "gso-and-jumbo.pcapng"),
    ("cut by the snap length", "snap-length.pcapng"),
    ("lengths that lie", "checksums-and-lengths.pcapng"),
    ("broadcast and multicast", "broadcast-and-multicast.pcapng"),
];

/// A packet that owns its bytes.
struct Packet {
    bytes: Vec<u8>,
    length_on_wire: usize,
    at: Duration,
}

impl Packet {
    fn received(&self) -> Received<'_> {
        Received::captured(&self.bytes, self.length_on_wire, self.at)
    }
}

/// Returns the policy and the IP packets of one of our captures.
fn capture(file: &str) -> (CompiledPolicy, Vec<Packet>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/captures")
        .join(file);
    let text = std::fs::read(path.with_extension("policy.toml")).expect("a policy beside it");
    let (policy, _) = offramp::policy::parse(file, &text).expect("a good policy");
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
    let bytes = gunzip(File::open(path).expect("a capture")).expect("a readable file");
    let mut reader = CaptureReader::new(bytes).expect("a capture");
    let mut packets = Vec::new();
    while let Some(frame) = reader.next_frame().expect("a whole capture") {
        if let LinkPayload::Ip { packet, offset } = ip_packet(frame.link_type, frame.bytes) {
            packets.push(Packet {
                bytes: packet.to_vec(),
                length_on_wire: (frame.original_length as usize).saturating_sub(offset),
                at: frame.timestamp,
            });
        }
    }
    assert!(!packets.is_empty(), "{file}");
    (policy, packets)
}

/// Returns how often `act` allocates, on a value that `prepare` makes.
///
/// The thread that runs the tests allocates at times of its own. That only adds, so the result is the minimum of
/// several runs, each with a fresh value.
fn allocations<T>(prepare: impl Fn() -> T, mut act: impl FnMut(&mut T)) -> usize {
    let run = || {
        let mut prepared = prepare();
        let region = Region::new(ALLOCATOR);
        act(&mut prepared);
        let change = region.change();
        change.allocations + change.reallocations
    };
    std::iter::repeat_with(run)
        .take(5)
        .min()
        .expect("five runs")
}

fn judge() -> Judge {
    Judge::new(Capacity::of(1 << 10))
}

const UNJUDGED: Verdict = Verdict::drop(Reason::Malformed);

#[test]
fn the_allocations_of_a_known_culprit_are_counted() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let count = allocations(Vec::new, |list| list.extend([0_u8; 4096]));
    assert_eq!(count, 1);
}

#[test]
fn judging_a_batch_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut reasons = BTreeSet::new();
    for (kind, file) in KINDS {
        let (policy, packets) = capture(file);
        let received: Vec<Received<'_>> = packets.iter().map(Packet::received).collect();
        let mut verdicts = vec![UNJUDGED; received.len()];
        let count = allocations(judge, |judge| {
            judge.judge(&policy, &received, &mut verdicts)
        });
        assert_eq!(count, 0, "{kind}");
        reasons.extend(verdicts.iter().map(|verdict| verdict.reason.name()));
    }
    for rare in [
        "malformed",
        "source-routed",
        "tiny-fragment",
        "servers",
        "hairpin",
    ] {
        assert!(
            reasons.contains(rare),
            "no packet is judged {rare}: {reasons:?}"
        );
    }
}

#[test]
fn judging_one_packet_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (kind, file) in KINDS {
        let (policy, packets) = capture(file);
        let count = allocations(judge, |judge| {
            for packet in &packets {
                std::hint::black_box(judge.judge_one(&policy, packet.received()));
            }
        });
        assert_eq!(count, 0, "{kind}");
    }
}

#[test]
fn more_fragmented_datagrams_than_there_is_room_for_allocate_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (policy, packets) = capture("ipv4-fragments.pcapng");
    let prepare = || (Judge::new(Capacity::of(1)), packets[0].bytes.clone());
    let count = allocations(prepare, |(judge, _)| {
        for packet in &packets {
            std::hint::black_box(judge.judge_one(&policy, packet.received()));
        }
        assert!(judge.evicted_fragments() > 0, "the table overflows");
    });
    assert_eq!(count, 0);
}

#[cfg(feature = "gateway")]
#[test]
fn merging_a_batch_allocates_nothing() {
    use offramp::packet::merge::{Merger, Offload, PIECES};
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // A virtio header without flags leaves each packet as it came: a run of one flow, and one that cannot be merged.
    let frame = |number: u16, to: u16| {
        let mut ip = etherparse::Ipv4Header::new(
            0,
            64,
            etherparse::IpNumber::UDP,
            [172, 16, 1, 10],
            [10, 20, 0, 7],
        )
        .expect("short");
        ip.identification = number;
        let mut frame = vec![0; 10];
        etherparse::PacketBuilder::ip(etherparse::IpHeaders::Ipv4(ip, Default::default()))
            .udp(5_000, to)
            .write(&mut frame, &[7; 1_000])
            .expect("room");
        frame
    };
    let frames: Vec<Vec<u8>> = (0..64)
        .map(|number| frame(number / 2, 53 + number % 2 * (number + 1)))
        .collect();
    let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut writes = 0;
    let count = allocations(
        || Merger::new(Offload::TcpAndUdp, Framing::Ip),
        |merger| {
            let mut pieces = [std::io::IoSlice::new(&[]); PIECES];
            writes = merger.merge(&slices, &mut pieces).count();
        },
    );
    assert_eq!((count, writes), (0, 33));
}

/// Returns a live policy whose workers hand over the packets it drops, and the other end, which the test leaves unread.
#[cfg(feature = "gateway")]
fn live_with_records(
    policy: CompiledPolicy,
) -> (
    offramp::gateway::tun::publish::Live,
    offramp::gateway::record::drops::SampleReader,
) {
    use offramp::gateway::record::LogSink;
    use offramp::gateway::record::drops::{CaptureOptions, DropOptions, LogOptions, samples};
    use offramp::gateway::tun::publish::{Live, Published};
    use std::sync::Arc;

    let reader = samples(&DropOptions {
        log: Some(LogOptions {
            place: LogSink::Output,
            rate: 1_000,
        }),
        capture: Some(CaptureOptions {
            file: "unused".into(),
            size: 1 << 20,
            snap_length: 4_096,
        }),
        examines: true,
    });
    let writer = reader.writer();
    let published = Published::new(policy, Some(writer), 1);
    let live = Live::new(Arc::new(published), 0, Arc::default(), Arc::default());
    (live, reader)
}

#[cfg(feature = "gateway")]
#[test]
fn a_worker_that_hands_over_what_it_drops_allocates_nothing() {
    use offramp::datapath::Judgement;

    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut handed_over = 0;
    for (kind, file) in KINDS {
        let (_, packets) = capture(file);
        let received: Vec<Received<'_>> = packets.iter().map(Packet::received).collect();
        let mut verdicts = vec![UNJUDGED; received.len()];
        let prepare = || live_with_records(capture(file).0);
        // More often than there are free samples: some packets are handed over, others find no sample free.
        let count = allocations(prepare, |(live, reader)| {
            for _ in 0..1 + reader.capacity() / received.len() {
                for (packets, verdicts) in received
                    .chunks(Judge::BATCH)
                    .zip(verdicts.chunks_mut(Judge::BATCH))
                {
                    live.judge(packets, verdicts);
                }
            }
        });
        assert_eq!(count, 0, "{kind}");
        let (mut live, reader) = prepare();
        for (packets, verdicts) in received
            .chunks(Judge::BATCH)
            .zip(verdicts.chunks_mut(Judge::BATCH))
        {
            live.judge(packets, verdicts);
        }
        handed_over += std::iter::from_fn(|| reader.next()).count();
    }
    assert!(handed_over > 100, "{handed_over}");
}

#[cfg(feature = "gateway")]
#[test]
fn a_worker_whose_client_is_traced_allocates_nothing() {
    use offramp::datapath::Judgement;
    use offramp::gateway::tun::publish::{Live, Published};
    use std::sync::Arc;

    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut handed_over = 0;
    for (kind, file) in KINDS {
        let (_, packets) = capture(file);
        let received: Vec<Received<'_>> = packets.iter().map(Packet::received).collect();
        let sources = received.iter().filter_map(|it| it.parse().ok());
        let Some(client) = sources.map(|it| it.addresses().source()).next() else {
            continue;
        };
        let prepare = || {
            let published = Arc::new(Published::new(capture(file).0, None, 1));
            let trace = published.traces().begin(client).expect("the first");
            let live = Live::new(published, 0, Arc::default(), Arc::default());
            (live, trace)
        };
        let mut verdicts = vec![UNJUDGED; received.len()];
        let mut judge = |live: &mut Live| {
            for (packets, verdicts) in received
                .chunks(Judge::BATCH)
                .zip(verdicts.chunks_mut(Judge::BATCH))
            {
                live.judge(packets, verdicts);
            }
        };
        let count = allocations(prepare, |(live, _trace)| judge(live));
        assert_eq!(count, 0, "{kind}");
        let (mut live, trace) = prepare();
        judge(&mut live);
        handed_over += std::iter::from_fn(|| trace.next(|_| ())).count();
    }
    assert!(handed_over > 3, "{handed_over}");
}

#[test]
fn an_audit_that_knows_the_flows_allocates_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for (kind, file) in KINDS {
        let (policy, packets) = capture(file);
        let mut judge = judge();
        let judged: Vec<(&Packet, Verdict)> = packets
            .iter()
            .map(|packet| (packet, judge.judge_one(&policy, packet.received())))
            .collect();
        let record = |audit: &mut Audit| {
            for (packet, verdict) in &judged {
                let received = packet.received();
                audit.record(*verdict, received.parse(), received.length_on_wire);
            }
        };
        let warm = || {
            let mut audit = Audit::new();
            record(&mut audit);
            audit
        };
        assert_eq!(allocations(warm, record), 0, "{kind}");
    }
}
