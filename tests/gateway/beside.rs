//! Scenes in which a diversion meets what others have set up on the host: each is harmless under both, or it is said.
//!
//! `docs/firewalls.md` has a table of them, with the names of these tests.

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::firewalls::{ALLOWED, POLICY, findings, site};
use super::health::{wait_for_finding, wait_for_none};
use crate::site::plain::{self, DNS, ELSEWHERE, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Diversion, in_sandbox, poll};

/// True if offramp diverts by nftables here: packets meet what others have set up twice.
fn twice() -> bool {
    Diversion::here() == Diversion::Nftables
}

/// Loads rules, or takes them away.
type Act<'a> = &'a dyn Fn();

/// Loads rules of iptables-legacy.
pub(super) fn legacy(site: &PlainSite, rules: &str) {
    let file = site.folder.write("rules", rules);
    let mut command = Command::new("iptables-legacy-restore");
    site.concentrator.run(command.arg(&file)).success();
}

/// Tries to start a gateway, which refuses, and says so.
#[track_caller]
fn is_refused(site: &PlainSite, gateway: &str, part: &str) {
    let policy = plain::policy(&site.folder, gateway);
    let policy = site.folder.write("policy.toml", policy);
    let said = site.offramp(&["run", &policy]).failure(1);
    assert!(said.contains(part), "{said}");
}

#[test]
fn policies_of_ipsec_take_nothing_past_the_filter_unsaid() {
    in_sandbox(&[], || {
        let site = site("ipsec");
        // A tunnel to another site. It has no keys, so that what it takes goes nowhere.
        let tunnel = |source: &str, destination: &str| {
            site.concentrator.ip(&format!(
                "xfrm policy add src {source} dst {destination} dir out \
                 tmpl src 192.0.2.1 dst 192.0.2.9 proto esp mode tunnel"
            ));
        };
        let judged = || site.count("drop", "media");
        tunnel("172.16.1.0/24", "10.0.0.0/8");
        let mut gateway = site.start(POLICY);
        assert_eq!(findings(&site), [] as [Value; 0]);
        site.send(OFFICE, MEDIA, 20, 100);
        poll("IPv4 to be judged", || (judged() == 20).then_some(()));

        tunnel("fd00:1::/64", "fd00:2::/48");
        let says = "the IPsec policy `src fd00:1::/64 dst fd00:2::/48 dir out`";
        if twice() {
            wait_for_finding(&site, "error", says);
            assert_eq!(site.get("/readyz").0, 503);
        } else {
            assert_eq!(findings(&site), [] as [Value; 0]);
        }
        site.send(OFFICE6, MEDIA, 20, 100);
        site.send(OFFICE, MEDIA, 1, 100);
        let all = if twice() { 21 } else { 41 };
        poll("the last packet to be judged", || {
            (judged() >= all).then_some(())
        });
        assert_eq!(judged(), all, "the finding is right");
        assert_eq!(gateway.terminate().code(), Some(0));
        if twice() {
            is_refused(&site, POLICY, says);
        }
    });
}

