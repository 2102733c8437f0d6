//! Packets for the tests of this folder and of what shows its reports.

use std::net::SocketAddr;

use etherparse::PacketBuilder;

fn builder(
    from: SocketAddr,
    to: SocketAddr,
) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64)
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), 64)
        }
        _ => panic!("two families"),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// A TCP packet with these control bits.
pub(crate) fn tcp(from: &str, to: &str, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (address(from), address(to));
    let mut builder = builder(from, to).tcp(from.port(), to.port(), 1, 64_000);
    if flags & 0x02 != 0 {
        builder = builder.syn();
    }
    if flags & 0x10 != 0 {
        builder = builder.ack(1);
    }
    let mut bytes = Vec::new();
    builder
        .write(&mut bytes, payload)
        .expect("writing to memory");
    bytes
}

/// A UDP packet.
pub(crate) fn udp(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (address(from), address(to));
    let mut bytes = Vec::new();
    builder(from, to)
        .udp(from.port(), to.port())
        .write(&mut bytes, payload)
        .expect("writing to memory");
    bytes
}
