//! A node of a search tree: one cache line that selects a child.

/// Seven keys, and one word for the number of the first child where a tree needs it.
///
/// The keys are a binary search tree of their own: key 1 on top, the keys below key `i` in places
/// `2i` and `2i + 1`. Place 0 stays free for the first child.
///
/// ```text
///                  1                  in address order:  4 2 5 1 6 3 7
///             2         3
///           4   5     6   7           place 2i + (key i < address), three times:
///          ╵ ╵ ╵ ╵   ╵ ╵ ╵ ╵          child 0 is place 8, child 7 is place 15
/// ```
///
/// A key is the last address before its child, so it is passed where `key < address`. A child
/// that does not exist has the key `u64::MAX`, which no address passes.
///
/// Each step adds what its comparison says: the compiler would make a branch of a choice, and half
/// of these would be mispredicted. Counting the keys below the address, as wide vectors like it, is
/// two to three times slower on a generic x86-64, which has no vector comparison of 64-bit numbers.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Node([u64; 8]);

impl Node {
    /// Children of a node.
    pub(super) const CHILDREN: usize = 8;

    /// The child before each key, by place.
    const CHILD_OF_KEY: [usize; 8] = [0, 4, 2, 6, 1, 3, 5, 7];

    /// A node whose children 1 to 7 start where `start` says, ascending; `None` for those that do not exist.
    pub(super) fn new(first_child: usize, start: impl Fn(usize) -> Option<u64>) -> Self {
        let mut words = Self::CHILD_OF_KEY.map(|child| match start(child) {
            // Child 0 starts at 0 or above, and these start above it.
            Some(start) if child > 0 => start - 1,
            _ => u64::MAX,
        });
        words[0] = first_child as u64;
        Self(words)
    }

    /// The number of the child that contains the address.
    #[inline(always)]
    pub(super) fn child(&self, address: u64) -> usize {
        let place = 2 + usize::from(self.0[1] < address);
        let place = 2 * place + usize::from(self.0[place] < address);
        let place = 2 * place + usize::from(self.0[place] < address);
        place - Self::CHILDREN
    }

    #[inline(always)]
    pub(super) fn first_child(&self) -> usize {
        self.0[0] as usize
    }
}
