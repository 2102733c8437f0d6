//! Checks that captures by our writer are readable by our reader and by Wireshark.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::time::Duration;

use offramp::capture::reference::{OwnedFrame, read_all};
use offramp::capture::{CaptureReader, LinkType, PcapngWriter};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::skip::is_installed;

fn write(frames: &[(OwnedFrame, Option<String>)]) -> Vec<u8> {
    let mut writer = PcapngWriter::new(Vec::new()).unwrap();
    for (frame, comment) in frames {
        writer
            .write_frame(&frame.borrow(), comment.as_deref())
            .unwrap();
    }
    writer.finish().unwrap()
}

fn frame(number: u64, link_type: LinkType, bytes: &[u8]) -> OwnedFrame {
    OwnedFrame {
        number,
        link_type,
        timestamp: Duration::new(1_700_000_000, 123_456_789),
        bytes: bytes.to_vec(),
        original_length: bytes.len() as u32 + 7,
    }
}

/// An IPv4 header for an empty UDP packet that Wireshark finds no fault with.
const IPV4: [u8; 28] = [
    0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x13, 0x88, 0x13, 0x88, 0,
    8, 0, 0,
];

#[test]
fn a_file_without_frames_is_a_capture() {
    assert_eq!(
        read_all(CaptureReader::new(&write(&[])[..]), 64),
        (vec![], None)
    );
}

#[test]
fn a_timestamp_beyond_the_format_is_held_to_its_last_moment() {
    let mut late = frame(1, LinkType::RAW, &IPV4);
    late.timestamp = Duration::MAX;

    let (frames, _) = read_all(CaptureReader::new(&write(&[(late, None)])[..]), 64);

    assert_eq!(frames[0].timestamp, Duration::from_nanos(u64::MAX));
}

#[test]
fn a_comment_too_long_for_the_format_is_cut() {
    let comment = "é".repeat(50_000);
    let written = write(&[(frame(1, LinkType::RAW, &IPV4), Some(comment))]);

    assert!(written.len() < 5_000);
    assert_eq!(read_all(CaptureReader::new(&written[..]), 64).0.len(), 1);
}

#[test]
fn tshark_reads_frames_comments_and_times() {
    if !is_installed("tshark") {
        return;
    }
    let ethernet = [&[2; 12], &[8, 0][..], &IPV4].concat();
    let written = write(&[
        (
            frame(1, LinkType::RAW, &IPV4),
            Some("dropped: media, rule 3".to_owned()),
        ),
        (frame(2, LinkType::ETHERNET, &ethernet), None),
        (frame(3, LinkType::RAW, &IPV4), Some("größer".to_owned())),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("written.pcapng");
    std::fs::write(&file, written).unwrap();
    let fields = [
        "frame.number",
        "frame.comment",
        "frame.time_epoch",
        "frame.len",
        "ip.dst",
    ];

    let output = Command::new("tshark")
        .arg("-r")
        .arg(&file)
        .args(["-T", "fields", "-E", "separator=|"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .unwrap();

    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "1|dropped: media, rule 3|1700000000.123456789|35|10.0.0.2\n\
         2||1700000000.123456789|49|10.0.0.2\n\
         3|größer|1700000000.123456789|35|10.0.0.2\n"
    );
}

prop_compose! {
    fn any_frame()(
        link_type in any::<u16>(),
        nanoseconds in any::<u64>(),
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        original_length in any::<u32>(),
        comment in prop::option::of(".{0,40}"),
    ) -> (OwnedFrame, Option<String>) {
        let timestamp = Duration::from_nanos(nanoseconds);
        let link_type = LinkType(link_type % 300);
        (OwnedFrame { number: 0, link_type, timestamp, bytes, original_length }, comment)
    }
}

/// Returns the configuration, by which failed cases are stored beside this file.
fn config() -> ProptestConfig {
    let beside = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig::with_failure_persistence(beside)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_written_is_read(mut frames in prop::collection::vec(any_frame(), 0..20)) {
        for (number, (frame, _)) in (1..).zip(&mut frames) {
            frame.number = number;
        }
        let written = write(&frames);
        let expected: Vec<_> = frames.into_iter().map(|(frame, _)| frame).collect();
        prop_assert_eq!(read_all(CaptureReader::new(&written[..]), 64), (expected, None));
    }
}
