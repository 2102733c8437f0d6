//! Measures the stores of a fleet: how long until the last of 500 gateways has a new release, the work that it is for the store, and
//! what becomes of the gateways when the store is gone for a while.
//!
//! `cargo bench --bench fleet` starts three members of etcd, then nginx with HTTPS, on loopback, and 500 agents, each a thread of this
//! process with the agent's own code ([`swarm`]): programs of their own would take gigabytes. Everything shares the processors of
//! the machine, and most of the work is the agents' check of the policy, which real gateways do at the same time on as many machines.
//! So two times are told: until a gateway has received the release, and until it has checked it and replaced its policy file.
//!
//! ```text
//!  promote ──▶ store ◀── watch, or a look every 10 s ── agent 1 … 500 ── check, 4 at a time ──▶ policy files in memory
//! ```
//!
//! - `cargo bench --bench fleet -- --gateways 100 --stores nginx`
//! - Without `--bench`, as in `cargo test --benches`, a few gateways and small policies check that it works.

#[path = "../support/canvas.rs"]
mod canvas;
#[allow(dead_code, reason = "this bench uses a part of it")]
#[path = "../gateway/meter.rs"]
mod meter;
mod picture;
mod stores;
#[path = "../../tests/support/mod.rs"]
mod support;
mod swarm;

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use minisign::SecretKey;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use offramp::gateway::fleet::publish::{self, Choices};
use offramp::gateway::fleet::release::{Protection, generate_keys, public_key, read_secret_key};
use offramp::gateway::fleet::store::{self, Store};
use offramp::gateway::testbed::namespace::enter_namespaces;
use offramp::policy::site::{FleetAccess, FleetSource};
use offramp::random::Random;

use crate::meter::{duration, machine};
use crate::stores::{Kind, Serving};
use crate::support::{Folder, is_installed, skip};
use crate::swarm::Swarm;

