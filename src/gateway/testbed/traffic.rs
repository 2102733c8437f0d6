//! The traffic of the demo: services, and probes that expect their answers.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::namespace::{Host, SiteError};

/// The kind of traffic of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Opens a connection, sends a line, and expects the line back.
    Tcp,
    /// Sends several datagrams, as some may get lost, and expects one back.
    Udp,
    /// Sends echo requests, and expects a reply.
    Ping,
}

/// Traffic from one address to another.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// The kind of traffic.
    pub wire: Wire,
    /// Source; port 0 takes any port.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
}

impl Probe {
    /// Returns `true` if an answer arrives in time. Call it on the host that sends.
    ///
    /// # Errors
    /// When the host itself cannot send.
    pub fn is_answered(&self) -> io::Result<bool> {
        let answer = match self.wire {
            Wire::Tcp => self.tcp(),
            Wire::Udp => self.udp(),
            Wire::Ping => self.ping(),
        };
        match answer {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn tcp(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(LINE)?;
        stream.read_exact(&mut [0; LINE.len()])
    }

    fn udp(&self) -> io::Result<()> {
        let socket = UdpSocket::bind(self.from)?;
        socket.connect(self.to)?;
        // A voice packet: 20 ms of G.711 behind an RTP header (RFC 3551 §4.5.14, RFC 3550 §5.1).
        let mut packet = [0x55; 12 + 160];
        packet[0] = 0x80;
        self.ask(
            || socket.send(&packet).map(|_| ()),
            |wait| {
                socket.set_read_timeout(Some(wait))?;
                socket.recv(&mut [0; 2_048]).map(|_| ())
            },
        )
    }

    fn ping(&self) -> io::Result<()> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (self.from.ip(), self.to.ip()) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let raw = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Icmp,
        )?;
        let address = |of: Ipv4Addr| SockaddrIn::from(std::net::SocketAddrV4::new(of, 0));
        nix::sys::socket::bind(raw.as_raw_fd(), &address(from))?;
        self.ask(
            || {
                Ok(sendto(
                    raw.as_raw_fd(),
                    &ECHO_REQUEST,
                    &address(to),
                    MsgFlags::empty(),
                )
                .map(|_| ())?)
            },
            |wait| {
                let wait = TimeVal::new(0, i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
                setsockopt(&raw, sockopt::ReceiveTimeout, &wait)?;
                recv(raw.as_raw_fd(), &mut [0; 2_048], MsgFlags::empty())?;
                Ok(())
            },
        )
    }

    /// Sends several times, until an answer arrives.
    fn ask(
        &self,
        send: impl Fn() -> io::Result<()>,
        receive: impl Fn(Duration) -> io::Result<()>,
    ) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            send()?;
            match receive(PACE) {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {}
                other => return other,
            }
        }
    }
}

/// Answers every line on TCP at `address` of `host`.
///
/// # Errors
/// [`SiteError::System`] when it cannot listen.
pub fn serve_tcp(host: &Host, address: SocketAddr) -> Result<(), SiteError> {
    let listener = host
        .run(|| TcpListener::bind(address))?
        .map_err(|source| cannot_listen(host, address, source))?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = [0; LINE.len()];
            // This client has gone; the server keeps serving others.
            _ = stream
                .read_exact(&mut line)
                .and_then(|()| stream.write_all(&line));
        }
    });
    Ok(())
}

/// Answers every datagram at `address` of `host`.
///
/// # Errors
/// [`SiteError::System`] when it cannot listen.
pub fn serve_udp(host: &Host, address: SocketAddr) -> Result<(), SiteError> {
    let socket = udp(host, address)?;
    thread::spawn(move || {
        let mut packet = vec![0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            // An answer may get lost, as on any network.
            _ = socket.send_to(&packet[..length], from);
        }
    });
    Ok(())
}

/// Relays datagrams from `public` through `internal` to `peer`, and the answers back, as a media relay does (RFC 8656),
/// but without its protocol.
///
/// # Errors
/// [`SiteError::System`] when it cannot listen.
pub fn serve_relay(
    host: &Host,
    public: SocketAddr,
    internal: SocketAddr,
    peer: SocketAddr,
) -> Result<(), SiteError> {
    let (outside, inside) = (udp(host, public)?, udp(host, internal)?);
    thread::spawn(move || {
        let mut packet = [0; 2_048];
        while let Ok((length, client)) = outside.recv_from(&mut packet) {
            let relay = || -> io::Result<()> {
                inside.send_to(&packet[..length], peer)?;
                inside.set_read_timeout(Some(PACE))?;
                let mut answer = [0; 2_048];
                let length = inside.recv(&mut answer)?;
                outside.send_to(&answer[..length], client)?;
                Ok(())
            };
            // Keeps relaying even if a peer does not answer.
            _ = relay();
        }
    });
    Ok(())
}

fn udp(host: &Host, address: SocketAddr) -> Result<UdpSocket, SiteError> {
    host.run(|| UdpSocket::bind(address))?
        .map_err(|source| cannot_listen(host, address, source))
}

fn cannot_listen(host: &Host, address: SocketAddr, source: io::Error) -> SiteError {
    SiteError::System {
        host: host.name(),
        what: format!("listen on {address}"),
        source,
    }
}

/// Total time that a probe waits for an answer.
const PATIENCE: Duration = Duration::from_millis(900);
/// Interval between attempts.
const PACE: Duration = Duration::from_millis(200);
/// The line sent on TCP connections.
const LINE: &[u8] = b"does this arrive?\n";
/// ICMP echo request, identifier 1, sequence number 1 (RFC 792).
const ECHO_REQUEST: [u8; 8] = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
