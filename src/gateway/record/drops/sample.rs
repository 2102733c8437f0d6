//! [`Sample`]: the beginning of a dropped packet, on its way from the worker that dropped it.
//!
//! Samples are recycled: there is a fixed number of them, made at the start, and a worker takes a free one and hands it
//! over filled. Both ways are lock-free queues that have room for all of them, so that no thread ever waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use crossbeam_queue::ArrayQueue;

use super::counts::Counts;
use super::{CaptureOptions, DropOptions};
use crate::gateway::record::judged::{JudgedPacket, LINE_SNAP_LENGTH, PolicyNames};
use crate::packet::Received;
use crate::verdict::{Action, DecidedBy, Reason, Verdict};

/// A dropped packet.
#[derive(Debug)]
pub struct Sample {
    /// The packet, and the verdict that dropped it.
    pub packet: JudgedPacket,
    /// For the log: suppressed packets of the same reason, dropped by the same worker since the last line.
    pub suppressed: Option<u64>,
    /// For the table: packets of the same reason that the same worker dropped since its last sample for the table.
    pub missed: Option<u64>,
    /// True if it is for the report of services that are cut off.
    pub is_examined: bool,
}

/// Packets that a worker dropped without a sample, by reason; it keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suppressed {
    /// Without a line in the log, since the last one.
    pub log: [u64; Reason::ALL.len()],
    /// Without a sample for the table, since the last one.
    pub table: [u64; Reason::ALL.len()],
}

/// State that workers and the recorder share.
#[derive(Debug)]
struct Pool {
    free: ArrayQueue<Box<Sample>>,
    filled: ArrayQueue<Box<Sample>>,
    /// Lines that the log may have yet in this second, by reason.
    lines_left: [AtomicU32; Reason::ALL.len()],
    /// Samples that the table may have yet in this tick, by reason.
    table_left: [AtomicU32; Reason::ALL.len()],
    /// Packets that may be examined yet in this second, by reason.
    examined_left: [AtomicU32; Reason::ALL.len()],
    wants_all: bool,
    counts: Arc<Counts>,
}

/// Makes the samples for what `options` ask for: the end that reads them, and gives out those that fill them.
pub fn samples(options: &DropOptions) -> SampleReader {
    SampleReader::new(options, Arc::default())
}

/// The recorder's end of the queues.
#[derive(Debug)]
pub struct SampleReader {
    pool: Arc<Pool>,
    /// Lines a second.
    rate: u32,
    examines: bool,
}

impl SampleReader {
    pub(super) fn new(options: &DropOptions, counts: Arc<Counts>) -> Self {
        let snap_length = match &options.capture {
            Some(CaptureOptions { snap_length, .. }) => LINE_SNAP_LENGTH.max(*snap_length),
            None => LINE_SNAP_LENGTH,
        };
        let count = if *options == DropOptions::default() {
            TABLE_ONLY_SAMPLES
        } else {
            (MAX_BYTES / snap_length).clamp(MIN_SAMPLES, MAX_SAMPLES)
        };
        let free = ArrayQueue::new(count);
        for _ in 0..count {
            // There is room for as many as are made.
            _ = free.push(Box::new(Sample {
                packet: JudgedPacket::with_room_for(snap_length),
                suppressed: None,
                missed: None,
                is_examined: false,
            }));
        }
        let rate = options.log.as_ref().map_or(0, |log| log.rate);
        let pool = Pool {
            free,
            filled: ArrayQueue::new(count),
            lines_left: [const { AtomicU32::new(0) }; Reason::ALL.len()],
            table_left: [const { AtomicU32::new(0) }; Reason::ALL.len()],
            examined_left: [const { AtomicU32::new(0) }; Reason::ALL.len()],
            wants_all: options.capture.is_some(),
            counts,
        };
        let reader = Self {
            pool: Arc::new(pool),
            rate,
            examines: options.examines,
        };
        reader.begin_second();
        reader.begin_tick();
        reader
    }

    /// Returns a worker's end.
    pub fn writer(&self) -> SampleWriter {
        SampleWriter {
            pool: Arc::clone(&self.pool),
        }
    }

    /// Lets the log have its lines of another second, and the report its packets.
    pub fn begin_second(&self) {
        for left in &self.pool.lines_left {
            left.store(self.rate, Ordering::Relaxed);
        }
        for reason in Reason::ALL {
            let is_examined = self.examines
                && matches!(
                    reason.decided_by(),
                    DecidedBy::Corporate | DecidedBy::Client
                );
            let count = if is_examined { EXAMINED } else { 0 };
            self.pool.examined_left[reason as usize].store(count, Ordering::Relaxed);
        }
    }

