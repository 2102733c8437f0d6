//! Places of files that are written: those that somebody else could redirect are refused.
//!
//! The program writes as root, or as a user who may change the network. Whoever may write to a folder on the way to a file could
//! put a symbolic link there, and so choose another file to be overwritten. So a file is written only where nobody else can:
//!
//! ```text
//!  /var/log/offramp/drops.jsonl
//!  │   │   │       └─ no symbolic link; not another user's file
//!  └───┴───┴── folders, and links to folders, of root or of this user, to which nobody else may write; or with the sticky bit, as
//!              /tmp has it: there the file itself has to be this user's or root's, under a single name
//! ```
//!
//! Once that holds, nobody else can change it between the check and the write. Reading follows links, as everywhere.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use nix::libc;
use nix::unistd::{getegid, geteuid};

/// Users who may have put something in the way of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// None but this user and root.
    Alone,
    /// Others may add files, but may not rename or remove those of this user (sticky bit).
    Sticky,
}

/// Users and groups who stand for whoever runs the program.
#[derive(Debug)]
struct Trusted {
    users: Vec<u32>,
    groups: Vec<u32>,
}

impl Trusted {
    /// Returns them; they are read once, since a running gateway can no longer read of its user namespace.
    fn get() -> &'static Self {
        static TRUSTED: OnceLock<Trusted> = OnceLock::new();
        TRUSTED.get_or_init(Self::find)
    }

    fn find() -> Self {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        let mut trusted = Self {
            users: vec![ROOT, user],
            groups: vec![ROOT],
        };
        // A group of the same number is the user's own (user private groups); others have members.
        if group == user {
            trusted.groups.push(group);
        }
        // Root by sudo acts for this user, and often in a folder of theirs.
        let of_sudo = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        if user == ROOT
            && let Some(user) = of_sudo("SUDO_UID")
        {
            trusted.users.push(user);
            trusted
                .groups
                .extend(of_sudo("SUDO_GID").filter(|group| *group == user));
        }
        // In a user namespace the host's root has no number of its own.
        let is_everybody_mapped = fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
        if !is_everybody_mapped {
            trusted.users.push(UNMAPPED);
        }
        trusted
    }
}

/// Takes note of the users who are trusted, as long as it can be read.
pub fn prepare() {
    Trusted::get();
}

/// Checks that a file at `path` could be written, and that nobody else could redirect it; changes nothing.
///
/// # Errors
/// The reason, and the remedy.
pub fn check(path: &Path) -> io::Result<()> {
    let sharing = check_folder(folder_of(path))?;
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => Err(is_link(path)),
        Ok(metadata) if sharing == Sharing::Sticky => check_file(&metadata, sharing),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Checks that nobody else could redirect what is written in `folder`, as far as its path exists.
///
/// # Errors
/// The reason, and the remedy.
pub fn check_for_entries(folder: &Path) -> io::Result<()> {
    check_folder(folder).map(|_| ())
}

/// Takes the right to write to `folder` from everybody else, if it is this user's own and empty; returns `true` if it did.
///
/// Kubernetes makes an emptyDir with mode 0777, and has no key for another one.
///
/// # Errors
/// Its mode cannot be read or changed, or somebody else could redirect what leads to it.
pub fn claim(folder: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(folder)?;
    let (mode, others) = (metadata.mode() & 0o7777, libc::S_IWGRP | libc::S_IWOTH);
    let is_open = metadata.is_dir() && mode & others != 0 && mode & libc::S_ISVTX == 0;
    let is_own = metadata.uid() == geteuid().as_raw();
    if !is_open || !is_own || fs::read_dir(folder)?.next().is_some() {
        return Ok(false);
    }
    check_folder(folder_of(folder))?;
    fs::set_permissions(folder, Permissions::from_mode(mode & !others))?;
    Ok(true)
}

/// Creates `folder`, and those above it, where they are missing.
///
/// # Errors
/// They cannot be created, or somebody else could redirect what is written there.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    check_folder(folder)?;
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

/// Opens the file at `path` to append to it; creates it with `mode`.
///
/// # Errors
/// It cannot be opened, is no regular file, or somebody else could redirect it.
pub fn append(path: &Path, mode: u32) -> io::Result<File> {
    let file = open(
        path,
        OpenOptions::new().append(true).create(true).mode(mode),
    )?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// Opens the file at `path`, which exists, to change its attributes.
///
/// # Errors
/// As for [`append`].
pub fn open_existing(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().append(true))
}

/// Opens the file at `path` to write it from its beginning; creates it with `mode`. What is in `/dev`, such as
/// `/dev/stdout`, and FIFOs are written to as they are.
///
/// # Errors
/// It cannot be opened, or somebody else could redirect it.
pub fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(mode);
    // Links in there are the system's.
    if path.starts_with("/dev") || path.starts_with("/proc/self/fd") {
        return options.truncate(true).open(path);
    }
    // A FIFO is opened when somebody reads it.
    let is_fifo = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_fifo());
    let file = match is_fifo {
        true => open_as(path, &mut options, libc::O_NOFOLLOW)?,
        false => open(path, &mut options)?,
    };
    // Not before its owner is known.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Opening a FIFO would block.
    open_as(path, options, libc::O_NOFOLLOW | libc::O_NONBLOCK)
}

