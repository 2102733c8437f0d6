//! What the ports of a packet decide, once its addresses and its protocol are known.
//!
//! For one class of destinations and one protocol, the rules are a function from the destination port to a decision.
//! It is kept as a *map* from the port to the number of the range it lies in, and *cells*, one decision for each range.
//! The map is a trie of two strides of 8 bits with equal rows stored once, so it answers in two loads without a branch;
//! classes whose rules break at the same ports share it, and bring only cells of their own.
//!
//! ```text
//!   media 1024-65535, allow 3389      map: high byte → row   rows: low byte → range          cells
//!                                     0x00-0x03 → a          a: 0 0 0 … 0                    0  forward default
//!   range   0: 0-1023                 0x04-0x0c → b          b: 1 1 1 … 1                    1  drop media
//!           1: 1024-3388, 3390-65535  0x0d      → c          c: 1 1 … 2 … 1   (0x0d3d=3389)  2  forward allow
//!           2: 3389                   0x0e-0xff → b
//! ```

use std::collections::HashMap;

use super::{Action, RuleTable, Verdict, class::Class, verdict::Reason};
use crate::packet::Protocol;
use crate::policy::{Allow, Policy, PortRange, Sourced};

/// A function from a port to a decision: a map, and where its cells start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PortFunction {
    map: u32,
    cells: u32,
}

/// What a destination port decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Decision {
    Verdict(Verdict),
    /// It takes the source port, too: the function of this number, whose cells are verdicts.
    SourcePort(u32),
}

// A cell is as small as a verdict: the number of the function sits where a rule would.
const _: () = assert!(size_of::<Decision>() == size_of::<Verdict>());

/// From a port to the number of the range it lies in.
#[derive(Debug, Clone)]
struct PortMap {
    /// High byte of the port → row of [`PortFunctions::rows`].
    rows: [u32; 256],
}

/// Low byte of a port → range.
type Row = [u16; 256];

/// The port functions of a policy.
#[derive(Debug, Default)]
pub(super) struct PortFunctions {
    maps: Vec<PortMap>,
    rows: Vec<Row>,
    cells: Vec<Decision>,
    by_source: Vec<PortFunction>,
}

impl PortFunctions {
    /// The verdict of `function` for these ports.
    #[inline(always)]
    pub(super) fn verdict(&self, function: PortFunction, source: u16, destination: u16) -> Verdict {
        match self.decision(function, destination) {
            Decision::Verdict(verdict) => verdict,
            Decision::SourcePort(function) => self.by_source(function, source),
        }
    }

    #[inline(always)]
    fn decision(&self, function: PortFunction, port: u16) -> Decision {
        let [high, low] = port.to_be_bytes();
        let row = self.maps[function.map as usize].rows[usize::from(high)];
        let range = self.rows[row as usize][usize::from(low)];
        self.cells[function.cells as usize + usize::from(range)]
    }

    #[cold]
    fn by_source(&self, function: u32, source: u16) -> Verdict {
        match self.decision(self.by_source[function as usize], source) {
            Decision::Verdict(verdict) => verdict,
            Decision::SourcePort(_) => unreachable!("the compiler nests functions once"),
        }
    }

    /// Bytes that the functions take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.maps.capacity() * size_of::<PortMap>()
            + self.rows.capacity() * size_of::<Row>()
            + self.cells.capacity() * size_of::<Decision>()
            + self.by_source.capacity() * size_of::<PortFunction>()
    }
}

/// A port function as the compiler of the policy knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compiled {
    pub(super) function: PortFunction,
    /// The one verdict of all ports, where there is only one.
    pub(super) single: Option<Verdict>,
    /// The verdict where the ports cannot be seen, if none of them leads to a drop.
    pub(super) harmless: Option<Verdict>,
}

/// Builds the port functions of one policy.
pub(super) struct PortCompiler<'a> {
    policy: &'a Policy,
    rules: &'a RuleTable,
    functions: PortFunctions,
    /// The starts of ranges and their numbers → the map that has them.
    maps: HashMap<(Vec<u16>, Vec<u16>), u32>,
    rows: HashMap<Row, u32>,
    cells: HashMap<Vec<Decision>, u32>,
}

