//! Programs that work beside recognition of media: databases, file servers, remote desktops and the like at the office, used
//! by a client of the VPN, while calls to the same office are dropped.

mod files;

use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::site::filter::Status;
use crate::site::plain::{OFFICE, OFFICE6, PlainSite};
use crate::site::traffic::payload;
use crate::site::{Daemon, Diversion, in_sandbox, poll};
use crate::support::{run, skip};

const ICE: &str = "\n[media]\nmatch = \"ice\"";

/// A port of a call, at an office host that answers every datagram.
const CALL: u16 = 50_020;

/// A connectivity check (RFC 8445 §7.1): a binding request with a user name.
const CHECK: [u8; 28] = [
    0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11, 12, 0, 6, 0, 4, b'a',
    b':', b'b', b'c',
];

/// The size of a file that is copied: 20 MB.
const FILE: usize = 20_000_000;

/// Runs `work` beside a filter that recognizes calls, while a client tries to call the office all the time.
fn beside_calls(name: &str, work: impl FnOnce(&PlainSite)) {
    beside_calls_of(name, ICE, work);
}

/// Does the same with this content of `[gateway]`, and the sections behind it.
fn beside_calls_of(name: &str, gateway: &str, work: impl FnOnce(&PlainSite)) {
    let site = PlainSite::new(name);
    for address in [OFFICE, OFFICE6] {
        site.echo(address, CALL);
        poll("a call without a filter", || {
            is_answered(&call(&site, address)).then_some(())
        });
    }
    let mut gateway = site.start(gateway);
    let (is_over, calls) = (AtomicBool::new(false), [OFFICE, OFFICE6]);
    let attempts = thread::scope(|scope| {
        let calling = scope.spawn(|| {
            let mut attempts = 0;
            while !is_over.load(Ordering::Relaxed) {
                for address in calls {
                    assert!(!is_answered(&call(&site, address)), "a call to {address}");
                    attempts += 1;
                }
            }
            attempts
        });
        let over = Over(&is_over);
        work(&site);
        drop(over);
        calling.join().expect("no call gets through")
    });
    assert!(attempts > 0, "calls are tried while the service is used");
    // Each check, and nothing else: no packet of the service.
    let status = Status(site.status());
    assert_eq!(status.dropped("media"), attempts, "{status:?}");
    assert_eq!(verdicts(&status, "drop"), attempts, "{status:?}");
    // By the packet, or by its flow where two attempts had the same port.
    let evidence = status.0["media"]["evidence"].as_array().expect("a list");
    assert!(
        evidence.iter().all(|it| it["evidence"] == "stun-check"),
        "{evidence:?}"
    );
    assert_eq!(gateway.terminate().code(), Some(0));
}

/// Ends the calls when it is dropped, by a panic, too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A socket of the client for a call of its own.
fn call(site: &PlainSite, address: &str) -> UdpSocket {
    let socket = site.socket_to(address);
    let waits = socket.set_read_timeout(Some(Duration::from_millis(50)));
    waits.expect("a duration");
    socket.connect((address, CALL)).expect("there is a route");
    socket
}

fn is_answered(call: &UdpSocket) -> bool {
    call.send(&CHECK).expect("there is a route");
    call.recv(&mut [0; 100]).is_ok()
}

/// Returns the packets from clients with this action, for whatever reason.
fn verdicts(status: &Status, action: &str) -> u64 {
    let verdicts = status.0["verdicts"].as_array().expect("a list");
    let meant = verdicts.iter().filter(|it| it["action"] == action);
    meant.filter_map(|it| it["packets"].as_u64()).sum()
}

