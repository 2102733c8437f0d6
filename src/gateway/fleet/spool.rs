//! [`Spool`]: the files that an agent writes: the policy, and beside it a folder with what there is to know of its release.
//!
//! ```text
//!  /var/lib/offramp-fleet/policy.toml               what `run` reads; the path may be a symbolic link to it
//!  /var/lib/offramp-fleet/policy.toml.fleet/
//!      state.json                                   FleetState: serial, digests, last contact
//!      release.toml                                 the fleet's policy, without the site's part
//!      refused.toml                                 the last policy that did not pass the check
//! ```
//!
//! Each file is replaced as a whole, the policy before the state: an agent that dies between the two finds a policy that is not the
//! one of its state, and writes both again.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::{atomic, place, regular};
use crate::gateway::host::fleet_state::{FleetState, STATE, digest, folder_of, target_of};
use crate::policy::MAX_FILE_SIZE;

/// The files that an agent writes.
#[derive(Debug, Clone)]
pub struct Spool {
    /// The policy's path as `run` has it.
    policy: PathBuf,
    /// The file that it leads to.
    target: PathBuf,
    /// The folder beside that.
    folder: PathBuf,
}

impl Spool {
    /// The files for the policy at `policy`, which may be a symbolic link to a file that is not there yet.
    ///
    /// # Errors
    /// The path leads in a circle.
    pub fn of(policy: &Path) -> io::Result<Self> {
        let policy = std::path::absolute(policy)?;
        let target = target_of(&policy)?;
        let folder = folder_of(&target);
        Ok(Self {
            policy,
            target,
            folder,
        })
    }

    /// Creates its folder.
    ///
    /// # Errors
    /// It cannot be created, or somebody else could write there.
    pub fn prepare(&self) -> io::Result<()> {
        place::make_folder(&self.folder)?;
        place::check(&self.target)
    }

    /// The policy's path as `run` has it: feeds stand beside it.
    pub fn policy(&self) -> &Path {
        &self.policy
    }

    /// The folders that are written to.
    pub fn folders(&self) -> Vec<PathBuf> {
        let parent = self.target.parent().map(Path::to_owned);
        parent.into_iter().chain([self.folder.clone()]).collect()
    }

    /// Reads the state; that of no release where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged: then the serial that was reached is unknown.
    pub fn state(&self) -> io::Result<FleetState> {
        match FleetState::read(&self.folder.join(STATE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FleetState::default()),
            read => read,
        }
    }

    /// Writes the state.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_state(&self, state: &FleetState) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(state).map_err(io::Error::other)?;
        atomic::write(&self.folder.join(STATE), &text, 0o644)
    }

    /// Writes the policy file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_policy(&self, text: &[u8]) -> io::Result<()> {
        atomic::write(&self.target, text, 0o644)
    }

    /// Digest of the policy file; `None` if there is none.
    pub fn policy_digest(&self) -> Option<String> {
        let text = regular::read(&self.target, MAX_FILE_SIZE as u64 + 1).ok()?;
        Some(digest(&text))
    }

    /// Keeps the fleet's policy.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_release(&self, policy: &[u8]) -> io::Result<()> {
        atomic::write(&self.folder.join(RELEASE), policy, 0o644)
    }

    /// The fleet's policy that was kept, if it has this digest.
    pub fn release(&self, sha256: &str) -> Option<Vec<u8>> {
        let path = self.folder.join(RELEASE);
        let policy = regular::read(&path, MAX_FILE_SIZE as u64 + 1).ok()?;
        (digest(&policy) == sha256).then_some(policy)
    }

    /// Keeps a policy that did not pass the check, to be looked at; returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_refused(&self, text: &[u8]) -> io::Result<PathBuf> {
        let path = self.folder.join(REFUSED);
        atomic::write(&path, text, 0o644)?;
        Ok(path)
    }
}

const RELEASE: &str = "release.toml";
const REFUSED: &str = "refused.toml";

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_to_a_policy_that_is_not_there_yet_leads_to_its_place() {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        let (etc, spool) = (
            scratch.path().join("etc.toml"),
            scratch.path().join("spool"),
        );
        fs::create_dir(&spool).expect("a folder");
        symlink("spool/policy.toml", &etc).expect("a link");
        let files = Spool::of(&etc).expect("it leads somewhere");
        files.prepare().expect("the folder is ours");
        files.write_policy(b"x").expect("it can be written");
        assert_eq!(
            fs::read(spool.join("policy.toml")).expect("it is there"),
            b"x"
        );
        assert!(fs::read_link(&etc).is_ok(), "the link stays");
        let state = FleetState {
            serial: 41,
            ..FleetState::default()
        };
        files.write_state(&state).expect("it can be written");
        assert_eq!(FleetState::beside(&etc), Some(state));
    }

    #[test]
    fn a_damaged_state_is_an_error_and_no_state_is_none() {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        let files = Spool::of(&scratch.path().join("policy.toml")).expect("it leads somewhere");
        files.prepare().expect("the folder is ours");
        assert_eq!(files.state().expect("there is none").serial, 0);
        fs::write(scratch.path().join("policy.toml.fleet/state.json"), "{").expect("a file");
        let error = files.state().expect_err("it is damaged");
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}
