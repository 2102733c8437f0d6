//! A response policy zone, which BIND, Knot Resolver and PowerDNS Recursor read.
//!
//! Its names are those of the policy with the zone's own behind them; `CNAME .` is NXDOMAIN and `CNAME *.` no data
//! (draft-vixie-dnsop-dns-rpz).

use std::fmt::Write as _;

use super::table::{NameAnswer, NameTable, Records, read_name};
use super::{Shape, because, head};
use crate::plan::Zones;
use crate::policy::Policy;
use crate::render::{
    Families, Read, ReadError, ReadNames, RenderError, Rendered, Target, Write, code_lines,
};

/// A response policy zone.
pub const TARGET: Target = Target {
    name: "rpz",
    about: "the response policy zone of bind; Knot Resolver and PowerDNS Recursor read it too",
    accepted_by: "named: every answer; named-checkzone",
    caveats: "",
    file: "offramp.rpz",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Names(write),
    read: Read::Names(ReadNames {
        read,
        lists_names_below: true,
    }),
};

/// The name of the policy zone.
pub(super) const ZONE: &str = "offramp.rpz";

fn write(policy: &Policy, zones: &Zones) -> Result<Rendered, RenderError> {
    let mut text = head(";", policy, zones, &[]);
    let (ttl, soa) = (zones.ttl_seconds(), zones.soa());
    _ = write!(
        text,
        "$ORIGIN {ZONE}.\n$TTL {ttl}\n@ IN SOA {soa}\n@ IN NS localhost.\n"
    );
    for owner in zones.owners() {
        let name = owner.name;
        // `*.` in front, the zone behind.
        if name.wire().len() + 2 + ZONE.len() + 1 > 255 {
            return Err(RenderError::NameTooLong {
                target: &TARGET,
                name: name.to_string(),
            });
        }
        _ = writeln!(text, "; {}", because(owner));
        match Shape::of(zones, owner) {
            Shape::Pinned(records) => {
                for address in &records.ipv4 {
                    _ = writeln!(text, "{name} IN A {address}");
                }
                for address in &records.ipv6 {
                    _ = writeln!(text, "{name} IN AAAA {address}");
                }
                for record in &records.srv {
                    _ = writeln!(text, "{name} IN SRV {record}.");
                }
            }
            Shape::Empty => _ = writeln!(text, "{name} IN CNAME *."),
            Shape::Hidden => _ = writeln!(text, "{name} IN CNAME .\n*.{name} IN CNAME ."),
            Shape::HiddenBelow => _ = writeln!(text, "{name} IN CNAME *.\n*.{name} IN CNAME ."),
        }
    }
    Ok(Rendered::of_names(text))
}

fn read(text: &str) -> Result<NameTable, ReadError> {
    let mut table = NameTable::new();
    let mut records = Records::default();
    let lines = code_lines(text, &[';']);
    for (number, line) in lines.filter(|(_, line)| !line.starts_with(['$', '@'])) {
        let target = line.split_once("CNAME").map(|(_, target)| target.trim());
        let answer = match target {
            Some(".") => NameAnswer::NoSuchName,
            Some("*.") => NameAnswer::NoData,
            Some(_) | None => {
                records.add(number, None, line)?;
                continue;
            }
        };
        table.insert(read_name(number, line.split_whitespace().next())?, answer);
    }
    let records = records.by_name.into_iter();
    table.extend(records.map(|(name, records)| (name, NameAnswer::Records(records))));
    Ok(table)
}
