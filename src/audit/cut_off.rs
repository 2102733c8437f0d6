//! [`CutOff`]: the services and destinations behind packets dropped as `media` or `hairpin`, counted in bounded tables.

use std::collections::HashMap;
use std::net::IpAddr;

use super::hash::{MapHasher, hash_of};
use super::report::Tally;
use super::service::{KnownPorts, Role, Scope, Service, ServicePort};
use super::sight::{looks_like_media, tcp_start};
use super::sketch::{Sketch, memory_of, tagged};
use crate::packet::{Addresses, PacketView, Protocol, Transport};

/// Counters of one service.
#[derive(Debug)]
pub(super) struct ServiceCounts {
    pub(super) service: Service,
    pub(super) traffic: Tally,
    /// Packets that open a TCP connection to it.
    pub(super) attempts: u64,
    /// Its flows, each tagged with the number of its destination within the service.
    pub(super) flows: Sketch,
    /// Destinations kept.
    pub(super) destinations: u16,
    /// True if there were more.
    pub(super) has_more: bool,
}

/// Counters of one destination of a service.
#[derive(Debug)]
pub(super) struct DestinationCounts {
    /// Position of the service.
    pub(super) service: u16,
    /// Number within the service, the tag of its flows.
    pub(super) number: u16,
    pub(super) address: IpAddr,
    pub(super) traffic: Tally,
    /// UDP packets whose payload could be seen, and those that looked like media.
    pub(super) visible: u64,
    pub(super) like_media: u64,
    first_client: u128,
    pub(super) several_clients: bool,
    /// True if there was more than attempts to open a TCP connection.
    pub(super) beyond_attempts: bool,
    ports: [u16; MANY_PORTS],
    port_count: usize,
}

impl DestinationCounts {
    /// Returns `true` if it was called at many ports.
    pub(super) const fn has_many_ports(&self) -> bool {
        self.port_count == MANY_PORTS
    }

    /// The only port it was called at.
    pub(super) const fn only_port(&self) -> Option<u16> {
        match self.port_count {
            1 => Some(self.ports[0]),
            _ => None,
        }
    }

    fn note(&mut self, client: u128, port: u16) {
        self.several_clients |= client != self.first_client;
        if self.port_count < MANY_PORTS && !self.ports[..self.port_count].contains(&port) {
            self.ports[self.port_count] = port;
            self.port_count += 1;
        }
    }
}

/// A flow seen not long ago, and where it is counted.
#[derive(Debug, Clone, Copy)]
struct Recent {
    flow: u64,
    place: CounterIndex,
}

/// Counters of a flow: positions of its service and its destination; [`NOWHERE`] if the tables are full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CounterIndex {
    service: u16,
    destination: u16,
}

/// Traffic that the policy would cut off, by service and destination.
#[derive(Debug)]
pub(super) struct CutOff {
    known: KnownPorts,
    pub(super) services: Vec<ServiceCounts>,
    /// By [`Service::key`].
    service_at: HashMap<u32, u16, MapHasher>,
    unnamed_services: usize,
    pub(super) destinations: Vec<DestinationCounts>,
    /// By service and address, IPv4 ones mapped.
    destination_at: HashMap<(u128, u16), u16, MapHasher>,
    /// By the low bits of the flow's hash; a flow takes the place of another.
    recent: Box<[Recent]>,
    /// Windows servers that clients talked to, by the low bits of their hash.
    windows_servers: Box<[u64]>,
    pub(super) scattered: Tally,
    pub(super) without_ports: Tally,
}

impl CutOff {
    /// Empty tables, with room for all that they ever hold but the sketches of services.
    pub(super) fn new() -> Self {
        let nothing = Recent {
            flow: 0,
            place: NOWHERE,
        };
        Self {
            known: KnownPorts::new(),
            services: Vec::with_capacity(MAX_SERVICES),
            service_at: HashMap::with_capacity_and_hasher(MAX_SERVICES, MapHasher::default()),
            unnamed_services: 0,
            destinations: Vec::with_capacity(MAX_DESTINATIONS),
            destination_at: HashMap::with_capacity_and_hasher(
                MAX_DESTINATIONS,
                MapHasher::default(),
            ),
            recent: vec![nothing; RECENT_FLOWS].into_boxed_slice(),
            windows_servers: vec![0; WINDOWS_SERVERS].into_boxed_slice(),
            scattered: Tally::default(),
            without_ports: Tally::default(),
        }
    }

