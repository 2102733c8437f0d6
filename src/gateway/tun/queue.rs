//! [`Queues`]: queues of a tun device that one thread reads and writes, in batches.
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

/// Queues of a tun device; their reads and writes never block.
#[derive(Debug)]
pub struct Queues {
    queues: Vec<Queue>,
    ring: Option<Ring>,
}

#[derive(Debug)]
struct Queue {
    file: File,
    /// Packets to request after the first; grows while that many arrive, since a request that finds none costs an
    /// attempt.
    window: usize,
}

/// The outcome of reading a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The frames that were read.
    pub count: usize,
    /// True if there may be more: all that were asked for were there.
    pub is_full: bool,
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

impl Queues {
    /// Wraps `files`, queues of one device, which must be non-blocking.
    pub fn new(files: Vec<File>) -> Self {
        let ring = Ring::new(Judge::BATCH);
        let ring = ring.inspect_err(|error| {
            info!(
                "packets are read and written one by one: the system allows no io_uring ({error})"
            );
        });
        let ring = ring.ok().and_then(|mut ring| {
            match files.first().map(|file| ring.try_read(file)) {
                Some(Err(error)) if is_unsupported(&error) => {
                    info!(
                        "packets are read and written one by one: io_uring takes tun devices from Linux 6.4 on ({error})"
                    );
                    None
                }
                // Other errors recur at the first read, which reports them.
                _ => Some(ring),
            }
        });
        Self {
            ring,
            ..Self::without_ring(files)
        }
    }

    /// The same, with one system call per packet.
    pub fn without_ring(files: Vec<File>) -> Self {
        let queues = files.into_iter().map(|file| Queue { file, window: 1 });
        Self {
            queues: queues.collect(),
            ring: None,
        }
    }

    /// Returns `true` if a batch is one system call.
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// The files of the queues, in their order.
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.queues.iter().map(|queue| queue.file.as_fd())
    }

    /// Reads the frames that are there in queue number `queue`: at most a batch, and few if they are large, so that others do not wait
    /// for them long.
    ///
    /// # Errors
    /// The kernel's error, except that there is nothing to read.
    pub fn receive(&mut self, queue: usize, slots: &mut Slots) -> io::Result<Batch> {
        let nothing = Batch {
            count: 0,
            is_full: false,
        };
        slots.lengths.fill(0);
        let mut room = slots.bytes.chunks_exact_mut(SLOT);
        let mut lengths = slots.lengths.iter_mut();
        let Self { queues, ring } = self;
        let (Some(slot), Some(length), Some(Queue { file, window })) =
            (room.next(), lengths.next(), queues.get_mut(queue))
        else {
            return Ok(nothing);
        };
        match (&*file).read(slot) {
            Ok(read) => *length = read,
            Err(error) if has_nothing(&error) => return Ok(nothing),
            Err(error) => return Err(error),
        }

        let most = (Judge::BATCH - 1).min(SHARE / (*length).max(1));
        let mut more = 0;
        let Some(ring) = ring else {
            // An error of a later read recurs once the packets before it are judged.
            for (slot, length) in room.zip(lengths).take(most) {
                let Ok(read) = (&*file).read(slot) else {
                    break;
                };
                *length = read;
                more += 1;
            }
            return Ok(Batch {
                count: 1 + more,
                is_full: more == most,
            });
        };
        let wanted = most.min(*window);
        let mut unsupported = None;
        match ring.read(file, room.take(wanted)) {
            Ok(results) => {
                // A read that finds nothing may precede one that does: a packet arrived in between.
                for (done, length) in results.iter().zip(lengths) {
                    match done.result() {
                        Ok(read) => {
                            *length = read;
                            more += 1;
                        }
                        Err(error) if is_unsupported(&error) => unsupported = Some(error),
                        Err(_) => {}
                    }
                }
            }
            Err(error) => unsupported = Some(error),
        }
        if more == *window {
            *window = (*window * 2).min(Judge::BATCH - 1);
        } else if more < wanted / 2 {
            *window /= 2;
        }
        if let Some(error) = unsupported {
            // What was not read waits in the device.
            go_on_without(&mut self.ring, &error);
        }
        Ok(Batch {
            count: 1 + more,
            is_full: more == wanted,
        })
    }

    /// Writes `writes` to queue number `queue`, in order. Packets that the kernel does not take are lost, as on any full queue; `lost`
    /// is called with their number.
    ///
    /// # Errors
    /// The device is gone.
    pub fn send(
        &mut self,
        queue: usize,
        writes: Writes<'_>,
        mut lost: impl FnMut(usize),
    ) -> io::Result<()> {
        let Self { queues, ring } = self;
        let Some(Queue { file, .. }) = queues.get(queue) else {
            return Ok(());
        };
        match ring {
            Some(ring) if writes.len() > 1 => {
                match ring.write(file, writes.clone().map(|write| write.pieces)) {
                    Ok(results) => {
                        let mut unsupported = None;
                        for (done, write) in results.iter().zip(writes) {
                            let result = match done.result() {
                                Err(error) if is_unsupported(&error) => {
                                    unsupported = Some(error);
                                    (&*file).write_vectored(write.pieces)
                                }
                                result => result,
                            };
                            settle(file, result, write, &mut lost)?;
                        }
                        if let Some(error) = unsupported {
                            go_on_without(&mut self.ring, &error);
                        }
                        return Ok(());
                    }
                    Err(error) => go_on_without(&mut self.ring, &error),
                }
            }
            _ => {}
        }
        for write in writes {
            let result = (&*file).write_vectored(write.pieces);
            settle(file, result, write, &mut lost)?;
        }
        Ok(())
    }
}

