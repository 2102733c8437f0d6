//! IPv6: a trie that narrows, a search that finishes.
//!
//! Prefixes cut the address space into sorted ranges of one class each, so a lookup is "the last
//! range that starts at or below the address". Binary search alone needs a step for each doubling of
//! the table; a trie alone needs a row for each of up to 16 bytes and grows huge with random
//! interface identifiers. Here the trie only narrows: its leaf says "start at this range, so many
//! steps of search remain". A row of 256 cells is built where at least 16 ranges meet in one slot,
//! which bounds the memory whatever the addresses look like.
//!
//! Worked example, `2001:db8::/32 → 1` and `2001:db8:5::/48 → 2`:
//!
//! ```text
//!  number  starts           class      cell of the root, by the first two bytes
//!  0       ::               0          2000  → from range 0, 0 steps
//!  1       2001:db8::       1          2001  → from range 0, 3 steps
//!  2       2001:db8:5::     2          2002  → from range 4, 0 steps
//!  3       2001:db8:6::     1
//!  4       2001:db9::       0
//!
//!  2001:db8:5::1:  from 0; is range 0+4 at or below it? no; 0+2? yes; 2+1? no: range 2, class 2
//! ```
//!
//! A search that takes more steps than it needs is still right, because all later ranges start
//! above the slot. So all lanes of a batch take as many steps as the lane that needs most, and never
//! fewer than four, which are straight code over a window of 16 ranges. Lanes advance together, a
//! step at a time: chains of dependent loads are short, and only two loop counts are left to predict.
//!
//! Sources: the direct index in front of a range search is from Lampson, Srinivasan and Varghese,
//! "IP lookups using multiway and multicolumn search" (1998); rows by byte are the multibit trie of
//! Srinivasan and Varghese (1999).

use super::ranges::{Range, flatten};
use super::{BuildError, ClassNumber};
use ipnet::Ipv6Net;

/// Longest-prefix match for IPv6: immutable, no allocation on lookup.
#[derive(Debug, Clone)]
pub struct Ipv6Trie {
    /// The first 256 rows are the root, by the first two bytes of an address.
    rows: Vec<[Cell; 256]>,
    /// Where each range starts, ascending; padded so that no search step leaves the vector.
    starts: Vec<u128>,
    /// The class of each range; the padding repeats the class of the last.
    classes: Vec<ClassNumber>,
}

impl Ipv6Trie {
    /// Builds the trie from prefixes in any order.
    ///
    /// Host bits of a prefix are ignored. A prefix may be repeated with its class.
    ///
    /// # Errors
    /// [`BuildError::Conflict`] where a prefix is repeated with another class,
    /// [`BuildError::TooManyRanges`] beyond 16,777,216 ranges (at least 8,388,607 prefixes).
    pub fn build(
        prefixes: impl IntoIterator<Item = (Ipv6Net, ClassNumber)>,
    ) -> Result<Self, BuildError> {
        let ranges = flatten(prefixes)?;
        if ranges.len() > Cell::MAX_NUMBER {
            return Err(BuildError::TooManyRanges {
                ranges: ranges.len(),
                limit: Cell::MAX_NUMBER,
            });
        }
        let mut builder = Builder {
            ranges: &ranges,
            rows: vec![[Cell(0); 256]; 256],
            most_steps: 0,
        };
        let mut from = 0;
        for slot in 0..=u16::MAX {
            let cell = builder.cell(u128::from(slot) << 112, 2, &mut from);
            let [first, second] = slot.to_be_bytes();
            builder.rows[usize::from(first)][usize::from(second)] = cell;
        }
        let Builder {
            mut rows,
            most_steps,
            ..
        } = builder;
        rows.shrink_to_fit();

        let padding = WINDOW.max(1 << most_steps);
        let mut starts = Vec::with_capacity(ranges.len() + padding);
        let mut classes = Vec::with_capacity(ranges.len() + padding);
        for range in &ranges {
            starts.push(range.start);
            classes.push(range.class);
        }
        // The highest address may step onto the padding, where it finds the class of the last range.
        let last_class = classes[ranges.len() - 1];
        starts.resize(ranges.len() + padding, u128::MAX);
        classes.resize(ranges.len() + padding, last_class);
        Ok(Self {
            rows,
            starts,
            classes,
        })
    }

