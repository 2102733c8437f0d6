//! [`Traces`]: the clients whose packets are traced at the moment, and the queues by which workers hand them over.
//!
//! ```text
//!  worker 0 ── note ─┐ filled ─▶ TraceReader (a task of `report::trace`) ─▶ lines of one connection
//!  worker 1 ── note ─┤ free   ◀─┘
//! ```
//!
//! Without a trace a worker reads one flag for each batch. With one it compares the source of each packet, and copies the
//! beginning of those that match into a place that is there already. Whatever exceeds the rate or the places is counted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use crossbeam_queue::ArrayQueue;

use super::drops::take_one;
use super::judged::{JudgedPacket, LINE_SNAP_LENGTH, PolicyNames};
use crate::packet::Received;
use crate::verdict::Verdict;

/// The traces that are running, as workers see them.
#[derive(Debug, Default)]
pub struct Traces {
    is_any: AtomicBool,
    running: ArcSwap<Vec<Arc<Trace>>>,
}

/// One trace: the queues between workers and its reader.
#[derive(Debug)]
struct Trace {
    client: IpAddr,
    free: ArrayQueue<Box<JudgedPacket>>,
    filled: ArrayQueue<Box<JudgedPacket>>,
    /// Packets that may be handed over yet in this tick.
    left: AtomicU32,
    /// Packets that were not handed over.
    left_out: AtomicU64,
}

impl Traces {
    /// Most packets of a second that a trace shows.
    pub const RATE: u32 = 50;
    /// Traces at a time.
    pub const MAX_TRACES: usize = 4;
    /// The time after which the reader of a trace lets it have more packets.
    pub const TICK: Duration = Duration::from_millis(100);

    /// Begins to trace `client`; `None` if [`MAX_TRACES`](Self::MAX_TRACES) are running. Called by the control task alone.
    pub fn begin(self: &Arc<Self>, client: IpAddr) -> Option<TraceReader> {
        let mut running = Vec::clone(&self.running.load());
        if running.len() >= Self::MAX_TRACES {
            return None;
        }
        let free = ArrayQueue::new(PLACES);
        for _ in 0..PLACES {
            // There is room for as many as are made.
            _ = free.push(Box::new(JudgedPacket::with_room_for(LINE_SNAP_LENGTH)));
        }
        let trace = Arc::new(Trace {
            client,
            free,
            filled: ArrayQueue::new(PLACES),
            left: AtomicU32::new(A_TICK),
            left_out: AtomicU64::new(0),
        });
        running.push(Arc::clone(&trace));
        self.publish(running);
        Some(TraceReader {
            traces: Arc::clone(self),
            trace,
        })
    }

    /// Traces that are running.
    pub fn count(&self) -> usize {
        self.running.load().len()
    }

