//! [`Ring`]: many reads and writes of a file in one system call, by io_uring.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;

use io_uring::register::Restriction;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};
use nix::libc;

/// A batch of reads and writes that never block, all complete when the call returns.
pub(in crate::gateway) struct Ring {
    /// `None` after a failure: the operations left in it must never be performed.
    ring: Option<IoUring>,
    /// By number of the operation in its batch.
    results: Vec<Done>,
}

/// The result of an operation: a number of bytes, or a negative error number.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct Done(i32);

impl Done {
    /// The number of bytes read or written.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in crate::gateway) fn result(self) -> io::Result<usize> {
        usize::try_from(self.0).map_err(|_| io::Error::from_raw_os_error(-self.0))
    }
}

impl Ring {
    /// Creates a ring for up to `operations` at a time, 256 at most, which can only read and write: what a thread gives up for itself
    /// (`host::rights`) does not bind what a ring does.
    ///
    /// # Errors
    /// The kernel's error: EPERM if io_uring is not allowed, ENOSYS if the kernel has none.
    pub(in crate::gateway) fn new(operations: usize) -> io::Result<Self> {
        let entries = u8::try_from(operations).map_err(|_| io::ErrorKind::InvalidInput)?;
        let ring = IoUring::builder()
            .setup_r_disabled()
            .build(entries.into())?;
        let mut allowed = [opcode::Read::CODE, opcode::Writev::CODE].map(Restriction::sqe_op);
        ring.submitter().register_restrictions(&mut allowed)?;
        ring.submitter().register_enable_rings()?;
        let results = vec![Done(0); operations];
        Ok(Self {
            ring: Some(ring),
            results,
        })
    }

    /// Reads no bytes from `file`, a tun device, which takes no packet out of it.
    ///
    /// # Errors
    /// The kernel's error: EOPNOTSUPP if operations on this file may block.
    pub(in crate::gateway) fn try_read(&mut self, file: &File) -> io::Result<()> {
        let buffers: [&mut [u8]; 1] = [&mut []];
        let results = self.read(file, buffers.into_iter())?;
        results.iter().try_for_each(|done| done.result().map(drop))
    }

