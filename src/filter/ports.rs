//! Port functions: map the ports of a packet to its verdict, once its addresses and protocol are known.
//!
//! For one class of destinations and one protocol, the rules are a function from the destination port to a decision.
//! It is kept as a *map* from the port to the number of the range it lies in, and *cells*, one decision for each range.
//! Ports that no rule of the policy tells apart are one range, so policies have few ranges, and one map serves all
//! functions: a table of one byte per port, of which traffic touches a few cache lines. Looking up a port takes one
//! load, which does not wait for the address.
//!
//! ```text
//!   media 1024-65535, allow 3389      map: port → range            cells of one function
//!                                     0-1023                → 0    0  forward default
//!                                     1024-3388, 3390-65535 → 1    1  drop media
//!                                     3389                  → 2    2  forward allow
//! ```
//!
//! If a policy has too many ranges for that, each function has a map of its own: a trie of two strides of 8 bits with
//! equal rows stored once. Functions of the source port, which few policies have, always have their own map.

use std::collections::HashMap;
use std::hash::Hash;

use super::{RuleTable, class::Class};
use crate::packet::Protocol;
use crate::policy::{Allow, Policy, PortRange, Sourced};
use crate::verdict::{Action, Reason, Verdict};

/// A function from a port to a decision: a map, and where its cells start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PortFunction {
    /// Its own map; unused if all functions share one.
    map: u32,
    cells: u32,
}

/// The decision for a destination port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Decision {
    Verdict(Verdict),
    /// The source port decides, by the function of this number, whose cells are verdicts.
    SourcePort(u32),
}

// A cell is no larger than a verdict: the number of the function takes the place of the rule.
const _: () = assert!(size_of::<Decision>() == size_of::<Verdict>());

/// From each port to the number of the range it lies in, for all functions.
#[derive(Debug)]
pub(super) struct SharedMap(Box<[u8; PORTS]>);

/// From a port to the number of the range it lies in, for functions with the same ranges.
#[derive(Debug, Clone)]
struct PortMap {
    /// High byte of the port → row of [`PortFunctions::rows`].
    rows: [u32; 256],
}

/// Low byte of a port → range.
type Row = [u16; 256];

/// All ports.
const PORTS: usize = 1 << 16;

/// The port functions of a policy.
#[derive(Debug)]
pub(super) struct PortFunctions {
    shared: Option<SharedMap>,
    maps: Vec<PortMap>,
    rows: Vec<Row>,
    cells: Vec<Decision>,
    by_source: Vec<PortFunction>,
}

impl SharedMap {
    /// The range of `port`.
    #[inline(always)]
    pub(super) fn range(&self, port: u16) -> usize {
        self.0[usize::from(port)].into()
    }
}

impl PortFunctions {
    /// The verdict of `function` for these ports.
    pub(super) fn verdict(&self, function: PortFunction, source: u16, destination: u16) -> Verdict {
        let range = match &self.shared {
            Some(map) => map.range(destination),
            None => self.range(function, destination),
        };
        self.verdict_of_range(function, range, source)
    }

    /// The verdict of `function` for this destination port, if it is the same for every source port.
    pub(super) fn verdict_by_destination(
        &self,
        function: PortFunction,
        destination: u16,
    ) -> Option<Verdict> {
        let range = match &self.shared {
            Some(map) => map.range(destination),
            None => self.range(function, destination),
        };
        match self.cells[function.cells as usize + range] {
            Decision::Verdict(verdict) => Some(verdict),
            Decision::SourcePort(_) => None,
        }
    }

