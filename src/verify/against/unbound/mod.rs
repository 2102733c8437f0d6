//! unbound: local zones of the server and of views, policy zones and zones of its own.
//!
//! ```text
//!  client ──▶ view ──▶ local zones of the view ──▶ those of the server ──▶ policy zones ──▶ auth-zones ──▶ other servers
//! ```

mod local;
mod syntax;

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::files::{Loader, Place, folder_of};
use super::reply::{Answers, Asked, Reply};
use super::rpz::{Decision, Override, PolicyZone};
use super::words::{self, Bearing};
use super::zone::{Checks, Found, Wildcards, ZoneFile, read_record};
use crate::address::PrefixSet;
use crate::name::DnsName;
use local::{DEFAULTS, Local, LocalZones, ZoneType};
use syntax::{Attribute, Reader, SECTIONS};

/// A name server, by its files.
pub(super) struct Unbound<'l> {
    local: LocalZones,
    views: Vec<View>,
    /// The views of clients.
    clients: Vec<(IpNet, String)>,
    authorities: Vec<Authority>,
    policies: Vec<Policy>,
    loader: &'l Loader<'l>,
    /// Policy zones whose triggers were looked at.
    noted: RefCell<HashSet<DnsName>>,
}

#[derive(Default)]
struct View {
    name: String,
    local: LocalZones,
    /// True if what the view does not have is asked of the server's local zones.
    is_first: bool,
}

/// An `auth-zone`.
struct Authority {
    source: Option<Rc<ZoneFile>>,
    origin: DnsName,
    place: Place,
    /// True if clients are answered from it, and not by way of recursion alone.
    is_downstream: bool,
    is_used: bool,
}

/// An `rpz`.
struct Policy {
    zone: Authority,
    override_: Override,
}

/// Reads the configuration in `files`, each with its path and text.
pub(super) fn read<'l>(files: &[(String, String)], loader: &'l Loader<'l>) -> Unbound<'l> {
    let mut reader = Reader {
        loader,
        folder: files
            .first()
            .map_or("", |(path, _)| folder_of(path))
            .to_owned(),
        found: Vec::new(),
    };
    for (path, text) in files {
        reader.file(path, text, 0);
    }
    let mut builder = Builder {
        server: Unbound {
            local: LocalZones::default(),
            views: Vec::new(),
            clients: Vec::new(),
            authorities: Vec::new(),
            policies: Vec::new(),
            loader,
            noted: RefCell::default(),
        },
        overrides: Vec::new(),
        folder: reader.folder,
        loader,
    };
    // Options before any section are those of the server: parts of a configuration are named alone, too.
    let mut section = "server";
    let mut begun: Vec<&Attribute> = Vec::new();
    for attribute in &reader.found {
        if attribute.key.is_empty() {
            // The end of a section, in front of a file of its own.
            builder.section(section, &begun);
            (section, begun) = ("server", Vec::new());
        } else if let Some(found) = SECTIONS.iter().find(|it| **it == attribute.key) {
            builder.section(section, &begun);
            (section, begun) = (found, vec![attribute]);
        } else {
            begun.push(attribute);
        }
    }
    builder.section(section, &begun);
    builder.finish()
}

struct Builder<'l> {
    server: Unbound<'l>,
    overrides: Vec<(Attribute, DnsName, IpNet, ZoneType)>,
    folder: String,
    loader: &'l Loader<'l>,
}

impl<'l> Builder<'l> {
    fn note(&self, attribute: &Attribute, why: &str) {
        let word = format!("{}: {}", attribute.key, attribute.values.join(" "));
        self.loader.note(&attribute.place, word.trim_end(), why);
    }

    fn section(&mut self, section: &str, attributes: &[&Attribute]) {
        for attribute in attributes {
            match words::bearing(words::UNBOUND, &attribute.key) {
                Bearing::Known => {}
                Bearing::Unread(why) => self.note(attribute, why),
            }
        }
        match section {
            "server" => {
                let mut zones = std::mem::take(&mut self.server.local);
                for attribute in attributes {
                    self.local(attribute, &mut zones);
                    self.server_option(attribute);
                }
                self.server.local = zones;
            }
            "view" => {
                let mut view = View::default();
                for attribute in attributes {
                    match attribute.key.as_str() {
                        "name" => attribute.value().clone_into(&mut view.name),
                        "view-first" => view.is_first = attribute.is_yes(),
                        _ => self.local(attribute, &mut view.local),
                    }
                }
                if !view.local.is_empty() {
                    let defaults = if view.is_first { &[] } else { DEFAULTS };
                    view.local.finish(defaults);
                }
                self.server.views.push(view);
            }
            "auth-zone" => {
                if let Some(zone) = self.authority(attributes) {
                    self.server.authorities.push(zone);
                }
            }
            "rpz" => self.policy(attributes),
            // Other sections name servers that are asked, or say nothing about names.
            _ => {}
        }
    }

