//! [`Variant`]: the filter on the gateway, installed for a turn and removed after it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bed::{Bed, SCRATCH};
use crate::bpf::Bpf;
use crate::obvious;
use crate::policy::{self, Length};

/// The filter on the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// None: the kernel forwards.
    Kernel,
    /// nftables, with interval sets and rules at the forward hook.
    Nftables,
    /// An eBPF program at ingress, with a longest-prefix-match map.
    Ebpf,
    /// The obvious filter.
    TunTokio,
    /// `offramp run` by nftables, `divert = "all"`.
    All,
    /// `offramp run` by nftables, `divert = "suspects"`.
    Offramp,
    /// `offramp run` by eBPF, as it is by default: the kernel passes what the policy allows.
    Programs,
    /// The same with `media.match = "ice"` and nothing allowed: the kernel passes flows that the filter has cleared.
    Cleared,
    /// The same by nftables.
    ClearedByMarks,
    /// `offramp run` by eBPF, `divert = "all"`: the filter judges every packet.
    AllByPrograms,
}

/// A peer, and the length of its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) peer: Peer,
    pub(crate) length: Length,
}

impl Variant {
    /// Returns a peer with a policy of ten prefixes.
    pub(crate) const fn short(peer: Peer) -> Self {
        let length = Length::Ten;
        Self { peer, length }
    }

    /// Returns a peer with a policy of ten thousand.
    pub(crate) const fn long(peer: Peer) -> Self {
        let length = Length::TenThousand;
        Self { peer, length }
    }

    /// Returns `true` if this peer exists with a long policy.
    pub(crate) fn can_be_long(self) -> bool {
        match self.peer {
            Peer::Nftables | Peer::Ebpf | Peer::Offramp | Peer::Programs | Peer::Cleared => true,
            Peer::ClearedByMarks => false,
            // Forwarding has no policy; the others differ from those above only in how packets get there.
            Peer::Kernel | Peer::TunTokio | Peer::All | Peer::AllByPrograms => false,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match (self.peer, self.length) {
            (Peer::Kernel, _) => "kernel",
            (Peer::Nftables, Length::Ten) => "nftables",
            (Peer::Nftables, Length::TenThousand) => "nftables, 10k prefixes",
            (Peer::Ebpf, Length::Ten) => "tc eBPF",
            (Peer::Ebpf, Length::TenThousand) => "tc eBPF, 10k prefixes",
            (Peer::TunTokio, _) => "tun + tokio",
            (Peer::All, _) => "offramp, divert all",
            (Peer::Offramp, Length::Ten) => "offramp",
            (Peer::Offramp, Length::TenThousand) => "offramp, 10k prefixes",
            (Peer::Programs, Length::Ten) => "offramp by eBPF",
            (Peer::Programs, Length::TenThousand) => "offramp by eBPF, 10k prefixes",
            (Peer::Cleared, Length::Ten) => "offramp by eBPF, ice",
            (Peer::Cleared, Length::TenThousand) => "offramp by eBPF, ice, 10k prefixes",
            (Peer::ClearedByMarks, _) => "offramp by nftables, ice",
            (Peer::AllByPrograms, _) => "offramp by eBPF, divert all",
        }
    }

    /// Installs the variant on the gateway until the result is dropped.
    pub(crate) fn start<'a>(self, bed: &'a Bed, bpf: Option<&'a Bpf>) -> Running<'a> {
        let work = match self.peer {
            Peer::Kernel => Work::Nothing,
            Peer::Nftables => {
                let file = format!("{SCRATCH}/bench.nft");
                for text in policy::as_nftables(self.length) {
                    fs::write(&file, text).expect("a file in memory");
                    bed.on_gateway(&format!("nft -f {file}"));
                }
                Work::Nftables
            }
            Peer::Ebpf => {
                let bpf = bpf.expect("left out where it cannot be loaded");
                bpf.attach(bed, self.length);
                Work::Ebpf(bpf)
            }
            Peer::TunTokio => {
                for (priority, interface) in OBVIOUS_RULES {
                    let table = obvious::TABLE;
                    bed.on_gateway(&format!(
                        "ip rule add priority {priority} iif {interface} table {table}"
                    ));
                }
                Work::TunTokio
            }
            Peer::All => Work::Offramp(Offramp::start(bed, self.length, "nftables", "all")),
            Peer::Offramp => {
                Work::Offramp(Offramp::start(bed, self.length, "nftables", "suspects"))
            }
            Peer::Programs => Work::Offramp(Offramp::start(bed, self.length, "ebpf", "suspects")),
            Peer::Cleared => Work::Offramp(Offramp::start_by(
                bed,
                policy::as_file_of_media(self.length, "ebpf", "suspects"),
            )),
            Peer::ClearedByMarks => Work::Offramp(Offramp::start_by(
                bed,
                policy::as_file_of_media(self.length, "nftables", "suspects"),
            )),
            Peer::AllByPrograms => Work::Offramp(Offramp::start(bed, self.length, "ebpf", "all")),
        };
        Running { bed, work }
    }
}

/// An installed variant.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    bed: &'a Bed,
    work: Work<'a>,
}

