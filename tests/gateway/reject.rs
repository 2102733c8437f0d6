//! Answers to clients whose packets are dropped (`filter.reject`): real programs that give up at once, and sources that get none.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use offramp::packet::media::Payload;
use offramp::policy::Protocol;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::packets::Forwarder;
use crate::site::plain::{self, CLIENT, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::traffic::{listen, ping};
use crate::site::{Daemon, Diversion, Host, in_sandbox, poll};
use crate::support::{Folder, program};

/// A time within which an answer comes, and after which there is none.
const AT_ONCE: Duration = Duration::from_millis(700);

/// Starts a gateway with this value of `filter.reject`.
fn start(site: &PlainSite, reject: &str) -> Daemon {
    site.start(&format!("[filter]\nreject = \"{reject}\""))
}

/// Connects from the client; an attempt that nobody answers times out.
fn connect(site: &PlainSite, address: &str, port: u16) -> io::Result<()> {
    let to = SocketAddr::new(address.parse().expect("an address"), port);
    site.client.enter(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.connect_timeout(&to.into(), AT_ONCE)
    })
}

/// Sends a datagram from the client, and waits for an answer.
fn ask(site: &PlainSite, address: &str, port: u16, payload: &[u8]) -> io::Result<usize> {
    ask_all(site, address, port, &[payload])
}

/// Does the same with several datagrams of one flow.
fn ask_all(site: &PlainSite, address: &str, port: u16, payloads: &[&[u8]]) -> io::Result<usize> {
    let address: IpAddr = address.parse().expect("an address");
    let socket = site.client.enter(|| -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(match address {
            IpAddr::V4(_) => "0.0.0.0:0",
            IpAddr::V6(_) => "[::]:0",
        })?;
        socket.connect((address, port))?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(AT_ONCE))?;
    for payload in payloads {
        socket.send(payload)?;
    }
    socket.recv(&mut [0; 64])
}

#[track_caller]
fn assert_refused(what: &str, result: io::Result<impl std::fmt::Debug>) {
    match result {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[track_caller]
fn assert_unanswered(what: &str, result: io::Result<impl std::fmt::Debug>) {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn programs_that_try_a_blocked_service_fail_at_once() {
    in_sandbox(&[], || {
        let site = PlainSite::new("reject");
        for (reject, tcp, udp) in [
            ("none", false, false),
            ("tcp", true, false),
            ("all", true, true),
        ] {
            let mut gateway = start(&site, reject);
            for address in [OFFICE, OFFICE6] {
                let scene = format!("reject = \"{reject}\", {address}");
                let began = Instant::now();
                let connected = connect(&site, address, MEDIA);
                if tcp {
                    assert_refused(&scene, connected);
                    assert!(began.elapsed() < AT_ONCE, "{scene}");
                } else {
                    assert_unanswered(&scene, connected);
                }
                let asked = ask(&site, address, MEDIA, b"a query");
                if udp {
                    assert_refused(&scene, asked);
                } else {
                    assert_unanswered(&scene, asked);
                }
            }
            assert_eq!(gateway.terminate().code(), Some(0));
        }
    });
}

/// Counts the answers that reach a host, from now on.
struct Answers<'h>(&'h Host);

impl<'h> Answers<'h> {
    fn at(host: &'h Host) -> Self {
        host.nft(
            "table inet watch {
               counter answers { }
               chain arrived { type filter hook prerouting priority -400;
                 tcp flags & rst == rst counter name answers
                 icmp type destination-unreachable counter name answers
                 icmpv6 type destination-unreachable counter name answers
               }
             }",
        );
        Self(host)
    }

    fn count(&self) -> u64 {
        let mut list = Command::new("nft");
        list.args(["--json", "list", "counter", "inet", "watch", "answers"]);
        let listed = self.0.run(&mut list).json();
        let entries = listed["nftables"].as_array().expect("a list");
        let packets = |entry: &Value| entry["counter"]["packets"].as_u64();
        entries.iter().find_map(packets).expect("the counter")
    }
}

/// A number of the gateway's answers.
fn rejections(site: &PlainSite, key: &str) -> u64 {
    site.status()["rejections"][key].as_u64().expect("a number")
}

/// A SYN to a blocked port.
fn syn(from: [u8; 4], port: u16) -> Vec<u8> {
    let to: Ipv4Addr = OFFICE.parse().expect("an address");
    let mut packet = Vec::new();
    PacketBuilder::ipv4(from, to.octets(), 64)
        .tcp(port, MEDIA, 7, 1_024)
        .syn()
        .write(&mut packet, &[])
        .expect("room");
    packet
}

/// Sends packets with headers of their own from `host`, whatever their source.
fn inject<'p>(host: &Host, packets: impl Iterator<Item = &'p Vec<u8>>) {
    let raw = socket2::Protocol::from(nix::libc::IPPROTO_RAW);
    let socket = host.enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(raw)));
    let socket = socket.expect("root has it");
    let to: SocketAddr = (OFFICE.parse::<IpAddr>().expect("an address"), 0).into();
    for packet in packets {
        let sent = socket.send_to(packet, &to.into());
        assert_eq!(sent.expect("there is a route"), packet.len());
    }
}

