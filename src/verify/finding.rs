//! [`Finding`]: a problem of a policy, of files in use or of a host, and the change that solves it.
//!
//! One type for `verify`, with `--against` and `--live`, and for the checks of the host before a gateway starts. A mistake
//! in the text of a policy is a [`Diagnostic`](crate::policy::Diagnostic), which has a position in the text instead.

use std::fmt;

use crate::policy::Severity;

/// The subject of a finding; the names are stable, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingCode {
    /// A needed path is captured and dropped: the call connects, but there is no audio.
    Blackhole,
    /// Media can enter the tunnel.
    Leak,
    /// Media between two clients crosses the concentrator twice.
    Hairpin,
    /// A client can sign in internally, or is directed there.
    InternalRegistration,
    /// An address or a name has two meanings.
    Overlap,
    /// IPv4 and IPv6 differ.
    Parity,
    /// Public prefixes are out of date.
    Stale,
    /// More than media is blocked.
    Collateral,
    /// A file in use says something about routes or names that was not understood.
    NotRead,
    /// The host hinders the gateway.
    Host,
}

impl FindingCode {
    /// Every code that `offramp verify` reports.
    pub const OF_VERIFY: [Self; 9] = [
        Self::Blackhole,
        Self::Leak,
        Self::Hairpin,
        Self::InternalRegistration,
        Self::Overlap,
        Self::Parity,
        Self::Stale,
        Self::Collateral,
        Self::NotRead,
    ];

    /// Returns its stable name.
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
            Self::NotRead => "NOT-READ",
            Self::Host => "HOST",
        }
    }

    /// Returns its meaning for users.
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
            Self::NotRead => "a file in use says something that was not understood",
            Self::Host => "the host hinders the gateway",
        }
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// The outputs that a finding compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The packets that the gateway drops.
    Filter,
    /// The addresses that enter the tunnel.
    Routes,
    /// The names that clients resolve.
    Names,
    /// The prefixes that others publish.
    Feeds,
    /// Windows Firewall on the clients, by `[[endpoint]]`.
    Endpoints,
    /// A predicted call.
    Call,
    /// A file in use that offramp did not write.
    File,
    /// The host on which offramp runs.
    Host,
}

impl Part {
    /// Returns its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Routes => "routes",
            Self::Names => "names",
            Self::Feeds => "feeds",
            Self::Endpoints => "endpoint",
            Self::Call => "call",
            Self::File => "file",
            Self::Host => "host",
        }
    }
}

/// The statement of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The part.
    pub part: Part,
    /// Its statement.
    pub says: String,
}

/// A problem that a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The subject of the finding.
    pub code: FindingCode,
    /// An error breaks calls, lets media into the tunnel, or keeps the gateway from starting; a warning may do so, or leaves
    /// the gateway working in part.
    pub severity: Severity,
    /// The problem in one line, with the value.
    pub what: String,
    /// Related lines of the policy file, the main one first; empty for a condition of the host.
    pub lines: Vec<u32>,
    /// The conflicting statements, one for each part; empty for a condition of the host.
    pub why: Vec<Statement>,
    /// The change that solves it: the text to write instead, or the command to run.
    pub remedy: String,
}

impl Finding {
    /// Creates a finding that breaks calls, or lets media into the tunnel.
    pub fn error(code: FindingCode, what: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, what.into())
    }

    /// Creates a finding that may do so.
    pub fn warning(code: FindingCode, what: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, what.into())
    }

    /// Creates a finding about the host that keeps the gateway from starting: it would lose traffic, or judge none.
    pub fn host_error(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::error(FindingCode::Host, what).remedy(remedy)
    }

    /// Creates a finding about the host with which the gateway works in part.
    pub fn host_warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::warning(FindingCode::Host, what).remedy(remedy)
    }

    const fn new(code: FindingCode, severity: Severity, what: String) -> Self {
        Self {
            code,
            severity,
            what,
            lines: Vec::new(),
            why: Vec::new(),
            remedy: String::new(),
        }
    }

    /// Adds a related line of the policy; `None` for a setting that the file leaves at its default.
    #[must_use]
    pub fn at(mut self, line: u32) -> Self {
        if line > 0 && !self.lines.contains(&line) {
            self.lines.push(line);
        }
        self
    }

    /// Adds the statement of a part.
    #[must_use]
    pub fn because(mut self, part: Part, says: impl Into<String>) -> Self {
        let says = says.into();
        self.why.push(Statement { part, says });
        self
    }

    /// Adds the change that solves it.
    #[must_use]
    pub fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedy = text.into();
        self
    }
}
