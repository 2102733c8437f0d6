//! A site with real parts: two homes, the Internet, a VPN concentrator, a corporate network and an Edge.
//!
//! ```text
//!  client1 ── home1 ─┐                                    ┌─ office        10.20.0.7    fd00:10:20::7
//!  192.168.1.10  NAT │            concentrator ─── core ──┤
//!                    ├─ internet ─┤ 172.16.1.1    │       └─ edge, inside  10.2.0.5     fd00:10:2::5
//!  client2 ── home2 ─┘            │               ├─ Front End   10.1.0.10   fd00:10:1::10
//!  192.168.2.10  NAT              │               ├─ intranet    10.5.0.2    fd00:10:5::2
//!                                 │               ├─ jump host   10.9.0.4    fd00:10:9::4
//!                                 │               └─ DNS         10.0.0.53   fd00:10::53
//!                                 └─ edge, public 167.55.49.34, 2001:db8:ed9e::34
//! ```
//!
//! Homes apply NAT to IPv4 and block unsolicited inbound traffic, by IPv6 too. Interfaces of the
//! concentrator use strict reverse-path filtering, as those of a careful site do.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

pub mod certificates;
pub mod filter;
pub mod ocserv;
pub mod openvpn;
pub mod pair;
pub mod plain;
pub mod table;
pub mod traffic;
pub mod wireguard;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use offramp::address::Family;

pub use crate::support::host::{Daemon, Host};
#[allow(
    unused_imports,
    reason = "gateways run in the tests of one binary only"
)]
pub use crate::support::sandbox::{
    DEADLINE, Diversion, in_ebpf_sandbox, in_nftables_sandbox, in_sandbox, in_sandbox_of, poll,
};

use crate::support::Folder;

/// The address that VPN clients connect to.
pub const CONCENTRATOR: &str = "192.0.2.2";

/// An address for each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DualStack {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl DualStack {
    const fn new(v4: [u8; 4], v6: [u16; 8]) -> Self {
        let [a, b, c, d] = v4;
        let [s, t, u, v, w, x, y, z] = v6;
        Self {
            v4: Ipv4Addr::new(a, b, c, d),
            v6: Ipv6Addr::new(s, t, u, v, w, x, y, z),
        }
    }

    pub const fn of(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }
}

pub const FRONT_END: DualStack =
    DualStack::new([10, 1, 0, 10], [0xfd00, 0x10, 1, 0, 0, 0, 0, 0x10]);
pub const EDGE_INSIDE: DualStack = DualStack::new([10, 2, 0, 5], [0xfd00, 0x10, 2, 0, 0, 0, 0, 5]);
pub const INTRANET: DualStack = DualStack::new([10, 5, 0, 2], [0xfd00, 0x10, 5, 0, 0, 0, 0, 2]);
pub const JUMP_HOST: DualStack = DualStack::new([10, 9, 0, 4], [0xfd00, 0x10, 9, 0, 0, 0, 0, 4]);
pub const DNS: DualStack = DualStack::new([10, 0, 0, 53], [0xfd00, 0x10, 0, 0, 0, 0, 0, 0x53]);
pub const OFFICE: DualStack = DualStack::new([10, 20, 0, 7], [0xfd00, 0x10, 0x20, 0, 0, 0, 0, 7]);
pub const EDGE_PUBLIC: DualStack =
    DualStack::new([167, 55, 49, 34], [0x2001, 0xdb8, 0xed9e, 0, 0, 0, 0, 0x34]);
/// Clients' addresses in the tunnel.
pub const CLIENT: [DualStack; 2] = [
    DualStack::new([172, 16, 1, 10], [0xfd00, 0x172, 0x16, 1, 0, 0, 0, 0x10]),
    DualStack::new([172, 16, 1, 11], [0xfd00, 0x172, 0x16, 1, 0, 0, 0, 0x11]),
];
/// Clients' addresses as the Internet sees them: the NAT address of their home, and by IPv6 their own.
pub const HOME: [DualStack; 2] = [
    DualStack::new([198, 51, 100, 2], [0x2001, 0xdb8, 0xa1, 0, 0, 0, 0, 0x10]),
    DualStack::new([203, 0, 113, 2], [0x2001, 0xdb8, 0xa2, 0, 0, 0, 0, 0x10]),
];

