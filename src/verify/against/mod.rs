//! Compares files in use, written by others, with a policy: [`audit`].
//!
//! ```text
//!  server.conf, ocserv.conf, wg0.conf ──▶ what enters the tunnel, who answers DNS ─┐
//!  unbound.conf, named.conf, RPZ, …  ───▶ what names resolve to ───────────────────┴─▶ Finding
//!                                              against RoutePlan and Zones
//! ```
//!
//! This module only reads: the readers of [`render`](crate::render), and small ones for names, take the relevant parts
//! of a file and skip the rest. Addresses and answers are compared, never lines.

mod bind;
mod names;

use std::net::IpAddr;

use crate::address::PrefixSet;
use crate::plan::{RoutePlan, SourceKind, Zones};
use crate::policy::Policy;
use crate::verify::{Finding, FindingCode, Part};

use crate::render::routes::{ocserv, openvpn, wireguard};
use crate::render::{ReadError, code_lines};

/// The kinds of files that can be audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Existing {
    /// The configuration of an OpenVPN server.
    OpenVpn,
    /// The configuration of ocserv.
    Ocserv,
    /// The configuration of a WireGuard client.
    WireGuard,
    /// The configuration of unbound.
    Unbound,
    /// The configuration of BIND; its zones have files of their own.
    Bind,
    /// A response policy zone, for BIND and other servers.
    ResponsePolicyZone,
    /// The configuration of dnsmasq.
    Dnsmasq,
}

impl Existing {
    /// Detects the kind of `text` by keywords that only one kind has.
    pub fn detect(text: &str) -> Option<Self> {
        let lines = || code_lines(text, &['#', ';']).map(|(_, line)| line);
        let key_is = |words: &[&str]| {
            lines().any(|line| {
                let key = line.split_once('=').map_or("", |(key, _)| key.trim());
                words.iter().any(|word| key.eq_ignore_ascii_case(word))
            })
        };
        let begins =
            |words: &[&str]| lines().any(|line| words.iter().any(|word| line.starts_with(word)));
        if begins(&["local-zone:", "local-data:"]) {
            Some(Self::Unbound)
        } else if begins(&["zone \"", "view \"", "options {", "include \"", "acl "]) {
            Some(Self::Bind)
        } else if begins(&[
            "local=/",
            "address=/",
            "host-record=",
            "srv-host=",
            "server=/",
        ]) {
            Some(Self::Dnsmasq)
        } else if key_is(&["AllowedIPs"]) {
            Some(Self::WireGuard)
        } else if begins(&["push ", "push\t", "client-to-client", "server "]) {
            Some(Self::OpenVpn)
        } else if key_is(&["route", "no-route", "ipv4-network"]) {
            Some(Self::Ocserv)
        } else if lines().any(|line| line.split_whitespace().any(|word| word == "SOA")) {
            Some(Self::ResponsePolicyZone)
        } else {
            None
        }
    }

    /// Returns its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenVpn => "OpenVPN",
            Self::Ocserv => "ocserv",
            Self::WireGuard => "WireGuard",
            Self::Unbound => "unbound",
            Self::Bind => "BIND",
            Self::ResponsePolicyZone => "response policy zone",
            Self::Dnsmasq => "dnsmasq",
        }
    }
}

/// Reads a file that another file names. Arguments: the folder that the path is relative to, if the other file sets
/// one, and the path.
pub type Reader<'r> = &'r dyn Fn(Option<&str>, &str) -> Result<String, String>;

/// Returns the conflicts between a policy and `text`, a file called `name`. `read_file` reads other files that it
/// names.
///
/// # Errors
/// [`ReadError`] at the first route or record that cannot be parsed.
pub fn audit(
    policy: &Policy,
    plan: &RoutePlan,
    zones: &Zones,
    existing: Existing,
    name: &str,
    text: &str,
    read_file: Reader<'_>,
) -> Result<Vec<Finding>, ReadError> {
    let read = match existing {
        Existing::OpenVpn => openvpn::read,
        Existing::Ocserv => ocserv::read,
        Existing::WireGuard => wireguard::read,
        Existing::Unbound | Existing::Bind | Existing::ResponsePolicyZone | Existing::Dnsmasq => {
            return names::audit(policy, zones, existing, name, text, read_file);
        }
    };
    let tunnel = read(text)?.tunnel();
    let mut found = Vec::new();
    routes(plan, &tunnel, name, &mut found);
    dns(policy, existing, name, text, &mut found);
    if existing == Existing::OpenVpn {
        client_to_client(name, text, &mut found);
    }
    Ok(found)
}

