//! FortiGate: the filter's verdicts as firewall policies of the VPN's interface.
//!
//! ```text
//!  firewall address, address6 ─▶ addrgrp, addrgrp6 ─┐
//!  firewall service custom ─────────────────────────┴─▶ firewall policy 990001, 990002, …   the first that matches decides
//!                                                       the FortiGate's own policies        the rest
//! ```
//!
//! Policies know no return, so an `[[allow]]` is a policy that accepts. What goes to public services is for the FortiGate's own
//! policies, with their NAT and inspection: it is cut out of the denied addresses, and no policy here speaks of it.
//!
//! Sources: the FortiOS CLI reference, `config firewall policy` (one policy has both families from 6.4 on), `config firewall
//! service custom`, `config firewall addrgrp` and `addrgrp6` (read 2026-11). No FortiGate was at hand.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::{cut, head};
use crate::address::{Family, PortRange, PortSet, PrefixSet};
use crate::plan::{Ruleset, Traffic};
use crate::policy::{Protocol, UnknownSource};
use crate::render::{Families, Naming, Read, Target, Write as Writer};
use crate::verdict::Action;

/// Firewall policies of a FortiGate.
pub const TARGET: Target = Target {
    name: "fortigate-policy",
    about: "the filter's rules as firewall policies of a FortiGate (`--name INTERFACE`, that of the VPN)",
    accepted_by: "a reader of the tests, whose decisions are compared with the filter's, and FWShift, a converter of others; no FortiGate was tried (unverified)",
    caveats: "for FortiOS 6.4 and later; the policies have to be moved above those that let clients in; what an `[[allow]]` lets pass \
              meets no other policy; members of a group and policies are limited by model (unverified)",
    file: "fortigate-policy.conf",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Writer::GatewayRules(
        Naming::Chosen {
            default: "OFFRAMP",
            refuses: |name| {
                let is_byte =
                    |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
                (name.len() > MAX_NAME || !name.bytes().all(is_byte)).then_some(
                    "it is the interface of the VPN: letters, digits, - _ and ., at most 15",
                )
            },
        },
        write,
    ),
    read: Read::Lines { comment: "#" },
};

/// A firewall policy.
struct Policy {
    action: &'static str,
    /// The group of sources, and that of destinations, without the family at the end of their names.
    groups: [String; 2],
    /// Families in which both groups have addresses.
    families: Vec<Family>,
    services: Vec<String>,
    comment: String,
}

/// The sections of the file, as they grow.
#[derive(Default)]
struct Sections {
    /// Prefixes of the addresses, each once.
    addresses: Vec<IpNet>,
    groups: String,
    services: String,
    policies: Vec<Policy>,
}

fn write(ruleset: &Ruleset, interface: &str) -> String {
    let mut sections = Sections::default();
    let clients = sections.group(interface, "clients", &ruleset.clients);
    if ruleset.unknown_source == UnknownSource::Drop {
        let everything: PrefixSet = Family::BOTH.map(Family::everything).into_iter().collect();
        let others = everything.subtract(&ruleset.clients);
        let from = sections.group(interface, "others", &others);
        let to = sections.group(interface, "everywhere", &everything);
        let any = sections.any(interface);
        sections.policy("deny", [from, to], vec![any], "spoofed-source");
    }
    let mut passed = PrefixSet::EMPTY;
    for (number, rule) in (1..).zip(&ruleset.rules) {
        let action = match (rule.action, &rule.traffic) {
            (Action::Forward, Traffic::Any) => {
                passed = passed.union(&rule.destinations);
                continue;
            }
            (Action::Forward, Traffic::Transport { .. }) => "accept",
            (Action::Drop, _) => "deny",
        };
        let to = rule.destinations.subtract(&passed);
        let to = sections.group(interface, &format!("to-{number}"), &to);
        let services = match &rule.traffic {
            Traffic::Any => vec![sections.any(interface)],
            Traffic::Transport {
                protocols,
                from_ports,
                ports,
            } => [Protocol::Tcp, Protocol::Udp]
                .into_iter()
                .filter(|protocol| protocols.contains(*protocol))
                .flat_map(|protocol| {
                    let name = format!("{interface}-{number}");
                    sections.services(&name, protocol, from_ports, ports)
                })
                .collect(),
        };
        sections.policy(action, [clients.clone(), to], services, &rule.title());
    }
    sections.text(ruleset, interface)
}

