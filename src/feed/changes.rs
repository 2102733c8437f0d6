//! The changes document of the Microsoft 365 web service: what is announced, and from when it holds.
//!
//! Additions are announced 30 days ahead (`effectiveDate`); removals hold at once.

use std::fmt;

use ipnet::IpNet;
use serde::Deserialize;

use super::diff::ports_change;
use super::json::{Kind, read_json};
use super::microsoft::read_ports;
use super::prefix::parse_prefix;
use super::{EntryKey, FeedError, Note};
use crate::message::shorten;

/// Change of an endpoint set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// It is new.
    Add,
    /// Some of it changes.
    Change,
    /// It goes.
    Remove,
}

/// A day, as Microsoft writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date {
    /// Year.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
}

impl fmt::Display for Date {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// One announced change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its own id.
    pub id: u32,
    /// Id of the entry of the endpoints document that changes.
    pub entry: EntryKey,
    /// Change of the entry.
    pub disposition: Disposition,
    /// Why, in Microsoft's word; since 2018.
    pub impact: String,
    /// Version of the endpoints document that first has it.
    pub version: String,
    /// From when additions hold; removals hold at once.
    pub effective: Option<Date>,
    /// Prefixes that come.
    pub added: Vec<IpNet>,
    /// Prefixes that go.
    pub removed: Vec<IpNet>,
    /// Names that come.
    pub added_urls: Vec<String>,
    /// Names that go.
    pub removed_urls: Vec<String>,
    /// Changes of the entry itself, in words: `category Optimize becomes Default`, `UDP ports 3478-3481 become 3478`.
    pub facts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a change, { ... }")]
struct Written {
    id: u32,
    endpoint_set_id: u32,
    disposition: String,
    #[serde(default)]
    impact: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    add: WrittenPart,
    #[serde(default)]
    remove: WrittenPart,
    #[serde(default)]
    previous: Option<WrittenEntry>,
    #[serde(default)]
    current: Option<WrittenEntry>,
}

/// An entry before or after a change: of its fields, those that the change is about.
#[derive(Debug, Default, Deserialize)]
#[serde(
    rename_all = "camelCase",
    default,
    expecting = "the fields of an endpoint set, { ... }"
)]
struct WrittenEntry {
    /// The documentation writes it with a capital, too.
    #[serde(alias = "ExpressRoute")]
    express_route: Option<bool>,
    service_area: Option<String>,
    category: Option<String>,
    required: Option<bool>,
    tcp_ports: Option<String>,
    udp_ports: Option<String>,
    notes: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    rename_all = "camelCase",
    default,
    expecting = "prefixes and names, { ... }"
)]
struct WrittenPart {
    effective_date: Option<String>,
    ips: Vec<String>,
    urls: Vec<String>,
}

/// Reads a changes document; one without changes is in order.
///
/// # Errors
/// [`FeedError`] at the first mistake.
pub fn parse_changes(bytes: &[u8]) -> Result<(Vec<Change>, Vec<Note>), FeedError> {
    let mut notes = Vec::new();
    let written: Vec<Written> = read_json(bytes, Kind::Changes, &mut notes)?;
    let changes = written
        .into_iter()
        .map(|change| read_change(change, &mut notes))
        .collect::<Result<_, _>>()?;
    Ok((changes, notes))
}

fn read_change(written: Written, notes: &mut Vec<Note>) -> Result<Change, FeedError> {
    let entry = EntryKey::Id(written.endpoint_set_id);
    // The documentation writes these words in lower case, and its example does not.
    let disposition = match written.disposition.to_ascii_lowercase().as_str() {
        "add" => Disposition::Add,
        "change" => Disposition::Change,
        "remove" => Disposition::Remove,
        _ => {
            return Err(FeedError::BadDisposition {
                id: written.id,
                text: shorten(&written.disposition),
            });
        }
    };
    let mut prefixes = |ips: &[String]| -> Result<Vec<IpNet>, FeedError> {
        ips.iter()
            .map(|text| parse_prefix(entry, text, notes))
            .collect()
    };
    let added = prefixes(&written.add.ips)?;
    let removed = prefixes(&written.remove.ips)?;
    let date = written.add.effective_date.as_deref();
    let facts = match (&written.previous, &written.current) {
        (Some(old), Some(new)) => facts(entry, old, new)?,
        // Of an entry that comes or goes, the disposition says so.
        _ => Vec::new(),
    };
    let effective = date.map(|text| parse_date(written.id, text)).transpose()?;
    Ok(Change {
        id: written.id,
        entry,
        disposition,
        impact: written.impact,
        version: written.version,
        effective,
        added,
        removed,
        added_urls: written.add.urls,
        removed_urls: written.remove.urls,
        facts,
    })
}

