//! The second stride: finds the class of a low half in one of many small trees.

use super::node::Node;
use crate::address::ClassNumber;
use crate::address::ranges::Range;
use std::collections::HashMap;

/// All trees over low halves, in two vectors.
///
/// A tree of up to four ranges, which holds a host or two that touch, is a single leaf. A larger
/// one has nodes above its leaves; the children of a node lie side by side.
#[derive(Debug, Clone)]
pub(super) struct LowTrees {
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
}

/// Four ranges with their classes, in half a cache line.
///
/// Keys are read as those of a [`Node`]: the middle one first, then the one before or behind it.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Leaf {
    keys: [u64; 3],
    classes: [ClassNumber; 4],
}

const _: () = assert!(size_of::<Leaf>() == 32 && size_of::<Node>() == 64);

/// A tree, or a subtree: how many levels of nodes are above its leaves, and the number of its top.
///
/// 4 bits and 28 bits. A trie has at most 2^24 ranges, each tree may add one in front of its own, and
/// each of 2^16 classes a tree of one range: fewer than 2^26 leaves, and fewer nodes than leaves. A
/// tree of 2^25 ranges would have 8 levels of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tree(u32);

impl Tree {
    const NUMBER_BITS: u32 = 28;
    const NUMBER: u32 = (1 << Self::NUMBER_BITS) - 1;

    #[inline(always)]
    fn new(height: u32, number: u32) -> Self {
        Self(height << Self::NUMBER_BITS | number)
    }

    #[inline(always)]
    fn height(self) -> u32 {
        self.0 >> Self::NUMBER_BITS
    }
}

impl LowTrees {
    /// For each lane, the class of its address in its tree.
    #[inline(always)]
    pub(super) fn classes<const N: usize>(
        &self,
        mut trees: [Tree; N],
        addresses: &[u64; N],
    ) -> [ClassNumber; N] {
        let highest = trees.iter().fold(0, |highest, tree| highest.max(tree.0));
        for height in (1..=Tree(highest).height()).rev() {
            for (tree, address) in trees.iter_mut().zip(addresses) {
                // A lane that is further down reads node 0 and drops what it read.
                let mask = u32::from(tree.height() == height).wrapping_neg();
                let node = &self.nodes[(tree.0 & Tree::NUMBER & mask) as usize];
                let child = node.first_child() + node.child(*address);
                let below = Tree::new(height - 1, child as u32);
                tree.0 = (below.0 & mask) | (tree.0 & !mask);
            }
        }
        std::array::from_fn(|lane| self.leaves[trees[lane].0 as usize].class(addresses[lane]))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.leaves.capacity() * size_of::<Leaf>()
    }
}

impl Leaf {
    const RANGES: usize = 4;

    /// Up to four ranges in address order.
    fn new(ranges: &[Range<u64>]) -> Self {
        let last = ranges[ranges.len() - 1];
        let key = |range: usize| ranges.get(range).map_or(u64::MAX, |range| range.start - 1);
        Self {
            keys: [key(2), key(1), key(3)],
            classes: std::array::from_fn(|range| ranges.get(range).unwrap_or(&last).class),
        }
    }

    #[inline(always)]
    fn class(&self, address: u64) -> ClassNumber {
        let half = usize::from(self.keys[0] < address);
        self.classes[2 * half + usize::from(self.keys[1 + half] < address)]
    }
}

/// Trees under construction, equal ones stored once.
#[derive(Default)]
pub(super) struct LowTreesBuilder {
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
    by_ranges: HashMap<Vec<Range<u64>>, Tree>,
}

impl LowTreesBuilder {
    /// The tree of some ranges, ascending from 0.
    pub(super) fn tree(&mut self, ranges: &[Range<u64>]) -> Tree {
        if let Some(tree) = self.by_ranges.get(ranges) {
            return *tree;
        }
        let (mut height, mut span) = (0, Leaf::RANGES);
        while span < ranges.len() {
            height += 1;
            span *= Node::CHILDREN;
        }
        let number = self.level(&[ranges], height, span);
        let tree = Tree::new(height, number as u32);
        self.by_ranges.insert(ranges.to_vec(), tree);
        tree
    }

    /// Stores siblings of up to `span` ranges each side by side, their children behind all of them.
    ///
    /// Returns the number of the first.
    fn level(&mut self, siblings: &[&[Range<u64>]], height: u32, span: usize) -> usize {
        if height == 0 {
            let first = self.leaves.len();
            let leaves = siblings.iter().map(|ranges| Leaf::new(ranges));
            self.leaves.extend(leaves);
            return first;
        }
        let first = self.nodes.len();
        let unknown = Node::new(0, |_| None);
        self.nodes.resize(first + siblings.len(), unknown);
        for (number, ranges) in (first..).zip(siblings) {
            let span = span / Node::CHILDREN;
            let children: Vec<_> = ranges.chunks(span).collect();
            let first_child = self.level(&children, height - 1, span);
            self.nodes[number] = Node::new(first_child, |child| {
                children.get(child).map(|ranges| ranges[0].start)
            });
        }
        first
    }

    pub(super) fn finish(mut self) -> LowTrees {
        self.nodes.shrink_to_fit();
        self.leaves.shrink_to_fit();
        LowTrees {
            nodes: self.nodes,
            leaves: self.leaves,
        }
    }
}
