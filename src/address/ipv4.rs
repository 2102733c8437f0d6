//! Longest-prefix match for IPv4 in three loads, without branches.
//!
//! A multibit trie with strides of 16, 8 and 8 bits, all prefixes expanded to the ends of their
//! strides (controlled prefix expansion: Srinivasan and Varghese, "Fast address lookups using
//! controlled prefix expansion", 1999). It differs from DIR-24-8 (Gupta, Lin and McKeown, 1998)
//! by its short first stride, which keeps the table of a policy inside the cache of one core.
//!
//! An address always takes all three steps, because a row exists for "all 256 are class c" as for
//! any other content. So there is nothing to test and nothing to predict. Equal rows are stored once.
//!
//! Worked example, `10.0.0.0/8 → 1` and `10.1.2.128/25 → 2`:
//!
//! ```text
//!  root, 65,536 cells        middle, rows of 256           leaf, rows of 256
//!  by bytes 0 and 1          by byte 2                     by byte 3
//!  ┌───────────────┐         ┌──────────────────────┐      ┌──────────────────────────┐
//!  │ 0.0       → 0 │ ──────▶ │ 0: 0 0 0 0 0 0 0 … 0 │ ───▶ │ 0: 0 0 0 … 0 0 0 0 … 0 0 │
//!  │ …             │         ├──────────────────────┤      ├──────────────────────────┤
//!  │ 10.0      → 1 │ ──────▶ │ 1: 1 1 1 1 1 1 1 … 1 │ ───▶ │ 1: 1 1 1 … 1 1 1 1 … 1 1 │
//!  │ 10.1      → 2 │ ──────▶ │ 2: 1 1 2 1 1 1 1 … 1 │ ─┐   ├──────────────────────────┤
//!  │ 10.2      → 1 │         └──────────────────────┘  └─▶ │ 2: 1 1 1 … 1 2 2 2 … 2 2 │
//!  │ …             │          a cell is the number         └──────────────────────────┘
//!  │ 255.255   → 0 │          of a leaf row                 a cell is a class
//!  └───────────────┘
//!  10.1.2.200:  root[10.1] = 2    middle[2][2] = 2    leaf[2][200] = 2: class 2
//! ```
//!
//! Cells are as narrow as the table allows: the root has 65,536 cells, so 16 bits always number its
//! rows; a leaf cell is a byte up to class 255. A row of class c costs 256 cells, which is cheap as
//! long as classes are few, and still works with all 65,536 of them.

use super::ranges::{Range, flatten};
use super::{BuildError, ClassNumber};
use ipnet::Ipv4Net;
use std::collections::HashMap;
use std::hash::Hash;

/// Longest-prefix match for IPv4: immutable, no allocation and no data-dependent branch on lookup.
#[derive(Debug, Clone)]
pub struct Ipv4Trie {
    tables: Tables,
}

/// The same tables in the four combinations of cell widths; policies use the first.
#[derive(Debug, Clone)]
enum Tables {
    /// Classes up to 255, at most 65,536 leaf rows.
    Narrow(Rows<u16, u8>),
    /// Classes above 255.
    ManyClasses(Rows<u16, u16>),
    /// More than 65,536 different leaf rows.
    ManyRows(Rows<u32, u8>),
    /// Both.
    Wide(Rows<u32, u16>),
}

/// Runs the same code on any of the table variants; selects the variant once per call, not once per step.
macro_rules! with_rows {
    ($tables:expr, $rows:ident => $body:expr) => {
        match $tables {
            Tables::Narrow($rows) => $body,
            Tables::ManyClasses($rows) => $body,
            Tables::ManyRows($rows) => $body,
            Tables::Wide($rows) => $body,
        }
    };
}

impl Ipv4Trie {
    /// Builds the trie from prefixes in any order.
    ///
    /// Host bits of a prefix are ignored: `10.1.2.3/8` is `10.0.0.0/8`. A prefix may be repeated
    /// with its class.
    ///
    /// # Errors
    /// [`BuildError::Conflict`] if a prefix is repeated with another class.
    pub fn build(
        prefixes: impl IntoIterator<Item = (Ipv4Net, ClassNumber)>,
    ) -> Result<Self, BuildError> {
        let ranges = flatten(prefixes)?;
        let highest = ranges.iter().map(|range| range.class).max().unwrap_or(0);
        let tables = if highest <= u16::from(u8::MAX) {
            let rows = Rows::<u32, u8>::build(&ranges, |class| class as u8);
            match rows.narrow() {
                Ok(rows) => Tables::Narrow(rows),
                Err(rows) => Tables::ManyRows(rows),
            }
        } else {
            let rows = Rows::<u32, u16>::build(&ranges, |class| class);
            match rows.narrow() {
                Ok(rows) => Tables::ManyClasses(rows),
                Err(rows) => Tables::Wide(rows),
            }
        };
        Ok(Self { tables })
    }

    /// The class of the longest prefix that contains the address, [`NO_CLASS`](super::NO_CLASS) without one.
    ///
    /// The address is in host byte order, as [`Ipv4Addr::to_bits`](std::net::Ipv4Addr::to_bits) gives it.
    #[inline]
    pub fn lookup(&self, address: u32) -> ClassNumber {
        with_rows!(&self.tables, rows => rows.lookup(address))
    }

    /// Looks up each address and writes its class to the same place of `classes`.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn lookup_batch(&self, addresses: &[u32], classes: &mut [ClassNumber]) {
        assert_eq!(addresses.len(), classes.len(), "one class for each address");
        with_rows!(&self.tables, rows => {
            for (address, class) in addresses.iter().zip(classes) {
                *class = rows.lookup(*address);
            }
        });
    }

    /// Bytes that the trie occupies, cells and all.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + with_rows!(&self.tables, rows => rows.heap_bytes())
    }
}