#[test]
fn without_the_key_nothing_comes_back() {
    in_sandbox(&[], || {
        let site = PlainSite::new("reject_none");
        let answers = Answers::at(&site.client);
        let mut gateway = site.start("");
        assert_unanswered("tcp", connect(&site, OFFICE, MEDIA));
        assert_unanswered("udp", ask(&site, OFFICE, MEDIA, b"a query"));
        assert_eq!(answers.count(), 0);
        assert!(site.count("drop", "media") >= 2);

        // A reload switches answers on and off.
        for (reject, generation) in [("all", 2), ("none", 3)] {
            let text = plain::policy(&site.folder, &format!("[filter]\nreject = \"{reject}\""));
            site.folder.write("policy.toml", text);
            gateway.wait_for_log(&format!("generation={generation}"));
            let connected = connect(&site, OFFICE, MEDIA);
            match reject {
                "all" => assert_refused("tcp", connected),
                _ => assert_unanswered("tcp", connected),
            }
        }
        assert_eq!(answers.count(), 1);
        assert_eq!(rejections(&site, "rst"), 1);
    });
}

#[test]
fn answers_pass_a_firewall_and_reverse_path_filters() {
    in_sandbox(&["curl"], || {
        let site = PlainSite::new("reject_firewall");
        let _gateway = start(&site, "all");
        site.concentrator.nft(
            "table inet fortress {
               chain output { type filter hook output priority 0; policy drop;
                 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
               }
               chain forward { type filter hook forward priority 0; policy drop;
                 oifname \"offramp0\" accept
               }
               chain postrouting { type filter hook postrouting priority 0; policy drop;
                 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
                 oifname \"offramp0\" accept
               }
             }",
        );
        for interface in ["tun0", "eth1"] {
            site.concentrator
                .set(&format!("ipv4/conf/{interface}/rp_filter"), "1");
        }
        for address in [OFFICE, OFFICE6] {
            assert_refused(address, connect(&site, address, MEDIA));
            assert_refused(address, ask(&site, address, MEDIA, b"a query"));
        }
        let url = format!("http://{OFFICE}:{MEDIA}/");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "5", &url]);
        let began = Instant::now();
        let ended = site.client.run(&mut curl);
        // 7: it cannot connect; 28: it waited too long.
        assert_eq!(ended.code, Some(7), "{}", ended.stderr);
        assert!(began.elapsed() < Duration::from_secs(4));
    });
}

