//! The live gateway: TCP through the filter, beside the kernel alone and beside the obvious filter.
//!
//! `cargo bench --bench gateway` builds a client, a gateway and a server in network namespaces of its own (no root where
//! user namespaces are allowed) and sends TCP as fast as it goes. The variants take turns, round after round, so that what
//! else the machine does falls on all of them; it prints medians, and ratios within the rounds.
//!
//! ```text
//!  kernel      forwards, and nothing looks
//!  tun+tokio   the obvious filter: a tun device without offload, read, judged and written back a packet an await
//!  offramp     `offramp run` with divert = "all"
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offramp::filter::{Action, CompiledPolicy, Generation, Judge};
use offramp::gateway::demo::namespace::{Host, leave_the_world};
use offramp::packet::Received;

/// Rounds, in each of which every variant has its turn.
const ROUNDS: usize = 9;
/// How long a turn lasts.
const TURN: Duration = Duration::from_millis(700);
/// What is not counted at the beginning of a turn, while TCP finds its speed.
const WARM_UP: Duration = Duration::from_millis(200);
/// Bytes of a write: as much as a super-packet can hold.
const CHUNK: usize = 64 * 1024;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 7);
const PORT: u16 = 443;

const POLICY: &str = r#"
[vpn]
interfaces = ["tun0"]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[[server]]
name = "Front End pool"
addresses = ["10.1.0.10"]
[gateway]
divert = "all"
"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Kernel,
    TunTokio,
    Offramp,
}

impl Variant {
    const ALL: [Self; 3] = [Self::Kernel, Self::TunTokio, Self::Offramp];

    fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::TunTokio => "tun+tokio",
            Self::Offramp => "offramp",
        }
    }
}

/// Client, gateway and server, on two wires.
struct Bed {
    client: Host,
    gateway: Host,
    /// Held for its namespace.
    _server: Host,
    policy: String,
    received: &'static AtomicU64,
}

fn main() {
    // `cargo test --benches` and `cargo bench --no-run` only want it to compile.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    leave_the_world().expect("namespaces of users or root");
    let bed = Bed::build();
    let mut gigabits: Vec<[f64; 3]> = Vec::new();
    for round in 0..ROUNDS {
        eprint!("\rround {} of {ROUNDS}", round + 1);
        gigabits.push(Variant::ALL.map(|variant| bed.turn(variant)));
    }
    eprintln!();
    std::fs::remove_file(&bed.policy).expect("it was written");

    println!("TCP with super-packets through the gateway, median of {ROUNDS} interleaved rounds\n");
    println!(
        "{:<11} {:>7} {:>10} {:>13}",
        "", "Gbit/s", "to kernel", "to tun+tokio"
    );
    for (at, variant) in Variant::ALL.into_iter().enumerate() {
        let ratio = |to: usize| median(gigabits.iter().map(|round| round[at] / round[to]));
        println!(
            "{:<11} {:>7.2} {:>10.2} {:>13.2}",
            variant.name(),
            median(gigabits.iter().map(|round| round[at])),
            ratio(0),
            ratio(1)
        );
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("own children");
    println!(
        "\nprocessor time of all offramp runs: {:.1} s user, {:.1} s system",
        seconds(usage.user_time()),
        seconds(usage.system_time())
    );
}

fn seconds(time: nix::sys::time::TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Bed {
    fn build() -> Self {
        let make = |name| Host::new(name).expect("a namespace");
        let (client, gateway, server) = (make("client"), make("gateway"), make("server"));
        let ip = |host: &Host, line: &str| host.ip(line).unwrap_or_else(|error| panic!("{error}"));
        for (name, peer) in [("tun0", &client), ("eth1", &server)] {
            let namespace = peer.path();
            ip(
                &gateway,
                &format!("link add {name} type veth peer name eth0 netns {namespace}"),
            );
            ip(&gateway, &format!("link set {name} up"));
            ip(peer, "link set eth0 up");
        }
        ip(&gateway, "address add 172.16.1.1/24 dev tun0");
        ip(&gateway, "address add 10.0.0.1/8 dev eth1");
        ip(&client, "address add 172.16.1.10/24 dev eth0");
        ip(&client, "route add default via 172.16.1.1");
        ip(&server, &format!("address add {SERVER}/8 dev eth0"));
        ip(&server, "route add default via 10.0.0.1");
        for (key, value) in [("ip_forward", "1"), ("conf/all/rp_filter", "0")] {
            let set = gateway.set(&format!("net/ipv4/{key}"), value);
            set.unwrap_or_else(|error| panic!("{error}"));
        }

        let socket =
            std::env::temp_dir().join(format!("offramp-bench-{}.sock", std::process::id()));
        let policy = socket.with_extension("toml");
        let text = format!("{POLICY}control = '{}'\n", socket.display());
        std::fs::write(&policy, text).expect("a temporary folder");
        start_obvious_filter(&gateway);
        Self {
            received: start_server(&server),
            policy: policy.display().to_string(),
            client,
            gateway,
            _server: server,
        }
    }

    /// Gbit/s that arrive in one turn.
    fn turn(&self, variant: Variant) -> f64 {
        let ip = |line: &str| {
            self.gateway
                .ip(line)
                .unwrap_or_else(|error| panic!("{error}"))
        };
        let mut running = None;
        match variant {
            Variant::Kernel => {}
            Variant::TunTokio => ip("rule add priority 500 iif tun0 table 100"),
            Variant::Offramp => running = Some(self.start_offramp()),
        }
        let speed = self.send();
        match variant {
            Variant::Kernel => {}
            Variant::TunTokio => ip("rule del priority 500"),
            Variant::Offramp => {
                let mut child = running.take().expect("started above");
                let pid = Pid::from_raw(child.id().try_into().expect("a process id"));
                kill(pid, Signal::SIGTERM).expect("it runs");
                assert!(child.wait().expect("a child of this process").success());
            }
        }
        speed
    }

    fn start_offramp(&self) -> Child {
        let mut child = self
            .gateway
            .run(|| {
                Command::new(env!("CARGO_BIN_EXE_offramp"))
                    .args(["run", "--log", "text", &self.policy])
                    .stderr(Stdio::piped())
                    .spawn()
            })
            .expect("the namespace is there")
            .expect("the program is built");
        let stderr = child.stderr.take().expect("piped just above");
        let mut lines = BufReader::new(stderr).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.contains(" ready: ")));
        assert!(
            ready,
            "offramp run has ended: try it by hand with {}",
            self.policy
        );
        child
    }

    fn send(&self) -> f64 {
        let stream = self.client.run(|| TcpStream::connect((SERVER, PORT)));
        let mut stream = stream
            .expect("the namespace is there")
            .expect("the server listens");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let chunk = vec![0x55; CHUNK];
                while !over.load(Ordering::Relaxed) {
                    stream.write_all(&chunk).expect("the server reads");
                }
            });
            thread::sleep(WARM_UP);
            let (before, start) = (self.received.load(Ordering::Relaxed), Instant::now());
            thread::sleep(TURN);
            let (bytes, time) = (
                self.received.load(Ordering::Relaxed) - before,
                start.elapsed(),
            );
            over.store(true, Ordering::Relaxed);
            bytes as f64 * 8.0 / 1e9 / time.as_secs_f64()
        })
    }
}