    fn local(&self, attribute: &Attribute, zones: &mut LocalZones) {
        let words: Vec<&str> = attribute.values.iter().map(String::as_str).collect();
        match (attribute.key.as_str(), &words[..]) {
            ("local-zone", [name, kind]) => match (name.parse(), ZoneType::read(kind)) {
                (Ok(name), Some(kind)) => zones.zone(name, kind),
                (Err(_), _) => self.note(attribute, "the name is wrong"),
                (_, None) => self.note(attribute, "no such type of zone"),
            },
            ("local-data", values) => {
                let text = values.join(" ");
                let mut words = text.split_whitespace();
                let name = words.next().unwrap_or_default().parse::<DnsName>();
                let record: Vec<&str> = words.collect();
                let absolute = |text: &str| {
                    text.parse()
                        .map_err(|error: crate::name::DnsNameError| error.to_string())
                };
                match (name, read_record(&record, &absolute)) {
                    (Ok(name), Ok(record)) => {
                        if let Some(data) = record.data {
                            zones.data(name, data);
                        }
                    }
                    (Err(_), _) => self.note(attribute, "the name is wrong"),
                    (_, Err((_, why))) => self.note(attribute, &why),
                }
            }
            ("local-zone", _) => self.note(attribute, "a zone has a name and a type"),
            _ => {}
        }
    }

    fn server_option(&mut self, attribute: &Attribute) {
        let words: Vec<&str> = attribute.values.iter().map(String::as_str).collect();
        match (attribute.key.as_str(), &words[..]) {
            ("access-control-view", [clients, view]) => match prefix(clients) {
                Some(clients) => self.server.clients.push((clients, (*view).to_owned())),
                None => self.note(attribute, "the prefix is wrong"),
            },
            ("local-zone-override", [name, clients, kind]) => {
                match (name.parse(), prefix(clients), ZoneType::read(kind)) {
                    (Ok(name), Some(clients), Some(kind)) => {
                        self.overrides
                            .push((attribute.clone(), name, clients, kind));
                    }
                    _ => self.note(attribute, "an override has a name, a prefix and a type"),
                }
            }
            ("access-control-view" | "local-zone-override", _) => {
                self.note(attribute, "it is incomplete or too long");
            }
            ("module-config", [modules]) => {
                let unread = modules.split_whitespace().find(|it| {
                    !matches!(
                        *it,
                        "respip"
                            | "validator"
                            | "iterator"
                            | "subnetcache"
                            | "cachedb"
                            | "dns64"
                            | "ipset"
                            | "ipsecmod"
                    )
                });
                if unread.is_some() {
                    self.note(attribute, "a module may answer for names");
                }
            }
            _ => {}
        }
    }

    fn authority(&self, attributes: &[&Attribute]) -> Option<Authority> {
        let last = |key: &str| attributes.iter().rev().find(|it| it.key == key);
        let begin = attributes.first()?;
        let Some(Ok(origin)) = last("name").map(|it| it.value().parse::<DnsName>()) else {
            self.note(begin, "the zone has no name");
            return None;
        };
        let is_yes = |key: &str| last(key).is_none_or(|it| it.is_yes());
        let source = last("zonefile").map(|file| {
            ZoneFile::new(origin, file.value(), &self.folder, &file.place, self.loader)
        });
        Some(Authority {
            source,
            origin,
            place: begin.place.clone(),
            is_downstream: is_yes("for-downstream"),
            is_used: is_yes("for-downstream") || is_yes("for-upstream"),
        })
    }

    fn policy(&mut self, attributes: &[&Attribute]) {
        let Some(zone) = self.authority(attributes) else {
            return;
        };
        let last = |key: &str| attributes.iter().rev().find(|it| it.key == key);
        if let Some(tags) = last("tags") {
            self.note(tags, "tags of clients are not read");
        }
        let reply = |reply| Override::Decision(Decision::Reply(reply));
        let override_ = match last("rpz-action-override").map_or("", |it| it.value()) {
            "" => Override::Given,
            "nxdomain" => reply(Reply::NxDomain),
            "nodata" => reply(Reply::NoData),
            "passthru" => Override::Decision(Decision::Pass),
            "drop" => reply(Reply::NoAnswer),
            "disabled" => Override::Disabled,
            "cname" => match last("rpz-cname-override").map(|it| it.value().parse()) {
                Some(Ok(target)) => Override::Alias(target),
                Some(Err(_)) | None => reply(Reply::NoAnswer),
            },
            other => {
                self.loader
                    .note(&zone.place, other, "no such action of a policy zone");
                reply(Reply::Unknown)
            }
        };
        self.server.policies.push(Policy { zone, override_ });
    }

