//! The special-purpose addresses: prefixes whose addresses are not those of hosts on the Internet.
//!
//! One table, from the special-purpose address registries of IANA (RFC 6890, as of RFC 9780), plus multicast (RFC 5771,
//! RFC 4291 §2.7), site-local addresses (RFC 3879) and the reserved block of IPv6 that begins with eight zero bits (RFC
//! 4291 §2.4). Policy checks, verification and the guard of feeds use this table.
//!
//! Rows nest: `192.0.0.0/24` is not globally reachable, but `192.0.0.9/32` inside it is. The most specific row counts.
//! Documentation prefixes (RFC 5737, RFC 3849, RFC 9637) count as public: policies, examples and captures write them in
//! the place of an operator's own public addresses, and no host has one. Registered prefixes of which the registry says
//! "N/A" (Teredo, 6to4 and its relays) count as reachable: they are routed.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::PrefixSet;

/// A row of the registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialPrefix {
    /// The prefix.
    pub prefix: IpNet,
    /// Its purpose, as messages name it.
    pub name: &'static str,
    /// The document that reserves it.
    pub source: &'static str,
    /// True if packets to it are forwarded on the Internet.
    pub globally_reachable: bool,
}

impl SpecialPrefix {
    /// Returns `true` if an address of it can stand for a host on the Internet: it is reachable there, or for
    /// documentation.
    pub fn counts_as_public(&self) -> bool {
        self.globally_reachable || self.name == DOCUMENTATION
    }
}

/// The purpose of the prefixes that examples are written with.
const DOCUMENTATION: &str = "documentation";

/// The row of the special-purpose prefix that makes `prefix` unreachable on the Internet; `None` where an address of it
/// can be reached.
///
/// A prefix that several rows make unreachable together gets the first of them.
pub fn unreachable(prefix: IpNet) -> Option<&'static SpecialPrefix> {
    if !not_public().covers(prefix) {
        return None;
    }
    let around = TABLE.iter().filter(|row| row.prefix.contains(&prefix));
    let inside = TABLE.iter().find(|row| prefix.contains(&row.prefix));
    around.max_by_key(|row| row.prefix.prefix_len()).or(inside)
}

/// Returns `true` if the address can be that of a host on the Internet.
pub fn is_public(address: IpAddr) -> bool {
    !not_public().contains(address)
}

/// Every address that cannot be that of a host on the Internet.
pub fn not_public() -> &'static PrefixSet {
    &NOT_PUBLIC
}

static NOT_PUBLIC: LazyLock<PrefixSet> = LazyLock::new(|| {
    let mut rows: Vec<&SpecialPrefix> = TABLE.iter().collect();
    rows.sort_by_key(|row| row.prefix.prefix_len());
    rows.into_iter().fold(PrefixSet::EMPTY, |set, row| {
        let prefix = PrefixSet::from_iter([row.prefix]);
        if row.counts_as_public() {
            set.subtract(&prefix)
        } else {
            set.union(&prefix)
        }
    })
});