/// A VPN: a daemon on the concentrator, and clients in the homes.
pub trait Vpn: Sized {
    /// The programs that it needs.
    const PROGRAMS: &[&str];
    /// Its interfaces on the concentrator, as a policy names them.
    const INTERFACES: &str;

    /// Starts the daemon on the concentrator.
    fn start(site: &Site) -> Self;

    /// Connects a client, and waits until its tunnel carries packets.
    fn connect(&mut self, site: &Site, client: usize);

    /// Disconnects a client's tunnel.
    fn disconnect(&mut self, client: usize);

    /// Returns the name of the tunnel's interface at a client.
    fn interface(client: usize) -> &'static str;
}

/// The port mapping of a home's NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translation {
    /// Keeps the inner port if it is free, whoever the peer is: most homes.
    KeepsPorts,
    /// Random for each peer, so that a reflexive address is valid only for the server that reported it ("symmetric").
    RandomPorts,
}

/// The hosts of the site.
#[derive(Debug)]
pub struct Site {
    /// The folder for files of daemons and for logs.
    pub folder: Folder,
    pub internet: Host,
    pub homes: [Host; 2],
    pub clients: [Host; 2],
    pub concentrator: Host,
    pub core: Host,
    pub office: Host,
    pub edge: Host,
}

impl Site {
    /// Builds it. `test` is the full name of the test.
    pub fn new(test: &str, translation: Translation) -> Self {
        let site = Self {
            folder: Folder::new(&test.replace("::", "-")),
            internet: Host::new("internet"),
            homes: ["home1", "home2"].map(Host::new),
            clients: ["client1", "client2"].map(Host::new),
            concentrator: Host::new("concentrator"),
            core: Host::new("core"),
            office: Host::new("office"),
            edge: Host::new("edge"),
        };
        site.configure();
        for home in &site.homes {
            home.nft(&router_of_a_home(translation));
        }
        site
    }

