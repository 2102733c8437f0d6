//! [`Entries`]: the interfaces that the entry program is attached to.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use nix::sys::statfs::statfs;
use nix::unistd::{AccessFlags, access};
use tracing::{debug, info, warn};

use super::EbpfPlan;
use super::attach::detach_leftover;
use super::programs::{Headers, Programs};
use super::version::has_links;
use crate::gateway::divert::bridge_port;
use crate::gateway::divert::netlink::{Link, LinkKind};
use crate::policy::FailMode;
use crate::verify::Finding;

/// The interfaces with an entry program, by index.
#[derive(Debug, Default)]
pub(super) struct Entries {
    entries: BTreeMap<u32, Entry>,
    /// Interfaces that the program could not be attached to, and why.
    failed: BTreeMap<String, String>,
}

/// The entry program at an interface.
#[derive(Debug)]
struct Entry {
    name: String,
    held: Held,
}

/// The holder of an attachment.
#[derive(Debug)]
enum Held {
    /// This process.
    Process(SchedClassifierLink),
    /// A file: also when the process is killed.
    File(PinnedLink),
    /// The kernel, on those without links: a filter stays until it is removed.
    Kernel(ManuallyDrop<SchedClassifierLink>),
}

impl Held {
    /// Takes the link out, which then ends with this process; the file is removed.
    fn release(self) -> Option<SchedClassifierLink> {
        match self {
            Self::Process(link) => Some(link),
            Self::File(pinned) => {
                let link = pinned
                    .unpin()
                    .inspect_err(|error| debug!("a pinned link: {error}"));
                SchedClassifierLink::try_from(link.ok()?).ok()
            }
            Self::Kernel(link) => Some(ManuallyDrop::into_inner(link)),
        }
    }
}

impl Entries {
    /// The names and indexes of the interfaces.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = (u32, &str)> {
        self.entries
            .iter()
            .map(|(index, entry)| (*index, entry.name.as_str()))
    }

    /// The interfaces without a program that should have one, and the reason.
    pub(super) fn failed(&self) -> impl Iterator<Item = (&str, &str)> {
        let failed = self.failed.iter();
        failed.map(|(name, why)| (name.as_str(), why.as_str()))
    }

    /// Attaches the program to those of `links` that the plan names and that lack it, which it returns, and forgets those that
    /// are gone.
    pub(super) fn follow<'l>(
        &mut self,
        plan: &EbpfPlan,
        programs: &mut Programs,
        links: &'l [Link],
    ) -> Vec<&'l Link> {
        let stays = |index: &u32, entry: &mut Entry| {
            links.iter().any(|link| {
                link.index == *index && link.name == entry.name && plan.is_of_clients(&link.name)
            })
        };
        let gone = self
            .entries
            .extract_if(.., |index, entry| !stays(index, entry));
        for (index, entry) in gone {
            programs.forget(index);
            drop(entry.held.release());
        }
        let mut before = std::mem::take(&mut self.failed);
        let mut attached = Vec::new();
        for link in links {
            if plan.is_of_clients(&link.name) && !self.entries.contains_key(&link.index) {
                let known = before.remove(&link.name);
                self.attach(plan, programs, link, known.as_deref());
                attached.extend(self.entries.contains_key(&link.index).then_some(link));
            }
        }
        attached
    }

    /// Attaches the program to `link`; `known` is the reason why that failed before.
    fn attach(
        &mut self,
        plan: &EbpfPlan,
        programs: &mut Programs,
        link: &Link,
        known: Option<&str>,
    ) {
        let Some(headers) = headers_of(link) else {
            // Reported at the start, or at the reload that named it.
            return;
        };
        let file = pin_of(&link.name, link.index);
        let before = PinnedLink::from_pin(&file).ok().map(Held::File);
        let before = before.and_then(Held::release);
        let attached = programs.attach_entry(&link.name, link.index, headers, before);
        let held = match (attached, plan.on_failure) {
            (Ok(link), FailMode::Open) => Ok(Some(Held::Process(link))),
            (Ok(link), FailMode::Closed) => Ok(pin(link, &file)),
            (Err(error), _) => Err(error),
        };
        let held = match held {
            // What could not be kept by a file is attached once more.
            Ok(None) => {
                let attached = programs.attach_entry(&link.name, link.index, headers, None);
                attached.map(Held::Process)
            }
            Ok(Some(held)) => Ok(held),
            Err(error) => Err(error),
        };
        match held {
            Ok(held) => {
                info!("packets that enter from {} are judged", link.name);
                let name = link.name.clone();
                self.entries.insert(link.index, Entry { name, held });
            }
            // It may be gone again.
            Err(error) => {
                let why = error.to_string();
                if known != Some(&why) {
                    warn!("packets from {} are not judged: {why}", link.name);
                }
                self.failed.insert(link.name.clone(), why);
            }
        }
    }

    /// Forgets the interface `index`, so that the program is attached to it anew; returns its name.
    pub(super) fn forget(&mut self, index: u32) -> Option<String> {
        let entry = self.entries.remove(&index)?;
        drop(entry.held.release());
        Some(entry.name)
    }

    /// Detaches all.
    pub(super) fn release(&mut self) {
        for (_, entry) in std::mem::take(&mut self.entries) {
            drop(entry.held.release());
        }
    }
}

