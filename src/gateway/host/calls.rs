//! Filters of system calls (seccomp): the calls that a thread can still make once it has its [`Role`].
//!
//! A thread that a malformed packet or message takes over can do what its work needs, and no more: none can run a program, make
//! memory executable, or open a socket that the network is changed by. The lists have what strace saw these threads call in the
//! tests of the gateway, other names for the same in other C libraries, and what a panic needs to tell of itself.
//!
//! A call outside the list fails with EPERM, and the kernel's log says which (`type=1326`). Where assertions are compiled in, as
//! in tests, it ends the process: a gap in a list does not go unseen.

use std::collections::BTreeMap;
use std::io;

use nix::libc::{self, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::rights::Role;
use crate::gateway::sys;

/// The reason why a thread can still make any system call.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallsError {
    #[error("this filter of system calls cannot be made: {0}")]
    Filter(#[from] BackendError),
    #[error("the kernel takes no filter of system calls: {0}")]
    Kernel(#[from] io::Error),
}

/// Keeps this thread, and those that it starts from now on, to the system calls of `role`.
///
/// # Errors
/// The kernel takes no filter, or there is none for this processor.
pub(super) fn keep_to(role: Role) -> Result<(), CallsError> {
    let refusal = if cfg!(debug_assertions) {
        SeccompAction::KillProcess
    } else {
        FAIL
    };
    keep_to_or(role, refusal)
}

/// Does so; other calls are refused like this.
fn keep_to_or(role: Role, refusal: SeccompAction) -> Result<(), CallsError> {
    let Some(lists) = lists(role) else {
        return Ok(());
    };
    let mut rules = BTreeMap::<c_long, Vec<SeccompRule>>::new();
    for calls in lists {
        for (call, condition) in *calls {
            let conditions = rules.entry(*call).or_default();
            if let Some(condition) = condition {
                conditions.push(SeccompRule::new(vec![condition.clone().try_into()?])?);
            }
        }
    }
    // What may be called anyway has no conditions to meet.
    let anyway = lists.iter().flat_map(|calls| calls.iter());
    for (call, _) in anyway.filter(|(_, condition)| condition.is_none()) {
        rules.insert(*call, Vec::new());
    }
    let processor = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, refusal, SeccompAction::Allow, processor)?;
    sys::filter_calls(&BpfProgram::try_from(filter)?)?;
    Ok(())
}

/// Refuses a call with an error that the thread gets.
const FAIL: SeccompAction = SeccompAction::Errno(libc::EPERM.cast_unsigned());

/// A system call, and the condition under which it may be made, if any.
type Call = (c_long, Option<Condition>);

/// The bits of an argument that are looked at, and their value.
#[derive(Debug, Clone)]
struct Condition {
    argument: u8,
    bits: u64,
    value: u64,
}

impl TryFrom<Condition> for SeccompCondition {
    type Error = BackendError;

    fn try_from(it: Condition) -> Result<Self, BackendError> {
        let bits = SeccompCmpOp::MaskedEq(it.bits);
        Self::new(it.argument, SeccompCmpArgLen::Dword, bits, it.value)
    }
}

/// Only where these bits of this argument are zero.
const fn without(argument: u8, bits: i32) -> Option<Condition> {
    let bits = bits.cast_unsigned() as u64;
    Some(Condition {
        argument,
        bits,
        value: 0,
    })
}

/// Only where this argument has this value.
const fn with(argument: u8, value: i32) -> Option<Condition> {
    Some(Condition {
        argument,
        bits: u32::MAX as u64,
        value: value.cast_unsigned() as u64,
    })
}

/// The calls of this role; `None` for all.
const fn lists(role: Role) -> Option<&'static [&'static [Call]]> {
    Some(match role {
        Role::Judge => &[RUNTIME, WAIT, BATCH, OLD],
        Role::Names => &[RUNTIME, WAIT, TALK, OPEN_SOCKETS, OLD],
        Role::Answers => &[RUNTIME, WAIT, TALK, OLD],
        Role::Log => &[RUNTIME, WAIT, OLD],
        Role::Records => &[RUNTIME, WAIT, FILES, OLD, OLD_FILES],
        // Its library starts a thread, which asks the system for what it likes.
        Role::Watch => return None,
    })
}

/// Any kind of file access that changes one.
const TO_WRITE: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;

