//! The changes document of the Microsoft 365 web service: what is announced, and from when it holds.
//!
//! Additions are announced 30 days ahead (`effectiveDate`); removals hold at once.

use std::fmt;

use ipnet::IpNet;
use serde::Deserialize;

use super::json::{Kind, read_json};
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
    /// Attributes that become others, from the version on.
    pub attributes: Vec<AttributeChange>,
}

/// An attribute of an entry that becomes another. A policy that selects entries by it, and firewalls that open its ports,
/// take note of nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeChange {
    /// Its name in the endpoints document.
    pub name: &'static str,
    /// Its value before; `None` if the entry did not have it.
    pub previous: Option<String>,
    /// Its value from now on; `None` if the entry does not have it.
    pub current: Option<String>,
}

impl fmt::Display for AttributeChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let (previous, current) = (value(&self.previous), value(&self.current));
        write!(out, "{} from {previous} to {current}", self.name)
    }
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
    previous: WrittenAttributes,
    #[serde(default)]
    current: WrittenAttributes,
}

/// The attributes that an entry had or has, of those that change.
#[derive(Debug, Default, Deserialize)]
#[serde(
    rename_all = "camelCase",
    default,
    expecting = "attributes of an entry, { ... }"
)]
struct WrittenAttributes {
    service_area: Option<String>,
    category: Option<String>,
    tcp_ports: Option<String>,
    udp_ports: Option<String>,
    required: Option<bool>,
    express_route: Option<bool>,
}

impl WrittenAttributes {
    fn values(self) -> [(&'static str, Option<String>); 6] {
        let word = |flag: Option<bool>| flag.map(|flag| flag.to_string());
        [
            ("serviceArea", self.service_area),
            ("category", self.category),
            ("tcpPorts", self.tcp_ports),
            ("udpPorts", self.udp_ports),
            ("required", word(self.required)),
            ("expressRoute", word(self.express_route)),
        ]
    }
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
    let effective = date.map(|text| parse_date(written.id, text)).transpose()?;
    let attributes = written.previous.values().into_iter();
    let attributes = attributes.zip(written.current.values());
    let attributes = attributes
        .map(|((name, previous), (_, current))| AttributeChange {
            name,
            previous,
            current,
        })
        .filter(|it| it.previous != it.current)
        .collect();
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
        attributes,
    })
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
            "version": "2026053000", "previous": {"category": "Optimize", "udpPorts": "3478,3479", "required": true},
            "current": {"category": "Default", "tcpPorts": "443", "required": true},
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
        assert_eq!(
            change
                .attributes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            [
                "category from Optimize to Default",
                "tcpPorts from none to 443",
                "udpPorts from 3478,3479 to none"
            ]
        );
        assert!(notes.is_empty());
        assert_eq!(parse_changes(b"[]"), Ok((Vec::new(), Vec::new())));
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
        ];
        for (text, message) in refusals {
            let error = parse_changes(text.as_bytes()).expect_err(&text);
            assert_eq!(error.to_string(), message);
        }
    }
}
