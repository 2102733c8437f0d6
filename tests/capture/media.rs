//! Media in captures of real clients is recognized in exactly the frames listed, and in no others.
//!
//! `NAME.ice`, `NAME.ice-microsoft` and `NAME.media` list the frames of a capture that are media under that profile, a
//! line `frame word` each; a capture without such a file has none. Every address counts as a client's, and ports from
//! 1024 on as media ports. Words of evidence are not compared: other tools use other words.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use offramp::capture::{CaptureError, CaptureReader, CapturedFrame, gunzip};
use offramp::datapath::worker::{self, ByPolicy};
use offramp::datapath::{BackendError, CaptureBackend, FrameSink, Outcome};
use offramp::filter::{CompiledPolicy, Generation};
use offramp::verdict::Action;

use crate::skip::skip;

/// Frames that are media, by their number.
type Frames = BTreeSet<u64>;

/// The values of `media.match` that ask for evidence.
const MATCHES: [&str; 3] = ["ice", "ice-microsoft", "media"];

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
        for word in MATCHES {
            let name = capture
                .file_name()
                .expect("a file has a name")
                .to_string_lossy();
            let wanted = read_expected(&expected.join(format!("{name}.{word}")));
            let found = media_of(&capture, word);
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

pub(crate) fn captures_of(folder: &Path) -> Vec<PathBuf> {
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

/// The policy by which every address is a client's.
pub(crate) fn policy(word: &str) -> CompiledPolicy {
    let text = format!(
        "[vpn]\nclient_subnets = [\"0.0.0.0/0\", \"::/0\"]\n[media]\nmatch = \"{word}\"\nports = [\"1024-65535\"]\n"
    );
    let (policy, _) = offramp::policy::parse("media.toml", text.as_bytes())
        .unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    CompiledPolicy::new(policy, Generation(1)).expect("a small policy")
}

/// Collects the frames that are dropped as media.
#[derive(Default)]
struct Dropped(Frames);

impl FrameSink for Dropped {
    fn note(&mut self, frame: &CapturedFrame<'_>, outcome: Outcome<'_>) -> io::Result<()> {
        if let Outcome::Judged(_, verdict) = outcome
            && verdict.media.is_some()
        {
            assert_eq!(verdict.action, Action::Drop, "frame {}", frame.number);
            self.0.insert(frame.number);
        }
        Ok(())
    }
}

/// Returns the frames of `capture` that are dropped as media under `match = WORD`.
fn media_of(capture: &Path, word: &str) -> Frames {
    let policy = policy(word);
    let file = File::open(capture).expect("a capture");
    let reader = CaptureReader::new(gunzip(file).expect("a readable capture"))
        .unwrap_or_else(|error| panic!("{}: {error}", capture.display()));
    let mut backend = CaptureBackend::new(reader, Dropped::default());
    match worker::run(&mut backend, &mut ByPolicy::new(&policy)) {
        Ok(()) | Err(BackendError::Capture(CaptureError::Truncated { .. })) => {}
        Err(error) => panic!("{}: {error}", capture.display()),
    }
    backend.into_sink().0
}
