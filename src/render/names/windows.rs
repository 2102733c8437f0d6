//! Windows: pin-point zones, query resolution policies, and the client's name resolution policy table.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::{NameTarget, NamesError, NamesFile, Shape, because, head};
use crate::name::DnsName;
use crate::plan::Zones;
use crate::plan::zones::Records;
use crate::policy::Policy;

/// What zones of their own for single names do on a Windows server.
const ZONES: [&str; 3] = [
    "For a DNS server that VPN clients alone ask: zones in Active Directory would answer office PCs, too.",
    "A name without records in its zone is answered without data, and names below a zone do not exist.",
    "Run it once. After a change of the policy, remove the zones that changed, and only those.",
];

pub(super) fn write_dnscmd(policy: &Policy, zones: &Zones) -> NamesFile {
    let mut text = harmless(&head("rem", policy, zones, &ZONES));
    let ttl = zones.ttl_seconds();
    for owner in zones.owners() {
        let name = owner.name;
        _ = writeln!(text, "rem {}", harmless(&because(owner)));
        _ = writeln!(text, "dnscmd . /zoneadd {name}. /primary /file {name}.dns");
        let add = format!("dnscmd . /recordadd {name}. @ {ttl}");
        match Shape::of(zones, owner) {
            Shape::Pinned(records) => {
                for address in &records.ipv4 {
                    _ = writeln!(text, "{add} A {address}");
                }
                for address in &records.ipv6 {
                    _ = writeln!(text, "{add} AAAA {address}");
                }
                for record in &records.srv {
                    _ = writeln!(text, "{add} SRV {record}.");
                }
            }
            Shape::Empty | Shape::Hidden | Shape::HiddenBelow => {}
        }
    }
    NamesFile {
        // cmd.exe reads lines that end so.
        text: text.replace('\n', "\r\n"),
        warnings: warnings_of_zones(zones),
    }
}

/// A comment for cmd.exe, which expands variables in comments too, and whose other special characters are better away.
fn harmless(comment: &str) -> String {
    let is_special = |char| matches!(char, '%' | '^' | '&' | '|' | '<' | '>' | '!');
    comment.replace(is_special, "?")
}

pub(super) fn write_zones(policy: &Policy, zones: &Zones) -> NamesFile {
    let mut text = head("#", policy, zones, &ZONES);
    for owner in zones.owners() {
        let name = owner.name;
        _ = writeln!(text, "# {}", because(owner));
        _ = writeln!(
            text,
            "Add-DnsServerPrimaryZone -Name '{name}' -ZoneFile '{name}.dns'"
        );
        if let Shape::Pinned(records) = Shape::of(zones, owner) {
            let zone = format!("-ZoneName '{name}'");
            write_records(&mut text, &zone, "@", records, zones.ttl_seconds());
        }
    }
    NamesFile {
        text,
        warnings: warnings_of_zones(zones),
    }
}

/// Zones for single names take what is below with them: that is worth a word where it may be much.
fn warnings_of_zones(zones: &Zones) -> Vec<String> {
    let owners = zones.owners().iter();
    let wide = owners.filter(|owner| owner.is_pinned() && owner.name.labels().count() <= 2);
    wide.map(|owner| {
        format!(
            "a zone {} of its own answers for all names below it: they will not exist for VPN clients",
            owner.name
        )
    })
    .collect()
}

