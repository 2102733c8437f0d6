//! [`Outlet`]: a destination of records, which counts them as lost while it cannot write.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::counts::OutletCounts;
use super::file::BoundedFile;

/// A destination of records.
#[derive(Debug)]
pub(in crate::gateway) struct Outlet {
    /// Its name for messages: `the drop log /var/log/offramp/drops.jsonl`.
    name: String,
    target: Target,
    /// After a failure: the time of the next try.
    retry_at: Option<Instant>,
    /// Records lost when it failed.
    lost_before: u64,
}

#[derive(Debug)]
pub(in crate::gateway) enum Target {
    /// Standard output.
    Output,
    /// A file, and older ones.
    File(BoundedFile),
}

impl Outlet {
    pub(in crate::gateway) fn new(name: String, target: Target) -> Self {
        Self {
            name,
            target,
            retry_at: None,
            lost_before: 0,
        }
    }

    /// Writes `records`, which are `count`, or counts them as lost; returns whether it could write.
    pub(in crate::gateway) fn write(
        &mut self,
        records: &[u8],
        count: u64,
        counts: &OutletCounts,
    ) -> bool {
        let waits = self.retry_at.is_some_and(|at| Instant::now() < at);
        let written = if waits {
            None
        } else {
            Some(counts.watched(|| self.target.append(records)))
        };
        match written {
            Some(Ok(())) => {
                counts.add_written(count);
                if self.retry_at.take().is_some() {
                    counts.set_error(None);
                    let lost = counts.lost() - self.lost_before;
                    info!(
                        "writing {} succeeds again; {lost} records were lost",
                        self.name
                    );
                }
                return true;
            }
            Some(Err(error)) => {
                if self.retry_at.is_none() {
                    self.lost_before = counts.lost();
                    warn!(
                        "cannot write {}: {error}; traffic goes on, and records are lost until writing succeeds",
                        self.name
                    );
                }
                counts.set_error(Some(error.to_string()));
                self.retry_at = Some(Instant::now() + RETRY);
            }
            None => {}
        }
        counts.add_lost(count);
        false
    }
}

impl Target {
    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        match self {
            Self::Output => {
                let mut output = io::stdout().lock();
                output.write_all(records).and_then(|()| output.flush())
            }
            Self::File(file) => file.append(records),
        }
    }
}

/// The backoff after a failed write.
const RETRY: Duration = Duration::from_secs(2);