    /// The class of the longest prefix that contains the address, [`NO_CLASS`](super::NO_CLASS) without one.
    ///
    /// The address is in host byte order, as [`Ipv6Addr::to_bits`](std::net::Ipv6Addr::to_bits) gives it.
    pub fn lookup(&self, address: u128) -> ClassNumber {
        let mut cell = self.root(address);
        let mut depth = 2;
        while cell.is_row() {
            cell = self.rows[cell.number()][usize::from(byte(address, depth))];
            depth += 1;
        }
        let mut range = cell.number();
        for step in (WINDOW_STEPS..cell.steps()).rev() {
            range = self.step(range, step, address);
        }
        let window = self.window(range);
        let at = (0..WINDOW_STEPS)
            .rev()
            .fold(0, |at, step| halve(window, at, step, address));
        self.classes[range + at]
    }

    /// Looks up each address and writes its class to the same place of `classes`.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn lookup_batch(&self, addresses: &[u128], classes: &mut [ClassNumber]) {
        assert_eq!(addresses.len(), classes.len(), "one class for each address");
        let (chunks, rest) = addresses.as_chunks::<LANES>();
        let (class_chunks, class_rest) = classes.as_chunks_mut::<LANES>();
        for (addresses, classes) in chunks.iter().zip(class_chunks) {
            self.lookup_lanes(addresses, classes);
        }
        for (address, class) in rest.iter().zip(class_rest) {
            *class = self.lookup(*address);
        }
    }

    /// Bytes that the trie occupies, cells and all.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.rows.capacity() * size_of::<[Cell; 256]>()
            + self.starts.capacity() * size_of::<u128>()
            + self.classes.capacity() * size_of::<ClassNumber>()
    }

    #[inline]
    fn lookup_lanes(&self, addresses: &[u128; LANES], classes: &mut [ClassNumber; LANES]) {
        let mut cells = addresses.map(|address| self.root(address));
        let mut depth = 2;
        while cells.iter().fold(0, |any, cell| any | cell.row_mask()) != 0 {
            for (cell, address) in cells.iter_mut().zip(addresses) {
                // A lane that is at its leaf reads row 0 and drops what it read.
                let mask = cell.row_mask();
                let row = cell.number() & mask as usize;
                let below = self.rows[row][usize::from(byte(*address, depth))];
                cell.0 = (below.0 & mask) | (cell.0 & !mask);
            }
            depth += 1;
        }
        let mut ranges = cells.map(Cell::number);
        let steps = cells.iter().fold(0, |most, cell| cell.steps().max(most));
        for step in (WINDOW_STEPS..steps).rev() {
            for (range, address) in ranges.iter_mut().zip(addresses) {
                *range = self.step(*range, step, *address);
            }
        }
        let windows = ranges.map(|range| self.window(range));
        let mut within = [0; LANES];
        for step in (0..WINDOW_STEPS).rev() {
            for ((at, window), address) in within.iter_mut().zip(windows).zip(addresses) {
                *at = halve(window, *at, step, *address);
            }
        }
        for ((class, range), at) in classes.iter_mut().zip(ranges).zip(within) {
            *class = self.classes[range + at];
        }
    }

    #[inline(always)]
    fn root(&self, address: u128) -> Cell {
        self.rows[usize::from(byte(address, 0))][usize::from(byte(address, 1))]
    }

    /// One halving of the search: `1 << step` ranges further, if that range starts at or below the address.
    ///
    /// What the comparison says is added rather than chosen by: the compiler would make a branch
    /// of a choice, and half of these would be mispredicted.
    #[inline(always)]
    fn step(&self, range: usize, step: u32, address: u128) -> usize {
        let reached = self.starts[range + (1 << step)] <= address;
        range + (usize::from(reached) << step)
    }

    /// The 16 ranges that the last steps of the search tell apart.
    #[inline(always)]
    fn window(&self, range: usize) -> &[u128; WINDOW] {
        self.starts[range..]
            .first_chunk()
            .expect("the padding is a window at least")
    }
}

