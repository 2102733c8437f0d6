//! dnsmasq: the configuration of an instance that serves VPN clients alone, as dnsmasq has no views.
//!
//! `local=/name/` keeps every type of the name at home; `host-record` alone would let an internal AAAA through.
//! `server=/*.name/#` gives what is below the name back to the servers that answer the rest.

use std::fmt::Write as _;

use super::{NamesFile, Shape, because, head};
use crate::plan::Zones;
use crate::policy::Policy;

pub(super) fn write(policy: &Policy, zones: &Zones) -> NamesFile {
    let advice = [
        "Start an instance of its own with it: dnsmasq --conf-file=FILE",
        "dnsmasq hands on what stands beside an answer, and aliases: an internal CNAME, SRV or MX record",
        "that ends in a pinned name brings the internal addresses. Name such aliases in the policy, too.",
    ];
    let mut text = head("#", policy, zones, &advice);
    let mut ports: Vec<u16> = policy.dns.listen.iter().map(|it| it.value.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    let mut warnings = Vec::new();
    match ports[..] {
        [] => warnings.push(
            "`dns.listen` is not set: add interface= or listen-address= for the tunnel".to_owned(),
        ),
        [53] => {}
        [port, ..] => _ = writeln!(text, "port={port}"),
    }
    if ports.len() > 1 {
        warnings.push("dnsmasq listens at one port: the first of `dns.listen` is taken".to_owned());
    }
    for listen in &policy.dns.listen {
        _ = writeln!(text, "listen-address={}", listen.value.ip());
    }
    text.push_str("bind-interfaces\nno-resolv\nno-hosts\n");
    for upstream in policy.dns_upstreams() {
        let (address, port) = (upstream.value.ip(), upstream.value.port());
        _ = match port {
            53 => writeln!(text, "server={address}"),
            _ => writeln!(text, "server={address}#{port}"),
        };
    }
    _ = writeln!(
        text,
        "# From its cache it would answer with what came beside another answer.\ncache-size=0\nlocal-ttl={}",
        zones.ttl_seconds()
    );
    for owner in zones.owners() {
        let name = owner.name;
        _ = writeln!(text, "# {}\nlocal=/{name}/", because(owner));
        match Shape::of(zones, owner) {
            Shape::Pinned(records) => {
                _ = writeln!(text, "server=/*.{name}/#");
                for address in &records.ipv4 {
                    _ = writeln!(text, "host-record={name},{address}");
                }
                for address in &records.ipv6 {
                    _ = writeln!(text, "host-record={name},{address}");
                }
                // Target, port, priority, weight: another order than that of the record.
                for record in &records.srv {
                    _ = writeln!(
                        text,
                        "srv-host={name},{},{},{},{}",
                        record.target, record.port, record.priority, record.weight
                    );
                }
            }
            Shape::Empty => _ = writeln!(text, "server=/*.{name}/#"),
            // `local` covers what is below.
            Shape::Hidden | Shape::HiddenBelow => {}
        }
    }
    NamesFile { text, warnings }
}
