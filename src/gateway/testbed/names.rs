//! DNS of the demo: the company's server, and a client.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::namespace::{Host, SiteError};
use super::site::{EDGE_INTERNAL, FRONT_END, SERVER};

/// The records of the company's own DNS server.
const INTERNAL: [(&str, Ipv4Addr); 4] = [
    ("lyncdiscoverinternal.contoso.com.", FRONT_END),
    ("sip.contoso.com.", FRONT_END),
    ("av.contoso.com.", EDGE_INTERNAL),
    ("intranet.contoso.com.", SERVER),
];

/// The answer that a client gets for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// The address.
    Address(Ipv4Addr),
    /// There is no such name.
    NoName,
    /// No answer, or one without an address.
    NoAnswer,
}

impl fmt::Display for Resolved {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(out),
            Self::NoName => out.write_str("no such name"),
            Self::NoAnswer => out.write_str("no answer"),
        }
    }
}

/// Answers for the company's names at `address` of `host`.
///
/// # Errors
/// [`SiteError::System`] when it cannot listen.
pub fn serve_names(host: &Host, address: SocketAddr) -> Result<(), SiteError> {
    let bound = host.run(|| UdpSocket::bind(address))?;
    let socket = bound.map_err(|source| SiteError::System {
        host: host.name(),
        what: format!("listen on {address}"),
        source,
    })?;
    thread::spawn(move || {
        let mut packet = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            if let Some(answer) = answer(&packet[..length]) {
                // An answer may get lost, as on any network.
                _ = socket.send_to(&answer, from);
            }
        }
    });
    Ok(())
}

fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(question).ok()?;
    let query = message.queries.first()?.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    let asked = query.name().to_ascii().to_lowercase();
    match INTERNAL.iter().find(|(name, _)| *name == asked) {
        Some((_, address)) if query.query_type == RecordType::A => {
            let record = Record::from_rdata(query.name().clone(), 300, RData::A(A(*address)));
            message.add_answer(record);
        }
        Some(_) => {}
        None => message.metadata.response_code = ResponseCode::NXDomain,
    }
    message.to_vec().ok()
}

/// Queries the DNS server at `server` for the address of `name`. Call it on the host that sends.
///
/// # Errors
/// When the host itself cannot send.
pub fn resolve(server: SocketAddr, name: &str) -> io::Result<Resolved> {
    let mut owner = Name::from_ascii(name).map_err(io::Error::other)?;
    owner.set_fqdn(true);
    let mut message = Message::new(ID, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(owner, RecordType::A));
    let question = message.to_vec().map_err(io::Error::other)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PACE))?;
    let deadline = Instant::now() + PATIENCE;
    let mut packet = [0; 2_048];
    while Instant::now() < deadline {
        socket.send(&question)?;
        let Ok(length) = socket.recv(&mut packet) else {
            continue;
        };
        let Ok(answer) = Message::from_vec(&packet[..length]) else {
            continue;
        };
        if answer.metadata.response_code == ResponseCode::NXDomain {
            return Ok(Resolved::NoName);
        }
        let address = answer.answers.iter().find_map(|record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        });
        return Ok(address.map_or(Resolved::NoAnswer, Resolved::Address));
    }
    Ok(Resolved::NoAnswer)
}

/// Query ID; a constant will do, as no one else is on the link.
const ID: u16 = 1;
/// Total time to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Interval between attempts.
const PACE: Duration = Duration::from_millis(500);
