//! The drop log and the capture of drops: their content, and that no failing disk or pipe affects the traffic.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use offramp::capture::CaptureReader;
use serde_json::Value;

use crate::site::plain::{self, CLIENT, CLIENT6, DNS, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Daemon, in_sandbox, poll};
use crate::support::{program, run, signal};

/// Returns the lines of a log, each a JSON object.
#[track_caller]
fn lines(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "a line is torn");
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

/// Returns the series of the endpoint whose names begin with `name`.
fn series(site: &PlainSite, name: &str) -> Vec<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], 9464));
    let stream = site.concentrator.enter(|| TcpStream::connect(address));
    let mut stream = stream.expect("it listens");
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        .expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let of = text.lines().filter(|line| line.starts_with(name));
    of.map(str::to_owned).collect()
}

/// Starts the gateway with a capture of drops in addition to the policy's settings.
fn start(site: &PlainSite, gateway: &str, arguments: &[&str]) -> Daemon {
    let policy = plain::policy(&site.folder, gateway);
    let policy = site.folder.write("policy.toml", policy);
    let mut daemon = Daemon::start(
        &site.concentrator,
        "offramp run",
        site.folder.path("gateway.log"),
        &mut program(&[&["run", &policy], arguments].concat()),
    );
    daemon.wait_for_log(" ready: ");
    daemon
}

fn record(site: &PlainSite, which: &str) -> (u64, u64, Option<String>) {
    let status = site.status();
    let number = |key: &str| {
        status[which][key]
            .as_u64()
            .unwrap_or_else(|| panic!("{status:#}"))
    };
    let error = status[which]["error"].as_str().map(str::to_owned);
    (number("written"), number("lost"), error)
}

#[test]
fn drops_are_logged_and_captured_with_who_what_and_why() {
    in_sandbox(&["tshark"], || {
        let site = PlainSite::new("who_what_why");
        let log = site.folder.path("logs/drops.jsonl");
        let capture = site.folder.path("dropped.pcapng");
        let options = format!(
            "drop_log = \"{log}\"\ndrop_log_rate = 5\nmetrics = \"127.0.0.1:9464\"\n\
                 [[server]]\nname = \"Front End\"\naddresses = [\"10.1.0.10\"]"
        );
        let arguments = ["--capture-dropped", &capture, "--snap-length", "100"];
        let mut gateway = start(&site, &options, &arguments);

        // Packets between different hosts have no order among them.
        let logged = |count| poll("a line", || (lines(&log).len() == count).then_some(()));
        let first = site.send(OFFICE, MEDIA, 1, 300);
        logged(1);
        let second = site.send(OFFICE6, MEDIA, 1, 20);
        logged(2);
        // Passes, and must not be logged.
        site.send(OFFICE, DNS, 1, 20);
        let third = site.send("10.1.0.10", 5_061, 1, 20);
        logged(3);
        site.send(OFFICE, MEDIA, 200, 20);
        poll("all packets", || {
            (record(&site, "drop_capture").0 == 203).then_some(())
        });

        let of = lines(&log);
        let told: Vec<_> = of[..3]
            .iter()
            .map(|line| {
                let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                let parties = (text("source"), text("destination"));
                let ports = (
                    line["source_port"].as_u64(),
                    line["destination_port"].as_u64(),
                );
                (
                    text("reason"),
                    text("rule"),
                    parties,
                    ports,
                    line["length"].as_u64(),
                )
            })
            .collect();
        let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let line = |reason: &str, rule: &str, parties, from: u16, to: u16, length| {
            let ports = (Some(from.into()), Some(to.into()));
            (
                reason.to_owned(),
                rule.to_owned(),
                parties,
                ports,
                Some(length),
            )
        };
        let wanted = [
            line("media", "media", owned(CLIENT, OFFICE), first, MEDIA, 328),
            line("media", "media", owned(CLIENT6, OFFICE6), second, MEDIA, 68),
            line(
                "servers",
                "Front End",
                owned(CLIENT, "10.1.0.10"),
                third,
                5_061,
                48,
            ),
        ];
        assert_eq!(told, wanted);
        for path in [&log, &capture] {
            let mode = fs::metadata(path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "addresses of clients are in {path}");
        }

        let (written, lost, error) = record(&site, "drop_log");
        assert_eq!((lost, error), (0, None));
        assert_eq!(written, lines(&log).len() as u64);
        assert!(written < 50, "{written} of 203: it is a sample");
        let told = series(&site, "offramp_drop_record");
        let has = |line: &str| assert!(told.iter().any(|it| it == line), "{line}: {told:#?}");
        has("offramp_drop_records_total{record=\"capture\",result=\"written\"} 203");
        has("offramp_drop_records_total{record=\"log\",result=\"lost\"} 0");
        has("offramp_drop_record_failed{record=\"log\"} 0");
        let socket = site.folder.path("control.sock");
        let text = site.offramp(&["status", "--control", &socket]).success();
        assert!(
            text.contains("capture of drops") && text.contains("203 packets written"),
            "{text}"
        );

        // The next line reports the drops that had no line.
        poll("a line that tells of the others", || {
            site.send(OFFICE, MEDIA, 1, 20);
            let unwritten: u64 = lines(&log)
                .iter()
                .filter_map(|line| line["unwritten"].as_u64())
                .sum();
            (unwritten + lines(&log).len() as u64 > 150).then_some(())
        });
        assert_eq!(gateway.terminate().code(), Some(0));

        let shown = run(Command::new("tshark").args([
            "-r",
            &capture,
            "-T",
            "fields",
            "-e",
            "frame.comment",
            "-e",
            "frame.cap_len",
            "-e",
            "frame.len",
            "-e",
            "udp.dstport",
        ]))
        .success();
        let shown: Vec<&str> = shown.lines().collect();
        assert_eq!(shown[0], "media: media\t100\t328\t50020");
        assert_eq!(shown[1], "media: media\t68\t68\t50020");
        assert_eq!(shown[2], "servers: Front End\t48\t48\t5061");
        assert!(shown.len() >= 203);
    });
}