#[derive(Debug)]
enum Work<'a> {
    Nothing,
    Nftables,
    Ebpf(&'a Bpf),
    TunTokio,
    Offramp(Offramp),
}

impl Running<'_> {
    /// Returns the filtering process, unless it is this one.
    pub(crate) fn process(&self) -> Option<u32> {
        match &self.work {
            Work::Nothing | Work::Nftables | Work::Ebpf(_) | Work::TunTokio => None,
            Work::Offramp(offramp) => Some(offramp.process),
        }
    }

    /// Removes the variant.
    pub(crate) fn stop(self) {
        match self.work {
            Work::Nothing => {}
            Work::Nftables => self.bed.on_gateway("nft delete table ip bench"),
            Work::Ebpf(bpf) => bpf.detach(self.bed),
            Work::TunTokio => {
                for (priority, _) in OBVIOUS_RULES {
                    self.bed
                        .on_gateway(&format!("ip rule del priority {priority}"));
                }
            }
            Work::Offramp(offramp) => offramp.stop(),
        }
    }
}

/// An `offramp run` on the gateway, killed with this process.
#[derive(Debug)]
struct Offramp {
    process: u32,
    /// Its parent thread: the kernel kills the child when the thread that started it ends.
    parent: JoinHandle<()>,
}

impl Offramp {
    fn start(bed: &Bed, length: Length, diversion: &str, divert: &str) -> Self {
        Self::start_by(bed, policy::as_file(length, diversion, divert))
    }

    /// Starts it by this policy.
    fn start_by(bed: &Bed, policy: String) -> Self {
        let file = format!("{SCRATCH}/policy.toml");
        fs::write(&file, policy).expect("a file in memory");
        let namespace = bed.gateway.path();
        let (ready, started) = mpsc::channel();
        let parent = thread::spawn(move || {
            let namespace = File::open(namespace).expect("the namespace is there");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("a namespace of ours");
            let mut child = Command::new("setpriv")
                .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_offramp")])
                .args(["run", "--log", "text", &file])
                .stderr(Stdio::piped())
                .spawn()
                .expect("setpriv is installed");
            let stderr = child.stderr.take().expect("piped just above");
            let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
            let mut said = Vec::new();
            let is_ready = lines.by_ref().any(|line| {
                let is_ready = line.contains(" ready: ");
                said.push(line);
                is_ready
            });
            _ = ready.send(is_ready.then_some(child.id()).ok_or(said));
            // The log is read to its end: a full pipe would block the gateway.
            for line in lines {
                if [" WARN ", " ERROR "]
                    .iter()
                    .any(|level| line.contains(level))
                {
                    eprintln!("offramp: {line}");
                }
            }
            let ended = child.wait().expect("a child of this thread");
            assert!(ended.success(), "offramp run has failed: {ended}");
        });
        match started.recv().expect("the thread answers") {
            Ok(process) => Self { process, parent },
            Err(said) => panic!("offramp run has not started:\n{}", said.join("\n")),
        }
    }

    fn stop(self) {
        let process = Pid::from_raw(self.process.try_into().expect("a process id"));
        kill(process, Signal::SIGTERM).expect("it runs");
        let since = Instant::now();
        while !self.parent.is_finished() {
            let waited = since.elapsed();
            assert!(waited < END, "offramp run goes on {waited:?} after SIGTERM");
            thread::sleep(Duration::from_millis(10));
        }
        let ended = self.parent.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

/// A gateway that is told to end has ended by then, on any machine.
const END: Duration = Duration::from_secs(60);

/// The rules that route to the obvious filter: priority and interface.
const OBVIOUS_RULES: [(u32, &str); 2] = [(500, "tun0"), (501, "gso0")];
