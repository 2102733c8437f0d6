//! [`Recorder`]: the thread that writes the samples that workers hand over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::counts::Counts;
use super::line;
use super::losses::{LatestLosses, LossReporter};
use super::sample::{Sample, SampleReader, SampleWriter};
use super::table::{DropTable, Noted};
use super::{CaptureOptions, DropOptions};
use crate::capture::{CapturedFrame, LinkType, PcapngWriter};
use crate::gateway::host::rights::Role;
use crate::gateway::record::judged::JudgedPacket;
use crate::gateway::record::{
    BoundedFile, LOG_PAUSE, LineLog, OLDER_FILES, Outlet, Target, WriterThread,
};
use crate::verdict::Reason;

/// A thread that writes the samples that workers hand over.
#[derive(Debug)]
pub struct Recorder {
    reader: Arc<SampleReader>,
    thread: WriterThread,
}

impl Recorder {
    /// Starts it.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub(super) fn start(
        options: &DropOptions,
        counts: &Arc<Counts>,
        table: &Arc<DropTable>,
        latest: &LatestLosses,
    ) -> io::Result<Self> {
        let reader = Arc::new(SampleReader::new(options, Arc::clone(counts)));
        let mut writer = Writer {
            reader: Arc::clone(&reader),
            counts: Arc::clone(counts),
            table: Arc::clone(table),
            log: options
                .log
                .as_ref()
                .map(|log| Log::new("the drop log", &log.place)),
            capture: options.capture.as_ref().map(Capture::new).transpose()?,
            losses: options.examines.then(|| LossReporter::new(latest.clone())),
        };
        let thread =
            WriterThread::start("offramp-drops", Role::Records, move |stop| writer.run(stop))?;
        Ok(Self { reader, thread })
    }

    pub(super) fn writer(&self) -> SampleWriter {
        self.reader.writer()
    }

    /// Has it write the samples it was handed, and end; gives up waiting after `patience`.
    pub(super) async fn stop(self, patience: Duration) {
        self.thread.stop(patience).await;
    }
}

/// The state of the thread.
struct Writer {
    reader: Arc<SampleReader>,
    counts: Arc<Counts>,
    table: Arc<DropTable>,
    log: Option<Log>,
    capture: Option<Capture>,
    losses: Option<LossReporter>,
}

impl Writer {
    fn run(&mut self, stop: &AtomicBool) {
        let pause = match self.capture {
            Some(_) => CAPTURE_PAUSE,
            None => LOG_PAUSE,
        };
        // Reports an error of the log or the capture before there is anything to write.
        self.flush(0);
        let mut second = Instant::now();
        let mut tick = second;
        loop {
            let is_last = stop.load(Ordering::Acquire);
            self.write_what_is_there();
            if is_last {
                return;
            }
            std::thread::park_timeout(pause);
            if tick.elapsed() >= TICK {
                tick = Instant::now();
                self.reader.begin_tick();
            }
            if second.elapsed() >= Duration::from_secs(1) {
                second = Instant::now();
                self.reader.begin_second();
                // Tries again after a failure, and creates anew a file that was moved away.
                self.flush(0);
                if let Some(losses) = &mut self.losses {
                    losses.publish();
                }
            }
        }
    }

    fn write_what_is_there(&mut self) {
        let mut for_table = Vec::new();
        // Samples that arrive meanwhile wait for the next round.
        for _ in 0..self.reader.capacity() {
            let Some(sample) = self.reader.next() else {
                break;
            };
            if let Some(log) = &mut self.log {
                log_line(log, &sample);
            }
            if let Some(capture) = &mut self.capture {
                capture.take(&sample.packet);
            }
            for_table.extend(Noted::of(&sample));
            if let Some(losses) = &mut self.losses {
                losses.examine(&sample);
            }
            self.reader.give_back(sample);
            self.flush(ENOUGH);
        }
        self.table.add(for_table);
        self.flush(1);
    }

    /// Writes the gathered records if they have at least `least` bytes.
    fn flush(&mut self, least: usize) {
        if let Some(log) = &mut self.log {
            log.flush(least, &self.counts.log);
        }
        if let Some(capture) = &mut self.capture {
            capture.flush(least, &self.counts);
        }
    }
}

/// The log of samples, a kind for each reason.
type Log = LineLog<{ Reason::ALL.len() }>;

fn log_line(log: &mut Log, sample: &Sample) {
    let (Some(suppressed), Some(by)) = (sample.suppressed, &sample.packet.by) else {
        return;
    };
    let reason = sample.packet.verdict.reason as usize;
    log.add(reason, suppressed, |out, suppressed| {
        line::push(out, &sample.packet, by, suppressed);
    });
}

/// The capture.
struct Capture {
    outlet: Outlet,
    blocks: PcapngWriter<Vec<u8>>,
    /// Bytes that were taken out of `blocks`.
    taken: Vec<u8>,
    count: u64,
    snap_length: usize,
}

