//! Reloads: their triggers, the state they must not change, and the traffic meanwhile.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use offramp::filter::{CompiledPolicy, Generation};
use offramp::gateway::host::source::{LoadError, PolicyPath, PolicySource};
use offramp::gateway::report::control;
use offramp::gateway::run as gateway;

use crate::site::plain::{self, DNS, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Diversion, in_nftables_sandbox, in_sandbox, poll};
use crate::support::{program, run, signal};

/// Returns a policy that either allows or drops media, and is otherwise the same.
fn media(site: &PlainSite, allowed: bool) -> String {
    let allow = "[[allow]]\nname = \"media\"\nto = [\"10.0.0.0/8\", \"fd00:2::/48\"]\nports = [\"50020\"]\n";
    plain::policy(&site.folder, "") + if allowed { allow } else { "" }
}

#[track_caller]
fn wait_for_generation(site: &PlainSite, generation: u64) {
    poll(&format!("generation {generation}"), || {
        (site.status()["generation"] == generation).then_some(())
    });
}

#[test]
fn whatever_replaces_the_file_brings_the_policy_into_force() {
    in_sandbox(&[], || {
        let site = PlainSite::new("replaced");
        site.echo(OFFICE, MEDIA);
        let file = site.folder.path("policy.toml");
        let _gateway = site.start("");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));

        // As editors do it: a new file renamed over the old one.
        let new = site.folder.write("policy.toml.new", media(&site, true));
        fs::rename(new, &file).expect("both are there");
        wait_for_generation(&site, 2);
        assert!(site.is_answered(OFFICE, MEDIA, 100));

        // Overwritten.
        fs::write(&file, media(&site, false)).expect("a file");
        wait_for_generation(&site, 3);
        assert!(!site.is_answered(OFFICE, MEDIA, 100));

        // As configuration management does it: a symbolic link that is changed.
        for (release, allowed) in [("one", true), ("two", false)] {
            let folder = site.folder.path(release);
            fs::create_dir(&folder).expect("a folder");
            fs::write(format!("{folder}/policy.toml"), media(&site, allowed)).expect("a file");
        }
        let (current, next) = (site.folder.path("current"), site.folder.path("next"));
        symlink("one", &current).expect("a link");
        fs::remove_file(&file).expect("it is there");
        symlink("current/policy.toml", &file).expect("a link");
        wait_for_generation(&site, 4);
        assert!(site.is_answered(OFFICE, MEDIA, 100));
        symlink("two", &next).expect("a link");
        fs::rename(&next, &current).expect("both are there");
        wait_for_generation(&site, 5);
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
    });
}

#[test]
fn a_file_with_mistakes_changes_nothing_and_says_so() {
    in_sandbox(&[], || {
        let site = PlainSite::new("mistakes");
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        let mut gateway = site.start("");
        let kernel = site.kernel();
        let broken_test = "[[test]]\nname = \"wishful\"\nfrom = \"172.16.1.10\"\nto = \"10.20.0.7:50020\"\n\
                           protocol = \"udp\"\nexpect = \"forward\"\n";
        let good = plain::policy(&site.folder, "");
        let broken = [
            ("[vpn\nclient".to_owned(), "policy.toml:1:"),
            (
                good.replace("172.16.1.0/24", "172.16.1.0/8"),
                "has host bits set",
            ),
            (good.replace("[\"tun0\"]", "[]"), "names no interface"),
            (
                good.clone() + broken_test,
                "test \"wishful\" expects forward",
            ),
            (String::new(), "no [vpn] section"),
        ];
        for (count, (text, says)) in (1_u64..).zip(broken) {
            site.folder.write("policy.toml", text);
            poll("the refusal", || {
                (site.status()["reloads"]["refused"] == count).then_some(())
            });
            let status = site.status();
            assert_eq!(status["generation"], 1);
            let why = status["reloads"]["last_error"].as_str().unwrap_or_default();
            assert!(why.contains(says), "{says}: {why}");
            assert_eq!(site.kernel(), kernel);
            assert!(site.is_answered(OFFICE, DNS, 100));
            assert!(!site.is_answered(OFFICE, MEDIA, 100));
        }
        gateway.wait_for_log("reload refused, generation 1 stays in force");

        // Packets would loop; a start refuses this, too.
        site.folder.write(
            "policy.toml",
            good.replace("[\"tun0\"]", "[\"tun0\", \"offramp*\"]"),
        );
        poll("the refusal", || {
            (site.status()["reloads"]["refused"] == 6).then_some(())
        });
        assert!(site.is_answered(OFFICE, DNS, 100));

        // Reading a FIFO would block.
        fs::remove_file(site.folder.path("policy.toml")).expect("it is there");
        site.folder.fifo("policy.toml");
        poll("the refusal", || {
            (site.status()["reloads"]["refused"] == 7).then_some(())
        });

        fs::remove_file(site.folder.path("policy.toml")).expect("it is there");
        gateway.signal("HUP");
        poll("the refusal", || {
            (site.status()["reloads"]["refused"] == 8).then_some(())
        });
        site.folder.write("policy.toml", good);
        wait_for_generation(&site, 2);
        assert!(site.status()["reloads"]["last_error"].is_null());
    });
}

