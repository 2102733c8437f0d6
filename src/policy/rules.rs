//! The sections of a policy file that repeat: servers, exceptions, public services, feeds, endpoints.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::meaning::{
    Allow, Destination, Endpoint, EntryChoice, Feed, FeedFormat, FirewallProfile, InterfaceType,
    Lifts, Protocol, ProtocolSet, PublicService, Server, Sourced, SrvRecord, WidePrefixes,
};
use crate::policy::read::repeated;
use crate::policy::syntax::file::PolicyFile;
use crate::policy::syntax::section::{Need, Section, parse_word};
use crate::policy::value::Product;
use crate::policy::value::parse_ports;
use crate::policy::value::parse_prefix;
use crate::policy::value::{Problem, nearest};
use crate::policy::value::{parse_host, parse_name, parse_path, parse_service};

/// Reads every `[[server]]`.
pub(super) fn read_servers(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<Server> {
    let mut names = Names::default();
    let mut servers = Vec::new();
    for section in repeated(file, "server", &["name", "addresses", "hosts"], out) {
        let name = names.read(&section, "\"Front End pool\"", out);
        let addresses = section.list(
            "addresses",
            Need::Required,
            "[\"10.1.0.10\"]",
            parse_prefix,
            out,
        );
        let hosts = section.list(
            "hosts",
            Need::Optional,
            "[\"pool01.contoso.com\"]",
            parse_host,
            out,
        );
        servers.extend(name.map(|name| Server {
            name,
            addresses,
            hosts,
        }));
    }
    servers
}

/// Reads every `[[allow]]`.
pub(super) fn read_allows(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<Allow> {
    let keys = ["name", "to", "protocols", "ports", "from_ports", "lifts"];
    let mut names = Names::default();
    let mut allows = Vec::new();
    for section in repeated(file, "allow", &keys, out) {
        let name = names.read(&section, "\"Remote Desktop\"", out);
        let to = section.list(
            "to",
            Need::Required,
            "[\"10.9.0.0/24\"]",
            parse_destination,
            out,
        );
        let protocols = read_protocols(&section, out);
        let ports = section.list("ports", Need::NonEmpty, "[\"3389\"]", parse_ports, out);
        let from_ports = section.list(
            "from_ports",
            Need::NonEmpty,
            "[\"1-1023\"]",
            parse_ports,
            out,
        );
        let lifts = read_lifts(&section, out);
        allows.extend(name.map(|name| Allow {
            name,
            to,
            protocols,
            ports,
            from_ports,
            lifts,
        }));
    }
    allows
}

/// Reads a prefix, or the word for all clients.
fn parse_destination(text: &str) -> Result<Destination, Problem> {
    if text == Destination::CLIENTS {
        return Ok(Destination::Clients);
    }
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let word = nearest(text, &[Destination::CLIENTS]).filter(|_| is_word);
    parse_prefix(text)
        .map(Destination::Prefix)
        .map_err(|problem| match word {
            Some(word) => problem.help(format!("did you mean \"{word}\"?")),
            None => problem,
        })
}

fn read_protocols(section: &Section<'_, '_>, out: &mut Collector<'_>) -> ProtocolSet {
    let words = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let parse = |text: &str| parse_word("protocols", text, &words);
    let protocols = section.list(
        "protocols",
        Need::NonEmpty,
        "[\"tcp\", \"udp\"]",
        parse,
        out,
    );
    let has = |protocol| protocols.iter().any(|item| item.value == protocol);
    match (has(Protocol::Tcp), has(Protocol::Udp)) {
        (true, false) => ProtocolSet::Tcp,
        (false, true) => ProtocolSet::Udp,
        (true, true) | (false, false) => ProtocolSet::Both,
    }
}

fn read_lifts(section: &Section<'_, '_>, out: &mut Collector<'_>) -> Lifts {
    let media = Lifts {
        media: true,
        servers: false,
    };
    let servers = Lifts {
        media: false,
        servers: true,
    };
    let words = [("media", media), ("servers", servers)];
    let parse = |text: &str| parse_word("lifts", text, &words);
    let lifts = section.list("lifts", Need::NonEmpty, "[\"media\"]", parse, out);
    if lifts.is_empty() {
        return media;
    }
    Lifts {
        media: lifts.iter().any(|item| item.value.media),
        servers: lifts.iter().any(|item| item.value.servers),
    }
}

/// Reads every `[[public]]`.
pub(super) fn read_publics(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<PublicService> {
    let mut names = Names::default();
    let mut publics = Vec::new();
    for section in repeated(file, "public", &["name", "addresses", "hosts", "srv"], out) {
        let name = names.read(&section, "\"Access Edge\"", out);
        let addresses = section.list(
            "addresses",
            Need::Required,
            "[\"167.55.49.32\"]",
            parse_prefix,
            out,
        );
        let hosts = section.list(
            "hosts",
            Need::Optional,
            "[\"sip.contoso.com\"]",
            parse_host,
            out,
        );
        let srv = read_srv(&section, out);
        publics.extend(name.map(|name| PublicService {
            name,
            addresses,
            hosts,
            srv,
        }));
    }
    publics
}

fn read_srv(section: &Section<'_, '_>, out: &mut Collector<'_>) -> Vec<SrvRecord> {
    let example =
        "[{ name = \"_sip._tls.contoso.com\", target = \"sip.contoso.com\", port = 443 }]";
    let items = section.items("srv", Need::Optional, example, out);
    let mut records = Vec::new();
    for item in items.unwrap_or_default() {
        let keys = ["name", "target", "port", "priority", "weight"];
        let Some(record) = Section::open("srv".to_owned(), item, &keys, out) else {
            continue;
        };
        let name = record.required("name", "\"_sip._tls.contoso.com\"", parse_service, out);
        let target = record.required("target", "\"sip.contoso.com\"", parse_host, out);
        if record.value("port").is_none() {
            record.missing("port", "443", out);
        }
        let port = record.integer("port", 1..=u16::MAX, out);
        let priority = record.integer("priority", 0..=u16::MAX, out);
        let weight = record.integer("weight", 0..=u16::MAX, out);
        if let (Some(name), Some(target), Some(port)) = (name, target, port) {
            records.push(SrvRecord {
                name,
                target: target.value,
                port: port.value,
                priority: priority.map_or(0, |it| it.value),
                weight: weight.map_or(0, |it| it.value),
            });
        }
    }
    records
}

/// Reads every `[[feed]]`.
pub(super) fn read_feeds(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<Feed> {
    let keys = [
        "name",
        "format",
        "file",
        "url",
        "max_age_days",
        "wide_prefixes",
        "service_areas",
        "categories",
        "entries",
    ];
    let choices = [
        ("all", EntryChoice::All),
        ("required", EntryChoice::Required),
    ];
    let wide = [
        ("refuse", WidePrefixes::Refuse),
        ("accept", WidePrefixes::Accept),
    ];
    let formats = [
        ("microsoft-365", FeedFormat::Microsoft365),
        ("prefixes", FeedFormat::Prefixes),
    ];
    let mut names = Names::default();
    let mut feeds = Vec::new();
    for section in repeated(file, "feed", &keys, out) {
        let name = names.read(&section, "\"Microsoft 365\"", out);
        let parse = |text: &str| parse_word("format", text, &formats);
        let format = section.required("format", "\"microsoft-365\"", parse, out);
        let path = section.required("file", "\"m365-worldwide.json\"", parse_path, out);
        let service_areas = section.list(
            "service_areas",
            Need::Optional,
            "[\"Skype\"]",
            parse_name,
            out,
        );
        let categories = section.list(
            "categories",
            Need::Optional,
            "[\"Optimize\"]",
            parse_category,
            out,
        );
        let entries = section.word("entries", &choices, out);
        let url = section.string("url", parse_url, out);
        let max_age_days = section
            .integer("max_age_days", 1..=MAX_AGE_DAYS, out)
            .map_or(Feed::DEFAULT_MAX_AGE_DAYS, |days| days.value);
        let wide_prefixes = section.word("wide_prefixes", &wide, out);
        if let (Some(name), Some(format), Some(path)) = (name, format, path) {
            let format = format.value;
            report_unused_choices(&section, format, out);
            feeds.push(Feed {
                name,
                format,
                file: path,
                service_areas,
                categories,
                entries,
                url,
                max_age_days,
                wide_prefixes,
                prefixes: None,
            });
        }
    }
    feeds
}

/// A list of prefixes has no service areas; a choice among them would be ignored.
fn report_unused_choices(section: &Section<'_, '_>, format: FeedFormat, out: &mut Collector<'_>) {
    if format != FeedFormat::Prefixes {
        return;
    }
    for key in ["service_areas", "categories", "entries"] {
        if let Some(value) = section.value(key) {
            let message = format!("`{key}` has no meaning for a feed of the format \"prefixes\"");
            out.error(value.span(), "", Code::UnknownKey, message);
        }
    }
}

/// Reads the address that a feed is fetched from.
fn parse_url(text: &str) -> Result<String, Problem> {
    let bad = |why: &str| {
        Problem::new(Code::BadUrl, format!("`{}` {why}", shorten(text)))
            .help("write e.g. \"https://assets.zoom.us/docs/ipranges/Zoom.txt\"")
    };
    let rest = match text.split_once("://") {
        Some(("https", rest)) => rest,
        Some(("http", rest)) => {
            // What anybody on the way can change decides where calls go: without TLS only this machine is trusted.
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            let host = host
                .rsplit_once(':')
                .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
                .map_or(host, |(host, _)| host);
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            if !address.is_ok_and(|address| address.is_loopback()) {
                return Err(bad(
                    "is not https: anybody on the way could change the routes",
                ));
            }
            rest
        }
        Some(_) | None => return Err(bad("is not an https address")),
    };
    if rest.is_empty()
        || rest.starts_with('/')
        || text.contains(|char: char| char.is_control() || char.is_whitespace())
    {
        return Err(bad("is not an https address"));
    }
    Ok(text.to_owned())
}

/// Ten years: beyond it, nobody meant to be warned.
const MAX_AGE_DAYS: u16 = 3_650;

/// The three categories of the Microsoft 365 endpoints web service.
fn parse_category(text: &str) -> Result<String, Problem> {
    let words = ["Optimize", "Allow", "Default"].map(|word| (word, word));
    parse_word("categories", text, &words).map(str::to_owned)
}

/// Reads every `[[endpoint]]`.
pub(super) fn read_endpoints(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<Endpoint> {
    let keys = [
        "name",
        "product",
        "programs",
        "profile",
        "interface_type",
        "local",
        "remote",
    ];
    let mut names = Names::default();
    let mut endpoints = Vec::new();
    for section in repeated(file, "endpoint", &keys, out) {
        let name = names.read(&section, "\"Skype for Business\"", out);
        let parse = |text: &str| parse_word("product", text, Product::NAMES);
        let product = section.string("product", parse, out);
        // One of the two is needed, and a product that nobody knows is said to be one.
        let need = match section.value("product") {
            Some(_) => Need::Optional,
            None => Need::Required,
        };
        let example = "['%ProgramFiles%\\Microsoft Office\\root\\Office16\\lync.exe']";
        let programs = section.list("programs", need, example, parse_path, out);
        let profile = section.word("profile", PROFILES, out);
        let interface_type = section.word("interface_type", INTERFACE_TYPES, out);
        let prefixes = |key: &str, example: &str, out: &mut Collector<'_>| {
            section.list(key, Need::NonEmpty, example, parse_prefix, out)
        };
        let local = prefixes("local", "[\"172.16.1.0/24\"]", out);
        let remote = prefixes("remote", "[\"10.0.0.0/8\"]", out);
        endpoints.extend(name.map(|name| Endpoint {
            name,
            product,
            programs,
            profile,
            interface_type,
            local,
            remote,
        }));
    }
    endpoints
}

/// The names given so far in one kind of section, and where.
#[derive(Debug, Default)]
pub(super) struct Names {
    seen: HashMap<String, Range<usize>>,
}

impl Names {
    /// Reads the name of `section`, which no section of its kind may share.
    pub(super) fn read(
        &mut self,
        section: &Section<'_, '_>,
        example: &str,
        out: &mut Collector<'_>,
    ) -> Option<Sourced<String>> {
        let name = section.required("name", example, parse_name, out)?;
        let span = section.value("name").map_or(0..0, toml::Spanned::span);
        if let Some(first) = self.seen.get(&name.value) {
            let message = format!(
                "two {} are named \"{}\"",
                section.title,
                shorten(&name.value)
            );
            let problem = Diagnostic::error(Code::DuplicateName, message)
                .with_label(out.text.label(span, "second"))
                .with_label(out.text.label(first.clone(), "first"));
            out.add(problem.with_help("a verdict names its rule: give each a name of its own"));
        } else {
            self.seen.insert(name.value.clone(), span);
        }
        Some(name)
    }
}

/// Names of the Windows Firewall profiles in a policy.
pub(super) const PROFILES: &[(&str, FirewallProfile)] = &[
    ("domain", FirewallProfile::Domain),
    ("private", FirewallProfile::Private),
    ("public", FirewallProfile::Public),
    ("any", FirewallProfile::Any),
];

/// Names of the Windows Firewall interface types in a policy.
pub(super) const INTERFACE_TYPES: &[(&str, InterfaceType)] = &[
    ("remote-access", InterfaceType::RemoteAccess),
    ("wired", InterfaceType::Wired),
    ("wireless", InterfaceType::Wireless),
    ("any", InterfaceType::Any),
];
