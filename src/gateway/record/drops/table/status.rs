//! [`DropTableStatus`]: the table of drops, as it is told.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::heavy::Hitter;
use super::{Destination, Entries, Latest, Noted, Service};

/// Dropped packets by samples: destinations, services and clients, those first that have most.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DropTableStatus {
    /// Dropped packets that were read as samples.
    pub samples: u64,
    /// Dropped packets that the samples stand for, themselves included.
    pub packets: u64,
    /// True if addresses of clients are told.
    pub addresses: bool,
    /// Destinations of dropped packets.
    pub destinations: Vec<DestinationStatus>,
    /// Services that they were sent to.
    pub services: Vec<ServiceStatus>,
    /// Clients that sent them.
    pub clients: Vec<ClientStatus>,
    /// The last ones that were sampled, the newest first.
    pub last: Vec<LastDropStatus>,
}

/// A destination at which packets were dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationStatus {
    /// Its address; `null` sums other clients, if addresses of clients are not told.
    pub destination: Option<IpAddr>,
    /// Services that the packets were sent to, and their number.
    #[serde(flatten)]
    pub service: ServiceStatus,
}

/// Service that dropped packets were sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// `tcp`, `udp`, or the number of another one.
    pub protocol: String,
    /// The port; `null` for media in UDP, whose ports differ from call to call.
    pub port: Option<u16>,
    /// The protocol that the payload of media in UDP announces: `stun`, `rtp`, …
    pub media: Option<String>,
    /// Packets dropped, at least.
    pub packets: u64,
    /// Packets dropped, at most: the table has room for few keys, and a new one takes the place of another.
    pub at_most: u64,
    /// The reason of the latest packet.
    pub reason: String,
    /// The rule that decided it.
    pub rule: Option<String>,
    /// Seconds since the latest packet.
    pub seconds_ago: u64,
}

/// A client whose packets were dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its number in the table, which tells clients apart without their addresses.
    pub number: u64,
    /// Its address, if the request asked for addresses.
    pub client: Option<IpAddr>,
    /// Packets dropped, at least.
    pub packets: u64,
    /// Packets dropped, at most.
    pub at_most: u64,
    /// The reason of the latest packet.
    pub reason: String,
    /// The rule that decided it.
    pub rule: Option<String>,
    /// Seconds since the latest packet.
    pub seconds_ago: u64,
}

/// A dropped packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDropStatus {
    /// RFC 3339, in UTC.
    pub time: String,
    /// The reason of the verdict.
    pub reason: String,
    /// The rule that decided.
    pub rule: Option<String>,
    /// False if it was forwarded all the same, since the policy is not enforced for its client.
    pub enforced: bool,
    /// The evidence of media, where the policy asks for it.
    pub evidence: Option<String>,
    /// Its source, if the request asked for addresses.
    pub client: Option<IpAddr>,
    /// Its destination; `null` for another client, if the request did not ask for addresses.
    pub destination: Option<IpAddr>,
    /// `tcp`, `udp`, or the number of another one.
    pub protocol: Option<String>,
    /// The destination port.
    pub port: Option<u16>,
}

impl Entries {
    pub(super) fn status(&self, now: SystemTime, with_addresses: bool) -> DropTableStatus {
        let services = self.services.ranked().into_iter().take(TOLD);
        let clients = self.clients.ranked().into_iter().take(TOLD);
        DropTableStatus {
            samples: self.samples,
            packets: self.packets,
            addresses: with_addresses,
            destinations: self.destinations(now, with_addresses),
            services: services.map(|it| service(it, &it.key, now)).collect(),
            clients: clients
                .map(|it| ClientStatus {
                    number: it.number,
                    client: Some(it.key).filter(|_| with_addresses),
                    packets: it.at_least(),
                    at_most: it.count,
                    reason: it.latest.reason.to_string(),
                    rule: it.latest.rule.clone(),
                    seconds_ago: since(it.latest.at, now),
                })
                .collect(),
            last: self
                .last
                .iter()
                .rev()
                .map(|it| last(it, with_addresses))
                .collect(),
        }
    }

    /// Other clients are one destination for each service, unless addresses are told.
    fn destinations(&self, now: SystemTime, with_addresses: bool) -> Vec<DestinationStatus> {
        let mut told: Vec<DestinationStatus> = Vec::new();
        for it in self.destinations.ranked() {
            let Destination {
                address,
                is_client,
                service: key,
            } = &it.key;
            let destination = Some(*address).filter(|_| with_addresses || !is_client);
            let service = service(it, key, now);
            let is_same = |known: &&mut DestinationStatus| {
                let kind = |it: &ServiceStatus| (it.protocol.clone(), it.port, it.media.clone());
                known.destination.is_none() && kind(&known.service) == kind(&service)
            };
            match told.iter_mut().find(is_same) {
                Some(known) if destination.is_none() => {
                    known.service.packets += service.packets;
                    known.service.at_most += service.at_most;
                    known.service.seconds_ago = known.service.seconds_ago.min(service.seconds_ago);
                }
                _ => told.push(DestinationStatus {
                    destination,
                    service,
                }),
            }
        }
        told.sort_by_key(|it| std::cmp::Reverse(it.service.packets));
        told.truncate(TOLD);
        told
    }
}

fn service<K>(hitter: &Hitter<K, Latest>, service: &Service, now: SystemTime) -> ServiceStatus {
    ServiceStatus {
        protocol: service.protocol.clone(),
        port: service.port,
        media: service.media.map(str::to_owned),
        packets: hitter.count - hitter.error,
        at_most: hitter.count,
        reason: hitter.latest.reason.to_string(),
        rule: hitter.latest.rule.clone(),
        seconds_ago: since(hitter.latest.at, now),
    }
}

fn last(noted: &Noted, with_addresses: bool) -> LastDropStatus {
    let destination = noted.keys.destination.as_ref();
    let is_told = |it: &&Destination| with_addresses || !it.is_client;
    LastDropStatus {
        time: humantime::format_rfc3339_millis(noted.latest.at.max(SystemTime::UNIX_EPOCH))
            .to_string(),
        reason: noted.latest.reason.to_string(),
        rule: noted.latest.rule.clone(),
        enforced: noted.is_enforced,
        evidence: noted.evidence.map(str::to_owned),
        client: noted.keys.client.filter(|_| with_addresses),
        destination: destination.filter(is_told).map(|it| it.address),
        protocol: destination.map(|it| it.service.protocol.clone()),
        port: noted.port,
    }
}

fn since(at: SystemTime, now: SystemTime) -> u64 {
    // A clock that was set back: it was a moment ago.
    now.duration_since(at).map_or(0, |it| it.as_secs())
}

/// Keys of each table that are told.
const TOLD: usize = 32;
