//! iptables-restore and ip6tables-restore: the filter's verdicts in chains of their own.
//!
//! `--noflush` leaves every other chain alone; ours are declared, which empties them. What passes returns to the chain
//! that asked, where rules of others still count.

use std::fmt::Write as _;

use super::{comment, head, ipset};
use crate::address::{Family, PortSet};
use crate::plan::{PacketRule, Ruleset, Traffic};
use crate::policy::{PortRange, Protocol, ProtocolSet, UnknownSource};
use crate::render::{Families, Naming, Read, Target, Write as Writer};
use crate::verdict::Action;

/// iptables-restore.
pub const TARGET: Target = Target {
    name: "iptables",
    about: "the filter's IPv4 rules for `iptables-restore --noflush`, in a chain of their own",
    accepted_by: "iptables-restore and the kernel: every packet as the filter",
    caveats: "",
    file: "offramp.rules.v4",
    is_executable: false,
    families: Families::V4,
    limits: &[],
    write: Writer::GatewayRules(Naming::Fixed, |rules, _| write(rules, Family::V4)),
    read: Read::Lines { comment: "#" },
};

/// ipset's word for a family.
pub(super) const fn inet(family: Family) -> &'static str {
    match family {
        Family::V4 => "inet",
        Family::V6 => "inet6",
    }
}

const fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

pub(super) fn write(ruleset: &Ruleset, family: Family) -> String {
    let mut text = opening(ruleset, family);
    _ = write!(text, "*filter\n:{CHAIN} - [0:0]\n:{PORTS} - [0:0]\n");
    let mut line = |line: &str| {
        text.push_str("-A ");
        text.push_str(line);
        text.push('\n');
    };
    let (reason, target) = match ruleset.unknown_source {
        UnknownSource::Forward => ("not-a-client", "RETURN"),
        UnknownSource::Drop => ("spoofed-source", "DROP"),
    };
    let others = if family.of(&ruleset.clients).is_empty() {
        String::new()
    } else {
        let set = ipset::name("clients", family);
        format!("-m set ! --match-set {set} src ")
    };
    line(&format!(
        "{CHAIN} {others}-m comment --comment \"{reason}\" -j {target}"
    ));
    if family == Family::V6 {
        line(&format!(
            "{CHAIN} -m rt --rt-segsleft 1:255 -m comment --comment \"source-routed\" -j DROP"
        ));
    }
    for (number, rule) in ruleset.rules.iter().enumerate() {
        if rule.traffic == Traffic::Any {
            rule_lines(CHAIN, number, rule, family, &mut line);
        }
    }
    match family {
        Family::V4 => {
            let portless = &ruleset.portless;
            for (protocol, tails) in [
                ("tcp", &portless.non_first_tcp),
                ("udp", &portless.non_first_udp),
            ] {
                if !tails.is_empty() {
                    let set = ipset::name(&format!("tails-{protocol}"), family);
                    line(&format!(
                        "{CHAIN} -f -p {protocol} -m set --match-set {set} dst -m comment --comment \"non-first fragment\" -j DROP"
                    ));
                }
            }
            line(&format!("{CHAIN} -f {LATER}"));
        }
        Family::V6 => {
            for protocol in ["tcp", "udp"] {
                line(&format!(
                    "{CHAIN} -p {protocol} -m frag --fragfirst -g {PORTS}"
                ));
            }
            line(&format!(
                "{CHAIN} -m ipv6header --header frag --soft {LATER}"
            ));
        }
    }
    for protocol in ["tcp", "udp"] {
        line(&format!("{CHAIN} -p {protocol} -g {PORTS}"));
    }
    for (number, rule) in ruleset.rules.iter().enumerate() {
        if rule.traffic != Traffic::Any {
            rule_lines(PORTS, number, rule, family, &mut line);
        }
    }
    text.push_str("COMMIT\n");
    text
}

