//! Remarks about a plan: errors, broken services, and entries without effect.

use ipnet::IpNet;

use super::routes::families;
use super::{RoutePlan, Source, SourceKind};
use crate::address::{Family, PrefixSet};
use crate::policy::{Code, Policy, Remark, TunnelMode};

/// Returns all remarks about `plan`, which must be that of `policy`.
pub(super) fn remarks(policy: &Policy, plan: &RoutePlan) -> Vec<Remark> {
    let mut remarks = Vec::new();
    servers_among_public(policy, plan, &mut remarks);
    corporate_kept(plan, &mut remarks);
    public_inside_corporate(policy, plan, &mut remarks);
    dns_kept(plan, &mut remarks);
    gateways_inside(plan, &mut remarks);
    family_outside(policy, &mut remarks);
    feeds_not_loaded(policy, &mut remarks);
    if plan.tunnel.is_empty() {
        let problem = Remark::warning(Code::NothingPushed, "no address enters the tunnel");
        remarks
            .push(problem.help("write what is internal: [corporate] subnets = [\"10.0.0.0/8\"]"));
    }
    remarks
}

/// Reports server addresses outside the tunnel, which clients reach over the Internet or not at all. The classic
/// mistake is an Edge's internal interface among the public addresses: it cuts off every call from its relay.
fn servers_among_public(policy: &Policy, plan: &RoutePlan, remarks: &mut Vec<Remark>) {
    let all_public = all_public(plan);
    for server in &policy.servers {
        let addresses = server.addresses.iter();
        for address in addresses.filter(|it| all_public.overlaps(it.value)) {
            let public = of_public(plan, address.value);
            for source in public {
                let message = format!(
                    "{} of \"{}\" takes {} of [[server]] \"{}\" out of the tunnel",
                    source.prefix, source.kind, address.value, server.name.value
                );
                let problem = Remark::error(Code::ServerOutsideTunnel, message).at(source.line);
                remarks.push(problem.at(address.line).help(
                    "servers are internal: of an Edge, only the external addresses are public; take it out of one of the two",
                ));
            }
        }
    }
}

fn all_public(plan: &RoutePlan) -> PrefixSet {
    let public = plan.sources.iter().filter(|it| it.kind.is_public());
    public.map(|it| it.prefix).collect()
}

fn of_public(plan: &RoutePlan, prefix: IpNet) -> impl Iterator<Item = &Source> {
    let public = plan.sources.iter().filter(|it| it.kind.is_public());
    public.filter(move |it| it.prefix.contains(&prefix) || prefix.contains(&it.prefix))
}

/// Reports corporate and client prefixes covered entirely by a public prefix: they stay in the tunnel.
fn corporate_kept(plan: &RoutePlan, remarks: &mut Vec<Remark>) {
    let internal = |kind: &SourceKind| matches!(kind, SourceKind::Corporate | SourceKind::Clients);
    let all_public = all_public(plan);
    let internal = plan.sources.iter().filter(|it| internal(&it.kind));
    for kept in internal.filter(|it| all_public.covers(it.prefix)) {
        let around = of_public(plan, kept.prefix).find(|it| it.prefix.contains(&kept.prefix));
        if let Some(public) = around {
            let message = format!(
                "{} of \"{}\" covers the {} prefix {}, which stays in the tunnel",
                public.prefix, public.kind, kept.kind, kept.prefix
            );
            let problem = Remark::warning(Code::InternalKept, message).at(public.line);
            remarks.push(problem.at(kept.line).help(
                "the service is not reached outside the tunnel at these addresses; write the prefixes that are really public",
            ));
        }
    }
}

