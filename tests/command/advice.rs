//! Every entry that a command proposes is valid: pasted into the policy that it is for, it breaks nothing.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Folder, offramp, project};
use crate::verify::Case;

/// The article's ports at a site whose pool is a part of the corporate prefix.
const POOL_INSIDE: &str = r#"[vpn]
interfaces = ["tun0"]
client_subnets = ["10.200.0.0/16"]

[corporate]
subnets = ["10.0.0.0/8", "192.168.0.0/16"]
dns_servers = ["10.5.0.2"]

[[server]]
name = "Front End pool"
addresses = ["10.1.0.10"]

[[public]]
name = "A/V Edge"
addresses = ["167.55.49.34"]
"#;

/// A policy, and the text that commands print about it.
struct Walk {
    name: String,
    path: String,
    text: String,
    printed: String,
}

impl Walk {
    fn new(folder: &Folder, name: &str, text: &str, captures: &[&str]) -> Self {
        let path = folder.write(&format!("{name}.toml"), text);
        Self::at(name, path, text, captures)
    }

    fn at(name: &str, path: String, text: &str, captures: &[&str]) -> Self {
        let mut printed = String::new();
        let mut run = |arguments: &[&str]| {
            let ended = offramp(arguments);
            printed += &ended.stdout;
            printed += &ended.stderr;
        };
        run(&["check", &path]);
        run(&["verify", &path]);
        for capture in captures {
            run(&["replay", &path, capture]);
        }
        Self {
            name: name.to_owned(),
            path,
            text: text.to_owned(),
            printed,
        }
    }

    /// The entries in what was printed: a header, and the keys that follow.
    fn proposals(&self) -> Vec<String> {
        let mut entries: Vec<String> = Vec::new();
        let mut is_inside = false;
        for line in self.printed.lines() {
            let line = line
                .split_once("= help: ")
                .map_or(line, |(_, help)| help)
                .trim();
            let is_header = line.starts_with("[[") && line.ends_with("]]");
            if is_header {
                entries.push(String::new());
                is_inside = true;
            }
            let is_key = line
                .split_once(" = ")
                .is_some_and(|(key, _)| !key.contains(' '));
            let is_item = line.starts_with('"') || line == "]";
            is_inside &= is_header || is_key || is_item;
            if let Some(entry) = entries.last_mut().filter(|_| is_inside) {
                *entry += line;
                entry.push('\n');
            }
        }
        entries
    }
}

/// The errors that `verify` finds, without the lines, which move.
fn errors(path: &str) -> BTreeSet<String> {
    let found = offramp(&["verify", path, "--json"]).json();
    let findings = found["findings"].as_array().expect("findings").iter();
    let errors = findings.filter(|it| it["severity"] == "error");
    errors
        .map(|it| format!("{} {}", it["code"], it["what"]))
        .collect()
}

/// Peers to which `call` predicts media in the tunnel: to an office, and to another client; nothing where it makes no prediction.
fn calls_in_tunnel(path: &str) -> [Option<bool>; 2] {
    ["internal", "vpn"].map(|to| {
        let ended = offramp(&["call", path, "--from", "vpn", "--to", to, "--json"]);
        let call = (ended.code == Some(0)).then(|| ended.json())?;
        call["with"]["in_tunnel"].as_bool()
    })
}

#[test]
fn every_entry_that_a_command_proposes_can_be_pasted() {
    let folder = Folder::new("advice");
    let morning = "tests/captures/contoso-morning.pcapng";
    let contoso = fs::read_to_string(project("config/contoso.toml")).expect("an example");
    let mut walks = vec![
        Walk::new(&folder, "pool-inside", POOL_INSIDE, &[]),
        Walk::new(
            &folder,
            "pool-inside-no-controllers",
            &POOL_INSIDE.replace("dns_servers", "# dns_servers"),
            &[],
        ),
        Walk::new(&folder, "contoso", &contoso, &[morning]),
    ];
    let captures = fs::read_dir(project("tests/captures")).expect("captures");
    for entry in captures {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if let Some(name) = name.strip_suffix(".policy.toml") {
            let text = fs::read_to_string(&path).expect("a policy");
            let capture = ["pcap", "pcapng"].map(|end| format!("tests/captures/{name}.{end}"));
            let capture = capture.iter().find(|it| project(it).exists());
            let capture: Vec<&str> = capture.map(String::as_str).into_iter().collect();
            walks.push(Walk::new(&folder, name, &text, &capture));
        }
    }
    for case in Case::all() {
        let path = case.write(&folder);
        walks.push(Walk::at("case", path, &case.text, &[]));
    }

    let mut pasted = 0;
    for walk in &walks {
        let before = (errors(&walk.path), calls_in_tunnel(&walk.path));
        for (number, entry) in walk.proposals().iter().enumerate() {
            let text = format!("{}\n{entry}", walk.text);
            let path = folder.write(&format!("{}-{number}.pasted.toml", walk.name), &text);
            offramp(&["check", &path]).success();
            let (errors, in_tunnel) = (errors(&path), calls_in_tunnel(&path));
            let fresh: Vec<_> = errors.difference(&before.0).collect();
            assert!(fresh.is_empty(), "{}\n{entry}\n{fresh:#?}", walk.path);
            assert_eq!(in_tunnel, before.1, "{}\n{entry}", walk.path);
            pasted += 1;
        }
        // Words may name a section, but an entry on one line is no TOML.
        for line in walk.printed.lines() {
            assert!(!line.contains("]] name ="), "{}: {line}", walk.path);
        }
    }
    assert!(pasted >= 20, "only {pasted} entries were proposed");
}
