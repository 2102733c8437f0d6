//! [`SharedMemory`]: a map's values as memory, which this process shares with programs in the kernel.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The values of an array map that may be mapped (`BPF_F_MMAPABLE`), one after the other.
///
/// Programs read and write them at any time, so each word is an atomic.
pub(in crate::gateway) struct SharedMemory {
    words: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the memory belongs to no thread, and all access to it is atomic.
unsafe impl Send for SharedMemory {}
// SAFETY: likewise.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps the first `count` words of the values of `map`.
    ///
    /// # Errors
    /// The kernel's error: the map is smaller, or may not be mapped.
    pub(in crate::gateway) fn of_map(map: impl AsFd, count: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(count * size_of::<AtomicU64>());
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses an address range that nothing else uses; it stays mapped until the drop below, also
        // after the map's descriptor is closed.
        let words = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self {
            words: words.cast(),
            count,
        })
    }

    /// Its words.
    pub(in crate::gateway) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `count` words from there on are mapped for reading and writing, page-aligned, for as long as `self` is,
        // and every bit pattern is an atomic; programs in the kernel read and write whole aligned words, or parts of one.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: this is what was mapped, and no reference to it outlives `self`.
        _ = unsafe { munmap(self.words.cast(), self.count * size_of::<AtomicU64>()) };
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SharedMemory({} words)", self.count)
    }
}

/// Waits until every program that ran when this was called has ended (membarrier(2), `MEMBARRIER_CMD_GLOBAL`: a grace
/// period of RCU, under which programs run).
///
/// # Errors
/// The kernel has no such call, or refuses it.
pub(in crate::gateway) fn await_programs() -> io::Result<()> {
    const GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes three numbers and touches no memory.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    nix::Error::result(done)?;
    Ok(())
}

/// Asks for a page of memory that code could run from.
///
/// # Errors
/// The kernel's error.
#[cfg(test)]
pub(in crate::gateway) fn executable_page() -> io::Result<()> {
    let page = std::num::NonZero::new(4096).ok_or(io::ErrorKind::InvalidInput)?;
    let code = ProtFlags::PROT_READ | ProtFlags::PROT_EXEC;
    // SAFETY: the kernel chooses a place where nothing is.
    let memory =
        unsafe { nix::sys::mman::mmap_anonymous(None, page, code, MapFlags::MAP_PRIVATE) }?;
    // SAFETY: nothing points to the page.
    unsafe { munmap(memory, page.get()) }?;
    Ok(())
}
