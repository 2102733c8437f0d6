//! Attributes of `unbound.conf`: `key: value …`, in sections, with the files that it includes (unbound.conf(5)).

use crate::verify::against::files::{DEEPEST, Loader, Place};

/// A key and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) values: Vec<String>,
}

impl Attribute {
    pub(super) fn value(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }

    pub(super) fn is_yes(&self) -> bool {
        self.value() == "yes"
    }
}

/// Reads files and those that they include, each in its place.
pub(super) struct Reader<'r> {
    pub(super) loader: &'r Loader<'r>,
    /// The folder to which paths are relative: `directory`, once it is set.
    pub(super) folder: String,
    pub(super) found: Vec<Attribute>,
}

impl Reader<'_> {
    pub(super) fn file(&mut self, file: &str, text: &str, depth: usize) {
        let mut current: Option<Attribute> = None;
        for word in Words::new(text) {
            if !self.loader.count_records(1) {
                return;
            }
            let is_complete = current
                .as_ref()
                .is_none_or(|it| !it.values.is_empty() || SECTIONS.contains(&it.key.as_str()));
            match word.key() {
                Some(key) if is_complete => {
                    self.end(current.take(), depth);
                    current = Some(Attribute {
                        place: Place {
                            file: file.to_owned(),
                            line: word.line,
                        },
                        key: key.to_owned(),
                        values: Vec::new(),
                    });
                }
                Some(_) | None => match &mut current {
                    Some(attribute) => attribute.values.push(word.text),
                    None => {
                        let place = Place {
                            file: file.to_owned(),
                            line: word.line,
                        };
                        self.loader.note(&place, &word.text, "it has no key");
                    }
                },
            }
        }
        self.end(current, depth);
    }

    fn end(&mut self, attribute: Option<Attribute>, depth: usize) {
        let Some(attribute) = attribute else {
            return;
        };
        match attribute.key.as_str() {
            "include" | "include-toplevel" => self.included(&attribute, depth),
            "directory" => {
                self.folder = self.loader.path(&self.folder, attribute.value());
                self.found.push(attribute);
            }
            _ => self.found.push(attribute),
        }
    }

    fn included(&mut self, attribute: &Attribute, depth: usize) {
        let pattern = attribute.value();
        let word = format!("{}: {pattern}", attribute.key);
        if depth == DEEPEST {
            let why = "files include one another in a circle";
            self.loader.note(&attribute.place, &word, why);
            return;
        }
        // A pattern that matches nothing is no mistake for unbound, but the files may have been left out of a copy.
        let files = self.loader.glob(&self.folder, pattern);
        if files.is_empty() {
            self.loader
                .note(&attribute.place, &word, "no file has such a name");
        }
        // After `include-toplevel` a section has to begin.
        let is_top = attribute.key == "include-toplevel";
        for file in files {
            if is_top {
                self.found.push(Attribute {
                    place: attribute.place.clone(),
                    key: String::new(),
                    values: Vec::new(),
                });
            }
            match self.loader.read(&file) {
                Ok(text) => self.file(&file, &text, depth + 1),
                Err(why) => self.loader.note(&attribute.place, &word, why),
            }
        }
    }
}

/// Keys without a value: everything up to the next one belongs to the section.
pub(super) const SECTIONS: &[&str] = &[
    "server",
    "view",
    "stub-zone",
    "forward-zone",
    "auth-zone",
    "rpz",
    "remote-control",
    "python",
    "dynlib",
    "cachedb",
    "dnscrypt",
    "dnstap",
    "ipset",
];

/// A word of the file.
struct Word {
    line: usize,
    text: String,
    is_quoted: bool,
}

impl Word {
    /// Returns the key that it is.
    fn key(&self) -> Option<&str> {
        let key = self.text.strip_suffix(':').filter(|_| !self.is_quoted)?;
        let is_key = key.starts_with(|it: char| it.is_ascii_lowercase())
            && key.contains(|it: char| it > 'f' || it == '-')
            && key
                .chars()
                .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-');
        is_key.then_some(key)
    }
}

/// The words of a file, without comments.
struct Words<'t> {
    rest: &'t str,
    line: usize,
}

impl<'t> Words<'t> {
    const fn new(text: &'t str) -> Self {
        Self {
            rest: text,
            line: 1,
        }
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        loop {
            let first = self.rest.chars().next()?;
            if first == '\n' {
                self.line += 1;
            }
            if first.is_whitespace() {
                self.rest = &self.rest[first.len_utf8()..];
                continue;
            }
            if first == '#' {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
                continue;
            }
            let line = self.line;
            if matches!(first, '"' | '\'') {
                let inside = &self.rest[1..];
                let end = inside.find([first, '\n']).unwrap_or(inside.len());
                let text = inside[..end].to_owned();
                let is_closed = inside[end..].starts_with(first);
                self.rest = &inside[end + usize::from(is_closed)..];
                return Some(Word {
                    line,
                    text,
                    is_quoted: true,
                });
            }
            let is_end = |it: char| it.is_whitespace() || matches!(it, '"' | '\'');
            let end = self.rest.find(is_end).unwrap_or(self.rest.len());
            let mut text = &self.rest[..end];
            // `key:value` without a space.
            if let Some((key, value)) = text.split_once(':')
                && !value.is_empty()
                && crate::verify::against::words::is_known(
                    crate::verify::against::words::UNBOUND,
                    key,
                )
            {
                text = &text[..=key.len()];
            }
            self.rest = &self.rest[text.len()..];
            return Some(Word {
                line,
                text: text.to_owned(),
                is_quoted: false,
            });
        }
    }
}