/// Reads whatever comes, and counts it.
fn start_server(host: &Host) -> &'static AtomicU64 {
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    let listener = host
        .run(|| TcpListener::bind((SERVER, PORT)))
        .expect("the namespace is there")
        .expect("nobody else listens");
    thread::spawn(move || {
        let mut chunk = vec![0; 4 * CHUNK];
        for mut stream in listener.incoming().flatten() {
            while let Ok(length @ 1..) = stream.read(&mut chunk) {
                RECEIVED.fetch_add(length as u64, Ordering::Relaxed);
            }
        }
    });
    &RECEIVED
}

/// The obvious filter, which waits for packets as long as the benchmark runs.
fn start_obvious_filter(gateway: &Host) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime");
    let mut configuration = tun::Configuration::default();
    configuration
        .tun_name("plain0")
        .platform_config(|platform| {
            platform.ensure_root_privileges(false);
        });
    let device = gateway
        .run(|| {
            let _reactor = runtime.enter();
            tun::create_as_async(&configuration)
        })
        .expect("the namespace is there")
        .expect("a tun device");
    for line in [
        "link set plain0 up",
        "address add 192.0.0.8/32 dev plain0",
        "route add default dev plain0 table 100",
    ] {
        gateway.ip(line).unwrap_or_else(|error| panic!("{error}"));
    }
    let (policy, _) = offramp::policy::parse("bench.toml", POLICY.as_bytes()).expect("a policy");
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small one");
    thread::spawn(move || runtime.block_on(filter_obviously(device, &policy)));
}

/// Reads, judges and writes back a packet at a time.
async fn filter_obviously(device: tun::AsyncDevice, policy: &CompiledPolicy) {
    let mut judge = Judge::new(Judge::GATEWAY_FRAGMENTS);
    let start = Instant::now();
    let mut packet = vec![0; 65_536];
    while let Ok(length) = device.recv(&mut packet).await {
        let packet = &packet[..length];
        let verdict = judge.judge_one(policy, Received::whole(packet, start.elapsed()));
        if verdict.action == Action::Forward {
            // A full device loses packets, as any does.
            _ = device.send(packet).await;
        }
    }
}
