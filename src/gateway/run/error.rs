//! [`RunError`]: the reason why a gateway did not start, or has ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::gateway::host::lock::LockError;
use crate::gateway::host::source::LoadError;
use crate::gateway::resolver::DnsError;

/// The reason why a gateway did not start, or ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another gateway is running.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A check found a condition that would break the gateway.
    #[error("{0} in the way; `offramp run --dry-run` lists what it would do")]
    Findings(String),
    /// The policy cannot be loaded or compiled.
    #[error(transparent)]
    Policy(#[from] LoadError),
    /// The kernel refused the diversion.
    #[error("{0}")]
    Divert(Box<dyn std::error::Error + Send + Sync>),
    /// The filter's device cannot be created.
    #[error("cannot make the device {device}: {source}")]
    Device {
        /// The device's name.
        device: String,
        /// The system's error.
        source: io::Error,
    },
    /// The control socket cannot be created.
    #[error("cannot listen on {}: {source}; name another place: [gateway] control = \"...\"", path.display())]
    Control {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The metrics endpoint cannot be served.
    #[error(
        "cannot serve metrics at {address}: {source}; name another address, or leave it out: [gateway] metrics = \"...\""
    )]
    Metrics {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The status page cannot be served.
    #[error(
        "cannot serve the status page at {address}: {source}; name another address, or leave it out: [gateway] page = \"...\""
    )]
    Page {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The DNS server cannot be started.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The DNS server ended without being asked to.
    #[error("DNS queries are not answered any more: {0}")]
    DnsEnded(String),
    /// The system refused a thread, signal handler or socket.
    #[error("cannot {what}: {source}")]
    System {
        /// The operation that failed.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// No interface of the VPN is there, and the policy asks for an end over it.
    #[error("{0}, and gateway.without_interfaces is \"exit\"")]
    NoInterfaces(String),
    /// A worker ended without being asked to.
    #[error("traffic is not judged any more: {0}")]
    Worker(String),
}

impl RunError {
    /// Wraps an error of the diversion.
    pub(super) fn divert(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Divert(Box::new(error))
    }
}
