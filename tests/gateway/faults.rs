//! Causes real faults in a running gateway: it must not crash, spin, drop legitimate packets or pass packets that
//! should be dropped, and a counter or a line of the log must report the fault.
//!
//! | | fault | test |
//! |---|---|---|
//! | 13 | reload with a broken file | `gateway_reload`: `a_file_with_mistakes_changes_nothing_and_says_so` |
//! | 14 | reload under load | `gateway_reload`: `a_hundred_reloads_lose_double_and_reorder_none_of_a_million_packets` |
//! | 15 | storm of SIGHUP | `gateway_reload`: `a_storm_of_signals_ends` |
//! | 16 | SIGTERM under load | `gateway_life`: `a_clean_stop_removes_everything_it_added_and_nothing_else`, `it_stops_also_while_packets_never_cease` |
//! | 17 | kill -9 | `gateway_life`: `kill_9_…` (three), `a_closed_gateway_forwards_again_within_a_second_of_its_start` |
//! | 18 | second instance, address in use | `gateway_life`: `a_second_instance_says_so_and_leaves_the_first_alone`, `the_control_socket_of_somebody_else_is_left_alone`; `gateway_metrics`: `an_address_that_is_taken_…` |
//! | 19 | device removed | `gateway_life`: `a_device_that_is_deleted_ends_the_gateway_and_not_the_traffic` |
//! | 20 | device off and on, MTU changed | `gateway_life`: `a_device_that_was_off_diverts_again`; [`a_device_whose_mtu_is_changed_goes_on_judging`] |
//! | 21 | errors and short writes on the device | [`packets_that_the_kernel_does_not_take_back_are_counted_and_the_next_ones_pass`] |
//! | 22 | disk full, broken, read-only; pipe full or closed | `gateway_drops`: all but the first two |
//! | 23 | no free descriptor | `gateway_metrics`: `without_free_descriptors_connections_wait_and_nothing_spins`; [`without_a_free_descriptor_status_and_reload_wait_and_traffic_does_not`] |
//! | 24 | no memory | [`a_start_without_memory_says_so_or_works_and_traffic_passes`], [`a_reload_without_memory_is_refused_or_the_fail_mode_holds`] |
//! | 25 | clock a day forward and back | [`a_clock_that_jumps_changes_no_timer`] |
//! | 26, 27 | stuck scrapers, garbage | `gateway_metrics`: `connections_that_idle_dawdle_or_talk_nonsense_harm_nobody` |
//! | 28 | addresses and names without end | `gateway_metrics`: `a_policy_of_a_thousand_servers_makes_no_more_than_200_series`; [`packets_from_everywhere_to_everywhere_make_no_series_and_take_no_memory`] |
//! | 29 | starved, stopped and continued | [`a_gateway_that_was_stopped_or_starved_delivers_in_order_and_once`] |
//! | 30 | no right, no `/dev/net/tun` | `gateway_life`: `what_would_break_it_is_refused_with_advice_before_anything_is_changed` |

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::site::plain::{self, DNS, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Daemon, Diversion, in_nftables_sandbox, in_sandbox, poll};
use crate::support::{program, run};

const BINARY: &str = env!("CARGO_BIN_EXE_offramp");

/// Asserts that media is dropped and other traffic answered.
#[track_caller]
fn assert_judges(site: &PlainSite) {
    for address in [OFFICE, OFFICE6] {
        // On a busy machine the first packet may be slow.
        site.wait_for_answer(address, DNS);
        assert!(!site.is_answered(address, MEDIA, 100), "{address}");
    }
}

/// Starts the sockets that answer the datagrams of [`assert_judges`].
fn answer(site: &PlainSite) {
    for address in [OFFICE, OFFICE6] {
        site.echo(address, DNS);
        site.echo(address, MEDIA);
    }
}

