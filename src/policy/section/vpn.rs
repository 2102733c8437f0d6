//! `[vpn]`: who the clients are.

use std::fmt;

use ipnet::IpNet;

use crate::address::{Family, PrefixSet};
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::syntax::write::{list, pair, values};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{Sourced, Word, nearest, parse_interface, parse_prefix};

/// `[vpn]`: who the clients are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpnOptions {
    /// Names of the interfaces that the VPN daemon makes; a trailing `*` matches any rest (`vpns*` for ocserv).
    pub interfaces: Vec<Sourced<String>>,
    /// Addresses of the VPN clients; at least one.
    pub client_subnets: Vec<Sourced<IpNet>>,
    /// `vpn.ipv6`.
    pub ipv6: Ipv6Intent,
}

/// The statement of a policy about IPv6 in the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ipv6Intent {
    /// None: `client_subnets` may have IPv6 prefixes, and where they do not, somebody may have forgotten them.
    #[default]
    Auto,
    /// The VPN gives its clients no IPv6 addresses, on purpose.
    Absent,
}

impl Word for Ipv6Intent {
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("none", Self::Absent)];
}

const INTERFACES: Key = Key::new("interfaces", Kind::Texts(Form::Interface))
    .default("[]")
    .example("[\"tun0\"]")
    .means("Interfaces that the VPN daemon makes: what enters from them is judged. `offramp run` needs at least one")
    .since("0.1");

pub(in crate::policy) const CLIENT_SUBNETS: Key =
    Key::new("client_subnets", Kind::Texts(Form::Prefix))
        .required()
        .example("[\"172.16.1.0/24\"]")
        .means("Address pools of the VPN clients: packets from other sources are forwarded unjudged (see `filter.unknown_source`), and media to these addresses is dropped as `hairpin`")
        .since("0.1");

pub(in crate::policy) const IPV6: Key = Key::new("ipv6", Kind::word::<Ipv6Intent>())
    .default("\"auto\"")
    .example("\"none\"")
    .means("`\"none\"`: the VPN gives its clients no IPv6 addresses, on purpose, so nobody has forgotten their prefix: `check` and `verify` do not ask for it, and a running gateway reports an interface that has one")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "vpn",
    header: Header::Single,
    meaning: "The VPN and its clients: who is judged. The only section that must be there.",
    keys: &[INTERFACES, CLIENT_SUBNETS, IPV6],
    examples: &[],
};

/// Reads the section; `None` where it could not be, and then `out` says why.
pub(in crate::policy) fn read(
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) -> Option<VpnOptions> {
    // A misspelt one has its own message.
    let mut others = file.root().keys().map(|key| key.get_ref());
    let is_misspelt = others.any(|name| nearest(name, &[SECTION.name]).is_some());
    if file.root().get(SECTION.name).is_none() && !is_misspelt && !out.damaged {
        let problem = Diagnostic::error(Code::MissingKey, "the policy has no [vpn] section");
        out.add(problem.with_help(
            "say which addresses the VPN clients have:\n[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
        ));
    }
    let section = Section::single(file, &SECTION, out)?;
    Some(VpnOptions {
        interfaces: section.list(&INTERFACES, parse_interface, out),
        client_subnets: section.list(&CLIENT_SUBNETS, parse_prefix, out),
        ipv6: section.word_or_default(&IPV6, out),
    })
}

impl VpnOptions {
    /// The addresses of the clients as a set.
    pub fn client_addresses(&self) -> PrefixSet {
        self.client_subnets.iter().map(|pool| pool.value).collect()
    }

    /// True if the policy says that clients have no addresses of `family`.
    pub fn is_without(&self, family: Family) -> bool {
        family == Family::V6 && self.ipv6 == Ipv6Intent::Absent
    }

    /// Writes the section, which opens a policy.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", SECTION.title())?;
        list(out, &INTERFACES, values(&self.interfaces))?;
        list(out, &CLIENT_SUBNETS, values(&self.client_subnets))?;
        pair(out, &IPV6, self.ipv6.word())
    }
}
