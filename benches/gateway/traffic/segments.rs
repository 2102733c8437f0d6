//! TCP segments of 1448 bytes, written into the tunnel one by one, as a VPN daemon writes decrypted packets.
//!
//! A client's full TCP behind the tunnel would cost more time than the path under test. So this is as much of TCP
//! as a sender needs on a path with hardly any loss: a handshake, a fixed window, and go-back-N after a loss
//! (RFC 9293, RFC 7323). The receiver is the kernel's TCP, its acknowledgments come back
//! through the tunnel, and segments look like Linux's: don't fragment, timestamps, rising identifications.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use etherparse::{
    NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TcpSlice, TransportSlice,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Sent;
use super::checksum::{complement, sum, sum_of};
use crate::bed::TUNNEL_CLIENT;

/// Bytes of payload in a segment: 1500 less 20 of IPv4, 20 of TCP and 12 of timestamps.
pub(super) const PAYLOAD: u32 = 1_448;

/// Sends until the turn ends.
pub(super) fn send(tunnel: &File, to: SocketAddrV4, over: &AtomicBool) -> Sent {
    let mut connection = Connection::open(tunnel, to);
    while !over.load(Ordering::Relaxed) {
        connection.write_burst();
        connection.read_all();
        if connection.is_full() && !connection.wait(RETRANSMISSION_TIMEOUT) {
            connection.go_back();
        }
    }
    connection.close()
}

/// One connection, from the sender's side.
#[derive(Debug)]
struct Connection<'a> {
    tunnel: &'a File,
    from: SocketAddrV4,
    to: SocketAddrV4,
    segment: Segment,
    started: Instant,
    /// The first unacknowledged byte.
    unacknowledged: u32,
    /// The next byte to be sent.
    next: u32,
    /// One past the highest byte ever sent.
    furthest: u32,
    /// The receiver's sequence number: it sends no data.
    their_next: u32,
    /// The receiver's last timestamp.
    their_time: u32,
    /// The receiver's window, and its window scale.
    window: u32,
    shift: u8,
    duplicates: u32,
    sent: Sent,
}

/// The fields of a packet from the receiver.
#[derive(Debug, Clone, Copy)]
struct Answer {
    is_syn: bool,
    sequence: u32,
    acknowledged: u32,
    window: u16,
    time: u32,
    shift: u8,
}

impl<'a> Connection<'a> {
    fn open(tunnel: &'a File, to: SocketAddrV4) -> Self {
        static PORT: AtomicU16 = AtomicU16::new(20_000);
        let from = SocketAddrV4::new(TUNNEL_CLIENT, PORT.fetch_add(1, Ordering::Relaxed));
        let mut connection = Self {
            tunnel,
            from,
            to,
            segment: Segment::new(from, to),
            started: Instant::now(),
            unacknowledged: INITIAL,
            next: INITIAL,
            furthest: INITIAL,
            their_next: 0,
            their_time: 0,
            window: 0,
            shift: 0,
            duplicates: 0,
            sent: Sent::default(),
        };
        for _ in 0..ATTEMPTS {
            connection.write_syn();
            if !connection.wait(RETRANSMISSION_TIMEOUT) {
                continue;
            }
            while let Some(answer) = connection.read() {
                if answer.is_syn {
                    connection.their_next = answer.sequence.wrapping_add(1);
                    connection.shift = answer.shift;
                    connection.next = INITIAL.wrapping_add(1);
                    connection.unacknowledged = connection.next;
                    connection.furthest = connection.next;
                    connection.their_time = answer.time;
                    // Windows in a handshake are not scaled.
                    connection.window = answer.window.into();
                    return connection;
                }
            }
        }
        panic!("no connection to {to}: does the variant drop it?");
    }

    fn in_flight(&self) -> u32 {
        self.next.wrapping_sub(self.unacknowledged)
    }

    fn is_full(&self) -> bool {
        self.in_flight() + PAYLOAD > self.window.min(WINDOW)
    }

