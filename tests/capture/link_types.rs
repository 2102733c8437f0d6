//! Checks real captures against an independent oracle: link headers must be judged "not IP" for exactly its frames.
//!
//! The captures are not part of this repository; without them the tests are skipped.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use offramp::capture::{CaptureReader, LinkPayload, gunzip, ip_packet};

use crate::skip::{is_installed, recorded_captures};

/// Returns the captures with a file of verdicts beside them; empty if the test is skipped.
fn captures() -> Vec<PathBuf> {
    let Some(folder) = recorded_captures() else {
        return Vec::new();
    };
    let mut captures: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| verdicts_of(path).is_file())
        .collect();
    assert!(
        !captures.is_empty(),
        "no capture with verdicts in {}",
        folder.display()
    );
    captures.sort();
    captures
}

fn verdicts_of(capture: &Path) -> PathBuf {
    let mut name = capture.as_os_str().to_owned();
    name.push(".verdicts");
    PathBuf::from(name)
}

/// Returns the number of frames in the capture, and the numbers of those that are not IP.
fn read(capture: &Path) -> (u64, BTreeSet<u64>) {
    let mut reader = CaptureReader::new(gunzip(File::open(capture).unwrap()).unwrap()).unwrap();
    let (mut frames, mut not_ip) = (0, BTreeSet::new());
    loop {
        let batch = reader
            .next_batch(64)
            .unwrap_or_else(|error| panic!("{}: {error}", capture.display()));
        if batch.is_empty() {
            return (frames, not_ip);
        }
        for frame in batch {
            frames += 1;
            assert_eq!(frame.number, frames);
            if let LinkPayload::NotIp { .. } = ip_packet(frame.link_type, frame.bytes) {
                not_ip.insert(frame.number);
            }
        }
    }
}

#[test]
fn frames_that_the_oracle_skips_are_those_that_are_not_ip() {
    let captures = captures();
    for capture in &captures {
        let verdicts = fs::read_to_string(verdicts_of(capture)).unwrap();
        let lines = verdicts.lines().map(|line| {
            let mut words = line.split_whitespace();
            let number: u64 = words.next().unwrap().parse().unwrap();
            (number, words.next() == Some("skip"))
        });
        let expected: BTreeSet<u64> = lines
            .clone()
            .filter(|(_, skip)| *skip)
            .map(|(n, _)| n)
            .collect();

        let (frames, not_ip) = read(capture);

        assert_eq!(
            frames,
            lines.count() as u64,
            "frames of {}",
            capture.display()
        );
        assert_eq!(
            not_ip,
            expected,
            "frames that are not IP in {}",
            capture.display()
        );
    }
    eprintln!("{} captures compared", captures.len());
}

#[test]
fn capinfos_counts_the_same_frames() {
    let captures = captures();
    if captures.is_empty() {
        return;
    }
    if !is_installed("capinfos") {
        return;
    }
    let output = Command::new("capinfos")
        .args(["-T", "-r", "-c", "-M"])
        .args(&captures)
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(table.lines().count(), captures.len());
    for line in table.lines() {
        let (name, count) = line.split_once('\t').unwrap();
        assert_eq!(
            read(Path::new(name)).0.to_string(),
            count.trim(),
            "frames of {name}"
        );
    }
}
