//! [`KernelTables`]: which packets a policy forwards for certain, as tables that a program in the kernel looks up.
//!
//! Whole packets with plain headers have one verdict for their addresses, protocol and destination port, unless a rule
//! asks for the source port or for evidence of media. Where that verdict is "forward", the kernel may forward the packet
//! itself, and count it; everything else is for the judge.
//!
//! All tables are rows of 256 cells, and a byte of an address or a port selects a cell. A cell either ends the lookup with
//! a result or is the number of the row that the next byte is looked up in, so one step serves addresses of both
//! families and ports (`src/gateway/divert/ebpf/program.c` takes it). Equal rows are stored once.
//!
//! ```text
//!  rows 0 to 255   IPv4, by the second byte    10.0.0.0/8 ──▶ row 10: all cells "class 2"
//!  row  256        IPv6, by the first byte
//!  rows 257 …      4 cells for each class      class 2: [from it: -] [to it by TCP: row 300] [UDP: row 300] [others: forward, counter 1]
//!  rows …          what the cells lead to      row 300: ports by the first byte: 0-3 "forward, counter 1", 4-255 "judge"
//! ```

use std::collections::HashMap;

use super::class::Classes;
use super::ports::PortFunction;
use super::{CompiledPolicy, Generation};
use crate::address::ClassNumber;
use crate::address::ranges::{Prefix, Range, flatten};
use crate::packet::Protocol;
use crate::verdict::{Action, Reason, Verdict};

/// Tables for the kernel, of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelTables {
    generation: Generation,
    rows: Vec<Row>,
    /// The verdict that each counter counts, from counter 1 on.
    verdicts: Vec<Verdict>,
    /// The cell of each verdict.
    results: HashMap<Verdict, u16>,
    is_partial: bool,
}

/// 256 cells.
type Row = [u16; 256];

/// The size that tables may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableRoom {
    /// Rows.
    pub rows: usize,
    /// Counters.
    pub counters: usize,
}

impl TableRoom {
    /// The largest tables: the number of a row has 15 bits, and so has that of a counter, of which 0 is none.
    pub const MAX: Self = Self {
        rows: 1 << 15,
        counters: (1 << 15) - 1,
    };
}

impl KernelTables {
    /// Builds the tables of `policy`, for as much room as there may be.
    pub fn of(policy: &CompiledPolicy) -> Self {
        Self::within(TableRoom::MAX, policy)
    }

    /// Builds the tables of `policy`. What has no room is left to the judge.
    pub fn within(room: TableRoom, policy: &CompiledPolicy) -> Self {
        let classes = Classes::of(policy.policy(), policy.own()).ok();
        let built = classes.and_then(|classes| {
            let mut builder = Builder::new(room, classes.classes.len())?;
            for (class, sets) in (0..).zip(&classes.classes) {
                builder.add_class(policy, class, sets.client);
            }
            // The policy was compiled from the same prefixes and addresses.
            builder.add_ipv4(&ranges(classes.v4)?);
            builder.add_ipv6(&ranges(classes.v6)?);
            builder.add_verdicts(policy);
            Some(builder)
        });
        match built {
            Some(built) => Self {
                generation: policy.generation(),
                rows: built.rows,
                verdicts: built.verdicts,
                results: built.results,
                is_partial: built.is_partial,
            },
            None => Self {
                is_partial: true,
                ..Self::empty(policy.generation())
            },
        }
    }

    /// The tables that leave everything to the judge.
    pub fn empty(generation: Generation) -> Self {
        let row_of_class = [RESULT; 256];
        let mut rows = vec![[RESULT; 256]; CLASS_ROOT];
        rows.push(row_of_class);
        Self {
            generation,
            rows,
            verdicts: Vec::new(),
            results: HashMap::new(),
            is_partial: false,
        }
    }

    /// The generation of the policy.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The rows.
    pub fn rows(&self) -> &[[u16; 256]] {
        &self.rows
    }

