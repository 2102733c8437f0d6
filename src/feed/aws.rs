//! [`parse_aws`]: the ip-ranges.json of Amazon Web Services.
//!
//! Its fields are described in the AWS General Reference, "AWS IP address ranges". A prefix stands once for each service that
//! has it, and once more for `AMAZON`, which is all of them.

use serde::Deserialize;

use super::json::json_error;
use super::list::{entry, read_text};
use super::prefix::parse_prefix;
use super::{Document, EntryKey, FeedError};

#[derive(Deserialize)]
#[serde(expecting = "ip-ranges.json, { \"prefixes\": [...], ... }")]
struct Written {
    prefixes: Vec<WrittenV4>,
    #[serde(default)]
    ipv6_prefixes: Vec<WrittenV6>,
}

#[derive(Deserialize)]
struct WrittenV4 {
    ip_prefix: String,
    service: String,
}

#[derive(Deserialize)]
struct WrittenV6 {
    ipv6_prefix: String,
    service: String,
}

/// Reads ip-ranges.json; the service is the service area of an entry.
///
/// # Errors
/// [`FeedError`] at the first mistake.
pub fn parse_aws(bytes: &[u8]) -> Result<Document, FeedError> {
    let text = read_text(bytes)?;
    let written: Written = serde_json::from_str(text).map_err(|error| json_error(&error))?;
    let v4 = written
        .prefixes
        .into_iter()
        .map(|it| (it.ip_prefix, it.service));
    let v6 = written
        .ipv6_prefixes
        .into_iter()
        .map(|it| (it.ipv6_prefix, it.service));
    let mut document = Document::default();
    for (number, (prefix, service)) in (1..).zip(v4.chain(v6)) {
        let key = EntryKey::Number(number);
        let prefix = parse_prefix(key, &prefix, &mut document.notes)?;
        let mut entry = entry(key, prefix);
        entry.service_area = service;
        document.entries.push(entry);
    }
    if document.entries.is_empty() {
        return Err(FeedError::NoEntries);
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_has_its_service() {
        let text = br#"{"syncToken": "1", "createDate": "2026-06-01-00-00-00",
            "prefixes": [{"ip_prefix": "99.77.128.0/18", "region": "us-east-1", "service": "CHIME_MEETINGS"},
                         {"ip_prefix": "99.77.128.0/18", "region": "us-east-1", "service": "AMAZON"}],
            "ipv6_prefixes": [{"ipv6_prefix": "2600:1f00::/24", "region": "x", "service": "EC2"}]}"#;
        let document = parse_aws(text).expect("a good document");
        let entries = document.entries.iter();
        let entries: Vec<_> = entries
            .map(|it| (it.key.to_string(), it.service_area.as_str()))
            .collect();
        assert_eq!(
            entries,
            [
                ("entry 1".to_owned(), "CHIME_MEETINGS"),
                ("entry 2".to_owned(), "AMAZON"),
                ("entry 3".to_owned(), "EC2")
            ]
        );
    }

    #[test]
    fn what_is_no_such_document_is_refused() {
        for (text, message) in [
            ("[]", "expected ip-ranges.json"),
            ("{}", "missing field `prefixes`"),
            (r#"{"prefixes": []}"#, "it has no entries"),
            (
                r#"{"prefixes": [{"ip_prefix": "99.77.128.0/40", "service": "EC2"}]}"#,
                "entry 1: ",
            ),
        ] {
            let error = parse_aws(text.as_bytes()).expect_err(text);
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
