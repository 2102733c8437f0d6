//! Judges the files of DNS servers: one server for all files of a kind, as its program reads them.

use std::net::IpAddr;
use std::rc::Rc;

use super::files::{Loader, Place, folder_of};
use super::reply::{Answers, Asked, Reply, compare};
use super::rpz::{self, Decision, Override, PolicyZone};
use super::zone::{self, Source};
use super::{AuditError, Existing, Subject, bind, dnsmasq, unbound};
use crate::address::PrefixSet;
use crate::name::DnsName;
use crate::verify::{Finding, FindingCode, Part};

/// Returns the findings about a server's files, each with its path and text.
pub(super) fn audit(
    subject: &Subject<'_>,
    existing: Existing,
    files: &[(String, String)],
    loader: &Loader<'_>,
) -> Result<Vec<Finding>, AuditError> {
    let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let label = paths.join(", ");
    let failed = |message: String| AuditError {
        file: label.clone(),
        message,
    };
    let clients: PrefixSet = subject
        .policy
        .dns_clients()
        .iter()
        .map(|it| it.value)
        .collect();
    let zones = subject.zones;
    let mut found = Vec::new();
    match existing {
        Existing::Unbound => {
            let server = unbound::read(files, loader);
            found.extend(compare(zones, &clients, &server, &label));
        }
        Existing::Dnsmasq => {
            let server = dnsmasq::read(files, loader);
            found.extend(compare(zones, &clients, &server, &label));
        }
        Existing::Bind => {
            let listen = subject.policy.dns.listen.iter().map(|it| it.value.ip());
            let listeners = listen.filter(|it| !it.is_unspecified()).collect();
            let server = bind::read(files, loader, &listeners);
            let server = server.map_err(|error| failed(error.to_string()))?;
            let without = server.without_view(&clients);
            if !without.is_empty() {
                found.push(no_view(&label, &without, without == clients));
            }
            let answered = clients.subtract(&without);
            found.extend(compare(zones, &answered, &server, &label));
        }
        Existing::ResponsePolicyZone => {
            for (path, text) in files {
                if let Some(server) = standalone(subject, path, text, loader) {
                    found.extend(compare(zones, &clients, &server, path));
                }
            }
        }
        Existing::OpenVpn | Existing::Ocserv | Existing::WireGuard => {}
    }
    Ok(found)
}

fn no_view(file: &str, clients: &PrefixSet, is_all: bool) -> Finding {
    let what = if is_all {
        format!("{file} has views, and none of them is for the clients of the VPN")
    } else {
        format!("{file} has views, and none of them is for these clients of the VPN: {clients}")
    };
    Finding::error(FindingCode::InternalRegistration, what)
        .because(Part::File, "no `match-clients` has their addresses")
        .because(Part::Names, "the policy has names for them")
        .remedy("`offramp render bind` writes a view for them: include it in front of the others")
}

/// A policy zone without the configuration that names it.
struct Standalone(PolicyZone);

impl Answers for Standalone {
    fn ask(&self, _: IpAddr, name: &DnsName, asked: Asked) -> Reply {
        match self.0.decide(name, asked) {
            Decision::Reply(reply) => reply,
            Decision::Miss | Decision::Pass | Decision::Alias(_) => Reply::Elsewhere,
        }
    }

    fn distinguished(&self) -> Vec<PrefixSet> {
        Vec::new()
    }
}

fn standalone(
    subject: &Subject<'_>,
    path: &str,
    text: &str,
    loader: &Loader<'_>,
) -> Option<Standalone> {
    let place = Place {
        file: path.to_owned(),
        line: 1,
    };
    let source = Source {
        text,
        file: path,
        folder: folder_of(path),
    };
    let zone = zone::read(&source, origin_of(text), loader);
    let Some(zone) = zone else {
        loader.note(&place, "zone", "the file has no start of authority");
        return None;
    };
    let owners = subject.zones.owners().iter().map(|it| &it.name);
    if !rpz::is_policy(&zone, owners) {
        let why =
            "a zone, and no response policy zone: name the configuration of the server that has it";
        loader.note(&place, "zone", why);
        return None;
    }
    let zone = PolicyZone {
        zone: Rc::new(zone),
        override_: Override::Given,
    };
    zone.note_triggers(&place, loader);
    Some(Standalone(zone))
}

/// Returns the name of a zone as far as its file has it: the first `$ORIGIN`, or the absolute owner of its start of
/// authority. A file that leaves it to the configuration means the same under any name.
fn origin_of(text: &str) -> DnsName {
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = match &words[..] {
            ["$ORIGIN", name, ..] if name.ends_with('.') => name,
            [owner, rest @ ..] if rest.iter().any(|it| it.eq_ignore_ascii_case("SOA")) => {
                if !owner.ends_with('.') {
                    break;
                }
                owner
            }
            _ => continue,
        };
        if let Ok(name) = name.parse() {
            return name;
        }
    }
    DnsName::from_labels([&b"rpz"[..], b"invalid"]).unwrap_or(DnsName::ROOT)
}
