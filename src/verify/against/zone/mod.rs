//! [`Zone`]: the records of a zone file, and what an authoritative server answers from them (RFC 1034 §4.3.2).

mod file;
mod generate;
mod text;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::reply::{Asked, Reply};
use crate::name::DnsName;

pub(super) use file::ZoneFile;
pub(super) use text::{Source, read, read_record};

/// The records of a zone that matter to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) origin: DnsName,
    nodes: HashMap<DnsName, Node>,
    /// Every name that exists: owners, and names above them.
    exists: HashSet<DnsName>,
}

/// Checks of a server before it loads a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checks {
    None,
    /// Name servers and aliases.
    Zone,
    /// These, and the names of hosts.
    ZoneAndNames,
}

/// The wildcards that apply to a name without records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wildcards {
    /// That of the closest encloser, which may have no records (RFC 4592 §3.3.1).
    OfEncloser,
    /// The first one above, up to a name with records, as in unbound.
    AcrossEmpty,
}

/// The records of a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Node {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) targets: Vec<DnsName>,
    pub(super) alias: Option<DnsName>,
    /// DNAME: names below lead to names below another one.
    pub(super) subtree_alias: Option<DnsName>,
    /// Targets of NS records.
    pub(super) servers: Vec<DnsName>,
    pub(super) has_https: bool,
    /// True if it has records of any type.
    has_records: bool,
    /// True if it has records that may not stand beside an alias.
    has_others: bool,
    /// Number of aliases.
    aliases: usize,
}

/// A record that matters to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    Target(DnsName),
    Alias(DnsName),
    SubtreeAlias(DnsName),
    Delegation(DnsName),
    Https,
    /// Of another type.
    Other,
    /// Of a type that may stand beside an alias: signatures, and what they are made with.
    Signature,
}

/// Content of a zone for a name.
#[expect(
    clippy::large_enum_variant,
    reason = "a value lives for one question, and names are not allocated"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// An answer.
    Reply(Reply),
    /// Another name has the answer.
    Alias(DnsName),
    /// Other servers are responsible.
    Delegated,
}

impl Node {
    pub(super) fn add(&mut self, data: Data) {
        self.has_records = true;
        self.has_others |= !matches!(data, Data::Alias(_) | Data::Signature);
        // The same record twice is one.
        let is_other = |name: &DnsName| self.alias.is_none_or(|it| it != *name);
        self.aliases += usize::from(matches!(&data, Data::Alias(name) if is_other(name)));
        match data {
            Data::Address(address) => self.addresses.push(address),
            Data::Target(target) => self.targets.push(target),
            Data::Alias(name) => self.alias = Some(name),
            Data::SubtreeAlias(name) => self.subtree_alias = Some(name),
            Data::Delegation(server) => self.servers.push(server),
            Data::Https => self.has_https = true,
            Data::Other | Data::Signature => {}
        }
    }

    /// Returns `true` for a name that exists because of names below it alone.
    pub(super) const fn is_empty(&self) -> bool {
        !self.has_records
    }

    /// Returns the records of a type; `None` if there are none.
    pub(super) fn records(&self, asked: Asked) -> Option<Reply> {
        let of = |v4: bool| -> Option<Reply> {
            let list = self.addresses.iter().copied();
            let list: Vec<IpAddr> = list.filter(|it| it.is_ipv4() == v4).collect();
            (!list.is_empty()).then_some(Reply::Addresses(list))
        };
        match asked {
            Asked::A => of(true),
            Asked::Aaaa => of(false),
            Asked::Srv => (!self.targets.is_empty()).then(|| Reply::Targets(self.targets.clone())),
            Asked::Https => self.has_https.then_some(Reply::Other),
        }
    }

    /// Returns what a name with these records answers.
    pub(super) fn answer(&self, asked: Asked) -> Found {
        match (self.records(asked), self.alias) {
            (Some(reply), _) => Found::Reply(reply),
            (None, Some(alias)) => Found::Alias(alias),
            (None, None) => Found::Reply(Reply::NoData),
        }
    }
}

impl Zone {
    pub(super) fn new(origin: DnsName) -> Self {
        Self {
            origin,
            nodes: HashMap::new(),
            exists: HashSet::from([origin]),
        }
    }

    /// Adds a record; those outside the zone are ignored, as servers do.
    pub(super) fn add(&mut self, owner: DnsName, data: Data) {
        if owner != self.origin && !owner.is_below(&self.origin) {
            return;
        }
        self.nodes.entry(owner).or_default().add(data);
        let mut above = Some(owner);
        while let Some(name) = above {
            if !self.exists.insert(name) {
                break;
            }
            above = name.parent();
        }
    }

