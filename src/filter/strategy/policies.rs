//! Small policies whose prefixes and port ranges overlap.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::{Result, Unstructured};
use ipnet::IpNet;

use super::{beside, inside, net, one_in};
use crate::policy::{
    Allow, CloudInstance, Corporate, Destination, DnsOptions, EntryChoice, EntryKey, Feed,
    FeedFormat, FeedPrefix, FilterOptions, GatewayOptions, Ipv6Intent, LeakedPublic, Lifts,
    MediaMatch, MediaOptions, Policy, PortRange, ProtocolSet, PublicService, Reject, RouteOptions,
    Server, ServerPrefixes, Sourced, UnknownSource, VpnOptions, WidePrefixes,
};

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
    let recognition = *bytes.choose(&[
        MediaMatch::Ports,
        MediaMatch::Ports,
        MediaMatch::Ice,
        MediaMatch::Media,
        MediaMatch::IceMicrosoft,
    ])?;
    let protocols = [ProtocolSet::Both, ProtocolSet::Tcp, ProtocolSet::Udp];
    let media_protocols = match one_in(bytes, 4)? {
        false => ProtocolSet::Both,
        true => *bytes.choose(&protocols)?,
    };
    let filter = FilterOptions {
        unknown_source: *bytes.choose(&[UnknownSource::Forward, UnknownSource::Drop])?,
        leaked_public: *bytes.choose(&[LeakedPublic::Forward, LeakedPublic::Drop])?,
        reject: *bytes.choose(&[Reject::Nothing, Reject::Tcp, Reject::All])?,
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
    let mut feeds = Vec::new();
    for number in 0..*bytes.choose(&[0, 0, 1, 2])? {
        let prefixes = prefixes(bytes, &mut known, &mut lines, Kin::Many, 1..=3)?;
        let taken = (1..).zip(prefixes).map(|(line, prefix)| FeedPrefix {
            prefix: prefix.value,
            entry: EntryKey::Line(line),
        });
        feeds.push(Feed {
            name: lines.next(format!("feed {number}")),
            format: FeedFormat::Prefixes,
            file: lines.next(format!("feed-{number}.txt")),
            service_areas: Vec::new(),
            categories: Vec::new(),
            entries: EntryChoice::All,
            url: None,
            instance: CloudInstance::Worldwide,
            public_key: None,
            max_age_days: Feed::DEFAULT_MAX_AGE_DAYS,
            wide_prefixes: WidePrefixes::Accept,
            server_prefixes: ServerPrefixes::Accept,
            vendor: None,
            prefixes: Some(taken.collect()),
        });
    }
    let has_ipv6 = client_subnets
        .iter()
        .any(|subnet| subnet.value.addr().is_ipv6());
    Ok(Policy {
        origin: "generated.toml".to_owned(),
        vpn: VpnOptions {
            interfaces: vec![lines.next("tun0".to_owned())],
            ipv6: if has_ipv6 {
                Ipv6Intent::Auto
            } else {
                Ipv6Intent::Absent
            },
            client_subnets,
        },
        corporate: Corporate {
            subnets,
            dns_servers: Vec::new(),
        },
        media: MediaOptions {
            ports: media_ports,
            recognition,
            protocols: media_protocols,
        },
        filter,
        servers,
        allows,
        publics,
        feeds,
        routes: RouteOptions::default(),
        dns: DnsOptions::default(),
        gateway: GatewayOptions::default(),
        endpoints: Vec::new(),
        tests: Vec::new(),
        accepts: Vec::new(),
    })
}

/// Hands out line numbers of an imaginary policy file.
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

/// The share of prefixes in a list that derive from prefixes of other lists.
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
        to: destinations(bytes, known, lines)?,
        protocols: *bytes.choose(&protocols)?,
        ports: optional_port_ranges(bytes, lines)?,
        from_ports: optional_port_ranges(bytes, lines)?,
        lifts: Lifts { media, servers },
    })
}

/// Prefixes, many of which hold a client subnet, lie inside one or straddle its end; at times the word for all clients.
fn destinations(
    bytes: &mut Unstructured<'_>,
    known: &mut Prefixes,
    lines: &mut Lines,
) -> Result<Vec<Sourced<Destination>>> {
    let mut to: Vec<_> = prefixes(bytes, known, lines, Kin::Many, 1..=2)?
        .into_iter()
        .map(|prefix| Sourced {
            value: Destination::Prefix(prefix.value),
            line: prefix.line,
        })
        .collect();
    match bytes.int_in_range(0..=7u8)? {
        6 => to.push(lines.next(Destination::Clients)),
        7 => to = vec![lines.next(Destination::Clients)],
        _ => {}
    }
    Ok(to)
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
