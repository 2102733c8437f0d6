//! Records of dropped packets: a table of what they are of, a log of samples, and a capture.
//!
//! ```text
//!  worker 0 ──▶ SampleWriter ─┐ filled ─────▶ thread "offramp-drops" ──▶ drop log   JSON, a line a sample
//!  worker 1 ──▶ SampleWriter ─┤                      │              ├──▶ capture    pcapng, the reason as packet comment
//!                             │                      │              ├──▶ DropTable  destinations, services, clients
//!                             └ free ◀───────────────┘              └──▶ losses     services that are cut off, for the page
//! ```
//!
//! All but the table are off by default, which has 20 samples at most for each reason in 100 ms. A worker copies the beginning of a packet into a preallocated sample,
//! and goes on: it never blocks and allocates nothing. If no sample is free, or the log has used up its lines of the
//! second, the packet is suppressed, and the next line of its reason reports how many were. Files are
//! bounded in size. Records that cannot be written (on a full disk, say) are lost; the failure is reported once, later
//! records are tried again, and traffic is not affected.
//!
//! Only these records and the log of DNS queries contain addresses of clients. Those of the table stay in the process but for
//! requests that ask for them (`offramp top --addresses`).

mod counts;
mod line;
mod losses;
mod recorder;
mod sample;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tracing::warn;

use self::counts::Counts;
use self::losses::LatestLosses;
pub use self::losses::LossReport;
pub use self::recorder::Recorder;
pub(super) use self::sample::take_one;
pub use self::sample::{Sample, SampleReader, SampleWriter, Suppressed, samples};
pub use self::table::{
    ClientStatus, DestinationStatus, DropTable, DropTableStatus, LastDropStatus, ServiceStatus,
};
use crate::gateway::record::{LogSink, PATIENCE, RecordStatus};
use crate::policy::GatewayOptions;

/// The log and the capture of dropped packets, and their files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DropOptions {
    /// The log of samples.
    pub log: Option<LogOptions>,
    /// The capture.
    pub capture: Option<CaptureOptions>,
    /// True if samples are examined for the services that are cut off.
    pub examines: bool,
}

/// A log of samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// The file or stream that it writes to.
    pub place: LogSink,
    /// Lines a second, at most, for each reason.
    pub rate: u32,
}

/// A capture of what is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureOptions {
    /// The file; older ones are beside it, with `.1`, `.2`, … behind the name.
    pub file: PathBuf,
    /// Bytes that all of them together may have.
    pub size: u64,
    /// Bytes of a packet that are kept, from its beginning.
    pub snap_length: usize,
}

impl DropOptions {
    /// Returns the records that `gateway` asks for, and `capture` beside them.
    pub fn new(gateway: &GatewayOptions, capture: Option<&CaptureOptions>) -> Self {
        let log = gateway.drop_log.as_ref().map(|place| LogOptions {
            place: LogSink::of(&place.value),
            rate: gateway
                .drop_log_rate
                .map_or(GatewayOptions::DROP_LOG_RATE, |rate| rate.value),
        });
        Self {
            log,
            capture: capture.cloned(),
            examines: gateway.page.is_some(),
        }
    }

    /// Returns the folders of their files.
    pub fn folders(&self) -> Vec<PathBuf> {
        let log = self.log.as_ref().and_then(|log| log.place.folder());
        let capture = self.capture.as_ref();
        let capture = capture.and_then(|capture| capture.file.parent());
        let folders = log.into_iter().chain(capture);
        folders.map(Path::to_owned).collect()
    }
}

/// The table, the log and the capture of a running gateway.
#[derive(Debug)]
pub struct Drops {
    capture: Option<CaptureOptions>,
    /// True if there is a status page, which is there until the end.
    examines: bool,
    options: DropOptions,
    /// Kept from the start of the gateway to its end, across recorders.
    counts: Arc<Counts>,
    /// Kept likewise.
    table: Arc<DropTable>,
    losses: LatestLosses,
    recorder: Option<Recorder>,
}

impl Drops {
    /// Starts the records that the policy asks for, and `capture` beside them.
    pub fn start(gateway: &GatewayOptions, capture: Option<CaptureOptions>) -> Self {
        let mut drops = Self {
            options: DropOptions::default(),
            capture,
            examines: gateway.page.is_some(),
            counts: Arc::default(),
            table: Arc::default(),
            losses: LatestLosses::default(),
            recorder: None,
        };
        drops.begin(DropOptions::new(gateway, drops.capture.as_ref()));
        drops
    }

    /// Applies a new policy.
    pub async fn change(&mut self, gateway: &GatewayOptions) {
        let wanted = DropOptions {
            examines: self.examines,
            ..DropOptions::new(gateway, self.capture.as_ref())
        };
        if wanted != self.options {
            self.stop().await;
            self.begin(wanted);
        }
    }

    /// Writes the samples handed over, and ends; does not wait for a disk that does not respond.
    pub async fn stop(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            recorder.stop(PATIENCE).await;
        }
    }

    fn begin(&mut self, options: DropOptions) {
        self.counts.forget_errors();
        match Recorder::start(&options, &self.counts, &self.table, &self.losses) {
            Ok(recorder) => self.recorder = Some(recorder),
            Err(error) => {
                warn!(
                    "drops are neither sampled nor logged nor captured: cannot start the thread that writes them: {error}"
                );
            }
        }
        self.options = options;
    }

    /// Returns a worker's end; `None` if no thread could be started to read the drops.
    pub fn writer(&self) -> Option<SampleWriter> {
        self.recorder.as_ref().map(Recorder::writer)
    }

    /// Returns what the drops are of, addresses of clients only `with_addresses`; `None` if nothing samples them.
    pub fn table_status(&self, with_addresses: bool) -> Option<DropTableStatus> {
        self.recorder.as_ref()?;
        Some(self.table.status(SystemTime::now(), with_addresses))
    }

    /// Returns the counters of the log.
    pub fn log_status(&self) -> Option<RecordStatus> {
        let log = self.options.log.as_ref()?;
        Some(self.counts.log.status(log.place.to_string()))
    }

    /// Returns the services that are cut off; `None` if nothing was examined.
    pub fn losses(&self) -> Option<Arc<LossReport>> {
        self.losses.get()
    }

    /// Returns the counters of the capture.
    pub fn capture_status(&self) -> Option<RecordStatus> {
        let capture = self.options.capture.as_ref()?;
        let place = capture.file.display().to_string();
        Some(self.counts.capture.status(place))
    }
}

/// Formats the options for `--dry-run`.
impl std::fmt::Display for DropOptions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(LogOptions { place, rate }) = &self.log {
            writeln!(
                out,
                "# drops are logged to {place}, {rate} lines a second at most for each reason"
            )?;
        }
        if let Some(capture) = &self.capture {
            writeln!(
                out,
                "# drops are captured to {}, the first {} bytes of each, {} MiB at most",
                capture.file.display(),
                capture.snap_length,
                capture.size >> 20
            )?;
        }
        Ok(())
    }
}
