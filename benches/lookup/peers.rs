//! The lookup structures measured: our tries, the crates, and two textbook tables.

use crate::oracle::{Address, Oracle, Prefix};
use crate::tables::Table;
use ip_network::{Ipv4Network, Ipv6Network};
use ip_network_table::IpNetworkTable;
use ipnet::{Ipv4Net, Ipv6Net};
use iptrie::{Ipv4Prefix, Ipv6Prefix};
use offramp::address::{Ipv4Trie, Ipv6Trie};
use poptrie::Poptrie;
use prefix_trie::PrefixMap;
use stats_alloc::Region;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A function that looks up all addresses, as a worker does with the packets it has read.
type LookupAll<A> = Box<dyn Fn(&[A], &mut [u16])>;

pub(crate) struct Peer<A> {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Heap bytes, by the allocator's count.
    pub(crate) bytes: isize,
    pub(crate) built_in: Duration,
    pub(crate) lookup_all: LookupAll<A>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Crate,
    Textbook,
}

/// Builds a table and counts the memory that stays allocated.
fn peer<A: Copy + 'static, T: 'static>(
    name: &'static str,
    kind: Kind,
    build: impl FnOnce() -> T,
    lookup_all: impl Fn(&T, &[A], &mut [u16]) + 'static,
) -> Peer<A> {
    let region = Region::new(crate::ALLOCATOR);
    let start = Instant::now();
    let table = build();
    let built_in = start.elapsed();
    let change = region.change();
    Peer {
        name,
        kind,
        bytes: change.bytes_allocated as isize - change.bytes_deallocated as isize,
        built_in,
        lookup_all: Box::new(move |addresses, classes| lookup_all(&table, addresses, classes)),
    }
}

/// Looks up one address at a time and stores the results.
fn each<T, A: Copy>(lookup: impl Fn(&T, A) -> u16) -> impl Fn(&T, &[A], &mut [u16]) {
    move |table, addresses, classes| {
        for (address, class) in addresses.iter().zip(classes) {
            *class = lookup(table, *address);
        }
    }
}

pub(crate) fn peers_v4(table: &Table<Ipv4Net>, oracle: &Oracle<Ipv4Net>) -> Vec<Peer<u32>> {
    use Kind::{Crate, Ours, Textbook};
    let keys = || table.iter().map(|(net, class)| (net.bits(), *class));
    let ours = || Ipv4Trie::build(table.iter().copied()).expect("distinct prefixes");
    vec![
        peer("ours", Ours, ours, each(|t: &Ipv4Trie, a| t.lookup(a))),
        peer(
            "ours, batch",
            Ours,
            ours,
            |t: &Ipv4Trie, a, c: &mut [u16]| {
                t.lookup_batch(a, c);
            },
        ),
        peer(
            "poptrie",
            Crate,
            || keys().collect::<Poptrie<(u32, u8), u16>>(),
            each(|t: &Poptrie<(u32, u8), u16>, a| t.lookup(a).copied().unwrap_or(0)),
        ),
        peer(
            "prefix-trie",
            Crate,
            || keys().collect::<PrefixMap<(u32, u8), u16>>(),
            each(|t: &PrefixMap<(u32, u8), u16>, a| {
                t.get_lpm(&(a, 32)).map_or(0, |(_, class)| *class)
            }),
        ),
        peer(
            "iptrie",
            Crate,
            || {
                let mut trie = iptrie::map::RTrieMap::with_root(0);
                for (net, class) in table {
                    let text = net.to_string();
                    trie.insert(text.parse::<Ipv4Prefix>().expect("a prefix"), *class);
                }
                trie.compress()
            },
            each(|t: &iptrie::map::LCTrieMap<Ipv4Prefix, u16>, a| {
                *t.lookup(&Ipv4Addr::from_bits(a)).1
            }),
        ),
        peer(
            "ip_network_table",
            Crate,
            || {
                let mut trie = IpNetworkTable::new();
                for (net, class) in table {
                    let net = Ipv4Network::new(net.network(), net.prefix_len());
                    trie.insert(net.expect("no host bits"), *class);
                }
                trie
            },
            each(|t: &IpNetworkTable<u16>, a| {
                t.longest_match_ipv4(Ipv4Addr::from_bits(a))
                    .map_or(0, |(_, class)| *class)
            }),
        ),
        peer(
            "DIR-24-8",
            Textbook,
            || Dir24::build(table),
            each(|t: &Dir24, a| t.lookup(a)),
        ),
        peer(
            "binary search",
            Textbook,
            || SortedRanges::build(table, oracle),
            each(|t: &SortedRanges<u32>, a| t.lookup(a)),
        ),
    ]
}

