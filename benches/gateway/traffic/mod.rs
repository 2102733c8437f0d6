//! [`Kind`]: the traffic sent through the gateway; [`Traffic::turn`] sends it for a while and counts arrivals.
//!
//! Senders wait for the receiver, as TCP does: any loss is the gateway's, and no time is spent on packets that a full
//! queue drops. Receivers poll every 200 µs, so that no sender pays for waking them.

mod arrivals;
mod checksum;
mod datagrams;
mod echoes;
mod segments;
mod stream;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::arrivals::{Arrivals, Taking};
pub(crate) use self::echoes::Delays;
use crate::bed::{Bed, INSIDE, OUTSIDE};
use crate::meter::{Meter, Spent};

/// A kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Small UDP from the tunnel to an address outside the policy.
    OutsideUdp,
    /// TCP in super-packets to such an address.
    OutsideTcp,
    /// TCP in super-packets to port 443 of a corporate host.
    Https,
    /// TCP from the tunnel, as a VPN daemon writes it, to port 445 of a corporate host.
    Smb,
    /// TCP from the tunnel, as a VPN daemon writes it, to an allowed media port: diverted.
    TcpSingles,
    /// TCP in super-packets to an allowed media port: diverted.
    TcpGso,
    /// The same, and the receiver copies what it reads, as programs do: the ends take most of the time.
    TcpGsoRead,
    /// One flow of UDP datagrams of one size: diverted, can be merged.
    UdpAlike,
    /// Many flows of UDP datagrams of many sizes: diverted, cannot be merged.
    UdpMixed,
    /// Requests and replies, a thousand a second: diverted on the way there.
    Latency,
    /// The same, while another client sends TCP in super-packets as fast as it can: diverted, too.
    LatencyBesideBulk,
}

/// The way a kind is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// Datagrams written into the tunnel.
    Datagrams(datagrams::Mix),
    /// TCP segments written into the tunnel.
    Segments,
    /// TCP by a socket on the wired link.
    Stream,
    /// Requests written into the tunnel.
    Echoes,
    /// The same, while a socket on the wired link sends TCP.
    EchoesBesideStream,
}

impl Kind {
    /// Describes the kind in a few words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::OutsideUdp => "small UDP outside the policy",
            Self::OutsideTcp => "GSO TCP outside the policy",
            Self::Https => "GSO TCP to an inner port 443",
            Self::Smb => "1448-byte TCP to an inner port 445",
            Self::TcpSingles => "diverted 1448-byte TCP",
            Self::TcpGso => "diverted GSO TCP",
            Self::TcpGsoRead => "diverted GSO TCP, copied at its end",
            Self::UdpAlike => "diverted small UDP, one flow",
            Self::UdpMixed => "diverted small UDP, many flows",
            Self::Latency => "diverted requests",
            Self::LatencyBesideBulk => "the same beside another client's bulk",
        }
    }

    /// Returns the unit of [`Turn::rate`].
    pub(crate) fn unit(self) -> &'static str {
        match self.sender() {
            Sender::Datagrams(_) => "kpps",
            Sender::Segments | Sender::Stream => "Gbit/s",
            Sender::Echoes | Sender::EchoesBesideStream => "µs",
        }
    }

    /// Returns `true` if round-trip times are measured.
    pub(crate) fn has_delays(self) -> bool {
        matches!(self, Self::Latency | Self::LatencyBesideBulk)
    }

    fn sender(self) -> Sender {
        match self {
            Self::OutsideUdp | Self::UdpMixed => Sender::Datagrams(datagrams::Mix::Unlike),
            Self::UdpAlike => Sender::Datagrams(datagrams::Mix::Alike),
            Self::Smb | Self::TcpSingles => Sender::Segments,
            Self::OutsideTcp | Self::Https | Self::TcpGso | Self::TcpGsoRead => Sender::Stream,
            Self::Latency => Sender::Echoes,
            Self::LatencyBesideBulk => Sender::EchoesBesideStream,
        }
    }

    fn to(self) -> SocketAddrV4 {
        let (address, port) = match self {
            Self::OutsideUdp => (OUTSIDE, MEDIA_PORT),
            Self::OutsideTcp => (OUTSIDE, HTTPS),
            Self::Https => (INSIDE, HTTPS),
            Self::Smb => (INSIDE, SMB),
            Self::TcpSingles | Self::TcpGso | Self::UdpAlike | Self::UdpMixed => {
                (INSIDE, MEDIA_PORT)
            }
            Self::TcpGsoRead => (INSIDE, COPIED_PORT),
            Self::Latency | Self::LatencyBesideBulk => (INSIDE, ECHO_PORT),
        };
        SocketAddrV4::new(address, port)
    }
}

/// The length of a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The warm-up, which is not counted.
    pub(crate) warm_up: Duration,
    /// The time that is counted.
    pub(crate) turn: Duration,
}

/// The result of a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turn {
    /// Of one-way packets.
    Flow(Flow),
    /// Of requests and replies.
    Delays(Delays),
}

impl Turn {
    /// Returns the one-way arrivals.
    pub(crate) fn flow(self) -> Option<Flow> {
        match self {
            Self::Flow(flow) => Some(flow),
            Self::Delays(_) => None,
        }
    }

    /// Returns the round-trip times.
    pub(crate) fn delays(self) -> Option<Delays> {
        match self {
            Self::Flow(_) => None,
            Self::Delays(delays) => Some(delays),
        }
    }
}

