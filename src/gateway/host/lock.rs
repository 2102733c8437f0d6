//! [`HostLock`]: one gateway at a time in a network namespace.
//!
//! ```text
//!                    who can hold it                 whom it keeps out
//!  a kernel setting  who may change the network      everybody who sees the same /proc
//!  a name            anybody on the host             everybody in the network namespace, containers too
//! ```
//!
//! Both belong to the network namespace, as the tables and routes do, and the kernel takes both back from a killed process.
//! The name may be held by an unrelated process of any user. Then the setting decides, which only root can lock.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::unistd::geteuid;
use tracing::warn;

/// The exclusive right to divert traffic on this host; held until it is dropped or the process ends.
#[derive(Debug)]
pub struct HostLock {
    _setting: Option<Flock<File>>,
    /// A listening socket with a name in the abstract namespace.
    _name: Option<UnixListener>,
}

/// The reason why the lock is not available.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("offramp already runs on this host{}; stop it first, or ask it with `offramp status`", named(*holder))]
    Held {
        /// That process and its user, if the kernel reports them.
        holder: Option<(i32, u32)>,
    },
    /// The kernel has no socket for us.
    #[error("cannot make sure that no other offramp runs on this host: {0}")]
    Socket(#[from] io::Error),
}

impl HostLock {
    /// Takes the lock.
    ///
    /// A killed process may hold it a moment longer: the kernel takes a while to remove its device and releases the
    /// lock after that. So this waits as long before it gives up.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process holds it.
    pub fn take() -> Result<Self, LockError> {
        let deadline = Instant::now() + LAST_MOMENTS;
        loop {
            // In this order: a killed process releases last what it opened first, so its device is gone by then.
            match (Setting::take(), take_name()?) {
                (Setting::Locked(setting), Some(name)) => {
                    return Ok(Self {
                        _setting: Some(setting),
                        _name: Some(name),
                    });
                }
                (Setting::Unknown, Some(name)) => {
                    return Ok(Self {
                        _setting: None,
                        _name: Some(name),
                    });
                }
                _ if Instant::now() < deadline => {}
                (Setting::Locked(setting), None) if !is_held_by_a_gateway() => {
                    warn!(
                        "an unrelated process holds the socket name @{NAME}; offramp starts anyway"
                    );
                    return Ok(Self {
                        _setting: Some(setting),
                        _name: None,
                    });
                }
                _ => return Err(LockError::Held { holder: holder() }),
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The lock on a kernel setting.
#[derive(Debug)]
enum Setting {
    /// We hold it.
    Locked(Flock<File>),
    /// A process that may change the network holds it.
    Held,
    /// The setting does not exist here, or we may not open it.
    Unknown,
}

impl Setting {
    fn take() -> Self {
        let Ok(file) = File::open(SETTING) else {
            return Self::Unknown;
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Self::Locked(lock),
            Err((_, nix::Error::EWOULDBLOCK)) => Self::Held,
            Err(_) => Self::Unknown,
        }
    }
}

/// Takes the name; `None` if another process holds it.
fn take_name() -> io::Result<Option<UnixListener>> {
    match UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns `true` if the holder of the name can be a gateway: it runs as root or as our own user.
fn is_held_by_a_gateway() -> bool {
    holder().is_some_and(|(_, user)| user == 0 || user == geteuid().as_raw())
}

/// Returns the process that holds the name, and its user.
fn holder() -> Option<(i32, u32)> {
    // The holder need not answer, so this must not block.
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

/// The longest time that the kernel may take to clean up after a dead process.
const LAST_MOMENTS: Duration = Duration::from_millis(500);
/// The pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(10);
/// The name of the socket.
const NAME: &str = "offramp/gateway";
/// A setting of each network namespace that only a process with the right to change the network can open: it is neither
/// read nor written.
const SETTING: &str = "/proc/sys/net/ipv4/tcp_fastopen_key";
