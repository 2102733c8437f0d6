//! Compares the live gateway with its peers: throughput, processor time a packet, and added latency.
//!
//! `cargo bench --bench gateway` builds a client, a gateway and a server in network namespaces of its own (as root, or
//! without eBPF where user namespaces are allowed) and sends eleven kinds of traffic ([`Kind`]) past six peers ([`Peer`]).
//! The kernel's own forwarding has a turn before and after each turn of another peer, in many rounds of changing order.
//! The results are ratios to the kernel's neighboring turns, as medians. Absolute figures depend on the machine.
//!
//! No process is pinned to a core. The kernel forwards on the sender's processor time, so it has one core beside the
//! receiver; a filter in user space has the other. Read the column of processor time too: it is the cost on a machine
//! without a spare core.
//!
//! - `cargo bench --bench gateway -- --kinds tcp-singles,latency --peers offramp --rounds 9`
//! - `cargo bench --bench gateway -- --program-time` measures the entry program alone, by the kernel's accounting.
//! - On a shared machine, take priority over other sessions, between which Linux divides the processors:
//!   `setsid -w sh -c 'echo -20 >/proc/self/autogroup; exec cargo bench --bench gateway'`
//! - Without `--bench`, as in `cargo test --benches`, a few short turns check that it works.

mod agreement;
mod bed;
mod bpf;
#[path = "../support/canvas.rs"]
mod canvas;
mod meter;
mod obvious;
mod plot;
mod policy;
mod program_time;
mod report;
mod resources;
mod targets;
mod traffic;
mod variants;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::agreement::Agreement;
use crate::bed::{Bed, Rights};
use crate::bpf::Bpf;
use crate::meter::machine;
use crate::policy::Length;
use crate::report::Results;
use crate::traffic::{Kind, Pace, Traffic};
use crate::variants::{Peer, Variant};

/// The live gateway beside its peers
#[derive(Debug, Parser)]
struct Options {
    /// Rounds, in each of which every peer has its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Kinds of traffic
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = all::<Kind>())]
    kinds: Vec<Kind>,
    /// Peers to measure; the kernel always has its turns
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = all::<Peer>())]
    peers: Vec<Peer>,
    /// Milliseconds of a turn that count
    #[arg(long, default_value_t = 300)]
    turn: u64,
    /// Leave out the seconds in which offramp is watched alone
    #[arg(long)]
    brief: bool,
    /// Measure the time of the entry program alone, by the kernel's accounting
    #[arg(long)]
    program_time: bool,
    /// The path of the picture
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/gateway.svg"))]
    plot: PathBuf,
    /// The argument that cargo passes to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let rights = match bed::enter_own_namespaces() {
        Ok(rights) => rights,
        Err(why) if options.bench || std::env::var_os("CI").is_some() => panic!("{why}"),
        Err(why) => return println!("SKIPPED: the gateway's benchmark: {why}"),
    };
    let bed = Bed::build();
    let bpf = match rights {
        Rights::Root => Bpf::load(),
        Rights::UserNamespace => Err("it takes root".to_owned()),
    };
    obvious::start(&bed);
    let run = Run {
        traffic: Traffic::prepare(&bed),
        bed: &bed,
        rights,
        bpf,
    };
    run.check_agreement();
    if options.bench {
        run.measure(&options);
    } else {
        run.try_out();
    }
}

/// The state that every turn needs.
struct Run<'a> {
    bed: &'a Bed,
    traffic: Traffic<'a>,
    rights: Rights,
    /// The eBPF program, or the reason why there is none.
    bpf: Result<Bpf, String>,
}