    /// Reads from `file` into each of `buffers`, in order; returns the results in the same order.
    ///
    /// # Errors
    /// The kernel does not take operations (any more); nothing was read then.
    pub(in crate::gateway) fn read<'b>(
        &mut self,
        file: &File,
        buffers: impl ExactSizeIterator<Item = &'b mut [u8]>,
    ) -> io::Result<&[Done]> {
        let read = |buffer: &'b mut [u8]| {
            // The kernel reads at most as much anyway (MAX_RW_COUNT).
            let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
            opcode::Read::new(Fd(file.as_raw_fd()), buffer.as_mut_ptr(), length)
                .rw_flags(libc::RWF_NOWAIT)
                .build()
        };
        // SAFETY: each operation points to a buffer of its own, which is borrowed for longer than this call, and to a
        // file that is open during it.
        unsafe { self.perform(buffers.map(read)) }
    }

    /// Writes each of `writes` to `file`, in order, each from its pieces; returns the results in the same order.
    ///
    /// # Errors
    /// The kernel does not take operations (any more); nothing was written then.
    pub(in crate::gateway) fn write<'b>(
        &mut self,
        file: &File,
        writes: impl ExactSizeIterator<Item = &'b [IoSlice<'b>]>,
    ) -> io::Result<&[Done]> {
        let write = |pieces: &'b [IoSlice<'b>]| {
            // A batch has far fewer; the type is that of an `iovec` on Unix.
            let count = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
            opcode::Writev::new(Fd(file.as_raw_fd()), pieces.as_ptr().cast(), count)
                .rw_flags(libc::RWF_NOWAIT)
                .build()
        };
        // SAFETY: each operation points to pieces that are borrowed for longer than this call, as is what they point to,
        // and to a file that is open during it.
        unsafe { self.perform(writes.map(write)) }
    }

    /// Has the kernel perform `operations`, and waits until all are done. The kernel begins them in order, and each
    /// ends where it begins: an operation that would block fails. If the kernel is too short of memory to take all of them, the
    /// result of the rest is ECANCELED, and the ring takes no more.
    ///
    /// # Safety
    /// The memory that the operations point to stays valid, and nothing else uses it, until this returns.
    unsafe fn perform(
        &mut self,
        operations: impl ExactSizeIterator<Item = squeue::Entry>,
    ) -> io::Result<&[Done]> {
        // SAFETY: the caller promises the same.
        unsafe { self.perform_by(operations, |ring, count| ring.submit_and_wait(count)) }
    }

    /// Does so; `submit` has the kernel take operations, and waits for this many of them.
    ///
    /// # Safety
    /// As above.
    unsafe fn perform_by(
        &mut self,
        operations: impl ExactSizeIterator<Item = squeue::Entry>,
        mut submit: impl FnMut(&IoUring, usize) -> io::Result<usize>,
    ) -> io::Result<&[Done]> {
        let count = operations.len().min(self.results.len());
        // Put back when everything is done.
        let mut ring = self.ring.take().ok_or(io::ErrorKind::BrokenPipe)?;
        for (number, operation) in (0..).zip(operations.take(count)) {
            let operation = operation.user_data(number);
            // SAFETY: the caller promises that it stays valid until this returns, and it is done by then, or the process is.
            let pushed = unsafe { ring.submission().push(&operation) };
            // The queue has room for `results.len()`, and it is empty between calls.
            pushed.map_err(io::Error::other)?;
        }
        let mut done = 0;
        while done < count {
            let mut is_short = false;
            match submit(&ring, count - done) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel took none.
                Err(error) if done == 0 && ring.submission().len() == count => {
                    return Err(error);
                }
                // The kernel is short of memory and has not taken the rest yet.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) => {
                    is_short = true;
                }
                // It may still write to buffers that are about to be freed: the memory of this process is not ours to use.
                Err(_) => std::process::abort(),
            }
            for completion in ring.completion() {
                // Numbers are those given above.
                if let Some(result) = self.results.get_mut(completion.user_data() as usize) {
                    *result = Done(completion.result());
                    done += 1;
                }
            }
            let left = ring.submission().len();
            if is_short && left > 0 && done + left == count {
                // It takes them in order, and these last ones never: they go with the ring.
                self.results[done..count].fill(Done(-libc::ECANCELED));
                return Ok(&self.results[..count]);
            }
        }
        self.ring = Some(ring);
        Ok(&self.results[..count])
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Ring").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn file(socket: UnixDatagram) -> File {
        std::os::fd::OwnedFd::from(socket).into()
    }

    /// Creates a ring; `None` if the system allows none.
    fn ring() -> Option<Ring> {
        match Ring::new(8) {
            Ok(ring) => Some(ring),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "io_uring: {error}");
                eprintln!("SKIPPED: io_uring: {error}");
                None
            }
        }
    }

    #[test]
    fn a_batch_is_written_and_read_in_its_order() {
        let Some(mut ring) = ring() else { return };
        let (one, other) = UnixDatagram::pair().expect("sockets");
        let (one, other) = (file(one), file(other));
        let writes: [&[IoSlice<'_>]; 3] = [
            &[IoSlice::new(b"a"), IoSlice::new(b"bc")],
            &[IoSlice::new(b"d")],
            &[IoSlice::new(b"efgh")],
        ];
        let written = ring.write(&one, writes.into_iter()).expect("it is allowed");
        let written: Vec<Option<usize>> = written.iter().map(|it| it.result().ok()).collect();
        assert_eq!(written, [Some(3), Some(1), Some(4)]);

        let mut buffers = [[0; 4]; 5];
        let slices = buffers.iter_mut().map(|buffer| &mut buffer[..]);
        let read = ring.read(&other, slices).expect("it is allowed");
        let read: Vec<Option<usize>> = read.iter().map(|it| it.result().ok()).collect();
        // Nothing is left to read, and the read does not block.
        assert_eq!(read, [Some(3), Some(1), Some(4), None, None]);
        assert_eq!(&buffers[..3], [*b"abc\0", *b"d\0\0\0", *b"efgh"]);
    }

    #[test]
    fn the_error_of_one_is_not_that_of_others() {
        let Some(mut ring) = ring() else { return };
        let (one, _other) = UnixDatagram::pair().expect("sockets");
        let one = file(one);
        let (short, long) = ([0; 1], vec![0; 16 << 20]);
        let pieces = [&short[..], &long, &short].map(|bytes| [IoSlice::new(bytes)]);
        let writes = pieces.iter().map(|pieces| &pieces[..]);
        let written = ring.write(&one, writes).expect("it is allowed");
        let written: Vec<Option<usize>> = written.iter().map(|it| it.result().ok()).collect();
        // Longer than any datagram.
        assert_eq!(written, [Some(1), None, Some(1)]);
    }

    #[test]
    fn a_ring_opens_no_file() {
        let Some(mut ring) = ring() else { return };
        let path = c"/proc/self/status";
        let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr()).build();
        // SAFETY: the path is constant.
        let opened = unsafe { ring.perform([open].into_iter()) }.expect("it is taken");
        let error = opened[0].result().expect_err("it is not allowed");
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    }

    #[test]
    fn what_a_kernel_without_memory_does_not_take_is_said_and_nothing_waits_for_it() {
        // The first call takes so many, and all later ones fail.
        for taken in 0..=3 {
            let Some(mut ring) = ring() else { return };
            let (one, other) = UnixDatagram::pair().expect("sockets");
            let (one, other) = (file(one), file(other));
            let writes = [b"a", b"b", b"c"].map(|it| [IoSlice::new(it)]);
            let write = |pieces: &[IoSlice<'_>; 1]| {
                opcode::Writev::new(Fd(one.as_raw_fd()), pieces.as_ptr().cast(), 1).build()
            };
            let mut calls = 0;
            let submit = |ring: &IoUring, _| {
                calls += 1;
                if calls > 1 || taken == 0 {
                    assert!(calls < 10, "it tries for ever");
                    return Err(io::Error::from_raw_os_error(libc::EAGAIN));
                }
                // SAFETY: it is no call for signals or registration.
                unsafe { ring.submitter().enter::<()>(taken, taken, 0, None) }
            };
            // SAFETY: pieces and files are there until all is done.
            let results = unsafe { ring.perform_by(writes.iter().map(write), submit) };
            let results: io::Result<Vec<_>> =
                results.map(|it| it.iter().map(|done| done.result()).collect());
            match (taken, results) {
                (0, results) => assert!(results.is_err()),
                (_, results) => {
                    let results = results.expect("some are taken");
                    for (number, result) in (0..).zip(results) {
                        let error = result.as_ref().err().and_then(io::Error::raw_os_error);
                        let expected = (number >= taken).then_some(libc::ECANCELED);
                        assert_eq!(error, expected, "{number} of {taken}");
                    }
                }
            }
            // No piece is written twice, and none later.
            let mut read = Vec::new();
            let mut buffer = [0];
            while let Ok(1) = nix::sys::socket::recv(
                other.as_raw_fd(),
                &mut buffer,
                nix::sys::socket::MsgFlags::MSG_DONTWAIT,
            ) {
                read.push(buffer[0]);
            }
            assert_eq!(read, b"abc"[..taken as usize]);
            assert_eq!(ring.ring.is_none(), taken < 3, "{taken}");
        }
    }
}
