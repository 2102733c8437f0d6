//! pfSense: the filter's verdicts as aliases and floating rules, in the XML of config.xml; OPNsense's file is like it.
//!
//! pf asks its rules for the first packet of a session only, and puts fragments together before. A floating rule with `quick`
//! decides at once: for what an `[[allow]]` lets pass, the firewall's other rules do not count, since pf knows no return.

use std::fmt::Write as _;

use super::{cut, head};
use crate::address::{PortSet, PrefixSet};
use crate::plan::{PacketRule, Ruleset, Traffic};
use crate::policy::{ProtocolSet, UnknownSource};
use crate::render::xml::comment;
use crate::render::{Families, Naming, Read, Target, Write as Writer};
use crate::verdict::Action;

/// Parts of pfSense's config.xml.
pub const TARGET: Target = Target {
    name: "pfsense",
    about: "the filter's rules as aliases and floating rules of pfSense, parts of config.xml (`--name INTERFACE`)",
    accepted_by: "a parser of XML, a reader of the tests, whose decisions are compared with the filter's, and FWShift, a converter of others; no pfSense was tried, and pfctl is on no Linux (unverified)",
    caveats: CAVEATS,
    file: "pfsense-offramp.xml",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Writer::GatewayRules(INTERFACE, |rules, name| {
        write(rules, name, Product::PfSense)
    }),
    read: Read::Lines { comment: "<!--" },
};

/// Caveats of both products.
pub(super) const CAVEATS: &str = "restoring a part of config.xml replaces that part: merge the elements into an export; \
     judges the first packet of a session; sessions that are there go on until they end or their states are reset";

/// The interface of the rules, as config.xml calls it.
pub(super) const INTERFACE: Naming = Naming::Chosen {
    default: "openvpn",
    refuses: |name| {
        let is_word = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (!is_word).then_some("it is an interface as config.xml calls it: opt1, openvpn, enc0")
    },
};

/// The firewall whose config.xml is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    PfSense,
    OpnSense,
}

/// A named list of addresses or ports.
struct Alias {
    name: String,
    kind: &'static str,
    entries: Vec<String>,
}

pub(super) fn write(ruleset: &Ruleset, interface: &str, product: Product) -> String {
    let (root, word) = match product {
        Product::PfSense => ("pfsense", "pfSense"),
        Product::OpnSense => ("opnsense", "OPNsense"),
    };
    let mut text = format!(
        "<?xml version=\"1.0\"?>\n<{root}>\n\
         <!-- {} -->\n\
         <!-- {} rules for what VPN clients send through the tunnel, on the interface {interface}. -->\n\
         <!-- Unverified: no {word} was there to try this file. -->\n\
         <!-- load it: merge the aliases and rules below into an export of the configuration, above your own rules, and restore it. -->\n\
         <!-- Restoring these parts alone would replace every alias and rule that you have. -->\n\
         <!-- remove: delete the rules and aliases that begin with offramp. -->\n\
         <!-- pf asks for the first packet of a session: reset the states of clients after loading. Rules with quick decide at once, -->\n\
         <!-- so what is passed here meets none of your other rules. Source routes are not said here: pf drops packets with IP -->\n\
         <!-- options unless a rule allows them. -->\n",
        comment(&head(&ruleset.origin)),
        ruleset.rules.len(),
    );
    let (aliases, rules) = parts(ruleset, interface);
    match product {
        Product::PfSense => {
            text.push_str("<aliases>\n");
            for alias in &aliases {
                _ = writeln!(
                    text,
                    "  <alias><name>{}</name><type>{}</type><address>{}</address><descr>offramp</descr></alias>",
                    alias.name,
                    alias.kind,
                    alias.entries.join(" ")
                );
            }
            text.push_str("</aliases>\n");
        }
        Product::OpnSense => {
            text.push_str("<OPNsense><Firewall><Alias><aliases>\n");
            for alias in &aliases {
                _ = writeln!(
                    text,
                    "  <alias><enabled>1</enabled><name>{}</name><type>{}</type><content>{}</content>\
                     <description>offramp</description></alias>",
                    alias.name,
                    alias.kind,
                    alias.entries.join("&#10;")
                );
            }
            text.push_str("</aliases></Alias></Firewall></OPNsense>\n");
        }
    }
    _ = write!(text, "<filter>\n{rules}</filter>\n</{root}>\n");
    text
}

