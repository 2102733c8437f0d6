//! Compares files in use, written by others, with a policy: [`audit`].
//!
//! ```text
//!  server.conf, ocserv.conf, wg0.conf ──▶ what enters the tunnel, who answers DNS ─┐
//!  unbound.conf, named.conf, RPZ, …  ───▶ what the server answers to a client ─────┴─▶ Finding
//!                                              against RoutePlan and Zones
//! ```
//!
//! A configuration is a set of files: those that a file names are read where its program finds them, and files of one kind
//! that are named together are one configuration. Addresses and answers are compared, never lines. A directive that has an
//! effect on routes or names and is not understood is a finding, `NOT-READ`: nothing that depends on it counts as right.

mod bind;
mod dnsmasq;
mod files;
mod names;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
mod reply;
mod routes;
mod rpz;
mod unbound;
mod words;
mod zone;

use thiserror::Error;

pub use files::{Files, Place, text_of};
use files::{Loader, Unread};
pub use routes::daemon::{Daemon, Found, Role, daemon};

use crate::plan::{RoutePlan, Zones};
use crate::policy::Policy;
use crate::render::code_lines;
use crate::verify::{Finding, FindingCode, Part};

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
        let first_is = |words: &[&str]| {
            lines().any(|line| {
                let first = line.split([' ', '\t', '{']).next().unwrap_or_default();
                words.contains(&first.trim_start_matches("--"))
            })
        };
        // dnsmasq allows spaces around `=`; the value begins with a domain.
        let domain_is = |words: &[&str]| {
            lines().any(|line| {
                let (key, value) = line.split_once('=').unwrap_or_default();
                words.contains(&key.trim()) && value.trim_start().starts_with('/')
            })
        };
        let has_zone = lines().any(|line| line.split_whitespace().any(|word| word == "SOA"));
        if first_is(UNBOUND_KEYS) {
            Some(Self::Unbound)
        } else if has_braces(text) && first_is(BIND_STATEMENTS)
            || first_is(&["include"]) && text.contains(';')
        {
            Some(Self::Bind)
        } else if domain_is(&["local", "address", "server"]) || key_is(DNSMASQ_KEYS) {
            Some(Self::Dnsmasq)
        } else if key_is(&["AllowedIPs"]) {
            Some(Self::WireGuard)
        } else if !has_zone && first_is(OPENVPN_OPTIONS) {
            Some(Self::OpenVpn)
        } else if key_is(OCSERV_KEYS) {
            Some(Self::Ocserv)
        } else if has_zone {
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

/// Keywords of unbound that begin a line.
const UNBOUND_KEYS: &[&str] = &[
    "local-zone:",
    "local-data:",
    "include-toplevel:",
    "include:",
    "server:",
    "view:",
    "forward-zone:",
    "stub-zone:",
    "auth-zone:",
    "rpz:",
    "access-control-view:",
    "local-zone-override:",
];

/// Statements of BIND, which have blocks.
const BIND_STATEMENTS: &[&str] = &[
    "zone", "view", "options", "acl", "logging", "controls", "key",
];

/// Keys that dnsmasq alone has.
const DNSMASQ_KEYS: &[&str] = &[
    "host-record",
    "srv-host",
    "cname",
    "conf-dir",
    "conf-file",
    "addn-hosts",
    "hostsdir",
    "servers-file",
    "resolv-file",
    "listen-address",
    "cache-size",
];

/// Options that a server of OpenVPN has, or the file of a client on it.
const OPENVPN_OPTIONS: &[&str] = &[
    "push",
    "push-reset",
    "push-remove",
    "client-to-client",
    "server",
    "server-ipv6",
    "client-config-dir",
    "ifconfig-push",
    "ifconfig-ipv6-push",
    "iroute",
];

/// Keys of ocserv.
const OCSERV_KEYS: &[&str] = &[
    "route",
    "no-route",
    "ipv4-network",
    "ipv6-network",
    "split-dns",
    "tunnel-all-dns",
    "config-per-group",
    "config-per-user",
];

fn has_braces(text: &str) -> bool {
    text.contains('{') && text.contains(';')
}

/// A file to compare, by the path that the operator names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its path.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A policy, and what follows from it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    /// The policy.
    pub policy: &'s Policy,
    /// Its routes.
    pub plan: &'s RoutePlan,
    /// Its names.
    pub zones: &'s Zones,
}

