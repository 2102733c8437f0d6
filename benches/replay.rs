//! `offramp replay` from end to end: a capture of 1 GB of small packets, and the time each stage adds to plain reading.
//!
//! `cargo bench --bench replay`. The stages take turns, round by round, and the medians of a run make the table: on a
//! busy machine only numbers of one run compare. Rates per core use processor time, so that other programs do not
//! distort them. The target is 3 million packets per second and core for the whole command.
//!
//! - `OFFRAMP_BENCH_BYTES=100000000` a smaller capture; it is kept in the target directory while the run lasts
//! - `capinfos` and `tshark` (on a piece of 50 MB) are timed where they are installed
//!
//! ```text
//!   read(2) ──► CaptureReader ──► link header, Judge ──► counting sink     in this process
//!   offramp replay POLICY CAPTURE [--verdicts /dev/null]                   the program, start to end
//! ```

mod support;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use offramp::capture::{CaptureReader, CapturedFrame};
use offramp::datapath::CaptureBackend;
use offramp::datapath::worker::{self, ByPolicy};
use offramp::datapath::{FrameSink, Outcome};
use offramp::filter::{CompiledPolicy, Generation, Judge};
use offramp::random::Random;
use offramp::verdict::Action;

/// Bytes of the capture.
const BYTES: u64 = 1_000_000_000;

/// Bytes of the piece that `tshark` reads: it takes minutes for all of it.
const PIECE: u64 = 50_000_000;

/// Turns of each stage.
const ROUNDS: usize = 3;

/// Flows of the capture: more than a core's cache keeps the headers of.
const FLOWS: usize = 65_536;

/// The target for the command, in packets per second and core.
const AIM: f64 = 3e6;

fn main() {
    // Without it, this is a test that the benchmark works.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let (bytes, rounds) = match std::env::var("OFFRAMP_BENCH_BYTES") {
        Ok(text) => (
            text.parse()
                .expect("OFFRAMP_BENCH_BYTES is a number of bytes"),
            ROUNDS,
        ),
        Err(_) if is_bench => (BYTES, ROUNDS),
        Err(_) => (1_000_000, 1),
    };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if let Some(free) = free_bytes(directory)
        && free < bytes + 2 * PIECE
    {
        eprintln!(
            "SKIPPED: {} has {:.2} GB left, and the capture takes {:.2}; set OFFRAMP_BENCH_BYTES",
            directory.display(),
            free as f64 / 1e9,
            bytes as f64 / 1e9
        );
        return;
    }
    let flows = flows();
    let policy = Temporary::new(directory.join("bench-replay.toml"));
    fs::write(&policy.0, policy_text()).expect("the target directory takes files");
    let capture = Temporary::new(directory.join("bench-replay.pcap"));
    let whole = write_capture(&capture.0, &flows, bytes);
    let mut stages = stages(&policy.0, &capture.0, &whole);
    for _ in 0..rounds {
        for stage in &mut stages {
            stage.run();
        }
    }
    print(&stages, &whole, rounds);
    if is_bench {
        print_peers(directory, &capture.0, &whole, &flows);
    }
}

/// A file that is removed on drop.
struct Temporary(PathBuf);