/// Sets a limit of a running process; `limit` is an option of `prlimit`.
fn limit(gateway: &Daemon, limit: &str) {
    let pid = gateway.pid().to_string();
    run(Command::new("prlimit").args(["--pid", &pid, limit])).success();
}

/// Returns the processor time of a process so far.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // proc(5): the name in parentheses is field 2, `utime` and `stime` are 14 and 15, in hundredths of a second.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let fields = fields.split(' ').skip(11).take(2);
    let ticks: u64 = fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// Has system calls of the running gateway fail, as the arguments tell strace.
fn inject(site: &PlainSite, gateway: &Daemon, arguments: &[&str]) -> Daemon {
    let pid = gateway.pid().to_string();
    let mut injector = Daemon::start(
        &site.concentrator,
        "strace",
        site.folder.path("strace.log"),
        Command::new("strace")
            .args(["-f", "-p", &pid])
            .args(arguments),
    );
    injector.wait_for_log("attached");
    injector
}

/// Asserts that a process uses next to no processor time meanwhile: a busy loop would use all there is.
#[track_caller]
fn without_spinning(pid: u32, bear: impl FnOnce()) {
    let (before, begin) = (cpu_time(pid), Instant::now());
    bear();
    let (used, time) = (cpu_time(pid) - before, begin.elapsed());
    assert!(
        used <= time / 2 + Duration::from_millis(200),
        "{used:?} of {time:?}"
    );
}

/// Reads a field of `/proc/PID/status`, in KiB.
fn memory(gateway: &Daemon, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(field));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.expect("a number")
}

#[test]
fn packets_that_the_kernel_does_not_take_back_are_counted_and_the_next_ones_pass() {
    in_sandbox(&["strace"], || {
        let site = PlainSite::new("writes");
        answer(&site);
        // A worker that strace holds up for long is a hung one, for which an open gateway lets packets pass.
        let mut gateway = site.start("divert = \"all\"\non_failure = \"closed\"");
        // Packets that arrive together would be written by io_uring, out of reach of what follows.
        if site.status()["device"]["io_uring"] == true {
            let mut injector = inject(
                &site,
                &gateway,
                &["-e", "inject=io_uring_enter:error=EPERM"],
            );
            site.wait_for_answer(OFFICE, DNS);
            gateway.wait_for_log("io_uring fails");
            injector.terminate();
        }
        let failed = || site.status()["device"]["failed_writes"].as_u64();
        for fault in [
            "error=EAGAIN",
            "error=ENOBUFS",
            "error=EIO",
            "error=EINVAL",
            "retval=10",
        ] {
            let before = failed();
            let fault = format!("inject=write,writev:{fault}");
            let mut injector = inject(&site, &gateway, &["-P", "/dev/net/tun", "-e", &fault]);
            without_spinning(gateway.pid(), || {
                poll("five of them to be counted", || {
                    assert!(!site.is_answered(OFFICE, DNS, 100), "{fault}");
                    assert!(!site.is_answered(OFFICE, MEDIA, 100), "{fault}");
                    (failed() >= before.map(|before| before + 5)).then_some(())
                });
            });
            injector.terminate();
            assert_judges(&site);
        }
        assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
    });
}

#[test]
fn a_device_whose_mtu_is_changed_goes_on_judging() {
    in_sandbox(&[], || {
        let site = PlainSite::new("mtu");
        answer(&site);
        let mut gateway = site.start("");
        for mtu in [1_280, 65_000, 1_400] {
            site.concentrator
                .ip(&format!("link set offramp0 mtu {mtu}"));
            // The sender learns the MTU from the first packet that was too long.
            for length in [100, 1_300, 4_000] {
                for address in [OFFICE, OFFICE6] {
                    poll("an answer", || {
                        site.is_answered(address, DNS, length).then_some(())
                    });
                    assert!(!site.is_answered(address, MEDIA, length), "{mtu}: {length}");
                }
            }
        }
        assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
    });
}

