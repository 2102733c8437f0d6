//! dnsmasq: the configuration of an instance that serves VPN clients alone, as dnsmasq has no views.
//!
//! `local=/name/` keeps every type of the name at home; `host-record` alone would let an internal AAAA through.
//! `server=/*.name/#` gives what is below the name back to the servers that answer the rest.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::table::{NameAnswer, NameTable, Records, read_name};
use super::{Shape, because, head};
use crate::message::shorten;
use crate::name::DnsName;
use crate::plan::Zones;
use crate::policy::Policy;
use crate::render::{
    Families, Read, ReadError, ReadNames, RenderError, Rendered, Target, Write, code_lines,
};

/// dnsmasq as DNS server.
pub const TARGET: Target = Target {
    name: "dnsmasq-names",
    about: "the configuration of an instance of its own (`dnsmasq --conf-file=FILE`)",
    accepted_by: "dnsmasq: every answer",
    caveats: "",
    file: "dnsmasq-names.conf",
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
        "Start an instance of its own with it: dnsmasq --conf-file=FILE",
        "dnsmasq passes on additional records and aliases: an internal CNAME, SRV or MX record that ends",
        "in a pinned name leads to the internal addresses. Name such aliases in the policy, too.",
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
        "# From its cache it would answer with additional records of other answers.\ncache-size=0\nlocal-ttl={}",
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
    Ok(Rendered {
        warnings,
        ..Rendered::of_names(text)
    })
}

fn read(text: &str) -> Result<NameTable, ReadError> {
    let mut local = Vec::new();
    let mut given_back = BTreeSet::new();
    let mut records = Records::default();
    for (number, line) in code_lines(text, &[]).filter(|(_, line)| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let domain = value
            .strip_prefix('/')
            .and_then(|rest| rest.split_once('/'));
        let parts: Vec<&str> = value.split(',').collect();
        match (key, domain, &parts[..]) {
            ("local", Some((name, "")), _) => local.push(read_name(number, Some(name))?),
            ("address", Some((name, "")), _) => local.push(read_name(number, Some(name))?),
            ("server", Some((name, "#")), _) => {
                let name = name.strip_prefix("*.").unwrap_or(name);
                given_back.insert(read_name(number, Some(name))?);
            }
            ("host-record", _, [name, addresses @ ..]) => {
                for address in addresses {
                    let kind = if address.contains(':') { "AAAA" } else { "A" };
                    records.add(number, Some(name), &format!("{kind} {address}"))?;
                }
            }
            ("srv-host", _, [name, target, port, priority, weight]) => {
                let data = format!("SRV {priority} {weight} {port} {target}");
                records.add(number, Some(name), &data)?;
            }
            ("host-record" | "srv-host", _, _) => {
                return Err(ReadError::new(
                    number,
                    format!("`{}` is incomplete", shorten(line)),
                ));
            }
            _ => {}
        }
    }
    let pinned: Vec<DnsName> = records.by_name.keys().copied().collect();
    let mut table = NameTable::new();
    for name in local {
        let exists = given_back.contains(&name) || pinned.iter().any(|it| it.is_below(&name));
        let answer = match records.by_name.remove(&name) {
            Some(records) => NameAnswer::Records(records),
            None if exists => NameAnswer::NoData,
            None => NameAnswer::NoSuchName,
        };
        table.insert(name, answer);
    }
    match records.by_name.into_iter().next() {
        None => Ok(table),
        Some((name, _)) => Err(ReadError::new(
            1,
            format!(
                "{name} has records and no `local=/{name}/`: its other types would be forwarded"
            ),
        )),
    }
}
