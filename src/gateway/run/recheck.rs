//! [`Recheck`]: looks at the policy's files again where the kernel does not tell of changes.
//!
//! inotify tells nothing of a file that is mounted alone into a container, or lies on a network file system, and is written
//! elsewhere. So size, times and inode of each file are compared every few seconds, and now and then the content is read.
//!
//! A file that is mounted alone and replaced by another of its name, as editors and configuration management do it, stays the
//! old one inside: the kernel then counts no name for it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::verify::Finding;

/// The policy's files, as they were looked at last.
#[derive(Debug, Default)]
pub(super) struct Recheck {
    stamps: Vec<Stamp>,
    looks: u32,
    /// True if a file looked different last time, and may still be written.
    is_changing: bool,
}

/// What changes with a file's content, without reading it; `None` where it cannot be looked at.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Recheck {
    /// Looks at `files`; returns `true` if their content is to be read again.
    pub(super) fn is_due(&mut self, files: &[PathBuf]) -> bool {
        let stamps = files.iter().map(|it| fs::metadata(it).ok().map(stamp));
        self.is_due_for(stamps.collect())
    }

    fn is_due_for(&mut self, stamps: Vec<Stamp>) -> bool {
        let is_first = self.looks == 0;
        let differ = self.stamps != stamps;
        self.stamps = stamps;
        let was_changing = std::mem::replace(&mut self.is_changing, differ && !is_first);
        let is_due = self.looks == LOOKS || was_changing && !differ;
        self.looks = if is_due { 1 } else { self.looks + 1 };
        is_due
    }
}

fn stamp(metadata: Metadata) -> (u64, u64, u64, i64, i64) {
    (
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    )
}

/// Finds files that were replaced by others where they come from, and stay what they were here.
pub(super) fn check_mounts(files: &[PathBuf]) -> Vec<Finding> {
    let has_no_name = |file: &&PathBuf| fs::metadata(file).is_ok_and(|it| it.nlink() == 0);
    let replaced = files.iter().filter(has_no_name);
    replaced.map(|file| replaced_elsewhere(file)).collect()
}

fn replaced_elsewhere(file: &Path) -> Finding {
    let folder = file.parent().unwrap_or(Path::new("/")).display();
    let file = file.display();
    Finding::host_warning(
        format!(
            "{file} is mounted alone, and was replaced where it comes from: what it says there is not seen here"
        ),
        format!(
            "mount the folder {folder} in place of the file (Kubernetes: a ConfigMap without subPath), and start the container anew"
        ),
    )
}

/// Looks after which the content is read, whatever it looks like: a minute, at one every three seconds.
const LOOKS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_read_when_a_file_looks_different_and_once_a_minute() {
        let mut recheck = Recheck::default();
        let looks_like = |size| vec![Some((1, 2, size, 3, 4)), None];
        assert!(!recheck.is_due_for(looks_like(5)), "it was read just now");
        assert!(!recheck.is_due_for(looks_like(5)));
        assert!(!recheck.is_due_for(looks_like(6)), "it may be half of it");
        assert!(!recheck.is_due_for(looks_like(7)));
        assert!(recheck.is_due_for(looks_like(7)));
        assert!(!recheck.is_due_for(looks_like(7)));
        assert!(!recheck.is_due_for(vec![None, None]), "another may come");
        assert!(recheck.is_due_for(vec![None, None]), "it is gone");
        let due: Vec<bool> = (0..3 * LOOKS)
            .map(|_| recheck.is_due_for(vec![None, None]))
            .collect();
        assert_eq!(due.iter().filter(|it| **it).count(), 3);
    }
}
