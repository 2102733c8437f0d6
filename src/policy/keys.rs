//! The tests of the tables of keys: what they say of a key is what the reader and the printer do.

use toml::de::{DeTable, DeValue};

use crate::policy::section::SECTIONS;
use crate::policy::syntax::{Absent, Header, Key, Kind, SectionTable};

/// A section with one key set, within a policy in which nothing else is written that needs not be.
struct Case<'a> {
    section: &'a SectionTable,
    key: &'a Key,
    /// Keys and values of the section, as TOML, without `key`.
    others: Vec<String>,
}

impl Case<'_> {
    /// The policy with `value` of the key; without the key where there is none.
    fn policy(&self, value: Option<&str>) -> String {
        let mut text = match self.section.name {
            "vpn" => String::new(),
            _ => "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n".to_owned(),
        };
        text.push_str(&self.section.title());
        text.push('\n');
        let value = value.map(|value| format!("{} = {value}", self.key.name));
        for line in self.others.iter().chain(&value) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The policy with `value` of the key, as it is printed.
    fn printed(&self, value: Option<&str>) -> String {
        let text = self.policy(value);
        match super::parse("keys.toml", text.as_bytes()) {
            Ok((policy, _)) => policy.to_string(),
            Err(errors) => panic!("{text}\n{}", errors),
        }
    }

    /// The value of the key in a printed policy, as it is written; in the first section where there may be several.
    fn value_in(&self, printed: &str) -> Option<String> {
        let root = DeTable::parse(printed).expect("what is printed is TOML");
        let section = match root.get_ref().get(self.section.name)?.get_ref() {
            DeValue::Array(sections) => sections.first()?.get_ref(),
            section => section,
        };
        let value = section.as_table()?.get(self.key.name)?;
        Some(printed[value.span()].to_owned())
    }
}

/// Every key of every section that has a header.
fn cases() -> impl Iterator<Item = Case<'static>> {
    SECTIONS.iter().flat_map(|section| {
        section.keys.iter().map(|key| Case {
            section,
            key,
            others: others(section, key),
        })
    })
}

/// The lines that a section with `key` needs beside it: of the example that has the key, or the keys that must be there.
fn others(section: &SectionTable, key: &Key) -> Vec<String> {
    let is_key = |line: &str| {
        line.split_once(" = ")
            .is_some_and(|(name, _)| name == key.name)
    };
    let mut examples = section.examples.iter();
    let example = examples.find(|example| example.lines().any(is_key));
    if let Some(example) = example.or(section.examples.first()) {
        let lines = example.lines().filter(|line| !is_key(line));
        return lines.map(str::to_owned).collect();
    }
    let needed = section.keys.iter();
    needed
        .filter(|it| it.absent == Absent::Refused && it.name != key.name)
        .map(|it| format!("{} = {}", it.name, it.example))
        .collect()
}

