//! [`Programs`]: the programs in the kernel, and the maps that the gateway shares with them.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, MapError};
use aya::programs::tc::{SchedClassifierLink, TcError};
use aya::programs::{ProgramError, SchedClassifier, SocketFilter};
use aya::{Ebpf, EbpfError, EbpfLoader};

use super::attach::attach;
use super::flows::{ClearedFlows, generation_bits};
use super::version::has_coarse_clock;
use crate::filter::{KernelTables, TableRoom};
use crate::gateway::host::interfaces::RETURN_MARK;
use crate::gateway::sys::memory::{SharedMemory, await_programs};
use crate::gateway::tun::NoteLayout;
use crate::packet::Traffic;
use crate::policy::FailMode;

/// The programs, loaded, and their maps. All of it is gone with this value.
#[derive(Debug)]
pub(super) struct Programs {
    ebpf: Ebpf,
    rows: SharedMemory,
    counters: SharedMemory,
    control: Arc<SharedMemory>,
    interfaces: HashMap<MapData, u32, [u8; 8]>,
    flows: Arc<ClearedFlows>,
    room: TableRoom,
    processors: usize,
    queues: usize,
    /// The half of the rows and counters that is in force.
    half: usize,
    /// True if any are.
    is_enforced: bool,
}

/// The device that the programs lead packets to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// Its index.
    pub(super) index: u32,
    /// The number of its queues.
    pub(super) queues: usize,
}

/// An interface that packets return to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Headers {
    /// Its packets begin with the IP header.
    Ip,
    /// They begin with an Ethernet header; this is the interface's own address.
    Ethernet([u8; 6]),
}

