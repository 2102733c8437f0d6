//! Every packet of every capture gets its expected verdict.
//!
//! Beside a capture stand `NAME.verdicts`, a line `frame verdict reason` for each packet block, and `NAME.policy.toml`,
//! where NAME is the capture's file name with or without its extension. Our own captures are in `captures/`, made by
//! hand, with exact reasons. Others, recorded elsewhere, may be in `../shared/captures`; their reasons use other
//! words, so only the verdicts are compared.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use offramp::capture::{CaptureError, CaptureReader, LinkPayload, gunzip, ip_packet};
use offramp::filter::{Capacity, CompiledPolicy, Generation, Judge};
use offramp::packet::Received;

use crate::skip::recorded_captures;

/// The expectation for one frame, from the file beside a capture.
struct Expected {
    frame: u64,
    verdict: String,
    reason: String,
}

#[test]
fn our_captures_get_their_verdicts_and_reasons() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let (frames, mistakes) = compare(&folder, |expected, verdict, reason| {
        expected.verdict == verdict && (verdict == "skip" || expected.reason == reason)
    });
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(frames > 800, "only {frames} frames compared");
}

#[test]
fn captures_of_others_get_their_verdicts() {
    let Some(folder) = recorded_captures() else {
        return;
    };
    let (frames, mistakes) = compare(&folder, |expected, verdict, _| {
        expected.verdict == "either" || expected.verdict == verdict
    });
    println!("{frames} frames compared");
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(
        frames > 0,
        "no capture with verdicts in {}",
        folder.display()
    );
}

/// Judges every capture of `folder`; returns the number of frames compared, and a line for each that does not `match`.
fn compare(folder: &Path, matches: impl Fn(&Expected, &str, &str) -> bool) -> (usize, Vec<String>) {
    let mut frames = 0;
    let mut mistakes = Vec::new();
    let mut verdict_files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder of captures can be listed")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "verdicts")
        })
        .collect();
    verdict_files.sort();
    for verdict_file in verdict_files {
        let capture = capture_of(&verdict_file);
        let policy = verdict_file.with_extension("policy.toml");
        let expected = read_expected(&verdict_file);
        let judged = judge(&capture, &policy);
        let name = capture.display();
        if judged.len() != expected.len() {
            mistakes.push(format!(
                "{name}: {} frames, {} expected",
                judged.len(),
                expected.len()
            ));
        }
        for ((frame, verdict, reason), expected) in judged.iter().zip(&expected) {
            frames += 1;
            if *frame != expected.frame || !matches(expected, verdict, reason) {
                mistakes.push(format!(
                    "{name}: frame {frame} is `{verdict} {reason}`, expected {} `{} {}`",
                    expected.frame, expected.verdict, expected.reason
                ));
            }
        }
    }
    (frames, mistakes)
}

/// Returns the capture that a file of verdicts belongs to.
fn capture_of(verdict_file: &Path) -> PathBuf {
    let name = verdict_file.with_extension("");
    let with = |extension: &str| PathBuf::from(format!("{}{extension}", name.display()));
    ["", ".pcap", ".pcapng", ".pcap.gz"]
        .into_iter()
        .map(with)
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no capture beside {}", verdict_file.display()))
}

fn read_expected(path: &Path) -> Vec<Expected> {
    let text = fs::read_to_string(path).expect("a file of verdicts");
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let frame = words.next().and_then(|frame| frame.parse().ok());
        Expected {
            frame: frame.unwrap_or_else(|| panic!("{}: no frame in `{line}`", path.display())),
            verdict: words.next().unwrap_or_default().to_owned(),
            reason: words.next().unwrap_or_default().to_owned(),
        }
    };
    text.lines().map(line).collect()
}

/// Returns frame, verdict and reason of every frame of `capture` under `policy`.
fn judge(capture: &Path, policy: &Path) -> Vec<(u64, String, String)> {
    let text = fs::read(policy).unwrap_or_else(|error| panic!("{}: {error}", policy.display()));
    let (policy, _) = offramp::policy::parse(&policy.display().to_string(), &text)
        .unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
    let mut judge = Judge::new(Capacity::GATEWAY);
    let file = File::open(capture).expect("a capture");
    let mut reader = CaptureReader::new(gunzip(file).expect("a readable capture"))
        .unwrap_or_else(|error| panic!("{}: {error}", capture.display()));
    let mut judged = Vec::new();
    loop {
        let frame = match reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(CaptureError::Truncated { .. }) => return judged,
            Err(error) => panic!("{}: {error}", capture.display()),
        };
        let (verdict, reason) = match ip_packet(frame.link_type, frame.bytes) {
            LinkPayload::NotIp { what } => ("skip".to_owned(), what.to_string()),
            LinkPayload::Ip { packet, offset } => {
                let length = (frame.original_length as usize).saturating_sub(offset);
                let received = Received::captured(packet, length, frame.timestamp);
                let verdict = judge.judge_one(&policy, received);
                (verdict.action.to_string(), verdict.reason.to_string())
            }
        };
        judged.push((frame.number, verdict, reason));
    }
}
