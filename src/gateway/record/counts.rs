//! [`OutletCounts`]: the numbers of records written and lost, and [`RecordStatus`], which reports them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Counters of a log or a capture: of dropped packets, or of queries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordStatus {
    /// The path of its file, or standard output.
    pub place: String,
    /// Lines, or packets, written.
    pub written: u64,
    /// Lines, or packets, lost: the disk was full, or too slow.
    pub lost: u64,
    /// The error that keeps it from writing at the moment.
    pub error: Option<String>,
}

/// The counters of one outlet.
#[derive(Debug, Default)]
pub(in crate::gateway) struct OutletCounts {
    written: AtomicU64,
    lost: AtomicU64,
    state: Mutex<WriteState>,
}

/// The reason why records cannot be written at the moment, if there is one.
#[derive(Debug, Default)]
struct WriteState {
    error: Option<String>,
    /// Start of a write that has not returned.
    writing: Option<Instant>,
}

impl OutletCounts {
    pub(in crate::gateway) fn add_written(&self, more: u64) {
        self.written.fetch_add(more, Ordering::Relaxed);
    }

    pub(in crate::gateway) fn add_lost(&self, more: u64) {
        self.lost.fetch_add(more, Ordering::Relaxed);
    }

    pub(in crate::gateway) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Notes why nothing can be written, or that it can.
    pub(in crate::gateway) fn set_error(&self, error: Option<String>) {
        self.state().error = error;
    }

    /// Runs `write`, which may block on a disk or a pipe, and notes since when it has run.
    pub(in crate::gateway) fn watched<T>(&self, write: impl FnOnce() -> T) -> T {
        self.state().writing = Some(Instant::now());
        let written = write();
        self.state().writing = None;
        written
    }

    fn state(&self) -> MutexGuard<'_, WriteState> {
        // A panic while it was held left one message or the other.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::gateway) fn status(&self, place: String) -> RecordStatus {
        let state = self.state();
        let waits = state
            .writing
            .is_some_and(|since| since.elapsed() > MAX_WRITE);
        RecordStatus {
            place,
            written: self.written.load(Ordering::Relaxed),
            lost: self.lost(),
            error: if waits {
                Some("a write to it hangs".to_owned())
            } else {
                state.error.clone()
            },
        }
    }
}

/// Time after which a write that has not returned counts as a problem.
const MAX_WRITE: Duration = Duration::from_secs(2);
