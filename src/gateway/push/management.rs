//! The management socket of an OpenVPN server: tells all connected clients their routes.
//!
//! Source: `doc/management-notes.txt` and `src/openvpn/manage.c`, `push_util.c` of OpenVPN (commit 3de92608, 2026-08-19).
//!
//! ```text
//!  server   >INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info
//!  offramp  load-stats
//!  server   SUCCESS: nclients=3,bytesin=1,bytesout=2
//!  offramp  push-update-broad "route 10.0.0.0 255.0.0.0"
//!  server   SUCCESS: 2 client(s) updated
//!  server   SUCCESS: push-update command succeeded
//!  offramp  quit
//! ```
//!
//! The server serves one management client at a time, and updates only clients of OpenVPN 2.7 and later, without DCO. An update
//! replaces the routes of a client; options of other kinds stay. `SUCCESS` means that the messages are queued.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::message::shorten;

/// A push that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The reason, and what to do.
    pub(super) why: String,
    /// True if the same push may succeed later.
    pub(super) is_temporary: bool,
}

impl Failure {
    fn temporary(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_temporary: true,
        }
    }

    fn lasting(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_temporary: false,
        }
    }
}

/// Sends `command`, a line, to the server at `socket`, and returns what has become of it.
pub(super) async fn push(socket: &Path, command: &str) -> Result<String, Failure> {
    let place = socket.display();
    match timeout(PATIENCE, converse(socket, command)).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(Failure::temporary(match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                format!("{place}: no server listens there: start it with `management {place} unix`")
            }
            ErrorKind::PermissionDenied => {
                format!("{place}: {error}; let the user of the service reach it (docs/service.md)")
            }
            _ => format!("{place}: {error}"),
        })),
        Err(_) => Err(Failure::temporary(format!(
            "{place}: no answer within {} seconds; the server serves one management client at a time: disconnect the other one",
            PATIENCE.as_secs()
        ))),
    }
}

async fn converse(socket: &Path, command: &str) -> io::Result<Result<String, Failure>> {
    let stream = UnixStream::connect(socket).await?;
    let mut lines = Lines(BufReader::new(stream));
    // A password is asked for without the end of a line.
    if lines.begins_with(PASSWORD).await? {
        return Ok(Err(Failure::lasting(
            "the server asks for a password: take the file of it out of the `management` line, and limit the socket to \
             offramp's user by `management-client-user`",
        )));
    }
    lines.send("load-stats\n").await?;
    let stats = lines.answer().await?;
    let clients = number_after(&stats, "nclients=");
    lines.send(command).await?;
    let mut updated = None;
    let mut not_updated = 0;
    let done = loop {
        let line = lines.answer().await?;
        if line.ends_with(" client(s) updated") {
            updated = number_after(&line, "SUCCESS: ");
        } else if line.starts_with("ERROR: Peer ID") {
            not_updated += 1;
        } else if line != NONE_UPDATED {
            break line;
        }
    };
    // It serves nobody else until then; an end of the connection does the same.
    _ = lines.send("quit\n").await;
    Ok(result(clients, updated, not_updated, &done))
}

/// Puts the answers of a server into words.
fn result(
    clients: Option<u64>,
    updated: Option<u64>,
    not_updated: u64,
    done: &str,
) -> Result<String, Failure> {
    if done.starts_with("ERROR: unknown command") {
        return Err(Failure::lasting(
            "the server does not know `push-update-broad`: it takes OpenVPN 2.7 or later; until then its clients get the routes when they connect \
             (`openvpn-ccd:FILE`)",
        ));
    }
    if done.starts_with("SUCCESS:") {
        let updated = updated.unwrap_or_default();
        return Ok(match clients.filter(|clients| *clients > updated) {
            None if updated == 1 => "1 connected client has the routes".to_owned(),
            None => format!("{updated} connected clients have the routes"),
            Some(clients) => format!(
                "{updated} of {clients} connected clients have the routes; the others are of OpenVPN 2.6 or earlier, or had an \
                 error ({not_updated}), and get them when they connect again"
            ),
        });
    }
    match (clients, done) {
        (Some(0), FAILED) => Ok("no client was connected".to_owned()),
        (clients, FAILED) => {
            let clients = clients.map_or_else(String::new, |it| format!("{it} "));
            Err(Failure::temporary(format!(
                "none of the {clients}connected clients has taken the routes: it takes OpenVPN 2.7 on both sides, and \
                 `disable-dco` at the server"
            )))
        }
        (_, line) => Err(Failure::lasting(format!(
            "the server answers `{}`",
            shorten(line)
        ))),
    }
}