    fn write_burst(&mut self) {
        // Milliseconds wrap around, as they do on every host.
        let time = self.started.elapsed().as_millis() as u32;
        for _ in 0..BURST {
            if self.is_full() {
                break;
            }
            let bytes = self
                .segment
                .stamp(self.next, self.their_next, time, self.their_time);
            // A full device drops packets, like any device.
            _ = (&mut { self.tunnel }).write(bytes);
            self.next = self.next.wrapping_add(PAYLOAD);
            self.sent.packets += 1;
            if is_after(self.next, self.furthest) {
                self.furthest = self.next;
            } else {
                self.sent.lost += 1;
            }
        }
    }

    /// Processes all acknowledgments available.
    fn read_all(&mut self) {
        while let Some(answer) = self.read() {
            let window = u32::from(answer.window) << self.shift;
            self.their_time = answer.time;
            if is_after(answer.acknowledged, self.unacknowledged) {
                self.unacknowledged = answer.acknowledged;
                self.duplicates = 0;
                if is_after(self.unacknowledged, self.next) {
                    // The receiver already had the data behind the gap.
                    self.next = self.unacknowledged;
                }
            } else if answer.acknowledged == self.unacknowledged
                && window == self.window
                && self.in_flight() > 0
            {
                self.duplicates += 1;
                if self.duplicates == DUPLICATES {
                    self.go_back();
                }
            }
            self.window = window;
        }
    }

    /// Goes back to the first unacknowledged byte.
    fn go_back(&mut self) {
        self.next = self.unacknowledged;
    }

    /// Returns the receiver's next packet of this connection, if there is one.
    fn read(&mut self) -> Option<Answer> {
        let mut packet = [0; 2_048];
        loop {
            match (&mut { self.tunnel }).read(&mut packet) {
                Ok(length) => {
                    if let Some(answer) = self.parse(&packet[..length]) {
                        return Some(answer);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("the tunnel: {error}"),
            }
        }
    }

    fn parse(&self, packet: &[u8]) -> Option<Answer> {
        let packet = SlicedPacket::from_ip(packet).ok()?;
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) =
            (packet.net, packet.transport)
        else {
            return None;
        };
        let is_ours = ip.header().source_addr() == *self.to.ip()
            && (tcp.source_port(), tcp.destination_port()) == (self.to.port(), self.from.port());
        (is_ours && tcp.ack()).then(|| answer(&tcp))
    }

    /// Waits until the receiver sends something; returns `true` if it has.
    fn wait(&self, limit: Duration) -> bool {
        let mut readable = [PollFd::new(self.tunnel.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
        poll(&mut readable, limit).expect("one open file") > 0
    }

    fn write_syn(&mut self) {
        let options = [
            TcpOptionElement::MaximumSegmentSize(1_460),
            TcpOptionElement::Timestamp(0, 0),
            TcpOptionElement::Noop,
            TcpOptionElement::WindowScale(7),
        ];
        let builder = builder(self.from, self.to, INITIAL)
            .syn()
            .options(&options)
            .expect("20 bytes of options");
        self.write_once(builder);
    }

    fn close(mut self) -> Sent {
        let deadline = Instant::now() + PATIENCE;
        while self.in_flight() > 0 && Instant::now() < deadline {
            self.wait(RETRANSMISSION_TIMEOUT);
            self.read_all();
        }
        let options = [
            TcpOptionElement::Noop,
            TcpOptionElement::Noop,
            TcpOptionElement::Timestamp(self.started.elapsed().as_millis() as u32, self.their_time),
        ];
        let builder = builder(self.from, self.to, self.unacknowledged)
            .rst()
            .ack(self.their_next)
            .options(&options)
            .expect("12 bytes of options");
        self.write_once(builder);
        self.sent
    }

    fn write_once(&mut self, builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>) {
        let mut bytes = Vec::new();
        let written = builder.write(&mut bytes, &[]);
        written.expect("a vector takes everything");
        // Sent again when there is no answer.
        _ = (&mut { self.tunnel }).write(&bytes);
    }
}

fn answer(tcp: &TcpSlice<'_>) -> Answer {
    let mut answer = Answer {
        is_syn: tcp.syn(),
        sequence: tcp.sequence_number(),
        acknowledged: tcp.acknowledgment_number(),
        window: tcp.window_size(),
        time: 0,
        shift: 0,
    };
    for option in tcp.options_iterator().flatten() {
        match option {
            TcpOptionElement::Timestamp(time, _) => answer.time = time,
            TcpOptionElement::WindowScale(shift) => answer.shift = shift,
            _ => {}
        }
    }
    answer
}

fn builder(
    from: SocketAddrV4,
    to: SocketAddrV4,
    sequence: u32,
) -> etherparse::PacketBuilderStep<etherparse::TcpHeader> {
    PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64).tcp(
        from.port(),
        to.port(),
        sequence,
        u16::MAX,
    )
}

/// Returns `true` if `one` is after `other` in sequence space (RFC 9293 §3.4).
fn is_after(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) > 0
}

/// A segment with its payload, of which a few words change from one to the next.
#[derive(Debug)]
struct Segment {
    bytes: Vec<u8>,
    /// The sum of the IP header without identification and checksum.
    ip_sum: u32,
    /// The sum of pseudo-header, TCP header and payload without sequence numbers, timestamps and checksum.
    tcp_sum: u32,
    identification: u16,
}

impl Segment {
    fn new(from: SocketAddrV4, to: SocketAddrV4) -> Self {
        let options = [
            TcpOptionElement::Noop,
            TcpOptionElement::Noop,
            TcpOptionElement::Timestamp(0, 0),
        ];
        let builder = builder(from, to, 0)
            .ack(0)
            .options(&options)
            .expect("12 bytes of options");
        let payload = vec![0x55; PAYLOAD as usize];
        let mut bytes = Vec::new();
        let written = builder.write(&mut bytes, &payload);
        written.expect("a vector takes everything");
        for at in [IDENTIFICATION, IP_CHECKSUM, TCP_CHECKSUM] {
            bytes[at..at + 2].fill(0);
        }
        let length = u32::try_from(bytes.len() - 20).expect("1480 bytes");
        let pseudo_header = sum(&bytes[12..20]) + TCP + length;
        Self {
            ip_sum: sum(&bytes[..20]),
            tcp_sum: pseudo_header + sum(&bytes[20..]),
            bytes,
            identification: 0,
        }
    }

