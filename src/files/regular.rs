//! Regular files: opened without ever waiting, read no further than is wanted.
//!
//! A path that an operator, or any process, names may be a FIFO, a terminal or a device: who opens it as a file waits for
//! ever, or reads without end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a regular file.
///
/// # Errors
/// When it is none, or cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    let refuse = |metadata: &std::fs::Metadata| {
        if metadata.is_dir() {
            return Err(io::Error::other("it is a directory; name a file in it"));
        }
        if !metadata.is_file() {
            return Err(io::Error::other(
                "it is not a regular file; write its contents to one first",
            ));
        }
        Ok(())
    };
    refuse(&std::fs::metadata(path)?)?;
    // What it leads to may have changed since.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    refuse(&file.metadata()?)?;
    Ok(file)
}

/// The bytes of a regular file, at most `most` of them.
///
/// # Errors
/// When it is none, or cannot be read.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
