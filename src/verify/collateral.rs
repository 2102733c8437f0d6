//! Checks for services blocked along with media, and for the `[[allow]]` that keeps them working.
//!
//! Dropping exactly the article's ports blocks much else. Only its traffic shows which of those services a site uses
//! (`offramp replay` names them, `offramp check` lists the ports). This module covers the services that every site with
//! Lync servers needs, because Lync requires an Active Directory, and settings that are certainly mistakes.

use ipnet::IpNet;

use super::subject::{Subject, bare, of, set};
use super::{Finding, FindingCode, Part};
use crate::packet::Protocol;
use crate::policy::services::{SERVICES, Service};
use crate::policy::{Allow, MediaMatch, PublicService, Server};

pub(super) fn check(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    match subject.policy.media.recognition {
        MediaMatch::Ports => {
            system_ports(subject, found);
            if subject.has_servers() {
                directory(subject, found);
                replies(subject, found);
            }
        }
        // What is recognized as media is no other service.
        MediaMatch::Ice | MediaMatch::IceMicrosoft | MediaMatch::Media => {}
    }
    for server in &subject.policy.servers {
        swallowed(subject, server, found);
        exchange(subject, server, found);
    }
}

fn media_line(subject: &Subject<'_>) -> u32 {
    subject.policy.media.ports.first().map_or(0, |it| it.line)
}

/// Reports media ports below 1024, which no client uses for media.
fn system_ports(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let media = &subject.policy.media.ports;
    let Some(low) = media.iter().find(|it| it.value.first() < FIRST_MEDIA_PORT) else {
        return;
    };
    let cut = SERVICES.iter().filter(|service| {
        service.ports.first() < FIRST_MEDIA_PORT && low.value.contains(service.ports.first())
    });
    let names: Vec<String> = cut.take(SHOWN).map(named).collect();
    let what = format!("media.ports {} begin below {FIRST_MEDIA_PORT}", low.value);
    found.push(
        Finding::error(FindingCode::Collateral, what)
            .at(low.line)
            .because(
                Part::Filter,
                format!("dropped at every internal address: {}", names.join(", ")),
            )
            .remedy(format!(
                "\"{FIRST_MEDIA_PORT}-65535\" is the widest that clients use"
            )),
    );
}

/// Default start of the clients' media ports.
const FIRST_MEDIA_PORT: u16 = 1_024;
const SHOWN: usize = 8;

fn named(service: &Service) -> String {
    format!("{} ({})", service.name, service.ports)
}

/// Services of domain controllers.
const DIRECTORY: [&str; 2] = ["LDAP global catalog", "Windows RPC"];

/// Checks Active Directory, which every site with Lync servers has.
fn directory(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let cut: Vec<&Service> = SERVICES
        .iter()
        .filter(|service| DIRECTORY.contains(&service.name))
        .filter(|service| is_covered(subject, service))
        .filter(|service| {
            !subject
                .policy
                .allows
                .iter()
                .any(|it| keeps(subject, it, service))
        })
        .collect();
    if cut.is_empty() {
        return;
    }
    let names: Vec<String> = cut.iter().map(|service| named(service)).collect();
    let what = format!(
        "clients reach no domain controller by {}",
        names.join(" and ")
    );
    let ports: Vec<String> = cut
        .iter()
        .map(|service| format!("\"{}\"", service.ports))
        .collect();
    let ports = ports.join(", ");
    let controllers = controllers(subject);
    let remedy = if controllers.is_empty() {
        format!(
            "add an [[allow]] to the addresses of the domain controllers, with protocols = [\"tcp\"] and ports = [{ports}]"
        )
    } else {
        format!(
            "if the DNS servers are the domain controllers, and these are all:\n\
             [[allow]]\n\
             name = \"Domain controllers\"\n\
             to = [{}]\n\
             protocols = [\"tcp\"]\n\
             ports = [{ports}]",
            controllers.join(", ")
        )
    };
    found.push(
        Finding::warning(FindingCode::Collateral, what)
            .at(media_line(subject))
            .because(
                Part::Filter,
                "the ports are among media.ports, and no [[allow]] keeps them at any address",
            )
            .because(
                Part::Call,
                "Lync servers stand in a domain: its clients log on, search and print by these",
            )
            .remedy(remedy),
    );
}

/// The DNS servers of the site, quoted: in an Active Directory they are domain controllers. A whole subnet of offices has
/// computers that take calls, which nothing else is to keep.
fn controllers(subject: &Subject<'_>) -> Vec<String> {
    let servers = subject.policy.corporate.dns_servers.iter();
    let internal = servers.filter(|it| {
        let it = IpNet::from(it.value);
        subject.corporate.covers(it) && !subject.servers.covers(it) && !subject.clients.covers(it)
    });
    internal.map(|it| format!("\"{}\"", it.value)).collect()
}