/// The number behind the first `word` of `line`.
fn number_after(line: &str, word: &str) -> Option<u64> {
    let (_, rest) = line.split_once(word)?;
    let end = rest.find(|it: char| !it.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// The lines of a server.
struct Lines(BufReader<UnixStream>);

impl Lines {
    async fn send(&mut self, line: &str) -> io::Result<()> {
        self.0.get_mut().write_all(line.as_bytes()).await
    }

    /// Waits for bytes, and returns `true` if they begin with `word`.
    async fn begins_with(&mut self, word: &[u8]) -> io::Result<bool> {
        let bytes = self.0.fill_buf().await?;
        if bytes.is_empty() {
            return Err(ended());
        }
        Ok(bytes.starts_with(word))
    }

    /// Waits for the answer to a command; what the server says by itself is left out.
    async fn answer(&mut self) -> io::Result<String> {
        let mut read = 0;
        loop {
            let mut line = Vec::new();
            // A line without an end must not be kept whole.
            let mut limited = tokio::io::AsyncReadExt::take(&mut self.0, MAX_LINE);
            read += limited.read_until(b'\n', &mut line).await?;
            if line.is_empty() {
                return Err(ended());
            }
            if read as u64 > MAX_ANSWER {
                return Err(io::Error::other("the answer is too long"));
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim();
            if line.starts_with("SUCCESS:") || line.starts_with("ERROR:") {
                return Ok(line.to_owned());
            }
        }
    }
}

fn ended() -> io::Error {
    io::Error::new(
        ErrorKind::UnexpectedEof,
        "the server has closed the connection",
    )
}

const PASSWORD: &[u8] = b"ENTER PASSWORD";
const NONE_UPDATED: &str = "ERROR: no client updated";
const FAILED: &str = "ERROR: push-update command failed";
/// Time limit of a push: the server answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a line that are kept.
const MAX_LINE: u64 = 1_024;
/// Bytes of an answer, with what the server says meanwhile.
const MAX_ANSWER: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_servers_are_put_into_words() {
        let said = |clients, updated, done| match result(clients, updated, 0, done) {
            Ok(words) => words,
            Err(failure) => format!("{}: {}", failure.is_temporary, failure.why),
        };
        let done = "SUCCESS: push-update command succeeded";
        assert_eq!(
            said(Some(2), Some(2), done),
            "2 connected clients have the routes"
        );
        assert_eq!(
            said(Some(1), Some(1), done),
            "1 connected client has the routes"
        );
        assert!(said(Some(5), Some(2), done).starts_with("2 of 5 connected clients"));
        assert_eq!(said(Some(0), None, FAILED), "no client was connected");
        assert!(said(Some(3), None, FAILED).starts_with("true: none of the 3 connected clients"));
        // The words of Debian's OpenVPN 2.6.14.
        let unknown = "ERROR: unknown command, enter 'help' for more options";
        assert!(said(Some(1), None, unknown).contains("it takes OpenVPN 2.7 or later"));
        let other =
            "ERROR: The 'push-update-broad' command is not supported by the current daemon mode";
        assert!(said(None, None, other).starts_with("false: the server answers"));
    }
}
