//! The gateway as a service: messages to the service manager, remaining privileges, and faults that must not stall it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::site::plain::{self, DNS, MEDIA, OFFICE, PlainSite};
use crate::site::{DEADLINE, Daemon, Diversion, in_nftables_sandbox, in_sandbox, poll};
use crate::support::{AtEnd, Folder, is_installed, program, project, run, signal, wait};

/// A service manager in the test.
struct Manager {
    socket: UnixDatagram,
    address: String,
}

/// The watchdog timeout.
const WATCHDOG: Duration = Duration::from_secs(2);

impl Manager {
    /// Listens on the concentrator, at a path or, with `@` in front, a name in the abstract namespace.
    fn listen(site: &PlainSite, address: &str) -> Self {
        let place = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(address),
        };
        let place = place.expect("a short address");
        // Names belong to the network namespace.
        let bound = site.concentrator.enter(|| UnixDatagram::bind_addr(&place));
        Self {
            socket: bound.expect("a free place"),
            address: address.to_owned(),
        }
    }

    fn start(&self, site: &PlainSite, log: &str, gateway: &str) -> Daemon {
        let text = plain::policy(&site.folder, gateway);
        let policy = site.folder.write("policy.toml", text);
        let mut command = program(&["run", &policy]);
        command
            .env("NOTIFY_SOCKET", &self.address)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        let log = site.folder.path(log);
        Daemon::start(&site.concentrator, "offramp run", log, &mut command)
    }

    /// Returns the next message within `limit`.
    fn next(&self, limit: Duration) -> Option<String> {
        let mut message = [0; 1_024];
        let limit = limit.max(Duration::from_millis(1));
        self.socket
            .set_read_timeout(Some(limit))
            .expect("a duration");
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// Waits for the message `what`; returns all messages up to it.
    #[track_caller]
    fn wait_for(&self, what: &str) -> Vec<String> {
        let mut told = Vec::new();
        let deadline = Instant::now() + DEADLINE;
        while let Some(message) = self.next(deadline.saturating_duration_since(Instant::now())) {
            told.push(message);
            if told.last().is_some_and(|last| last.contains(what)) {
                return told;
            }
        }
        panic!("it never came: {what}; {told:?}");
    }
}

#[test]
fn a_service_manager_hears_of_start_reload_stop_and_of_life() {
    in_sandbox(&[], || {
        let site = PlainSite::new("manager");
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        let manager = Manager::listen(&site, "/run/notify.sock");
        let mut gateway = manager.start(&site, "gateway.log", "");
        let ready = manager.wait_for("READY=1");
        assert!(!site.is_answered(OFFICE, MEDIA, 100), "it is not ready");
        let status = format!("STATUS=judging by {}", site.folder.path("policy.toml"));
        assert!(
            ready.last().is_some_and(|it| it.contains(&status)),
            "{ready:?}"
        );

        // While idle, and under load.
        for _ in 0..2 {
            manager.wait_for("WATCHDOG=1");
        }
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _ends = AtEnd(&over);
            let sender = site.client.enter(|| UdpSocket::bind("0.0.0.0:0"));
            let sender = sender.expect("a free port");
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    _ = sender.send_to(&[0; 64], (OFFICE, DNS));
                }
            });
            for _ in 0..2 {
                manager.wait_for("WATCHDOG=1");
            }
            over.store(true, Ordering::Relaxed);
        });

        let reload = || {
            gateway.signal("HUP");
            manager.wait_for("RELOADING=1\nMONOTONIC_USEC=");
            manager.wait_for("READY=1").pop().expect("that line")
        };
        let told = reload();
        assert!(told.contains("generation 2\n"), "{told}");
        site.folder.write("policy.toml", "");
        let told = reload();
        assert!(
            told.contains("generation 2; what the file says now is refused"),
            "{told}"
        );

        assert_eq!(gateway.terminate().code(), Some(0));
        manager.wait_for("STOPPING=1");
    });
}

