//! [`QueryLog`]: the log of queries and their outcomes, a JSON line for a sample.
//!
//! ```text
//!  threads "dns": QuerySink ── bounded channel ──▶ thread "offramp-queries" ──▶ query log
//! ```
//!
//! The server's threads never block: queries that find the channel full, or exceed the lines of their second, are
//! counted, and the next line of their outcome reports how many there were. The threads share that rate: a line costs more than
//! to count it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tracing::warn;

use super::counters::Outcome;
use crate::dns::ResponseCode;
use crate::gateway::host::rights::Role;
use crate::gateway::record::{
    LOG_PAUSE, LineLog, LogSink, OutletCounts, PATIENCE, RecordStatus, WriterThread,
};
use crate::name::DnsName;
use crate::name::record_type;
use crate::policy::Policy;

/// A log of queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryLogOptions {
    /// The file or stream that it writes to.
    pub place: LogSink,
    /// Lines a second, at most, for each outcome.
    pub rate: u32,
}

impl QueryLogOptions {
    /// Returns the log that `policy` asks for; none where the policy answers no names, either.
    pub fn of(policy: &Policy) -> Option<Self> {
        let place = policy.dns.query_log.as_ref();
        let place = place.filter(|_| !policy.dns.listen.is_empty())?;
        Some(Self {
            place: LogSink::of(&place.value),
            rate: policy.dns.query_log_rate,
        })
    }
}

/// Formats the options for `--dry-run`.
impl std::fmt::Display for QueryLogOptions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, rate } = self;
        writeln!(
            out,
            "# DNS queries are logged to {place}, {rate} lines a second at most for each outcome"
        )
    }
}

/// The log of a running server.
#[derive(Debug)]
pub struct QueryLog {
    options: Option<QueryLogOptions>,
    /// Kept from the start of the server to its end, across recorders.
    counts: Arc<OutletCounts>,
    /// Likewise.
    lines: Arc<LineCounts>,
    recorder: Option<Recorder>,
}

impl QueryLog {
    /// Starts the log that the policy asks for.
    pub fn start(policy: &Policy) -> Self {
        let mut log = Self {
            options: None,
            counts: Arc::default(),
            lines: Arc::new(LineCounts::new()),
            recorder: None,
        };
        log.begin(QueryLogOptions::of(policy));
        log
    }

    /// Applies a new policy.
    pub async fn change(&mut self, policy: &Policy) {
        let wanted = QueryLogOptions::of(policy);
        if wanted != self.options {
            self.stop().await;
            self.begin(wanted);
        }
    }

    /// Writes the queries handed over, and ends; does not wait for a disk that does not respond.
    pub async fn stop(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            recorder.stop().await;
        }
    }

    fn begin(&mut self, options: Option<QueryLogOptions>) {
        self.counts.set_error(None);
        if let Some(options) = &options {
            match Recorder::start(options, &self.counts, &self.lines) {
                Ok(recorder) => self.recorder = Some(recorder),
                Err(error) => warn!(
                    "queries are not logged: cannot start the thread that writes them: {error}"
                ),
            }
        }
        self.options = options;
    }

    /// Returns the sender of queries to the log; `None` if there is no log.
    pub(super) fn sink(&self) -> Option<QuerySink> {
        Some(self.recorder.as_ref()?.sink.clone())
    }

    /// Returns the counters of the log.
    pub fn status(&self) -> Option<RecordStatus> {
        let options = self.options.as_ref()?;
        Some(self.counts.status(options.place.to_string()))
    }
}

/// The way of queries to the log, which chooses those that get a line.
#[derive(Debug, Clone)]
pub(super) struct QuerySink {
    entries: SyncSender<LoggedQuery>,
    rate: u32,
    lines: Arc<LineCounts>,
}

/// A query and its outcome.
#[derive(Debug)]
pub(super) struct QueryRecord {
    pub(super) client: IpAddr,
    pub(super) is_stream: bool,
    /// Name and type, where they could be read.
    pub(super) question: Option<(DnsName, u16)>,
    /// The code of the answer, where there was one.
    pub(super) response: Option<u16>,
    pub(super) took: Duration,
}

/// An [`QueryRecord`] that gets a line.
#[derive(Debug)]
struct LoggedQuery {
    at: SystemTime,
    outcome: Outcome,
    asked: QueryRecord,
    suppressed: u64,
}

/// The lines of each outcome.
#[derive(Debug)]
struct LineCounts {
    /// The beginning of the first second.
    began: Instant,
    of_outcome: [OutcomeLines; Outcome::ALL.len()],
}

