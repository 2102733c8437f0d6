//! Opens regular files without blocking, and reads them up to a limit.
//!
//! A path named by an operator or another process may be a FIFO, a terminal or a device: opening it as a file can block
//! forever, and reading it may never end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a regular file.
///
/// # Errors
/// When it is not a regular file, or cannot be opened.
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
    // The path may lead to another file by now.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    refuse(&file.metadata()?)?;
    Ok(file)
}

/// Returns `true` if the system or the process lacks a descriptor or memory: such an error says nothing of the file.
pub fn is_exhausted(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    let number = error.raw_os_error();
    matches!(number, Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
        || error.kind() == io::ErrorKind::OutOfMemory
}

/// Reads at most `most` bytes of a regular file.
///
/// # Errors
/// When it is not a regular file, or cannot be read.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
