//! [`Loader`]: the files of a daemon's configuration, found where the daemon finds them.
//!
//! Paths in a configuration are relative to a folder of the daemon; absolute ones are looked up below the root of a copied
//! tree. Reading is bounded, and what could not be read is noted: nothing of it counts as known.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use crate::message::shorten;

/// Access to files, for a module that does no I/O of its own.
pub trait Files {
    /// Returns the bytes of a file.
    ///
    /// # Errors
    /// The reason, if it cannot be read or is too large.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// Returns the names of a folder's entries, sorted.
    ///
    /// # Errors
    /// The reason, if it cannot be listed.
    fn list(&self, folder: &str) -> Result<Vec<String>, String>;
}

/// A line of a configuration that has an effect on routes or names, and was not understood.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unread {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) word: String,
    pub(super) why: String,
}

/// Position of a directive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The path of the file.
    pub file: String,
    /// Its line, from 1 on.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

/// Reads the files of a configuration, within bounds.
pub(super) struct Loader<'f> {
    files: &'f dyn Files,
    /// Prepended to absolute paths of a configuration.
    root: &'f str,
    count: Cell<usize>,
    bytes: Cell<usize>,
    records: Cell<usize>,
    exceeded: RefCell<Option<String>>,
    seen: RefCell<BTreeSet<String>>,
    unread: RefCell<BTreeSet<Unread>>,
}

impl<'f> Loader<'f> {
    pub(super) fn new(files: &'f dyn Files, root: &'f str) -> Self {
        Self {
            files,
            root: root.trim_end_matches('/'),
            count: Cell::new(0),
            bytes: Cell::new(0),
            records: Cell::new(0),
            exceeded: RefCell::new(None),
            seen: RefCell::new(BTreeSet::new()),
            unread: RefCell::new(BTreeSet::new()),
        }
    }

    /// Notes a directive that was not understood.
    pub(super) fn note(&self, place: &Place, word: &str, why: impl Into<String>) {
        let mut unread = self.unread.borrow_mut();
        if unread.len() < MAX_NOTES {
            unread.insert(Unread {
                file: place.file.clone(),
                line: place.line,
                word: shorten(word),
                why: why.into(),
            });
        }
    }

    /// Returns what was noted, in the order of files and lines.
    pub(super) fn unread(&self) -> Vec<Unread> {
        self.unread.borrow().iter().cloned().collect()
    }

    /// Returns the bound that was exceeded; nothing was read from then on.
    pub(super) fn exceeded(&self) -> Option<String> {
        self.exceeded.borrow().clone()
    }

    /// Returns `true` if a configuration names the file.
    pub(super) fn names(&self, path: &str) -> bool {
        self.seen.borrow().contains(&normal(path))
    }

    /// Notes that a configuration names a file, which is read when it is needed.
    pub(super) fn refer(&self, path: &str) {
        self.seen.borrow_mut().insert(normal(path));
    }

    /// Returns the path of a file that a configuration names.
    pub(super) fn path(&self, folder: &str, path: &str) -> String {
        if path.starts_with('/') {
            return normal(&format!("{}{path}", self.root));
        }
        if folder.is_empty() {
            return normal(path);
        }
        normal(&format!("{folder}/{path}"))
    }

    /// Counts `count` records; `false` once there are too many.
    pub(super) fn count_records(&self, count: usize) -> bool {
        self.records.set(self.records.get().saturating_add(count));
        if self.records.get() > MAX_RECORDS {
            self.exceed(format!(
                "the files have more than {MAX_RECORDS} records or lines; name the part that is for the clients"
            ));
        }
        self.records.get() <= MAX_RECORDS
    }

    fn exceed(&self, why: String) {
        self.exceeded.borrow_mut().get_or_insert(why);
    }

    /// Reads a file as text: a byte order mark is skipped, and what is not UTF-8 is taken for Latin-1.
    pub(super) fn read(&self, path: &str) -> Result<String, String> {
        if self.exceeded.borrow().is_some() {
            return Err("the limit of files is exceeded".to_owned());
        }
        self.count.set(self.count.get() + 1);
        if self.count.get() > MAX_FILES {
            self.exceed(format!(
                "more than {MAX_FILES} files are included; name the part that is for the clients"
            ));
            return Err("the limit of files is exceeded".to_owned());
        }
        let bytes = self.files.read(path)?;
        self.bytes.set(self.bytes.get() + bytes.len());
        if self.bytes.get() > MAX_BYTES {
            self.exceed(format!(
                "the files are larger than {} MiB together; name the part that is for the clients",
                MAX_BYTES >> 20
            ));
            return Err("the limit of bytes is exceeded".to_owned());
        }
        self.seen.borrow_mut().insert(normal(path));
        Ok(text_of(&bytes))
    }

