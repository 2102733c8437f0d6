//! [`ServerThreads`]: threads of which each serves its own clients, and shares nothing with the others but what it is given.

use std::io;
use std::thread::JoinHandle;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::gateway::host::rights::Role;

/// Threads that serve until this is dropped.
#[derive(Debug, Default)]
pub(super) struct ServerThreads {
    running: Vec<Running>,
    /// The reasons of those that end by themselves.
    ended: FuturesUnordered<oneshot::Receiver<String>>,
}

#[derive(Debug)]
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ServerThreads {
    /// Starts a thread that does `work`, which is told when to stop; it has no privileges.
    ///
    /// # Errors
    /// The system has no thread or descriptor left.
    pub(super) fn start<W, F>(&mut self, name: String, work: W) -> io::Result<()>
    where
        W: FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
        F: Future<Output = io::Result<()>>,
    {
        let (stop, stopped) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            // It only moves bytes between sockets that are open, and opens new ones without a privilege.
            Role::Names.begin();
            let local = LocalSet::new();
            let ended = runtime.block_on(local.run_until(work(stopped)));
            if let Err(error) = ended {
                // Nobody receives any more if the server is being stopped.
                _ = tell.send(error.to_string());
            }
        })?;
        self.ended.push(ended);
        self.running.push(Running {
            stop: Some(stop),
            thread: Some(thread),
        });
        Ok(())
    }

    /// Waits until one of them ends by itself, and returns the reason.
    pub(super) async fn ended(&mut self) -> String {
        match self.ended.next().await {
            Some(Ok(why)) => why,
            // The sender has gone with the thread's stack.
            Some(Err(_)) => "a thread of it panicked".to_owned(),
            // All have been reported.
            None => std::future::pending().await,
        }
    }
}

impl Drop for ServerThreads {
    fn drop(&mut self) {
        // All are told before the first is waited for.
        for running in &mut self.running {
            if let Some(stop) = running.stop.take() {
                _ = stop.send(());
            }
        }
        for running in &mut self.running {
            if let Some(thread) = running.thread.take() {
                // `ended` has reported a panic.
                _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::time::timeout;

    type Work = Box<
        dyn FnOnce(oneshot::Receiver<()>) -> Pin<Box<dyn Future<Output = io::Result<()>>>> + Send,
    >;

    /// Serves until it is stopped, and counts that.
    fn patient(stopped_so_far: &Arc<AtomicUsize>) -> Work {
        let count = Arc::clone(stopped_so_far);
        Box::new(move |stopped| {
            Box::pin(async move {
                _ = stopped.await;
                count.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        })
    }

    fn failing() -> Work {
        Box::new(|_| Box::pin(async { Err(io::Error::other("no descriptor is left")) }))
    }

    fn panicking() -> Work {
        Box::new(|_| Box::pin(async { panic!("as a mistake in the server would") }))
    }

    #[tokio::test]
    async fn a_thread_that_ends_among_others_is_told_of_and_the_others_are_stopped() {
        for (broken, why) in [
            (failing(), "no descriptor is left"),
            (panicking(), "a thread of it panicked"),
        ] {
            let stopped = Arc::default();
            let mut threads = ServerThreads::default();
            for work in [patient(&stopped), broken, patient(&stopped)] {
                threads.start("dns".to_owned(), work).expect("a thread");
            }
            let told = timeout(Duration::from_secs(60), threads.ended()).await;
            assert_eq!(told.as_deref(), Ok(why));
            assert_eq!(stopped.load(Ordering::SeqCst), 0);
            drop(threads);
            assert_eq!(stopped.load(Ordering::SeqCst), 2);
        }
    }

    #[tokio::test]
    async fn nothing_is_told_of_threads_that_serve() {
        let stopped = Arc::default();
        let mut threads = ServerThreads::default();
        for _ in 0..2 {
            let work = patient(&stopped);
            threads.start("dns".to_owned(), work).expect("a thread");
        }
        // It would be there at once if a sender were gone.
        assert!(timeout(Duration::ZERO, threads.ended()).await.is_err());
    }
}
