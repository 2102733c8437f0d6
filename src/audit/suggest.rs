//! The `[[allow]]` that keeps a service: what was seen, and nothing wider.

use std::cmp::Reverse;
use std::fmt::Write as _;

use ipnet::IpNet;

use super::conclude::Conclusion;
use super::report::{CutService, Nature, Suggestion};
use super::service::{Role, Scope};
use crate::filter::RuleTable;
use crate::verdict::RuleKind;

/// How an entry names destinations that are clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientDestinations {
    /// By their addresses.
    AsAddresses,
    /// By the word that stands for all clients, for readers who may not learn their addresses.
    AsWord,
}

/// The entry that keeps the service of `conclusion`; `None` for what is media, or may be, and at port 0, which no policy takes.
///
/// Its name is like none in `rules` and none of `earlier` suggestions.
pub(super) fn suggest(
    conclusion: &Conclusion,
    rules: &RuleTable,
    clients: ClientDestinations,
    earlier: &[Suggestion],
) -> Option<Suggestion> {
    let service = &conclusion.service;
    match service.nature {
        Nature::Service if !conclusion.hosts.is_empty() && service.ports.first() > 0 => {}
        Nature::Service | Nature::Unclear | Nature::Media => return None,
    }
    let name = free_name(&name(service), |name| is_taken(name, rules, earlier));
    if service.scope == Scope::Client && clients == ClientDestinations::AsWord {
        return Some(Suggestion {
            toml: toml_to(service, &name, &[CLIENTS.to_owned()]),
            name,
            to: Vec::new(),
            left_out: 0,
        });
    }
    let (to, left_out) = prefixes(&conclusion.hosts);
    Some(Suggestion {
        toml: toml(service, &name, &to, left_out),
        name,
        to,
        left_out,
    })
}

/// The entry called `name` that keeps RDP Shortpath to `hosts`, each with its number of connections.
pub(super) fn shortpath(
    name: &str,
    hosts: &[(IpNet, u64)],
    has_more: bool,
    rules: &RuleTable,
    earlier: &[Suggestion],
) -> Suggestion {
    let name = free_name(name, |name| is_taken(name, rules, earlier));
    let (to, left_out) = prefixes(hosts);
    let mut toml = String::new();
    if has_more || left_out > 0 {
        toml += "# There are more session hosts: write the subnets they are in.\n";
    }
    let _ = writeln!(toml, "[[allow]]\nname = \"{name}\"");
    let hosts: Vec<String> = to.iter().map(host_or_prefix).collect();
    write_list(&mut toml, "to", &hosts);
    // Its ports are new for each connection.
    toml += "protocols = [\"udp\"]\n";
    Suggestion {
        name,
        to,
        left_out,
        toml,
    }
}

fn is_taken(name: &str, rules: &RuleTable, earlier: &[Suggestion]) -> bool {
    let mut allows = rules.iter().filter(|rule| rule.kind == RuleKind::Allow);
    allows.any(|allow| allow.name == name)
        || earlier.iter().any(|suggestion| suggestion.name == name)
}

/// Returns the name that an operator would give it.
fn name(service: &CutService) -> String {
    let place = match (service.role, service.scope) {
        (Role::Request, Scope::Corporate) => "",
        (Role::Request, Scope::Client) => " between clients",
        (Role::Reply, Scope::Corporate) => " on the clients",
        (Role::Reply, Scope::Client) => " on the clients, for other clients",
    };
    let CutService {
        protocol, ports, ..
    } = service;
    match service.name {
        Some(name) => format!("{name}{place} ({protocol} {ports})"),
        None => format!("{protocol} {ports}{place}"),
    }
}

fn free_name(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut free = name.to_owned();
    let mut number = 2;
    while taken(&free) {
        free = format!("{name}, {number}");
        number += 1;
    }
    free
}

/// The fewest prefixes that hold all of `hosts` and no other address, at most [`MAX_PREFIXES`] of them, those with the
/// most packets; and how many are left out.
fn prefixes(hosts: &[(IpNet, u64)]) -> (Vec<IpNet>, usize) {
    let mut prefixes = IpNet::aggregate(&hosts.iter().map(|&(host, _)| host).collect());
    prefixes.sort();
    let left_out = prefixes.len().saturating_sub(MAX_PREFIXES);
    if left_out > 0 {
        let mut packets = vec![0; prefixes.len()];
        for (host, count) in hosts {
            // The prefixes are apart and hold every host: each is in the last that begins at or below it.
            let after = prefixes.partition_point(|prefix| prefix <= host);
            if let Some(at) = after.checked_sub(1) {
                packets[at] += count;
            }
        }
        let mut ranked: Vec<(u64, IpNet)> = packets.into_iter().zip(prefixes).collect();
        ranked.sort_by_key(|(packets, _)| Reverse(*packets));
        ranked.truncate(MAX_PREFIXES);
        prefixes = ranked.into_iter().map(|(_, prefix)| prefix).collect();
    }
    prefixes.sort();
    (prefixes, left_out)
}

fn toml(service: &CutService, name: &str, to: &[IpNet], left_out: usize) -> String {
    let mut out = String::new();
    if service.attempts_only {
        out +=
            "# Only attempts to connect were seen: nobody answers, or they are dropped already.\n";
    }
    if service.scope == Scope::Client {
        out += "# These are addresses of VPN clients, which may be another's tomorrow: to = [\"clients\"] has them all.\n";
    }
    if service.name.is_none() {
        out += "# The port has no name, but a server's callers. Find out what it is before you allow it.\n";
    }
    if !service.destinations.exact {
        out += "# There were more hosts than an audit keeps: write the subnets they are in.\n";
    } else if left_out > 0 {
        let _ = writeln!(
            out,
            "# {left_out} more prefixes with less traffic are left out: write the subnets they are in."
        );
    }
    let hosts: Vec<String> = to.iter().map(host_or_prefix).collect();
    out + &toml_to(service, name, &hosts)
}

/// The entry itself, for the destinations `to`.
fn toml_to(service: &CutService, name: &str, to: &[String]) -> String {
    let mut out = format!("[[allow]]\nname = \"{name}\"\n");
    write_list(&mut out, "to", to);
    let _ = writeln!(out, "protocols = [\"{}\"]", service.protocol);
    let key = match service.role {
        Role::Request => "ports",
        Role::Reply => "from_ports",
    };
    let _ = writeln!(out, "{key} = [\"{}\"]", service.ports);
    out
}

fn host_or_prefix(prefix: &IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

/// On one line where it fits, else filled.
fn write_list(out: &mut String, key: &str, items: &[String]) {
    let line = items.join("\", \"");
    if line.len() + key.len() < LIST_WIDTH {
        let _ = writeln!(out, "{key} = [\"{line}\"]");
        return;
    }
    let _ = write!(out, "{key} = [");
    let mut width = LIST_WIDTH;
    for item in items {
        if width + item.len() + 4 > LIST_WIDTH {
            out.push_str("\n   ");
            width = 3;
        }
        let _ = write!(out, " \"{item}\",");
        width += item.len() + 4;
    }
    out.push_str("\n]\n");
}

/// Stands for every client in `to`.
const CLIENTS: &str = "clients";

/// Prefixes of one suggestion: more are no longer read by whoever decides.
const MAX_PREFIXES: usize = 32;

/// Columns of a list on one line.
const LIST_WIDTH: usize = 72;
