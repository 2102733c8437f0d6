//! Tests that cannot run on this system: each reports that it is skipped, and fails in CI.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Reports that the test is skipped, and why. In CI nothing is skipped: the test fails.
#[track_caller]
pub fn skip(why: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "nothing is skipped in CI: {why}"
    );
    report(why);
}

fn report(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not `eprintln!`, whose output the test runner captures when a test passes.
    _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Returns `true` if this process may load eBPF programs: as root of the first user namespace, with CAP_SYS_ADMIN or CAP_BPF
/// (bits 21 and 39, linux/capability.h). A machine whose root may not has nothing to install or to switch on, so the skip is
/// reported in CI, too, and fails nothing there.
pub fn may_load_programs() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_first = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let may = is_first && mask.is_some_and(|mask| mask & (1 << 21 | 1 << 39) != 0);
    if !may {
        report("this user may load no eBPF programs; run the tests as root");
    }
    may
}

/// Returns `true` if the program `name` can be started; reports a skip if not. `tests/run` installs the programs.
#[track_caller]
pub fn is_installed(name: impl AsRef<OsStr>) -> bool {
    let name = name.as_ref();
    let found = in_path(name);
    if !found {
        skip(&format!("{} is not installed", name.display()));
    }
    found
}

/// Returns `true` if the program `name` can be started, which `tests/run` has for x86-64 alone, and CI fails there without it. Elsewhere
/// there is nothing to install, so the skip is reported in CI, too, and fails nothing.
pub fn is_there(name: &str) -> bool {
    let found = in_path(name.as_ref());
    if !found {
        report(&format!("there is no {name}; tests/run says why"));
    }
    found
}

fn in_path(name: &OsStr) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Returns the folder of recorded captures, which are no part of this repository: `../shared/captures`, or
/// the one in `OFFRAMP_CAPTURES`. The test is skipped if the folder does not exist.
#[track_caller]
pub fn recorded_captures() -> Option<PathBuf> {
    let folder = std::env::var_os("OFFRAMP_CAPTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        skip(&format!(
            "{} is not there; name a folder of captures in OFFRAMP_CAPTURES",
            folder.display()
        ));
        return None;
    }
    Some(folder)
}