impl LineCounts {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            of_outcome: Default::default(),
        }
    }
}

/// The lines of an outcome.
#[derive(Debug, Default)]
struct OutcomeLines {
    /// A second, in the upper half, and the lines it has had: one word, so that no thread sees the one without the other.
    of_second: AtomicU64,
    /// Queries without a line since the last.
    suppressed: AtomicU64,
}

impl OutcomeLines {
    /// Returns `true`, and counts a line, if `second` has had fewer than `rate`.
    fn claim(&self, second: u32, rate: u32) -> bool {
        let claimed = |of_second: u64| {
            let (latest, lines) = ((of_second >> 32) as u32, of_second as u32);
            // A thread that is behind the others counts in their second.
            let lines = if latest < second { 0 } else { lines };
            (lines < rate).then(|| u64::from(latest.max(second)) << 32 | u64::from(lines + 1))
        };
        let claim = self
            .of_second
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, claimed);
        claim.is_ok()
    }
}

impl QuerySink {
    /// Hands over the result of `asked` for a query that had `outcome`, if it is to have a line.
    pub(super) fn note(&self, outcome: Outcome, now: Instant, asked: impl FnOnce() -> QueryRecord) {
        let lines = &self.lines.of_outcome[outcome as usize];
        let second = now.saturating_duration_since(self.lines.began).as_secs();
        if !lines.claim(u32::try_from(second).unwrap_or(u32::MAX), self.rate) {
            lines.suppressed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let suppressed = lines.suppressed.swap(0, Ordering::Relaxed);
        let entry = LoggedQuery {
            at: SystemTime::now(),
            outcome,
            asked: asked(),
            suppressed,
        };
        match self.entries.try_send(entry) {
            Ok(()) => {}
            // The writer is slower than the queries, or has ended.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                lines
                    .suppressed
                    .fetch_add(suppressed + 1, Ordering::Relaxed);
            }
        }
    }
}

/// A thread that writes the queries it is handed.
#[derive(Debug)]
struct Recorder {
    sink: QuerySink,
    thread: WriterThread,
}

impl Recorder {
    fn start(
        options: &QueryLogOptions,
        counts: &Arc<OutletCounts>,
        lines: &Arc<LineCounts>,
    ) -> io::Result<Self> {
        let (entries, received) = sync_channel(MAX_WAITING);
        let mut writer = Writer {
            received,
            log: LineLog::new("the query log", &options.place),
            counts: Arc::clone(counts),
        };
        let thread = WriterThread::start("offramp-queries", Role::Records, move |stop| {
            writer.run(stop)
        })?;
        Ok(Self {
            sink: QuerySink {
                entries,
                rate: options.rate,
                lines: Arc::clone(lines),
            },
            thread,
        })
    }

    async fn stop(self) {
        self.thread.stop(PATIENCE).await;
    }
}

/// The state of the thread.
struct Writer {
    received: Receiver<LoggedQuery>,
    log: LineLog<{ Outcome::ALL.len() }>,
    counts: Arc<OutletCounts>,
}

impl Writer {
    fn run(&mut self, stop: &AtomicBool) {
        // Reports an error of the log before there is anything to write.
        self.log.flush(0, &self.counts);
        let mut second = Instant::now();
        loop {
            let is_last = stop.load(Ordering::Acquire);
            // Queries that arrive meanwhile wait for the next round.
            for entry in self.received.try_iter().take(MAX_WAITING) {
                let LoggedQuery {
                    outcome,
                    suppressed,
                    ..
                } = entry;
                self.log
                    .add(outcome as usize, suppressed, |out, suppressed| {
                        push_line(out, &entry, suppressed);
                    });
            }
            self.log.flush(1, &self.counts);
            if is_last {
                return;
            }
            std::thread::park_timeout(LOG_PAUSE);
            if second.elapsed() >= SECOND {
                second = Instant::now();
                // Tries again after a failure, and creates anew a file that was moved away.
                self.log.flush(0, &self.counts);
            }
        }
    }
}

/// One line, all of its keys always there.
#[derive(Debug, Serialize)]
struct Line {
    /// RFC 3339, in UTC.
    time: String,
    outcome: &'static str,
    client: IpAddr,
    protocol: &'static str,
    /// As text (RFC 1035 §5.1), in lower case.
    name: Option<String>,
    #[serde(rename = "type")]
    record_type: Option<String>,
    /// Mnemonic of the response code, or its number where it has none here.
    response: Option<String>,
    /// From the question to the answer.
    microseconds: u64,
    /// Suppressed queries of the same outcome since the last line.
    #[serde(rename = "unwritten")]
    suppressed: u64,
}

