//! The measurements of RTP streams are those of `tshark -z rtp,streams`.
//!
//! Every address counts as a client's. tshark's list has all that looks like RTP; ours has what is recognized, in UDP and in
//! ChannelData. Jitter is compared where tshark has one: where the payload type, or a call setup in the capture, tells it the
//! clock.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use offramp::audit::quality::{Quality, StreamReport};
use offramp::capture::{CaptureError, CaptureReader, CapturedFrame, gunzip};
use offramp::datapath::worker::{self, ByPolicy};
use offramp::datapath::{BackendError, CaptureBackend, FrameSink, Outcome};

use crate::media::{captures_of, policy};
use crate::skip::{is_installed, skip};

/// Sender, receiver, SSRC.
type Key = (SocketAddr, SocketAddr, u32);

/// A line of tshark's list.
#[derive(Debug)]
struct Line {
    packets: u64,
    lost: i64,
    /// In milliseconds; `None` where tshark knows no clock.
    jitter: Option<(f64, f64)>,
}

/// Streams that tshark lists and that are not recognized as media in UDP: capture, SSRC, reason.
const NOT_MEDIA: &[(&str, u32, &str)] = &[
    ("nice-", 0x0707_0707, STANDS),
    ("ndpi-stun_google_meet.pcapng", 0, STANDS),
    ("ndpi-stun_google_meet.pcapng", 0xc362_591e, STANDS),
    (
        "ndpi-rtp.pcapng",
        0x001a_759f,
        "events of telephony alone (RFC 4733)",
    ),
    ("ndpi-stun_dtls_rtp.pcapng", 0x321d_28bb, TCP),
    (
        "ndpi-fuzz-2006-06-26-2594.pcap",
        0x3796_cb71,
        "its stamps jump back",
    ),
    ("chromium156-relaytcp.pcap", 0x3a6a_7cfa, TCP),
    ("chromium156-relaytcp.pcap", 0x8ca9_7563, TCP),
    ("chromium156-relaytcp.pcap", 0xc6d5_7518, TCP),
];
const STANDS: &str = "its stamps stand: probes of the bandwidth, or a test program";
const TCP: &str = "in a TCP connection";
/// A row takes three packets.
const MIN_PACKETS: u64 = 3;

#[test]
fn streams_of_recorded_captures_are_measured_as_by_tshark() {
    if !is_installed("tshark") {
        return;
    }
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folders = ["captures-media", "captures"].map(|folder| shared.join(folder));
    if let Some(missing) = folders.iter().find(|folder| !folder.is_dir()) {
        skip(&format!("no captures in {}", missing.display()));
        return;
    }
    let captures = folders.iter().flat_map(|folder| captures_of(folder));
    let sum = compare_all(captures);
    assert!(sum.streams >= 42 && sum.with_jitter >= 9, "only {sum:?}");
}

