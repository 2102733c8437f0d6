//! Options of dnsmasq's files: `key=value` or `key`, with the files that they include (dnsmasq(8)).

use crate::verify::against::files::{DEEPEST, Loader, Place};

/// An option of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) value: String,
}

/// Reads files and those that they include.
pub(super) struct Reader<'r> {
    pub(super) loader: &'r Loader<'r>,
    /// The folder in which dnsmasq was started.
    pub(super) folder: &'r str,
    pub(super) found: Vec<Line>,
}

impl Reader<'_> {
    pub(super) fn file(&mut self, file: &str, text: &str, depth: usize) {
        for (index, text) in text.lines().enumerate() {
            if !self.loader.count_records(1) {
                return;
            }
            let text = code(text);
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            let line = Line {
                place: Place {
                    file: file.to_owned(),
                    line: index + 1,
                },
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            };
            match line.key.as_str() {
                "conf-file" | "servers-file" => {
                    let files = self.loader.glob(self.folder, &line.value);
                    self.included(&line, &files, depth);
                }
                "conf-dir" => {
                    if let Some(files) = self.folder_files(&line) {
                        self.included(&line, &files, depth);
                    }
                }
                _ => self.found.push(line),
            }
        }
    }

    fn included(&mut self, line: &Line, files: &[String], depth: usize) {
        let word = format!("{}={}", line.key, line.value);
        if depth == DEEPEST {
            let why = "files include one another in a circle";
            self.loader.note(&line.place, &word, why);
            return;
        }
        for file in files {
            match self.loader.read(file) {
                Ok(text) => self.file(file, &text, depth + 1),
                Err(why) => self.loader.note(&line.place, &word, why),
            }
        }
    }

    /// Returns the files of `conf-dir=FOLDER[,EXTENSION…]`, or of a folder of hosts.
    pub(super) fn folder_files(&self, line: &Line) -> Option<Vec<String>> {
        let mut parts = line.value.split(',').map(str::trim);
        let folder = self
            .loader
            .path(self.folder, parts.next().unwrap_or_default());
        let ends: Vec<&str> = parts.filter(|it| !it.is_empty()).collect();
        // `*.conf` takes files, `.bak` leaves them out.
        let (taken, left_out): (Vec<&str>, Vec<&str>) =
            ends.into_iter().partition(|it| it.starts_with('*'));
        let names = match self.loader.list(&folder) {
            Ok(names) => names,
            Err(why) => {
                let word = format!("{}={}", line.key, line.value);
                self.loader.note(&line.place, &word, why);
                return None;
            }
        };
        let is_taken = |name: &str| {
            let mut ends = taken.iter().map(|end| &end[1..]);
            taken.is_empty() || ends.any(|end| name.ends_with(end))
        };
        let is_left_out = |name: &str| {
            let is_backup = name.ends_with('~') || (name.starts_with('#') && name.ends_with('#'));
            is_backup || name.starts_with('.') || left_out.iter().any(|end| name.ends_with(end))
        };
        let is_read = |name: &&String| is_taken(name) && !is_left_out(name);
        let files = names.iter().filter(is_read);
        Some(files.map(|name| format!("{folder}/{name}")).collect())
    }
}

/// Takes quotes and comments out of a line: `#` begins one at the start and behind a space.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut is_quoted = false;
    let mut is_after_space = true;
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => code.extend(chars.next()),
            '#' if !is_quoted && is_after_space => break,
            other => code.push(other),
        }
        is_after_space = next.is_whitespace();
    }
    code
}
