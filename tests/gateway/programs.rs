//! The diversion by eBPF: beside the firewalls of others, while its process is stopped, and when others interfere.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::firewalls::DROP_BY_DEFAULT;
use crate::site::plain::{self, DNS, ELSEWHERE, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Daemon, Host, in_ebpf_sandbox, in_sandbox, poll};
use crate::support::{AtEnd, Folder, program, run, signal};

/// A service at a media port that the policy allows.
const ALLOWED: u16 = 3_389;

/// Firewalls as they are found on concentrators: none of them knows offramp.
const FIREWALLS: [(&str, &str); 4] = [
    ("nothing", ""),
    ("a hand-written one that drops by default", DROP_BY_DEFAULT),
    (
        "zones, as firewalld has them",
        r#"table inet zones {
             chain forward { type filter hook forward priority filter + 10; policy accept;
               ct state { established, related } accept
               ct state invalid drop
               jump from
               reject with icmpx admin-prohibited
             }
             chain from { iifname "tun0" goto vpn
             }
             chain vpn { accept
             }
           }"#,
    ),
    (
        "reverse path filters of both families",
        r#"table inet reverse {
             chain prerouting { type filter hook prerouting priority filter + 10; policy accept;
               icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
               fib saddr . mark . iif oif missing drop
             }
           }"#,
    ),
];

#[test]
fn firewalls_and_reverse_path_filters_need_no_change() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("firewalls");
        for (address, port) in [
            (OFFICE, DNS),
            (OFFICE, MEDIA),
            (OFFICE, ALLOWED),
            (OFFICE6, DNS),
        ] {
            site.echo(address, port);
        }
        site.echo(OFFICE6, MEDIA);
        site.echo(OFFICE6, ALLOWED);
        site.echo(ELSEWHERE, MEDIA);
        let allow = "[[allow]]\nname = \"desktops\"\nto = [\"10.20.0.0/16\", \"fd00:2::/64\"]\nports = [\"3389\"]\n";
        for divert in ["suspects", "all"] {
            let mut gateway = site.start(&format!("divert = \"{divert}\"\n{allow}"));
            for strict in ["0", "1"] {
                for interface in ["all", "tun0", "eth1"] {
                    site.concentrator.run(Command::new("sysctl").args([
                        "-qw",
                        &format!("net.ipv4.conf.{interface}.rp_filter={strict}"),
                    ]));
                }
                for (name, rules) in FIREWALLS {
                    // Loaded while the gateway runs.
                    site.concentrator.nft(rules);
                    let scene = format!("{divert}, rp_filter {strict}, {name}");
                    for address in [OFFICE, OFFICE6] {
                        for port in [DNS, ALLOWED] {
                            assert!(
                                site.is_answered(address, port, 100),
                                "{scene}: {address} {port}"
                            );
                        }
                        assert!(
                            site.is_answered(address, DNS, 4_000),
                            "{scene}: fragments to {address}"
                        );
                        assert!(!site.is_answered(address, MEDIA, 100), "{scene}: {address}");
                    }
                    assert!(site.is_answered(ELSEWHERE, MEDIA, 100), "{scene}");
                    site.concentrator.nft("flush ruleset");
                }
            }
            let status = site.status();
            assert_eq!(status["diversion"]["kind"], "ebpf");
            let failures = &status["diversion"]["self_test"]["failures"];
            assert_eq!(failures.as_array().map(Vec::len), Some(0), "{failures}");
            assert_eq!(gateway.terminate().code(), Some(0));
        }
    });
}

#[test]
fn neighbors_are_found_where_unknown_sources_are_dropped() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("neighbors");
        site.echo(OFFICE6, DNS);
        let _gateway = site.start("divert = \"all\"\n[filter]\nunknown_source = \"drop\"");
        // From an address of the link, which is in no pool, to another one.
        for (host, address) in [(&site.client, "fe80::10"), (&site.concentrator, "fe80::1")] {
            host.ip(&format!("address add {address}/64 dev tun0 nodad"));
            host.ip("neigh flush dev tun0");
        }
        let mut ping = Command::new("ping");
        ping.args(["-c", "1", "-W", "5", "-I", "fe80::10%tun0", "fe80::1%tun0"]);
        site.client.run(&mut ping).success();
        assert!(site.is_answered(OFFICE6, DNS, 100));
    });
}

