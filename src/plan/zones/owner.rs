//! [`Owner`]: a name that VPN clients get a local answer for, and the rules behind it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::name::DnsName;
use crate::policy::Canary;

/// A name that is not forwarded unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The name.
    pub name: DnsName,
    /// The answer that clients get.
    pub treatment: Treatment,
    /// The rules that ask for this treatment, in policy order; at least one.
    pub sources: Vec<NameSource>,
}

impl Owner {
    /// Returns `true` if the name has local records.
    pub const fn is_pinned(&self) -> bool {
        match self.treatment {
            Treatment::Pinned(_) => true,
            Treatment::Hidden | Treatment::NoData(_) => false,
        }
    }
}

/// The answer that clients get for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// These records, and no data for every other type: no internal AAAA, HTTPS or SVCB record gets through.
    Pinned(Records),
    /// The name does not exist, and nothing below it does (RFC 8020).
    Hidden,
    /// The name exists without data: a signal to clients to use this resolver.
    NoData(Canary),
}

/// The records of a pinned name, in the order of the policy and without duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Records {
    /// A.
    pub ipv4: Vec<Ipv4Addr>,
    /// AAAA.
    pub ipv6: Vec<Ipv6Addr>,
    /// SRV.
    pub srv: Vec<Srv>,
}

/// An SRV record (RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones are tried first.
    pub priority: u16,
    /// Relative weight among records of equal priority.
    pub weight: u16,
    /// Port of the service.
    pub port: u16,
    /// Host that provides the service.
    pub target: DnsName,
}

/// Writes the data in zone file format, the target without its final dot.
impl fmt::Display for Srv {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            priority,
            weight,
            port,
            target,
        } = self;
        write!(out, "{priority} {weight} {port} {target}")
    }
}

impl Treatment {
    /// Returns its machine-readable name: `pinned`, `hidden` or `canary`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pinned(_) => "pinned",
            Self::Hidden => "hidden",
            Self::NoData(_) => "canary",
        }
    }
}

/// The policy rule that asks for the treatment of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameSource {
    /// Kind of rule.
    pub kind: NameSourceKind,
    /// Line of the policy file; 0 for a default.
    pub line: u32,
}

/// The kinds of rules that apply to names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameSourceKind {
    /// `hosts` of the `[[public]]` with this name.
    PublicHost(String),
    /// `srv` of the `[[public]]` with this name.
    PublicService(String),
    /// `hosts` of the `[[server]]` with this name.
    ServerHost(String),
    /// `dns.sip_domains`: the domain.
    SipDomain(String),
    /// `dns.canaries`.
    Canaries,
}

impl NameSourceKind {
    /// Returns the policy key of the rule, for programs: `public.hosts`, `public.srv`, `server.hosts`,
    /// `dns.sip_domains` or `dns.canaries`.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::PublicHost(_) => "public.hosts",
            Self::PublicService(_) => "public.srv",
            Self::ServerHost(_) => "server.hosts",
            Self::SipDomain(_) => "dns.sip_domains",
            Self::Canaries => "dns.canaries",
        }
    }

    /// Returns the name of the rule, or the SIP domain.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::PublicHost(name)
            | Self::PublicService(name)
            | Self::ServerHost(name)
            | Self::SipDomain(name) => Some(name),
            Self::Canaries => None,
        }
    }
}

impl fmt::Display for NameSourceKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PublicHost(name) => write!(out, "hosts of [[public]] \"{name}\""),
            Self::PublicService(name) => write!(out, "srv of [[public]] \"{name}\""),
            Self::ServerHost(name) => write!(out, "hosts of [[server]] \"{name}\""),
            Self::SipDomain(name) => write!(out, "dns.sip_domains, {name}"),
            Self::Canaries => out.write_str("dns.canaries"),
        }
    }
}