#[test]
fn without_a_free_descriptor_status_and_reload_wait_and_traffic_does_not() {
    in_nftables_sandbox(&["prlimit"], || {
        let site = PlainSite::new("no_descriptor");
        answer(&site);
        let policy = plain::policy(&site.folder, "");
        let policy = site.folder.write("policy.toml", policy);
        let mut gateway = Daemon::start(
            &site.concentrator,
            "offramp run",
            site.folder.path("gateway.log"),
            &mut program(&["run", &policy, "--verbose"]),
        );
        gateway.wait_for_log(" ready: ");
        // Fewer than it has open.
        limit(&gateway, "--nofile=4:");
        let socket = site.folder.path("control.sock");
        let mut ask = program(&["status", "--control", &socket, "--json"]);
        let asking = site
            .concentrator
            .enter(|| ask.stdout(std::process::Stdio::piped()).spawn());
        let mut asking = asking.expect("it starts");
        without_spinning(gateway.pid(), || {
            gateway.signal("HUP");
            gateway.wait_for_log("will try again: Too many open files");
            gateway.wait_for_log("reload refused, generation 1 stays in force");
            gateway.wait_for_log("cannot restore the diversion: nft refused: it cannot be run");
            assert_judges(&site);
        });
        let tries = gateway.log().matches("will try again").count();
        assert!(tries < 500, "{tries}");

        limit(&gateway, "--nofile=1024:");
        let ended =
            crate::support::wait(&mut asking, crate::site::DEADLINE).expect("it is answered");
        assert!(ended.success());
        gateway.signal("HUP");
        gateway.wait_for_log("reloaded: ");
        gateway.wait_for_log("the diversion is restored");
        assert_judges(&site);
        let complaints = gateway
            .log()
            .matches("ERROR cannot restore the diversion: nft")
            .count();
        assert_eq!(complaints, 1, "{}", gateway.log());
        assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
    });
}

/// Starts the program under a memory limit.
fn start_limited(site: &PlainSite, mebibytes: u64) -> Daemon {
    let most = format!("--as={}", mebibytes << 20);
    let policy = site.folder.path("policy.toml");
    Daemon::start(
        &site.concentrator,
        "offramp run",
        site.folder.path(&format!("limited-{mebibytes}.log")),
        Command::new("prlimit").args([&most, "--core=0", BINARY, "run", &policy]),
    )
}

/// Returns the memory, in MiB, with which the system can load the program: with less, it says nothing.
fn least_memory() -> u64 {
    let loads = |mebibytes: &u64| {
        let most = format!("--as={}", mebibytes << 20);
        let mut program = Command::new("prlimit");
        let ended = run(program.args([&most, "--core=0", BINARY, "--version"]));
        ended.code == Some(0)
    };
    let mut sizes = (16..1_024).step_by(4);
    sizes.find(loads).expect("it loads with 1 GiB")
}

#[test]
fn a_start_without_memory_says_so_or_works_and_traffic_passes() {
    in_sandbox(&["prlimit"], || {
        let site = PlainSite::new("little_memory");
        answer(&site);
        let before = site.kernel();
        site.folder
            .write("policy.toml", plain::policy(&site.folder, ""));
        let least = least_memory();
        for mebibytes in [least, least + 4, least + 12, least + 28, 1_024] {
            let gateway = start_limited(&site, mebibytes);
            let pid = gateway.pid();
            let has_ended = || {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                stat.is_empty() || stat.contains(") Z ")
            };
            let is_ready = poll("a decision", || {
                let ready = gateway.log().contains(" ready: ");
                (ready || has_ended()).then_some(ready)
            });
            println!(
                "{mebibytes} MiB: {}",
                if is_ready { "ready" } else { "refused" }
            );
            let mut gateway = gateway;
            if is_ready {
                assert_judges(&site);
                assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
            } else {
                let ended = gateway.wait();
                assert!(
                    !ended.success() && !gateway.log().is_empty(),
                    "{ended}: it says why"
                );
                assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
                site.wait_for_answer(OFFICE, MEDIA);
            }
            site.offramp(&["run", "--cleanup"]).success();
            assert_eq!(site.kernel(), before, "{mebibytes} MiB");
            assert!(is_ready || mebibytes < 1_024, "{}", gateway.log());
        }
    });
}