    /// Every verdict that a packet with ports can get, some of them more than once.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        self.cells.iter().filter_map(|decision| match decision {
            Decision::Verdict(verdict) => Some(*verdict),
            Decision::SourcePort(_) => None,
        })
    }

    /// The map shared by all functions of destination ports, if there is one.
    pub(super) fn shared_map(&self) -> Option<&SharedMap> {
        self.shared.as_ref()
    }

    /// The range of `port` in the map of `function`, if no map is shared.
    #[inline(always)]
    pub(super) fn range(&self, function: PortFunction, port: u16) -> usize {
        let map = &self.maps[function.map as usize];
        let row = map.rows[usize::from(port >> 8)];
        self.rows[row as usize][usize::from(port & 0xff)].into()
    }

    /// The verdict of `function` for this range of destination ports, and this source port.
    #[inline(always)]
    pub(super) fn verdict_of_range(
        &self,
        function: PortFunction,
        range: usize,
        source: u16,
    ) -> Verdict {
        match self.cells[function.cells as usize + range] {
            Decision::Verdict(verdict) => verdict,
            Decision::SourcePort(function) => self.by_source(function, source),
        }
    }

    #[cold]
    fn by_source(&self, function: u32, source: u16) -> Verdict {
        let function = self.by_source[function as usize];
        let range = self.range(function, source);
        match self.cells[function.cells as usize + range] {
            Decision::Verdict(verdict) => verdict,
            Decision::SourcePort(_) => unreachable!("the compiler nests functions once"),
        }
    }

    /// Bytes that the functions take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.shared.as_ref().map_or(0, |map| size_of_val(&*map.0))
            + self.maps.capacity() * size_of::<PortMap>()
            + self.rows.capacity() * size_of::<Row>()
            + self.cells.capacity() * size_of::<Decision>()
            + self.by_source.capacity() * size_of::<PortFunction>()
    }
}

/// Position of a function in what [`PortCompiler::finish`] returns.
pub(super) type FunctionNumber = u32;

/// A port function as the compiler of the policy knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compiled {
    pub(super) function: FunctionNumber,
    /// The verdict of all ports, if there is only one.
    pub(super) single: Option<Verdict>,
    /// The verdict if the ports are missing and none of them would lead to a drop.
    pub(super) harmless: Option<Verdict>,
}

/// Builds the port functions of one policy.
pub(super) struct PortCompiler<'a> {
    policy: &'a Policy,
    rules: &'a RuleTable,
    /// Functions of destination ports, each once.
    functions: Vec<Steps>,
    numbers: HashMap<Steps, FunctionNumber>,
    /// Functions of source ports, each once, in tables already.
    by_source: Vec<PortFunction>,
    by_source_numbers: HashMap<PortFunction, u32>,
    tables: Tables,
}

/// A function from a port to a decision: its starts ascend from 0, and from each on it has the decision beside it.
type Steps = Vec<(u16, Decision)>;

impl<'a> PortCompiler<'a> {
    pub(super) fn new(policy: &'a Policy, rules: &'a RuleTable) -> Self {
        Self {
            policy,
            rules,
            functions: Vec::new(),
            numbers: HashMap::new(),
            by_source: Vec::new(),
            by_source_numbers: HashMap::new(),
            tables: Tables::default(),
        }
    }

    /// The tables, and each function by its number; one map serves all of them if they take up to `max_shared_cells`
    /// cells.
    pub(super) fn finish(mut self, max_shared_cells: usize) -> (PortFunctions, Vec<PortFunction>) {
        let shared = share_map(&self.functions, max_shared_cells);
        let functions = match &shared {
            Some((_, cells)) => {
                let cells = cells.iter().map(|cells| self.tables.cells(cells.clone()));
                cells.map(|cells| PortFunction { map: 0, cells }).collect()
            }
            None => {
                let functions = self.functions.iter();
                functions.map(|steps| self.tables.function(steps)).collect()
            }
        };
        let ports = PortFunctions {
            shared: shared.map(|(map, _)| map),
            maps: self.tables.maps,
            rows: self.tables.rows,
            cells: self.tables.cells,
            by_source: self.by_source,
        };
        (ports, functions)
    }

