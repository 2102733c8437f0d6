//! BIND: a view for the addresses of VPN clients, which asks the response policy zone of [`super::rpz`].
//!
//! BIND also asks the zone about the names to which an alias leads, wherever that comes from.

use std::fmt::Write as _;

use super::head;
use super::rpz::ZONE;
use crate::plan::Zones;
use crate::policy::Policy;
use crate::render::{Families, Read, RenderError, Rendered, Target, Write};

/// A view of BIND's configuration.
pub const TARGET: Target = Target {
    name: "bind",
    about: "a view for VPN clients, for named.conf (`include \"FILE\";`), with rpz beside it",
    accepted_by: "named: every answer; named-checkconf",
    caveats: "",
    file: "named-offramp.conf",
    is_executable: false,
    families: Families::Both,
    limits: &[],
    write: Write::Names(write),
    read: Read::No,
};

fn write(policy: &Policy, zones: &Zones) -> Result<Rendered, RenderError> {
    let advice = [
        "For named.conf: include \"FILE\"; in front of all other views. Once there is one view, every",
        "zone has to be in a view. The file of the zone is `offramp render rpz`. BIND answers without it",
        "until it has loaded it: let clients wait for the line `rpz: offramp.rpz: reload done`.",
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
        "    // Additional records of an answer are not looked up in the policy zone.\n    \
         minimal-responses yes;\n    \
         response-policy {{ zone \"{ZONE}\" max-policy-ttl {ttl}; }} qname-wait-recurse no break-dnssec yes;\n    \
         zone \"{ZONE}\" {{ type primary; file \"{ZONE}\"; allow-query {{ none; }}; }};\n}};\n"
    );
    let mut rendered = Rendered::of_names(text);
    if policy.dns_upstreams().is_empty() {
        rendered.warnings.push(
            "the policy names no upstream: the view resolves from the root servers, and finds no internal name"
                .to_owned(),
        );
    }
    Ok(rendered)
}
