//! `offramp observe` on interfaces with real traffic: each test runs in a network namespace of its own.
//!

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::sandbox::{in_sandbox, ip};
use crate::support::{TIME_LIMIT, is_installed, program, read_all, run, signal, skip, wait};

const POLICY: &str = "config/contoso.toml";
/// A client of the policy.
const CLIENT: &str = "172.16.1.10";
/// A host of its corporate network.
const OFFICE: &str = "10.2.0.20";

/// Adds the addresses of a client and of an office host to the loopback interface.
fn set_up_loopback() {
    for address in [CLIENT, OFFICE] {
        ip(&format!("address add {address}/32 dev lo"));
    }
}

/// A running command that captures packets; killed with the test.
struct Observer {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Observer {
    /// Starts to observe `interface`, and waits until the socket is open.
    fn start(interface: &str, arguments: &[&str]) -> Self {
        // A time limit of its own, in case the test is killed.
        let bounded = [
            &["observe", POLICY, interface, "--seconds", "50"],
            arguments,
        ]
        .concat();
        let mut child = program(&bounded)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().map(read_all);
        let stderr = child.stderr.take().map(read_all);
        let mut observer = Self {
            child,
            stdout,
            stderr,
        };
        let deadline = Instant::now() + TIME_LIMIT / 2;
        while !packet_sockets()
            .iter()
            .any(|socket| column(socket, INTERFACE) != "0")
        {
            let over = Instant::now() > deadline || observer.has_ended();
            assert!(!over, "it never listened: {}", observer.end().2);
            thread::sleep(Duration::from_millis(5));
        }
        observer
    }

    fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child of this process")
            .is_some()
    }

    /// Interrupts it once it has read all frames from its socket.
    fn interrupt(&self) {
        let is_drained = |socket: &String| column(socket, WAITING_BYTES) == "0";
        let deadline = Instant::now() + TIME_LIMIT / 2;
        while !packet_sockets().iter().all(is_drained) {
            assert!(
                Instant::now() < deadline,
                "it takes nothing: {:?}",
                packet_sockets()
            );
            thread::sleep(Duration::from_millis(5));
        }
        signal(self.child.id(), "INT");
    }

    /// Returns exit code, standard output and standard error after it has ended.
    fn end(&mut self) -> (Option<i32>, String, String) {
        let status = wait(&mut self.child, TIME_LIMIT / 2);
        let text = |reader: &mut Option<JoinHandle<String>>| {
            let reader = reader.take().expect("it ends once");
            reader.join().expect("a reader does not panic")
        };
        let (stdout, stderr) = (text(&mut self.stdout), text(&mut self.stderr));
        (status.and_then(|status| status.code()), stdout, stderr)
    }