#[test]
fn a_worker_that_hangs_is_not_said_to_live_and_a_new_start_brings_traffic_back() {
    in_sandbox(&["strace"], || {
        let site = PlainSite::new("hangs");
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        let manager = Manager::listen(&site, "@offramp-test/notify");
        // Programs pass what is certain, also while the filter is away.
        let diverted = match Diversion::here() {
            Diversion::Nftables => "",
            Diversion::Ebpf => "divert = \"all\"\n",
        };
        let options = "on_failure = \"closed\"\nworkers = 2\nmetrics = \"127.0.0.1:9100\"";
        let options = &format!("{diverted}{options}");
        let mut gateway = manager.start(&site, "gateway.log", options);
        manager.wait_for("WATCHDOG=1");
        assert!(ask(&site, "/readyz").starts_with("HTTP/1.1 200"));

        // One thread is stopped at its next system call; all others go on.
        let worker = thread_of(&gateway, "offramp-1").to_string();
        let mut hold = Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "-p", &worker])
            .args(["-e", "inject=?poll,?ppoll,read:delay_enter=600s"])
            .stdin(Stdio::null())
            .spawn()
            .expect("strace starts");
        gateway.wait_for_log("worker 1 has stalled");
        assert!(ask(&site, "/healthz").starts_with("HTTP/1.1 200"));
        assert!(ask(&site, "/readyz").starts_with("HTTP/1.1 503"));

        // Earlier messages may still be unread; after them there is silence, for as long as systemd waits.
        while manager.next(Duration::ZERO).is_some() {}
        assert_eq!(manager.next(WATCHDOG), None);
        gateway.signal("ABRT");
        // The tracer of a thread has to detach before the process is gone.
        stop(&mut hold);
        assert_eq!(gateway.wait().code(), None);
        poll("the device to go", || {
            (!site.concentrator.has_interface("offramp0")).then_some(())
        });
        assert!(!site.is_answered(OFFICE, DNS, 100), "it is closed");

        let _gateway = manager.start(&site, "again.log", options);
        manager.wait_for("READY=1");
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
    });
}

/// Returns the thread of a gateway that has this name.
fn thread_of(gateway: &Daemon, name: &str) -> u32 {
    let threads = threads(gateway).into_iter();
    let mut named = threads.filter(|thread| fact(&thread.1, "Name") == name);
    named.next().expect("a thread of that name").0
}

/// Returns every thread of a gateway, with its status from the kernel.
fn threads(gateway: &Daemon) -> Vec<(u32, String)> {
    let folder = format!("/proc/{}/task", gateway.pid());
    let entries = fs::read_dir(folder).expect("it runs").flatten();
    let facts = entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        // A thread may end while it is read.
        Some((
            number,
            fs::read_to_string(entry.path().join("status")).ok()?,
        ))
    });
    facts.collect()
}

/// Returns a line of /proc/PID/status.
fn fact<'a>(status: &'a str, name: &str) -> &'a str {
    let mut lines = status.lines().filter_map(|line| line.split_once(":\t"));
    lines.find(|line| line.0 == name).map_or("", |line| line.1)
}

fn stop(child: &mut Child) {
    _ = child.kill();
    wait(child, DEADLINE).expect("it was killed");
}

