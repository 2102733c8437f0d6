//! The gateway's life: start and stop, death and return, and what it refuses to begin with.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::site::plain::{self, CLIENT, DNS, ELSEWHERE, MEDIA, OFFICE, OFFICE6, PlainSite, kill};
use crate::site::{DEADLINE, Daemon, in_sandbox, poll};
use crate::support::{program, run};

#[test]
fn a_clean_stop_removes_everything_it_added_and_nothing_else() {
    in_sandbox(&[], || {
        let site = PlainSite::new("clean_stop");
        // Somebody else's rules, marks and routes.
        site.concentrator.nft(
            "table inet site { chain forward { type filter hook forward priority 0; ct state invalid drop; }; }",
        );
        site.concentrator.ip("
            rule add priority 5210 fwmark 0x80000/0xff0000 table 52
            route add 198.51.100.0/24 dev eth1 table 52");
        let before = site.kernel();
        for (address, port) in [
            (OFFICE, MEDIA),
            (OFFICE, DNS),
            (OFFICE6, MEDIA),
            (OFFICE6, DNS),
        ] {
            site.echo(address, port);
            assert!(site.is_answered(address, port, 100));
        }

        for divert in ["policy", "all"] {
            for on_failure in ["open", "closed"] {
                let options = format!("divert = \"{divert}\"\non_failure = \"{on_failure}\"");
                let mut gateway = site.start(&options);
                assert_ne!(site.kernel(), before);
                for address in [OFFICE, OFFICE6] {
                    assert!(!site.is_answered(address, MEDIA, 100), "{options}");
                    assert!(site.is_answered(address, DNS, 100), "{options}");
                }
                let ended = gateway.terminate();
                assert_eq!(ended.code(), Some(0), "{options}: {}", gateway.log());
                assert_eq!(site.kernel(), before, "{options}");
                assert!(site.is_answered(OFFICE, MEDIA, 100));
            }
        }
        assert!(!fs::exists(site.folder.path("control.sock")).expect("a folder"));
    });
}

#[test]
fn a_packet_is_judged_once_and_comes_out_two_hops_on() {
    in_sandbox(&[], || {
        let site = PlainSite::new("once");
        let _gateway = site.start("divert = \"all\"");
        let ping = |more: &[&str]| {
            let mut command = Command::new("ping");
            command.args(["-c", "1", "-W", "5"]).args(more).arg(OFFICE);
            site.client.run(&mut command)
        };
        ping(&[]).success();
        assert_eq!(site.count("forward", "default"), 1);
        // Forwarded into the filter and out of it: three hops is what it takes now.
        ping(&["-t", "3"]).success();
        assert_eq!(ping(&["-t", "2"]).code, Some(1));
    });
}

#[test]
fn kill_9_fails_open_and_the_next_start_takes_over() {
    in_sandbox(&[], || {
        let site = PlainSite::new("open");
        let before = site.kernel();
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        let gateway = site.start("on_failure = \"open\"");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));

        kill(&gateway);
        site.wait_for_answer(OFFICE, DNS);
        site.wait_for_answer(OFFICE, MEDIA);

        let mut gateway = site.start_again("again.log");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert_eq!(gateway.terminate().code(), Some(0));
        assert_eq!(site.kernel(), before);
    });
}

#[test]
fn kill_9_fails_closed_for_what_is_diverted_until_it_is_back() {
    in_sandbox(&[], || {
        let site = PlainSite::new("closed");
        let before = site.kernel();
        for (address, port) in [(OFFICE, DNS), (OFFICE6, DNS), (ELSEWHERE, DNS)] {
            site.echo(address, port);
        }
        let gateway = site.start("on_failure = \"closed\"");
        assert!(site.is_answered(OFFICE, DNS, 100));

        kill(&gateway);
        poll("the device to go", || {
            (!site.concentrator.has_interface("offramp0")).then_some(())
        });
        for _ in 0..3 {
            assert!(!site.is_answered(OFFICE, DNS, 100));
            assert!(!site.is_answered(OFFICE6, DNS, 100));
        }
        assert!(
            site.is_answered(ELSEWHERE, DNS, 100),
            "it is not of the policy"
        );

        let mut gateway = site.start_again("again.log");
        for address in [OFFICE, OFFICE6] {
            assert!(site.is_answered(address, DNS, 100));
        }
        assert_eq!(gateway.terminate().code(), Some(0));
        assert_eq!(site.kernel(), before);
    });
}

