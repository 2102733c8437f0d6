//! [`LineLog`]: a log of samples, whose lines count the suppressed records of their kind.

use super::{LogSink, Outlet, OutletCounts};

/// A log of samples of `KINDS` kinds.
#[derive(Debug)]
pub(in crate::gateway) struct LineLog<const KINDS: usize> {
    outlet: Outlet,
    lines: Vec<u8>,
    count: u64,
    /// Records that the lines stand for: themselves, and those they report as suppressed.
    stand_for: [u64; KINDS],
    /// Records that lost lines stood for, to be reported by the next line.
    carried: [u64; KINDS],
}

impl<const KINDS: usize> LineLog<KINDS> {
    /// Creates the log that messages call `name`, at `place`.
    pub(in crate::gateway) fn new(name: &str, place: &LogSink) -> Self {
        Self {
            outlet: Outlet::new(format!("{name} {place}"), place.target()),
            lines: Vec::new(),
            count: 0,
            stand_for: [0; KINDS],
            carried: [0; KINDS],
        }
    }

    /// Has `write` append a line of `kind`, which reports suppressed records before it: `suppressed`, and those lost.
    pub(in crate::gateway) fn add(
        &mut self,
        kind: usize,
        suppressed: u64,
        write: impl FnOnce(&mut Vec<u8>, u64),
    ) {
        let suppressed = suppressed + std::mem::take(&mut self.carried[kind]);
        write(&mut self.lines, suppressed);
        self.count += 1;
        self.stand_for[kind] += suppressed + 1;
    }

    /// Writes the gathered lines if they have at least `least` bytes.
    pub(in crate::gateway) fn flush(&mut self, least: usize, counts: &OutletCounts) {
        if self.lines.len() < least {
            return;
        }
        if !self.outlet.write(&self.lines, self.count, counts) {
            for (carried, stood_for) in self.carried.iter_mut().zip(self.stand_for) {
                *carried += stood_for;
            }
        }
        self.lines.clear();
        self.count = 0;
        self.stand_for = [0; KINDS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lost_lines_stood_for_the_next_line_stands_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let counts = OutletCounts::default();
        // It is a device, and no file.
        let mut log = LineLog::<2>::new("the log", &LogSink::File("/dev/null".into()));
        let write = |log: &mut LineLog<2>| {
            for (kind, suppressed) in [(0, 4), (1, 0), (0, 3)] {
                log.add(kind, suppressed, |out, suppressed| {
                    out.extend_from_slice(format!("{kind} {suppressed}\n").as_bytes());
                });
            }
            log.flush(1, &counts);
        };
        write(&mut log);
        write(&mut log);
        let failed = counts.status(String::new());
        assert_eq!((failed.written, failed.lost), (0, 6));
        assert!(failed.error.is_some());

        log.outlet = LineLog::<2>::new("the log", &LogSink::File(path.clone())).outlet;
        write(&mut log);
        let lines = std::fs::read_to_string(&path).expect("it is written");
        // Twice 4 + 1 + 3 + 1 of the one kind were lost, and twice 1 of the other.
        assert_eq!(lines, "0 22\n1 2\n0 3\n");
    }
}
