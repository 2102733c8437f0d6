//! Traffic between hosts, with assertions that it arrived or did not arrive.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use offramp::gateway::testbed::traffic::serve_udp;
use offramp::random::Random;
use socket2::{Domain, Protocol, Socket, Type};

use super::{DEADLINE, Host, poll};

/// Bytes of a connection in each direction: enough for segments that the kernel merges and splits.
const TCP_BYTES: usize = 300_000;

/// Maximum length of a datagram's reply.
const ANSWER: usize = 32;

/// Returns a UDP socket of `host` with the tests' receive timeout.
#[track_caller]
pub fn udp(host: &Host, address: IpAddr, port: u16) -> UdpSocket {
    let socket = host.enter(|| UdpSocket::bind((address, port)));
    let socket = socket.unwrap_or_else(|error| panic!("{}: {address}: {error}", host.name));
    socket
        .set_read_timeout(Some(DEADLINE))
        .expect("a socket takes a time limit");
    socket
}

/// Returns a UDP socket of `host`, at a free port, for the family of `address`.
pub fn socket_to(host: &Host, address: &str) -> UdpSocket {
    let any = if address.contains(':') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = host.enter(|| UdpSocket::bind(any));
    socket.expect("a free port")
}

/// Answers every datagram to a socket of `host`, for as long as the test runs.
pub fn echo(host: &Host, address: &str, port: u16) {
    let address = SocketAddr::new(address.parse().expect("an address"), port);
    let served = serve_udp(host.namespace(), address);
    served.unwrap_or_else(|error| panic!("{error}"));
}

/// Returns a TCP listener of `host`.
#[track_caller]
pub fn listen(host: &Host, address: IpAddr, port: u16) -> TcpListener {
    let listener = host.enter(|| TcpListener::bind((address, port)));
    listener.unwrap_or_else(|error| panic!("{}: {address}: {error}", host.name))
}

/// Returns `length` bytes without repetition over short distances.
pub fn payload(length: usize) -> Vec<u8> {
    let mut random = Random(1);
    (0..length).map(|_| random.next_u64() as u8).collect()
}

/// Sends a datagram to `receiver`, asserts that it arrives whole, and replies with its beginning; returns its source.
#[track_caller]
pub fn datagram_arrives(sender: &UdpSocket, receiver: &UdpSocket, length: usize) -> SocketAddr {
    let to = receiver.local_addr().expect("a bound socket");
    let sent = payload(length);
    sender
        .send_to(&sent, to)
        .unwrap_or_else(|error| panic!("to {to}: {error}"));
    let mut bytes = vec![0; 65_536];
    let (received, from) = receiver
        .recv_from(&mut bytes)
        .unwrap_or_else(|error| panic!("{length} bytes to {to} did not arrive: {error}"));
    assert_eq!(received, length, "to {to}");
    assert!(bytes[..received] == sent[..], "to {to}: other bytes");
    // Short: by IPv6 the first long reply into a tunnel would only make its sender learn the tunnel's MTU.
    let answer = &sent[..ANSWER];
    receiver
        .send_to(answer, from)
        .unwrap_or_else(|error| panic!("back to {from}: {error}"));
    let (received, answered) = sender
        .recv_from(&mut bytes)
        .unwrap_or_else(|error| panic!("the answer of {to} did not arrive: {error}"));
    assert!(answered == to && bytes[..received] == *answer, "{answered}");
    from
}

/// Returns `true` if `socket` has received no datagram.
#[track_caller]
pub fn is_empty(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).expect("a socket");
    let received = socket.recv_from(&mut [0; 1]);
    received.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Connects from `address` of `host` to `listener`, and transfers bytes both ways; returns the source address.
#[track_caller]
pub fn connection_carries(host: &Host, address: IpAddr, listener: &TcpListener) -> SocketAddr {
    let to = listener.local_addr().expect("a bound socket");
    connection_carries_from(host, SocketAddr::new(address, 0), listener)
        .unwrap_or_else(|error| panic!("{} to {to}: {error}", host.name))
}

