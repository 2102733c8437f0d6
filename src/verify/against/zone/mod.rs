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

/// The records of a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Node {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) targets: Vec<DnsName>,
    pub(super) alias: Option<DnsName>,
    /// DNAME: names below lead to names below another one.
    pub(super) subtree_alias: Option<DnsName>,
    pub(super) is_delegated: bool,
    pub(super) has_https: bool,
    /// True if it has records of any type.
    has_records: bool,
}

/// A record that matters to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    Target(DnsName),
    Alias(DnsName),
    SubtreeAlias(DnsName),
    Delegation,
    Https,
    /// Of another type.
    Other,
}

/// What a zone has for a name.
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
        match data {
            Data::Address(address) => self.addresses.push(address),
            Data::Target(target) => self.targets.push(target),
            Data::Alias(name) => self.alias = Some(name),
            Data::SubtreeAlias(name) => self.subtree_alias = Some(name),
            Data::Delegation => self.is_delegated = true,
            Data::Https => self.has_https = true,
            Data::Other => {}
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

    /// Returns the names that have records.
    pub(super) fn owners(&self) -> impl Iterator<Item = &DnsName> {
        self.nodes.keys()
    }

    /// Returns `true` if a name has records of its own.
    pub(super) fn node(&self, name: &DnsName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Returns what the zone has for a name in it.
    pub(super) fn lookup(&self, name: &DnsName, asked: Asked) -> Found {
        self.search(name, asked)
            .unwrap_or(Found::Reply(Reply::NxDomain))
    }

    /// As [`Zone::lookup`]; `None` for a name that neither has records nor is covered by a wildcard.
    pub(super) fn policy(&self, name: &DnsName, asked: Asked) -> Option<Found> {
        let has_records = self.nodes.contains_key(name) || !self.exists.contains(name);
        has_records.then(|| self.search(name, asked)).flatten()
    }

    fn search(&self, name: &DnsName, asked: Asked) -> Option<Found> {
        let mut path: Vec<DnsName> = std::iter::successors(Some(*name), DnsName::parent)
            .take_while(|it| *it == self.origin || it.is_below(&self.origin))
            .collect();
        path.reverse();
        for here in &path {
            let Some(node) = self.nodes.get(here) else {
                continue;
            };
            if here != &self.origin && node.is_delegated {
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
        // RFC 4592 §3.3.1: only the wildcard of the closest encloser counts.
        let encloser = path.iter().rev().find(|it| self.exists.contains(it))?;
        let wildcard = self.nodes.get(&child(b"*", encloser)?)?;
        Some(wildcard.answer(asked))
    }
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
