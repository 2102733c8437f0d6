//! Reads what a phase1-interface of FortiOS splits the tunnel by, from a configuration that may have many of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::super::pushed::{Pushed, masked, read_prefix};
use crate::message::shorten;
use crate::render::ReadError;

/// Reads the phase1-interface `name`, or the only one that there is.
pub(super) fn read(text: &str, name: Option<&str>) -> Result<Pushed, ReadError> {
    let config = Config::parse(text);
    let tunnel = config.tunnel(name)?;
    let mut pushed = Pushed::default();
    for (is_v6, family) in [(false, "ipv4"), (true, "ipv6")] {
        match tunnel.get(format!("{family}-split-include").as_str()) {
            Some(line) => pushed.includes.extend(config.prefixes(line, is_v6)?),
            None => pushed.includes.push(Pushed::everything(is_v6)),
        }
        if let Some(line) = tunnel.get(format!("{family}-split-exclude").as_str()) {
            pushed.excludes.extend(config.prefixes(line, is_v6)?);
        }
    }
    Ok(pushed)
}

/// The words behind `set KEY`.
#[derive(Debug, Clone)]
struct Line {
    number: usize,
    words: Vec<String>,
}

impl Line {
    fn error(&self, message: impl Into<String>) -> ReadError {
        ReadError::new(self.number, message)
    }
}

/// The `set` lines of one entry of a table.
type Entry = BTreeMap<String, Line>;

/// Members that were followed, and their prefixes.
#[derive(Debug, Default)]
struct Found {
    prefixes: Vec<IpNet>,
    members: usize,
}

/// The tables of a configuration, by their names in words.
#[derive(Debug, Default)]
struct Config {
    tables: BTreeMap<String, BTreeMap<String, Entry>>,
    last_line: usize,
}