#[test]
fn a_stopped_process_costs_a_moment_and_traffic_is_judged_again_behind_it() {
    // Four times the patience of the programs, for hosts that are busy.
    const BOUND: Duration = Duration::from_secs(1);
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("stopped");
        for port in [DNS, MEDIA] {
            site.echo(OFFICE, port);
        }
        let gateway = site.start("divert = \"all\"");
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert!(!site.is_answered(OFFICE, MEDIA, 100));

        signal(gateway.pid(), "STOP");
        let asks = |port| {
            let socket = site.socket_to(OFFICE);
            let limit = Some(Duration::from_millis(5));
            socket.set_read_timeout(limit).expect("a duration");
            move || {
                let sent = socket.send_to(&[7; 100], (OFFICE, port));
                sent.expect("a route");
                socket.recv(&mut [0; 256]).is_ok()
            }
        };
        let stopped = Instant::now();
        let is_answered = asks(DNS);
        let flows = poll("an answer", || is_answered().then(|| stopped.elapsed()));
        assert!(site.is_answered(OFFICE, MEDIA, 100), "nobody judges");

        signal(gateway.pid(), "CONT");
        let continued = Instant::now();
        let is_answered = asks(MEDIA);
        let mut judges = Duration::ZERO;
        while continued.elapsed() < 2 * BOUND {
            if is_answered() {
                judges = continued.elapsed();
            }
        }
        println!(
            "traffic flows {flows:?} after the stop, and is judged {judges:?} after it goes on"
        );
        assert!(flows < BOUND, "no answer for {flows:?}");
        assert!(judges < BOUND, "not judged for {judges:?}");
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert!(site.status()["diversion"]["unread_packets"].as_u64() > Some(0));
    });
}

#[test]
fn a_stopped_process_lets_nothing_pass_that_is_diverted_where_it_is_closed() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("stopped_closed");
        for port in [DNS, MEDIA] {
            site.echo(OFFICE, port);
        }
        let gateway = site.start("on_failure = \"closed\"");
        signal(gateway.pid(), "STOP");
        // Longer than a worker may take.
        thread::sleep(Duration::from_millis(400));
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        assert!(
            site.is_answered(OFFICE, DNS, 100),
            "it is forwarded for certain"
        );
        signal(gateway.pid(), "KILL");
        poll("the device to go", || {
            (!site.concentrator.has_interface("offramp0")).then_some(())
        });
        assert!(!site.is_answered(OFFICE, MEDIA, 100));

        // What is left is taken over, and a cleanup removes it.
        let gateway = site.start_again("again.log");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        signal(gateway.pid(), "KILL");
        poll("the device to go", || {
            (!site.concentrator.has_interface("offramp0")).then_some(())
        });
        site.offramp(&["run", "--cleanup"]).success();
        assert!(site.is_answered(OFFICE, MEDIA, 100));
    });
}

