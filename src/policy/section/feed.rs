//! `[[feed]]`: public prefixes that somebody else publishes.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub use crate::feed::EntryKey;

use super::profile;
use crate::feed::Category;
use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector};
use crate::policy::syntax::write::{header, list, pair, raw, values};
use crate::policy::syntax::{Form, Header, Key, Kind, Names, PolicyFile, Section, SectionTable};
use crate::policy::value::{Problem, Sourced, Word, parse_name, parse_path, parse_word};
use crate::vendor::Vendor;

/// `[[feed]]`: public prefixes that somebody else publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// The operator's name for it.
    pub name: Sourced<String>,
    /// How the file is written.
    pub format: FeedFormat,
    /// Path of the file, relative to the policy file.
    pub file: Sourced<String>,
    /// Service areas to take; all when empty.
    pub service_areas: Vec<Sourced<String>>,
    /// Categories to take; all when empty.
    pub categories: Vec<Sourced<String>>,
    /// The entries that are taken: all, or only those that the publisher does not call optional.
    pub entries: EntryChoice,
    /// URL from which `offramp feed fetch` gets the file; the publisher's own where the format has one.
    pub url: Option<Sourced<String>>,
    /// Cloud of Microsoft 365 that it is about.
    pub instance: CloudInstance,
    /// Minisign key whose signature the file must have to be taken by `offramp feed fetch`.
    pub public_key: Option<Sourced<String>>,
    /// Age of the file from which `offramp check` warns.
    pub max_age_days: u16,
    /// Treatment of prefixes so wide that they would empty the tunnel.
    pub wide_prefixes: WidePrefixes,
    /// Treatment of prefixes that overlap the addresses of a `[[server]]`.
    pub server_prefixes: ServerPrefixes,
    /// Vendor whose `[[profile]]` it is; none for a `[[feed]]`.
    pub vendor: Option<Vendor>,
    /// Contents of the file, once [`Policy::take_feed`](crate::policy::Policy::take_feed) has read it. No part of the policy file, so printing leaves it out.
    pub prefixes: Option<Vec<FeedPrefix>>,
}

impl Feed {
    /// `max_age_days` where the file leaves it open: Microsoft announces additions 30 days ahead.
    pub const DEFAULT_MAX_AGE_DAYS: u16 = 30;
}

/// Format of a `[[feed]]` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedFormat {
    /// Microsoft 365 endpoints web service, JSON.
    Microsoft365,
    /// One prefix a line.
    Prefixes,
    /// ip-ranges.json of Amazon Web Services.
    AwsIpRanges,
    /// Tables and lists of a web page.
    WebPage,
}

impl Word for FeedFormat {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("microsoft-365", Self::Microsoft365),
        ("prefixes", Self::Prefixes),
        ("aws-ip-ranges", Self::AwsIpRanges),
        ("web-page", Self::WebPage),
    ];
}

/// Cloud of Microsoft 365: each has a web service document of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CloudInstance {
    /// All customers but those of the other clouds.
    #[default]
    Worldwide,
    /// Operated by 21Vianet.
    China,
    /// The United States' Department of Defense.
    UsGovDod,
    /// US Government GCC High.
    UsGovGccHigh,
}

/// The words are the names of the web service ("Office 365 IP Address and URL Web Service").
impl Word for CloudInstance {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("Worldwide", Self::Worldwide),
        ("China", Self::China),
        ("USGovDoD", Self::UsGovDod),
        ("USGovGCCHigh", Self::UsGovGccHigh),
    ];
}

impl CloudInstance {
    /// Its name in the web service.
    pub fn name(self) -> &'static str {
        self.word()
    }
}

/// A prefix that a feed publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedPrefix {
    /// The prefix.
    pub prefix: IpNet,
    /// The entry of the feed that has it.
    pub entry: EntryKey,
}

/// Which entries of a Microsoft 365 feed are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EntryChoice {
    /// All that the service areas and categories leave.
    #[default]
    All,
    /// Only those that Microsoft calls required.
    Required,
}

