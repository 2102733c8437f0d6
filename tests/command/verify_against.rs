//! `offramp verify --against`: files of other programs, as a folder each.
//!
//! A folder of `tests/against/` has `cmd.txt`, the command; `expected.txt`, which begins with `agree`, with the codes of all
//! findings and a colon, or with anything else for an answer in time that is not "agree"; and the files. Folders without a
//! `policy.toml` take `tests/against/policy.toml`. To add a case, add a folder. Cases of others, which are no part of this
//! repository, may be in `../shared/cases/verify`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Folder, project, run};

/// Commands answer at once; this leaves room for a busy machine.
const IN_TIME: Duration = Duration::from_secs(5);

const CODES: [&str; 9] = [
    "BLACKHOLE",
    "LEAK",
    "HAIRPIN",
    "INTERNAL-REGISTRATION",
    "OVERLAP",
    "PARITY",
    "STALE",
    "COLLATERAL",
    "NOT-READ",
];

#[test]
fn files_of_each_kind_are_read_as_their_programs_do() {
    check(&project("tests/against"));
}

#[test]
fn cases_of_others_are_judged_as_their_programs_answered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases/verify");
    if folder.is_dir() {
        check(&folder);
    } else {
        // They are no part of the repository, so CI has none.
        _ = writeln!(
            std::io::stderr(),
            "SKIPPED cases_of_others_are_judged_as_their_programs_answered: there is no {}",
            folder.display()
        );
    }
}

/// Runs every case of a folder on a copy, and reports all that fail.
fn check(cases: &Path) {
    let name = cases.file_name().expect("a folder").to_string_lossy();
    let copy = Folder::new(&format!("verify-{name}"));
    let root = PathBuf::from(copy.path(""));
    copy_all(cases, &root);
    let mut failed = Vec::new();
    let mut names: Vec<PathBuf> = fs::read_dir(&root)
        .expect("the copy")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("cmd.txt").is_file())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no case in {}", cases.display());
    for case in names {
        let shared = root.join("policy.toml");
        if !case.join("policy.toml").exists() {
            fs::copy(&shared, case.join("policy.toml")).expect("the policy of all cases");
        }
        if let Err(why) = judge(&case) {
            failed.push(format!("{}: {why}", case.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

fn judge(case: &Path) -> Result<(), String> {
    let text = |name: &str| fs::read_to_string(case.join(name)).expect("a file of the case");
    let program = Path::new(env!("CARGO_BIN_EXE_offramp"));
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = program.parent().expect("a folder of programs").display();
    let begun = Instant::now();
    let ended = run(Command::new("sh")
        .args(["-c", &text("cmd.txt")])
        .current_dir(case)
        .env("PATH", format!("{folder}:{path}")));
    let took = begun.elapsed();
    let found: BTreeSet<&str> = ended
        .stdout
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(code, _)| CODES.into_iter().find(|it| *it == code))
        .collect();
    let expected = text("expected.txt");
    let head = expected.split(':').next().unwrap_or_default();
    let words: BTreeSet<&str> = head
        .split_whitespace()
        .map(|it| it.trim_end_matches(','))
        .collect();
    let wanted: BTreeSet<&str> = CODES.into_iter().filter(|it| words.contains(it)).collect();
    let agrees = ["agree", "\"filter", "No finding"];
    let is_refusal = ended.code == Some(1) && expected.contains("or a refusal");
    let is_right = if is_refusal {
        true
    } else if agrees.iter().any(|word| expected.starts_with(word)) {
        ended.code == Some(0)
    } else if wanted.is_empty() {
        // The expectation is prose: the answer may be a comparison, a refusal or a note.
        ended.code != Some(0) || !ended.stdout.contains("routes and names agree")
    } else {
        ended.code == Some(3) && found == wanted
    };
    if took > IN_TIME {
        return Err(format!("it took {took:?}"));
    }
    if is_right {
        Ok(())
    } else {
        Err(format!("expected {expected}\ngot {ended:#?}"))
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
        }
    }
}