#[test]
fn kill_9_loses_at_most_what_was_in_flight() {
    in_sandbox(&[], || {
        const COUNT: u32 = 20_000;
        let site = PlainSite::new("in_flight");
        let gateway = site.start("on_failure = \"open\"");
        let receiver = site
            .corporate
            .enter(|| UdpSocket::bind((OFFICE, DNS)))
            .expect("the address is there");
        receiver
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("a duration");
        let sender = site
            .client
            .enter(|| UdpSocket::bind("0.0.0.0:0"))
            .expect("a free port");

        let arrived: Vec<u32> = thread::scope(|scope| {
            let receive = scope.spawn(|| {
                let mut arrived = Vec::new();
                let mut number = [0; 4];
                while receiver.recv(&mut number).is_ok() {
                    arrived.push(u32::from_be_bytes(number));
                }
                arrived
            });
            for number in 0..COUNT {
                if number == COUNT / 2 {
                    kill(&gateway);
                }
                // Far below what the filter can do, so that nothing queues up for long.
                if number.is_multiple_of(20) {
                    thread::sleep(Duration::from_millis(1));
                }
                // The moment in which the device goes may have no route.
                _ = sender.send_to(&number.to_be_bytes(), (OFFICE, DNS));
            }
            receive.join().expect("a receiver does not panic")
        });

        assert!(arrived.is_sorted(), "order is kept");
        assert_eq!(arrived.last(), Some(&(COUNT - 1)), "traffic goes on");
        let gaps: Vec<u32> = arrived
            .windows(2)
            .map(|pair| pair[1] - pair[0] - 1)
            .filter(|lost| *lost > 0)
            .collect();
        println!("lost at once: {gaps:?} of {COUNT}");
        // Queued in the device, or read and not yet written back: all of it at one moment.
        assert!(gaps.len() <= 1, "{gaps:?}");
        assert!(gaps.iter().all(|lost| *lost <= 5_000 + 64), "{gaps:?}");
    });
}

#[test]
fn a_closed_gateway_forwards_again_as_soon_as_it_is_ready() {
    in_sandbox(&[], || {
        let site = PlainSite::new("restart");
        site.echo(OFFICE, DNS);
        let socket = site
            .client
            .enter(|| UdpSocket::bind("0.0.0.0:0"))
            .expect("a free port");
        socket.set_read_timeout(Some(DEADLINE)).expect("a duration");
        let mut gateway = site.start("on_failure = \"closed\"");
        for _ in 0..3 {
            kill(&gateway);
            gateway.wait();
            gateway = site.start_again("again.log");
            // The first datagram of all: nothing is sent again.
            socket.send_to(b"?", (OFFICE, DNS)).expect("a route");
            socket.recv(&mut [0; 16]).expect("an answer");
        }
    });
}

#[test]
fn cleanup_removes_what_a_killed_one_left_and_spares_a_running_one() {
    in_sandbox(&[], || {
        let site = PlainSite::new("cleanup");
        let before = site.kernel();
        let gateway = site.start("on_failure = \"closed\"");
        let while_it_runs = site.kernel();
        let refused = site.offramp(&["run", "--cleanup"]).error(1);
        assert!(refused.contains("already runs"), "{refused}");
        assert_eq!(site.kernel(), while_it_runs);

        kill(&gateway);
        poll("the device to go", || {
            (!site.concentrator.has_interface("offramp0")).then_some(())
        });
        site.offramp(&["run", "--cleanup"]).success();
        assert_eq!(site.kernel(), before);
        // Where there is nothing, there is nothing to complain about.
        site.offramp(&["run", "--cleanup"]).success();
    });
}

#[test]
fn a_second_instance_says_so_and_leaves_the_first_alone() {
    in_sandbox(&[], || {
        let site = PlainSite::new("second");
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        let gateway = site.start("");
        let while_it_runs = site.kernel();
        let refused = site
            .offramp(&["run", &site.folder.path("policy.toml")])
            .error(1);
        let holder = format!("already runs on this host (process {})", gateway.pid());
        assert!(refused.contains(&holder), "{refused}");
        assert_eq!(site.kernel(), while_it_runs);
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        assert_eq!(site.status()["pid"], gateway.pid());
    });
}

