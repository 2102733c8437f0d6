//! [`Arrivals`]: the receivers on the server, which count packets without reading their content.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nix::sys::socket::{MsgFlags, MultiHeaders, getsockopt, recv, recvmmsg, setsockopt, sockopt};
use offramp::gateway::testbed::namespace::Host;

use super::GLANCE;

/// The totals received since the start.
#[derive(Debug)]
pub(super) struct Arrivals {
    bytes: AtomicU64,
    datagrams: AtomicU64,
    room: AtomicU64,
}

impl Arrivals {
    pub(super) const fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
            room: AtomicU64::new(0),
        }
    }

    /// Bytes of TCP.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the UDP datagrams received.
    pub(super) fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }

    /// Returns the number of small datagrams that the receiver's buffer holds.
    pub(super) fn room(&self) -> u64 {
        self.room.load(Ordering::Relaxed)
    }
}

/// The receiver's treatment of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    /// The kernel counts them and copies none, so that the path is measured and not the endpoint.
    Counted,
    /// They are copied to user space, as programs do.
    Copied,
}

/// Counts the bytes of every connection to `at`.
pub(super) fn count_streams(
    host: &Host,
    at: SocketAddrV4,
    taking: Taking,
    arrivals: &'static Arrivals,
) {
    let listener = host
        .run(|| TcpListener::bind(at))
        .expect("the namespace is there")
        .expect("nobody else listens");
    // The buffer for bytes between two reads; accepted sockets inherit it.
    make_room(&listener, STREAM_ROOM);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The thread ends with the connection, and the next connection waits for that.
            count_stream(&stream, taking, arrivals);
        }
    });
}

fn count_stream(stream: &TcpStream, taking: Taking, arrivals: &Arrivals) {
    let (mut bytes, flags) = match taking {
        // The kernel writes nothing there, whatever the length (tcp(7)).
        Taking::Counted => (vec![0; STREAM_ROOM], MsgFlags::MSG_TRUNC),
        Taking::Copied => (vec![0; A_READ], MsgFlags::empty()),
    };
    loop {
        match recv(
            stream.as_raw_fd(),
            &mut bytes,
            flags | MsgFlags::MSG_DONTWAIT,
        ) {
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
    let room = make_room(&socket, DATAGRAM_ROOM) / A_DATAGRAM;
    arrivals.room.store(room as u64, Ordering::Relaxed);
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

/// Sets the receive buffer of a socket, as far as this host allows; returns the resulting size.
fn make_room(socket: &impl AsFd, bytes: usize) -> usize {
    // Only root may have more than `net.core.rmem_max`.
    setsockopt(socket, sockopt::RcvBufForce, &bytes)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &bytes))
        .expect("every socket has a buffer");
    getsockopt(socket, sockopt::RcvBuf).expect("set just above")
}

/// Receives the datagrams available, at most a batch.
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

/// Datagrams per call.
const AT_ONCE: usize = 128;

/// Bytes per read of a program.
const A_READ: usize = 256 << 10;

/// Receive buffer of a connection, in bytes.
const STREAM_ROOM: usize = 4 << 20;

/// Receive buffer for datagrams in bytes as the kernel counts them, and the maximum that it counts for one.
const DATAGRAM_ROOM: usize = 8 << 20;
const A_DATAGRAM: usize = 1_280;
