//! [`KeyChange`]: the keys of a policy whose values differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::policy::Policy;

/// A key of the policy file that one of two policies sets to another value, or a table that only one of them has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The table: `[media]`, or `[[allow]] "RDP"`.
    pub table: String,
    /// The key; `None` for a table that is new or gone.
    pub key: Option<String>,
    /// The value before, as TOML; `None` if the table or the key is new. Of a table, `key = value, ...`.
    pub before: Option<String>,
    /// The value after, likewise; `None` if the table or the key is gone.
    pub after: Option<String>,
}

/// Writes `[media] match: "ports" becomes "ice"`, or `[[allow]] "RDP" is new: to = ["10.9.0.0/24"]`.
impl fmt::Display for KeyChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.table)?;
        let is_table = self.key.is_none();
        if let Some(key) = &self.key {
            write!(out, " {key}:")?;
        }
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(out, " {before} becomes {after}"),
            (None, Some(after)) if is_table => write!(out, " is new: {after}"),
            (Some(before), None) if is_table => write!(out, " is gone: {before}"),
            (None, Some(after)) => write!(out, " {after} is new"),
            (Some(before), None) => write!(out, " {before} is gone"),
            (None, None) => Ok(()),
        }
    }
}

/// Returns the keys that differ, in the order of the tables' names.
///
/// The policies are compared as they print, defaults included, so that no key can be forgotten here. Tables of the same kind
/// are compared by their names, and by their order where names repeat.
pub(super) fn changes(before: &Policy, after: &Policy) -> Vec<KeyChange> {
    let (before, after) = (tables(before), tables(after));
    let places: BTreeSet<&Place> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for place in places {
        let change = |key: Option<&str>, before, after| KeyChange {
            table: place.table.clone(),
            key: key.map(str::to_owned),
            before,
            after,
        };
        match (before.get(place), after.get(place)) {
            (Some(was), Some(becomes)) => {
                let new = becomes.0.iter().filter(|(key, _)| was.get(key).is_none());
                for (key, _) in was.0.iter().chain(new) {
                    let (was, becomes) = (was.get(key), becomes.get(key));
                    if was != becomes {
                        changes.push(change(Some(key), was.cloned(), becomes.cloned()));
                    }
                }
            }
            (was, becomes) => {
                changes.push(change(None, was.map(in_short), becomes.map(in_short)));
            }
        }
    }
    changes
}

/// Writes what a table says beside its name, on one line; empty lists say nothing.
fn in_short(table: &Table) -> String {
    let pairs = table.0.iter();
    let said = pairs.filter(|(key, value)| *key != "name" && *value != "[]");
    let said: Vec<String> = said
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    said.join(", ")
}

/// The place of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    table: String,
    /// Tells tables of the same kind and name apart, from 0.
    number: usize,
}

/// The keys of a table and their values, in the order in which they print.
#[derive(Debug, Default)]
struct Table(Vec<(String, String)>);

impl Table {
    fn get(&self, key: &str) -> Option<&String> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value)
    }
}

/// Reads the tables of a policy from what it prints: a header or `key = value` a line, and the rest of long lists behind it.
fn tables(policy: &Policy) -> BTreeMap<Place, Table> {
    let text = policy.to_string();
    let mut tables: Vec<(&str, Table)> = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            tables.push((line, Table::default()));
            continue;
        }
        let Some((_, Table(pairs))) = tables.last_mut() else {
            continue;
        };
        let is_rest = line.starts_with(|first: char| !first.is_ascii_lowercase());
        match (line.split_once(" = "), pairs.last_mut()) {
            (_, Some((_, value))) if is_rest => value.push_str(line.trim()),
            (Some((key, value)), _) => pairs.push((key.to_owned(), value.to_owned())),
            (None, _) => {}
        }
    }
    let mut placed = BTreeMap::new();
    for (header, values) in tables {
        let name = values.get("name").filter(|_| header.starts_with("[["));
        let table = match name {
            Some(name) => format!("{header} {name}"),
            None => header.to_owned(),
        };
        let mut place = Place { table, number: 0 };
        while placed.contains_key(&place) {
            place.number += 1;
        }
        placed.insert(place, values);
    }
    placed
}