/// The stores of a fleet, with many gateways
#[derive(Debug, Parser)]
struct Options {
    /// Number of gateways
    #[arg(long, default_value_t = 500)]
    gateways: usize,
    /// Bytes of the policies whose releases are measured, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    policies: Vec<usize>,
    /// Stores to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Etcd, Kind::Nginx])]
    stores: Vec<Kind>,
    /// Path of the picture
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/fleet.svg"))]
    plot: PathBuf,
    /// The argument that cargo passes to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// The course of one release.
#[derive(Debug)]
struct Course {
    store: Kind,
    /// Bytes of the policy, and of what the store has of it.
    bytes: (usize, usize),
    /// Times at which gateways had received it, in order, from the moment at which the channel was moved.
    received: Vec<Duration>,
    /// Times at which gateways had it in their policy files.
    in_file: Vec<Duration>,
    /// Processor time of the store, and of all gateways.
    spent: (Duration, Duration),
}

/// A store while nothing happens, and the gateways when it is gone for [`Sizes::away`].
#[derive(Debug)]
struct Rest {
    store: Kind,
    /// Processor time a minute while no release comes.
    idle: Duration,
    /// Memory, in KiB, when all is over.
    resident: u64,
    /// Time to read the reports of all gateways; `None` where the store takes none.
    status: Option<Duration>,
    /// Times of looks since the store was killed.
    looks: Vec<Duration>,
    /// Time from the kill until the store was known to answer again.
    away: Duration,
    /// Times from the kill at which gateways were answered again.
    back: Vec<Duration>,
}

/// The sizes of a run.
#[derive(Debug)]
struct Sizes {
    gateways: usize,
    policies: Vec<usize>,
    /// Time without a release.
    idle: Duration,
    /// Time that the store is away.
    away: Duration,
    /// Seconds between two looks of a gateway at a web server.
    poll_seconds: u32,
}

fn main() {
    let options = Options::parse();
    if !["etcd", "etcdctl", "nginx"].iter().all(is_installed) {
        return;
    }
    if let Err(why) = enter_own_namespaces() {
        assert!(!options.bench, "{why}");
        return skip(&why);
    }
    let sizes = match options.bench {
        true => Sizes {
            gateways: options.gateways,
            policies: options.policies,
            idle: Duration::from_secs(20),
            away: Duration::from_secs(5),
            poll_seconds: 10,
        },
        false => Sizes {
            gateways: 4,
            policies: vec![2_000, 4_000],
            idle: Duration::from_secs(1),
            away: Duration::from_secs(1),
            poll_seconds: 1,
        },
    };
    let (mut courses, mut rests) = (Vec::new(), Vec::new());
    for kind in &options.stores {
        let (of_releases, rest) = measure(*kind, &sizes);
        courses.extend(of_releases);
        rests.push(rest);
    }
    print(&courses, &rests, &sizes);
    let drawn = picture::draw(&courses, &rests, &sizes, &machine());
    match std::fs::write(&options.plot, drawn) {
        Ok(()) => println!("Drawn in {}", options.plot.display()),
        Err(error) => println!("Not drawn: {}: {error}", options.plot.display()),
    }
}

/// Puts this process into namespaces of its own, where every port is free, and allows it as many sockets as it may have.
fn enter_own_namespaces() -> Result<(), String> {
    enter_namespaces().map_err(|error| error.to_string())?;
    for command in ["ip link set lo up", "mount --make-rprivate /"] {
        let words: Vec<&str> = command.split(' ').collect();
        let done = Command::new(words[0]).args(&words[1..]).status();
        if !done.is_ok_and(|it| it.success()) {
            return Err(format!("`{command}` has failed"));
        }
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(|error| error.to_string())
}

fn measure(kind: Kind, sizes: &Sizes) -> (Vec<Course>, Rest) {
    let folder = Folder::new(&format!("bench_fleet_{kind:?}"));
    // Each gateway has a disk of its own, and this machine has one.
    let gateways = Folder::new(&format!("bench_fleet_{kind:?}_gateways"));
    let path = gateways.path("");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs", &path])
        .status();
    assert!(
        mounted.is_ok_and(|it| it.success()),
        "a file system in memory"
    );
    let (secret, _) = generate_keys(Protection::Open).expect("random numbers");
    let key = read_secret_key(&secret, None).expect("it is not encrypted");

    let mut serving = Serving::start(kind, &folder, sizes.poll_seconds);
    let source = FleetSource::parse(&serving.publisher()).expect("an address");
    let mut publisher = store::open(&source, &FleetAccess::default()).expect("no files to read");
    let mut release = |bytes: usize| release(&mut *publisher, &key, bytes);
    let (first, _) = release(sizes.policies[0]);
    let mut publisher = store::open(&source, &FleetAccess::default()).expect("no files to read");
    publish::promote(&mut *publisher, "staging", "stable", true).expect("it was just published");
    let public = public_key(&key).expect("it was just made");
    let lines = format!("{}public_keys = [\"{public}\"]\n", serving.lines());
    let swarm = Swarm::start(&gateways, sizes.gateways, &lines);
    swarm.wait_for(first);

    let mut courses = Vec::new();
    for bytes in sizes.policies.iter().copied() {
        let (serial, packed) = release(bytes);
        // An agent rests for a second after each look.
        thread::sleep(Duration::from_secs(2));
        let store_before = serving.processor_time();
        let own_before = own_time();
        let moved = Instant::now();
        publish::promote(&mut *publisher, "staging", "stable", true).expect("it is the next one");
        let (received, in_file) = swarm.wait_for(serial);
        let since = |at: Vec<Instant>| -> Vec<Duration> {
            at.into_iter()
                .map(|it| it.saturating_duration_since(moved))
                .collect()
        };
        courses.push(Course {
            store: kind,
            bytes: (bytes, packed),
            received: since(received),
            in_file: since(in_file),
            spent: (
                serving.processor_time().saturating_sub(store_before),
                own_time().saturating_sub(own_before),
            ),
        });
    }

    let before = serving.processor_time();
    thread::sleep(sizes.idle);
    let idle = serving.processor_time().saturating_sub(before);
    let idle = idle.mul_f64(60.0 / sizes.idle.as_secs_f64());
    let status = serving.takes_reports().then(|| {
        let began = Instant::now();
        let all = publish::gateways(&mut *publisher).expect("it takes reports");
        assert_eq!(all.len(), sizes.gateways);
        began.elapsed()
    });
    let resident = serving.resident();

    serving.kill();
    let killed = Instant::now();
    thread::sleep(sizes.away);
    serving.start_again(&folder);
    let away = killed.elapsed();
    let answered = swarm.wait_until_answered_since(killed);
    let rest = Rest {
        store: kind,
        idle,
        resident,
        status,
        looks: swarm.looks_since(killed),
        away,
        back: answered.into_iter().map(|it| it - killed).collect(),
    };
    swarm.stop();
    (courses, rest)
}

/// Publishes a policy of so many bytes in a channel that nobody follows; returns its serial, and its bytes in the store.
fn release(publisher: &mut dyn Store, key: &SecretKey, bytes: usize) -> (u64, usize) {
    let policy = policy(bytes);
    let choices = Choices::default();
    let serial = publish::publish(publisher, key, policy.as_bytes(), "staging", &choices, None);
    let serial = serial.expect("the store takes it");
    let name = offramp::gateway::fleet::layout::release(serial, "policy.toml.gz");
    let packed = publisher.read(&name, bytes).expect("it answers");
    (serial, packed.expect("it was just published").bytes.len())
}

/// A policy of pools of servers, which takes so many bytes.
fn policy(bytes: usize) -> String {
    let mut random = Random(bytes as u64);
    let mut policy = String::from("[corporate]\nsubnets = [\"10.0.0.0/8\"]\n");
    let mut pool = 0;
    while policy.len() < bytes {
        // Pools are close together, as sites have them, so that what 500 gateways compile at once fits the memory.
        let addresses = (0..50).map(|_| {
            let (third, fourth) = (random.below(256), 1 + random.below(254));
            format!("\"10.{}.{third}.{fourth}\"", 1 + pool % 16)
        });
        let addresses: Vec<String> = addresses.collect();
        policy += &format!(
            "[[server]]\nname = \"Front End pool {pool}\"\naddresses = [{}]\n",
            addresses.join(", ")
        );
        pool += 1;
    }
    policy
}

/// The processor time of this process, which is that of the gateways.
fn own_time() -> Duration {
    let own = getrusage(UsageWho::RUSAGE_SELF).expect("the own process");
    duration(own.user_time()) + duration(own.system_time())
}

fn print(courses: &[Course], rests: &[Rest], sizes: &Sizes) {
    let seconds = |it: Option<&Duration>| it.map_or(f64::NAN, Duration::as_secs_f64);
    let middle = |all: &[Duration]| seconds(all.get(all.len() / 2));
    println!(
        "\n{} gateways; seconds from the move of the channel:",
        sizes.gateways
    );
    for course in courses {
        println!(
            "  {:5} {:7} bytes, {:6} in the store: received by half {:6.2}, by the last {:6.2}; in the file of half {:6.2}, of the last \
             {:6.2}; processor time of the store {:.2} s, of a gateway {:.0} ms",
            course.store.name(),
            course.bytes.0,
            course.bytes.1,
            middle(&course.received),
            seconds(course.received.last()),
            middle(&course.in_file),
            seconds(course.in_file.last()),
            course.spent.0.as_secs_f64(),
            course.spent.1.as_secs_f64() * 1e3 / sizes.gateways as f64,
        );
    }
    for rest in rests {
        let status = rest
            .status
            .map_or("none".to_owned(), |it| format!("{:.2} s", it.as_secs_f64()));
        println!(
            "  {:5} at rest: {:.2} s of processor time a minute, {} MiB; reports read in {status}; {:.1} s after it was killed it answers \
             again, after {:.1} s half of the gateways are answered, after {:.1} s all; at most {} looks in a second",
            rest.store.name(),
            rest.idle.as_secs_f64(),
            rest.resident / 1024,
            rest.away.as_secs_f64(),
            middle(&rest.back),
            seconds(rest.back.last()),
            picture::by_second(&rest.looks)
                .into_iter()
                .max()
                .unwrap_or(0),
        );
    }
    println!("{}", machine());
}
