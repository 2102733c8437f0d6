//! [`Queue`]: one queue of a tun device, read and written in batches.
//!
//! A batch is one system call by io_uring where the system allows that, and a call a packet where it does not: in
//! containers, under seccomp, with `kernel.io_uring_disabled`, and before Linux 6.4, whose tun devices refuse operations
//! that never block. The first packet of a batch is read by a call of its own: when little comes, it is the only one, and
//! io_uring would only be a detour.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use tracing::{info, warn};

use crate::filter::Judge;
use crate::gateway::sys::ring::Ring;
use crate::packet::merge::{Merged, Writes};
use crate::packet::virtio::Framing;

/// One queue of a tun device; its reads and writes never block.
#[derive(Debug)]
pub struct Queue {
    file: File,
    ring: Option<Ring>,
    /// Packets to request after the first; grows while that many arrive, since a request that finds none costs an
    /// attempt.
    window: usize,
}

/// Buffers for a batch of frames.
#[derive(Debug)]
pub struct Slots {
    bytes: Vec<u8>,
    /// 0 for a slot without a frame.
    lengths: [usize; Judge::BATCH],
}

impl Slots {
    /// Creates empty buffers.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; SLOT * Judge::BATCH],
            lengths: [0; Judge::BATCH],
        }
    }

    /// The frames, in order of arrival.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let slots = self.bytes.chunks_exact(SLOT).zip(&self.lengths);
        let frames = slots.map(|(slot, length)| &slot[..*length]);
        frames.filter(|frame| !frame.is_empty())
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue {
    /// Wraps `file`, which must be non-blocking.
    pub fn new(file: File) -> Self {
        let ring = Ring::new(Judge::BATCH);
        let ring = ring.inspect_err(|error| {
            info!(
                "packets are read and written one by one: the system allows no io_uring ({error})"
            );
        });
        let ring = ring.ok().and_then(|mut ring| match ring.try_read(&file) {
            Err(error) if is_unsupported(&error) => {
                info!(
                    "packets are read and written one by one: io_uring takes tun devices from Linux 6.4 on ({error})"
                );
                None
            }
            // Other errors recur at the first read, which reports them.
            _ => Some(ring),
        });
        Self {
            file,
            ring,
            window: 1,
        }
    }

    /// The same, with one system call per packet.
    pub fn without_ring(file: File) -> Self {
        Self {
            file,
            ring: None,
            window: 1,
        }
    }

    /// Returns `true` if a batch is one system call.
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Reads the available frames, at most a batch, and returns their number.
    ///
    /// # Errors
    /// The kernel's error, except that there is nothing to read.
    pub fn receive(&mut self, slots: &mut Slots) -> io::Result<usize> {
        slots.lengths.fill(0);
        let mut room = slots.bytes.chunks_exact_mut(SLOT);
        let mut lengths = slots.lengths.iter_mut();
        let (Some(slot), Some(length)) = (room.next(), lengths.next()) else {
            return Ok(0);
        };
        match (&self.file).read(slot) {
            Ok(read) => *length = read,
            Err(error) if has_nothing(&error) => return Ok(0),
            Err(error) => return Err(error),
        }

        let mut count = 1;
        let Some(ring) = &mut self.ring else {
            // An error of a later read recurs once the packets before it are judged.
            for (slot, length) in room.zip(lengths) {
                let Ok(read) = (&self.file).read(slot) else {
                    break;
                };
                *length = read;
                count += 1;
            }
            return Ok(count);
        };
        let mut unsupported = None;
        match ring.read(&self.file, room.take(self.window)) {
            Ok(results) => {
                // A read that finds nothing may precede one that does: a packet arrived in between.
                for (done, length) in results.iter().zip(lengths) {
                    match done.result() {
                        Ok(read) => {
                            *length = read;
                            count += 1;
                        }
                        Err(error) if is_unsupported(&error) => unsupported = Some(error),
                        Err(_) => {}
                    }
                }
            }
            Err(error) => unsupported = Some(error),
        }
        if let Some(error) = unsupported {
            // What was not read waits in the device.
            self.go_on_without(&error);
        }
        let more = count - 1;
        if more == self.window {
            self.window = (self.window * 2).min(Judge::BATCH - 1);
        } else if more < self.window / 2 {
            self.window /= 2;
        }
        Ok(count)
    }

    /// Writes `writes`, in order. Packets that the kernel does not take are lost, as on any full queue; `lost` is
    /// called with their number.
    ///
    /// # Errors
    /// The device is gone.
    pub fn send(&mut self, writes: Writes<'_>, mut lost: impl FnMut(usize)) -> io::Result<()> {
        match &mut self.ring {
            Some(ring) if writes.len() > 1 => {
                match ring.write(&self.file, writes.clone().map(|write| write.pieces)) {
                    Ok(results) => {
                        let mut unsupported = None;
                        for (done, write) in results.iter().zip(writes) {
                            let result = match done.result() {
                                Err(error) if is_unsupported(&error) => {
                                    unsupported = Some(error);
                                    (&self.file).write_vectored(write.pieces)
                                }
                                result => result,
                            };
                            settle(&self.file, result, write, &mut lost)?;
                        }
                        if let Some(error) = unsupported {
                            self.go_on_without(&error);
                        }
                        return Ok(());
                    }
                    Err(error) => self.go_on_without(&error),
                }
            }
            _ => {}
        }
        for write in writes {
            let result = (&self.file).write_vectored(write.pieces);
            settle(&self.file, result, write, &mut lost)?;
        }
        Ok(())
    }

    #[cold]
    fn go_on_without(&mut self, error: &io::Error) {
        warn!("packets are read and written one by one from here on: io_uring fails ({error})");
        self.ring = None;
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Handles the result of a write.
fn settle(
    file: &File,
    result: io::Result<usize>,
    write: Merged<'_>,
    lost: &mut impl FnMut(usize),
) -> io::Result<()> {
    match result {
        Ok(written) if written == write.length() => Ok(()),
        // A packet that the kernel takes only in part is lost.
        Ok(_) => {
            lost(write.frames.len());
            Ok(())
        }
        Err(error) => refused(file, error, write, lost),
    }
}

/// Handles a write that the kernel refused.
#[cold]
fn refused(
    mut file: &File,
    error: io::Error,
    write: Merged<'_>,
    lost: &mut impl FnMut(usize),
) -> io::Result<()> {
    if is_gone(&error) {
        return Err(error);
    }
    if write.frames.len() == 1 || error.raw_os_error() != Some(libc::EINVAL) {
        lost(write.frames.len());
        return Ok(());
    }
    // If the kernel refuses merged packets, they are sent as they arrived.
    for frame in write.frames {
        match file.write(frame) {
            Ok(written) if written == frame.len() => {}
            Err(error) if is_gone(&error) => return Err(error),
            Ok(_) | Err(_) => lost(1),
        }
    }
    Ok(())
}

fn has_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Returns `true` if the file has no operations that never block. The kernel says so before it reads or writes anything.
fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// Returns `true` if the error says that the device was deleted.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADFD | libc::EBADF | libc::EFAULT)
    )
}