fn opening(ruleset: &Ruleset, family: Family) -> String {
    let (program, version) = (program(family), family.suffix());
    let interfaces: Vec<String> = if ruleset.interfaces.is_empty() {
        vec![String::new()]
    } else {
        let names = ruleset.interfaces.iter();
        // iptables writes a `+` for any rest of a name.
        names
            .map(|name| format!("-i '{}' ", name.replace('*', "+")))
            .collect()
    };
    let mut text = format!(
        "# {}\n# {} rules for what VPN clients send through the tunnel.\n#\n\
         # load it  ipset restore -exist < offramp.ipset && {program}-restore --noflush < offramp.rules.{version}\n",
        head(&ruleset.origin),
        ruleset.rules.len(),
    );
    for interface in &interfaces {
        _ = writeln!(
            text,
            "# hook it  {program} -C FORWARD {interface}-j {CHAIN} 2>/dev/null || {program} -I FORWARD {interface}-j {CHAIN}"
        );
    }
    for interface in &interfaces {
        _ = writeln!(
            text,
            "# unhook   {program} -D FORWARD {interface}-j {CHAIN}"
        );
    }
    _ = write!(
        text,
        "# remove   for chain in {CHAIN} {PORTS}; do {program} -F $chain; done\n\
         #          for chain in {CHAIN} {PORTS}; do {program} -X $chain; done\n#\n\
         # What passes returns to FORWARD, whose other rules still count. Not said here, and said by the file for nftables:\n"
    );
    text.push_str(match family {
        Family::V4 => {
            "# - source routes: Linux drops them itself unless net.ipv4.conf.*.accept_source_route is set.\n\
             # - TCP and UDP that end before their header does: iptables drops them where a rule asks for ports.\n"
        }
        Family::V6 => {
            "# - IPv6 headers that end before the transport: they pass where no fragment has the rest. So does what stands\n\
             #   behind an authentication, mobility, HIP or shim6 header.\n\
             # - TCP and UDP that end before their header does: ip6tables drops them where a rule asks for ports.\n"
        }
    });
    text
}

/// The lines of one rule: multiport takes 15 ports, a range counts twice.
fn rule_lines(
    chain: &str,
    number: usize,
    rule: &PacketRule,
    family: Family,
    line: &mut impl FnMut(&str),
) {
    if family.of(&rule.destinations).is_empty() {
        return;
    }
    let set = ipset::name(&ipset::rule_name(number), family);
    let comment = comment(&rule.title(), MAX_COMMENT);
    let target = match rule.action {
        Action::Forward => "RETURN",
        Action::Drop => "DROP",
    };
    let rest =
        format!("-m set --match-set {set} dst -m comment --comment \"{comment}\" -j {target}");
    match &rule.traffic {
        Traffic::Any => line(&format!("{chain} {rest}")),
        Traffic::Transport {
            protocols,
            from_ports,
            ports,
        } => {
            for protocol in each(*protocols) {
                for from in multiports("sports", from_ports) {
                    for to in multiports("dports", ports) {
                        line(&format!("{chain} -p {protocol} {from}{to}{rest}"));
                    }
                }
            }
        }
    }
}

fn each(protocols: ProtocolSet) -> impl Iterator<Item = &'static str> {
    [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")]
        .into_iter()
        .filter(move |(protocol, _)| protocols.contains(*protocol))
        .map(|(_, name)| name)
}

/// Conditions, one of which each port of the set meets.
fn multiports(option: &str, ports: &PortSet) -> Vec<String> {
    if ports.is_all() {
        return vec![String::new()];
    }
    let mut lists: Vec<(usize, Vec<String>)> = Vec::new();
    for range in ports.ranges() {
        let (size, text) = written(*range);
        match lists.last_mut() {
            Some((used, list)) if *used + size <= MAX_MULTIPORT => {
                *used += size;
                list.push(text);
            }
            Some(_) | None => lists.push((size, vec![text])),
        }
    }
    let lists = lists.into_iter();
    lists
        .map(|(_, list)| format!("-m multiport --{option} {} ", list.join(",")))
        .collect()
}

fn written(range: PortRange) -> (usize, String) {
    if range.first() == range.last() {
        (1, range.first().to_string())
    } else {
        (2, format!("{}:{}", range.first(), range.last()))
    }
}

const CHAIN: &str = "OFFRAMP";
const PORTS: &str = "OFFRAMP_PORTS";
/// The end of a rule that lets fragments without ports pass, where ports decide.
const LATER: &str = "-m comment --comment \"default: non-first fragment\" -j RETURN";
/// Ports that one multiport match takes (XT_MULTI_PORTS).
const MAX_MULTIPORT: usize = 15;
/// Bytes of a comment (XT_MAX_COMMENT_LEN, with its end).
const MAX_COMMENT: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel counts a range as two (`XT_MULTI_PORTS`).
    #[test]
    fn a_multiport_match_takes_fifteen_ports_and_the_next_one_the_rest() {
        let ranges = (1..=20).filter_map(|at| PortRange::new(10 * at, 10 * at + 1));
        let lists = multiports(
            "dports",
            &ranges.chain(PortRange::new(5_000, 5_000)).collect(),
        );
        let sizes: Vec<usize> = lists
            .iter()
            .map(|list| list.matches([',', ':']).count() + 1)
            .collect();
        assert_eq!(sizes, [14, 14, 13], "{lists:?}");
    }
}