/// The same halving inside a window, whose size makes the bounds check vanish.
#[inline(always)]
fn halve(window: &[u128; WINDOW], at: usize, step: u32, address: u128) -> usize {
    let reached = window[(at + (1 << step)) % WINDOW] <= address;
    at + (usize::from(reached) << step)
}

/// Addresses that walk together: enough to overlap their loads, few enough to stay in registers.
///
/// Measured: 16 lanes are a tenth slower on small tables.
const LANES: usize = 8;

/// Ranges that the last steps of the search tell apart.
const WINDOW: usize = 1 << WINDOW_STEPS;
const WINDOW_STEPS: u32 = 4;

/// Byte `depth` of an address, the first is 0.
#[inline(always)]
fn byte(address: u128, depth: u32) -> u8 {
    let half = if depth < 8 { address >> 64 } else { address } as u64;
    (half >> (56 - 8 * (depth & 7))) as u8
}

/// What a slot of the trie leads to: 24 bits of number, 8 bits of kind.
///
/// Kind 0xff is a row; any other is a leaf, the number of search steps from range `number`.
#[derive(Debug, Clone, Copy)]
struct Cell(u32);

impl Cell {
    const MAX_NUMBER: usize = 1 << 24;
    const ROW: u32 = 0xff;

    fn row(number: usize) -> Self {
        debug_assert!(number < Self::MAX_NUMBER);
        Self((number as u32) << 8 | Self::ROW)
    }

    fn leaf(range: usize, steps: u32) -> Self {
        Self((range as u32) << 8 | steps)
    }

    #[inline(always)]
    fn number(self) -> usize {
        (self.0 >> 8) as usize
    }

    #[inline(always)]
    fn steps(self) -> u32 {
        self.0 & 0xff
    }

    #[inline(always)]
    fn is_row(self) -> bool {
        self.steps() == Self::ROW
    }

    /// All ones for a row, zero for a leaf.
    #[inline(always)]
    fn row_mask(self) -> u32 {
        (self.0 as i8 >> 7) as u32
    }
}

struct Builder<'a> {
    ranges: &'a [Range<u128>],
    rows: Vec<[Cell; 256]>,
    most_steps: u32,
}

impl Builder<'_> {
    /// The cell of the slot of all addresses that share the first `depth` bytes of `first`.
    ///
    /// `from` is a range that starts at or below `first`; it is moved forward to the one that holds it.
    fn cell(&mut self, first: u128, depth: u32, from: &mut usize) -> Cell {
        let last = first | u128::MAX.checked_shr(8 * depth).unwrap_or(0);
        while self.starts_at_or_below(*from + 1, first) {
            *from += 1;
        }
        let mut end = *from + 1;
        while self.starts_at_or_below(end, last) {
            end += 1;
        }
        let inside = &self.ranges[*from + 1..end];
        if !deserves_row(inside, depth) {
            let steps = usize::BITS - inside.len().leading_zeros();
            self.most_steps = self.most_steps.max(steps);
            return Cell::leaf(*from, steps);
        }
        let number = self.rows.len();
        self.rows.push([Cell(0); 256]);
        for slot in 0..256 {
            let below = first | (slot as u128) << (120 - 8 * depth);
            self.rows[number][slot] = self.cell(below, depth + 1, from);
        }
        Cell::row(number)
    }

    fn starts_at_or_below(&self, range: usize, address: u128) -> bool {
        self.ranges
            .get(range)
            .is_some_and(|range| range.start <= address)
    }
}

/// Whether the ranges that start inside a slot are worth a row of their own.
///
/// A row whose ranges all fall into one of its cells helps only the row below it. Each such row
/// must pay with twice the ranges, up to eight times, so that a cluster of hosts behind a long run
/// of zeros is searched in a step or three more, rather than given a chain of idle rows.
fn deserves_row(inside: &[Range<u128>], depth: u32) -> bool {
    let [lowest, .., highest] = inside else {
        return false;
    };
    let shared_bytes = (lowest.start ^ highest.start).leading_zeros() / 8;
    let idle_rows = shared_bytes.saturating_sub(depth).min(3);
    inside.len() >= WINDOW << idle_rows
}