impl<'a> PortCompiler<'a> {
    pub(super) fn new(policy: &'a Policy, rules: &'a RuleTable) -> Self {
        Self {
            policy,
            rules,
            functions: PortFunctions::default(),
            maps: HashMap::new(),
            rows: HashMap::new(),
            cells: HashMap::new(),
        }
    }

    pub(super) fn finish(self) -> PortFunctions {
        self.functions
    }

    /// What decides about packets of `protocol` to an address of `class`: rules 5 to 7 of the verdict order.
    pub(super) fn compile(&mut self, class: &Class, protocol: Protocol) -> Compiled {
        let (blocked_ports, blocked) = self.blocked(class);
        let lifts_it = |allow: &Allow| {
            if class.server.is_some() {
                allow.lifts.servers
            } else {
                allow.lifts.media
            }
        };
        let exceptions: Vec<Exception> = class
            .allows
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
        // An `allow` is named before `default`, the first of them in the file.
        let drops = verdicts
            .iter()
            .any(|verdict| verdict.action == Action::Drop);
        let first = verdicts
            .iter()
            .min_by_key(|verdict| (verdict.reason, verdict.rule));
        let harmless = first.copied().filter(|_| !drops);
        Compiled {
            function: self.function(&starts, &decisions),
            single,
            harmless,
        }
    }

    /// The function that has the same verdict for every port.
    pub(super) fn constant(&mut self, verdict: Verdict) -> PortFunction {
        self.function(&[0], &[Decision::Verdict(verdict)])
    }

    /// The ports that a rule blocks at addresses of `class`, and the verdict it gives.
    fn blocked(&self, class: &Class) -> (Vec<PortRange>, Verdict) {
        let media = || values(&self.policy.media.ports);
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

    /// What the source port decides where the first of `exceptions` that takes it wins, and else `blocked`.
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
        let decisions: Vec<Decision> = verdicts.into_iter().map(Decision::Verdict).collect();
        let function = self.function(&starts, &decisions);
        self.functions.by_source.push(function);
        Decision::SourcePort(number(self.functions.by_source.len() - 1))
    }

    /// The function that has `decisions` from each of `starts` on; `starts` ascend from 0.
    fn function(&mut self, starts: &[u16], decisions: &[Decision]) -> PortFunction {
        let mut cells: Vec<Decision> = Vec::new();
        let ranges: Vec<u16> = decisions
            .iter()
            .map(|decision| {
                let known = cells.iter().position(|cell| cell == decision);
                let range = known.unwrap_or_else(|| {
                    cells.push(*decision);
                    cells.len() - 1
                });
                u16::try_from(range)
                    .expect("ranges start at different ports, of which there are 2^16")
            })
            .collect();
        PortFunction {
            map: self.map(starts, &ranges),
            cells: self.cells(cells),
        }
    }

    /// The map whose ranges begin at `starts` and have the numbers `ranges`.
    fn map(&mut self, starts: &[u16], ranges: &[u16]) -> u32 {
        let key = (starts.to_vec(), ranges.to_vec());
        if let Some(map) = self.maps.get(&key) {
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
        self.functions.maps.push(map);
        let number = number(self.functions.maps.len() - 1);
        self.maps.insert(key, number);
        number
    }

    /// The place of `row` among the rows, where equal ones are stored once.
    fn row(&mut self, row: Row) -> u32 {
        *self.rows.entry(row).or_insert_with_key(|row| {
            self.functions.rows.push(*row);
            number(self.functions.rows.len() - 1)
        })
    }

    fn cells(&mut self, cells: Vec<Decision>) -> u32 {
        let all = &mut self.functions.cells;
        *self.cells.entry(cells).or_insert_with_key(|cells| {
            all.extend(cells);
            number(all.len() - cells.len())
        })
    }
}

fn number(position: usize) -> u32 {
    u32::try_from(position).expect("2^16 classes of two protocols need fewer cells")
}

/// An `[[allow]]` as it concerns one class and protocol.
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
