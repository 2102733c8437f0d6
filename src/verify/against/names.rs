//! Compares the local names of DNS servers with the zones of a policy.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::message::shorten;
use crate::name::DnsName;
use crate::plan::zones::{Owner, Treatment, Zones};
use crate::verify::{Finding, FindingCode, Part};

use super::bind::{self, BindZones};
use super::{Existing, Reader};
use crate::policy::Policy;
use crate::render::{ReadError, code_lines};

/// The local answer of a server for a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Local {
    /// A and AAAA records.
    addresses: Vec<IpAddr>,
    /// Targets of SRV records.
    targets: Vec<DnsName>,
    /// True if the server does not forward queries for data that is not listed.
    is_own: bool,
    /// True if types that are not listed are forwarded, although the name is local.
    passes_types: bool,
    /// True if the name does not exist.
    is_denied: bool,
    /// Set for the apex of a zone: `true` if names below without data of their own are local and do not exist.
    covers_below: Option<bool>,
}

type Names = BTreeMap<String, Local>;

pub(super) fn audit(
    policy: &Policy,
    zones: &Zones,
    existing: Existing,
    file: &str,
    text: &str,
    read: Reader<'_>,
) -> Result<Vec<Finding>, ReadError> {
    let mut found = Vec::new();
    let names = match existing {
        Existing::Unbound => unbound(text)?,
        Existing::ResponsePolicyZone => zone_file(text, &DnsName::ROOT)?,
        Existing::Dnsmasq => dnsmasq(text)?,
        Existing::Bind => {
            let clients: Vec<IpNet> = policy.dns_clients().iter().map(|it| it.value).collect();
            let conf = bind::zones(text, &clients, &|path| read(None, path))?;
            if conf.no_view {
                found.push(no_view(file));
            }
            bind_names(&conf, read)?
        }
        Existing::OpenVpn | Existing::Ocserv | Existing::WireGuard => Names::new(),
    };
    for owner in zones.owners() {
        let local = &what_is_said(&names, &owner.name);
        let line = owner.sources.first().map_or(0, |it| it.line);
        let finding = match &owner.treatment {
            Treatment::Hidden => hidden(owner, local),
            Treatment::Pinned(_) => pinned(owner, local),
            Treatment::NoData(_) => None,
        };
        found.extend(finding.map(|mut finding| {
            finding.what = format!("{file}: {}", finding.what);
            finding.at(line)
        }));
    }
    Ok(found)
}

/// Returns the server's local answer for a name: its own, or that of the nearest zone above.
fn what_is_said(names: &Names, name: &DnsName) -> Local {
    let own = names.get(&name.to_string());
    let mut local = own.cloned().unwrap_or_default();
    let upwards = std::iter::successors(Some(*name), DnsName::parent);
    for above in upwards.filter_map(|it| names.get(&it.to_string())) {
        if own.is_none() && above.is_denied {
            local.is_denied = true;
            break;
        }
        match above.covers_below {
            Some(true) if own.is_none() => local.is_denied = true,
            Some(true) => local.is_own = true,
            Some(false) => {}
            None => continue,
        }
        break;
    }
    local
}

fn no_view(file: &str) -> Finding {
    Finding::error(
        FindingCode::InternalRegistration,
        format!("{file} has views, and none of them is for the clients of the VPN"),
    )
    .because(Part::File, "no `match-clients` has their addresses")
    .because(Part::Names, "the policy has names for them")
    .remedy("`offramp render bind` writes a view for them: include it in front of the others")
}

/// Collects the names of the zones in a `named.conf`; response policy zones take precedence.
fn bind_names(conf: &BindZones, read: Reader<'_>) -> Result<Names, ReadError> {
    let mut names = Names::new();
    let mut policies = Names::new();
    for zone in &conf.zones {
        let failed = |why: String| ReadError::new(0, format!("zone \"{}\": {why}", zone.name));
        let text = read(conf.directory.as_deref(), &zone.file).map_err(failed)?;
        let said = zone_file(&text, &zone.name).map_err(|error| failed(error.to_string()))?;
        if zone.is_policy {
            // In a response policy zone, the owners are the names it applies to, prepended to the zone's own name.
            let suffix = format!(".{}", zone.name);
            let about = said.into_iter().filter_map(|(owner, local)| {
                Some((owner.strip_suffix(&suffix)?.to_owned(), local))
            });
            // The first zone that has a name decides.
            for (name, local) in about {
                policies.entry(name).or_insert(local);
            }
        } else {
            names.extend(said);
            names.entry(zone.name.to_string()).or_default().covers_below = Some(true);
        }
    }
    names.extend(policies);
    Ok(names)
}

