//! [`Reply`]: a server's answer to a client, and its comparison with the policy.
//!
//! Each reader of a DNS server's files predicts answers as the server would give them ([`Answers`]); whether a name is
//! pinned or hidden follows from the answers alone, never from the lines that mention it.

use std::net::IpAddr;

use crate::address::PrefixSet;
use crate::name::DnsName;
use crate::plan::zones::{Records, Treatment, Zones};
use crate::verify::{Finding, FindingCode, Part};

/// A record type that matters to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Asked {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Services.
    Srv,
    /// Service bindings, which have hints of addresses.
    Https,
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Addresses of the type asked for.
    Addresses(Vec<IpAddr>),
    /// Targets of services.
    Targets(Vec<DnsName>),
    /// Records of the type asked for, without interpretation.
    Other,
    /// The name has no records of the type.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// Refused, dropped or failed: clients ask their next server.
    NoAnswer,
    /// Another server answers.
    Elsewhere,
    /// Depends on something that was not read, and that is noted.
    Unknown,
}

/// Answers of a server, predicted from its files.
pub(super) trait Answers {
    /// Returns the answer to a client.
    fn ask(&self, client: IpAddr, name: &DnsName, asked: Asked) -> Reply;

    /// Returns sets of clients that the server distinguishes.
    fn distinguished(&self) -> Vec<PrefixSet>;
}

/// Returns one address for each group of clients that a server answers alike.
pub(super) fn representatives(clients: &PrefixSet, sets: &[PrefixSet]) -> Vec<IpAddr> {
    let mut parts = vec![clients.clone()];
    for set in sets {
        let split = parts.into_iter().flat_map(|part| {
            let (inside, outside) = (part.intersect(set), part.subtract(set));
            [inside, outside]
        });
        parts = split.filter(|part| !part.is_empty()).collect();
        if parts.len() > MAX_PARTS {
            break;
        }
    }
    // The first address of a prefix is that of the network.
    let host = |part: &PrefixSet| {
        let prefix = part.prefixes().next()?;
        prefix.hosts().next()
    };
    parts.iter().filter_map(host).collect()
}

/// Returns the findings about every name of the policy.
pub(super) fn compare(
    zones: &Zones,
    clients: &PrefixSet,
    server: &dyn Answers,
    file: &str,
) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for client in representatives(clients, &server.distinguished()) {
        for owner in zones.owners() {
            let ask = |asked| server.ask(client, &owner.name, asked);
            let finding = match &owner.treatment {
                Treatment::Hidden => hidden(&owner.name, &ask),
                Treatment::Pinned(records) => pinned(&owner.name, records, &ask),
                Treatment::NoData(_) => None,
            };
            let line = owner.sources.first().map_or(0, |it| it.line);
            if let Some(mut finding) = finding {
                finding.what = format!("{file}: {}", finding.what);
                let finding = finding.at(line);
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
    }
    found
}

/// Returns `true` if a name is that of a service, `_sip._tls.…`: clients ask for nothing but SRV.
fn is_service(name: &DnsName) -> bool {
    name.labels()
        .next()
        .is_some_and(|label| label.starts_with(b"_"))
}

/// Returns the types that clients ask for.
fn asked_of(name: &DnsName) -> &'static [Asked] {
    if is_service(name) {
        &[Asked::Srv]
    } else {
        &[Asked::A, Asked::Aaaa, Asked::Https]
    }
}

fn hidden(name: &DnsName, ask: &dyn Fn(Asked) -> Reply) -> Option<Finding> {
    let says = asked_of(name).iter().find_map(|&asked| match ask(asked) {
        Reply::NoData | Reply::NxDomain | Reply::Unknown => None,
        Reply::Addresses(list) if list.iter().all(IpAddr::is_unspecified) => None,
        Reply::Addresses(list) => Some(format!("it resolves to {}", words(&list))),
        // RFC 2782: the root stands for no service.
        Reply::Targets(list) if list.iter().all(|it| *it == DnsName::ROOT) => None,
        Reply::Targets(list) => Some(format!("it leads to {}", words(&list))),
        Reply::Other => Some("it has records of the name".to_owned()),
        Reply::NoAnswer => {
            Some("it refuses or drops the query, so clients ask their next server".to_owned())
        }
        Reply::Elsewhere => Some(
            "it has no answer of its own for the name, so the internal answer gets through"
                .to_owned(),
        ),
    })?;
    let finding = Finding::error(
        FindingCode::InternalRegistration,
        format!("{name} is not hidden"),
    );
    Some(
        finding
            .because(Part::File, says)
            .because(
                Part::Names,
                "the policy hides it: clients would look for a Front End there",
            )
            .remedy(format!("answer NXDOMAIN for {name}")),
    )
}