#[test]
fn a_file_that_is_written_in_two_halves_is_taken_whole() {
    in_sandbox(&[], || {
        let site = PlainSite::new("halves");
        let gateway = site.start("");
        let text = media(&site, true);
        let (first, second) = text.split_at(text.len() - 30);
        let file = site.folder.path("policy.toml");
        fs::write(&file, first).expect("a file");
        fs::write(&file, [first, second].concat()).expect("a file");
        wait_for_generation(&site, 2);
        // Between the halves there may have been time to read: then the file was refused, and the log says so.
        let refused = site.status()["reloads"]["refused"].as_u64();
        let told = gateway.log().matches("reload refused").count() as u64;
        assert_eq!(refused, Some(told));
    });
}

#[test]
fn what_is_diverted_follows_the_policy() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("diverted");
        let mut gateway = site.start("");
        let first = site.kernel();
        let write = |text: String| site.folder.write("policy.toml", text);
        let text = plain::policy(&site.folder, "");

        write(text.replace("10.0.0.0/8", "10.0.0.0/8\", \"192.0.2.0/24"));
        wait_for_generation(&site, 2);
        assert!(site.kernel().contains("192.0.2.0/24 dev offramp0"));
        write(text.replace(
            "divert = \"policy\"",
            "divert = \"all\"\non_failure = \"closed\"",
        ));
        wait_for_generation(&site, 3);
        let all = site.kernel();
        assert!(!all.contains("10.0.0.0/8 dev offramp0"), "{all}");
        assert!(all.contains("blackhole default table 28529"), "{all}");
        write(text.replace("[gateway]", "[gateway]\ntable = 30000"));
        wait_for_generation(&site, 4);
        assert_eq!(site.kernel(), first);
        gateway.wait_for_log("gateway.table takes effect at the next start");
    });
}

#[test]
fn a_feed_is_part_of_the_policy_and_one_with_a_mistake_is_not_taken() {
    in_sandbox(&[], || {
        const ELSEWHERE: &str = plain::ELSEWHERE;
        let site = PlainSite::new("feed");
        site.echo(ELSEWHERE, DNS);
        let feed =
            "[[feed]]\nname = \"Conference service\"\nformat = \"prefixes\"\nfile = \"feed.txt\"\n";
        let policy = plain::policy(&site.folder, "divert = \"suspects\"") + feed;
        site.folder.write("policy.toml", policy);
        site.folder.write("feed.txt", "198.51.100.0/24\n");
        let gateway = site.start_again("gateway.log");
        assert!(site.is_answered(ELSEWHERE, DNS, 100));
        assert_eq!(site.count("forward", "public"), 0, "no feed names it");

        site.folder
            .write("feed.txt", "198.51.100.0/24\n192.0.2.0/24\n");
        wait_for_generation(&site, 2);
        assert!(site.is_answered(ELSEWHERE, DNS, 100));
        let leaks = site.count("forward", "public");
        assert!(leaks > 0, "what goes there through the tunnel is a leak");
        let status = site.status();
        assert_eq!(status["rules"][0]["kind"], "feed");
        assert_eq!(status["rules"][0]["name"], "Conference service");

        let mistakes = ["192.0.2.0/33\n", "", "0.0.0.0/0\n"];
        for (count, text) in (1_u64..).zip(mistakes) {
            site.folder.write("feed.txt", text);
            poll("the refusal", || {
                (site.status()["reloads"]["refused"] == count).then_some(())
            });
        }
        fs::remove_file(site.folder.path("feed.txt")).expect("it is there");
        poll("the refusal", || {
            (site.status()["reloads"]["refused"] == 4).then_some(())
        });
        assert_eq!(site.status()["generation"], 2, "{}", gateway.log());
        assert!(site.is_answered(ELSEWHERE, DNS, 100));
        assert!(
            site.count("forward", "public") > leaks,
            "the last good one is in use"
        );
    });
}