/// Reports public prefixes inside corporate ones: they leave the tunnel, so the rules for servers and media do not
/// apply to them.
fn public_inside_corporate(policy: &Policy, plan: &RoutePlan, remarks: &mut Vec<Remark>) {
    let subnets = policy.corporate.subnets.iter().map(|it| it.value);
    let clients = policy.vpn.client_subnets.iter().map(|it| it.value);
    let internal: PrefixSet = subnets.chain(clients).collect();
    let inside = plan.base.subtract(&plan.tunnel).intersect(&internal);
    for entry in plan.sources.iter().filter(|it| it.kind.is_public()) {
        if inside.overlaps(entry.prefix) {
            let left = PrefixSet::from_iter([entry.prefix]).intersect(&inside);
            let message = format!(
                "{} of \"{}\" lies in a corporate or client prefix and leaves the tunnel: {left} is not filtered",
                entry.prefix, entry.kind
            );
            let problem = Remark::warning(Code::PublicInCorporate, message).at(entry.line);
            remarks
                .push(problem.help(
                    "right where the company uses public addresses inside; else take it out",
                ));
        }
    }
}

/// Reports DNS servers that a public prefix covers: they stay in the tunnel, so that clients can use them.
fn dns_kept(plan: &RoutePlan, remarks: &mut Vec<Remark>) {
    let is_dns =
        |kind: &SourceKind| matches!(kind, SourceKind::PinPointDns | SourceKind::DnsServer);
    for dns in plan.sources.iter().filter(|it| is_dns(&it.kind)) {
        let around = of_public(plan, dns.prefix).next();
        if let Some(public) = around {
            let message = format!(
                "{} of \"{}\" covers the {} {}, which stays in the tunnel",
                public.prefix,
                public.kind,
                dns.kind,
                dns.prefix.addr()
            );
            let problem = Remark::warning(Code::DnsKept, message).at(public.line);
            remarks.push(problem.at(dns.line).help(
                "without it clients would ask another DNS server and find the internal names of the services",
            ));
        }
    }
}

/// Reports gateways inside internal prefixes: they stay outside the tunnel, which cannot carry its own packets.
fn gateways_inside(plan: &RoutePlan, remarks: &mut Vec<Remark>) {
    let gateways = plan
        .sources
        .iter()
        .filter(|it| it.kind == SourceKind::Gateway);
    for gateway in gateways {
        let address = gateway.prefix.addr();
        let internal = plan.sources.iter().find(|it| {
            matches!(it.kind, SourceKind::Corporate | SourceKind::Clients)
                && it.prefix.contains(&address)
        });
        if let Some(internal) = internal {
            let message = format!(
                "VPN gateway {address} lies in the {} prefix {} and stays outside the tunnel",
                internal.kind, internal.prefix
            );
            let problem = Remark::warning(Code::GatewayInside, message).at(gateway.line);
            remarks.push(problem.at(internal.line).help(
                "a route into the tunnel for the gateway's own address ends the tunnel; nothing else at this address is reached through it",
            ));
        }
    }
}

/// Reports a full tunnel that leaves a family out.
fn family_outside(policy: &Policy, remarks: &mut Vec<Remark>) {
    let families = families(policy);
    if policy.routes.tunnel == TunnelMode::Split {
        return;
    }
    for family in Family::BOTH {
        if !family.is_in(&families) && !policy.vpn.is_without(family) {
            let family = family.name();
            let message = format!(
                "clients have no {family} addresses: their {family} traffic does not enter the full tunnel"
            );
            let problem = Remark::warning(Code::FamilyOutside, message);
            let first = policy.vpn.client_subnets.first().map_or(0, |it| it.line);
            remarks.push(problem.at(first).help(
                "give clients addresses of both families, or block the other one on the client (OpenVPN: `block-ipv6`)",
            ));
        }
    }
}

fn feeds_not_loaded(policy: &Policy, remarks: &mut Vec<Remark>) {
    for feed in policy.feeds.iter().filter(|feed| feed.prefixes.is_none()) {
        let message = format!(
            "feed \"{}\" is not loaded: nothing of it leaves the tunnel",
            feed.name.value
        );
        let problem = Remark::error(Code::FeedNotLoaded, message).at(feed.file.line);
        remarks.push(problem.help("fetch its file with `offramp feed fetch`, or save it by hand"));
    }
}
