//! Reads zone files (RFC 1035 §5.1, with the additions of BIND: TTL units, `$TTL`, `$GENERATE`).
//!
//! A library would read included files itself, without the bounds of [`Loader`] and the root of a copied tree, knows no
//! `$GENERATE`, and refuses a file for one record of a type that it does not know. Here such a record is an owner with
//! data, and a line that cannot be read is noted.

use std::iter::Peekable;
use std::str::Chars;

use super::generate::generate;
use super::{Data, Zone};
use crate::name::DnsName;
use crate::verify::against::files::{DEEPEST, Loader, Place};

/// A zone file.
pub(in super::super) struct Source<'s> {
    pub(in super::super) text: &'s str,
    /// Its path, for notes.
    pub(in super::super) file: &'s str,
    /// The folder to which `$INCLUDE` is relative.
    pub(in super::super) folder: &'s str,
}

/// Reads a zone. Lines that cannot be read are noted; `None` if there is no start of authority.
pub(in super::super) fn read(
    source: &Source<'_>,
    origin: DnsName,
    loader: &Loader<'_>,
) -> Option<Zone> {
    let mut reader = Reader {
        zone: Zone::new(origin),
        origin,
        owner: None,
        has_authority: false,
        folder: source.folder,
        loader,
    };
    reader.file(source.text, source.file, 0);
    reader.has_authority.then_some(reader.zone)
}

struct Reader<'r> {
    zone: Zone,
    origin: DnsName,
    owner: Option<DnsName>,
    has_authority: bool,
    folder: &'r str,
    loader: &'r Loader<'r>,
}

impl Reader<'_> {
    fn file(&mut self, text: &str, file: &str, depth: usize) {
        for entry in Entries::new(text) {
            let place = Place {
                file: file.to_owned(),
                line: entry.line,
            };
            if !self.loader.count_records(1) {
                return;
            }
            if let Err((word, why)) = self.entry(&entry, depth) {
                self.loader.note(&place, &word, why);
            }
        }
    }

    fn entry(&mut self, entry: &Entry, depth: usize) -> Result<(), Problem> {
        if let Some(problem) = entry.problem {
            return Err((entry.first().to_owned(), problem.to_owned()));
        }
        let words: Vec<&str> = entry.words.iter().map(String::as_str).collect();
        let directive = match (&words[..], entry.is_continued) {
            ([word, ..], false) if word.starts_with('$') => word.to_ascii_uppercase(),
            _ => String::new(),
        };
        match (directive.as_str(), &words[..]) {
            ("$ORIGIN", [_, name]) => self.origin = self.name(name)?,
            ("$TTL", [_, _]) => {}
            ("$INCLUDE", [_, path, origin @ ..]) if origin.len() < 2 => {
                let origin = origin.first().map(|it| self.name(it)).transpose()?;
                self.include(path, origin, depth)?;
            }
            ("$GENERATE", [_, range, left, rest @ ..]) => {
                let problem = |why: String| ("$GENERATE".to_owned(), why);
                for line in generate(range, left, rest, self.loader).map_err(problem)? {
                    let words: Vec<&str> = line.iter().map(String::as_str).collect();
                    let [owner, record @ ..] = &words[..] else {
                        continue;
                    };
                    let owner = self.name(owner)?;
                    self.record(owner, record)?;
                }
            }
            ("", record) if entry.is_continued => {
                let owner = self
                    .owner
                    .ok_or_else(|| (entry.first().to_owned(), "it has no owner".to_owned()))?;
                self.record(owner, record)?;
            }
            ("", [owner, record @ ..]) => {
                let owner = self.name(owner)?;
                self.owner = Some(owner);
                self.record(owner, record)?;
            }
            _ => return Err((entry.first().to_owned(), "no such directive".to_owned())),
        }
        Ok(())
    }

    fn include(
        &mut self,
        path: &str,
        origin: Option<DnsName>,
        depth: usize,
    ) -> Result<(), Problem> {
        let failed = |why: String| ("$INCLUDE".to_owned(), why);
        if depth == DEEPEST {
            return Err(failed("files include one another in a circle".to_owned()));
        }
        let path = self.loader.path(self.folder, path);
        let text = self.loader.read(&path).map_err(failed)?;
        let outer = self.origin;
        self.origin = origin.unwrap_or(outer);
        self.file(&text, &path, depth + 1);
        self.origin = outer;
        Ok(())
    }

    fn record(&mut self, owner: DnsName, words: &[&str]) -> Result<(), Problem> {
        let origin = self.origin;
        let parsed = read_record(words, &|name| absolute(name, &origin))?;
        self.has_authority |= parsed.is_authority && owner == self.zone.origin;
        if let Some(data) = parsed.data {
            self.zone.add(owner, data);
        }
        Ok(())
    }

    fn name(&self, text: &str) -> Result<DnsName, Problem> {
        absolute(text, &self.origin).map_err(|why| (text.to_owned(), why))
    }
}

