//! BIND: `named.conf`, the files that it includes, its zones and its policy zones.
//!
//! ```text
//!  client ──▶ first view whose lists match ──▶ policy zones, in their order ──▶ nearest zone ──▶ other servers
//! ```
//!
//! Zones are read when a name needs them: a file that is not there matters only for the names of its zone.

mod acl;
mod syntax;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;

use super::files::{Loader, Place};
use super::reply::{Answers, Asked, Reply};
use super::rpz::{Decision, Override, PolicyZone};
use super::words::{self, Bearing};
use super::zone::{Checks, Found, Wildcards, Zone, ZoneFile};
use crate::address::PrefixSet;
use crate::message::shorten;
use crate::name::DnsName;
use crate::render::ReadError;
use acl::Acls;
use syntax::{Reader, Statement};

/// A name server, by its files.
pub(super) struct Bind<'l> {
    views: Vec<View>,
    loader: &'l Loader<'l>,
    /// Policy zones whose triggers were looked at.
    noted: RefCell<HashSet<DnsName>>,
}

/// A view, or the whole configuration without views.
struct View {
    clients: PrefixSet,
    zones: HashMap<DnsName, ZoneStatement>,
    policies: Vec<PolicyStatement>,
    /// Clients that may ask for zones without a list of their own.
    queriers: PrefixSet,
    /// Set where names that do not exist are answered in another way.
    redirects: bool,
}

#[derive(Clone)]
struct ZoneStatement {
    place: Place,
    kind: Kind,
    queriers: Option<PrefixSet>,
    checks: Checks,
}

#[derive(Clone)]
enum Kind {
    Primary(Rc<ZoneFile>),
    /// Other servers answer.
    Elsewhere,
    /// Not readable, for this reason.
    Unread(&'static str),
}

struct PolicyStatement {
    place: Place,
    name: DnsName,
    override_: Override,
}

/// Reads the configuration in `files`, each with its path and text.
pub(super) fn read<'l>(
    files: &[(String, String)],
    loader: &'l Loader<'l>,
    listeners: &PrefixSet,
) -> Result<Bind<'l>, ReadError> {
    let mut statements = Vec::new();
    let mut folder = None;
    for (path, text) in files {
        let mut reader = Reader {
            loader,
            folder: folder.unwrap_or_else(|| super::files::folder_of(path).to_owned()),
        };
        statements.extend(reader.statements(path, text, 0)?);
        folder = Some(reader.folder);
    }
    let folder = folder.unwrap_or_default();
    let acls = Acls::new(&statements, loader);
    let options: Vec<&Statement> = statements.iter().filter(|it| it.is("options")).collect();
    let views: Vec<&Statement> = statements.iter().filter(|it| it.is("view")).collect();
    note_words(&statements, loader);
    let builder = Builder {
        acls: &acls,
        options: &options,
        loader,
        listeners,
        folder: &folder,
    };
    let mut named: HashMap<String, HashMap<DnsName, ZoneStatement>> = HashMap::new();
    let mut built = Vec::new();
    if views.is_empty() {
        built.push(builder.view(&statements, true, &named)?);
    }
    for view in views {
        let name = view.value().unwrap_or_default().to_owned();
        let read = builder.view(&view.block, false, &named)?;
        named.insert(name, read.zones.clone());
        built.push(read);
    }
    Ok(Bind {
        views: built,
        loader,
        noted: RefCell::default(),
    })
}

struct Builder<'b> {
    acls: &'b Acls<'b>,
    options: &'b [&'b Statement],
    loader: &'b Loader<'b>,
    /// The server's own addresses that clients ask.
    listeners: &'b PrefixSet,
    folder: &'b str,
}

