//! [`FeedError`]: why a feed is refused, and [`Note`]: what was taken though it is written in an unusual way.

use ipnet::IpNet;

use super::EntryKey;

/// Why a feed is refused; always whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// More bytes than any feed has.
    #[error("it has {bytes} bytes; {most} is the most", most = super::MAX_FEED_SIZE)]
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// Nothing in it.
    #[error("it is empty: the download was cut off, or there is nothing at its address")]
    Empty,
    /// Bytes that are not UTF-8.
    #[error("byte {offset} is not UTF-8")]
    NotUtf8 {
        /// Offset of the byte.
        offset: usize,
    },
    /// Text in another encoding, as PowerShell's `>` writes it.
    #[error(
        "it is UTF-16 ({sign}), as Windows PowerShell's `>` and Notepad's \"Unicode\" write files: save it as UTF-8"
    )]
    Utf16 {
        /// The sign by which it is known.
        sign: &'static str,
    },
    /// A document of the same web service that is another one.
    #[error("it is {found}")]
    OtherDocument {
        /// The document, and its use.
        found: String,
    },
    /// JSON around something that is not the document.
    #[error(
        "it is a JSON object with {keys}, and the document is a list, [ ... ]: a proxy or a script answered in its \
         own form; save the list alone"
    )]
    Wrapped {
        /// Keys of the object.
        keys: String,
    },
    /// The document as a string inside JSON.
    #[error(
        "it is a JSON string that contains a document: a proxy or a script has encoded it a second time; decode it once"
    )]
    EncodedTwice,
    /// A web page, as sign-in portals and proxies put in the place of a file.
    #[error("it is a web page, not a feed: a proxy or a sign-in page answered in its place")]
    WebPage,
    /// Not the JSON that the format has.
    #[error("line {line}, column {column}: {message}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The mistake.
        message: String,
    },
    /// A document without entries.
    #[error("it has no entries")]
    NoEntries,
    /// Two entries with one id.
    #[error("two entries have the id {id}")]
    DuplicateId {
        /// The id.
        id: u32,
    },
    /// A value that is not a prefix.
    #[error("{entry}: `{text}` {why}")]
    BadPrefix {
        /// Entry with the mistake.
        entry: EntryKey,
        /// The value.
        text: String,
        /// Why not.
        why: String,
    },
    /// A value that is not a list of ports.
    #[error("{entry}: `{text}` is not a list of ports, such as \"443,3478-3481\"")]
    BadPorts {
        /// Entry with the mistake.
        entry: EntryKey,
        /// The value.
        text: String,
    },
    /// A value that is not a date.
    #[error("change {id}: `{text}` is not a date, such as \"20260630\"")]
    BadDate {
        /// Id of the change.
        id: u32,
        /// The value.
        text: String,
    },
    /// A change of no known kind.
    #[error(
        "change {id}: `{text}` is no disposition; there are \"add\", \"change\" and \"remove\""
    )]
    BadDisposition {
        /// Id of the change.
        id: u32,
        /// The value.
        text: String,
    },
    /// Space that no public service has.
    #[error("{entry}: {prefix} is {purpose} space ({document}): no public service has it")]
    NotPublic {
        /// Entry with the mistake.
        entry: EntryKey,
        /// The prefix.
        prefix: IpNet,
        /// Its purpose.
        purpose: &'static str,
        /// The document that reserves it.
        document: &'static str,
    },
    /// A prefix that would empty the tunnel.
    #[error(
        "{entry}: {prefix} is wider than /{limit}: it would take most of the tunnel's traffic out; \
         wide_prefixes = \"accept\" accepts it"
    )]
    TooWide {
        /// Entry with the mistake.
        entry: EntryKey,
        /// The prefix.
        prefix: IpNet,
        /// The shortest length that is taken.
        limit: u8,
    },
    /// A prefix that overlaps the addresses of an internal server.
    #[error(
        "{entry}: {prefix} overlaps {address} of [[server]] \"{server}\", and public services come first: packets to the server would \
         be forwarded; take the address out of the [[server]] if it is public, or accept that with server_prefixes = \"accept\""
    )]
    OverServer {
        /// Entry with the mistake.
        entry: EntryKey,
        /// The prefix.
        prefix: IpNet,
        /// The server's prefix.
        address: IpNet,
        /// The operator's name for the server.
        server: String,
    },
    /// Prefixes that would empty the tunnel together.
    #[error(
        "its {family} prefixes are a {share} of the whole address space: they would take most of the tunnel's traffic \
         out; wide_prefixes = \"accept\" accepts them"
    )]
    TooMuch {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The share, in words.
        share: String,
    },
    /// No entry has what the policy selects.
    #[error("no entry has {wanted}; the feed has {offered}")]
    NothingSelected {
        /// Selection of the policy.
        wanted: String,
        /// Values that the file has.
        offered: String,
    },
    /// A web page without a table of prefixes.
    #[error(
        "no table cell, list item or line of the page is a prefix: the page may be drawn by a script, or ask for a sign-in; \
         save it from a browser"
    )]
    NoPrefixesOnPage,
    /// Entries, but not one prefix.
    #[error("the entries that the policy selects have no prefixes")]
    NoPrefixes,
}

/// Something written in an unusual way that means one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A prefix that is written otherwise than it is usual.
    Spelling {
        /// Entry with the mistake.
        entry: EntryKey,
        /// As it is written.
        text: String,
        /// As it was taken.
        taken: IpNet,
    },
    /// A document that was inside of another JSON object, as its only list.
    Wrapped {
        /// The key it was under.
        key: String,
    },
    /// Passages of a web page with prefixes among other words.
    LeftOut {
        /// Their number.
        blocks: usize,
        /// The first of them.
        first: String,
    },
    /// A category that is none of the three.
    Category {
        /// Entry with the mistake.
        entry: EntryKey,
        /// As it is written.
        text: String,
    },
}

impl std::fmt::Display for Note {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Spelling { entry, text, taken } => {
                write!(out, "{entry}: `{text}` is taken as {taken}")
            }
            Self::Wrapped { key } => write!(
                out,
                "the list was inside a JSON object, under `{key}`: a proxy or a script has wrapped it"
            ),
            Self::LeftOut { blocks, first } => {
                let passages = match blocks {
                    1 => "1 passage of the page has".to_owned(),
                    blocks => format!("{blocks} passages of the page have"),
                };
                write!(
                    out,
                    "{passages} prefixes among other words, which are left out: `{first}`"
                )
            }
            Self::Category { entry, text } => write!(
                out,
                "{entry}: `{text}` is no known category; it is taken where a policy names no categories"
            ),
        }
    }
}
