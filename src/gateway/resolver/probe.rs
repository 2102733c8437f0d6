//! [`ProbeClient`]: queries a DNS server as a client would.

use std::fmt;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use crate::name::DnsName;

/// Queries one server.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct ProbeClient {
    server: SocketAddr,
    /// The source address, if it matters.
    from: Option<IpAddr>,
}

/// The answer of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Reply {
    code: ResponseCode,
    /// The data of the records of the type asked for, as zone files write it.
    pub(in crate::gateway) data: Vec<String>,
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, &self.data[..]) {
            (ResponseCode::NoError, []) => out.write_str("it says: no data"),
            (ResponseCode::NoError, data) => write!(out, "it says: {}", data.join(", ")),
            (ResponseCode::NXDomain, _) => out.write_str("it says: no such name"),
            (code, _) => write!(out, "it says: {code}"),
        }
    }
}

impl ProbeClient {
    pub(in crate::gateway) const fn new(server: SocketAddr, from: Option<IpAddr>) -> Self {
        Self { server, from }
    }

    /// Asks for `name`: by UDP, and by TCP if the answer is truncated.
    pub(in crate::gateway) fn ask(
        &self,
        name: &DnsName,
        record_type: u16,
    ) -> Result<Reply, String> {
        let name = Name::from_ascii(format!("{}.", name)).map_err(|error| error.to_string())?;
        let record_type = RecordType::from(record_type);
        let mut question = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(name, record_type));
        let mut edns = Edns::new();
        edns.set_max_payload(1_232);
        question.edns = Some(edns);
        let bytes = question.to_vec().map_err(|error| error.to_string())?;
        let mut answer = self.by_udp(&bytes, &question)?;
        if answer.metadata.truncation {
            answer = self.by_tcp(&bytes).map_err(|error| error.to_string())?;
        }
        let code = answer.metadata.response_code;
        // A client that is not served gets this response for every name.
        if code == ResponseCode::Refused {
            return Err(format!("it says: {code}"));
        }
        let records = answer.answers.iter();
        let asked = records.filter(|it| it.record_type() == record_type);
        let data = asked.map(|it| {
            it.data
                .to_string()
                .trim_end_matches('.')
                .to_ascii_lowercase()
        });
        Ok(Reply {
            code,
            data: data.collect(),
        })
    }

    fn by_udp(&self, bytes: &[u8], question: &Message) -> Result<Message, String> {
        let failed = |error: std::io::Error| error.to_string();
        let any: IpAddr = match self.server {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((self.from.unwrap_or(any), 0)).map_err(failed)?;
        socket.connect(self.server).map_err(failed)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut buffer = [0; 4_096];
        let mut last = "no answer".to_owned();
        for _ in 0..TRIES {
            socket.send(bytes).map_err(failed)?;
            match socket.recv(&mut buffer) {
                Ok(length) => match Message::from_vec(&buffer[..length]) {
                    Ok(answer) if answer.metadata.id == question.metadata.id => return Ok(answer),
                    Ok(_) => "it answers another question".clone_into(&mut last),
                    Err(error) => last = error.to_string(),
                },
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    fn by_tcp(&self, bytes: &[u8]) -> std::io::Result<Message> {
        let mut stream = TcpStream::connect_timeout(&self.server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), bytes].concat())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        Message::from_vec(&answer).map_err(std::io::Error::other)
    }
}

/// Time limit for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Attempts at most.
const TRIES: usize = 3;
