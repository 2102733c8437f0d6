//! [`Sequence`]: counts lost, late and repeated packets by their sequence numbers (RFC 3550 A.1 and A.3).

/// Largest gap that is loss; a larger one is a sender that started anew (`MAX_DROPOUT`).
const MAX_GAP: u16 = 3_000;
/// Largest distance of a late packet behind the highest one (`MAX_MISORDER`).
const MAX_LATE: u16 = 100;
/// Sequence numbers behind the highest one of which it is known whether they arrived.
const WINDOW: u16 = u64::BITS as u16;

/// The sequence numbers of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sequence {
    /// The first number of the run, and the highest one, with its cycles of 65,536.
    base: u64,
    highest: u64,
    /// Bit n: the number n below the highest has arrived.
    arrived: u64,
    /// The number that would follow one out of any order: two in a row are a sender that started anew.
    after_jump: Option<u16>,
    /// Packets expected in earlier runs.
    earlier: u64,
    received: u64,
    reordered: u64,
    duplicates: u64,
}

impl Sequence {
    /// The numbers of a source that begins with `first`.
    pub(super) fn start(first: u16) -> Self {
        Self {
            base: first.into(),
            highest: first.into(),
            arrived: 1,
            after_jump: None,
            earlier: 0,
            received: 1,
            reordered: 0,
            duplicates: 0,
        }
    }

    /// Counts the next packet to arrive.
    pub(super) fn count(&mut self, number: u16) {
        self.received += 1;
        let step = number.wrapping_sub(self.highest as u16);
        let late = step.wrapping_neg();
        if step == 0 {
            self.duplicates += 1;
        } else if step < MAX_GAP {
            self.highest += u64::from(step);
            self.arrived = match step {
                ..WINDOW => self.arrived << step | 1,
                _ => 1,
            };
            self.after_jump = None;
        } else if late < MAX_LATE {
            let bit = match late {
                ..WINDOW => 1 << late,
                _ => 0,
            };
            if self.arrived & bit == 0 {
                self.reordered += 1;
            } else {
                self.duplicates += 1;
            }
            self.arrived |= bit;
        } else if self.after_jump == Some(number) {
            // The one before, which was expected by itself, begins the run.
            self.earlier += self.span() - 1;
            self.base = u64::from(number.wrapping_sub(1));
            self.highest = self.base + 1;
            self.arrived = 0b11;
            self.after_jump = None;
        } else {
            self.earlier += 1;
            self.after_jump = Some(number.wrapping_add(1));
        }
    }

    /// Packets that arrived.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Packets that the numbers promise.
    pub(super) fn expected(&self) -> u64 {
        self.earlier + self.span()
    }

    /// Packets that arrived behind a later one.
    pub(super) fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Packets that arrived before.
    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    fn span(&self) -> u64 {
        self.highest - self.base + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected, received, reordered, duplicates.
    fn counts(numbers: &[u16]) -> [u64; 4] {
        let (first, rest) = numbers.split_first().expect("a first number");
        let mut sequence = Sequence::start(*first);
        rest.iter().for_each(|number| sequence.count(*number));
        [
            sequence.expected(),
            sequence.received(),
            sequence.reordered(),
            sequence.duplicates(),
        ]
    }

    #[test]
    fn gaps_are_expected_and_late_packets_fill_them() {
        assert_eq!(counts(&[1, 2, 3]), [3, 3, 0, 0]);
        assert_eq!(counts(&[1, 2, 5]), [5, 3, 0, 0]);
        assert_eq!(counts(&[1, 2, 5, 3, 4]), [5, 5, 2, 0]);
        assert_eq!(counts(&[1, 2, 5, 3, 3, 5]), [5, 6, 1, 2]);
    }

    #[test]
    fn numbers_that_wrap_go_on() {
        assert_eq!(counts(&[65_534, 65_535, 0, 1]), [4, 4, 0, 0]);
        assert_eq!(counts(&[65_534, 0, 65_535, 1]), [4, 4, 1, 0]);
        let three_cycles: Vec<u16> = (0..200_000_u32).map(|it| it as u16).collect();
        assert_eq!(counts(&three_cycles), [200_000, 200_000, 0, 0]);
    }

    #[test]
    fn a_late_packet_beyond_the_window_counts_once() {
        let to = |last: u16| (0..=last).collect::<Vec<_>>();
        assert_eq!(counts(&[to(63), vec![0]].concat()), [64, 65, 0, 1]);
        // It may have been lost, or not: nobody knows.
        assert_eq!(counts(&[to(64), vec![0]].concat()), [65, 66, 1, 0]);
    }

    #[test]
    fn a_sender_that_starts_anew_has_lost_nothing() {
        assert_eq!(counts(&[1, 2, 3, 40_000, 40_001, 40_002]), [6, 6, 0, 0]);
        assert_eq!(counts(&[1, 2, 3, 40_000, 4, 5]), [6, 6, 0, 0]);
        assert_eq!(counts(&[40_000, 40_001, 7, 9, 10]), [5, 5, 0, 0]);
        assert_eq!(counts(&[1, 3_000]), [3_000, 2, 0, 0]);
        assert_eq!(counts(&[1, 3_001]), [2, 2, 0, 0]);
    }
}