/// A word, and why it cannot be read.
type Problem = (String, String);

/// Returns the name that a zone file means: absolute with a final dot, else below `origin`.
fn absolute(text: &str, origin: &DnsName) -> Result<DnsName, String> {
    let wrong = |error: crate::name::DnsNameError| error.to_string();
    match text {
        "@" => Ok(*origin),
        _ if ends_absolute(text) => text.parse().map_err(wrong),
        _ => {
            let relative: DnsName = text.parse().map_err(wrong)?;
            DnsName::from_labels(relative.labels().chain(origin.labels())).map_err(wrong)
        }
    }
}

/// Returns `true` for a final dot that is not escaped.
fn ends_absolute(text: &str) -> bool {
    let Some(rest) = text.strip_suffix('.') else {
        return false;
    };
    let escapes = rest.len() - rest.trim_end_matches('\\').len();
    escapes % 2 == 0
}

/// A record without its owner.
pub(in super::super) struct Record {
    /// `None` for a record of another class than `IN`.
    pub(in super::super) data: Option<Data>,
    pub(in super::super) is_authority: bool,
}

/// Reads `[TTL] [class] type data`.
pub(in super::super) fn read_record(
    words: &[&str],
    name: &dyn Fn(&str) -> Result<DnsName, String>,
) -> Result<Record, Problem> {
    let mut words = words;
    let mut is_internet = true;
    while let [first, rest @ ..] = words {
        match first.to_ascii_uppercase().as_str() {
            "IN" => {}
            "CH" | "HS" | "CS" | "CHAOS" | "HESIOD" => is_internet = false,
            _ if is_ttl(first) => {}
            _ => break,
        }
        words = rest;
    }
    let [kind, data @ ..] = words else {
        let last = words.first().copied().unwrap_or_default();
        return Err((last.to_owned(), "a record without a type".to_owned()));
    };
    let wrong = |why: &str| ((*kind).to_owned(), why.to_owned());
    let named = |text: &str| name(text).map_err(|why| (text.to_owned(), why));
    let upper = kind.to_ascii_uppercase();
    let data = match (upper.as_str(), data) {
        ("A", [address]) => Data::Address(
            address
                .parse::<std::net::Ipv4Addr>()
                .map_err(|_| ((*address).to_owned(), "not an IPv4 address".to_owned()))?
                .into(),
        ),
        ("AAAA", [address]) => Data::Address(
            address
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| ((*address).to_owned(), "not an IPv6 address".to_owned()))?
                .into(),
        ),
        ("SRV", [_, _, _, target]) => Data::Target(named(target)?),
        ("CNAME", [target]) => Data::Alias(named(target)?),
        ("DNAME", [target]) => Data::SubtreeAlias(named(target)?),
        ("NS", [server]) => Data::Delegation(named(server)?),
        ("HTTPS", [_, ..]) => Data::Https,
        ("A" | "AAAA" | "SRV" | "CNAME" | "DNAME" | "NS" | "HTTPS", _) => {
            return Err(wrong("the data of the record is incomplete or too long"));
        }
        // RFC 3597: data in bytes, of a type that matters.
        ("TYPE1" | "TYPE28" | "TYPE33" | "TYPE5" | "TYPE39" | "TYPE2" | "TYPE65", _) => {
            return Err(wrong("data in hexadecimal digits"));
        }
        ("RRSIG" | "NSEC" | "SIG" | "NXT" | "KEY", _) => Data::Signature,
        (kind, _) if !is_type(kind) => return Err(wrong("no such type")),
        _ => Data::Other,
    };
    Ok(Record {
        data: is_internet.then_some(data),
        is_authority: upper == "SOA",
    })
}

/// Returns `true` for what can be the name of a type.
fn is_type(text: &str) -> bool {
    let known = crate::name::record_type::read(text).is_some();
    known || OTHER_TYPES.contains(&text)
}

