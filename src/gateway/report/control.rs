//! The control socket: a client sends a line with a [`Request`], gets the [`Status`] or a [`ReloadReport`], and the connection
//! is closed.
//!
//! A trace is the exception: its lines come until it ends (`report::trace`).

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::debug;

use super::reload_report::ReloadReport;
use super::status::Status;
use super::trace::TraceRequest;
use crate::files::place;

/// The socket that a running gateway listens on; removed when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, which distinguish it from a file that another program puts at its path.
    identity: (u64, u64),
    requests: UnboundedSender<Asked>,
    read: UnboundedReceiver<Asked>,
}

impl ControlSocket {
    /// Listens at `path` and creates its folder if need be; replaces a socket that a killed process left there.
    ///
    /// Only the user that the gateway runs as may connect.
    ///
    /// # Errors
    /// When something else is at `path`, or the socket cannot be created.
    pub fn listen(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            place::make_folder(folder)?;
        }
        match PathState::at(path)? {
            PathState::Abandoned => fs::remove_file(path)?,
            PathState::Free => {}
        }
        // Nobody else may connect, not even in the moment before the mode is set.
        let before = umask(Mode::S_IRWXG | Mode::S_IRWXO | Mode::S_IXUSR);
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound?;
        let metadata = fs::symlink_metadata(path)?;
        let (requests, read) = unbounded_channel();
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            requests,
            read,
        })
    }

    /// Waits for the next request.
    ///
    /// Cancelling it loses none: each is read by a task of its own.
    pub async fn asked(&mut self) -> Asked {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        tokio::spawn(read(stream, self.requests.clone()));
                    }
                    Err(error) => {
                        // No descriptor is free: one may be soon.
                        debug!(
                            "cannot accept a connection to the control socket, and will try again: {error}"
                        );
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(asked) = self.read.recv() => return asked,
            }
        }
    }
}

/// The request of a client of the control socket.
///
/// A reload, and what one would do, is answered by a [`ReloadReport`], once the policy is loaded; a trace by its lines; everything
/// else at once, by the [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The status alone.
    Status,
    /// Everything is to pass unjudged, or traffic to be judged again.
    Bypass(bool),
    /// A self-test, before the status.
    SelfTest,
    /// The policy is to be enforced for that time, in whole seconds, and then no longer.
    Enforce(Duration),
    /// The policy is not to be enforced any more, before its time is over.
    EndTrial,
    /// The policy is to be enforced beyond that time.
    Keep,
    /// The policy is to be loaded again.
    Reload,
    /// A reload is to be tried, without effect.
    TryReload,
    /// The status, with addresses of clients in the table of drops.
    Addresses,
    /// The verdicts of a client's packets, for a while.
    Trace(TraceRequest),
}

impl Request {
    const WORDS: [(&'static str, Self); 9] = [
        ("status", Self::Status),
        ("bypass on", Self::Bypass(true)),
        ("bypass off", Self::Bypass(false)),
        ("self-test", Self::SelfTest),
        ("enforce off", Self::EndTrial),
        ("keep", Self::Keep),
        ("reload", Self::Reload),
        ("reload dry-run", Self::TryReload),
        ("addresses", Self::Addresses),
    ];

    /// Its line.
    fn line(self) -> String {
        match self {
            Self::Enforce(duration) => return format!("{ENFORCE}{}", duration.as_secs()),
            Self::Trace(trace) => return trace.line(),
            _ => {}
        }
        let known = Self::WORDS.iter().find(|(_, request)| *request == self);
        known.map_or("status", |(word, _)| word).to_owned()
    }

    /// Reads a line; one of another version asks for the status.
    fn parse(line: &str) -> Self {
        let known = Self::WORDS.iter().find(|(word, _)| *word == line);
        let known = known.map(|(_, request)| *request);
        let enforce = || {
            let seconds = line.strip_prefix(ENFORCE)?.parse().ok()?;
            Some(Self::Enforce(Duration::from_secs(seconds)))
        };
        let trace = || TraceRequest::parse(line).map(Self::Trace);
        known
            .or_else(enforce)
            .or_else(trace)
            .unwrap_or(Self::Status)
    }
}

/// A request, and the connection of its client.
#[derive(Debug)]
pub struct Asked {
    /// The request.
    pub request: Request,
    /// The connection.
    pub stream: UnixStream,
}

/// Reads the line of a request. A client that writes none, as those of 0.1, asks for the status.
async fn read(mut stream: UnixStream, requests: UnboundedSender<Asked>) {
    let mut line = Vec::new();
    let mut bytes = [0; 64];
    let reading = async {
        while !line.contains(&b'\n') && line.len() < bytes.len() {
            match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => break,
                Ok(count) => line.extend(&bytes[..count]),
            }
        }
    };
    _ = tokio::time::timeout(SHORT_PATIENCE, reading).await;
    let request = Request::parse(String::from_utf8_lossy(&line).trim_end());
    // The gateway has ended otherwise.
    _ = requests.send(Asked { request, stream });
}

