//! The signaling between two browsers: a web server at the loopback address of each party's host. It serves the page, hands
//! messages to the other party, and keeps what the page reports. Nothing of it is in the tunnel or meets a filter.
//!
//! ```text
//!  GET  /           the page
//!  GET  /messages   what the test and the peer have for this party, once there is something
//!  POST /peer       a message for the peer
//!  POST /report     the state of the page's call
//! ```

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::site::Host;

const PAGE: &str = include_str!("call.html");

/// A request for messages is answered after this time at the latest.
const PATIENCE: Duration = Duration::from_secs(1);

/// The messages and reports of two parties.
#[derive(Clone, Default)]
pub(super) struct Signaling(Arc<(Mutex<[Mailbox; 2]>, Condvar)>);

#[derive(Default)]
struct Mailbox {
    messages: Vec<Value>,
    reports: Vec<(Instant, Value)>,
}

impl Signaling {
    /// Serves a party in its host, at a port of its own, which is returned.
    pub(super) fn serve(&self, host: &Host, party: usize) -> u16 {
        let listener = host.enter(|| TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let signaling = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (signaling, stream) = (signaling.clone(), stream.expect("a connection"));
                // A page that is closed reads no answer.
                thread::spawn(move || _ = signaling.answer(&stream, party));
            }
        });
        port
    }

    /// Leaves a message for a party.
    pub(super) fn send(&self, party: usize, message: Value) {
        self.mailboxes()[party].messages.push(message);
        self.0.1.notify_all();
    }

    /// Takes what a party has reported since the last time, oldest first.
    pub(super) fn reports(&self, party: usize) -> Vec<(Instant, Value)> {
        std::mem::take(&mut self.mailboxes()[party].reports)
    }

    fn mailboxes(&self) -> MutexGuard<'_, [Mailbox; 2]> {
        self.0.0.lock().expect("nobody panics with it")
    }

    /// Waits for messages to a party, and takes them.
    fn messages(&self, party: usize) -> Vec<Value> {
        let is_empty = |it: &mut [Mailbox; 2]| it[party].messages.is_empty();
        let waited = self
            .0
            .1
            .wait_timeout_while(self.mailboxes(), PATIENCE, is_empty);
        let (mut mailboxes, _) = waited.expect("nobody panics with it");
        std::mem::take(&mut mailboxes[party].messages)
    }

    /// Reads a request and answers it (RFC 9112); the connection ends with the answer.
    fn answer(&self, stream: &TcpStream, party: usize) -> io::Result<()> {
        let (request, body) = read_request(stream)?;
        let answer = match request.as_str() {
            "GET /" => PAGE.to_owned(),
            "GET /messages" => Value::from(self.messages(party)).to_string(),
            "POST /peer" => {
                self.send(1 - party, body);
                String::new()
            }
            "POST /report" => {
                let report = (Instant::now(), body);
                self.mailboxes()[party].reports.push(report);
                String::new()
            }
            _ => return write!({ stream }, "HTTP/1.1 404 Not Found\r\n\r\n"),
        };
        write!(
            { stream },
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
            answer.len()
        )
    }
}

/// Reads a request: method and path, and the body, `null` where there is none.
fn read_request(stream: &TcpStream) -> io::Result<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    let first = lines.first().map(String::as_str).unwrap_or_default();
    let request = first.rsplit_once(' ').map_or(first, |(it, _version)| it);
    let mut headers = lines.iter().filter_map(|line| line.split_once(':'));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, length)| length.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Ok((request.to_owned(), body))
}
