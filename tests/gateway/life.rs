//! The life cycle of a gateway: start, stop, kill, restart, and logs.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use crate::site::plain::{self, DNS, ELSEWHERE, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{DEADLINE, Daemon, Diversion, in_nftables_sandbox, in_sandbox, poll};
use crate::support::{AtEnd, program, run};

#[test]
fn a_clean_stop_removes_everything_it_added_and_nothing_else() {
    in_sandbox(&[], || {
        let site = PlainSite::new("clean_stop");
        // Rules, marks and routes of unrelated programs.
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
fn kill_9_fails_open_and_the_next_start_takes_over() {
    in_sandbox(&[], || {
        let site = PlainSite::new("open");
        let before = site.kernel();
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        let gateway = site.start("on_failure = \"open\"");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));

        gateway.signal("KILL");
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
        // Programs pass what is certain, also while the filter is away.
        let diverted = match Diversion::here() {
            Diversion::Nftables => "",
            Diversion::Ebpf => "divert = \"all\"\n",
        };
        let gateway = site.start(&format!("{diverted}on_failure = \"closed\""));
        assert!(site.is_answered(OFFICE, DNS, 100));

        gateway.signal("KILL");
        poll("the device to go", || {
            (!site.concentrator.has_interface("offramp0")).then_some(())
        });
        for _ in 0..3 {
            assert!(!site.is_answered(OFFICE, DNS, 100));
            assert!(!site.is_answered(OFFICE6, DNS, 100));
        }
        assert_eq!(
            site.is_answered(ELSEWHERE, DNS, 100),
            Diversion::here() == Diversion::Nftables,
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
                    gateway.signal("KILL");
                }
                // Far below the filter's capacity, so that no queue grows long.
                if number.is_multiple_of(20) {
                    thread::sleep(Duration::from_millis(1));
                }
                // There may be no route at the moment the device disappears.
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
        // Queued in the device, or read and not yet written back: all at one moment.
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
            gateway.signal("KILL");
            gateway.wait();
            gateway = site.start_again("again.log");
            // The very first datagram: nothing is sent again.
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

        gateway.signal("KILL");
        poll("the device to go", || {
            (!site.concentrator.has_interface("offramp0")).then_some(())
        });
        site.offramp(&["run", "--cleanup"]).success();
        assert_eq!(site.kernel(), before);
        // With nothing configured, no warning is due.
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
            gateway.signal("KILL");
            poll("the device to go", || {
                (!site.concentrator.has_interface("offramp0")).then_some(())
            });
            site.offramp(&["run", "--cleanup"]).success();

            if Diversion::here() == Diversion::Ebpf {
                // Programs are loaded by no command.
                for part in [
                    "mode tap",
                    "tun0: passes what the policy forwards for certain",
                ] {
                    assert!(printed.contains(part), "{printed}");
                }
                let mut gateway = gateway;
                gateway.wait();
                assert_eq!(site.kernel(), before);
                continue;
            }
            // Running its lines by hand gives the kernel the same state.
            let (commands, table) = printed.split_once("(nft -f)\n").expect("both parts");
            let mut by_hand = Command::new("sh");
            by_hand.args(["-e", "-c", commands]);
            site.concentrator.run(&mut by_hand).success();
            site.concentrator.nft(table);
            // A device that no process has open has no carrier.
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
fn it_stops_also_while_packets_never_cease() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("ceaseless");
        let mut gateway = site.start("");
        let before_load = site.count("forward", "default");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _ends = AtEnd(&over);
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
            // Marks that cannot be removed keep diverting packets.
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
fn a_start_with_a_refused_policy_takes_the_last_good_one() {
    in_sandbox(&[], || {
        let site = PlainSite::new("last_good");
        let state = site.folder.path("state");
        fs::create_dir(&state).expect("a folder");
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        let start = |log: &str| {
            let policy = site.folder.path("policy.toml");
            let mut command = program(&["run", &policy]);
            command.env("STATE_DIRECTORY", &state);
            Daemon::start(
                &site.concentrator,
                "offramp run",
                site.folder.path(log),
                &mut command,
            )
        };
        site.folder
            .write("policy.toml", plain::policy(&site.folder, ""));
        let mut gateway = start("first.log");
        gateway.wait_for_log(" ready: ");
        let copy = || fs::read_to_string(format!("{state}/last-good.json")).ok();
        poll("a copy", || copy().filter(|it| it.contains("10.0.0.0/8")));
        assert_eq!(gateway.terminate().code(), Some(0));

        site.folder.write("policy.toml", "[vpn]\nclient_subnet = 7");
        let mut gateway = start("second.log");
        gateway.wait_for_log("the policy that was in force last is taken instead");
        gateway.wait_for_log("ready: the last good ");
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert!(
            !site.is_answered(OFFICE, MEDIA, 100),
            "the last policy holds"
        );
        let why = site.status()["reloads"]["last_error"].to_string();
        assert!(why.contains("client_subnet"), "{why}");

        // The file is mended; another one is in force from then on, and is the one that is kept.
        let allow = "[[allow]]\nname = \"phones\"\nto = [\"10.20.0.7\"]\n";
        site.folder
            .write("policy.toml", plain::policy(&site.folder, allow));
        site.wait_for_answer(OFFICE, MEDIA);
        assert!(site.status()["reloads"]["last_error"].is_null());
        poll("another copy", || copy().filter(|it| it.contains("phones")));
        assert_eq!(gateway.terminate().code(), Some(0));

        fs::remove_file(site.folder.path("policy.toml")).expect("it is ours");
        let mut gateway = start("third.log");
        gateway.wait_for_log("ready: the last good ");
        assert!(site.is_answered(OFFICE, MEDIA, 100));
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}