pub(super) fn write_policies(policy: &Policy, zones: &Zones) -> NamesFile {
    let advice = [
        "For a DNS server that has the zones and is asked by others too (Windows Server 2016 or later).",
        "VPN clients get the names listed from a scope of the zone, and all others as everybody does:",
        "without -Fqdn, every other name of the zone would not exist for them.",
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
    let mut by_zone: Vec<(DnsName, Vec<DnsName>)> = Vec::new();
    for owner in zones.owners() {
        if Shape::of(zones, owner) == Shape::Empty {
            left_out.push(owner.name.to_string());
            continue;
        }
        let zone = zone_of(policy, &owner.name);
        match by_zone.iter_mut().find(|(known, _)| *known == zone) {
            Some((_, names)) => names.push(owner.name),
            None => by_zone.push((zone, vec![owner.name])),
        }
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
    NamesFile { text, warnings }
}

pub(super) fn write_nrpt(policy: &Policy, zones: &Zones) -> Result<NamesFile, NamesError> {
    let reachable = |listen: &SocketAddr| listen.port() == 53 && !listen.ip().is_unspecified();
    let listen = policy.dns.listen.iter().map(|it| it.value);
    let servers: Vec<IpAddr> = listen.filter(reachable).map(|it| it.ip()).collect();
    if servers.is_empty() {
        return Err(NamesError::NoResolver {
            target: NameTarget::WindowsNrpt,
        });
    }
    let servers: Vec<_> = servers.iter().map(|it| format!("'{it}'")).collect();
    let servers = servers.join(",");
    let advice = [
        "For clients that ask another DNS server: these names go to the pin-point DNS server.",
        "It answers them also while the VPN is down, or nobody does: remove the rules with the VPN.",
    ];
    let mut text = head("#", policy, zones, &advice);
    text.push_str(
        "Get-DnsClientNrptRule | Where-Object { $_.Comment -eq 'offramp' } | Remove-DnsClientNrptRule -Force\n",
    );
    for owner in zones.owners() {
        _ = writeln!(
            text,
            "# {}\nAdd-DnsClientNrptRule -Namespace '{}' -NameServers {servers} -Comment 'offramp'",
            because(owner),
            owner.name
        );
    }
    Ok(NamesFile {
        text,
        warnings: Vec::new(),
    })
}

fn write_records(text: &mut String, zone: &str, node: &str, records: &Records, ttl: u32) {
    let live = format!("{:02}:{:02}:{:02}", ttl / 3600, ttl / 60 % 60, ttl % 60);
    let add = format!("Add-DnsServerResourceRecord {zone}");
    let rest = format!("-Name '{node}' -TimeToLive {live}");
    for address in &records.ipv4 {
        _ = writeln!(text, "{add} -A {rest} -IPv4Address '{address}'");
    }
    for address in &records.ipv6 {
        _ = writeln!(text, "{add} -AAAA {rest} -IPv6Address '{address}'");
    }
    for record in &records.srv {
        _ = writeln!(
            text,
            "{add} -Srv {rest} -DomainName '{}' -Priority {} -Weight {} -Port {}",
            record.target, record.priority, record.weight, record.port
        );
    }
}

/// The zone in which a company keeps a name, as far as a policy tells: the SIP domain that it stands in, else the name
/// without its service and host labels.
fn zone_of(policy: &Policy, name: &DnsName) -> DnsName {
    let domains = policy.dns.sip_domains.iter();
    let domains = domains.filter_map(|domain| domain.value.parse::<DnsName>().ok());
    let within = domains.filter(|domain| name == domain || name.is_below(domain));
    if let Some(longest) = within.max_by_key(|domain| domain.wire().len()) {
        return longest;
    }
    let mut zone = *name;
    let mut is_service = false;
    while zone
        .labels()
        .next()
        .is_some_and(|label| label.starts_with(b"_"))
        && let Some(parent) = zone.parent()
    {
        is_service = true;
        zone = parent;
    }
    match zone.parent() {
        Some(parent) if !is_service && parent.labels().count() >= 2 => parent,
        Some(_) | None => zone,
    }
}

/// What `name` is called in `zone`.
fn within(name: &DnsName, zone: &DnsName) -> String {
    let labels = name.labels().count() - zone.labels().count();
    let node = DnsName::from_labels(name.labels().take(labels));
    match node {
        Ok(node) if labels > 0 => node.to_string(),
        Ok(_) | Err(_) => "@".to_owned(),
    }
}
