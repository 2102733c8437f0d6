//! [`LogWriter`]: log lines on their way to standard error, which nobody waits for.
//!
//! ```text
//!  control ──┐ line, if there is room        ┌───────────────────────┐
//!            ├──────────▶ queue ────────────▶│ a thread of its own   │──▶ standard error
//!  workers ──┘ else it is counted as lost    └───────────────────────┘
//! ```
//!
//! A reader of standard error may be stuck: a full pipe, a stopped journal. Traffic and control go on; lines that find
//! no room are lost, and how many they were is a line of its own once there is room again.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use crate::gateway::host::rights::Role;

/// Takes lines for the thread that writes them.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    lines: SyncSender<Vec<u8>>,
    tally: Arc<Tally>,
}

/// Counters of lines written and lost.
#[derive(Debug, Default)]
struct Tally {
    queued: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
}

/// The end of the log: when it is dropped, what is queued is written, unless nobody reads it.
#[derive(Debug)]
pub(super) struct LogEnd(Arc<Tally>);

/// Starts the thread that writes to standard error.
///
/// # Errors
/// When the system has no thread or file for us.
pub(super) fn start() -> io::Result<(LogWriter, LogEnd)> {
    // Not by the lock of the standard library, which others would wait for.
    let out = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    start_with(out, ROOM)
}

fn start_with(out: impl Write + Send + 'static, room: usize) -> io::Result<(LogWriter, LogEnd)> {
    let (lines, queue) = sync_channel(room);
    let tally = Arc::<Tally>::default();
    let of_thread = Arc::clone(&tally);
    thread::Builder::new()
        .name("offramp-log".to_owned())
        .spawn(move || {
            Role::Log.begin();
            write_all(&queue, out, &of_thread);
        })?;
    let end = LogEnd(Arc::clone(&tally));
    Ok((LogWriter { lines, tally }, end))
}

fn write_all(queue: &Receiver<Vec<u8>>, mut out: impl Write, tally: &Tally) {
    let mut reported = 0;
    for line in queue {
        // A reader that has gone misses nothing.
        _ = out.write_all(&line);
        tally.report_lost(&mut reported);
        tally.written.fetch_add(1, Ordering::Release);
    }
}

impl Tally {
    /// Says how many lines were lost since this was `reported` last.
    fn report_lost(&self, reported: &mut u64) {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost == *reported {
            return;
        }
        let more = lost - *reported;
        warn!("{more} lines of this log are lost here: the program that reads it was too slow");
        // That line may have found no room itself; then it is said again, with all that came to it.
        if self.lost.load(Ordering::Relaxed) == lost {
            *reported = lost;
        }
    }
}

impl Write for LogWriter {
    /// Takes one line, or several that belong together.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.lines.try_send(line.to_vec()) {
            Ok(()) => self.tally.queued.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.tally.lost.fetch_add(1, Ordering::Relaxed),
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for LogEnd {
    fn drop(&mut self) {
        let Self(tally) = self;
        let deadline = Instant::now() + LAST_WORDS;
        let is_written =
            || tally.written.load(Ordering::Acquire) >= tally.queued.load(Ordering::Relaxed);
        while !is_written() && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
    }
}

/// Lines that wait for their reader: more than a start, a reload and a stop have, each with every mistake of a policy.
const ROOM: usize = 1_024;
/// How long the end waits for a reader.
const LAST_WORDS: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A reader that takes a line whenever the test lets it.
    struct Slow {
        permits: Receiver<()>,
        taken: Arc<Mutex<Vec<String>>>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // Once the test has gone, everything goes through.
            _ = self.permits.recv();
            let line = String::from_utf8_lossy(line).into_owned();
            self.taken.lock().expect("nobody panics with it").push(line);
            Ok(line_length(&self.taken))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line_length(taken: &Mutex<Vec<String>>) -> usize {
        let taken = taken.lock().expect("nobody panics with it");
        taken.last().map_or(0, String::len)
    }

    fn slow() -> (Slow, Sender<()>, Arc<Mutex<Vec<String>>>) {
        let (permit, permits) = channel();
        let taken = Arc::default();
        let slow = Slow {
            permits,
            taken: Arc::clone(&taken),
        };
        (slow, permit, taken)
    }

    #[test]
    fn nobody_waits_for_a_reader_that_is_stuck_and_what_is_lost_is_counted() {
        let (out, permit, taken) = slow();
        let (mut log, end) = start_with(out, 4).expect("a thread");
        // The thread holds one line at most, the queue four.
        for number in 0..20 {
            assert_eq!(
                log.write(format!("{number}").as_bytes()).ok(),
                Some(format!("{number}").len())
            );
        }
        let lost = log.tally.lost.load(Ordering::Relaxed);
        assert!((15..=16).contains(&lost), "{lost}");
        drop(permit);
        drop(end);
        let taken = taken.lock().expect("nobody panics with it");
        assert_eq!(taken.len() as u64, 20 - lost);
        assert_eq!(taken[..4], ["0", "1", "2", "3"]);
    }

    #[test]
    fn what_is_lost_is_said_once_there_is_room() {
        let (lines, queue) = sync_channel(2);
        let tally = Arc::<Tally>::default();
        let mut log = LogWriter {
            lines,
            tally: Arc::clone(&tally),
        };
        let lines = tracing_subscriber::fmt().with_writer(log.clone()).finish();
        tracing::subscriber::with_default(lines, || {
            for line in ["one", "two", "three", "four"] {
                log.write_all(line.as_bytes()).expect("it never fails");
            }
            let mut reported = 0;
            // No room yet: the line that says so is lost, too.
            tally.report_lost(&mut reported);
            let taken: Vec<_> = queue.try_iter().collect();
            assert_eq!(taken, [b"one", b"two"]);
            tally.report_lost(&mut reported);
            tally.report_lost(&mut reported);
        });
        let said: Vec<String> = queue
            .try_iter()
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("3 lines of this log are lost here"),
            "{said:?}"
        );
    }

    #[test]
    fn the_end_waits_for_what_is_queued() {
        let (out, permit, taken) = slow();
        let (mut log, end) = start_with(out, 4).expect("a thread");
        for line in ["one", "two"] {
            log.write_all(line.as_bytes()).expect("it never fails");
            permit.send(()).expect("the thread is there");
        }
        drop(end);
        assert_eq!(
            *taken.lock().expect("nobody panics with it"),
            ["one", "two"]
        );
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let (out, permit, taken) = slow();
        let (mut log, end) = start_with(out, 4).expect("a thread");
        log.write_all(b"unread").expect("it never fails");
        drop(end);
        assert!(taken.lock().expect("nobody panics with it").is_empty());
        drop(permit);
    }
}
