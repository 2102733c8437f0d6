//! The diversion by eBPF with each packet judged: hop limits, ICMP errors, path MTUs and NAT are as without a filter.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use offramp::gateway::testbed::traffic::serve_udp;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::site::plain::{CLIENT, CLIENT6, DNS, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::traffic::{connection_carries, listen};
use crate::site::{Host, in_ebpf_sandbox};

/// A port that no host listens at.
const CLOSED: u16 = 54;

/// A port for connections, which is no media port.
const HTTPS: u16 = 443;

/// The MTU of the uplink where it is less than that of the client's link.
const NARROW: u32 = 1_300;

/// The hosts' addresses of a family, and its errors.
struct Family {
    office: &'static str,
    client: &'static str,
    /// The concentrator's, in the tunnel and on the uplink.
    concentrator: [&'static str; 2],
    /// Time exceeded: RFC 792, RFC 4443 §3.3.
    time_exceeded: [u8; 2],
    /// Fragmentation needed: RFC 1191 §4. Packet too big: RFC 4443 §3.2.
    too_big: [u8; 2],
    /// The bytes of that error with the MTU.
    mtu: Range<usize>,
}

const FAMILIES: [Family; 2] = [
    Family {
        office: OFFICE,
        client: CLIENT,
        concentrator: ["172.16.1.1", "10.0.0.1"],
        time_exceeded: [11, 0],
        too_big: [3, 4],
        mtu: 6..8,
    },
    Family {
        office: OFFICE6,
        client: CLIENT6,
        concentrator: ["fd00:1::1", "fd00:2::1"],
        time_exceeded: [3, 0],
        too_big: [2, 0],
        mtu: 4..8,
    },
];

impl Family {
    /// A raw socket of the client, which receives ICMP.
    fn icmp(&self, site: &PlainSite) -> UdpSocket {
        match address(self.client) {
            IpAddr::V4(_) => raw(&site.client, Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => raw(&site.client, Domain::IPV6, Protocol::ICMPV6),
        }
    }

    /// Receives until nothing comes for a while; returns the errors of one type and code, without an IP header.
    fn errors(&self, icmp: &UdpSocket, wanted: [u8; 2]) -> Vec<Vec<u8>> {
        let mut errors = Vec::new();
        let mut buffer = [0; 2_048];
        while let Ok((length, from)) = icmp.recv_from(&mut buffer) {
            // RFC 791 §3.1: the length of the header in words. IPv6 headers are not handed over.
            let header = if from.is_ipv4() {
                usize::from(buffer[0] & 0x0f) * 4
            } else {
                0
            };
            let error = &buffer[header..length];
            if error.starts_with(&wanted) {
                assert_eq!(from.ip(), address(self.concentrator[0]));
                errors.push(error.to_vec());
            }
        }
        errors
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A raw socket; it can do what a socket of UDP can.
fn raw(host: &Host, domain: Domain, protocol: Protocol) -> UdpSocket {
    let socket = host.enter(|| Socket::new(domain, Type::RAW, Some(protocol)));
    let socket = UdpSocket::from(socket.expect("root may have one"));
    limit(&socket);
    socket
}

fn bind(host: &Host, address: &str, port: u16) -> UdpSocket {
    let address: IpAddr = self::address(address);
    let socket = host.enter(|| UdpSocket::bind((address, port)));
    let socket = socket.expect("a free port");
    limit(&socket);
    socket
}

fn limit(socket: &UdpSocket) {
    let limit = Some(Duration::from_millis(400));
    socket.set_read_timeout(limit).expect("a duration");
}

/// A socket of the client whose datagrams have this hop limit.
fn with_hops(site: &PlainSite, family: &Family, hops: u32) -> UdpSocket {
    let socket = site.socket_to(family.office);
    let set = match address(family.office) {
        IpAddr::V4(_) => socket.set_ttl(hops),
        IpAddr::V6(_) => SockRef::from(&socket).set_unicast_hops_v6(hops),
    };
    set.expect("a hop limit");
    socket
}

/// The number of packets that the filter has judged, rather than the programs.
fn judged(site: &PlainSite) -> u64 {
    let judged = site.status()["device"]["judged"][0].as_u64();
    judged.expect("a number")
}

#[test]
fn hop_limits_fall_by_one_and_each_probe_of_a_traceroute_has_one_answer() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("hops");
        let _gateway = site.start("divert = \"all\"");
        for family in &FAMILIES {
            let office = bind(&site.corporate, family.office, DNS);
            let icmp = family.icmp(&site);
            let before = judged(&site);
            for (hops, expired) in [(1, 1), (2, 0)] {
                let probe = with_hops(&site, family, hops);
                let sent = probe.send_to(&[7; 100], (family.office, DNS));
                sent.expect("there is a route");
                let errors = family.errors(&icmp, family.time_exceeded);
                assert_eq!(errors.len(), expired, "{hops} hops to {}", family.office);
                let arrived = office.recv(&mut [0; 256]);
                assert_eq!(arrived.is_err(), expired == 1, "{hops} hops");
            }
            assert!(judged(&site) >= before + 2, "they are judged");

            // A probe that looks like media ends in the filter.
            let probe = with_hops(&site, family, 1);
            let sent = probe.send_to(&[7; 100], (family.office, MEDIA));
            sent.expect("there is a route");
            let errors = family.errors(&icmp, family.time_exceeded);
            assert_eq!(errors.len(), 0, "media to {}", family.office);
        }

        // RFC 791 §3.1: the ninth byte.
        let office = raw(&site.corporate, Domain::IPV4, Protocol::UDP);
        let probe = with_hops(&site, &FAMILIES[0], 64);
        let sent = probe.send_to(&[7; 100], (OFFICE, DNS));
        sent.expect("there is a route");
        let mut packet = [0; 256];
        office.recv(&mut packet).expect("it arrives");
        assert_eq!(packet[8], 63);
    });
}

#[test]
fn the_path_mtu_is_told_to_clients_and_they_keep_to_it() {
    const LONG: usize = 1_400;
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("path_mtu");
        for host in [&site.concentrator, &site.corporate] {
            host.ip(&format!("link set eth1 mtu {NARROW}"));
        }
        // Clients are told of segments that are too large for the uplink.
        site.corporate.ip("
            route change default via 10.0.0.1 advmss 1460
            route change default via fd00:2::1 advmss 1440");
        let _gateway = site.start("divert = \"all\"");
        for family in &FAMILIES {
            site.echo(family.office, DNS);
            let icmp = family.icmp(&site);
            let before = judged(&site);
            // As long as no shorter path is known, a datagram is not to be fragmented (ip(7), IP_MTU_DISCOVER).
            site.send(family.office, DNS, 1, LONG);
            let errors = family.errors(&icmp, family.too_big);
            assert_eq!(errors.len(), 1, "{}", family.office);
            let mtu = &errors[0][family.mtu.clone()];
            let mtu = mtu.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            assert_eq!(mtu, NARROW);
            assert!(judged(&site) > before, "it is judged");
            let answered = site.is_answered(family.office, DNS, LONG);
            assert!(answered, "fragments to {}", family.office);

            // Super-packets are cut to segments that fit as soon as the client knows.
            let forget = if address(family.office).is_ipv4() {
                "-4"
            } else {
                "-6"
            };
            let mut command = Command::new("ip");
            command.args([forget, "route", "flush", "cache"]);
            site.client.run(&mut command).success();
            let listener = listen(&site.corporate, address(family.office), HTTPS);
            connection_carries(&site.client, address(family.client), &listener);
            let errors = family.errors(&icmp, family.too_big);
            assert!(!errors.is_empty(), "a connection to {}", family.office);
        }
    });
}