#[test]
fn a_reload_without_memory_is_refused_or_the_fail_mode_holds() {
    in_sandbox(&["prlimit"], || {
        let site = PlainSite::new("no_memory");
        answer(&site);
        // Parsing the policy takes many times its size.
        let address =
            |at: u32| format!("\"10.{}.{}.{}\"", 64 + (at >> 16), at >> 8 & 255, at & 255);
        let addresses: Vec<String> = (0..100_000).map(address).collect();
        let huge = format!(
            "[[server]]\nname = \"many\"\naddresses = [{}]\n",
            addresses.join(", ")
        );
        for (on_failure, headroom) in [("open", 1), ("closed", 8), ("open", 24)] {
            let options = format!("on_failure = \"{on_failure}\"");
            let mut gateway = site.start(&options);
            limit(&gateway, "--core=0");
            let most = (memory(&gateway, "VmSize:") << 10) + (headroom << 20);
            limit(&gateway, &format!("--as={most}:"));
            let policy = plain::policy(&site.folder, &options) + &huge;
            site.folder.write("policy.toml", policy);
            let stat = format!("/proc/{}/stat", gateway.pid());
            let is_dead = || {
                let stat = fs::read_to_string(&stat);
                stat.unwrap_or_default().contains(") Z ")
            };
            poll("a decision", || {
                let log = gateway.log();
                let is_decided = log.contains("reload refused") || log.contains("reloaded: ");
                (is_decided || is_dead()).then_some(())
            });
            // What follows a reload takes memory, too; the answer comes behind it, if there is one.
            let control = site.folder.path("control.sock");
            site.offramp(&["status", "--control", &control]);
            let has_died = is_dead();
            println!(
                "{headroom} MiB: {}",
                if has_died { "died" } else { "goes on" }
            );
            if has_died {
                let ended = gateway.wait();
                assert_eq!(
                    ended.signal(),
                    Some(nix::libc::SIGABRT),
                    "{}",
                    gateway.log()
                );
                assert!(gateway.log().contains("memory"), "{}", gateway.log());
                match on_failure {
                    "open" => {
                        site.wait_for_answer(OFFICE, DNS);
                        site.wait_for_answer(OFFICE, MEDIA);
                    }
                    _ => {
                        poll("the device to go", || {
                            (!site.concentrator.has_interface("offramp0")).then_some(())
                        });
                        // eBPF goes on passing what the policy forwards for certain.
                        let stopped = match Diversion::here() {
                            Diversion::Nftables => DNS,
                            Diversion::Ebpf => MEDIA,
                        };
                        assert!(!site.is_answered(OFFICE, stopped, 100));
                        assert!(!site.is_answered(OFFICE6, stopped, 100));
                    }
                }
            } else {
                // By the old policy, or by the new one if there was enough memory after all.
                assert_judges(&site);
                let reloads = &site.status()["reloads"];
                let taken = reloads["taken"].as_u64();
                assert_eq!(reloads["refused"].as_u64(), taken.map(|taken| 1 - taken));
                // A stop starts a program.
                limit(&gateway, "--as=unlimited:");
                assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
            }
            site.offramp(&["run", "--cleanup"]).success();
        }
    });
}