#[test]
fn media_in_udp_finds_no_answer_and_in_tcp_an_end() {
    in_sandbox(&[], || {
        let site = PlainSite::new("reject_media");
        let answers = Answers::at(&site.client);
        let checks = Payload::MicrosoftCheck.packets(Protocol::Udp);
        for recognition in ["ports", "ice"] {
            let policy = format!("[filter]\nreject = \"all\"\n[media]\nmatch = \"{recognition}\"");
            let mut gateway = site.start(&policy);
            for check in &checks {
                let asked = match recognition {
                    "ports" => ask(&site, OFFICE, MEDIA, check),
                    _ => ask_all(&site, OFFICE, MEDIA, &[check, b"what follows it"]),
                };
                assert_unanswered(recognition, asked);
            }
            assert_eq!(gateway.terminate().code(), Some(0));
        }
        assert_eq!(answers.count(), 0);

        let _gateway = site.start("[filter]\nreject = \"tcp\"\n[media]\nmatch = \"ice\"");
        let to = SocketAddr::new(OFFICE.parse().expect("an address"), MEDIA);
        let listener = listen(&site.corporate, to.ip(), to.port());
        let stream = site
            .client
            .enter(|| TcpStream::connect_timeout(&to, AT_ONCE));
        let mut stream = stream.expect("a connection shows no media yet");
        let (_peer, _) = listener.accept().expect("it is open");
        stream.set_read_timeout(Some(AT_ONCE)).expect("a duration");
        for check in Payload::MicrosoftCheck.packets(Protocol::Tcp) {
            stream.write_all(&check).expect("it is open");
        }
        let read = stream.read(&mut [0; 1]);
        let kind = read.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_flood_gets_a_few_answers() {
    in_sandbox(&[], || {
        let site = PlainSite::new("reject_flood");
        let answers = Answers::at(&site.client);
        let _gateway = start(&site, "tcp");
        let from = CLIENT.parse::<Ipv4Addr>().expect("an address").octets();
        let flood: Vec<_> = (0..10_000).map(|it| syn(from, 1_024 + it)).collect();
        let began = Instant::now();
        inject(&site.client, flood.iter());
        let seen = || {
            let lost = site.status()["device"]["overload_drops"].as_u64();
            site.count("drop", "media") + lost.unwrap_or(0)
        };
        poll("the flood to be judged", || {
            (seen() >= 10_000).then_some(())
        });
        let most = 20 + 20 * (began.elapsed().as_secs() + 1);
        poll("the answers", || {
            (answers.count() == rejections(&site, "rst")).then_some(())
        });
        let sent = answers.count();
        assert!((20..=most).contains(&sent), "{sent} of {most}");
        assert_eq!(
            sent + rejections(&site, "suppressed"),
            site.count("drop", "media")
        );
    });
}

#[test]
fn a_source_that_is_not_routed_to_the_interface_it_came_from_gets_nothing() {
    in_sandbox(&[], || {
        let site = PlainSite::new("reject_spoofed");
        let other = Host::new("other");
        site.concentrator.ip("
            link add tun1 type veth peer name tun1 netns other
            address add 172.16.1.1/32 dev tun1
            link set tun1 up
            route add 172.16.1.20/32 dev tun1
            route add 172.16.1.77/32 via 10.20.0.7");
        other.ip("
            address add 172.16.1.20/24 dev tun1
            link set tun1 up
            route add default via 172.16.1.1");
        let policy = plain::policy(&site.folder, "[filter]\nreject = \"tcp\"");
        let policy = policy.replace("[\"tun0\"]", "[\"tun0\", \"tun1\"]");
        site.folder.write("policy.toml", policy);
        let _gateway = site.start_again("gateway.log");
        // The neighbor that the second one is routed to is known.
        ping(&site.concentrator, OFFICE.parse().expect("an address"), 56);
        let hosts = [&site.client, &other, &site.corporate].map(Answers::at);
        let counts = || hosts.each_ref().map(Answers::count);
        let dropped = |count| {
            let all = || site.count("drop", "media") >= count;
            poll("the packets", || all().then_some(()));
            let handled = || rejections(&site, "rst") + rejections(&site, "suppressed") >= count;
            poll("the answers", || handled().then_some(()));
        };

        // From an address of its own, and from one that is routed elsewhere.
        inject(&other, [syn([172, 16, 1, 20], 50_000)].iter());
        dropped(1);
        poll("the answer", || (counts() == [0, 1, 0]).then_some(()));
        inject(&other, [syn([172, 16, 1, 77], 50_000)].iter());
        dropped(2);
        assert_eq!(counts(), [0, 1, 0]);
        assert_eq!(rejections(&site, "suppressed"), 1);

        // From that of another client. Marks do not tell where a packet has entered.
        if Diversion::here() == Diversion::Ebpf {
            inject(&other, [syn([172, 16, 1, 10], 50_000)].iter());
            dropped(3);
            assert_eq!(counts(), [0, 1, 0]);
            assert_eq!(rejections(&site, "suppressed"), 2);
        }
    });
}

/// Waits for an IP packet from a tun device that `is_meant`.
fn next_packet(
    device: &mut std::fs::File,
    is_meant: impl Fn(&SlicedPacket<'_>) -> bool,
) -> Vec<u8> {
    poll("the answer", || {
        let mut bytes = [0; 2_048];
        let length = device.read(&mut bytes).ok()?;
        let packet = SlicedPacket::from_ip(&bytes[..length]).ok()?;
        is_meant(&packet).then(|| bytes[..length].to_vec())
    })
}

#[test]
fn a_device_without_ethernet_headers_gets_whole_packets() {
    in_sandbox(&[], || {
        let host = Host::new("concentrator");
        let folder = Folder::new("reject_tun");
        let mut forwarder = Forwarder::new(&host);
        host.ip("
            route add 172.16.1.0/24 dev vpn0
            route add fd00:1::/64 dev vpn0");
        let policy = plain::policy(&folder, "[filter]\nreject = \"all\"");
        let policy = folder.write("policy.toml", policy.replace("tun0", "vpn*"));
        let mut gateway = Daemon::start(
            &host,
            "offramp run",
            folder.path("gateway.log"),
            &mut program(&["run", &policy]),
        );
        gateway.wait_for_log(" ready: ");
        let from6 = [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
        let to6 = [0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let builder = |is_ipv6| match is_ipv6 {
            false => PacketBuilder::ipv4([172, 16, 1, 10], [10, 20, 0, 7], 64),
            true => PacketBuilder::ipv6(from6, to6, 64),
        };
        for is_ipv6 in [false, true] {
            let mut segment = Vec::new();
            let built = builder(is_ipv6).tcp(50_000, MEDIA, 7, 1_024).syn();
            built.write(&mut segment, &[]).expect("room");
            forwarder.write([&segment]);
            let answer = next_packet(
                &mut forwarder.vpn,
                |packet| matches!(&packet.transport, Some(TransportSlice::Tcp(it)) if it.rst()),
            );
            assert_eq!(answer.len(), segment.len());

            let mut datagram = Vec::new();
            let built = builder(is_ipv6).udp(50_000, MEDIA);
            built.write(&mut datagram, b"a query").expect("room");
            forwarder.write([&datagram]);
            let answer = next_packet(&mut forwarder.vpn, |packet| match &packet.transport {
                Some(TransportSlice::Icmpv4(it)) => it.type_u8() == 3 && it.code_u8() == 3,
                Some(TransportSlice::Icmpv6(it)) => it.type_u8() == 1 && it.code_u8() == 4,
                _ => false,
            });
            let addresses = if is_ipv6 { 8..40 } else { 12..20 };
            let quoted = &answer[answer.len() - datagram.len()..];
            assert_eq!(quoted[addresses.clone()], datagram[addresses]);
            assert!(answer.ends_with(b"a query"));
        }
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn without_the_right_a_start_is_refused_and_a_reload_says_when_it_counts() {
    in_sandbox(&[], || {
        let site = PlainSite::new("reject_rights");
        let policy = |reject: &str| {
            let text = plain::policy(&site.folder, &format!("[filter]\nreject = \"{reject}\""));
            site.folder.write("policy.toml", text)
        };
        let command = |policy: &str| {
            let mut command = Command::new("setpriv");
            command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]);
            command.args([env!("CARGO_BIN_EXE_offramp"), "run", policy]);
            command
        };
        let refused = site
            .concentrator
            .run(&mut command(&policy("tcp")))
            .failure(1);
        assert!(
            refused.contains("filter.reject = \"tcp\" needs a packet socket"),
            "{refused}"
        );
        assert!(refused.contains("CAP_NET_RAW"), "{refused}");

        let mut command = command(&policy("none"));
        let log = site.folder.path("gateway.log");
        let mut gateway = Daemon::start(&site.concentrator, "offramp run", log, &mut command);
        gateway.wait_for_log(" ready: ");
        policy("tcp");
        gateway.wait_for_log("generation=2");
        assert!(
            gateway
                .log()
                .contains("filter.reject takes effect at the next start of offramp"),
            "{}",
            gateway.log()
        );
        assert_unanswered("tcp", connect(&site, OFFICE, MEDIA));
    });
}