    /// The verdict of each counter that the policy uses, from counter 1 on.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// The counter of packets that are forwarded by `verdict`; `None` if there is none.
    pub fn counter(&self, verdict: Verdict) -> Option<u16> {
        let counter = self.results.get(&verdict)? & !RESULT;
        (counter != 0).then_some(counter)
    }

    /// True if there was too little room, so that the judge is asked more than it has to be.
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }
}

/// The row that the first byte of an IPv6 address is looked up in.
const IPV6_ROOT: usize = 256;
/// The first row of classes.
const CLASS_ROOT: usize = 257;
/// Cells of a class: packets from it, if it is no client's; packets to it, by [`PROTOCOLS`].
const CLASS_CELLS: usize = 4;
const PROTOCOLS: [Option<Protocol>; 3] = [Some(Protocol::Tcp), Some(Protocol::Udp), None];
/// Set in a cell that ends a lookup.
const RESULT: u16 = 1 << 15;
/// Set in the result of an address that is a client's, beside its class.
const CLIENT: u16 = 1 << 14;

/// The addresses from `first` on that share all but their last `bits` bits.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: u128,
    bits: u32,
}

impl Span {
    fn last(self) -> u128 {
        self.first | u128::MAX.checked_shr(128 - self.bits).unwrap_or(0)
    }

    /// The part of it whose next byte is `byte`.
    fn part(self, byte: u8) -> Self {
        let bits = self.bits - 8;
        Self {
            first: self.first | u128::from(byte) << bits,
            bits,
        }
    }

    /// Those of `ranges` that have an address of it; they contain all of them.
    fn within(self, ranges: &[Range<u128>]) -> &[Range<u128>] {
        let after_first = ranges.partition_point(|range| range.start <= self.first);
        let after_last = ranges.partition_point(|range| range.start <= self.last());
        // The first range starts at 0.
        &ranges[after_first - 1..after_last]
    }
}

/// The disjoint ranges of `prefixes`; `None` if one has two classes.
fn ranges<Net: Prefix<Address: Into<u128>>>(
    prefixes: Vec<(Net, ClassNumber)>,
) -> Option<Vec<Range<u128>>> {
    let widened = |range: Range<Net::Address>| Range {
        start: range.start.into(),
        class: range.class,
    };
    Some(flatten(prefixes).ok()?.into_iter().map(widened).collect())
}

/// Tables under construction.
struct Builder {
    rows: Vec<Row>,
    room: TableRoom,
    numbers: HashMap<Row, u16>,
    /// The cell of a port function.
    functions: HashMap<PortFunction, u16>,
    verdicts: Vec<Verdict>,
    results: HashMap<Verdict, u16>,
    /// For each class, the cell of its addresses; behind them, that of addresses without room.
    classes: Vec<u16>,
    is_partial: bool,
}

impl Builder {
    /// `None` if there is no room for as many classes.
    fn new(room: TableRoom, classes: usize) -> Option<Self> {
        // Cells of classes that are not added leave everything to the judge.
        let class_rows = ((classes + 1) * CLASS_CELLS).div_ceil(256);
        let fixed = CLASS_ROOT + class_rows;
        let without_room = u16::try_from(classes).ok().filter(|it| *it < CLIENT)?;
        (fixed <= room.rows).then(|| Self {
            rows: vec![[RESULT; 256]; fixed],
            room,
            numbers: HashMap::new(),
            functions: HashMap::new(),
            verdicts: Vec::new(),
            results: HashMap::new(),
            classes: vec![RESULT | without_room; classes + 1],
            is_partial: false,
        })
    }

    fn add_class(&mut self, policy: &CompiledPolicy, class: ClassNumber, is_client: bool) {
        let cells = usize::from(class) * CLASS_CELLS;
        let from = self.result(Some(policy.verdict_of_strangers()));
        let to = PROTOCOLS.map(|protocol| self.ports(policy, class, protocol));
        for (at, cell) in [from].into_iter().chain(to).enumerate() {
            let at = cells + at;
            self.rows[CLASS_ROOT + at / 256][at % 256] = cell;
        }
        let client = if is_client { CLIENT } else { 0 };
        self.classes[usize::from(class)] = RESULT | client | class;
    }

