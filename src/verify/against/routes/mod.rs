//! Judges the files of VPN servers and clients: what enters the tunnel, and which DNS servers clients are given.
//!
//! [`daemon`] tells what such a file says of the tunnel, for a policy that is still to be written.

pub(super) mod daemon;
mod ocserv;
mod openvpn;
mod wireguard;

use std::net::IpAddr;

use ipnet::IpNet;

use super::files::{Loader, Place};
use super::{AuditError, Existing, Named, Subject};
use crate::address::{Family, PrefixSet};
use crate::plan::{RoutePlan, SourceKind};
use crate::policy::Policy;
use crate::verify::{Finding, FindingCode, Part};

/// Routes and DNS servers that a client of a VPN server is given, or has in its own file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Tunnel {
    /// The files, for findings.
    label: String,
    /// The addresses that enter the tunnel.
    set: PrefixSet,
    /// Families in which clients keep a route of their own to the VPN server.
    keeps_server: Vec<Family>,
    /// Addresses of the server, if the file has them.
    servers: Vec<IpAddr>,
    /// DNS servers, each with its directive.
    dns: Vec<(Place, IpAddr)>,
    /// Families that enter the tunnel whole because clients have an address in them, and are given no route.
    unrouted: Vec<Family>,
    /// `client-to-client` of OpenVPN.
    forwards_between_clients: Option<Place>,
}

pub(super) fn audit(
    subject: &Subject<'_>,
    existing: Existing,
    files: &[&Named],
    loader: &Loader<'_>,
) -> Result<Vec<Finding>, AuditError> {
    let tunnels = match existing {
        Existing::OpenVpn => openvpn::tunnels(files, loader),
        Existing::Ocserv => ocserv::tunnels(files, loader),
        Existing::WireGuard => {
            let each = files.iter().map(|it| wireguard::tunnel(it, loader));
            each.collect()
        }
        Existing::Bind | Existing::Unbound | Existing::Dnsmasq | Existing::ResponsePolicyZone => {
            Vec::new()
        }
    };
    let mut found = Vec::new();
    for tunnel in &tunnels {
        let mut of_tunnel = Vec::new();
        compare_routes(subject.plan, tunnel, &tunnel.label, &mut of_tunnel);
        dns(subject.policy, tunnel, &mut of_tunnel);
        client_to_client(tunnel, &mut of_tunnel);
        // Clients that are given the same need one finding.
        of_tunnel.retain(|it| !found.contains(it));
        found.extend(of_tunnel);
    }
    Ok(found)
}

fn set(plan: &RoutePlan, counts: impl Fn(&SourceKind) -> bool) -> PrefixSet {
    let sources = plan.sources.iter().filter(|it| counts(&it.kind));
    sources.map(|it| it.prefix).collect()
}

/// Returns the addresses of the VPN server that enter the tunnel.
fn swallowed(plan: &RoutePlan, tunnel: &Tunnel) -> PrefixSet {
    let servers: PrefixSet = if tunnel.servers.is_empty() {
        plan.gateways.clone()
    } else {
        tunnel.servers.iter().copied().map(IpNet::from).collect()
    };
    let inside = servers.intersect(&tunnel.set);
    let kept = tunnel.keeps_server.iter();
    kept.fold(inside, |rest, family| rest.subtract(&family.of(&rest)))
}

fn listed(set: &PrefixSet) -> String {
    let words: Vec<String> = set.prefixes().map(|it| it.addr().to_string()).collect();
    words.join(", ")
}

