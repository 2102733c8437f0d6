//! The test of the layout: a folder uses lower floors, and folders of its own floor only where no circle results. The same
//! holds for the rooms of `gateway`.
//!
//! It reads every path in every source file, tests included, and keeps the map in ARCHITECTURE.md current.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Modules in an order from the ground floor up, and the module that holds them.
struct House {
    /// Its folder, in the package.
    folder: &'static str,
    /// Its path, for those that do not count from their own module up.
    path: &'static str,
    floors: &'static [&'static [&'static str]],
}

/// The folders of `src/`.
const CRATE: House = House {
    folder: "src",
    path: "crate::",
    floors: &[
        &[
            "address", "capture", "feed", "message", "name", "number", "packet", "random",
            "verdict", "vendor",
        ],
        &["policy"],
        &["filter"],
        &["audit", "datapath", "plan"],
        &["dns", "render"],
        &["files", "verify"],
        &["gateway"],
        &["cli"],
    ],
};

/// The rooms of `gateway`.
const GATEWAY: House = House {
    folder: "src/gateway",
    path: "crate::gateway::",
    floors: &[
        &["sys"],
        &["host", "interface", "record", "reject"],
        &["divert", "fleet", "resolver", "tun"],
        &["machine", "push", "report", "testbed"],
        &["run"],
    ],
};

/// The folders and files of `policy`.
const POLICY: House = House {
    folder: "src/policy",
    path: "crate::policy::",
    floors: &[
        &["diagnostic"],
        &["value"],
        &["syntax", "services"],
        &["section"],
        &["meaning"],
        &["accepted", "feeds", "lint", "manual", "schema", "site"],
        &["keys", "mistakes", "page", "reference"],
    ],
};

/// The modules that each module uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn a_module_uses_lower_floors_only() {
    let mut faults = Vec::new();
    for house in [CRATE, POLICY, GATEWAY] {
        for (module, used) in house.uses() {
            let own = house.floor(&module);
            faults.extend(used.iter().filter(|it| house.floor(it) > own).map(|it| {
                let above = house.floor(it);
                format!(
                    "{}: {module} (floor {own}) uses {it} (floor {above})",
                    house.folder
                )
            }));
        }
    }
    assert!(faults.is_empty(), "arrows that point up: {faults:#?}");
}

#[test]
fn modules_of_one_floor_form_no_circle() {
    for house in [CRATE, POLICY, GATEWAY] {
        let mut left = house.uses();
        while !left.is_empty() {
            let names: BTreeSet<String> = left.keys().cloned().collect();
            left.retain(|module, used| {
                used.iter()
                    .any(|it| house.floor(it) == house.floor(module) && names.contains(it))
            });
            assert!(left.len() < names.len(), "a circle among {names:?}");
        }
    }
}

#[test]
fn generated_map_of_the_floors_is_current() {
    let mut map = String::from("```text\n");
    for house in [CRATE, POLICY, GATEWAY] {
        if house.folder != CRATE.folder {
            writeln!(map, "\n{}", house.folder).expect("a string takes whatever is written");
        }
        let uses = house.uses();
        for (number, modules) in house.floors.iter().enumerate().rev() {
            for module in *modules {
                let used = uses[*module].iter().map(String::as_str);
                let used: Vec<&str> = used.collect();
                let line = format!("{number}  {module:<9} {}", used.join(" "));
                writeln!(map, "{}", line.trim_end()).expect("a string takes whatever is written");
            }
        }
    }
    map.push_str("```\n");
    crate::generated::assert_block("ARCHITECTURE.md", "floors", &map);
}

impl House {
    /// The floor of a module.
    fn floor(&self, module: &str) -> usize {
        self.floors
            .iter()
            .position(|modules| modules.contains(&module))
            .unwrap_or_else(|| panic!("{module} of {} is on no floor: add it", self.folder))
    }

    fn uses(&self) -> Uses {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.folder);
        let names = self.floors.concat();
        let mut uses = Uses::new();
        for path in entries(&source) {
            let name = path.file_stem().expect("an entry has a name");
            let name = name.to_str().expect("in ASCII").to_owned();
            // The crate's own files are its root and tests of the package.
            let is_module = path.is_dir() || (self.folder != CRATE.folder && name != "mod");
            if is_module {
                self.floor(&name);
                let mut used = BTreeSet::new();
                self.collect(&path, 1, &mut used);
                used.retain(|it| *it != name && names.contains(&it.as_str()));
                uses.insert(name, used);
            }
        }
        uses
    }

    /// Adds the names that the files at `path` use of this house, `depth` modules below it.
    fn collect(&self, path: &Path, depth: usize, used: &mut BTreeSet<String>) {
        if path.is_dir() {
            for entry in entries(path) {
                let is_own = entry.file_name().is_some_and(|name| name == "mod.rs");
                self.collect(&entry, depth + usize::from(!is_own), used);
            }
            return;
        }
        if path.extension().is_none_or(|it| it != "rs") {
            return;
        }
        let text = std::fs::read_to_string(path).expect("a source file is readable");
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: String = code.flat_map(|line| [line, "\n"]).collect();
        for way in [self.path, &"super::".repeat(depth)] {
            for (at, word) in code.match_indices(way) {
                let rest = &code[at + word.len()..];
                match rest.strip_prefix('{') {
                    Some(group) => used.extend(first_names(group)),
                    None => used.extend(identifier(rest)),
                }
            }
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

/// The name of a module that `text` begins with; `None` for what is not one.
fn identifier(text: &str) -> Option<String> {
    let end = text.find(|char: char| !char.is_ascii_lowercase() && char != '_')?;
    (end > 0).then(|| text[..end].to_owned())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of the sources is readable");
    let paths = entries.map(|entry| entry.expect("an entry of it").path());
    paths.collect()
}