    fn configure(&self) {
        for router in [&self.internet, &self.concentrator, &self.core] {
            router.set("ipv4/ip_forward", "1");
            router.set("ipv6/conf/all/forwarding", "1");
        }
        for home in &self.homes {
            home.set("ipv4/ip_forward", "1");
            home.set("ipv6/conf/all/forwarding", "1");
            // Packets from a home's device with a tunnel address are dropped.
            home.set("ipv4/conf/all/rp_filter", "1");
        }
        self.concentrator.set("ipv4/conf/all/rp_filter", "0");
        self.concentrator.set("ipv4/conf/default/rp_filter", "1");

        let cables = [
            "home1 wan internet home1",
            "home2 wan internet home2",
            "concentrator wan internet concentrator",
            "edge public internet edge",
            "client1 eth0 home1 lan",
            "client2 eth0 home2 lan",
            "concentrator corp core concentrator",
            "office eth0 core office",
            "edge inside core edge",
        ];
        let cable = |line: &str| {
            let [host, end, peer, peer_end] = words(line);
            format!(
                "link add name {end} netns {host} up type veth peer name {peer_end} netns {peer}\n"
            )
        };
        // Created inside one of them: `ip` finds the others by name.
        self.internet.ip(&cables.map(cable).concat());

        let address = |line: &str| {
            let [interface, v4, v6] = words(line);
            format!(
                "link set {interface} up\naddress add {v4} dev {interface}\n\
                 address add {v6} dev {interface} nodad\n"
            )
        };
        let configure = |host: &Host, addresses: &[&str], routes: &[&str]| {
            let addresses: String = addresses.iter().map(|line| address(line)).collect();
            let routes: String = routes
                .iter()
                .map(|line| format!("route add {line}\n"))
                .collect();
            host.ip(&(addresses + &routes));
        };
        configure(
            &self.internet,
            &[
                "home1 198.51.100.1/24 2001:db8:51::1/64",
                "home2 203.0.113.1/24 2001:db8:52::1/64",
                "concentrator 192.0.2.1/24 2001:db8:2::1/64",
                "edge 167.55.49.1/24 2001:db8:ed9e::1/64",
            ],
            &[
                "2001:db8:a1::/64 via 2001:db8:51::2",
                "2001:db8:a2::/64 via 2001:db8:52::2",
            ],
        );
        let [home1, home2] = &self.homes;
        configure(
            home1,
            &[
                "wan 198.51.100.2/24 2001:db8:51::2/64",
                "lan 192.168.1.1/24 2001:db8:a1::1/64",
            ],
            &["default via 198.51.100.1", "default via 2001:db8:51::1"],
        );
        configure(
            home2,
            &[
                "wan 203.0.113.2/24 2001:db8:52::2/64",
                "lan 192.168.2.1/24 2001:db8:a2::1/64",
            ],
            &["default via 203.0.113.1", "default via 2001:db8:52::1"],
        );
        let [client1, client2] = &self.clients;
        configure(
            client1,
            &["eth0 192.168.1.10/24 2001:db8:a1::10/64"],
            &["default via 192.168.1.1", "default via 2001:db8:a1::1"],
        );
        configure(
            client2,
            &["eth0 192.168.2.10/24 2001:db8:a2::10/64"],
            &["default via 192.168.2.1", "default via 2001:db8:a2::1"],
        );
        configure(
            &self.concentrator,
            &[
                "wan 192.0.2.2/24 2001:db8:2::2/64",
                "corp 10.0.255.1/30 fd00:10:ffff::1/64",
            ],
            &[
                "default via 192.0.2.1",
                "default via 2001:db8:2::1",
                "10.0.0.0/8 via 10.0.255.2",
                "fd00:10::/32 via fd00:10:ffff::2",
            ],
        );
        configure(
            &self.core,
            &[
                "concentrator 10.0.255.2/30 fd00:10:ffff::2/64",
                "office 10.20.0.1/24 fd00:10:20::1/64",
                "edge 10.2.0.1/24 fd00:10:2::1/64",
                "lo 10.1.0.10/32 fd00:10:1::10/128",
                "lo 10.5.0.2/32 fd00:10:5::2/128",
                "lo 10.9.0.4/32 fd00:10:9::4/128",
                "lo 10.0.0.53/32 fd00:10::53/128",
            ],
            &[
                "172.16.1.0/24 via 10.0.255.1",
                "fd00:172:16:1::/64 via fd00:10:ffff::1",
            ],
        );
        configure(
            &self.office,
            &["eth0 10.20.0.7/24 fd00:10:20::7/64"],
            &["default via 10.20.0.1", "default via fd00:10:20::1"],
        );
        configure(
            &self.edge,
            &[
                "public 167.55.49.34/24 2001:db8:ed9e::34/64",
                "inside 10.2.0.5/24 fd00:10:2::5/64",
            ],
            &[
                "default via 167.55.49.1",
                "default via 2001:db8:ed9e::1",
                "10.0.0.0/8 via 10.2.0.1",
                "172.16.1.0/24 via 10.2.0.1",
                "fd00::/16 via fd00:10:2::1",
            ],
        );
    }

    /// Returns the host of a corporate address.
    pub fn host_of(&self, address: DualStack) -> &Host {
        match address {
            OFFICE => &self.office,
            EDGE_INSIDE | EDGE_PUBLIC => &self.edge,
            FRONT_END | INTRANET | JUMP_HOST | DNS => &self.core,
            _ => CLIENT
                .iter()
                .position(|client| *client == address)
                .map(|number| &self.clients[number])
                .unwrap_or_else(|| panic!("no host has {address:?}")),
        }
    }

    /// Waits until the tunnel of a client carries packets of both families.
    #[track_caller]
    pub fn wait_for_tunnel(&self, client: usize) {
        for family in Family::BOTH {
            traffic::ping(&self.clients[client], DNS.of(family), 56);
        }
    }
}

/// Returns the words of a line that has `N`.
fn words<const N: usize>(line: &str) -> [&str; N] {
    let words: Vec<&str> = line.split(' ').collect();
    words.try_into().expect("as many words as the caller names")
}

/// Returns the firewall of a home's router.
fn router_of_a_home(translation: Translation) -> String {
    let ports = match translation {
        Translation::KeepsPorts => "",
        Translation::RandomPorts => "fully-random",
    };
    format!(
        "table inet home {{
            chain translate {{
                type nat hook postrouting priority srcnat;
                oifname wan meta nfproto ipv4 masquerade {ports}
            }}
            chain let_in {{
                type filter hook input priority filter; policy accept;
                iifname wan ct state new meta l4proto {{ tcp, udp }} drop
            }}
            chain let_through {{
                type filter hook forward priority filter; policy accept;
                iifname wan ct state new drop
            }}
        }}"
    )
}
