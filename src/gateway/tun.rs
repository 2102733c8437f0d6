//! [`TunBackend`]: what the kernel diverts, judged, and written back if it may pass.
//!
//! ```text
//!  a slot    ┌──────────────────┬───────────────────────────────┐
//!            │ virtio header    │ IP packet, up to 64 KiB       │
//!            └──────────────────┴───────────────────────────────┘
//!             read and written as one            judged
//! ```
//!
//! The kernel hands over super-packets (GSO) whole: one header, one 5-tuple, so one verdict. They go back whole, with
//! the virtio header they came with, and are cut where they leave the host. Ordinary packets that may pass are merged to
//! such ([`Merger`]), and are cut to what they were. So nothing here changes a byte.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::backend::{Backend, BackendError, Judgement, Progress};
use super::counters::IoCounters;
use super::gro::{Merged, Merger, Offload};
use super::sys;
use super::virtio::{VirtioHeader, traffic_of};
use crate::filter::{Action, Judge, Reason, Verdict};
use crate::packet::Received;

/// The filter's tun device: it lives as long as one of its queues is open.
#[derive(Debug)]
pub struct TunDevice {
    queues: Vec<File>,
    offload: Offload,
}

impl TunDevice {
    /// Makes the device called `name` with `queues` queues, at least one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn create(name: &str, queues: usize) -> io::Result<Self> {
        let queues = if queues > 1 {
            (0..queues).map(|_| open_queue(name)).collect()
        } else {
            make_device(name, Framing::Virtio).map(|file| vec![file])
        };
        let queues = queues?;
        let mut offload = Offload::TcpAndUdp;
        for queue in &queues {
            offload = sys::set_offload(queue, VirtioHeader::LENGTH)?;
            set_nonblocking(queue)?;
        }
        Ok(Self { queues, offload })
    }

    /// Its queues, one for each worker.
    pub fn into_queues(self) -> impl ExactSizeIterator<Item = TunQueue> {
        let offload = self.offload;
        let queue = move |file| TunQueue { file, offload };
        self.queues.into_iter().map(queue)
    }
}

/// One queue of a [`TunDevice`].
#[derive(Debug)]
pub struct TunQueue {
    file: File,
    /// Which super-packets may be written to it.
    offload: Offload,
}

/// Makes a tun device that hands over plain packets and waits for them, as VPN daemons have it.
///
/// # Errors
/// What the kernel says.
pub fn make_plain_device(name: &str) -> io::Result<File> {
    make_device(name, Framing::Plain)
}

/// What stands before each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Nothing.
    Plain,
    /// A virtio header.
    Virtio,
}

fn make_device(name: &str, framing: Framing) -> io::Result<File> {
    let mut configuration = tun::Configuration::default();
    configuration.tun_name(name).layer(tun::Layer::L3);
    configuration.platform_config(|platform| {
        platform.vnet_hdr(framing == Framing::Virtio);
        // Addresses, size and state are set by netlink, with everything else.
        platform.ensure_root_privileges(false);
    });
    tun::create(&configuration)
        .map(sys::into_file)
        .map_err(io::Error::from)
}

/// One queue of a device with several, which the `tun` crate does not make.
fn open_queue(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(CLONE_DEVICE)?;
    sys::attach_queue(&file, name)?;
    Ok(file)
}

fn set_nonblocking(file: &File) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(file.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Tells workers to stop; each sees it once what the kernel had queued for it is dealt with.
#[derive(Debug, Clone)]
pub struct StopSignal {
    /// Wakes a worker that waits.
    event: Arc<EventFd>,
    /// Seen by a worker that never has to wait.
    given: Arc<AtomicBool>,
}

impl StopSignal {
    /// A signal that was not given.
    ///
    /// # Errors
    /// When there are too many files open.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            event: Arc::new(event),
            given: Arc::default(),
        })
    }

    /// Gives it, for good.
    pub fn give(&self) {
        self.given.store(true, Ordering::Relaxed);
        // An event file takes 2^64 - 2 of these before it refuses one.
        _ = self.event.write(1);
    }
}

/// One queue of the filter's tun device.
#[derive(Debug)]
pub struct TunBackend {
    queue: File,
    device: String,
    merger: Merger,
    slots: Vec<u8>,
    lengths: [usize; Judge::BATCH],
    stop: StopSignal,
    stopping: Option<Instant>,
    started: Instant,
    counters: Arc<IoCounters>,
}

impl TunBackend {
    /// The worker's end of `queue`, a queue of the device called `device`.
    pub fn new(queue: TunQueue, device: &str, stop: StopSignal, counters: Arc<IoCounters>) -> Self {
        Self {
            queue: queue.file,
            merger: Merger::new(queue.offload),
            device: device.to_owned(),
            slots: vec![0; SLOT * Judge::BATCH],
            lengths: [0; Judge::BATCH],
            stop,
            stopping: None,
            started: Instant::now(),
            counters,
        }
    }