/// A group of addresses: its name, and the families in which it has any.
type Group = (String, Vec<Family>);

impl Sections {
    fn group(&mut self, interface: &str, what: &str, set: &PrefixSet) -> Group {
        let name = format!("{interface}-{what}");
        let mut families = Vec::new();
        for family in Family::BOTH {
            let prefixes: Vec<IpNet> = family.of(set).prefixes().collect();
            if prefixes.is_empty() {
                continue;
            }
            families.push(family);
            let members: String = prefixes
                .iter()
                .map(|prefix| format!(" \"{}\"", address(interface, *prefix)))
                .collect();
            let end = end(family);
            _ = writeln!(
                self.groups,
                "config firewall addrgrp{end}\n    edit \"{name}-{}\"\n        set member{members}\n    next\nend",
                family.suffix()
            );
            self.addresses.extend(prefixes);
        }
        (name, families)
    }

    /// The service of every protocol.
    fn any(&mut self, interface: &str) -> String {
        let name = format!("{interface}-any");
        let entry = format!("    edit \"{name}\"\n        set protocol IP\n    next\n");
        if !self.services.contains(&entry) {
            self.services.push_str(&entry);
        }
        name
    }

    /// The services of one protocol with these ports.
    fn services(
        &mut self,
        name: &str,
        protocol: Protocol,
        from_ports: &PortSet,
        ports: &PortSet,
    ) -> Vec<String> {
        let (word, number) = match protocol {
            Protocol::Tcp => ("tcp", 6),
            Protocol::Udp => ("udp", 17),
        };
        if from_ports.is_all() && ports.is_all() {
            let name = format!("{name}-{word}");
            _ = writeln!(
                self.services,
                "    edit \"{name}\"\n        set protocol IP\n        set protocol-number {number}\n    next"
            );
            return vec![name];
        }
        let from: Vec<String> = match from_ports.is_all() {
            true => vec![String::new()],
            false => ranges(from_ports).map(|it| format!(":{it}")).collect(),
        };
        let pairs: Vec<String> = ranges(ports)
            .flat_map(|to| from.iter().map(move |from| format!(" {to}{from}")))
            .collect();
        let mut names = Vec::new();
        for (at, pairs) in (1..).zip(pairs.chunks(MAX_RANGES)) {
            let name = format!("{name}-{word}-{at}");
            _ = writeln!(
                self.services,
                "    edit \"{name}\"\n        set {word}-portrange{}\n    next",
                pairs.concat()
            );
            names.push(name);
        }
        names
    }

    /// Adds a policy, if there is a family in which it can match.
    fn policy(
        &mut self,
        action: &'static str,
        groups: [Group; 2],
        services: Vec<String>,
        title: &str,
    ) {
        let [from, to] = groups;
        let families: Vec<Family> = from
            .1
            .into_iter()
            .filter(|family| to.1.contains(family))
            .collect();
        if !families.is_empty() {
            self.policies.push(Policy {
                action,
                groups: [from.0, to.0],
                families,
                services,
                comment: comment(title),
            });
        }
    }

