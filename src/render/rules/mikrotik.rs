//! MikroTik RouterOS: the filter's verdicts as address lists and a chain of their own, for `/import`.
//!
//! ```text
//!  forward ──▶ jump offramp ──▶ a rule drops, or returns ──▶ the rest of forward
//! ```
//!
//! Connection tracking puts IPv4 fragments together before the chain sees them. RouterOS is Linux, whose multiport match takes
//! 15 ports, a range counting twice; its manual names no number, so rules are split there.

use std::fmt::Write as _;

use super::{cut, head};
use crate::address::{Family, PortSet, PrefixSet};
use crate::plan::{Ruleset, Traffic};
use crate::policy::{Protocol, UnknownSource};
use crate::render::{Families, Naming, Read, Target, Write as Writer};
use crate::verdict::Action;

/// A script of RouterOS.
pub const TARGET: Target = Target {
    name: "mikrotik",
    about: "the filter's rules as address lists and a chain of MikroTik RouterOS (`/import FILE`)",
    accepted_by: "a reader of the tests, whose decisions are compared with the filter's, and FWShift, a converter of others; no RouterOS was tried (unverified)",
    caveats: "fasttracked connections pass by the filter; while the file is imported the chain is empty, and everything passes",
    file: "offramp.rsc",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Writer::GatewayRules(Naming::Fixed, |rules, _| write(rules)),
    read: Read::Lines { comment: "#" },
};

fn write(ruleset: &Ruleset) -> String {
    let mut text = format!(
        "# {}\n# {} rules for what VPN clients send through the tunnel.\n#\n\
         # Unverified: no RouterOS was there to try this file.\n\
         # load it  /import {}      while it loads, the chain is empty and everything passes\n\
         # hook it  once, above the rule that fasttracks, with the interface list of the VPN:\n\
         #          /ip firewall filter add chain=forward in-interface-list=VPN action=jump jump-target={CHAIN}\n\
         #          /ipv6 firewall filter add chain=forward in-interface-list=VPN action=jump jump-target={CHAIN}\n\
         # remove   the jumps, then the lines below that begin with `remove`, in their two menus\n#\n\
         # What passes returns to forward, whose other rules still count. A fasttracked connection passes by the chain: keep\n\
         # clients out of the rule that fasttracks. Connection tracking puts IPv4 fragments together; without it non-first\n\
         # fragments pass. Source routes are not said here: RouterOS drops them where accept-source-route is off (/ip settings).\n",
        head(&ruleset.origin),
        ruleset.rules.len(),
        TARGET.file,
    );
    for family in Family::BOTH {
        let menu = match family {
            Family::V4 => "/ip",
            Family::V6 => "/ipv6",
        };
        _ = write!(
            text,
            "\n{menu} firewall filter\nremove [find chain={CHAIN}]\n\
             {menu} firewall address-list\nremove [find list~\"^offramp-\"]\n"
        );
        let clients = family.of(&ruleset.clients);
        list(&mut text, CLIENTS, &clients);
        for (number, rule) in ruleset.rules.iter().enumerate() {
            list(&mut text, &name(number), &family.of(&rule.destinations));
        }
        _ = writeln!(text, "{menu} firewall filter");
        rules(&mut text, ruleset, family, !clients.is_empty());
    }
    text
}

fn rules(text: &mut String, ruleset: &Ruleset, family: Family, has_clients: bool) {
    let mut line = |action: &str, conditions: &str, comment: &str| {
        _ = writeln!(
            text,
            "add chain={CHAIN} action={action}{conditions} comment=\"{comment}\""
        );
    };
    // `!` before a list that does not exist meets nothing for certain.
    let others = match has_clients {
        true => format!(" src-address-list=!{CLIENTS}"),
        false => String::new(),
    };
    match ruleset.unknown_source {
        UnknownSource::Forward => line("return", &others, "not-a-client"),
        UnknownSource::Drop => line("drop", &others, "spoofed-source"),
    }
    for (number, rule) in ruleset.rules.iter().enumerate() {
        if family.of(&rule.destinations).is_empty() {
            continue;
        }
        let action = match rule.action {
            Action::Forward => "return",
            Action::Drop => "drop",
        };
        let to = format!(" dst-address-list={}", name(number));
        let comment = comment(&rule.title());
        match &rule.traffic {
            Traffic::Any => line(action, &to, &comment),
            Traffic::Transport {
                protocols,
                from_ports,
                ports,
            } => {
                for (protocol, word) in [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")] {
                    if !protocols.contains(protocol) {
                        continue;
                    }
                    for from in conditions("src-port", from_ports) {
                        for port in conditions("dst-port", ports) {
                            line(
                                action,
                                &format!(" protocol={word}{to}{from}{port}"),
                                &comment,
                            );
                        }
                    }
                }
            }
        }
    }
}

fn list(text: &mut String, name: &str, addresses: &PrefixSet) {
    for prefix in addresses.prefixes() {
        // In halves, as for ipset: whether a list takes a prefix of no bits is not documented.
        let parts = match prefix.prefix_len() {
            0 => prefix.subnets(1).map(Iterator::collect),
            _ => Ok(vec![prefix]),
        };
        for part in parts.unwrap_or_else(|_| vec![prefix]) {
            _ = writeln!(text, "add list={name} address={part}");
        }
    }
}

/// The name of the list of the rule at `number`.
fn name(number: usize) -> String {
    format!("offramp-rule-{}", number + 1)
}

/// Conditions, one of which each port of the set meets.
fn conditions(option: &str, ports: &PortSet) -> Vec<String> {
    if ports.is_all() {
        return vec![String::new()];
    }
    let words: Vec<String> = ports.ranges().iter().map(ToString::to_string).collect();
    let lists = words.chunks(MAX_RANGES);
    lists
        .map(|list| format!(" {option}={}", list.join(",")))
        .collect()
}

/// A comment without what the console of RouterOS would act on: quotes, variables, escapes.
fn comment(title: &str) -> String {
    let plain: String = title
        .chars()
        .map(|char| match char {
            '"' => '\'',
            ' '..='~' if !matches!(char, '\\' | '$' | '?' | '`') => char,
            _ => '.',
        })
        .collect();
    cut(&plain, MAX_COMMENT).to_owned()
}

const CHAIN: &str = "offramp";
const CLIENTS: &str = "offramp-clients";
/// Ranges of a multiport match: 15 ports, of which a range is two.
const MAX_RANGES: usize = 7;
/// Characters of a comment.
const MAX_COMMENT: usize = 200;
