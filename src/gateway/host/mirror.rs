//! Mirrors of feeds: files that an administrator has carried to a site without Internet, and their signatures.
//!
//! ```text
//!  minisign -S -m zoom.txt              on a machine with Internet: zoom.txt.minisig
//!  url = "file:///srv/feeds/zoom.txt"   or an internal https or http address
//!  public_key = "RW..."                 the second line of minisign.pub
//! ```

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minisign_verify::{PublicKey, Signature};

/// The path of a `file://` address; none for an address on the web.
pub(super) fn file(url: &str) -> Option<&Path> {
    url.strip_prefix("file://").map(Path::new)
}

/// The address of the signature of the file at `url`: `.minisig` stands behind the path, ahead of a query.
pub(super) fn signature_of(url: &str) -> String {
    match url.split_once('?').filter(|_| file(url).is_none()) {
        Some((path, query)) => format!("{path}.minisig?{query}"),
        None => format!("{url}.minisig"),
    }
}

/// Checks the `signature` of `bytes`, and returns the time that it was made at where it says so.
///
/// # Errors
/// The reason, for people.
pub(super) fn verify(
    key: &str,
    bytes: &[u8],
    signature: &[u8],
) -> Result<Option<SystemTime>, String> {
    let key = PublicKey::from_base64(key)
        .map_err(|error| format!("`public_key` cannot be used: {error}"))?;
    let text = std::str::from_utf8(signature).map_err(|_| NOT_A_SIGNATURE.to_owned())?;
    let signature = Signature::decode(text).map_err(|_| NOT_A_SIGNATURE.to_owned())?;
    // Signatures of the whole file, without a hash ahead, are those of minisign before 0.6.
    key.verify(bytes, &signature, true).map_err(|error| {
        format!("its signature is not of this file by `public_key` ({error}): sign it again, or look who has changed it")
    })?;
    Ok(signed_at(signature.trusted_comment()))
}

/// The time in a trusted comment, as minisign writes it: `timestamp:1633700835\tfile:...`.
fn signed_at(comment: &str) -> Option<SystemTime> {
    let mut fields = comment.split_ascii_whitespace();
    let seconds = fields.find_map(|field| field.strip_prefix("timestamp:"))?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))
}

const NOT_A_SIGNATURE: &str = "its .minisig is not a signature of minisign";