    /// Lets the table have its samples of another tick.
    pub fn begin_tick(&self) {
        for left in &self.pool.table_left {
            left.store(SAMPLES_A_TICK, Ordering::Relaxed);
        }
    }

    /// Returns the number of samples.
    pub fn capacity(&self) -> usize {
        self.pool.filled.capacity()
    }

    /// Returns the next sample, which goes back by [`give_back`](Self::give_back).
    pub fn next(&self) -> Option<Box<Sample>> {
        self.pool.filled.pop()
    }

    /// Frees a sample that has been written.
    pub fn give_back(&self, mut sample: Box<Sample>) {
        sample.packet.clear();
        // There is room for as many as were made.
        _ = self.pool.free.push(sample);
    }
}

/// A worker's end: hands over samples of the packets it drops.
#[derive(Debug, Clone)]
pub struct SampleWriter {
    pool: Arc<Pool>,
}

impl SampleWriter {
    /// Hands over the packets of a batch that were dropped by the policy of these `names`; the slices are equally long.
    pub fn note(
        &self,
        packets: &[Received<'_>],
        verdicts: &[Verdict],
        names: &Arc<PolicyNames>,
        suppressed: &mut Suppressed,
    ) {
        let mut now = None;
        for (packet, verdict) in packets.iter().zip(verdicts) {
            match verdict.action {
                Action::Forward => {}
                Action::Drop => self.note_drop(packet, *verdict, names, &mut now, suppressed),
            }
        }
    }

    #[cold]
    fn note_drop(
        &self,
        packet: &Received<'_>,
        verdict: Verdict,
        names: &Arc<PolicyNames>,
        now: &mut Option<SystemTime>,
        suppressed: &mut Suppressed,
    ) {
        let pool = &*self.pool;
        let reason = verdict.reason as usize;
        let is_line = take_one(&pool.lines_left[reason]);
        let is_for_table = take_one(&pool.table_left[reason]);
        let is_examined = take_one(&pool.examined_left[reason]);
        let sample = if is_line || is_for_table || is_examined || pool.wants_all {
            pool.free.pop()
        } else {
            None
        };
        let Some(mut sample) = sample else {
            suppressed.log[reason] += 1;
            suppressed.table[reason] += 1;
            pool.count_lost(is_line);
            return;
        };
        let at = *now.get_or_insert_with(SystemTime::now);
        sample.packet.fill(packet, verdict, names, at);
        sample.is_examined = is_examined;
        let take = |is_wanted: bool, suppressed: &mut u64| {
            if is_wanted {
                return Some(std::mem::take(suppressed));
            }
            *suppressed += 1;
            None
        };
        sample.suppressed = take(is_line, &mut suppressed.log[reason]);
        sample.missed = take(is_for_table, &mut suppressed.table[reason]);
        // There is room for as many as were made.
        _ = pool.filled.push(sample);
    }
}

impl Pool {
    /// Counts a packet for which there was no free sample.
    fn count_lost(&self, is_line: bool) {
        if is_line {
            self.counts.log.add_lost(1);
        }
        if self.wants_all {
            self.counts.capture.add_lost(1);
        }
    }
}

/// Takes one of `left`, if any are left.
pub(in crate::gateway::record) fn take_one(left: &AtomicU32) -> bool {
    // Mostly there is nothing: then the line of the cache stays shared.
    left.load(Ordering::Relaxed) > 0
        && left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok()
}

/// Samples for the table in a tick, for each reason: 200 a second tell the shares of what is dropped to a few percent, and
/// where fewer packets are dropped, the table has all.
const SAMPLES_A_TICK: u32 = 20;
/// Samples where neither log nor capture is written: those of a tick, of each reason.
const TABLE_ONLY_SAMPLES: usize = 256;
const _: () = assert!(SAMPLES_A_TICK as usize * Reason::ALL.len() <= TABLE_ONLY_SAMPLES);
/// Bytes of packets that wait to be written, all together.
const MAX_BYTES: usize = 2 << 20;
/// Samples at most: what comes between two looks of the recorder at 200,000 packets a second.
const MAX_SAMPLES: usize = 4_096;
/// Packets examined a second for each reason: a copy of 128 bytes each, which a worker does not notice, and enough that a
/// service with few attempts is among them.
const EXAMINED: u32 = 1_000;
/// Samples at least, however long they are.
const MIN_SAMPLES: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::{LogOptions, LogSink};
    use super::*;
    use crate::filter::CompiledPolicy;
    use crate::gateway::host::sample::{compiled, datagram};
    use crate::gateway::record::drops::line;
    use crate::packet::Protocol;
    use crate::packet::media::Payload;
    use std::time::Duration;