#[test]
fn marks_that_others_set_behind_the_filter_take_nothing_past_it() {
    in_sandbox(&["iptables-legacy-restore"], || {
        let site = site("marks_of_others");
        let of_nft = "table ip theirs {
             chain before { type filter hook prerouting priority mangle; policy accept; jump classes
             }
             chain classes { meta mark set 0x1
             }
           }";
        let of_legacy = "*mangle\n:CLASSES - [0:0]\n-A PREROUTING -j CLASSES\n\
             -A CLASSES -j MARK --set-mark 0x1\nCOMMIT\n";
        let loads: [(&str, Act<'_>); 2] = [
            ("by nft", &|| site.concentrator.nft(of_nft)),
            ("by iptables-legacy", &|| legacy(&site, of_legacy)),
        ];
        for (name, load) in loads {
            let mut gateway = site.start(POLICY);
            wait_for_none(&site);
            load();
            assert!(!site.is_answered(OFFICE, MEDIA, 100), "{name}");
            assert!(!site.is_answered(OFFICE, MEDIA, 4_000), "{name}");
            assert!(site.is_answered(OFFICE, ALLOWED, 100), "{name}");
            if twice() {
                let says = "changes the marks of packets on their way to offramp0";
                wait_for_finding(&site, "warning", says);
                gateway.wait_for_log(says);
                assert_eq!(site.get("/readyz").0, 200, "{name}: it is judged");
            } else {
                assert_eq!(findings(&site), [] as [Value; 0], "{name}");
            }
            assert_eq!(site.status()["diversion"]["repairs"]["count"], 0, "{name}");
            assert_eq!(gateway.terminate().code(), Some(0));
            site.concentrator.nft("flush ruleset");
        }
        legacy(&site, "*mangle\nCOMMIT\n");

        // For what comes from the VPN alone, so that it is lost behind the filter: for a route of their own, for example.
        let mut gateway = site.start(POLICY);
        site.concentrator.nft(
            "table ip theirs { chain before { type filter hook prerouting priority mangle; policy accept;
             iifname \"tun0\" meta mark set 0x1; }; }",
        );
        let says = "chain ip theirs before sets marks of packets from tun0";
        if twice() {
            wait_for_finding(&site, "warning", says);
        } else {
            assert_eq!(findings(&site), [] as [Value; 0]);
        }
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn what_a_firewall_blocks_by_both_interfaces_stays_blocked() {
    in_sandbox(&["iptables-legacy-restore"], || {
        let site = site("block_by_both");
        let of_nft = |input: &str| {
            format!(
                "table ip theirs {{ chain between {{ type filter hook forward priority 0; policy accept;
                 iifname {input} oifname \"eth1\" udp dport {ALLOWED} drop; }}; }}"
            )
        };
        let of_legacy = format!(
            "*filter\n-A FORWARD -i tun+ -o eth1 -p udp --dport {ALLOWED} -j DROP\nCOMMIT\n"
        );
        let cases: [(&str, Act<'_>, Act<'_>); 2] = [
            (
                "open",
                &|| site.concentrator.nft(&of_nft("\"tun0\"")),
                &|| site.concentrator.nft("delete table ip theirs"),
            ),
            ("closed", &|| legacy(&site, &of_legacy), &|| {
                legacy(&site, "*filter\nCOMMIT\n");
            }),
        ];
        let says = "would let it go on from offramp0";
        for (on_failure, load, unload) in cases {
            let policy = format!("on_failure = \"{on_failure}\"\n{POLICY}");
            load();
            if twice() {
                is_refused(&site, &policy, says);
            }
            unload();
            let mut gateway = site.start(&policy);
            wait_for_none(&site);
            assert!(site.is_answered(OFFICE, ALLOWED, 100), "{on_failure}");
            load();
            if twice() {
                wait_for_finding(&site, "error", says);
                let meanwhile = match on_failure {
                    "open" => "nothing is diverted meanwhile",
                    _ => "what is diverted is stopped meanwhile",
                };
                gateway.wait_for_log(meanwhile);
                assert_eq!(site.get("/readyz").0, 503, "{on_failure}");
            } else {
                assert_eq!(findings(&site), [] as [Value; 0], "{on_failure}");
            }
            assert!(!site.is_answered(OFFICE, ALLOWED, 100), "{on_failure}");
            // Fragments, which hide their ports.
            assert!(!site.is_answered(OFFICE, ALLOWED, 4_000), "{on_failure}");
            let passes = twice() && on_failure == "open";
            assert_eq!(site.is_answered(OFFICE, MEDIA, 100), passes, "{on_failure}");

            unload();
            wait_for_none(&site);
            if twice() {
                gateway.wait_for_log("packets are diverted to the filter again");
            }
            assert!(!site.is_answered(OFFICE, MEDIA, 100), "{on_failure}");
            assert!(site.is_answered(OFFICE, ALLOWED, 100), "{on_failure}");
            assert_eq!(site.status()["diversion"]["repairs"]["count"], 0);
            assert_eq!(gateway.terminate().code(), Some(0));
        }
        // With the remedy of the finding it stays blocked, and all else is judged.
        site.concentrator.nft(&of_nft("{ \"tun0\", \"offramp0\" }"));
        let mut gateway = site.start(POLICY);
        assert_eq!(findings(&site), [] as [Value; 0]);
        assert!(!site.is_answered(OFFICE, ALLOWED, 100));
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        assert!(site.is_answered(OFFICE6, ALLOWED, 100));
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn changes_that_a_firewall_makes_for_the_vpn_alone_are_said() {
    in_sandbox(&["iptables-legacy-restore"], || {
        let site = site("vpn_alone");
        let says = "limits the segment size (MSS) of connections from tun0";
        let mut gateway = site.start(POLICY);
        wait_for_none(&site);
        let clamped = "table inet theirs { chain between { type filter hook forward priority mangle; policy accept;
             iifname \"tun0\" oifname \"eth1\" tcp flags syn tcp option maxseg size set 1200; }; }";
        let of_legacy = "*mangle\n-A FORWARD -i tun0 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1200\nCOMMIT\n";
        let cases: [(Act<'_>, Act<'_>); 2] = [
            (&|| site.concentrator.nft(clamped), &|| {
                site.concentrator.nft("delete table inet theirs");
            }),
            (&|| legacy(&site, of_legacy), &|| {
                legacy(&site, "*mangle\nCOMMIT\n");
            }),
        ];
        for (load, unload) in cases {
            load();
            if twice() {
                wait_for_finding(&site, "warning", says);
            } else {
                assert_eq!(findings(&site), [] as [Value; 0]);
            }
            unload();
            wait_for_none(&site);
        }

        // A service that clients reach at another address, by a rule for their interface.
        let alias = "10.20.0.9";
        site.concentrator.nft(&format!(
            "table ip theirs {{ chain before {{ type nat hook prerouting priority dstnat;
             iifname \"tun0\" ip daddr {alias} udp dport {ALLOWED} dnat to {OFFICE}; }}; }}"
        ));
        let works = is_answered_from_there(&site, (alias, ALLOWED), 100);
        assert_eq!(works, !twice(), "the finding is right");
        if twice() {
            let says =
                "translates addresses of what comes from tun0, and not of what comes from offramp0";
            wait_for_finding(&site, "error", says);
            assert_eq!(site.get("/readyz").0, 503);
        }
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

/// Returns `true` if a datagram is answered from the address and port that it was sent to.
fn is_answered_from_there(site: &PlainSite, to: (&str, u16), length: usize) -> bool {
    let socket = site.socket_to(to.0);
    let limit = Some(Duration::from_millis(200));
    socket.set_read_timeout(limit).expect("a duration");
    let place = (to.0.parse::<IpAddr>().expect("an address"), to.1).into();
    (0..5).any(|_| {
        _ = socket.send_to(&vec![7; length], place);
        let answer = socket.recv_from(&mut vec![0; 65_536]);
        answer.is_ok_and(|answer| answer == (length, place))
    })
}

#[test]
fn a_port_forwarding_of_the_gateway_works_with_each_scope() {
    in_sandbox(&[], || {
        let site = site("forwarded_port");
        // At its own address, and at one that the policy does not name.
        site.concentrator.nft(&format!(
            "table ip theirs {{ chain before {{ type nat hook prerouting priority dstnat;
             ip daddr {{ 172.16.1.1, {ELSEWHERE} }} udp dport 50030 dnat to {OFFICE}:{ALLOWED}; }}; }}"
        ));
        for divert in ["suspects", "policy", "all"] {
            for on_failure in ["open", "closed"] {
                let scene = format!("{divert}, {on_failure}");
                let policy = POLICY.replace("\"suspects\"", &format!("\"{divert}\""));
                let mut gateway = site.start(&format!("on_failure = \"{on_failure}\"\n{policy}"));
                for length in [100, 4_000] {
                    let own = is_answered_from_there(&site, ("172.16.1.1", 50_030), length);
                    assert!(own, "{scene}, {length}");
                    // Everything is diverted, and translated behind the filter.
                    let other = is_answered_from_there(&site, (ELSEWHERE, 50_030), length);
                    assert!(other, "{scene}, {length}");
                }
                assert!(!site.is_answered(OFFICE, MEDIA, 100), "{scene}");
                assert_eq!(gateway.terminate().code(), Some(0));
            }
        }
    });
}

#[test]
fn a_routing_rule_that_takes_clients_past_the_filter_is_said() {
    in_sandbox(&[], || {
        let site = site("routing_rule");
        let mut gateway = site.start(POLICY);
        wait_for_none(&site);
        for (family, office, subnet) in [
            ("-4", OFFICE, "172.16.1.0/24"),
            ("-6", OFFICE6, "fd00:1::/64"),
        ] {
            let rule = |verb: &str| {
                let mut command = Command::new("ip");
                let words = format!("{family} rule {verb} priority 100 from {subnet} lookup main");
                site.concentrator
                    .run(command.args(words.split(' ')))
                    .success();
            };
            rule("add");
            if twice() {
                let says = "is routed to eth1, and not to offramp0";
                let finding = wait_for_finding(&site, "error", says);
                let remedy = finding["remedy"].as_str().expect("a text");
                assert!(remedy.contains(&format!("`ip {family} rule`")), "{remedy}");
                wait_for_finding(&site, "warning", "the routing rule of priority 100 comes");
                let (code, body) = site.get("/readyz");
                assert!(code == 503 && body.contains(says), "{code} {body}");
            } else {
                assert_eq!(findings(&site), [] as [Value; 0], "{family}");
            }
            let passes = site.is_answered(office, MEDIA, 100);
            assert_eq!(passes, twice(), "{family}: the finding is right");
            rule("del");
            wait_for_none(&site);
            assert!(!site.is_answered(office, MEDIA, 100), "{family}");
        }
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn an_old_table_of_offramp_that_is_loaded_again_is_replaced_and_told() {
    in_sandbox(&[], || {
        let site = site("old_table");
        let mut gateway = site.start("divert = \"policy\"");
        let mut list = Command::new("nft");
        let saved = site.concentrator.run(list.args(["list", "ruleset"]));
        let saved = saved.success();
        assert_eq!(gateway.terminate().code(), Some(0));
        let guard = "table inet offramp { chain guard { type filter hook prerouting priority -400; policy accept;
             iifname \"tun0\" drop; }; }";
        let old = if twice() { saved.as_str() } else { guard };

        for (number, policy) in [
            POLICY.to_owned(),
            format!("on_failure = \"closed\"\n{POLICY}"),
        ]
        .iter()
        .enumerate()
        {
            let mut gateway = site.start(policy);
            let installed = site.kernel();
            for (script, count) in [(old.to_owned(), 1), (format!("flush ruleset\n{old}"), 2)] {
                site.concentrator.nft(&script);
                poll("the table to be replaced", || {
                    let repairs = site.status()["diversion"]["repairs"]["count"].as_u64();
                    (repairs >= Some(count)).then_some(())
                });
                assert_eq!(site.kernel(), installed, "{number}");
                assert!(!site.is_answered(OFFICE, MEDIA, 100), "{number}");
                assert!(site.is_answered(OFFICE, DNS, 100), "{number}");
            }
            gateway.wait_for_log("another program has removed or changed");
            assert_eq!(gateway.terminate().code(), Some(0));
        }
        // Loaded while no gateway runs, marks alone divert nothing; the next start replaces them.
        if twice() {
            site.concentrator.nft(old);
            assert!(site.is_answered(OFFICE, DNS, 100));
            let mut gateway = site.start(POLICY);
            assert!(!site.is_answered(OFFICE, MEDIA, 100));
            assert_eq!(gateway.terminate().code(), Some(0));
        }
    });
}

/// Datagrams of a family that share an identification number: one to an open port, one to a media port.
mod pairs {
    use std::net::{IpAddr, SocketAddr};
    use std::thread::{self, JoinHandle};

    use socket2::{Domain, Protocol, Socket, Type};

    use super::*;
    use crate::packets::checksum;
    use crate::site::plain::{CLIENT, CLIENT6};

    /// The bytes of UDP in a first fragment, and in the other one.
    const PART: usize = 16;

    pub(super) struct Pairs {
        from: IpAddr,
        to: IpAddr,
        socket: Socket,
        open: JoinHandle<usize>,
        media: JoinHandle<usize>,
    }

    impl Pairs {
        pub(super) fn new(site: &PlainSite, office: &str) -> Self {
            let (client, domain) = match office.contains(':') {
                true => (CLIENT6, Domain::IPV6),
                false => (CLIENT, Domain::IPV4),
            };
            // The header is the sender's own (raw(7), IPPROTO_RAW).
            let socket = || Socket::new(domain, Type::RAW, Some(Protocol::from(255)));
            let socket = site.client.enter(socket);
            Self {
                from: client.parse().expect("an address"),
                to: office.parse().expect("an address"),
                socket: socket.expect("root may"),
                open: count(site, office, DNS),
                media: count(site, office, MEDIA),
            }
        }

        fn send(&self, number: u32, offset: usize, bytes: &[u8]) {
            let more = offset == 0;
            let position = (offset / 8) as u16;
            let length = bytes.len() as u16;
            let mut packet = match (self.from, self.to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    // RFC 791 §3.1; the kernel fills in the checksum.
                    let flags = position | u16::from(more) << 13;
                    let words = [0x4500, 20 + length, number as u16, flags, 0x4011, 0];
                    let mut header: Vec<u8> =
                        words.iter().flat_map(|it| it.to_be_bytes()).collect();
                    header.extend([from.octets(), to.octets()].concat());
                    header
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    // RFC 8200 §3 and §4.5.
                    let mut header = vec![0x60, 0, 0, 0];
                    header.extend((8 + length).to_be_bytes());
                    header.extend([44, 64]);
                    header.extend([from.octets(), to.octets()].concat());
                    header.extend([17, 0]);
                    header.extend((position << 3 | u16::from(more)).to_be_bytes());
                    header.extend(number.to_be_bytes());
                    header
                }
                _ => unreachable!("both are of one family"),
            };
            packet.extend(bytes);
            let to = SocketAddr::new(self.to, 0).into();
            let sent = self.socket.send_to(&packet, &to);
            sent.expect("there is a route");
        }

        /// The first fragment of a datagram to `port`, and the other one, which is the same for each.
        fn parts(&self, port: u16) -> [Vec<u8>; 2] {
            let length = 2 * PART as u16;
            let mut datagram: Vec<u8> = [5_000, port, length, 0]
                .iter()
                .flat_map(|it: &u16| it.to_be_bytes())
                .collect();
            datagram.resize(2 * PART, 7);
            // RFC 768 and RFC 8200 §8.1.
            let mut summed = match (self.from, self.to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
                (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
                _ => unreachable!("both are of one family"),
            };
            summed.extend([0, 17]);
            summed.extend(length.to_be_bytes());
            summed.extend(&datagram);
            let sum = checksum(&summed);
            datagram[6..8].copy_from_slice(&sum.to_be_bytes());
            let rest = datagram.split_off(PART);
            [datagram, rest]
        }

        /// Sends a pair; returns when all is on its way.
        pub(super) fn send_pair(&self, number: u32, order: &str) {
            let [open, rest] = self.parts(DNS);
            let [media, _] = self.parts(MEDIA);
            for part in order.chars() {
                match part {
                    'o' => self.send(number, 0, &open),
                    'm' => self.send(number, 0, &media),
                    _ => self.send(number, PART, &rest),
                }
            }
        }

        /// Ends; returns how many datagrams reached the open port, and the media port.
        pub(super) fn end(self, site: &PlainSite) -> (usize, usize) {
            let socket = site.socket_to(&self.to.to_string());
            poll("the end to arrive", || {
                socket.send_to(END, (self.to, DNS)).expect("a route");
                self.open.is_finished().then_some(())
            });
            // The media port does not hear of the end from a client.
            let here = site.corporate.enter(|| UdpSocket::bind((self.to, 0)));
            let here = here.expect("a free port");
            here.send_to(END, (self.to, MEDIA)).expect("it is here");
            let counted = |thread: JoinHandle<usize>| thread.join().expect("it only counts");
            (counted(self.open), counted(self.media))
        }
    }

    const END: &[u8] = b"end";

    /// Counts the datagrams to a port of the office.
    fn count(site: &PlainSite, office: &str, port: u16) -> JoinHandle<usize> {
        let office: IpAddr = office.parse().expect("an address");
        let socket = site.corporate.enter(|| UdpSocket::bind((office, port)));
        let socket = socket.expect("a free port");
        let limit = Some(crate::site::DEADLINE);
        socket.set_read_timeout(limit).expect("a duration");
        thread::spawn(move || {
            let mut buffer = [0; 2_048];
            let mut count = 0;
            while let Ok(length) = socket.recv(&mut buffer) {
                if &buffer[..length] == END {
                    break;
                }
                count += 1;
            }
            count
        })
    }
}

#[test]
fn fragments_of_two_datagrams_with_one_number_complete_no_media_behind_the_filter() {
    in_sandbox(&[], || {
        let site = PlainSite::new("pairs");
        // Connection tracking reassembles what passes, for as long as somebody asks for it.
        site.concentrator.nft(
            "table inet theirs { chain between { type filter hook forward priority 0; policy accept;
             ct state invalid counter; }; }",
        );
        // In the order in which what is behind the filter and what is before it meet, and in others.
        const ORDERS: [&str; 8] = ["orm", "orm", "orm", "orm", "omr", "mor", "mro", "rom"];
        for workers in [1, 3] {
            let mut gateway = site.start(&format!("divert = \"policy\"\nworkers = {workers}"));
            for office in [OFFICE, OFFICE6] {
                let pairs = pairs::Pairs::new(&site, office);
                for number in 1..=2_000 {
                    pairs.send_pair(number, ORDERS[number as usize % ORDERS.len()]);
                }
                let (open, media) = pairs.end(&site);
                let what = format!("{office}, {workers} workers: {open} reached the open port");
                assert_eq!(media, 0, "{what}");
                // A receiver that does not run on a busy machine loses many.
                assert!(open > 20, "{what}");
            }
            gateway.terminate();
        }
    });
}
