//! Cisco ASA: the filter's verdicts as the access list of a group policy's `vpn-filter`.
//!
//! In such a list the remote client is always the source, whichever side sends: an entry for `range 1024 65535` behind the
//! destination also meets the session that an internal host opens from one of these ports. The list is asked for the first
//! packet of a session.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::{head, is_word};
use crate::address::PortSet;
use crate::plan::{Ruleset, Traffic};
use crate::policy::{PortRange, Protocol, UnknownSource};
use crate::render::{Families, Naming, Read, Target, Write as Writer};
use crate::verdict::Action;

/// Cisco ASA's `vpn-filter`.
pub const TARGET: Target = Target {
    name: "cisco-asa-filter",
    about: "the filter's rules as the `vpn-filter` of a Cisco ASA's group policy",
    accepted_by: "a model of access lists, packet by packet, and FWShift, a converter of others; no ASA was tried",
    caveats: "",
    file: "asa-vpn-filter.txt",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Writer::GatewayRules(
        Naming::Chosen {
            default: "OFFRAMP",
            refuses: |name| {
                (!is_word(name)).then_some("it names a group policy: letters, digits, - and _")
            },
        },
        write,
    ),
    read: Read::Lines { comment: "!" },
};

fn write(ruleset: &Ruleset, policy: &str) -> String {
    // The list that splits the tunnel is another one.
    let name = format!("{policy}-FILTER");
    let name = name.as_str();
    let mut text = format!(
        "! {}\n! {} rules for what VPN clients send through the tunnel.\n!\n\
         ! load it  remove what is there first, below: lines of an access list add up; then paste this\n\
         ! watch    show access-list {name}\n\
         ! try it   packet-tracer input outside udp 172.16.1.10 50000 10.1.1.1 50000 detailed\n\
         ! remove   group-policy {policy} attributes\n!           no vpn-filter\n!          clear configure access-list {name}\n\
         !          no object-group network for each object group that begins with {name}-\n!\n\
         ! In the list of a vpn-filter the client is the source whichever side sends. So a session that an internal host\n\
         ! opens to a client is dropped where the host's own port is one that a rule blocks: give such services an\n\
         ! [[allow]] with from_ports. The ASA looks at the first packet of a session, puts fragments together, and drops\n\
         ! source routes itself.\n",
        head(&ruleset.origin),
        ruleset.rules.len(),
    );
    let clients = format!("{name}-CLIENTS");
    group(&mut text, &clients, ruleset.clients.prefixes());
    for (number, rule) in ruleset.rules.iter().enumerate() {
        group(
            &mut text,
            &destination(name, number),
            rule.destinations.prefixes(),
        );
    }
    for (number, rule) in ruleset.rules.iter().enumerate() {
        let remark: String = rule.title().chars().filter(char::is_ascii).collect();
        _ = writeln!(
            text,
            "access-list {name} remark {}",
            super::cut(&super::one_line(&remark), MAX_REMARK)
        );
        let verdict = match rule.action {
            Action::Forward => "permit",
            Action::Drop => "deny",
        };
        let to = destination(name, number);
        let mut entry = |protocol: &str, from: &str, ports: &str| {
            _ = writeln!(
                text,
                "access-list {name} extended {verdict} {protocol} object-group {clients}{from} object-group {to}{ports}"
            );
        };
        match &rule.traffic {
            Traffic::Any => entry("ip", "", ""),
            Traffic::Transport {
                protocols,
                from_ports,
                ports,
            } => {
                for (protocol, word) in [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")] {
                    if protocols.contains(protocol) {
                        for from in operators(from_ports) {
                            for to in operators(ports) {
                                entry(word, &from, &to);
                            }
                        }
                    }
                }
            }
        }
    }
    _ = writeln!(
        text,
        "access-list {name} extended permit ip object-group {clients} any"
    );
    // The list ends in a deny of its own; without spoofed sources to drop, everybody else passes.
    if ruleset.unknown_source == UnknownSource::Forward {
        _ = writeln!(text, "access-list {name} extended permit ip any any");
    }
    _ = writeln!(
        text,
        "group-policy {policy} internal\ngroup-policy {policy} attributes\n vpn-filter value {name}"
    );
    text
}

fn destination(name: &str, number: usize) -> String {
    format!("{name}-TO-{}", number + 1)
}

fn group(text: &mut String, name: &str, prefixes: impl Iterator<Item = IpNet>) {
    _ = writeln!(text, "object-group network {name}");
    for prefix in prefixes {
        _ = match prefix {
            IpNet::V4(net) if net.prefix_len() == 32 => {
                writeln!(text, " network-object host {}", net.addr())
            }
            IpNet::V4(net) => writeln!(text, " network-object {} {}", net.addr(), net.netmask()),
            IpNet::V6(net) => writeln!(text, " network-object {net}"),
        };
    }
}

/// Port conditions, one of which each port of the set meets.
fn operators(ports: &PortSet) -> Vec<String> {
    if ports.is_all() {
        return vec![String::new()];
    }
    let operator = |range: &PortRange| {
        if range.first() == range.last() {
            format!(" eq {}", range.first())
        } else {
            format!(" range {} {}", range.first(), range.last())
        }
    };
    ports.ranges().iter().map(operator).collect()
}

/// Characters of a remark.
const MAX_REMARK: usize = 100;
