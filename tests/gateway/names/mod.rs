//! A DNS server run by the test, the queries it receives, and clients.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

pub mod hostile;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::site::{DEADLINE, Daemon};
use crate::support::{Folder, program, project};

/// A server whose answers the test chooses.
pub struct Upstream {
    pub address: SocketAddr,
}

/// A query to an upstream, with the means to answer it.
pub struct Asked<'u> {
    pub question: Message,
    /// The source of the query.
    pub from: SocketAddr,
    socket: Option<&'u UdpSocket>,
}

impl Asked<'_> {
    pub fn name(&self) -> String {
        self.question.queries[0].name().to_ascii().to_lowercase()
    }

    pub fn record_type(&self) -> RecordType {
        self.question.queries[0].query_type
    }

    pub fn by_tcp(&self) -> bool {
        self.socket.is_none()
    }

    /// Returns the answer with these records.
    pub fn answer(&self, records: Vec<Record>) -> Message {
        let mut message = self.question.clone();
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_available = true;
        message.answers = records;
        message
    }

    /// Returns the answer with an internal address under the queried name.
    pub fn internal(&self) -> Message {
        let name = self.question.queries[0].name().clone();
        self.answer(vec![internal(name, self.record_type())])
    }

    /// Returns an answer without records.
    pub fn code(&self, code: ResponseCode) -> Message {
        let mut message = self.answer(Vec::new());
        message.metadata.response_code = code;
        message
    }

    /// Sends `bytes` to the client, from the socket that received the query, before the answer.
    pub fn send_before(&self, bytes: &[u8]) {
        if let Some(socket) = self.socket {
            socket.send_to(bytes, self.from).expect("loopback");
        }
    }
}

/// Returns an internal address.
pub fn internal(name: Name, record_type: RecordType) -> Record {
    let data = match record_type {
        RecordType::AAAA => RData::AAAA(AAAA("fd00:10::66".parse().expect("an address"))),
        _ => RData::A(A(Ipv4Addr::new(10, 66, 66, 66))),
    };
    Record::from_rdata(name, 300, data)
}

impl Upstream {
    /// Starts a server on loopback; `tell` gives the answer, or none. Its threads end with the test's process.
    pub fn start(tell: impl Fn(&Asked<'_>) -> Option<Message> + Send + Sync + 'static) -> Self {
        let (socket, listener) = free_address();
        let address = socket.local_addr().expect("it is bound");
        let tell = Arc::new(tell);
        let by_stream = Arc::clone(&tell);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that disconnects early gets no answer.
                _ = converse(stream, &*by_stream);
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let Ok(question) = Message::from_vec(&buffer[..length]) else {
                    continue;
                };
                let asked = Asked {
                    question,
                    from,
                    socket: Some(&socket),
                };
                if let Some(answer) = tell(&asked) {
                    let answer = answer.to_vec().expect("a message");
                    _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address }
    }

    /// Starts one that answers every query with an internal address.
    pub fn leaking() -> Self {
        Self::start(|asked| Some(asked.internal()))
    }

    /// Starts one that never answers.
    pub fn silent() -> Self {
        Self::start(|_| None)
    }
}

fn converse(
    mut stream: TcpStream,
    tell: &dyn Fn(&Asked<'_>) -> Option<Message>,
) -> std::io::Result<()> {
    let from = stream.peer_addr()?;
    let message = receive_framed(&mut stream)?;
    let Ok(question) = Message::from_vec(&message) else {
        return Ok(());
    };
    let asked = Asked {
        question,
        from,
        socket: None,
    };
    match tell(&asked) {
        Some(answer) => send_framed(&mut stream, &answer.to_vec().expect("a message")),
        None => Ok(()),
    }
}

/// Sends a message after its length.
pub fn send_framed(stream: &mut impl Write, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).expect("a message");
    stream.write_all(&[&length.to_be_bytes()[..], message].concat())
}

/// Receives a length and the message after it.
pub fn receive_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// Returns a UDP and a TCP socket at one free port of loopback.
pub fn free_address() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        if let Ok(listener) = TcpListener::bind(address) {
            return (socket, listener);
        }
    }
    panic!("no port of loopback is free for both protocols");
}

