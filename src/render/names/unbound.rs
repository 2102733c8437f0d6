//! unbound: a view for the addresses of VPN clients.
//!
//! A pinned name is a `transparent` zone with data: other types of the name have none, and names below it go on to the
//! servers that answer the rest. `static` would answer for what is below, `typetransparent` would let an internal AAAA
//! through. The start of authority gives clients a time for which to remember that there is no data.

use std::fmt::Write as _;

use super::table::{self, NameAnswer, NameTable, read_name};
use super::{Shape, because, head};
use crate::message::shorten;
use crate::name::DnsName;
use crate::plan::Zones;
use crate::plan::zones::Records;
use crate::policy::Policy;
use crate::render::{
    Families, Read, ReadError, ReadNames, RenderError, Rendered, Target, Write, code_lines,
};

/// A view of unbound's configuration.
pub const TARGET: Target = Target {
    name: "unbound",
    about: "a view for VPN clients, for unbound.conf (`include: FILE`)",
    accepted_by: "unbound: every answer",
    caveats: "",
    file: "unbound-offramp.conf",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Names(write),
    read: Read::Names(ReadNames {
        read,
        lists_names_below: false,
    }),
};

fn write(policy: &Policy, zones: &Zones) -> Result<Rendered, RenderError> {
    let advice = [
        "For unbound.conf: include: \"FILE\". Queries from elsewhere are answered as before.",
        "unbound resolves the target of an alias itself: an internal CNAME that ends in a pinned",
        "name leads to the internal addresses. Name such aliases in the policy, too.",
    ];
    let mut text = head("#", policy, zones, &advice);
    text.push_str("server:\n");
    for clients in policy.dns_clients() {
        let prefix = clients.value;
        _ = writeln!(text, "    access-control: {prefix} allow");
        _ = writeln!(text, "    access-control-view: {prefix} offramp");
    }
    text.push_str("view:\n    name: \"offramp\"\n    view-first: yes\n");
    for owner in zones.owners() {
        let name = owner.name;
        _ = writeln!(text, "    # {}", because(owner));
        let zone = match Shape::of(zones, owner) {
            Shape::Pinned(_) | Shape::Empty => "transparent",
            Shape::Hidden => "always_nxdomain",
            Shape::HiddenBelow => "static",
        };
        _ = writeln!(text, "    local-zone: \"{name}.\" {zone}");
        match Shape::of(zones, owner) {
            Shape::Pinned(records) => {
                write_records(&mut text, &name, records, zones.ttl_seconds());
                write_authority(&mut text, &name, zones);
            }
            Shape::Empty | Shape::HiddenBelow => write_authority(&mut text, &name, zones),
            Shape::Hidden => {}
        }
    }
    Ok(Rendered::of_names(text))
}

fn write_records(text: &mut String, name: &DnsName, records: &Records, ttl: u32) {
    for address in &records.ipv4 {
        _ = writeln!(text, "    local-data: \"{name}. {ttl} IN A {address}\"");
    }
    for address in &records.ipv6 {
        _ = writeln!(text, "    local-data: \"{name}. {ttl} IN AAAA {address}\"");
    }
    for record in &records.srv {
        _ = writeln!(text, "    local-data: \"{name}. {ttl} IN SRV {record}.\"");
    }
}

fn write_authority(text: &mut String, name: &DnsName, zones: &Zones) {
    let (ttl, soa) = (zones.ttl_seconds(), zones.soa());
    _ = writeln!(text, "    local-data: \"{name}. {ttl} IN SOA {soa}\"");
}

/// `local-zone` and `local-data`; what else there is does not bear on names.
fn read(text: &str) -> Result<NameTable, ReadError> {
    let mut zones: Vec<(usize, DnsName, String)> = Vec::new();
    let mut records = table::Records::default();
    for (number, line) in code_lines(text, &['#']) {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.replace('"', " ");
        let mut words = value.split_whitespace();
        match key.trim() {
            "local-zone" => {
                let name = read_name(number, words.next())?;
                zones.push((number, name, words.next().unwrap_or_default().to_owned()));
            }
            "local-data" => records.add(number, None, &value)?,
            _ => {}
        }
    }
    let mut table = NameTable::new();
    for (number, name, kind) in zones {
        let has_authority = records.authorities.contains(&name);
        let answer = match (records.by_name.remove(&name), kind.as_str()) {
            (Some(records), "transparent" | "static") => NameAnswer::Records(records),
            (None, "transparent" | "always_nodata") => NameAnswer::NoData,
            (None, "static") if has_authority => NameAnswer::NoData,
            (None, "static" | "always_nxdomain") => NameAnswer::NoSuchName,
            (Some(_) | None, kind) => {
                let kind = shorten(kind);
                let message = format!("a zone {name} of the type `{kind}` answers in another way");
                return Err(ReadError::new(number, message));
            }
        };
        table.insert(name, answer);
    }
    // Data without a zone of its own name leaves the other types to the upstream.
    match records.by_name.into_iter().next() {
        None => Ok(table),
        Some((name, _)) => Err(ReadError::new(
            1,
            format!("{name} has data and no zone: its other types would be forwarded"),
        )),
    }
}