#[test]
fn a_dry_run_changes_nothing_and_prints_what_a_run_does() {
    in_sandbox(&[], || {
        let site = PlainSite::new("dry");
        for options in ["", "divert = \"all\"\non_failure = \"closed\""] {
            let policy = site
                .folder
                .write("policy.toml", plain::policy(&site.folder, options));
            let before = site.kernel();
            let printed = site.offramp(&["run", &policy, "--dry-run"]).success();
            assert_eq!(site.kernel(), before);

            let gateway = site.start_again("gateway.log");
            let installed = site.kernel();
            kill(&gateway);
            poll("the device to go", || {
                (!site.concentrator.has_interface("offramp0")).then_some(())
            });
            site.offramp(&["run", "--cleanup"]).success();

            // Its lines, done by hand, tell the kernel the same.
            let (commands, table) = printed.split_once("(nft -f)\n").expect("both parts");
            let mut by_hand = Command::new("sh");
            by_hand.args(["-e", "-c", commands]);
            site.concentrator.run(&mut by_hand).success();
            site.concentrator.nft(table);
            // A device without a reader has no carrier.
            let by_hand = site.kernel().replace(" linkdown", "");
            let names = |text: &str| {
                text.lines()
                    .filter(|line| !line.starts_with("offramp0"))
                    .map(|line| format!("{}\n", line.trim_end()))
                    .collect::<String>()
            };
            assert_eq!(names(&by_hand), names(&installed));
            site.concentrator.ip("link del offramp0");
            site.offramp(&["run", "--cleanup"]).success();
            assert_eq!(site.kernel(), before);
        }
    });
}

#[test]
fn a_device_that_is_deleted_ends_the_gateway_and_not_the_traffic() {
    in_sandbox(&[], || {
        let site = PlainSite::new("deleted");
        let before = site.kernel();
        site.echo(OFFICE, DNS);
        let mut gateway = site.start("");
        site.concentrator.ip("link del offramp0");
        let ended = gateway.wait();
        assert_eq!(ended.code(), Some(1), "{}", gateway.log());
        assert!(
            gateway.log().contains("the interface offramp0 was removed"),
            "{}",
            gateway.log()
        );
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert_eq!(site.kernel(), before);
    });
}

