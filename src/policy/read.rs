//! From [`PolicyFile`] to [`Policy`]: the sections that stand once. `rules` reads those that repeat.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use super::rules;
use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::meaning::{
    Corporate, DivertScope, FailMode, FilterOptions, GatewayOptions, LeakedPublic, MarkBits,
    MediaMatch, MediaOptions, Policy, PortRange, RouteOptions, Sourced, TunnelMode, UnknownSource,
    VpnOptions,
};
use crate::policy::section::dns::{self, DNS_KEYS};
use crate::policy::section::test;
use crate::policy::syntax::file::PolicyFile;
use crate::policy::syntax::section::{Need, Section, parse_word, report_type};
use crate::policy::value::parse_ports;
use crate::policy::value::{Problem, nearest};
use crate::policy::value::{parse_address, parse_prefix, parse_socket};
use crate::policy::value::{parse_device, parse_interface, parse_log, parse_path};

/// Reads the whole file; `None` only where no client subnet could be read, and then `out` says why.
///
/// The policy is complete when `out` holds no error.
pub(super) fn read_policy(
    origin: &str,
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) -> Option<Policy> {
    check_sections(file, out);
    let vpn = read_vpn(file, out);
    let policy = Policy {
        origin: origin.to_owned(),
        vpn: VpnOptions {
            interfaces: Vec::new(),
            client_subnets: Vec::new(),
        },
        corporate: read_corporate(file, out),
        media: read_media(file, out),
        filter: read_filter(file, out),
        servers: rules::read_servers(file, out),
        allows: rules::read_allows(file, out),
        publics: rules::read_publics(file, out),
        feeds: rules::read_feeds(file, out),
        routes: read_routes(file, out),
        dns: dns::read(file, out),
        gateway: read_gateway(file, out),
        endpoints: rules::read_endpoints(file, out),
        tests: test::read_tests(file, out),
    };
    vpn.map(|vpn| Policy { vpn, ..policy })
}

fn check_sections(file: &PolicyFile<'_>, out: &mut Collector<'_>) {
    let known: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
    for (key, value) in file
        .root()
        .iter()
        .filter(|(key, _)| !known.contains(&key.get_ref().as_ref()))
    {
        let name = shorten(key.get_ref());
        let is_table = matches!(value.get_ref(), DeValue::Table(_)) || is_array_of_tables(value);
        let (code, message) = if is_table {
            let message = match nearest(key.get_ref(), &known) {
                Some(meant) => format!("unknown section `{name}`; did you mean {}?", title(meant)),
                None => format!("unknown section `{name}`"),
            };
            (Code::UnknownSection, message)
        } else {
            let message = match home_of(key.get_ref()) {
                Some(home) => {
                    format!("`{name}` stands before any section; did you mean it in {home}?")
                }
                None => format!("unknown key `{name}` before any section"),
            };
            (Code::UnknownKey, message)
        };
        let titles: Vec<_> = SECTIONS.iter().map(|(name, _)| title(name)).collect();
        let label = out.text.label(key.span(), "");
        let problem = Diagnostic::error(code, message).with_label(label);
        out.add(problem.with_help(format!("a policy has the sections {}", titles.join(", "))));
    }
}

fn is_array_of_tables(value: &Spanned<DeValue<'_>>) -> bool {
    let first = value.get_ref().as_array().and_then(|array| array.first());
    first.is_some_and(|first| first.get_ref().is_table())
}

/// How the header of a section is written.
fn title(name: &str) -> String {
    match SECTIONS.iter().find(|(section, _)| *section == name) {
        Some((_, Form::Repeated)) => format!("[[{name}]]"),
        Some((_, Form::Single)) | None => format!("[{name}]"),
    }
}

/// The section that a key belongs to.
fn home_of(key: &str) -> Option<&'static str> {
    KEYS.iter()
        .find(|(_, keys)| keys.contains(&key))
        .map(|(title, _)| *title)
}

/// Opens the section called `name`, which stands once.
pub(super) fn single<'f, 't>(
    file: &'f PolicyFile<'t>,
    name: &str,
    keys: &[&str],
    out: &mut Collector<'_>,
) -> Option<Section<'f, 't>> {
    let value = file.root().get(name)?;
    if is_array_of_tables(value) {
        let message = format!("`{name}` stands once: write [{name}], not [[{name}]]");
        out.error(value.span(), "", Code::WrongType, message);
        return None;
    }
    Section::open(format!("[{name}]"), value, keys, out)
}