#[test]
fn a_lack_of_descriptors_is_told_and_is_no_change_of_the_policy() {
    in_nftables_sandbox(&["prlimit"], || {
        let site = PlainSite::new("descriptors");
        site.echo(OFFICE, DNS);
        let mut gateway = site.start("");
        let pid = gateway.pid().to_string();
        let limit = |soft: &str| {
            let limit = format!("--nofile={soft}:");
            run(Command::new("prlimit").args(["--pid", &pid, &limit])).success();
        };
        // Below what it has open, so that it gets no other.
        limit("8");
        site.folder.write("beside", "a change in the same folder");
        gateway.wait_for_log("cannot see whether the policy has changed: ");
        gateway.wait_for_log("Too many open files");
        assert!(site.is_answered(OFFICE, DNS, 100));
        // One that comes meanwhile is taken as soon as it can be read.
        let text = plain::policy(&site.folder, "").replace("10.0.0.0/8", "10.0.0.0/9");
        site.folder.write("policy.toml", text);
        limit("1024");
        gateway.wait_for_log("the policy's files can be read again");
        wait_for_generation(&site, 2);
        let reloads = &site.status()["reloads"];
        assert_eq!(reloads["refused"], 0, "{reloads}");
        assert!(reloads["last_error"].is_null(), "{reloads}");
    });
}