    fn finish(mut self) -> Unbound<'l> {
        self.server.local.finish(DEFAULTS);
        for (attribute, name, clients, kind) in std::mem::take(&mut self.overrides) {
            if !self.server.local.override_zone(name, clients, kind) {
                self.note(&attribute, "there is no such local zone");
            }
        }
        self.server
    }
}

/// Reads a prefix, or an address.
fn prefix(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or(address).map(|it| it.trunc()).ok()
}

impl Unbound<'_> {
    fn local(&self, client: IpAddr, name: &DnsName, asked: Asked) -> Local {
        let own = self.clients.iter().filter(|(net, _)| net.contains(&client));
        let view = own.max_by_key(|(net, _)| net.prefix_len());
        let view = view.and_then(|(_, name)| self.views.iter().find(|it| it.name == *name));
        if let Some(view) = view.filter(|it| !it.local.is_empty()) {
            match view.local.in_view(client, name, asked) {
                Local::None if !view.is_first => return Local::Pass,
                Local::None => {}
                found => return found,
            }
        }
        self.local.answer(client, name, asked)
    }

    fn policy(&self, name: &DnsName, asked: Asked) -> Decision {
        for policy in &self.policies {
            let origin = policy.zone.origin;
            let Some(zone) = self.zone(&policy.zone) else {
                return Decision::Reply(Reply::Unknown);
            };
            let policy_zone = PolicyZone {
                zone,
                override_: policy.override_.clone(),
            };
            if self.noted.borrow_mut().insert(origin) {
                policy_zone.note_triggers(&policy.zone.place, self.loader);
            }
            match policy_zone.decide(name, asked) {
                Decision::Miss => {}
                decided => return decided,
            }
        }
        Decision::Miss
    }

    fn zone(&self, authority: &Authority) -> Option<Rc<super::zone::Zone>> {
        match &authority.source {
            Some(source) => source.get(self.loader, Checks::None),
            None => {
                let word = format!("zone \"{}\"", authority.origin);
                let why = "it has no file, and its records come from another server";
                self.loader.note(&authority.place, &word, why);
                None
            }
        }
    }
}

impl Answers for Unbound<'_> {
    fn ask(&self, client: IpAddr, name: &DnsName, asked: Asked) -> Reply {
        let mut name = *name;
        let mut asked_for = Vec::new();
        for _ in 0..MAX_ALIASES {
            // Aliases in a circle lead to no record.
            if asked_for.contains(&name) {
                return Reply::NoData;
            }
            asked_for.push(name);
            let found = match self.local(client, &name, asked) {
                Local::Found(found) => found,
                Local::None | Local::Pass => match self.policy(&name, asked) {
                    Decision::Reply(reply) => return reply,
                    Decision::Alias(target) => Found::Alias(target),
                    Decision::Miss | Decision::Pass => {
                        let covering = self
                            .authorities
                            .iter()
                            .filter(|it| it.origin == name || name.is_below(&it.origin));
                        let nearest = covering.max_by_key(|it| it.origin.wire().len());
                        match nearest.filter(|it| it.is_used) {
                            Some(authority) => match self.zone(authority) {
                                Some(zone) => {
                                    match zone.lookup(&name, asked, Wildcards::AcrossEmpty) {
                                        // Clients get a referral, which has no records for them.
                                        Found::Delegated if authority.is_downstream => {
                                            return Reply::NoData;
                                        }
                                        found => found,
                                    }
                                }
                                None => return Reply::Unknown,
                            },
                            None => return Reply::Elsewhere,
                        }
                    }
                },
            };
            match found {
                Found::Reply(reply) => return reply,
                Found::Delegated => return Reply::Elsewhere,
                Found::Alias(target) => name = target,
            }
        }
        Reply::NoAnswer
    }

    fn distinguished(&self) -> Vec<PrefixSet> {
        let views = self.clients.iter().map(|(net, _)| *net);
        let mut nets: Vec<IpNet> = views.chain(self.local.clients()).collect();
        nets.sort_unstable();
        nets.dedup();
        nets.into_iter()
            .map(|net| PrefixSet::from_iter([net]))
            .collect()
    }
}

/// Aliases that unbound follows (`max-query-restarts` is 11).
const MAX_ALIASES: usize = 16;
