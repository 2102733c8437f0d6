//! [`Arrivals`]: the receivers on the server, which count what arrives and look at none of it.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nix::sys::socket::{MsgFlags, MultiHeaders, recv, recvmmsg, setsockopt, sockopt};
use offramp::gateway::demo::namespace::Host;

use super::GLANCE;

/// What has arrived since the start.
#[derive(Debug)]
pub(super) struct Arrivals {
    bytes: AtomicU64,
    datagrams: AtomicU64,
}

impl Arrivals {
    pub(super) const fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
        }
    }

    /// Bytes of TCP.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Datagrams of UDP.
    pub(super) fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }
}

/// Counts the bytes of every connection to `at`.
pub(super) fn count_streams(host: &Host, at: SocketAddrV4, arrivals: &'static Arrivals) {
    let listener = host
        .run(|| TcpListener::bind(at))
        .expect("the namespace is there")
        .expect("nobody else listens");
    // Room for what comes between two glances; what is accepted takes it over.
    setsockopt(&listener, sockopt::RcvBufForce, &STREAM_ROOM).expect("root here");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // It ends with the connection, and the next one waits for that.
            count_stream(&stream, arrivals);
        }
    });
}

fn count_stream(stream: &TcpStream, arrivals: &Arrivals) {
    let mut nothing = vec![0; STREAM_ROOM];
    // The kernel counts the bytes and copies none: nobody would look at them.
    let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
    loop {
        match recv(stream.as_raw_fd(), &mut nothing, flags) {
            Ok(0) => return,
            Ok(length) => {
                arrivals.bytes.fetch_add(length as u64, Ordering::Relaxed);
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => thread::sleep(GLANCE),
            Err(_) => return,
        }
    }
}

/// Counts the datagrams to `at`.
pub(super) fn count_datagrams(host: &Host, at: SocketAddrV4, arrivals: &'static Arrivals) {
    let socket = host
        .run(|| UdpSocket::bind(at))
        .expect("the namespace is there")
        .expect("nobody else listens");
    setsockopt(&socket, sockopt::RcvBufForce, &DATAGRAM_ROOM).expect("root here");
    thread::spawn(move || {
        let mut headers = MultiHeaders::<()>::preallocate(AT_ONCE, None);
        loop {
            match glance(&socket, &mut headers) {
                Ok(count) => {
                    let count = count as u64;
                    arrivals.datagrams.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(GLANCE),
                Err(error) => panic!("the receiver: {error}"),
            }
        }
    });
}

/// Takes what is there, at most a batch.
fn glance(socket: &UdpSocket, headers: &mut MultiHeaders<()>) -> io::Result<usize> {
    let mut beginnings = [[0; 16]; AT_ONCE];
    let mut slices: Vec<[IoSliceMut<'_>; 1]> = beginnings
        .iter_mut()
        .map(|beginning| [IoSliceMut::new(beginning)])
        .collect();
    let flags = MsgFlags::MSG_DONTWAIT;
    let received = recvmmsg(socket.as_raw_fd(), headers, &mut slices, flags, None)?;
    Ok(received.count())
}

/// Datagrams that one call takes.
const AT_ONCE: usize = 128;

/// Bytes of a connection that may wait.
const STREAM_ROOM: usize = 4 << 20;

/// Bytes of datagrams that may wait, as the kernel counts them: about a KiB each.
const DATAGRAM_ROOM: usize = 8 << 20;
