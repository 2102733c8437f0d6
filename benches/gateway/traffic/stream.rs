//! TCP by an ordinary socket behind a wire: it leaves in super-packets.

use std::io::Write;
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use offramp::gateway::testbed::namespace::Host;

use super::Sent;

/// Sends until it is over. What TCP had to send again it does not tell.
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

/// Bytes of a write: as much as a super-packet can hold.
const CHUNK: usize = 64 * 1024;