    fn text(mut self, ruleset: &Ruleset, interface: &str) -> String {
        let last = FIRST_ID + self.policies.len().saturating_sub(1);
        let mut text = format!(
            "# {}\n# {} policies for what VPN clients send through the tunnel, at the interface {interface}.\n#\n\
             # Unverified: no FortiGate was there to try this file.\n\
             # load it  remove the policies of an earlier file first, below; then paste this, or run it as a script\n\
             # move it  policies are added at the end, where they have no effect: under `config firewall policy`, from {FIRST_ID} to\n\
             #          {last} one by one, `move {FIRST_ID} before ID`, with the ID of your first policy for {interface}\n\
             # remove   under `config firewall policy`, `delete {FIRST_ID}` and so on to {last}; then groups, addresses and services\n\
             #          that begin with {interface}-\n#\n\
             # A policy that accepts is final: what an [[allow]] lets pass meets none of your other policies. Public services are\n\
             # cut out of what is denied, and are left to your own policies with their NAT. Policies are asked for the first packet\n\
             # of a session, so what an internal host opens to a client is not theirs. Fragments and source routes are not said here.\n",
            head(&ruleset.origin),
            self.policies.len(),
        );
        self.addresses.sort_unstable();
        self.addresses.dedup();
        for family in Family::BOTH {
            let everything = family.everything();
            let of_family: Vec<&IpNet> = self
                .addresses
                .iter()
                .filter(|prefix| everything.contains(*prefix))
                .collect();
            if of_family.is_empty() {
                continue;
            }
            _ = writeln!(text, "config firewall address{}", end(family));
            for prefix in of_family {
                let value = match prefix {
                    IpNet::V4(net) => format!("subnet {} {}", net.addr(), net.netmask()),
                    IpNet::V6(net) => format!("ip6 {net}"),
                };
                let name = address(interface, *prefix);
                _ = writeln!(text, "    edit \"{name}\"\n        set {value}\n    next");
            }
            text.push_str("end\n");
        }
        text.push_str(&self.groups);
        _ = write!(
            text,
            "config firewall service custom\n{}end\nconfig firewall policy\n",
            self.services
        );
        for (id, policy) in (FIRST_ID..).zip(&self.policies) {
            _ = write!(
                text,
                "    edit {id}\n        set name \"{interface}-{id}\"\n        set srcintf \"{interface}\"\n        set dstintf \"any\"\n"
            );
            for family in Family::BOTH {
                let [from, to] = &policy.groups;
                let (end, suffix) = (end(family), family.suffix());
                // A policy of an earlier file may have had the other family, too.
                let (from, to) = match policy.families.contains(&family) {
                    true => (
                        format!("set srcaddr{end} \"{from}-{suffix}\""),
                        format!("set dstaddr{end} \"{to}-{suffix}\""),
                    ),
                    false => (format!("unset srcaddr{end}"), format!("unset dstaddr{end}")),
                };
                _ = write!(text, "        {from}\n        {to}\n");
            }
            let services: String = policy
                .services
                .iter()
                .map(|name| format!(" \"{name}\""))
                .collect();
            _ = write!(
                text,
                "        set action {}\n        set schedule \"always\"\n        set service{services}\n        set comments \"{}\"\n    next\n",
                policy.action, policy.comment
            );
        }
        text.push_str("end\n");
        text
    }
}

/// The end of the names of tables and keys of a family.
const fn end(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => "6",
    }
}

/// The name of the address of `prefix`, which the target `fortigate-ipsec` has, too.
fn address(interface: &str, prefix: IpNet) -> String {
    format!("{interface}-{}_{}", prefix.addr(), prefix.prefix_len())
}

/// Ranges of ports. Port 0 is reserved (RFC 6335 §6), and FortiOS's own services begin with 1.
fn ranges(ports: &PortSet) -> impl Iterator<Item = String> {
    let some = |range: &PortRange| match (range.first(), range.last()) {
        (0, 1) => "1".to_owned(),
        (0, last) if last > 0 => format!("1-{last}"),
        _ => range.to_string(),
    };
    ports.ranges().iter().map(some)
}

/// A comment without characters that a shell of FortiOS minds.
fn comment(title: &str) -> String {
    let plain: String = title
        .chars()
        .filter(|char| (' '..='~').contains(char) && !matches!(char, '"' | '\\' | '?'))
        .collect();
    cut(&plain, MAX_COMMENT).to_owned()
}

/// The first policy's ID. IDs are fixed, so that the next file replaces what this one made.
const FIRST_ID: usize = 990_001;
/// Characters of an interface's name: FortiOS CLI reference, `config system interface`.
const MAX_NAME: usize = 15;
/// Ranges of one service; the reference names no number, and a policy takes several services.
const MAX_RANGES: usize = 8;
/// Bytes of a policy's comment; the reference has 1,023.
const MAX_COMMENT: usize = 200;
