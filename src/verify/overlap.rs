//! Checks for addresses and names that two rules claim.

use super::subject::{Published, Subject, bare, of, set, some};
use super::{Finding, FindingCode, Part};
use crate::plan::{Source, SourceKind};
use crate::policy::Server;

pub(super) fn check(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    for public in subject.publics() {
        public_clients(subject, public, found);
        dns_inside(subject, public, found);
    }
    for server in &subject.policy.servers {
        server_public(subject, server, found);
        server_clients(subject, server, found);
        server_hosts(subject, server, found);
    }
    for gateway in subject.sources(&SourceKind::Gateway) {
        gateway_inside(subject, gateway, found);
    }
}

fn server_public(subject: &Subject<'_>, server: &Server, found: &mut Vec<Finding>) {
    let both = set(&server.addresses).intersect(&subject.public);
    let Some((public, source)) = subject.published(&both) else {
        return;
    };
    let own = server.addresses.iter().find(|it| both.overlaps(it.value));
    let what = format!(
        "{} is of [[server]] \"{}\" and of the public \"{}\"",
        some(&both),
        server.name.value,
        public.name
    );
    found.push(
        Finding::error(FindingCode::Overlap, what)
            .at(source.line)
            .at(own.map_or(0, |it| it.line))
            .because(Part::Filter, "public comes first: packets to the server are forwarded")
            .because(Part::Routes, format!("{} is kept outside the tunnel", bare(source.prefix)))
            .remedy("keep it in one of the two: of an Edge, the internal interface is a server, the external ones are public"),
    );
}

fn server_clients(subject: &Subject<'_>, server: &Server, found: &mut Vec<Finding>) {
    let both = set(&server.addresses).intersect(&subject.clients);
    let Some(own) = server.addresses.iter().find(|it| both.overlaps(it.value)) else {
        return;
    };
    let what = format!(
        "{} is of [[server]] \"{}\" and of VPN clients",
        some(&both),
        server.name.value
    );
    found.push(
        Finding::error(FindingCode::Overlap, what)
            .at(own.line)
            .because(
                Part::Filter,
                "every port of these clients is dropped for other clients",
            )
            .remedy(
                "write the addresses of the server alone, or the pool that the VPN really assigns",
            ),
    );
}

fn server_hosts(subject: &Subject<'_>, server: &Server, found: &mut Vec<Finding>) {
    for host in &server.hosts {
        let mut publics = subject.policy.publics.iter();
        let Some(public) = publics.find(|public| {
            public
                .hosts
                .iter()
                .any(|it| it.value.eq_ignore_ascii_case(&host.value))
        }) else {
            continue;
        };
        let what = format!(
            "{} is a host of [[server]] \"{}\" and of [[public]] \"{}\"",
            host.value, server.name.value, public.name.value
        );
        found.push(
            Finding::error(FindingCode::Overlap, what)
                .at(host.line)
                .at(public.name.line)
                .because(
                    Part::Names,
                    "it is pinned to the public addresses, and not hidden",
                )
                .because(Part::Filter, "the server's own addresses are dropped")
                .remedy("keep the name where clients should be led: the public service"),
        );
    }
}

fn public_clients(subject: &Subject<'_>, public: &Published<'_>, found: &mut Vec<Finding>) {
    let both = public.set.intersect(&subject.clients);
    let Some(source) = public.first_of(&both) else {
        return;
    };
    let what = format!(
        "{} of \"{}\" are addresses of VPN clients",
        some(&both),
        public.name
    );
    found.push(
        Finding::error(FindingCode::Hairpin, what)
            .at(source.line)
            .because(
                Part::Filter,
                "public comes first: media between these clients is forwarded",
            )
            .because(Part::Routes, "clients reach each other through the tunnel")
            .remedy("take the clients' addresses out of the public service"),
    );
}

fn dns_inside(subject: &Subject<'_>, public: &Published<'_>, found: &mut Vec<Finding>) {
    let listed = [SourceKind::DnsServer, SourceKind::PinPointDns];
    let mut servers = subject
        .plan
        .sources
        .iter()
        .filter(|it| listed.contains(&it.kind));
    let Some(dns) = servers.find(|it| public.set.overlaps(it.prefix)) else {
        return;
    };
    let line = public.first_of(&of(dns.prefix)).map_or(0, |it| it.line);
    let what = format!(
        "\"{}\" covers the {} {}",
        public.name,
        dns.kind,
        dns.prefix.addr()
    );
    found.push(
        Finding::warning(FindingCode::Overlap, what)
            .at(line)
            .at(dns.line)
            .because(
                Part::Routes,
                "the DNS server stays in the tunnel, all around it leaves",
            )
            .because(
                Part::Filter,
                "every query counts as a leak of the public service",
            )
            .remedy("write the prefixes that the service really has"),
    );
}

fn gateway_inside(subject: &Subject<'_>, gateway: &Source, found: &mut Vec<Finding>) {
    let address = gateway.prefix.addr();
    if !subject.corporate.contains(address) && !subject.clients.contains(address) {
        return;
    }
    let internal = subject.policy.corporate.subnets.iter();
    let mut internal = internal.chain(&subject.policy.vpn.client_subnets);
    let line = internal
        .find(|it| it.value.contains(&address))
        .map_or(0, |it| it.line);
    let what = format!("VPN gateway {address} is an internal address");
    found.push(
        Finding::warning(FindingCode::Overlap, what)
            .at(gateway.line)
            .at(line)
            .because(
                Part::Routes,
                "the tunnel cannot carry itself: the address stays outside",
            )
            .because(Part::Filter, "no client reaches it as an internal host")
            .remedy("write the address to which clients connect, as the Internet sees it"),
    );
}
