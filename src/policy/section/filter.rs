//! `[filter]`: choices that the article leaves open.

use std::fmt;

use crate::policy::diagnostic::Collector;
use crate::policy::syntax::write::{header, pair};
use crate::policy::syntax::{Header, Key, Kind, PolicyFile, Section, SectionTable};
use crate::policy::value::Word;

/// `[filter]`: choices the article leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilterOptions {
    /// `filter.unknown_source`.
    pub unknown_source: UnknownSource,
    /// `filter.leaked_public`.
    pub leaked_public: LeakedPublic,
    /// `filter.reject`.
    pub reject: Reject,
}

/// Treatment of a packet whose source is not in `vpn.client_subnets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UnknownSource {
    /// Forward it as `not-a-client`.
    #[default]
    Forward,
    /// Drop it as `spoofed-source`.
    Drop,
}

impl Word for UnknownSource {
    const WORDS: &'static [(&'static str, Self)] =
        &[("forward", Self::Forward), ("drop", Self::Drop)];
}

/// Treatment of a packet to a public service that enters the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LeakedPublic {
    /// Forward it and count the leak.
    #[default]
    Forward,
    /// Drop it, so that the client falls back to its direct path.
    Drop,
}

impl Word for LeakedPublic {
    const WORDS: &'static [(&'static str, Self)] =
        &[("forward", Self::Forward), ("drop", Self::Drop)];
}

/// The dropped packets that the client gets an answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reject {
    /// None: a program waits until it gives up.
    #[default]
    Nothing,
    /// TCP segments, by a RST.
    Tcp,
    /// TCP segments, and UDP datagrams that are not media, by ICMP "port unreachable".
    All,
}

impl Word for Reject {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::Nothing),
        ("tcp", Self::Tcp),
        ("all", Self::All),
    ];
}

impl Reject {
    /// Its word in a policy.
    pub fn word(self) -> &'static str {
        <Self as Word>::word(self)
    }
}

const UNKNOWN_SOURCE: Key = Key::new("unknown_source", Kind::word::<UnknownSource>())
    .default("\"forward\"")
    .example("\"drop\"")
    .means("Packets whose source is not in `vpn.client_subnets`: forwarded as `not-a-client`, or dropped as `spoofed-source`")
    .since("0.1");

const LEAKED_PUBLIC: Key = Key::new("leaked_public", Kind::word::<LeakedPublic>())
    .default("\"forward\"")
    .example("\"drop\"")
    .means("Packets to a public service, which should have left outside the tunnel: forwarded and counted as `public`, or dropped")
    .since("0.1");

const REJECT: Key = Key::new("reject", Kind::word::<Reject>())
    .default("\"none\"")
    .example("\"tcp\"")
    .means(
        "Packets dropped as `servers`, `media` or `hairpin` that the client gets an answer to, so that a program fails at once: \
         `\"none\"`; `\"tcp\"`, TCP by a RST; `\"all\"`, UDP by ICMP \"port unreachable\", too, unless it is media ([verdicts.md](verdicts.md#answers-to-clients))",
    )
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "filter",
    header: Header::Single,
    meaning: "Choices of the filter that the article leaves open.",
    keys: &[UNKNOWN_SOURCE, LEAKED_PUBLIC, REJECT],
    examples: &[],
};

/// Reads the section.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> FilterOptions {
    let Some(section) = Section::single(file, &SECTION, out) else {
        return FilterOptions::default();
    };
    FilterOptions {
        unknown_source: section.word_or_default(&UNKNOWN_SOURCE, out),
        leaked_public: section.word_or_default(&LEAKED_PUBLIC, out),
        reject: section.word_or_default(&REJECT, out),
    }
}

impl FilterOptions {
    /// Writes the section.
    pub(in crate::policy) fn write(self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &UNKNOWN_SOURCE, self.unknown_source.word())?;
        pair(out, &LEAKED_PUBLIC, self.leaked_public.word())?;
        pair(out, &REJECT, self.reject.word())
    }
}