    const SERVER: &str =
        "[[server]]\nname = \"the \\\"Front End\\\"\"\naddresses = [\"10.1.0.10\"]\n";

    fn policy() -> CompiledPolicy {
        compiled(SERVER, 3)
    }

    fn reader(rate: Option<u32>, snap_length: Option<usize>) -> SampleReader {
        let place = LogSink::Output;
        samples(&DropOptions {
            examines: false,
            log: rate.map(|rate| LogOptions { place, rate }),
            capture: snap_length.map(|snap_length| CaptureOptions {
                file: "unused".into(),
                size: 1 << 20,
                snap_length,
            }),
        })
    }

    /// Hands over `packets`, and counts those that are suppressed in `suppressed`.
    fn note(reader: &SampleReader, packets: &[Vec<u8>], suppressed: &mut Suppressed) {
        note_by(&policy(), reader, packets, suppressed);
    }

    /// The same, judged by `policy`.
    fn note_by(
        policy: &CompiledPolicy,
        reader: &SampleReader,
        packets: &[Vec<u8>],
        suppressed: &mut Suppressed,
    ) {
        let mut judge = crate::filter::Judge::new(crate::filter::Capacity::of(16));
        let (writer, names) = (reader.writer(), Arc::new(PolicyNames::of(policy)));
        for packet in packets {
            let received = [Received::whole(packet, Duration::ZERO)];
            let mut verdicts = [Verdict::drop(Reason::Malformed)];
            judge.judge(policy, &received, &mut verdicts);
            writer.note(&received, &verdicts, &names, suppressed);
        }
    }