/// The table: IPv4, then IPv6, each ascending.
pub const TABLE: [SpecialPrefix; 48] = [
    v4([0, 0, 0, 0], 8, "this network", "RFC 791 §3.2", false),
    v4([10, 0, 0, 0], 8, "private", "RFC 1918", false),
    v4(
        [100, 64, 0, 0],
        10,
        "shared by providers",
        "RFC 6598",
        false,
    ),
    v4([127, 0, 0, 0], 8, "loopback", "RFC 1122 §3.2.1.3", false),
    v4([169, 254, 0, 0], 16, "link-local", "RFC 3927", false),
    v4([172, 16, 0, 0], 12, "private", "RFC 1918", false),
    v4(
        [192, 0, 0, 0],
        24,
        "IETF protocol assignments",
        "RFC 6890 §2.1",
        false,
    ),
    v4([192, 0, 0, 9], 32, "PCP anycast", "RFC 7723", true),
    v4([192, 0, 0, 10], 32, "TURN anycast", "RFC 8155", true),
    v4([192, 0, 2, 0], 24, DOCUMENTATION, "RFC 5737", false),
    v4([192, 31, 196, 0], 24, "AS112", "RFC 7535", true),
    v4([192, 52, 193, 0], 24, "AMT", "RFC 7450", true),
    v4([192, 88, 99, 0], 24, "6to4 relay anycast", "RFC 7526", true),
    v4([192, 168, 0, 0], 16, "private", "RFC 1918", false),
    v4([192, 175, 48, 0], 24, "AS112", "RFC 7534", true),
    v4([198, 18, 0, 0], 15, "benchmarking", "RFC 2544", false),
    v4([198, 51, 100, 0], 24, DOCUMENTATION, "RFC 5737", false),
    v4([203, 0, 113, 0], 24, DOCUMENTATION, "RFC 5737", false),
    v4([224, 0, 0, 0], 4, "multicast", "RFC 5771", false),
    v4([240, 0, 0, 0], 4, "reserved", "RFC 1112 §4", false),
    v4(
        [255, 255, 255, 255],
        32,
        "limited broadcast",
        "RFC 919",
        false,
    ),
    v6(
        [0, 0, 0, 0, 0, 0, 0, 0],
        8,
        "reserved",
        "RFC 4291 §2.4",
        false,
    ),
    v6(
        [0, 0, 0, 0, 0, 0, 0, 0],
        128,
        "unspecified",
        "RFC 4291 §2.5.2",
        false,
    ),
    v6(
        [0, 0, 0, 0, 0, 0, 0, 1],
        128,
        "loopback",
        "RFC 4291 §2.5.3",
        false,
    ),
    v6(
        [0, 0, 0, 0, 0, 0xffff, 0, 0],
        96,
        "IPv4-mapped",
        "RFC 4291 §2.5.5.2",
        false,
    ),
    v6(
        [0x64, 0xff9b, 0, 0, 0, 0, 0, 0],
        96,
        "NAT64",
        "RFC 6052",
        true,
    ),
    v6(
        [0x64, 0xff9b, 1, 0, 0, 0, 0, 0],
        48,
        "local NAT64",
        "RFC 8215",
        false,
    ),
    v6(
        [0x100, 0, 0, 0, 0, 0, 0, 0],
        64,
        "discard-only",
        "RFC 6666",
        false,
    ),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "dummy", "RFC 9780", false),
    v6(
        [0x2001, 0, 0, 0, 0, 0, 0, 0],
        23,
        "IETF protocol assignments",
        "RFC 2928",
        false,
    ),
    v6(
        [0x2001, 0, 0, 0, 0, 0, 0, 0],
        32,
        "Teredo",
        "RFC 4380",
        true,
    ),
    v6(
        [0x2001, 1, 0, 0, 0, 0, 0, 1],
        128,
        "PCP anycast",
        "RFC 7723",
        true,
    ),
    v6(
        [0x2001, 1, 0, 0, 0, 0, 0, 2],
        128,
        "TURN anycast",
        "RFC 8155",
        true,
    ),
    v6(
        [0x2001, 1, 0, 0, 0, 0, 0, 3],
        128,
        "DNS-SD anycast",
        "RFC 9665",
        true,
    ),
    v6(
        [0x2001, 2, 0, 0, 0, 0, 0, 0],
        48,
        "benchmarking",
        "RFC 5180",
        false,
    ),
    v6([0x2001, 3, 0, 0, 0, 0, 0, 0], 32, "AMT", "RFC 7450", true),
    v6(
        [0x2001, 4, 0x112, 0, 0, 0, 0, 0],
        48,
        "AS112",
        "RFC 7535",
        true,
    ),
    v6(
        [0x2001, 0x20, 0, 0, 0, 0, 0, 0],
        28,
        "ORCHIDv2",
        "RFC 7343",
        true,
    ),
    v6(
        [0x2001, 0x30, 0, 0, 0, 0, 0, 0],
        28,
        "drone remote ID",
        "RFC 9374",
        true,
    ),
    v6(
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0],
        32,
        DOCUMENTATION,
        "RFC 3849",
        false,
    ),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4", "RFC 3056", true),
    v6(
        [0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0],
        48,
        "AS112",
        "RFC 7534",
        true,
    ),
    v6(
        [0x3fff, 0, 0, 0, 0, 0, 0, 0],
        20,
        DOCUMENTATION,
        "RFC 9637",
        false,
    ),
    v6(
        [0x5f00, 0, 0, 0, 0, 0, 0, 0],
        16,
        "segment routing",
        "RFC 9602",
        false,
    ),
    v6(
        [0xfc00, 0, 0, 0, 0, 0, 0, 0],
        7,
        "private",
        "RFC 4193",
        false,
    ),
    v6(
        [0xfe80, 0, 0, 0, 0, 0, 0, 0],
        10,
        "link-local",
        "RFC 4291 §2.5.6",
        false,
    ),
    v6(
        [0xfec0, 0, 0, 0, 0, 0, 0, 0],
        10,
        "site-local",
        "RFC 3879",
        false,
    ),
    v6(
        [0xff00, 0, 0, 0, 0, 0, 0, 0],
        8,
        "multicast",
        "RFC 4291 §2.7",
        false,
    ),
];