    /// Returns the segment that begins at `sequence`.
    fn stamp(&mut self, sequence: u32, acknowledged: u32, time: u32, their_time: u32) -> &[u8] {
        self.identification = self.identification.wrapping_add(1);
        let ip = complement(self.ip_sum + u32::from(self.identification));
        let words = [
            (SEQUENCE, sequence),
            (ACKNOWLEDGED, acknowledged),
            (TIME, time),
            (THEIR_TIME, their_time),
        ];
        let tcp = words
            .iter()
            .fold(self.tcp_sum, |sum, (_, word)| sum + sum_of(*word));
        for (at, word) in words {
            self.bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        for (at, word) in [
            (IDENTIFICATION, self.identification),
            (IP_CHECKSUM, ip),
            (TCP_CHECKSUM, complement(tcp)),
        ] {
            self.bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
        }
        &self.bytes
    }
}

/// Offsets of fields in a segment: RFC 791 §3.1, RFC 9293 §3.1, and timestamps after two bytes of padding.
const IDENTIFICATION: usize = 4;
const IP_CHECKSUM: usize = 10;
const SEQUENCE: usize = 20 + 4;
const ACKNOWLEDGED: usize = 20 + 8;
const TCP_CHECKSUM: usize = 20 + 16;
const TIME: usize = 20 + 20 + 4;
const THEIR_TIME: usize = 20 + 20 + 8;

/// The protocol number in the pseudo-header.
const TCP: u32 = 6;

/// The first sequence number.
const INITIAL: u32 = 1_000;

/// Maximum bytes in flight: 512 segments, fewer than the queue of any device here holds.
const WINDOW: u32 = 512 * PAYLOAD;

/// Segments written between two checks for acknowledgments.
const BURST: usize = 16;

/// Duplicate acknowledgments that indicate a loss (RFC 5681 §3.2).
const DUPLICATES: u32 = 3;

/// Retransmission timeout.
const RETRANSMISSION_TIMEOUT: Duration = Duration::from_millis(50);

/// Attempts to open a connection.
const ATTEMPTS: usize = 10;

/// Maximum time for closing a connection.
const PATIENCE: Duration = Duration::from_millis(300);
