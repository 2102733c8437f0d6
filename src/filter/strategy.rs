//! [`Scenario`]: a small policy and a sequence of packets that are hard to judge by it, generated from any bytes.
//!
//! The same bytes give the same scenario, so one generator serves property tests (random bytes) and fuzzing (bytes that
//! the fuzzer chose). When the bytes run out, every choice is the simplest one, so that failures shrink.
//!
//! Random addresses would never match a random policy. So prefixes repeat, contain and adjoin each other, packets take
//! addresses and ports at and next to the edges of the policy, and all packets belong to a few flows, so that fragments
//! share ids. Every packet is built well-formed; then its lengths and bytes are mutated.

mod names;
mod packets;
mod policies;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use ipnet::IpNet;

use crate::packet::Received;
use crate::policy::{Policy, Sourced};
pub use names::{give_names, name};
use packets::{disturbed, ipv4_packet, ipv6_packet};
pub use policies::policy;

/// A policy, and packets that reach its filter one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The policy.
    pub policy: Policy,
    /// The packets, in the order of their arrival; at least one.
    pub arrivals: Vec<Arrival>,
}

/// A packet that reaches the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its bytes, as far as they were captured.
    pub packet: Vec<u8>,
    /// Its length before a snap length truncated it; the length of `packet` if none did.
    pub length_on_the_wire: usize,
    /// Its time of arrival; time can go backwards from one arrival to the next.
    pub now: Duration,
}

impl Arrival {
    /// The packet as the filter receives it.
    pub fn received(&self) -> Received<'_> {
        Received::captured(&self.packet, self.length_on_the_wire, self.now)
    }
}

impl Scenario {
    /// The destinations of the first arrivals, which a gateway could have as addresses of its own.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        let first = self.arrivals.iter().take(4);
        let packets = first.filter_map(|arrival| arrival.received().parse().ok());
        packets
            .map(|packet| packet.addresses().destination())
            .collect()
    }
}

impl<'a> Arbitrary<'a> for Scenario {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let policy = policy(bytes)?;
        let arrivals = arrivals(bytes, &policy)?;
        Ok(Self { policy, arrivals })
    }
}

/// Generates up to 16 packets that are hard to judge by `policy`, as many as `bytes` suffice for; at least one.
pub fn arrivals(bytes: &mut Unstructured<'_>, policy: &Policy) -> Result<Vec<Arrival>> {
    Places::of(policy).arrivals(bytes, 16)
}

/// Addresses and ports at which the verdicts of a policy change.
#[derive(Debug)]
pub struct Places {
    clients: Vec<IpNet>,
    destinations: Vec<IpNet>,
    ports: Vec<u16>,
}

impl Places {
    /// Collects them from `policy`.
    pub fn of(policy: &Policy) -> Self {
        let values = |them: &[Sourced<IpNet>]| them.iter().map(|it| it.value).collect::<Vec<_>>();
        let clients = values(&policy.vpn.client_subnets);
        let mut destinations = values(&policy.corporate.subnets);
        for server in &policy.servers {
            destinations.extend(values(&server.addresses));
        }
        for allow in &policy.allows {
            destinations.extend(allow.prefixes(&policy.vpn).map(|it| it.value));
        }
        for public in &policy.publics {
            destinations.extend(values(&public.addresses));
        }
        for feed in &policy.feeds {
            destinations.extend(feed.prefixes.iter().flatten().map(|taken| taken.prefix));
        }
        let allowed = policy
            .allows
            .iter()
            .flat_map(|allow| allow.ports.iter().chain(&allow.from_ports));
        let mut ports = vec![50_000, 443];
        for range in policy.media.ports.iter().chain(allowed) {
            let (first, last) = (range.value.first(), range.value.last());
            ports.extend([first.wrapping_sub(1), first, last, last.wrapping_add(1)]);
        }
        Self {
            clients,
            destinations,
            ports,
        }
    }

    /// Generates up to `most` packets that are hard to judge by the policy, as many as `bytes` suffice for; at least one.
    pub fn arrivals(&self, bytes: &mut Unstructured<'_>, most: usize) -> Result<Vec<Arrival>> {
        let mut flows = Vec::new();
        for _ in 0..bytes.int_in_range(1..=3u8)? {
            flows.push(flow(bytes, self)?);
        }
        let mut now = Duration::from_secs(1_000);
        let mut arrivals = Vec::new();
        loop {
            now = step(bytes, now)?;
            let mut flow = *bytes.choose(&flows)?;
            // Most packets belong to their flow; the others differ in a field that the filter could confuse.
            match bytes.int_in_range(0..=15u8)? {
                11 => flow.destination = flow.source,
                12 => flow.id = flow.id.wrapping_add(1),
                13 => flow.protocol = protocol(bytes)?,
                14 => flow.destination_port = port(bytes, self)?,
                15 => flow.source_port = port(bytes, self)?,
                _ => {}
            }
            let packet = match (flow.source, flow.destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    ipv4_packet(bytes, flow, source, destination)?
                }
                (IpAddr::V6(source), IpAddr::V6(destination)) => {
                    ipv6_packet(bytes, flow, source, destination)?
                }
                _ => Vec::new(),
            };
            arrivals.push(disturbed(bytes, packet, flow, now)?);
            if bytes.is_empty() || arrivals.len() == most {
                return Ok(arrivals);
            }
        }
    }
}

