//! Reads captures made byte by byte: valid ones, each truncated at every length, and files that are no captures.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Cursor, Read, Write};
use std::time::Duration;

use offramp::capture::reference::{OwnedFrame, fuzz_reader, read_all};
use offramp::capture::{CaptureReader, LinkType, gunzip};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::bytes::{Bytes, Options, classic, classic_header, pcapng};

fn read(data: &[u8]) -> (Vec<OwnedFrame>, Option<String>) {
    read_all(CaptureReader::new(data), 64)
}

fn error_of(data: &[u8]) -> String {
    read(data).1.expect("an error")
}

#[test]
fn classic_files_are_read_in_both_byte_orders_and_resolutions() {
    for big in [false, true] {
        for (magic, fraction) in [(0xa1b2_c3d4, 5_000), (0xa1b2_3c4d, 5)] {
            let (frames, error) = read(&classic(big, magic, 5));

            assert_eq!((frames.len(), error), (5, None));
            assert_eq!(frames[3].number, 4);
            assert_eq!(frames[3].link_type, LinkType::ETHERNET);
            assert_eq!(frames[3].bytes, [3, 3, 3]);
            assert_eq!(frames[3].original_length, 1500);
            assert_eq!(frames[3].timestamp, Duration::new(3, fraction));
        }
    }
}

#[test]
fn a_frame_longer_than_the_snapshot_length_or_than_on_the_wire_is_read_whole() {
    let mut b = classic_header(false, 0xa1b2_c3d4, (2, 4), 101);
    b.words(&[0, 0, 20, 4]);
    b.bytes.extend([7; 20]);

    let (frames, error) = read(&b.bytes);

    assert_eq!(error, None);
    assert_eq!((frames[0].bytes.len(), frames[0].original_length), (20, 4));
}

#[test]
fn old_versions_that_swap_the_lengths_are_read() {
    for (minor, lengths) in [(2, [9, 4]), (3, [9, 4]), (3, [4, 9]), (4, [4, 9])] {
        let mut b = classic_header(true, 0xa1b2_c3d4, (2, minor), 1);
        b.words(&[0, 0]);
        b.words(&lengths);
        b.bytes.extend(b"four");

        let (frames, error) = read(&b.bytes);

        assert_eq!(error, None);
        assert_eq!(
            (&frames[0].bytes[..], frames[0].original_length),
            (&b"four"[..], 9)
        );
    }
}

#[test]
fn records_with_the_longer_header_of_modified_pcap_are_read() {
    let mut b = classic_header(false, 0xa1b2_cd34, (2, 4), 1);
    b.words(&[0, 0, 4, 4, 1, 2]);
    b.bytes.extend(b"four");

    assert_eq!(read(&b.bytes).0[0].bytes, b"four");
}

#[test]
fn reserved_bits_above_the_link_type_are_not_part_of_it() {
    let mut b = classic_header(false, 0xa1b2_c3d4, (2, 4), 0x2400_0001);
    b.words(&[0, 0, 0, 0]);

    assert_eq!(read(&b.bytes).0[0].link_type, LinkType::ETHERNET);
}

#[test]
fn all_packet_blocks_of_all_sections_are_counted() {
    for big in [false, true] {
        let (frames, error) = read(&pcapng(big));

        assert_eq!(error, None);
        let told: Vec<_> = frames
            .iter()
            .map(|f| (f.number, f.link_type.0, &f.bytes[..]))
            .collect();
        assert_eq!(
            told,
            [
                (1, 1, &b"one"[..]),
                (2, 101, b"seconds"),
                (3, 1, b"thi"), // the snapshot length of interface 0
                (4, 101, b"four"),
                (5, 113, b"fifth"),
            ]
        );
        assert_eq!(frames[0].timestamp, Duration::new(1, 1_000));
        assert_eq!(frames[1].timestamp, Duration::new(1, 1));
        assert_eq!(frames[1].original_length, 8);
    }
}

#[test]
fn blocks_whose_length_leaves_out_their_padding_are_read() {
    let mut b = Bytes {
        bytes: Vec::new(),
        big: false,
    };
    b.section();
    b.interface(1, 0, &[]);
    for _ in 0..2 {
        b.words(&[6, 35, 0, 0, 0, 3, 3]);
        b.bytes.extend(b"odd\0");
        b.words(&[35]);
    }

    let (frames, error) = read(&b.bytes);

    assert_eq!(error, None);
    assert_eq!((frames.len(), &frames[1].bytes[..]), (2, &b"odd"[..]));
}