/// The reason why files cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}: {message}")]
pub struct AuditError {
    /// The files.
    pub file: String,
    /// The problem.
    pub message: String,
}

/// Returns the conflicts between a policy and files in use. Files that they name are read by `files`, absolute paths below
/// `root`.
///
/// # Errors
/// [`AuditError`] for a file of no known kind, one that its program would not read, and for more files or records than a
/// configuration has.
pub fn audit(
    subject: &Subject<'_>,
    named: &[Named],
    files: &dyn Files,
    root: &str,
) -> Result<Vec<Finding>, AuditError> {
    let kinds: Vec<Option<Existing>> = named.iter().map(|it| Existing::detect(&it.text)).collect();
    let of = |existing: Existing| {
        let pairs = named.iter().zip(&kinds);
        let of_kind = pairs.filter(move |(_, kind)| **kind == Some(existing));
        of_kind.map(|(it, _)| it).collect::<Vec<&Named>>()
    };
    let mut found = Vec::new();
    // Files of these may name files of the others.
    let mut referred: Vec<String> = Vec::new();
    for existing in [
        Existing::OpenVpn,
        Existing::Ocserv,
        Existing::WireGuard,
        Existing::Bind,
        Existing::Unbound,
        Existing::Dnsmasq,
        Existing::ResponsePolicyZone,
    ] {
        let all = of(existing);
        let all: Vec<&Named> = all
            .into_iter()
            .filter(|it| !referred.contains(&it.path))
            .collect();
        if all.is_empty() {
            continue;
        }
        let loader = Loader::new(files, root);
        found.extend(match existing {
            Existing::OpenVpn | Existing::Ocserv | Existing::WireGuard => {
                routes::audit(subject, existing, &all, &loader)?
            }
            Existing::Bind
            | Existing::Unbound
            | Existing::Dnsmasq
            | Existing::ResponsePolicyZone => {
                let roots = roots(subject, existing, &all, files, root)?;
                names::audit(subject, existing, &roots, &loader)?
            }
        });
        if let Some(message) = loader.exceeded() {
            let file = all[0].path.clone();
            return Err(AuditError { file, message });
        }
        found.extend(loader.unread().iter().map(not_read));
        let others = named.iter().filter(|it| loader.names(&it.path));
        referred.extend(others.map(|it| it.path.clone()));
    }
    for (it, kind) in named.iter().zip(&kinds) {
        if kind.is_none() && !referred.contains(&it.path) {
            return Err(AuditError {
                file: it.path.clone(),
                message: UNKNOWN_FILE.to_owned(),
            });
        }
    }
    Ok(found)
}

const UNKNOWN_FILE: &str = "not a configuration of OpenVPN, ocserv, WireGuard, unbound, BIND or dnsmasq, nor a response policy zone";

/// Returns the files that none of the others includes, each with its path and text.
fn roots(
    subject: &Subject<'_>,
    existing: Existing,
    all: &[&Named],
    files: &dyn Files,
    root: &str,
) -> Result<Vec<(String, String)>, AuditError> {
    let pair = |it: &Named| (it.path.clone(), it.text.clone());
    if let [one] = all {
        return Ok(vec![pair(one)]);
    }
    let mut roots = Vec::new();
    for it in all {
        let mut is_included = false;
        for other in all.iter().filter(|other| other.path != it.path) {
            let loader = Loader::new(files, root);
            names::audit(subject, existing, &[pair(other)], &loader)?;
            is_included |= loader.names(&it.path);
        }
        if !is_included {
            roots.push(pair(it));
        }
    }
    Ok(roots)
}

/// Returns the finding of a directive that was not understood.
fn not_read(unread: &Unread) -> Finding {
    let Unread {
        file,
        line,
        word,
        why,
    } = unread;
    Finding::warning(
        FindingCode::NotRead,
        format!("{file}:{line}: `{word}` is not read"),
    )
    .because(Part::File, why.clone())
    .remedy("check by hand what clients get by it: nothing that depends on it counts as right")
}

#[cfg(test)]
mod tests;