/// The aliases, and the rules that name them.
fn parts(ruleset: &Ruleset, interface: &str) -> (Vec<Alias>, String) {
    let mut aliases = vec![networks(CLIENTS, &ruleset.clients)];
    let mut rules = String::new();
    if ruleset.unknown_source == UnknownSource::Drop {
        let from = format!("<address>{CLIENTS}</address><not/>");
        rule(
            &mut rules,
            interface,
            "block",
            "",
            &from,
            "<any/>",
            "spoofed-source",
        );
    }
    for (number, it) in (1..).zip(&ruleset.rules) {
        let to = format!("offramp_to_{number}");
        aliases.push(networks(&to, &it.destinations));
        let mut from = format!("<address>{CLIENTS}</address>");
        let mut to = format!("<address>{to}</address>");
        let mut protocol = "";
        if let Traffic::Transport {
            protocols,
            from_ports,
            ports,
        } = &it.traffic
        {
            protocol = match protocols {
                ProtocolSet::Tcp => "<protocol>tcp</protocol>",
                ProtocolSet::Udp => "<protocol>udp</protocol>",
                ProtocolSet::Both => "<protocol>tcp/udp</protocol>",
            };
            for (side, set, name) in [
                (&mut from, from_ports, format!("offramp_from_{number}")),
                (&mut to, ports, format!("offramp_ports_{number}")),
            ] {
                if !set.is_all() {
                    _ = write!(side, "<port>{name}</port>");
                    aliases.push(port_alias(name, set));
                }
            }
        }
        let action = match it.action {
            Action::Forward => "pass",
            Action::Drop => "block",
        };
        rule(
            &mut rules,
            interface,
            action,
            protocol,
            &from,
            &to,
            &title(it),
        );
    }
    (aliases, rules)
}

fn rule(
    text: &mut String,
    interface: &str,
    action: &str,
    protocol: &str,
    from: &str,
    to: &str,
    title: &str,
) {
    _ = writeln!(
        text,
        "  <rule><type>{action}</type><interface>{interface}</interface><ipprotocol>inet46</ipprotocol>{protocol}\
         <direction>in</direction><floating>yes</floating><quick>yes</quick><source>{from}</source>\
         <destination>{to}</destination><descr>offramp: {title}</descr></rule>"
    );
}

fn networks(name: &str, addresses: &PrefixSet) -> Alias {
    let prefixes = addresses.prefixes();
    Alias {
        name: name.to_owned(),
        kind: "network",
        entries: prefixes.map(|prefix| prefix.to_string()).collect(),
    }
}

fn port_alias(name: String, ports: &PortSet) -> Alias {
    let ranges = ports.ranges().iter();
    Alias {
        name,
        kind: "port",
        entries: ranges
            .map(|range| match range.first() == range.last() {
                true => range.first().to_string(),
                false => format!("{}:{}", range.first(), range.last()),
            })
            .collect(),
    }
}

/// A rule's title as the text of an element.
fn title(rule: &PacketRule) -> String {
    let plain: String = rule
        .title()
        .chars()
        .map(|char| match char {
            ' '..='~' if !matches!(char, '<' | '>' | '&' | '"') => char,
            _ => '.',
        })
        .collect();
    cut(&plain, MAX_TITLE).to_owned()
}

const CLIENTS: &str = "offramp_clients";
/// Characters of a rule's description.
const MAX_TITLE: usize = 100;