#[test]
fn a_bypass_passes_everything_and_says_so_until_it_is_off() {
    in_sandbox(&[], || {
        let site = PlainSite::new("bypass");
        site.echo(OFFICE, MEDIA);
        let mut gateway = site.start("");
        let socket = site.folder.path("control.sock");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        site.offramp(&["bypass", "on", "--control", &socket])
            .success();
        assert!(site.is_answered(OFFICE, MEDIA, 100));
        assert_eq!(site.status()["diversion"]["bypassed"], true);
        let text = site.offramp(&["status", "--control", &socket]).success();
        assert!(text.contains("BYPASS IS ON"), "{text}");
        gateway.wait_for_log("bypass is on: everything passes unjudged");
        // A reload is no end of it.
        gateway.signal("HUP");
        gateway.wait_for_log("reloaded: ");
        assert!(site.is_answered(OFFICE, MEDIA, 100), "it is on");
        site.offramp(&["bypass", "off", "--control", &socket])
            .success();
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

/// `count` prefixes that share few bytes, so that tables of them are large.
fn scattered(count: usize) -> BTreeSet<[u8; 3]> {
    let mut random = 1_u64;
    let mut prefixes = BTreeSet::new();
    while prefixes.len() < count {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let [a, b, c, ..] = random.to_be_bytes();
        prefixes.insert([11 + a % 64, b, c]);
    }
    prefixes
}

#[test]
fn a_reload_from_ten_to_two_hundred_thousand_prefixes_lets_nothing_pass_and_loses_nothing() {
    const LARGE: usize = 4_000; // fragments, which are always judged
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("many_prefixes");
        let with = |count| {
            let prefixes = scattered(count).into_iter();
            let prefixes: Vec<String> = prefixes
                .map(|[a, b, c]| format!("{a}.{b}.{c}.0/24"))
                .collect();
            let feed = site.folder.write("branches.txt", prefixes.join("\n"));
            let text = plain::policy(&site.folder, "divert = \"suspects\"");
            let feed = format!(
                "[[feed]]\nname = \"branches\"\nfile = \"{feed}\"\nformat = \"prefixes\"\n"
            );
            site.folder.write("policy.toml", text + &feed);
        };
        with(10);
        let mut gateway = site.start_again("gateway.log");
        let receive = |port: u16| {
            let socket = site
                .corporate
                .enter(|| UdpSocket::bind((OFFICE, port)).expect("a free port"));
            socket
                .set_read_timeout(Some(Duration::from_millis(300)))
                .expect("a duration");
            socket
        };
        let (good, media) = (receive(DNS), receive(MEDIA));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _ends = AtEnd(&is_over);
            let sender = scope.spawn(|| {
                let socket = site.socket_to(OFFICE);
                let mut sent = 0_u32;
                while !is_over.load(Ordering::Relaxed) {
                    let length = if sent.is_multiple_of(2) { 100 } else { LARGE };
                    let mut datagram = vec![7; length];
                    datagram[..4].copy_from_slice(&sent.to_be_bytes());
                    socket.send_to(&datagram, (OFFICE, DNS)).expect("a route");
                    socket.send_to(&datagram, (OFFICE, MEDIA)).expect("a route");
                    sent += 1;
                    thread::sleep(Duration::from_millis(1));
                }
                sent
            });
            let receiver = scope.spawn(|| {
                let mut seen = 0_u32;
                let mut buffer = [0; LARGE];
                while good.recv(&mut buffer).is_ok() {
                    seen += 1;
                }
                seen
            });
            thread::sleep(Duration::from_millis(300));
            with(200_000);
            gateway.signal("HUP");
            gateway.wait_for_log("reloaded: ");
            thread::sleep(Duration::from_millis(300));
            is_over.store(true, Ordering::Relaxed);
            let sent = sender.join().expect("it sends");
            assert_eq!(receiver.join().expect("it receives"), sent, "all arrive");
            println!("{sent} datagrams to each port");
        });
        assert!(media.recv(&mut [0; LARGE]).is_err(), "media passed");

        // The programs pass again what is certain.
        let judged = || {
            let judged = site.status()["device"]["judged"][0].as_u64();
            judged.expect("a number")
        };
        let (judged_before, forwarded) = (judged(), site.count("forward", "default"));
        site.send(OFFICE, DNS, 1_000, 100);
        poll("the packets to be counted", || {
            (site.count("forward", "default") >= forwarded + 1_000).then_some(())
        });
        let judged = judged() - judged_before;
        assert!(judged < 100, "{judged} packets are judged");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

/// The number of the link by which the gateway's program is attached to `interface` (proc_pid_fdinfo(5)).
fn link_at(site: &PlainSite, gateway: &Daemon, interface: &str) -> String {
    let mut show = Command::new("ip");
    show.args(["-json", "link", "show", interface]);
    let index = site.concentrator.run(&mut show).json()[0]["ifindex"].to_string();
    let files = fs::read_dir(format!("/proc/{}/fdinfo", gateway.pid())).expect("it runs");
    let files = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    let mut links = files.filter(|text| field(text, "ifindex:").as_ref() == Some(&index));
    let link = links.find_map(|text| field(&text, "link_id:"));
    link.expect("a link at the interface")
}

#[test]
fn a_program_that_others_detach_is_missed_and_attached_again() {
    in_ebpf_sandbox(&["bpftool"], || {
        let site = PlainSite::new("detached");
        site.echo(OFFICE, MEDIA);
        let mut gateway = site.start("");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        let link = link_at(&site, &gateway, "tun0");
        run(Command::new("bpftool").args(["link", "detach", "id", &link])).success();
        assert!(site.is_answered(OFFICE, MEDIA, 100), "it is not judged");
        gateway.wait_for_log("the self-test failed: a packet to");
        gateway.wait_for_log("another program has removed or changed the program at tun0");
        poll("media to be dropped again", || {
            (!site.is_answered(OFFICE, MEDIA, 100)).then_some(())
        });
        gateway.wait_for_log("the self-test passes again");
        assert_eq!(site.status()["diversion"]["repairs"]["count"], 1);
    });
}

#[test]
fn an_interface_that_is_down_is_no_failure_of_the_self_test() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("down");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        site.concentrator.ip("link set tun0 down");
        let mut gateway = site.start("");
        let tested = poll("a self-test", || {
            let status = site.status();
            let tested = &status["diversion"]["self_test"];
            tested.is_object().then(|| tested.clone())
        });
        assert_eq!(tested["failures"], serde_json::json!([]));
        let control = site.folder.path("control.sock");
        let is_ready = ["status", "--control", &control, "--ready"];
        assert_eq!(site.offramp(&is_ready).success(), "");
        site.concentrator.ip("link set tun0 up");
        site.client.ip("route replace default via 172.16.1.1");
        site.wait_for_answer(OFFICE, DNS);
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        let log = gateway.log();
        assert!(!log.contains("ERROR"), "{log}");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn gateways_of_two_network_namespaces_keep_their_programs_in_one_folder() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("two-namespaces");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        let closed = "divert = \"all\"\non_failure = \"closed\"";
        let mut gateway = site.start(closed);
        // Its interface has the same name and the same index.
        let other = Host::new("other");
        let folder = Folder::new("two-namespaces-other");
        let mut command = Command::new("ip");
        let shown = site
            .concentrator
            .run(command.args(["-json", "link", "show", "tun0"]));
        let index = &shown.json()[0]["ifindex"];
        other.ip(&format!(
            "link add name tun0 index {index} type bridge\naddress add 172.16.1.1/24 dev tun0\nlink set tun0 up"
        ));
        other.forward();
        let policy = folder.write("policy.toml", plain::policy(&folder, closed));
        let mut second = Daemon::start(
            &other,
            "the other",
            folder.path("gateway.log"),
            &mut program(&["run", &policy]),
        );
        second.wait_for_log(" ready: ");
        site.wait_for_answer(OFFICE, DNS);
        assert!(!site.is_answered(OFFICE, MEDIA, 100), "it is judged");
        assert_eq!(second.terminate().code(), Some(0), "{}", second.log());

        other.run(&mut program(&["run", "--cleanup"])).success();
        gateway.signal("KILL");
        gateway.wait();
        assert!(!site.is_answered(OFFICE, DNS, 100), "it stays closed");
        let mut gateway = site.start_again("again.log");
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
    });
}