/// Runs `work`, and asserts that what it sent went by the filter; prints and returns how fast `bytes` were, in Mbit/s.
fn measured(site: &PlainSite, what: &str, bytes: usize, work: impl FnOnce()) -> f64 {
    let forwarded = || verdicts(&Status(site.status()), "forward");
    let (before, start) = (forwarded(), Instant::now());
    work();
    let took = start.elapsed();
    let packets = forwarded() - before;
    let rate = bytes as f64 * 8.0 / took.as_secs_f64() / 1e6;
    println!(
        "{:?}: {what}: {packets} packets of the client, {took:.1?}, {rate:.0} Mbit/s",
        Diversion::here()
    );
    assert!(packets > 5, "{what}: {packets} packets were diverted");
    rate
}

/// Does the same for a transfer, and asserts that nothing held it back: a busy machine is faster by far.
#[track_caller]
fn transferred(site: &PlainSite, what: &str, bytes: usize, work: impl FnOnce()) {
    let rate = measured(site, what, bytes, work);
    assert!(rate > 30.0, "{what}: {rate} Mbit/s");
}

/// Starts a server in the office, and waits until it accepts connections at `port` of both families.
#[track_caller]
fn serve(site: &PlainSite, name: &str, command: &mut Command, port: u16) -> Daemon {
    let log = site.folder.path(&format!("{name}.log"));
    let mut server = Daemon::start(&site.corporate, name, log, command);
    for address in [OFFICE, OFFICE6] {
        server.wait_until("it accepts connections", |_| {
            let connected = site.corporate.enter(|| TcpStream::connect((address, port)));
            connected.is_ok()
        });
    }
    server
}

/// Returns the text of a socket's address.
fn socket_of(address: &str, port: u16) -> String {
    let address = address.parse().expect("an address");
    SocketAddr::new(address, port).to_string()
}

/// Returns a command that runs a program as an ordinary user, who may use all ports: servers refuse to be root, and the
/// only user of a sandbox is. It has shared memory of its own.
fn as_nobody(site: &PlainSite, program: impl AsRef<std::ffi::OsStr>) -> Command {
    site.corporate.set("ipv4/ip_unprivileged_port_start", "0");
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-user=65534", "--map-group=65534", "--ipc"])
        .arg(program);
    command
}

/// Returns the folder of PostgreSQL's server programs, which Debian keeps out of the path.
fn postgresql() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let folders = versions.flatten().map(|it| it.path().join("bin"));
    let found = folders.filter(|it| it.join("initdb").is_file()).max();
    if found.is_none() {
        skip("the server of PostgreSQL is not installed");
    }
    found
}

#[test]
fn a_database_answers_queries_of_many_rows() {
    in_sandbox(&["psql"], || {
        let Some(programs) = postgresql() else {
            return;
        };
        beside_calls("postgresql", |site| {
            let data = site.folder.path("data");
            let mut create = as_nobody(site, programs.join("initdb"));
            create.args([
                "--pgdata",
                &data,
                "--username",
                "postgres",
                "--auth",
                "trust",
            ]);
            site.corporate
                .run(create.args(["--no-sync", "--no-locale", "--encoding", "UTF8"]))
                .success();
            let clients = "host all all all trust\n";
            fs::write(format!("{data}/pg_hba.conf"), clients).expect("a folder of ours");
            for port in [5432, 50_432] {
                let mut run = as_nobody(site, programs.join("postgres"));
                run.args(["-D", &data, "-p", &port.to_string(), "-h", "*"]);
                run.args(["-c", "fsync=off", "-c", "unix_socket_directories="]);
                run.args(["-c", "dynamic_shared_memory_type=mmap"]);
                let mut server = serve(site, "postgres", &mut run, port);
                server.wait_for_log("ready to accept connections");
                for address in [OFFICE, OFFICE6] {
                    queries(site, address, port);
                }
                // Its fast shutdown.
                server.signal("INT");
                assert!(server.wait().success(), "{}", server.log());
            }
        });
    });
}

