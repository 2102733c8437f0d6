//! Windows DNS server: query resolution policies by PowerShell, for a server that others ask, too.

use std::fmt::Write as _;

use super::windows::write_records;
use super::{Shape, because, head};
use crate::name::DnsName;
use crate::plan::Zones;
use crate::policy::Policy;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// PowerShell on a Windows DNS server that serves others too.
pub const TARGET: Target = Target {
    name: "windows-dns-policy",
    about: "query resolution policies by PowerShell, on a DNS server for all",
    accepted_by: "PowerShell's grammar; no Windows was tried",
    caveats: "hidden names get SERVFAIL: a client with a second DNS server asks that one",
    file: "dns-policies.ps1",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Names(write),
    read: Read::No,
};

fn write(policy: &Policy, zones: &Zones) -> Result<Rendered, RenderError> {
    let advice = [
        "For a DNS server that has the zones and is asked by others too (Windows Server 2016 or later).",
        "VPN clients get the names listed from a scope of the zone, and all others as everybody does:",
        "without -Fqdn, every other name of the zone would not exist for them.",
        "Hidden names are refused by policies of the server, in whatever zone they stand: the answer is SERVFAIL,",
        "and a client that has another DNS server asks that one. Look at the zones with Get-DnsServerZone.",
    ];
    let mut text = head("#", policy, zones, &advice);
    let clients = policy.dns_clients().iter().map(|it| it.value);
    let (v4, v6): (Vec<_>, Vec<_>) = clients.partition(|prefix| prefix.addr().is_ipv4());
    text.push_str("Add-DnsServerClientSubnet -Name 'offramp'");
    for (switch, prefixes) in [("-IPv4Subnet", v4), ("-IPv6Subnet", v6)] {
        if !prefixes.is_empty() {
            let prefixes: Vec<_> = prefixes.iter().map(|it| format!("'{it}'")).collect();
            _ = write!(text, " {switch} {}", prefixes.join(","));
        }
    }
    text.push('\n');
    let mut left_out = Vec::new();
    let mut guessed = Vec::new();
    let mut by_zone: Vec<(DnsName, Vec<DnsName>)> = Vec::new();
    for owner in zones.owners() {
        let name = owner.name;
        let below = match Shape::of(zones, owner) {
            Shape::Empty => {
                left_out.push(name.to_string());
                continue;
            }
            Shape::Hidden => format!(",*.{name}"),
            Shape::HiddenBelow => String::new(),
            Shape::Pinned(_) => {
                let (zone, is_guessed) = zone_of(policy, &name);
                if is_guessed && !guessed.contains(&zone.to_string()) {
                    guessed.push(zone.to_string());
                }
                match by_zone.iter_mut().find(|(known, _)| *known == zone) {
                    Some((_, names)) => names.push(name),
                    None => by_zone.push((zone, vec![name])),
                }
                continue;
            }
        };
        _ = writeln!(
            text,
            "# {}\nAdd-DnsServerQueryResolutionPolicy -Name 'offramp hidden {name}' -Action DENY \
             -ClientSubnet 'EQ,offramp' -Fqdn 'EQ,{name}{below}'",
            because(owner)
        );
    }
    for (zone, names) in by_zone {
        _ = writeln!(
            text,
            "Add-DnsServerZoneScope -ZoneName '{zone}' -Name 'offramp'"
        );
        for owner in names.iter().filter_map(|name| zones.find(name)) {
            if let Shape::Pinned(records) = Shape::of(zones, owner) {
                _ = writeln!(text, "# {}", because(owner));
                let scope = format!("-ZoneName '{zone}' -ZoneScope 'offramp'");
                let node = within(&owner.name, &zone);
                write_records(&mut text, &scope, &node, records, zones.ttl_seconds());
            }
        }
        let names: Vec<_> = names.iter().map(DnsName::to_string).collect();
        _ = writeln!(
            text,
            "Add-DnsServerQueryResolutionPolicy -Name 'offramp {zone}' -ZoneName '{zone}' -Action ALLOW \
             -ClientSubnet 'EQ,offramp' -Fqdn 'EQ,{}' -ZoneScope 'offramp,1'",
            names.join(",")
        );
    }
    let mut warnings = Vec::new();
    if !left_out.is_empty() {
        warnings.push(format!(
            "left out, as the server has no zone for them: {}",
            left_out.join(", ")
        ));
    }
    if !guessed.is_empty() {
        warnings.push(format!(
            "zones guessed from the names in them, unverified: {}; where Get-DnsServerZone has others, write those into the file",
            guessed.join(", ")
        ));
    }
    Ok(Rendered {
        warnings,
        ..Rendered::of_names(text)
    })
}

/// The zone in which a company keeps a name, as far as a policy tells: the SIP domain that it stands in, else the name
/// without its service and host labels; `true` if that is a guess.
fn zone_of(policy: &Policy, name: &DnsName) -> (DnsName, bool) {
    let is_service = |name: &DnsName| name.labels().next().is_some_and(|it| it.starts_with(b"_"));
    let mut host = *name;
    while is_service(&host)
        && let Some(parent) = host.parent()
    {
        host = parent;
    }
    let domains = policy.dns.sip_domains.iter();
    let domains = domains.filter_map(|domain| domain.value.parse::<DnsName>().ok());
    let within = domains.filter(|domain| name == domain || name.is_below(domain));
    if let Some(longest) = within.max_by_key(|domain| domain.wire().len()) {
        let below = host
            .labels()
            .count()
            .saturating_sub(longest.labels().count());
        return (longest, below > 1);
    }
    match host.parent() {
        Some(parent) if host == *name && parent.labels().count() >= 2 => (parent, true),
        Some(_) | None => (host, true),
    }
}

/// Returns the label of `name` relative to `zone`.
fn within(name: &DnsName, zone: &DnsName) -> String {
    let labels = name.labels().count() - zone.labels().count();
    let node = DnsName::from_labels(name.labels().take(labels));
    match node {
        Ok(node) if labels > 0 => node.to_string(),
        Ok(_) | Err(_) => "@".to_owned(),
    }
}
