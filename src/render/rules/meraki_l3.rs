//! Meraki MX: layer 3 firewall rules, as the body of `PUT /networks/{networkId}/appliance/firewall/l3FirewallRules`.
//!
//! The first rule that matches decides, and the Dashboard ends the list with a rule that allows everything. IPv4 alone. Each
//! address and port stands in its rule, in lists with commas, so the file needs no objects in the organization.

use serde_json::{Value, json};

use super::{cut, one_line};
use crate::address::{Family, PortSet, PrefixSet};
use crate::plan::{Ruleset, Traffic};
use crate::policy::{Protocol, UnknownSource};
use crate::render::{Families, Naming, Read, Target, Write as Writer};
use crate::verdict::Action;

/// Layer 3 firewall rules of an MX.
pub const TARGET: Target = Target {
    name: "meraki-rules",
    about: "the filter's IPv4 rules as layer 3 firewall rules of a Meraki MX, a body for the Dashboard API",
    accepted_by: "a reader of the tests, whose decisions are compared with the filter's; the Dashboard was not tried (unverified)",
    caveats: "the list replaces all layer 3 rules of the network: put it before your own; IPv4 alone",
    file: "meraki-l3-rules.json",
    is_executable: false,
    families: Families::V4,
    limits: &[],
    write: Writer::GatewayRules(Naming::Fixed, |rules, _| write(rules)),
    read: Read::Lines { comment: "#" },
};

fn write(ruleset: &Ruleset) -> String {
    let clients = cidrs(&ruleset.clients);
    let mut rules: Vec<Value> = Vec::new();
    let mut rule = |comment: &str, policy: &str, protocol: &str, from: [&str; 2], to: [&str; 2]| {
        rules.push(json!({
            "comment": comment,
            "policy": policy,
            "protocol": protocol,
            "srcCidr": from[0],
            "srcPort": from[1],
            "destCidr": to[0],
            "destPort": to[1],
            "syslogEnabled": false,
        }));
    };
    for it in &ruleset.rules {
        let to = cidrs(&it.destinations);
        if to.is_empty() || clients.is_empty() {
            continue;
        }
        let policy = match it.action {
            Action::Forward => "allow",
            Action::Drop => "deny",
        };
        let title = one_line(&it.title());
        let comment = format!("{MARK}: {}", cut(&title, MAX_COMMENT));
        match &it.traffic {
            Traffic::Any => rule(&comment, policy, "any", [&clients, "Any"], [&to, "Any"]),
            Traffic::Transport {
                protocols,
                from_ports,
                ports,
            } => {
                let (from_ports, ports) = (list(from_ports), list(ports));
                for (protocol, word) in [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")] {
                    if protocols.contains(protocol) {
                        rule(
                            &comment,
                            policy,
                            word,
                            [&clients, &from_ports],
                            [&to, &ports],
                        );
                    }
                }
            }
        }
    }
    if ruleset.unknown_source == UnknownSource::Drop {
        if !clients.is_empty() {
            let comment = format!("{MARK}: default");
            rule(&comment, "allow", "any", [&clients, "Any"], ["Any", "Any"]);
        }
        let comment =
            format!("{MARK}: spoofed-source; it also meets every other network behind this MX");
        rule(&comment, "deny", "any", ["Any", "Any"], ["Any", "Any"]);
    }
    format!("{:#}\n", json!({ "rules": rules }))
}

/// The IPv4 prefixes of a set with commas between them; empty where there is none.
fn cidrs(addresses: &PrefixSet) -> String {
    let v4 = Family::V4.of(addresses);
    let prefixes: Vec<String> = v4.prefixes().map(|prefix| prefix.to_string()).collect();
    prefixes.join(",")
}

fn list(ports: &PortSet) -> String {
    if ports.is_all() {
        return "Any".to_owned();
    }
    let words: Vec<String> = ports.ranges().iter().map(ToString::to_string).collect();
    words.join(",")
}

/// Begins the comment of each rule.
const MARK: &str = "offramp";
/// Bytes of a comment.
const MAX_COMMENT: usize = 100;
