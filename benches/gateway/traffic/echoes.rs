//! Requests at light load, and their round-trip times: there through the gateway's filter, back past it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use offramp::gateway::testbed::namespace::Host;

use super::Pace;
use crate::bed::TUNNEL_CLIENT;

/// Round-trip times, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delays {
    /// The median.
    pub(crate) median: f64,
    /// The 99th percentile.
    pub(crate) p99: f64,
    /// The share of unanswered requests, from 0 to 1.
    pub(crate) lost: f64,
}

/// Echoes every datagram that arrives at `at`.
pub(super) fn answer(host: &Host, at: SocketAddrV4) {
    let socket = host
        .run(|| UdpSocket::bind(at))
        .expect("the namespace is there")
        .expect("nobody else listens");
    thread::spawn(move || {
        let mut packet = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            // Lost on the way back, as on any network.
            _ = socket.send_to(&packet[..length], from);
        }
    });
}

/// Sends a request every [`PERIOD`], and waits for the reply.
pub(super) fn measure(tunnel: &File, to: SocketAddrV4, pace: Pace) -> Delays {
    let start = Instant::now();
    let mut delays = Vec::new();
    let (mut asked, mut number) = (0, 0_u32);
    while start.elapsed() < pace.warm_up + LONGER * pace.turn {
        number += 1;
        let delay = ask(tunnel, to, number);
        if start.elapsed() > pace.warm_up {
            asked += 1;
            delays.extend(delay);
        }
        thread::sleep((PERIOD * number).saturating_sub(start.elapsed()));
    }
    delays.sort_unstable();
    let at = |part: f64| {
        let place = (delays.len() as f64 * part) as usize;
        let delay = delays.get(place).copied().unwrap_or(PATIENCE);
        delay.as_nanos() as f64 / 1e3
    };
    Delays {
        median: at(0.5),
        p99: at(0.99),
        lost: 1.0 - delays.len() as f64 / f64::from(asked.max(1)),
    }
}

/// Returns the round-trip time of a request, if it is answered.
fn ask(mut tunnel: &File, to: SocketAddrV4, number: u32) -> Option<Duration> {
    let mut request = Vec::new();
    PacketBuilder::ipv4(TUNNEL_CLIENT.octets(), to.ip().octets(), 64)
        .udp(PORT, to.port())
        .write(&mut request, &number.to_be_bytes())
        .expect("a vector takes everything");
    let asked = Instant::now();
    // A full device drops packets, like any device.
    _ = tunnel.write(&request);
    let mut packet = [0; 2_048];
    while asked.elapsed() < PATIENCE {
        match tunnel.read(&mut packet) {
            // No other packet out of the tunnel ends with these bytes.
            Ok(length) if packet[..length].ends_with(&number.to_be_bytes()) => {
                return Some(asked.elapsed());
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut readable = [PollFd::new(tunnel.as_fd(), PollFlags::POLLIN)];
                let rest = PATIENCE.saturating_sub(asked.elapsed());
                let rest = PollTimeout::try_from(rest).unwrap_or(PollTimeout::ZERO);
                poll(&mut readable, rest).expect("one open file");
            }
            Err(error) => panic!("the tunnel: {error}"),
        }
    }
    None
}

/// A thousand requests a second.
const PERIOD: Duration = Duration::from_millis(1);

/// Length of this turn, in turns of other traffic: packets are few, and one in a hundred must be several.
const LONGER: u32 = 3;

/// A reply that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_millis(100);

/// The source address of requests.
const PORT: u16 = 50_021;
