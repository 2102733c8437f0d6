//! Measures how long clients of the DNS server wait while another one asks for the largest answers that it may.
//!
//! `cargo bench --bench victim` runs `offramp dns` with its default limits, first on one processor, then on all. Four clients ask 40
//! names a second each that the cache has, and 40 that an upstream is asked for. Every six seconds, which is when its limit lets it ask as
//! many again, an attacker asks for a hundred names by TCP, whose answers take 64 KiB: 4,600 aliases, all of whose names have over 110
//! labels. Waits are compared with those before the attack; only queries sent while the attacker waits for an answer count as
//! beside it.
//!
//! ```text
//!  127.0.0.2 to .5 ──UDP──▶ offramp dns ──UDP, TCP──▶ upstream, in this process
//!  127.0.0.9 ──────TCP──────▶
//! ```

#[path = "../tests/gateway/names/hostile.rs"]
mod hostile;

use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use hostile::{connect, framed, long_name, query, receive, short_name, start_hostile_upstream};

/// Seconds of each half of a turn: without the attacker, then with it.
const HALF: Duration = Duration::from_secs(18);
/// Time between attacks: the limiter has a client wait for five seconds at most.
const PAUSE: Duration = Duration::from_secs(6);
/// The default of `dns.queries_per_second`.
const BURST: usize = 100;
/// Connections of the attacker: one has at most 32 questions that wait.
const CONNECTIONS: usize = 4;
/// Clients beside the attacker.
const CLIENTS: u8 = 4;
/// Between two queries of a client.
const INTERVAL: Duration = Duration::from_micros(12_500);
/// A query without an answer for so long counts as lost.
const PATIENCE: Duration = Duration::from_secs(4);

fn main() {
    // Tests only build it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let all = thread::available_parallelism().map_or(1, usize::from);
    if all < 2 {
        println!("two processors are needed: nothing is measured");
        return;
    }
    // The server has the first, the clients and the upstream the second; then all have all.
    measure(0..1, 1..2);
    measure(0..all, 0..all);
}

/// Measures a server on the processors `of_server`, with clients and upstream on `of_clients`.
fn measure(of_server: Range<usize>, of_clients: Range<usize>) {
    let mut own = CpuSet::new();
    for processor in of_clients {
        own.set(processor).expect("a small number");
    }
    sched_setaffinity(Pid::from_raw(0), &own).expect("processors that are there");
    let upstream = start_hostile_upstream();
    let server = Server::start(&of_server, upstream);
    let stop = Arc::new(AtomicBool::new(false));
    let attack = Arc::new(Attack::default());
    let attacker = {
        let (attack, address, stop) = (Arc::clone(&attack), server.address, Arc::clone(&stop));
        thread::spawn(move || attack.repeat(address, &stop))
    };
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (attack, address) = (Arc::clone(&attack), server.address);
            thread::spawn(move || client(number, address, &attack))
        })
        .collect();
    let mut waits = Waits::default();
    for of_client in clients {
        waits.add(of_client.join().expect("a client"));
    }
    stop.store(true, Ordering::Relaxed);
    attacker.join().expect("the attacker");
    waits.print(of_server.len(), &attack);
}

/// The attacker, and how far it is.
#[derive(Debug, Default)]
struct Attack {
    is_on: AtomicBool,
    /// Answers that it waits for.
    waiting: AtomicUsize,
    asked: AtomicUsize,
    answered: AtomicUsize,
    bytes: AtomicUsize,
}

impl Attack {
    fn repeat(&self, server: SocketAddr, stop: &AtomicBool) {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            if !self.is_on.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
                continue;
            }
            let start = Instant::now();
            self.once(server, &mut number);
            while start.elapsed() < PAUSE && !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Asks as often as it may at once, and reads the answers.
    fn once(&self, server: SocketAddr, number: &mut u32) {
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = connect(IpAddr::from([127, 0, 0, 9]), server).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a duration");
            streams.push(stream);
        }
        for stream in &mut streams {
            let mut questions = Vec::new();
            for _ in 0..BURST / CONNECTIONS {
                questions.extend(framed(&query(1, &long_name(*number))));
                *number += 1;
            }
            self.asked.fetch_add(BURST / CONNECTIONS, Ordering::Relaxed);
            self.waiting
                .fetch_add(BURST / CONNECTIONS, Ordering::Relaxed);
            stream.write_all(&questions).expect("it reads");
        }
        thread::scope(|scope| {
            for stream in &mut streams {
                scope.spawn(move || {
                    let mut missing = BURST / CONNECTIONS;
                    let mut buffer = vec![0; 65_535];
                    while missing > 0 {
                        let Ok(length) = receive(stream, &mut buffer) else {
                            break;
                        };
                        missing -= 1;
                        self.waiting.fetch_sub(1, Ordering::Relaxed);
                        // The code of the answer (RFC 1035 §4.1.1).
                        if buffer[3] & 0x0f == 0 {
                            self.answered.fetch_add(1, Ordering::Relaxed);
                            self.bytes.fetch_add(length, Ordering::Relaxed);
                        }
                    }
                    self.waiting.fetch_sub(missing, Ordering::Relaxed);
                });
            }
        });
    }
}

