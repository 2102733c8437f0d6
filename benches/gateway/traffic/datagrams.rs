//! Small UDP datagrams, written into the tunnel one by one, as a VPN daemon does.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use etherparse::PacketBuilder;

use super::arrivals::Arrivals;
use super::checksum::{complement, sum};
use super::{GLANCE, PATIENCE, Sent, settle};
use crate::bed::TUNNEL_CLIENT;

/// The similarity of the datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mix {
    /// Identical but for their number: one flow, one size.
    Alike,
    /// Different: neighbors belong to different flows, and those of a flow have different sizes.
    Unlike,
}

/// Sends until the turn ends.
pub(super) fn send(
    mut tunnel: &File,
    to: SocketAddrV4,
    mix: Mix,
    arrivals: &Arrivals,
    over: &AtomicBool,
) -> Sent {
    let mut packets = packets(to, mix);
    let start = arrivals.datagrams();
    let window = WINDOW.min(arrivals.room() / 2);
    let mut sent = Sent::default();
    let mut identification = 0_u16;
    let arrived = || arrivals.datagrams() - start;
    'sending: loop {
        for packet in &mut packets {
            if sent.packets.is_multiple_of(BURST) {
                if over.load(Ordering::Relaxed) {
                    break 'sending;
                }
                wait_for_room(&mut sent, window, arrived);
            }
            packet.number(identification);
            identification = identification.wrapping_add(1);
            sent.packets += 1;
            // A full device drops packets, like any device; the loss shows in the final count.
            _ = tunnel.write(&packet.bytes);
        }
    }
    settle(|| arrived() + sent.lost >= sent.packets);
    sent.lost = sent.packets.saturating_sub(arrived());
    sent
}

/// Returns once fewer than `window` datagrams are in flight.
fn wait_for_room(sent: &mut Sent, window: u64, arrived: impl Fn() -> u64) {
    let mut progress = (arrived(), Instant::now());
    while sent.packets.saturating_sub(arrived() + sent.lost) >= window {
        thread::sleep(GLANCE / 2);
        if arrived() > progress.0 {
            progress = (arrived(), Instant::now());
        } else if progress.1.elapsed() > PATIENCE {
            // The missing ones were lost.
            sent.lost = sent.packets.saturating_sub(arrived());
        }
    }
}

/// A datagram in its IP packet.
#[derive(Debug)]
struct Packet {
    bytes: Vec<u8>,
    /// The sum of the IP header without identification and checksum.
    header_sum: u32,
}

impl Packet {
    fn new(from: SocketAddrV4, to: SocketAddrV4, payload: usize) -> Self {
        let builder = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64)
            .udp(from.port(), to.port());
        let mut bytes = Vec::with_capacity(builder.size(payload));
        let written = builder.write(&mut bytes, &vec![0x55; payload]);
        written.expect("a vector takes everything");
        bytes[IDENTIFICATION..IDENTIFICATION + 2].fill(0);
        bytes[HEADER_CHECKSUM..HEADER_CHECKSUM + 2].fill(0);
        let header_sum = sum(&bytes[..20]);
        Self { bytes, header_sum }
    }

    /// Sets the identification, which rises by one as senders' does.
    fn number(&mut self, identification: u16) {
        let checksum = complement(self.header_sum + u32::from(identification));
        self.bytes[IDENTIFICATION..IDENTIFICATION + 2]
            .copy_from_slice(&identification.to_be_bytes());
        self.bytes[HEADER_CHECKSUM..HEADER_CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Returns the packets, sent in rotation.
fn packets(to: SocketAddrV4, mix: Mix) -> Vec<Packet> {
    let from = |client: u32, port: u16| {
        let address = Ipv4Addr::from_bits(TUNNEL_CLIENT.to_bits() + client);
        SocketAddrV4::new(address, port)
    };
    match mix {
        Mix::Alike => vec![Packet::new(from(0, 50_020), to, VOICE)],
        Mix::Unlike => {
            let one = |number: u32| {
                let port = 50_000 + u16::try_from(number % PORTS).expect("small");
                // A step coprime to the range visits every size before repeating one.
                let size = 50 + (number as usize * 37) % 151;
                Packet::new(from(number % CLIENTS, port), to, size)
            };
            (0..PACKETS).map(one).collect()
        }
    }
}

/// Payload of a voice packet: 20 ms of G.711 behind an RTP header (RFC 3551 §4.5.14, RFC 3550 §5.1).
const VOICE: usize = 12 + 160;

/// Datagrams that differ: payloads from 50 to 200 bytes, many clients and ports.
const PACKETS: u32 = 1_024;
const CLIENTS: u32 = 61;
const PORTS: u32 = 16;

/// Maximum in flight: fewer than the queue of any device here holds.
const WINDOW: u64 = 1_024;

/// Datagrams written between two checks of the receiver.
const BURST: u64 = 32;

/// RFC 791 §3.1.
const IDENTIFICATION: usize = 4;
const HEADER_CHECKSUM: usize = 10;
