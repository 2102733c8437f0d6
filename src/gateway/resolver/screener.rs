//! [`Screener`]: the thread that reads large answers of upstreams, while the server's threads answer everybody else.
//!
//! An answer of 64 KiB may have thousands of records with long names, and takes milliseconds to read. It is read once to see if it is an
//! answer at all, and once to take out what must not pass, both times here and one answer at a time: the scheduler sees to it
//! that a query waits for a time slice at most, also on a single processor.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::server::Names;
use crate::dns::Prepared;

/// The way to the thread; its queue is bounded by the questions on their way to upstreams.
#[derive(Debug, Clone)]
pub(super) struct Screener(UnboundedSender<Job>);

type Job = Box<dyn FnOnce() + Send>;

/// The work of the thread.
#[derive(Debug)]
pub(super) struct ScreenerWork(UnboundedReceiver<Job>);

/// An answer as one policy passes it.
#[derive(Debug)]
pub(super) struct Screened {
    pub(super) names: Arc<Names>,
    /// None if it is of no use.
    pub(super) answer: Option<Prepared>,
}

impl Screener {
    pub(super) fn new() -> (Self, ScreenerWork) {
        let (sender, jobs) = unbounded_channel();
        (Self(sender), ScreenerWork(jobs))
    }

    /// Has the thread do `work`, behind what it was given before; `None` if the server is being stopped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, done) = oneshot::channel();
        let job = move || {
            // Nobody waits for an attempt that was overtaken by another.
            if !sender.is_closed() {
                _ = sender.send(work());
            }
        };
        self.0.send(Box::new(job)).ok()?;
        done.await.ok()
    }
}

impl ScreenerWork {
    /// Works until it receives the signal to stop.
    pub(super) async fn go(mut self, mut stopped: oneshot::Receiver<()>) -> io::Result<()> {
        loop {
            tokio::select! {
                biased;
                // Stopped, or the sender has gone.
                _ = &mut stopped => return Ok(()),
                job = self.0.recv() => match job {
                    Some(job) => job(),
                    None => return Ok(()),
                },
            }
        }
    }
}

/// Size of an answer from which the thread reads it, in bytes. A smaller one takes 60 µs at most, and hardly longer than to hand it over;
/// a server's thread may have 61 of them to read before it asks the kernel for queries again.
pub(super) const LARGE: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::super::threads::ServerThreads;
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn large_answers_are_read_one_at_a_time_and_hold_up_nobody() {
        let (screener, work) = Screener::new();
        let mut threads = ServerThreads::default();
        let started = threads.start("screener".to_owned(), move |stopped| work.go(stopped));
        started.expect("a thread");
        let order = Arc::new(Mutex::new(Vec::new()));
        let (open, gate) = sync_channel::<()>(0);
        let note = |order: &Arc<Mutex<Vec<u8>>>, number| {
            order.lock().expect("nobody panics with it").push(number);
        };
        let (in_first, in_second) = (Arc::clone(&order), Arc::clone(&order));
        let first = screener.run(move || {
            _ = gate.recv();
            note(&in_first, 1);
        });
        let second = screener.run(move || note(&in_second, 2));
        tokio::pin!(first, second);
        // This thread goes on meanwhile.
        assert!(timeout(Duration::ZERO, &mut first).await.is_err());
        assert!(timeout(Duration::ZERO, &mut second).await.is_err());
        assert!(order.lock().expect("nobody panics with it").is_empty());
        drop(open);
        assert_eq!((first.await, second.await), (Some(()), Some(())));
        assert_eq!(*order.lock().expect("nobody panics with it"), [1, 2]);
        drop(threads);
        assert_eq!(screener.run(|| ()).await, None, "it has ended");
    }
}