impl Temporary {
    fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Bytes free for `directory`; `None` where `df` does not report them.
fn free_bytes(directory: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(directory).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kibibytes: u64 = text
        .lines()
        .nth(1)?
        .split_whitespace()
        .nth(3)?
        .parse()
        .ok()?;
    Some(kibibytes * 1024)
}

/// Returns the worked example of the article, and IPv6 beside it.
fn policy_text() -> String {
    include_str!("../config/contoso.toml")
        .replace(
            r#"["172.16.1.0/24"]"#,
            r#"["172.16.1.0/24", "2001:db8:ff::/64"]"#,
        )
        .replace(
            r#"subnets = ["10.0.0.0/8"]"#,
            r#"subnets = ["10.0.0.0/8", "2001:db8::/40"]"#,
        )
}

/// Returns a frame of each flow, 60 to 94 bytes: media, acknowledgements and the rest of an office's small packets.
fn flows() -> Vec<Vec<u8>> {
    let mut random = Random(7);
    (0..FLOWS).map(|_| frame(&mut random)).collect()
}

fn frame(random: &mut Random) -> Vec<u8> {
    let client = random.next_u64() as u8;
    let (low, high) = (random.next_u64() as u8, random.next_u64() as u8);
    let port = 49_152 + random.below(16_384) as u16;
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = if random.below(100) < 70 {
        let destination = match random.below(100) {
            0..60 => [10, 9, high, low],
            60..70 => [10, 1, 0, 10 + low % 3],
            70..80 => [10, 5, high, low],
            80..90 => [172, 16, 1, low],
            _ => [167, 55, 49, 32 + low % 5],
        };
        ethernet.ipv4([172, 16, 1, client], destination, 64)
    } else {
        let source = u128::from(client) | 0x2001_0db8_00ff << 80;
        let site = if random.below(10) == 0 { 0xff } else { 9 };
        let destination =
            0x2001_0db8 << 96 | site << 80 | u128::from(high) << 8 | u128::from(low) | 1 << 40;
        ethernet.ipv6(source.to_be_bytes(), destination.to_be_bytes(), 64)
    };
    let mut frame = Vec::new();
    let written = if random.below(100) < 60 {
        let peer = 20_000 + random.below(20_000) as u16;
        let payload = [0x80; 32];
        ip.udp(port, peer)
            .write(&mut frame, &payload[..12 + random.below(20)])
    } else {
        let service = [443, 445, 1_433, 3_389, 8_080, 49_670][random.below(6)];
        let segment = ip
            .tcp(port, service, random.next_u64() as u32, 64_000)
            .ack(1);
        if random.below(2) == 0 {
            segment.write(&mut frame, &[])
        } else {
            let options = [etherparse::TcpOptionElement::Timestamp(1, 2)];
            let segment = segment.options(&options).expect("options of 12 bytes");
            segment.write(&mut frame, &[])
        }
    };
    written.expect("writing to memory");
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The contents of a capture.
struct Size {
    packets: u64,
    bytes: u64,
}

/// Writes packets of `flows` in random order until there are `bytes`.
fn write_capture(path: &Path, flows: &[Vec<u8>], bytes: u64) -> Size {
    let file = File::create(path).expect("the target directory takes files");
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let words = |out: &mut BufWriter<File>, words: &[u32]| {
        for word in words {
            out.write_all(&word.to_le_bytes())
                .expect("there is room for the capture");
        }
    };
    words(&mut out, &[0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1]);
    let mut random = Random(11);
    let mut size = Size {
        packets: 0,
        bytes: 24,
    };
    while size.bytes < bytes {
        let frame = &flows[random.below(flows.len())];
        let (seconds, length) = (size.packets / 1_000_000, frame.len() as u32);
        let fraction = (size.packets % 1_000_000) as u32;
        words(&mut out, &[seconds as u32, fraction, length, length]);
        out.write_all(frame).expect("there is room for the capture");
        size.packets += 1;
        size.bytes += 16 + u64::from(length);
    }
    out.flush().expect("there is room for the capture");
    size
}

/// A timed stage, with the times of its turns.
struct Stage<'a> {
    name: &'static str,
    work: Box<dyn FnMut() + 'a>,
    walls: Vec<Duration>,
    cores: Vec<Option<Duration>>,
}

impl<'a> Stage<'a> {
    fn new(name: &'static str, work: impl FnMut() + 'a) -> Self {
        Self {
            name,
            work: Box::new(work),
            walls: Vec::new(),
            cores: Vec::new(),
        }
    }

    fn run(&mut self) {
        let core = core_time();
        let wall = Instant::now();
        (self.work)();
        self.walls.push(wall.elapsed());
        let spent = core_time().zip(core).map(|(after, before)| after - before);
        self.cores.push(spent);
    }

    fn wall(&self) -> f64 {
        median(&self.walls).as_secs_f64()
    }

    /// Returns processor time, or elapsed time where the system does not report it.
    fn core(&self) -> f64 {
        let known: Option<Vec<Duration>> = self.cores.iter().copied().collect();
        known.map_or(self.wall(), |cores| median(&cores).as_secs_f64())
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

/// Returns processor time used by this process and its reaped children (Linux, proc(5): `utime` to `cstime`).
fn core_time() -> Option<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let ticks: Option<Vec<u32>> = fields
        .split(' ')
        .skip(11)
        .take(4)
        .map(|field| field.parse().ok())
        .collect();
    Some(TICK * ticks?.iter().sum::<u32>())
}

fn stages<'a>(policy: &'a Path, capture: &'a Path, size: &'a Size) -> Vec<Stage<'a>> {
    let (compiled, _) = offramp::policy::parse("bench", policy_text().as_bytes())
        .map(|(policy, warnings)| (CompiledPolicy::new(policy, Generation(1)), warnings))
        .expect("it is in order");
    let compiled = compiled.expect("it is small");
    vec![
        Stage::new("read(2), 1 MiB a piece", || {
            assert_eq!(read_plainly(capture), size.bytes);
        }),
        Stage::new("frames", || {
            assert_eq!(read_frames(capture), size.packets);
        }),
        Stage::new("frames, judged", move || {
            assert_eq!(judge(capture, &compiled), size.packets);
        }),
        Stage::new("offramp replay", || replay(policy, capture, &[])),
        Stage::new("  --verdicts /dev/null", || {
            replay(policy, capture, &["--verdicts", "/dev/null"]);
        }),
    ]
}

