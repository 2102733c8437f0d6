//! An upstream whose answers are as large as a message may be, and take as long to read as they can; questions as bytes.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a bench includes it, too, and each uses a part of it"
)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

/// Starts an upstream on loopback: answers to long names take 64 KiB and are not kept, to others an address that may be kept for an
/// hour.
pub fn start_hostile_upstream() -> SocketAddr {
    let (socket, listener) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        if let Ok(listener) = TcpListener::bind(address) {
            break (socket, listener);
        }
    };
    let address = socket.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let mut answer = buffer[..question_end(&buffer[..length])].to_vec();
            let is_long = answer.len() > LONG;
            // Truncated where it is long: the client asks again by TCP.
            answer[2] = if is_long { 0x83 } else { 0x81 };
            answer[3] = 0x80;
            answer[6..12].copy_from_slice(&[0, u8::from(!is_long), 0, 0, 0, 0]);
            if !is_long {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 192, 0, 2, 1]);
            }
            _ = socket.send_to(&answer, from);
        }
    });
    let (count, records) = aliases(long_name(0).len() + 4);
    let records = Arc::new(records);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let records = Arc::clone(&records);
            thread::spawn(move || tell(stream, count, &records));
        }
    });
    address
}

fn tell(mut stream: TcpStream, count: u16, records: &[u8]) -> io::Result<()> {
    let mut buffer = [0; 2_048];
    let length = receive(&mut stream, &mut buffer)?;
    let mut answer = buffer[..question_end(&buffer[..length])].to_vec();
    answer[2] = 0x81;
    answer[3] = 0x80;
    answer[6..8].copy_from_slice(&count.to_be_bytes());
    answer[8..12].fill(0);
    answer.extend(records);
    stream.write_all(&framed(&answer))
}

/// Aliases of names within the name asked for, and between them, as many as fit behind `question` bytes.
fn aliases(question: usize) -> (u16, Vec<u8>) {
    let pointer = |number: usize| {
        // Behind the header and the first label, at one of the next labels.
        let at = 12 + 9 + 2 * (number % 4);
        (0xc000 | at as u16).to_be_bytes()
    };
    let mut records = Vec::new();
    let mut count: u16 = 0;
    while 12 + question + records.len() + 14 <= 65_535 {
        let number = usize::from(count);
        records.extend(pointer(number));
        // CNAME, IN, a TTL of 0: never kept; two bytes of data.
        records.extend([0, 5, 0, 1, 0, 0, 0, 0, 0, 2]);
        records.extend(pointer(number + 1));
        count += 1;
    }
    (count, records)
}

/// Returns the end of the question of `message`.
fn question_end(message: &[u8]) -> usize {
    let mut at = 12;
    while message[at] != 0 {
        at += 1 + usize::from(message[at]);
    }
    at + 5
}

/// Returns a query for the addresses of `name`.
pub fn query(id: u16, name: &[u8]) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(name);
    message.extend([0, 1, 0, 1]);
    message
}

/// Returns the name `label`.example.
pub fn short_name(label: &str) -> Vec<u8> {
    let length = u8::try_from(label.len()).expect("a label");
    [&[length], label.as_bytes(), b"\x07example\x00"].concat()
}

/// Returns a name of 114 labels that is nobody else's.
pub fn long_name(number: u32) -> Vec<u8> {
    let first = format!("\x08{number:08}");
    [first.as_bytes(), &b"\x01a".repeat(112), b"\x07example\x00"].concat()
}

/// Opens a connection of `client`.
pub fn connect(client: IpAddr, server: SocketAddr) -> io::Result<TcpStream> {
    let domain = socket2::Domain::for_address(server);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(client, 0).into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

/// Returns `message` behind its length (RFC 1035 §4.2.2).
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a message");
    [&length.to_be_bytes(), message].concat()
}

/// Receives a length and the message behind it; returns the size of the message.
pub fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let length = usize::from(u16::from_be_bytes(length));
    stream.read_exact(&mut buffer[..length])?;
    Ok(length)
}

/// Bytes of a query for a long name.
const LONG: usize = 200;