    /// The function for packets of `protocol` to an address of `class`: rules 5 to 7 of the verdict order.
    pub(super) fn compile(&mut self, class: &Class, protocol: Protocol) -> Compiled {
        let (blocked_ports, blocked) = self.blocked(class, protocol);
        let lifts_it = |allow: &Allow| {
            if class.server.is_some() {
                allow.lifts.servers
            } else {
                allow.lifts.media
            }
        };
        let allows = if class.client && class.server.is_none() {
            &class.allows_between_clients
        } else {
            &class.allows
        };
        let exceptions: Vec<Exception> = allows
            .iter()
            .map(|&position| (position as usize, &self.policy.allows[position as usize]))
            .filter(|(_, allow)| allow.protocols.contains(protocol) && lifts_it(allow))
            .map(|(position, allow)| Exception {
                ports: values_or_all(&allow.ports),
                from_ports: values_or_all(&allow.from_ports),
                verdict: Verdict::forward(Reason::Allow).by(self.rules.allow(position)),
            })
            .collect();

        let ranges = blocked_ports
            .iter()
            .chain(exceptions.iter().flat_map(|exception| &exception.ports));
        let starts = starts_of(ranges);
        let mut verdicts = vec![];
        let decisions = starts.iter().map(|&port| {
            if !any_contains(&blocked_ports, port) {
                let default = Verdict::forward(Reason::Default);
                verdicts.push(default);
                return Decision::Verdict(default);
            }
            let matching: Vec<&Exception> = exceptions
                .iter()
                .filter(|exception| any_contains(&exception.ports, port))
                .collect();
            self.by_source(&matching, blocked, &mut verdicts)
        });
        let decisions: Vec<Decision> = decisions.collect();
        let single = match decisions[0] {
            Decision::Verdict(verdict) if decisions.iter().all(|&other| other == decisions[0]) => {
                Some(verdict)
            }
            _ => None,
        };
        // An `allow` takes precedence over `default`; of several, the first in the file.
        let drops = verdicts
            .iter()
            .any(|verdict| verdict.action == Action::Drop);
        let first = verdicts
            .iter()
            .min_by_key(|verdict| (verdict.reason, verdict.rule));
        let harmless = first.copied().filter(|_| !drops);
        Compiled {
            function: self.number(starts.into_iter().zip(decisions).collect()),
            single,
            harmless,
        }
    }

    /// The function that has the same verdict for every port.
    pub(super) fn constant(&mut self, verdict: Verdict) -> FunctionNumber {
        self.number(vec![(0, Decision::Verdict(verdict))])
    }

    fn number(&mut self, steps: Steps) -> FunctionNumber {
        *self.numbers.entry(steps).or_insert_with_key(|steps| {
            self.functions.push(steps.clone());
            number(self.functions.len() - 1)
        })
    }

    /// The ports of `protocol` that a rule blocks at addresses of `class`, and the verdict it gives.
    fn blocked(&self, class: &Class, protocol: Protocol) -> (Vec<PortRange>, Verdict) {
        let media = || match self.policy.media.protocols.contains(protocol) {
            true => values(&self.policy.media.ports),
            false => Vec::new(),
        };
        if let Some(server) = class.server {
            (
                vec![PortRange::ALL],
                Verdict::drop(Reason::Servers).by(self.rules.server(server as usize)),
            )
        } else if class.client {
            (
                media(),
                Verdict::drop(Reason::Hairpin).by(self.rules.media()),
            )
        } else if class.corporate {
            (media(), Verdict::drop(Reason::Media).by(self.rules.media()))
        } else {
            (Vec::new(), Verdict::forward(Reason::Default))
        }
    }