/// Checks that [`ControlSocket::listen`] could listen at `path`, and changes nothing.
///
/// # Errors
/// The reason why it could not.
pub fn try_listen(path: &Path) -> io::Result<()> {
    // Its length is limited (unix(7)).
    SocketAddr::from_pathname(path)?;
    PathState::at(path)?;
    let absolute = std::path::absolute(path)?;
    place::check_for_entries(absolute.parent().unwrap_or(&absolute))?;
    let mut folders = absolute.ancestors().skip(1);
    let Some(folder) = folders.find(|folder| folder.exists()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    if !folder.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK)?;
    Ok(())
}

/// The state of the path of a socket to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathState {
    /// Nothing.
    Free,
    /// The socket of a process that was killed.
    Abandoned,
}

impl PathState {
    /// Examines `path`; an error if a process listens there, or if it is no socket.
    fn at(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                match StdUnixStream::connect(path) {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        Ok(Self::Abandoned)
                    }
                    Ok(_) | Err(_) => Err(io::Error::other("another program listens there")),
                }
            }
            Ok(_) => Err(io::Error::other(
                "a file that is not a socket has this path",
            )),
            Err(_) => Ok(Self::Free),
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if is_ours {
            // If it cannot be removed, the next gateway to start finds that nobody listens.
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Sends an answer to a client.
pub async fn tell(mut stream: UnixStream, answer: impl Serialize) {
    let Ok(mut line) = serde_json::to_vec(&answer) else {
        return;
    };
    line.push(b'\n');
    // A client that does not read in time gets a part of it, and delays nobody.
    _ = tokio::time::timeout(PATIENCE, stream.write_all(&line)).await;
}

/// Asks the gateway that listens at `path` for its status.
///
/// # Errors
/// When none listens there, or it sends no status.
pub fn ask(path: &Path) -> io::Result<Status> {
    request(path, Request::Status)
}

/// Has the gateway that listens at `path` do what `request` says; returns its status then.
///
/// # Errors
/// When none listens there, or it sends no status.
pub fn request(path: &Path, request: Request) -> io::Result<Status> {
    exchange(path, request, LONG_PATIENCE)
}

/// Has the gateway that listens at `path` load its policy again.
///
/// # Errors
/// When none listens there, or it sends no report: one of an earlier version has none.
pub fn reload(path: &Path) -> io::Result<ReloadReport> {
    exchange(path, Request::Reload, RELOAD_PATIENCE)
}

/// Asks the gateway that listens at `path` what a reload would do.
///
/// # Errors
/// As for [`reload`].
pub fn try_reload(path: &Path) -> io::Result<ReloadReport> {
    exchange(path, Request::TryReload, RELOAD_PATIENCE)
}

fn exchange<T: DeserializeOwned>(
    path: &Path,
    request: Request,
    patience: Duration,
) -> io::Result<T> {
    let mut stream = connect(path, request)?;
    stream.set_read_timeout(Some(patience))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    serde_json::from_slice(&answer).map_err(io::Error::from)
}

/// Sends `request` to the gateway that listens at `path`; what it answers is to be read.
///
/// # Errors
/// When none listens there.
pub fn connect(path: &Path, request: Request) -> io::Result<StdUnixStream> {
    let mut stream = StdUnixStream::connect(path)?;
    // A gateway of 0.1 reads nothing, and may have closed the connection.
    _ = stream.write_all(format!("{}\n", request.line()).as_bytes());
    stream.set_read_timeout(Some(LONG_PATIENCE))?;
    Ok(stream)
}

/// The time that a gateway under full load may take to answer.
const LONG_PATIENCE: Duration = Duration::from_secs(15);
/// The time that loading a large policy, and comparing it with the one in force, may take on a busy host.
const RELOAD_PATIENCE: Duration = Duration::from_secs(120);
/// The time that a client may take to read the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time that a client has to send its request.
const SHORT_PATIENCE: Duration = Duration::from_millis(200);
/// The pause before another try for a free descriptor.
const PAUSE: Duration = Duration::from_millis(100);
/// The beginning of a request for enforcement; seconds follow.
const ENFORCE: &str = "enforce ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_read_as_it_is_written_and_others_ask_for_the_status() {
        let all = Request::WORDS.map(|(_, request)| request);
        let trial = Request::Enforce(Duration::from_secs(600));
        let trace = Request::Trace(TraceRequest {
            client: "172.16.1.10".parse().expect("an address"),
            seconds: 60,
            packets: 1_000,
        });
        for request in all.into_iter().chain([trial, trace]) {
            assert_eq!(Request::parse(&request.line()), request);
        }
        for other in [
            "",
            "bypass",
            "trace nobody 60 1000",
            "enforce",
            "enforce -1",
            "enforce 1e3",
            "KEEP",
            "reload  ",
        ] {
            assert_eq!(Request::parse(other), Request::Status, "{other}");
        }
    }
}
