//! [`Scenario`]: a small policy and a sequence of packets that are hard to judge under it, made from any bytes.
//!
//! The same bytes give the same scenario, so one generator serves property tests (random bytes) and fuzzing (bytes that
//! the fuzzer chose). Bytes that run out give the plainest choice everywhere, which is what makes shrinking work.
//!
//! Random addresses would never meet a random policy. So prefixes repeat, contain and adjoin each other, packets take
//! addresses and ports from the edges of the policy and their neighbors, and a few flows share all the packets, so that
//! fragments meet under one id. Every packet begins well-formed; then its lengths and bytes are disturbed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use ipnet::IpNet;

use crate::packet::Received;
use crate::policy::{
    Allow, Corporate, DnsOptions, FilterOptions, GatewayOptions, LeakedPublic, Lifts, MediaMatch,
    MediaOptions, Policy, PortRange, ProtocolSet, PublicService, RouteOptions, Server, Sourced,
    UnknownSource, VpnOptions,
};

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
    /// How long it was before a snap length cut it; the length of `packet` where none did.
    pub length_on_the_wire: usize,
    /// When it arrives; time can go backwards from one arrival to the next.
    pub now: Duration,
}

impl Arrival {
    /// The packet as the filter receives it.
    pub fn received(&self) -> Received<'_> {
        let length_on_wire = self.length_on_the_wire;
        Received {
            bytes: &self.packet,
            length_on_wire,
            at: self.now,
        }
    }
}

impl<'a> Arbitrary<'a> for Scenario {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let policy = policy(bytes)?;
        let arrivals = arrivals(bytes, &policy)?;
        Ok(Self { policy, arrivals })
    }
}

/// A small policy whose prefixes and port ranges overlap.
pub fn policy(bytes: &mut Unstructured<'_>) -> Result<Policy> {
    let mut lines = Lines(0);
    let mut known = Prefixes {
        families: *bytes.choose(&[Families::Both, Families::Ipv4, Families::Ipv6])?,
        made: Vec::new(),
    };
    let client_subnets = prefixes(bytes, &mut known, &mut lines, Kin::Few, 1..=3)?;
    let subnets = match bytes.int_in_range(0..=7u8)? {
        7 => Vec::new(),
        _ => prefixes(bytes, &mut known, &mut lines, Kin::Few, 1..=3)?,
    };
    let media_ports = match bytes.int_in_range(0..=3u8)? {
        0 | 1 => vec![lines.next(PortRange::new(1024, 65535).unwrap_or(PortRange::ALL))],
        _ => port_ranges(bytes, &mut lines, 1..=3)?,
    };
    let filter = FilterOptions {
        unknown_source: *bytes.choose(&[UnknownSource::Forward, UnknownSource::Drop])?,
        leaked_public: *bytes.choose(&[LeakedPublic::Forward, LeakedPublic::Drop])?,
    };
    let mut servers = Vec::new();
    for number in 0..bytes.int_in_range(0..=3u8)? {
        servers.push(Server {
            name: lines.next(format!("server {number}")),
            addresses: prefixes(bytes, &mut known, &mut lines, Kin::Many, 1..=3)?,
            hosts: Vec::new(),
        });
    }
    let mut allows = Vec::new();
    for number in 0..bytes.int_in_range(0..=4u8)? {
        allows.push(allow(bytes, &mut known, &mut lines, number)?);
    }
    let mut publics = Vec::new();
    for number in 0..*bytes.choose(&[0, 0, 0, 1, 2])? {
        publics.push(PublicService {
            name: lines.next(format!("public {number}")),
            addresses: prefixes(bytes, &mut known, &mut lines, Kin::Many, 1..=2)?,
            hosts: Vec::new(),
            srv: Vec::new(),
        });
    }
    Ok(Policy {
        origin: "generated.toml".to_owned(),
        vpn: VpnOptions {
            interfaces: vec![lines.next("tun0".to_owned())],
            client_subnets,
        },
        corporate: Corporate {
            subnets,
            dns_servers: Vec::new(),
        },
        media: MediaOptions {
            ports: media_ports,
            recognition: MediaMatch::Ports,
        },
        filter,
        servers,
        allows,
        publics,
        feeds: Vec::new(),
        routes: RouteOptions::default(),
        dns: DnsOptions::default(),
        gateway: GatewayOptions::default(),
        endpoints: Vec::new(),
        tests: Vec::new(),
    })
}

