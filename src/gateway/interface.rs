//! [`InterfaceBackend`]: reads the frames of a live interface passively.
//!
//! The packets are copies (AF_PACKET, through pnet): the backend cannot delay or drop one. Under a gateway that diverts by eBPF
//! a judged packet enters twice, the second time with a mark, and so do packets of the self-test: they are left out.

use std::fs;
use std::io;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use pnet_datalink::{Channel, ChannelType, Config, DataLinkReceiver};
use socket2::{Domain, SockFilter, Socket, Type};

use super::host::interfaces::RETURN_MARK;
use super::sys;
use crate::capture::{CapturedFrame, LinkType};
use crate::datapath::{Backend, BackendError, FrameSink, Judgement, Progress, judge_frames};

/// Captures frames from a live interface and passes each one to the sink.
pub struct InterfaceBackend<Sink> {
    interface: String,
    link_type: LinkType,
    receiver: Box<dyn DataLinkReceiver>,
    /// The receiver's.
    socket: Socket,
    missed: u64,
    sink: Sink,
    limits: Limits,
    stop: Arc<AtomicBool>,
    started: Instant,
    frames: u64,
}

/// Limits after which the capture stops; without any, it runs until the stop signal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// After this much time.
    pub duration: Option<Duration>,
    /// After this many frames.
    pub frames: Option<u64>,
}

impl<Sink: FrameSink> InterfaceBackend<Sink> {
    /// Listens on the interface called `interface` until `stop` is set or a limit is reached.
    ///
    /// # Errors
    /// When the interface does not exist, its link type is not supported, or the process may not capture.
    pub fn open(
        interface: &str,
        sink: Sink,
        limits: Limits,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let found = pnet_datalink::interfaces()
            .into_iter()
            .find(|it| it.name == interface);
        let device = found.ok_or_else(|| {
            let names: Vec<String> = pnet_datalink::interfaces()
                .into_iter()
                .map(|it| it.name)
                .collect();
            io::Error::other(format!("no such interface; there are {}", names.join(", ")))
        })?;
        let socket = once_each()?;
        let received = socket.try_clone()?;
        let config = Config {
            read_buffer_size: 1 << 18, // a super-packet of BIG TCP, and the link header before it
            read_timeout: Some(LOOK_UP),
            channel_type: ChannelType::Layer2,
            promiscuous: false,
            socket_fd: Some(received.into_raw_fd()),
            ..Config::default()
        };
        let channel = pnet_datalink::channel(&device, config)?;
        let Channel::Ethernet(_, receiver) = channel else {
            return Err(io::Error::other("this system offers no link-layer frames"));
        };
        Ok(Self {
            interface: interface.to_owned(),
            link_type: link_type_of(interface)?,
            receiver,
            socket,
            missed: 0,
            sink,
            limits,
            stop,
            started: Instant::now(),
            frames: 0,
        })
    }

    /// Returns the sink, and how many frames are lost because they came faster than they were judged.
    pub fn into_sink(mut self) -> (Sink, u64) {
        self.count_missed();
        (self.sink, self.missed)
    }

    /// Adds what the kernel has dropped since it was asked last: its counter has 32 bits, and starts again from 0 (packet(7)).
    fn count_missed(&mut self) {
        // `struct tpacket_stats`: received, and dropped for want of room.
        let mut statistics = [0; 8];
        let (level, option) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
        if let Ok(8) = sys::socket_option(&self.socket, level, option, &mut statistics) {
            let [_, _, _, _, dropped @ ..] = statistics;
            self.missed += u64::from(u32::from_ne_bytes(dropped));
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || self.limits.frames.is_some_and(|most| self.frames >= most)
            || self
                .limits
                .duration
                .is_some_and(|most| self.started.elapsed() >= most)
    }
}

/// Opens a socket that receives all packets but those that come back from the filter, and those of its self-test.
fn once_each() -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::PACKET, Type::RAW, None).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => io::Error::new(
                error.kind(),
                "not allowed to listen; run as root, or with CAP_NET_RAW",
            ),
            _ => error,
        })?;
    socket.attach_filter(&[
        SockFilter::new(LOAD_WORD, 0, 0, MARK_OF_PACKET),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, RETURN_MARK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, RETURN_MARK + 1),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])?;
    // Binding it to an interface asks for all protocols; before, it receives none.
    // Past the limit of the system with CAP_NET_ADMIN, and up to it without.
    if setsockopt(&socket, sockopt::RcvBufForce, &BACKLOG).is_err() {
        socket.set_recv_buffer_size(BACKLOG)?;
    }
    Ok(socket)
}

/// Bytes of frames that wait while this process does not run: a second of 10,000 small ones, as the kernel counts them.
const BACKLOG: usize = 16 << 20;

/// Frames after which the kernel is asked how many it has dropped.
const ASK_AFTER: u64 = 1 << 16;

// Classic BPF, as linux/filter.h has it.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// SKF_AD_OFF + SKF_AD_MARK.
const MARK_OF_PACKET: u32 = (-0x1000_i32 + 20).cast_unsigned();

/// Interval at which an idle listener checks the stop flag.
const LOOK_UP: Duration = Duration::from_millis(100);

impl<Sink: FrameSink> Backend for InterfaceBackend<Sink> {
    fn exchange(&mut self, judgement: &mut impl Judgement) -> Result<Progress, BackendError> {
        if self.is_over() {
            return Ok(Progress::End);
        }
        if self.frames % ASK_AFTER == ASK_AFTER - 1 {
            self.count_missed();
        }
        let bytes = match self.receiver.next() {
            Ok(bytes) => bytes,
            Err(error) if is_idle(&error) => return Ok(Progress::More),
            Err(source) => {
                let interface = self.interface.clone();
                return Err(BackendError::Interface { interface, source });
            }
        };
        self.frames += 1;
        let frame = CapturedFrame {
            number: self.frames,
            link_type: self.link_type,
            timestamp: self.started.elapsed(),
            bytes,
            original_length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        judge_frames(std::iter::once(frame), judgement, &mut self.sink)
            .map_err(BackendError::Sink)?;
        Ok(Progress::More)
    }
}

fn is_idle(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// The link type of an interface, by the hardware type that the kernel gives it (`ARPHRD_*`, linux/if_arp.h).
fn link_type_of(interface: &str) -> io::Result<LinkType> {
    const ETHERNET: u32 = 1;
    const PPP: u32 = 512;
    const LOOPBACK: u32 = 772;
    const NONE: u32 = 65_534;
    let path = format!("/sys/class/net/{interface}/type");
    let text = fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
    match text.trim().parse() {
        Ok(ETHERNET | LOOPBACK) => Ok(LinkType::ETHERNET),
        Ok(NONE | PPP) => Ok(LinkType::RAW),
        _ => Err(io::Error::other(format!(
            "hardware type {} is not supported; listen on an Ethernet, PPP or tun interface",
            text.trim()
        ))),
    }
}