#[test]
fn interfaces_tell_the_unit_and_the_offset_of_their_timestamps() {
    let cases: [(Options, u64, Duration); 7] = [
        (&[], 1_500_000, Duration::from_millis(1_500)),
        (&[(9, &[0])], 3, Duration::from_secs(3)),
        (
            &[(9, &[12])],
            1_500_000_000_000,
            Duration::from_millis(1_500),
        ),
        (&[(9, &[0x80 | 10])], 1_536, Duration::from_millis(1_500)),
        (&[(9, &[0x7f])], u64::MAX, Duration::ZERO),
        (&[(9, &[0])], u64::MAX, Duration::from_nanos(u64::MAX)),
        (
            &[(14, &[0, 0, 0, 0, 0, 0, 0, 60])],
            0,
            Duration::from_secs(60),
        ),
    ];
    for (options, time, expected) in cases {
        let mut b = Bytes {
            bytes: Vec::new(),
            big: true,
        };
        b.section();
        b.interface(1, 0, options);
        b.enhanced(0, time, b"", &[]);

        assert_eq!(
            read(&b.bytes).0[0].timestamp,
            expected,
            "{options:?} {time}"
        );
    }
}

#[test]
fn every_beginning_of_a_capture_gives_its_complete_frames_and_an_error() {
    let samples = [
        classic(false, 0xa1b2_c3d4, 6),
        classic(true, 0xa1b2_3c4d, 6),
        pcapng(false),
        pcapng(true),
    ];
    for whole in samples {
        let (all, _) = read(&whole);
        let mut ends_between_records = 0;
        for length in 0..whole.len() {
            let (frames, error) = read(&whole[..length]);

            assert_eq!(frames, all[..frames.len()]);
            match error {
                // A capture truncated between two records is still a capture.
                None => ends_between_records += 1,
                Some(error) if length < 4 => assert!(error.starts_with("not a "), "{error}"),
                Some(error) => {
                    let start = format!(
                        "capture truncated after frame {} at byte {length}:",
                        frames.len()
                    );
                    assert!(error.starts_with(&start), "{error}");
                }
            }
        }
        assert!(ends_between_records <= 11, "{ends_between_records}");
    }
}

#[test]
fn after_an_error_there_are_no_more_frames() {
    let whole = classic(false, 0xa1b2_c3d4, 6);
    let mut reader = CaptureReader::new(&whole[..whole.len() - 1]).unwrap();
    for number in 1..=5 {
        assert_eq!(reader.next_frame().unwrap().map(|f| f.number), Some(number));
    }

    assert!(reader.next_frame().is_err());
    assert!(reader.next_frame().unwrap().is_none());
    assert!(reader.next_batch(64).unwrap().is_empty());
}

#[test]
fn a_batch_has_at_most_the_asked_frames_and_at_least_one() {
    let whole = classic(false, 0xa1b2_c3d4, 100);
    let mut reader = CaptureReader::new(&whole[..]).unwrap();

    assert_eq!(reader.next_batch(64).unwrap().len(), 64);
    assert_eq!(
        reader
            .next_batch(0)
            .unwrap()
            .into_iter()
            .map(|f| f.number)
            .collect::<Vec<_>>(),
        [65]
    );
    assert_eq!(reader.next_batch(64).unwrap().into_iter().len(), 35);
    assert!(reader.next_batch(64).unwrap().is_empty());
}

#[test]
fn what_is_no_capture_is_named() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "the file is empty"),
        (
            b"\x1f\x8b\x08\0",
            "the file is compressed; unpack it with `gunzip` first",
        ),
        (b"[vpn]\ninterfaces = [\"tun0\"]\n", "the file is text"),
        (b"snoop\0\0\0\0\0\0\x02", "Sun snoop format"),
        (b"\x7fELF\x02\x01", "unknown bytes 7f454c46"),
        (b"\xd4\xc3", "unknown bytes d4c3;"),
    ];
    for (data, words) in cases {
        let error = error_of(data);
        assert!(
            error.starts_with("not a pcap or pcapng capture: ") && error.contains(words),
            "{error}"
        );
    }
}

#[test]
fn a_lying_length_is_an_error_and_not_an_allocation() {
    let mut classic = classic_header(false, 0xa1b2_c3d4, (2, 4), 1);
    classic.words(&[0, 0, 0xffff_fff0, 60]);
    let mut packet = Bytes {
        bytes: Vec::new(),
        big: false,
    };
    packet.section();
    packet.interface(1, 0, &[]);
    let mut other = Bytes {
        bytes: packet.bytes.clone(),
        big: false,
    };
    packet.words(&[6, 0xffff_fff0, 0, 0, 0, 60, 60]);
    other.words(&[0x4bad, 0xffff_fff0]);

    assert!(error_of(&classic.bytes).contains("claims 4294967280 bytes"));
    assert!(error_of(&packet.bytes).contains("claims 4294967280 bytes"));
    assert!(error_of(&other.bytes).starts_with("capture truncated after frame 0 at byte 56:"));
}

#[test]
fn a_record_larger_than_the_buffer_is_read() {
    let mut b = classic_header(false, 0xa1b2_c3d4, (2, 4), 1);
    for length in [3_000_000, 10] {
        b.words(&[0, 0, length, length]);
        b.bytes.extend(vec![9; length as usize]);
    }

    let (frames, error) = read(&b.bytes);

    assert_eq!(error, None);
    assert_eq!(
        frames.iter().map(|f| f.bytes.len()).collect::<Vec<_>>(),
        [3_000_000, 10]
    );
}

