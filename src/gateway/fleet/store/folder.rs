//! [`FolderStore`]: releases in a folder that others keep current: a ConfigMap of Kubernetes, a checkout, the root of a web server.
//!
//! It is looked at each second, and not watched: a file system over the network tells of no changes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use super::{Entry, Store, StoreError, StoreResult, Version};
use crate::files::{atomic, place, regular};
use crate::gateway::host::fleet_state::digest;

/// Releases in a folder.
#[derive(Debug)]
pub(super) struct FolderStore {
    folder: PathBuf,
}

impl FolderStore {
    pub(super) fn new(folder: &str) -> Self {
        Self {
            folder: PathBuf::from(folder),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(key)
    }

    fn look(&self, key: &str, most: usize) -> Result<Option<Entry>, StoreError> {
        let path = self.path(key);
        let bytes = match regular::read(&path, most as u64 + 1) {
            Ok(bytes) => bytes,
            // A volume that is not mounted has an empty folder, or none: that is no channel without a release.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.folder.is_dir() => {
                return Ok(None);
            }
            Err(error) => return Err(failed(&path, error)),
        };
        if bytes.len() > most {
            return Err(StoreError::TooLarge {
                key: key.to_owned(),
                most,
            });
        }
        let version = Version(digest(&bytes));
        Ok(Some(Entry { bytes, version }))
    }

    /// Has this process alone write, among those that publish by this program.
    fn lock(&self) -> Result<Flock<File>, StoreError> {
        let file = File::open(&self.folder).map_err(|error| failed(&self.folder, error))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| failed(&self.folder, error.into()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let folder = path.parent().unwrap_or(path);
        place::make_folder(folder)
            .and_then(|()| atomic::write(path, bytes, 0o644))
            .map_err(|error| failed(path, error))
    }
}

impl Store for FolderStore {
    fn name(&self) -> String {
        format!("file://{}", self.folder.display())
    }

    fn read(&mut self, key: &str, most: usize) -> StoreResult<Option<Entry>> {
        self.look(key, most)
    }

    fn wait(&mut self, key: &str, seen: Option<&Version>, patience: Duration) -> StoreResult {
        let deadline = Instant::now() + patience;
        loop {
            let here = self.look(key, MAX_WATCHED)?.map(|entry| entry.version);
            if here.as_ref() != seen {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(LOOK_INTERVAL));
        }
    }

    fn create(&mut self, key: &str, bytes: &[u8]) -> StoreResult {
        let lock = self.lock()?;
        let path = self.path(key);
        if path.exists() {
            return Err(StoreError::Exists(key.to_owned()));
        }
        let written = self.write(&path, bytes);
        drop(lock);
        written
    }

    fn exchange(&mut self, key: &str, before: Option<&Version>, bytes: &[u8]) -> StoreResult {
        let lock = self.lock()?;
        let here = self.look(key, MAX_WATCHED)?.map(|entry| entry.version);
        if here.as_ref() != before {
            return Err(StoreError::Changed(key.to_owned()));
        }
        let path = self.path(key);
        let time_before = modified(&path);
        let written = self
            .write(&path, bytes)
            .and_then(|()| set_later(&path, time_before));
        drop(lock);
        written
    }

    fn names(&mut self, folder: &str) -> StoreResult<Vec<String>> {
        let path = self.path(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.folder.is_dir() => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(failed(&path, error)),
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: io::Result<Vec<String>> = names.collect();
        names.map_err(|error| failed(&path, error))
    }

    fn report(&mut self, _key: &str, _bytes: &[u8], _lease: Duration) -> StoreResult<bool> {
        Ok(false)
    }
}

/// The time of the last change of a file, if there is one.
fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|it| it.modified()).ok()
}

/// Has the time of the file at `path` be later than `before` by a second at least: a web server may tell its versions apart by whole
/// seconds and the size alone (nginx 1.22, the function ngx_http_set_etag), and then would not send a serial that has changed.
fn set_later(path: &Path, before: Option<SystemTime>) -> StoreResult {
    let (Some(before), Some(here)) = (before, modified(path)) else {
        return Ok(());
    };
    let least = before + Duration::from_secs(1);
    if here >= least {
        return Ok(());
    }
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(least))
        .map_err(|error| failed(path, error))
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::File {
        path: path.display().to_string(),
        source,
    }
}

/// The pause between two looks: two system calls.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of a key that is watched: the serial of a channel.
const MAX_WATCHED: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_serial_that_changes_twice_in_a_second_has_another_time_by_which_web_servers_tell() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut store = FolderStore::new(&folder.path().display().to_string());
        let key = "offramp/v1/channel/stable";
        let mut seconds = Vec::new();
        for serial in 1..=3 {
            let before = store.read(key, MAX_WATCHED).expect("a folder");
            let version = before.map(|it| it.version);
            let bytes = format!("{serial}\n");
            let moved = store.exchange(key, version.as_ref(), bytes.as_bytes());
            moved.expect("nobody else writes");
            let path = folder.path().join(key);
            seconds.push(fs::metadata(path).expect("it was written").mtime());
        }
        assert!(
            seconds.is_sorted_by(|one, other| one < other),
            "{seconds:?}"
        );
    }
}