impl Word for EntryChoice {
    const WORDS: &'static [(&'static str, Self)] =
        &[("all", Self::All), ("required", Self::Required)];
}

/// Treatment of a feed with prefixes so wide that they would empty the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WidePrefixes {
    /// The feed is refused.
    #[default]
    Refuse,
    /// They are taken as they are.
    Accept,
}

impl Word for WidePrefixes {
    const WORDS: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("accept", Self::Accept)];
}

/// Treatment of a feed with prefixes that overlap the addresses of a `[[server]]`: public services come first, so packets to
/// these servers would be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ServerPrefixes {
    /// The feed is refused.
    #[default]
    Refuse,
    /// They are taken as they are.
    Accept,
}

impl Word for ServerPrefixes {
    const WORDS: &'static [(&'static str, Self)] =
        &[("refuse", Self::Refuse), ("accept", Self::Accept)];
}

const NAME: Key = Key::new("name", Kind::Text(Form::Name))
    .required()
    .example("\"Microsoft 365\"")
    .means("Your name for it, in verdicts, logs and metrics; no two feeds share one")
    .since("0.1");

pub(in crate::policy) const FORMAT: Key = Key::new("format", Kind::word::<FeedFormat>())
    .required()
    .example("\"microsoft-365\"")
    .means("Format of the file: `\"microsoft-365\"`, JSON of the endpoints web service; `\"prefixes\"`, one prefix a line; `\"aws-ip-ranges\"`, ip-ranges.json of Amazon; `\"web-page\"`, table cells, list items and lines of a page that are prefixes and nothing else")
    .since("0.1");

const FILE: Key = Key::new("file", Kind::Text(Form::Path))
    .required()
    .example("\"m365-worldwide.json\"")
    .means("The file, relative to the policy file; `offramp feed fetch` writes it")
    .since("0.1");

const URL: Key = Key::new("url", Kind::Text(Form::Url))
    .otherwise("the publisher's, for `\"microsoft-365\"` and `\"aws-ip-ranges\"`")
    .example("\"https://assets.zoom.us/docs/ipranges/Zoom.txt\"")
    .means("URL from which `offramp feed fetch` gets the file: the publisher, a mirror, or a file (`file:///srv/feeds/zoom.txt`)")
    .since("0.1");

const INSTANCE: Key = Key::new("instance", Kind::word::<CloudInstance>())
    .default("\"Worldwide\"")
    .example("\"USGovGCCHigh\"")
    .means("Cloud of Microsoft 365 that the feed is about; each has addresses of its own. For `\"microsoft-365\"` alone")
    .since("0.1");

const PUBLIC_KEY: Key = Key::new("public_key", Kind::Text(Form::PublicKey))
    .otherwise("files are taken unsigned")
    .example("\"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\"")
    .means("Minisign key of your mirror: `offramp feed fetch` takes a file only with a signature by this key, which is at `url` with `.minisig` behind it. A mirror with a key may be plain http")
    .since("0.1");

const MAX_AGE_DAYS: Key = Key::new("max_age_days", Kind::Integer(1, TEN_YEARS))
    .default("30")
    .example("14")
    .means("Age of the file, in days, above which `offramp check` warns")
    .since("0.1");

const WIDE_PREFIXES: Key = Key::new("wide_prefixes", Kind::word::<WidePrefixes>())
    .default("\"refuse\"")
    .example("\"accept\"")
    .means("A feed with prefixes wider than /8 (IPv6: /16), or with so many addresses that little would be left in the tunnel: refused whole, or taken")
    .since("0.1");

pub(super) const SERVER_PREFIXES: Key = Key::new("server_prefixes", Kind::word::<ServerPrefixes>())
    .default("\"refuse\"")
    .example("\"accept\"")
    .means("A list with prefixes that overlap the addresses of a `[[server]]`, to which packets would be forwarded, since public services come first: refused whole, or taken")
    .since("0.1");