/// Bytes from one slot to the next: the largest packet with its virtio header. The odd number of cache lines keeps the
/// beginnings of 64 slots, all that small packets touch, out of each other's way in the cache.
const SLOT: usize = 65_536 + 64 * 9;
const _: () = assert!(SLOT >= 65_535 + Framing::Ethernet.prefix());

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::pty::{OpenptyResult, openpty};
    use nix::sys::termios::{InputFlags, LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};

    use super::*;
    use crate::packet::merge::{Merger, Offload, PIECES};

    fn pair() -> (File, File) {
        let (one, other) = UnixDatagram::pair().expect("sockets");
        for socket in [&one, &other] {
            socket.set_nonblocking(true).expect("a socket");
        }
        (OwnedFd::from(one).into(), OwnedFd::from(other).into())
    }

    /// A file that has no operations that never block, as tun devices before Linux 6.4, and the other end. A frame is a
    /// line: a terminal is read by lines.
    fn terminal() -> (File, File) {
        let OpenptyResult { master, slave } = openpty(None, None).expect("a terminal");
        let mut settings = tcgetattr(&slave).expect("a terminal");
        settings.local_flags = LocalFlags::ICANON;
        settings.input_flags = InputFlags::empty();
        settings.output_flags = OutputFlags::empty();
        tcsetattr(&slave, SetArg::TCSANOW, &settings).expect("a terminal");
        for end in [&master, &slave] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a file");
        }
        (slave.into(), master.into())
    }

    /// A queue with a ring, though its file is refused to it; `None` if the system allows no ring.
    fn queue_with_ring(file: File) -> Option<Queue> {
        let ring = Some(Ring::new(Judge::BATCH).ok()?);
        Some(Queue {
            file,
            ring,
            window: 8,
        })
    }

    const LINES: [&[u8]; 4] = [b"first\n", b"second\n", b"third\n", b"fourth\n"];

    #[test]
    fn a_file_that_io_uring_cannot_read_has_no_ring() {
        let (one, _other) = terminal();
        assert!(!Queue::new(one).has_ring());
    }

    #[test]
    fn a_ring_that_cannot_read_is_dropped_and_every_frame_is_read_once() {
        let (one, mut other) = terminal();
        let Some(mut queue) = queue_with_ring(one) else {
            return;
        };
        other.write_all(&LINES.concat()).expect("room");
        let mut slots = Slots::new();
        let mut received = Vec::new();
        while queue.receive(&mut slots).expect("it is open") > 0 {
            received.extend(slots.frames().map(<[u8]>::to_vec));
            assert!(!queue.has_ring());
        }
        assert_eq!(received, LINES);
    }

    #[test]
    fn a_ring_that_cannot_write_is_dropped_and_every_frame_is_written_once() {
        let (one, mut other) = terminal();
        let Some(mut queue) = queue_with_ring(one) else {
            return;
        };
        for _ in 0..2 {
            let mut merger = Merger::new(Offload::Tcp, Framing::Ip);
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let writes = merger.merge(&LINES, &mut pieces);
            let sent = queue.send(writes, |count| panic!("{count} lost"));
            sent.expect("it is open");
            assert!(!queue.has_ring());
            let mut bytes = Vec::new();
            // Until nothing is left.
            _ = other.read_to_end(&mut bytes);
            assert_eq!(bytes, LINES.concat());
        }
    }

    /// Both kinds of queue, where the system allows both.
    fn queues() -> Vec<(Queue, File)> {
        [Queue::new, Queue::without_ring]
            .map(|new| {
                let (one, other) = pair();
                (new(one), other)
            })
            .into()
    }

    #[test]
    fn everything_that_is_there_is_read_in_order_and_once() {
        for (mut queue, mut peer) in queues() {
            let mut slots = Slots::new();
            assert_eq!(queue.receive(&mut slots).expect("it is open"), 0);
            let (mut sent, mut received) = (0_u8, 0);
            // Few, many, few: the window grows and shrinks.
            for count in [1, 1, 10, 10, 10, 10, 10, 10, 10, 1, 1, 1, 2, 3] {
                for _ in 0..count {
                    peer.write_all(&[sent; 30]).expect("room");
                    sent += 1;
                }
                loop {
                    let count = queue.receive(&mut slots).expect("it is open");
                    assert_eq!(slots.frames().count(), count);
                    for frame in slots.frames() {
                        assert_eq!(frame, [received; 30]);
                        received += 1;
                    }
                    if count == 0 {
                        break;
                    }
                }
            }
            assert_eq!(received, sent);
        }
    }

    #[test]
    fn everything_that_may_pass_is_written_in_order() {
        for (mut queue, mut peer) in queues() {
            let frames: Vec<Vec<u8>> = (0..9).map(|number| vec![number; 30]).collect();
            let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            for some in [&slices[..1], &slices] {
                let mut merger = Merger::new(Offload::Tcp, Framing::Ip);
                let mut pieces = [IoSlice::new(&[]); PIECES];
                let writes = merger.merge(some, &mut pieces);
                let sent = queue.send(writes, |count| panic!("{count} lost"));
                sent.expect("it is open");
                for frame in some {
                    let mut bytes = [0; 40];
                    assert_eq!(peer.read(&mut bytes).ok(), Some(30));
                    assert_eq!(bytes[..30], **frame);
                }
            }
        }
    }

    #[test]
    fn what_the_kernel_does_not_take_is_counted() {
        for (mut queue, peer) in queues() {
            drop(peer);
            let frames = [&[0; 30][..], &[1; 30]];
            let mut merger = Merger::new(Offload::Tcp, Framing::Ip);
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let writes = merger.merge(&frames, &mut pieces);
            let mut lost = 0;
            let sent = queue.send(writes, |count| lost += count);
            assert!(sent.is_ok());
            assert_eq!(lost, 2);
        }
    }
}
