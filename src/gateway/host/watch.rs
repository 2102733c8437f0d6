//! [`FileWatch`]: reports that the content of a policy's files may have changed.
//!
//! Editors write a new file and rename it over the old one; configuration management switches a symbolic link of a
//! folder above it; others overwrite the file, half now and half later. So the watch is on the folders that the path
//! leads through, not the file, and a change is reported once no other has followed for a moment.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use ring::digest::SHA256;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use super::rights::Role;
use crate::files::regular;

/// Watches files and the folders that their paths lead through.
#[derive(Debug)]
pub struct FileWatch {
    watcher: RecommendedWatcher,
    events: UnboundedReceiver<()>,
    pending: Option<PendingChange>,
    folders: BTreeSet<PathBuf>,
}

impl FileWatch {
    /// Watches `files`.
    ///
    /// # Errors
    /// The kernel has no inotify instance or no thread for us.
    pub fn new(files: &[PathBuf]) -> notify::Result<Self> {
        let (sender, events) = unbounded_channel();
        let watcher = start_watcher(move |event: notify::Result<notify::Event>| {
            let matters = event.is_ok_and(|event| !event.kind.is_access());
            if matters {
                // The send fails if the watch is gone.
                _ = sender.send(());
            }
        })?;
        let mut watch = Self {
            watcher,
            events,
            pending: None,
            folders: BTreeSet::new(),
        };
        watch.follow(files);
        Ok(watch)
    }

    /// Watches the folders through which the paths of `files` lead now, and nothing else.
    pub fn follow(&mut self, files: &[PathBuf]) {
        let folders = files.iter().flat_map(|file| folders_of(file));
        let folders: BTreeSet<PathBuf> = folders.map(|it| existing(&it).to_owned()).collect();
        for gone in self.folders.difference(&folders) {
            // A removed folder is no longer watched, as intended.
            _ = self.watcher.unwatch(gone);
        }
        for folder in &folders {
            // Watched folders are added again: another folder may have taken the same name.
            _ = self.watcher.watch(folder, RecursiveMode::NonRecursive);
        }
        self.folders = folders;
    }

    /// Waits for a change, and then until there was none for a fifth of a second, or until two seconds have passed.
    ///
    /// Cancel-safe: no change is lost if the future is dropped and the function called again.
    pub async fn changed(&mut self) {
        loop {
            let event = match self.pending {
                None => self.events.recv().await,
                Some(pending) => match timeout_at(pending.ends(), self.events.recv()).await {
                    Ok(event) => event,
                    Err(_) => {
                        self.pending = None;
                        return;
                    }
                },
            };
            if event.is_none() {
                // The watcher lives as long as this, so its end of the channel does.
                std::future::pending::<()>().await;
            }
            let now = Instant::now();
            let first = self.pending.map_or(now, |pending| pending.first);
            self.pending = Some(PendingChange { first, last: now });
        }
    }
}

/// Starts the watcher's thread, which inherits no capability.
fn start_watcher(handler: impl notify::EventHandler) -> notify::Result<RecommendedWatcher> {
    let start = || {
        Role::Watch.begin();
        // The watcher starts a thread, and panics at its first use where there was none. The memory of one that has just
        // ended is there for it.
        let trial = thread::Builder::new().spawn(|| ());
        _ = trial.map_err(notify::Error::io)?.join();
        notify::recommended_watcher(handler)
    };
    thread::scope(|scope| {
        let started = thread::Builder::new().spawn_scoped(scope, start);
        let started = started.map_err(notify::Error::io)?.join();
        started.unwrap_or_else(|_| Err(notify::Error::generic("starting the watch panicked")))
    })
}

/// Changes that have not settled yet.
#[derive(Debug, Clone, Copy)]
struct PendingChange {
    first: Instant,
    last: Instant,
}

impl PendingChange {
    /// The moment at which they settle, unless another change follows.
    fn ends(self) -> Instant {
        (self.last + QUIET).min(self.first + PATIENCE)
    }
}

/// The content of files, to detect changes, and to tell which content is in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint(Vec<Result<Sha256, io::ErrorKind>>);

/// SHA-256 of a file's content.
type Sha256 = [u8; 32];

impl Fingerprint {
    /// Returns SHA-256 of each file in hexadecimal digits, as `sha256sum` prints it; `None` for one that could not be read.
    pub fn digests(&self) -> impl Iterator<Item = Option<String>> {
        let digits = |digest: &Sha256| {
            digest.iter().fold(String::new(), |mut text, byte| {
                _ = write!(text, "{byte:02x}");
                text
            })
        };
        self.0
            .iter()
            .map(move |content| content.as_ref().ok().map(digits))
    }
}

