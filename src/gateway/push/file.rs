//! Files that VPN servers and clients read: replaced as a whole, and never one that somebody else wrote.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::files::{atomic, regular};
use crate::policy::{Policy, PushKind, PushTarget};
use crate::render::routes::{MARK, wireguard};

/// The folders that pushes of `policy` write to.
pub fn folders(policy: &Policy) -> Vec<PathBuf> {
    let targets = policy.routes.push.iter().map(|it| &it.value);
    let files = targets.filter(|it| it.kind != PushKind::Openvpn).map(path);
    // A missing folder is an error of its push; it is not made here, as its name may be a mistake.
    let folders = files.filter_map(|it| it.parent().map(Path::to_owned));
    folders.filter(|it| it.is_dir()).collect()
}

/// The file of a target.
pub(super) fn path(target: &PushTarget) -> PathBuf {
    let path = Path::new(&target.path);
    match target.kind {
        PushKind::Wireguard => path.join(wireguard::TARGET.file),
        PushKind::Openvpn | PushKind::OpenvpnCcd | PushKind::Ocserv => path.to_owned(),
    }
}

/// Returns `true` if the file at `path` has this text.
///
/// # Errors
/// It cannot be read, or offramp did not write it.
pub(super) fn holds(path: &Path, text: &str) -> Result<bool, String> {
    let bytes = match regular::read(path, MAX_READ) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(explained(path, &error)),
    };
    if bytes == text.as_bytes() {
        return Ok(true);
    }
    let head = String::from_utf8_lossy(&bytes);
    let first = head.lines().next().unwrap_or_default();
    if !head.trim().is_empty() && !first.contains(MARK) {
        return Err(format!(
            "{} has contents that offramp did not write, and is left alone: name another file in routes.push, or empty this one",
            path.display()
        ));
    }
    Ok(false)
}

/// Replaces the file at `path`, which everybody may read: servers do so without the rights of root.
///
/// # Errors
/// It cannot be written, or has got contents that offramp did not write.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), String> {
    if holds(path, text)? {
        return Ok(());
    }
    atomic::write(path, text.as_bytes(), 0o644).map_err(|error| explained(path, &error))
}

fn explained(path: &Path, error: &std::io::Error) -> String {
    let place = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => format!(
            "{place}: {error}; offramp keeps the right to write to the folders that routes.push named at its start: restart \
             it, and let the service write there (docs/service.md)"
        ),
        ErrorKind::NotFound => format!("{place}: {error}; make its folder, and restart offramp"),
        _ => format!("{place}: {error}"),
    }
}

/// Bytes that are read: more than any file of routes has.
const MAX_READ: u64 = 16 << 20;
