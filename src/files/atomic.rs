//! [`write()`]: a file that is there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Puts `bytes` in the place of the file at `path`, with `mode`: whoever opens it finds the old contents or the new ones,
/// also after a loss of power.
///
/// # Errors
/// When something cannot be written; then the old file is as it was.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // What a link points at is the file that is meant; beside it, a rename stays in one file system.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
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
    let written = write_new(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        _ = fs::remove_file(&temporary);
        return Err(error);
    }
    // Not every file system can do this to a folder; the file itself is safe.
    _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // Left behind by a process of the same number that was killed.
    _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