/// Returns the response of the metrics endpoint.
fn ask(site: &PlainSite, path: &str) -> String {
    let connect = || TcpStream::connect("127.0.0.1:9100");
    let mut stream = site.concentrator.enter(connect).expect("it listens");
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn few_rights_are_left_and_suffice() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("rights");
        site.echo(OFFICE, MEDIA);
        let outside = Folder::new("rights_outside");
        let mut gateway = site.start("metrics = \"127.0.0.1:9100\"");
        // After a reload, which ran `nft`, all threads exist.
        gateway.signal("HUP");
        gateway.wait_for_log("generation=2");
        let threads = threads(&gateway);
        assert!(threads.len() >= 4, "{threads:?}");
        for (_, status) in &threads {
            // The first starts before everything is given up, others behind it: they may not lower their bound any more.
            let (held, bound) = match fact(status, "Name") {
                "offramp-log" => (0, 0),
                "offramp" | "tokio-rt-worker" => (NET_ADMIN, NET_ADMIN),
                _ => (0, NET_ADMIN),
            };
            assert_kept(status, held, bound);
        }
        // Threads that read what others send make the system calls of their work; the rest have those of this test.
        let filters = |name: &str| -> u32 {
            let of_thread = threads.iter().find(|it| fact(&it.1, "Name") == name);
            let (_, status) = of_thread.unwrap_or_else(|| panic!("{name}: {threads:?}"));
            fact(status, "Seccomp_filters").parse().expect("a number")
        };
        for name in ["offramp-0", "offramp-drops", "offramp-log"] {
            assert_eq!(filters(name), filters("offramp") + 1, "{name}");
        }
        // They must not be given signals, whose handler makes a call that is none of their work.
        for (_, status) in &threads {
            let blocked = u64::from_str_radix(fact(status, "SigBlk"), 16).expect("a mask");
            let name = fact(status, "Name");
            let may_be_given = match name {
                "offramp" => true,
                name if filters(name) > filters("offramp") => false,
                _ => continue,
            };
            for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
                let is_blocked = (blocked >> (signal as u32 - 1)) & 1 == 1;
                assert_eq!(is_blocked, !may_be_given, "{signal}: {status}");
            }
        }

        // A feed and a policy whose paths can no longer be read.
        let secret = outside.write("prefixes.json", "{}");
        let feed = format!(
            "{}[[feed]]\nname = \"outside\"\nformat = \"prefixes\"\nfile = \"{secret}\"\n",
            plain::policy(&site.folder, "")
        );
        let refused = |count: u64| {
            poll("the refusal", || {
                (site.status()["reloads"]["refused"] == count).then_some(())
            });
            let status = site.status();
            let why = status["reloads"]["last_error"].as_str().unwrap_or_default();
            assert!(why.contains("Permission denied"), "{why}");
            assert!(
                why.contains("restart offramp to have it read from there"),
                "{why}"
            );
        };
        site.folder.write("policy.toml", feed);
        refused(1);
        let elsewhere = outside.write("policy.toml", plain::policy(&site.folder, ""));
        let file = site.folder.path("policy.toml");
        fs::remove_file(&file).expect("it is there");
        symlink(elsewhere, &file).expect("a free place");
        refused(2);
        fs::remove_file(&file).expect("it is there");
        site.folder
            .write("policy.toml", plain::policy(&site.folder, ""));
        gateway.wait_for_log("generation=3");

        // The system calls of a running gateway.
        site.concentrator.nft("flush ruleset");
        gateway.wait_for_log("another program has removed or changed the nftables table");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        assert!(ask(&site, "/metrics").contains("offramp_"));
        assert_eq!(gateway.terminate().code(), Some(0));
        assert!(!fs::exists(site.folder.path("control.sock")).expect("a folder"));
    });
}

/// CAP_NET_ADMIN, as a mask (linux/capability.h).
const NET_ADMIN: u64 = 1 << 12;

/// Asserts that a thread holds these capabilities, and no program that it runs may have more than `bound`.
#[track_caller]
fn assert_kept(status: &str, held: u64, bound: u64) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let kept = u64::from_str_radix(fact(status, set), 16);
        let expected = if set == "CapBnd" { bound } else { held };
        assert_eq!(kept, Ok(expected), "{set}: {status}");
    }
    assert_eq!(fact(status, "NoNewPrivs"), "1", "{status}");
}