/// Gives up the ring for good.
#[cold]
fn go_on_without(ring: &mut Option<Ring>, error: &io::Error) {
    warn!("packets are read and written one by one from here on: io_uring fails ({error})");
    *ring = None;
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

/// Returns `true` if the kernel does not take an operation, which has read or written nothing then: the file has none that never
/// block, or there is no memory.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ECANCELED)
    )
}

/// Returns `true` if the error says that the device was deleted.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADFD | libc::EBADF | libc::EFAULT)
    )
}

/// Bytes that are read from a queue in a row, about: two of the largest packets, which take the kernel some 50 µs each.
const SHARE: usize = 64 << 10;

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
    fn queue_with_ring(file: File) -> Option<Queues> {
        let ring = Some(Ring::new(Judge::BATCH).ok()?);
        let queues = vec![Queue { file, window: 8 }];
        Some(Queues { queues, ring })
    }

    const LINES: [&[u8]; 4] = [b"first\n", b"second\n", b"third\n", b"fourth\n"];

    #[test]
    fn a_file_that_io_uring_cannot_read_has_no_ring() {
        let (one, _other) = terminal();
        assert!(!Queues::new(vec![one]).has_ring());
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
        while queue.receive(0, &mut slots).expect("it is open").count > 0 {
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
            let sent = queue.send(0, writes, |count| panic!("{count} lost"));
            sent.expect("it is open");
            assert!(!queue.has_ring());
            let mut bytes = Vec::new();
            // Until nothing is left.
            _ = other.read_to_end(&mut bytes);
            assert_eq!(bytes, LINES.concat());
        }
    }

    /// Both kinds of queue, where the system allows both.
    fn queues() -> Vec<(Queues, File)> {
        [Queues::new, Queues::without_ring]
            .map(|new| {
                let (one, other) = pair();
                (new(vec![one]), other)
            })
            .into()
    }

    #[test]
    fn everything_that_is_there_is_read_in_order_and_once() {
        for (mut queue, mut peer) in queues() {
            let mut slots = Slots::new();
            assert_eq!(queue.receive(0, &mut slots).expect("it is open").count, 0);
            let (mut sent, mut received) = (0_u8, 0);
            // Few, many, few: the window grows and shrinks.
            for count in [1, 1, 10, 10, 10, 10, 10, 10, 10, 1, 1, 1, 2, 3] {
                for _ in 0..count {
                    peer.write_all(&[sent; 30]).expect("room");
                    sent += 1;
                }
                loop {
                    let count = queue.receive(0, &mut slots).expect("it is open").count;
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
                let sent = queue.send(0, writes, |count| panic!("{count} lost"));
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
            let sent = queue.send(0, writes, |count| lost += count);
            assert!(sent.is_ok());
            assert_eq!(lost, 2);
        }
    }
}
