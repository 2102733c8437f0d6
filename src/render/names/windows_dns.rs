//! Windows DNS server: pin-point zones by PowerShell, for a server that VPN clients alone ask.

use std::fmt::Write as _;

use super::windows::{ZONES, warnings_of_zones, write_records};
use super::{Shape, because, head};
use crate::plan::Zones;
use crate::policy::Policy;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// PowerShell on a Windows DNS server for VPN clients alone.
pub const TARGET: Target = Target {
    name: "windows-dns",
    about: "pin-point zones by PowerShell, on a DNS server for VPN clients alone",
    accepted_by: "PowerShell's grammar; no Windows was tried",
    caveats: "",
    file: "dns-zones.ps1",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Names(write),
    read: Read::No,
};

fn write(policy: &Policy, zones: &Zones) -> Result<Rendered, RenderError> {
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
    Ok(Rendered {
        warnings: warnings_of_zones(zones),
        ..Rendered::of_names(text)
    })
}