impl Capture {
    fn new(options: &CaptureOptions) -> io::Result<Self> {
        let mut blocks = PcapngWriter::new(Vec::new())?;
        blocks.describe(LinkType::RAW)?;
        let limit = options.size / (OLDER_FILES as u64 + 1);
        let file = BoundedFile::new(&options.file, limit, OLDER_FILES, blocks.take());
        let name = format!("the capture of drops {}", options.file.display());
        Ok(Self {
            outlet: Outlet::new(name, Target::File(file)),
            blocks,
            taken: Vec::new(),
            count: 0,
            snap_length: options.snap_length,
        })
    }

    fn take(&mut self, packet: &JudgedPacket) {
        let Some(by) = &packet.by else {
            return;
        };
        let bytes = packet.bytes();
        let frame = CapturedFrame {
            number: 0,
            link_type: LinkType::RAW,
            timestamp: packet.at.duration_since(UNIX_EPOCH).unwrap_or_default(),
            bytes: &bytes[..bytes.len().min(self.snap_length)],
            original_length: u32::try_from(packet.length).unwrap_or(u32::MAX),
        };
        let mut comment = by.rules.tell(packet.verdict);
        if !packet.is_enforced(by) {
            comment.push_str(" (not enforced: forwarded)");
        }
        self.blocks
            .write_frame(&frame, Some(&comment))
            .expect("blocks of a few bytes, into memory");
        self.taken.append(&mut self.blocks.take());
        self.count += 1;
    }

    fn flush(&mut self, least: usize, counts: &Counts) {
        if self.taken.len() < least {
            return;
        }
        // The outlet counts records that it could not write.
        _ = self.outlet.write(&self.taken, self.count, &counts.capture);
        self.taken.clear();
        self.count = 0;
    }
}

/// With a capture, samples must be free again before they run out.
const CAPTURE_PAUSE: Duration = Duration::from_millis(20);
/// Time between samples for the table: those of a tick are the first that are dropped in it.
const TICK: Duration = LOG_PAUSE;
/// Bytes that justify a write.
const ENOUGH: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::super::{LogOptions, Suppressed};
    use super::*;
    use crate::capture::CaptureReader;
    use crate::filter::{Capacity, Judge};
    use crate::gateway::host::sample::{compiled, datagram};
    use crate::gateway::record::LogSink;
    use crate::gateway::record::PolicyNames;
    use crate::packet::Received;
    use crate::verdict::Verdict;
    use std::path::Path;

    /// Drops `count` packets of 1,028 bytes.
    fn drop_media(writer: &SampleWriter, count: usize, suppressed: &mut Suppressed) {
        let packet = datagram([10, 20, 0, 7], 50_020, 1_000);
        let received = [Received::whole(&packet, Duration::ZERO)];
        let mut verdicts = [Verdict::drop(Reason::Malformed)];
        let policy = compiled("", 1);
        Judge::new(Capacity::of(1)).judge(&policy, &received, &mut verdicts);
        let names = Arc::new(PolicyNames::of(&policy));
        for _ in 0..count {
            writer.note(&received, &verdicts, &names, suppressed);
        }
    }

    fn log_to(path: &Path, rate: u32) -> DropOptions {
        DropOptions {
            log: Some(LogOptions {
                place: LogSink::File(path.to_owned()),
                rate,
            }),
            ..DropOptions::default()
        }
    }

    #[tokio::test]
    async fn what_was_handed_over_before_the_end_is_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [log, capture] = ["drops.jsonl", "drops.pcapng"].map(|it| folder.path().join(it));
        let options = DropOptions {
            capture: Some(CaptureOptions {
                file: capture.clone(),
                size: 1 << 20,
                snap_length: 64,
            }),
            ..log_to(&log, 10)
        };
        let counts = Arc::new(Counts::default());
        let recorder =
            Recorder::start(&options, &counts, &Arc::default(), &LatestLosses::default())
                .expect("a thread");
        let writer = recorder.writer();
        drop_media(&writer, 50, &mut Suppressed::default());
        recorder.stop(Duration::from_secs(60)).await;

        let lines = std::fs::read_to_string(&log).expect("it is written");
        assert_eq!(lines.lines().count(), 10, "{lines}");
        let bytes = std::fs::File::open(&capture).expect("it is written");
        let mut reader = CaptureReader::new(bytes).expect("a capture");
        let mut count = 0;
        while let Some(frame) = reader.next_frame().expect("a whole capture") {
            assert_eq!((frame.bytes.len(), frame.original_length), (64, 1_028));
            count += 1;
        }
        assert_eq!(count, 50);
        let status = |counts: &crate::gateway::record::OutletCounts| {
            let status = counts.status(String::new());
            (status.written, status.lost, status.error)
        };
        assert_eq!(status(&counts.log), (10, 0, None));
        assert_eq!(status(&counts.capture), (50, 0, None));
    }
}
