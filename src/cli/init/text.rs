//! A [`Draft`] as a policy file with comments.

use std::fmt::{Display, Write as _};
use std::net::IpAddr;

use ipnet::IpNet;

use super::answers::Service;
use super::draft::{Draft, Line};
use super::toml::{list, quoted};
use crate::address::{Family, PrefixSet};

/// Writes the file.
pub(super) fn policy(draft: &Draft) -> String {
    let mut out = String::from(
        "# Policy of offramp, begun by `offramp init` with what this host tells; correct it where it is wrong.\n\
         # `offramp check FILE` reports mistakes, `offramp man policy | man -l -` explains every key.\n",
    );
    vpn(draft, &mut out);
    corporate(draft, &mut out);
    out.push_str(
        "\n# Connectivity checks (STUN, TURN, ICE) and what follows them in their flow count as media; everything else passes.\n\
         [media]\nmatch = \"ice\"\n",
    );
    services(draft, &mut out);
    routes(draft, &mut out);
    dns(draft, &mut out);
    gateway(draft, &mut out);
    tests(draft, &mut out);
    out
}

fn vpn(draft: &Draft, out: &mut String) {
    out.push_str(
        "\n# The VPN: what its clients send in at these interfaces is judged, and nothing else.\n[vpn]\n",
    );
    array(out, "interfaces", &draft.interfaces);
    array(out, "client_subnets", &draft.clients);
    if draft.is_v4_alone() {
        out.push_str("ipv6 = \"none\"  # no IPv6 network for clients was found\n");
    }
}

fn corporate(draft: &Draft, out: &mut String) {
    out.push_str(
        "\n# The internal network: media to it is dropped, so that calls take a path outside the tunnel.\n[corporate]\n",
    );
    if draft.doubtful.is_empty() {
        array(out, "subnets", &draft.corporate);
    } else {
        out.push_str("subnets = [\n");
        rows(out, "    ", &draft.corporate);
        rows(out, "    # ", &draft.doubtful);
        out.push_str("]\n");
    }
    if draft.corporate.is_empty() {
        out.push_str("# subnets = [\"10.0.0.0/8\"]\n");
    }
    array(out, "dns_servers", &draft.dns_servers);
}

/// Servers, public services and feeds, or examples where there are none.
fn services(draft: &Draft, out: &mut String) {
    out.push_str(
        "\n# Internal servers of Lync and Skype for Business, which clients of the VPN must not reach.\n",
    );
    entries(out, "server", &draft.servers, SERVER_EXAMPLE);
    out.push_str(
        "\n# Services that clients reach outside the tunnel, by the addresses that the Internet sees.\n",
    );
    entries(out, "public", &draft.publics, PUBLIC_EXAMPLE);
    if draft.teams {
        if !draft.publics.iter().any(|it| it.name == TEAMS) {
            _ = writeln!(
                out,
                "\n# Teams' media relays: id 11 of Microsoft's list, as of June 2026. They count until the feed below is there, and with it.\n\
                 [[public]]\nname = {}\naddresses = {}",
                quoted(TEAMS),
                list(&TEAMS_RELAYS)
            );
        }
        out.push_str(
            "\n# The same, as Microsoft publishes it: `offramp feed fetch` gets the file and keeps it current.\n\
             [[feed]]\nname = \"Microsoft 365\"\nformat = \"microsoft-365\"\n",
        );
        _ = writeln!(out, "file = {}", quoted(FEED_FILE));
        out.push_str(
            "service_areas = [\"Skype\"]  # Microsoft's old name for Teams\ncategories = [\"Optimize\"]\n",
        );
    }
}

/// Name of Teams' relays in the policy.
const TEAMS: &str = "Teams media";

/// Teams' relays: Microsoft 365 endpoints, id 11, category Optimize.
const TEAMS_RELAYS: [&str; 2] = ["52.112.0.0/14", "52.122.0.0/15"];

/// File of the feed, beside the policy.
const FEED_FILE: &str = "m365-worldwide.json";

const SERVER_EXAMPLE: &str = "\
# [[server]]
# name = \"Front End pool\"
# addresses = [\"10.1.0.10\"]
";

const PUBLIC_EXAMPLE: &str = "\
# [[public]]
# name = \"A/V Edge\"
# addresses = [\"167.55.49.34\"]
# hosts = [\"av.contoso.com\"]
";

fn entries(out: &mut String, section: &str, entries: &[Service], example: &str) {
    if entries.is_empty() {
        out.push_str(example);
    }
    let entries: Vec<String> = entries.iter().map(|it| it.entry(section)).collect();
    out.push_str(&entries.join("\n"));
}

fn routes(draft: &Draft, out: &mut String) {
    if draft.full.is_none() && draft.gateways.is_empty() {
        return;
    }
    out.push_str("\n# What enters the tunnel, for `offramp render`.\n[routes]\n");
    if let Some(why) = &draft.full {
        _ = writeln!(out, "tunnel = \"full\"  # {}", comment(why));
    }
    array(out, "gateways", &draft.gateways);
}

fn dns(draft: &Draft, out: &mut String) {
    if draft.sip_domains.is_empty() {
        return;
    }
    out.push_str(
        "\n# SIP domains: for clients their internal discovery names do not exist, so that they sign in outside.\n[dns]\n",
    );
    _ = writeln!(out, "sip_domains = {}", list(&draft.sip_domains));
    if let Some(own) = draft.own.first() {
        let listen = std::net::SocketAddr::new(*own, 53).to_string();
        _ = writeln!(
            out,
            "# listen = {}  # to have offramp answer them; or `offramp render --list` for the DNS server that clients ask",
            list(&[listen])
        );
    }
}