    /// Reads what is there, at most a batch; how many packets that is.
    fn receive(&mut self) -> io::Result<usize> {
        let mut count = 0;
        for (slot, length) in self.slots.chunks_exact_mut(SLOT).zip(&mut self.lengths) {
            match (&self.queue).read(slot) {
                Ok(read) => {
                    *length = read;
                    count += 1;
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    break;
                }
                // What came before it is judged; the error comes again.
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Waits until there is a packet, or the signal to stop.
    fn wait(&mut self) -> io::Result<()> {
        let mut files = [
            PollFd::new(self.queue.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.event.as_fd(), PollFlags::POLLIN),
        ];
        match nix::poll::poll(&mut files, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [queue, _] = files.map(|file| file.revents().unwrap_or(PollFlags::empty()));
        if queue.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL) {
            // The device was deleted: from here on the queue is ready at once, for ever, and holds nothing.
            return Err(io::Error::from_raw_os_error(libc::EBADFD));
        }
        Ok(())
    }

    /// Whether it is time to end, with nothing left to read.
    fn is_over(&mut self, received: usize) -> bool {
        if self.stop.given.load(Ordering::Relaxed) {
            self.stopping.get_or_insert_with(Instant::now);
        }
        match self.stopping {
            None => false,
            Some(since) => received == 0 || since.elapsed() > DRAIN_LIMIT,
        }
    }

    fn failed(&self, source: io::Error) -> BackendError {
        let interface = self.device.clone();
        match source.raw_os_error() {
            Some(libc::EBADFD | libc::EFAULT | libc::EBADF) => BackendError::Removed { interface },
            _ => BackendError::Interface { interface, source },
        }
    }
}

impl Backend for TunBackend {
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError> {
        let count = self.receive().map_err(|error| self.failed(error))?;
        if self.is_over(count) {
            return Ok(Progress::End);
        }
        if count == 0 {
            self.wait().map_err(|error| self.failed(error))?;
            return Ok(Progress::More);
        }

        let at = self.started.elapsed();
        let mut packets = [Received::whole(&[], Duration::ZERO); Judge::BATCH];
        let frames = self.slots.chunks_exact(SLOT).zip(&self.lengths);
        let frames = frames.map(|(slot, length)| &slot[..*length]).take(count);
        for (packet, frame) in packets.iter_mut().zip(frames.clone()) {
            // A frame shorter than its virtio header holds no packet: an empty one is malformed.
            *packet = Received::whole(frame.get(VirtioHeader::LENGTH..).unwrap_or_default(), at);
        }
        let mut verdicts = [Verdict::drop(Reason::Malformed); Judge::BATCH];
        judgement.judge(&packets[..count], &mut verdicts[..count]);

        let mut passing = [&[][..]; Judge::BATCH];
        let mut passes = 0;
        for (frame, verdict) in frames.zip(verdicts) {
            judgement.count(verdict, traffic_of(frame));
            match verdict.action {
                Action::Drop => {}
                Action::Forward => {
                    passing[passes] = frame;
                    passes += 1;
                }
            }
        }
        let (queue, counters) = (&self.queue, &*self.counters);
        let written = self
            .merger
            .merge(&passing[..passes], |merged| write(queue, merged, counters));
        written.map_err(|error| self.failed(error))?;
        Ok(Progress::More)
    }
}

/// Writes what was merged. What the kernel does not take is lost, as on any queue that is full; an error is returned only
/// where the device is gone.
fn write(mut queue: &File, merged: Merged<'_>, counters: &IoCounters) -> io::Result<()> {
    let Err(error) = queue.write_vectored(merged.pieces) else {
        return Ok(());
    };
    if is_gone(&error) {
        return Err(error);
    }
    if merged.frames.len() == 1 || error.raw_os_error() != Some(libc::EINVAL) {
        counters.writes_failed(merged.frames.len());
        return Ok(());
    }
    // A kernel that does not like how it was merged gets it as it came.
    for frame in merged.frames {
        match queue.write(frame) {
            Ok(_) => {}
            Err(error) if is_gone(&error) => return Err(error),
            Err(_) => counters.writes_failed(1),
        }
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADFD | libc::EBADF | libc::EFAULT)
    )
}

/// Opens `/dev/net/tun`, to see whether that is allowed.
///
/// # Errors
/// What the kernel says.
pub fn try_open() -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(CLONE_DEVICE)?;
    // An open file that was attached to nothing leaves nothing.
    debug_assert!(file.as_raw_fd() >= 0);
    Ok(())
}

/// What makes tun devices.
pub const CLONE_DEVICE: &str = "/dev/net/tun";

/// Bytes from one slot to the next: the largest packet with its virtio header. The odd number of cache lines keeps the
/// beginnings of 64 slots, all that small packets touch, out of each other's way in the cache.
const SLOT: usize = 65_536 + 64 * 9;
const _: () = assert!(SLOT >= 65_535 + VirtioHeader::LENGTH);

/// How long a worker that is to stop goes on reading; nothing is diverted to it any more.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    /// Drops everything.
    struct Nobody;

    impl Judgement for Nobody {
        fn judge(&mut self, _packets: &[Received<'_>], _verdicts: &mut [Verdict]) {}
    }

    #[test]
    fn a_worker_that_never_has_to_wait_stops_all_the_same() {
        let endless = TunQueue {
            file: File::open("/dev/zero").expect("every system has it"),
            offload: Offload::TcpAndUdp,
        };
        let stop = StopSignal::new().expect("an event file");
        let mut backend = TunBackend::new(endless, "zero", stop.clone(), Arc::default());
        assert_eq!(backend.exchange(&mut Nobody).ok(), Some(Progress::More));
        stop.give();
        let told = Instant::now();
        while backend.exchange(&mut Nobody).ok() == Some(Progress::More) {
            assert!(told.elapsed() < 20 * DRAIN_LIMIT, "it goes on and on");
        }
    }
}
