//! The check of a release on this gateway, and the files and parts that it takes.

use std::fs;
use std::path::Path;

use crate::files::regular;
use crate::filter::{CompiledPolicy, Generation};
use crate::gateway::fleet::layout;
use crate::gateway::fleet::release::Packed;
use crate::gateway::fleet::store::{Store, StoreError};
use crate::gateway::host::fleet_state::digest;
use crate::gateway::host::source::{check_tests, load_feeds};
use crate::policy::site::Site;
use crate::policy::{self, Code, MAX_FILE_SIZE, Style};

/// Checks the policy `text`, which is to stand at `path`, as `offramp check` does, with its feeds and its tests; returns warnings
/// about feeds that are not there yet.
///
/// # Errors
/// The reason for which it is refused.
pub fn check(path: &Path, text: &str) -> Result<Vec<String>, String> {
    let plain = |errors: policy::Diagnostics| errors.render(Style::Plain).trim_end().to_owned();
    let parsed = policy::parse(&path.display().to_string(), text.as_bytes());
    let read = parsed.and_then(|(policy, warnings)| load_feeds(path, policy, warnings));
    let (policy, warnings) = read.map_err(plain)?;
    let compiled = CompiledPolicy::new(policy, Generation(1)).map_err(|error| error.to_string())?;
    check_tests(&compiled).map_err(|error| error.to_string())?;
    // The gateway keeps the policy before until they are there.
    let missing = warnings
        .iter()
        .filter(|it| it.code() == Code::FeedNotLoaded);
    Ok(missing.map(|it| it.message().to_owned()).collect())
}

/// Reads all parts of the release `serial`; an inner error names the one that is missing.
///
/// # Errors
/// The store does not answer.
pub fn read_packed(
    store: &mut dyn Store,
    serial: u64,
) -> Result<Result<Packed, String>, StoreError> {
    let mut part = |name: &str, most: usize| {
        let key = layout::release(serial, name);
        let entry = store.read(&key, most)?;
        Ok::<_, StoreError>(entry.map(|it| it.bytes).ok_or(key))
    };
    // The signature first: it is the last that a publisher writes.
    let signature = part(layout::SIGNATURE, MAX_MANIFEST)?;
    let manifest = part(layout::MANIFEST, MAX_MANIFEST)?;
    let policy = match (&signature, &manifest) {
        (Ok(_), Ok(_)) => part(layout::POLICY, MAX_FILE_SIZE)?,
        _ => Err(String::new()),
    };
    Ok(match (policy, manifest, signature) {
        (Ok(policy), Ok(manifest), Ok(signature)) => Ok(Packed {
            policy,
            manifest,
            signature,
        }),
        (_, _, Err(key)) | (_, Err(key), _) | (Err(key), _, _) => {
            Err(format!("{} has no {key}", store.name()))
        }
    })
}

/// Reads a site file, and its digest.
pub(super) fn read_site(path: &Path) -> Result<(Site, String), String> {
    let text = regular::read(path, MAX_FILE_SIZE as u64 + 1);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    let site = Site::parse(&path.display().to_string(), &text);
    let site = site.map_err(|errors| errors.render(Style::Plain).trim_end().to_owned())?;
    Ok((site, digest(&text)))
}

/// The name of this host, if it can be that of a gateway.
pub(super) fn host_name() -> Result<String, String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    match policy::site::is_word(name) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "the name of this host, `{name}`, cannot be that of a gateway: write fleet.gateway"
        )),
    }
}

/// Bytes of a manifest or a signature.
const MAX_MANIFEST: usize = 64 << 10;
