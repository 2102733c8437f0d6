//! Counts to conclusions: what each service is to the operator, and where it is found.

use ipnet::IpNet;

use super::cut_off::{CutOff, DestinationCounts, NO_NUMBER, ServiceCounts};
use super::report::{CutService, Destination, Estimate, Nature, Tally};
use super::service::ServicePort;
use super::sketch::tag;
use crate::policy::services;

/// A service that would be cut off, and all its destinations, not only those that a report shows.
#[derive(Debug)]
pub(super) struct Conclusion {
    pub(super) service: CutService,
    /// Every destination kept, and its packets.
    pub(super) hosts: Vec<(IpNet, u64)>,
}

/// Returns the conclusion about each service: services, then unclear ones, then media, the most packets first.
pub(super) fn conclude(cut_off: &CutOff) -> Vec<Conclusion> {
    let mut destinations: Vec<Vec<&DestinationCounts>> = Vec::new();
    destinations.resize_with(cut_off.services.len(), Vec::new);
    for destination in &cut_off.destinations {
        destinations[usize::from(destination.service)].push(destination);
    }
    let mut conclusions = Vec::new();
    for (counts, destinations) in cut_off.services.iter().zip(destinations) {
        let rest = nature_as_a_whole(counts, &destinations);
        for nature in [Nature::Service, Nature::Unclear, Nature::Media] {
            let (mut these, mut others) = (Vec::new(), Vec::new());
            for &destination in &destinations {
                if nature_of(counts, destination, rest, cut_off) == nature {
                    these.push(destination);
                } else {
                    others.push(destination);
                }
            }
            if !these.is_empty() || (nature == rest && counts.has_more) {
                let has_more = nature == rest && counts.has_more;
                conclusions.push(part(counts, nature, these, &others, has_more));
            }
        }
    }
    conclusions.sort_by_key(|conclusion| {
        let service = &conclusion.service;
        let packets = std::cmp::Reverse(service.traffic.packets);
        let ports = (service.protocol, service.ports, service.role, service.scope);
        (service.nature, packets, ports)
    });
    conclusions
}

/// Classifies a service as a whole, if its destinations do not decide.
fn nature_as_a_whole(counts: &ServiceCounts, destinations: &[&DestinationCounts]) -> Nature {
    let ServicePort::Port(port) = counts.service.port else {
        return match counts.service.port {
            ServicePort::PeerUdp => Nature::Media,
            ServicePort::DynamicTcp | ServicePort::Port(_) => Nature::Unclear,
        };
    };
    match services::name(counts.service.protocol, port) {
        Some(name) if MEDIA.contains(&name) => Nature::Media,
        Some(_) => Nature::Service,
        // Media keeps away from the ports of system services.
        None if port < 1_024 => Nature::Service,
        // A peer of a call has one caller at a port.
        None if destinations
            .iter()
            .any(|destination| destination.several_clients) =>
        {
            Nature::Service
        }
        None => Nature::Unclear,
    }
}

/// Classifies a service at one destination: a range of ports that services and media share can be either.
fn nature_of(
    counts: &ServiceCounts,
    destination: &DestinationCounts,
    whole: Nature,
    cut_off: &CutOff,
) -> Nature {
    match counts.service.port {
        ServicePort::Port(_) => whole,
        ServicePort::DynamicTcp if offers_rpc(destination, cut_off) => Nature::Service,
        ServicePort::DynamicTcp => Nature::Unclear,
        ServicePort::PeerUdp if 2 * destination.like_media < destination.visible => Nature::Unclear,
        ServicePort::PeerUdp => Nature::Media,
    }
}

/// Returns `true` if the dynamic TCP ports of a destination are Windows RPC; a peer of a call has one caller, at one or
/// two ports.
fn offers_rpc(destination: &DestinationCounts, cut_off: &CutOff) -> bool {
    destination.several_clients
        || (destination.has_many_ports() && destination.beyond_attempts)
        || cut_off.is_windows_server(destination.address)
}

/// The part of a service that `these` destinations are, and not `others`; what went to destinations that were not kept
/// belongs to it when it `has_more`.
fn part(
    counts: &ServiceCounts,
    nature: Nature,
    mut these: Vec<&DestinationCounts>,
    others: &[&DestinationCounts],
    has_more: bool,
) -> Conclusion {
    let traffic = if has_more {
        counts.traffic.without(sum(others))
    } else {
        sum(&these)
    };
    let mut numbers: Vec<u16> = these.iter().map(|destination| destination.number).collect();
    numbers.extend(has_more.then_some(NO_NUMBER));
    numbers.sort_unstable();
    let flows = counts
        .flows
        .estimate_where(|hash| numbers.binary_search(&tag(hash)).is_ok());
    these.sort_by_key(|destination| {
        (
            std::cmp::Reverse(destination.traffic.packets),
            destination.address,
        )
    });
    let several_ports = !matches!(counts.service.port, ServicePort::Port(_));
    let top = these.iter().take(TOP).map(|destination| Destination {
        address: destination.address,
        port: destination.only_port().filter(|_| several_ports),
        traffic: destination.traffic,
    });
    let hosts = these.iter().map(|destination| {
        (
            IpNet::from(destination.address),
            destination.traffic.packets,
        )
    });
    Conclusion {
        service: CutService {
            nature,
            name: name(counts, nature),
            protocol: counts.service.protocol,
            ports: counts.service.port.range(),
            role: counts.service.role,
            scope: counts.service.scope,
            traffic,
            flows,
            attempts_only: !these.iter().any(|destination| destination.beyond_attempts)
                && (!has_more || counts.attempts == counts.traffic.packets),
            destinations: Estimate {
                count: these.len() as u64,
                exact: !has_more,
            },
            top: top.collect(),
        },
        hosts: hosts.collect(),
    }
}

fn name(counts: &ServiceCounts, nature: Nature) -> Option<&'static str> {
    match (counts.service.port, nature) {
        (ServicePort::Port(port), _) => services::name(counts.service.protocol, port),
        (ServicePort::DynamicTcp, Nature::Service) => Some("Windows RPC"),
        (ServicePort::PeerUdp, Nature::Media) => Some("media (UDP, dynamic ports)"),
        (ServicePort::DynamicTcp | ServicePort::PeerUdp, _) => None,
    }
}

fn sum(destinations: &[&DestinationCounts]) -> Tally {
    let mut sum = Tally::default();
    for destination in destinations {
        sum += destination.traffic;
    }
    sum
}

/// Names of what the article wants off the VPN: media, its relays, and the signaling that belongs to it.
const MEDIA: &[&str] = &[
    "STUN/TURN",
    "Teams media relay",
    "Lync file transfer",
    "SIP",
    "SIP over TLS",
];

/// Destinations of a service that a report shows.
const TOP: usize = 3;
