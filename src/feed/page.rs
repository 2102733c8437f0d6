//! [`parse_page`]: prefixes cut out of a web page, for vendors that publish them in no other way.
//!
//! ```text
//!  <td>4.152.214.0/24*</td>                      taken: the block has prefixes and nothing else
//!  <li>IPv4: 74.125.250.0/24</li>                taken: a label of the family may stand ahead
//!  <p>Removed 66.114.160.0/20 in March.</p>      left out, with a note: it may be history
//! ```
//!
//! A block is the text between two tags that are not of the kind that stands inside of lines (`<b>`, `<a>`, `<span>`, ...).
//! Scripts and styles are skipped. A page without such blocks is refused: it is often drawn by a script, and then what a
//! browser saves has the table.

use std::collections::HashSet;

use html5gum::{Token, Tokenizer};
use ipnet::IpNet;

use super::list::{entry, read_page_text};
use super::prefix::parse_prefix;
use super::{Document, EntryKey, FeedError, Note};
use crate::message::shorten;

/// Reads a page.
///
/// # Errors
/// [`FeedError`] where no block of the page is a prefix.
pub fn parse_page(bytes: &[u8]) -> Result<Document, FeedError> {
    let text = read_page_text(bytes)?;
    let mut page = Page::default();
    for token in Tokenizer::new(text) {
        let Ok(token) = token;
        page.take(token);
    }
    page.end_block();
    if page.document.entries.is_empty() {
        return Err(FeedError::NoPrefixesOnPage);
    }
    if let Some(first) = page.first_left_out {
        page.document.notes.push(Note::LeftOut {
            blocks: page.left_out,
            first,
        });
    }
    Ok(page.document)
}

/// A page while it is read.
#[derive(Debug, Default)]
struct Page {
    document: Document,
    /// Its prefixes: pages name some more than once.
    known: HashSet<IpNet>,
    /// The block that is being read.
    block: String,
    /// The element whose contents are no text, while inside of one.
    skipped: Option<Vec<u8>>,
    left_out: usize,
    first_left_out: Option<String>,
}

impl Page {
    fn take(&mut self, token: Token) {
        match token {
            Token::String(text) if self.skipped.is_none() => {
                self.block.push_str(&String::from_utf8_lossy(&text));
            }
            Token::StartTag(tag) => {
                self.boundary(&tag.name);
                if NOT_TEXT.contains(&&tag.name[..]) && !tag.self_closing {
                    self.skipped.get_or_insert_with(|| tag.name.to_vec());
                }
            }
            Token::EndTag(tag) => {
                self.boundary(&tag.name);
                if self.skipped.as_deref() == Some(&tag.name[..]) {
                    self.skipped = None;
                }
            }
            Token::String(_) | Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }

    fn boundary(&mut self, tag: &[u8]) {
        if !INLINE.contains(&tag) {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        let words = block.split(|char: char| char.is_whitespace() || matches!(char, ',' | ';'));
        let words: Vec<&str> = words
            .map(|word| word.trim_end_matches('*'))
            .filter(|word| !word.is_empty() && !is_label(word))
            .collect();
        let has_prefix = words.iter().any(|word| is_prefix(word));
        if !has_prefix {
            return;
        }
        if !words.iter().all(|word| is_prefix(word)) {
            self.left_out += 1;
            let text = block.split_whitespace().collect::<Vec<_>>().join(" ");
            self.first_left_out.get_or_insert_with(|| shorten(&text));
            return;
        }
        for word in words {
            let number = self.document.entries.len() + 1;
            let key = EntryKey::Number(u32::try_from(number).unwrap_or(u32::MAX));
            if let Ok(prefix) = parse_prefix(key, word, &mut self.document.notes)
                && self.known.insert(prefix)
            {
                self.document.entries.push(entry(key, prefix));
            }
        }
    }
}

/// True for a prefix with its length: an address alone may be an example, and four numbers a version.
fn is_prefix(word: &str) -> bool {
    word.contains('/') && parse_prefix(EntryKey::Number(0), word, &mut Vec::new()).is_ok()
}

fn is_label(word: &str) -> bool {
    let word = word.trim_end_matches(':');
    ["ipv4", "ipv6", "-", "\u{2022}"]
        .iter()
        .any(|label| label.eq_ignore_ascii_case(word))
}

/// Elements inside of a line.
const INLINE: &[&[u8]] = &[
    b"a", b"abbr", b"b", b"bdi", b"code", b"em", b"font", b"i", b"kbd", b"mark", b"samp", b"small",
    b"span", b"strong", b"sub", b"sup", b"tt", b"u", b"wbr",
];

/// Elements whose contents are no text of the page.
const NOT_TEXT: &[&[u8]] = &[b"script", b"style", b"template"];

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(page: &str) -> Vec<String> {
        let document = parse_page(page.as_bytes()).expect(page);
        let entries = document.entries.iter();
        entries.map(|entry| entry.prefixes[0].to_string()).collect()
    }

    #[test]
    fn cells_and_items_that_are_prefixes_are_taken() {
        let page = "<!DOCTYPE html><html><head><title>Network</title><style>td { x: 1.2.3.0/24 }</style>\
            <script>let a = '<td>9.9.9.0/24</td>';</script></head><body><h2>IPv4 Subnets</h2>\
            <table><tr><td>4.152.214.0/24*</td><td><b>66.163.</b>32.0/19&nbsp;</td></tr></table>\
            <ul><li>IPv4: 74.125.250.0/24<li>IPv6: <span>2001:4860:4864:5::0/64</span></ul>\
            <td>8.8.8.8</td><td>1.2.3.4.5/6</td><p>103.44.68.0/22<br>104.245.56.0/21, 185.23.248.0/22</p></body></html>";
        assert_eq!(
            prefixes(page),
            [
                "4.152.214.0/24",
                "66.163.32.0/19",
                "74.125.250.0/24",
                "2001:4860:4864:5::/64",
                "103.44.68.0/22",
                "104.245.56.0/21",
                "185.23.248.0/22"
            ]
        );
    }

    #[test]
    fn a_prefix_in_a_sentence_is_left_out_and_said() {
        let page =
            "<td>4.152.214.0/24</td><td>Removed 66.114.160.0/20 in March</td><p>4.152.214.0/24";
        let document = parse_page(page.as_bytes()).expect("one prefix");
        assert_eq!(document.entries.len(), 1);
        assert_eq!(
            document.notes[0].to_string(),
            "1 passage of the page has prefixes among other words, which are left out: \
             `Removed 66.114.160.0/20 in March`"
        );
    }

    #[test]
    fn a_page_without_prefixes_says_how_to_get_one() {
        for page in [
            "<html><div id=root></div><script src=a.js></script>",
            "text",
        ] {
            let error = parse_page(page.as_bytes()).expect_err(page);
            assert!(
                error.to_string().contains("save it from a browser"),
                "{error}"
            );
        }
    }
}
