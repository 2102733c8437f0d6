//! [`Sender`]: the thread that sends answers.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::route::{Routes, Way};
use super::{Queued, Shared};
use crate::gateway::host::interfaces::names;
use crate::gateway::sys::link::LinkSocket;

/// The state of the thread.
pub(super) struct Sender {
    shared: Arc<Shared>,
    routes: Routes,
    socket: LinkSocket,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, routes: Routes, socket: LinkSocket) -> Self {
        Self {
            shared,
            routes,
            socket,
        }
    }

    /// Sends what is in the queue until it is told to stop.
    pub(super) fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            while let Some(queued) = self.shared.queue.pop() {
                self.routes.refresh(Instant::now());
                match self.send(&queued) {
                    Some(()) => self.shared.sent[queued.answer.kind as usize]
                        .fetch_add(1, Ordering::Relaxed),
                    None => self.shared.failed.fetch_add(1, Ordering::Relaxed),
                };
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    fn send(&mut self, queued: &Queued) -> Option<()> {
        let answer = &queued.answer;
        let way = self.routes.way(answer.client())?;
        if queued.entry.is_some_and(|it| it.interface != way.interface) {
            return None;
        }
        let interface = self.routes.interface(way.interface)?;
        let of_vpn = self.shared.interfaces.load();
        if !of_vpn.iter().any(|pattern| names(pattern, &interface.name)) {
            return None;
        }
        let has_ethernet = interface.has_ethernet;
        if self.routes.is_broadcast(answer.tried()) {
            return None;
        }
        let address = match has_ethernet {
            true => Some(self.neighbor(queued, way)?),
            false => None,
        };
        let protocol = match answer.client() {
            IpAddr::V4(_) => ETHERTYPE_IPV4,
            IpAddr::V6(_) => ETHERTYPE_IPV6,
        };
        let sent = self
            .socket
            .send(way.interface, protocol, address, answer.bytes());
        sent.ok()
    }

    /// The Ethernet address that the packet came from, or of the neighbor on the way back.
    fn neighbor(&mut self, queued: &Queued, way: Way) -> Option<[u8; 6]> {
        match queued.entry {
            Some(entry) => {
                (entry.source != [0; 6] && entry.source[0] & 1 == 0).then_some(entry.source)
            }
            None => self.routes.neighbor(way),
        }
    }
}

/// Looks for a stop at least as often.
const PAUSE: Duration = Duration::from_secs(1);

/// IEEE 802 numbers, RFC 894 and RFC 2464 §3.
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