/// Computes the fingerprint of the files' contents; unreadable files count, too.
///
/// # Errors
/// The system has no descriptor or memory to read them with, so nothing is known of them.
pub fn fingerprint(files: &[PathBuf]) -> io::Result<Fingerprint> {
    let content = |file: &PathBuf| match regular::read(file, MAX_FILE) {
        Ok(bytes) => {
            let mut digest = Sha256::default();
            digest.copy_from_slice(ring::digest::digest(&SHA256, &bytes).as_ref());
            Ok(Ok(digest))
        }
        Err(error) if regular::is_exhausted(&error) => Err(error),
        Err(error) => Ok(Err(error.kind())),
    };
    files
        .iter()
        .map(content)
        .collect::<io::Result<_>>()
        .map(Fingerprint)
}

/// Returns `folder`, or the nearest folder above it that exists: its entries change when `folder` is made.
fn existing(folder: &Path) -> &Path {
    let mut folders = folder.ancestors();
    folders.find(|it| it.is_dir()).unwrap_or(folder)
}

/// Returns every folder with an entry on the way to `path`: its own, and those of symbolic links.
pub(super) fn folders_of(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let Ok(absolute) = std::path::absolute(path) else {
        return folders;
    };
    let mut rest: Vec<PathBuf> = parts(&absolute);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part.as_os_str() == ".." {
            at.pop();
            continue;
        }
        let entry = at.join(&part);
        match fs::read_link(&entry) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                folders.insert(at.clone());
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                rest.extend(parts(&target));
            }
            Ok(_) | Err(_) => {
                if rest.is_empty() {
                    folders.insert(at.clone());
                }
                at = entry;
            }
        }
    }
    folders
}

/// Returns the names in `path`, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}

/// Larger than any policy or feed that is accepted.
const MAX_FILE: u64 = 64 << 20;
/// The time without changes before a reload: longer than an editor takes to write a file.
const QUIET: Duration = Duration::from_millis(200);
/// The longest time that ongoing changes may delay a reload.
const PATIENCE: Duration = Duration::from_secs(2);
/// Symbolic links on one path, as the kernel follows them.
const MAX_LINKS: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder of the test's own, by its path without links.
    fn scratch() -> (PathBuf, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        (
            folder.path().canonicalize().expect("it was just made"),
            folder,
        )
    }

    #[test]
    fn every_folder_in_which_a_link_can_be_switched_is_watched() {
        let (folder, _kept) = scratch();
        // As Kubernetes mounts a ConfigMap: policy.toml → ..data/policy.toml, ..data → ..2026/.
        fs::create_dir(folder.join("..2026")).expect("a folder");
        fs::write(folder.join("..2026/policy.toml"), "").expect("a file");
        symlink("..2026", folder.join("..data")).expect("a link");
        symlink("..data/policy.toml", folder.join("policy.toml")).expect("a link");
        let (away, _kept_too) = scratch();
        symlink(folder.join("policy.toml"), away.join("mine.toml")).expect("a link");

        let watched = folders_of(&away.join("mine.toml"));
        let wanted = BTreeSet::from([away, folder.join("..2026"), folder]);
        assert_eq!(watched, wanted);
    }

    #[test]
    fn the_digest_is_that_of_sha256sum() {
        let (folder, _kept) = scratch();
        let file = folder.join("policy.toml");
        // FIPS 180-2, appendix B.1.
        fs::write(&file, "abc").expect("a file");
        let read = fingerprint(&[file.clone(), folder.join("none")]).expect("it is read");
        let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digests: Vec<_> = read.digests().collect();
        assert_eq!(digests, [Some(wanted.to_owned()), None]);
        fs::write(&file, "abd").expect("a file");
        let again = fingerprint(&[file, folder.join("none")]).expect("it is read");
        assert_ne!(again, read);
    }

    #[test]
    fn links_in_a_circle_end() {
        let (folder, _kept) = scratch();
        symlink("b", folder.join("a")).expect("a link");
        symlink("a", folder.join("b")).expect("a link");
        assert!(folders_of(&folder.join("a")).contains(&folder));
    }

    #[tokio::test]
    async fn a_folder_that_comes_again_is_a_change() {
        let (folder, _kept) = scratch();
        let file = folder.join("deeper/policies/policy.toml");
        let mut watch = FileWatch::new(std::slice::from_ref(&file)).expect("inotify");
        fs::create_dir_all(folder.join("deeper/policies")).expect("a folder");
        while tokio::time::timeout(QUIET / 10, watch.changed())
            .await
            .is_err()
        {}
        // As a load does.
        watch.follow(std::slice::from_ref(&file));
        fs::write(&file, "one").expect("a file");
        while tokio::time::timeout(QUIET / 10, watch.changed())
            .await
            .is_err()
        {}
    }

    #[tokio::test]
    async fn a_file_that_is_renamed_into_place_is_a_change() {
        let (folder, _kept) = scratch();
        let file = folder.join("policy.toml");
        fs::write(&file, "one").expect("a file");
        let mut watch = FileWatch::new(std::slice::from_ref(&file)).expect("inotify");
        fs::write(folder.join("new"), "two").expect("a file");
        fs::rename(folder.join("new"), &file).expect("both are there");
        // As a loop that has other things to wait for calls it.
        while tokio::time::timeout(QUIET / 10, watch.changed())
            .await
            .is_err()
        {}
    }
}
