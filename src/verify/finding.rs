//! [`Finding`]: something that does not fit together, and what to write instead.

use std::fmt;

use crate::policy::Severity;

/// What a finding is about; the names are stable, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingCode {
    /// A needed path is captured and dropped: the call connects, and nobody hears anything.
    Blackhole,
    /// Media can enter the tunnel.
    Leak,
    /// Media between two clients passes the concentrator twice.
    Hairpin,
    /// A client can sign in internally, or is led there.
    InternalRegistration,
    /// An address or a name has two meanings.
    Overlap,
    /// IPv4 and IPv6 differ.
    Parity,
    /// Public prefixes are out of date.
    Stale,
    /// More than media is cut off.
    Collateral,
}

impl FindingCode {
    /// Every code.
    pub const ALL: [Self; 8] = [
        Self::Blackhole,
        Self::Leak,
        Self::Hairpin,
        Self::InternalRegistration,
        Self::Overlap,
        Self::Parity,
        Self::Stale,
        Self::Collateral,
    ];

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blackhole => "BLACKHOLE",
            Self::Leak => "LEAK",
            Self::Hairpin => "HAIRPIN",
            Self::InternalRegistration => "INTERNAL-REGISTRATION",
            Self::Overlap => "OVERLAP",
            Self::Parity => "PARITY",
            Self::Stale => "STALE",
            Self::Collateral => "COLLATERAL",
        }
    }

    /// What it means for users.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Blackhole => "a needed path is captured and dropped: calls connect without audio",
            Self::Leak => "media can enter the tunnel",
            Self::Hairpin => "media between two clients passes the concentrator twice",
            Self::InternalRegistration => "clients can sign in internally, or are led there",
            Self::Overlap => "an address or a name has two meanings",
            Self::Parity => "IPv4 and IPv6 differ",
            Self::Stale => "public prefixes are out of date",
            Self::Collateral => "more than media is cut off",
        }
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// The outlets that a finding compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// What the gateway drops.
    Filter,
    /// What enters the tunnel.
    Routes,
    /// What clients resolve.
    Names,
    /// What others publish.
    Feeds,
    /// A predicted call.
    Call,
    /// A file in place that offramp did not write.
    File,
    /// The host on which this runs.
    Host,
}

impl Part {
    /// Its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Routes => "routes",
            Self::Names => "names",
            Self::Feeds => "feeds",
            Self::Call => "call",
            Self::File => "file",
            Self::Host => "host",
        }
    }
}

/// What one part says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The part.
    pub part: Part,
    /// What it says.
    pub says: String,
}

/// Something that does not fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub code: FindingCode,
    /// An error breaks calls or leads media into the tunnel; a warning may do so.
    pub severity: Severity,
    /// What is wrong, with the value, in a line.
    pub what: String,
    /// Lines of the policy file that it is about, the main one first.
    pub lines: Vec<u32>,
    /// What each part says; together they do not fit.
    pub why: Vec<Reason>,
    /// What to write instead.
    pub instead: String,
}

impl Finding {
    /// Something that breaks calls, or leads media into the tunnel.
    pub fn error(code: FindingCode, what: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, what.into())
    }

    /// Something that may do so.
    pub fn warning(code: FindingCode, what: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, what.into())
    }

    const fn new(code: FindingCode, severity: Severity, what: String) -> Self {
        Self {
            code,
            severity,
            what,
            lines: Vec::new(),
            why: Vec::new(),
            instead: String::new(),
        }
    }

    /// The same, about a line of the policy too; none for what the file leaves to a default.
    #[must_use]
    pub fn at(mut self, line: u32) -> Self {
        if line > 0 && !self.lines.contains(&line) {
            self.lines.push(line);
        }
        self
    }

    /// The same, with what a part says.
    #[must_use]
    pub fn because(mut self, part: Part, says: impl Into<String>) -> Self {
        let says = says.into();
        self.why.push(Reason { part, says });
        self
    }

    /// The same, with what to write.
    #[must_use]
    pub fn instead(mut self, text: impl Into<String>) -> Self {
        self.instead = text.into();
        self
    }
}
