//! CSV (RFC 4180): a row for each rule, for firewalls without a target of their own and for people.

use std::fmt::Write as _;

use super::head;
use crate::address::PortSet;
use crate::address::PrefixSet;
use crate::plan::{Ruleset, Traffic};
use crate::policy::{ProtocolSet, UnknownSource};
use crate::render::{Families, Naming, Read, Target, Write as Writer};
use crate::verdict::Action;

/// A row for each rule.
pub const TARGET: Target = Target {
    name: "rules-csv",
    about: "the filter's rules as a table, for other firewalls and for people",
    accepted_by: "a model of the table, packet by packet",
    caveats: "",
    file: "rules.csv",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Writer::GatewayRules(Naming::Fixed, |rules, _| write(rules)),
    read: Read::Lines { comment: "#" },
};

fn write(ruleset: &Ruleset) -> String {
    let mut text = format!(
        "# {}\r\n# The first row that matches decides. Fields with several values have a space between them.\r\n\
         order,action,reason,rule,line,source,protocol,source_ports,destination,destination_ports\r\n",
        head(&ruleset.origin)
    );
    let clients = prefixes(&ruleset.clients);
    let mut order = 0;
    let mut row = |fields: [&str; 9]| {
        order += 1;
        _ = write!(text, "{order}");
        for field in fields {
            text.push(',');
            text.push_str(&quoted(field));
        }
        text.push_str("\r\n");
    };
    for rule in &ruleset.rules {
        let (protocol, from_ports, ports) = match &rule.traffic {
            Traffic::Any => ("any", String::new(), String::new()),
            Traffic::Transport {
                protocols,
                from_ports,
                ports,
            } => {
                let word = match protocols {
                    ProtocolSet::Tcp => "tcp",
                    ProtocolSet::Udp => "udp",
                    ProtocolSet::Both => "tcp udp",
                };
                (word, ranges(from_ports), ranges(ports))
            }
        };
        row([
            word(rule.action),
            rule.reason.name(),
            rule.name.as_deref().unwrap_or_default(),
            &rule.line.map_or(String::new(), |line| line.to_string()),
            &clients,
            protocol,
            &from_ports,
            &prefixes(&rule.destinations),
            &ports,
        ]);
    }
    let forward = word(Action::Forward);
    row([forward, "default", "", "", &clients, "any", "", "any", ""]);
    let (action, reason) = match ruleset.unknown_source {
        UnknownSource::Forward => (forward, "not-a-client"),
        UnknownSource::Drop => (word(Action::Drop), "spoofed-source"),
    };
    row([action, reason, "", "", "any", "any", "", "any", ""]);
    text
}

const fn word(action: Action) -> &'static str {
    match action {
        Action::Forward => "forward",
        Action::Drop => "drop",
    }
}

fn prefixes(set: &PrefixSet) -> String {
    let prefixes: Vec<String> = set.prefixes().map(|it| it.to_string()).collect();
    prefixes.join(" ")
}

/// Nothing where every port is meant.
fn ranges(ports: &PortSet) -> String {
    if ports.is_all() {
        return String::new();
    }
    let ranges: Vec<String> = ports.ranges().iter().map(ToString::to_string).collect();
    ranges.join(" ")
}

/// A field; one that a spreadsheet would take for a formula gets an apostrophe, which it shows as text.
fn quoted(field: &str) -> String {
    let text = if field.starts_with(['=', '+', '-', '@']) {
        format!("'{field}")
    } else {
        field.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
