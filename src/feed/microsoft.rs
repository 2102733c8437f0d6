//! The endpoints document of the Microsoft 365 IP address and URL web service.
//!
//! Its fields are described in Microsoft's "Office 365 IP Address and URL Web Service". Arrays without elements are left
//! out, `ips` mixes both families, ports are text, and fields that are not known here are skipped.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::Deserialize;

use super::json::{Kind, read_json};
use super::prefix::parse_prefix;
use super::{Category, Document, EntryKey, FeedEntry, FeedError, Note};
use crate::message::shorten;

/// An element of the document, as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an endpoint set, { ... }")]
struct Written {
    id: u32,
    service_area: String,
    #[serde(default)]
    service_area_display_name: String,
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    ips: Vec<String>,
    tcp_ports: Option<String>,
    udp_ports: Option<String>,
    #[serde(default)]
    express_route: bool,
    category: String,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    notes: String,
}

/// Reads an endpoints document.
///
/// # Errors
/// [`FeedError`] at the first mistake.
pub fn parse_microsoft(bytes: &[u8]) -> Result<Document, FeedError> {
    let mut document = Document::default();
    let written: Vec<Written> = read_json(bytes, Kind::Endpoints, &mut document.notes)?;
    if written.is_empty() {
        return Err(FeedError::NoEntries);
    }
    let mut seen = HashSet::with_capacity(written.len());
    for entry in written {
        if !seen.insert(entry.id) {
            return Err(FeedError::DuplicateId { id: entry.id });
        }
        let entry = read_entry(entry, &mut document.notes)?;
        document.entries.push(entry);
    }
    Ok(document)
}

fn read_entry(written: Written, notes: &mut Vec<Note>) -> Result<FeedEntry, FeedError> {
    let key = EntryKey::Id(written.id);
    let prefixes: Vec<IpNet> = written
        .ips
        .iter()
        .map(|text| parse_prefix(key, text, notes))
        .collect::<Result<_, _>>()?;
    let category = Category::named(&written.category);
    if category == Category::Unknown {
        notes.push(Note::Category {
            entry: key,
            text: shorten(&written.category),
        });
    }
    Ok(FeedEntry {
        key,
        prefixes,
        tcp_ports: read_ports(key, &written.tcp_ports)?,
        udp_ports: read_ports(key, &written.udp_ports)?,
        service_area: written.service_area,
        service_area_name: written.service_area_display_name,
        urls: written.urls,
        express_route: written.express_route,
        category,
        required: written.required,
        notes: written.notes,
    })
}

/// Reads the ports of `entry`; none where the field is left out.
fn read_ports(
    entry: EntryKey,
    text: &Option<String>,
) -> Result<Vec<RangeInclusive<u16>>, FeedError> {
    match text.as_deref() {
        Some(text) => parse_ports(text).ok_or_else(|| FeedError::BadPorts {
            entry,
            text: shorten(text),
        }),
        None => Ok(Vec::new()),
    }
}

/// Reads `443,80` and `3478-3481`.
fn parse_ports(text: &str) -> Option<Vec<RangeInclusive<u16>>> {
    text.split(',')
        .map(str::trim)
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(first..=last)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEAMS: &str = r#"[{"id": 11, "serviceArea": "Skype", "serviceAreaDisplayName": "Microsoft Teams",
        "ips": ["52.112.0.0/14", "52.122.0.0/15", "2603:1063::/38"], "udpPorts": "3478,3479,3480-3481",
        "expressRoute": true, "category": "Optimize", "required": true, "someday": [{"x": [1]}]}]"#;

    #[test]
    fn every_field_is_read_and_unknown_ones_are_skipped() {
        let document = parse_microsoft(TEAMS.as_bytes()).expect("a good document");
        let [entry] = &document.entries[..] else {
            panic!("one entry: {document:?}")
        };
        assert_eq!(entry.key, EntryKey::Id(11));
        assert_eq!(
            (&*entry.service_area, entry.category),
            ("Skype", Category::Optimize)
        );
        assert_eq!(entry.udp_ports, [3478..=3478, 3479..=3479, 3480..=3481]);
        assert!(entry.tcp_ports.is_empty() && entry.urls.is_empty());
        assert!(entry.required && entry.express_route);
        assert_eq!(
            entry
                .prefixes
                .iter()
                .filter(|net| matches!(net, IpNet::V6(_)))
                .count(),
            1
        );
    }

    #[test]
    fn a_document_that_ends_anywhere_before_its_end_is_refused() {
        for end in 0..TEAMS.len() {
            assert!(parse_microsoft(&TEAMS.as_bytes()[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn one_mistake_refuses_the_document_and_names_its_place() {
        let entry = |rest: &str| {
            format!(r#"[{{"id": 11, "serviceArea": "Skype", "category": "Optimize"{rest}}}]"#)
        };
        let refusals = [
            ("[]".to_owned(), "it has no entries"),
            (
                "{}".to_owned(),
                "it is a JSON object with no keys, and the document is a list, [ ... ]: a proxy or a script answered in its \
                 own form; save the list alone",
            ),
            (
                entry(r#", "ips": "52.112.0.0/14""#),
                "line 1, column 82: invalid type: string \"52.112.0.0/14\", expected a sequence",
            ),
            (
                entry(r#", "ips": [52]"#),
                "line 1, column 69: invalid type: integer `52`, expected a string",
            ),
            (
                entry(r#", "ips": ["52.112.0.0/40"]"#),
                "id 11: `52.112.0.0/40` has no valid length; /32 is the longest",
            ),
            (
                entry(r#", "udpPorts": "3478,x""#),
                "id 11: `3478,x` is not a list of ports, such as \"443,3478-3481\"",
            ),
            (
                entry(r#", "udpPorts": "3481-3478""#),
                "id 11: `3481-3478` is not a list of ports, such as \"443,3478-3481\"",
            ),
            (
                entry(r#", "id": 12"#),
                "line 1, column 64: duplicate field `id`",
            ),
            (
                r#"[{"id": -1}]"#.to_owned(),
                "line 1, column 9: invalid value: integer `-1`, expected u32",
            ),
            (
                r#"[{"id": 1}]"#.to_owned(),
                "line 1, column 10: missing field `serviceArea`",
            ),
            (
                format!("{0}[{0}", "[".repeat(100_000)),
                "line 1, column 2: invalid type: sequence, expected u32",
            ),
        ];
        for (text, message) in refusals {
            let error = parse_microsoft(text.as_bytes()).expect_err(&text);
            let (said, start) = (error.to_string(), text.get(..60).unwrap_or(&text));
            // Columns are serde_json's business; the words are ours to pass on.
            let words = |message: &str| message.split_once(": ").map(|(_, words)| words.to_owned());
            assert!(
                said == message || words(&said) == words(message),
                "{start}: {said}"
            );
        }
    }

    #[test]
    fn two_entries_with_one_id_are_refused() {
        let entry = r#"{"id": 11, "serviceArea": "Skype", "category": "Optimize"}"#;
        let error = parse_microsoft(format!("[{entry},{entry}]").as_bytes());
        assert_eq!(error, Err(FeedError::DuplicateId { id: 11 }));
    }

    #[test]
    fn a_category_of_tomorrow_is_taken_with_a_note() {
        let text = br#"[{"id": 1, "serviceArea": "Skype", "category": "Boost"}]"#;
        let document = parse_microsoft(text).expect("a good document");
        assert_eq!(document.entries[0].category, Category::Unknown);
        assert_eq!(document.notes.len(), 1);
    }
}