    /// The lines of what was handed over.
    fn lines(reader: &SampleReader) -> Vec<serde_json::Value> {
        let mut text = Vec::new();
        while let Some(sample) = reader.next() {
            if let (Some(suppressed), Some(by)) = (sample.suppressed, &sample.packet.by) {
                line::push(&mut text, &sample.packet, by, suppressed);
            }
            reader.give_back(sample);
        }
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|it| !it.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).expect("an object a line"))
            .collect()
    }

    #[test]
    fn a_line_says_who_sent_what_to_whom_and_why_it_was_dropped() {
        let reader = reader(Some(100), None);
        let mut ipv6 = Vec::new();
        etherparse::PacketBuilder::ipv6(
            "fd00:1::10"
                .parse::<std::net::Ipv6Addr>()
                .expect("IPv6")
                .octets(),
            "fd00:2::7"
                .parse::<std::net::Ipv6Addr>()
                .expect("IPv6")
                .octets(),
            64,
        )
        .tcp(50_000, 50_020, 1, 1_000)
        .write(&mut ipv6, &[0; 1_000])
        .expect("room");
        let packets = [
            datagram([10, 1, 0, 10], 5_061, 10),
            ipv6,
            vec![0x45, 0, 0],
            datagram([10, 20, 0, 7], 53, 10),
        ];
        note(&reader, &packets, &mut Suppressed::default());
        let lines = lines(&reader);
        assert_eq!(lines.len(), 3, "what was forwarded has no line: {lines:#?}");
        let mut server = lines[0].clone();
        let time = server["time"].take();
        let time = time.as_str().expect("text").to_owned();
        assert!(humantime::parse_rfc3339(&time).is_ok(), "{time}");
        let wanted = serde_json::json!({
            "time": null,
            "reason": "servers",
            "kind": "server",
            "rule": "the \"Front End\"",
            "source": "172.16.1.10",
            "source_port": 50_000,
            "destination": "10.1.0.10",
            "destination_port": 5_061,
            "protocol": "udp",
            "length": 38,
            "generation": 3,
            "unwritten": 0,
            "enforced": true,
            "evidence": null,
            "evidence_by": null,
            "payload": "other",
            "malformed": null,
        });
        assert_eq!(server, wanted);
        assert_eq!(lines[1]["reason"], "media");
        assert_eq!(lines[1]["rule"], "media");
        assert_eq!(lines[1]["source"], "fd00:1::10");
        assert_eq!(lines[1]["destination_port"], 50_020);
        assert_eq!(lines[1]["protocol"], "tcp");
        assert_eq!(lines[1]["length"], 1_060, "more than what is kept of it");
        assert_eq!(lines[2]["reason"], "malformed");
        assert_eq!(lines[2]["malformed"], "shorter than its header");
        assert!(lines[2]["source"].is_null());
    }

    #[test]
    fn a_line_says_that_the_policy_is_not_enforced_for_its_client() {
        let packet = datagram([10, 20, 0, 7], 50_020, 10);
        for (gateway, is_enforced) in [
            ("enforce = false", false),
            ("pilot = [\"172.16.1.16/28\"]", false),
            ("pilot = [\"172.16.1.0/28\"]", true),
        ] {
            let reader = reader(Some(100), None);
            let policy = compiled(&format!("[gateway]\n{gateway}\n"), 5);
            let packets = [packet.clone()];
            note_by(&policy, &reader, &packets, &mut Suppressed::default());
            assert_eq!(lines(&reader)[0]["enforced"], is_enforced, "{gateway}");
        }
    }

    #[test]
    fn a_line_of_media_names_the_evidence_and_the_packet_that_showed_it() {
        let reader = reader(Some(100), None);
        let policy = compiled("[media]\nmatch = \"ice\"\n", 4);
        let check = Payload::StunCheck.packets(Protocol::Udp).concat();
        let mut packet = datagram([10, 20, 0, 7], 50_020, check.len());
        let start = packet.len() - check.len();
        packet[start..].copy_from_slice(&check);
        let later = datagram([10, 20, 0, 7], 50_020, 160);
        let packets = [later.clone(), packet, later];
        note_by(&policy, &reader, &packets, &mut Suppressed::default());
        let lines = lines(&reader);
        let lines = lines.iter().map(|line| {
            ["evidence", "evidence_by", "payload"].map(|key| line[key].as_str().unwrap_or("none"))
        });
        // The first packet passes: nothing was recognized before.
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                ["stun-check", "packet", "stun"],
                ["stun-check", "flow", "other"]
            ]
        );
    }

    #[test]
    fn a_reason_has_its_lines_of_a_second_and_the_next_one_says_how_many_had_none() {
        let reader = reader(Some(2), None);
        let media = datagram([10, 20, 0, 7], 50_020, 10);
        let server = datagram([10, 1, 0, 10], 5_061, 10);
        let mut suppressed = Suppressed::default();
        note(&reader, &vec![media.clone(); 10], &mut suppressed);
        // One reason takes no lines from another.
        note(&reader, std::slice::from_ref(&server), &mut suppressed);
        reader.begin_second();
        note(&reader, std::slice::from_ref(&media), &mut suppressed);
        let told: Vec<_> = lines(&reader)
            .iter()
            .map(|line| (line["reason"].clone(), line["unwritten"].clone()))
            .collect();
        let wanted = [("media", 0), ("media", 0), ("servers", 0), ("media", 8)];
        assert_eq!(
            told,
            wanted.map(|(reason, count)| (reason.into(), count.into()))
        );
        assert_eq!(reader.pool.counts.log.lost(), 0);
    }

    #[test]
    fn where_nobody_reads_the_rest_is_counted_and_nobody_waits() {
        let reader = reader(Some(1_000), Some(60_000));
        let count = reader.capacity();
        assert_eq!(count, MIN_SAMPLES);
        let media = vec![datagram([10, 20, 0, 7], 50_020, 10); 1_500];
        let mut suppressed = Suppressed::default();
        note(&reader, &media, &mut suppressed);
        let lines = lines(&reader).len() as u64;
        let without = suppressed.log[Reason::Media as usize];
        assert_eq!(lines, count as u64);
        assert_eq!(lines + without, 1_500);
        // 1,000 were to have a line; all were to be in the capture.
        assert_eq!(reader.pool.counts.log.lost(), 1_000 - lines);
        assert_eq!(reader.pool.counts.capture.lost(), 1_500 - lines);
        // And they are free again.
        note(&reader, &media[..1], &mut suppressed);
        assert!(reader.next().is_some());
    }

    #[test]
    fn a_capture_has_all_packets_and_a_log_beside_it_no_more_lines() {
        let reader = reader(Some(1), Some(64));
        let media = vec![datagram([10, 20, 0, 7], 50_020, 1_000); 5];
        note(&reader, &media, &mut Suppressed::default());
        let mut kept = Vec::new();
        while let Some(sample) = reader.next() {
            kept.push((
                sample.packet.bytes().len(),
                sample.packet.length,
                sample.suppressed.is_some(),
            ));
        }
        assert_eq!(kept[0], (LINE_SNAP_LENGTH, 1_028, true));
        assert_eq!(kept[1..], [(LINE_SNAP_LENGTH, 1_028, false); 4]);
    }
}
