//! Compares the DNS server of offramp with unbound and dnsmasq serving the same names.
//!
//! `cargo bench --bench dns` starts the three in turn, each on one core, queries them with dnsperf from another, and
//! prints answers per second of the server's processor time (which other load does not affect), answers per second
//! of wall-clock time, and the 99th percentile of latency at half that rate. The servers take turns, round after
//! round. It needs dnsperf, unbound and dnsmasq (Debian packages dnsperf, unbound, dnsmasq-base).
//!
//! ```text
//!  pinned   names of the policy: offramp answers by it, unbound from local-data, dnsmasq from host-record
//!  cached   a thousand other names, each asked before: from the cache of each
//! ```

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Rounds; in each, every server runs both tasks once.
const ROUNDS: usize = 5;
/// Seconds a turn.
const TURN: &str = "2";
/// The core of the servers, and the core of dnsperf.
const CORES: [&str; 2] = ["0", "1"];

const SERVERS: [&str; 3] = ["offramp", "unbound", "dnsmasq"];
const TASKS: [&str; 2] = ["pinned", "cached"];
const UPSTREAM_PORT: u16 = 54_100;

/// Hosts of the article's Tables 2 to 4.
const PINNED: [(&str, &str); 5] = [
    ("sip.contoso.com", "167.55.49.32"),
    ("web.contoso.com", "167.55.49.33"),
    ("av.contoso.com", "167.55.49.34"),
    ("meet.contoso.com", "167.55.49.35"),
    ("owa.contoso.com", "167.55.49.36"),
];

/// The result of one turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// Answers per second of the server's processor time.
    of_processor: f64,
    /// Answers per second.
    of_clock: f64,
}

fn main() {
    // Tests only build it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let missing = ["dnsperf", "unbound", "dnsmasq", "taskset"]
        .iter()
        .find(|program| {
            Command::new(program)
                .arg("-V")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_err()
        });
    if let Some(program) = missing {
        println!("{program} is not installed: nothing is measured");
        return;
    }
    let folder = Folder::new();
    let queries = TASKS.map(|task| folder.write(&format!("{task}.txt"), &queries(task)));
    let _upstream = Server::start(
        &mut upstream(&folder),
        CORES[1],
        UPSTREAM_PORT,
        "n0.example",
    );
    let servers: Vec<Server> = SERVERS
        .iter()
        .zip(UPSTREAM_PORT + 1..)
        .map(|(name, port)| {
            let mut command = command(&folder, name, port);
            Server::start(&mut command, CORES[0], port, "sip.contoso.com")
        })
        .collect();
    let mut turns = vec![Vec::new(); SERVERS.len() * TASKS.len()];
    for round in 0..=ROUNDS {
        for (task, queries) in queries.iter().enumerate() {
            for (at, server) in servers.iter().enumerate() {
                let turn = server.load(queries);
                // The first run fills the caches.
                if round > 0 {
                    turns[task * SERVERS.len() + at].push(turn);
                }
            }
        }
    }
    for (task, name) in TASKS.iter().enumerate() {
        println!("\n{name}, medians of {ROUNDS} rounds");
        let of = |at: usize| &turns[task * SERVERS.len() + at];
        for (at, server) in SERVERS.iter().enumerate() {
            let of_processor = median(of(at).iter().map(|it| it.of_processor));
            let of_clock = median(of(at).iter().map(|it| it.of_clock));
            let half = format!("{}", (of_clock / 2.0) as u64);
            let late = servers[at].late(&queries[task], &half);
            println!(
                "  {server:8} {of_processor:9.0} answers a second of processor, {of_clock:9.0} of the clock; \
                 at half of that, 99 of 100 within {:.2} ms",
                late * 1e3
            );
        }
        for (peer, name) in SERVERS.iter().enumerate().skip(1) {
            let ratio = |pick: fn(&Turn) -> f64| {
                median(
                    of(0)
                        .iter()
                        .zip(of(peer))
                        .map(|(ours, theirs)| pick(ours) / pick(theirs)),
                )
            };
            println!(
                "  offramp / {name}: {:.2} by processor, {:.2} by the clock",
                ratio(|it| it.of_processor),
                ratio(|it| it.of_clock)
            );
        }
    }
}

fn queries(task: &str) -> String {
    let lines: Vec<String> = match task {
        "pinned" => PINNED.iter().map(|(name, _)| format!("{name} A")).collect(),
        _ => (0..1_000)
            .map(|number| format!("n{number}.example A"))
            .collect(),
    };
    lines.join("\n") + "\n"
}

/// Returns an upstream server that has an address for every name below `example`.
fn upstream(folder: &Folder) -> Command {
    let mut text = unbound(folder, "upstream", UPSTREAM_PORT);
    text += " local-zone: \"example.\" redirect\n local-data: \"example. 3600 IN A 192.0.2.1\"\n";
    let mut command = Command::new("unbound");
    command
        .args(["-d", "-c"])
        .arg(folder.write("upstream.conf", &text));
    command
}