impl Run<'_> {
    /// Peers that give other verdicts than the policy are not measured.
    fn check_agreement(&self) {
        let agreement = Agreement::prepare(self.bed);
        let variants = self.variants(LONG[0], Peer::value_variants());
        // By evidence a media port alone decides nothing.
        let judges_payload = |peer| matches!(peer, Peer::Cleared | Peer::ClearedByMarks);
        let variants = variants.into_iter().filter(|it| !judges_payload(it.peer));
        for variant in variants.chain([Variant::short(Peer::Kernel)]) {
            agreement.check(variant, self.bpf.as_ref().ok());
        }
    }

    fn measure(&self, options: &Options) {
        if options.program_time {
            self.measure_program(options);
            return println!("\n{}.", machine());
        }
        let pace = Pace {
            warm_up: Duration::from_millis(150),
            turn: Duration::from_millis(options.turn),
        };
        self.tell_what_is_left_out();
        let mut results = Results::default();
        for kind in &options.kinds {
            let variants = self.variants(*kind, &options.peers);
            for round in 0..options.rounds {
                eprint!(
                    "\r{:<36}round {} of {} ",
                    kind.title(),
                    round + 1,
                    options.rounds
                );
                self.round(&mut results, *kind, &variants, round, pace);
            }
            eprintln!();
        }
        let alone = !options.brief && options.peers.contains(&Peer::All);
        let resources = alone.then(|| resources::measure(self.bed, &self.traffic));

        let machine = machine();
        results.print();
        targets::print(&results, resources);
        if options.peers.contains(&Peer::Programs) {
            self.measure_program(options);
        }
        println!("\n{machine}.");
        println!(
            "Others had {:.0} % of it meanwhile.",
            100.0 * results.strangers()
        );
        self.tell_what_is_left_out();
        match std::fs::write(&options.plot, plot::draw(&results, &machine)) {
            Ok(()) => println!("Drawn in {}", options.plot.display()),
            Err(error) => println!("Not drawn: {}: {error}", options.plot.display()),
        }
    }

    fn measure_program(&self, options: &Options) {
        if self.rights == Rights::Root {
            let turn = Duration::from_millis(options.turn);
            program_time::print(self.bed, &self.traffic, options.rounds, turn);
        }
    }

    /// Runs a few short turns, to see that packets arrive and not how many.
    fn try_out(&self) {
        self.tell_what_is_left_out();
        let pace = Pace {
            warm_up: Duration::from_millis(300),
            turn: Duration::from_millis(200),
        };
        let mut results = Results::default();
        for kind in [
            Kind::TcpSingles,
            Kind::TcpGso,
            Kind::UdpMixed,
            Kind::Latency,
        ] {
            let mut variants = self.variants(kind, Peer::value_variants());
            variants.retain(|variant| variant.length == Length::Ten);
            self.round(&mut results, kind, &variants, 0, pace);
        }
        results.assert_that_everything_arrived();
    }

    /// Runs a turn of each variant, in an order that changes with the round, between turns of the kernel.
    fn round(
        &self,
        results: &mut Results,
        kind: Kind,
        variants: &[Variant],
        round: usize,
        pace: Pace,
    ) {
        let kernel = || self.traffic.turn(kind, pace, None);
        let mut before = kernel();
        for place in 0..variants.len() {
            let variant = variants[(place + round) % variants.len()];
            let running = variant.start(self.bed, self.bpf.as_ref().ok());
            let turn = self.traffic.turn(kind, pace, running.process());
            running.stop();
            let after = kernel();
            results.add(kind, variant, round, turn, [before, after]);
            before = after;
        }
    }

    fn variants(&self, kind: Kind, peers: &[Peer]) -> Vec<Variant> {
        let wanted = |peer: &Peer| match peer {
            Peer::Kernel => false,
            Peer::Ebpf => self.bpf.is_ok(),
            Peer::Programs | Peer::Cleared | Peer::AllByPrograms => self.rights == Rights::Root,
            Peer::Nftables | Peer::TunTokio | Peer::All | Peer::Offramp | Peer::ClearedByMarks => {
                true
            }
        };
        let peers = peers.iter().copied().filter(wanted);
        let mut variants: Vec<Variant> = peers.map(Variant::short).collect();
        if LONG.contains(&kind) {
            let long = variants.iter().map(|it| Variant::long(it.peer));
            let long: Vec<Variant> = long.filter(|it| it.can_be_long()).collect();
            variants.extend(long);
        }
        variants
    }

    fn tell_what_is_left_out(&self) {
        if let Err(why) = &self.bpf {
            println!("SKIPPED: tc eBPF: {why}");
        }
    }
}

/// Kinds that are also sent through policies of ten thousand prefixes.
const LONG: [Kind; 2] = [Kind::OutsideUdp, Kind::UdpMixed];

fn all<T: ValueEnum>() -> Vec<T> {
    T::value_variants().to_vec()
}
