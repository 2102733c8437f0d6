//! A kernel that forwards from one tun device to another, with rules in between.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::time::Instant;

use offramp::gateway::tun::make_plain_device;

use crate::packets::{Identity, checksum, drain, identity, nonblocking};
use crate::site::{DEADLINE, Host};

/// Packets in flight: no queue is smaller, that of the processor (net.core.netdev_max_backlog) included.
pub(super) const BATCH: usize = 500;

pub(super) struct Bed {
    /// The device to which packets of clients are written.
    pub(super) vpn: File,
    /// The device from which forwarded packets are read.
    pub(super) out: File,
}

impl Bed {
    pub(super) fn new(host: &Host) -> Self {
        let bed = host.enter(|| Self {
            vpn: nonblocking(make_plain_device("vpn0").expect("a tun device")),
            out: nonblocking(make_plain_device("out0").expect("a tun device")),
        });
        host.ip("
            link set vpn0 txqueuelen 4000 up
            link set out0 txqueuelen 4000 up
            address add 192.0.2.1/32 dev vpn0
            address add 192.0.2.2/32 dev out0
            route add default dev out0
            route add ::/0 dev out0");
        for (key, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/vpn0/rp_filter", "0"),
            ("ipv4/conf/out0/rp_filter", "0"),
            ("ipv4/conf/all/accept_source_route", "1"),
            ("ipv4/conf/vpn0/accept_source_route", "1"),
        ] {
            host.set(key, value);
        }
        bed
    }

    /// Sends a batch and `sentinel` after it, which must be forwarded; returns the packets forwarded.
    pub(super) fn send(&mut self, packets: &[Vec<u8>], sentinel: &[u8]) -> HashSet<Identity> {
        for packet in packets {
            self.vpn.write_all(packet).expect("the device is on");
        }
        self.vpn.write_all(sentinel).expect("the device is on");
        let behind = identity(sentinel).expect("a packet");
        let mut forwarded = HashSet::new();
        let deadline = Instant::now() + DEADLINE;
        loop {
            forwarded.extend(drain(&self.out, 0));
            if forwarded.remove(&behind) {
                return forwarded;
            }
            assert!(Instant::now() < deadline, "the last packet never came");
            std::thread::yield_now();
        }
    }
}

/// Returns an ICMP packet from a client to an address outside every policy: every rule lets it pass.
pub(super) fn sentinel(client: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 0, 28, 0xff, 0xff, 0, 0, 64, 1, 0, 0, 0, 0, 0, 0, 198, 51, 100, 2,
    ];
    packet[12..16].copy_from_slice(&client.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    packet
}
