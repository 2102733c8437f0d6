//! Routes rendered for a VPN server arrive in a client's kernel, or in the server's own list, as planned.
//!
//! The sandbox of a test is the server's side; the client is a host behind a veth pair.

mod dhcp;
mod ocserv;
mod openvpn;
mod radius;
mod readers;
mod strongswan;
mod wireguard;

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use offramp::address::{PrefixSet, more_specific};
use offramp::plan::RoutePlan;
use offramp::policy;
use offramp::render::{self, Form, Options, Target};

use crate::support::host::Host;
use crate::support::sandbox::{DEADLINE, ip};

/// Address of the server on the link to the client.
const SERVER: &str = "192.0.2.1";
/// Address of the client on the link.
const CLIENT: &str = "192.0.2.2";

/// A site with a full tunnel, of both families: the article's Edge, and Teams.
const FULL: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
[corporate]
subnets = ["10.0.0.0/8", "2001:db8:c0de::/48"]
dns_servers = ["10.0.0.53"]
[routes]
tunnel = "full"
gateways = ["192.0.2.1"]
[[public]]
name = "Edge"
addresses = ["167.55.49.32", "167.55.49.33", "167.55.49.34", "167.55.49.35", "167.55.49.36"]
[[public]]
name = "Teams media"
addresses = ["52.112.0.0/14", "52.122.0.0/15", "2603:1063::/38"]
"#;

/// Returns the same with a split tunnel, where the company uses the Edge's network inside too.
fn split() -> String {
    FULL.replace("\"full\"", "\"split\"")
        .replace("\"10.0.0.0/8\"", "\"10.0.0.0/8\", \"167.55.0.0/16\"")
}

fn plan(text: &str) -> RoutePlan {
    let (policy, _) = policy::parse("policy.toml", text.as_bytes()).expect("a good policy");
    RoutePlan::new(&policy)
}

/// Returns the file of a target for `plan`.
fn rendered(target: &'static Target, plan: &RoutePlan, form: Option<Form>) -> String {
    let options = Options {
        form,
        via: Some("172.16.1.1".parse().expect("an address")),
        name: None,
    };
    render::render(target, plan, &options)
        .expect("within the limits")
        .text
}

/// The client's side: a host with a default route to the server, which is the sandbox itself.
struct Client {
    host: Host,
}

impl Client {
    /// Creates the host behind a veth pair.
    fn start() -> Self {
        let client = Self {
            host: Host::new("client"),
        };
        ip("link add up0 type veth peer name up1 netns client");
        ip(&format!("address add {SERVER}/24 dev up0"));
        ip("link set up0 up");
        ip("address add fd00:ff::1/64 dev up0 nodad");
        // Exclusions of IPv6 need a route, too.
        client.host.ip(&format!(
            "
            address add {CLIENT}/24 dev up1
            address add fd00:ff::2/64 dev up1 nodad
            link set up1 up
            route add default via {SERVER}
            route add default via fd00:ff::1"
        ));
        client
    }

    /// Returns the addresses that the kernel routes into the interface `device`: the most specific route decides.
    fn enters(&self, device: &str) -> PrefixSet {
        // Of two routes with one destination the lower metric wins.
        let mut best: HashMap<IpNet, (u64, bool)> = HashMap::new();
        for family in ["-4", "-6"] {
            let mut show = Command::new("ip");
            show.args(["-j", family, "route", "show", "table", "main"]);
            let routes = self.host.run(&mut show).json();
            for route in routes.as_array().expect("a list of routes") {
                let prefix: IpNet = match route["dst"].as_str().expect("a destination") {
                    "default" if family == "-4" => "0.0.0.0/0".parse(),
                    "default" => "::/0".parse(),
                    prefix if prefix.contains('/') => prefix.parse(),
                    address if family == "-4" => format!("{address}/32").parse(),
                    address => format!("{address}/128").parse(),
                }
                .expect("a prefix");
                let metric = route["metric"].as_u64().unwrap_or(0);
                let is_into = route["dev"].as_str() == Some(device);
                let known = best.entry(prefix).or_insert((metric, is_into));
                if metric < known.0 {
                    *known = (metric, is_into);
                }
            }
        }
        let of = |wanted: bool| {
            let chosen = best.iter().filter(move |(_, (_, into))| *into == wanted);
            chosen.map(|(prefix, _)| *prefix).collect::<Vec<_>>()
        };
        let (into, elsewhere) = (of(true), of(false));
        more_specific(into, elsewhere)
    }
}

/// The addresses on which the plan and the kernel must agree: without those of the link itself, and without the IPv6
/// addresses present on every link.
fn comparable(set: &PrefixSet) -> PrefixSet {
    let link = ["192.0.2.0/24", "fd00:ff::/64", "fe80::/10", "ff00::/8"];
    let link = link.map(|text| text.parse::<IpNet>().expect("a literal prefix"));
    set.subtract(&PrefixSet::from_iter(link))
}

/// Asks the kernel about single addresses: checks `ip route get` at the edges of every entry for `device`.
fn assert_routed(client: &Client, plan: &RoutePlan, device: &str) {
    let entries = plan.includes.iter().chain(&plan.excludes);
    let mut asked = HashSet::new();
    for entry in entries {
        for address in [entry.prefix.network(), entry.prefix.broadcast()] {
            let special = address.is_loopback()
                || address.is_multicast()
                || address.is_unspecified()
                || address.to_string() == "255.255.255.255";
            let on_link = !comparable(&PrefixSet::from_iter([address])).contains(address);
            // Addresses without a route are outside, too, and the pool's broadcast address is the tunnel's own.
            if special || on_link || !asked.insert(address) {
                continue;
            }
            let answer =
                client
                    .host
                    .run(Command::new("ip").args(["route", "get", &address.to_string()]));
            let inside = answer.stdout.contains(&format!("dev {device}"))
                || answer.stdout.contains("dev lo")
                || answer.stdout.starts_with("broadcast");
            assert_eq!(
                inside,
                plan.tunnel.contains(address),
                "{address}: {answer:?}"
            );
        }
    }
}

/// Waits until the client's routes into `device` are those of the plan.
#[track_caller]
fn assert_enters(client: &Client, plan: &RoutePlan, device: &str) {
    let wanted = comparable(&plan.tunnel);
    let mut enters = PrefixSet::default();
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        enters = comparable(&client.enters(device));
        if enters == wanted {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!(
        "missing: {}\nsurplus: {}",
        wanted.subtract(&enters),
        enters.subtract(&wanted)
    );
}