/// Up to 16 packets that are hard to judge under `policy`, as many as `bytes` last for; at least one.
pub fn arrivals(bytes: &mut Unstructured<'_>, policy: &Policy) -> Result<Vec<Arrival>> {
    let places = Places::of(policy);
    let mut flows = Vec::new();
    for _ in 0..bytes.int_in_range(1..=3u8)? {
        flows.push(flow(bytes, &places)?);
    }
    let mut now = Duration::from_secs(1_000);
    let mut arrivals = Vec::new();
    loop {
        now = step(bytes, now)?;
        let mut flow = *bytes.choose(&flows)?;
        // Most packets keep to their flow; what changes in the others is what the filter could confuse.
        match bytes.int_in_range(0..=15u8)? {
            11 => flow.destination = flow.source,
            12 => flow.id = flow.id.wrapping_add(1),
            13 => flow.protocol = protocol(bytes)?,
            14 => flow.destination_port = port(bytes, &places)?,
            15 => flow.source_port = port(bytes, &places)?,
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
        if bytes.is_empty() || arrivals.len() == 16 {
            return Ok(arrivals);
        }
    }
}

// Policies.

/// Hands out the lines of a policy file that nobody wrote.
struct Lines(u32);

impl Lines {
    fn next<T>(&mut self, value: T) -> Sourced<T> {
        self.0 += 1;
        Sourced {
            value,
            line: self.0,
        }
    }
}

/// The prefixes of one policy, from which later ones derive.
struct Prefixes {
    families: Families,
    made: Vec<IpNet>,
}

/// How many of the prefixes in a list derive from prefixes of other lists.
#[derive(Debug, Clone, Copy)]
enum Kin {
    Few,
    Many,
}

#[derive(Debug, Clone, Copy)]
enum Families {
    Ipv4,
    Ipv6,
    Both,
}

fn allow(
    bytes: &mut Unstructured<'_>,
    known: &mut Prefixes,
    lines: &mut Lines,
    number: u8,
) -> Result<Allow> {
    let lifts = [(true, false), (false, true), (true, true)];
    let (media, servers) = *bytes.choose(&lifts)?;
    let protocols = [ProtocolSet::Both, ProtocolSet::Tcp, ProtocolSet::Udp];
    Ok(Allow {
        name: lines.next(format!("allow {number}")),
        to: prefixes(bytes, known, lines, Kin::Many, 1..=2)?,
        protocols: *bytes.choose(&protocols)?,
        ports: optional_port_ranges(bytes, lines)?,
        from_ports: optional_port_ranges(bytes, lines)?,
        lifts: Lifts { media, servers },
    })
}

fn prefixes(
    bytes: &mut Unstructured<'_>,
    known: &mut Prefixes,
    lines: &mut Lines,
    kin: Kin,
    count: std::ops::RangeInclusive<u8>,
) -> Result<Vec<Sourced<IpNet>>> {
    let mut prefixes = Vec::new();
    for _ in 0..bytes.int_in_range(count)? {
        let prefix = prefix(bytes, known, kin)?;
        known.made.push(prefix);
        prefixes.push(lines.next(prefix));
    }
    Ok(prefixes)
}

/// A prefix of its own, or one that equals, contains, lies in or adjoins one of `known`.
fn prefix(bytes: &mut Unstructured<'_>, known: &Prefixes, kin: Kin) -> Result<IpNet> {
    let kind = match kin {
        Kin::Few if !one_in(bytes, 4)? => 0,
        Kin::Few | Kin::Many => bytes.int_in_range(1..=7u8)?,
    };
    if kind < 2 || known.made.is_empty() {
        return own_prefix(bytes, known.families);
    }
    let other = *bytes.choose(&known.made)?;
    let by = bytes.int_in_range(1..=9u8)?;
    Ok(match kind {
        2 => other,
        3 => net(
            other.network(),
            other.prefix_len().saturating_sub(by).max(1),
        ),
        4 => net(beside(other.broadcast(), 1), other.prefix_len()),
        5 => net(other.broadcast(), other.prefix_len().saturating_add(by)),
        6 => net(
            inside(bytes, other)?,
            other.prefix_len().saturating_add(by * 4),
        ),
        _ => net(other.network(), other.max_prefix_len()),
    })
}

fn own_prefix(bytes: &mut Unstructured<'_>, families: Families) -> Result<IpNet> {
    let ipv6 = match families {
        Families::Ipv4 => false,
        Families::Ipv6 => true,
        Families::Both => bytes.int_in_range(0..=1u8)? == 1,
    };
    let noise = u16::from(bytes.arbitrary::<u8>()?);
    Ok(if ipv6 {
        let bases: [u128; 5] = [
            0xfd00_0001 << 96,
            0x2001_0db8 << 96,
            0xffff << 32,
            0,
            u128::MAX,
        ];
        let lengths = [64, 32, 48, 63, 65, 96, 112, 127, 128, 8, 1, 0];
        let address = bytes.choose(&bases)? ^ u128::from(noise) << 64;
        net(
            IpAddr::V6(Ipv6Addr::from_bits(address)),
            *bytes.choose(&lengths)?,
        )
    } else {
        let bases: [u32; 5] = [0x0a00_0000, 0xac10_0100, 0xa737_3120, 0, u32::MAX];
        let lengths = [24, 8, 16, 23, 25, 28, 30, 31, 32, 12, 1, 0];
        let address = bytes.choose(&bases)? ^ u32::from(noise) << 8;
        net(
            IpAddr::V4(Ipv4Addr::from_bits(address)),
            *bytes.choose(&lengths)?,
        )
    })
}

fn optional_port_ranges(
    bytes: &mut Unstructured<'_>,
    lines: &mut Lines,
) -> Result<Vec<Sourced<PortRange>>> {
    match bytes.int_in_range(0..=3u8)? {
        0 => Ok(vec![lines.next(PortRange::ALL)]),
        1 => Ok(Vec::new()),
        _ => port_ranges(bytes, lines, 1..=2),
    }
}

fn port_ranges(
    bytes: &mut Unstructured<'_>,
    lines: &mut Lines,
    count: std::ops::RangeInclusive<u8>,
) -> Result<Vec<Sourced<PortRange>>> {
    let edges = [1023, 1024, 0, 1, 3389, 3390, 50_000, 59_999, 65_534, 65_535];
    let mut ranges = Vec::new();
    for _ in 0..bytes.int_in_range(count)? {
        let one: u16 = *bytes.choose(&edges)?;
        let other: u16 = match bytes.int_in_range(0..=7u8)? {
            0 => one,
            7 => bytes.arbitrary()?,
            _ => *bytes.choose(&edges)?,
        };
        let range = PortRange::new(one.min(other), one.max(other)).unwrap_or(PortRange::ALL);
        ranges.push(lines.next(range));
    }
    Ok(ranges)
}

// Flows.

/// Where a policy makes a difference.
struct Places {
    clients: Vec<IpNet>,
    destinations: Vec<IpNet>,
    ports: Vec<u16>,
}

impl Places {
    fn of(policy: &Policy) -> Self {
        let values = |them: &[Sourced<IpNet>]| them.iter().map(|it| it.value).collect::<Vec<_>>();
        let clients = values(&policy.vpn.client_subnets);
        let mut destinations = values(&policy.corporate.subnets);
        for server in &policy.servers {
            destinations.extend(values(&server.addresses));
        }
        for allow in &policy.allows {
            destinations.extend(values(&allow.to));
        }
        for public in &policy.publics {
            destinations.extend(values(&public.addresses));
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
}

/// What the packets of one conversation have in common.
#[derive(Debug, Clone, Copy)]
struct Flow {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    /// Identification of its fragments.
    id: u32,
    /// Most of its packets are fragments, else few are.
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

// Packets.

/// Payload lengths around the ports (4), the UDP header (8) and the unit of fragments (8).
const PAYLOAD_LENGTHS: [usize; 12] = [16, 24, 8, 4, 3, 0, 1, 2, 5, 7, 12, 32];

/// Fragment offsets in units of 8 bytes: the first tails, one of an Ethernet frame, and those at the end of a datagram.
const OFFSETS: [u16; 8] = [1, 1, 1, 2, 3, 185, 8190, 8191];

/// What the fragment fields of one header say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FragmentFields {
    /// In units of 8 bytes.
    offset: u16,
    more: bool,
}

fn fragment_fields(bytes: &mut Unstructured<'_>) -> Result<FragmentFields> {
    let kind = bytes.int_in_range(0..=7u8)?;
    Ok(FragmentFields {
        offset: match kind {
            0..=3 => 0,
            _ => *bytes.choose(&OFFSETS)?,
        },
        more: matches!(kind, 0..=2 | 4 | 5),
    })
}

/// The transport header of `flow`, and payload that looks like many such headers.
fn transport(bytes: &mut Unstructured<'_>, flow: Flow, multiple_of_8: bool) -> Result<Vec<u8>> {
    let mut length = *bytes.choose(&PAYLOAD_LENGTHS)?;
    if multiple_of_8 {
        length = length.next_multiple_of(8);
    }
    let ports = ports_of(flow);
    let mut header: Vec<u8> = ports.iter().copied().cycle().take(length).collect();
    if one_in(bytes, 16)? {
        header.fill(bytes.arbitrary()?);
    }
    Ok(header)
}

fn ports_of(flow: Flow) -> [u8; 4] {
    let source = flow.source_port.to_be_bytes();
    let destination = flow.destination_port.to_be_bytes();
    [source[0], source[1], destination[0], destination[1]]
}

/// RFC 791 §3.1.
fn ipv4_packet(
    bytes: &mut Unstructured<'_>,
    flow: Flow,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> Result<Vec<u8>> {
    let options = if one_in(bytes, 4)? {
        ipv4_options(bytes)?
    } else {
        Vec::new()
    };
    let fragment = if one_in(bytes, 8)? != flow.fragmented {
        fragment_fields(bytes)?
    } else {
        FragmentFields {
            offset: 0,
            more: false,
        }
    };
    let payload = transport(bytes, flow, false)?;
    let header_length = 20 + options.len();
    let total_length = (header_length + payload.len()) as u16;
    let flags = match (fragment.more, one_in(bytes, 8)?) {
        (true, _) => 0x2000,
        (false, true) => 0xc000, // reserved, don't fragment
        (false, false) => 0,
    };
    let mut packet = vec![0x40 | (header_length / 4) as u8, 0];
    packet.extend(total_length.to_be_bytes());
    packet.extend((flow.id as u16).to_be_bytes());
    packet.extend((flags | fragment.offset).to_be_bytes());
    packet.extend([64, flow.protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(options);
    packet.extend(payload);
    Ok(packet)
}

/// One to four options, some of them broken, padded to a multiple of 4 bytes.
fn ipv4_options(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut options = Vec::new();
    for _ in 0..bytes.int_in_range(1..=4u8)? {
        let kind = *bytes.choose(&[131, 137, 1, 148, 7, 0, 131])?;
        if kind < 2 {
            options.push(kind);
            continue;
        }
        let length = *bytes.choose(&[7, 4, 11, 3, 2, 1, 0, 40, 255])?;
        let pointer = *bytes.choose(&[4, 8, 12, 3, 7, 0, 255])?;
        let filled = usize::from(length).clamp(2, 11);
        let start = options.len();
        options.extend([kind, length, pointer]);
        options.resize(start + filled, 10);
    }
    options.truncate(40);
    // End of options, or bytes that look like one more.
    let padding = *bytes.choose(&[0, 1, 131])?;
    options.resize(options.len().next_multiple_of(4), padding);
    Ok(options)
}

/// RFC 8200 §3 and §4.
fn ipv6_packet(
    bytes: &mut Unstructured<'_>,
    flow: Flow,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> Result<Vec<u8>> {
    let headers = match bytes.int_in_range(0..=15u8)? {
        0..=9 => 0,
        10..=12 => 1,
        13 | 14 => 2,
        _ => 12,
    };
    let mut kinds = Vec::new();
    if one_in(bytes, 8)? != flow.fragmented {
        kinds.push(44);
    }
    for _ in 0..headers {
        kinds.push(*bytes.choose(&[60, 44, 44, 43, 0, 51, 135, 139, 140])?);
    }
    kinds.push(flow.protocol);

    let mut after = Vec::new();
    let mut more_seen = false;
    let mut fragment_headers = 0;
    for pair in kinds.windows(2) {
        let (kind, next) = (pair[0], pair[1]);
        if kind == 44 {
            let fragment = fragment_fields(bytes)?;
            more_seen |= fragment.more;
            // A fragment inside a fragment mostly has an id of its own.
            fragment_headers += 1;
            let rarity = if fragment_headers > 1 { 2 } else { 8 };
            let id = if one_in(bytes, rarity)? {
                flow.id.wrapping_add(1)
            } else {
                flow.id
            };
            // The second byte and two bits beside the offset are reserved.
            let reserved = if one_in(bytes, 8)? { 6 } else { 0 };
            let fields = fragment.offset << 3 | reserved | u16::from(fragment.more);
            after.extend([next, bytes.int_in_range(0..=1)?]);
            after.extend(fields.to_be_bytes());
            after.extend(id.to_be_bytes());
        } else {
            let units = *bytes.choose(&[0, 0, 1, 2])?;
            let length = if kind == 51 {
                (usize::from(units) + 2) * 4
            } else {
                (usize::from(units) + 1) * 8
            };
            let start = after.len();
            let routing_type = *bytes.choose(&[0, 2, 3, 4])?;
            let segments_left = *bytes.choose(&[0, 0, 1, 255])?;
            let fourth = if kind == 43 { segments_left } else { 0 };
            after.extend([next, units, routing_type, fourth]);
            after.resize(start + length, 0);
        }
    }
    let whole_units = more_seen && !one_in(bytes, 8)?;
    after.extend(transport(bytes, flow, whole_units)?);
    if kinds.len() > 1 && one_in(bytes, 4)? {
        // The packet ends anywhere in the chain.
        let mut end = bytes.choose_index(after.len() + 1)?;
        if whole_units {
            end = end / 8 * 8;
        }
        after.truncate(end);
    }

    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((after.len() as u16).to_be_bytes());
    packet.extend([kinds[0], 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(after);
    Ok(packet)
}

/// The packet as it arrives: mostly as it is, else with lengths or bytes that do not fit.
fn disturbed(
    bytes: &mut Unstructured<'_>,
    mut packet: Vec<u8>,
    flow: Flow,
    now: Duration,
) -> Result<Arrival> {
    let mut length_on_the_wire = None;
    match bytes.int_in_range(0..=47u8)? {
        // A super-packet: the length field is 0, and the capture may hold only its beginning.
        20 => {
            declare(&mut packet, |_| 0);
            let wire = [packet.len(), 9_000, 65_535, 65_536, 65_600, 200_000];
            length_on_the_wire = Some(*bytes.choose(&wire)?);
        }
        21 | 22 => {
            let by = bytes.int_in_range(1..=12u16)?;
            declare(&mut packet, |length| length.saturating_sub(by));
        }
        23 => {
            let by = bytes.int_in_range(1..=40u16)?;
            declare(&mut packet, |length| length.saturating_add(by));
        }
        // Padding with ports in it.
        24 => packet.extend(ports_of(flow)),
        // A snap length.
        25..=27 => {
            length_on_the_wire = Some(packet.len());
            cut(bytes, &mut packet)?;
        }
        // A packet that ends early.
        28 => cut(bytes, &mut packet)?,
        29 => {
            // Where the header says how to read it: version and length, next header, fragment.
            if let Some(byte) = packet.get_mut(bytes.int_in_range(0..=9)?) {
                *byte = bytes.arbitrary()?;
            }
        }
        30 => {
            for _ in 0..bytes.int_in_range(1..=3u8)? {
                if !packet.is_empty() {
                    let at = bytes.choose_index(packet.len())?;
                    packet[at] = bytes.arbitrary()?;
                }
            }
        }
        // Anything at all.
        31 => {
            let length = bytes.int_in_range(0..=96usize)?.min(bytes.len());
            packet = bytes.bytes(length)?.to_vec();
        }
        _ => {}
    }
    let captured = packet.len();
    Ok(Arrival {
        packet,
        length_on_the_wire: length_on_the_wire.map_or(captured, |length| length.max(captured)),
        now,
    })
}

/// Rewrites the length field of a packet.
fn declare(packet: &mut [u8], change: impl Fn(u16) -> u16) {
    let at = match packet.first().map(|byte| byte >> 4) {
        Some(4) => 2,
        Some(6) => 4,
        _ => return,
    };
    if let Some([high, low]) = packet.get_mut(at..at + 2) {
        [*high, *low] = change(u16::from_be_bytes([*high, *low])).to_be_bytes();
    }
}

/// Takes away the end of a packet: mostly some of its last 24 bytes.
fn cut(bytes: &mut Unstructured<'_>, packet: &mut Vec<u8>) -> Result<()> {
    let end = if one_in(bytes, 4)? {
        bytes.choose_index(packet.len() + 1)?
    } else {
        packet
            .len()
            .saturating_sub(bytes.int_in_range(1..=24usize)?)
    };
    packet.truncate(end);
    Ok(())
}

// Addresses.

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
