//! Windows DNS server: pin-point zones by `dnscmd`, for a server that VPN clients alone ask.

use std::fmt::Write as _;

use super::windows::{ZONES, warnings_of_zones};
use super::{Shape, because, head};
use crate::plan::Zones;
use crate::policy::Policy;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// `dnscmd` on a Windows DNS server for VPN clients alone.
pub const TARGET: Target = Target {
    name: "windows-dnscmd",
    about: "pin-point zones by dnscmd, on a DNS server for VPN clients alone",
    accepted_by: "the documented commands; no Windows was tried",
    caveats: "",
    file: "dns-zones.cmd",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Names(write),
    read: Read::No,
};

fn write(policy: &Policy, zones: &Zones) -> Result<Rendered, RenderError> {
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
    Ok(Rendered {
        warnings: warnings_of_zones(zones),
        // cmd.exe reads lines that end so.
        ..Rendered::of_names(text.replace('\n', "\r\n"))
    })
}

/// A comment for cmd.exe, which expands variables in comments too, and whose other special characters are better away.
fn harmless(comment: &str) -> String {
    let is_special = |char| matches!(char, '%' | '^' | '&' | '|' | '<' | '>' | '!');
    comment.replace(is_special, "?")
}
