//! [`RunError`]: why a gateway did not start, or has ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::gateway::host::lock::LockError;
use crate::gateway::host::source::LoadError;
use crate::gateway::resolver::DnsError;

/// Why a gateway did not start, or ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is one already.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Something would break it.
    #[error("{0} in the way; `offramp run --dry-run` lists what it would do")]
    Findings(String),
    /// The policy is not taken.
    #[error(transparent)]
    Policy(#[from] LoadError),
    /// The kernel refuses its part.
    #[error("{0}")]
    Divert(Box<dyn std::error::Error + Send + Sync>),
    /// The filter's device cannot be made.
    #[error("cannot make the device {device}: {source}")]
    Device {
        /// Its name.
        device: String,
        /// What the system says.
        source: io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot listen on {}: {source}; name another place: [gateway] control = \"...\"", path.display())]
    Control {
        /// Where it was to be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The metrics endpoint cannot be served.
    #[error(
        "cannot serve metrics at {address}: {source}; name another address, or leave it out: [gateway] metrics = \"...\""
    )]
    Metrics {
        /// Where it was to be.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Names cannot be answered.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The DNS server has ended.
    #[error("DNS queries are not answered any more: {0}")]
    DnsEnded(String),
    /// The system has no thread, signal or socket for us.
    #[error("cannot {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it says.
        source: io::Error,
    },
    /// A worker ended without being asked to.
    #[error("traffic is not judged any more: {0}")]
    Worker(String),
}

impl RunError {
    /// The kernel refuses its part of the diversion.
    pub(super) fn divert(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Divert(Box::new(error))
    }
}
