//! The live gateway beside its peers: how fast packets pass, what a packet costs, how long it is held up.
//!
//! `cargo bench --bench gateway` builds a client, a gateway and a server in network namespaces of its own (as root, or
//! without eBPF where user namespaces are allowed). Every peer has its turn in every round, in changing order, so that
//! what else the machine does falls on all of them; what counts are the ratios within a round to the kernel's own
//! forwarding, and their median. Absolute figures are the machine's.
//!
//! - `cargo bench --bench gateway -- --kinds tcp-singles,latency --peers kernel,offramp --rounds 9`

mod bed;
mod bpf;
mod meter;
mod obvious;
mod plot;
mod policy;
mod report;
mod resources;
mod targets;
mod traffic;
mod variants;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::bed::{Bed, Rights};
use crate::bpf::Bpf;
use crate::report::Results;
use crate::traffic::{Kind, Pace, Traffic};
use crate::variants::{Peer, Variant};

/// The live gateway beside its peers
#[derive(Debug, Parser)]
struct Options {
    /// Rounds, in each of which every peer has its turn
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Kinds of traffic
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = all::<Kind>())]
    kinds: Vec<Kind>,
    /// Who looks at the packets; the kernel always has its turn
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = all::<Peer>())]
    peers: Vec<Peer>,
    /// How many milliseconds of a turn count
    #[arg(long, default_value_t = 500)]
    turn: u64,
    /// Leave out the seconds in which offramp is watched alone
    #[arg(long)]
    brief: bool,
    /// Where the picture goes
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/gateway.svg"))]
    plot: PathBuf,
    /// What cargo says to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let rights = bed::leave();
    let bed = Bed::build();
    let bpf = match rights {
        Rights::Root => Bpf::load(),
        Rights::UserNamespace => Err("it takes root".to_owned()),
    };
    let bpf = bpf.inspect_err(|why| println!("SKIPPED: tc eBPF: {why}"));
    let bpf = bpf.ok();
    obvious::start(&bed);
    let traffic = Traffic::prepare(&bed);
    let pace = Pace {
        warm_up: Duration::from_millis(150),
        turn: Duration::from_millis(options.turn),
    };

    let wanted = |peer: &Peer| *peer != Peer::Kernel && (*peer != Peer::Ebpf || bpf.is_some());
    let others = options.peers.iter().copied().filter(wanted);
    let variants: Vec<Variant> = std::iter::once(Variant::KERNEL)
        .chain(others.map(Variant::short))
        .collect();
    let mut results = Results::default();
    for kind in options.kinds {
        let mut variants = variants.clone();
        if LONG.contains(&kind) {
            let long = variants.iter().map(|it| Variant::long(it.peer));
            let long: Vec<Variant> = long.filter(|it| it.can_be_long()).collect();
            variants.extend(long);
        }
        for round in 0..options.rounds {
            eprint!(
                "\r{:<36}round {} of {} ",
                kind.title(),
                round + 1,
                options.rounds
            );
            let mut order = variants.clone();
            let places = order.len();
            order.rotate_left(round % places);
            for variant in order {
                let running = variant.start(&bed, bpf.as_ref());
                let turn = traffic.turn(kind, pace, running.process());
                running.stop();
                results.add(kind, variant, round, turn);
            }
        }
        eprintln!();
    }
    let machine = machine();
    let offramp = options.peers.contains(&Peer::All) && !options.brief;
    let resources = offramp.then(|| resources::measure(&bed, &traffic));
    results.print();
    targets::print(&results, resources);
    println!("\n{machine}");
    match std::fs::write(&options.plot, plot::draw(&results, &machine)) {
        Ok(()) => println!("Drawn in {}", options.plot.display()),
        Err(error) => println!("Not drawn: {}: {error}", options.plot.display()),
    }
}

/// What it was measured on.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("?");
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{count} cores of {model}, Linux {}", kernel.trim())
}

/// Kinds that are also sent past policies of ten thousand prefixes.
const LONG: [Kind; 2] = [Kind::OutsideUdp, Kind::UdpMixed];

fn all<T: clap::ValueEnum + Clone>() -> Vec<T> {
    T::value_variants().to_vec()
}