/// What differs between an entry before and after a change.
fn facts(
    entry: EntryKey,
    old: &WrittenEntry,
    new: &WrittenEntry,
) -> Result<Vec<String>, FeedError> {
    let mut facts = Vec::new();
    let mut becomes = |name: &str, old: Option<String>, new: Option<String>| {
        if old != new {
            let word = |text: Option<String>| text.map_or("none".to_owned(), |it| shorten(&it));
            facts.push(format!("{name} {} becomes {}", word(old), word(new)));
        }
    };
    let word = |flag: Option<bool>, yes: &str, no: &str| {
        flag.map(|flag| if flag { yes } else { no }.to_owned())
    };
    becomes("category", old.category.clone(), new.category.clone());
    becomes(
        "service area",
        old.service_area.clone(),
        new.service_area.clone(),
    );
    let required = |it: &WrittenEntry| word(it.required, "required", "optional");
    becomes("importance", required(old), required(new));
    let route = |it: &WrittenEntry| word(it.express_route, "yes", "no");
    becomes("ExpressRoute", route(old), route(new));
    if old.notes != new.notes {
        facts.push("its notes change".to_owned());
    }
    for (protocol, old, new) in [
        ("TCP", &old.tcp_ports, &new.tcp_ports),
        ("UDP", &old.udp_ports, &new.udp_ports),
    ] {
        facts.extend(ports_change(
            protocol,
            &read_ports(entry, old)?,
            &read_ports(entry, new)?,
        ));
    }
    Ok(facts)
}

/// Reads `YYYYMMDD`.
fn parse_date(id: u32, text: &str) -> Result<Date, FeedError> {
    let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<u32> = text.parse().ok().filter(|_| digits);
    let date = number.map(|number| Date {
        year: (number / 10_000) as u16,
        month: (number / 100 % 100) as u8,
        day: (number % 100) as u8,
    });
    date.filter(|date| (1..=12).contains(&date.month) && (1..=31).contains(&date.day))
        .ok_or_else(|| FeedError::BadDate {
            id,
            text: shorten(text),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_says_what_comes_and_from_when() {
        let text =
            br#"[{"id": 424, "endpointSetId": 11, "disposition": "Change", "impact": "AddedIp",
            "version": "2026053000",
            "add": {"effectiveDate": "20260630", "ips": ["52.122.0.0/15"]},
            "remove": {"ips": ["52.120.0.0/14"], "urls": ["*.old.example.com"]}}]"#;
        let (changes, notes) = parse_changes(text).expect("a good document");
        let [change] = &changes[..] else {
            panic!("one change: {changes:?}")
        };
        assert_eq!(
            (change.entry, change.disposition),
            (EntryKey::Id(11), Disposition::Change)
        );
        assert_eq!(
            change.effective.map(|date| date.to_string()),
            Some("2026-06-30".to_owned())
        );
        assert_eq!(change.added[0].to_string(), "52.122.0.0/15");
        assert_eq!(change.removed[0].to_string(), "52.120.0.0/14");
        assert_eq!(change.removed_urls, ["*.old.example.com"]);
        assert!(notes.is_empty());
        assert_eq!(parse_changes(b"[]"), Ok((Vec::new(), Vec::new())));
    }

    #[test]
    fn a_change_of_category_ports_and_importance_is_told_without_a_change_of_addresses() {
        let text = br#"[{"id": 900, "endpointSetId": 11, "disposition": "Change", "version": "2026073000",
            "previous": {"ExpressRoute": true, "category": "Optimize", "required": true, "udpPorts": "3478,3479,3480,3481"},
            "current": {"expressRoute": true, "category": "Default", "required": false, "udpPorts": "3478"}},
            {"id": 901, "endpointSetId": 12, "disposition": "Change", "version": "2026073000",
            "previous": {"udpPorts": "3478,3479"}, "current": {"udpPorts": "3478-3479", "tcpPorts": "443"}}]"#;
        let (changes, _) = parse_changes(text).expect("a good document");
        assert_eq!(
            changes[0].facts,
            [
                "category Optimize becomes Default",
                "importance required becomes optional",
                "UDP ports 3478-3481 become 3478",
            ]
        );
        assert_eq!(changes[1].facts, ["TCP ports none become 443"]);
    }

    #[test]
    fn a_wrong_date_or_word_refuses_the_document() {
        let change = |rest: &str| format!(r#"[{{"id": 4, "endpointSetId": 1, {rest}}}]"#);
        let refusals = [
            (
                change(r#""disposition": "add", "add": {"effectiveDate": "20261340"}"#),
                "change 4: `20261340` is not a date, such as \"20260630\"",
            ),
            (
                change(r#""disposition": "add", "add": {"effectiveDate": "2026-1-1"}"#),
                "change 4: `2026-1-1` is not a date, such as \"20260630\"",
            ),
            (
                change(r#""disposition": "moved""#),
                "change 4: `moved` is no disposition; there are \"add\", \"change\" and \"remove\"",
            ),
            (
                change(
                    r#""disposition": "change", "previous": {"udpPorts": "3478-"}, "current": {}"#,
                ),
                "id 1: `3478-` is not a list of ports, such as \"443,3478-3481\"",
            ),
        ];
        for (text, message) in refusals {
            let error = parse_changes(text.as_bytes()).expect_err(&text);
            assert_eq!(error.to_string(), message);
        }
    }
}
