//! [`Pace`]: how often routes are pushed.

use std::time::{Duration, Instant};

/// Allows one push in an interval.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    last: Option<Instant>,
}

impl Pace {
    pub(super) const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
        }
    }

    /// Takes note of a push.
    pub(super) fn note(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// The time of the next push, in the past or in the future.
    pub(super) fn next(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| last + self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_push_is_at_once_and_each_other_one_an_interval_later() {
        let mut pace = Pace::new(Duration::from_secs(60));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.next(at(5)), at(5));
        pace.note(at(5));
        assert_eq!(pace.next(at(6)), at(65));
        assert_eq!(pace.next(at(100)), at(65), "it has been due for a while");
        pace.note(at(100));
        assert_eq!(pace.next(at(101)), at(160));
    }
}
