//! BIND: a view for the addresses of VPN clients, with a response policy zone.
//!
//! The zone's names are those of the policy with its own behind them; `CNAME .` is NXDOMAIN and `CNAME *.` no data
//! (draft-vixie-dnsop-dns-rpz). BIND also asks it about the names to which an alias leads, wherever that comes from.

use std::fmt::Write as _;

use super::{NameTarget, NamesError, NamesFile, Shape, because, head};
use crate::plan::Zones;
use crate::policy::Policy;

/// The name of the policy zone.
const ZONE: &str = "offramp.rpz";

pub(super) fn write_view(policy: &Policy, zones: &Zones) -> NamesFile {
    let advice = [
        "For named.conf: include \"FILE\"; in front of all other views. Once there is one view, every",
        "zone has to stand in a view. The file of the zone is `offramp render rpz`. In its first moment",
        "BIND answers without it: let clients wait for the line `rpz: offramp.rpz: reload done`.",
    ];
    let mut text = head("//", policy, zones, &advice);
    text.push_str("view \"offramp\" {\n    match-clients {");
    for clients in policy.dns_clients() {
        _ = write!(text, " {};", clients.value);
    }
    text.push_str(" };\n    recursion yes;\n");
    let upstreams = policy.dns_upstreams();
    if !upstreams.is_empty() {
        text.push_str("    forward only;\n    forwarders {");
        for upstream in upstreams {
            let (address, port) = (upstream.value.ip(), upstream.value.port());
            _ = match port {
                53 => write!(text, " {address};"),
                _ => write!(text, " {address} port {port};"),
            };
        }
        text.push_str(" };\n");
    }
    let ttl = zones.ttl_seconds();
    _ = write!(
        text,
        "    // What stands beside an answer is not looked up in the policy zone.\n    \
         minimal-responses yes;\n    \
         response-policy {{ zone \"{ZONE}\" max-policy-ttl {ttl}; }} qname-wait-recurse no break-dnssec yes;\n    \
         zone \"{ZONE}\" {{ type primary; file \"{ZONE}\"; allow-query {{ none; }}; }};\n}};\n"
    );
    let mut warnings = Vec::new();
    if policy.dns_upstreams().is_empty() {
        warnings.push(
            "the policy names no upstream: the view walks down from the root, and finds no internal name"
                .to_owned(),
        );
    }
    NamesFile { text, warnings }
}

pub(super) fn write_zone(policy: &Policy, zones: &Zones) -> Result<NamesFile, NamesError> {
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
            return Err(NamesError::TooLong {
                target: NameTarget::Rpz,
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
    Ok(NamesFile {
        text,
        warnings: Vec::new(),
    })
}
