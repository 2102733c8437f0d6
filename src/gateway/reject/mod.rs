//! [`Rejector`]: answers clients whose packets the filter drops, where the policy asks for it (`filter.reject`).
//!
//! ```text
//!  worker 0 ──▶ offer ─┐  rate limit, answer    thread "offramp-reject"
//!  worker 1 ──▶ offer ─┴─▶ queue, bounded ─────▶ route to the client ──▶ LinkSocket ──▶ the VPN's interface
//! ```
//!
//! An answer leaves by the interface of the VPN itself, not by way of the host's routes and firewall, which do not let packets
//! of other hosts' addresses out. It goes to clients only: to a source that lies in `vpn.client_subnets`, since the filter
//! judges nothing else, and to which the host has a route by an interface of the VPN. Where the diversion tells by which interface
//! the packet entered, the route must lead there. So a packet with the source of another client gets no answer, and neither
//! does the other client.
//!
//! A worker copies an answer into the queue and goes on. What exceeds the rate or the queue is counted as suppressed.

mod limit;
mod route;
mod sender;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

use arc_swap::ArcSwap;
use crossbeam_queue::ArrayQueue;

use self::limit::Limiter;
use self::route::Routes;
use self::sender::Sender;
use super::record::WriterThread;
pub(in crate::gateway) use super::sys::link::LinkSocket;
use crate::filter::{CompiledPolicy, rejectable};
use crate::gateway::host::rights::Role;
use crate::packet::Received;
use crate::packet::reject::{Rejection, RejectionKind};
use crate::packet::virtio::{Framing, VirtioHeader};
use crate::verdict::Verdict;

/// Answers clients, from its start until it is dropped.
#[derive(Debug)]
pub struct Rejector {
    shared: Arc<Shared>,
    framing: Framing,
    thread: WriterThread,
    waker: Thread,
}

/// The state that workers and the thread share.
#[derive(Debug)]
struct Shared {
    limiter: Limiter,
    queue: ArrayQueue<Queued>,
    /// `vpn.interfaces` of the policy in force.
    interfaces: ArcSwap<Vec<String>>,
    sent: [AtomicU64; RejectionKind::ALL.len()],
    /// Answers that the thread could not send.
    failed: AtomicU64,
}

/// An answer, and what is known of the packet's way.
#[derive(Debug)]
struct Queued {
    answer: Rejection,
    entry: Option<Entry>,
}

/// The interface by which a packet entered, and its sender there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    interface: u32,
    /// The source of its Ethernet header; zeros if it had none.
    source: [u8; 6],
}

/// The outcome of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The packet is not to be answered.
    Unwanted,
    /// Its answer is under way.
    Taken,
    /// Its answer exceeds the rate, or the queue.
    Suppressed,
}

impl Rejector {
    /// Starts its thread, which sends through `socket`; `framing` is that of the filter's device.
    ///
    /// # Errors
    /// The system has no thread or no socket left.
    pub(in crate::gateway) fn start(socket: LinkSocket, framing: Framing) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(QUEUE));
        let mut sender = Sender::new(Arc::clone(&shared), Routes::open()?, socket);
        let thread = WriterThread::start("offramp-reject", Role::Answers, move |stop| {
            sender.run(stop)
        })?;
        Ok(Self {
            shared,
            framing,
            waker: thread.waker(),
            thread,
        })
    }

    /// Follows a policy that comes into force.
    pub fn follow(&self, policy: &CompiledPolicy) {
        let names = policy.policy().vpn.interfaces.iter();
        let names = names.map(|name| name.value.clone()).collect();
        self.shared.interfaces.store(Arc::new(names));
    }

    /// Has the sender of `packet` answered, if `policy` asks for it; `frame` is the packet behind the headers of the filter's
    /// device. Does not wait, and allocates nothing.
    pub fn offer(
        &self,
        policy: &CompiledPolicy,
        verdict: Verdict,
        packet: Received<'_>,
        frame: &[u8],
    ) -> Offer {
        let offer = self
            .shared
            .offer(policy, verdict, packet, frame, self.framing);
        if offer == Offer::Taken {
            self.waker.unpark();
        }
        offer
    }

    /// Answers sent so far, by their kind.
    pub fn sent(&self) -> [(RejectionKind, u64); RejectionKind::ALL.len()] {
        RejectionKind::ALL.map(|kind| {
            (
                kind,
                self.shared.sent[kind as usize].load(Ordering::Relaxed),
            )
        })
    }

    /// Answers that could not be sent: the client has no route by the VPN, or the interface took none.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn new(queue: usize) -> Self {
        Self {
            limiter: Limiter::new(),
            queue: ArrayQueue::new(queue),
            interfaces: ArcSwap::default(),
            sent: Default::default(),
            failed: AtomicU64::new(0),
        }
    }

    fn offer(
        &self,
        policy: &CompiledPolicy,
        verdict: Verdict,
        packet: Received<'_>,
        frame: &[u8],
        framing: Framing,
    ) -> Offer {
        let Some(rejectable) = rejectable(policy.policy().filter.reject, verdict, packet) else {
            return Offer::Unwanted;
        };
        if !self.limiter.admits(rejectable.client(), packet.at) {
            return Offer::Suppressed;
        }
        let queued = Queued {
            answer: rejectable.answer(),
            entry: Entry::of(frame, framing),
        };
        match self.queue.push(queued) {
            Ok(()) => Offer::Taken,
            Err(_) => Offer::Suppressed,
        }
    }
}

impl Drop for Rejector {
    fn drop(&mut self) {
        self.thread.tell_to_stop();
    }
}

impl Entry {
    /// Reads the Ethernet header in which the diversion by eBPF notes the interface (`struct ethernet` of
    /// `divert/ebpf/maps.h`).
    fn of(frame: &[u8], framing: Framing) -> Option<Self> {
        if framing == Framing::Ip {
            return None;
        }
        let header = frame.get(VirtioHeader::LENGTH..Framing::Ethernet.prefix())?;
        let [_, _, a, b, c, d, source @ .., _, _] = *<&[u8; 14]>::try_from(header).ok()?;
        Some(Self {
            interface: u32::from_ne_bytes([a, b, c, d]),
            source,
        })
    }
}

/// Answers that wait: those of a tenth of a second, and a burst.
const QUEUE: usize = 256;

#[cfg(test)]
mod tests;