/// Types that `record_type` has no name for, and that servers load.
const OTHER_TYPES: &[&str] = &[
    "SOA",
    "PTR",
    "MX",
    "TXT",
    "SPF",
    "HINFO",
    "MINFO",
    "MB",
    "MG",
    "MR",
    "WKS",
    "RP",
    "AFSDB",
    "X25",
    "ISDN",
    "RT",
    "NSAP",
    "NSAP-PTR",
    "SIG",
    "KEY",
    "PX",
    "GPOS",
    "LOC",
    "NXT",
    "EID",
    "NIMLOC",
    "ATMA",
    "NAPTR",
    "KX",
    "CERT",
    "A6",
    "SINK",
    "APL",
    "DS",
    "SSHFP",
    "IPSECKEY",
    "RRSIG",
    "NSEC",
    "DNSKEY",
    "DHCID",
    "NSEC3",
    "NSEC3PARAM",
    "TLSA",
    "SMIMEA",
    "HIP",
    "NINFO",
    "RKEY",
    "TALINK",
    "CDS",
    "CDNSKEY",
    "OPENPGPKEY",
    "CSYNC",
    "ZONEMD",
    "SVCB",
    "NID",
    "L32",
    "L64",
    "LP",
    "EUI48",
    "EUI64",
    "URI",
    "CAA",
    "AVC",
    "DOA",
    "AMTRELAY",
    "TA",
    "DLV",
    "RESINFO",
    "WALLET",
    "UINFO",
];

/// Returns `true` for seconds, or numbers with units: `1h30m`.
fn is_ttl(text: &str) -> bool {
    let mut is_number = false;
    text.starts_with(|it: char| it.is_ascii_digit())
        && text.chars().all(|it| match it.to_ascii_lowercase() {
            '0'..='9' => {
                is_number = true;
                true
            }
            's' | 'm' | 'h' | 'd' | 'w' => std::mem::take(&mut is_number),
            _ => false,
        })
}

/// A record or directive, which may span several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    line: usize,
    /// True if the line begins with a space: the owner is that of the entry before.
    is_continued: bool,
    /// Words, with their escapes.
    words: Vec<String>,
    problem: Option<&'static str>,
}

impl Entry {
    fn first(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }
}

/// The entries of a file.
struct Entries<'t> {
    chars: Peekable<Chars<'t>>,
    line: usize,
}

impl<'t> Entries<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            chars: text.chars().peekable(),
            line: 1,
        }
    }

    fn step(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    /// Reads a word up to a space, or to the closing quote.
    fn word(&mut self, problem: &mut Option<&'static str>) -> String {
        let mut text = String::new();
        let is_quoted = self.chars.next_if_eq(&'"').is_some();
        while let Some(&next) = self.chars.peek() {
            match next {
                '"' if is_quoted => {
                    self.step();
                    return text;
                }
                '\n' if is_quoted => break,
                ' ' | '\t' | '\r' | '\n' | ';' | '(' | ')' | '"' if !is_quoted => return text,
                '\\' => {
                    text.push('\\');
                    self.step();
                    if let Some(&escaped) = self.chars.peek().filter(|it| **it != '\n') {
                        text.push(escaped);
                        self.step();
                    }
                }
                other => {
                    text.push(other);
                    self.step();
                }
            }
        }
        if is_quoted {
            *problem = Some("a quote that is not closed");
        }
        text
    }

    /// Reads the next entry, which has no words for an empty line.
    fn entry(&mut self) -> Option<Entry> {
        self.chars.peek()?;
        let mut entry = Entry {
            line: self.line,
            is_continued: self.chars.peek().is_some_and(|it| matches!(it, ' ' | '\t')),
            words: Vec::new(),
            problem: None,
        };
        let mut depth = 0_usize;
        while let Some(&next) = self.chars.peek() {
            match next {
                '\n' if depth == 0 => {
                    self.step();
                    return Some(entry);
                }
                ' ' | '\t' | '\r' | '\n' => _ = self.step(),
                ';' => {
                    while self.chars.peek().is_some_and(|it| *it != '\n') {
                        self.step();
                    }
                }
                '(' => {
                    self.step();
                    depth += 1;
                }
                ')' => {
                    self.step();
                    if depth == 0 {
                        entry.problem = Some("a `)` that closes nothing");
                    }
                    depth = depth.saturating_sub(1);
                }
                _ => {
                    let text = self.word(&mut entry.problem);
                    entry.words.push(text);
                }
            }
        }
        if depth > 0 {
            entry.problem = Some("a `(` that is not closed");
        }
        Some(entry)
    }
}

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let entry = self.entry()?;
            if !entry.words.is_empty() || entry.problem.is_some() {
                return Some(entry);
            }
        }
    }
}