    /// The decision by the source port: that of the first of `exceptions` that contains it, else `blocked`.
    fn by_source(
        &mut self,
        exceptions: &[&Exception],
        blocked: Verdict,
        all: &mut Vec<Verdict>,
    ) -> Decision {
        let starts = starts_of(
            exceptions
                .iter()
                .flat_map(|exception| &exception.from_ports),
        );
        let verdict_of = |port| {
            let first = exceptions
                .iter()
                .find(|exception| any_contains(&exception.from_ports, port));
            first.map_or(blocked, |exception| exception.verdict)
        };
        let verdicts: Vec<Verdict> = starts.iter().map(|&port| verdict_of(port)).collect();
        all.extend(&verdicts);
        if verdicts.iter().all(|&verdict| verdict == verdicts[0]) {
            return Decision::Verdict(verdicts[0]);
        }
        let steps: Steps = starts
            .into_iter()
            .zip(verdicts.into_iter().map(Decision::Verdict))
            .collect();
        let function = self.tables.function(&steps);
        let number = self.by_source_numbers.entry(function).or_insert_with(|| {
            self.by_source.push(function);
            number(self.by_source.len() - 1)
        });
        Decision::SourcePort(*number)
    }
}

/// Builds one map for all of `functions`, and the cells of each, if there are few enough.
///
/// Ports that no function distinguishes form one range of it.
fn share_map(functions: &[Steps], max_cells: usize) -> Option<(SharedMap, Vec<Vec<Decision>>)> {
    let mut starts: Vec<u16> = functions
        .iter()
        .flatten()
        .map(|(start, _)| *start)
        .collect();
    starts.sort_unstable();
    starts.dedup();
    if starts.len().saturating_mul(functions.len()) > max_cells {
        return None;
    }
    let columns = starts.iter().map(|start| {
        let decision = |steps: &Steps| {
            let behind = steps.partition_point(|(first, _)| first <= start);
            steps[behind - 1].1
        };
        functions.iter().map(decision).collect::<Vec<_>>()
    });
    let (ranges, columns) = numbered(columns);
    let mut map = Vec::with_capacity(PORTS);
    let ends = starts.iter().skip(1).map(|&start| usize::from(start));
    for (range, end) in ranges.into_iter().zip(ends.chain([PORTS])) {
        map.resize(end, u8::try_from(range).ok()?);
    }
    let map = map
        .try_into()
        .expect("the last range ends with the last port");
    let cells_of = |function| columns.iter().map(|column| column[function]).collect();
    Some((SharedMap(map), (0..functions.len()).map(cells_of).collect()))
}

/// Maps, rows and cells under construction, equal ones stored once.
#[derive(Default)]
struct Tables {
    maps: Vec<PortMap>,
    rows: Vec<Row>,
    cells: Vec<Decision>,
    /// The starts of ranges and their numbers → the map that has them.
    map_of: HashMap<(Vec<u16>, Vec<u16>), u32>,
    row_of: HashMap<Row, u32>,
    cells_of: HashMap<Vec<Decision>, u32>,
}

impl Tables {
    /// Adds a function with a map of its own, or that of another function with the same ranges.
    fn function(&mut self, steps: &[(u16, Decision)]) -> PortFunction {
        let starts: Vec<u16> = steps.iter().map(|(start, _)| *start).collect();
        let (ranges, cells) = numbered(steps.iter().map(|(_, decision)| *decision));
        PortFunction {
            map: self.map(&starts, &ranges),
            cells: self.cells(cells),
        }
    }

    /// The map whose ranges begin at `starts` and have the numbers `ranges`.
    fn map(&mut self, starts: &[u16], ranges: &[u16]) -> u32 {
        let key = (starts.to_vec(), ranges.to_vec());
        if let Some(map) = self.map_of.get(&key) {
            return *map;
        }
        let mut map = PortMap { rows: [0; 256] };
        let mut range_of_port = starts.iter().zip(ranges).peekable();
        let mut range = 0;
        for high in 0..=u8::MAX {
            let mut row: Row = [0; 256];
            for low in 0..=u8::MAX {
                let port = u16::from_be_bytes([high, low]);
                while let Some((_, next)) = range_of_port.next_if(|(start, _)| **start <= port) {
                    range = *next;
                }
                row[usize::from(low)] = range;
            }
            map.rows[usize::from(high)] = self.row(row);
        }
        self.maps.push(map);
        let number = number(self.maps.len() - 1);
        self.map_of.insert(key, number);
        number
    }