/// Loads rows and reads them back.
fn queries(site: &PlainSite, address: &str, port: u16) {
    const ROWS: usize = 20_000;
    const ROW: usize = 1_024;
    let rows = format!("select repeat(md5(i::text), 32) from generate_series(1, {ROWS}) i");
    let mut query = Command::new("psql");
    query.args([
        "--no-psqlrc",
        "--tuples-only",
        "--no-align",
        "--username",
        "postgres",
    ]);
    query.args([
        "--host",
        address,
        "--port",
        &port.to_string(),
        "--command",
        &rows,
    ]);
    let what = format!("a query at {address}, port {port}");
    transferred(site, &what, ROWS * ROW, || {
        let answer = site.client.run(&mut query).success();
        let lengths: Vec<usize> = answer.lines().map(str::len).collect();
        assert_eq!(lengths, vec![ROW; ROWS], "{what}");
    });
}

#[test]
fn a_file_arrives_from_a_web_server_at_a_port_of_remote_management() {
    in_sandbox(&["python3", "curl"], || {
        beside_calls("web", |site| {
            let bytes = payload(FILE);
            let folder = site.folder.path("pages");
            fs::create_dir(&folder).expect("a folder");
            fs::write(format!("{folder}/file"), &bytes).expect("a folder of ours");
            // Windows Remote Management has 5985.
            for port in [5985, 50_080] {
                let mut run = Command::new("python3");
                run.args(["-m", "http.server", "--bind", "::", "--directory", &folder]);
                let _server = serve(site, "http.server", run.arg(port.to_string()), port);
                for address in [OFFICE, OFFICE6] {
                    let copy = site.folder.path("copy");
                    let mut client = Command::new("curl");
                    client.args(["--silent", "--show-error", "--fail", "--output", &copy]);
                    client.arg(format!("http://{}/file", socket_of(address, port)));
                    let what = format!("a file at {address}, port {port}");
                    transferred(site, &what, FILE, || {
                        site.client.run(&mut client).success();
                    });
                    assert!(fs::read(&copy).expect("a copy") == bytes, "{what}");
                }
            }
        });
    });
}

#[test]
fn measurements_of_throughput_are_no_calls() {
    in_sandbox(&["iperf3"], || {
        beside_calls("iperf3", |site| {
            let _server = serve(site, "iperf3", Command::new("iperf3").args(["-s"]), 5201);
            for address in [OFFICE, OFFICE6] {
                // From the client, then to it; a datagram fits any of the links.
                for arguments in [
                    &["-n", "100M"][..],
                    &["-n", "100M", "-R"],
                    &["-u", "-b", "50M", "-l", "1200", "-t", "2"],
                    &["-u", "-b", "50M", "-l", "1200", "-t", "2", "-R"],
                ] {
                    let mut client = Command::new("iperf3");
                    client.args(["-J", "-c", address]).args(arguments);
                    let what = format!("{address}: {arguments:?}");
                    let is_udp = arguments.contains(&"-u");
                    // After each connection, the test's own question whether it runs among them, the server closes its socket and
                    // opens it anew: who connected meanwhile is reset. On a busy machine a receiver that does not run loses
                    // what its socket has no room for: a measurement without that has to come.
                    let (rate, lost) = poll(&format!("{what}: a measurement"), || {
                        let report = site.client.run(&mut client).json();
                        let error = report["error"].as_str().unwrap_or_default();
                        let away = [
                            "Connection refused",
                            "unable to connect to server: Connection reset",
                            "server is busy",
                        ];
                        if away.iter().any(|it| error.contains(it)) {
                            return None;
                        }
                        assert!(report["error"].is_null(), "{what}: {error}");
                        let sum = &report["end"][if is_udp { "sum" } else { "sum_received" }];
                        let rate = sum["bits_per_second"].as_f64().expect("a rate") / 1e6;
                        let lost = sum["lost_percent"].as_f64().unwrap_or_default();
                        (lost < 2.0).then_some((rate, lost))
                    });
                    println!(
                        "{:?}: {what}: {rate:.0} Mbit/s, {lost:.2} % lost",
                        Diversion::here()
                    );
                    // What a busy machine does easily: a filter that holds a flow back is slower by far.
                    assert!(rate > if is_udp { 45.0 } else { 100.0 }, "{what}: {rate}");
                    assert_eq!(Status(site.status()).lost(), 0, "{what}: by the filter");
                }
            }
        });
    });
}