#[test]
fn errors_of_hosts_on_either_side_reach_the_sender() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("unreachable");
        let _gateway = site.start("divert = \"all\"");
        for family in &FAMILIES {
            // The datagram is judged on one way, the error of the client on the other.
            for (from, own, to, peer) in [
                (&site.client, family.client, &site.corporate, family.office),
                (&site.corporate, family.office, &site.client, family.client),
            ] {
                let before = judged(&site);
                let socket = bind(from, own, 5_000);
                socket.connect((address(peer), CLOSED)).expect("a route");
                socket.send(&[7; 100]).expect("a route");
                let error = socket.recv(&mut [0; 256]).expect_err("nobody listens");
                let refused = error.kind() == ErrorKind::ConnectionRefused;
                assert!(refused, "{} to {peer}: {error}", from.name);
                assert!(judged(&site) > before, "{} to {}", from.name, to.name);
            }
        }
    });
}

#[test]
fn addresses_are_translated_on_the_uplink_in_both_directions() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("nat");
        for interface in ["tun0", "eth1"] {
            site.concentrator
                .set(&format!("ipv4/conf/{interface}/rp_filter"), "1");
        }
        // Clients have no route back, and a service of one of them is published on the uplink.
        site.corporate
            .ip("route del default\nroute del default via fd00:2::1");
        site.concentrator.nft(&format!(
            "table inet nat {{
               chain post {{ type nat hook postrouting priority srcnat; oifname \"eth1\" masquerade; }}
               chain pre {{ type nat hook prerouting priority dstnat;
                 iifname \"eth1\" udp dport 5353 dnat ip to {CLIENT}:53;
                 iifname \"eth1\" udp dport 5353 dnat ip6 to [{CLIENT6}]:53; }}
             }}"
        ));
        for family in &FAMILIES {
            site.echo(family.office, DNS);
            site.echo(family.office, MEDIA);
            let service = SocketAddr::new(address(family.client), DNS);
            let served = serve_udp(site.client.namespace(), service);
            served.unwrap_or_else(|error| panic!("{error}"));
        }
        for divert in ["policy", "all"] {
            let mut gateway = site.start(&format!("divert = \"{divert}\""));
            for family in &FAMILIES {
                let scene = format!("{divert}, {}", family.office);
                let before = judged(&site);
                let uplink = address(family.concentrator[1]);
                for length in [100, 4_000] {
                    assert!(site.is_answered(family.office, DNS, length), "{scene}");
                }
                assert!(!site.is_answered(family.office, MEDIA, 100), "{scene}");
                let listener = listen(&site.corporate, address(family.office), HTTPS);
                let from = connection_carries(&site.client, address(family.client), &listener);
                assert_eq!(from.ip(), uplink, "{scene}");

                // Its answer goes to a port of the office that is none of media.
                let office = bind(&site.corporate, family.office, 123);
                let sent = office.send_to(&[7; 100], (uplink, 5_353));
                sent.expect("a route");
                let (length, from) = office.recv_from(&mut [0; 256]).expect("an answer");
                assert_eq!((length, from), (100, (uplink, 5_353).into()), "{scene}");
                assert!(judged(&site) > before, "{scene}");
            }
            assert_eq!(gateway.terminate().code(), Some(0));
        }
    });
}