const fn v4(
    octets: [u8; 4],
    length: u8,
    name: &'static str,
    source: &'static str,
    globally_reachable: bool,
) -> SpecialPrefix {
    let [a, b, c, d] = octets;
    let address = std::net::Ipv4Addr::new(a, b, c, d);
    SpecialPrefix {
        prefix: IpNet::V4(Ipv4Net::new_assert(address, length)),
        name,
        source,
        globally_reachable,
    }
}

const fn v6(
    words: [u16; 8],
    length: u8,
    name: &'static str,
    source: &'static str,
    globally_reachable: bool,
) -> SpecialPrefix {
    let [a, b, c, d, e, f, g, h] = words;
    let address = std::net::Ipv6Addr::new(a, b, c, d, e, f, g, h);
    SpecialPrefix {
        prefix: IpNet::V6(Ipv6Net::new_assert(address, length)),
        name,
        source,
        globally_reachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prefix: &str) -> Option<&'static str> {
        unreachable(prefix.parse().expect("a prefix")).map(|row| row.name)
    }

    #[test]
    fn the_most_specific_row_counts() {
        assert_eq!(row("192.0.0.9/32"), None);
        assert_eq!(row("192.0.0.8/32"), Some("IETF protocol assignments"));
        assert_eq!(row("64:ff9b::a00:1/128"), None);
        assert_eq!(row("64:ff9b:1::/48"), Some("local NAT64"));
        assert_eq!(row("255.255.255.255/32"), Some("limited broadcast"));
    }

    #[test]
    fn a_prefix_that_reaches_beyond_is_reachable() {
        for prefix in [
            "192.0.0.0/22",
            "198.0.0.0/8",
            "0.0.0.0/0",
            "::/0",
            "8.8.8.8/32",
        ] {
            assert_eq!(row(prefix), None, "{prefix}");
        }
    }

    #[test]
    fn neighbors_cover_a_prefix_together() {
        assert_eq!(row("224.0.0.0/3"), Some("multicast"));
        assert_eq!(row("fe80::/9"), Some("link-local"));
    }

    #[test]
    fn hosts_of_the_internet_are_those_outside_the_table() {
        for (address, expected) in [
            ("8.8.8.8", true),
            ("192.0.0.9", true),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("2603:1030::1", true),
            ("fe80::1", false),
        ] {
            let address = address.parse().expect("a literal");
            assert_eq!(is_public(address), expected, "{address}");
        }
    }

    #[test]
    fn rows_are_written_without_host_bits_and_ascend() {
        assert!(TABLE.iter().all(|row| row.prefix == row.prefix.trunc()));
        let place = |row: &SpecialPrefix| (row.prefix.network(), row.prefix.prefix_len());
        assert!(
            TABLE
                .windows(2)
                .all(|pair| place(&pair[0]) < place(&pair[1]))
        );
    }
}