/// Returns `true` if at least a tenth of the service's ports is dropped. With fewer, the service works nine times out
/// of ten, and a finding would be noise.
fn is_covered(subject: &Subject<'_>, service: &Service) -> bool {
    let media = &subject.policy.media.ports;
    let ports = service.ports.first()..=service.ports.last();
    let all = ports.clone().count();
    let taken = ports.filter(|&port| media.iter().any(|it| it.value.contains(port)));
    taken.count() * 10 >= all
}

fn keeps(subject: &Subject<'_>, allow: &Allow, service: &Service) -> bool {
    let mut ports = service.ports.first()..=service.ports.last();
    subject.lifts_media(allow)
        && allow.protocols.contains(Protocol::Tcp)
        && (allow.ports.is_empty()
            || ports.all(|port| allow.ports.iter().any(|it| it.value.contains(port))))
}

/// Reports dropped replies of services that run on clients, which cut off help desks.
fn replies(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let ephemeral = SERVICES
        .iter()
        .find(|service| service.name == "Windows RPC");
    let covered = ephemeral.is_some_and(|service| is_covered(subject, service));
    let mut allows = subject.policy.allows.iter();
    let kept = allows
        .any(|allow| allow.lifts.media && (!allow.from_ports.is_empty() || allow.ports.is_empty()));
    if !covered || kept {
        return;
    }
    let to: Vec<String> = subject
        .policy
        .corporate
        .subnets
        .iter()
        .map(|it| format!("\"{}\"", it.value))
        .collect();
    found.push(
        Finding::warning(
            FindingCode::Collateral,
            "help desks reach no service on clients: the replies are dropped",
        )
        .at(media_line(subject))
        .because(
            Part::Filter,
            "a reply goes to the high port that the caller has chosen, which is one of media.ports",
        )
        .remedy(format!(
            "keep them:\n\
                 [[allow]]\n\
                 name = \"Replies of services on the clients\"\n\
                 to = [{}]\n\
                 protocols = [\"tcp\"]\n\
                 from_ports = [\"1-1023\", \"3389\", \"5985-5986\"]",
            to.join(", ")
        )),
    );
}

/// Reports a server prefix that contains more than the server.
fn swallowed(subject: &Subject<'_>, server: &Server, found: &mut Vec<Finding>) {
    for prefix in &server.addresses {
        let mut allows = subject.policy.allows.iter();
        let lost = allows.find(|allow| {
            let mut to = allow.prefixes(&subject.policy.vpn);
            !allow.lifts.servers && to.any(|to| prefix.value.contains(&to.value))
        });
        let dns = subject.policy.corporate.dns_servers.iter();
        let mut dns = dns.filter(|it| prefix.value.contains(&it.value));
        let whole = set(&subject.policy.corporate.subnets)
            .prefixes()
            .any(|corporate| covers(prefix.value, corporate));
        let says = match (lost, dns.next(), whole) {
            (Some(allow), _, _) => format!(
                "it holds what [[allow]] \"{}\" is for, which does not lift servers",
                allow.name.value
            ),
            (None, Some(dns), _) if prefix.value.prefix_len() < prefix.value.max_prefix_len() => {
                format!("it holds the DNS server {}", dns.value)
            }
            (None, _, true) => "it contains a whole corporate prefix".to_owned(),
            (None, _, false) => continue,
        };
        let what = format!(
            "{} of [[server]] \"{}\" is more than a server",
            bare(prefix.value),
            server.name.value
        );
        found.push(
            Finding::error(FindingCode::Collateral, what)
                .at(prefix.line)
                .at(lost.map_or(0, |allow| allow.name.line))
                .because(
                    Part::Filter,
                    format!("every port is dropped there, and {says}"),
                )
                .remedy(
                    "write the addresses of the servers, or the smallest prefix that they fill",
                ),
        );
    }
}

fn covers(outer: IpNet, inner: IpNet) -> bool {
    outer.contains(&inner) && of(outer).covers(inner)
}

/// Reports an Exchange server that is listed among the servers and not published: presence and mail depend on it.
fn exchange(subject: &Subject<'_>, server: &Server, found: &mut Vec<Finding>) {
    let is_exchange = |name: &str| {
        let name = name.to_lowercase();
        EXCHANGE.iter().any(|word| name.contains(word))
    };
    let mut names = server
        .hosts
        .iter()
        .map(|it| &it.value)
        .chain([&server.name.value]);
    let publishes = |public: &PublicService| {
        is_exchange(&public.name.value) || public.hosts.iter().any(|it| is_exchange(&it.value))
    };
    if !names.any(|name| is_exchange(name)) || subject.policy.publics.iter().any(publishes) {
        return;
    }
    let what = format!(
        "[[server]] \"{}\" is Exchange, and no [[public]] is",
        server.name.value
    );
    found.push(
        Finding::error(FindingCode::Collateral, what)
            .at(server.name.line)
            .because(Part::Filter, "mail, calendar and the presence from it are dropped")
            .because(Part::Names, "no public name leads to them by another way")
            .remedy("take Exchange out of the servers, or list what is published: autodiscover and owa (Table 4)"),
    );
}

/// Usual parts of the names of Exchange servers.
const EXCHANGE: [&str; 4] = ["exchange", "autodiscover", "owa.", "mailbox"];
