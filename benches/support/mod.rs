//! Shared by the benches: policies of any size, and packets that match them.

#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of it")]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use offramp::policy::{
    Allow, Destination, Lifts, MediaMatch, MediaOptions, Policy, PortRange, ProtocolSet,
    PublicService, Server, Sourced, VpnOptions,
};
use offramp::random::Random;

fn sourced<T>(value: T) -> Sourced<T> {
    Sourced { value, line: 1 }
}

/// The sets of a policy before compilation, for implementations with one table per set.
pub struct Sets {
    pub clients: Vec<IpNet>,
    pub corporate: Vec<IpNet>,
    pub servers: Vec<IpNet>,
    pub publics: Vec<IpNet>,
    pub allows: Vec<IpNet>,
}

/// About `size` prefixes of each family the way companies have them: a few large internal prefixes with hundreds of
/// sites in them, servers as hosts and small subnets, cloud services as large prefixes and hosts.
pub fn sets(size: usize, v6: bool) -> Sets {
    let mut random = Random(size as u64 + 7);
    let v4_net = |address: u32, length: u8| {
        IpNet::V4(
            Ipv4Net::new(Ipv4Addr::from_bits(address), length)
                .expect("a length up to 32")
                .trunc(),
        )
    };
    let v6_net = |address: u128, length: u8| {
        IpNet::V6(
            Ipv6Net::new(Ipv6Addr::from_bits(address), length)
                .expect("a length up to 128")
                .trunc(),
        )
    };
    let mut sets = Sets {
        clients: vec![],
        corporate: vec![],
        servers: vec![],
        publics: vec![],
        allows: vec![],
    };
    if v6 {
        sets.clients.push(v6_net(0x2001_0db8_00ff << 80, 56));
        sets.corporate.push(v6_net(0x2001_0db8 << 96, 32));
        for _ in 4..size {
            let site = 0x2001_0db8_u128 << 96 | u128::from(random.next_u64() & 0x7fff) << 80;
            let host = site
                | u128::from(random.next_u64() & 0xff) << 64
                | u128::from(random.next_u64() & 0xffff);
            match random.below(100) {
                0..40 => sets
                    .servers
                    .push(v6_net(host, if random.below(4) == 0 { 120 } else { 128 })),
                40..60 => sets.corporate.push(v6_net(site, 48)),
                60..80 => sets.allows.push(v6_net(host, 64)),
                _ => sets.publics.push(v6_net(
                    0x2603_u128 << 112 | u128::from(random.next_u64() & 0xffff_ffff) << 80,
                    [38, 44, 48, 56][random.below(4)],
                )),
            }
        }
        sets.servers
            .push(v6_net(0x2001_0db8_0001_u128 << 80 | 0x10, 128));
        sets.publics.push(v6_net(0x2603_1063_u128 << 96, 38));
    } else {
        sets.clients.push(v4_net(0xac10_0100, 24));
        sets.corporate.push(v4_net(0x0a00_0000, 8));
        for _ in 4..size {
            let site = 0x0a00_0000 | (random.next_u64() as u32 & 0x00ff_ff00);
            let host = site | random.next_u64() as u32 & 0xff;
            match random.below(100) {
                0..40 => sets
                    .servers
                    .push(v4_net(host, if random.below(4) == 0 { 28 } else { 32 })),
                40..60 => sets.corporate.push(v4_net(site, 24)),
                60..80 => sets.allows.push(v4_net(host, 26)),
                _ => sets.publics.push(v4_net(
                    [0x3470_0000, 0x0d6b_0000, 0x2860_0000, 0x84f5_0000][random.below(4)]
                        | random.next_u64() as u32 & 0x0003_ffff,
                    [22, 24, 28, 32][random.below(4)],
                )),
            }
        }
        sets.servers.push(v4_net(0x0a01_000a, 32));
        sets.publics.push(v4_net(0x3470_0000, 14));
    }
    sets
}

