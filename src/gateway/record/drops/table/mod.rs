//! [`DropTable`]: which destinations, services and clients the drops are of, and the last of them, in bounded memory.
//!
//! The thread of the recorder feeds it with the samples of each tick. At a low rate that is every dropped packet; beyond,
//! the packets without a sample are counted for the keys that were sampled just before them.
//!
//! It is there without a log, too, and stays in the process: addresses of clients are told only to requests that ask for
//! them, since they identify people.

mod heavy;
mod status;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use self::heavy::HeavyHitters;
pub use self::status::{
    ClientStatus, DestinationStatus, DropTableStatus, LastDropStatus, ServiceStatus,
};
use super::sample::Sample;
use crate::gateway::record::judged::PacketFacts;
use crate::verdict::Reason;

/// Destinations, services and clients of dropped packets, with the reasons.
#[derive(Debug)]
pub struct DropTable(Mutex<Entries>);

#[derive(Debug)]
struct Entries {
    destinations: HeavyHitters<Destination, Latest>,
    services: HeavyHitters<Service, Latest>,
    clients: HeavyHitters<IpAddr, Latest>,
    last: VecDeque<Noted>,
    /// The keys of the samples of the tick before, by reason: drops without a sample came after them.
    before: Vec<Vec<Keys>>,
    /// Samples so far.
    samples: u64,
    /// Dropped packets that they stand for.
    packets: u64,
}

/// A destination at which packets were dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Destination {
    address: IpAddr,
    /// True for the address of a client.
    is_client: bool,
    service: Service,
}

/// Service that packets were sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    /// `tcp`, `udp`, or the number of another one.
    protocol: String,
    /// `None` for media in UDP, whose ports differ from call to call, and for what shows no port.
    port: Option<u16>,
    /// The protocol that the payload of media in UDP announces.
    media: Option<&'static str>,
}

/// The latest packet of a key.
#[derive(Debug, Clone)]
struct Latest {
    at: SystemTime,
    reason: Reason,
    rule: Option<String>,
}

/// The keys of a sample.
#[derive(Debug, Clone)]
struct Keys {
    destination: Option<Destination>,
    client: Option<IpAddr>,
}

/// A sample, as far as the table keeps it.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    keys: Keys,
    latest: Latest,
    port: Option<u16>,
    evidence: Option<&'static str>,
    is_enforced: bool,
    missed: u64,
}

impl Noted {
    /// Reads `sample`; `None` for one that is not for the table.
    pub(super) fn of(sample: &Sample) -> Option<Self> {
        let (missed, by) = (sample.missed?, sample.packet.by.as_ref()?);
        let packet = &sample.packet;
        let facts = PacketFacts::of(packet.received());
        let rule = packet.verdict.rule.and_then(|rule| by.rules.rule(rule));
        let media = facts
            .payload
            .filter(|it| packet.verdict.is_media_rule() && !matches!(*it, "other" | "quic"));
        let service = facts.protocol.map(|protocol| Service {
            port: facts.destination_port.filter(|_| media.is_none()),
            protocol,
            media,
        });
        let destination = facts.destination.zip(service);
        Some(Self {
            keys: Keys {
                destination: destination.map(|(address, service)| Destination {
                    address,
                    is_client: by.is_client(address),
                    service,
                }),
                client: facts.source,
            },
            latest: Latest {
                at: packet.at,
                reason: packet.verdict.reason,
                rule: rule.map(|rule| rule.name.clone()),
            },
            port: facts.destination_port,
            evidence: packet.verdict.media.map(|it| it.evidence.word()),
            is_enforced: packet.is_enforced(by),
            missed,
        })
    }
}

impl DropTable {
    /// Adds the samples of a tick.
    pub(super) fn add(&self, tick: Vec<Noted>) {
        if !tick.is_empty() {
            self.entries().add(tick);
        }
    }

    /// Returns its state at `now`; addresses of clients only `with_addresses`.
    pub fn status(&self, now: SystemTime, with_addresses: bool) -> DropTableStatus {
        self.entries().status(now, with_addresses)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // A panic while it was held has left a count that is too low.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for DropTable {
    fn default() -> Self {
        Self(Mutex::new(Entries {
            destinations: HeavyHitters::of(KEYS),
            services: HeavyHitters::of(KEYS),
            clients: HeavyHitters::of(KEYS),
            last: VecDeque::with_capacity(LAST),
            before: vec![Vec::new(); Reason::ALL.len()],
            samples: 0,
            packets: 0,
        }))
    }
}

impl Entries {
    fn add(&mut self, tick: Vec<Noted>) {
        let mut missed = [0; Reason::ALL.len()];
        for noted in &tick {
            missed[noted.latest.reason as usize] += noted.missed;
            self.samples += 1;
            self.packets += 1 + noted.missed;
        }
        let mut sampled = vec![Vec::new(); Reason::ALL.len()];
        for (reason, missed) in missed.into_iter().enumerate() {
            let before = std::mem::take(&mut self.before[reason]);
            self.spread(missed, &before);
            sampled[reason] = before;
        }
        for reason in tick.iter().map(|it| it.latest.reason as usize) {
            sampled[reason].clear();
        }
        for noted in tick {
            let Keys {
                destination,
                client,
            } = &noted.keys;
            let latest = || noted.latest.clone();
            if let Some(destination) = destination {
                let service = destination.service.clone();
                self.services.add(service, 1, latest());
                self.destinations.add(destination.clone(), 1, latest());
            }
            if let Some(client) = client {
                self.clients.add(*client, 1, latest());
            }
            sampled[noted.latest.reason as usize].push(noted.keys.clone());
            if self.last.len() == LAST {
                self.last.pop_front();
            }
            self.last.push_back(noted);
        }
        self.before = sampled;
    }

    /// Counts `missed` drops evenly for the keys of `before`, as far as they are in the table still.
    fn spread(&mut self, missed: u64, before: &[Keys]) {
        let count = before.len() as u64;
        for (at, keys) in before.iter().enumerate() {
            let share = missed / count + u64::from((at as u64) < missed % count);
            if share == 0 {
                return;
            }
            if let Some(destination) = &keys.destination {
                self.services.add_to_known(&destination.service, share);
                self.destinations.add_to_known(destination, share);
            }
            if let Some(client) = &keys.client {
                self.clients.add_to_known(client, share);
            }
        }
    }
}

/// Keys of each table: a key with more than one in 128 of the drops is in it.
const KEYS: usize = 128;
/// The last drops that are kept.
const LAST: usize = 16;

#[cfg(test)]
mod tests;
