//! [`TunBackend`]: reads diverted packets from the kernel and writes back those that may pass.
//!
//! ```text
//!  a slot    ┌──────────────────┬───────────────────────────────┐
//!            │ virtio header    │ IP packet, up to 64 KiB       │
//!            └──────────────────┴───────────────────────────────┘
//!             read and written as one            judged
//! ```
//!
//! The kernel hands over super-packets (GSO) whole: one header, one 5-tuple, so one verdict. They go back whole, with
//! their original virtio header, and are segmented where they leave the host. Ordinary packets that may pass are merged
//! into super-packets ([`Merger`]), which are segmented into the originals. So no byte of a packet changes.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::counters::IoCounters;
use super::feedback::{ArrivedProbe, Feedback, ProbeHeader};
use super::queue::{Queue, Slots, is_gone};
use crate::datapath::{Backend, BackendError, Judgement, Progress};
use crate::filter::Judge;
use crate::gateway::sys::{self, Queues};
use crate::packet::Received;
use crate::packet::merge::{Merger, Offload, PIECES};
use crate::packet::virtio::{Framing, VirtioHeader, traffic_of};
use crate::verdict::{Action, Reason, Verdict};

/// The filter's tun device; it exists as long as one of its queues is open.
#[derive(Debug)]
pub struct TunDevice {
    queues: Vec<File>,
    offload: Offload,
    framing: Framing,
}

impl TunDevice {
    /// Creates the device called `name` with `queues` queues, at least one: a tun or, with Ethernet headers, a tap.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn create(name: &str, queues: usize, framing: Framing) -> io::Result<Self> {
        let queues = if queues > 1 || framing == Framing::Ethernet {
            let several = if queues > 1 {
                Queues::Several
            } else {
                Queues::One
            };
            let queue = |_| open_queue(name, framing, several);
            (0..queues).map(queue).collect()
        } else {
            make_device(name, Contents::WithVirtio).map(|file| vec![file])
        };
        let queues = queues?;
        let mut offload = Offload::TcpAndUdp;
        for queue in &queues {
            offload = sys::set_offload(queue, VirtioHeader::LENGTH)?;
            set_nonblocking(queue)?;
        }
        Ok(Self {
            queues,
            offload,
            framing,
        })
    }

    /// Returns the number of its queues.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// Has `program`, a socket filter, choose the queue of each packet.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn steer(&self, program: impl AsFd) -> io::Result<()> {
        let first = self.queues.first();
        first.map_or(Ok(()), |queue| sys::steer(queue, program))
    }

    /// Returns an end of it to write frames to, beside its workers.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn writer(&self) -> io::Result<DeviceWriter> {
        let first = self.queues.first().ok_or(io::ErrorKind::NotFound)?;
        Ok(DeviceWriter(first.try_clone()?))
    }

    /// Returns its queues, one for each worker.
    pub fn into_queues(self) -> Vec<TunQueue> {
        let (offload, framing) = (self.offload, self.framing);
        let queue = |file| TunQueue {
            file,
            offload,
            framing,
        };
        self.queues.into_iter().map(queue).collect()
    }
}

/// An end of a [`TunDevice`] that writes frames.
#[derive(Debug)]
pub struct DeviceWriter(File);

impl DeviceWriter {
    /// Writes a frame, which enters the host from the device.
    ///
    /// A write is one frame: what the kernel did not take of it cannot be sent behind it.
    ///
    /// # Errors
    /// The kernel's error, or that it took the frame only in part.
    pub fn write(&self, frame: &[u8]) -> io::Result<()> {
        match (&self.0).write(frame)? {
            written if written == frame.len() => Ok(()),
            written => Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("{written} bytes of {} were taken", frame.len()),
            )),
        }
    }
}

/// One queue of a [`TunDevice`].
#[derive(Debug)]
pub struct TunQueue {
    file: File,
    /// The super-packets that the device accepts.
    offload: Offload,
    framing: Framing,
}

impl From<TunQueue> for File {
    /// Returns the file to read from and write to.
    fn from(queue: TunQueue) -> Self {
        queue.file
    }
}

/// Creates a tun device that hands over plain packets and blocks, as VPN daemons use it.
///
/// # Errors
/// The kernel's error.
pub fn make_plain_device(name: &str) -> io::Result<File> {
    make_device(name, Contents::Packets)
}

/// The unit of a read from a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contents {
    /// A packet.
    Packets,
    /// A virtio header and a packet.
    WithVirtio,
}

