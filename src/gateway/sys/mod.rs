//! The calls that the compiler cannot check: with `link`, `memory` and `ring`, the only `unsafe` of the crate.

#![allow(
    unsafe_code,
    reason = "ioctls take what their number says, schedulers and sockets what a pointer leads to, programs in the kernel share memory: \
              no type tells the compiler"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd};

use nix::libc::{self, c_int, c_short};

use crate::packet::merge::Offload;
use crate::packet::virtio::Framing;

pub(super) mod link;
pub(super) mod memory;
pub(super) mod ring;

mod ioctl {
    use nix::libc::{c_int, ifreq};

    // linux/if_tun.h. The kernel reads an `int` through the pointer of the first three; the last takes its flags as the
    // argument itself.
    nix::ioctl_write_ptr_bad!(
        tun_set_iff,
        nix::request_code_write!(b'T', 202, size_of::<c_int>()),
        ifreq
    );
    nix::ioctl_write_ptr!(tun_set_vnet_hdr_size, b'T', 216, c_int);
    // Declared as one that reads (`_IOR`), though it writes.
    nix::ioctl_write_ptr_bad!(
        tun_set_steering,
        nix::request_code_read!(b'T', 224, size_of::<c_int>()),
        c_int
    );
    nix::ioctl_write_int!(tun_set_offload, b'T', 208);
}

/// Takes the file out of a tun device that the `tun` crate has made; what else it has is closed.
pub(super) fn into_file(device: impl IntoRawFd) -> File {
    let fd = device.into_raw_fd();
    // SAFETY: `into_raw_fd` gives the descriptor away, so it is open and nobody else closes it.
    unsafe { File::from_raw_fd(fd) }
}

/// How many queues a device may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queues {
    /// One.
    One,
    /// As many as are attached.
    Several,
}

/// Attaches `file`, an open `/dev/net/tun`, as one more queue of the device `name`, which it makes if need be.
///
/// # Errors
/// The kernel's error; a name that is too long is invalid input.
pub(super) fn attach_queue(
    file: &File,
    name: &str,
    framing: Framing,
    queues: Queues,
) -> io::Result<()> {
    // SAFETY: `ifreq` is plain old data, for which all zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays NUL.
    let room = request.ifr_name.len() - 1;
    if name.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let layer = match framing {
        Framing::Ip => libc::IFF_TUN,
        Framing::Ethernet => libc::IFF_TAP,
    };
    let several = match queues {
        Queues::One => 0,
        Queues::Several => libc::IFF_MULTI_QUEUE,
    };
    let flags = layer | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several;
    request.ifr_ifru.ifru_flags = flags as c_short;
    // SAFETY: the descriptor is open, as `file` owns it, and `request` is the `ifreq` that TUNSETIFF reads and writes.
    unsafe { ioctl::tun_set_iff(file.as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// Has the kernel put a virtio header of `header_size` bytes before each packet, and hand over super-packets whole; which
/// of them it knows.
///
/// # Errors
/// The kernel's error: before 6.2 it does not support UDP super-packets.
pub(super) fn set_offload(file: &File, header_size: usize) -> io::Result<Offload> {
    let size = c_int::try_from(header_size).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, as `file` owns it, and `size` is the `int` that TUNSETVNETHDRSZ reads.
    unsafe { ioctl::tun_set_vnet_hdr_size(file.as_raw_fd(), &raw const size) }?;
    let set = |flags: libc::c_uint| {
        // SAFETY: the descriptor is open, and TUNSETOFFLOAD takes its flags by value.
        unsafe { ioctl::tun_set_offload(file.as_raw_fd(), flags.into()) }
    };
    match set(TCP_OFFLOAD | UDP_OFFLOAD) {
        Err(nix::Error::EINVAL) => {
            set(TCP_OFFLOAD)?;
            Ok(Offload::Tcp)
        }
        other => {
            other?;
            Ok(Offload::TcpAndUdp)
        }
    }
}

/// Has `program`, a socket filter, choose the queue of each packet that the device of `file` hands over.
///
/// # Errors
/// The kernel's error.
pub(super) fn steer(file: &File, program: impl AsFd) -> io::Result<()> {
    let program: c_int = program.as_fd().as_raw_fd();
    // SAFETY: both descriptors are open, and `program` is the `int` that TUNSETSTEERINGEBPF reads.
    unsafe { ioctl::tun_set_steering(file.as_raw_fd(), &raw const program) }?;
    Ok(())
}

/// Asks the kernel for an option of `socket` that is as long as `buffer`; returns the length of what it has written there.
///
/// # Errors
/// The kernel's error.
pub(super) fn socket_option(
    socket: &impl AsFd,
    level: c_int,
    option: c_int,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut length = libc::socklen_t::try_from(buffer.len()).map_err(too_long)?;
    // SAFETY: the descriptor is open, as `socket` holds it; the kernel writes at most `length` bytes, all of them the buffer's.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    nix::Error::result(done)?;
    Ok(buffer.len().min(length as usize))
}

/// Gives this thread the real-time priority `priority` (SCHED_FIFO); what it starts is scheduled as usual.
///
/// # Errors
/// The kernel's error.
pub(super) fn set_realtime(priority: u8) -> io::Result<()> {
    // SAFETY: `sched_param` is plain old data, for which all zeros are a value.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority.into();
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `parameters` is the `sched_param` that the call reads; 0 is this thread.
    let done = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    nix::Error::result(done)?;
    Ok(())
}

/// Has the kernel ask `filter`, a program for classic BPF, about each system call of this thread and of those that it starts; calls
/// that are refused are written to the kernel's log.
///
/// # Errors
/// The kernel's error.
pub(super) fn filter_calls(filter: &[seccompiler::sock_filter]) -> io::Result<()> {
    let length = libc::c_ushort::try_from(filter.len());
    let program = libc::sock_fprog {
        len: length.map_err(|_| io::ErrorKind::InvalidInput)?,
        // Both are `struct sock_filter` of linux/filter.h; the kernel does not write to it.
        filter: filter.as_ptr().cast_mut().cast(),
    };
    nix::sys::prctl::set_no_new_privs()?;
    // SAFETY: the kernel copies the program, `len` instructions at `filter`, before the call returns.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_LOG,
            &raw const program,
        )
    };
    nix::Error::result(done)?;
    Ok(())
}

/// `TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN` (linux/if_tun.h).
const TCP_OFFLOAD: libc::c_uint = 0x01 | 0x02 | 0x04 | 0x08;
/// `TUN_F_USO4 | TUN_F_USO6` (linux/if_tun.h).
const UDP_OFFLOAD: libc::c_uint = 0x20 | 0x40;
