//! [`LastGood`]: a copy of the policy in force, for a start at which the policy file is refused.
//!
//! ```text
//!  policy in force ──▶ STATE_DIRECTORY/last-good.json     its file, and the feeds that lie beside it
//!                            │
//!  a start with mistakes ◀───┘ unpacked into STATE_DIRECTORY/last-good, and loaded from there
//! ```
//!
//! Without it a mistake that is saved while the gateway runs does nothing until the next start, which then leaves everything open.
//! The copy is one file, replaced as a whole, for one policy path. A feed at an absolute path, or above the policy's folder, is
//! not copied: the policy finds it where it is.

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::source::{LoadError, PolicyPath, PolicySource};
use super::watch::{Fingerprint, fingerprint};
use crate::files::{atomic, place, regular};
use crate::filter::{CompiledPolicy, Generation};

/// The place of the copy.
#[derive(Debug, Clone)]
pub struct LastGood {
    folder: PathBuf,
    policy: PathBuf,
}

/// The content of the copy.
#[derive(Debug, Serialize, Deserialize)]
struct Copy {
    /// The policy file that it is a copy of.
    policy: PathBuf,
    /// Paths relative to the policy's folder, and contents.
    files: Vec<(PathBuf, String)>,
}

impl LastGood {
    /// The place for the policy file at `policy`; `None` without a folder from the service manager (systemd's `StateDirectory=`).
    pub fn of_environment(policy: &Path) -> Option<Self> {
        let folders = std::env::var_os("STATE_DIRECTORY")?;
        let folder = std::env::split_paths(&folders).next()?;
        Some(Self {
            folder,
            policy: std::path::absolute(policy).ok()?,
        })
    }

    /// The folder that it writes to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Copies `files`, those of the policy in force, unless they have changed since they had this `fingerprint`.
    ///
    /// # Errors
    /// A file cannot be read, or the copy cannot be written; an older copy stays.
    pub fn save(&self, files: &[PathBuf], before: &Fingerprint) -> io::Result<()> {
        let mut copies = Vec::new();
        for file in files {
            let Some(place) = self.place_of(file) else {
                continue;
            };
            match regular::read(file, MAX_COPIED) {
                Ok(bytes) => {
                    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
                    copies.push((place, text));
                }
                // A feed that was not fetched yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // What was read above may be newer than what is in force: the reload that follows saves it.
        if fingerprint(files)? != *before {
            return Ok(());
        }
        let copy = Copy {
            policy: self.policy.clone(),
            files: copies,
        };
        let json = serde_json::to_vec(&copy).map_err(io::Error::other)?;
        atomic::write(&self.file(), &json, 0o644)
    }

    /// Loads the copy; `None` if there is none of this policy.
    pub fn load(&self) -> Option<Result<CompiledPolicy, LoadError>> {
        let json = regular::read(&self.file(), MAX_COPY).ok()?;
        let copy: Copy = serde_json::from_slice(&json).ok()?;
        if copy.policy != self.policy {
            return None;
        }
        let unpacked = self.unpack(&copy).map_err(|source| LoadError::Unreadable {
            path: self.unpacked(),
            source,
        });
        Some(unpacked.and_then(|policy| PolicyPath(policy).load(Generation(1))))
    }

    /// Writes the copied files, and returns the policy's.
    fn unpack(&self, copy: &Copy) -> io::Result<PathBuf> {
        let folder = self.unpacked();
        // A copy that somebody else could have written is none.
        place::check(&self.file())?;
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for (place, text) in &copy.files {
            let is_within = place
                .components()
                .all(|it| matches!(it, Component::Normal(_)));
            if !is_within {
                return Err(io::Error::other("it leads out of its folder"));
            }
            let file = folder.join(place);
            place::make_folder(file.parent().unwrap_or(&folder))?;
            place::create(&file, 0o644)?.write_all(text.as_bytes())?;
        }
        let name = self.policy.file_name().unwrap_or_default();
        Ok(folder.join(name))
    }

    /// The path of a file relative to the policy's folder; `None` if it is not within.
    fn place_of(&self, file: &Path) -> Option<PathBuf> {
        let file = std::path::absolute(file).ok()?;
        let place = file.strip_prefix(self.policy.parent()?).ok()?;
        let is_within = place
            .components()
            .all(|it| matches!(it, Component::Normal(_)));
        is_within.then(|| place.to_owned())
    }

    fn file(&self) -> PathBuf {
        self.folder.join("last-good.json")
    }

    fn unpacked(&self) -> PathBuf {
        self.folder.join("last-good")
    }
}

/// The longest file that is copied, in bytes: more than a policy or a feed may have.
const MAX_COPIED: u64 = 32 << 20;
/// The longest copy that is read.
const MAX_COPY: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n\
                          [[feed]]\nname = \"list\"\nformat = \"prefixes\"\nfile = \"feeds/list.txt\"\n";

    /// A folder that is removed when the test ends, with a policy, its feed and a place for the copy.
    struct Site(tempfile::TempDir);

    impl Site {
        fn new() -> Self {
            let site = Self(tempfile::tempdir().expect("a temporary folder"));
            fs::create_dir_all(site.path("etc/feeds")).expect("a folder");
            fs::create_dir_all(site.path("state")).expect("a folder");
            fs::write(site.path("etc/policy.toml"), POLICY).expect("a file");
            fs::write(site.path("etc/feeds/list.txt"), "203.0.113.0/24\n").expect("a file");
            site
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn last_good(&self, policy: &str) -> LastGood {
            LastGood {
                folder: self.path("state"),
                policy: self.path("etc").join(policy),
            }
        }

        fn files(&self) -> Vec<PathBuf> {
            PolicyPath(self.path("etc/policy.toml"))
                .files()
                .expect("descriptors are left")
        }
    }

    #[test]
    fn the_copy_holds_the_policy_and_its_feeds_as_they_were_in_force() {
        let site = Site::new();
        let last_good = site.last_good("policy.toml");
        assert!(last_good.load().is_none(), "nothing was saved");
        let files = site.files();
        last_good
            .save(&files, &fingerprint(&files).expect("they are there"))
            .expect("the folder is ours");
        fs::write(site.path("etc/policy.toml"), "nonsense").expect("a file");
        fs::write(site.path("etc/feeds/list.txt"), "").expect("a file");
        let loaded = last_good.load().expect("it was saved");
        let loaded = loaded.expect("it was in force");
        let prefixes = loaded.policy().feeds[0].prefixes.as_ref().map(Vec::len);
        assert_eq!(prefixes, Some(1), "of the feed as it was");

        let another = site.last_good("another.toml");
        assert!(another.load().is_none(), "of another policy");
    }

    #[test]
    fn files_that_have_changed_since_they_were_loaded_are_not_saved() {
        let site = Site::new();
        let last_good = site.last_good("policy.toml");
        let files = site.files();
        let before = fingerprint(&files).expect("they are there");
        fs::write(site.path("etc/policy.toml"), "nonsense").expect("a file");
        last_good.save(&files, &before).expect("nothing fails");
        assert!(last_good.load().is_none());
    }

    #[test]
    fn a_copy_that_leads_out_of_its_folder_is_refused() {
        let site = Site::new();
        let last_good = site.last_good("policy.toml");
        let copy = Copy {
            policy: last_good.policy.clone(),
            files: vec![(PathBuf::from("../outside"), POLICY.to_owned())],
        };
        let json = serde_json::to_vec(&copy).expect("it has a form");
        fs::write(last_good.file(), json).expect("a file");
        assert!(last_good.load().expect("it is there").is_err());
        assert!(!site.path("state/outside").exists());
    }
}
