//! [`Host`]: a network namespace that exists as long as a file descriptor refers to it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A host of the site: a network namespace.
#[derive(Debug)]
pub struct Host {
    name: &'static str,
    namespace: File,
}

/// The reason why a site cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The process has neither user namespaces nor root.
    #[error(
        "this system lets ordinary users make no network namespaces ({0}); run it as root: sudo offramp demo"
    )]
    Forbidden(io::Error),
    /// A command that sets up a host failed.
    #[error("on {host}: `{command}` failed: {why}")]
    Command {
        /// The host.
        host: &'static str,
        /// The command.
        command: String,
        /// Its error output.
        why: String,
    },
    /// The system refused a thread, socket or file.
    #[error("on {host}: cannot {what}: {source}")]
    System {
        /// The host.
        host: &'static str,
        /// The operation that failed.
        what: String,
        /// The system's error.
        source: io::Error,
    },
}

/// Puts this process into a network namespace of its own, in a user namespace if it is not root. Call it before the
/// process has a second thread.
///
/// # Errors
/// [`SiteError::Forbidden`].
pub fn enter_namespaces() -> Result<(), SiteError> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let alone = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    match unshare(CloneFlags::CLONE_NEWUSER | alone) {
        Ok(()) => {
            let map = || -> io::Result<()> {
                fs::write("/proc/self/setgroups", "deny")?;
                fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
                fs::write("/proc/self/gid_map", format!("0 {group} 1"))
            };
            map().map_err(SiteError::Forbidden)
        }
        // A hardened system may still let root do it without a user namespace.
        Err(_) if user.is_root() => {
            unshare(alone).map_err(|error| SiteError::Forbidden(error.into()))
        }
        Err(error) => Err(SiteError::Forbidden(error.into())),
    }
}

impl Host {
    /// The namespace that this thread is in.
    ///
    /// # Errors
    /// [`SiteError::System`].
    pub fn here(name: &'static str) -> Result<Self, SiteError> {
        let namespace = File::open(OWN_NAMESPACE).map_err(|source| SiteError::System {
            host: name,
            what: "open the network namespace".to_owned(),
            source,
        })?;
        Ok(Self { name, namespace })
    }

    /// Creates a host with a loopback interface only.
    ///
    /// # Errors
    /// [`SiteError::Forbidden`] if the system allows no namespaces.
    pub fn new(name: &'static str) -> Result<Self, SiteError> {
        let made = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|error| SiteError::Forbidden(error.into()))?;
            Self::here(name)
        });
        let host = made
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// The host's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The path of its namespace, for programs that take one.
    pub fn path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.namespace.as_raw_fd()
        )
    }

    /// Runs `work` on a thread of this host; sockets that it opens stay in the host's namespace.
    ///
    /// # Errors
    /// [`SiteError::System`] when the thread cannot enter the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, SiteError> {
        thread::scope(|scope| {
            let done = scope.spawn(|| {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET).map_err(|error| {
                    SiteError::System {
                        host: self.name,
                        what: "enter the network namespace".to_owned(),
                        source: error.into(),
                    }
                })?;
                Ok(work())
            });
            done.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs lines of `ip` on this host; comments and empty lines are skipped.
    ///
    /// # Errors
    /// [`SiteError::Command`] with the error output.
    pub fn ip(&self, lines: &str) -> Result<(), SiteError> {
        self.feed("ip", &["-batch", "-"], lines)
    }

    /// Runs a program that reads `input` on this host.
    ///
    /// # Errors
    /// [`SiteError::Command`] with the error output.
    pub fn feed(&self, program: &str, arguments: &[&str], input: &str) -> Result<(), SiteError> {
        let run = || -> io::Result<Output> {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            // A program that ends early says why on its standard error.
            _ = child
                .stdin
                .take()
                .map(|mut stdin| stdin.write_all(input.as_bytes()));
            child.wait_with_output()
        };
        let why = match self.run(run)? {
            Ok(Output { status, .. }) if status.success() => return Ok(()),
            Ok(Output { stderr, .. }) => String::from_utf8_lossy(&stderr).trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && program == "ip" => {
                "there is no `ip`; install iproute2".to_owned()
            }
            Err(error) => error.to_string(),
        };
        Err(SiteError::Command {
            host: self.name,
            command: format!("{program} {}", input.trim()),
            why,
        })
    }

    /// Sets a kernel setting of this host; `key` is a path under `/proc/sys`.
    ///
    /// # Errors
    /// [`SiteError::System`].
    pub fn set(&self, key: &str, value: &str) -> Result<(), SiteError> {
        let path = format!("/proc/sys/{key}");
        self.run(|| fs::write(path, value))?
            .map_err(|source| SiteError::System {
                host: self.name,
                what: format!("set {key}"),
                source,
            })
    }
}

/// The network namespace of the thread that opens it.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";
