//! [`KeyChange`]: the keys of a policy whose values differ.

use std::collections::BTreeMap;
use std::fmt;

use crate::policy::Policy;

/// A key of the policy file that one of two policies sets to another value, or that only one of them has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The table: `[media]`, or `[[allow]] "RDP"`.
    pub table: String,
    /// The key.
    pub key: String,
    /// The value before, as TOML; `None` if the table or the key is new.
    pub before: Option<String>,
    /// The value after, as TOML; `None` if the table or the key is gone.
    pub after: Option<String>,
}

/// Writes `[media] match: "ports" becomes "ice"`.
impl fmt::Display for KeyChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            key,
            before,
            after,
        } = self;
        match (before, after) {
            (Some(before), Some(after)) => write!(out, "{table} {key}: {before} becomes {after}"),
            (None, Some(after)) => write!(out, "{table} {key}: {after} is new"),
            (Some(before), None) => write!(out, "{table} {key}: {before} is gone"),
            (None, None) => write!(out, "{table} {key}"),
        }
    }
}

/// Returns the keys that differ, in the order of the tables' names.
///
/// The policies are compared as they print, defaults included, so that no key can be forgotten here. Tables of the same kind
/// are compared by their names, and by their order where names repeat.
pub(super) fn changes(before: &Policy, after: &Policy) -> Vec<KeyChange> {
    let (before, after) = (keys(before), keys(after));
    let mut changes: Vec<KeyChange> = Vec::new();
    let only_after = after.keys().filter(|place| !before.contains_key(place));
    for place in before.keys().chain(only_after) {
        let (was, becomes) = (before.get(place), after.get(place));
        if was != becomes {
            changes.push(KeyChange {
                table: place.table.clone(),
                key: place.key.clone(),
                before: was.cloned(),
                after: becomes.cloned(),
            });
        }
    }
    changes.sort_by(|one, other| (&one.table, &one.key).cmp(&(&other.table, &other.key)));
    changes
}

/// The place of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    table: String,
    /// Tells tables of the same kind and name apart, from 0.
    number: usize,
    key: String,
}

/// Reads the values of a policy from what it prints: a header or `key = value` a line.
fn keys(policy: &Policy) -> BTreeMap<Place, String> {
    let text = policy.to_string();
    let mut tables: Vec<(String, Vec<(&str, &str)>)> = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            tables.push((line.to_owned(), Vec::new()));
        } else if let (Some((key, value)), Some((_, pairs))) =
            (line.split_once(" = "), tables.last_mut())
        {
            pairs.push((key, value));
        }
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for (header, pairs) in tables {
        let name = pairs.iter().find(|(key, _)| *key == "name");
        let table = match name.filter(|_| header.starts_with("[[")) {
            Some((_, name)) => format!("{header} {name}"),
            None => header,
        };
        let number = seen.entry(table.clone()).or_default();
        for (key, value) in pairs {
            let place = Place {
                table: table.clone(),
                number: *number,
                key: key.to_owned(),
            };
            keys.insert(place, value.to_owned());
        }
        *number += 1;
    }
    keys
}