impl<'b> Builder<'b> {
    /// Returns the last statement of the options with a key.
    fn option(&self, word: &str) -> Option<&'b Statement> {
        let mut all = self.options.iter().rev();
        all.find_map(|it| it.last(word))
    }

    fn view(
        &self,
        block: &'b [Statement],
        is_global: bool,
        others: &HashMap<String, HashMap<DnsName, ZoneStatement>>,
    ) -> Result<View, ReadError> {
        let all = |word: &'static str| block.iter().filter(move |it| it.is(word));
        let own = |word: &'static str| {
            if is_global {
                None
            } else {
                all(word).next_back()
            }
        };
        let option = |word: &'static str| own(word).or_else(|| self.option(word));
        let everyone = || PrefixSet::all_v4().union(&PrefixSet::all_v6());
        let mut clients =
            option("match-clients").map_or_else(everyone, |list| self.acls.set(&list.block));
        if let Some(list) = option("match-destinations") {
            let reached = self.acls.set(&list.block);
            if self.listeners.is_empty() {
                let why = "the policy does not say which of the server's addresses clients ask";
                self.loader.note(&list.place, list.key(), why);
            } else if self.listeners.intersect(&reached).is_empty() {
                clients = PrefixSet::EMPTY;
            }
        }
        let queriers =
            option("allow-query").map_or_else(everyone, |list| self.acls.set(&list.block));
        let mut zones = HashMap::new();
        for statement in all("zone") {
            let name = name_of(statement, statement.value().unwrap_or("."))?;
            let class = statement.words.get(2).map_or("IN", String::as_str);
            if !class.eq_ignore_ascii_case("IN") {
                continue;
            }
            if let Some(other) = statement.last_value("in-view") {
                match others.get(other).and_then(|it| it.get(&name)) {
                    Some(zone) => _ = zones.insert(name, zone.clone()),
                    None => self.loader.note(
                        &statement.place,
                        "in-view",
                        "no view above it has the zone",
                    ),
                }
            } else if let Some(zone) = self.zone(name, statement, block) {
                zones.insert(name, zone);
            }
        }
        let lists: Vec<&Statement> = option("response-policy").into_iter().collect();
        let mut policies = Vec::new();
        for zone in lists.iter().flat_map(|it| it.all("zone")) {
            let name = name_of(zone, zone.value().unwrap_or_default())?;
            policies.push(PolicyStatement {
                place: zone.place.clone(),
                name,
                override_: self.override_of(zone)?,
            });
        }
        let redirects = all("zone").any(|it| it.last_value("type") == Some("redirect"))
            || option("nxdomain-redirect").is_some();
        Ok(View {
            clients,
            zones,
            policies,
            queriers,
            redirects,
        })
    }

    fn zone(
        &self,
        origin: DnsName,
        statement: &'b Statement,
        block: &[Statement],
    ) -> Option<ZoneStatement> {
        let file = statement.last_value("file");
        let kind = match statement.last_value("type").unwrap_or_default() {
            // The policy of forwarding does not replace zones, and hints are about the root servers.
            "forward" | "hint" | "delegation-only" => return None,
            "redirect" => {
                let why = "answers for names that do not exist are not read";
                self.loader.note(&statement.place, "type redirect", why);
                return None;
            }
            "stub" | "static-stub" => Kind::Elsewhere,
            "primary" | "master" => {
                let format = statement.last_value("masterfile-format");
                match (
                    file,
                    statement.last("dlz"),
                    statement.last_value("database"),
                ) {
                    (_, Some(_), _) => Kind::Unread("its records come from a database"),
                    (_, _, Some(database)) if database != "rbt" => {
                        Kind::Unread("its records come from a database")
                    }
                    _ if format.is_some_and(|it| it != "text") => Kind::Unread(
                        "its file is no text; convert it by `named-compilezone -f raw -F text`",
                    ),
                    (Some(file), _, _) => Kind::Primary(ZoneFile::new(
                        origin,
                        file,
                        self.folder,
                        &statement.place,
                        self.loader,
                    )),
                    (None, _, _) => Kind::Unread("it has no file"),
                }
            }
            "secondary" | "slave" | "mirror" => {
                Kind::Unread("its records come from another server, whose files are to be named")
            }
            _ => Kind::Unread("the type of the zone is not known"),
        };
        Some(ZoneStatement {
            place: statement.place.clone(),
            kind,
            queriers: statement
                .last("allow-query")
                .map(|list| self.acls.set(&list.block)),
            checks: self.checks(statement, block),
        })
    }

    /// Names of hosts are checked unless `check-names` of the zone, or that of primary zones, is `warn` or `ignore`.
    fn checks(&self, zone: &Statement, block: &[Statement]) -> Checks {
        let when = |word: Option<&str>| match word {
            None | Some("fail") => Checks::ZoneAndNames,
            Some(_) => Checks::Zone,
        };
        if let Some(own) = zone.last_value("check-names") {
            return when(Some(own));
        }
        let of_primary = |it: &&Statement| {
            it.is("check-names") && matches!(it.value(), Some("primary" | "master"))
        };
        let mut options = self.options.iter().flat_map(|it| &it.block);
        let global = options.rfind(of_primary);
        let general = block.iter().rfind(of_primary).or(global);
        when(general.and_then(|it| it.words.get(2)).map(String::as_str))
    }

    fn override_of(&self, zone: &Statement) -> Result<Override, ReadError> {
        let words = &zone.words;
        let Some(at) = words.iter().position(|it| it == "policy") else {
            return Ok(Override::Given);
        };
        let reply = |reply| Override::Decision(Decision::Reply(reply));
        Ok(match words.get(at + 1).map_or("", String::as_str) {
            "given" => Override::Given,
            "disabled" => Override::Disabled,
            "passthru" | "no-op" | "tcp-only" => Override::Decision(Decision::Pass),
            "nxdomain" => reply(Reply::NxDomain),
            "nodata" => reply(Reply::NoData),
            "drop" => reply(Reply::NoAnswer),
            "cname" => {
                let target = words.get(at + 2).map_or("", String::as_str);
                Override::Alias(name_of(zone, target)?)
            }
            other => {
                self.loader
                    .note(&zone.place, &format!("policy {other}"), "no such policy");
                Override::Decision(Decision::Reply(Reply::Unknown))
            }
        })
    }
}