#[test]
fn only_control_may_change_the_network_and_workers_judge_without_that_right() {
    in_sandbox(&[], || {
        let site = PlainSite::new("threads");
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE, DNS);
        let folder = site.folder.path("");
        let mut gateway = site.start(&format!(
            "workers = 2\ndrop_log = \"{folder}/drops.jsonl\"\n\
             [dns]\nlisten = [\"10.0.0.1:53\"]\nupstreams = [\"10.20.0.7\"]\nquery_log = \"{folder}/queries.jsonl\""
        ));
        // Each worker, and the threads that write, have something to do.
        for _ in 0..20 {
            site.send(OFFICE, MEDIA, 1, 100);
        }
        site.wait_for_answer(OFFICE, DNS);
        let written = |file: &str| {
            let length = |path| fs::metadata(path).ok().map(|it| it.len());
            poll(file, || {
                length(site.folder.path(file)).filter(|length| *length > 0)
            });
        };
        written("drops.jsonl");
        gateway.signal("HUP");
        gateway.wait_for_log("generation=2");

        let threads = threads(&gateway);
        let mut names: Vec<&str> = threads.iter().map(|it| fact(&it.1, "Name")).collect();
        names.sort_unstable();
        for name in [
            "dns",
            "offramp",
            "offramp-0",
            "offramp-1",
            "offramp-drops",
            "offramp-queries",
        ] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        let answering = names
            .iter()
            .filter(|it| it.starts_with("dns") && **it != "dns-large");
        assert_eq!(site.status()["dns"]["threads"], answering.count());
        let filtered = |name: &str| {
            let of_thread = threads.iter().find(|it| fact(&it.1, "Name") == name);
            of_thread.map(|(_, status)| fact(status, "Seccomp_filters").parse::<u32>())
        };
        let own = filtered("offramp").and_then(Result::ok).expect("a number");
        for name in [
            "dns",
            "offramp-0",
            "offramp-1",
            "offramp-drops",
            "offramp-queries",
        ] {
            assert_eq!(filtered(name), Some(Ok(own + 1)), "{name}");
        }
        for (_, status) in &threads {
            let name = fact(status, "Name");
            let held = u64::from_str_radix(fact(status, "CapEff"), 16).expect("a mask");
            // `tokio-rt-worker` are the threads that control has read firewalls, by the right to change them.
            let may_change = matches!(name, "offramp" | "tokio-rt-worker");
            assert_eq!(held & NET_ADMIN != 0, may_change, "{status}");
            if !may_change {
                assert_eq!(fact(status, "CapPrm"), "0000000000000000", "{status}");
            }
        }
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        assert!(site.is_answered(OFFICE, DNS, 100));
        assert_eq!(gateway.terminate().code(), Some(0));
        assert!(!site.concentrator.has_interface("offramp0"));
    });
}

#[test]
fn a_folder_that_was_replaced_is_named_as_the_reason_why_its_policy_cannot_be_read() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("replaced_folder");
        let policies = site.folder.path("policies");
        fs::create_dir(&policies).expect("a folder");
        let policy = format!("{policies}/policy.toml");
        let text = plain::policy(&site.folder, "");
        fs::write(&policy, &text).expect("a file");
        let log = site.folder.path("gateway.log");
        let mut command = program(&["run", &policy]);
        let mut gateway = Daemon::start(&site.concentrator, "offramp run", log, &mut command);
        gateway.wait_for_log(" ready: ");
        // As configuration management that builds the folder anew, and exchanges them.
        fs::rename(&policies, site.folder.path("before")).expect("a free name");
        fs::create_dir(&policies).expect("a folder");
        fs::write(&policy, text.replace("10.0.0.0/8", "10.0.0.0/9")).expect("a file");
        let why = poll("the refusal", || {
            let error = site.status()["reloads"]["last_error"].clone();
            error.as_str().map(str::to_owned)
        });
        assert!(why.contains("Permission denied"), "{why}");
        let said = format!(
            "{policies} was replaced by another folder of its name since the start, and offramp can read only the one that was \
             there: restart offramp to have {policy} read"
        );
        assert!(why.contains(&said), "{why}");
    });
}