fn set(plan: &RoutePlan, counts: impl Fn(&SourceKind) -> bool) -> PrefixSet {
    let sources = plan.sources.iter().filter(|it| counts(&it.kind));
    sources.map(|it| it.prefix).collect()
}

fn routes(plan: &RoutePlan, tunnel: &PrefixSet, name: &str, found: &mut Vec<Finding>) {
    for source in plan.sources.iter().filter(|it| it.kind.is_public()) {
        let inside = PrefixSet::from_iter([source.prefix])
            .intersect(tunnel)
            .intersect(&plan.families)
            .subtract(&plan.tunnel);
        if inside.is_empty() {
            continue;
        }
        let what = format!("{name} leads \"{}\" into the tunnel: {inside}", source.kind);
        found.push(
            Finding::error(FindingCode::Leak, what)
                .at(source.line)
                .because(Part::File, "what it pushes covers these addresses")
                .because(Part::Routes, "the policy keeps them outside")
                .remedy("`offramp render` writes what it should push"),
        );
    }
    let dns = set(plan, |kind| {
        matches!(kind, SourceKind::DnsServer | SourceKind::PinPointDns)
    });
    // A tunnel's own subnet is routed by its interface, whether or not it is pushed.
    let clients = set(plan, |kind| *kind == SourceKind::Clients);
    let missing = plan
        .tunnel
        .subtract(tunnel)
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
    let no_v6 = !tunnel.has_v6() && !tunnel.is_empty() && missing.has_v6();
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

/// Checks the DNS servers that the file gives to clients, if the policy has a pin-point server.
fn dns(policy: &Policy, existing: Existing, name: &str, text: &str, found: &mut Vec<Finding>) {
    let listens = |address: IpAddr| {
        let mut own = policy.dns.listen.iter().map(|it| it.value.ip());
        own.any(|it| it == address || it.is_unspecified())
    };
    if policy.dns.listen.is_empty() {
        return;
    }
    for (line, text) in code_lines(text, &['#', ';']) {
        let given: Vec<IpAddr> = match existing {
            Existing::OpenVpn => {
                let words: Vec<&str> = text
                    .split([' ', '\t', '"', '\''])
                    .filter(|it| !it.is_empty())
                    .collect();
                match words[..] {
                    ["push", "dhcp-option", "DNS" | "DNS6", address] => {
                        address.parse().into_iter().collect()
                    }
                    _ => Vec::new(),
                }
            }
            Existing::Ocserv | Existing::WireGuard => match text.split_once('=') {
                Some((key, value)) if key.trim().eq_ignore_ascii_case("dns") => value
                    .split(',')
                    .filter_map(|it| it.trim().parse().ok())
                    .collect(),
                Some(_) | None => Vec::new(),
            },
            Existing::Unbound
            | Existing::Bind
            | Existing::ResponsePolicyZone
            | Existing::Dnsmasq => Vec::new(),
        };
        for address in given.into_iter().filter(|address| !listens(*address)) {
            let what = format!(
                "{name}:{line} gives clients the DNS server {address}, which pins and hides nothing"
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
                    .remedy(
                        own.map_or_else(String::new, |it| format!("give {} alone", it.value.ip())),
                    ),
            );
        }
    }
}

/// Reports OpenVPN's internal forwarding between clients, which no filter on the host sees.
fn client_to_client(name: &str, text: &str, found: &mut Vec<Finding>) {
    for (line, text) in code_lines(text, &['#', ';']) {
        if text == "client-to-client" {
            let what = format!(
                "{name}:{line} has client-to-client: OpenVPN forwards between its clients itself"
            );
            found.push(
                Finding::error(FindingCode::Hairpin, what)
                    .because(Part::File, "packets between clients never leave the daemon")
                    .because(Part::Filter, "so no rule sees media between them")
                    .remedy("take client-to-client out: the host forwards between clients, and the filter judges it"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
