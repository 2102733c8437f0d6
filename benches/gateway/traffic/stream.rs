//! TCP by an ordinary socket on the wired link: the kernel sends super-packets.

use std::io::Write;
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use offramp::gateway::testbed::namespace::Host;

use super::Sent;

/// Sends until the turn ends. Retransmissions by TCP are not reported.
pub(super) fn send(client: &Host, to: SocketAddrV4, over: &AtomicBool) -> Sent {
    let stream = client.run(|| TcpStream::connect(to));
    let mut stream = stream
        .expect("the namespace is there")
        .expect("the server listens");
    let chunk = vec![0x55; CHUNK];
    while !over.load(Ordering::Relaxed) {
        stream.write_all(&chunk).expect("the server reads");
    }
    Sent::default()
}

/// Bytes per write: the maximum of a super-packet.
const CHUNK: usize = 64 * 1024;