/// Destination ports that the policy's `[[allow]]` entries keep.
pub const ALLOWED_PORTS: [u16; 2] = [3389, 1433];

/// Returns the entries of a policy that `prefixes` are spread over: eight, as far as they go.
pub fn entries(prefixes: &[IpNet]) -> impl Iterator<Item = &[IpNet]> {
    prefixes.chunks(prefixes.len().div_ceil(8).max(1))
}

/// Returns exactly `size` different prefixes, at least 4: kinds and shares of [`sets`], spread enough for a million.
pub fn distinct_sets(size: usize, v6: bool) -> Sets {
    let mut random = Random(size as u64 + 5);
    let net = |v4: u32, v6_bits: u128, v4_length: u8, v6_length: u8| -> IpNet {
        if v6 {
            let net = Ipv6Net::new_assert(Ipv6Addr::from_bits(v6_bits), v6_length);
            net.trunc().into()
        } else {
            let net = Ipv4Net::new_assert(Ipv4Addr::from_bits(v4), v4_length);
            net.trunc().into()
        }
    };
    let mut sets = Sets {
        clients: vec![net(0xac10_0100, 0x2001_0db8_00ff << 80, 24, 56)],
        corporate: vec![net(0x0a00_0000, 0x2001_0db8 << 96, 8, 32)],
        servers: vec![net(0x0a01_000a, 0x2001_0db8_0001 << 80 | 0x10, 32, 128)],
        publics: vec![net(0x3470_0000, 0x2603_1063 << 96, 14, 38)],
        allows: vec![],
    };
    let mut seen: HashSet<IpNet> = [&sets.clients, &sets.corporate, &sets.servers, &sets.publics]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    while seen.len() < size {
        let (v4, low) = (random.next_u64() as u32, random.next_u64());
        let inside = 0x0a00_0000 | v4 & 0x00ff_ffff;
        let site = 0x2001_0db8_u128 << 96 | u128::from(low >> 32 & 0x7fff_ffff) << 64;
        let host = site | u128::from(low & 0xffff);
        let (set, prefix) = match random.below(100) {
            0..30 => (&mut sets.servers, net(inside, host, 32, 128)),
            30..40 => (&mut sets.servers, net(inside, host, 28, 120)),
            40..60 => {
                let length = 22 + random.below(7) as u8;
                (&mut sets.corporate, net(inside, site, length, 64))
            }
            60..80 => {
                let length = 26 + random.below(4) as u8;
                (&mut sets.allows, net(inside, host, length, 64 + length))
            }
            _ => {
                let cloud = 0x2603_u128 << 112 | u128::from(low) << 48;
                let at = random.below(4);
                let (v4_length, v6_length) = ([20, 24, 28, 32][at], [44, 48, 56, 64][at]);
                // 128.0.0.0/2 holds nothing private.
                let address = 0x8000_0000 | v4 >> 2;
                (&mut sets.publics, net(address, cloud, v4_length, v6_length))
            }
        };
        if seen.insert(prefix) {
            set.push(prefix);
        }
    }
    sets
}