/// The request that sets whether a socket waits.
const FIONBIO: i32 = libc::FIONBIO as i32;

/// The number that a tracer puts in place of a call for which it makes up an error (strace's `inject`): the kernel has none of it.
const NOTHING: c_long = u32::MAX as c_long;

/// Memory without code, locks, clocks, signals, the end; reading and writing; opening a file to read, which Landlock limits: a panic shows
/// names that the program's own file has.
const RUNTIME: &[Call] = &[
    (NOTHING, None),
    (libc::SYS_futex, None),
    (libc::SYS_mmap, without(2, libc::PROT_EXEC)),
    (libc::SYS_mprotect, without(2, libc::PROT_EXEC)),
    (libc::SYS_munmap, None),
    (libc::SYS_mremap, None),
    (libc::SYS_madvise, None),
    (libc::SYS_brk, None),
    (libc::SYS_sigaltstack, None),
    (libc::SYS_rt_sigprocmask, None),
    (libc::SYS_rt_sigaction, None),
    (libc::SYS_rt_sigreturn, None),
    (libc::SYS_restart_syscall, None),
    (libc::SYS_sched_yield, None),
    (libc::SYS_sched_getaffinity, None),
    (libc::SYS_getcpu, None),
    (libc::SYS_rseq, None),
    (libc::SYS_set_robust_list, None),
    (libc::SYS_membarrier, None),
    (libc::SYS_getrandom, None),
    (libc::SYS_prlimit64, with(0, 0)),
    (libc::SYS_getpid, None),
    (libc::SYS_gettid, None),
    (libc::SYS_tgkill, None),
    (libc::SYS_exit, None),
    (libc::SYS_exit_group, None),
    (libc::SYS_close, None),
    (libc::SYS_fcntl, None),
    (libc::SYS_clock_gettime, None),
    (libc::SYS_clock_getres, None),
    (libc::SYS_gettimeofday, None),
    (libc::SYS_clock_nanosleep, None),
    (libc::SYS_nanosleep, None),
    (libc::SYS_read, None),
    (libc::SYS_readv, None),
    (libc::SYS_write, None),
    (libc::SYS_writev, None),
    (libc::SYS_openat, without(2, TO_WRITE)),
    (libc::SYS_newfstatat, None),
    (libc::SYS_fstat, None),
    (libc::SYS_statx, None),
    (libc::SYS_lseek, None),
    (libc::SYS_pread64, None),
    (libc::SYS_readlinkat, None),
    (libc::SYS_getcwd, None),
];

/// Waiting for files.
const WAIT: &[Call] = &[
    (libc::SYS_ppoll, None),
    (libc::SYS_epoll_pwait, None),
    (libc::SYS_epoll_ctl, None),
];

/// Reading and writing the device by batches.
const BATCH: &[Call] = &[(libc::SYS_io_uring_enter, None)];

/// Messages of sockets.
const TALK: &[Call] = &[
    (libc::SYS_sendto, None),
    (libc::SYS_recvfrom, None),
    (libc::SYS_sendmsg, None),
    (libc::SYS_recvmsg, None),
    (libc::SYS_sendmmsg, None),
    (libc::SYS_recvmmsg, None),
];

/// Sockets of UDP and TCP, and connections.
const OPEN_SOCKETS: &[Call] = &[
    (libc::SYS_socket, with(0, libc::AF_INET)),
    (libc::SYS_socket, with(0, libc::AF_INET6)),
    (libc::SYS_bind, None),
    (libc::SYS_connect, None),
    (libc::SYS_accept4, None),
    (libc::SYS_shutdown, None),
    (libc::SYS_getsockopt, None),
    (libc::SYS_setsockopt, None),
    (libc::SYS_getsockname, None),
    (libc::SYS_getpeername, None),
    (libc::SYS_ioctl, with(1, FIONBIO)),
];

