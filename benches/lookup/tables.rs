//! Prefix tables to measure with, and addresses to look up in them.

use crate::oracle::{Address, Oracle, Prefix};
use flate2::read::GzDecoder;
use ipnet::{Ipv4Net, Ipv6Net};
use offramp::random::Random;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

pub(crate) type Table<Net> = Vec<(Net, u16)>;

fn between(random: &mut Random, low: usize, high: usize) -> usize {
    low + random.below(high - low + 1)
}

fn address(random: &mut Random) -> u128 {
    u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
}

/// Classes by the purpose of a prefix: a few for sites, more for subnets, servers and public services.
fn class(random: &mut Random, kind: usize) -> u16 {
    (kind * 15 + random.below(15) + 1) as u16
}

const SITE: usize = 0;
const SUBNET: usize = 1;
const SERVER: usize = 2;
const PUBLIC: usize = 3;

/// Returns `count` prefixes of a company: private blocks, sites, subnets, servers, public services.
pub(crate) fn policy_v4(count: usize) -> Table<Ipv4Net> {
    let random = &mut Random(4);
    let mut table = TableBuilder::new(count);
    table.add(0x0a00_0000, 8, class(random, SITE));
    table.add(0xac10_0000, 12, class(random, SITE));
    table.add(0xc0a8_0000, 16, class(random, SITE));
    while !table.full() {
        let site = 0x0a00_0000 | (random.below(200) as u32) << 16;
        let subnet = site | (random.below(256) as u32) << 8;
        match random.below(100) {
            0..10 => table.add(site, between(random, 14, 20) as u8, class(random, SITE)),
            10..50 => table.add(
                subnet | random.below(256) as u32,
                if random.below(4) > 0 {
                    24
                } else {
                    between(random, 22, 28) as u8
                },
                class(random, SUBNET),
            ),
            50..85 => table.add(subnet | random.below(256) as u32, 32, class(random, SERVER)),
            85..95 => table.add(
                between(random, 0x0d00_0000, 0xdf00_0000) as u32,
                between(random, 12, 24) as u8,
                class(random, PUBLIC),
            ),
            _ => table.add(
                between(random, 0x0d00_0000, 0xdf00_0000) as u32,
                32,
                class(random, PUBLIC),
            ),
        }
    }
    table.prefixes
}

/// Returns the same for IPv6; about 42 % are longer than /64, some with random interface identifiers.
pub(crate) fn policy_v6(count: usize) -> Table<Ipv6Net> {
    let random = &mut Random(6);
    let mut table = TableBuilder::new(count);
    let corporate = 0x2001_0db8_u128 << 96;
    let local = 0xfd12_3456_789a_u128 << 80;
    table.add(corporate, 32, class(random, SITE));
    table.add(local, 48, class(random, SITE));
    while !table.full() {
        let site = match random.below(10) {
            0 => local,
            _ => corporate | (random.below(300) as u128) << 80,
        };
        let subnet = site | ((random.below(16) << 8 | random.below(24)) as u128) << 64;
        match random.below(100) {
            0..10 => table.add(site, between(random, 44, 52) as u8, class(random, SITE)),
            10..45 => table.add(
                subnet,
                if random.below(4) > 0 { 64 } else { 56 },
                class(random, SUBNET),
            ),
            45..60 => table.add(
                subnet | u128::from(random.next_u64()),
                128,
                class(random, SERVER),
            ),
            60..80 => table.add(
                subnet | random.below(200) as u128,
                128,
                class(random, SERVER),
            ),
            80..87 => table.add(
                subnet | random.below(1 << 20) as u128,
                between(random, 96, 124) as u8,
                class(random, SERVER),
            ),
            _ => table.add(
                1 << 125 | address(random) >> 3 & 0x0fff << 109 | address(random) >> 16,
                between(random, 24, 64) as u8,
                class(random, PUBLIC),
            ),
        }
    }
    table.prefixes
}

struct TableBuilder<Net> {
    prefixes: Table<Net>,
    seen: std::collections::HashSet<Net>,
    count: usize,
}