impl Config {
    fn parse(text: &str) -> Self {
        let mut config = Self::default();
        // Tables that are open, each with the entry that is open in it.
        let mut open: Vec<(String, Option<String>)> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let number = at + 1;
            config.last_line = number;
            let words = words(line);
            let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
            match word(0) {
                "config" => open.push((words[1..].join(" "), None)),
                "end" => _ = open.pop(),
                "edit" => {
                    if let [(table, entry)] = &mut open[..] {
                        let name = word(1).to_owned();
                        let table = config.tables.entry(table.clone()).or_default();
                        table.entry(name.clone()).or_default();
                        *entry = Some(name);
                    }
                }
                "next" => {
                    if let Some((_, entry)) = open.last_mut() {
                        *entry = None;
                    }
                }
                "set" | "append" | "unset" => {
                    let [(table, Some(name))] = &open[..] else {
                        continue;
                    };
                    let tables = &mut config.tables;
                    let entry = tables.entry(table.clone()).or_default();
                    let entry = entry.entry(name.clone()).or_default();
                    let key = word(1).to_owned();
                    let mut values: Vec<String> = words.iter().skip(2).cloned().collect();
                    if word(0) == "append"
                        && let Some(before) = entry.get(&key)
                    {
                        values.splice(0..0, before.words.iter().cloned());
                    }
                    // FortiOS shows what is not set as an empty word.
                    values.retain(|value| !value.is_empty());
                    if word(0) == "unset" || values.is_empty() {
                        entry.remove(&key);
                    } else {
                        let words = values;
                        entry.insert(key, Line { number, words });
                    }
                }
                _ => {}
            }
        }
        config
    }

    fn entry(&self, table: &str, name: &str) -> Option<&Entry> {
        self.tables.get(table)?.get(name)
    }

    /// The tunnel that is meant.
    fn tunnel(&self, name: Option<&str>) -> Result<&Entry, ReadError> {
        let wrong = |message: String| ReadError::new(self.last_line.max(1), message);
        let Some(tunnels) = self.tables.get(TUNNELS).filter(|it| !it.is_empty()) else {
            return Err(wrong(format!("there is no `config {TUNNELS}`")));
        };
        let names: Vec<&str> = tunnels.keys().map(String::as_str).collect();
        let listed = shorten(&names.join(", "));
        match (name, &names[..]) {
            (Some(name), _) => tunnels.get(name).ok_or_else(|| {
                let name = shorten(name);
                wrong(format!(
                    "there is no phase1-interface `{name}`, but: {listed}"
                ))
            }),
            (None, [one]) => tunnels
                .get(*one)
                .ok_or_else(|| wrong("there is no phase1-interface".to_owned())),
            (None, several) => Err(wrong(format!(
                "there are {} tunnels: name one with --name: {listed}",
                several.len()
            ))),
        }
    }

    /// The prefixes of the addresses and groups that `line` names.
    fn prefixes(&self, line: &Line, is_v6: bool) -> Result<Vec<IpNet>, ReadError> {
        let mut found = Found::default();
        self.add(line, is_v6, 0, &mut found)?;
        Ok(found.prefixes)
    }

    fn add(
        &self,
        line: &Line,
        is_v6: bool,
        depth: usize,
        found: &mut Found,
    ) -> Result<(), ReadError> {
        let (addresses, groups, key) = if is_v6 {
            ("firewall address6", "firewall addrgrp6", "ip6")
        } else {
            ("firewall address", "firewall addrgrp", "subnet")
        };
        for name in &line.words {
            found.members += 1;
            if depth > MAX_DEPTH || found.members > MAX_MEMBERS {
                return Err(line.error("groups inside groups have no end here"));
            }
            if let Some(group) = self.entry(groups, name) {
                if group.contains_key("exclude-member") {
                    let message = format!(
                        "group `{}` has exclude-member, which is not read",
                        shorten(name)
                    );
                    return Err(line.error(message));
                }
                if let Some(members) = group.get("member") {
                    self.add(members, is_v6, depth + 1, found)?;
                }
                continue;
            }
            let Some(address) = self.entry(addresses, name) else {
                let message = format!(
                    "there is no address or group `{}` in this file",
                    shorten(name)
                );
                return Err(line.error(message));
            };
            let Some(value) = address.get(key) else {
                let message = format!(
                    "address `{}` has no {key}: others are not read",
                    shorten(name)
                );
                return Err(line.error(message));
            };
            found.prefixes.push(prefix(value)?);
        }
        Ok(())
    }
}

/// Reads `A MASK` or `A/LENGTH`.
fn prefix(value: &Line) -> Result<IpNet, ReadError> {
    match &value.words[..] {
        [prefix] => read_prefix(value.number, prefix),
        [address, mask] => {
            let wrong = |what, text| value.error(format!("`{}` is not {what}", shorten(text)));
            let address: Ipv4Addr = address.parse().map_err(|_| wrong("an address", address))?;
            let mask: Ipv4Addr = mask.parse().map_err(|_| wrong("a netmask", mask))?;
            masked(value.number, address, mask)
        }
        _ => Err(value.error("a subnet is an address and its netmask")),
    }
}

/// The words of a line; quotes hold those with spaces together, and a backslash takes what follows as it is.
fn words(line: &str) -> Vec<String> {
    let line = line.trim();
    let mut words: Vec<String> = Vec::new();
    if line.starts_with('#') {
        return words;
    }
    let (mut is_quoted, mut is_open) = (false, false);
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char.is_whitespace() && !is_quoted {
            is_open = false;
            continue;
        }
        if !is_open {
            words.push(String::new());
            is_open = true;
        }
        match (char, words.last_mut()) {
            ('"', _) => is_quoted = !is_quoted,
            ('\\', Some(word)) => word.extend(chars.next()),
            (char, Some(word)) => word.push(char),
            (_, None) => {}
        }
    }
    words
}

/// The table of tunnels.
const TUNNELS: &str = "vpn ipsec phase1-interface";
/// Groups inside groups.
const MAX_DEPTH: usize = 8;
/// Members of the groups of a tunnel; groups that name one another could multiply them without end.
const MAX_MEMBERS: usize = 100_000;