fn hidden(owner: &Owner, local: &Local) -> Option<Finding> {
    // A local name without records gets an empty answer, which is equivalent.
    let empty = local.addresses.is_empty() && local.targets.is_empty();
    if local.is_denied || (local.is_own && empty) {
        return None;
    }
    let finding = Finding::error(
        FindingCode::InternalRegistration,
        format!("{} is not hidden", owner.name),
    );
    Some(
        finding
            .because(
                Part::File,
                "it has no answer of its own for the name, so the internal answer gets through",
            )
            .because(
                Part::Names,
                "the policy hides it: clients would look for a Front End there",
            )
            .remedy(format!("answer NXDOMAIN for {}", owner.name)),
    )
}

fn pinned(owner: &Owner, local: &Local) -> Option<Finding> {
    let Treatment::Pinned(records) = &owner.treatment else {
        return None;
    };
    let v4 = records.ipv4.iter().map(|it| IpAddr::V4(*it));
    let v6 = records.ipv6.iter().map(|it| IpAddr::V6(*it));
    let wanted: Vec<IpAddr> = v4.chain(v6).collect();
    let name = &owner.name;
    let list = |addresses: &[IpAddr]| {
        let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        words.join(", ")
    };
    if let Some(other) = local.addresses.iter().find(|it| !wanted.contains(it)) {
        let what = format!("{name} resolves to {other}, which is none of its public addresses");
        return Some(
            Finding::error(FindingCode::Leak, what)
                .because(Part::File, format!("it says {}", list(&local.addresses)))
                .because(
                    Part::Names,
                    format!("the policy pins it to {}", list(&wanted)),
                )
                .remedy(format!("answer {name} with {}", list(&wanted))),
        );
    }
    let targets = &records.srv;
    let missing = wanted.iter().any(|it| !local.addresses.contains(it))
        || targets.iter().any(|it| !local.targets.contains(&it.target));
    if missing || local.is_denied {
        return Some(
            Finding::error(
                FindingCode::InternalRegistration,
                format!("{name} is not pinned"),
            )
            .because(Part::File, "it does not have all records of the name")
            .because(
                Part::Names,
                "clients get what the internal DNS says, or nothing",
            )
            .remedy("`offramp render` writes the zone for this server"),
        );
    }
    if local.is_own && !local.passes_types {
        return None;
    }
    Some(
        Finding::error(
            FindingCode::Parity,
            format!("{name} is pinned for some record types alone"),
        )
        .because(
            Part::File,
            "other types of the name, such as AAAA, are asked elsewhere",
        )
        .because(
            Part::Names,
            "the policy answers them with no data, so that no internal address gets through",
        )
        .remedy("make the name the server's own: no `typetransparent` in unbound, `local=/name/` in dnsmasq"),
    )
}

fn name_of(line: usize, text: &str) -> Result<DnsName, ReadError> {
    text.parse()
        .map_err(|error| ReadError::new(line, format!("`{}`: {error}", shorten(text))))
}

fn entry<'n>(names: &'n mut Names, line: usize, name: &str) -> Result<&'n mut Local, ReadError> {
    Ok(names.entry(name_of(line, name)?.to_string()).or_default())
}

/// Reads `local-zone:` and `local-data:` of unbound, in any section.
fn unbound(text: &str) -> Result<Names, ReadError> {
    let mut names = Names::new();
    for (line, text) in code_lines(text, &['#']) {
        let Some((key, value)) = text.split_once(':') else {
            continue;
        };
        let value = value.trim().replace(['"', '\''], " ");
        let words: Vec<&str> = value.split_whitespace().collect();
        match (key, &words[..]) {
            ("local-zone", [name, kind, ..]) => {
                let local = entry(&mut names, line, name)?;
                match *kind {
                    "static" => (local.is_own, local.covers_below) = (true, Some(true)),
                    "redirect" => local.is_own = true,
                    "transparent" => local.covers_below = Some(false),
                    "typetransparent" | "always_transparent" => {
                        (local.passes_types, local.covers_below) = (true, Some(false));
                    }
                    "always_nxdomain" | "always_refuse" | "always_null" | "deny" | "refuse" => {
                        local.is_denied = true;
                    }
                    _ => {}
                }
            }
            ("local-data", [name, record @ ..]) => {
                let local = entry(&mut names, line, name)?;
                // A name with data has no other records, except in zones that forward other types (unbound.conf,
                // `local-zone`).
                local.is_own = true;
                record_of(local, line, record, &DnsName::ROOT)?;
            }
            _ => {}
        }
    }
    Ok(names)
}