#[test]
fn damaged_blocks_are_named() {
    fn after_interface(add: impl FnOnce(&mut Bytes)) -> Vec<u8> {
        let mut b = Bytes {
            bytes: Vec::new(),
            big: false,
        };
        b.section();
        b.interface(1, 0, &[]);
        add(&mut b);
        b.bytes
    }
    let cases = [
        (
            after_interface(|b| b.enhanced(7, 0, b"", &[])),
            "packet names interface 7",
        ),
        (
            after_interface(|b| b.words(&[6, 32, 0, 0, 0, 1, 1, 32])),
            "packet of 1 bytes does not fit",
        ),
        (
            after_interface(|b| b.words(&[6, 32, 0, 0, 0, 0, 0, 36])),
            "32 at its start but 36 at its end",
        ),
        (
            after_interface(|b| b.words(&[6, 28, 0, 0, 0, 0, 28])),
            "type 0x6 has the impossible length 28",
        ),
        (
            after_interface(|b| b.words(&[99, 11, 0])),
            "type 0x63 has the impossible length 11",
        ),
        (
            after_interface(|b| b.words(&[0x0a0d_0d0a, 28, 5, 0])),
            "unknown byte-order magic 0x05000000",
        ),
        (
            after_interface(|b| b.words(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 2])),
            "version 2.0",
        ),
        (
            classic_header(false, 0xa1b2_c3d4, (3, 0), 1).bytes,
            "version 3.0",
        ),
    ];
    for (data, words) in cases {
        let error = error_of(&data);
        assert!(
            error.starts_with("capture damaged after frame 0") && error.contains(words),
            "{error}"
        );
    }
}

#[test]
fn gzip_is_unpacked_and_its_cut_is_an_error_after_the_frames() {
    let whole = classic(false, 0xa1b2_c3d4, 200);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&whole).unwrap();
    let packed = encoder.finish().unwrap();

    let unpacked = gunzip(&packed[..]).unwrap();
    assert!(unpacked.is_compressed());
    assert_eq!(read_all(CaptureReader::new(unpacked), 64), read(&whole));

    let cut = gunzip(&packed[..packed.len() / 2]).unwrap();
    let (frames, error) = read_all(CaptureReader::new(cut), 64);
    assert_eq!(frames, read(&whole).0[..frames.len()]);
    assert!(error.unwrap().starts_with(&format!(
        "reading the capture failed after frame {} ",
        frames.len()
    )));

    assert_eq!(
        read_all(CaptureReader::new(gunzip(&whole[..]).unwrap()), 64),
        read(&whole)
    );
}

#[test]
fn a_failing_input_is_told_with_its_own_words() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("disk on fire"))
        }
    }
    let whole = classic(false, 0xa1b2_c3d4, 3);
    let (frames, error) = read_all(CaptureReader::new(Cursor::new(&whole).chain(Failing)), 64);

    assert_eq!(frames.len(), 3);
    let expected = format!(
        "reading the capture failed after frame 3 at byte {}: disk on fire",
        whole.len()
    );
    assert_eq!(error, Some(expected));
}

/// Returns the configuration, by which failed cases are stored beside this file.
fn config() -> ProptestConfig {
    let beside = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig::with_failure_persistence(beside)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_are_read_without_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_reader(&data);
    }

    #[test]
    fn captures_with_changed_bytes_are_read_without_panic(
        sample in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut data = match sample {
            0 => classic(false, 0xa1b2_c3d4, 8),
            1 => classic(true, 0xa1b2_cd34, 8),
            2 => pcapng(false),
            _ => pcapng(true),
        };
        for (place, value) in changes {
            let place = place.index(data.len());
            data[place] = value;
        }
        data.truncate(cut.index(data.len() * 2));
        fuzz_reader(&data);
    }

    /// A second opinion: the reader of the crate pcap-parser finds the same packets.
    #[test]
    fn pcap_parser_reads_the_same_packets(
        big in any::<bool>(),
        packets in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..90)), 0..40),
    ) {
        use pcap_parser::{Block, PcapBlockOwned, PcapError, traits::PcapNGPacketBlock};

        let mut file = Bytes { bytes: Vec::new(), big };
        file.section();
        file.interface(1, 0, &[]);
        for (time, packet) in &packets {
            file.enhanced(0, (*time).into(), packet, &[(1, b"comment")]);
        }
        let (frames, error) = read(&file.bytes);
        prop_assert_eq!(error, None);

        let mut theirs = Vec::new();
        let mut reader = pcap_parser::create_reader(1 << 16, Cursor::new(file.bytes)).unwrap();
        loop {
            match reader.next() {
                Ok((consumed, block)) => {
                    if let PcapBlockOwned::NG(Block::EnhancedPacket(packet)) = block {
                        theirs.push((packet.packet_data().to_vec(), packet.ts_low, packet.origlen));
                    }
                    reader.consume(consumed);
                }
                Err(PcapError::Eof) => break,
                Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
        let ours: Vec<_> = frames
            .into_iter()
            .map(|frame| (frame.bytes, frame.timestamp.as_micros() as u32, frame.original_length))
            .collect();
        prop_assert_eq!(ours, theirs);
    }
}