#[test]
fn a_port_of_a_bridge_is_refused_with_advice() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("bridge");
        site.concentrator.ip("
            link add bridge0 type bridge
            link set tun0 master bridge0");
        let policy = site
            .folder
            .write("policy.toml", plain::policy(&site.folder, ""));
        let refused = site.offramp(&["run", &policy]).failure(1);
        assert!(refused.contains("tun0 is a port of a bridge"), "{refused}");
        assert!(
            refused.contains("name the bridge in vpn.interfaces"),
            "{refused}"
        );
    });
}

/// Makes a tun device of the link type of PPP (`ARPHRD_PPP`, linux/if_arp.h), and sends datagrams of the client from it, by turns
/// to each of two ports.
const PPP: &str = r#"
import fcntl, os, socket, struct, subprocess, time
device = os.open("/dev/net/tun", os.O_RDWR)
TUNSETIFF, TUNSETLINK, IFF_TUN, IFF_NO_PI = 0x400454ca, 0x400454cd, 1, 0x1000
fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH14x", b"ppp0", IFF_TUN | IFF_NO_PI))
fcntl.ioctl(device, TUNSETLINK, 512)
subprocess.run(["ip", "link", "set", "ppp0", "up"], check=True)
addresses = socket.inet_aton("172.16.1.77") + socket.inet_aton("10.20.0.7")
print("it is up", flush=True)
while True:
    for port in (53, 50020):
        header = struct.pack("!BBHHHBBH", 0x45, 0, 36, 1, 0, 64, 17, 0) + addresses
        total = sum(struct.unpack("!10H", header))
        total = (total & 0xffff) + (total >> 16)
        header = header[:10] + struct.pack("!H", ~total & 0xffff) + header[12:]
        os.write(device, header + struct.pack("!HHHH8x", 4000, port, 16, 0))
    time.sleep(0.02)