#[test]
fn files_that_others_could_redirect_are_not_written_and_the_reason_is_said() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("redirected");
        site.echo(OFFICE, DNS);
        let path = |name: &str| site.folder.path(name);
        for folder in ["logs", "open", "state", "pushed"] {
            fs::create_dir(path(folder)).expect("a folder");
        }
        let precious = site.folder.write("precious", "precious\n");
        for link in [
            "logs/drops.jsonl",
            "state/last-good.json",
            "pushed/group.conf",
        ] {
            symlink(&precious, path(link)).expect("a free place");
        }
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(path("open"), open).expect("it is ours");
        let text = plain::policy(
            &site.folder,
            &format!(
                "drop_log = \"{}\"\n[routes]\npush = [\"ocserv:{}\"]\n[dns]\nlisten = [\"10.0.0.1:53\"]\n\
                 upstreams = [\"10.20.0.7\"]\nquery_log = \"{}\"",
                path("logs/drops.jsonl"),
                path("pushed/group.conf"),
                path("open/queries.jsonl")
            ),
        );
        let policy = site.folder.write("policy.toml", text);
        let mut command = program(&["run", &policy]);
        command.env("STATE_DIRECTORY", path("state"));
        let log = path("gateway.log");
        let mut gateway = Daemon::start(&site.concentrator, "offramp run", log, &mut command);
        gateway.wait_for_log(" ready: ");
        let is_link = format!("it is a symbolic link to {precious}, which is not followed");
        gateway.wait_for_log(&format!(
            "cannot write the drop log {}: {is_link}",
            path("logs/drops.jsonl")
        ));
        gateway.wait_for_log(&format!(
            "no copy of the policy can be kept in {}: {is_link}",
            path("state")
        ));
        gateway.wait_for_log(&format!(
            "everybody may write to {open}, and could have another file written: run `chmod o-w {open}`",
            open = path("open")
        ));
        let status = poll("the push", || {
            let status = site.status();
            (status["pushes"][0]["state"] == "failed").then_some(status)
        });
        let result = status["pushes"][0]["result"].as_str().unwrap_or_default();
        assert!(result.contains("offramp did not write"), "{result}");
        let error = status["drop_log"]["error"].as_str().unwrap_or_default();
        assert!(error.contains(&is_link), "{status:#}");
        assert!(site.is_answered(OFFICE, DNS, 100));

        // The remedy, without a restart.
        fs::remove_file(path("logs/drops.jsonl")).expect("it is ours");
        gateway.wait_for_log("writing the drop log");
        assert_eq!(gateway.terminate().code(), Some(0));
        let text = fs::read_to_string(precious).expect("it is there");
        assert_eq!(text, "precious\n");
        assert_eq!(fs::read_dir(path("open")).expect("a folder").count(), 0);
    });
}

#[test]
fn a_kernel_or_a_profile_without_landlock_is_no_obstacle() {
    in_sandbox(&["strace"], || {
        let site = PlainSite::new("without_landlock");
        site.echo(OFFICE, DNS);
        let policy = plain::policy(&site.folder, "");
        let policy = site.folder.write("policy.toml", policy);
        // Seccomp profiles refuse what they do not list by either of these.
        for error in ["ENOSYS", "EPERM"] {
            let mut command = Command::new("strace");
            command
                .args(["-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"])
                .args(["-e", &format!("inject=/^landlock_:error={error}")])
                .args([env!("CARGO_BIN_EXE_offramp"), "run", &policy]);
            let log = site.folder.path(&format!("{error}.log"));
            let mut gateway = Daemon::start(&site.concentrator, "offramp run", log, &mut command);
            gateway.wait_for_log(
                "the kernel has no Landlock to restrict files with, or a seccomp profile refuses it",
            );
            gateway.wait_for_log("ready: ");
            assert!(site.is_answered(OFFICE, DNS, 100), "{error}");
            // The tracer would leave its child behind.
            let pid = site.status()["pid"].to_string();
            signal(pid.parse().expect("a number"), "TERM");
            gateway.wait();
        }
    });
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    in_sandbox(&[], || {
        let site = PlainSite::new("unread");
        let policy = plain::policy(&site.folder, "");
        let policy = site.folder.write("policy.toml", policy);
        let (unread, mut pipe) = std::io::pipe().expect("a pipe");
        // Until the pipe is full: then the first line of the log does not fit.
        let filled = thread::spawn({
            let mut pipe = pipe.try_clone().expect("a file can be shared");
            move || while pipe.write(&[b'\n'; 4_096]).is_ok() {}
        });
        let start = || {
            program(&["run", &policy])
                .stderr(pipe.try_clone().expect("a file"))
                .spawn()
        };
        let mut gateway = site.concentrator.enter(start).expect("it starts");
        poll("the gateway", || {
            let asked = site.offramp(&["status", "--control", &site.folder.path("control.sock")]);
            (asked.code == Some(0)).then_some(())
        });
        for generation in 2..10 {
            signal(gateway.id(), "HUP");
            poll("the reload", || {
                (site.status()["generation"] == generation).then_some(())
            });
        }
        signal(gateway.id(), "TERM");
        let ended = wait(&mut gateway, DEADLINE).expect("it ends");
        assert_eq!(ended.code(), Some(0));
        // A failed start ends as well.
        let again = || program(&["run", "/nowhere"]).stderr(Stdio::null()).status();
        assert_eq!(
            site.concentrator.enter(again).expect("it starts").code(),
            Some(2)
        );
        _ = pipe.flush();
        drop(unread);
        filled.join().expect("it ends with its reader");
    });
}