/// Packets that arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// Datagrams or bits a second, in the unit of the kind.
    pub(crate) rate: f64,
    /// Processor time a packet, in nanoseconds.
    pub(crate) nanoseconds: f64,
    /// The share sent and not received, from 0 to 1; unknown for TCP sockets, which retransmit.
    pub(crate) lost: Option<f64>,
    /// The share of the machine used by other processes, from 0 to 1.
    pub(crate) strangers: f64,
}

/// The sender's counts.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    packets: u64,
    lost: u64,
}

/// The receivers, and their counts.
#[derive(Debug)]
pub(crate) struct Traffic<'a> {
    bed: &'a Bed,
    meter: Meter,
    arrivals: &'static Arrivals,
}

impl<'a> Traffic<'a> {
    /// Starts the receivers on the server.
    pub(crate) fn prepare(bed: &'a Bed) -> Self {
        static ARRIVALS: Arrivals = Arrivals::new();
        for port in [HTTPS, SMB, MEDIA_PORT] {
            arrivals::count_streams(&bed.server, any(port), Taking::Counted, &ARRIVALS);
        }
        arrivals::count_streams(&bed.server, any(COPIED_PORT), Taking::Copied, &ARRIVALS);
        arrivals::count_datagrams(&bed.server, any(MEDIA_PORT), &ARRIVALS);
        echoes::answer(&bed.server, any(ECHO_PORT));
        Self {
            bed,
            meter: Meter::new(),
            arrivals: &ARRIVALS,
        }
    }

    /// Sends one kind for a while through a gateway whose filtering process is `filter`.
    pub(crate) fn turn(&self, kind: Kind, pace: Pace, filter: Option<u32>) -> Turn {
        let over = AtomicBool::new(false);
        let to = kind.to();
        match kind.sender() {
            Sender::Echoes => Turn::Delays(echoes::measure(&self.bed.tunnel, to, pace)),
            Sender::EchoesBesideStream => {
                let bulk = SocketAddrV4::new(INSIDE, MEDIA_PORT);
                thread::scope(|scope| {
                    let sender = scope.spawn(|| stream::send(&self.bed.client, bulk, &over));
                    let delays = echoes::measure(&self.bed.tunnel, to, pace);
                    over.store(true, Ordering::Relaxed);
                    let sent = sender.join();
                    sent.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    Turn::Delays(delays)
                })
            }
            Sender::Datagrams(mix) => {
                let send = || datagrams::send(&self.bed.tunnel, to, mix, self.arrivals, &over);
                let (arrived, sent, spent) =
                    self.measure(pace, filter, &over, || self.arrivals.datagrams(), send);
                flow(arrived as f64, arrived as f64 / 1e3, sent, spent)
            }
            Sender::Segments => {
                let send = || segments::send(&self.bed.tunnel, to, &over);
                self.bytes(pace, filter, &over, send)
            }
            Sender::Stream => {
                let send = || stream::send(&self.bed.client, to, &over);
                self.bytes(pace, filter, &over, send)
            }
        }
    }

    fn bytes(
        &self,
        pace: Pace,
        filter: Option<u32>,
        over: &AtomicBool,
        send: impl FnOnce() -> Sent + Send,
    ) -> Turn {
        let (bytes, sent, spent) = self.measure(pace, filter, over, || self.arrivals.bytes(), send);
        let packets = bytes as f64 / segments::PAYLOAD as f64;
        flow(packets, bytes as f64 * 8.0 / 1e9, sent, spent)
    }

    /// Runs `send` until the turn ends; returns the arrivals meanwhile, and the time that passed.
    fn measure(
        &self,
        pace: Pace,
        filter: Option<u32>,
        over: &AtomicBool,
        arrived: impl Fn() -> u64,
        send: impl FnOnce() -> Sent + Send,
    ) -> (u64, Sent, Spent) {
        thread::scope(|scope| {
            let sender = scope.spawn(send);
            thread::sleep(pace.warm_up);
            let (before, start) = (arrived(), self.meter.read(filter));
            thread::sleep(pace.turn);
            let (after, end) = (arrived(), self.meter.read(filter));
            over.store(true, Ordering::Relaxed);
            let sent = sender.join();
            let sent = sent.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (after - before, sent, end.since(&start))
        })
    }
}

fn flow(packets: f64, units: f64, sent: Sent, spent: Spent) -> Turn {
    Turn::Flow(Flow {
        rate: units / spent.elapsed.as_secs_f64(),
        nanoseconds: spent.ours.as_nanos() as f64 / packets,
        lost: (sent.packets > 0).then(|| sent.lost as f64 / sent.packets as f64),
        strangers: spent.strangers,
    })
}

fn any(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}

/// Sleep of a receiver whose socket is empty.
const GLANCE: Duration = Duration::from_micros(200);

/// Waits until `arrived` returns `true` or no more packets come.
fn settle(mut arrived: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !arrived() && Instant::now() < deadline {
        thread::sleep(GLANCE);
    }
}

/// Maximum time a packet can be in flight.
const PATIENCE: Duration = Duration::from_millis(100);

const HTTPS: u16 = 443;
const SMB: u16 = 445;
/// A media port that the policy allows.
const MEDIA_PORT: u16 = 50_010;
/// Another, where a server answers.
const ECHO_PORT: u16 = 50_011;
/// Another, where a server copies what it reads.
const COPIED_PORT: u16 = 50_012;
