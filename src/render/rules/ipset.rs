//! ipset: the sets that the rules for iptables name.
//!
//! Each is filled beside the one in use and then takes its place, so that no packet meets half a set.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::head;
use super::iptables::inet;
use crate::address::Family;
use crate::address::PrefixSet;
use crate::plan::Ruleset;
use crate::render::{Families, Naming, Read, Target, Write as Writer};

/// The sets of iptables and ip6tables.
pub const TARGET: Target = Target {
    name: "ipset",
    about: "the sets that the two files for iptables name (`ipset restore`)",
    accepted_by: "ipset and the kernel",
    caveats: "",
    file: "offramp.ipset",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Writer::GatewayRules(Naming::Fixed, |rules, _| write(rules)),
    read: Read::Lines { comment: "#" },
};

fn write(ruleset: &Ruleset) -> String {
    let sets = sets(ruleset);
    let mut text = format!(
        "# {}\n# The sets that offramp.rules.v4 and offramp.rules.v6 name.\n#\n\
         # load it  ipset restore -exist < offramp.ipset      before the rules, again after each change\n\
         # remove   ipset destroy NAME for each name that `ipset list -name` shows with offramp-, after the rules\n",
        head(&ruleset.origin)
    );
    for (name, family, addresses) in &sets {
        let (kind, beside) = (inet(*family), format!("{name}-x"));
        _ = write!(
            text,
            "\ncreate {name} hash:net family {kind} maxelem {MAX_ELEMENTS}\n\
             create {beside} hash:net family {kind} maxelem {MAX_ELEMENTS}\nflush {beside}\n"
        );
        for prefix in family.of(addresses).prefixes() {
            // The kernel's hash has no place for a prefix of no bits.
            let halves = match prefix.prefix_len() {
                0 => prefix.subnets(1).map(Iterator::collect),
                _ => Ok(vec![prefix]),
            };
            let parts: Vec<IpNet> = halves.unwrap_or_else(|_| vec![prefix]);
            for part in parts {
                _ = writeln!(text, "add {beside} {part}");
            }
        }
        _ = writeln!(text, "swap {beside} {name}\ndestroy {beside}");
    }
    text
}

/// Every set, by name, that the rules of either family name.
fn sets(ruleset: &Ruleset) -> Vec<(String, Family, &PrefixSet)> {
    let mut sets = Vec::new();
    for family in Family::BOTH {
        let mut add = |what: &str, addresses| {
            if !family.of(addresses).is_empty() {
                sets.push((name(what, family), family, addresses));
            }
        };
        add("clients", &ruleset.clients);
        for (number, rule) in ruleset.rules.iter().enumerate() {
            add(&rule_name(number), &rule.destinations);
        }
        if family == Family::V4 {
            add("tails-tcp", &ruleset.portless.non_first_tcp);
            add("tails-udp", &ruleset.portless.non_first_udp);
        }
    }
    sets
}

/// The name of the set of the rule at `number`.
pub(super) fn rule_name(number: usize) -> String {
    format!("rule-{}", number + 1)
}

/// The name of a set of one family; ipset takes 31 bytes.
pub(super) fn name(what: &str, family: Family) -> String {
    format!("offramp-{what}-{}", family.suffix())
}

/// Prefixes that a set can have; the same at every load, because a set that is there must be of the same kind.
const MAX_ELEMENTS: u32 = 1 << 20;
