//! The test of the layout: a folder uses lower floors, and folders of its own floor only where no circle results.
//!
//! It reads every `crate::` of every source file, tests included, and keeps the map in ARCHITECTURE.md current.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The folders of `src/`, from the ground floor up.
const FLOORS: [&[&str]; 8] = [
    &[
        "address", "capture", "feed", "message", "name", "packet", "verdict",
    ],
    &["policy"],
    &["filter"],
    &["audit", "datapath", "plan"],
    &["dns", "render"],
    &["files", "verify"],
    &["gateway"],
    &["cli"],
];

/// The folders and files of `src/policy/` but its `mod.rs`, from the ground floor up.
const POLICY_FLOORS: [&[&str]; 7] = [
    &["diagnostic"],
    &["value"],
    &["syntax", "services"],
    &["section"],
    &["meaning"],
    &["feeds", "lint", "manual"],
    &["keys", "reference"],
];

/// The folders that each folder uses; `generated` serves tests, and is no folder.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn a_folder_uses_lower_floors_only() {
    assert_downward(&uses(), &FLOORS);
}

#[test]
fn folders_of_one_floor_form_no_circle() {
    assert_no_circle(uses(), &FLOORS);
}

#[test]
fn the_policy_is_built_in_floors_too() {
    let uses = policy_uses();
    assert_downward(&uses, &POLICY_FLOORS);
    assert_no_circle(uses, &POLICY_FLOORS);
}

fn assert_downward(uses: &Uses, floors: &[&[&str]]) {
    let mut faults = Vec::new();
    for (folder, used) in uses {
        let own = floor(floors, folder);
        faults.extend(used.iter().filter(|it| floor(floors, it) > own).map(|it| {
            format!(
                "{folder} (floor {own}) uses {it} (floor {})",
                floor(floors, it)
            )
        }));
    }
    assert!(faults.is_empty(), "arrows that point up: {faults:#?}");
}

fn assert_no_circle(mut left: Uses, floors: &[&[&str]]) {
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|folder, used| {
            used.iter()
                .any(|it| floor(floors, it) == floor(floors, folder) && names.contains(it))
        });
        if left.is_empty() {
            return;
        }
        assert!(left.len() < before, "a circle among {names:?}");
    }
}

#[test]
fn generated_map_of_the_floors_is_current() {
    let uses = uses();
    let mut map = String::from("```text\n");
    for (number, folders) in FLOORS.iter().enumerate().rev() {
        for folder in *folders {
            let used = uses[*folder].iter().map(String::as_str);
            let used: Vec<&str> = used.collect();
            let line = format!("{number}  {folder:<9} {}", used.join(" "));
            writeln!(map, "{}", line.trim_end()).expect("a string takes whatever is written");
        }
    }
    map.push_str("```\n");
    crate::generated::assert_block("ARCHITECTURE.md", "floors", &map);
}

/// The floor of a folder.
fn floor(floors: &[&[&str]], folder: &str) -> usize {
    floors
        .iter()
        .position(|folders| folders.contains(&folder))
        .unwrap_or_else(|| panic!("{folder} is on no floor: list it"))
}

fn uses() -> Uses {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = entries(&source).into_iter().filter(|path| path.is_dir());
    let uses = folders.map(|path| {
        let name = path.file_name().expect("a folder has a name");
        let name = name.to_str().expect("in ASCII").to_owned();
        let mut used = BTreeSet::new();
        collect(&path, "crate::", &mut used);
        used.remove(&name);
        used.remove("generated");
        (name, used)
    });
    uses.collect()
}

/// The same of the folders and files of `src/policy/`. What is reached from above, as the names that `mod.rs` hands on, is on
/// no floor.
fn policy_uses() -> Uses {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/policy");
    let parts = entries(&source).into_iter();
    let uses = parts.filter_map(|path| {
        let name = path.file_stem()?.to_str()?.to_owned();
        let mut used = BTreeSet::new();
        collect(&path, "crate::policy::", &mut used);
        if path.is_file() {
            collect(&path, "use super::", &mut used);
        }
        used.retain(|it| *it != name);
        (name != "mod").then_some((name, used))
    });
    uses.collect()
}

/// Adds the folders that the files under `path` use: the names after `word`.
fn collect(path: &Path, word: &str, used: &mut BTreeSet<String>) {
    if path.is_dir() {
        entries(path).iter().for_each(|it| collect(it, word, used));
        return;
    }
    let text = std::fs::read_to_string(path).expect("a source file is readable");
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.flat_map(|line| [line, "\n"]).collect();
    for (at, word) in code.match_indices(word) {
        let rest = &code[at + word.len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(first_names(group)),
            None => used.extend(identifier(rest)),
        }
    }
}

/// The names that a group of imports begins with, up to its closing brace.
fn first_names(group: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut names: Vec<String> = identifier(group.trim_start()).into_iter().collect();
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(identifier(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    names
}

/// The name that `text` begins with; `None` where it begins with none.
fn identifier(text: &str) -> Option<String> {
    let end = text.find(|char: char| !char.is_ascii_alphanumeric() && char != '_')?;
    (end > 0).then(|| text[..end].to_owned())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of the sources is readable");
    let paths = entries.map(|entry| entry.expect("an entry of it").path());
    paths.collect()
}