const SERVICE_AREAS: Key = Key::new("service_areas", Kind::Texts(Form::Name))
    .default("[]")
    .example("[\"Skype\"]")
    .means("Service areas to take, as Microsoft names them: `\"Skype\"` is Teams, too; or services of Amazon, `\"CHIME_MEETINGS\"`; all where empty. For `\"microsoft-365\"` and `\"aws-ip-ranges\"` alone")
    .since("0.1");

const CATEGORIES: Key = Key::new("categories", Kind::Words(categories))
    .default("[]")
    .example("[\"Optimize\"]")
    .means(
        "Categories to take, in Microsoft's words; all where empty. For `\"microsoft-365\"` alone",
    )
    .since("0.1");

const ENTRIES: Key = Key::new("entries", Kind::word::<EntryChoice>())
    .default("\"all\"")
    .example("\"required\"")
    .means("Entries to take: all, or those that Microsoft calls required. For `\"microsoft-365\"` alone")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "feed",
    header: Header::Repeated,
    meaning: "Public prefixes that somebody else publishes: each counts as an address of a `[[public]]` service. A file \
              with a mistake is refused whole.",
    keys: &[
        NAME,
        FORMAT,
        FILE,
        URL,
        PUBLIC_KEY,
        INSTANCE,
        MAX_AGE_DAYS,
        WIDE_PREFIXES,
        SERVER_PREFIXES,
        SERVICE_AREAS,
        CATEGORIES,
        ENTRIES,
    ],
    examples: &[],
};

/// Days; beyond them, nobody meant to be warned.
pub(super) const TEN_YEARS: i64 = 3_650;

/// The three categories of the Microsoft 365 endpoints web service.
const CATEGORY_WORDS: [Category; 3] = [Category::Optimize, Category::Allow, Category::Default];

fn categories() -> Vec<&'static str> {
    CATEGORY_WORDS.map(Category::name).to_vec()
}

/// Reads every `[[feed]]`.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<Feed> {
    let mut names = Names::default();
    let mut feeds = Vec::new();
    for section in Section::repeated(file, &SECTION, out) {
        let name = names.read(&section, &NAME, out);
        let format = section.word(&FORMAT, out);
        let path = section.string(&FILE, parse_path, out);
        let service_areas = section.list(&SERVICE_AREAS, parse_name, out);
        let categories = section.list(&CATEGORIES, parse_category, out);
        let entries = section.word_or_default(&ENTRIES, out);
        let public_key = section.string(&PUBLIC_KEY, parse_public_key, out);
        let is_signed = section.has(&PUBLIC_KEY);
        let url = section.string(&URL, |text| parse_url(text, is_signed), out);
        let instance = section.word_or_default(&INSTANCE, out);
        let max_age_days = section.integer(&MAX_AGE_DAYS, out);
        let wide_prefixes = section.word_or_default(&WIDE_PREFIXES, out);
        let server_prefixes = section.word_or_default(&SERVER_PREFIXES, out);
        if let (Some(name), Some(format), Some(path)) = (name, format, path) {
            let format = format.value;
            report_unused_choices(&section, format, out);
            feeds.push(Feed {
                name,
                format,
                file: path,
                service_areas,
                categories,
                entries,
                url,
                instance,
                public_key,
                max_age_days: max_age_days.map_or(Feed::DEFAULT_MAX_AGE_DAYS, |days| days.value),
                wide_prefixes,
                server_prefixes,
                vendor: None,
                prefixes: None,
            });
        }
    }
    feeds
}

/// A list of prefixes has no service areas; a choice among them would be ignored.
fn report_unused_choices(section: &Section<'_, '_>, format: FeedFormat, out: &mut Collector<'_>) {
    let unused: &[Key] = match format {
        FeedFormat::Microsoft365 => &[],
        FeedFormat::AwsIpRanges => &[INSTANCE, CATEGORIES, ENTRIES],
        FeedFormat::Prefixes | FeedFormat::WebPage => {
            &[INSTANCE, SERVICE_AREAS, CATEGORIES, ENTRIES]
        }
    };
    for key in unused.iter().filter(|key| section.has(key)) {
        let message = format!(
            "`{}` has no meaning for a feed of the format \"{}\"",
            key.name,
            format.word()
        );
        out.error(section.span_of(key), "", Code::UnknownKey, message);
    }
}

