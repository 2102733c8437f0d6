//! Lists of prefixes, one a line, as Zoom and others publish them.

use ipnet::IpNet;

use super::prefix::parse_prefix;
use super::{Category, Document, EntryKey, FeedEntry, FeedError, MAX_FEED_SIZE};

/// Reads a list: one prefix or address a line; `#`, `;` and `//` begin comments, empty lines are skipped.
///
/// # Errors
/// [`FeedError`] at the first line that is anything else.
pub fn parse_list(bytes: &[u8]) -> Result<Document, FeedError> {
    let text = read_text(bytes)?;
    let mut document = Document::default();
    for (index, line) in text.lines().enumerate() {
        let end = ["#", ";", "//"]
            .iter()
            .filter_map(|mark| line.find(mark))
            .min()
            .unwrap_or(line.len());
        let value = line[..end].trim();
        if value.is_empty() {
            continue;
        }
        let number = u32::try_from(index + 1).expect("a feed of 16 MiB has fewer lines than 2^32");
        let key = EntryKey::Line(number);
        let prefix = parse_prefix(key, value, &mut document.notes)?;
        document.entries.push(entry(key, prefix));
    }
    if document.entries.is_empty() {
        return Err(FeedError::NoEntries);
    }
    Ok(document)
}

/// An entry that is a prefix, of which nothing else is known.
pub(super) fn entry(key: EntryKey, prefix: IpNet) -> FeedEntry {
    FeedEntry {
        key,
        service_area: String::new(),
        service_area_name: String::new(),
        urls: Vec::new(),
        prefixes: vec![prefix],
        tcp_ports: Vec::new(),
        udp_ports: Vec::new(),
        express_route: false,
        category: Category::Default,
        required: false,
        notes: String::new(),
    }
}

/// The text of a feed, without a byte order mark; no web page.
pub(super) fn read_text(bytes: &[u8]) -> Result<&str, FeedError> {
    let text = read_page_text(bytes)?;
    match text.trim_start().starts_with('<') {
        true => Err(FeedError::WebPage),
        false => Ok(text),
    }
}

/// The text of a feed that may be a web page, without a byte order mark.
pub(super) fn read_page_text(bytes: &[u8]) -> Result<&str, FeedError> {
    if bytes.len() > MAX_FEED_SIZE {
        return Err(FeedError::TooLarge { bytes: bytes.len() });
    }
    if let Some(sign) = utf16_sign(bytes) {
        return Err(FeedError::Utf16 { sign });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| FeedError::NotUtf8 {
        offset: error.valid_up_to(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().is_empty() {
        return Err(FeedError::Empty);
    }
    Ok(text)
}

/// The sign by which bytes are known as UTF-16; text of a feed begins with ASCII, and has no zero byte.
fn utf16_sign(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xFF, 0xFE, ..] => Some("byte order mark FF FE"),
        [0xFE, 0xFF, ..] => Some("byte order mark FE FF"),
        [0, other, ..] | [other, 0, ..] if *other != 0 => Some("every other byte is zero"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blank_lines_and_line_ends_of_windows_are_skipped() {
        let list = "\u{feff}# Zoom\r\n3.7.35.0/25\r\n\r\n3.21.137.128/25 ; east\r\n// end\n2001:db8::/32\t# v6\n";
        let document = parse_list(list.as_bytes()).expect("a good list");
        let lines: Vec<(String, String)> = document
            .entries
            .iter()
            .map(|entry| (entry.key.to_string(), entry.prefixes[0].to_string()))
            .collect();
        let expected = [
            ("line 2", "3.7.35.0/25"),
            ("line 4", "3.21.137.128/25"),
            ("line 6", "2001:db8::/32"),
        ];
        assert_eq!(
            lines,
            expected.map(|(key, net)| (key.to_owned(), net.to_owned()))
        );
        assert!(document.notes.is_empty());
    }

    #[test]
    fn an_unusual_spelling_is_taken_and_said() {
        let document =
            parse_list(b"2001:4860:4864:5::0/64\n3.7.35.9/25\n74.125.250.1\n2001:DB8::/32\n");
        let notes: Vec<String> = document
            .expect("each means one prefix")
            .notes
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            notes,
            [
                "line 1: `2001:4860:4864:5::0/64` is taken as 2001:4860:4864:5::/64",
                "line 2: `3.7.35.9/25` is taken as 3.7.35.0/25",
                "line 4: `2001:DB8::/32` is taken as 2001:db8::/32",
            ]
        );
    }

    #[test]
    fn one_wrong_line_refuses_the_list() {
        let refusals = [
            (
                "",
                "it is empty: the download was cut off, or there is nothing at its address",
            ),
            ("# only\n\n", "it has no entries"),
            (
                "<!DOCTYPE html><html>",
                "it is a web page, not a feed: a proxy or a sign-in page answered in its place",
            ),
            ("3.7.35.0/25\n3.7.36.0/2", ""),
            ("3.7.35.0/25\n3.7.36", "line 2: `3.7.36` is not a prefix"),
            (
                "3.7.35.0/33",
                "line 1: `3.7.35.0/33` has no valid length; /32 is the longest",
            ),
            (
                "3.7.35.0/+8",
                "line 1: `3.7.35.0/+8` has no valid length; /32 is the longest",
            ),
            ("03.7.35.0/24", "line 1: `03.7.35.0/24` is not a prefix"),
            (
                "::ffff:3.7.35.0/120",
                "line 1: `::ffff:3.7.35.0/120` is an IPv4 prefix written as IPv6",
            ),
        ];
        for (list, message) in refusals {
            match parse_list(list.as_bytes()) {
                Err(error) => assert_eq!(error.to_string(), message, "{list}"),
                // Widths are the guard's business, not the reader's.
                Ok(document) => assert_eq!((message, document.entries.len()), ("", 2), "{list}"),
            }
        }
        for (unit, message) in [
            (
                u16::to_le_bytes as fn(u16) -> [u8; 2],
                "byte order mark FF FE",
            ),
            (u16::to_be_bytes, "byte order mark FE FF"),
        ] {
            let encode = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(unit).collect() };
            let error = parse_list(&encode("\u{feff}3.7.35.0/25")).expect_err("UTF-16");
            assert!(error.to_string().contains(message), "{error}");
            let error = parse_list(&encode("3.7.35.0/25")).expect_err("UTF-16");
            assert!(matches!(error, FeedError::Utf16 { .. }), "{error}");
        }
        assert_eq!(
            parse_list(b"3.7.35.0/25\n\xff")
                .expect_err("not text")
                .to_string(),
            "byte 12 is not UTF-8"
        );
    }
}
