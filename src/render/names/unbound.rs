//! unbound: a view for the addresses of VPN clients.
//!
//! A pinned name is a `transparent` zone with data: other types of the name have none, and names below it go on to the
//! servers that answer the rest. `static` would answer for what is below, `typetransparent` would let an internal AAAA
//! through. The start of authority gives clients a time for which to remember that there is no data.

use std::fmt::Write as _;

use super::{NamesFile, Shape, because, head};
use crate::name::DnsName;
use crate::plan::Zones;
use crate::plan::zones::Records;
use crate::policy::Policy;

pub(super) fn write(policy: &Policy, zones: &Zones) -> NamesFile {
    let advice = [
        "For unbound.conf: include: \"FILE\". Queries from elsewhere are answered as before.",
        "unbound follows an alias of another name by its own: an internal CNAME that ends in a",
        "pinned name brings the internal addresses. Name such aliases in the policy, too.",
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
    NamesFile {
        text,
        warnings: Vec::new(),
    }
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