/// Files and folders that are written, kept, and replaced.
const FILES: &[Call] = &[
    (libc::SYS_openat, None),
    (libc::SYS_openat2, None),
    (libc::SYS_mkdirat, None),
    (libc::SYS_unlinkat, None),
    (libc::SYS_renameat, None),
    (libc::SYS_renameat2, None),
    (libc::SYS_linkat, None),
    (libc::SYS_ftruncate, None),
    (libc::SYS_fallocate, None),
    (libc::SYS_fsync, None),
    (libc::SYS_fdatasync, None),
    (libc::SYS_fchmod, None),
    (libc::SYS_fchmodat, None),
    (libc::SYS_fchown, None),
    (libc::SYS_flock, None),
    (libc::SYS_getdents64, None),
    (libc::SYS_faccessat, None),
    (libc::SYS_faccessat2, None),
    (libc::SYS_statfs, None),
    (libc::SYS_fstatfs, None),
    (libc::SYS_umask, None),
    (libc::SYS_getuid, None),
    (libc::SYS_geteuid, None),
    (libc::SYS_getgid, None),
    (libc::SYS_getegid, None),
];

/// Calls that newer processors have only under newer names.
#[cfg(target_arch = "x86_64")]
const OLD: &[Call] = &[
    (libc::SYS_poll, None),
    (libc::SYS_epoll_wait, None),
    (libc::SYS_open, without(1, TO_WRITE)),
    (libc::SYS_stat, None),
    (libc::SYS_lstat, None),
    (libc::SYS_readlink, None),
    (libc::SYS_time, None),
];

#[cfg(not(target_arch = "x86_64"))]
const OLD: &[Call] = &[];

/// Calls for files that newer processors have only under newer names.
#[cfg(target_arch = "x86_64")]
const OLD_FILES: &[Call] = &[
    (libc::SYS_open, None),
    (libc::SYS_mkdir, None),
    (libc::SYS_unlink, None),
    (libc::SYS_rename, None),
    (libc::SYS_link, None),
    (libc::SYS_chmod, None),
    (libc::SYS_access, None),
    (libc::SYS_getdents, None),
];

#[cfg(not(target_arch = "x86_64"))]
const OLD_FILES: &[Call] = &[];

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::ErrorKind;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;
    use std::thread;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType};

    use super::*;

    const ALL: [Role; 5] = [
        Role::Judge,
        Role::Names,
        Role::Answers,
        Role::Log,
        Role::Records,
    ];

    /// The outcome of what is tried on a thread that is kept to `role`.
    fn kept_to<T: Send>(role: Role, tried: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                keep_to_or(role, FAIL).expect("the kernel takes filters");
                tried()
            });
            thread.join().expect("no panic")
        })
    }

    fn is_refused<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn no_thread_runs_programs_or_makes_memory_executable() {
        for role in ALL {
            let (program, memory, thread, netlink) = kept_to(role, || {
                let netlink = nix::sys::socket::socket(
                    AddressFamily::Netlink,
                    SockType::Raw,
                    SockFlag::empty(),
                    None,
                );
                (
                    Command::new("/bin/true").status(),
                    sys::memory::executable_page(),
                    thread::Builder::new().spawn(|| ()),
                    netlink,
                )
            });
            assert!(is_refused(program), "{role:?}");
            assert!(is_refused(memory), "{role:?}");
            assert!(is_refused(thread), "{role:?}");
            assert_eq!(netlink.err(), Some(nix::Error::EPERM), "{role:?}");
        }
    }

    #[test]
    fn sockets_are_opened_for_names_alone_and_only_those_of_udp_and_tcp() {
        for role in ALL {
            let (udp, tcp, local) = kept_to(role, || {
                let udp = UdpSocket::bind("[::1]:0");
                (
                    udp,
                    TcpListener::bind("127.0.0.1:0"),
                    UnixDatagram::unbound(),
                )
            });
            let is_names = role == Role::Names;
            // A listener has a call of its own, which the thread that starts the server makes.
            assert!(is_refused(tcp), "{role:?}");
            assert_eq!(udp.is_ok(), is_names, "{role:?}: {udp:?}");
            assert!(is_refused(local), "{role:?}");
        }
    }

    #[test]
    fn files_are_written_by_what_keeps_records_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for role in ALL {
            let place = folder.path().join(format!("{role:?}"));
            let (created, read) = kept_to(role, || {
                (File::create(&place), fs::read("/proc/self/status"))
            });
            assert_eq!(created.is_ok(), role == Role::Records, "{role:?}");
            assert!(read.is_ok(), "{role:?}: {read:?}");
            assert_eq!(place.exists(), role == Role::Records, "{role:?}");
        }
    }
}