impl<Net: Prefix> TableBuilder<Net> {
    fn new(count: usize) -> Self {
        Self {
            prefixes: Vec::with_capacity(count),
            seen: std::collections::HashSet::new(),
            count,
        }
    }

    fn full(&self) -> bool {
        self.prefixes.len() == self.count
    }

    fn add(&mut self, bits: Net::Address, length: u8, class: u16) {
        let net = Net::with_length(bits, length);
        if !self.full() && self.seen.insert(net) {
            self.prefixes.push((net, class));
        }
    }
}

/// Returns a full routing table, if there is one beside the repository or in the folder `OFFRAMP_TABLES`.
pub(crate) fn bgp<Net: FromStr>(file: &str) -> Option<Table<Net>> {
    let folder = std::env::var_os("OFFRAMP_TABLES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/tables")),
        PathBuf::from,
    );
    let path = folder.join(file);
    let Ok(compressed) = File::open(&path) else {
        eprintln!(
            "SKIPPED: no routing table at {}; its rows are missing below",
            path.display()
        );
        return None;
    };
    let random = &mut Random(9);
    let lines = BufReader::new(GzDecoder::new(compressed)).lines();
    let prefixes = lines.map(|line| {
        let net = line.ok()?.parse().ok()?;
        Some((net, random.below(60) as u16 + 1))
    });
    Some(prefixes.collect::<Option<_>>().expect("one prefix a line"))
}

/// Addresses somewhere in a prefix, each prefix as likely as the other.
pub(crate) fn in_table<Net: Prefix>(table: &Table<Net>, count: usize) -> Vec<Net::Address> {
    let random = &mut Random(1);
    let one = |_| {
        let (net, _) = &table[random.below(table.len())];
        net.address_inside(address(random))
    };
    (0..count).map(one).collect()
}

/// Addresses that no prefix matches; close to the table's where the family is too wide to hit by chance.
pub(crate) fn missing<Net: Prefix>(
    table: &Table<Net>,
    oracle: &Oracle<Net>,
    count: usize,
) -> Vec<Net::Address> {
    let random = &mut Random(2);
    let mut addresses = Vec::with_capacity(count);
    // A table with a default route has no such address.
    for _ in 0..count * 1000 {
        if addresses.len() == count {
            break;
        }
        let (net, _) = &table[random.below(table.len())];
        let address = net.address_near(address(random));
        if oracle.lookup(address) == 0 {
            addresses.push(address);
        }
    }
    addresses
}

/// Returns addresses of which nine in ten are among 256, as a site's traffic goes to few servers.
pub(crate) fn skewed<Net: Prefix>(table: &Table<Net>, count: usize) -> Vec<Net::Address> {
    let random = &mut Random(3);
    let addresses = in_table(table, count);
    let one = |index: usize| match random.below(10) {
        0 => addresses[index],
        _ => addresses[random.below(256)],
    };
    (0..count).map(one).collect()
}

impl Prefix for Ipv4Net {
    type Address = u32;
    fn with_length(bits: u32, length: u8) -> Self {
        Self::new_assert(Ipv4Addr::from_bits(bits), length).trunc()
    }
    fn bits(&self) -> (u32, u8) {
        (self.network().to_bits(), self.prefix_len())
    }
    fn last(&self) -> u32 {
        self.broadcast().to_bits()
    }
}

impl Prefix for Ipv6Net {
    type Address = u128;
    fn with_length(bits: u128, length: u8) -> Self {
        Self::new_assert(Ipv6Addr::from_bits(bits), length).trunc()
    }
    fn bits(&self) -> (u128, u8) {
        (self.network().to_bits(), self.prefix_len())
    }
    fn last(&self) -> u128 {
        self.broadcast().to_bits()
    }
}

impl Address for u32 {
    const WIDTH: u8 = 32;
    fn widen(self) -> u128 {
        self.into()
    }
    fn narrow(wide: u128) -> Self {
        wide as u32
    }
}

impl Address for u128 {
    const WIDTH: u8 = 128;
    fn widen(self) -> u128 {
        self
    }
    fn narrow(wide: u128) -> Self {
        wide
    }
}