#[test]
fn the_last_drop_of_a_client_is_explained_from_the_log_of_the_policy() {
    in_sandbox(&[], || {
        let site = PlainSite::new("last_drop");
        let log = site.folder.path("drops.jsonl");
        let server = "[[server]]\nname = \"Front End\"\naddresses = [\"10.1.0.10\"]";
        let mut gateway = start(&site, &format!("drop_log = \"{log}\"\n{server}"), &[]);
        let policy = site.folder.path("policy.toml");
        let said = site.offramp(&["explain", &policy, "--last-drop"]).error(1);
        assert!(said.contains("has no line"), "{said}");

        let logged = |count| poll("a line", || (lines(&log).len() == count).then_some(()));
        let port = site.send("10.1.0.10", 5_061, 1, 20);
        logged(1);
        site.send(OFFICE, MEDIA, 1, 20);
        logged(2);
        let explain = |arguments: &[&str]| {
            let arguments = [&["explain", &policy, "--last-drop"], arguments].concat();
            site.offramp(&arguments)
        };
        let last = explain(&[]).success();
        assert!(
            last.contains("to 10.20.0.7:50020, drop media by [media]"),
            "{last}"
        );
        assert!(
            last.contains("drop media: corporate.subnets holds"),
            "{last}"
        );
        let of_server = explain(&["--client", CLIENT, "--to", "10.1.0.10"]).success();
        let wanted = format!(
            "udp from {CLIENT}:{port} to 10.1.0.10:5061, drop servers by [[server]] Front End"
        );
        assert!(of_server.contains(&wanted), "{of_server}");
        assert!(
            of_server.contains("drop servers: [[server]] \"Front End\" holds"),
            "{of_server}"
        );
        let json = explain(&["--to", "10.1.0.10:5061", "--json"]).json();
        assert_eq!(json["agrees"], true);
        assert_eq!(json["line"]["source_port"], port);
        assert_eq!(json["explanation"]["answers"][0]["reason"], "servers");
        let said = explain(&["--client", "172.16.1.99"]).error(1);
        assert!(said.contains("none of the 2 lines"), "{said}");

        // A line by itself, as it stands in the log.
        let text = fs::read_to_string(&log).expect("it is there");
        let line = text.lines().next().expect("two");
        let told = site.offramp(&["explain", &policy, "--drop-log-line", line]);
        assert!(told.success().contains(&wanted));
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn a_reload_switches_the_log_to_another_place_off_and_on() {
    in_sandbox(&[], || {
        let site = PlainSite::new("switched");
        let [one, two] = ["one.jsonl", "two.jsonl"].map(|name| site.folder.path(name));
        let logged_to = |place: &str| format!("drop_log = \"{place}\"");
        let mut gateway = start(&site, &logged_to(&one), &[]);
        let mut generation = 1;
        let mut reload = |gateway: &str| {
            let policy = plain::policy(&site.folder, gateway);
            site.folder.write("policy.toml", policy);
            generation += 1;
            poll("the reload", || {
                (site.status()["generation"] == generation).then_some(generation)
            })
        };
        let drop_one = |place: &str, lines_before: usize| {
            site.send(OFFICE, MEDIA, 1, 20);
            poll("a line", || lines(place).into_iter().nth(lines_before))
        };
        assert_eq!(drop_one(&one, 0)["generation"], 1);
        let generation = reload(&logged_to(&two));
        assert_eq!(drop_one(&two, 0)["generation"], generation);
        reload("");
        assert!(site.status()["drop_log"].is_null());
        let before = site.count("drop", "media");
        site.send(OFFICE, MEDIA, 1, 20);
        poll("the drop", || {
            (site.count("drop", "media") > before).then_some(())
        });
        let generation = reload(&logged_to(&one));
        assert_eq!(drop_one(&one, 1)["generation"], generation);
        assert_eq!(gateway.terminate().code(), Some(0));
        assert_eq!([&one, &two].map(|place| lines(place).len()), [2, 1]);

        // A dry run reports it and does not start it.
        let log = site.folder.path("never.jsonl");
        let text = plain::policy(&site.folder, &format!("drop_log = \"{log}\""));
        let policy = site.folder.write("policy.toml", text);
        let capture = site.folder.path("never.pcapng");
        let arguments = ["run", &policy, "--dry-run", "--capture-dropped", &capture];
        let said = site.offramp(&arguments).success();
        for part in [
            format!("# drops are logged to {log}, 10 lines a second at most for each reason"),
            format!("# drops are captured to {capture}, the first 256 bytes of each, 64 MiB"),
        ] {
            assert!(said.contains(&part), "{part}: {said}");
        }
        assert!(!fs::exists(log).expect("a folder") && !fs::exists(capture).expect("a folder"));
    });
}

/// A file system mounted in a folder of the site, until it is dropped.
struct Disk(String);

impl Disk {
    fn new(site: &PlainSite, options: &str) -> Self {
        let path = site.folder.path("disk");
        fs::create_dir_all(&path).expect("a folder");
        let disk = Self(path);
        disk.mount(&["-t", "tmpfs", "-o", options, "tmpfs"]);
        disk
    }

    fn remount(&self, options: &str) {
        self.mount(&["-o", &format!("remount,{options}")]);
    }

    #[track_caller]
    fn mount(&self, arguments: &[&str]) {
        run(Command::new("mount").args(arguments).arg(&self.0)).success();
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").args(["--lazy", &self.0]));
    }
}

/// Asserts that media is dropped and other traffic answered, whatever the state of logs.
#[track_caller]
fn assert_judges(site: &PlainSite) {
    // On a busy machine the first packet may be slow.
    site.wait_for_answer(OFFICE, DNS);
    assert!(!site.is_answered(OFFICE, MEDIA, 100));
}

/// Returns how often the log reports a failed write.
fn complaints(gateway: &Daemon) -> usize {
    gateway
        .log()
        .matches("records are lost until writing succeeds")
        .count()
}

#[test]
fn a_full_disk_stops_the_log_and_the_capture_and_nothing_else() {
    in_sandbox(&[], || {
        let site = PlainSite::new("full");
        let disk = Disk::new(&site, "size=64k");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        let (log, capture) = (disk.path("drops.jsonl"), disk.path("dropped.pcapng"));
        let options = format!("drop_log = \"{log}\"\ndrop_log_rate = 1000");
        let mut gateway = start(&site, &options, &["--capture-dropped", &capture]);
        let failed = |which: &str| record(&site, which).2;
        poll("the disk to be full", || {
            site.send(OFFICE, MEDIA, 50, 200);
            (failed("drop_log").is_some() && failed("drop_capture").is_some()).then_some(())
        });
        assert_judges(&site);
        // Retries continue, but each failure is reported once.
        let lost = record(&site, "drop_capture").1;
        poll("more to be lost", || {
            site.send(OFFICE, MEDIA, 50, 200);
            (record(&site, "drop_capture").1 > lost + 500).then_some(())
        });
        assert_eq!(complaints(&gateway), 2, "{}", gateway.log());
        let why = failed("drop_log").unwrap_or_default();
        assert!(why.contains("No space left on device"), "{why}");
        // The records in the file are complete.
        assert!(!lines(&log).is_empty());
        assert!(frames(&capture) > 0);

        disk.remount("size=4m");
        for which in ["drop_log", "drop_capture"] {
            poll("writing to succeed", || {
                failed(which).is_none().then_some(())
            });
        }
        site.send(OFFICE, MEDIA, 5, 200);
        gateway.wait_for_log("succeeds again");
        assert_judges(&site);
        assert_eq!(gateway.terminate().code(), Some(0));
        let told: u64 = lines(&log)
            .iter()
            .map(|line| 1 + line["unwritten"].as_u64().expect("a number"))
            .sum();
        assert!(told > lines(&log).len() as u64, "lost lines are stood for");
        frames(&capture);
    });
}

/// Returns the number of packets in a capture, which must be complete.
#[track_caller]
fn frames(path: &str) -> usize {
    let file = File::open(path).expect("a file");
    let mut reader = CaptureReader::new(file).expect("a capture");
    let mut count = 0;
    while let Some(frame) = reader.next_frame().expect("a whole capture") {
        assert!(!frame.bytes.is_empty());
        count += 1;
    }
    count
}

#[test]
fn a_disk_that_takes_nothing_keeps_the_gateway_from_nothing() {
    in_sandbox(&["strace"], || {
        let site = PlainSite::new("nothing");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        // Read-only from the start.
        let disk = Disk::new(&site, "size=1m,ro");
        let log = disk.path("drops.jsonl");
        let mut gateway = start(&site, &format!("drop_log = \"{log}\""), &[]);
        gateway.wait_for_log("Read-only file system (os error 30); traffic goes on");
        assert_judges(&site);
        disk.remount("rw");
        gateway.wait_for_log("succeeds again");
        poll("a line", || {
            site.send(OFFICE, MEDIA, 1, 20);
            lines(&log).pop()
        });

        // A disk with errors.
        let mut injector = Daemon::start(
            &site.concentrator,
            "strace",
            site.folder.path("strace.log"),
            Command::new("strace").args([
                "-f",
                "-p",
                &gateway.pid().to_string(),
                "-P",
                &log,
                "-e",
                "trace=write",
                "-e",
                "inject=write:error=EIO",
            ]),
        );
        injector.wait_for_log("attached");
        poll("the error", || {
            site.send(OFFICE, MEDIA, 1, 20);
            let (.., error) = record(&site, "drop_log");
            error.filter(|error| error.contains("Input/output error"))
        });
        assert_judges(&site);
        assert_eq!(complaints(&gateway), 2, "{}", gateway.log());
        injector.terminate();
        let before = lines(&log).len();
        poll("another line", || {
            site.send(OFFICE, MEDIA, 1, 20);
            (lines(&log).len() > before).then_some(())
        });
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn a_log_on_standard_output_survives_whoever_reads_it() {
    in_sandbox(&[], || {
        let site = PlainSite::new("output");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        let options = "drop_log = \"-\"\ndrop_log_rate = 1000";
        let policy = plain::policy(&site.folder, options);
        let policy = site.folder.write("policy.toml", policy);
        let log = site.folder.path("gateway.log");
        let mut command = program(&["run", &policy]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a file"));
        let child = site.concentrator.enter(|| command.spawn());
        let mut child = child.expect("it starts");
        let said = |text: &str| {
            let log = fs::read_to_string(&log).expect("a file");
            log.contains(text).then_some(())
        };
        poll("it is ready", || said(" ready: "));
        let mut reader = std::io::BufReader::new(child.stdout.take().expect("piped"));
        site.send(OFFICE, MEDIA, 1, 20);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut reader, &mut line).expect("a line");
        let line: Value = serde_json::from_str(&line).expect("an object");
        assert_eq!(line["destination"], OFFICE);

        // A reader that stalls: the pipe fills.
        poll("the pipe to be full", || {
            site.send(OFFICE, MEDIA, 500, 20);
            let (.., error) = record(&site, "drop_log");
            error.filter(|error| error.contains("a write to it hangs"))
        });
        assert_judges(&site);

        // And one that closes the pipe.
        drop(reader);
        poll("the end of the pipe", || {
            said("Broken pipe (os error 32); traffic goes on")
        });
        assert_judges(&site);
        signal(child.id(), "TERM");
        let ended = crate::support::wait(&mut child, crate::site::DEADLINE).expect("it ends");
        assert_eq!(ended.code(), Some(0), "{:?}", fs::read_to_string(&log));
    });
}
