//! Addresses and ports: sets of both, longest-prefix match, and the special-purpose addresses ([`special`]).
//!
//! A policy names many sets of prefixes that overlap. Its compiler gives each combination of sets that occurs a dense
//! number, the *class*. [`Ipv4Trie`] and [`Ipv6Trie`] look up the class of an address. Both are immutable, consist of a
//! handful of vectors, allocate nothing on lookup, and return [`NO_CLASS`] if no prefix matches.
//!
//! ```text
//!   prefixes, any order        sorted ranges, no overlap       the trie
//!   10.0.0.0/8    1            0.0.0.0     0
//!   10.1.0.0/16   2     →      10.0.0.0    1            →      cells or keys
//!   10.1.2.0/24   1            10.1.0.0    2
//!                              10.1.2.0    1
//!                              10.1.3.0    2
//!                              10.2.0.0    1
//!                              11.0.0.0    0
//! ```
//!
//! `ranges` does the first step for both families. The second differs: 32 bits are walked in three
//! loads ([`Ipv4Trie`]), 128 bits are searched in two halves ([`Ipv6Trie`]). [`mod@reference`] is the
//! slow, simple table that both are tested against.
//!
//! `few` tests by comparison alone if an address is in a set of a few ranges.
//!
//! Lookups of a batch are independent of each other, so a core has many of them under way at once:
//! prefer `lookup_batch` wherever there is more than one address.
//!
//! [`PortSet`] is a set of ports in the fewest ranges.
//!
//! [`PrefixSet`] is a set of addresses with set algebra, listed in the fewest prefixes.

mod error;
mod family;
mod few;
mod ipv4;
mod ipv6;
mod port;
pub(crate) mod ranges;
pub mod reference;
pub mod set;
pub mod special;

pub use error::BuildError;
pub use family::Family;
pub(crate) use few::{FewRanges, Number};
pub use ipv4::Ipv4Trie;
pub use ipv6::Ipv6Trie;
pub use port::{PortRange, PortSet};
pub use set::{PrefixSet, more_specific};

/// The number of an address class; [`NO_CLASS`] if no prefix matches.
pub type ClassNumber = u16;

/// The class of an address that no prefix matches.
pub const NO_CLASS: ClassNumber = 0;

#[cfg(test)]
mod tests;