/// Waits of a client, by what it asks for.
#[derive(Debug, Default)]
struct Waits {
    /// Names in the cache, and others; each without the attacker, and beside it.
    of: [[Vec<Duration>; 2]; 2],
    lost: usize,
}

impl Waits {
    fn add(&mut self, other: Self) {
        self.lost += other.lost;
        for (mine, others) in self.of.iter_mut().flatten().zip(other.of.iter().flatten()) {
            mine.extend(others);
        }
    }

    fn print(mut self, processors: usize, attack: &Attack) {
        let count = |it: &AtomicUsize| it.load(Ordering::Relaxed);
        println!(
            "\nserver on {} processors: {} of {} answers of the attack, {} KiB each; {} queries of others lost",
            processors,
            count(&attack.answered),
            count(&attack.asked),
            count(&attack.bytes) / count(&attack.answered).max(1) / 1_024,
            self.lost,
        );
        for (kind, halves) in ["cached", "asked for"].iter().zip(&mut self.of) {
            for waits in halves.iter_mut() {
                waits.sort_unstable();
            }
            let at = |half: usize, share: f64| {
                let waits: &Vec<Duration> = &halves[half];
                let place = (waits.len() as f64 * share) as usize;
                let wait = waits.get(place.min(waits.len().saturating_sub(1)));
                wait.map_or(f64::NAN, |it| it.as_secs_f64() * 1e3)
            };
            println!(
                "  {kind:9}  median {:5.2} ms, beside {:5.2}; 99 of 100 within {:5.2} ms, beside {:5.2} ({:+.2}); longest {:5.2}, beside {:5.2}; {} and {} queries",
                at(0, 0.5),
                at(1, 0.5),
                at(0, 0.99),
                at(1, 0.99),
                at(1, 0.99) - at(0, 0.99),
                at(0, 1.0),
                at(1, 1.0),
                halves[0].len(),
                halves[1].len(),
            );
        }
    }
}

/// Asks for both halves of a turn.
fn client(number: u8, server: SocketAddr, attack: &Attack) -> Waits {
    let own = IpAddr::from([127, 0, 0, 2 + number]);
    let socket = UdpSocket::bind((own, 0)).expect("a free port");
    socket.connect(server).expect("loopback");
    let mut waits = Waits::default();
    // By id: when it was sent, its kind and its half.
    let mut sent: Vec<Option<(Instant, usize, usize)>> = vec![None; 1 << 16];
    let start = Instant::now();
    let mut id: u16 = 0;
    let mut next = start;
    while start.elapsed() < 2 * HALF + PATIENCE {
        let elapsed = start.elapsed();
        attack
            .is_on
            .store(elapsed > HALF && elapsed < 2 * HALF, Ordering::Relaxed);
        if Instant::now() >= next && elapsed < 2 * HALF {
            next += INTERVAL;
            let kind = usize::from(id % 2);
            let name = match kind {
                0 => short_name("cached"),
                _ => short_name(&format!("q{number}-{}", elapsed.as_micros())),
            };
            let half = usize::from(elapsed > HALF);
            let counts = half == 0 || attack.waiting.load(Ordering::Relaxed) > 0;
            socket.send(&query(id, &name)).expect("loopback");
            if counts {
                sent[usize::from(id)] = Some((Instant::now(), kind, half));
            }
            id = id.wrapping_add(1);
        }
        let until = next.saturating_duration_since(Instant::now());
        let until = until.clamp(Duration::from_micros(100), Duration::from_millis(100));
        socket.set_read_timeout(Some(until)).expect("a duration");
        let mut answer = [0; 512];
        if socket.recv(&mut answer).is_ok_and(|length| length > 3) {
            let id = u16::from_be_bytes([answer[0], answer[1]]);
            if let Some((at, kind, half)) = sent[usize::from(id)].take()
                && answer[3] & 0x0f == 0
            {
                waits.of[kind][half].push(at.elapsed());
            }
        }
    }
    waits.lost = sent.iter().flatten().count();
    waits
}

/// `offramp dns`, stopped on drop.
struct Server {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Server {
    fn start(processors: &Range<usize>, upstream: SocketAddr) -> Self {
        let folder = format!("offramp-bench-victim-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let free = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let text = format!(
            "[vpn]\nclient_subnets = [\"127.0.0.0/8\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
             [[public]]\nname = \"Edge\"\naddresses = [\"167.55.49.32\"]\nhosts = [\"sip.contoso.com\"]\n\
             [dns]\nlisten = [\"{address}\"]\nupstreams = [\"{upstream}\"]\n"
        );
        let policy = folder.join("policy.toml");
        std::fs::write(&policy, text).expect("a file in our folder");
        let set = format!("{}-{}", processors.start, processors.end - 1);
        let child = Command::new("taskset")
            .args(["-c", &set, env!("CARGO_BIN_EXE_offramp"), "dns"])
            .arg(policy)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("taskset starts");
        let server = Self {
            child,
            address,
            folder,
        };
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let patience = Some(Duration::from_millis(100));
        socket.set_read_timeout(patience).expect("a duration");
        let asked = query(1, &short_name("cached"));
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            _ = socket.send_to(&asked, address);
            if socket.recv(&mut [0; 512]).is_ok() {
                return server;
            }
        }
        panic!("offramp dns does not answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = std::fs::remove_dir_all(&self.folder);
    }
}
