//! dnsmasq: its own records, and the rules that say who answers for which domain.
//!
//! ```text
//!  hosts files, host-record, cname, srv-host ──▶ longest domain of address=, local=, server= ──▶ other servers
//! ```
//!
//! An address of `address=` answers for its own type alone: since dnsmasq 2.86 other types are asked elsewhere.

mod syntax;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::files::{Loader, folder_of};
use super::reply::{Answers, Asked, Reply};
use super::words::{self, Bearing};
use crate::address::PrefixSet;
use crate::name::DnsName;
use syntax::{Line, Reader};

/// A name server, by its files.
#[derive(Default)]
pub(super) struct Dnsmasq {
    hosts: HashMap<DnsName, Vec<IpAddr>>,
    aliases: HashMap<DnsName, DnsName>,
    services: HashMap<DnsName, Vec<DnsName>>,
    /// Names with records of HTTPS.
    bindings: HashSet<DnsName>,
    rules: Vec<Rule>,
    /// Types that are taken out of the answers of other servers.
    filtered: HashSet<Asked>,
}

/// Server that answers for a domain.
struct Rule {
    /// In lower case; a leading dot for names below it alone.
    domain: String,
    /// True if it matches any name with this end, `*example.com`.
    is_wildcard: bool,
    answer: RuleAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RuleAnswer {
    Address(IpAddr),
    /// Null addresses of both families.
    Null,
    /// Nobody else.
    Local,
    /// Other servers.
    Server,
}

/// Reads the configuration in `files`, each with its path and text.
pub(super) fn read(files: &[(String, String)], loader: &Loader<'_>) -> Dnsmasq {
    let folder = files.first().map_or("", |(path, _)| folder_of(path));
    let mut reader = Reader {
        loader,
        folder,
        found: Vec::new(),
    };
    for (path, text) in files {
        reader.file(path, text, 0);
    }
    let lines = std::mem::take(&mut reader.found);
    let mut builder = Builder {
        server: Dnsmasq::default(),
        reader: &reader,
        loader,
        domain: None,
        expands: lines.iter().any(|it| it.key == "expand-hosts"),
    };
    let domains = lines.iter().filter(|it| it.key == "domain");
    for line in domains {
        builder.domain(line);
    }
    // Read without being named.
    if !lines.iter().any(|it| it.key == "no-hosts") {
        let path = loader.path("", "/etc/hosts");
        if let Ok(text) = loader.read(&path) {
            builder.hosts(&text);
        }
    }
    for line in &lines {
        match words::bearing(words::DNSMASQ, &line.key) {
            Bearing::Known => {}
            Bearing::Unread(why) => builder.note(line, why),
        }
        builder.line(line);
    }
    builder.server
}

struct Builder<'b> {
    server: Dnsmasq,
    reader: &'b Reader<'b>,
    loader: &'b Loader<'b>,
    /// The domain of names without a dot.
    domain: Option<DnsName>,
    expands: bool,
}