fn open_as(path: &Path, options: &mut OpenOptions, flags: i32) -> io::Result<File> {
    let sharing = check_folder(folder_of(path))?;
    // The kernel may refuse such a file, too (fs.protected_regular), and does not say why.
    if sharing == Sharing::Sticky
        && let Ok(metadata) = fs::symlink_metadata(path)
        && !metadata.is_symlink()
    {
        check_file(&metadata, sharing)?;
    }
    let file = match options.custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(is_link(path)),
        Err(error) => return Err(error),
    };
    check_file(&file.metadata()?, sharing)?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("/"))
}

fn is_link(path: &Path) -> io::Error {
    let target = fs::read_link(path).unwrap_or_default();
    io::Error::other(format!(
        "it is a symbolic link to {}, which is not followed when a file is written: name that file itself, or remove the link",
        target.display()
    ))
}

/// Checks a file that is there already, in a folder that is shared so.
fn check_file(file: &Metadata, sharing: Sharing) -> io::Result<()> {
    if !Trusted::get().users.contains(&file.uid()) {
        return Err(io::Error::other(format!(
            "the file there belongs to user {}: remove it, or name another one",
            file.uid()
        )));
    }
    if sharing == Sharing::Sticky && file.is_file() && file.nlink() > 1 {
        return Err(io::Error::other(
            "the file there has several names (hard links), in a folder that others may write to: remove it, or name another one",
        ));
    }
    Ok(())
}

/// Checks every folder on the way to `folder`, and itself, as far as they exist.
fn check_folder(folder: &Path) -> io::Result<Sharing> {
    let absolute = if folder.as_os_str().is_empty() {
        std::env::current_dir()?
    } else {
        std::path::absolute(folder)?
    };
    let mut rest = parts(&absolute);
    let mut at = PathBuf::from("/");
    let mut sharing = check_one(&at, &fs::symlink_metadata(&at)?)?;
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part.as_os_str() == ".." {
            at.pop();
            sharing = check_one(&at, &fs::symlink_metadata(&at)?)?;
            continue;
        }
        let entry = at.join(&part);
        let metadata = match fs::symlink_metadata(&entry) {
            Ok(metadata) => metadata,
            // What is missing is made by this program, or the caller says that it is missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sharing::Alone),
            Err(error) => return Err(error),
        };
        if !metadata.is_symlink() {
            sharing = check_one(&entry, &metadata)?;
            at = entry;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        check_owner(&entry, &metadata)?;
        let target = fs::read_link(&entry)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        rest.extend(parts(&target));
    }
    Ok(sharing)
}

/// Checks one folder.
fn check_one(folder: &Path, metadata: &Metadata) -> io::Result<Sharing> {
    let place = folder.display();
    check_owner(folder, metadata)?;
    let by_group =
        metadata.mode() & libc::S_IWGRP != 0 && !Trusted::get().groups.contains(&metadata.gid());
    let by_all = metadata.mode() & libc::S_IWOTH != 0;
    if !by_group && !by_all {
        return Ok(Sharing::Alone);
    }
    if metadata.mode() & libc::S_ISVTX != 0 {
        return Ok(Sharing::Sticky);
    }
    let (who, letter) = match by_all {
        true => ("everybody".to_owned(), 'o'),
        false => (format!("group {}", metadata.gid()), 'g'),
    };
    Err(io::Error::other(format!(
        "{who} may write to {place}, and could have another file written: run `chmod {letter}-w {place}`, or name another folder"
    )))
}

fn check_owner(place: &Path, metadata: &Metadata) -> io::Result<()> {
    if Trusted::get().users.contains(&metadata.uid()) {
        return Ok(());
    }
    let place = place.display();
    Err(io::Error::other(format!(
        "{place} belongs to user {}, who could have another file written: run `chown -h {} {place}`, or name another folder",
        metadata.uid(),
        geteuid()
    )))
}

/// Returns the names in `path`, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let names = path
        .components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(PathBuf::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        });
    names.collect()
}

const ROOT: u32 = 0;
/// The number by which the kernel shows users who have none in this user namespace (user_namespaces(7), `overflowuid`).
const UNMAPPED: u32 = 65_534;
/// Symbolic links on one path, as the kernel follows them (path_resolution(7)).
const MAX_LINKS: u32 = 40;

#[cfg(test)]
mod tests;