fn pinned(name: &DnsName, records: &Records, ask: &dyn Fn(Asked) -> Reply) -> Option<Finding> {
    let v4 = records.ipv4.iter().map(|it| IpAddr::V4(*it));
    let wanted_v4: Vec<IpAddr> = v4.collect();
    let v6 = records.ipv6.iter().map(|it| IpAddr::V6(*it));
    let wanted_v6: Vec<IpAddr> = v6.collect();
    let wanted = [&wanted_v4[..], &wanted_v6[..]].concat();
    let mut missing = false;
    let mut passes = None;
    for (asked, wanted_here) in [(Asked::A, &wanted_v4), (Asked::Aaaa, &wanted_v6)] {
        // The name of a service alone has no addresses, and clients ask for none.
        if wanted.is_empty() && is_service(name) {
            continue;
        }
        match ask(asked) {
            Reply::Addresses(given) => {
                if let Some(other) = given.iter().find(|it| !wanted.contains(it)) {
                    return Some(leads_elsewhere(name, *other, &given, &wanted));
                }
                missing |= wanted_here.iter().any(|it| !given.contains(it));
            }
            Reply::Elsewhere if wanted_here.is_empty() => passes = Some(asked),
            Reply::Unknown => return None,
            Reply::Targets(_)
            | Reply::Other
            | Reply::NoData
            | Reply::NxDomain
            | Reply::NoAnswer
            | Reply::Elsewhere => missing |= !wanted_here.is_empty(),
        }
    }
    let targets: Vec<DnsName> = records.srv.iter().map(|it| it.target).collect();
    if !targets.is_empty() {
        match ask(Asked::Srv) {
            Reply::Targets(given) => {
                if let Some(other) = given.iter().find(|it| !targets.contains(it)) {
                    return Some(
                        Finding::error(
                            FindingCode::InternalRegistration,
                            format!("{name} leads to {other}, which is none of its targets"),
                        )
                        .because(Part::File, format!("it says {}", words(&given)))
                        .because(
                            Part::Names,
                            format!("the policy pins it to {}", words(&targets)),
                        )
                        .remedy(format!("answer {name} with {}", words(&targets))),
                    );
                }
                missing |= targets.iter().any(|it| !given.contains(it));
            }
            Reply::Unknown => return None,
            Reply::Addresses(_)
            | Reply::Other
            | Reply::NoData
            | Reply::NxDomain
            | Reply::NoAnswer
            | Reply::Elsewhere => missing = true,
        }
    }
    if missing {
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
    if !is_service(name) && matches!(ask(Asked::Https), Reply::Elsewhere | Reply::Other) {
        passes = passes.or(Some(Asked::Https));
    }
    passes.map(|_| {
        Finding::error(
            FindingCode::Parity,
            format!("{name} is pinned for some record types alone"),
        )
        .because(
            Part::File,
            "other types of the name, such as AAAA and HTTPS, are asked elsewhere",
        )
        .because(
            Part::Names,
            "the policy answers them with no data, so that no internal address gets through",
        )
        .remedy("make the name the server's own: no `typetransparent` in unbound, `local=/name/` in dnsmasq")
    })
}

fn leads_elsewhere(name: &DnsName, other: IpAddr, given: &[IpAddr], wanted: &[IpAddr]) -> Finding {
    let what = format!("{name} resolves to {other}, which is none of its public addresses");
    Finding::error(FindingCode::Leak, what)
        .because(Part::File, format!("it says {}", words(given)))
        .because(
            Part::Names,
            format!("the policy pins it to {}", words(wanted)),
        )
        .remedy(format!("answer {name} with {}", words(wanted)))
}

fn words(list: &[impl ToString]) -> String {
    let words: Vec<String> = list.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// Groups of clients that are distinguished: more than any site has.
const MAX_PARTS: usize = 64;