fn push_line(out: &mut Vec<u8>, entry: &LoggedQuery, suppressed: u64) {
    let LoggedQuery {
        at, outcome, asked, ..
    } = entry;
    let question = asked.question.as_ref();
    // The format begins in 1970, as the clocks of Linux do, and ends long after them.
    let at = (*at).max(SystemTime::UNIX_EPOCH);
    let line = Line {
        time: humantime::format_rfc3339_micros(at).to_string(),
        outcome: outcome.name(),
        client: asked.client.to_canonical(),
        protocol: if asked.is_stream { "tcp" } else { "udp" },
        name: question.map(|(name, _)| name.to_string()),
        record_type: question.map(|(_, number)| record_type::text(*number)),
        response: asked.response.map(|code| {
            ResponseCode::name(code).map_or_else(|| code.to_string(), ToOwned::to_owned)
        }),
        microseconds: u64::try_from(asked.took.as_micros()).unwrap_or(u64::MAX),
        suppressed,
    };
    serde_json::to_writer(&mut *out, &line).expect("plain fields, into memory");
    out.push(b'\n');
}

const SECOND: Duration = Duration::from_secs(1);
/// Queries that wait to be written; further ones are counted.
const MAX_WAITING: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> QueryRecord {
        QueryRecord {
            client: "::ffff:172.16.1.10".parse().expect("an address"),
            is_stream: false,
            question: Some(("Sip.contoso.com".parse().expect("a name"), 33)),
            response: Some(3),
            took: Duration::from_micros(12),
        }
    }

    /// A log in a folder of the test's own, and that folder.
    fn scratch() -> (QueryLogOptions, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = LogSink::File(folder.path().join("queries.jsonl"));
        (QueryLogOptions { place, rate: 3 }, folder)
    }

    #[tokio::test]
    async fn lines_of_a_second_are_bounded_and_say_what_they_stand_for() {
        let (options, folder) = scratch();
        let counts = Arc::new(OutletCounts::default());
        let lines = Arc::new(LineCounts::new());
        let recorder = Recorder::start(&options, &counts, &lines).expect("a thread");
        // As each thread of a server has one.
        let sinks = [(); 2].map(|()| recorder.sink.clone());
        let now = lines.began;
        for later in [now, now + SECOND] {
            for number in 0..10 {
                sinks[number % 2].note(Outcome::Hidden, later, asked);
            }
            sinks[0].note(Outcome::Dropped, later, || QueryRecord {
                question: None,
                response: None,
                is_stream: true,
                ..asked()
            });
        }
        recorder.stop().await;
        let text =
            std::fs::read_to_string(folder.path().join("queries.jsonl")).expect("it is written");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object"))
            .collect();
        let of = |outcome: &str| -> Vec<u64> {
            let those = lines.iter().filter(|line| line["outcome"] == outcome);
            those
                .filter_map(|line| line["unwritten"].as_u64())
                .collect()
        };
        assert_eq!(of("hidden"), [0, 0, 0, 7, 0, 0], "{text}");
        assert_eq!(of("dropped"), [0, 0], "{text}");
        let mut first = lines[0].clone();
        assert!(
            first["time"]
                .take()
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
        );
        let wanted = serde_json::json!({
            "time": null, "outcome": "hidden", "client": "172.16.1.10", "protocol": "udp",
            "name": "sip.contoso.com", "type": "SRV", "response": "NXDOMAIN", "microseconds": 12, "unwritten": 0,
        });
        assert_eq!(first, wanted);
        let dropped = lines.iter().find(|line| line["outcome"] == "dropped");
        let dropped = dropped.expect("counted above");
        assert_eq!(dropped["protocol"], "tcp");
        assert!(
            dropped["name"].is_null() && dropped["type"].is_null() && dropped["response"].is_null()
        );
    }

    #[test]
    fn a_log_that_is_stuck_holds_up_nobody() {
        let (entries, received) = sync_channel(2);
        let sink = QuerySink {
            entries,
            rate: 100,
            lines: Arc::new(LineCounts::new()),
        };
        let now = Instant::now();
        for _ in 0..10 {
            sink.note(Outcome::Pinned, now, asked);
        }
        assert_eq!(received.try_iter().count(), 2);
        sink.note(Outcome::Pinned, now, asked);
        let next = received.try_recv().expect("there is room again");
        assert_eq!(next.suppressed, 8);
    }
}
