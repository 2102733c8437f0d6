//! Records for the operator who asks for them: logs and captures, bounded in size and rate.
//!
//! `drops` writes packets with it, `dns` queries. Files are bounded in size. Records that cannot be written (on a full
//! disk, say) are counted as lost; the failure is reported once, and later records are tried again.

mod counts;
pub mod drops;
mod file;
mod judged;
mod lines;
mod outlet;
mod thread;
pub mod trace;

use std::fmt;
use std::path::{Path, PathBuf};

pub(super) use self::counts::OutletCounts;
pub use self::counts::RecordStatus;
pub(super) use self::file::BoundedFile;
pub(super) use self::judged::PacketFacts;
pub use self::judged::{JudgedPacket, PolicyNames};
pub(super) use self::lines::LineLog;
pub(super) use self::outlet::{Outlet, Target};
pub(super) use self::thread::{PATIENCE, WriterThread};
use crate::policy::GatewayOptions;

/// The destination of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSink {
    /// Standard output.
    Output,
    /// A file, and older ones beside it.
    File(PathBuf),
}

impl LogSink {
    /// Parses `word` of a policy: a path, or [`GatewayOptions::STANDARD_OUTPUT`], which has a path, too.
    pub fn of(word: &str) -> Self {
        match word {
            GatewayOptions::STANDARD_OUTPUT | "/dev/stdout" => Self::Output,
            path => Self::File(path.into()),
        }
    }

    /// The folder of its files.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Output => None,
            Self::File(path) => path.parent(),
        }
    }

    /// The files that its lines may be in, the newest first.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Output => Vec::new(),
            Self::File(path) => (0..=OLDER_FILES).map(|age| file::aged(path, age)).collect(),
        }
    }

    /// Returns the target that lines are written to.
    pub(super) fn target(&self) -> Target {
        match self {
            Self::Output => Target::Output,
            Self::File(path) => Target::File(BoundedFile::new(
                path,
                LOG_FILE_SIZE,
                OLDER_FILES,
                Vec::new(),
            )),
        }
    }
}

impl fmt::Display for LogSink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output => out.write_str("standard output"),
            Self::File(path) => path.display().fmt(out),
        }
    }
}

/// Older files that are kept.
pub(super) const OLDER_FILES: usize = 3;
/// Bytes of a file of a log.
const LOG_FILE_SIZE: u64 = 8 << 20;
/// Time to gather lines: a few a second are no hurry.
pub(super) const LOG_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