#[test]
fn a_remote_desktop_appears() {
    in_sandbox(
        &["xrdp", "xrdp-keygen", "xfreerdp", "Xvfb", "openssl"],
        || {
            beside_calls("desktop", |site| {
                let folder = &site.folder;
                let screen = folder.path("Xvfb_screen0");
                let mut display = Command::new("Xvfb");
                // Without files of its own in /tmp.
                display.args([
                    ":7",
                    "-noreset",
                    "-nolock",
                    "-nolisten",
                    "unix",
                    "-nolisten",
                    "local",
                ]);
                display.args([
                    "-listen",
                    "tcp",
                    "-screen",
                    "0",
                    "1024x768x24",
                    "-fbdir",
                    &folder.path(""),
                ]);
                let log = folder.path("Xvfb.log");
                let mut display = Daemon::start(&site.client, "Xvfb", log, &mut display);
                display.wait_until("it has a screen", |_| {
                    let connected = site.client.enter(|| TcpStream::connect("127.0.0.1:6007"));
                    connected.is_ok()
                });
                let (key, certificate) = (folder.path("key.pem"), folder.path("certificate.pem"));
                let mut sign = Command::new("openssl");
                sign.args([
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:2048",
                    "-nodes",
                    "-subj",
                    "/CN=office",
                ]);
                run(sign.args(["-keyout", &key, "-out", &certificate])).success();
                let mut keys = Command::new("xrdp-keygen");
                run(keys.args(["xrdp", &folder.path("rsakeys.ini")])).success();
                for port in [3389, 53_389] {
                    let settings = folder.write(
                    "xrdp.ini",
                    format!(
                        "[Globals]\nini_version=1\nfork=true\nport=tcp6://:{port}\nsecurity_layer=tls\n\
                         certificate={certificate}\nkey_file={key}\nautorun=\nallow_channels=true\n\
                         [Logging]\nLogFile={}\nLogLevel=INFO\nEnableSyslog=false\n\
                         [Xorg]\nname=Xorg\nlib=libxup.so\nusername=ask\npassword=ask\n",
                        folder.path("sessions.log")
                    ),
                );
                    let mut server = Command::new("xrdp");
                    server.args(["--nodaemon", "--config", &settings]);
                    let _server = serve(site, "xrdp", &mut server, port);
                    // By IPv4 alone: FreeRDP does not take an IPv6 address and a port.
                    let address = OFFICE;
                    let what = format!("a desktop at {address}, port {port}");
                    let dark = fs::read(&screen).expect("the screen's contents");
                    let mut client = Command::new("xfreerdp");
                    client.arg(format!("/v:{address}:{port}"));
                    client.arg("/cert:ignore").env("DISPLAY", "127.0.0.1:7");
                    client.env("HOME", folder.path(""));
                    measured(site, &what, dark.len(), || {
                        let log = folder.path("xfreerdp.log");
                        let mut client = Daemon::start(&site.client, "xfreerdp", log, &mut client);
                        // The window of the login covers half of the screen.
                        client.wait_until("the login", |_| {
                            let bright = fs::read(&screen).expect("the screen's contents");
                            let differ = dark.iter().zip(&bright).filter(|(a, b)| a != b);
                            differ.count() > dark.len() / 3
                        });
                    });
                    poll("a dark screen", || {
                        let screen = fs::read(&screen).expect("the screen's contents");
                        let differ = dark.iter().zip(&screen).filter(|(a, b)| a != b);
                        (differ.count() < dark.len() / 10).then_some(())
                    });
                }
            });
        },
    );
}
