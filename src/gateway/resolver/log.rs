//! [`QueryLog`]: the log of queries and their outcomes, a JSON line for a sample.
//!
//! ```text
//!  thread "dns": Sampler ── bounded channel ──▶ thread "offramp-queries" ──▶ query log
//! ```
//!
//! The server's thread never blocks: queries that find the channel full, or exceed the lines of their second, are
//! counted, and the next line of their outcome reports how many there were.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    recorder: Option<Recorder>,
}

impl QueryLog {
    /// Starts the log that the policy asks for.
    pub fn start(policy: &Policy) -> Self {
        let mut log = Self {
            options: None,
            counts: Arc::default(),
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
            match Recorder::start(options, &self.counts) {
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

/// The way of queries to the log.
#[derive(Debug, Clone)]
pub(super) struct QuerySink {
    entries: SyncSender<LoggedQuery>,
    rate: u32,
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

/// Chooses the queries that get a line; only the server's thread holds it.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    sink: Option<QuerySink>,
    /// When the lines of this second began; `None` before the first.
    since: Option<Instant>,
    lines: [u32; Outcome::ALL.len()],
    suppressed: [u64; Outcome::ALL.len()],
}

impl Sampler {
    /// Hands over to `sink` from here on.
    pub(super) fn follow(&mut self, sink: Option<QuerySink>) {
        self.sink = sink;
    }

    /// Hands over the result of `asked` for a query that had `outcome`, if it is to have a line.
    pub(super) fn note(
        &mut self,
        outcome: Outcome,
        now: Instant,
        asked: impl FnOnce() -> QueryRecord,
    ) {
        let Some(sink) = &self.sink else {
            return;
        };
        if self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= SECOND)
        {
            self.since = Some(now);
            self.lines = Default::default();
        }
        let (lines, suppressed) = (
            &mut self.lines[outcome as usize],
            &mut self.suppressed[outcome as usize],
        );
        if *lines >= sink.rate {
            *suppressed += 1;
            return;
        }
        let entry = LoggedQuery {
            at: SystemTime::now(),
            outcome,
            asked: asked(),
            suppressed: *suppressed,
        };
        match sink.entries.try_send(entry) {
            Ok(()) => (*lines, *suppressed) = (*lines + 1, 0),
            // The writer is slower than the queries, or has ended.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => *suppressed += 1,
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
    fn start(options: &QueryLogOptions, counts: &Arc<OutletCounts>) -> io::Result<Self> {
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
    fn scratch(name: &str) -> (QueryLogOptions, std::path::PathBuf) {
        let folder = format!("offramp-queries-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        _ = std::fs::remove_dir_all(&folder);
        let place = LogSink::File(folder.join("queries.jsonl"));
        (QueryLogOptions { place, rate: 3 }, folder)
    }

    #[tokio::test]
    async fn lines_of_a_second_are_bounded_and_say_what_they_stand_for() {
        let (options, folder) = scratch("bounded");
        let counts = Arc::new(OutletCounts::default());
        let recorder = Recorder::start(&options, &counts).expect("a thread");
        let mut sampler = Sampler::default();
        let now = Instant::now();
        sampler.note(Outcome::Hidden, now, || unreachable!("nobody asked for it"));
        sampler.follow(Some(recorder.sink.clone()));
        for later in [now, now + SECOND] {
            for _ in 0..10 {
                sampler.note(Outcome::Hidden, later, asked);
            }
            sampler.note(Outcome::Dropped, later, || QueryRecord {
                question: None,
                response: None,
                is_stream: true,
                ..asked()
            });
        }
        recorder.stop().await;
        let text = std::fs::read_to_string(folder.join("queries.jsonl")).expect("it is written");
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
        std::fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn a_log_that_is_stuck_holds_up_nobody() {
        let (entries, received) = sync_channel(2);
        let mut sampler = Sampler::default();
        sampler.follow(Some(QuerySink { entries, rate: 100 }));
        let now = Instant::now();
        for _ in 0..10 {
            sampler.note(Outcome::Pinned, now, asked);
        }
        assert_eq!(received.try_iter().count(), 2);
        sampler.note(Outcome::Pinned, now, asked);
        let next = received.try_recv().expect("there is room again");
        assert_eq!(next.suppressed, 8);
    }
}