    /// Returns the names in a folder; none if it cannot be listed.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        self.files
            .list(if folder.is_empty() { "." } else { folder })
    }

    /// Returns the files that match a pattern of the shell, sorted; the path itself if it has no wildcard.
    pub(super) fn glob(&self, folder: &str, pattern: &str) -> Vec<String> {
        let path = self.path(folder, pattern);
        if !is_pattern(pattern) {
            return vec![path];
        }
        let mut found = vec![if path.starts_with('/') { "/" } else { "" }.to_owned()];
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for folder in found {
                let join = |name: &str| match folder.as_str() {
                    "" => name.to_owned(),
                    "/" => format!("/{name}"),
                    folder => format!("{folder}/{name}"),
                };
                if !is_pattern(part) {
                    next.push(join(part));
                    continue;
                }
                let names = self.list(&folder).unwrap_or_default();
                let fits = names.iter().filter(|name| matches(part, name));
                next.extend(fits.map(|name| join(name)));
            }
            next.truncate(MAX_FILES + 1);
            found = next;
        }
        found
    }
}

/// Decodes the text of a file.
pub fn text_of(bytes: &[u8]) -> String {
    match bytes {
        [0xff, 0xfe, rest @ ..] => return of_utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => return of_utf_16(rest, u16::from_be_bytes),
        _ => {}
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// UTF-16 behind its byte order mark; half a unit at the end is a replacement character.
fn of_utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let pairs = bytes.chunks_exact(2);
    let half = (!pairs.remainder().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
    let units: Vec<u16> = pairs.map(|pair| unit([pair[0], pair[1]])).collect();
    let mut text = String::from_utf16_lossy(&units);
    text.extend(half);
    text
}

/// Returns the folder of a file; empty for the current one.
pub(super) fn folder_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => "",
    }
}

/// Resolves `.`, `..` and repeated slashes.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            ".." if path.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if path.starts_with('/') {
        format!("/{joined}")
    } else {
        joined
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Returns `true` if a file name matches a pattern of the shell (glob(7)); a leading dot is matched by a dot only.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // After the last `*`: where to go on if what follows does not match.
    let mut retry: Option<(usize, usize)> = None;
    let (mut at, mut position) = (0, 0);
    loop {
        if pattern.get(at) == Some(&'*') {
            retry = Some((at + 1, position));
            at += 1;
            continue;
        }
        if position == name.len() && at == pattern.len() {
            return true;
        }
        let step = name.get(position).and_then(|&it| one(&pattern[at..], it));
        if let Some(length) = step {
            (at, position) = (at + length, position + 1);
            continue;
        }
        match retry {
            Some((after, from)) if from < name.len() => {
                retry = Some((after, from + 1));
                (at, position) = (after, from + 1);
            }
            Some(_) | None => return false,
        }
    }
}

/// Returns the length of the pattern's first element, if it matches a character.
fn one(pattern: &[char], name: char) -> Option<usize> {
    match *pattern.first()? {
        '?' => Some(1),
        '[' => {
            let end = pattern.iter().skip(2).position(|it| *it == ']')? + 2;
            let set = &pattern[1..end];
            let (is_negated, set) = match set {
                ['!' | '^', rest @ ..] => (true, rest),
                set => (false, set),
            };
            let mut has = false;
            let mut rest = set;
            while let [first, behind @ ..] = rest {
                if let ['-', last, behind @ ..] = behind {
                    has |= (*first..=*last).contains(&name);
                    rest = behind;
                } else {
                    has |= *first == name;
                    rest = behind;
                }
            }
            (has != is_negated).then_some(end + 1)
        }
        other => (other == name).then_some(1),
    }
}

/// Files of one configuration: more than any has, and read within a second.
const MAX_FILES: usize = 1_000;
/// Bytes of all files together.
const MAX_BYTES: usize = 32 << 20;
/// Records of zones, and lines of the files.
const MAX_RECORDS: usize = 400_000;
/// Notes that are kept: more would not be read either.
const MAX_NOTES: usize = 200;
/// Nesting of includes, braces and lists: more than anyone writes.
pub(super) const DEEPEST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", false),
            ("*.conf", "a.conf.bak", false),
            ("z?.*", "z1.conf", true),
            ("[0-9]*-x", "10-a-x", true),
            ("[!a]*", "abc", false),
            ("*a*b*", "xaxxbx", true),
            ("a", "b", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn paths_are_those_below_the_root() {
        struct None;
        impl Files for None {
            fn read(&self, _: &str) -> Result<Vec<u8>, String> {
                Err(String::new())
            }
            fn list(&self, _: &str) -> Result<Vec<String>, String> {
                Err(String::new())
            }
        }
        let loader = Loader::new(&None, "copy/");
        assert_eq!(loader.path("here", "/etc/x"), "copy/etc/x");
        assert_eq!(loader.path("here", "../x"), "x");
        assert_eq!(loader.path("", "./x"), "x");
        assert_eq!(folder_of("a/b"), "a");
        assert_eq!(folder_of("b"), "");
    }

    #[test]
    fn text_of_any_encoding_is_read() {
        assert_eq!(text_of(b"\xef\xbb\xbfa"), "a");
        assert_eq!(text_of(b"f\xfcr"), "für");
        assert_eq!(text_of("für".as_bytes()), "für");
        assert_eq!(text_of(b"\xff\xfef\0\xfc\0r\0"), "für");
        assert_eq!(text_of(b"\xfe\xff\0f\0\xfc\0"), "fü\u{fffd}");
    }
}