#[test]
fn a_device_that_was_off_diverts_again() {
    in_sandbox(&[], || {
        let site = PlainSite::new("off");
        for (address, port) in [
            (OFFICE, MEDIA),
            (OFFICE, DNS),
            (OFFICE6, MEDIA),
            (OFFICE6, DNS),
        ] {
            site.echo(address, port);
        }
        let mut gateway = site.start("");
        site.concentrator.ip("link set offramp0 down");
        gateway.wait_for_log("offramp0 is off");
        site.concentrator.ip("link set offramp0 up");
        for address in [OFFICE, OFFICE6] {
            poll("media to be dropped again", || {
                (!site.is_answered(address, MEDIA, 100)).then_some(())
            });
            site.wait_for_answer(address, DNS);
        }
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn interfaces_that_come_later_are_watched_by_name_and_by_pattern() {
    in_sandbox(&[], || {
        let site = PlainSite::new("later");
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        // As ocserv does it: a device a client, after the gateway has started.
        let text = plain::policy(&site.folder, "").replace("\"tun0\"", "\"vpns*\", \"tun9\"");
        site.folder.write("policy.toml", text);
        let gateway = site.start_again("gateway.log");
        assert!(
            gateway.log().contains("no interface tun9 yet"),
            "{}",
            gateway.log()
        );
        assert!(
            site.is_answered(OFFICE, MEDIA, 100),
            "tun0 is no interface of the policy"
        );
        for name in ["vpns0", "vpns7", "tun9"] {
            site.concentrator.ip(&format!(
                "link set tun0 down\nlink set tun0 name {name}\nlink set {name} up"
            ));
            site.concentrator
                .ip(&format!("address replace fd00:1::1/64 dev {name}"));
            site.wait_for_answer(OFFICE, DNS);
            assert!(!site.is_answered(OFFICE, MEDIA, 100), "{name}");
            site.concentrator.ip(&format!(
                "link set {name} down\nlink set {name} name tun0\nlink set tun0 up"
            ));
        }
    });
}

#[test]
fn strict_reverse_path_filters_of_other_interfaces_do_no_harm() {
    in_sandbox(&[], || {
        let site = PlainSite::new("strict");
        site.echo(OFFICE, DNS);
        for interface in ["tun0", "eth1", "default"] {
            site.concentrator
                .set(&format!("ipv4/conf/{interface}/rp_filter"), "1");
        }
        for divert in ["policy", "all"] {
            let mut gateway = site.start(&format!("divert = \"{divert}\""));
            assert!(site.is_answered(OFFICE, DNS, 100), "{divert}");
            gateway.terminate();
        }
    });
}

#[test]
fn several_workers_share_the_device() {
    in_sandbox(&[], || {
        let site = PlainSite::new("workers");
        for (address, port) in [
            (OFFICE, MEDIA),
            (OFFICE, DNS),
            (OFFICE6, MEDIA),
            (OFFICE6, DNS),
        ] {
            site.echo(address, port);
        }
        let before = site.kernel();
        let mut gateway = site.start("workers = 3");
        assert_eq!(site.status()["device"]["workers"], 3);
        // Every flow has a source port of its own, and with it a queue.
        for _ in 0..20 {
            for address in [OFFICE, OFFICE6] {
                assert!(site.is_answered(address, DNS, 100));
                assert!(site.is_answered(address, DNS, 4_000));
            }
        }
        for address in [OFFICE, OFFICE6] {
            assert!(!site.is_answered(address, MEDIA, 100));
            assert!(!site.is_answered(address, MEDIA, 4_000));
        }
        assert!(site.count("drop", "media") >= 10);
        assert_eq!(gateway.terminate().code(), Some(0));
        assert_eq!(site.kernel(), before);
    });
}

#[test]
fn the_device_takes_the_largest_packets_and_queues_thousands() {
    in_sandbox(&[], || {
        let site = PlainSite::new("device");
        site.echo(OFFICE, DNS);
        for (host, interface) in [
            (&site.client, "tun0"),
            (&site.concentrator, "tun0"),
            (&site.concentrator, "eth1"),
            (&site.corporate, "eth1"),
        ] {
            host.ip(&format!("link set {interface} mtu 9000"));
        }
        let gateway = site.start("");
        assert!(site.is_answered(OFFICE, DNS, 8_900));
        assert_eq!(site.count("forward", "default"), 1, "it came in one piece");

        // A reader that stands still: what the queue does not hold is counted as lost.
        let pid = gateway.pid().to_string();
        let signal = |name| run(Command::new("kill").args(["-s", name, &pid])).success();
        signal("STOP");
        let sender = site
            .client
            .enter(|| UdpSocket::bind("0.0.0.0:0"))
            .expect("a free port");
        for _ in 0..6_000 {
            sender.send_to(&[0; 64], (OFFICE, DNS)).expect("a route");
        }
        signal("CONT");
        let lost = poll("the queue to be read", || {
            let judged = site.count("forward", "default");
            let lost = site.status()["device"]["overload_drops"].as_u64()?;
            // The kernel may have a word of its own to say there, which is lost, too.
            (judged + lost >= 6_001).then_some(lost)
        });
        assert!((950..=1_050).contains(&lost), "{lost}");
    });
}

#[test]
fn addresses_are_translated_where_packets_leave() {
    in_sandbox(&[], || {
        let site = PlainSite::new("translated");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        // As sites with full tunnels have it; and a filter that knows connections.
        site.concentrator.nft(
            "table ip nat { chain post { type nat hook postrouting priority 100; oifname \"eth1\" masquerade; }; }
             table inet site { chain forward { type filter hook forward priority 0; policy drop;
                 ct state invalid drop; ct state established,related accept; iifname \"tun0\" accept; iifname \"offramp0\" accept; }; }",
        );
        site.corporate.ip("route del default");
        for divert in ["policy", "all"] {
            let mut gateway = site.start(&format!("divert = \"{divert}\""));
            assert!(site.is_answered(OFFICE, DNS, 100), "{divert}");
            assert!(!site.is_answered(OFFICE, MEDIA, 100), "{divert}");
            assert!(!gateway.log().contains("WARN"), "{}", gateway.log());
            gateway.terminate();
        }
    });
}

#[test]
fn the_log_is_for_people_for_programs_or_for_the_journal() {
    in_sandbox(&[], || {
        let site = PlainSite::new("log");
        let policy = site
            .folder
            .write("policy.toml", plain::policy(&site.folder, ""));
        let log_of = |name: &str, arguments: &[&str], journal: bool| {
            let mut command = program(&[&["run", &policy][..], arguments].concat());
            command.env_remove("JOURNAL_STREAM");
            if journal {
                command.env("JOURNAL_STREAM", "8:1");
            }
            let log = site.folder.path(name);
            let mut gateway = Daemon::start(&site.concentrator, "offramp run", log, &mut command);
            gateway.wait_for_log("ready: ");
            gateway.terminate();
            gateway.log()
        };
        let text = log_of("text.log", &[], false);
        assert!(
            text.lines().any(|line| line.contains("Z  INFO ready: ")),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "no colors in a file: {text}");

        let json = log_of("json.log", &["--log", "json"], false);
        let lines: Vec<serde_json::Value> = json
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect();
        assert!(lines.iter().any(|line| line["generation"] == 1), "{json}");

        let journal = log_of("journal.log", &[], true);
        assert!(
            journal.lines().any(|line| line.starts_with("<6>ready: ")),
            "{journal}"
        );
        assert!(
            journal.lines().all(|line| line.starts_with('<')),
            "{journal}"
        );
    });
}

#[test]
fn what_others_take_out_of_the_kernel_comes_back() {
    in_sandbox(&[], || {
        let site = PlainSite::new("taken");
        site.echo(OFFICE, MEDIA);
        let mut gateway = site.start("divert = \"suspects\"");
        let installed = site.kernel();
        let takes = [
            // The first line of Debian's /etc/nftables.conf.
            ("nft flush ruleset", "the nftables table"),
            ("ip rule del priority 902", "1 routing rules"),
            ("ip route flush table 28530", "2 routes"),
        ];
        for (take, missing) in takes {
            let words: Vec<&str> = take.split(' ').collect();
            site.concentrator
                .run(Command::new(words[0]).args(&words[1..]))
                .success();
            gateway.wait_for_log(&format!("somebody has removed {missing}"));
            assert_eq!(site.kernel(), installed, "{take}");
            assert!(!site.is_answered(OFFICE, MEDIA, 100), "{take}");
        }
    });
}

#[test]
fn it_stops_also_while_packets_never_cease() {
    in_sandbox(&[], || {
        let site = PlainSite::new("ceaseless");
        let mut gateway = site.start("");
        let before_load = site.count("forward", "default");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                let sender = site.client.enter(|| UdpSocket::bind("0.0.0.0:0"));
                let sender = sender.expect("a free port");
                let over = &over;
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        _ = sender.send_to(&[0; 64], (OFFICE, DNS));
                    }
                });
            }
            poll("load", || {
                (site.count("forward", "default") > before_load + 10_000).then_some(())
            });
            // Marks that cannot be removed keep the packets coming.
            let nft = run(Command::new("sh").args(["-c", "command -v nft"])).success();
            run(Command::new("mount").args(["--bind", "/bin/false", nft.trim()])).success();
            let ended = gateway.terminate();
            run(Command::new("umount").arg(nft.trim())).success();
            over.store(true, Ordering::Relaxed);
            assert_eq!(
                ended.code(),
                Some(1),
                "it says that the marks are left: {}",
                gateway.log()
            );
        });
        let rules = site
            .concentrator
            .run(Command::new("ip").arg("rule"))
            .success();
        assert!(
            !rules.contains("28528"),
            "the rules are gone all the same: {rules}"
        );
    });
}

