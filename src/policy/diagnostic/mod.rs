//! [`Diagnostic`]: one mistake or doubt about a policy file, and [`Diagnostics`]: all of them.
//!
//! Plain data with accessors, so that a program can print them as JSON; [`Diagnostics::render`] draws them for people.

mod report;

use std::error::Error;
use std::fmt;
use std::ops::Range;

pub use report::Style;

use crate::policy::syntax::text::SourceText;

/// Most diagnostics kept of one file; what is beyond is counted.
///
/// A list of a million wrong prefixes has one cause, and nobody reads ten thousand messages.
pub const MAX_DIAGNOSTICS: usize = 10_000;

/// How serious a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy is taken; somebody should look.
    Warning,
}

impl Severity {
    /// Its name in output: `error` or `warning`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Kind of mistake of a diagnostic; its name is stable, for programs that read `--json`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its stable name, e.g. `host-bits`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

codes! {
    /// The file is larger than any policy.
    FileTooLarge = "file-too-large",
    /// Bytes that are not UTF-8.
    NotUtf8 = "not-utf8",
    /// NUL bytes: a damaged file.
    NulByte = "nul-byte",
    /// Not TOML.
    Syntax = "syntax",
    /// A key or table that is given twice.
    DuplicateKey = "duplicate-key",
    /// A section that does not exist.
    UnknownSection = "unknown-section",
    /// A key that does not exist in its section.
    UnknownKey = "unknown-key",
    /// A required key or section that is absent.
    MissingKey = "missing-key",
    /// A value of another type than the key takes.
    WrongType = "wrong-type",
    /// An array that needs at least one value.
    EmptyList = "empty-list",
    /// A word that the key does not know.
    UnknownValue = "unknown-value",
    /// A word that is planned but does nothing in this version.
    NotSupported = "not-supported",
    /// Not an address.
    BadAddress = "bad-address",
    /// Not a prefix.
    BadPrefix = "bad-prefix",
    /// A number written with leading zeros.
    LeadingZeros = "leading-zeros",
    /// A prefix with bits set beyond its length.
    HostBits = "host-bits",
    /// An IPv4 address in IPv6 clothing.
    MappedAddress = "mapped-address",
    /// Not a port or a range of ports.
    BadPort = "bad-port",
    /// A range whose first port is above its last.
    PortOrder = "port-order",
    /// A name that is empty, too long or has control characters.
    BadName = "bad-name",
    /// Not a host name.
    BadHost = "bad-host",
    /// Not a service name.
    BadService = "bad-service",
    /// Not the name of a network interface.
    BadInterface = "bad-interface",
    /// Not an address that a feed can be fetched from.
    BadUrl = "bad-url",
    /// Not a usable path.
    BadPath = "bad-path",
    /// A number outside its range.
    OutOfRange = "out-of-range",
    /// Two rules of one section with the same name.
    DuplicateName = "duplicate-name",
    /// A `[[test]]` that no packet can be.
    ImpossibleTest = "impossible-test",
    /// All addresses as client or corporate prefix.
    WholeInternet = "whole-internet",
    /// The DNS server would ask itself.
    DnsLoop = "dns-loop",
    /// The DNS server could not answer for other names.
    DnsWithoutUpstream = "dns-without-upstream",
    /// A name that clients of a SIP domain look for, and that is not pinned.
    NameMissing = "name-missing",
    /// A registrar's name whose domain is no SIP domain of the policy.
    SipDomainMissing = "sip-domain-missing",
    /// Hosts of a service that has no single address.
    HostWithoutAddress = "host-without-address",
    /// One name that is to be pinned and hidden.
    PinnedAndHidden = "pinned-and-hidden",
    /// A service record that leads out of its domain.
    SrvTargetOutside = "srv-target-outside",
    /// A service record that leads to a name that is not pinned.
    SrvTargetNotPinned = "srv-target-not-pinned",
    /// Autodiscover without the hosts that it names.
    ExchangeHostMissing = "exchange-host-missing",
    /// Literal media ports that cover other services.
    MediaPortsCoverServices = "media-ports-cover-services",
    /// One service listed as internal and as public.
    ServerAndPublic = "server-and-public",
    /// An address family that one side lacks.
    FamilyMissing = "family-missing",
    /// No corporate prefix.
    NoCorporate = "no-corporate",
    /// Client addresses inside a public service.
    ClientAndPublic = "client-and-public",
    /// An `[[allow]]` that changes no verdict.
    AllowWithoutEffect = "allow-without-effect",
    /// An `[[allow]]` that has clients' addresses by a prefix that reaches beyond them.
    AllowBeyondClients = "allow-beyond-clients",
    /// A public service at a private address.
    PublicIsPrivate = "public-is-private",
    /// A feed whose file is not there.
    FeedNotLoaded = "feed-not-loaded",
    /// A feed whose file has a mistake.
    FeedRefused = "feed-refused",
    /// A feed whose file is older than its `max_age_days`.
    FeedOld = "feed-old",
    /// A feed that writes something in an unusual way.
    FeedSpelling = "feed-spelling",
    /// A prefix named by hand that a feed has withdrawn.
    FeedWithdrawn = "feed-withdrawn",
    /// A server that the routes would leave outside the tunnel.
    ServerOutsideTunnel = "server-outside-tunnel",
    /// An internal prefix that a public one covers.
    InternalKept = "internal-kept",
    /// A public prefix inside an internal one.
    PublicInCorporate = "public-in-corporate",
    /// A DNS server that a public prefix covers.
    DnsKept = "dns-kept",
    /// A VPN gateway inside an internal prefix.
    GatewayInside = "gateway-inside",
    /// A family that a full tunnel does not carry.
    FamilyOutside = "family-outside",
    /// Routes that lead no address into the tunnel.
    NothingPushed = "nothing-pushed",
    /// A rule of Windows Firewall that would never match, or not for long.
    EndpointNeverMatches = "endpoint-never-matches",
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A place in the text that a diagnostic points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub(in crate::policy) span: Range<usize>,
    pub(in crate::policy) line: u32,
    pub(in crate::policy) column: u32,
    pub(in crate::policy) text: String,
}

impl Label {
    /// Bytes of the text, without a byte order mark.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Line, counted from 1.
    pub const fn line(&self) -> u32 {
        self.line
    }