/// Every key, those of inline tables included.
fn all_keys(sections: &[&'static SectionTable]) -> Vec<&'static Key> {
    let mut keys = Vec::new();
    for section in sections {
        for key in section.keys {
            keys.push(key);
            if let Kind::Tables(table) = key.kind {
                keys.extend(all_keys(&[table]));
            }
        }
    }
    keys
}

#[test]
fn every_key_is_told_of_in_full() {
    for key in all_keys(SECTIONS) {
        let texts = [key.meaning, key.example, key.since];
        assert!(texts.iter().all(|it| !it.is_empty()), "{}", key.name);
        let line = |text: &str| !text.contains(['\n', '|']) && !text.ends_with('.');
        assert!(texts.iter().all(|it| line(it)), "{}", key.name);
    }
}

#[test]
fn the_example_of_every_key_is_taken_and_printed() {
    for case in cases() {
        let example = case.key.example;
        let printed = case.printed(Some(example));
        assert!(
            case.value_in(&printed).is_some(),
            "`{}` of {} is not printed:\n{printed}",
            case.key.name,
            case.section.title()
        );
    }
}

#[test]
fn the_keys_of_inline_tables_are_taken_and_printed() {
    for case in cases() {
        let Kind::Tables(table) = case.key.kind else {
            continue;
        };
        let written = table.keys.iter();
        let written: Vec<_> = written
            .map(|key| format!("{} = {}", key.name, key.example))
            .collect();
        let value = format!("{{ {} }}", written.join(", "));
        let printed = case.printed(Some(&format!("[{value}]")));
        let found = case.value_in(&printed).unwrap_or_default();
        assert!(found.contains(&value), "{value}\n{found}");
    }
}

#[test]
fn a_key_that_says_something_else_than_its_default_is_printed_as_it_says() {
    for case in cases() {
        if case.key.absent == Absent::Refused || case.key.absent == Absent::Value(case.key.example)
        {
            continue;
        }
        let with = case.printed(Some(case.key.example));
        let without = super::parse("keys.toml", case.policy(None).as_bytes());
        let without = without
            .ok()
            .and_then(|(policy, _)| case.value_in(&policy.to_string()));
        assert_ne!(
            case.value_in(&with),
            without,
            "`{}` of {} is read or printed as its default",
            case.key.name,
            case.section.title()
        );
    }
}

#[test]
fn every_word_of_a_choice_is_printed_as_it_was_read() {
    for case in cases() {
        let (words, is_list) = match case.key.kind {
            Kind::Word(words) => (words(), false),
            Kind::Words(words) => (words(), true),
            Kind::Text(_)
            | Kind::Texts(_)
            | Kind::Integer(..)
            | Kind::Integers(..)
            | Kind::Boolean
            | Kind::Tables(_) => continue,
        };
        for word in words {
            let mut case = Case {
                others: case.others.clone(),
                ..case
            };
            if word == "icmp" {
                // It goes without ports.
                let without =
                    |line: &String| line.replace(":50000\"", "\"").replace(":50020\"", "\"");
                case.others = case.others.iter().map(without).collect();
            }
            // Each way to know a client asks for a key of its own.
            let needed = match (case.key.name, word) {
                ("match", "app-id") => Some("app_id = \"Calls\""),
                ("match", "package") => Some("packages = [\"Calls_8wekyb3d8bbwe\"]"),
                ("match", "ports") if case.others.iter().any(|it| it.starts_with("programs")) => {
                    Some("local_ports = [\"50000-50059\"]")
                }
                _ => None,
            };
            case.others.extend(needed.map(str::to_owned));
            let quoted = format!("\"{word}\"");
            let value = if is_list {
                format!("[{quoted}]")
            } else {
                quoted
            };
            let printed = case.printed(Some(&value));
            assert_eq!(
                case.value_in(&printed),
                Some(value),
                "{}\n{printed}",
                case.key.name
            );
        }
    }
}

#[test]
fn the_default_of_a_key_is_what_its_absence_means() {
    for case in cases() {
        let Absent::Value(default) = case.key.absent else {
            continue;
        };
        let without = case.printed(None);
        // What the printer leaves out has a constant of its own, which the section's tests compare.
        if case.value_in(&without).is_some() {
            let with = case.printed(Some(default));
            assert_eq!(with, without, "{}", case.key.name);
        }
    }
}

#[test]
fn a_key_without_default_is_missed() {
    for case in cases().filter(|case| case.key.absent == Absent::Refused) {
        let text = case.policy(None);
        let errors = super::parse("keys.toml", text.as_bytes()).expect_err("a key is missing");
        let named = format!("has no `{}`", case.key.name);
        let mut messages = errors.iter().map(super::Diagnostic::message);
        assert!(messages.any(|it| it.contains(&named)), "{}", errors);
    }
}

#[test]
fn the_bounds_of_a_number_are_those_of_the_reader() {
    for case in cases() {
        let list = |number: i64| match case.key.kind {
            Kind::Integers(..) => format!("[{number}]"),
            _ => number.to_string(),
        };
        let bounds = match case.key.kind {
            Kind::Integer(first, last) | Kind::Integers(first, last) => (first, last),
            Kind::Text(_)
            | Kind::Texts(_)
            | Kind::Word(_)
            | Kind::Words(_)
            | Kind::Boolean
            | Kind::Tables(_) => continue,
        };
        for outside in [bounds.0 - 1, bounds.1 + 1] {
            let text = case.policy(Some(&list(outside)));
            assert!(
                super::parse("keys.toml", text.as_bytes()).is_err(),
                "{text}"
            );
        }
        // Of the numbers within the bounds, a mark takes those with two bits side by side.
        if case.key.name != "mark" {
            case.printed(Some(&list(bounds.0)));
            case.printed(Some(&list(bounds.1)));
        }
    }
}

#[test]
fn the_names_of_sections_and_of_the_keys_in_each_differ() {
    let mut names: Vec<_> = SECTIONS.iter().map(|section| section.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    for section in SECTIONS {
        assert_ne!(section.header, Header::Inline);
        let mut keys = section.names();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{keys:?}");
    }
}
