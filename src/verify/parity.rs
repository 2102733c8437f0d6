//! Checks that both families are treated alike: calls use whichever works.

use super::subject::{Subject, set};
use super::{Finding, FindingCode, Part};
use crate::address::Family;
use crate::policy::{Sourced, TunnelMode};

pub(super) fn check(subject: &Subject<'_>, found: &mut Vec<Finding>) {
    let (clients, corporate) = (&subject.clients, &subject.corporate);
    for family in Family::BOTH {
        let (has_clients, has_corporate) = (family.is_in(clients), family.is_in(corporate));
        if has_clients && !has_corporate && !corporate.is_empty() {
            no_corporate(subject, family, found);
        }
        let is_meant = subject.policy.vpn.is_without(family);
        if has_corporate && !has_clients && !is_meant {
            no_clients(subject, family, found);
        }
        if has_clients && has_corporate {
            servers(subject, family, found);
        }
        if has_clients {
            publics(subject, family, found);
        }
    }
}

fn line<T>(list: &[Sourced<T>]) -> u32 {
    list.first().map_or(0, |it| it.line)
}

fn no_corporate(subject: &Subject<'_>, family: Family, found: &mut Vec<Finding>) {
    let name = family.name();
    let policy = subject.policy;
    let what = format!("clients have {name} addresses, and no corporate prefix is {name}");
    let routes = match policy.routes.tunnel {
        TunnelMode::Split => format!("only the clients' own {name} addresses enter the tunnel"),
        TunnelMode::Full => format!("all of {name} enters the tunnel"),
    };
    found.push(
        Finding::error(FindingCode::Parity, what)
            .at(line(&policy.corporate.subnets))
            .at(line(&policy.vpn.client_subnets))
            .because(Part::Routes, routes)
            .because(Part::Filter, format!("media to offices over {name} is forwarded as default"))
            .remedy(format!("add the {name} prefixes of the company to corporate.subnets, or give clients no {name} addresses")),
    );
}

fn no_clients(subject: &Subject<'_>, family: Family, found: &mut Vec<Finding>) {
    let name = family.name();
    let policy = subject.policy;
    let what = format!("corporate prefixes are {name}, and no client subnet is");
    let intent = match family {
        Family::V4 => "",
        Family::V6 => "; where clients get no IPv6 on purpose, write ipv6 = \"none\" in [vpn]",
    };
    found.push(
        Finding::warning(FindingCode::Parity, what)
            .at(line(&policy.vpn.client_subnets))
            .at(line(&policy.corporate.subnets))
            .because(
                Part::Filter,
                format!("{name} packets from clients have no source in client_subnets: they are not judged"),
            )
            .because(Part::Routes, format!("no {name} address enters the tunnel"))
            .remedy(format!("add the clients' {name} prefix to client_subnets{intent}")),
    );
}

fn servers(subject: &Subject<'_>, family: Family, found: &mut Vec<Finding>) {
    for server in &subject.policy.servers {
        if family.is_in(&set(&server.addresses)) {
            continue;
        }
        let name = family.name();
        let what = format!("[[server]] \"{}\" has no {name} address", server.name.value);
        found.push(
            Finding::warning(FindingCode::Parity, what)
                .at(line(&server.addresses))
                .because(Part::Routes, format!("the company's {name} enters the tunnel"))
                .because(Part::Filter, format!("ports of the server below the media ports are open by {name}: 443, 444"))
                .remedy(format!("add its {name} addresses; where it has none, a prefix of the subnet that it is in")),
        );
    }
}

/// Reports a service that lacks a family that other services of its kind have.
fn publics(subject: &Subject<'_>, family: Family, found: &mut Vec<Finding>) {
    let publics = &subject.policy.publics;
    let has = |public: &&crate::policy::PublicService| family.is_in(&set(&public.addresses));
    let Some(other) = publics.iter().find(has) else {
        return;
    };
    for public in publics.iter().filter(|public| !has(public)) {
        let name = family.name();
        let what = format!(
            "\"{}\" has no {name} address, \"{}\" has",
            public.name.value, other.name.value
        );
        found.push(
            Finding::warning(FindingCode::Parity, what)
                .at(line(&public.addresses))
                .at(line(&other.addresses))
                .because(
                    Part::Names,
                    format!("its names have no {name} address for clients"),
                )
                .because(
                    Part::Routes,
                    format!("whatever {name} address it has is not kept outside the tunnel"),
                )
                .remedy(format!(
                    "add its {name} address, or take {name} out of the others where homes have none"
                )),
        );
    }
}