fn make_device(name: &str, contents: Contents) -> io::Result<File> {
    let mut configuration = tun::Configuration::default();
    configuration.tun_name(name).layer(tun::Layer::L3);
    configuration.platform_config(|platform| {
        platform.vnet_hdr(contents == Contents::WithVirtio);
        // Addresses, size and state are set by netlink, with everything else.
        platform.ensure_root_privileges(false);
    });
    tun::create(&configuration)
        .map(sys::into_file)
        .map_err(io::Error::from)
}

/// Opens one queue of a device that the `tun` crate does not create: it makes none with several queues, and no tap.
fn open_queue(name: &str, framing: Framing, queues: Queues) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(CLONE_DEVICE)?;
    sys::attach_queue(&file, name, framing, queues)?;
    Ok(file)
}

fn set_nonblocking(file: &File) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(file.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Tells workers to stop; each sees it once the packets that the kernel had queued for it are judged.
#[derive(Debug, Clone)]
pub struct StopSignal {
    /// Wakes a waiting worker.
    event: Arc<EventFd>,
    /// Seen by a worker that is too busy ever to wait.
    given: Arc<AtomicBool>,
}

impl StopSignal {
    /// Creates a signal that is not yet given.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            event: Arc::new(event),
            given: Arc::default(),
        })
    }

    /// Gives the signal, permanently.
    pub fn give(&self) {
        self.given.store(true, Ordering::Relaxed);
        // An event file takes 2^64 - 2 of these before it refuses one.
        _ = self.event.write(1);
    }
}

/// One queue of the filter's tun device.
#[derive(Debug)]
pub struct TunBackend {
    queue: Queue,
    framing: Framing,
    device: String,
    merger: Merger,
    slots: Slots,
    stop: StopSignal,
    stopping: Option<Instant>,
    started: Instant,
    counters: Arc<IoCounters>,
    /// The number of its worker.
    worker: usize,
    feedback: Feedback,
}

impl TunBackend {
    /// Creates the end of worker number `worker` of `queue`, a queue of the device called `device`.
    pub fn new(
        queue: TunQueue,
        device: &str,
        stop: StopSignal,
        counters: Arc<IoCounters>,
        worker: usize,
        feedback: Feedback,
    ) -> Self {
        let framing = queue.framing;
        let merger = Merger::new(queue.offload, framing);
        let queue = Queue::new(queue.file);
        counters.note_batching(queue.has_ring());
        Self {
            queue,
            framing,
            merger,
            device: device.to_owned(),
            slots: Slots::new(),
            stop,
            stopping: None,
            started: Instant::now(),
            counters,
            worker,
            feedback,
        }
    }

    /// Has the packets of a self-test among `frames` judged, and reports them; they are no traffic.
    #[cold]
    fn judge_probes(&self, judgement: &mut impl Judgement, at: Duration) {
        for frame in self.slots.frames().filter(|it| ProbeHeader::is_of(it)) {
            let (Some((_, packet)), Some((interface, passes))) =
                (self.framing.split(frame), ProbeHeader::read(frame))
            else {
                continue;
            };
            self.feedback.report(ArrivedProbe {
                interface,
                passes,
                packet: packet.to_vec(),
                verdict: judgement.judge_probe(Received::whole(packet, at)),
            });
        }
    }

    /// Waits until there is a packet or the signal to stop; at most [`IDLE_LIMIT`], so that the watchdog sees progress.
    fn wait(&mut self) -> io::Result<()> {
        let mut files = [
            PollFd::new(self.queue.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.event.as_fd(), PollFlags::POLLIN),
        ];
        match nix::poll::poll(&mut files, PollTimeout::from(IDLE_MILLISECONDS)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [queue, _] = files.map(|file| file.revents().unwrap_or(PollFlags::empty()));
        if queue.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL) {
            // The device was deleted: from here on the queue is always ready and empty.
            return Err(io::Error::from_raw_os_error(libc::EBADFD));
        }
        Ok(())
    }

    /// Returns `true` if the worker must stop and nothing is left to read.
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
        match is_gone(&source) {
            true => BackendError::Removed { interface },
            false => BackendError::Interface { interface, source },
        }
    }
}

