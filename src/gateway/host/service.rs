//! [`ServiceManager`]: reports the gateway's state to systemd, or to any other manager that started it (sd_notify(3)).
//!
//! ```text
//!  READY=1       traffic is judged             RELOADING=1   a policy is being read, until the next READY=1
//!  STATUS=...    for `systemctl status`        WATCHDOG=1    every worker has shown a sign of life
//!                                              STOPPING=1    the end has begun
//! ```
//!
//! The protocol is a datagram to the socket that `NOTIFY_SOCKET` names. It is sent without blocking, so that a manager
//! that does not read delays nothing. Without a manager nothing is sent.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tracing::warn;

/// The service manager that started the gateway; none, if it was started by hand.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<Socket>,
    /// The heartbeat timeout.
    watchdog: Option<Duration>,
}

/// The manager's socket.
#[derive(Debug)]
struct Socket {
    socket: UnixDatagram,
    /// Looked up each time: a restarted manager has another socket there.
    address: SocketAddr,
}

/// A report to the service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Traffic is judged, in the words of `status`.
    Ready {
        /// A line for people to read.
        status: &'a str,
    },
    /// A policy is being read; a [`Notice::Ready`] follows in any case.
    Reloading,
    /// The status line has changed.
    Status(&'a str),
    /// Every worker has made progress.
    Alive,
    /// The shutdown has begun.
    Stopping,
}

impl ServiceManager {
    /// The manager that started this process, according to its environment.
    pub fn of_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|address| {
            let socket = Socket::to(address.as_bytes());
            socket
                .inspect_err(|error| warn!("cannot reach the service manager: {error}"))
                .ok()
        });
        let variable = |name| std::env::var(name).ok();
        let watchdog = watchdog(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        Self { socket, watchdog }
    }

    /// No manager: nothing is sent.
    pub fn silent() -> Self {
        Self {
            socket: None,
            watchdog: None,
        }
    }

    /// The heartbeat timeout, within which [`Notice::Alive`] is due; `None` if the manager waits for none.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.socket.is_some())
    }

    /// Sends `notice` to the manager.
    pub fn tell(&self, notice: Notice<'_>) {
        let Some(socket) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send(&text(notice)) {
            warn!("cannot report {notice:?} to the service manager: {error}");
        }
    }
}

impl Socket {
    fn to(address: &[u8]) -> io::Result<Self> {
        // A name in the abstract namespace begins with `@` here.
        let address = match address.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(OsStr::from_bytes(address))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    fn send(&self, text: &str) -> io::Result<()> {
        self.socket.send_to_addr(text.as_bytes(), &self.address)?;
        Ok(())
    }
}

fn text(notice: Notice<'_>) -> String {
    match notice {
        Notice::Ready { status } => format!("READY=1\n{}", status_line(status)),
        Notice::Reloading => {
            // The time distinguishes this reload from an earlier request.
            let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
            let mut text = "RELOADING=1\n".to_owned();
            if let Ok(now) = now {
                // Writing to a string cannot fail.
                _ = writeln!(text, "MONOTONIC_USEC={}", now.as_micros());
            }
            text
        }
        Notice::Status(status) => status_line(status),
        Notice::Alive => "WATCHDOG=1\n".to_owned(),
        Notice::Stopping => "STOPPING=1\n".to_owned(),
    }
}

/// Takes only the first line of `status`: each further one would be an assignment.
fn status_line(status: &str) -> String {
    format!("STATUS={}\n", status.lines().next().unwrap_or_default())
}

/// Reads the timeout from `WATCHDOG_USEC`, unless `WATCHDOG_PID` names another process.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    let usec = usec?.parse().ok().filter(|usec| *usec > 0)?;
    Some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line_and_cannot_say_more() {
        let text = text(Notice::Status("policy.toml\nREADY=1"));
        assert_eq!(text, "STATUS=policy.toml\n");
    }

    #[test]
    fn the_moment_of_a_reload_comes_with_it() {
        let text = text(Notice::Reloading);
        let (first, second) = text.split_once('\n').expect("two lines");
        assert_eq!(first, "RELOADING=1");
        let moment = second.strip_prefix("MONOTONIC_USEC=").expect("the moment");
        assert!(moment.trim_end().parse::<u64>().is_ok(), "{moment}");
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some("1000000"), None, 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("7"), 7), second);
        for (usec, pid) in [
            (Some("1000000"), Some("8")),
            (Some("1000000"), Some("")),
            (Some("0"), None),
            (Some("often"), None),
            (None, Some("7")),
        ] {
            assert_eq!(watchdog(usec, pid, 7), None, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn a_manager_that_never_reads_holds_nobody_up() {
        let name = format!("offramp-test-{}-never-reads", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let _deaf = UnixDatagram::bind_addr(&address).expect("a free name");
        let manager = ServiceManager {
            socket: Socket::to(format!("@{name}").as_bytes()).ok(),
            watchdog: None,
        };
        // More than any socket queues (net.unix.max_dgram_qlen).
        for _ in 0..10_000 {
            manager.tell(Notice::Alive);
        }
    }
}
