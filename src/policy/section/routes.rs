//! `[routes]`: what the VPN pushes to its clients.

use std::fmt;
use std::net::IpAddr;

use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector};
use crate::policy::syntax::write::{header, list, pair, values};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{Problem, Sourced, Word, parse_address, parse_path, parse_word};

/// Which addresses enter the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TunnelMode {
    /// Only internal prefixes enter.
    #[default]
    Split,
    /// Everything enters but the excluded prefixes.
    Full,
}

impl Word for TunnelMode {
    const WORDS: &'static [(&'static str, Self)] = &[("split", Self::Split), ("full", Self::Full)];
}

/// `[routes]`: what the VPN pushes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteOptions {
    /// `routes.tunnel`.
    pub tunnel: TunnelMode,
    /// Public addresses of the concentrator, to which clients connect: never inside the tunnel that they carry.
    pub gateways: Vec<Sourced<IpAddr>>,
    /// Programs and files that a gateway gives the routes to when they change.
    pub push: Vec<Sourced<PushTarget>>,
}

/// A program or a file that a gateway gives the routes to when they change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushTarget {
    /// Its kind.
    pub kind: PushKind,
    /// The absolute path of a socket, a file or a folder.
    pub path: String,
}

/// Writes `openvpn:/run/openvpn/management.sock`.
impl fmt::Display for PushTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.kind.word(), self.path)
    }
}

/// The kind of a [`PushTarget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PushKind {
    /// The management socket of an OpenVPN server, 2.7 or later: clients that are connected get the routes at once.
    Openvpn,
    /// A file in OpenVPN's `client-config-dir`, which the server reads when a client connects.
    OpenvpnCcd,
    /// A file of ocserv for a group, a user or the default of either, which it reads when a client connects.
    Ocserv,
    /// A folder for the `AllowedIPs` of WireGuard clients, which have to fetch the file.
    Wireguard,
}

impl Word for PushKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("openvpn", Self::Openvpn),
        ("openvpn-ccd", Self::OpenvpnCcd),
        ("ocserv", Self::Ocserv),
        ("wireguard", Self::Wireguard),
    ];
}

const TUNNEL: Key = Key::new("tunnel", Kind::word::<TunnelMode>())
    .default("\"split\"")
    .example("\"full\"")
    .means("Addresses that enter the tunnel: internal ones alone (split-include), or all but public services and `gateways` (split-exclude)")
    .since("0.1");

const GATEWAYS: Key = Key::new("gateways", Kind::Texts(Form::Address))
    .default("[]")
    .example("[\"203.0.113.10\"]")
    .means("Public addresses of the concentrator, to which clients connect: kept out of the tunnel that they carry")
    .since("0.1");

const PUSH: Key = Key::new("push", Kind::Texts(Form::Push))
    .default("[]")
    .example("[\"openvpn:/run/openvpn/management.sock\"]")
    .means("Programs and files that `offramp run` gives the routes to when a reload changes them (docs/pushes.md); none where absent")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "routes",
    header: Header::Single,
    meaning: "Addresses that enter the tunnel: `offramp render` writes them as routes for VPN servers and clients.",
    keys: &[TUNNEL, GATEWAYS, PUSH],
    examples: &[],
};

/// Reads the section.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> RouteOptions {
    let Some(section) = Section::single(file, &SECTION, out) else {
        return RouteOptions::default();
    };
    RouteOptions {
        tunnel: section.word_or_default(&TUNNEL, out),
        gateways: section.list(&GATEWAYS, parse_address, out),
        push: section.list(&PUSH, parse_push, out),
    }
}

/// Reads `KIND:PATH`.
fn parse_push(text: &str) -> Result<PushTarget, Problem> {
    let Some((kind, path)) = text.split_once(':') else {
        let problem = Problem::new(
            Code::UnknownValue,
            format!("`{}` names no kind of target", shorten(text)),
        );
        return Err(problem.help(EXAMPLE));
    };
    let kind = parse_word(PUSH.name, kind, PushKind::WORDS)?;
    let path = parse_path(path)?;
    if !path.starts_with('/') {
        let problem = Problem::new(
            Code::BadPath,
            format!("path `{}` does not begin with /", shorten(&path)),
        );
        return Err(problem.help(EXAMPLE));
    }
    Ok(PushTarget { kind, path })
}

const EXAMPLE: &str = "write a kind and an absolute path, e.g. \"openvpn:/run/openvpn/management.sock\" or \"ocserv:/etc/ocserv/group.conf\"";

impl RouteOptions {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &TUNNEL, self.tunnel.word())?;
        list(out, &GATEWAYS, values(&self.gateways))?;
        if !self.push.is_empty() {
            list(out, &PUSH, values(&self.push))?;
        }
        Ok(())
    }
}