/// Does the same from a port, and returns the error.
pub fn connection_carries_from(
    host: &Host,
    from: SocketAddr,
    listener: &TcpListener,
) -> std::io::Result<SocketAddr> {
    let to = listener.local_addr()?;
    let sent = payload(TCP_BYTES);
    thread::scope(|scope| {
        let server = scope.spawn(|| -> std::io::Result<SocketAddr> {
            let (mut stream, from) = accept(listener)?;
            limit(&stream)?;
            let mut bytes = vec![0; TCP_BYTES];
            stream.read_exact(&mut bytes)?;
            stream.write_all(&bytes)?;
            Ok(from)
        });
        let socket = host.enter(|| tcp_socket(from))?;
        socket.connect_timeout(&to.into(), DEADLINE)?;
        let mut stream = TcpStream::from(socket);
        limit(&stream)?;
        let mut bytes = vec![0; TCP_BYTES];
        stream.write_all(&sent)?;
        stream.read_exact(&mut bytes)?;
        assert!(bytes == sent, "{to} answers with other bytes");
        server.join().expect("a server does not panic")
    })
}

/// Accepts a connection, which must arrive in time.
fn accept(listener: &TcpListener) -> std::io::Result<(TcpStream, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            Ok((stream, from)) => {
                stream.set_nonblocking(false)?;
                return Ok((stream, from));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns `true` if no client has connected to `listener`.
pub fn is_alone(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).expect("a socket");
    let accepted = listener.accept();
    accepted.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn limit(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))
}

fn tcp_socket(from: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&from.into())?;
    Ok(socket)
}

/// A pending connection attempt.
#[derive(Debug)]
pub struct Attempt(Socket);

impl Attempt {
    /// Sends a SYN, and retransmits it until it is answered or this is dropped.
    #[track_caller]
    pub fn start(host: &Host, from: SocketAddr, to: SocketAddr) -> Self {
        let socket = host
            .enter(|| tcp_socket(from))
            .unwrap_or_else(|error| panic!("{}: {from}: {error}", host.name));
        socket.set_nonblocking(true).expect("a socket");
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
            Err(error) => panic!("{} to {to}: {error}", host.name),
        }
        Self(socket)
    }

    /// Returns `true` while it waits for an answer: neither accepted nor refused.
    pub fn is_waiting(&self) -> bool {
        let error = self.0.take_error().expect("a socket");
        error.is_none() && self.0.peer_addr().is_err()
    }
}

/// Waits until `host` gets an answer from `address` to a ping of `bytes` bytes. The first may be lost: to a tunnel
/// that comes up, or, long and by IPv6, to the narrow link whose MTU its sender has not learned yet.
#[track_caller]
pub fn ping(host: &Host, address: IpAddr, bytes: usize) {
    poll(&format!("{}: an answer of {address}", host.name), || {
        let mut command = Command::new("ping");
        command.args(["-n", "-q", "-c", "1", "-W", "1"]);
        command.args(["-s", &bytes.to_string(), &address.to_string()]);
        (host.run(&mut command).code == Some(0)).then_some(())
    });
}

/// Returns the number of IP packets for a UDP datagram of `length` bytes on a link of `mtu`.
pub fn packets_of(length: usize, to: IpAddr, mtu: usize) -> u64 {
    const UDP_HEADER: usize = 8;
    // RFC 791 §3.1; RFC 8200 §3 and §4.5: the header of a fragment has an extension.
    let (header, extension) = match to {
        IpAddr::V4(_) => (20, 0),
        IpAddr::V6(_) => (40, 8),
    };
    let whole = length + UDP_HEADER;
    if header + whole <= mtu {
        return 1;
    }
    let part = (mtu - header - extension) / 8 * 8;
    whole.div_ceil(part) as u64
}
