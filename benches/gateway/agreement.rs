//! Checks that all peers give the same verdicts: one that forwards what the policy drops would be fast unfairly.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use etherparse::PacketBuilder;

use crate::bed::{Bed, INSIDE, OUTSIDE, TUNNEL_CLIENT};
use crate::bpf::Bpf;
use crate::policy::Length;
use crate::variants::{Peer, Variant};

/// The fate of a datagram under the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    Dropped,
    /// Dropped by the long policy, which has more servers.
    DroppedByLong,
}

/// A probe for each rule, and one that matches no rule.
const PROBES: [(Ipv4Addr, u16, Fate); 8] = [
    (Ipv4Addr::new(10, 1, 0, 10), 443, Fate::Dropped),
    (Ipv4Addr::new(10, 128, 0, 1), 443, Fate::DroppedByLong),
    (INSIDE, 40_000, Fate::Dropped),
    (Ipv4Addr::new(10, 20, 1, 7), 50_050, Fate::Dropped),
    (INSIDE, 50_050, Fate::Arrives),
    (INSIDE, 443, Fate::Arrives),
    (Ipv4Addr::new(167, 55, 49, 33), 50_050, Fate::Arrives),
    (OUTSIDE, 40_000, Fate::Arrives),
];

/// Sent last: once it has arrived, no earlier probe is still on its way.
const LAST: SocketAddrV4 = SocketAddrV4::new(INSIDE, 50_051);

/// Sockets on the server, one for each probe.
#[derive(Debug)]
pub(crate) struct Agreement<'a> {
    bed: &'a Bed,
    sockets: Vec<UdpSocket>,
    last: UdpSocket,
}

impl<'a> Agreement<'a> {
    pub(crate) fn prepare(bed: &'a Bed) -> Self {
        for (address, ..) in PROBES {
            if ![INSIDE, OUTSIDE].contains(&address) {
                let added = bed.server.ip(&format!("address add {address}/32 dev lo"));
                added.unwrap_or_else(|error| panic!("{error}"));
                // One neighbor entry for all probes: no address resolution reorders them.
                bed.on_gateway(&format!("ip route add {address}/32 via {INSIDE}"));
            }
        }
        let bind = |at: SocketAddrV4| {
            let socket = bed.server.run(|| UdpSocket::bind(at));
            socket
                .expect("the namespace is there")
                .expect("nobody else listens")
        };
        let last = bind(LAST);
        last.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let socket = |(address, port, _)| {
            let socket = bind(SocketAddrV4::new(address, port));
            socket.set_nonblocking(true).expect("an open socket");
            socket
        };
        Self {
            bed,
            sockets: PROBES.map(socket).into(),
            last,
        }
    }

    /// Panics if a variant gives another verdict than the policy.
    pub(crate) fn check(&self, variant: Variant, bpf: Option<&Bpf>) {
        let running = variant.start(self.bed, bpf);
        for (address, port, _) in PROBES {
            self.send(SocketAddrV4::new(address, port));
        }
        self.send(LAST);
        let name = variant.name();
        if let Err(error) = self.last.recv(&mut [0; 64]) {
            panic!("{name}: what the policy allows does not arrive: {error}");
        }
        for (socket, (address, port, fate)) in self.sockets.iter().zip(PROBES) {
            let arrived = match socket.recv(&mut [0; 64]) {
                Ok(_) => true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => panic!("the server: {error}"),
            };
            let arrives = match (variant.peer, fate) {
                (Peer::Kernel, _) | (_, Fate::Arrives) => true,
                (_, Fate::Dropped) => false,
                (_, Fate::DroppedByLong) => variant.length == Length::Ten,
            };
            assert_eq!(arrived, arrives, "{name}: a datagram to {address}:{port}");
        }
        running.stop();
    }

    fn send(&self, to: SocketAddrV4) {
        let mut packet = Vec::new();
        PacketBuilder::ipv4(TUNNEL_CLIENT.octets(), to.ip().octets(), 64)
            .udp(50_022, to.port())
            .write(&mut packet, b"does this arrive?")
            .expect("a vector takes everything");
        (&self.bed.tunnel)
            .write_all(&packet)
            .expect("the device is up and empty");
    }
}

/// A probe that has not arrived within this time was dropped.
const PATIENCE: Duration = Duration::from_secs(5);
