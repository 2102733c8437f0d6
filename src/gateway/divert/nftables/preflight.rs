//! Conditions of the host that would break a diversion by marks, routing rules and routes.

use super::Diversion;
use super::route::ForeignRule;
use crate::gateway::divert::netlink::{Link, Netlink};
use crate::gateway::divert::{bridge_port, names};
use crate::gateway::host::settings::Settings;
use crate::verify::Finding;

/// Checks that no other program uses the route tables of the diversion.
pub(super) async fn check_tables(diversion: &Diversion, netlink: &Netlink) -> Vec<Finding> {
    let mut findings = Vec::new();
    for table in diversion.rules().iter().map(|rule| rule.table) {
        match netlink.foreign_routes(table).await {
            Ok(0) => {}
            Ok(_) => findings.push(table_in_use(table)),
            Err(error) => findings.push(Finding::from(&error)),
        }
    }
    findings
}

/// Looks for settings and routing rules that stop marked packets.
pub(super) async fn check_settings_and_rules(
    diversion: &Diversion,
    netlink: &Netlink,
) -> Vec<Finding> {
    let mut findings = check_settings(diversion, &Settings::of_host());
    match netlink.links().await {
        Ok(links) => findings.extend(check_links(diversion, &links)),
        Err(error) => findings.push(Finding::from(&error)),
    }
    match netlink.foreign_rules().await {
        Ok(rules) => findings.extend(check_rules(diversion, &rules)),
        Err(error) => findings.push(Finding::from(&error)),
    }
    findings
}

/// A reverse path filter that requires the route back to use the interface on which the packet arrived.
const STRICT: i64 = 1;

fn check_settings<Read: Fn(&str) -> Option<i64>>(
    diversion: &Diversion,
    settings: &Settings<Read>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.get("ipv4/conf/all/rp_filter") == Some(STRICT) {
        findings.push(Finding::host_error(
            "net.ipv4.conf.all.rp_filter is 1: packets that come back from the filter would be dropped, as their \
             sources are routed elsewhere",
            "sysctl -w net.ipv4.conf.all.rp_filter=0, and set 1 for the interfaces that need it, e.g. \
             net.ipv4.conf.eth0.rp_filter=1; offramp sets its own device's",
        ));
    }
    // Offramp switches it off there; the device has no setting before it is made.
    let of_device = format!("ipv4/conf/{}/rp_filter", diversion.device);
    if settings.get("ipv4/conf/all/rp_filter") == Some(0)
        && settings.get(&of_device) == Some(STRICT)
    {
        let name = of_device.replace('/', ".");
        findings.push(Finding::host_error(
            format!("net.{name} is 1: packets that come back from the filter are dropped, as their sources are routed elsewhere"),
            format!("sysctl -w net.{name}=0"),
        ));
    }
    // An answer from the gateway itself would inherit the filter's mark and be routed away from the client.
    for key in [
        "ipv4/tcp_fwmark_accept",
        "ipv4/fwmark_reflect",
        "ipv6/fwmark_reflect",
    ] {
        if settings.get(key) == Some(1) {
            let name = key.replace('/', ".");
            findings.push(Finding::host_error(
                format!("net.{name} is 1: answers of this host to clients would carry the filter's mark, and be lost"),
                format!("sysctl -w net.{name}=0"),
            ));
        }
    }
    for interface in &diversion.interfaces {
        let name = interface.strip_suffix('*').unwrap_or(interface);
        if settings.src_valid_mark(name) && settings.rp_filter(name) == STRICT {
            findings.push(Finding::host_error(
                format!(
                    "src_valid_mark is 1 and rp_filter is 1 for {interface}: what the filter's mark is on would fail the \
                     reverse path check"
                ),
                format!(
                    "sysctl -w net.ipv4.conf.all.src_valid_mark=0 (wg-quick sets it), or \
                     net.ipv4.conf.{name}.rp_filter=2"
                ),
            ));
        }
    }
    findings
}

fn check_links(diversion: &Diversion, links: &[Link]) -> Vec<Finding> {
    let is_of_clients = |link: &&Link| {
        let mut patterns = diversion.interfaces.iter();
        link.name != diversion.device && patterns.any(|it| names(it, &link.name))
    };
    let ports = links
        .iter()
        .filter(is_of_clients)
        .filter(|link| link.is_bridge_port);
    ports.map(|link| bridge_port(&link.name)).collect()
}

fn check_rules(diversion: &Diversion, rules: &[ForeignRule]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let bits = diversion.mark.mask();
    for rule in rules {
        if let Some((mark, mask)) = rule.mark
            && mask & bits != 0
            && mask != u32::MAX
        {
            findings.push(Finding::host_error(
                format!(
                    "the routing rule of priority {} looks at mark {mark:#x}/{mask:#x}, which shares bits with the filter's {bits:#x}",
                    rule.priority
                ),
                "choose two other bits: [gateway] mark = 0x0c000000",
            ));
        } else if let Some((mark, u32::MAX)) = rule.mark
            && mark & bits != 0
        {
            findings.push(Finding::host_error(
                format!(
                    "the routing rule of priority {} looks for mark {mark:#x}, which shares bits with the filter's {bits:#x}",
                    rule.priority
                ),
                "choose two other bits: [gateway] mark = 0x0c000000",
            ));
        } else if let Some((mark @ 1.., u32::MAX)) = rule.mark
            && !rule.is_inverted
        {
            findings.push(Finding::host_warning(
                format!(
                    "the routing rule of priority {} wants mark {mark:#x} and nothing beside it: it does not match what \
                     carries the filter's bits too",
                    rule.priority
                ),
                format!(
                    "if it is for VPN clients, have it look at its own bits only: fwmark {mark:#x}/{:#x}",
                    !bits
                ),
            ));
        } else if rule.priority < Diversion::FIRST_PRIORITY && rule.mark.is_none() && !rule.is_local
        {
            findings.push(Finding::host_warning(
                format!(
                    "the routing rule of priority {} comes before the filter's ({}): what it routes is not judged",
                    rule.priority,
                    Diversion::FIRST_PRIORITY
                ),
                "give it a priority above 1000 if it applies to VPN clients",
            ));
        }
    }
    findings
}

fn table_in_use(table: u32) -> Finding {
    Finding::host_error(
        format!("route table {table} holds routes of somebody else"),
        "choose three tables in a row that nothing uses: [gateway] table = 28600",
    )
}

#[cfg(test)]
mod tests;
