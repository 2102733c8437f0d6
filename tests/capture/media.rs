//! Media in captures of real clients is recognized in exactly the frames listed, and in no others.
//!
//! `NAME.ice`, `NAME.ice-microsoft` and `NAME.media` list the frames of a capture that are media under that profile, a
//! line `frame word` each; a capture without such a file has none. Every address counts as a client's, and ports from
//! 1024 on as media ports. Words of evidence are not compared: other tools use other words.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use offramp::capture::{CaptureError, CaptureReader, LinkPayload, gunzip, ip_packet};
use offramp::packet::media::{FlowTable, Profile, Segment};
use offramp::packet::{Fragment, FragmentTable, Received, Transport};

use crate::skip::skip;

/// Frames that are media, by their number.
type Frames = BTreeSet<u64>;

const PROFILES: [(&str, Profile); 3] = [
    ("ice", Profile::Ice),
    ("ice-microsoft", Profile::Microsoft),
    ("media", Profile::Any),
];

#[test]
fn media_of_real_clients_is_recognized() {
    compare("captures-media", "captures-media/expected", 17);
}

#[test]
fn media_is_recognized_in_captures_of_everything() {
    compare("captures", "captures-media/expected-captures", 60);
}

/// Compares the media of each capture in `folder` with the list in `expected`.
fn compare(folder: &str, expected: &str, least: usize) {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let (folder, expected) = (shared.join(folder), shared.join(expected));
    if !folder.is_dir() || !expected.is_dir() {
        skip(&format!("no captures in {}", folder.display()));
        return;
    }
    let captures = captures_of(&folder);
    assert!(
        captures.len() >= least,
        "only {} captures in {}",
        captures.len(),
        folder.display()
    );
    let mut mistakes = Vec::new();
    let mut frames = 0;
    for capture in captures {
        for (word, profile) in PROFILES {
            let name = capture
                .file_name()
                .expect("a file has a name")
                .to_string_lossy();
            let wanted = read_expected(&expected.join(format!("{name}.{word}")));
            let found = media_of(&capture, profile);
            frames += wanted.len();
            if found != wanted {
                let missed: Vec<_> = wanted.difference(&found).collect();
                let invented: Vec<_> = found.difference(&wanted).collect();
                mistakes.push(format!(
                    "{name}, {word}: missed {missed:?}, invented {invented:?}"
                ));
            }
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    println!("{frames} frames of media agree");
}

fn captures_of(folder: &Path) -> Vec<PathBuf> {
    let mut captures: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder of captures can be listed")
        .map(|entry| entry.expect("an entry of the folder").path())
        .filter(|path| {
            path.extension().is_some_and(|extension| {
                ["pcap", "pcapng", "cap"].contains(&&*extension.to_string_lossy())
            })
        })
        .collect();
    captures.sort();
    captures
}

/// Returns the frames that a file lists; none if there is no file.
fn read_expected(path: &Path) -> Frames {
    let text = fs::read_to_string(path).unwrap_or_default();
    let frame = |line: &str| {
        let frame = line
            .split_whitespace()
            .next()
            .and_then(|frame| frame.parse().ok());
        frame.unwrap_or_else(|| panic!("{}: no frame in `{line}`", path.display()))
    };
    text.lines().map(frame).collect()
}

/// Returns the frames of `capture` that are media under `profile`.
fn media_of(capture: &Path, profile: Profile) -> Frames {
    let mut flows = FlowTable::new(FlowTable::GATEWAY_FLOWS);
    let mut datagrams = FragmentTable::new(1024);
    let file = File::open(capture).expect("a capture");
    let mut reader = CaptureReader::new(gunzip(file).expect("a readable capture"))
        .unwrap_or_else(|error| panic!("{}: {error}", capture.display()));
    let mut media = Frames::new();
    loop {
        let frame = match reader.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(CaptureError::Truncated { .. }) => return media,
            Err(error) => panic!("{}: {error}", capture.display()),
        };
        if let LinkPayload::Ip { packet, offset } = ip_packet(frame.link_type, frame.bytes) {
            let packet = Received {
                bytes: packet,
                length_on_wire: (frame.original_length as usize).saturating_sub(offset),
                at: frame.timestamp,
            };
            if is_media(packet, profile, &mut flows, &mut datagrams) {
                media.insert(frame.number);
            }
        }
    }
}

/// Identifies a packet by its flow, a non-first fragment by the first fragment of its datagram.
fn is_media(
    received: Received<'_>,
    profile: Profile,
    flows: &mut FlowTable,
    datagrams: &mut FragmentTable<bool>,
) -> bool {
    let Ok(packet) = received.parse() else {
        return false;
    };
    if packet.is_source_routed() {
        return false;
    }
    if let (Fragment::NonFirst { .. }, Some(key)) = (packet.fragment(), packet.fragment_key()) {
        return datagrams.get(&key, received.at).unwrap_or(false);
    }
    let is_media = matches!(
        packet.transport(),
        Transport::Ports {
            destination: 1024..,
            ..
        }
    ) && Segment::of(&packet)
        .is_some_and(|(key, segment)| flows.look(profile, &key, segment, received.at).is_some());
    if let Some(key) = packet.fragment_key() {
        datagrams.insert(key, received.at, is_media);
    }
    is_media
}
