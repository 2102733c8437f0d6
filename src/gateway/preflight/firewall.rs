//! Rules of other tables that meet a packet twice, because it is forwarded twice.

use serde_json::Value;

use super::{Finding, strings_under};
use crate::gateway::divert::{Diversion, nft};

/// Looks through `rules`, everything that nftables has (iptables' rules among it).
pub(super) fn check(rules: &Value, diversion: &Diversion) -> Vec<Finding> {
    let mut findings = Vec::new();
    let objects = rules["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let device = &diversion.device;
    for chain in objects.iter().filter_map(|object| object.get("chain")) {
        let is_dropping =
            chain["hook"] == "forward" && chain["policy"] == "drop" && chain["table"] != nft::TABLE;
        if is_dropping && !accepts_device(objects, chain, device) {
            let name = name_of(chain);
            findings.push(Finding::warning(
                format!(
                    "chain {name} drops what it does not know, and sees each packet twice: from the VPN to {device}, \
                     and from {device} on"
                ),
                format!(
                    "accept the first of the two (`oifname \"{device}\" accept`), and let the rules for the VPN's \
                     interfaces hold for `iifname \"{device}\"` too"
                ),
            ));
        }
    }
    for rule in objects.iter().filter_map(|object| object.get("rule")) {
        if translates_source(rule) && !names_output(rule) && is_in_nat_chain(objects, rule) {
            findings.push(Finding::error(
                format!(
                    "a rule in chain {} translates source addresses whatever the interface: on the way to {device}, too, \
                     where clients would no longer be known",
                    name_of(rule)
                ),
                "name the uplink in it, e.g. `oifname \"eth0\" masquerade` (iptables: `-o eth0`)",
            ));
        }
    }
    findings
}

fn name_of(object: &Value) -> String {
    let part = |key: &str| object[key].as_str().unwrap_or("?").to_owned();
    let chain = object
        .get("chain")
        .map_or_else(|| part("name"), |_| part("chain"));
    format!("{} {} {chain}", part("family"), part("table"))
}

/// Whether a rule of the chain speaks of the filter's device: then the operator has thought of it.
fn accepts_device(objects: &[Value], chain: &Value, device: &str) -> bool {
    let same = |rule: &&Value| {
        rule["family"] == chain["family"]
            && rule["table"] == chain["table"]
            && rule["chain"] == chain["name"]
    };
    let mut rules = objects
        .iter()
        .filter_map(|object| object.get("rule"))
        .filter(same);
    rules.any(|rule| rule.to_string().contains(&format!("\"{device}\"")))
}

fn translates_source(rule: &Value) -> bool {
    let Some(statements) = rule["expr"].as_array() else {
        return false;
    };
    statements.iter().any(|statement| {
        let foreign = statement["xt"]["name"].as_str();
        statement.get("masquerade").is_some()
            || statement.get("snat").is_some()
            || matches!(foreign, Some("MASQUERADE" | "SNAT"))
    })
}

fn names_output(rule: &Value) -> bool {
    let mut keys = Vec::new();
    strings_under(&rule["expr"], "key", &mut keys);
    keys.iter().any(|key| {
        matches!(
            key.as_str(),
            Some("oif" | "oifname" | "oiftype" | "oifgroup")
        )
    })
}

/// Whether a rule stands in a chain at the postrouting hook; chains that others jump to are left to their callers.
fn is_in_nat_chain(objects: &[Value], rule: &Value) -> bool {
    let mut chains = objects.iter().filter_map(|object| object.get("chain"));
    chains.any(|chain| {
        chain["hook"] == "postrouting"
            && chain["family"] == rule["family"]
            && chain["table"] == rule["table"]
            && chain["name"] == rule["chain"]
    })
}