    #[track_caller]
    fn report(mut self) -> serde_json::Value {
        let (code, stdout, stderr) = self.end();
        assert_eq!(code, Some(0), "{stderr}");
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Columns of /proc/net/packet: the interface index of a socket, and its unread bytes.
const INTERFACE: usize = 4;
const WAITING_BYTES: usize = 6;

fn column(socket: &str, column: usize) -> &str {
    socket
        .split_whitespace()
        .nth(column)
        .expect("a column of /proc/net/packet")
}

/// Returns the sockets of this namespace that capture all packets, a line each.
fn packet_sockets() -> Vec<String> {
    let sockets = fs::read_to_string("/proc/self/net/packet").expect("the kernel's packet sockets");
    let (_heading, sockets) = sockets.split_once('\n').expect("a heading");
    sockets.lines().map(str::to_owned).collect()
}

/// Returns the number of packets with a reason.
fn packets(report: &serde_json::Value, action: &str, reason: &str) -> u64 {
    let reasons = report["reasons"].as_array().expect("a list of reasons");
    let found = reasons
        .iter()
        .find(|it| it["action"] == action && it["reason"] == reason);
    found.map_or(0, |it| it["packets"].as_u64().expect("a number of packets"))
}

fn bind(address: &str, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((address, port)).expect("an address of this namespace");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a socket takes a time-out");
    socket
}

/// Sends `count` datagrams to a port of the office, one after the other; each must arrive.
fn talk(client: &UdpSocket, office: &UdpSocket, count: usize) {
    let to = office.local_addr().expect("a bound socket");
    for number in 0..count {
        let sent = format!("{number} of what is only watched");
        client
            .send_to(sent.as_bytes(), to)
            .expect("loopback takes it");
        let mut bytes = [0; 64];
        let (length, from) = office.recv_from(&mut bytes).expect("nothing is dropped");
        assert_eq!(&bytes[..length], sent.as_bytes());
        assert_eq!(from, client.local_addr().expect("a bound socket"));
    }
}

#[test]
fn live_traffic_is_judged_and_left_alone() {
    in_sandbox(&[], || {
        set_up_loopback();
        let (client, relay, dns) = (bind(CLIENT, 50_000), bind(OFFICE, 50_000), bind(OFFICE, 53));
        let observer = Observer::start("lo", &["--packets", "20", "--json"]);
        talk(&client, &relay, 20);
        let report = observer.report();
        assert_eq!(report["judged"]["packets"], 20, "{report:#}");
        assert_eq!(packets(&report, "drop", "media"), 20, "{report:#}");

        let observer = Observer::start("lo", &["--packets", "10", "--json"]);
        talk(&client, &dns, 10);
        let report = observer.report();
        assert_eq!(packets(&report, "forward", "default"), 10, "{report:#}");
        assert_eq!(report["dropped"]["packets"], 0, "{report:#}");
    });
}

#[test]
fn an_interrupt_ends_it_with_the_summary() {
    in_sandbox(&[], || {
        set_up_loopback();
        let (client, relay, dns) = (bind(CLIENT, 50_000), bind(OFFICE, 50_000), bind(OFFICE, 53));
        let observer = Observer::start("lo", &["--json"]);
        talk(&client, &relay, 5);
        talk(&client, &dns, 5);
        observer.interrupt();
        let report = observer.report();
        // Loopback shows each packet twice: when it is sent and when it arrives.
        assert!(packets(&report, "drop", "media") >= 5, "{report:#}");
        assert!(packets(&report, "forward", "default") >= 5, "{report:#}");

        let mut observer = Observer::start("lo", &[]);
        talk(&client, &relay, 5);
        observer.interrupt();
        let (code, summary, stderr) = observer.end();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(
            summary.contains("would be dropped") && summary.contains("media"),
            "{summary}"
        );
    });
}

#[test]
fn what_came_too_fast_is_told() {
    in_sandbox(&[], || {
        set_up_loopback();
        let (client, relay) = (bind(CLIENT, 50_000), bind(OFFICE, 50_000));
        let mut observer = Observer::start("lo", &["--json"]);
        signal(observer.child.id(), "STOP");
        // Twice what waits for it, with what the kernel counts for each of them.
        const SENT: u64 = 1_200;
        for _ in 0..SENT {
            let sent = client.send_to(&[0; 60_000], relay.local_addr().expect("bound"));
            sent.expect("loopback takes it");
        }
        signal(observer.child.id(), "CONT");
        observer.interrupt();
        let (code, stdout, stderr) = observer.end();
        assert_eq!(code, Some(0), "{stderr}");
        let report: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
        let number = |value: &serde_json::Value| value.as_u64().expect("a number");
        let missed = number(&report["missed"]);
        assert!(missed > 0, "{report:#}");
        // Loopback shows each packet twice.
        assert_eq!(missed + packets(&report, "drop", "media"), 2 * SENT);
        let said = format!("interface lo: {missed} frames came faster than they could be judged");
        assert!(stderr.contains(&said), "{stderr}");
    });
}

#[test]
fn an_idle_interface_is_left_when_the_time_is_over() {
    in_sandbox(&[], || {
        let started = Instant::now();
        let arguments = ["observe", POLICY, "lo", "--seconds", "1", "--json"];
        let ended = run(&mut program(&arguments));
        assert!(started.elapsed() >= Duration::from_secs(1));
        assert_eq!(ended.json()["judged"]["packets"], 0);
        ended.success();
    });
}

/// A process that holds the device tun0 open, without which the device has no carrier.
struct TunHolder(Child);

impl TunHolder {
    /// A script that creates the device: IFF_TUN with IFF_NO_PI (linux/if_tun.h).
    const PROGRAM: &str = "
import fcntl, os, struct, sys
device = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(device, 0x400454ca, struct.pack('16sH22x', b'tun0', 0x1001))
print('ready', flush=True)
sys.stdin.read()
";

    fn start() -> Self {
        let mut child = Command::new("python3")
            .args(["-c", Self::PROGRAM])
            .stdin(Stdio::piped()) // it ends with the test, whatever ends that
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped just above");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a line of text");
        assert_eq!(line, "ready\n", "the device is made");
        Self(child)
    }
}

impl Drop for TunHolder {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn packets_of_a_tun_device_have_no_link_header() {
    in_sandbox(&[], || {
        if !std::path::Path::new("/dev/net/tun").exists() {
            return skip("this system has no /dev/net/tun");
        }
        if !is_installed("python3") {
            return;
        }
        // /sys shows the devices of the namespace in which it was mounted.
        let mount = run(Command::new("mount").args(["-t", "sysfs", "sysfs", "/sys"]));
        if mount.code != Some(0) {
            return skip("this system gives no /sys to a namespace");
        }
        let _holder = TunHolder::start();
        // Without traffic of its own, the device shows only packets sent by this test.
        _ = fs::write("/proc/sys/net/ipv6/conf/tun0/disable_ipv6", "1");
        ip("link set tun0 up");
        ip(&format!("address add {CLIENT}/32 dev tun0"));
        ip("route add 10.0.0.0/8 dev tun0");
        let client = bind(CLIENT, 50_000);
        let observer = Observer::start("tun0", &["--json"]);
        for _ in 0..3 {
            client
                .send_to(b"media", (OFFICE, 50_000))
                .expect("the device takes it");
        }
        observer.interrupt();
        let report = observer.report();
        assert_eq!(packets(&report, "drop", "media"), 3, "{report:#}");
        assert_eq!(report["skipped"], 0, "{report:#}");
    });
}

#[test]
fn a_missing_interface_is_an_error_that_lists_those_there_are() {
    in_sandbox(&[], || {
        ip("link add client0 type veth peer name office0");
        let message = run(&mut program(&["observe", POLICY, "tun9"])).failure(1);
        let line = message.lines().last().unwrap_or_default();
        assert!(
            line.starts_with("error: interface tun9: no such interface; there are "),
            "{line}"
        );
        for interface in ["lo", "client0", "office0"] {
            assert!(line.contains(interface), "{line}");
        }
    });
}

#[test]
fn without_rights_the_message_says_which_are_needed() {
    if !is_installed("setpriv") {
        return;
    }
    in_sandbox(&[], || {
        let observe = program(&["observe", POLICY, "lo", "--seconds", "5"]);
        let ended = run(Command::new("setpriv")
            .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"])
            .arg(observe.get_program())
            .args(observe.get_args())
            .current_dir(env!("CARGO_MANIFEST_DIR")));
        let message = ended.failure(1);
        assert!(
            message.contains("error: interface lo: not allowed to listen"),
            "{message}"
        );
        assert!(message.contains("CAP_NET_RAW"), "{message}");
    });
}