#[test]
fn hosts_that_have_switched_ipv6_off_are_no_exception() {
    in_sandbox(&[], || {
        let site = PlainSite::new("without_ipv6");
        for interface in ["all", "default"] {
            site.concentrator
                .set(&format!("ipv6/conf/{interface}/disable_ipv6"), "1");
        }
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        let text = plain::policy(&site.folder, "");
        let text = text
            .replace(", \"fd00:1::/64\"", "")
            .replace(", \"fd00:2::/48\"", "");
        site.folder.write("policy.toml", text);
        let _gateway = site.start_again("gateway.log");
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
    });
}

#[test]
fn addresses_that_are_taken_are_found_before_the_start() {
    in_sandbox(&[], || {
        let site = PlainSite::new("taken_addresses");
        let listen = || TcpListener::bind("127.0.0.1:9100");
        let _other = site.concentrator.enter(listen).expect("a free port");
        site.folder.write("folder", "a file");
        let long = "x".repeat(120);
        for (control, says) in [
            ("folder/control.sock", "not a directory"),
            ("folder", "there is a file that is no socket"),
            (&long, "path must be shorter than"),
        ] {
            let options = "metrics = \"127.0.0.1:9100\"";
            let text = plain::policy(&site.folder, options).replace("control.sock", control);
            let policy = site.folder.write("policy.toml", text);
            let said = site.offramp(&["run", &policy]).failure(1);
            let rehearsed = site.offramp(&["run", &policy, "--dry-run"]);
            assert_eq!(rehearsed.code, Some(1), "{rehearsed:#?}");
            for said in [said, rehearsed.stdout] {
                assert!(said.contains(says), "{control}: {said}");
                assert!(
                    said.contains("cannot serve metrics at 127.0.0.1:9100"),
                    "{said}"
                );
            }
        }
    });
}