    /// The cell of packets to `class`, by their destination port.
    fn ports(
        &mut self,
        policy: &CompiledPolicy,
        class: ClassNumber,
        protocol: Option<Protocol>,
    ) -> u16 {
        let (function, single) = policy.function_to(class, protocol);
        if single.is_some() {
            return self.result(single);
        }
        if let Some(cell) = self.functions.get(&function) {
            return *cell;
        }
        let ports = policy.ports();
        let by_first = std::array::from_fn(|first| {
            let by_second: Row = std::array::from_fn(|second| {
                // Both are less than 256.
                let port = (first << 8 | second) as u16;
                self.result(ports.verdict_by_destination(function, port))
            });
            self.cell_of(by_second).unwrap_or(RESULT)
        });
        let cell = self.cell_of(by_first).unwrap_or(RESULT);
        self.functions.insert(function, cell);
        cell
    }

    /// The cell of a verdict: its counter if it forwards, and if there is one left.
    fn result(&mut self, verdict: Option<Verdict>) -> u16 {
        let Some(verdict) = verdict.filter(|it| it.action == Action::Forward) else {
            return RESULT;
        };
        if let Some(cell) = self.results.get(&verdict) {
            return *cell;
        }
        let cell = if self.verdicts.len() < self.room.counters {
            self.verdicts.push(verdict);
            // There is room for 2^15 - 1 at most.
            RESULT | self.verdicts.len() as u16
        } else {
            self.is_partial = true;
            RESULT
        };
        self.results.insert(verdict, cell);
        cell
    }

    /// Adds counters of verdicts that take more than a destination: a source port, or evidence.
    fn add_verdicts(&mut self, policy: &CompiledPolicy) {
        self.result(Some(Verdict::forward(Reason::Default)));
        for verdict in policy.ports().verdicts() {
            self.result(Some(verdict));
        }
    }

    fn add_ipv4(&mut self, ranges: &[Range<u128>]) {
        let all = Span { first: 0, bits: 32 };
        for byte in 0..=u8::MAX {
            let row = self.row(ranges, all.part(byte));
            self.rows[usize::from(byte)] = row;
        }
    }

    fn add_ipv6(&mut self, ranges: &[Range<u128>]) {
        let all = Span {
            first: 0,
            bits: 128,
        };
        self.rows[IPV6_ROOT] = self.row(ranges, all);
    }

    /// The row of the addresses of `span`, by their next byte; `ranges` contain them.
    fn row(&mut self, ranges: &[Range<u128>], span: Span) -> Row {
        let ranges = span.within(ranges);
        if let [range] = ranges {
            return [self.classes[usize::from(range.class)]; 256];
        }
        std::array::from_fn(|byte| self.addresses(ranges, span.part(byte as u8)))
    }

    /// The cell of the addresses of `span`; `ranges` contain them.
    fn addresses(&mut self, ranges: &[Range<u128>], span: Span) -> u16 {
        let ranges = span.within(ranges);
        if let [range] = ranges {
            return self.classes[usize::from(range.class)];
        }
        let row = self.row(ranges, span);
        let cell = self.cell_of(row);
        cell.unwrap_or(self.classes[self.classes.len() - 1])
    }

    /// The cell that leads to `row`, or its own content if all of its cells are equal; `None` if there is no room.
    fn cell_of(&mut self, row: Row) -> Option<u16> {
        if row[0] & RESULT != 0 && row.iter().all(|cell| *cell == row[0]) {
            return Some(row[0]);
        }
        if let Some(number) = self.numbers.get(&row) {
            return Some(*number);
        }
        if self.rows.len() >= self.room.rows {
            self.is_partial = true;
            return None;
        }
        // There is room for 2^15 rows at most.
        let number = self.rows.len() as u16;
        self.rows.push(row);
        self.numbers.insert(row, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests;
