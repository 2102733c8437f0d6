//! [`WriterThread`]: a thread that writes records down, and whose end is not waited for long.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

/// A thread that writes records down.
#[derive(Debug)]
pub(in crate::gateway) struct WriterThread {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

impl WriterThread {
    /// Starts it: `write` goes on until it is told that it is to end, and may park itself meanwhile.
    ///
    /// # Errors
    /// When the system has no thread for us.
    pub(in crate::gateway) fn start(
        name: &str,
        write: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ending, ended) = oneshot::channel();
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                write(&told);
                // Nobody may be waiting for it any more.
                _ = ending.send(());
            })?;
        Ok(Self {
            stop,
            thread,
            ended,
        })
    }

    /// Has it write what it was handed, and end; it is left to itself after `patience`.
    pub(in crate::gateway) async fn stop(self, patience: Duration) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // It may hang in a disk or a pipe.
        _ = tokio::time::timeout(patience, self.ended).await;
    }
}

/// How long the last records may take to be written.
pub(in crate::gateway) const PATIENCE: Duration = Duration::from_secs(1);