fn gateway(draft: &Draft, out: &mut String) {
    if draft.enforce {
        return;
    }
    out.push_str(
        "\n# To begin with, packets are judged and counted, and none is dropped. `offramp enforce --for 10m` tries it, for the clients\n\
         # of `pilot` alone if there are any; take `enforce` and `pilot` out of the file when calls are well.\n\
         [gateway]\nenforce = false\n",
    );
    let pool = draft.clients.first().map(|it| pilot(it.value));
    if let Some(pool) = pool {
        _ = writeln!(out, "# pilot = {}", list(&[pool.to_string()]));
    }
    out.push_str("# page = \"127.0.0.1:9465\"  # a status page for browsers on this host\n");
}

/// Returns the begin of a pool.
fn pilot(pool: IpNet) -> IpNet {
    let few = pool.max_prefix_len().saturating_sub(4);
    let length = few.max(pool.prefix_len());
    IpNet::new(pool.network(), length).unwrap_or(pool)
}

/// Writes tests of what the policy is for, with addresses that it has.
fn tests(draft: &Draft, out: &mut String) {
    let services = prefixes(&draft.servers).union(&prefixes(&draft.publics));
    let pair = draft.clients.iter().find_map(|pool| {
        let rest = PrefixSet::from_iter([pool.value]).subtract(&services);
        let widest = rest.prefixes().min_by_key(IpNet::prefix_len)?;
        let mut hosts = hosts(widest);
        hosts.next().zip(hosts.next())
    });
    let Some((one, other)) = pair else {
        return;
    };
    out.push_str("\n# What must hold before this policy is taken.\n");
    let mut test = |name: &str, to: IpAddr, kind: (&str, u16, &str), expect: &str| {
        let (protocol, port, payload) = kind;
        let from = socket(one, 50_000);
        let to = socket(to, port);
        _ = write!(
            out,
            "[[test]]\nname = {}\nfrom = \"{from}\"\nto = \"{to}\"\nprotocol = \"{protocol}\"\n{payload}expect = \"{expect}\"\n\n",
            quoted(name)
        );
    };
    let check = ("udp", 50_000, "payload = \"stun-check\"\n");
    test(
        "a call between two clients takes another path",
        other,
        check,
        "drop hairpin",
    );
    let family = Family::from(one);
    if let Some(office) = office(draft, family) {
        test(
            "a call to the office takes another path",
            office,
            check,
            "drop media",
        );
        let desktop = ("tcp", 3389, "");
        test(
            "Remote Desktop is no media",
            office,
            desktop,
            "forward default",
        );
    }
    let addresses = draft.servers.iter().flat_map(|it| &it.addresses);
    let addresses = addresses.filter_map(|it| read_prefix(it));
    let public = prefixes(&draft.publics);
    let server = addresses
        .map(|it| it.network())
        .find(|it| Family::from(*it) == family && !public.contains(*it));
    if let Some(server) = server {
        let sign_in = ("tcp", 5061, "");
        test(
            "nobody signs in at an internal server",
            server,
            sign_in,
            "drop servers",
        );
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
}

/// Returns an address of the internal network that no other section names.
fn office(draft: &Draft, family: Family) -> Option<IpAddr> {
    let clients: PrefixSet = draft.clients.iter().map(|it| it.value).collect();
    let others = clients
        .union(&prefixes(&draft.servers))
        .union(&prefixes(&draft.publics));
    let corporate: PrefixSet = draft.corporate.iter().map(|it| it.value).collect();
    let rest = family.of(&corporate.subtract(&others));
    let prefix = rest.prefixes().min_by_key(IpNet::prefix_len)?;
    hosts(prefix).last()
}

fn prefixes(services: &[Service]) -> PrefixSet {
    let addresses = services.iter().flat_map(|it| &it.addresses);
    addresses.filter_map(|it| read_prefix(it)).collect()
}

fn read_prefix(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or(address).ok()
}

/// Returns two addresses of hosts in a network; the first ones are mostly those of routers.
fn hosts(network: IpNet) -> impl Iterator<Item = IpAddr> {
    let is_small = network.max_prefix_len() - network.prefix_len() < 5;
    network.hosts().skip(if is_small { 0 } else { 9 }).take(2)
}

fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// Writes an array: a row a value where one has an origin.
fn array<T: Display>(out: &mut String, key: &str, lines: &[Line<T>]) {
    if lines.iter().all(|it| it.origin.is_empty()) {
        if !lines.is_empty() {
            let values: Vec<String> = lines.iter().map(|it| it.value.to_string()).collect();
            _ = writeln!(out, "{key} = {}", list(&values));
        }
        return;
    }
    _ = writeln!(out, "{key} = [");
    rows(out, "    ", lines);
    out.push_str("]\n");
}

fn rows<T: Display>(out: &mut String, before: &str, lines: &[Line<T>]) {
    for line in lines {
        let value = quoted(&line.value.to_string());
        let end = match line.origin.as_str() {
            "" => String::new(),
            origin => format!("  # {}", comment(origin)),
        };
        _ = writeln!(out, "{before}{value},{end}");
    }
}

/// Keeps a path with a line break in it from ending a comment.
fn comment(text: &str) -> String {
    let chars = text.chars();
    chars
        .map(|it| if it.is_control() { '?' } else { it })
        .collect()
}
