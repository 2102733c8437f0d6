//! Random policies in the style of real ones: nested and overlapping prefixes, several port ranges, replies.

use std::net::IpAddr;

use ipnet::IpNet;
use offramp::policy::{self, Policy};

use offramp::random::Random;

use crate::packets::Places;

/// Prefixes to choose a policy's from; they nest, adjoin and overlap.
const V4: [&str; 16] = [
    "172.16.1.0/24",
    "172.16.1.128/25",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.0.0/24",
    "10.1.0.10/32",
    "10.1.0.16/28",
    "10.1.0.32/27",
    "10.8.0.0/16",
    "10.8.0.1/32",
    "10.9.0.0/24",
    "192.168.0.0/16",
    "167.55.49.32/29",
    "167.55.49.34/32",
    "203.0.113.0/24",
    "100.64.0.0/10",
];
const V6: [&str; 8] = [
    "fd00:1::/64",
    "fd00:2::/48",
    "fd00::/16",
    "fd00:2:0:9::/64",
    "fd00:2::10/128",
    "2001:db8:ed9e::/64",
    "2001:db8::/32",
    "2001:db8:1::/127",
];
const PORTS: [&str; 10] = [
    "1024-65535",
    "1-65535",
    "1-1023",
    "1024-49999",
    "50000-65535",
    "3389",
    "3478-3481",
    "50000-50059",
    "50060-50099",
    "443",
];

/// Returns a policy file.
pub(super) fn text(random: &mut Random) -> String {
    let mut text = format!(
        "[vpn]\ninterfaces = [\"vpn0\"]\nclient_subnets = [{}{}]\n[corporate]\nsubnets = [{}]\n",
        quoted(random, &V4, 1),
        if random.one_in(3) {
            String::new()
        } else {
            format!(", {}", quoted(random, &V6, 1))
        },
        prefixes(random),
    );
    if !random.one_in(3) {
        text.push_str(&format!("[media]\nports = [{}]\n", ports(random)));
    }
    text.push_str("[filter]\n");
    for key in ["unknown_source", "leaked_public"] {
        let word = random.of(&["forward", "drop"]);
        text.push_str(&format!("{key} = \"{word}\"\n"));
    }
    for number in 0..random.below(4) {
        text.push_str(&format!(
            "[[server]]\nname = \"server {number}\"\naddresses = [{}]\n",
            prefixes(random)
        ));
    }
    for number in 0..random.below(5) {
        text.push_str(&format!(
            "[[allow]]\nname = \"allow {number}\"\nto = [{}]\nprotocols = [{}]\nlifts = [{}]\n",
            destinations(random),
            random.of(&["\"tcp\"", "\"udp\"", "\"tcp\", \"udp\""]),
            random.of(&["\"media\"", "\"servers\"", "\"media\", \"servers\""]),
        ));
        for key in ["ports", "from_ports"] {
            if random.one_in(2) {
                text.push_str(&format!("{key} = [{}]\n", ports(random)));
            }
        }
    }
    for number in 0..random.below(3) {
        text.push_str(&format!(
            "[[public]]\nname = \"public {number}\"\naddresses = [{}]\n",
            prefixes(random)
        ));
    }
    text
}

/// Prefixes, some of which hold clients, lie inside their subnets or reach beyond; sometimes the word for all clients.
fn destinations(random: &mut Random) -> String {
    match random.below(6) {
        0 => "\"clients\"".to_owned(),
        1 => format!("{}, \"clients\"", prefixes(random)),
        _ => prefixes(random),
    }
}

fn prefixes(random: &mut Random) -> String {
    let (v4, v6) = (1 + random.below(3), random.below(3));
    let mut list = quoted(random, &V4, v4);
    if v6 > 0 {
        list.push_str(", ");
        list.push_str(&quoted(random, &V6, v6));
    }
    list
}

fn ports(random: &mut Random) -> String {
    let count = 1 + random.below(3);
    quoted(random, &PORTS, count)
}

fn quoted(random: &mut Random, choices: &[&str], count: usize) -> String {
    let chosen: Vec<String> = (0..count)
        .map(|_| format!("\"{}\"", random.of(choices)))
        .collect();
    chosen.join(", ")
}

/// Parses `text` as a policy.
pub(super) fn parsed(text: &str) -> Policy {
    let taken = policy::parse("test.toml", text.as_bytes());
    taken.unwrap_or_else(|errors| panic!("{errors}\n{text}")).0
}

/// Addresses in and around every prefix above, and ports at the edges of every range.
pub(super) fn places(policy: &Policy) -> Places {
    let mut others: Vec<IpAddr> = ["8.8.8.8", "172.16.2.1", "2001:db9::1"]
        .map(|text| text.parse().expect("an address"))
        .to_vec();
    for text in V4.iter().chain(&V6) {
        let net: IpNet = text.parse().expect("a prefix");
        others.extend(around(net));
    }
    let clients = policy.vpn.client_subnets.iter();
    let clients = clients.map(|subnet| {
        let (first, second) = (subnet.value.network(), next(subnet.value.network(), 1));
        if subnet.value.contains(&second) {
            second
        } else {
            first
        }
    });
    let mut ports = vec![0, 1, 53, 442, 443, 444, 65_535];
    for text in PORTS {
        let edges = text.split('-').map(|edge| edge.parse().expect("a port"));
        ports.extend(
            edges.flat_map(|edge: u16| [edge.saturating_sub(1), edge, edge.saturating_add(1)]),
        );
    }
    Places {
        clients: clients.collect(),
        others,
        ports,
    }
}

fn around(net: IpNet) -> Vec<IpAddr> {
    let (first, last) = (net.network(), net.broadcast());
    vec![next(first, -1), first, next(first, 1), last, next(last, 1)]
}

fn next(address: IpAddr, by: i32) -> IpAddr {
    match address {
        IpAddr::V4(it) => IpAddr::V4(it.to_bits().wrapping_add_signed(by).into()),
        IpAddr::V6(it) => IpAddr::V6(it.to_bits().wrapping_add_signed(by.into()).into()),
    }
}
