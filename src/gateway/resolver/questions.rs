//! [`Questions`]: the number of questions on their way to upstreams, of all threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The questions on their way to upstreams, and how many there may be. To ask one takes microseconds, so threads may share a counter.
#[derive(Debug)]
pub(super) struct Questions {
    on_their_way: AtomicUsize,
    most: usize,
}

impl Questions {
    /// Room for `most` questions.
    pub(super) const fn new(most: usize) -> Self {
        Self {
            on_their_way: AtomicUsize::new(0),
            most,
        }
    }

    /// Returns `true`, and counts a question, if there is room for it.
    pub(super) fn begin(&self) -> bool {
        let room = |it: usize| (it < self.most).then_some(it + 1);
        let counted = self
            .on_their_way
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        counted.is_ok()
    }

    /// Ends a question that was begun.
    pub(super) fn end(&self) {
        self.on_their_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the number of questions that one client may have on their way.
    pub(super) const fn of_client(&self) -> usize {
        self.most.div_ceil(SHARES)
    }
}

/// A client has one of so many parts of the questions on their way to upstreams.
pub(super) const SHARES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_together_ask_no_more_than_there_is_room_for() {
        let questions = Questions::new(1_000);
        let asked: usize = std::thread::scope(|scope| {
            let ask = || (0..600).filter(|_| questions.begin()).count();
            let threads = [scope.spawn(ask), scope.spawn(ask)];
            threads.map(|it| it.join().expect("it counts")).iter().sum()
        });
        assert_eq!(asked, 1_000);
        questions.end();
        assert!(questions.begin() && !questions.begin());
    }
}
