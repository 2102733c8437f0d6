//! [`BoundedFile`]: a file of limited size that is rotated, and that holds whole records even after an error.
//!
//! ```text
//!  drops.jsonl    ◀── append, up to its limit
//!  drops.jsonl.1      what it was before
//!  drops.jsonl.2
//!  drops.jsonl.3      the oldest, which the next round replaces
//! ```
//!
//! Written by hand because the crates that rotate logs silently drop records that cannot be written, or panic, and none
//! supports a preamble.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::files::place;

/// A file, and older ones beside it.
#[derive(Debug)]
pub(in crate::gateway) struct BoundedFile {
    path: PathBuf,
    /// Bytes that the file may have.
    limit: u64,
    /// The number of rotated files kept.
    older: usize,
    /// The first bytes of each file; without them, an existing file is appended to.
    preamble: Vec<u8>,
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// Bytes of whole records.
    length: u64,
    /// True if an incomplete record follows them.
    is_torn: bool,
    /// Device and inode, which distinguish it from another file of its name.
    identity: (u64, u64),
}

impl BoundedFile {
    pub(in crate::gateway) fn new(
        path: &Path,
        limit: u64,
        older: usize,
        preamble: Vec<u8>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            limit,
            older,
            preamble,
            open: None,
        }
    }

    /// Appends whole records.
    ///
    /// # Errors
    /// When they cannot be written: then no part of them stays in the file, as soon as it can be truncated.
    pub(in crate::gateway) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        let is_same = |open: &OpenFile| {
            // Another program may have moved it away, as logrotate does.
            fs::symlink_metadata(&self.path).is_ok_and(|it| identity(&it) == open.identity)
        };
        let mut open = match self.open.take().filter(is_same) {
            Some(open) => open,
            None => self.open()?,
        };
        let least = self.preamble.len() as u64;
        if open.length > least && open.length + records.len() as u64 > self.limit {
            self.rotate()?;
            open = self.open()?;
        }
        let written = if open.length == 0 {
            open.append(&[&self.preamble, records].concat())
        } else {
            open.append(records)
        };
        self.open = Some(open);
        written
    }

    /// Opens the file; creates it, and its folder, if need be.
    fn open(&self) -> io::Result<OpenFile> {
        if let Some(folder) = self.path.parent() {
            place::make_folder(folder)?;
        }
        let open = OpenFile::new(&self.path)?;
        if open.length == 0 || self.preamble.is_empty() {
            return Ok(open);
        }
        self.rotate()?;
        OpenFile::new(&self.path)
    }

    /// Moves the file out of the way, and those before it.
    fn rotate(&self) -> io::Result<()> {
        for age in (1..=self.older).rev() {
            match fs::rename(self.aged(age - 1), self.aged(age)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn aged(&self, age: usize) -> PathBuf {
        aged(&self.path, age)
    }
}

/// Returns the path of the file at `path` that was rotated `age` times.
pub(super) fn aged(path: &Path, age: usize) -> PathBuf {
    let mut name = OsString::from(path);
    if age > 0 {
        name.push(format!(".{age}"));
    }
    name.into()
}

impl OpenFile {
    fn new(path: &Path) -> io::Result<Self> {
        // It holds addresses of clients.
        let file = place::append(path, 0o600)?;
        let metadata = file.metadata()?;
        Ok(Self {
            file,
            length: metadata.len(),
            is_torn: false,
            identity: identity(&metadata),
        })
    }

    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.length)?;
            self.is_torn = false;
        }
        match self.file.write_all(records) {
            Ok(()) => {
                self.length += records.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A disk that is full has room for less.
                self.is_torn = self.file.set_len(self.length).is_err();
                Err(error)
            }
        }
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in a folder of the test's own, which is removed with it.
    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a temporary folder"))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("deeper/log")
        }

        /// The contents of the file and of those before it.
        fn contents(&self) -> Vec<String> {
            let name = |age| match age {
                0 => "deeper/log".to_owned(),
                age => format!("deeper/log.{age}"),
            };
            let read = |age| fs::read_to_string(self.0.path().join(name(age))).ok();
            (0..).map_while(read).collect()
        }
    }

    fn append(file: &mut BoundedFile, records: &[&str]) {
        for record in records {
            file.append(record.as_bytes()).expect("there is room");
        }
    }

    #[test]
    fn a_file_at_its_limit_makes_room_and_the_oldest_goes() {
        let scratch = Scratch::new();
        let mut file = BoundedFile::new(&scratch.path(), 6, 2, Vec::new());
        append(&mut file, &["one\n", "2\n", "three\n", "4\n", "5\n", "6\n"]);
        assert_eq!(scratch.contents(), ["4\n5\n6\n", "three\n", "one\n2\n"]);
        append(&mut file, &["longer than the limit\n", "8\n"]);
        let wanted = ["8\n", "longer than the limit\n", "4\n5\n6\n"];
        assert_eq!(scratch.contents(), wanted);
    }

    #[test]
    fn what_is_there_is_written_on_unless_it_begins_with_a_preamble() {
        let scratch = Scratch::new();
        for _ in 0..2 {
            let mut file = BoundedFile::new(&scratch.path(), 100, 3, Vec::new());
            append(&mut file, &["line\n"]);
        }
        assert_eq!(scratch.contents(), ["line\nline\n"]);
        let mut file = BoundedFile::new(&scratch.path(), 14, 3, b"head\n".to_vec());
        append(&mut file, &["one\n", "two\n", "three\n"]);
        let wanted = ["head\nthree\n", "head\none\ntwo\n", "line\nline\n"];
        assert_eq!(scratch.contents(), wanted);
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let scratch = Scratch::new();
        let mut file = BoundedFile::new(&scratch.path(), 100, 1, b"head\n".to_vec());
        append(&mut file, &["one\n"]);
        fs::rename(scratch.path(), scratch.0.path().join("deeper/elsewhere")).expect("it is there");
        append(&mut file, &["two\n"]);
        assert_eq!(scratch.contents(), ["head\ntwo\n"]);
    }

    #[test]
    fn the_beginning_of_a_record_that_could_not_be_written_is_taken_back() {
        let scratch = Scratch::new();
        let mut file = BoundedFile::new(&scratch.path(), 100, 1, Vec::new());
        append(&mut file, &["one\n"]);
        let open = file.open.as_mut().expect("it was written to");
        open.file.write_all(b"tw").expect("there is room");
        open.is_torn = true;
        append(&mut file, &["three\n"]);
        assert_eq!(scratch.contents(), ["one\nthree\n"]);
    }

    #[test]
    fn what_is_no_regular_file_is_not_written_to() {
        let mut file = BoundedFile::new(Path::new("/dev/full"), 100, 1, Vec::new());
        let said = file.append(b"one\n").expect_err("it is a device");
        assert_eq!(said.to_string(), "it is not a regular file");
    }
}