#[test]
fn the_control_socket_of_somebody_else_is_left_alone() {
    in_sandbox(&[], || {
        let site = PlainSite::new("socket");
        let path = site.folder.path("control.sock");
        let other = std::os::unix::net::UnixListener::bind(&path).expect("a free place");
        let policy = plain::policy(&site.folder, "");
        let policy = site.folder.write("policy.toml", policy);
        let said = site.offramp(&["run", &policy]).failure(1);
        assert!(said.contains("another program listens there"), "{said}");
        let rehearsed = site.offramp(&["run", &policy, "--dry-run"]);
        assert_eq!(rehearsed.code, Some(1), "{rehearsed:#?}");
        assert!(
            rehearsed.stdout.contains("another program listens there"),
            "{rehearsed:#?}"
        );
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        drop(other);
        // What nobody listens on any more is replaced.
        let _gateway = site.start("");
        assert_eq!(site.status()["generation"], 1);
    });
}

#[test]
fn source_routes_are_diverted_wherever_they_claim_to_go() {
    in_sandbox(&["python3"], || {
        let site = PlainSite::new("source_routes");
        // A kernel that was left as it comes drops them itself.
        for interface in ["all", "tun0"] {
            site.concentrator
                .set(&format!("ipv4/conf/{interface}/accept_source_route"), "1");
        }
        let _gateway = site.start("divert = \"policy\"");
        // A loose source route (RFC 791 §3.1, option 131) by way of a host outside the policy to an office.
        let send = format!(
            "import socket\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)\n\
             a = socket.inet_aton\n\
             header = bytes([0x47,0,0,36, 0,1,0,0, 64,17,0,0]) + a('{CLIENT}') + a('{ELSEWHERE}')\n\
             option = bytes([131,7,4]) + a('{OFFICE}') + bytes([0])\n\
             s.sendto(header + option + bytes([0xc3,0x50, 0,53, 0,8,0,0]), ('{ELSEWHERE}', 0))\n"
        );
        site.client
            .run(Command::new("python3").args(["-c", &send]))
            .success();
        poll("the packet to be judged", || {
            (site.count("drop", "source-routed") == 1).then_some(())
        });
    });
}

/// What a start is refused for on a host that was changed by `spoil`.
#[track_caller]
fn refused(site: &PlainSite, options: &str) -> String {
    let policy = site
        .folder
        .write("policy.toml", plain::policy(&site.folder, options));
    let before = site.kernel();
    let ended = site.offramp(&["run", &policy]);
    assert_eq!(site.kernel(), before, "it has changed something");
    let said = ended.failure(1);
    // The rehearsal finds the same.
    let rehearsed = site.offramp(&["run", &policy, "--dry-run"]);
    assert_eq!(rehearsed.code, Some(1), "{rehearsed:#?}");
    said
}