/// The reason why a program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    /// The kernel does not take the object.
    #[error("the kernel does not load it: {}", chain(.0.as_ref()))]
    Load(Box<EbpfError>),
    /// The kernel does not take a program, or does not attach it.
    #[error("{}", chain(.0.as_ref()))]
    Program(Box<ProgramError>),
    /// A classifier queue of an interface.
    #[error("{}", chain(.0))]
    Classifier(#[from] TcError),
    /// A map.
    #[error("{}", chain(.0))]
    Map(#[from] MapError),
    /// Memory is not shared.
    #[error("a map is not mapped: {0}")]
    Memory(#[from] io::Error),
    /// The object lacks a part.
    #[error("the object has no {0}")]
    Missing(&'static str),
}

impl From<EbpfError> for ProgramsError {
    fn from(error: EbpfError) -> Self {
        Self::Load(Box::new(error))
    }
}

impl From<ProgramError> for ProgramsError {
    fn from(error: ProgramError) -> Self {
        Self::Program(Box::new(error))
    }
}

/// An error with its causes: the crate's own messages leave them out.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some repeat their cause.
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    without_log(&text)
}

/// Shortens the verifier's log, if `text` has it, to the line that says why it refuses the program, which is the last one
/// but for statistics.
fn without_log(text: &str) -> String {
    let Some((said, log)) = text.split_once(" Verifier output: ") else {
        return text.lines().next().unwrap_or_default().to_owned();
    };
    let mut lines = log.lines().map(str::trim);
    let why = lines.rfind(|line| {
        !line.is_empty() && !line.starts_with("processed ") && !line.starts_with("verification ")
    });
    format!("{said} Verifier: {}", why.unwrap_or_default())
}

impl Programs {
    /// Loads the programs for `target`, with `room` for each of two tables; they pass everything until tables are [put into
    /// force](Self::enforce).
    ///
    /// # Errors
    /// [`ProgramsError`]: the kernel has no eBPF as needed, or this process may not use it.
    pub(super) fn load(
        target: Target,
        room: TableRoom,
        on_failure: FailMode,
    ) -> Result<Self, ProgramsError> {
        let processors = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let rows = 2 * room.rows;
        let counters = processors * counters_of_processor(room);
        let patience = u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        let coarse = u32::from(has_coarse_clock());
        let mut loader = EbpfLoader::new();
        loader
            .override_global("DEVICE", &target.index, true)
            .override_global("MARK", &RETURN_MARK, true)
            .override_global("PATIENCE", &patience, true)
            .override_global("COARSE", &coarse, true);
        let queues = target.queues as u32;
        let of_processor = counters_of_processor(room) as u32;
        loader
            .override_global("QUEUES", &queues, true)
            .override_global("COUNTERS", &of_processor, true)
            .map_max_entries("rows", rows as u32)
            .map_max_entries("counters", counters as u32)
            .map_max_entries("interfaces", MAX_INTERFACES);
        let mut ebpf = loader.load(OBJECT)?;
        for name in [ENTRY_IP, ENTRY_ETHERNET, LEAVE] {
            classifier(&mut ebpf, name)?.load()?;
        }
        steering(&mut ebpf)?.load()?;
        let mut shared = |name, words| -> Result<SharedMemory, ProgramsError> {
            let map = ebpf.take_map(name).ok_or(ProgramsError::Missing(name))?;
            let Map::Array(map) = map else {
                return Err(ProgramsError::Missing(name));
            };
            Ok(SharedMemory::of_map(map.fd(), words)?)
        };
        let rows = shared("rows", rows * WORDS_OF_ROW)?;
        let counters = shared("counters", counters * WORDS_OF_COUNTER)?;
        let control = shared("control", CONTROL_WORDS)?;
        let flows = shared("flows", ClearedFlows::WORDS)?;
        let interfaces = ebpf.take_map("interfaces");
        let interfaces = interfaces.ok_or(ProgramsError::Missing("interfaces"))?;
        let programs = Self {
            ebpf,
            rows,
            counters,
            control: Arc::new(control),
            interfaces: HashMap::try_from(interfaces)?,
            flows: Arc::new(ClearedFlows::new(flows)),
            room,
            processors,
            queues: target.queues,
            half: 1,
            is_enforced: false,
        };
        programs.set(BYPASS, 1);
        programs.set(CLOSED, u64::from(on_failure == FailMode::Closed));
        Ok(programs)
    }

    /// The words that workers note in that they have read their queues.
    pub(super) fn control(&self) -> &Arc<SharedMemory> {
        &self.control
    }

    /// The flows that pass, since the filter has cleared them.
    pub(super) fn flows(&self) -> &Arc<ClearedFlows> {
        &self.flows
    }

    /// Notes what a worker notes that has read and written everything.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn settle(&self) {
        let feedback = crate::gateway::tun::Feedback::default();
        feedback.note_in(Arc::clone(&self.control));
        feedback.begin(0).end(0);
    }

    /// The entry program of Ethernet interfaces.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn entry(&mut self) -> &SchedClassifier {
        classifier(&mut self.ebpf, ENTRY_ETHERNET).expect("it was loaded")
    }

    /// The socket filter that chooses a queue of the device.
    pub(super) fn steering(&mut self) -> Result<impl AsFd, ProgramsError> {
        Ok(steering(&mut self.ebpf)?.fd()?.try_clone()?)
    }

    /// Puts `tables` into force, for which there is room. No packet sees a part of them beside a part of others.
    ///
    /// Returns once no packet is looked up in the tables before.
    pub(super) fn enforce(&mut self, tables: &Arc<KernelTables>) {
        self.exchange(tables);
        if await_programs().is_err() {
            // A program runs for less than a microsecond, but its processor may be taken away from it.
            std::thread::sleep(GRACE);
        }
    }

    /// Likewise, while packets may still be looked up in the tables before.
    pub(super) fn exchange(&mut self, tables: &Arc<KernelTables>) {
        let half = 1 - self.half;
        let first_row = half * self.room.rows;
        let words = &self.rows.words()[first_row * WORDS_OF_ROW..];
        for (row, words) in tables.rows().iter().zip(words.chunks_exact(WORDS_OF_ROW)) {
            let (cells, _) = row.as_chunks::<4>();
            for ([a, b, c, d], word) in cells.iter().zip(words) {
                let [a, b, c, d] = [a, b, c, d].map(|cell| cell.to_ne_bytes());
                let bytes = [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]];
                word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            }
        }
        for number in 0..stride(self.room) {
            for word in self.counter(half, number).flatten() {
                word.store(0, Ordering::Relaxed);
            }
        }
        // The program adds the number of a counter, from 1 on.
        let first_counter = UNJUDGED + half * stride(self.room);
        let in_force = generation_bits(tables.generation())
            | (first_counter as u64) << COUNTER_SHIFT
            | first_row as u64;
        // From here on, what passes must not overtake what was diverted before, if anything was.
        let settling = if self.is_enforced { self.queues } else { 0 };
        for queue in 0..settling {
            self.set(
                NoteLayout::FIRST + NoteLayout::STRIDE * queue + NoteLayout::SETTLING,
                1,
            );
        }
        self.control.words()[TABLES].store(in_force, Ordering::Release);
        // A bypass by command outlasts a reload.
        if !self.is_enforced {
            self.set(BYPASS, 0);
        }
        self.is_enforced = true;
        self.flows.count_by(Arc::clone(tables));
        self.half = half;
    }

    /// The traffic that passed so far for each verdict of the tables in force; `count` verdicts.
    pub(super) fn passed(&self, count: usize) -> Vec<Traffic> {
        self.passed_by(self.half, count)
    }

    /// Likewise, of the tables that were in force before.
    pub(super) fn passed_before(&self, count: usize) -> Vec<Traffic> {
        self.passed_by(1 - self.half, count)
    }

    fn passed_by(&self, half: usize, count: usize) -> Vec<Traffic> {
        let numbers = 1..=count.min(self.room.counters);
        numbers
            .map(|number| sum(self.counter(half, number)))
            .collect()
    }

    /// The traffic that passed without a verdict because a worker did not read it in time.
    pub(super) fn unread(&self) -> Traffic {
        sum(self.of_processors(UNREAD))
    }

    /// Has everything pass, or everything be judged again.
    pub(super) fn bypass(&self, on: bool) {
        self.set(BYPASS, on.into());
    }

    fn set(&self, word: usize, value: u64) {
        self.control.words()[word].store(value, Ordering::Relaxed);
    }

    /// Counter `number` of a half, of each processor.
    fn counter(&self, half: usize, number: usize) -> impl Iterator<Item = &[AtomicU64]> {
        self.of_processors(UNJUDGED + half * stride(self.room) + number)
    }

    fn of_processors(&self, number: usize) -> impl Iterator<Item = &[AtomicU64]> {
        let processors = (0..self.processors).map(|it| it * counters_of_processor(self.room));
        processors.map(move |first| {
            let at = (first + number) * WORDS_OF_COUNTER;
            &self.counters.words()[at..at + WORDS_OF_COUNTER]
        })
    }

    /// Attaches the entry program to `interface`, before all programs of others, and lets packets return to it. Takes over
    /// the link `before`, which an earlier process has left.
    pub(super) fn attach_entry(
        &mut self,
        interface: &str,
        index: u32,
        headers: Headers,
        before: Option<SchedClassifierLink>,
    ) -> Result<SchedClassifierLink, ProgramsError> {
        let (program, address) = entry_of(headers);
        self.interfaces.insert(index, address, 0)?;
        let program = classifier(&mut self.ebpf, program)?;
        // Replaced at once, it leaves no packet without a program.
        if let Some(Ok(id)) = before.map(|link| program.attach_to_link(link)) {
            return Ok(program.take_link(id)?);
        }
        attach(program, interface)
    }

    /// Attaches the program that leads packets back, to the filter's device.
    pub(super) fn attach_leave(
        &mut self,
        device: &str,
    ) -> Result<SchedClassifierLink, ProgramsError> {
        attach(classifier(&mut self.ebpf, LEAVE)?, device)
    }

    /// Forgets an interface that is gone.
    pub(super) fn forget(&mut self, index: u32) {
        // It may have been forgotten already.
        _ = self.interfaces.remove(&index);
    }
}