impl Builder<'_> {
    fn note(&self, line: &Line, why: &str) {
        let word = match line.value.as_str() {
            "" => line.key.clone(),
            value => format!("{}={value}", line.key),
        };
        self.loader.note(&line.place, &word, why);
    }

    fn name(&self, line: &Line, text: &str) -> Option<DnsName> {
        let name = text.parse().ok();
        if name.is_none() {
            self.note(line, "the name is wrong");
        }
        name
    }

    fn domain(&mut self, line: &Line) {
        let parts: Vec<&str> = line.value.split(',').map(str::trim).collect();
        match &parts[..] {
            ["#"] => self.note(line, "the domain is that of resolv.conf"),
            [name] => self.domain = self.name(line, name),
            [name, .., "local"] => self.rule(name, RuleAnswer::Local),
            _ => {}
        }
    }

    fn line(&mut self, line: &Line) {
        let parts: Vec<&str> = line.value.split(',').map(str::trim).collect();
        match (line.key.as_str(), &parts[..]) {
            ("address" | "server" | "local", _) => self.domains(line),
            ("host-record", names) => {
                let addresses: Vec<IpAddr> =
                    names.iter().filter_map(|it| it.parse().ok()).collect();
                let is_name = |text: &&&str| {
                    text.parse::<IpAddr>().is_err() && !text.chars().all(|it| it.is_ascii_digit())
                };
                for name in names.iter().filter(is_name) {
                    if let Some(name) = self.name(line, name) {
                        self.host(name, &addresses);
                    }
                }
            }
            ("cname", [aliases @ .., target]) if !aliases.is_empty() => {
                let (aliases, target) = match (aliases, target.parse::<u32>()) {
                    // The last part may be a TTL.
                    ([aliases @ .., name], Ok(_)) if !aliases.is_empty() => (aliases, *name),
                    _ => (aliases, *target),
                };
                let Some(target) = self.name(line, target) else {
                    return;
                };
                for alias in aliases {
                    if let Some(alias) = self.name(line, alias) {
                        self.server.aliases.insert(alias, target);
                    }
                }
            }
            ("srv-host", [name, target @ ..]) => {
                let name = match (self.name(line, name), self.domain) {
                    (Some(name), Some(domain)) if name.labels().count() == 2 => {
                        super::zone::replaced(&name, &DnsName::ROOT, &domain)
                    }
                    (name, _) => name,
                };
                // Without a target the service does not exist.
                let target = match target.first() {
                    None | Some(&"") => Some(DnsName::ROOT),
                    Some(target) => self.name(line, target),
                };
                if let (Some(name), Some(target)) = (name, target) {
                    self.server.services.entry(name).or_default().push(target);
                }
            }
            ("dns-rr", [name, kind, ..]) => {
                if let Some(name) = self.name(line, name) {
                    match *kind {
                        "65" | "HTTPS" => _ = self.server.bindings.insert(name),
                        "1" | "28" | "33" | "5" => self.note(line, "data in hexadecimal digits"),
                        _ => {}
                    }
                }
            }
            ("addn-hosts", [file]) => {
                let path = self.loader.path(self.reader.folder, file);
                match self.loader.list(&path) {
                    Ok(_) => self.hosts_folder(line),
                    Err(_) => self.hosts_file(line, &path),
                }
            }
            ("hostsdir", [_]) => self.hosts_folder(line),
            ("filter-AAAA", _) => _ = self.server.filtered.insert(Asked::Aaaa),
            ("filter-A", _) => _ = self.server.filtered.insert(Asked::A),
            ("filter-rr", kinds) => {
                for kind in kinds {
                    let asked = match kind.to_ascii_uppercase().as_str() {
                        "A" | "1" => Asked::A,
                        "AAAA" | "28" => Asked::Aaaa,
                        "SRV" | "33" => Asked::Srv,
                        "HTTPS" | "65" => Asked::Https,
                        _ => continue,
                    };
                    self.server.filtered.insert(asked);
                }
            }
            _ => {}
        }
    }

    /// Reads `/domain/…/value` of `address`, `server` and `local`.
    fn domains(&mut self, line: &Line) {
        let Some(rest) = line.value.strip_prefix('/') else {
            // Without a domain: the servers for everything else.
            if line.key == "address" {
                self.note(line, "it has no domain");
            }
            return;
        };
        let parts: Vec<&str> = rest.split('/').map(str::trim).collect();
        let Some((last, domains)) = parts.split_last() else {
            return;
        };
        let answer = match (line.key.as_str(), *last) {
            (_, "") => RuleAnswer::Local,
            ("address", "#") => RuleAnswer::Null,
            ("address", address) => match address.parse() {
                Ok(address) => RuleAnswer::Address(address),
                Err(_) => {
                    self.note(line, "the address is wrong");
                    return;
                }
            },
            _ => RuleAnswer::Server,
        };
        for domain in domains {
            match (*domain, line.key.as_str()) {
                // Names without a dot alone.
                ("", "server" | "local") => {}
                ("#", "address") => self.rule("", answer),
                (domain, _) => self.rule(domain, answer),
            }
        }
    }

    fn rule(&mut self, domain: &str, answer: RuleAnswer) {
        let domain = domain.trim_start_matches('.');
        let (domain, is_wildcard) = match domain.strip_prefix('*') {
            Some(rest) => (rest, !rest.is_empty()),
            None => (domain, false),
        };
        self.server.rules.push(Rule {
            domain: domain.trim_end_matches('.').to_ascii_lowercase(),
            is_wildcard,
            answer,
        });
    }

    fn host(&mut self, name: DnsName, addresses: &[IpAddr]) {
        let known = self.server.hosts.entry(name).or_default();
        for address in addresses {
            if !known.contains(address) {
                known.push(*address);
            }
        }
    }

    fn hosts_folder(&mut self, line: &Line) {
        for file in self.reader.folder_files(line).unwrap_or_default() {
            self.hosts_file(line, &file);
        }
    }

    fn hosts_file(&mut self, line: &Line, path: &str) {
        match self.loader.read(path) {
            Ok(text) => self.hosts(&text),
            Err(why) => self.note(line, &why),
        }
    }

    /// Reads a file in the format of `/etc/hosts`.
    fn hosts(&mut self, text: &str) {
        for line in text.lines() {
            if !self.loader.count_records(1) {
                return;
            }
            let code = line.split('#').next().unwrap_or_default();
            let mut words = code.split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            for name in words.filter_map(|it| it.parse::<DnsName>().ok()) {
                self.host(name, &[address]);
                if let Some(domain) = self.domain.filter(|_| self.expands)
                    && name.labels().count() == 1
                    && let Some(full) = super::zone::replaced(&name, &DnsName::ROOT, &domain)
                {
                    self.host(full, &[address]);
                }
            }
        }
    }
}