"#;

#[test]
fn packets_of_a_device_of_the_link_type_of_ppp_are_judged() {
    in_ebpf_sandbox(&["python3"], || {
        let site = PlainSite::new("ppp");
        let mut device = Daemon::start(
            &site.concentrator,
            "python3",
            site.folder.path("ppp.log"),
            Command::new("python3").args(["-c", PPP]),
        );
        device.wait_for_log("it is up");
        for divert in ["suspects", "all"] {
            let text = plain::policy(&site.folder, &format!("divert = \"{divert}\""));
            let text = text.replace("\"tun0\"", "\"ppp*\"");
            site.folder.write("policy.toml", text);
            let mut gateway = site.start_again("gateway.log");
            let receive = |port| {
                let socket = site.corporate.enter(|| UdpSocket::bind((OFFICE, port)));
                let socket = socket.expect("a free port");
                let limit = Some(Duration::from_millis(500));
                socket.set_read_timeout(limit).expect("a duration");
                socket.recv(&mut [0; 256]).is_ok()
            };
            assert!(receive(DNS), "{divert}");
            assert!(!receive(MEDIA), "{divert}");
            assert!(site.count("drop", "media") > 0, "{divert}");
            let status = site.status();
            let failures = &status["diversion"]["self_test"]["failures"];
            assert_eq!(failures.as_array().map(Vec::len), Some(0), "{failures}");
            assert_eq!(gateway.terminate().code(), Some(0));
        }
    });
}

#[test]
fn who_observes_the_interface_sees_each_packet_once() {
    const PACKETS: u64 = 300;
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("observed");
        site.echo(OFFICE, DNS);
        let mut gateway = site.start("divert = \"all\"");
        let policy = site.folder.path("policy.toml");
        let mut observe = Daemon::start(
            &site.concentrator,
            "offramp observe",
            site.folder.path("observe.log"),
            // In the namespace's own /sys.
            Command::new("ip")
                .args(["netns", "exec", "concentrator"])
                .arg(env!("CARGO_BIN_EXE_offramp"))
                .args(["observe", &policy, "tun0", "--json"])
                // Almost as many frames as there are packets and answers: one may be late.
                .args(["--packets", &(2 * PACKETS - 10).to_string()])
                .args(["--seconds", "60"]),
        );
        // Once it is bound to an interface, it receives all protocols.
        poll("a socket that listens", || {
            let shown = site.concentrator.show(&["cat /proc/net/packet"]);
            shown[0].contains(" 0003 ").then_some(())
        });
        for _ in 0..PACKETS {
            assert!(site.is_answered(OFFICE, DNS, 100));
        }
        assert_eq!(observe.wait().code(), Some(0), "{}", observe.log());
        let log = observe.log();
        let report = &log[log.find("\n{").expect("JSON")..];
        let report: serde_json::Value = serde_json::from_str(report).expect("JSON");
        let reasons = report["reasons"].as_array().expect("a list");
        let seen = reasons
            .iter()
            .filter(|it| it["action"] == "forward" && it["reason"] == "default")
            .filter_map(|it| it["packets"].as_u64());
        let seen: u64 = seen.sum();
        // Each second frame is an answer, but for a few of the link itself.
        let wanted = PACKETS * 9 / 10..=PACKETS * 11 / 10;
        assert!(wanted.contains(&seen), "{seen}: {report:#}");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}
