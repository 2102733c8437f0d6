//! Rules of other tables that meet a packet twice, because it is forwarded twice.

use serde_json::Value;

use super::Finding;
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
                    "accept the first of the two, which is not tracked (`oifname \"{device}\" accept`), and let the rules \
                     for the VPN's interfaces hold for `iifname \"{device}\"` too"
                ),
            ));
        }
    }
    findings
}

fn name_of(chain: &Value) -> String {
    let part = |key: &str| chain[key].as_str().unwrap_or("?");
    format!("{} {} {}", part("family"), part("table"), part("name"))
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