fn read_vpn(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Option<VpnOptions> {
    if file.root().get("vpn").is_none() && !out.damaged {
        let problem = Diagnostic::error(Code::MissingKey, "the policy has no [vpn] section");
        out.add(problem.with_help(
            "say which addresses the VPN clients have:\n[vpn]\nclient_subnets = [\"172.16.1.0/24\"]",
        ));
    }
    let section = single(file, "vpn", VPN_KEYS, out)?;
    let interfaces = section.list(
        "interfaces",
        Need::Optional,
        "[\"tun0\"]",
        parse_interface,
        out,
    );
    let example = "[\"172.16.1.0/24\"]";
    let client_subnets = section.list("client_subnets", Need::Required, example, parse_prefix, out);
    Some(VpnOptions {
        interfaces,
        client_subnets,
    })
}

fn read_corporate(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Corporate {
    let Some(section) = single(file, "corporate", CORPORATE_KEYS, out) else {
        return Corporate::default();
    };
    Corporate {
        subnets: section.list(
            "subnets",
            Need::Optional,
            "[\"10.0.0.0/8\"]",
            parse_prefix,
            out,
        ),
        dns_servers: section.list(
            "dns_servers",
            Need::Optional,
            "[\"10.0.0.53\"]",
            parse_address,
            out,
        ),
    }
}

fn read_media(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> MediaOptions {
    let default_ports = || {
        let value = DEFAULT_MEDIA_PORTS;
        vec![Sourced { value, line: 0 }]
    };
    let Some(section) = single(file, "media", MEDIA_KEYS, out) else {
        return MediaOptions {
            ports: default_ports(),
            recognition: MediaMatch::Ports,
        };
    };
    let ports = match section.value("ports") {
        Some(_) => section.list(
            "ports",
            Need::NonEmpty,
            "[\"1024-65535\"]",
            parse_ports,
            out,
        ),
        None => default_ports(),
    };
    let recognition = section.string("match", parse_match, out);
    MediaOptions {
        ports,
        recognition: recognition.map_or(MediaMatch::Ports, |word| word.value),
    }
}

fn parse_match(text: &str) -> Result<MediaMatch, Problem> {
    if text == "ice" {
        let message =
            "`match` is \"ice\", which is planned: this version judges media by its ports";
        return Err(Problem::new(Code::NotSupported, message).help("write match = \"ports\""));
    }
    parse_word("match", text, &[("ports", MediaMatch::Ports)])
}

fn read_filter(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> FilterOptions {
    let Some(section) = single(file, "filter", FILTER_KEYS, out) else {
        return FilterOptions::default();
    };
    let unknown = [
        ("forward", UnknownSource::Forward),
        ("drop", UnknownSource::Drop),
    ];
    let leaked = [
        ("forward", LeakedPublic::Forward),
        ("drop", LeakedPublic::Drop),
    ];
    FilterOptions {
        unknown_source: section.word("unknown_source", &unknown, out),
        leaked_public: section.word("leaked_public", &leaked, out),
    }
}

fn read_routes(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> RouteOptions {
    let Some(section) = single(file, "routes", ROUTES_KEYS, out) else {
        return RouteOptions::default();
    };
    let words = [("split", TunnelMode::Split), ("full", TunnelMode::Full)];
    RouteOptions {
        tunnel: section.word("tunnel", &words, out),
        gateways: section.list(
            "gateways",
            Need::Optional,
            "[\"203.0.113.10\"]",
            parse_address,
            out,
        ),
    }
}

fn read_gateway(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> GatewayOptions {
    let Some(section) = single(file, "gateway", GATEWAY_KEYS, out) else {
        return GatewayOptions::default();
    };
    let scopes = [
        ("suspects", DivertScope::Suspects),
        ("policy", DivertScope::Policy),
        ("all", DivertScope::All),
    ];
    let modes = [("open", FailMode::Open), ("closed", FailMode::Closed)];
    GatewayOptions {
        divert: section.word("divert", &scopes, out),
        device: section.string("device", parse_device, out),
        mark: section
            .integer("mark", 0..=u32::MAX, out)
            .and_then(|mark| read_mark(mark, &section, out)),
        table: section.integer("table", TABLES, out),
        workers: section
            .integer("workers", 1..=MAX_WORKERS, out)
            .map(|workers| workers.value),
        realtime: section
            .integer("realtime", PRIORITIES, out)
            .map(|priority| priority.value),
        cpus: section.integers("cpus", 0..=CPU_MAX, "[0, 1]", out),
        on_failure: section.word("on_failure", &modes, out),
        control: section.string("control", parse_path, out),
        metrics: section.string("metrics", parse_socket, out),
        drop_log: section.string("drop_log", parse_log, out),
        drop_log_rate: section.integer("drop_log_rate", 1..=MAX_LOG_RATE, out),
    }
}

/// The bits of the firewall mark that `mark` stands for.
fn read_mark(
    mark: Sourced<u32>,
    section: &Section<'_, '_>,
    out: &mut Collector<'_>,
) -> Option<Sourced<MarkBits>> {
    let bits = MarkBits::new(mark.value);
    if bits.is_none() {
        let span = section.value("mark").map(Spanned::span).unwrap_or_default();
        let label = out.text.label(span, "not two bits side by side");
        let message = format!("`mark` is {:#x}; it takes two adjacent bits", mark.value);
        let problem = Diagnostic::error(Code::OutOfRange, message).with_label(label);
        out.add(problem.with_help(
            "choose two bits that nothing else on this host marks with, e.g. `mark = 0x30000000`",
        ));
    }
    bits.map(|value| Sourced {
        value,
        line: mark.line,
    })
}

/// Opens every section called `name`.
pub(super) fn repeated<'f, 't>(
    file: &'f PolicyFile<'t>,
    name: &str,
    keys: &[&str],
    out: &mut Collector<'_>,
) -> Vec<Section<'f, 't>> {
    let Some(value) = file.root().get(name) else {
        return Vec::new();
    };
    let title = format!("[[{name}]]");
    match value.get_ref() {
        DeValue::Array(sections) => {
            let open = sections
                .iter()
                .filter_map(|section| Section::open(title.clone(), section, keys, out));
            open.collect()
        }
        DeValue::Table(_) => {
            let message =
                format!("`{name}` may stand several times: write [[{name}]], not [{name}]");
            out.error(value.span(), "", Code::WrongType, message);
            // Its keys are still worth checking.
            Section::open(title, value, keys, out).into_iter().collect()
        }
        other => {
            if !value.span().is_empty() {
                report_type(name, "tables", other, value.span(), out);
            }
            Vec::new()
        }
    }
}

/// Number of times a section may stand: once or several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Single,
    Repeated,
}

const SECTIONS: &[(&str, Form)] = &[
    ("vpn", Form::Single),
    ("corporate", Form::Single),
    ("media", Form::Single),
    ("filter", Form::Single),
    ("server", Form::Repeated),
    ("allow", Form::Repeated),
    ("public", Form::Repeated),
    ("feed", Form::Repeated),
    ("routes", Form::Single),
    ("dns", Form::Single),
    ("gateway", Form::Single),
    ("endpoint", Form::Repeated),
    ("test", Form::Repeated),
];

const VPN_KEYS: &[&str] = &["interfaces", "client_subnets"];
const CORPORATE_KEYS: &[&str] = &["subnets", "dns_servers"];
const MEDIA_KEYS: &[&str] = &["ports", "match"];
const FILTER_KEYS: &[&str] = &["unknown_source", "leaked_public"];
const ROUTES_KEYS: &[&str] = &["tunnel", "gateways"];
const GATEWAY_KEYS: &[&str] = &[
    "divert",
    "device",
    "mark",
    "table",
    "workers",
    "realtime",
    "cpus",
    "on_failure",
    "control",
    "metrics",
    "drop_log",
    "drop_log_rate",
];

/// Keys of the single sections, for those that stand before any header.
const KEYS: &[(&str, &[&str])] = &[
    ("[vpn]", VPN_KEYS),
    ("[corporate]", CORPORATE_KEYS),
    ("[media]", MEDIA_KEYS),
    ("[filter]", FILTER_KEYS),
    ("[routes]", ROUTES_KEYS),
    ("[dns]", DNS_KEYS),
    ("[gateway]", GATEWAY_KEYS),
];

/// Table 1, row 1: what Lync's clients use unless told otherwise.
pub(super) const DEFAULT_MEDIA_PORTS: PortRange = match PortRange::new(1024, 65535) {
    Some(ports) => ports,
    None => PortRange::ALL,
};

/// Route tables for the filter: not the 256 that have names, and room for the second and the third.
const TABLES: RangeInclusive<u32> = 256..=i32::MAX as u32 - 2;

/// Lines of a log, for each reason or outcome: a bound for what a disk is asked to take, of about ten times a few hundred
/// bytes.
pub(super) const MAX_LOG_RATE: u32 = 1_000;

/// Queues that Linux gives one tun device (MAX_TAP_QUEUES); each worker owns one.
const MAX_WORKERS: u16 = 256;

/// The priorities that Linux takes for SCHED_FIFO (sched(7)).
const PRIORITIES: RangeInclusive<u8> = 1..=99;

/// The last processor that an affinity mask of the C library has a bit for (CPU_SETSIZE).
const CPU_MAX: u16 = 1_023;