    /// Returns why a server refuses to load the zone; then it answers for none of its names.
    pub(super) fn defect(&self, checks: Checks) -> Option<String> {
        if checks == Checks::None {
            return None;
        }
        let apex = self.nodes.get(&self.origin);
        let servers = apex.map_or(&[][..], |it| &it.servers);
        if servers.is_empty() {
            return Some("the zone has no NS record, so the server does not load it".to_owned());
        }
        let mut inside = servers.iter().filter(|it| it.is_below(&self.origin));
        let without = inside.find(|it| {
            let has = |asked| match self.lookup(it, asked, Wildcards::OfEncloser) {
                Found::Reply(reply) => matches!(reply, Reply::Addresses(_)),
                Found::Alias(_) => false,
                Found::Delegated => true,
            };
            !has(Asked::A) && !has(Asked::Aaaa)
        });
        if let Some(server) = without {
            return Some(format!(
                "its name server {server} has no address, so the server does not load it"
            ));
        }
        let is_wrong = |node: &Node| node.aliases > 1 || (node.aliases == 1 && node.has_others);
        if let Some((name, _)) = self.nodes.iter().find(|(_, node)| is_wrong(node)) {
            return Some(format!(
                "{name} has a CNAME and other data, so the server does not load the zone"
            ));
        }
        let is_odd =
            |(name, node): &(&DnsName, &Node)| !node.addresses.is_empty() && !is_host(name);
        let (name, _) = self
            .nodes
            .iter()
            .find(is_odd)
            .filter(|_| checks == Checks::ZoneAndNames)?;
        Some(format!(
            "{name} has an address and is no name of a host, so the server does not load the zone"
        ))
    }

    /// Returns the names that have records.
    pub(super) fn owners(&self) -> impl Iterator<Item = &DnsName> {
        self.nodes.keys()
    }

    /// Returns `true` if a name has records of its own.
    pub(super) fn node(&self, name: &DnsName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Returns what the zone has for a name in it.
    pub(super) fn lookup(&self, name: &DnsName, asked: Asked, wildcards: Wildcards) -> Found {
        self.search(name, asked, wildcards)
            .unwrap_or(Found::Reply(Reply::NxDomain))
    }

    /// As [`Zone::lookup`]; `None` for a name that neither has records nor is covered by a wildcard.
    pub(super) fn policy(&self, name: &DnsName, asked: Asked) -> Option<Found> {
        let has_records = self.nodes.contains_key(name) || !self.exists.contains(name);
        let search = || self.search(name, asked, Wildcards::OfEncloser);
        has_records.then(search).flatten()
    }

    fn search(&self, name: &DnsName, asked: Asked, wildcards: Wildcards) -> Option<Found> {
        let mut path: Vec<DnsName> = std::iter::successors(Some(*name), DnsName::parent)
            .take_while(|it| *it == self.origin || it.is_below(&self.origin))
            .collect();
        path.reverse();
        for here in &path {
            let Some(node) = self.nodes.get(here) else {
                continue;
            };
            if here != &self.origin && !node.servers.is_empty() {
                return Some(Found::Delegated);
            }
            if let (Some(target), true) = (node.subtree_alias, here != name) {
                return Some(match replaced(name, here, &target) {
                    Some(alias) => Found::Alias(alias),
                    // RFC 6672 §2.2: too long a name is an error.
                    None => Found::Reply(Reply::NoAnswer),
                });
            }
        }
        if let Some(node) = self.nodes.get(name) {
            return Some(node.answer(asked));
        }
        if self.exists.contains(name) {
            return Some(Found::Reply(Reply::NoData));
        }
        let wildcard_of = |above: &DnsName| self.nodes.get(&child(b"*", above)?);
        let mut above = path.iter().rev();
        let wildcard = match wildcards {
            Wildcards::OfEncloser => wildcard_of(above.find(|it| self.exists.contains(it))?)?,
            Wildcards::AcrossEmpty => above
                .take_while(|it| *it == name || !self.nodes.contains_key(it))
                .find_map(wildcard_of)
                .or_else(|| {
                    let mut above = path.iter().rev();
                    wildcard_of(above.find(|it| self.nodes.contains_key(it))?)
                })?,
        };
        Some(wildcard.answer(asked))
    }
}

/// Returns `true` for a name that BIND takes for that of a host (`check-names`): letters, digits and `-`, or a wildcard.
fn is_host(name: &DnsName) -> bool {
    let is_label = |label: &[u8]| {
        let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        is_end(label.first())
            && is_end(label.last())
            && label
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    let mut labels = name.labels().enumerate();
    // Active Directory registers addresses below these.
    let is_directory =
        name.labels().next() == Some(b"gc") && name.labels().nth(1) == Some(b"_msdcs");
    is_directory || labels.all(|(at, label)| is_label(label) || (at == 0 && label == b"*"))
}

/// Returns the name `label` below another one.
pub(super) fn child(label: &[u8], above: &DnsName) -> Option<DnsName> {
    DnsName::from_labels(std::iter::once(label).chain(above.labels())).ok()
}

/// Returns `name` with its end `old` replaced.
pub(super) fn replaced(name: &DnsName, old: &DnsName, new: &DnsName) -> Option<DnsName> {
    let kept = name.labels().count().checked_sub(old.labels().count())?;
    DnsName::from_labels(name.labels().take(kept).chain(new.labels())).ok()
}

#[cfg(test)]
mod tests;
