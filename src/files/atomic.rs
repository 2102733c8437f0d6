//! [`write()`]: replaces a file atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::place;

/// Replaces the file at `path` by `bytes`, with `mode`: a reader finds the old contents or the new ones, also after a
/// power failure.
///
/// # Errors
/// When a write fails, or somebody else could redirect it ([`place`]); the old file is then unchanged.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    place::check(path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it names no file"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = folder.join(temporary);
    let written = write_new(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        _ = fs::remove_file(&temporary);
        return Err(error);
    }
    // Not every file system can sync a folder; the file itself is already synced.
    _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A killed process with the same PID may have left one behind.
    _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
