//! [`WriterThread`]: a thread that writes records, with a time limit on its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::gateway::host::rights::Role;

/// A thread that writes records.
#[derive(Debug)]
pub(in crate::gateway) struct WriterThread {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

impl WriterThread {
    /// Starts it with the rights of `role`: `write` runs until it is told to end, and may park its thread meanwhile.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub(in crate::gateway) fn start(
        name: &str,
        role: Role,
        write: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ending, ended) = oneshot::channel();
        let is_stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                role.begin();
                write(&is_stopped);
                // Nobody may be waiting for it any more.
                _ = ending.send(());
            })?;
        Ok(Self {
            stop,
            thread,
            ended,
        })
    }

    /// Wakes the thread up when it is parked.
    pub(in crate::gateway) fn waker(&self) -> Thread {
        self.thread.thread().clone()
    }

    /// Has it end, and does not wait for that.
    pub(in crate::gateway) fn tell_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }

    /// Has it write the records it was handed, and end; gives up waiting after `patience`.
    pub(in crate::gateway) async fn stop(self, patience: Duration) {
        self.tell_to_stop();
        // It may be blocked on a disk or a pipe.
        _ = tokio::time::timeout(patience, self.ended).await;
    }
}

/// Time limit to write the last records.
pub(in crate::gateway) const PATIENCE: Duration = Duration::from_secs(1);
