//! `[[profile]]`: a vendor's service for calls and meetings, by facts that ship with the program.
//!
//! It is a [`Feed`] in all that is judged, routed and fetched: format, URL and service areas are the vendor's, and the
//! addresses that ship are in force until a file is fetched.

use std::fmt;

use super::feed::{self, CloudInstance, EntryChoice, Feed, FeedFormat, FeedPrefix, WidePrefixes};
use crate::feed::EntryKey;
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::syntax::write::{header, pair, raw};
use crate::policy::syntax::{Form, Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::{Sourced, Word, parse_name, parse_path};
use crate::vendor::Vendor;

impl Word for Vendor {
    const WORDS: &'static [(&'static str, Self)] = Vendor::NAMES;
}

const VENDOR: Key = Key::new("vendor", Kind::word::<Vendor>())
    .required()
    .example("\"zoom\"")
    .means("The vendor; `offramp feed profiles` shows the facts about each, with their sources and dates")
    .since("0.1");

const NAME: Key = Key::new("name", Kind::Text(Form::Name))
    .otherwise("the vendor's name")
    .example("\"Meetings by Zoom\"")
    .means("Your name for it, in verdicts, logs and metrics; no feed or profile shares it")
    .since("0.1");

const FILE: Key = Key::new("file", Kind::Text(Form::Path))
    .otherwise("the vendor's usual name")
    .example("\"lists/zoom.txt\"")
    .means("File that `offramp feed fetch` writes; until it is there, the addresses that ship with the program are in force")
    .since("0.1");

const URL: Key = Key::new("url", Kind::Text(Form::Url))
    .otherwise("the vendor's")
    .example("\"file:///srv/feeds/zoom.txt\"")
    .means("URL from which `offramp feed fetch` gets the file, for a mirror")
    .since("0.1");

const PUBLIC_KEY: Key = Key::new("public_key", Kind::Text(Form::PublicKey))
    .otherwise("files are taken unsigned")
    .example("\"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\"")
    .means("Minisign key of your mirror, as in `[[feed]]`")
    .since("0.1");

const MAX_AGE_DAYS: Key = Key::new("max_age_days", Kind::Integer(1, feed::TEN_YEARS))
    .default("30")
    .example("14")
    .means("Age of the file, or of the addresses that ship, above which `offramp check` warns")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "profile",
    header: Header::Repeated,
    meaning: "A vendor's service for calls and meetings. Its media servers count as addresses of a `[[public]]` service, as with a \
              `[[feed]]`; format, URL and first addresses ship with the program.",
    keys: &[
        VENDOR,
        NAME,
        FILE,
        URL,
        PUBLIC_KEY,
        MAX_AGE_DAYS,
        feed::SERVER_PREFIXES,
    ],
    examples: &[],
};

/// Reads every `[[profile]]`; `feeds` are those read before, whose names are taken.
pub(in crate::policy) fn read(
    file: &PolicyFile<'_>,
    feeds: &[Feed],
    out: &mut Collector<'_>,
) -> Vec<Feed> {
    let mut profiles: Vec<Feed> = Vec::new();
    for section in Section::repeated(file, &SECTION, out) {
        let vendor = section.word::<Vendor>(&VENDOR, out);
        let name = section.string(&NAME, parse_name, out);
        let path = section.string(&FILE, parse_path, out);
        let public_key = section.string(&PUBLIC_KEY, feed::parse_public_key, out);
        let is_signed = section.has(&PUBLIC_KEY);
        let url = section.string(&URL, |text| feed::parse_url(text, is_signed), out);
        let max_age_days = section.integer(&MAX_AGE_DAYS, out);
        let server_prefixes = section.word_or_default(&feed::SERVER_PREFIXES, out);
        let Some(vendor) = vendor else { continue };
        let facts = vendor.value.facts();
        let line = vendor.line;
        let at = |value: &str| Sourced {
            value: value.to_owned(),
            line,
        };
        let name = name.unwrap_or_else(|| at(&facts.title));
        if feeds
            .iter()
            .chain(&profiles)
            .any(|it| it.name.value == name.value)
        {
            let message = format!("two feeds or profiles are named \"{}\"", name.value);
            let key = if section.has(&NAME) { &NAME } else { &VENDOR };
            let label = out.text.label(section.span_of(key), "second");
            let problem = Diagnostic::error(Code::DuplicateName, message).with_label(label);
            out.add(problem.with_help("a verdict names its rule: give each a `name` of its own"));
            continue;
        }
        let format = FeedFormat::WORDS.iter();
        let format = format.clone().find(|(word, _)| *word == facts.feed.format);
        let Some((_, format)) = format else { continue };
        let shipped = (1..).zip(&facts.addresses.prefixes);
        profiles.push(Feed {
            name,
            format: *format,
            file: path.unwrap_or_else(|| at(&facts.feed.file)),
            service_areas: facts.feed.service_areas.iter().map(|it| at(it)).collect(),
            categories: facts.feed.categories.iter().map(|it| at(it)).collect(),
            entries: EntryChoice::All,
            url: url.or_else(|| facts.feed.url.as_deref().map(at)),
            instance: CloudInstance::Worldwide,
            public_key,
            max_age_days: max_age_days.map_or(Feed::DEFAULT_MAX_AGE_DAYS, |days| days.value),
            wide_prefixes: WidePrefixes::Refuse,
            server_prefixes,
            vendor: Some(vendor.value),
            prefixes: Some(
                shipped
                    .map(|(number, prefix)| FeedPrefix {
                        prefix: *prefix,
                        entry: EntryKey::Number(number),
                    })
                    .collect(),
            ),
        });
    }
    profiles
}

/// Writes the section of a feed that is a profile.
pub(super) fn write(feed: &Feed, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(vendor) = feed.vendor else {
        return Ok(());
    };
    header(out, &SECTION)?;
    pair(out, &VENDOR, vendor.word())?;
    pair(out, &NAME, &feed.name.value)?;
    pair(out, &FILE, &feed.file.value)?;
    if let Some(url) = &feed.url {
        pair(out, &URL, &url.value)?;
    }
    if let Some(key) = &feed.public_key {
        pair(out, &PUBLIC_KEY, &key.value)?;
    }
    raw(out, &MAX_AGE_DAYS, feed.max_age_days)?;
    pair(out, &feed::SERVER_PREFIXES, feed.server_prefixes.word())
}
