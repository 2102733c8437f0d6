//! The privileges that a gateway, or a DNS server alone, keeps once it runs: far fewer than it needs to start.
//!
//! ```text
//!                      to start                            to run
//!  capabilities        those it is given                   those of the diversion: CAP_NET_ADMIN, before Linux 5.19 CAP_BPF;
//!                                                          without a diversion none
//!  files, reading      as its user                         folders of the policy and its feeds, /proc/sys/net, /proc/net, programs
//!  files, writing      as its user                         drop log and capture; the control socket may be removed
//!  new privileges      set-user-id programs                never
//! ```
//!
//! The kernel keeps these limits for each thread, and threads inherit them: they are taken on while there is one thread,
//! before the first worker starts. Threads that need less give up the rest by themselves:
//!
//! ```text
//!                                             capabilities             files                 system calls
//!  control, and the threads that work for it  those of the diversion   those above           any
//!  watch of the policy's files                none                     those above           any
//!  workers, writers of records                none                     those above           those of their work
//!  names, answers to clients, the log         none                     those that are open   those of their work
//! ```
//!
//! Limits that keep a gateway from its work would break it at the next reload. So they are tried out first, on a thread
//! of their own: limits under which the work fails are not taken on, and this is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::sys::signal::SigSet;
use tracing::{debug, info, warn};

use super::calls::{self, CallsError};
use super::watch::folders_of;
use crate::files::{place, regular};

/// The resources that a gateway needs while it runs.
#[derive(Clone, Copy)]
pub struct Needs<'a> {
    /// The files that its policy is made of.
    pub files: &'a [PathBuf],
    /// The folders of files that it writes; missing ones are created.
    pub written: &'a [PathBuf],
    /// Its control socket, which exists; `None` if it has none.
    pub control: Option<&'a Path>,
    /// The kernel settings that it writes; they exist.
    pub settings: &'a [PathBuf],
    /// The programs that it runs.
    pub programs: &'a [PathBuf],
    /// The capabilities that it keeps.
    pub capabilities: &'a [Capability],
    /// Tries out the work that needs rights, and returns why it fails; changes nothing.
    pub work: &'a (dyn Fn() -> Result<(), String> + Sync),
}

/// The privileges that the gateway keeps.
#[derive(Debug, Default)]
pub struct Rights {
    /// The folders that files can be read from, by device and inode; `None` where the kernel sets no limit.
    folders: Option<BTreeMap<PathBuf, (u64, u64)>>,
}

/// A privilege that a gateway drops once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// All files but those that it needs.
    Files,
    /// All capabilities but one.
    Capabilities,
}

/// The sets of limits to try, the strictest first.
const ATTEMPTS: [&[Limit]; 3] = [
    &[Limit::Files, Limit::Capabilities],
    &[Limit::Files],
    &[Limit::Capabilities],
];