fn unbound(folder: &Folder, name: &str, port: u16) -> String {
    format!(
        "server:\n interface: 127.0.0.1\n port: {port}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
         directory: \"{}\"\n pidfile: \"{}\"\n use-syslog: no\n logfile: \"\"\n num-threads: 1\n \
         do-not-query-localhost: no\n access-control: 127.0.0.0/8 allow\n module-config: \"iterator\"\n \
         msg-cache-size: 64m\n rrset-cache-size: 64m\n so-rcvbuf: 0\n",
        folder.0.display(),
        folder.0.join(name).with_extension("pid").display(),
    )
}

fn command(folder: &Folder, server: &str, port: u16) -> Command {
    match server {
        "offramp" => {
            let publics: String = PINNED
                .iter()
                .map(|(name, address)| {
                    format!("[[public]]\nname = \"{name}\"\naddresses = [\"{address}\"]\nhosts = [\"{name}\"]\n")
                })
                .collect();
            let text = format!(
                "[vpn]\nclient_subnets = [\"127.0.0.0/8\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n{publics}\
                 [dns]\nlisten = [\"127.0.0.1:{port}\"]\nupstreams = [\"127.0.0.1:{UPSTREAM_PORT}\"]\n\
                 queries_per_second = 1000000\n"
            );
            let mut command = Command::new(env!("CARGO_BIN_EXE_offramp"));
            command.arg("dns").arg(folder.write("policy.toml", &text));
            command
        }
        "unbound" => {
            let mut text = unbound(folder, "unbound", port);
            for (name, address) in PINNED {
                text += &format!(
                    " local-zone: \"{name}.\" static\n local-data: \"{name}. 60 IN A {address}\"\n"
                );
            }
            text +=
                &format!("forward-zone:\n name: \".\"\n forward-addr: 127.0.0.1@{UPSTREAM_PORT}\n");
            let mut command = Command::new("unbound");
            command
                .args(["-d", "-c"])
                .arg(folder.write("unbound.conf", &text));
            command
        }
        _ => {
            let mut command = Command::new("dnsmasq");
            command.args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--pid-file=",
                "--listen-address=127.0.0.1",
                "--bind-interfaces",
                "--local-ttl=60",
                "--cache-size=10000",
            ]);
            command.arg(format!("--port={port}"));
            command.arg(format!("--server=127.0.0.1#{UPSTREAM_PORT}"));
            for (name, address) in PINNED {
                command.arg(format!("--local=/{name}/"));
                command.arg(format!("--host-record={name},{address}"));
            }
            command
        }
    }
}

/// A server on a core of its own, stopped on drop.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts it, and waits until it answers for `name`.
    fn start(command: &mut Command, core: &str, port: u16, name: &str) -> Self {
        let child = Command::new("taskset")
            .args(["-c", core])
            .arg(command.get_program())
            .args(command.get_args())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("taskset starts");
        let server = Self { child, port };
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a duration");
        let mut question = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in name.split('.') {
            question.push(label.len() as u8);
            question.extend_from_slice(label.as_bytes());
        }
        question.extend_from_slice(&[0, 0, 1, 0, 1]);
        let start = Instant::now();
        loop {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{command:?} does not answer"
            );
            _ = socket.send_to(&question, ("127.0.0.1", port));
            if socket.recv(&mut [0; 512]).is_ok() {
                return server;
            }
        }
    }

    fn dnsperf(&self, queries: &Path, more: &[&str]) -> String {
        let output = Command::new("taskset")
            .args([
                "-c",
                CORES[1],
                "dnsperf",
                "-s",
                "127.0.0.1",
                "-c",
                "8",
                "-T",
                "1",
                "-q",
                "200",
            ])
            .args(["-p", &self.port.to_string(), "-l", TURN, "-d"])
            .arg(queries)
            .args(more)
            .output()
            .expect("dnsperf starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn load(&self, queries: &Path) -> Turn {
        let (start, before) = (Instant::now(), self.processor_time());
        let said = self.dnsperf(queries, &[]);
        let (clock, processor) = (start.elapsed(), self.processor_time() - before);
        let completed = said
            .lines()
            .find_map(|line| line.trim().strip_prefix("Queries completed:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
            .expect("dnsperf counts");
        Turn {
            of_processor: completed / processor.max(0.01),
            of_clock: completed / clock.as_secs_f64(),
        }
    }

    /// Seconds within which 99 of 100 answers arrive at this rate.
    fn late(&self, queries: &Path, rate: &str) -> f64 {
        let said = self.dnsperf(queries, &["-v", "-Q", rate]);
        let times = said.lines().filter(|line| line.starts_with("> "));
        let mut times: Vec<f64> = times
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        times.sort_by(f64::total_cmp);
        times
            .get(times.len() * 99 / 100)
            .copied()
            .unwrap_or(f64::NAN)
    }

    /// Seconds of processor time used so far: proc(5), fields 14 and 15, in hundredths.
    fn processor_time(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("it runs");
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks
            .filter_map(|field| field.parse::<f64>().ok())
            .sum::<f64>()
            / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A folder that is removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("offramp-bench-dns-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file in our folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}
