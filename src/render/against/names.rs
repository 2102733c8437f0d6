//! Local names of DNS servers, held against the zones of a policy.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::plan::verify::{Finding, FindingCode, Part};
use crate::plan::zones::{DnsName, Owner, Treatment, Zones};

use super::Existing;
use crate::render::ReadError;
use crate::render::pushed::{code_lines, shorten};

/// What a server says of a name itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Local {
    /// A and AAAA records.
    addresses: Vec<IpAddr>,
    /// Targets of SRV records.
    targets: Vec<DnsName>,
    /// What is not listed is not asked elsewhere.
    is_own: bool,
    /// The name does not exist.
    is_denied: bool,
}

type Names = BTreeMap<String, Local>;

pub(super) fn audit(
    zones: &Zones,
    existing: Existing,
    file: &str,
    text: &str,
) -> Result<Vec<Finding>, ReadError> {
    let names = match existing {
        Existing::Unbound => unbound(text)?,
        Existing::ResponsePolicyZone => response_policy_zone(text)?,
        Existing::Dnsmasq => dnsmasq(text)?,
        Existing::OpenVpn | Existing::Ocserv | Existing::WireGuard => Names::new(),
    };
    let nothing = Local::default();
    let mut found = Vec::new();
    for owner in zones.owners() {
        let local = nearest(&names, &owner.name).unwrap_or(&nothing);
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

/// The name itself, or one above it that is denied with all below it.
fn nearest<'n>(names: &'n Names, name: &DnsName) -> Option<&'n Local> {
    let own = names.get(&name.to_string());
    own.or_else(|| {
        let mut above = std::iter::successors(name.parent(), DnsName::parent);
        let mut denied =
            std::iter::from_fn(|| above.next()).filter_map(|it| names.get(&it.to_string()));
        denied.find(|it| it.is_denied)
    })
}

fn hidden(owner: &Owner, local: &Local) -> Option<Finding> {
    // An own name without records answers nothing, which is as good.
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
                "it does not speak of the name, so the internal answer gets through",
            )
            .because(
                Part::Names,
                "the policy hides it: clients would look for a Front End there",
            )
            .instead(format!("answer NXDOMAIN for {}", owner.name)),
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
                .instead(format!("answer {name} with {}", list(&wanted))),
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
            .instead("`offramp render` writes the zone for this server"),
        );
    }
    if local.is_own {
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
        .instead("make the name the server's own: `static` in unbound, `local=/name/` in dnsmasq"),
    )
}

fn name_of(line: usize, text: &str) -> Result<DnsName, ReadError> {
    text.parse()
        .map_err(|error| ReadError::new(line, format!("`{}`: {error}", shorten(text))))
}

fn entry<'n>(names: &'n mut Names, line: usize, name: &str) -> Result<&'n mut Local, ReadError> {
    Ok(names.entry(name_of(line, name)?.to_string()).or_default())
}

/// `local-zone:` and `local-data:` of unbound, wherever they stand.
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
                    "static" | "redirect" => local.is_own = true,
                    "always_nxdomain" | "always_refuse" | "always_null" | "deny" | "refuse" => {
                        local.is_denied = true;
                    }
                    _ => {}
                }
            }
            ("local-data", [name, record @ ..]) => {
                record_of(entry(&mut names, line, name)?, line, record)?
            }
            _ => {}
        }
    }
    Ok(names)
}

/// A record behind its name: TTL, class and type, then the data.
fn record_of(local: &mut Local, line: usize, words: &[&str]) -> Result<(), ReadError> {
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
        ["SRV" | "srv", _, _, _, target, ..] => local.targets.push(name_of(line, target)?),
        // RFC-less custom of response policy zones: the root denies the name, `*.` its data.
        ["CNAME" | "cname", "."] => local.is_denied = true,
        ["CNAME" | "cname", "*."] => local.is_own = true,
        _ => {}
    }
    Ok(())
}

/// A zone file whose owners are the names, relative to the policy zone. A name that it lists is its own for every type.
fn response_policy_zone(text: &str) -> Result<Names, ReadError> {
    let mut names = Names::new();
    let numbered = text.lines().enumerate();
    for (index, full) in numbered {
        let line = index + 1;
        let code = full.split(';').next().unwrap_or_default();
        // A line that begins with space goes on with the owner before: the zone's own records.
        if code.starts_with([' ', '\t', '@', '$']) || code.trim().is_empty() {
            continue;
        }
        let words: Vec<&str> = code.split_whitespace().collect();
        if let [name, record @ ..] = &words[..] {
            let local = entry(&mut names, line, name)?;
            local.is_own = true;
            record_of(local, line, record)?;
        }
    }
    Ok(names)
}

/// `local=/…/`, `address=/…/`, `host-record=` and `srv-host=` of dnsmasq.
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
                        // Without a server behind it, the name is this server's own.
                        _ if last.is_empty() => local.is_own = true,
                        _ => {}
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