    /// Hands the packets of a batch to the traces of their clients; the slices are equally long.
    #[inline]
    pub fn note(&self, packets: &[Received<'_>], verdicts: &[Verdict], names: &Arc<PolicyNames>) {
        if self.is_any.load(Ordering::Relaxed) {
            self.note_some(packets, verdicts, names);
        }
    }

    #[cold]
    fn note_some(&self, packets: &[Received<'_>], verdicts: &[Verdict], names: &Arc<PolicyNames>) {
        let running = self.running.load();
        let mut now = None;
        for (packet, verdict) in packets.iter().zip(verdicts) {
            let Some(source) = source_of(packet.bytes) else {
                continue;
            };
            for trace in running.iter().filter(|it| it.client == source) {
                trace.note(packet, *verdict, names, &mut now);
            }
        }
    }

    fn publish(&self, running: Vec<Arc<Trace>>) {
        let is_any = !running.is_empty();
        self.running.store(Arc::new(running));
        self.is_any.store(is_any, Ordering::Relaxed);
    }
}

impl Trace {
    fn note(
        &self,
        packet: &Received<'_>,
        verdict: Verdict,
        names: &Arc<PolicyNames>,
        now: &mut Option<SystemTime>,
    ) {
        let place = if take_one(&self.left) {
            self.free.pop()
        } else {
            None
        };
        let Some(mut place) = place else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let at = *now.get_or_insert_with(SystemTime::now);
        place.fill(packet, verdict, names, at);
        // There is room for as many as were made.
        _ = self.filled.push(place);
    }
}

/// The reader of one trace, which ends with it.
#[derive(Debug)]
pub struct TraceReader {
    traces: Arc<Traces>,
    trace: Arc<Trace>,
}

impl TraceReader {
    /// Lets workers hand over the packets of another tick.
    pub fn begin_tick(&self) {
        self.trace.left.store(A_TICK, Ordering::Relaxed);
    }

    /// Has `read` read the next packet, and frees its place; `None` if there is none.
    pub fn next<T>(&self, read: impl FnOnce(&JudgedPacket) -> T) -> Option<T> {
        let mut packet = self.trace.filled.pop()?;
        let told = read(&packet);
        packet.clear();
        // There is room for as many as were made.
        _ = self.trace.free.push(packet);
        Some(told)
    }

    /// Packets of the client that were not handed over so far.
    pub fn left_out(&self) -> u64 {
        self.trace.left_out.load(Ordering::Relaxed)
    }
}

impl Drop for TraceReader {
    fn drop(&mut self) {
        let mut running = Vec::clone(&self.traces.running.load());
        running.retain(|it| !Arc::ptr_eq(it, &self.trace));
        self.traces.publish(running);
    }
}

/// The source of an IP packet, whatever else is wrong with it (RFC 791 §3.1, RFC 8200 §3).
fn source_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.first()? >> 4 {
        4 => {
            let source: [u8; 4] = *bytes.get(12..)?.first_chunk()?;
            Some(Ipv4Addr::from(source).into())
        }
        6 => {
            let source: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            Some(Ipv6Addr::from(source).into())
        }
        _ => None,
    }
}

/// Packets that are handed over in a tick.
const A_TICK: u32 = 5;
const _: () = assert!(A_TICK as u128 * 1_000 == Traces::RATE as u128 * Traces::TICK.as_millis());
/// Places of a trace: what comes in some ticks, if its reader is late.
const PLACES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::host::sample::{compiled, datagram};
    use crate::verdict::Reason;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 16, 1, 10));

    fn note(traces: &Traces, packet: &[u8], times: usize) {
        let names = Arc::new(PolicyNames::of(&compiled("", 1)));
        let packets = vec![Received::whole(packet, Duration::ZERO); times];
        traces.note(&packets, &vec![Verdict::drop(Reason::Media); times], &names);
    }

    fn count(reader: &TraceReader) -> usize {
        std::iter::from_fn(|| reader.next(|_| ())).count()
    }

    #[test]
    fn the_packets_of_the_client_alone_are_handed_over() {
        let traces = Arc::new(Traces::default());
        let packet = datagram([10, 20, 0, 7], 50_020, 10);
        note(&traces, &packet, 1);
        let reader = traces.begin(CLIENT).expect("the first");
        let other = traces.begin("172.16.1.11".parse().expect("an address"));
        let other = other.expect("the second");
        note(&traces, &packet, 2);
        note(&traces, &[0x45, 0, 0], 1);
        note(&traces, &[], 1);
        assert_eq!((count(&reader), count(&other)), (2, 0));
        assert_eq!(reader.left_out(), 0);
    }

    #[test]
    fn what_exceeds_the_rate_is_counted() {
        let traces = Arc::new(Traces::default());
        let reader = traces.begin(CLIENT).expect("the first");
        let packet = datagram([10, 20, 0, 7], 50_020, 10);
        for tick in 1..=3 {
            note(&traces, &packet, 10);
            assert_eq!(count(&reader), A_TICK as usize);
            assert_eq!(reader.left_out(), 5 * tick);
            reader.begin_tick();
        }
    }

    #[test]
    fn where_nobody_reads_the_rest_is_counted_and_nobody_waits() {
        let traces = Arc::new(Traces::default());
        let reader = traces.begin(CLIENT).expect("the first");
        let packet = datagram([10, 20, 0, 7], 50_020, 10);
        for _ in 0..100 {
            note(&traces, &packet, A_TICK as usize);
            reader.begin_tick();
        }
        assert_eq!(count(&reader), PLACES);
        assert_eq!(reader.left_out(), 500 - PLACES as u64);
    }

    #[test]
    fn there_are_a_few_at_a_time_and_one_that_ends_makes_room() {
        let traces = Arc::new(Traces::default());
        let mut readers: Vec<_> = (0..Traces::MAX_TRACES)
            .map(|_| traces.begin(CLIENT).expect("one of a few"))
            .collect();
        assert!(traces.begin(CLIENT).is_none());
        readers.pop();
        assert!(traces.begin(CLIENT).is_some());
        readers.clear();
        assert!(!traces.is_any.load(Ordering::Relaxed));
    }
}