fn compare_routes(plan: &RoutePlan, tunnel: &Tunnel, name: &str, found: &mut Vec<Finding>) {
    for source in plan.sources.iter().filter(|it| it.kind.is_public()) {
        let inside = PrefixSet::from_iter([source.prefix])
            .intersect(&tunnel.set)
            .intersect(&plan.families)
            .subtract(&plan.tunnel);
        if inside.is_empty() {
            continue;
        }
        let what = format!("{name} leads \"{}\" into the tunnel: {inside}", source.kind);
        let family = Family::from(source.prefix.addr());
        let because = match tunnel.unrouted.contains(&family) {
            true => format!(
                "it gives clients {family} addresses and no {family} route: openconnect leads all of {family} into the tunnel",
                family = family.name()
            ),
            false => "what it pushes covers these addresses".to_owned(),
        };
        found.push(
            Finding::error(FindingCode::Leak, what)
                .at(source.line)
                .because(Part::File, because)
                .because(Part::Routes, "the policy keeps them outside")
                .remedy("`offramp render` writes what it should push"),
        );
    }
    let swallowed = swallowed(plan, tunnel);
    if !swallowed.is_empty() {
        let what = format!(
            "{name} leads the VPN server itself into the tunnel: {}",
            listed(&swallowed)
        );
        let line = plan
            .sources
            .iter()
            .find(|it| it.kind == SourceKind::Gateway);
        found.push(
            Finding::error(FindingCode::Blackhole, what)
                .at(line.map_or(0, |it| it.line))
                .because(
                    Part::File,
                    "a route covers the address, and clients have none of their own to it",
                )
                .because(Part::Routes, "the tunnel's own packets would enter the tunnel")
                .remedy("leave the address out of the routes, or add one for it by the client's gateway"),
        );
    }
    let dns = set(plan, |kind| {
        matches!(kind, SourceKind::DnsServer | SourceKind::PinPointDns)
    });
    // A tunnel's own subnet is routed by its interface, whether or not it is pushed.
    let clients = set(plan, |kind| *kind == SourceKind::Clients);
    let missing = plan
        .tunnel
        .subtract(&tunnel.set)
        .subtract(&plan.gateways)
        .subtract(&clients);
    let no_dns = missing.intersect(&dns);
    if !no_dns.is_empty() {
        let what = format!("{name} leaves the DNS server outside the tunnel: {no_dns}");
        found.push(
            Finding::error(FindingCode::Blackhole, what)
                .because(Part::File, "nothing that it pushes has this address")
                .because(Part::Names, "clients ask it, and get no answer")
                .remedy("push a route to it"),
        );
    }
    let missing = missing.subtract(&dns);
    let no_v6 = !tunnel.set.has_v6() && !tunnel.set.is_empty() && missing.has_v6();
    if no_v6 {
        let what = format!("{name} pushes no IPv6: {}", missing.only_v6());
        found.push(
            Finding::warning(FindingCode::Parity, what)
                .because(Part::File, "its routes are IPv4")
                .because(Part::Routes, "the policy has clients and offices with IPv6")
                .remedy("push the IPv6 prefixes, too, or take IPv6 out of the policy"),
        );
    }
    let missing = if no_v6 { missing.only_v4() } else { missing };
    if !missing.is_empty() {
        let what = format!("{name} leaves corporate addresses outside the tunnel: {missing}");
        found.push(
            Finding::warning(FindingCode::Collateral, what)
                .because(Part::File, "nothing that it pushes has these addresses")
                .because(Part::Routes, "by the policy they enter the tunnel")
                .remedy("push them, or narrow corporate.subnets to what is reached by VPN"),
        );
    }
}

/// Checks the DNS servers that clients are given, if the policy has a pin-point server.
fn dns(policy: &Policy, tunnel: &Tunnel, found: &mut Vec<Finding>) {
    let listens = |address: IpAddr| {
        let mut own = policy.dns.listen.iter().map(|it| it.value.ip());
        own.any(|it| it == address || it.is_unspecified())
    };
    if policy.dns.listen.is_empty() {
        return;
    }
    let others = tunnel.dns.iter().filter(|(_, address)| !listens(*address));
    for (Place { file, line }, address) in others {
        let what = format!(
            "{file}:{line} gives clients the DNS server {address}, which pins and hides nothing"
        );
        let own = policy.dns.listen.first();
        found.push(
            Finding::error(FindingCode::InternalRegistration, what)
                .at(own.map_or(0, |it| it.line))
                .because(
                    Part::File,
                    "clients ask this server for the names of Lync, and find the internal ones",
                )
                .because(Part::Names, "the policy's pin-point server is another")
                .remedy(own.map_or_else(String::new, |it| format!("give {} alone", it.value.ip()))),
        );
    }
}

/// Reports OpenVPN's internal forwarding between clients, which no filter on the host sees.
fn client_to_client(tunnel: &Tunnel, found: &mut Vec<Finding>) {
    let Some(Place { file, line }) = &tunnel.forwards_between_clients else {
        return;
    };
    let what =
        format!("{file}:{line} has client-to-client: OpenVPN forwards between its clients itself");
    found.push(
        Finding::error(FindingCode::Hairpin, what)
            .because(Part::File, "packets between clients never leave the daemon")
            .because(Part::Filter, "so no rule sees media between them")
            .remedy("take client-to-client out: the host forwards between clients, and the filter judges it"),
    );
}
