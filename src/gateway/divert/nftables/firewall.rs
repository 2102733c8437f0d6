//! Rules of other tables that a packet meets on its way to the filter and back.

use serde_json::Value;

use super::nft::NftError;
use super::{Diversion, nft};
use crate::verify::Finding;

/// Checks the complete nftables ruleset of this host.
pub(super) fn check_host(diversion: &Diversion) -> Vec<Finding> {
    match nft::everything() {
        Ok(rules) => check(&rules, diversion),
        Err(error @ NftError::Missing(_)) => vec![Finding::host_error(
            "there is no nft on this host",
            format!("it marks what enters from the VPN: {error}"),
        )],
        Err(NftError::Refused(why)) => vec![Finding::host_error(
            format!("nftables cannot be used: {why}"),
            "the kernel needs nf_tables, and offramp the right to use it (CAP_NET_ADMIN)",
        )],
    }
}

/// Checks `rules`, the complete nftables ruleset (including iptables-nft).
pub(super) fn check(rules: &Value, diversion: &Diversion) -> Vec<Finding> {
    let objects = rules["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    let device = &diversion.device;
    let chains = objects.iter().filter_map(|object| object.get("chain"));
    let mut findings = Vec::new();
    for chain in chains.filter(|chain| chain["table"] != nft::TABLE) {
        let name = name_of(chain);
        let stops_what_it_does_not_know = chain["policy"] == "drop"
            || rules_of(objects, chain).any(|rule| is_unconditional_stop(&rule["expr"]));
        if chain["hook"] == "forward"
            && stops_what_it_does_not_know
            && !knows_device(objects, chain, device)
        {
            findings.push(Finding::host_error(
                format!(
                    "chain {name} stops what it does not know, and would see each packet twice: from the VPN to {device}, \
                     and from {device} on"
                ),
                format!(
                    "accept the first of the two, which is not tracked (`oifname \"{device}\" accept`), and let the rules \
                     for the VPN's interfaces hold for `iifname \"{device}\"` too"
                ),
            ));
        }
        if chain["hook"] == "prerouting"
            && chain["prio"].as_i64() > Some(nft::RAW.into())
            && rules_of(objects, chain).any(|rule| sets_mark(&rule["expr"]))
        {
            findings.push(Finding::host_warning(
                format!(
                    "a rule of chain {name} sets packet marks behind the filter's: what it applies to may not be judged"
                ),
                format!(
                    "have it keep the filter's bits: meta mark set meta mark & {:#010x} | …",
                    diversion.mark.mask()
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

fn rules_of<'a>(objects: &'a [Value], chain: &'a Value) -> impl Iterator<Item = &'a Value> {
    let rules = objects.iter().filter_map(|object| object.get("rule"));
    rules.filter(|rule| {
        rule["family"] == chain["family"]
            && rule["table"] == chain["table"]
            && rule["chain"] == chain["name"]
    })
}

/// Returns `true` if a rule of the chain's table names the filter's device: the operator has then provided for it.
fn knows_device(objects: &[Value], chain: &Value, device: &str) -> bool {
    let named = format!("\"{device}\"");
    let mut rules = objects.iter().filter_map(|object| object.get("rule"));
    rules.any(|rule| {
        rule["family"] == chain["family"]
            && rule["table"] == chain["table"]
            && rule.to_string().contains(&named)
    })
}

/// Returns `true` if the statements drop or reject every packet, as the last rule of a chain may.
fn is_unconditional_stop(statements: &Value) -> bool {
    let statements = statements.as_array().map_or(&[][..], Vec::as_slice);
    let is = |statement: &Value, key: &str| statement.get(key).is_some();
    let stops = statements.iter().any(|statement| {
        is(statement, "drop")
            || is(statement, "reject")
            || matches!(statement["xt"]["name"].as_str(), Some("REJECT" | "DROP"))
    });
    let has_condition = statements.iter().any(|statement| {
        is(statement, "match")
            || is(statement, "limit")
            || is(statement, "vmap")
            || statement["xt"]["type"] == "match"
    });
    stops && !has_condition
}

fn sets_mark(statements: &Value) -> bool {
    let statements = statements.as_array().map_or(&[][..], Vec::as_slice);
    statements.iter().any(|statement| {
        statement["mangle"]["key"]["meta"]["key"] == "mark"
            || matches!(statement["xt"]["name"].as_str(), Some("MARK" | "CONNMARK"))
    })
}