const ROW: usize = 256;
const ROOT: usize = 1 << 16;

#[derive(Debug, Clone)]
struct Rows<Middle, Leaf> {
    root: Box<[u16; ROOT]>,
    middle: Vec<[Middle; ROW]>,
    leaf: Vec<[Leaf; ROW]>,
}

impl<Middle: Copy + Into<u32>, Leaf: Copy + Into<u16>> Rows<Middle, Leaf> {
    #[inline(always)]
    fn lookup(&self, address: u32) -> ClassNumber {
        let (third, fourth) = ((address >> 8) as u8, address as u8);
        let middle = self.root[(address >> 16) as usize];
        let leaf: u32 = self.middle[usize::from(middle)][usize::from(third)].into();
        self.leaf[leaf as usize][usize::from(fourth)].into()
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(&*self.root)
            + self.middle.capacity() * size_of::<[Middle; ROW]>()
            + self.leaf.capacity() * size_of::<[Leaf; ROW]>()
    }
}

impl<Leaf: Copy + Eq + Hash> Rows<u32, Leaf> {
    fn build(ranges: &[Range<u32>], cell: impl Fn(ClassNumber) -> Leaf) -> Self {
        let mut middle = RowPool::new();
        let mut leaf = RowPool::new();
        let mut root = Vec::with_capacity(ROOT);
        let mut cursor = Cursor { ranges, at: 0 };
        // Neighboring slots are often of one class: they share the row without another lookup.
        let mut neighbor = None;
        for slot in 0..ROOT as u32 {
            let throughout = cursor.class_throughout(slot << 16, 0xffff);
            let row = match (throughout, neighbor) {
                (Some(class), Some((same, row))) if class == same => row,
                (Some(class), _) => {
                    let leaf = leaf.uniform(class, cell(class));
                    let row = middle.uniform(class, leaf);
                    neighbor = Some((class, row));
                    row
                }
                (None, _) => {
                    let cells = std::array::from_fn(|third| {
                        let first = slot << 16 | (third as u32) << 8;
                        match cursor.class_throughout(first, 0xff) {
                            Some(class) => leaf.uniform(class, cell(class)),
                            None => leaf.insert(std::array::from_fn(|fourth| {
                                cell(cursor.class_at(first | fourth as u32))
                            })),
                        }
                    });
                    middle.insert(cells)
                }
            };
            // A slot adds one row at most, so the number of a row is at most that of its slot.
            root.push(row as u16);
        }
        Self {
            root: root.try_into().expect("one cell was pushed for each slot"),
            middle: middle.into_rows(),
            leaf: leaf.into_rows(),
        }
    }

    /// The same rows with 16-bit middle cells, if these can number the leaf rows.
    fn narrow(self) -> Result<Rows<u16, Leaf>, Self> {
        if self.leaf.len() > ROOT {
            return Err(self);
        }
        Ok(Rows {
            root: self.root,
            middle: self
                .middle
                .iter()
                .map(|row| row.map(|cell| cell as u16))
                .collect(),
            leaf: self.leaf,
        })
    }
}

/// Walks sorted ranges in address order.
struct Cursor<'a> {
    ranges: &'a [Range<u32>],
    at: usize,
}

impl Cursor<'_> {
    /// The class of `address`, which must not be below that of an earlier call.
    fn class_at(&mut self, address: u32) -> ClassNumber {
        while self
            .ranges
            .get(self.at + 1)
            .is_some_and(|next| next.start <= address)
        {
            self.at += 1;
        }
        self.ranges[self.at].class
    }

    /// The one class of all addresses from `first` to `first | host_mask`, if they have only one.
    fn class_throughout(&mut self, first: u32, host_mask: u32) -> Option<ClassNumber> {
        let class = self.class_at(first);
        let last = first | host_mask;
        self.ranges
            .get(self.at + 1)
            .is_none_or(|next| next.start > last)
            .then_some(class)
    }
}

/// Rows under construction, equal ones stored once.
struct RowPool<Cell> {
    rows: Vec<[Cell; ROW]>,
    by_digest: HashMap<u64, u32>,
    by_class: HashMap<ClassNumber, u32>,
}

impl<Cell: Copy + Eq + Hash> RowPool<Cell> {
    fn new() -> Self {
        Self {
            rows: Vec::new(),
            by_digest: HashMap::new(),
            by_class: HashMap::new(),
        }
    }

    /// The row whose cells are all the same, because all of its addresses are of one class.
    fn uniform(&mut self, class: ClassNumber, cell: Cell) -> u32 {
        if let Some(row) = self.by_class.get(&class) {
            return *row;
        }
        let row = self.insert([cell; ROW]);
        self.by_class.insert(class, row);
        row
    }

    /// Two rows with equal digests but different cells are both kept: the second is only not shared.
    fn insert(&mut self, cells: [Cell; ROW]) -> u32 {
        let next = self.rows.len() as u32;
        let row = *self.by_digest.entry(digest(&cells)).or_insert(next);
        if row < next && self.rows[row as usize] == cells {
            return row;
        }
        self.rows.push(cells);
        next
    }

    fn into_rows(mut self) -> Vec<[Cell; ROW]> {
        self.rows.shrink_to_fit();
        self.rows
    }
}

fn digest<Cell: Hash>(cells: &[Cell; ROW]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    cells.hash(&mut hasher);
    hasher.finish()
}
