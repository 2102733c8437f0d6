//! Packets of all kinds for tun devices, and their identification after they have passed the kernel.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use offramp::gateway::tun::make_plain_device;
use offramp::random::Random;

use crate::support::host::Host;

/// The sources and destinations of packets.
pub struct Places {
    /// Most sources.
    pub clients: Vec<IpAddr>,
    /// Destinations, and the remaining sources.
    pub others: Vec<IpAddr>,
    pub ports: Vec<u16>,
}

/// Returns a packet that carries `number` for identification: in IPv4's identification field, in IPv6's flow label.
pub fn packet(random: &mut Random, places: &Places, number: u32) -> Vec<u8> {
    let (source, destination) = loop {
        // Sources are clients more often than not.
        let source = if random.one_in(4) {
            random.of(&places.others)
        } else {
            random.of(&places.clients)
        };
        let destination = random.of(&places.others);
        if source.is_ipv4() == destination.is_ipv4() && source != destination {
            break (source, destination);
        }
    };
    let protocol = match random.below(8) {
        0..3 => 6,
        3..6 => 17,
        6 => random.of(&[1, 47, 50, 58, 132, 136, 4, 41]),
        _ => random.of(&[0_u8, 2, 33, 51, 89, 200, 253, 255]),
    };
    let mut transport = Vec::new();
    transport.extend(random.of(&places.ports).to_be_bytes());
    transport.extend(random.of(&places.ports).to_be_bytes());
    transport.extend([0, 28, 0, 0]);
    transport.extend([0x50; 20]);
    if random.one_in(8) {
        transport.truncate(random.below(9));
    }
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let options: &[u8] = match random.below(12) {
                0 => &[1, 1, 1, 0],
                // Loose and strict source routes with a hop left, and one at its end (RFC 791 §3.1).
                1 => &[131, 7, 4, 10, 20, 0, 7, 0],
                2 => &[1, 137, 7, 4, 10, 20, 0, 7],
                3 => &[131, 7, 8, 10, 20, 0, 7, 0],
                4 => &[7, 7, 4, 0, 0, 0, 0, 0],
                _ => &[],
            };
            let fragment: u16 = if random.one_in(4) {
                random.of(&[0x2000, 0x2001, 0x0001, 0x00b9, 0x4000, 0x1fff])
            } else {
                0
            };
            let length = 20 + options.len() + transport.len();
            let mut packet = vec![0x45 + (options.len() / 4) as u8, 0];
            packet.extend(u16::try_from(length).expect("short").to_be_bytes());
            packet.extend(u16::try_from(number).expect("below 2^16").to_be_bytes());
            packet.extend(fragment.to_be_bytes());
            packet.extend([64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(options);
            let sum = checksum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet.extend(transport);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (next, chain) = chain(random, protocol);
            let length = chain.len() + transport.len();
            let mut packet = (0x6000_0000 | number).to_be_bytes().to_vec();
            packet.extend(u16::try_from(length).expect("short").to_be_bytes());
            packet.extend([next, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(chain);
            packet.extend(transport);
            packet
        }
        _ => unreachable!("both are of one family"),
    }
}

/// Returns extension headers before `protocol` (RFC 8200 §4), and the number of the first of them.
fn chain(random: &mut Random, protocol: u8) -> (u8, Vec<u8>) {
    let mut next = protocol;
    let mut chain = Vec::new();
    while random.one_in(3) && chain.len() < 100 {
        let (kind, mut header): (u8, Vec<u8>) = match random.below(5) {
            // Hop-by-hop and destination options with padding.
            0 if chain.is_empty() && random.one_in(2) => (0, vec![next, 0, 1, 4, 0, 0, 0, 0]),
            0 | 1 => (60, vec![next, 0, 1, 4, 0, 0, 0, 0]),
            // Routing headers with and without segments left.
            2 => (
                43,
                vec![
                    next,
                    0,
                    random.of(&[0, 4, 253]),
                    random.of(&[0, 1]),
                    0,
                    0,
                    0,
                    0,
                ],
            ),
            // Fragments: atomic, first, non-first.
            3 => {
                let [high, low] = random.of(&[0_u16, 1, 8, 9, 0x0b90]).to_be_bytes();
                (44, vec![next, 0, high, low, 0, 0, 0, 7])
            }
            _ => (
                51,
                vec![
                    next, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                ],
            ),
        };
        header.extend(&chain);
        chain = header;
        next = kind;
    }
    (next, chain)
}

/// Returns the checksum of RFC 1071.
pub fn checksum(header: &[u8]) -> u16 {
    let words = header
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The identity of a packet: the number that it carries, and its addresses. The kernel's own packets, such as
/// ICMP errors, have numbers, too.
pub type Identity = (u32, Vec<u8>);

pub fn identity(packet: &[u8]) -> Option<Identity> {
    match packet.first()? >> 4 {
        4 => {
            let number = u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]);
            Some((number.into(), packet.get(12..20)?.to_vec()))
        }
        6 => {
            let word: [u8; 4] = *packet.first_chunk()?;
            let number = u32::from_be_bytes(word) & 0xf_ffff;
            Some((number, packet.get(8..40)?.to_vec()))
        }
        _ => None,
    }
}

/// Returns an IPv4 packet to an address outside the policies of tests; sent behind others, it shows that they have passed.
pub fn sentinel(source: Ipv4Addr, protocol: u8, transport: [u8; 8]) -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 0, 28, 0xff, 0xff, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 198, 51, 100, 2,
    ];
    packet[12..16].copy_from_slice(&source.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(transport);
    packet
}

/// A kernel that forwards from one tun device to another, both held by the test.
pub struct Forwarder {
    /// The device `vpn0`, to which packets of clients are written.
    pub vpn: File,
    /// The device `out0`, from which forwarded packets are read.
    pub out: File,
}

impl Forwarder {
    /// Creates the devices on `host`, with a default route to the second.
    pub fn new(host: &Host) -> Self {
        let device = |name| nonblocking(make_plain_device(name).expect("a tun device"));
        let forwarder = host.enter(|| Self {
            vpn: device("vpn0"),
            out: device("out0"),
        });
        host.ip("
            link set vpn0 txqueuelen 4000 up
            link set out0 txqueuelen 4000 up
            address add 192.0.2.1/32 dev vpn0
            address add 192.0.2.2/32 dev out0
            route add default dev out0
            route add ::/0 dev out0");
        host.forward();
        for (key, value) in [
            ("ipv4/conf/vpn0/rp_filter", "0"),
            ("ipv4/conf/out0/rp_filter", "0"),
            ("ipv4/conf/all/accept_source_route", "1"),
            ("ipv4/conf/vpn0/accept_source_route", "1"),
        ] {
            host.set(key, value);
        }
        forwarder
    }

    /// Writes packets as the VPN daemon would.
    pub fn write<'p>(&mut self, packets: impl IntoIterator<Item = &'p Vec<u8>>) {
        for packet in packets {
            self.vpn.write_all(packet).expect("the device is on");
        }
    }
}

pub fn nonblocking(file: File) -> File {
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("an open file");
    file
}

/// Returns all packets that wait in `device`, each after `header` bytes.
pub fn drain(mut device: &File, header: usize) -> Vec<Identity> {
    let mut packets = Vec::new();
    let mut frame = [0; 4_096];
    loop {
        match device.read(&mut frame) {
            Ok(length) => packets.extend(identity(&frame[header..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return packets,
            Err(error) => panic!("{error}"),
        }
    }
}