impl Dnsmasq {
    /// Returns its own records of a name.
    fn own(&self, name: &DnsName, asked: Asked) -> Option<Reply> {
        match asked {
            Asked::A | Asked::Aaaa => {
                let all = self.hosts.get(name)?.iter().copied();
                let wants_v4 = asked == Asked::A;
                let list: Vec<IpAddr> = all.filter(|it| it.is_ipv4() == wants_v4).collect();
                (!list.is_empty()).then_some(Reply::Addresses(list))
            }
            Asked::Srv => self.services.get(name).cloned().map(Reply::Targets),
            Asked::Https => self.bindings.contains(name).then_some(Reply::Other),
        }
    }

    /// Returns the name to which aliases lead; only names that dnsmasq knows count.
    fn target(&self, name: &DnsName) -> Option<DnsName> {
        let mut name = *self.alias(name)?;
        for _ in 0..MAX_ALIASES {
            if self.hosts.contains_key(&name) {
                return Some(name);
            }
            name = *self.alias(&name)?;
        }
        None
    }

    fn alias(&self, name: &DnsName) -> Option<&DnsName> {
        self.aliases.get(name).or_else(|| {
            let above = std::iter::successors(name.parent(), DnsName::parent);
            let mut wildcards = above.filter_map(|it| super::zone::child(b"*", &it));
            wildcards.find_map(|it| self.aliases.get(&it))
        })
    }

    /// Returns the answer of the rules: that of the longest domain that has one for the type.
    fn by_rules(&self, name: &DnsName, asked: Asked) -> Reply {
        let text = name.to_string();
        let matching = self.rules.iter().filter(|it| it.matches(&text));
        let mut matching: Vec<&Rule> = matching.collect();
        matching.sort_by_key(|it| std::cmp::Reverse(it.domain.len()));
        for rules in matching.chunk_by(|one, other| one.domain == other.domain) {
            let has = |answer| rules.iter().any(|it| it.answer == answer);
            let of_family: Vec<IpAddr> = rules
                .iter()
                .filter_map(|it| match it.answer {
                    RuleAnswer::Address(address) => Some(address),
                    RuleAnswer::Null | RuleAnswer::Local | RuleAnswer::Server => None,
                })
                .filter(|address| match asked {
                    Asked::A => address.is_ipv4(),
                    Asked::Aaaa => address.is_ipv6(),
                    Asked::Srv | Asked::Https => false,
                })
                .collect();
            if !of_family.is_empty() {
                return Reply::Addresses(of_family);
            }
            match asked {
                Asked::A if has(RuleAnswer::Null) => {
                    return Reply::Addresses(vec![IpAddr::from([0; 4])]);
                }
                Asked::Aaaa if has(RuleAnswer::Null) => {
                    return Reply::Addresses(vec![IpAddr::from([0_u8; 16])]);
                }
                Asked::A | Asked::Aaaa | Asked::Srv | Asked::Https => {}
            }
            if has(RuleAnswer::Server) {
                break;
            }
            if has(RuleAnswer::Local) {
                return Reply::NxDomain;
            }
        }
        if self.filtered.contains(&asked) {
            Reply::NoData
        } else {
            Reply::Elsewhere
        }
    }
}

impl Rule {
    fn matches(&self, name: &str) -> bool {
        let Some(rest) = name.strip_suffix(self.domain.as_str()) else {
            return false;
        };
        self.is_wildcard || self.domain.is_empty() || rest.is_empty() || rest.ends_with('.')
    }
}

impl Answers for Dnsmasq {
    fn ask(&self, _: IpAddr, name: &DnsName, asked: Asked) -> Reply {
        // The alias is answered alone where its target has no such record, and clients ask for that.
        let answer = |name: &DnsName| {
            let own = self.own(name, asked);
            own.unwrap_or_else(|| self.by_rules(name, asked))
        };
        if let Some(target) = self.target(name) {
            return answer(&target);
        }
        // An alias to a name that dnsmasq does not know is left out, but not always: what clients could get counts.
        match (answer(name), self.alias(name)) {
            (Reply::NoData | Reply::NxDomain, Some(target)) => answer(target),
            (reply, _) => reply,
        }
    }

    /// dnsmasq answers all clients alike.
    fn distinguished(&self) -> Vec<PrefixSet> {
        Vec::new()
    }
}

/// Aliases that dnsmasq follows within its own records.
const MAX_ALIASES: usize = 16;