    /// The place of `row` among the rows, where equal ones are stored once.
    fn row(&mut self, row: Row) -> u32 {
        *self.row_of.entry(row).or_insert_with_key(|row| {
            self.rows.push(*row);
            number(self.rows.len() - 1)
        })
    }

    fn cells(&mut self, cells: Vec<Decision>) -> u32 {
        let all = &mut self.cells;
        *self.cells_of.entry(cells).or_insert_with_key(|cells| {
            all.extend(cells);
            number(all.len() - cells.len())
        })
    }
}

fn number(position: usize) -> u32 {
    u32::try_from(position).expect("2^16 classes of two protocols need fewer cells")
}

/// Numbers the distinct items; returns the number of each item, and the distinct items.
fn numbered<Item: Clone + Eq + Hash>(items: impl Iterator<Item = Item>) -> (Vec<u16>, Vec<Item>) {
    let mut different: Vec<Item> = Vec::new();
    let mut numbers: HashMap<Item, u16> = HashMap::new();
    let number = |item: Item| {
        *numbers.entry(item).or_insert_with_key(|item| {
            different.push(item.clone());
            u16::try_from(different.len() - 1)
                .expect("ranges start at different ports, of which there are 2^16")
        })
    };
    let of_each = items.map(number).collect();
    (of_each, different)
}

/// An `[[allow]]`, reduced to one class and protocol.
struct Exception {
    ports: Vec<PortRange>,
    from_ports: Vec<PortRange>,
    verdict: Verdict,
}

fn values(ranges: &[Sourced<PortRange>]) -> Vec<PortRange> {
    ranges.iter().map(|range| range.value).collect()
}

fn values_or_all(ranges: &[Sourced<PortRange>]) -> Vec<PortRange> {
    if ranges.is_empty() {
        vec![PortRange::ALL]
    } else {
        values(ranges)
    }
}

fn any_contains(ranges: &[PortRange], port: u16) -> bool {
    ranges.iter().any(|range| range.contains(port))
}

/// The ports at which membership in any of `ranges` can change, 0 included, ascending.
fn starts_of<'r>(ranges: impl Iterator<Item = &'r PortRange>) -> Vec<u16> {
    let edges = ranges.flat_map(|range| [Some(range.first()), range.last().checked_add(1)]);
    let mut starts: Vec<u16> = edges.flatten().chain([0]).collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Decision = Decision::Verdict(Verdict::forward(Reason::Default));
    const BLOCKED: Decision = Decision::Verdict(Verdict::drop(Reason::Media));

    #[test]
    fn ports_that_no_function_tells_apart_are_one_range() {
        let functions = [
            vec![(0, OPEN), (1024, BLOCKED), (3389, OPEN), (3390, BLOCKED)],
            vec![(0, OPEN)],
        ];
        let (map, cells) = share_map(&functions, usize::MAX).expect("two ranges");
        assert_eq!(
            [0, 1023, 1024, 3388, 3389, 3390, 65_535].map(|port| map.range(port)),
            [0, 0, 1, 1, 0, 1, 1]
        );
        assert_eq!(cells, [[OPEN, BLOCKED], [OPEN, OPEN]]);
    }

    #[test]
    fn functions_beyond_the_bounds_share_no_map() {
        let function = vec![(0, OPEN), (1024, BLOCKED)];
        assert!(share_map(std::slice::from_ref(&function), 2).is_some());
        assert!(share_map(&[function], 1).is_none());
        let each_port_its_own = |ports: u16| {
            let decision = |port: u16| (port, Decision::SourcePort(port.into()));
            [(0..ports).map(decision).collect()]
        };
        assert!(share_map(&each_port_its_own(256), usize::MAX).is_some());
        assert!(
            share_map(&each_port_its_own(257), usize::MAX).is_none(),
            "the number of a range is a byte"
        );
    }
}