/// The reason why a limit was not taken on.
#[derive(Debug, thiserror::Error)]
enum LimitError {
    #[error("capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("new privileges: {0}")]
    NewPrivileges(#[from] nix::Error),
    #[error("signals: {0}")]
    Signals(nix::Error),
    #[error(transparent)]
    Calls(#[from] CallsError),
    #[error("{0}")]
    Work(String),
}

impl Rights {
    /// Gives up every privilege outside `needs`, on this thread and those that it starts from now on.
    pub fn limit_to(needs: Needs<'_>) -> Self {
        place::prepare();
        let reach = Reach::of(needs);
        if let Err(error) = on_a_thread(|| calls::keep_to(Role::Log).map_err(LimitError::from)) {
            info!("threads keep the right to any system call: {error}");
        }
        for limits in ATTEMPTS {
            match try_out(limits, &reach, needs) {
                Ok(()) => return Self::limited(limits, reach, needs.capabilities),
                Err(error) => warn!("cannot drop all privileges that are not needed: {error}"),
            }
        }
        Self::default()
    }

    /// Takes on limits that were tried out before.
    fn limited(limits: &[Limit], reach: Reach, kept: &[Capability]) -> Self {
        let files = match take_on(limits, &reach, kept) {
            Ok(files) => files,
            Err(error) => {
                warn!("cannot drop all privileges that are not needed: {error}");
                return Self::default();
            }
        };
        let mut rights = Self::default();
        let mut given_up = Vec::new();
        if limits.contains(&Limit::Capabilities) {
            let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
            given_up.push(match &kept[..] {
                [] => "all capabilities".to_owned(),
                _ => format!("all capabilities but {}", kept.join(" and ")),
            });
        }
        match files {
            Some(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => {
                let names = reach.read.iter().map(|folder| folder.display().to_string());
                let names: Vec<String> = names.collect();
                given_up.push(format!("files outside {}", names.join(", ")));
                let identities = reach.read.into_iter().filter_map(|folder| {
                    let identity = identity(&folder)?;
                    Some((folder, identity))
                });
                rights.folders = Some(identities.collect());
            }
            Some(RulesetStatus::NotEnforced) => {
                info!(
                    "the kernel has no Landlock to restrict files with, or a seccomp profile refuses it: offramp can read all that \
                     its user can"
                );
            }
            None => {}
        }
        info!("dropped privileges: {}", given_up.join(", and "));
        rights
    }

    /// Adds to `why`, the reason why a policy made of `files` was refused, that one of them cannot be read since privileges were
    /// dropped, and what to do about it.
    pub fn explain(&self, why: String, files: &[PathBuf]) -> String {
        match files.iter().find_map(|file| self.obstacle(file)) {
            Some(obstacle) => format!("{}\n{obstacle}", why.trim_end()),
            None => why,
        }
    }

    /// The reason why `file` cannot be read, if the limit on files is one.
    fn obstacle(&self, file: &Path) -> Option<String> {
        let folders = self.folders.as_ref()?;
        let place = file.canonicalize().ok()?;
        // The kernel knows a folder by its inode: another one of its name is another folder.
        let is_kept = |folder: &Path| {
            identity(folder).is_some_and(|identity| folders.values().any(|kept| *kept == identity))
        };
        if place.ancestors().any(is_kept) {
            return None;
        }
        let replaced = place
            .ancestors()
            .find(|folder| folders.contains_key(*folder));
        Some(match replaced {
            Some(folder) => format!(
                "{} was replaced by another folder of its name since the start, and offramp can read only the one that was there: \
                 restart offramp to have {} read; change files in the folder, and leave the folder, to do without a restart",
                folder.display(),
                file.display()
            ),
            None => format!(
                "{} is in none of the folders that can be read since the start; restart offramp to have it read from there",
                file.display()
            ),
        })
    }
}

/// Device and inode of `folder`.
fn identity(folder: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// What a thread does that needs less than the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Judging packets of a queue that is open.
    Judge,
    /// Answering DNS queries.
    Names,
    /// Sending answers to packets that are dropped.
    Answers,
    /// Writing the log.
    Log,
    /// Writing files of records.
    Records,
    /// Watching the policy's files.
    Watch,
}

impl Role {
    /// Gives up all that this does not need, on this thread and those that it starts.
    ///
    /// Signals of the process are left to other threads: their handler makes a call (tokio's writes to a socket) that this one may not
    /// make, and the signal would be lost.
    pub fn begin(self) {
        let signals = SigSet::all().thread_block().map_err(LimitError::Signals);
        let capabilities = give_up_capabilities();
        let files = match self {
            Self::Names | Self::Answers | Self::Log => restrict(&Reach::default()).map(drop),
            Self::Judge | Self::Records | Self::Watch => Ok(()),
        };
        // The last: giving up the others takes calls that are given up then.
        let calls = calls::keep_to(self).map_err(LimitError::from);
        for error in [signals, capabilities, files, calls]
            .into_iter()
            .filter_map(Result::err)
        {
            debug!("a thread could not drop its privileges: {error}");
        }
    }
}

/// Gives up all capabilities on this thread and those that it starts, and all files but the folders `read`, those that it
/// writes to (`written`), and what names and certificates of servers are looked up by.
pub fn limit_to_folders(read: &[PathBuf], written: &[PathBuf]) {
    place::prepare();
    if let Err(error) = give_up_capabilities() {
        warn!("cannot give up capabilities that are not needed: {error}");
    }
    let mut reach = Reach::default();
    reach.read.extend(read.iter().cloned());
    reach.read.extend(LOOKUPS.map(PathBuf::from));
    reach.keep.extend(written.iter().cloned());
    reach.write.insert(PathBuf::from("/dev/null"));
    match restrict(&reach) {
        Ok(RulesetStatus::NotEnforced) => {
            info!("the kernel has no Landlock to restrict files with");
        }
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => {}
        Err(error) => warn!("cannot give up files that are not needed: {error}"),
    }
}

fn give_up_capabilities() -> Result<(), LimitError> {
    nix::sys::prctl::set_no_new_privs()?;
    keep_capabilities(&CapsHashSet::new())
}

/// Checks that a running gateway can work under these limits.
fn try_out(limits: &[Limit], reach: &Reach, needs: Needs<'_>) -> Result<(), LimitError> {
    let readable = |file: &&PathBuf| regular::read(file, 1).is_ok();
    let before: Vec<&PathBuf> = needs.files.iter().filter(readable).collect();
    let alone = || {
        take_on(limits, reach, needs.capabilities)?;
        (needs.work)().map_err(LimitError::Work)?;
        match before.iter().find(|file| !readable(file)) {
            None => Ok(()),
            Some(file) => Err(LimitError::Work(format!(
                "offramp could not read {} again at a reload; make root its owner, or let everybody read it",
                file.display()
            ))),
        }
    };
    on_a_thread(alone)
}

/// Does this on a thread of its own, which alone has the limits that it takes on.
fn on_a_thread(work: impl FnOnce() -> Result<(), LimitError> + Send) -> Result<(), LimitError> {
    thread::scope(|scope| {
        let tried = thread::Builder::new().spawn_scoped(scope, work);
        let tried = tried.map_err(|error| LimitError::Work(error.to_string()))?;
        tried
            .join()
            .unwrap_or_else(|_| Err(LimitError::Work("trying it out panicked".to_owned())))
    })
}

/// Takes the limits on, on this thread; returns the outcome of the file limit.
fn take_on(
    limits: &[Limit],
    reach: &Reach,
    kept: &[Capability],
) -> Result<Option<RulesetStatus>, LimitError> {
    nix::sys::prctl::set_no_new_privs()?;
    let mut files = None;
    for limit in limits {
        match limit {
            Limit::Files => files = Some(restrict(reach)?),
            Limit::Capabilities => {
                keep_capabilities(&kept.iter().copied().collect())?;
            }
        }
    }
    Ok(files)
}

/// Keeps those of `wanted` that the process has, also for programs that it runs, and no others.
fn keep_capabilities(wanted: &CapsHashSet) -> Result<(), LimitError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = permitted.intersection(wanted).copied().collect();
    // A program that is run as root has what is in the bounding set.
    if permitted.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        // A service may hold exactly these, without the privilege to change them.
        if caps::read(None, set)? != kept {
            caps::set(None, set, &kept)?;
        }
    }
    caps::set(None, CapSet::Ambient, &kept)?;
    Ok(())
}

/// The parts of the file system that stay accessible.
#[derive(Debug, Default)]
struct Reach {
    /// Folders to read.
    read: BTreeSet<PathBuf>,
    /// Folders to read, and to run programs from.
    run: BTreeSet<PathBuf>,
    /// Files to read and write, or folders of such files.
    write: BTreeSet<PathBuf>,
    /// Folders in which to write and replace files.
    keep: BTreeSet<PathBuf>,
    /// Folders to remove entries from.
    remove: BTreeSet<PathBuf>,
}

impl Reach {
    /// Folders and not files, wherever a file may be replaced by another one of its name, as packages and operators do it.
    fn of(needs: Needs<'_>) -> Self {
        let mut reach = Self::default();
        let files = needs.files.iter();
        reach.read.extend(files.flat_map(|file| folders_of(file)));
        reach.read.extend(KEPT_FOLDERS.map(PathBuf::from));
        // A missing path needs no access, and a path created later cannot be named here.
        reach.read.retain(|folder| folder.is_dir());
        for program in needs.programs {
            let real = program.canonicalize().ok();
            let folders = [real.as_deref().and_then(Path::parent), program.parent()];
            let folders = folders.into_iter().flatten();
            reach.run.extend(folders.map(Path::to_owned));
        }
        if !needs.programs.is_empty() {
            reach.run.extend(LIBRARIES.map(PathBuf::from));
        }
        let settings = needs.settings.iter().filter_map(|it| it.parent());
        reach.write.extend(settings.map(Path::to_owned));
        reach.write.insert(PathBuf::from("/dev/null"));
        for folder in needs.written {
            // If the folder cannot be created, writing fails later with an error.
            if place::make_folder(folder).is_ok() {
                reach.keep.insert(folder.clone());
            }
        }
        reach.keep.insert(PathBuf::from(KEPT_LOGS));
        reach
            .remove
            .extend(needs.control.and_then(Path::parent).map(Path::to_owned));
        reach
    }

