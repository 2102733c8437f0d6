//! Longest-prefix match for IPv6: a search over the first 64 bits, then one over the last 64.
//!
//! A trie of two strides of 64 bits. A stride of 16 bits is a table with a cell for each value; one
//! of 64 bits is a search among the ranges that its values fall into. Most prefixes of a policy end
//! within the first stride; where some go further, the one value of the first stride that they
//! share leads to a tree of its own over the second.
//!
//! Worked example, `2001:db8::/32 → 1` and the host `2001:db8:0:5::7 → 2`:
//!
//! ```text
//!  first 64 bits: `high`                    last 64 bits: `low`
//!  rank  starts             tree            tree  starts   class
//!  0     ::                 0 ──────────▶   0     ::       0
//!  1     2001:db8::         1 ──────────▶   1     ::       1
//!  2     2001:db8:0:5::     2 ──────────▶   2     ::       1
//!  3     2001:db8:0:6::     1                     ::7      2
//!  4     2001:db9::         0                     ::8      1
//!
//!  2001:db8:0:5::9:  rank 2, so tree 2; ::8 is the last start at or below ::9: class 1
//! ```
//!
//! Equal trees are stored once, and one without a long prefix is a single range. So every address
//! takes both strides, and all lanes of a batch take the same steps.
//!
//! Both searches walk the [`Node`](node::Node): 7 starts in one cache line, passed in three steps,
//! so a search takes a line for every three doublings of the table. The lanes of a batch go down
//! together, level by level, and a core loads the lines of all lanes at once. The levels of `high`
//! are the same for every address; those of `low` are as many as the tallest tree among the lanes
//! has, mostly none above its leaf, and this is all that is left to predict.
//!
//! Sources: ranges for longest-prefix match, and several keys a cache line, are from Lampson,
//! Srinivasan and Varghese, "IP lookups using multiway and multicolumn search" (1998); strides from
//! Srinivasan and Varghese, "Fast address lookups using controlled prefix expansion" (1999); nodes
//! that are found by arithmetic rather than by pointers from Slotin, "Static B-trees" (2022); the
//! order of keys in a node from Khuong and Morin, "Array layouts for comparison-based searching" (2017).

mod high;
mod low;
mod node;

use super::ranges::{Range, flatten};
use super::{BuildError, ClassNumber, NO_CLASS};
use high::HighTree;
use ipnet::Ipv6Net;
use low::{LowTrees, LowTreesBuilder, Tree};

/// Longest-prefix match for IPv6: immutable, no allocation on lookup.
#[derive(Debug, Clone)]
pub struct Ipv6Trie {
    high: HighTree,
    /// For each range of `high`, the tree that its addresses go on with.
    trees: Vec<Tree>,
    low: LowTrees,
}

impl Ipv6Trie {
    /// Builds the trie from prefixes in any order.
    ///
    /// Host bits of a prefix are ignored. A prefix may be repeated with its class.
    ///
    /// # Errors
    /// [`BuildError::Conflict`] if a prefix is repeated with another class,
    /// [`BuildError::TooManyRanges`] beyond 16,777,216 ranges (at least 8,388,607 prefixes).
    pub fn build(
        prefixes: impl IntoIterator<Item = (Ipv6Net, ClassNumber)>,
    ) -> Result<Self, BuildError> {
        Self::within(MAX_RANGES, prefixes)
    }

    /// Builds the trie if the prefixes make `limit` ranges of addresses at most.
    pub(super) fn within(
        limit: usize,
        prefixes: impl IntoIterator<Item = (Ipv6Net, ClassNumber)>,
    ) -> Result<Self, BuildError> {
        let ranges = flatten(prefixes)?;
        if ranges.len() > limit {
            let ranges = ranges.len();
            return Err(BuildError::TooManyRanges { ranges, limit });
        }
        let (high, low) = split(&ranges);
        let starts: Vec<u64> = high.iter().map(|(start, _)| *start).collect();
        Ok(Self {
            high: HighTree::build(&starts),
            trees: high.iter().map(|(_, tree)| *tree).collect(),
            low,
        })
    }

    /// The class of the longest prefix that contains the address, [`NO_CLASS`] without one.
    ///
    /// The address is in host byte order, as [`Ipv6Addr::to_bits`](std::net::Ipv6Addr::to_bits) gives it.
    #[inline]
    pub fn lookup(&self, address: u128) -> ClassNumber {
        let [class] = self.lookup_lanes(&[address]);
        class
    }

    /// Looks up each address and writes its class to the same place of `classes`.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn lookup_batch(&self, addresses: &[u128], classes: &mut [ClassNumber]) {
        assert_eq!(addresses.len(), classes.len(), "one class for each address");
        let (groups, rest) = addresses.as_chunks::<LANES>();
        let (class_groups, class_rest) = classes.as_chunks_mut::<LANES>();
        for (addresses, classes) in groups.iter().zip(class_groups) {
            *classes = self.lookup_lanes(addresses);
        }
        for (address, class) in rest.iter().zip(class_rest) {
            *class = self.lookup(*address);
        }
    }

    /// Bytes that the trie occupies, nodes and all.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.high.heap_bytes()
            + self.trees.capacity() * size_of::<Tree>()
            + self.low.heap_bytes()
    }

    #[inline(always)]
    fn lookup_lanes<const N: usize>(&self, addresses: &[u128; N]) -> [ClassNumber; N] {
        let ranks = self.high.ranks(&addresses.map(high_half));
        let trees = ranks.map(|rank| self.trees[rank]);
        self.low.classes(trees, &addresses.map(low_half))
    }
}

/// Addresses that descend the tree together: enough to overlap their loads.
///
/// Measured: 10 and 12 are no faster, 16 are a tenth slower on small tables; 8 divide a burst of 64.
const LANES: usize = 8;

/// Bounds the number of a tree; see [`Tree`].
const MAX_RANGES: usize = 1 << 24;

#[inline(always)]
fn high_half(address: u128) -> u64 {
    (address >> 64) as u64
}

#[inline(always)]
fn low_half(address: u128) -> u64 {
    address as u64
}

/// Cuts ranges of addresses into ranges of high halves, each with its tree over low halves.
fn split(ranges: &[Range<u128>]) -> (Vec<(u64, Tree)>, LowTrees) {
    let mut high: Vec<(u64, Tree)> = Vec::new();
    let mut low = LowTreesBuilder::default();
    let mut begin = |start, tree| {
        high.pop_if(|(last_start, _)| *last_start == start);
        if high.last().is_none_or(|(_, last_tree)| *last_tree != tree) {
            high.push((start, tree));
        }
    };
    let mut class_before = NO_CLASS;
    for same_high in ranges.chunk_by(|a, b| high_half(a.start) == high_half(b.start)) {
        let mut inside: Vec<Range<u64>> = same_high
            .iter()
            .map(|range| Range {
                start: low_half(range.start),
                class: range.class,
            })
            .collect();
        if inside[0].start > 0 {
            let class = class_before;
            inside.insert(0, Range { start: 0, class });
        }
        class_before = inside[inside.len() - 1].class;
        let start = high_half(same_high[0].start);
        begin(start, low.tree(&inside));
        // The rest has the last class, up to the high half where the next range starts.
        if let Some(next) = start.checked_add(1) {
            let class = class_before;
            begin(next, low.tree(&[Range { start: 0, class }]));
        }
    }
    high.shrink_to_fit();
    (high, low.finish())
}