/// Removes the programs that a killed process has left at any of `interfaces`.
pub(super) fn remove_leftovers(interfaces: &[String]) {
    for file in pinned() {
        match fs::remove_file(&file) {
            Ok(()) => info!("removed {}", file.display()),
            Err(error) => warn!("cannot remove {}: {error}", file.display()),
        }
    }
    for interface in interfaces {
        detach_leftover(interface);
    }
}

/// The files that keep programs attached in this network namespace.
fn pinned() -> Vec<PathBuf> {
    let end = format!(":{}", namespace());
    let files = fs::read_dir(FOLDER).into_iter().flatten();
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    let is_ours = |file: &PathBuf| file.to_str().is_some_and(|path| path.ends_with(&end));
    files.filter(is_ours).collect()
}

/// Keeps the program of `link` attached by `file`, also when this process is killed; `None`, with the program detached, if
/// it cannot be kept so. A kernel without links keeps programs anyway.
fn pin(link: SchedClassifierLink, file: &Path) -> Option<Held> {
    if !has_links() {
        return Some(Held::Kernel(ManuallyDrop::new(link)));
    }
    let link = FdLink::try_from(link).ok()?;
    if let Some(folder) = file.parent() {
        // What follows tells if it is there.
        _ = fs::create_dir(folder);
    }
    match link.pin(file) {
        Ok(pinned) => Some(Held::File(pinned)),
        Err(error) => {
            warn!(
                "gateway.on_failure = \"closed\" does not hold if the process is killed: {}: {error}; mount the BPF file \
                 system there (mount -t bpf bpf /sys/fs/bpf)",
                file.display()
            );
            None
        }
    }
}

/// Checks that programs can be kept attached when the process is killed: by files, on kernels with links.
///
/// # Errors
/// The reason why they cannot.
pub(super) fn check_files() -> io::Result<()> {
    if !has_links() {
        return Ok(());
    }
    match fs::create_dir(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Magic numbers have 32 bits; the type's width depends on the C library.
    if statfs(FOLDER)?.filesystem_type().0 as u32 != BPF_FILE_SYSTEM {
        return Err(io::Error::other("it is no BPF file system"));
    }
    Ok(access(FOLDER, AccessFlags::W_OK | AccessFlags::X_OK)?)
}

/// `BPF_FS_MAGIC` (linux/magic.h).
const BPF_FILE_SYSTEM: u32 = 0xcafe_4a11;

/// The file for an interface of this network namespace: gateways of several may have the folder in common, and their interfaces the same
/// names and indexes.
fn pin_of(interface: &str, index: u32) -> PathBuf {
    Path::new(FOLDER).join(format!("{interface}:{index}:{}", namespace()))
}

/// The number of the process's network namespace; 0 if it is not known.
fn namespace() -> u64 {
    fs::metadata("/proc/self/ns/net").map_or(0, |it| it.ino())
}

/// The folder of files that keep programs attached, in the BPF file system.
pub(super) const FOLDER: &str = "/sys/fs/bpf/offramp";

/// The headers of packets that enter at `link`; `None` if the programs do not know them.
fn headers_of(link: &Link) -> Option<Headers> {
    match link.kind {
        LinkKind::Ethernet(address) if !link.is_bridge_port => Some(Headers::Ethernet(address)),
        LinkKind::Ip => Some(Headers::Ip),
        LinkKind::Ethernet(_) | LinkKind::Other(_) => None,
    }
}

/// The finding for an interface that the programs cannot be attached to.
pub(super) fn unusable(link: &Link) -> Option<Finding> {
    let name = &link.name;
    match &link.kind {
        LinkKind::Ethernet(_) if link.is_bridge_port => Some(bridge_port(name)),
        LinkKind::Other(kind) => Some(Finding::host_error(
            format!(
                "{name} is an interface of kind {kind}, whose packets the programs do not read"
            ),
            "[gateway] diversion = \"nftables\" takes every interface that IP packets enter from",
        )),
        _ => None,
    }
}
