//! Prefixes that somebody else publishes: Microsoft's endpoints, Zoom's list, any list of prefixes.
//!
//! ```text
//!  endpoints document, JSON ─┐
//!                            ├──▶ Document ──▶ Difference between two of them
//!  one prefix a line ────────┤      entries, each with a key: the id, the line, or a number
//!  ip-ranges.json of AWS ────┤
//!  tables of a web page ─────┘
//!  changes document, JSON ──────▶ Change: what Microsoft announces
//! ```
//!
//! A feed decides what leaves the tunnel, and it comes from outside. So a document with one mistake is refused whole,
//! [`guard`] refuses what no public service has (private space, prefixes that would empty the tunnel), and what is
//! written in an unusual way but means one thing is taken with a [`Note`]. Nothing here reads files or asks a server.

mod aws;
pub mod changes;
mod diff;
mod error;
pub mod guard;
mod json;
mod list;
mod microsoft;
mod page;
mod prefix;
#[cfg(any(test, feature = "fuzzing"))]
pub mod reference;
mod withdrawn;

use std::fmt;
use std::ops::RangeInclusive;

use ipnet::IpNet;

pub use aws::parse_aws;
pub use diff::{Difference, EntryDifference};
pub use error::{FeedError, Note};
pub use list::parse_list;
pub use microsoft::parse_microsoft;
pub use page::parse_page;
pub use withdrawn::{WithdrawnPrefix, withdrawn_long_ago};

/// Bytes that a feed may have; Microsoft's has 100 KiB, and a list of a whole cloud one MiB.
pub const MAX_FEED_SIZE: usize = 16 << 20;

/// Key of an entry of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKey {
    /// The id that Microsoft gives it, the same in every version.
    Id(u32),
    /// The line of a list, from 1.
    Line(u32),
    /// Its place among the entries, from 1, where nothing else tells them apart.
    Number(u32),
}

impl fmt::Display for EntryKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(out, "id {id}"),
            Self::Line(line) => write!(out, "line {line}"),
            Self::Number(number) => write!(out, "entry {number}"),
        }
    }
}

/// How much Microsoft says an endpoint matters; the order is that of its advice, the weightiest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// A word that is none of the three.
    Unknown,
    /// Like any other Internet traffic.
    Default,
    /// Connectivity is needed; latency matters less.
    Allow,
    /// Most of the traffic, and the most sensitive to latency: it should not enter a VPN.
    Optimize,
}

impl Category {
    /// The name as Microsoft writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Optimize => "Optimize",
            Self::Allow => "Allow",
            Self::Default => "Default",
            Self::Unknown => "unknown",
        }
    }

    fn named(name: &str) -> Self {
        let known = [Self::Optimize, Self::Allow, Self::Default];
        let same = known
            .into_iter()
            .find(|category| category.name().eq_ignore_ascii_case(name));
        same.unwrap_or(Self::Unknown)
    }
}

/// One entry of a feed: an endpoint set of Microsoft's, or a line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its key.
    pub key: EntryKey,
    /// `Exchange`, `SharePoint`, `Skype` (which is also Teams) or `Common`; empty in a list.
    pub service_area: String,
    /// The service area for people. Microsoft has changed it before: nothing may depend on it.
    pub service_area_name: String,
    /// Host names, some with `*`.
    pub urls: Vec<String>,
    /// Prefixes of both families, without host bits.
    pub prefixes: Vec<IpNet>,
    /// TCP ports.
    pub tcp_ports: Vec<RangeInclusive<u16>>,
    /// UDP ports.
    pub udp_ports: Vec<RangeInclusive<u16>>,
    /// True if it is routed over ExpressRoute.
    pub express_route: bool,
    /// How much it matters; `Default` in a list.
    pub category: Category,
    /// True if Microsoft calls it required.
    pub required: bool,
    /// Functions lost without it, in Microsoft's words.
    pub notes: String,
}

/// A feed as it was published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// Its entries, in their order.
    pub entries: Vec<FeedEntry>,
    /// Entries that were taken although they are written in an unusual way.
    pub notes: Vec<Note>,
}