/// Returns the policy of these sets: servers and public services in entries of up to 50 prefixes, allows likewise.
pub fn policy(sets: &Sets) -> Policy {
    let all = |prefixes: &[IpNet]| {
        prefixes
            .iter()
            .map(|&prefix| sourced(prefix))
            .collect::<Vec<_>>()
    };
    let entries = |prefixes| entries(prefixes).map(all).collect::<Vec<_>>();
    let named = |kind: &str, at: usize| sourced(format!("{kind} {at}"));
    Policy {
        origin: "bench".to_owned(),
        vpn: VpnOptions {
            interfaces: vec![],
            client_subnets: all(&sets.clients),
            ipv6: offramp::policy::Ipv6Intent::Auto,
        },
        corporate: offramp::policy::Corporate {
            subnets: all(&sets.corporate),
            dns_servers: vec![],
        },
        media: MediaOptions {
            ports: vec![sourced(PortRange::new(1024, 65_535).expect("ascending"))],
            recognition: MediaMatch::Ports,
            protocols: ProtocolSet::Both,
        },
        filter: Default::default(),
        servers: entries(&sets.servers)
            .into_iter()
            .enumerate()
            .map(|(at, addresses)| Server {
                name: named("server", at),
                addresses,
                hosts: vec![],
            })
            .collect(),
        allows: entries(&sets.allows)
            .into_iter()
            .enumerate()
            .map(|(at, to)| Allow {
                name: named("allow", at),
                to: to
                    .into_iter()
                    .map(|it| sourced(Destination::Prefix(it.value)))
                    .collect(),
                protocols: ProtocolSet::Both,
                ports: ALLOWED_PORTS
                    .map(|port| sourced(PortRange::single(port)))
                    .to_vec(),
                from_ports: vec![],
                lifts: Lifts {
                    media: true,
                    servers: false,
                },
            })
            .collect(),
        publics: entries(&sets.publics)
            .into_iter()
            .enumerate()
            .map(|(at, addresses)| PublicService {
                name: named("public", at),
                addresses,
                hosts: vec![],
                srv: vec![],
            })
            .collect(),
        feeds: vec![],
        routes: Default::default(),
        dns: Default::default(),
        gateway: Default::default(),
        endpoints: vec![],
        tests: vec![],
        accepts: vec![],
    }
}

/// Returns `count` UDP packets of `length` bytes from clients to addresses all over the policy's prefixes, one
/// behind the other as a ring buffer holds them.
pub fn packets(sets: &Sets, count: usize, length: usize) -> Vec<u8> {
    let mut random = Random(count as u64);
    let groups = [
        &sets.corporate,
        &sets.servers,
        &sets.publics,
        &sets.allows,
        &sets.clients,
    ];
    let ports = [50_000, 3478, 443, 3389, 445, 1433, 5061, 53];
    let packet = |_| {
        let group = groups[random.below(groups.len())];
        let group = if group.is_empty() {
            &sets.corporate
        } else {
            group
        };
        let target = group[random.below(group.len())];
        let port = ports[random.below(ports.len())];
        udp(
            host_in(sets.clients[0], &mut random),
            host_in(target, &mut random),
            port,
            length,
        )
    };
    (0..count).flat_map(packet).collect()
}

/// Returns a random address of `prefix`.
pub fn host_in(prefix: IpNet, random: &mut Random) -> IpAddr {
    match prefix {
        IpNet::V4(prefix) => {
            let host_bits = u32::MAX
                .checked_shr(prefix.prefix_len().into())
                .unwrap_or(0);
            Ipv4Addr::from_bits(prefix.network().to_bits() | (random.next_u64() as u32 & host_bits))
                .into()
        }
        IpNet::V6(prefix) => {
            let host_bits = u128::MAX
                .checked_shr(prefix.prefix_len().into())
                .unwrap_or(0);
            let bits = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
            Ipv6Addr::from_bits(prefix.network().to_bits() | (bits & host_bits)).into()
        }
    }
}

/// Returns a UDP packet of `length` bytes in all.
pub fn udp(source: IpAddr, destination: IpAddr, port: u16, length: usize) -> Vec<u8> {
    use etherparse::PacketBuilder;
    let (builder, header) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => (
            PacketBuilder::ipv4(source.octets(), destination.octets(), 64),
            28,
        ),
        (IpAddr::V6(source), IpAddr::V6(destination)) => (
            PacketBuilder::ipv6(source.octets(), destination.octets(), 64),
            48,
        ),
        _ => unreachable!("one family a packet"),
    };
    let mut bytes = Vec::with_capacity(length);
    builder
        .udp(50_000, port)
        .write(&mut bytes, &vec![0; length - header])
        .expect("writing to a vector cannot fail");
    bytes
}