/// The counters of one half: those of verdicts have numbers from 1 on.
fn stride(room: TableRoom) -> usize {
    room.counters + 1
}

fn counters_of_processor(room: TableRoom) -> usize {
    UNJUDGED + 2 * stride(room)
}

/// The entry program for an interface, and what is noted of it.
fn entry_of(headers: Headers) -> (&'static str, [u8; 8]) {
    match headers {
        Headers::Ip => (ENTRY_IP, [0; 8]),
        Headers::Ethernet([a, b, c, d, e, f]) => (ENTRY_ETHERNET, [a, b, c, d, e, f, 1, 0]),
    }
}

fn sum<'a>(counters: impl Iterator<Item = &'a [AtomicU64]>) -> Traffic {
    let mut sum = Traffic::default();
    for counter in counters {
        if let [packets, bytes] = counter {
            sum += Traffic {
                packets: packets.load(Ordering::Relaxed),
                bytes: bytes.load(Ordering::Relaxed),
            };
        }
    }
    sum
}

fn classifier<'e>(
    ebpf: &'e mut Ebpf,
    name: &'static str,
) -> Result<&'e mut SchedClassifier, ProgramsError> {
    let program = ebpf.program_mut(name).ok_or(ProgramsError::Missing(name))?;
    Ok(program.try_into()?)
}