/// Loss, duplicates, disorder, wrapping numbers, comfort noise, and clocks that a call setup tells tshark alone.
#[test]
fn streams_of_our_captures_are_measured_as_by_tshark() {
    if !is_installed("tshark") {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let sum = compare_all([folder.join("rtp-quality.pcap")].into_iter());
    assert_eq!((sum.streams, sum.with_jitter), (5, 5));
}

/// The number of streams compared, and of those compared in jitter.
#[derive(Debug, Default)]
struct Sum {
    streams: usize,
    with_jitter: usize,
}

fn compare_all(captures: impl Iterator<Item = PathBuf>) -> Sum {
    let mut sum = Sum::default();
    let mut mistakes = Vec::new();
    for capture in captures {
        compare(&capture, &mut sum, &mut mistakes);
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    println!("{sum:?} agree");
    sum
}

/// Compares the streams of a capture.
fn compare(capture: &Path, sum: &mut Sum, mistakes: &mut Vec<String>) {
    let name = capture.file_name().expect("a file").to_string_lossy();
    let mut listed = streams_of_tshark(capture);
    for stream in measure(capture) {
        let key = (stream.source, stream.destination, stream.ssrc);
        let Some(line) = listed.remove(&key) else {
            mistakes.push(format!("{name}: tshark has no {stream:?}"));
            continue;
        };
        sum.streams += 1;
        let mut is_equal = stream.packets == line.packets && stream.lost == line.lost;
        if let Some((mean, max)) = line.jitter {
            sum.with_jitter += 1;
            is_equal &= stream
                .jitter
                .is_some_and(|it| is_close(it.mean * 1e3, mean) && is_close(it.max * 1e3, max));
        }
        if !is_equal {
            mistakes.push(format!("{name}: {stream:?}, of tshark {line:?}"));
        }
    }
    listed.retain(|(.., ssrc), line| {
        let is_known =
            |&&(capture, source, _): &&(&str, u32, _)| name.starts_with(capture) && source == *ssrc;
        line.packets >= MIN_PACKETS && NOT_MEDIA.iter().find(is_known).is_none()
    });
    for (key, line) in listed {
        mistakes.push(format!("{name}: only tshark has {key:?}: {line:?}"));
    }
}

/// True within 1 %, or within what tshark rounds to.
fn is_close(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= (theirs * 0.01).max(0.000_6)
}

/// Measures the streams of a capture.
fn measure(capture: &Path) -> Vec<StreamReport> {
    let policy = policy("ports");
    let file = File::open(capture).expect("a capture");
    let reader = CaptureReader::new(gunzip(file).expect("a readable capture"))
        .unwrap_or_else(|error| panic!("{}: {error}", capture.display()));
    let quality = Quality::new(&policy).expect("a small policy");
    let mut backend = CaptureBackend::new(reader, Measured(quality));
    match worker::run(&mut backend, &mut ByPolicy::new(&policy)) {
        Ok(()) | Err(BackendError::Capture(CaptureError::Truncated { .. })) => {}
        Err(error) => panic!("{}: {error}", capture.display()),
    }
    backend.into_sink().0.report(&policy).streams
}

struct Measured(Quality);

impl FrameSink for Measured {
    fn note(&mut self, _frame: &CapturedFrame<'_>, outcome: Outcome<'_>) -> io::Result<()> {
        if let Outcome::Judged(packet, verdict) = outcome {
            self.0.record(verdict, packet);
        }
        Ok(())
    }
}

/// The streams that tshark lists.
fn streams_of_tshark(capture: &Path) -> BTreeMap<Key, Line> {
    let output = Command::new("tshark")
        .args(["-n", "-q", "-z", "rtp,streams"])
        .args(["-o", "rtp.heuristic_rtp:TRUE", "-r"])
        .arg(capture)
        .output()
        .expect("tshark is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| line.contains('%'));
    lines
        .filter(|line| !line.contains("Delta"))
        .map(read_line)
        .collect()
}

/// Reads `start end source port destination port ssrc payload… packets lost (share) deltas… jitters… [X]`.
fn read_line(line: &str) -> (Key, Line) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| -> f64 {
        let number = words[at].parse();
        number.unwrap_or_else(|_| panic!("no number at {at} in `{line}`"))
    };
    let end = |at: usize| {
        let address = words[at].parse().expect("an address");
        SocketAddr::new(address, number(at + 1) as u16)
    };
    let ssrc = words[6].trim_start_matches("0x");
    let ssrc = u32::from_str_radix(ssrc, 16).expect("an SSRC");
    // The names of payload types have spaces: count from the share of losses on.
    let share = words.iter().position(|word| word.ends_with("%)"));
    let share = share.expect("a share of losses");
    let least = number(share + 4);
    let line = Line {
        packets: number(share - 2) as u64,
        lost: number(share - 1) as i64,
        jitter: (least >= 0.0).then(|| (number(share + 5), number(share + 6))),
    };
    ((end(2), end(4), ssrc), line)
}
