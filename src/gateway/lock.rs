//! [`HostLock`]: one gateway at a time in a network namespace.

use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};

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
    #[error("offramp already runs on this host{}; stop it first, or ask it with `offramp status`", named(*holder))]
    Held {
        /// That process and its user, where the kernel tells.
        holder: Option<(i32, u32)>,
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
                Err(LockError::Held { .. }) => return Err(LockError::Held { holder: holder() }),
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
                Err(LockError::Held { holder: None })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The process that holds the lock, and its user.
fn holder() -> Option<(i32, u32)> {
    // It need not answer, and what does not answer must not keep us waiting.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    let address = UnixAddr::new_abstract(NAME.as_bytes()).ok()?;
    connect(stream.as_raw_fd(), &address).ok()?;
    let holder = getsockopt(&stream, PeerCredentials).ok()?;
    Some((holder.pid(), holder.uid()))
}

fn named(holder: Option<(i32, u32)>) -> String {
    match holder {
        None => String::new(),
        Some((pid, 0)) => format!(" (process {pid})"),
        Some((pid, user)) => format!(" (process {pid} of user {user})"),
    }
}

/// How long the kernel may take to bury a process.
const LAST_MOMENTS: Duration = Duration::from_millis(500);
/// How long to wait before trying again.
const PAUSE: Duration = Duration::from_millis(10);
/// The name of the socket.
const NAME: &str = "offramp/gateway";