    /// Counts a packet dropped on its way to `scope`; `flow` identifies its flow.
    #[inline]
    pub(super) fn record(&mut self, scope: Scope, packet: &PacketView<'_>, flow: Option<u64>) {
        let (
            Transport::Ports {
                protocol,
                source,
                destination,
            },
            Some(flow),
        ) = (packet.transport(), flow)
        else {
            self.without_ports.count(packet.length());
            return;
        };
        let start = match protocol {
            Protocol::Tcp => tcp_start(packet),
            Protocol::Udp => None,
        };
        let recent = self.recent[flow as usize % RECENT_FLOWS];
        let place = if recent.flow == flow && start.is_none() {
            recent.place
        } else {
            let (port, role) = self.known.tell(protocol, source, destination, start);
            let service = Service {
                protocol,
                port,
                role,
                scope,
            };
            let place = self.find(service, packet, destination, flow);
            self.recent[flow as usize % RECENT_FLOWS] = Recent { flow, place };
            place
        };
        self.count(place, packet, start);
    }

    /// Notes that `packet` goes to a Windows server's own ports; its dynamic ones are Windows RPC, then.
    ///
    /// An attempt to connect proves nothing: a scan makes them everywhere.
    pub(super) fn note_windows_server(&mut self, packet: &PacketView<'_>) {
        if tcp_start(packet).is_none() {
            let hash = hash_of(&packet.addresses().destination());
            self.windows_servers[hash as usize % WINDOWS_SERVERS] = hash;
        }
    }

    /// Returns `true` if `host` is a Windows server that clients talked to.
    pub(super) fn is_windows_server(&self, host: IpAddr) -> bool {
        let hash = hash_of(&host);
        self.windows_servers[hash as usize % WINDOWS_SERVERS] == hash
    }

    /// Bytes it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let sketches: usize = self
            .services
            .iter()
            .map(|service| service.flows.memory_bytes())
            .sum();
        KnownPorts::MEMORY
            + sketches
            + self.services.capacity() * size_of::<ServiceCounts>()
            + map_memory(self.service_at.capacity(), size_of::<(u32, u16)>())
            + self.destinations.capacity() * size_of::<DestinationCounts>()
            + map_memory(
                self.destination_at.capacity(),
                size_of::<((u128, u16), u16)>(),
            )
            + size_of_val::<[Recent]>(&self.recent)
            + size_of_val::<[u64]>(&self.windows_servers)
    }

    #[inline]
    fn count(&mut self, place: CounterIndex, packet: &PacketView<'_>, start: Option<Role>) {
        let Some(service) = self.services.get_mut(usize::from(place.service)) else {
            self.scattered.count(packet.length());
            return;
        };
        service.traffic.count(packet.length());
        if start == Some(Role::Request) {
            service.attempts += 1;
        }
        let is_peer = service.service.port == ServicePort::PeerUdp;
        let Some(destination) = self.destinations.get_mut(usize::from(place.destination)) else {
            return;
        };
        destination.traffic.count(packet.length());
        destination.beyond_attempts |= start != Some(Role::Request);
        if is_peer && let Some(like_media) = looks_like_media(packet) {
            destination.visible += 1;
            destination.like_media += u64::from(like_media);
        }
    }

    /// Returns the counters of a flow, and notes of it what does not change from packet to packet.
    fn find(
        &mut self,
        service: Service,
        packet: &PacketView<'_>,
        port: u16,
        flow: u64,
    ) -> CounterIndex {
        let Some(service) = self.find_service(service) else {
            return NOWHERE;
        };
        let destination = self.find_destination(service, packet, port);
        let counts = &mut self.services[usize::from(service)];
        let tag = match self.destinations.get(usize::from(destination)) {
            Some(destination) => destination.number,
            None => {
                counts.has_more = true;
                NO_NUMBER
            }
        };
        counts.flows.insert(tagged(flow, tag));
        CounterIndex {
            service,
            destination,
        }
    }

    fn find_service(&mut self, service: Service) -> Option<u16> {
        if let Some(&at) = self.service_at.get(&service.key()) {
            return Some(at);
        }
        let is_named = match service.port {
            ServicePort::Port(port) => self.known.contains(service.protocol, port),
            ServicePort::DynamicTcp | ServicePort::PeerUdp => true,
        };
        if !is_named {
            if self.unnamed_services == MAX_UNNAMED {
                return None;
            }
            self.unnamed_services += 1;
        }
        let at = u16::try_from(self.services.len())
            .ok()
            .filter(|&at| usize::from(at) < MAX_SERVICES)?;
        self.service_at.insert(service.key(), at);
        self.services.push(ServiceCounts {
            service,
            traffic: Tally::default(),
            attempts: 0,
            flows: Sketch::new(FLOWS_OF_SERVICE),
            destinations: 0,
            has_more: false,
        });
        Some(at)
    }

    fn find_destination(&mut self, service: u16, packet: &PacketView<'_>, port: u16) -> u16 {
        let addresses = packet.addresses();
        let (client, bits) = match addresses {
            Addresses::V4 {
                source,
                destination,
            } => (
                source.to_ipv6_mapped().to_bits(),
                destination.to_ipv6_mapped().to_bits(),
            ),
            Addresses::V6 {
                source,
                destination,
            } => (source.to_bits(), destination.to_bits()),
        };
        if let Some(&at) = self.destination_at.get(&(bits, service)) {
            self.destinations[usize::from(at)].note(client, port);
            return at;
        }
        let number = self.services[usize::from(service)].destinations;
        let at = self.destinations.len();
        if number == MAX_DESTINATIONS_OF_SERVICE || at == MAX_DESTINATIONS {
            return NOWHERE.destination;
        }
        let at = at as u16;
        let mut counts = DestinationCounts {
            service,
            number,
            address: addresses.destination(),
            traffic: Tally::default(),
            visible: 0,
            like_media: 0,
            first_client: client,
            several_clients: false,
            beyond_attempts: false,
            ports: [0; MANY_PORTS],
            port_count: 0,
        };
        counts.note(client, port);
        self.destinations.push(counts);
        self.destination_at.insert((bits, service), at);
        self.services[usize::from(service)].destinations += 1;
        at
    }
}