#[test]
fn an_unrelated_process_that_holds_the_name_keeps_no_gateway_from_starting() {
    in_sandbox(&[], || {
        use socket2::{Domain, SockAddr, Socket, Type};
        let site = PlainSite::new("unrelated");
        // The process accepts no connection, so that its identity cannot be checked.
        let address = SockAddr::unix("\0offramp/gateway").expect("a short name");
        let new = || Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let (_unrelated, _guests) = site.concentrator.enter(|| {
            let unrelated = new();
            unrelated.bind(&address).expect("a free name");
            unrelated.listen(0).expect("a bound socket");
            let mut guests = Vec::new();
            loop {
                let guest = new();
                guest.set_nonblocking(true).expect("a socket");
                if guest.connect(&address).is_err() {
                    break;
                }
                guests.push(guest);
            }
            (unrelated, guests)
        });
        let mut gateway = site.start("");
        assert!(
            gateway
                .log()
                .contains("an unrelated process holds the socket name"),
            "{}",
            gateway.log()
        );
        let policy = site.folder.path("policy.toml");
        let refused = site.offramp(&["run", &policy]).error(1);
        assert!(refused.contains("already runs on this host"), "{refused}");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn systemd_takes_the_unit_and_finds_little_exposed() {
    // In tenths: 2.1 of 10, of which names at port 53 (CAP_NET_BIND_SERVICE) are 0.1.
    is_little_exposed("offramp.service", "--threshold=21");
}

#[test]
fn systemd_takes_the_unit_of_the_fleet_and_finds_less_exposed() {
    is_little_exposed("offramp-fleet.service", "--threshold=18");
}

fn is_little_exposed(name: &str, threshold: &str) {
    if !is_installed("systemd-analyze") {
        return;
    }
    let folder = Folder::new(&format!("unit-{name}"));
    let unit = fs::read_to_string(project(&format!("config/{name}"))).expect("the unit");
    assert!(unit.contains("=/usr/bin/offramp "), "{unit}");
    // As if this program were installed.
    let unit = unit.replace("/usr/bin/offramp", env!("CARGO_BIN_EXE_offramp"));
    let file = folder.write(name, unit);
    let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no", &file]));
    // Units of other packages are read, too.
    let is_of_others = |line: &&str| line.starts_with("/lib/systemd/system/");
    let lines = verified.stderr.lines();
    assert_eq!(
        lines.filter(|line| !is_of_others(line)).collect::<Vec<_>>(),
        [""; 0]
    );
    verified.success();
    let rated = ["security", "--offline=true", "--no-pager", threshold, &file];
    run(Command::new("systemd-analyze").args(rated)).success();
}
