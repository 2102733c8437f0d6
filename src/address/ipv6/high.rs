//! The first stride: finds the range that holds the high half of an address.

use super::node::Node;

/// A search tree over the starts of ranges, all of its levels full but for their ends.
///
/// Children are found by arithmetic: node `n` of a level has the nodes `8n` to `8n + 7` of the next
/// as children, and those of the last level are the ranges themselves. With 20 ranges:
///
/// ```text
///  root                          keys: starts of ranges 8, 16
///  levels[0]   node 0            keys: starts of ranges 1, 2, 3, 4, 5, 6, 7
///              node 1            keys: starts of ranges 9, 10, … 15
///              node 2            keys: starts of ranges 17, 18, 19
///  range 13 is child 1 of the root, then child 5: 8 × 1 + 5
/// ```
#[derive(Debug, Clone)]
pub(super) struct HighTree {
    root: Node,
    levels: Vec<Vec<Node>>,
}

impl HighTree {
    /// Builds the tree from the starts of ranges, ascending from 0.
    pub(super) fn build(starts: &[u64]) -> Self {
        let mut levels = Vec::new();
        // Ranges below one child of a node.
        let mut span = 1;
        loop {
            let node = |n| {
                let start = |child| starts.get((Node::CHILDREN * n + child) * span).copied();
                // The place of a node says where its children are.
                Node::new(0, start)
            };
            let nodes = starts.len().div_ceil(Node::CHILDREN * span);
            if nodes <= 1 {
                levels.reverse();
                return Self {
                    root: node(0),
                    levels,
                };
            }
            levels.push((0..nodes).map(node).collect());
            span *= Node::CHILDREN;
        }
    }

    /// For each lane, the number of the last range that starts at or below its address.
    #[inline(always)]
    pub(super) fn ranks<const N: usize>(&self, addresses: &[u64; N]) -> [usize; N] {
        let mut ranks = addresses.map(|address| self.root.child(address));
        for level in &self.levels {
            let level = level.as_slice();
            for (rank, address) in ranks.iter_mut().zip(addresses) {
                *rank = Node::CHILDREN * *rank + level[*rank].child(*address);
            }
        }
        ranks
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let nodes: usize = self.levels.iter().map(Vec::capacity).sum();
        nodes * size_of::<Node>() + self.levels.capacity() * size_of::<Vec<Node>>()
    }
}
