//! [`BuildError`]: the reason why a trie cannot be built.

use super::ClassNumber;
use ipnet::IpNet;

/// The reason why a trie cannot be built from a list of prefixes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// One prefix is listed with two classes, so its class is unknown.
    #[error("prefix {prefix} is given twice, with class {one} and with class {other}")]
    Conflict {
        /// The prefix, without host bits.
        prefix: IpNet,
        /// The lower of the two classes.
        one: ClassNumber,
        /// The higher of the two classes.
        other: ClassNumber,
    },
    /// The prefixes cut the address space into more ranges than a cell can number.
    #[error("the prefixes make {ranges} ranges of addresses; at most {limit} fit")]
    TooManyRanges {
        /// The number of ranges that the prefixes form.
        ranges: usize,
        /// The maximum number of ranges.
        limit: usize,
    },
}