#[test]
fn a_clock_that_jumps_changes_no_timer() {
    in_nftables_sandbox(&["faketime"], || {
        const DAY: i64 = 86_400;
        let site = PlainSite::new("clock");
        answer(&site);
        let log = site.folder.path("drops.jsonl");
        let policy = plain::policy(&site.folder, &format!("drop_log = \"{log}\""));
        let policy = site.folder.write("policy.toml", policy);
        // Preloads a clock that can be set at run time; the monotonic clock never jumps.
        let library = run(Command::new("faketime").args(["-m", "-f", "+0", "env"])).success();
        let library = library
            .lines()
            .find_map(|line| line.strip_prefix("LD_PRELOAD="));
        let clock = site.folder.write("clock", "+0");
        let mut gateway = Daemon::start(
            &site.concentrator,
            "offramp run",
            site.folder.path("gateway.log"),
            program(&["run", &policy])
                .env("LD_PRELOAD", library.expect("it preloads a library"))
                .env("FAKETIME_TIMESTAMP_FILE", &clock)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        );
        gateway.wait_for_log(" ready: ");
        let wait_for_line = |offset: i64| {
            poll("a line of that day", || {
                assert!(!site.is_answered(OFFICE, MEDIA, 20));
                let lines = fs::read_to_string(&log).ok()?;
                let line: serde_json::Value = serde_json::from_str(lines.lines().last()?).ok()?;
                let time = humantime(line["time"].as_str()?);
                ((time - now() - offset).abs() < DAY / 4).then_some(())
            });
        };
        wait_for_line(0);
        for (generation, offset) in (2_u64..).zip([DAY, -DAY, 0]) {
            site.folder.write("clock", format!("{offset:+}"));
            wait_for_line(offset);
            assert_judges(&site);
            // Timers that wait for a quiet moment, and those that fire every few seconds.
            let policy = plain::policy(&site.folder, &format!("drop_log = \"{log}\" # {offset}"));
            site.folder.write("policy.toml", policy);
            poll("the reload", || {
                (site.status()["generation"] == generation).then_some(())
            });
            if offset != 0 {
                site.concentrator.ip("rule del priority 900");
                let back = "another program has removed or changed 1 routing rules";
                gateway.wait_until("the rule to be back", |it| {
                    it.log().matches(back).count() as u64 == generation - 1
                });
            }
            assert!(site.status()["uptime_seconds"].as_u64() < Some(600));
        }
        assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
    });
}

/// Seconds since 1970 by the clock of this process, which is not faked.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("before the year 2^63")
}

/// Seconds since 1970 of a timestamp in the drop log.
fn humantime(time: &str) -> i64 {
    let seconds = run(Command::new("date").args(["-u", "+%s", "-d", time])).success();
    seconds.trim().parse().expect("a number")
}

/// Returns the names and labels of all series.
fn series(site: &PlainSite) -> BTreeSet<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], 9464));
    let stream = site.concentrator.enter(|| TcpStream::connect(address));
    let mut stream = stream.expect("it listens");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        .expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (_, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .collect()
}

#[test]
fn packets_from_everywhere_to_everywhere_make_no_series_and_take_no_memory() {
    in_sandbox(&[], || {
        const COUNT: u32 = 4_000;
        let site = PlainSite::new("cardinality");
        let log = site.folder.path("drops.jsonl");
        let options = format!("metrics = \"127.0.0.1:9464\"\ndrop_log = \"{log}\"");
        let mut gateway = site.start(&options);
        // Every part of the program has been used once.
        let sender = site.client.enter(|| UdpSocket::bind("0.0.0.0:0"));
        let sender = sender.expect("a free port");
        let mut numbers = 0_u32..;
        let mut send_until = |judged: u32| {
            poll("all of them to be judged", || {
                // Fewer than any queue on the path holds.
                for number in numbers.by_ref().take(500) {
                    let [_, a, b, c] = number.wrapping_mul(2_654_435_761).to_be_bytes();
                    let port = if number % 2 == 0 {
                        DNS
                    } else {
                        1_024 + number as u16 % 60_000
                    };
                    // At times the kernel reports the destination unreachable.
                    _ = sender.send_to(&[7; 20], (format!("10.{a}.{b}.{c}").as_str(), port));
                }
                let count = site.count("forward", "default") + site.count("drop", "media");
                (count >= u64::from(judged)).then_some(())
            });
        };
        send_until(COUNT / 10);
        let (before, names) = (memory(&gateway, "VmRSS:"), series(&site));
        send_until(COUNT);
        assert_eq!(series(&site), names);
        let after = memory(&gateway, "VmRSS:");
        println!("{before} KiB before, {after} KiB after");
        assert!(after <= before + 4_096, "{before} KiB grew to {after}");
        let lines = fs::read_to_string(&log).expect("a file").lines().count() as u64;
        assert!(lines < u64::from(COUNT) / 10, "{lines} lines are no sample");
        assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
    });
}

