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
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::counters::IoCounters;
use super::feedback::{ArrivedProbe, Feedback, ProbeHeader, Probes};
use super::queue::{Batch, Queues, Slots, is_gone};
use super::turns::Turns;
use crate::datapath::{Backend, BackendError, Judgement, Progress};
use crate::filter::Judge;
use crate::gateway::sys;
use crate::packet::Received;
use crate::packet::merge::{Merger, Offload, PIECES};
use crate::packet::virtio::{Framing, VirtioHeader, traffic_of};
use crate::verdict::{Action, Reason, Verdict};

/// The filter's tun device; it exists as long as one of its queues is open.
#[derive(Debug)]
pub struct TunDevice {
    queues: Vec<File>,
    workers: usize,
    offload: Offload,
    framing: Framing,
}

impl TunDevice {
    /// Creates the device called `name` for so many workers, each with a queue or several: a tun or, with Ethernet headers, a tap.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn create(name: &str, workers: usize, framing: Framing) -> io::Result<Self> {
        let queues = workers * Self::queues_of_each(workers, framing);
        let queues = if queues > 1 || framing == Framing::Ethernet {
            let several = if queues > 1 {
                sys::Queues::Several
            } else {
                sys::Queues::One
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
            workers,
            offload,
            framing,
        })
    }

    /// The queues of each worker. A tap has several, so that packets of one client wait for few of others, and 256 in all, which is the
    /// most that a device has (`MAX_TAP_QUEUES` of linux/drivers/net/tun.c); its packets are [steered](Self::steer). The kernel's own
    /// choice, which a tun is left to, separates the fragmented datagrams of a flow from its others, so it has no more than it must.
    fn queues_of_each(workers: usize, framing: Framing) -> usize {
        const MOST: usize = 256;
        match framing {
            Framing::Ip => 1,
            Framing::Ethernet => (MOST / workers.max(1)).clamp(1, 16),
        }
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

    /// Returns its queues, by worker: queue number `n` is of worker `n` modulo their number.
    pub fn into_queues(self) -> Vec<TunQueues> {
        let of_worker = |_| TunQueues {
            files: Vec::new(),
            offload: self.offload,
            framing: self.framing,
        };
        let mut workers: Vec<TunQueues> = (0..self.workers).map(of_worker).collect();
        for (number, file) in self.queues.into_iter().enumerate() {
            workers[number % self.workers].files.push((number, file));
        }
        workers
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

/// The queues of a [`TunDevice`] that one worker reads.
#[derive(Debug)]
pub struct TunQueues {
    /// Each with its number in the device.
    files: Vec<(usize, File)>,
    /// The super-packets that the device accepts.
    offload: Offload,
    framing: Framing,
}

impl TunQueues {
    /// Returns the files to read from and write to.
    pub fn into_files(self) -> impl Iterator<Item = File> {
        self.files.into_iter().map(|(_, file)| file)
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
fn open_queue(name: &str, framing: Framing, queues: sys::Queues) -> io::Result<File> {
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

/// The queues of the filter's tun device that one worker reads.
#[derive(Debug)]
pub struct TunBackend {
    queues: Queues,
    /// The numbers of the queues in the device.
    numbers: Vec<usize>,
    turns: Turns,
    framing: Framing,
    device: String,
    merger: Merger,
    slots: Slots,
    stop: StopSignal,
    stopping: Option<Instant>,
    started: Instant,
    /// When all queues were read last, whatever was known of them.
    all_read: Duration,
    counters: Arc<IoCounters>,
    feedback: Feedback,
}

impl TunBackend {
    /// Creates a worker's end of `queues`, which are queues of the device called `device`.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn new(
        queues: TunQueues,
        device: &str,
        stop: StopSignal,
        counters: Arc<IoCounters>,
        feedback: Feedback,
    ) -> io::Result<Self> {
        let framing = queues.framing;
        let merger = Merger::new(queues.offload, framing);
        let (numbers, files) = queues.files.into_iter().unzip();
        let queues = Queues::new(files);
        counters.note_batching(queues.has_ring());
        Ok(Self {
            turns: Turns::new(queues.files(), &*stop.event)?,
            queues,
            numbers,
            framing,
            merger,
            device: device.to_owned(),
            slots: Slots::new(),
            stop,
            stopping: None,
            started: Instant::now(),
            all_read: Duration::ZERO,
            counters,
            feedback,
        })
    }

    /// Has the packets of a self-test among `frames` judged, and reports them; they are no traffic.
    #[cold]
    fn judge_probes(&self, probes: Probes, judgement: &mut impl Judgement, at: Duration) {
        for frame in self.slots.frames().filter(|it| probes.has(it)) {
            let (Some((_, packet)), Some((interface, passes))) =
                (self.framing.split(frame), probes.read(frame))
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

    /// The queue to read next; waits for one that has packets, or the signal to stop, at most [`IDLE_LIMIT`], so that the watchdog sees
    /// progress.
    fn turn(&mut self) -> io::Result<Option<usize>> {
        let turn = self.turns.take();
        if turn.is_none() {
            self.turns.wait(IDLE_MILLISECONDS)?;
        }
        Ok(turn)
    }

    /// Returns `true` if the worker must stop, and nothing is left to read.
    fn is_over(&mut self, turn: Option<usize>) -> io::Result<bool> {
        if self.stop.given.load(Ordering::Relaxed) {
            self.stopping.get_or_insert_with(Instant::now);
        }
        let Some(since) = self.stopping else {
            return Ok(false);
        };
        if turn.is_none() {
            self.turns.look()?;
        }
        let is_empty = turn.is_none() && !self.turns.has_any();
        Ok(is_empty || since.elapsed() > DRAIN_LIMIT)
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
        let turn = self.turn().map_err(|error| self.failed(error))?;
        if self.is_over(turn).map_err(|error| self.failed(error))? {
            return Ok(Progress::End);
        }
        let Some(queue) = turn else {
            return Ok(Progress::More);
        };
        let reading = self.feedback.begin(self.numbers[queue]);
        let received = self.queues.receive(queue, &mut self.slots);
        let Batch { count, is_full } = received.map_err(|error| self.failed(error))?;
        reading.end(count);
        if count == 0 {
            self.turns.is_empty(queue);
            return Ok(Progress::More);
        }

        let at = self.started.elapsed();
        if at - self.all_read > IDLE_LIMIT {
            // Packets for a queue that were lost on the way are noted as unread until it is found empty.
            self.turns.read_all();
            self.all_read = at;
        } else if !is_full {
            self.turns.is_empty(queue);
        } else if self.turns.are_several() {
            // It may have packets for ever: others have some, too.
            self.turns.look().map_err(|error| self.failed(error))?;
        }
        let mut packets = [Received::whole(&[], Duration::ZERO); Judge::BATCH];
        let probes = self.feedback.probes(self.framing);
        let frames = self.slots.frames();
        let frames = frames.filter(|frame| !probes.has(frame));
        let traffic = frames.clone().count();
        if traffic < count {
            self.judge_probes(probes, judgement, at);
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
        let sent = self.queues.send(queue, writes, lost);
        self.counters.note_batching(self.queues.has_ring());
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

/// The longest time that an idle worker waits before it checks for a stop, and tells the kernel that it reads: ten times a
/// second, with a system call for each queue.
pub const IDLE_LIMIT: Duration = Duration::from_millis(IDLE_MILLISECONDS as u64);
const IDLE_MILLISECONDS: u8 = 100;

/// The longest time that a stopping worker goes on reading; no more packets are diverted to it by then.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::thread;

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
        let (ends, peers): (Vec<_>, Vec<_>) = (0..2)
            .map(|number| {
                let (one, other) = UnixDatagram::pair().expect("sockets");
                one.set_nonblocking(true).expect("a socket");
                ((number, File::from(OwnedFd::from(one))), other)
            })
            .unzip();
        let queues = TunQueues {
            files: ends,
            offload: Offload::TcpAndUdp,
            framing: Framing::Ip,
        };
        let stop = StopSignal::new().expect("an event file");
        let feedback = Feedback::default();
        let backend = TunBackend::new(queues, "socket", stop.clone(), Arc::default(), feedback);
        let mut backend = backend.expect("files");
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            // The queues are never empty for long.
            for peer in &peers {
                peer.set_nonblocking(true).expect("a socket");
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        _ = peer.send(&[0; 40]);
                    }
                });
            }
            let mut exchange = || backend.exchange(&mut Nobody).expect("they are open");
            assert_eq!(exchange(), Progress::More);
            stop.give();
            let stopped = Instant::now();
            while exchange() == Progress::More {
                assert!(stopped.elapsed() < 20 * DRAIN_LIMIT, "it goes on and on");
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_packet_waits_for_a_batch_of_others_at_most() {
        let (busy, flood) = UnixDatagram::pair().expect("sockets");
        let (quiet, single) = UnixDatagram::pair().expect("sockets");
        let files = [busy, quiet].map(|end| {
            end.set_nonblocking(true).expect("a socket");
            File::from(OwnedFd::from(end))
        });
        let queues = TunQueues {
            files: (0..).zip(files).collect(),
            offload: Offload::TcpAndUdp,
            framing: Framing::Ip,
        };
        /// Collects the first bytes of packets.
        struct Order(Vec<u8>);
        impl Judgement for Order {
            fn judge(&mut self, packets: &[Received<'_>], verdicts: &mut [Verdict]) {
                for (packet, verdict) in packets.iter().zip(verdicts) {
                    self.0.push(packet.bytes[0]);
                    *verdict = Verdict::drop(Reason::Malformed);
                }
            }
        }
        let stop = StopSignal::new().expect("an event file");
        let feedback = Feedback::default();
        let backend = TunBackend::new(queues, "socket", stop, Arc::default(), feedback);
        let mut backend = backend.expect("files");
        let mut order = Order(Vec::new());
        flood.set_nonblocking(true).expect("a socket");
        let frame = |first: u8| [&[0; VirtioHeader::LENGTH][..], &[first; 40]].concat();
        // There are always some.
        let fill = || while flood.send(&frame(1)).is_ok() {};
        for _ in 0..20 {
            fill();
            let before = order.0.len();
            single.send(&frame(2)).expect("room");
            while !order.0[before..].contains(&2) {
                fill();
                backend.exchange(&mut order).expect("they are open");
                let waited = order.0.len() - before;
                assert!(waited <= 2 * Judge::BATCH, "behind {waited}");
            }
        }
    }
}