pub(crate) fn peers_v6(table: &Table<Ipv6Net>, oracle: &Oracle<Ipv6Net>) -> Vec<Peer<u128>> {
    use Kind::{Crate, Ours, Textbook};
    let keys = || table.iter().map(|(net, class)| (net.bits(), *class));
    let ours = || Ipv6Trie::build(table.iter().copied()).expect("distinct prefixes");
    vec![
        peer("ours", Ours, ours, each(|t: &Ipv6Trie, a| t.lookup(a))),
        peer(
            "ours, batch",
            Ours,
            ours,
            |t: &Ipv6Trie, a, c: &mut [u16]| {
                t.lookup_batch(a, c);
            },
        ),
        peer(
            "poptrie",
            Crate,
            || keys().collect::<Poptrie<(u128, u8), u16>>(),
            each(|t: &Poptrie<(u128, u8), u16>, a| t.lookup(a).copied().unwrap_or(0)),
        ),
        peer(
            "prefix-trie",
            Crate,
            || keys().collect::<PrefixMap<(u128, u8), u16>>(),
            each(|t: &PrefixMap<(u128, u8), u16>, a| {
                t.get_lpm(&(a, 128)).map_or(0, |(_, class)| *class)
            }),
        ),
        peer(
            "iptrie",
            Crate,
            || {
                let mut trie = iptrie::map::RTrieMap::with_root(0);
                for (net, class) in table {
                    let text = net.to_string();
                    trie.insert(text.parse::<Ipv6Prefix>().expect("a prefix"), *class);
                }
                trie.compress()
            },
            each(|t: &iptrie::map::LCTrieMap<Ipv6Prefix, u16>, a| {
                *t.lookup(&Ipv6Addr::from_bits(a)).1
            }),
        ),
        peer(
            "ip_network_table",
            Crate,
            || {
                let mut trie = IpNetworkTable::new();
                for (net, class) in table {
                    let net = Ipv6Network::new(net.network(), net.prefix_len());
                    trie.insert(net.expect("no host bits"), *class);
                }
                trie
            },
            each(|t: &IpNetworkTable<u16>, a| {
                t.longest_match_ipv6(Ipv6Addr::from_bits(a))
                    .map_or(0, |(_, class)| *class)
            }),
        ),
        peer(
            "binary search",
            Textbook,
            || SortedRanges::build(table, oracle),
            each(|t: &SortedRanges<u128>, a| t.lookup(a)),
        ),
    ]
}

/// DIR-24-8 (Gupta, Lin and McKeown, 1998): a cell for each /24, blocks of 256 for what is longer.
struct Dir24 {
    by_24_bits: Vec<u16>,
    blocks: Vec<[u16; 256]>,
}

impl Dir24 {
    /// The bit of a cell that holds the number of a block rather than a class.
    const BLOCK: u16 = 0x8000;

    fn build(table: &Table<Ipv4Net>) -> Self {
        let mut dir = Self {
            by_24_bits: vec![0; 1 << 24],
            blocks: Vec::new(),
        };
        let mut by_length = table.clone();
        by_length.sort_by_key(|(net, _)| net.prefix_len());
        for (net, class) in by_length {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            let cells = (first >> 8) as usize..=(last >> 8) as usize;
            if net.prefix_len() <= 24 {
                dir.by_24_bits[cells].fill(class);
                continue;
            }
            let cell = &mut dir.by_24_bits[*cells.start()];
            if *cell & Self::BLOCK == 0 {
                dir.blocks.push([*cell; 256]);
                *cell = (dir.blocks.len() - 1) as u16 | Self::BLOCK;
            }
            let block = usize::from(*cell & !Self::BLOCK);
            dir.blocks[block][(first & 0xff) as usize..=(last & 0xff) as usize].fill(class);
        }
        assert!(dir.blocks.len() <= usize::from(Self::BLOCK));
        dir.blocks.shrink_to_fit();
        dir
    }

    fn lookup(&self, address: u32) -> u16 {
        let cell = self.by_24_bits[(address >> 8) as usize];
        if cell & Self::BLOCK == 0 {
            cell
        } else {
            self.blocks[usize::from(cell & !Self::BLOCK)][(address & 0xff) as usize]
        }
    }
}

/// Range starts in order, for binary search.
struct SortedRanges<A> {
    starts: Vec<A>,
    classes: Vec<u16>,
}

impl<A: Address> SortedRanges<A> {
    fn build<Net: Prefix<Address = A>>(table: &Table<Net>, oracle: &Oracle<Net>) -> Self {
        let mut edges = vec![A::narrow(0)];
        for (net, _) in table {
            edges.push(net.bits().0);
            let after = A::narrow(net.last().widen().wrapping_add(1));
            edges.push(after);
        }
        edges.sort_unstable();
        edges.dedup();
        let mut starts = Vec::with_capacity(edges.len());
        let mut classes = Vec::with_capacity(edges.len());
        for edge in edges {
            let class = oracle.lookup(edge);
            if classes.last() != Some(&class) {
                starts.push(edge);
                classes.push(class);
            }
        }
        starts.shrink_to_fit();
        classes.shrink_to_fit();
        Self { starts, classes }
    }

    fn lookup(&self, address: A) -> u16 {
        self.classes[self.starts.partition_point(|start| *start <= address) - 1]
    }
}

/// Nanoseconds a lookup in one pass over the addresses.
pub(crate) fn time_pass<A>(peer: &Peer<A>, addresses: &[A], classes: &mut [u16]) -> f64 {
    let start = Instant::now();
    (peer.lookup_all)(black_box(addresses), black_box(classes));
    start.elapsed().as_nanos() as f64 / addresses.len() as f64
}