/// The fields that the packets of one conversation share.
#[derive(Debug, Clone, Copy)]
struct Flow {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    /// Identification of its fragments.
    id: u32,
    /// True if most of its packets are fragments; otherwise few are.
    fragmented: bool,
}

fn flow(bytes: &mut Unstructured<'_>, places: &Places) -> Result<Flow> {
    let from = if !places.destinations.is_empty() && one_in(bytes, 12)? {
        bytes.choose(&places.destinations)?
    } else {
        bytes.choose(&places.clients)?
    };
    let is_ipv4 = from.addr().is_ipv4();
    let reachable: Vec<IpNet> = places
        .destinations
        .iter()
        .copied()
        .filter(|to| to.addr().is_ipv4() == is_ipv4)
        .collect();
    let to = if reachable.is_empty() || one_in(bytes, 8)? {
        from
    } else {
        bytes.choose(&reachable)?
    };
    let source = if one_in(bytes, 4)? {
        near(bytes, *from)?
    } else {
        inside(bytes, *from)?
    };
    Ok(Flow {
        source,
        destination: near(bytes, *to)?,
        protocol: protocol(bytes)?,
        source_port: port(bytes, places)?,
        destination_port: port(bytes, places)?,
        id: u32::from(bytes.int_in_range(0..=3u8)?) * 0x0001_0001,
        fragmented: !one_in(bytes, 3)?,
    })
}

fn protocol(bytes: &mut Unstructured<'_>) -> Result<u8> {
    Ok(match bytes.int_in_range(0..=15u8)? {
        0..=7 => 17,
        8..=11 => 6,
        12 => 58,
        13 => *bytes.choose(&[1, 4, 41, 47, 50, 51, 132, 136])?,
        14 => *bytes.choose(&[59, 0, 43, 44, 60, 135, 139, 140])?,
        _ => bytes.arbitrary()?,
    })
}

fn port(bytes: &mut Unstructured<'_>, places: &Places) -> Result<u16> {
    if one_in(bytes, 8)? {
        bytes.arbitrary()
    } else {
        Ok(*bytes.choose(&places.ports)?)
    }
}

/// The next moment: soon, at the end of a fragment's life, just past it, or before the last one.
fn step(bytes: &mut Unstructured<'_>, now: Duration) -> Result<Duration> {
    Ok(match bytes.int_in_range(0..=15u8)? {
        0..=8 => now,
        9 => now + Duration::from_millis(1),
        10 => now + Duration::from_secs(15),
        11 => now + Duration::from_nanos(29_999_999_999),
        12 => now + Duration::from_secs(30),
        13 => now + Duration::from_nanos(30_000_000_001),
        14 => now.saturating_sub(Duration::from_secs(45)),
        _ => now.saturating_sub(Duration::from_secs(5)),
    })
}

/// The prefix of `length` bits, or of all the bits there are, that holds `address`.
fn net(address: IpAddr, length: u8) -> IpNet {
    let host = IpNet::from(address);
    IpNet::new(address, length.min(host.max_prefix_len()))
        .unwrap_or(host)
        .trunc()
}

/// An address at an edge of `prefix`, just outside it, or inside.
fn near(bytes: &mut Unstructured<'_>, prefix: IpNet) -> Result<IpAddr> {
    Ok(match bytes.int_in_range(0..=15u8)? {
        0..=5 => prefix.network(),
        6..=8 => prefix.broadcast(),
        9 => beside(prefix.network(), -1),
        10 => beside(prefix.broadcast(), 1),
        _ => inside(bytes, prefix)?,
    })
}

/// An address of `prefix`, among its first 256.
fn inside(bytes: &mut Unstructured<'_>, prefix: IpNet) -> Result<IpAddr> {
    let step = i16::from(bytes.arbitrary::<u8>()?);
    let address = beside(prefix.network(), step);
    Ok(if prefix.contains(&address) {
        address
    } else {
        prefix.network()
    })
}

/// The address `step` further on; past the last comes the first.
fn beside(address: IpAddr, step: i16) -> IpAddr {
    match address {
        IpAddr::V4(it) => IpAddr::V4(Ipv4Addr::from_bits(
            it.to_bits().wrapping_add_signed(i32::from(step)),
        )),
        IpAddr::V6(it) => IpAddr::V6(Ipv6Addr::from_bits(
            it.to_bits().wrapping_add_signed(i128::from(step)),
        )),
    }
}

/// True once in `count`; false when the bytes ran out.
fn one_in(bytes: &mut Unstructured<'_>, count: u8) -> Result<bool> {
    Ok(bytes.int_in_range(1..=count)? == count && count > 1)
}

#[cfg(test)]
mod tests;
