//! [`HostLock`]: one gateway at a time in a network namespace.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// The right to divert traffic on this host; held until it is dropped, or the process is gone.
///
/// It is a listening socket with a name in the abstract namespace, which belongs to the network namespace as the tables
/// and routes do, and which the kernel takes back from a killed process.
#[derive(Debug)]
pub struct HostLock {
    _listener: UnixListener,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("offramp already runs on this host{}; stop it first, or ask it with `offramp status`", pid.map_or(String::new(), |pid| format!(" (process {pid})")))]
    Held {
        /// That process, where the kernel tells.
        pid: Option<i32>,
    },
    /// The kernel has no socket for us.
    #[error("cannot make sure that offramp runs once only: {0}")]
    Socket(#[from] io::Error),
}

impl HostLock {
    /// Takes the lock.
    ///
    /// A process that was killed may hold it for a moment longer: its device takes the kernel a while, and the lock goes
    /// after it. So this waits for as long before it gives up.
    ///
    /// # Errors
    /// [`LockError::Held`] where another process has it.
    pub fn take() -> Result<Self, LockError> {
        let deadline = Instant::now() + LAST_MOMENTS;
        loop {
            match Self::try_take() {
                Err(LockError::Held { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                taken => return taken,
            }
        }
    }

    fn try_take() -> Result<Self, LockError> {
        let address = SocketAddr::from_abstract_name(NAME)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Self {
                _listener: listener,
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let stream = UnixStream::connect_addr(&address);
                let holder = stream
                    .ok()
                    .and_then(|stream| getsockopt(&stream, PeerCredentials).ok());
                Err(LockError::Held {
                    pid: holder.map(|holder| holder.pid()),
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// How long the kernel may take to bury a process.
const LAST_MOMENTS: Duration = Duration::from_millis(500);
/// How long to wait before trying again.
const PAUSE: Duration = Duration::from_millis(10);
/// The name of the socket.
const NAME: &str = "offramp/gateway";