/// `offramp dns` on loopback, with the policy of the article.
pub struct NameServer {
    pub daemon: Daemon,
    pub address: SocketAddr,
    pub folder: Folder,
    upstreams: Vec<SocketAddr>,
}

impl NameServer {
    /// Starts it; `name` is that of the test.
    #[track_caller]
    pub fn start(name: &str, upstreams: &[&Upstream]) -> Self {
        Self::start_as(name, upstreams, "", &[])
    }

    /// Starts it with more lines under `[dns]`, through another program.
    #[track_caller]
    pub fn start_as(name: &str, upstreams: &[&Upstream], lines: &str, starter: &[&str]) -> Self {
        let upstreams: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
        let folder = Folder::new(name);
        let (socket, listener) = free_address();
        let address = socket.local_addr().expect("it is bound");
        drop((socket, listener));
        let policy = folder.write("policy.toml", policy(address, &upstreams, lines, ""));
        let mut command = program(&["dns", &policy]);
        if let [first, rest @ ..] = starter {
            let mut started = std::process::Command::new(first);
            started
                .args(rest)
                .arg(command.get_program())
                .args(command.get_args());
            command = started;
        }
        let mut daemon = Daemon::start_here("offramp dns", folder.path("dns.log"), &mut command);
        daemon.wait_for_log("DNS queries are answered at");
        Self {
            daemon,
            address,
            folder,
            upstreams,
        }
    }

    /// Replaces the policy by the same with `more` at its end.
    pub fn write_policy(&self, more: &str) {
        let policy = policy(self.address, &self.upstreams, "", more);
        self.folder.write("policy.toml", policy);
    }

    /// Queries by UDP.
    #[track_caller]
    pub fn ask(&self, name: &str, record_type: RecordType) -> Message {
        let client = Client::of(self.address);
        client.send(&question(1, name, record_type));
        client.receive().expect("an answer")
    }
}

/// Returns the article's policy, with a listener at `address`.
pub fn policy(address: SocketAddr, upstreams: &[SocketAddr], lines: &str, more: &str) -> String {
    let article = project("config/contoso.toml");
    let text = std::fs::read_to_string(article).expect("the article's policy");
    let listen = "listen = [\"172.16.1.1:53\"]";
    assert!(text.contains(listen), "it answers at the tunnel's address");
    let upstreams: Vec<_> = upstreams.iter().map(|it| format!("\"{it}\"")).collect();
    let rate = if lines.contains("queries_per_second") {
        ""
    } else {
        "queries_per_second = 1000000"
    };
    let here = format!(
        "clients = [\"127.0.0.0/8\"]\nupstreams = [{}]\n{rate}\n{lines}\nlisten = [\"{address}\"]",
        upstreams.join(", ")
    );
    format!("{}\n{more}\n", text.replace(listen, &here))
}

/// Returns a query with recursion desired.
pub fn question(id: u16, name: &str, record_type: RecordType) -> Message {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, record_type));
    message
}

/// A client over UDP.
pub struct Client(pub UdpSocket);

impl Client {
    /// Returns a client of the server at `address`.
    pub fn of(address: SocketAddr) -> Self {
        Self::from("127.0.0.1".parse().expect("an address"), address)
    }

    /// Returns a client with an address of its own.
    pub fn from(own: IpAddr, address: SocketAddr) -> Self {
        let socket = UdpSocket::bind((own, 0)).expect("a free port");
        socket.connect(address).expect("loopback");
        socket.set_read_timeout(Some(DEADLINE)).expect("a duration");
        Self(socket)
    }

    pub fn send(&self, message: &Message) {
        let bytes = message.to_vec().expect("a message");
        self.0.send(&bytes).expect("loopback");
    }

    /// Returns the next answer; `None` if none arrives in time.
    pub fn receive(&self) -> Option<Message> {
        let mut buffer = [0; 4_096];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(Message::from_vec(&buffer[..length]).expect("an answer that can be read"))
    }
}

/// Returns the addresses in an answer.
pub fn addresses(message: &Message) -> Vec<IpAddr> {
    let addresses = message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(A(address)) => Some((*address).into()),
            RData::AAAA(AAAA(address)) => Some((*address).into()),
            _ => None,
        });
    addresses.collect()
}
