//! Zones of their own for single names, and records by PowerShell, on a Windows DNS server.

use std::fmt::Write as _;

use crate::plan::Zones;
use crate::plan::zones::Records;

/// Advice at the head of files that make zones of their own for single names.
pub(super) const ZONES: [&str; 3] = [
    "For a DNS server that VPN clients alone ask: zones in Active Directory would answer office PCs, too.",
    "A name without records in its zone is answered without data, and names below a zone do not exist.",
    "Run it once. After a change of the policy, remove the zones that changed, and only those.",
];

/// Zones for single names take the names below with them: a warning for each short name, where that may be many.
pub(super) fn warnings_of_zones(zones: &Zones) -> Vec<String> {
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

/// The records of a name, in PowerShell.
pub(super) fn write_records(
    text: &mut String,
    zone: &str,
    node: &str,
    records: &Records,
    ttl: u32,
) {
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