fn steering(ebpf: &mut Ebpf) -> Result<&mut SocketFilter, ProgramsError> {
    let program = ebpf
        .program_mut("steer")
        .ok_or(ProgramsError::Missing("steer"))?;
    Ok(program.try_into()?)
}

/// The programs, compiled from `program.c` by `build`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("program.o");

const ENTRY_IP: &str = "entry_ip";
const ENTRY_ETHERNET: &str = "entry_ethernet";
const LEAVE: &str = "leave";

/// The room for the tables of a policy, whatever it is: a running gateway has no right to make more. The rows of two policies
/// take 32 MiB of the kernel, and each processor has 128 KiB of counters.
pub(super) const ROOM: TableRoom = TableRoom {
    rows: TableRoom::MAX.rows,
    counters: 4095,
};

/// The room of programs that are loaded to see if the kernel takes them.
pub(super) const LITTLE_ROOM: TableRoom = TableRoom {
    rows: 512,
    counters: 1,
};

/// The longest time that a worker may leave a packet unread.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// The time to wait for running programs where the kernel does not tell when they have ended.
const GRACE: Duration = Duration::from_millis(200);

/// Interfaces of clients: ocserv makes one each.
const MAX_INTERFACES: u32 = 16_384;

/// The counter of packets that a worker did not read in time.
const UNREAD: usize = 0;
/// Counters of packets without a verdict: those, and what passed by command.
const UNJUDGED: usize = 2;

// `struct row`, `struct traffic` and `struct control` of `maps.h`, in words.
const WORDS_OF_ROW: usize = 256 * size_of::<u16>() / size_of::<u64>();
const WORDS_OF_COUNTER: usize = 2;
/// The place of the first counter in the word of the tables: `FIRST_COUNTER`.
const COUNTER_SHIFT: u32 = 20;
const TABLES: usize = 0;
const BYPASS: usize = 1;
const CLOSED: usize = 2;
const CONTROL_WORDS: usize = NoteLayout::FIRST + NoteLayout::STRIDE * MAX_QUEUES;
/// Queues of a device, at most.
const MAX_QUEUES: usize = 256;

#[cfg(test)]
mod reasons {
    use super::without_log;

    #[test]
    fn a_refusal_gives_the_reason_of_the_verifier_and_not_its_log() {
        let text = "the BPF_PROG_LOAD syscall returned Invalid argument (os error 22). Verifier output: 0: (bf) r7 = r1\n\
                    1546: (85) call unknown#160\ninvalid func unknown#160\n\
                    verification time 81 usec\nprocessed 3156 insns (limit 1000000) max_states_per_insn 2\n\n";
        assert_eq!(
            without_log(text),
            "the BPF_PROG_LOAD syscall returned Invalid argument (os error 22). Verifier: invalid func unknown#160"
        );
        assert_eq!(without_log("no such file\nmore"), "no such file");
    }
}