fn parse_category(text: &str) -> Result<String, Problem> {
    let words = CATEGORY_WORDS.map(|category| (category.name(), category.name()));
    parse_word(CATEGORIES.name, text, &words).map(str::to_owned)
}

/// Reads the address that a feed is fetched from.
pub(super) fn parse_url(text: &str, is_signed: bool) -> Result<String, Problem> {
    let bad = |why: &str| {
        Problem::new(Code::BadUrl, format!("`{}` {why}", shorten(text)))
            .help("write e.g. \"https://assets.zoom.us/docs/ipranges/Zoom.txt\"")
    };
    if text.contains(|char: char| char.is_control() || char.is_whitespace()) {
        return Err(bad("is not an https address"));
    }
    let rest = match text.split_once("://") {
        Some(("https", rest)) => rest,
        Some(("file", path)) => {
            return match path.starts_with('/') && !path.ends_with('/') {
                true => Ok(text.to_owned()),
                false => Err(bad("is not a file by its full path")
                    .help("write e.g. \"file:///srv/feeds/zoom.txt\"")),
            };
        }
        Some(("http", rest)) => {
            // What anybody on the way can change decides where calls go: without TLS only this machine is trusted,
            // and what is signed.
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            let host = host
                .rsplit_once(':')
                .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
                .map_or(host, |(host, _)| host);
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            if !is_signed && !address.is_ok_and(|address| address.is_loopback()) {
                return Err(bad(
                    "is not https: anybody on the way could change the routes",
                ));
            }
            rest
        }
        Some(_) | None => return Err(bad("is not an https address")),
    };
    if rest.is_empty() || rest.starts_with('/') {
        return Err(bad("is not an https address"));
    }
    Ok(text.to_owned())
}

/// Reads a public key as minisign prints it: base64 of `Ed`, a key id of eight bytes and a key of 32.
pub(in crate::policy) fn parse_public_key(text: &str) -> Result<String, Problem> {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if text.len() == PUBLIC_KEY_LENGTH && text.starts_with("RW") && text.bytes().all(is_base64) {
        return Ok(text.to_owned());
    }
    let message = format!("`{}` is not a minisign public key", shorten(text));
    Err(Problem::new(Code::BadPublicKey, message)
        .help("write the second line of minisign.pub: 56 characters that begin with RW"))
}

/// Characters of a public key: base64 of 42 bytes.
const PUBLIC_KEY_LENGTH: usize = 56;

impl Feed {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.vendor.is_some() {
            return profile::write(self, out);
        }
        header(out, &SECTION)?;
        pair(out, &NAME, &self.name.value)?;
        pair(out, &FORMAT, self.format.word())?;
        pair(out, &FILE, &self.file.value)?;
        if let Some(url) = &self.url {
            pair(out, &URL, &url.value)?;
        }
        if let Some(key) = &self.public_key {
            pair(out, &PUBLIC_KEY, &key.value)?;
        }
        raw(out, &MAX_AGE_DAYS, self.max_age_days)?;
        pair(out, &WIDE_PREFIXES, self.wide_prefixes.word())?;
        pair(out, &SERVER_PREFIXES, self.server_prefixes.word())?;
        if self.format == FeedFormat::AwsIpRanges {
            list(out, &SERVICE_AREAS, values(&self.service_areas))?;
        }
        if self.format == FeedFormat::Microsoft365 {
            pair(out, &INSTANCE, self.instance.word())?;
            list(out, &SERVICE_AREAS, values(&self.service_areas))?;
            list(out, &CATEGORIES, values(&self.categories))?;
            pair(out, &ENTRIES, self.entries.word())?;
        }
        Ok(())
    }
}