/// Parses the part of a record behind its name: TTL, class and type, then the data.
fn record_of(
    local: &mut Local,
    line: usize,
    words: &[&str],
    origin: &DnsName,
) -> Result<(), ReadError> {
    let mut words = words;
    while let [first, rest @ ..] = words
        && (first.chars().all(|it| it.is_ascii_digit()) || first.eq_ignore_ascii_case("IN"))
    {
        words = rest;
    }
    match words {
        ["A" | "AAAA" | "a" | "aaaa", address, ..] => {
            let address = address.parse().map_err(|_| {
                let shown = shorten(address);
                ReadError::new(line, format!("`{shown}` is not an address"))
            })?;
            local.addresses.push(address);
        }
        ["SRV" | "srv", _, _, _, target, ..] => local.targets.push(absolute(line, target, origin)?),
        // Response policy zones, by convention without an RFC: `CNAME .` denies the name, `CNAME *.` its data.
        ["CNAME" | "cname", "."] => local.is_denied = true,
        ["CNAME" | "cname", "*."] => local.is_own = true,
        _ => {}
    }
    Ok(())
}

/// Reads a zone file (RFC 1035 §5.1) of the zone `origin`. A listed name is local for every type.
///
/// A standalone response policy zone has the root as its origin: its owners are the names it applies to.
fn zone_file(text: &str, origin: &DnsName) -> Result<Names, ReadError> {
    let mut names = Names::new();
    let mut here = *origin;
    let mut owner: Option<String> = None;
    let mut depth = 0_usize;
    for (index, full) in text.lines().enumerate() {
        let line = index + 1;
        let code = full.split(';').next().unwrap_or_default();
        let inside = depth > 0;
        let (opened, closed) = (code.matches('(').count(), code.matches(')').count());
        depth = (depth + opened).saturating_sub(closed);
        if inside || code.trim().is_empty() {
            continue;
        }
        let words: Vec<&str> = code.split_whitespace().collect();
        match &words[..] {
            ["$ORIGIN", name, ..] if *origin != DnsName::ROOT => {
                here = absolute(line, name, &here)?;
                continue;
            }
            [word, ..] if word.starts_with('$') => continue,
            _ => {}
        }
        let record = if code.starts_with(char::is_whitespace) {
            &words[..]
        } else {
            let (name, record) = words.split_first().unwrap_or((&"", &[]));
            // In a policy zone, the zone's own records apply to no name.
            owner = match *name {
                "@" if here == DnsName::ROOT => None,
                name => Some(absolute(line, name, &here)?.to_string()),
            };
            record
        };
        if let Some(owner) = &owner {
            let local = names.entry(owner.clone()).or_default();
            local.is_own = true;
            record_of(local, line, record, &here)?;
        }
    }
    Ok(names)
}

/// Expands `name` as in a zone file: absolute with a final dot, else relative to `origin`.
fn absolute(line: usize, name: &str, origin: &DnsName) -> Result<DnsName, ReadError> {
    match (name, *origin == DnsName::ROOT) {
        ("@", _) => Ok(*origin),
        (_, true) => name_of(line, name),
        _ if name.ends_with('.') => name_of(line, name),
        _ => name_of(line, &format!("{name}.{origin}")),
    }
}

/// Reads `local=/…/`, `address=/…/`, `host-record=` and `srv-host=` of dnsmasq.
fn dnsmasq(text: &str) -> Result<Names, ReadError> {
    let mut names = Names::new();
    for (line, text) in code_lines(text, &['#']) {
        let Some((key, value)) = text.split_once('=') else {
            continue;
        };
        match key.trim() {
            key @ ("local" | "server" | "address") if value.starts_with('/') => {
                let parts: Vec<&str> = value.split('/').skip(1).collect();
                let Some((last, owners)) = parts.split_last() else {
                    continue;
                };
                for name in owners.iter().filter(|name| !name.is_empty()) {
                    let local = entry(&mut names, line, name)?;
                    match (key, last.parse()) {
                        ("address", Ok(address)) => {
                            local.addresses.push(address);
                            local.is_own = true;
                        }
                        // Without a server after it, the name and all names below it are local.
                        _ if last.is_empty() => {
                            (local.is_own, local.covers_below) = (true, Some(true));
                        }
                        _ => local.covers_below = Some(false),
                    }
                }
            }
            "host-record" => {
                let parts = value.split(',').map(str::trim);
                let (addresses, hosts): (Vec<&str>, Vec<&str>) =
                    parts.partition(|part| part.parse::<IpAddr>().is_ok());
                let is_name = |part: &&&str| !part.chars().all(|it| it.is_ascii_digit());
                for host in hosts.iter().filter(is_name) {
                    let local = entry(&mut names, line, host)?;
                    local
                        .addresses
                        .extend(addresses.iter().filter_map(|it| it.parse::<IpAddr>().ok()));
                }
            }
            "srv-host" => {
                let parts: Vec<&str> = value.split(',').map(str::trim).collect();
                if let [name, target, ..] = parts[..] {
                    let target = name_of(line, target)?;
                    entry(&mut names, line, name)?.targets.push(target);
                }
            }
            _ => {}
        }
    }
    Ok(names)
}
