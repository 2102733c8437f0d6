//! `offramp explain --name`: what a VPN client gets for a name, and which line of the policy says so.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::error::CliError;
use super::input::read_policy_alone;
use crate::name::record_type;
use crate::name::{DnsName, DnsNameError};
use crate::plan::{Answer, Zones};
use crate::policy::Policy;

/// The types that are explained where none is asked for: those by which clients find a service.
const USUAL: [u16; 4] = [
    record_type::A,
    record_type::AAAA,
    record_type::SRV,
    record_type::HTTPS,
];

/// Reads the name of `--name`; boxed, as it is far larger than the other arguments of commands.
pub(super) fn parse_name(text: &str) -> Result<Box<DnsName>, String> {
    let name = text.parse().map(Box::new);
    name.map_err(|error: DnsNameError| format!("{error}; write a name, e.g. sip.contoso.com"))
}

/// Reads the record type of `--type`.
pub(super) fn parse_type(text: &str) -> Result<u16, String> {
    record_type::read(text).ok_or_else(|| {
        let known = record_type::NAMES.iter().map(|(_, name)| *name);
        let known: Vec<_> = known.collect();
        format!("write one of {}, or TYPE and a number", known.join(", "))
    })
}

/// Prints what clients get for `name`.
pub(super) fn run(
    path: &Path,
    name: &DnsName,
    record_type: Option<u16>,
    json: bool,
) -> Result<(), CliError> {
    let policy = read_policy_alone(path)?;
    let zones = Zones::of(&policy);
    let types = record_type.map_or_else(|| USUAL.to_vec(), |asked| vec![asked]);
    let answers: Vec<_> = types
        .into_iter()
        .map(|asked| (asked, zones.answer(name, asked)))
        .collect();
    if json {
        super::print_json(&as_json(&policy, &zones, name, &answers))
    } else {
        super::print(&as_text(&policy, &zones, name, &answers))
    }
}

fn as_text(
    policy: &Policy,
    zones: &Zones,
    name: &DnsName,
    answers: &[(u16, Answer<'_>)],
) -> String {
    let mut text = String::new();
    for (asked, answer) in answers {
        let color = match answer {
            Answer::Records { .. } => anstyle::AnsiColor::Green,
            Answer::NoData { .. } | Answer::NxDomain { .. } => anstyle::AnsiColor::Red,
            Answer::Forward => anstyle::AnsiColor::Yellow,
        };
        let style = color.on_default().bold();
        let what = match answer {
            Answer::Records { .. } => answer.data().join(", "),
            Answer::NoData { .. } => "no data".to_owned(),
            Answer::NxDomain { .. } => "no such name".to_owned(),
            Answer::Forward => "forwarded".to_owned(),
        };
        let asked = record_type::text(*asked);
        _ = writeln!(text, "{asked:<6} {style}{what}{style:#}");
    }
    _ = writeln!(text);
    // One name decides for all types.
    match answers.first().map(|(_, answer)| (answer, answer.owner())) {
        Some((_, Some(owner))) => {
            let why = match owner.treatment {
                crate::plan::zones::Treatment::Pinned(_) => "is pinned",
                crate::plan::zones::Treatment::Hidden => "is hidden",
                crate::plan::zones::Treatment::NoData(_) => "tells software to keep to this server",
            };
            for (at, source) in owner.sources.iter().enumerate() {
                let label = match at {
                    0 => format!("{} {why}", owner.name),
                    _ => String::new(),
                };
                let place = match source.line {
                    0 => "by default".to_owned(),
                    line => format!("{}:{line}", policy.origin),
                };
                _ = writeln!(text, "{label:<40} {} ({place})", source.kind);
            }
            _ = writeln!(text, "the answer holds for {} s", zones.ttl_seconds());
        }
        Some((_, None)) | None => {
            let upstreams = upstreams(policy);
            let to = if upstreams.is_empty() {
                "no upstream is named: write dns.upstreams or corporate.dns_servers".to_owned()
            } else {
                format!("answered by {}", upstreams.join(", "))
            };
            _ = writeln!(text, "the policy does not name {name}; {to}");
        }
    }
    text
}

fn upstreams(policy: &Policy) -> Vec<String> {
    let upstreams = policy.dns_upstreams();
    upstreams.iter().map(|it| it.value.to_string()).collect()
}

fn as_json(
    policy: &Policy,
    zones: &Zones,
    name: &DnsName,
    answers: &[(u16, Answer<'_>)],
) -> serde_json::Value {
    let answer = |(asked, answer): &(u16, Answer<'_>)| {
        json!({
            "type": record_type::text(*asked),
            "answer": answer.word(),
            "records": answer.data(),
        })
    };
    let owner = answers.first().and_then(|(_, answer)| answer.owner());
    json!({
        "name": name.to_string(),
        "answers": answers.iter().map(answer).collect::<Vec<_>>(),
        "rule": owner.map(|owner| json!({
            "name": owner.name.to_string(),
            "treatment": owner.treatment.name(),
            "sources": owner.sources.iter().map(|source| json!({
                "key": source.kind.key(),
                "rule": source.kind.rule(),
                "line": (source.line > 0).then_some(source.line),
            })).collect::<Vec<_>>(),
        })),
        "ttl_seconds": owner.map(|_| zones.ttl_seconds()),
        "upstreams": match owner {
            None => upstreams(policy),
            Some(_) => Vec::new(),
        },
    })
}