    /// Column in characters, counted from 1.
    pub const fn column(&self) -> u32 {
        self.column
    }

    /// Text beside the underline; may be empty.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// One mistake or doubt about a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub(in crate::policy) severity: Severity,
    pub(in crate::policy) code: Code,
    pub(in crate::policy) message: String,
    pub(in crate::policy) labels: Vec<Label>,
    pub(in crate::policy) help: Vec<String>,
}

impl Diagnostic {
    pub(in crate::policy) fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    pub(in crate::policy) fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    fn new(severity: Severity, code: Code, message: String) -> Self {
        Self {
            severity,
            code,
            message,
            labels: Vec::new(),
            help: Vec::new(),
        }
    }

    pub(in crate::policy) fn with_label(mut self, label: Label) -> Self {
        self.labels.push(label);
        self
    }

    pub(in crate::policy) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Error or warning.
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// Its kind.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The mistake, with the value, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The places it is about, the main one first; none when it is about the whole file.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Advice on what to write; each entry may have several lines.
    pub fn help(&self) -> &[String] {
        &self.help
    }

    /// Line of the main place, counted from 1.
    pub fn line(&self) -> u32 {
        self.labels.first().map_or(1, Label::line)
    }

    /// Column of the main place in characters, counted from 1.
    pub fn column(&self) -> u32 {
        self.labels.first().map_or(1, Label::column)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.severity, self.message)
    }
}

/// Something to say about a policy by who knows its meaning alone: lines instead of spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    severity: Severity,
    code: Code,
    message: String,
    lines: Vec<u32>,
    help: Option<String>,
}

impl Remark {
    /// Something that forbids to act on the policy.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    /// Something that somebody should look at.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    const fn new(severity: Severity, code: Code, message: String) -> Self {
        Self {
            severity,
            code,
            message,
            lines: Vec::new(),
            help: None,
        }
    }

    /// The same, about a line of the policy file too.
    #[must_use]
    pub fn at(mut self, line: u32) -> Self {
        self.lines.push(line);
        self
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same as something to look at, for who does not act on it.
    #[must_use]
    pub const fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Returns `true` if it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Its kind.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The mistake, with the value, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The lines of the policy file that it is about.
    pub fn lines(&self) -> &[u32] {
        &self.lines
    }
}

/// Diagnostics of one policy file, in file order; errors before warnings at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    pub(in crate::policy) origin: String,
    pub(in crate::policy) source: String,
    pub(in crate::policy) items: Vec<Diagnostic>,
    pub(in crate::policy) omitted: usize,
}