impl Backend for TunBackend {
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError> {
        self.counters.exchanged();
        let reading = self.feedback.begin(self.worker);
        let received = self.queue.receive(&mut self.slots);
        let count = received.map_err(|error| self.failed(error))?;
        reading.end(count);
        if self.is_over(count) {
            return Ok(Progress::End);
        }
        if count == 0 {
            self.wait().map_err(|error| self.failed(error))?;
            return Ok(Progress::More);
        }

        let at = self.started.elapsed();
        let mut packets = [Received::whole(&[], Duration::ZERO); Judge::BATCH];
        let has_probes = self.framing == Framing::Ethernet;
        let frames = self.slots.frames();
        let frames = frames.filter(|frame| !(has_probes && ProbeHeader::is_of(frame)));
        let traffic = frames.clone().count();
        if traffic < count {
            self.judge_probes(judgement, at);
        }
        let count = traffic;
        let diverted = match self.framing {
            Framing::Ip => 0,
            Framing::Ethernet => frames
                .clone()
                .filter(|it| ProbeHeader::is_diverted(it))
                .count(),
        };
        for (packet, frame) in packets.iter_mut().zip(frames.clone()) {
            // A frame shorter than its headers holds no packet: an empty one is malformed.
            *packet = match self.framing.split(frame) {
                Some((header, bytes)) => {
                    Received::whole(bytes, at).with_datagrams_of(header.datagram())
                }
                None => Received::whole(&[], at),
            };
        }
        let mut verdicts = [Verdict::drop(Reason::Malformed); Judge::BATCH];
        judgement.judge(&packets[..count], &mut verdicts[..count]);

        let mut passing = [&[][..]; Judge::BATCH];
        let mut passes = 0;
        for ((frame, verdict), packet) in frames.zip(verdicts).zip(packets) {
            let traffic = traffic_of(frame, self.framing);
            judgement.count(verdict, traffic);
            match verdict.action {
                Action::Drop if !judgement.spares(packet, traffic) => {
                    judgement.dropped(verdict, packet, frame);
                }
                Action::Drop | Action::Forward => {
                    passing[passes] = frame;
                    passes += 1;
                }
            }
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let writes = self.merger.merge(&passing[..passes], &mut pieces);
        let lost = |packets| self.counters.writes_failed(packets);
        let sent = self.queue.send(writes, lost);
        self.counters.note_batching(self.queue.has_ring());
        sent.map_err(|error| self.failed(error))?;
        reading.settle(diverted);
        Ok(Progress::More)
    }
}

/// Opens `/dev/net/tun`, to check that this is allowed.
///
/// # Errors
/// The kernel's error.
pub fn try_open() -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(CLONE_DEVICE)?;
    // An open file that was attached to nothing leaves nothing behind.
    debug_assert!(file.as_raw_fd() >= 0);
    Ok(())
}

/// The device file that creates tun devices.
pub const CLONE_DEVICE: &str = "/dev/net/tun";

/// The longest time that an idle worker waits before it checks for a stop, and tells the kernel that it reads: ten system calls a
/// second.
pub const IDLE_LIMIT: Duration = Duration::from_millis(IDLE_MILLISECONDS as u64);
const IDLE_MILLISECONDS: u8 = 100;

/// The longest time that a stopping worker goes on reading; no more packets are diverted to it by then.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Drops everything.
    struct Nobody;

    impl Judgement for Nobody {
        fn judge(&mut self, _packets: &[Received<'_>], _verdicts: &mut [Verdict]) {}
    }

    #[test]
    fn a_frame_that_is_taken_in_part_is_an_error_and_nothing_follows_it() {
        let (one, other) = UnixStream::pair().expect("two sockets");
        one.set_nonblocking(true).expect("it is a socket");
        let writer = DeviceWriter(File::from(OwnedFd::from(one)));
        let frame = vec![0; 16 << 20];
        let error = writer.write(&frame).expect_err("no socket holds as much");
        assert_eq!(error.kind(), io::ErrorKind::WriteZero, "{error}");
        assert_eq!(
            writer.write(&[0; 60]).map_err(|error| error.kind()),
            Err(io::ErrorKind::WouldBlock)
        );
        drop(other);
    }

    #[test]
    fn a_worker_that_never_has_to_wait_stops_all_the_same() {
        let endless = TunQueue {
            file: File::open("/dev/zero").expect("every system has it"),
            offload: Offload::TcpAndUdp,
            framing: Framing::Ip,
        };
        let stop = StopSignal::new().expect("an event file");
        let mut backend = TunBackend::new(
            endless,
            "zero",
            stop.clone(),
            Arc::default(),
            0,
            Feedback::default(),
        );
        assert_eq!(backend.exchange(&mut Nobody).ok(), Some(Progress::More));
        stop.give();
        let stopped = Instant::now();
        while backend.exchange(&mut Nobody).ok() == Some(Progress::More) {
            assert!(stopped.elapsed() < 20 * DRAIN_LIMIT, "it goes on and on");
        }
    }
}