#[test]
fn a_storm_of_signals_ends() {
    in_sandbox(&[], || {
        let site = PlainSite::new("storm");
        let mut gateway = site.start("");
        for _ in 0..200 {
            gateway.signal("HUP");
        }
        poll("a reload", || {
            (site.status()["reloads"]["taken"].as_u64() >= Some(1)).then_some(())
        });
        assert_eq!(site.status()["reloads"]["refused"], 0);
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

/// Numbered datagrams, as many in flight as the receiver's socket buffer holds.
struct Flow {
    sender: UdpSocket,
    to: SocketAddr,
    /// The number that have arrived, all in order.
    arrived: AtomicU64,
}

/// Datagrams in flight: no queue between sender and receiver is smaller.
const WINDOW: u64 = 64;

impl Flow {
    fn new(site: &PlainSite, to: &str, port: u16) -> (Self, UdpSocket) {
        let sender = site.socket_to(to);
        let to = SocketAddr::new(to.parse().expect("an address"), port);
        let receiver = site.corporate.enter(|| UdpSocket::bind(to));
        let receiver = receiver.expect("the address is there");
        let wait = Some(Duration::from_secs(10));
        receiver.set_read_timeout(wait).expect("a duration");
        let flow = Self {
            sender,
            to,
            arrived: AtomicU64::new(0),
        };
        (flow, receiver)
    }

    fn send(&self, count: u64) {
        let mut datagram = [0; 64];
        for number in 0..count {
            while number - self.arrived.load(Ordering::Acquire) >= WINDOW {
                thread::yield_now();
            }
            datagram[..8].copy_from_slice(&number.to_be_bytes());
            self.sender.send_to(&datagram, self.to).expect("a route");
        }
    }

    /// Receives every datagram once, in order; panics at the first that is not.
    fn receive(&self, receiver: &UdpSocket, count: u64) {
        let mut datagram = [0; 128];
        for expected in 0..count {
            let length = receiver.recv(&mut datagram).unwrap_or_else(|error| {
                // Lets the sender end, and the test with it.
                self.arrived.store(u64::MAX / 2, Ordering::Release);
                panic!("number {expected} is lost: {error}")
            });
            assert_eq!(length, 64);
            let (number, _) = datagram.split_first_chunk::<8>().expect("64 bytes");
            let number = u64::from_be_bytes(*number);
            if number != expected {
                self.arrived.store(u64::MAX / 2, Ordering::Release);
                panic!("number {number} comes in place of {expected}");
            }
            self.arrived.store(expected + 1, Ordering::Release);
        }
    }
}

#[test]
fn a_hundred_reloads_lose_double_and_reorder_none_of_a_million_packets() {
    in_sandbox(&[], || {
        const PACKETS: u64 = 500_000;
        const RELOADS: u64 = 100;
        let site = PlainSite::new("million");
        let gateway = site.start("");
        let flows = [
            Flow::new(&site, OFFICE, DNS),
            Flow::new(&site, OFFICE6, DNS),
        ];
        let over = AtomicBool::new(false);
        let before = site.count("forward", "default");

        thread::scope(|scope| {
            for (flow, receiver) in &flows {
                scope.spawn(|| flow.send(PACKETS));
                scope.spawn(|| flow.receive(receiver, PACKETS));
            }
            scope.spawn(|| {
                let progress = || {
                    let arrived = flows
                        .iter()
                        .map(|(flow, _)| flow.arrived.load(Ordering::Acquire));
                    arrived.sum::<u64>()
                };
                for reload in 0..RELOADS {
                    // Spread over the packets, not over time.
                    let due = (reload + 1) * 2 * PACKETS / (RELOADS + 1);
                    while progress() < due {
                        thread::sleep(Duration::from_millis(1));
                    }
                    let broken = reload % 10 == 9;
                    let text = if broken {
                        "[vpn]\nclient_subnets = 7\n".to_owned()
                    } else {
                        // Rules, prefixes and scope change; the verdict of these packets does not.
                        let divert = if reload % 3 == 0 { "all" } else { "policy" };
                        media(&site, reload % 2 == 0)
                            .replace("\"policy\"", &format!("\"{divert}\""))
                    };
                    let outcome = if broken { "refused" } else { "taken" };
                    let count = || site.status()["reloads"][outcome].as_u64();
                    let before = count();
                    site.folder.write("policy.toml", text);
                    gateway.signal("HUP");
                    poll("the reload", || (count() > before).then_some(()));
                }
                over.store(true, Ordering::Release);
            });
        });

        assert!(over.load(Ordering::Acquire));
        let status = site.status();
        let refused = status["reloads"]["refused"].as_u64().expect("a number");
        let taken = status["reloads"]["taken"].as_u64().expect("a number");
        assert!(refused >= 10, "{status:#}");
        assert!(taken >= 90, "{status:#}");
        assert_eq!(status["generation"], taken + 1);
        // Each was judged once, by one policy; none was lost before or after the filter.
        let judged = site.count("forward", "default") - before;
        // Programs also count the neighbor discovery of the link.
        let more = match Diversion::here() {
            Diversion::Nftables => 0,
            Diversion::Ebpf => 100,
        };
        let all = 2 * PACKETS;
        assert!((all..=all + more).contains(&judged), "{judged}");
        assert_eq!(status["device"]["overload_drops"], 0);
        assert_eq!(status["device"]["failed_writes"], 0);
        println!(
            "{taken} reloads taken, {refused} refused, {} packets",
            2 * PACKETS
        );
    });
}

#[test]
fn status_is_for_people_and_for_programs_and_says_when_there_is_none() {
    in_sandbox(&[], || {
        let site = PlainSite::new("status");
        let socket = site.folder.path("control.sock");
        let none = site.offramp(&["status", "--control", &socket]).error(1);
        assert!(none.contains("no gateway listens on"), "{none}");

        site.echo(OFFICE, DNS);
        let _gateway = site.start("");
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        let text = site.offramp(&["status", "--control", &socket]).success();
        for part in [
            "generation 1",
            match Diversion::here() {
                Diversion::Nftables => "packets to 4 prefixes, into offramp0 (by nftables)",
                Diversion::Ebpf => {
                    "packets that the policy does not forward for certain, into offramp0 (by ebpf)"
                }
            },
            "  from tun0\n",
            "drop     media",
            "[media]",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let status = site.status();
        assert_eq!(status["diversion"]["interfaces"][0]["present"][0], "tun0");
        assert_eq!(status["rules"][0]["name"], "media");

        // Connections that do not read, or do not send, delay no other client's answer.
        let idle: Vec<_> = (0..50)
            .map(|_| std::os::unix::net::UnixStream::connect(&socket).expect("it listens"))
            .collect();
        assert_eq!(site.status()["generation"], 1);
        drop(idle);

        let mut watch = program(&["status", "--control", &socket, "--json", "--watch"]);
        watch.stdout(std::process::Stdio::piped());
        let mut child = site
            .concentrator
            .enter(|| watch.spawn())
            .expect("it starts");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
            child.stdout.take().expect("piped just above"),
        ));
        for _ in 0..2 {
            let line = lines.next().expect("a line a second").expect("text");
            let status: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(status["generation"], 1);
        }
        child.kill().expect("it runs");
        child.wait().expect("a child of this process");
    });
}

/// A policy file whose every load after the first signals its beginning, and waits for permission to end.
struct SlowSource {
    file: PolicyPath,
    begun: Mutex<Sender<()>>,
    allowed: Mutex<Receiver<()>>,
}

impl PolicySource for SlowSource {
    fn load(&self, generation: Generation) -> Result<CompiledPolicy, LoadError> {
        if generation > Generation(1) {
            self.begun
                .lock()
                .expect("no test panics here")
                .send(())
                .expect("the test listens");
            // Also after the test has ended.
            _ = self.allowed.lock().expect("no test panics here").recv();
        }
        self.file.load(generation)
    }

    fn files(&self) -> std::io::Result<Vec<PathBuf>> {
        self.file.files()
    }

    fn name(&self) -> String {
        self.file.name()
    }
}

#[test]
fn while_a_policy_loads_the_gateway_answers_judges_and_stops() {
    in_sandbox(&[], || {
        let site = PlainSite::new("slow_load");
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        let file = site.folder.write("policy.toml", media(&site, false));
        let socket = site.folder.path("control.sock");
        let (begun, has_begun) = channel();
        let (allow, allowed) = channel();
        let source = Arc::new(SlowSource {
            file: PolicyPath(file.into()),
            begun: Mutex::new(begun),
            allowed: Mutex::new(allowed),
        });
        let inputs = gateway::Inputs {
            source,
            last_good: None,
            capture: None,
            trial: None,
        };
        let signal = |name| signal(std::process::id(), name);
        let generation = || Some(control::ask(Path::new(&socket)).ok()?.generation);
        thread::scope(|scope| {
            let running = scope.spawn(|| site.concentrator.enter(|| gateway::run(inputs)));
            poll("the first policy", || generation().filter(|it| *it == 1));

            signal("HUP");
            has_begun.recv().expect("a load");
            // The load waits; the control loop does not.
            assert_eq!(generation(), Some(1));
            assert!(!site.is_answered(OFFICE, MEDIA, 100));
            assert!(site.is_answered(OFFICE, DNS, 100));
            // Any number of requests in the meantime results in one more load.
            for _ in 0..3 {
                signal("HUP");
                assert_eq!(generation(), Some(1));
            }
            allow.send(()).expect("it waits");
            poll("the second policy", || generation().filter(|it| *it == 2));
            has_begun.recv().expect("a load");
            allow.send(()).expect("it waits");
            poll("the third policy", || generation().filter(|it| *it == 3));
            assert!(has_begun.try_recv().is_err());

            signal("HUP");
            has_begun.recv().expect("a load");
            signal("TERM");
            let ended = running.join().expect("no panic");
            assert!(ended.is_ok(), "{ended:?}");
        });
    });
}