fn read_plainly(path: &Path) -> u64 {
    let mut file = File::open(path).expect("it was written");
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).expect("it can be read") {
            0 => return bytes,
            received => bytes += black_box(&buffer[..received]).len() as u64,
        }
    }
}

fn read_frames(path: &Path) -> u64 {
    let file = File::open(path).expect("it was written");
    let mut reader = CaptureReader::new(file).expect("it is a capture");
    let mut packets = 0;
    loop {
        let batch = reader.next_batch(Judge::BATCH).expect("it is whole");
        if batch.is_empty() {
            return packets;
        }
        for frame in batch {
            black_box(frame.bytes);
            packets += 1;
        }
    }
}

/// A sink that only counts.
#[derive(Default)]
struct Counter {
    judged: u64,
    dropped: u64,
}

impl FrameSink for Counter {
    fn note(&mut self, _: &CapturedFrame<'_>, outcome: Outcome<'_>) -> io::Result<()> {
        if let Outcome::Judged(_, verdict) = outcome {
            self.judged += 1;
            self.dropped += u64::from(verdict.action == Action::Drop);
        }
        Ok(())
    }
}

fn judge(path: &Path, policy: &CompiledPolicy) -> u64 {
    let file = File::open(path).expect("it was written");
    let reader = CaptureReader::new(file).expect("it is a capture");
    let mut backend = CaptureBackend::new(reader, Counter::default());
    worker::run(&mut backend, &mut ByPolicy::new(policy)).expect("it is whole");
    let counter = backend.into_sink();
    assert!(counter.dropped > 0 && counter.dropped < counter.judged);
    counter.judged
}

fn replay(policy: &Path, capture: &Path, arguments: &[&str]) {
    let status = Command::new(env!("CARGO_BIN_EXE_offramp"))
        .arg("replay")
        .args([policy, capture])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("it was built");
    assert!(status.success(), "offramp replay: {status}");
}

fn print(stages: &[Stage<'_>], size: &Size, rounds: usize) {
    let packets = size.packets as f64;
    println!(
        "\n{:.2} million packets, {:.2} GB, {:.0} bytes a packet and its record header; medians of {rounds} rounds\n",
        packets / 1e6,
        size.bytes as f64 / 1e9,
        size.bytes as f64 / packets
    );
    println!(
        "{:<24}{:>14}{:>8}{:>12}{:>20}{:>16}",
        "", "packets/s", "GB/s", "ns/packet", "packets/s a core", "time of read(2)"
    );
    let plain = stages[0].core();
    for stage in stages {
        println!(
            "{:<24}{:>12.2} M{:>8.2}{:>12.1}{:>18.2} M{:>15.1}x",
            stage.name,
            packets / stage.wall() / 1e6,
            size.bytes as f64 / stage.wall() / 1e9,
            stage.core() / packets * 1e9,
            packets / stage.core() / 1e6,
            stage.core() / plain
        );
    }
    println!("\nns/packet and the ratio are of processor time");
    for stage in &stages[3..] {
        let reached = packets / stage.core();
        println!(
            "{:<24}{:.1}x of the aim, {:.0} M packets/s a core",
            stage.name,
            reached / AIM,
            AIM / 1e6
        );
    }
}

/// Times other programs that read every packet, once.
fn print_peers(directory: &Path, capture: &Path, whole: &Size, flows: &[Vec<u8>]) {
    let piece = Temporary::new(directory.join("bench-replay-piece.pcap"));
    let part = write_capture(&piece.0, flows, PIECE.min(whole.bytes));
    let peers: [(&str, &[&str], &Path, &Size); 3] = [
        ("tcpdump", &["-n", "-r"], capture, whole),
        ("capinfos", &["-c"], capture, whole),
        ("tshark", &["-n", "-r"], &piece.0, &part),
    ];
    println!("\nOther programs, one run each, packets/s a core");
    for (name, arguments, path, size) in peers {
        let mut found = true;
        let mut stage = Stage::new(name, || {
            let status = Command::new(name)
                .args(arguments)
                .arg(path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            found = status.is_ok_and(|status| status.success());
        });
        stage.run();
        let seconds = stage.core();
        drop(stage);
        let command = format!("{name} {}", arguments.join(" "));
        if found {
            let speed = size.packets as f64 / seconds / 1e6;
            println!("{command:<24}{speed:>12.2} M");
        } else {
            println!("{command:<24}{:>14}", "not here");
        }
    }
}
