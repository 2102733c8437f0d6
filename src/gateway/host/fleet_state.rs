//! [`FleetState`]: the release that a policy file consists of, as the agent of a fleet has written it beside the file.
//!
//! ```text
//!  /var/lib/offramp-fleet/policy.toml               the policy; the path that `run` has may be a symbolic link to it
//!  /var/lib/offramp-fleet/policy.toml.fleet/state.json
//! ```
//!
//! It has the digest of the policy file, so that a file which somebody has changed is not taken for the release.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ring::digest::SHA256;
use serde::{Deserialize, Serialize};

use crate::files::regular;

/// The release that a policy file consists of, and the last contact with the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FleetState {
    /// Its serial; 0 if there was none yet.
    pub serial: u64,
    /// Digest of the fleet's policy.
    pub sha256: String,
    /// The channel that it came by.
    pub channel: String,
    /// Digest of the policy file: it has the release as long as it has this.
    pub file_sha256: String,
    /// Digest of the site file that it was completed by.
    pub site_sha256: String,
    /// The time when it was written (RFC 3339).
    pub since: String,
    /// The time from which it counts as old (RFC 3339).
    #[serde(default)]
    pub expires: Option<String>,
    /// Seconds since 1970 when the store answered last.
    #[serde(default)]
    pub contact: Option<u64>,
}

impl FleetState {
    /// Reads the one beside the policy at `policy`; `None` if there is none that can be read.
    pub fn beside(policy: &Path) -> Option<Self> {
        let target = target_of(&std::path::absolute(policy).ok()?).ok()?;
        Self::read(&folder_of(&target).join(STATE)).ok()
    }

    /// Reads the one at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = regular::read(path, MAX_STATE)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let why = format!(
                "{} is damaged ({error}): remove it, and any release that is signed is taken",
                path.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, why)
        })
    }
}

/// The folder of the agent for the policy file `target`.
pub fn folder_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".fleet");
    PathBuf::from(name)
}

/// Follows symbolic links, also one that leads to a file that is not there yet.
///
/// # Errors
/// They form a circle.
pub fn target_of(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(link) = fs::read_link(&path) else {
            return Ok(path);
        };
        // An absolute one replaces the path.
        path = match path.parent() {
            Some(folder) => folder.join(link),
            None => link,
        };
    }
    Err(io::Error::other("it is a circle of symbolic links"))
}

/// Returns SHA-256 in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in ring::digest::digest(&SHA256, bytes).as_ref() {
        // Writing to a String cannot fail.
        _ = write!(text, "{byte:02x}");
    }
    text
}

/// The file of the state, in the folder of the agent.
pub const STATE: &str = "state.json";
/// A state has some hundred bytes.
const MAX_STATE: u64 = 64 << 10;
/// Symbolic links on one path, as the kernel follows them.
const MAX_LINKS: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(b"abc"), known, "FIPS 180-2, appendix B.1");
    }
}
