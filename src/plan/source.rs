//! [`Source`]: the origin of an address in a plan, with its line in the policy.

use std::fmt;

use ipnet::IpNet;

use crate::policy::{EntryKey, Policy, Sourced};

/// A prefix that affects the routes, and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The key or rule that the prefix comes from.
    pub kind: SourceKind,
    /// The prefix as the policy or feed writes it.
    pub prefix: IpNet,
    /// Line of the policy file; for a feed, the line of its `file` key.
    pub line: u32,
}

/// The kind of policy entry that adds a prefix to a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// `vpn.client_subnets`
    Clients,
    /// `corporate.subnets`
    Corporate,
    /// `dns.listen`: the pin-point DNS server.
    PinPointDns,
    /// `corporate.dns_servers`
    DnsServer,
    /// `routes.gateways`
    Gateway,
    /// A `[[public]]` service, by name.
    Public(String),
    /// A `[[feed]]`, by name, and its entry.
    Feed(String, EntryKey),
}

impl SourceKind {
    /// Returns `true` if the source takes addresses out of the tunnel because they belong to a public service.
    pub const fn is_public(&self) -> bool {
        match self {
            Self::Public(_) | Self::Feed(..) => true,
            Self::Clients
            | Self::Corporate
            | Self::PinPointDns
            | Self::DnsServer
            | Self::Gateway => false,
        }
    }

    /// Returns `true` if addresses of this kind are inside or outside the tunnel regardless of subnets and services.
    pub(crate) const fn is_fixed(&self) -> bool {
        match self {
            Self::Gateway | Self::PinPointDns | Self::DnsServer => true,
            Self::Clients | Self::Corporate | Self::Public(_) | Self::Feed(..) => false,
        }
    }

    /// Returns a short, machine-readable name of the kind.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Corporate => "corporate",
            Self::PinPointDns => "pin-point-dns",
            Self::DnsServer => "dns-server",
            Self::Gateway => "gateway",
            Self::Public(_) => "public",
            Self::Feed(..) => "feed",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clients => out.write_str("clients"),
            Self::Corporate => out.write_str("corporate"),
            Self::PinPointDns => out.write_str("pin-point DNS"),
            Self::DnsServer => out.write_str("DNS server"),
            Self::Gateway => out.write_str("VPN gateway"),
            Self::Public(name) => out.write_str(name),
            Self::Feed(name, entry) => write!(out, "{name}, {entry}"),
        }
    }
}

/// Returns every prefix of the policy that affects its routes.
pub(super) fn sources(policy: &Policy) -> Vec<Source> {
    fn each(prefixes: &[Sourced<IpNet>], kind: SourceKind) -> impl Iterator<Item = Source> {
        prefixes.iter().map(move |prefix| Source {
            kind: kind.clone(),
            prefix: prefix.value,
            line: prefix.line,
        })
    }
    let mut sources: Vec<Source> = Vec::new();
    sources.extend(each(&policy.vpn.client_subnets, SourceKind::Clients));
    sources.extend(each(&policy.corporate.subnets, SourceKind::Corporate));
    sources.extend(policy.dns.listen.iter().map(|listen| Source {
        kind: SourceKind::PinPointDns,
        prefix: listen.value.ip().into(),
        line: listen.line,
    }));
    for (addresses, kind) in [
        (&policy.corporate.dns_servers, SourceKind::DnsServer),
        (&policy.routes.gateways, SourceKind::Gateway),
    ] {
        sources.extend(addresses.iter().map(|address| Source {
            kind: kind.clone(),
            prefix: address.value.into(),
            line: address.line,
        }));
    }
    for public in &policy.publics {
        let kind = SourceKind::Public(public.name.value.clone());
        sources.extend(each(&public.addresses, kind));
    }
    for feed in &policy.feeds {
        let prefixes = feed.prefixes.iter().flatten();
        sources.extend(prefixes.map(|taken| Source {
            kind: SourceKind::Feed(feed.name.value.clone(), taken.entry),
            prefix: taken.prefix,
            line: feed.file.line,
        }));
    }
    // `0.0.0.0` as a listen address means every address, so no client can send to it.
    sources.retain(|source| match source.kind {
        SourceKind::PinPointDns => !source.prefix.addr().is_unspecified(),
        SourceKind::Clients
        | SourceKind::Corporate
        | SourceKind::DnsServer
        | SourceKind::Gateway
        | SourceKind::Public(_)
        | SourceKind::Feed(..) => true,
    });
    sources
}