    /// Returns all paths, with the access allowed to each.
    fn rules(&self) -> impl Iterator<Item = (&Path, BitFlags<AccessFs>)> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let run = read | AccessFs::Execute;
        // Opening a setting for writing truncates it first.
        let write = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        let remove = AccessFs::RemoveFile.into();
        let keep = write | AccessFs::ReadDir | AccessFs::MakeReg | AccessFs::RemoveFile;
        let places = [
            (&self.read, read),
            (&self.run, run),
            (&self.write, write),
            (&self.keep, keep),
            (&self.remove, remove),
        ];
        places
            .into_iter()
            .flat_map(|(paths, access)| paths.iter().map(move |path| (path.as_path(), access)))
    }
}

/// Restricts this thread to these parts of the file system, as far as the kernel supports it.
fn restrict(reach: &Reach) -> Result<RulesetStatus, LimitError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN_ABI))?
        .scope(Scope::Signal)?
        .create()?;
    for (path, access) in reach.rules() {
        // Some of them are missing on some systems.
        let Ok(place) = PathFd::new(path) else {
            continue;
        };
        rules = rules.add_rule(PathBeneath::new(place, access))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// The file access rights that this code was written for; older kernels know fewer of them.
const KNOWN_ABI: ABI = ABI::V5;
/// Folders that are read from, whatever the first policy names: kernel settings, counters and names of tables of the network,
/// and where feeds of a later policy may be.
const KEPT_FOLDERS: [&str; 4] = [
    "/proc/sys/net",
    "/proc/net",
    "/etc/offramp",
    "/var/lib/offramp",
];
/// The folder where a later policy may have its drop log.
const KEPT_LOGS: &str = "/var/log/offramp";
/// The folders that names and certificates of servers are looked up in; a resolver's file may be replaced by another.
const LOOKUPS: [&str; 8] = [
    "/etc",
    "/run/systemd/resolve",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];
/// The folders that hold programs' loader and libraries.
const LIBRARIES: [&str; 7] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
];