/// Notes the statements that are not understood.
fn note_words(statements: &[Statement], loader: &Loader<'_>) {
    for statement in statements {
        note_word(statement, loader);
        let key = statement.key().to_ascii_lowercase();
        if matches!(key.as_str(), "options" | "view" | "zone") {
            note_words(&statement.block, loader);
        }
    }
}

fn note_word(statement: &Statement, loader: &Loader<'_>) {
    match words::bearing(words::BIND, &statement.key().to_ascii_lowercase()) {
        Bearing::Known => {}
        Bearing::Unread(why) => loader.note(&statement.place, statement.key(), why),
    }
}

fn name_of(statement: &Statement, text: &str) -> Result<DnsName, ReadError> {
    text.parse().map_err(|error| {
        let file = &statement.place.file;
        let message = format!("{file}: zone `{}`: {error}", shorten(text));
        ReadError::new(statement.place.line, message)
    })
}

impl Bind<'_> {
    /// Returns the clients whom no view answers.
    pub(super) fn without_view(&self, clients: &PrefixSet) -> PrefixSet {
        let views = self.views.iter();
        views.fold(clients.clone(), |rest, view| rest.subtract(&view.clients))
    }

    fn load(&self, name: DnsName, statement: &ZoneStatement) -> Option<Rc<Zone>> {
        let note = |why: &str| {
            self.loader
                .note(&statement.place, &format!("zone \"{name}\""), why);
        };
        match &statement.kind {
            Kind::Primary(file) => file.get(self.loader, statement.checks),
            Kind::Elsewhere => None,
            Kind::Unread(why) => {
                note(why);
                None
            }
        }
    }

    /// Answers a query, which aliases lead on.
    fn resolve(&self, view: &View, client: IpAddr, name: &DnsName, asked: Asked) -> Reply {
        let mut name = *name;
        let mut is_rewritten = false;
        for _ in 0..MAX_ALIASES {
            if !is_rewritten {
                match self.policy(view, &name, asked) {
                    Decision::Miss | Decision::Pass => {}
                    Decision::Reply(reply) => return reply,
                    Decision::Alias(target) => {
                        is_rewritten = true;
                        name = target;
                    }
                }
            }
            let zones = std::iter::successors(Some(name), DnsName::parent);
            let nearest = zones
                .filter_map(|it| Some((it, view.zones.get(&it)?)))
                .next();
            let Some((origin, statement)) = nearest else {
                return Reply::Elsewhere;
            };
            let queriers = statement.queriers.as_ref().unwrap_or(&view.queriers);
            if !queriers.contains(client) {
                return Reply::NoAnswer;
            }
            if let Kind::Elsewhere = statement.kind {
                return Reply::Elsewhere;
            }
            let Some(zone) = self.load(origin, statement) else {
                return Reply::Unknown;
            };
            match zone.lookup(&name, asked, Wildcards::OfEncloser) {
                Found::Reply(Reply::NxDomain) if view.redirects => return Reply::Unknown,
                Found::Reply(reply) => return reply,
                Found::Delegated => return Reply::Elsewhere,
                Found::Alias(target) => name = target,
            }
        }
        Reply::NoAnswer
    }

    fn policy(&self, view: &View, name: &DnsName, asked: Asked) -> Decision {
        for policy in &view.policies {
            let Some(statement) = view.zones.get(&policy.name) else {
                let why = "there is no zone of this name";
                self.loader.note(&policy.place, "response-policy", why);
                return Decision::Reply(Reply::Unknown);
            };
            let Some(zone) = self.load(policy.name, statement) else {
                // Its matches would come first.
                return Decision::Reply(Reply::Unknown);
            };
            let policy_zone = PolicyZone {
                zone,
                override_: policy.override_.clone(),
            };
            if self.noted.borrow_mut().insert(policy.name) {
                policy_zone.note_triggers(&policy.place, self.loader);
            }
            match policy_zone.decide(name, asked) {
                Decision::Miss => {}
                decided => return decided,
            }
        }
        Decision::Miss
    }
}

impl Answers for Bind<'_> {
    fn ask(&self, client: IpAddr, name: &DnsName, asked: Asked) -> Reply {
        let view = self.views.iter().find(|it| it.clients.contains(client));
        view.map_or(Reply::NoAnswer, |view| {
            self.resolve(view, client, name, asked)
        })
    }

    fn distinguished(&self) -> Vec<PrefixSet> {
        let views = self.views.iter();
        let sets = views.flat_map(|view| {
            let zones = view.zones.values().filter_map(|it| it.queriers.clone());
            [view.clients.clone(), view.queriers.clone()]
                .into_iter()
                .chain(zones)
        });
        let mut distinct: Vec<PrefixSet> = Vec::new();
        for set in sets {
            if !distinct.contains(&set) {
                distinct.push(set);
            }
        }
        distinct
    }
}

/// Aliases that BIND follows (`max-query-restarts` is 11).
const MAX_ALIASES: usize = 16;