/// Counters of flows whose service or destination the tables have no room for.
const NOWHERE: CounterIndex = CounterIndex {
    service: u16::MAX,
    destination: u16::MAX,
};

/// Tag of the flows to destinations that are not kept.
pub(super) const NO_NUMBER: u16 = u16::MAX;

/// Services kept apart: every named one in every role, and some unnamed ones. More is a port scan.
const MAX_SERVICES: usize = 1_024;

/// Services without a name that are kept apart, so that a port scan leaves room for those with one.
const MAX_UNNAMED: usize = 512;

/// Destinations kept, of all services: a site's servers, and its peers of a busy day.
const MAX_DESTINATIONS: usize = 16_384;

/// Destinations kept of one service, so that media to thousands of peers leaves room for the others.
const MAX_DESTINATIONS_OF_SERVICE: u16 = 4_096;

/// Flows of a service that its estimate rests on: exact up to 512, then within about 6 %.
const FLOWS_OF_SERVICE: usize = 256;

/// Flows whose place is remembered: those that are active at once on a busy gateway, for the most part.
const RECENT_FLOWS: usize = 16_384;

/// Windows servers that are remembered.
const WINDOWS_SERVERS: usize = 4_096;

/// Ports at one host that are many: media takes two at a peer, RPC a handful at a server.
const MANY_PORTS: usize = 4;

const _: () = assert!(MAX_DESTINATIONS < NOWHERE.destination as usize);
const _: () = assert!(MAX_SERVICES < NOWHERE.service as usize);
const _: () = assert!(MAX_DESTINATIONS_OF_SERVICE < NO_NUMBER);

/// Bytes of a `HashMap` with room for `entries`: a power of two of buckets, 7/8 full at most, a control byte each.
const fn map_memory(entries: usize, entry: usize) -> usize {
    (entries * 8).div_ceil(7).next_power_of_two() * (entry + 1)
}

/// Bytes that the tables take at most.
pub(super) const MEMORY_MAX: usize = KnownPorts::MEMORY
    + MAX_SERVICES * (size_of::<ServiceCounts>() + memory_of(FLOWS_OF_SERVICE))
    + map_memory(MAX_SERVICES, size_of::<(u32, u16)>())
    + MAX_DESTINATIONS * size_of::<DestinationCounts>()
    + map_memory(MAX_DESTINATIONS, size_of::<((u128, u16), u16)>())
    + RECENT_FLOWS * size_of::<Recent>()
    + WINDOWS_SERVERS * size_of::<u64>();