impl Diagnostics {
    /// Name of the file.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The text that the labels' spans point into: the file without a byte order mark, wrong bytes replaced by U+FFFD.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All of them, in file order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// How many are kept; see [`MAX_DIAGNOSTICS`].
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns `true` if the file earned nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many there were beyond [`MAX_DIAGNOSTICS`].
    pub const fn omitted(&self) -> usize {
        self.omitted
    }

    /// The same file without what it earned so far, for a stage that has nothing to do with the rest.
    #[must_use]
    pub fn cleared(mut self) -> Self {
        self.items.clear();
        self.omitted = 0;
        self
    }

    /// Adds what a later stage says, with the lines it is about underlined, and puts it in its place.
    pub fn remark(&mut self, remark: &Remark) {
        if self.items.len() >= MAX_DIAGNOSTICS {
            self.omitted += 1;
            return;
        }
        let mut item = Diagnostic::new(remark.severity, remark.code, remark.message.clone());
        item.labels = remark
            .lines
            .iter()
            .filter_map(|&line| self.line_label(line))
            .collect();
        item.help.extend(remark.help.clone());
        let start = |item: &Diagnostic| {
            let first = item.labels.first();
            (first.map_or(0, |label| label.span.start), item.severity)
        };
        let at = self
            .items
            .partition_point(|other| start(other) <= start(&item));
        self.items.insert(at, item);
    }

    /// A label that underlines `line`, without its indent and its comment; none for a line that is not there.
    fn line_label(&self, line: u32) -> Option<Label> {
        let wanted = usize::try_from(line).ok()?.checked_sub(1)?;
        let mut from = 0;
        let mut lines = self.source.split_inclusive('\n');
        for before in lines.by_ref().take(wanted) {
            from += before.len();
        }
        let text = lines.next()?;
        let indent = text.len() - text.trim_start().len();
        let code = match text.find(" #") {
            Some(comment) if !text[..comment].trim().is_empty() => &text[..comment],
            Some(_) | None => text,
        };
        let code = code.trim();
        // A machine-made line may be megabytes long.
        let length = code.floor_char_boundary(code.len().min(LONGEST_UNDERLINED));
        let start = from + indent;
        Some(Label {
            span: start..start + length,
            line,
            column: u32::try_from(text[..indent].chars().count()).ok()? + 1,
            text: String::new(),
        })
    }

    /// How many kept ones have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|item| item.severity == severity).count()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One line each, `origin:line:column: severity: message`, for logs; [`Diagnostics::render`] has the pictures.
impl fmt::Display for Diagnostics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            let (line, column) = (item.line(), item.column());
            write!(out, "{}:{line}:{column}: {item}", self.origin)?;
        }
        if self.omitted > 0 {
            write!(out, "\n{}: and {} more", self.origin, self.omitted)?;
        }
        Ok(())
    }
}

impl Error for Diagnostics {}

/// Bytes of a line that a remark underlines.
const LONGEST_UNDERLINED: usize = 120;

/// Collects the findings of all stages of reading.
#[derive(Debug)]
pub(in crate::policy) struct Collector<'a> {
    pub(in crate::policy) text: &'a SourceText<'a>,
    /// The file has syntax errors: what is absent from the tree may stand on a broken line.
    pub(in crate::policy) damaged: bool,
    items: Vec<Diagnostic>,
    errors: usize,
    omitted: usize,
}

impl<'a> Collector<'a> {
    pub(in crate::policy) fn new(text: &'a SourceText<'a>) -> Self {
        Self {
            text,
            damaged: false,
            items: Vec::new(),
            errors: 0,
            omitted: 0,
        }
    }

    pub(in crate::policy) fn add(&mut self, item: Diagnostic) {
        self.errors += usize::from(item.severity == Severity::Error);
        if self.items.len() < MAX_DIAGNOSTICS {
            self.items.push(item);
        } else {
            self.omitted += 1;
        }
    }

    /// Adds an error at `span`.
    pub(in crate::policy) fn error(
        &mut self,
        span: Range<usize>,
        label: &str,
        code: Code,
        message: impl Into<String>,
    ) {
        let label = self.text.label(span, label);
        self.add(Diagnostic::error(code, message).with_label(label));
    }

    pub(in crate::policy) const fn has_errors(&self) -> bool {
        self.errors > 0
    }

    pub(in crate::policy) fn finish(mut self, origin: &str) -> Diagnostics {
        self.items.sort_by_key(|item| {
            let start = item.labels.first().map_or(0, |label| label.span.start);
            (start, item.severity, item.code)
        });
        Diagnostics {
            origin: origin.to_owned(),
            source: self.text.as_str().to_owned(),
            items: self.items,
            omitted: self.omitted,
        }
    }
}