/// Numbered datagrams to an allowed destination.
struct Numbered {
    sender: UdpSocket,
    receiver: UdpSocket,
    sent: u32,
}

impl Numbered {
    fn new(site: &PlainSite) -> Self {
        let receiver = site.corporate.enter(|| UdpSocket::bind((OFFICE, 5)));
        let receiver = receiver.expect("the address is there");
        receiver.set_nonblocking(true).expect("a socket");
        Self {
            sender: site.socket_to(OFFICE),
            receiver,
            sent: 0,
        }
    }

    /// Sends datagrams over some time, fewer than the receiver's socket buffer holds.
    fn send(&mut self, count: u32) {
        for _ in 0..count {
            let number = self.sent.to_be_bytes();
            self.sender.send_to(&number, (OFFICE, 5)).expect("a route");
            self.sent += 1;
            thread::sleep(Duration::from_millis(15));
        }
    }

    /// Waits until all have arrived, each once and in order.
    #[track_caller]
    fn arrive(&mut self, before: u32) {
        for wanted in before..self.sent {
            let mut number = [0; 8];
            let length = poll("a datagram", || self.receiver.recv(&mut number).ok());
            assert_eq!(number[..length], wanted.to_be_bytes());
        }
        assert!(self.receiver.recv(&mut [0; 8]).is_err(), "one came twice");
    }
}

#[test]
fn a_gateway_that_was_stopped_or_starved_delivers_in_order_and_once() {
    in_nftables_sandbox(&["chrt", "taskset"], || {
        let site = PlainSite::new("starved");
        answer(&site);
        let mut gateway = site.start("metrics = \"127.0.0.1:9464\"");
        let mut flow = Numbered::new(&site);
        flow.send(10);
        flow.arrive(0);

        // Stopped for two seconds.
        gateway.signal("STOP");
        let scraping = thread::scope(|scope| {
            let scraping = scope.spawn(|| series(&site).len());
            flow.send(100);
            assert!(flow.receiver.recv(&mut [0; 8]).is_err(), "it stands still");
            gateway.signal("CONT");
            scraping.join().expect("it is answered")
        });
        assert!(scraping > 20, "{scraping}");
        flow.arrive(10);
        assert_judges(&site);
        assert_eq!(site.status()["device"]["failed_writes"], 0);

        // Only the processor time that other processes leave over.
        let pid = gateway.pid().to_string();
        let first = run(Command::new("taskset").args(["-p", "-c", &pid])).success();
        let first = first
            .rsplit([' ', ',', '-'])
            .next()
            .expect("a list")
            .trim()
            .to_owned();
        run(Command::new("taskset").args(["-a", "-p", "-c", &first, &pid])).success();
        run(Command::new("chrt").args(["--all-tasks", "--idle", "--pid", "0", &pid])).success();
        let busy = Daemon::start(
            &site.concentrator,
            "a busy loop",
            site.folder.path("busy.log"),
            Command::new("taskset").args(["-c", &first, "sh", "-c", "while :; do :; done"]),
        );
        flow.send(100);
        flow.arrive(110);
        drop(busy);
        assert_judges(&site);
        assert_eq!(site.status()["device"]["overload_drops"], 0);
        assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
    });
}