#[test]
fn what_would_break_it_is_refused_with_advice_before_anything_is_changed() {
    in_sandbox(&[], || {
        let site = PlainSite::new("refused");
        let concentrator = &site.concentrator;
        let says = |options: &str, parts: [&str; 2]| {
            let said = refused(&site, options);
            for part in parts {
                assert!(said.contains(part), "{said}");
            }
        };

        concentrator.set("ipv4/conf/all/rp_filter", "1");
        says(
            "",
            [
                "net.ipv4.conf.all.rp_filter is 1",
                "sysctl -w net.ipv4.conf.all.rp_filter=0",
            ],
        );
        concentrator.set("ipv4/conf/all/rp_filter", "0");

        concentrator.set("ipv4/conf/all/src_valid_mark", "1");
        concentrator.set("ipv4/conf/tun0/rp_filter", "1");
        says(
            "",
            ["src_valid_mark is 1", "net.ipv4.conf.all.src_valid_mark=0"],
        );
        concentrator.set("ipv4/conf/all/src_valid_mark", "0");

        concentrator.set("ipv4/ip_forward", "0");
        says(
            "",
            ["does not forward IPv4", "sysctl -w net.ipv4.ip_forward=1"],
        );
        concentrator.set("ipv4/ip_forward", "1");
        // Switching it resets the interfaces.
        concentrator.set("ipv4/conf/all/rp_filter", "0");

        concentrator.set("ipv6/conf/all/forwarding", "0");
        says(
            "",
            ["does not forward IPv6", "net.ipv6.conf.all.forwarding=1"],
        );
        concentrator.set("ipv6/conf/all/forwarding", "1");

        concentrator.ip("route add 198.51.100.0/24 dev eth1 table 28529");
        says(
            "",
            [
                "route table 28529 holds routes of somebody else",
                "[gateway] table",
            ],
        );
        concentrator.ip("route del 198.51.100.0/24 dev eth1 table 28529");

        concentrator.ip("rule add priority 700 fwmark 0x20000000/0x20000000 table 52");
        says(
            "",
            ["shares bits with the filter's 0x30000000", "[gateway] mark"],
        );
        concentrator.ip("rule del priority 700");

        concentrator.ip("link add offramp0 type bridge");
        says(
            "",
            ["there is an interface offramp0 already", "[gateway] device"],
        );
        concentrator.ip("link del offramp0");

        concentrator.nft(
            "table inet fw { chain forward { type filter hook forward priority 0; \
                 iifname \"tun0\" accept; ct state established accept; reject; }; }",
        );
        says(
            "",
            ["stops what it does not know", "oifname \"offramp0\" accept"],
        );
        concentrator.nft("delete table inet fw");

        let policy = site
            .folder
            .write("policy.toml", plain::policy(&site.folder, ""));
        let mut without = Command::new("setpriv");
        let binary = env!("CARGO_BIN_EXE_offramp");
        without.args([
            "--bounding-set",
            "-net_admin",
            "--inh-caps",
            "-net_admin",
            binary,
            "run",
            &policy,
        ]);
        let said = concentrator.run(&mut without).failure(1);
        assert!(
            said.contains("may not change the network") && said.contains("CAP_NET_ADMIN"),
            "{said}"
        );

        // The sandbox has a mount namespace of its own.
        let nft = run(Command::new("sh").args(["-c", "command -v nft"])).success();
        run(Command::new("mount").args(["--bind", "/dev/null", nft.trim()])).success();
        let said = site.offramp(&["run", &policy]).failure(1);
        assert!(said.contains("there is no nft"), "{said}");
        assert!(said.contains("apt-get install nftables"), "{said}");
        run(Command::new("umount").arg(nft.trim())).success();

        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/dev/net"])).success();
        says("", ["cannot open /dev/net/tun", "modprobe tun"]);
        run(Command::new("umount").arg("/dev/net")).success();

        // And with all of it mended it starts.
        let _gateway = site.start("");
    });
}
