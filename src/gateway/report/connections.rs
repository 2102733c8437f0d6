//! [`accept`]: the connections of an HTTP endpoint, a bounded number of them, a task each.
//!
//! When there is no room for another one, one that has not sent its request yet is evicted first, or else the oldest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tracing::debug;

/// One connection.
#[derive(Debug)]
struct Connection {
    task: JoinHandle<()>,
    /// Set once a request has arrived.
    has_asked: Arc<AtomicBool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts connections to the endpoint called `name`, at most `limit` at a time; each is served by `serve`, which sets the flag
/// that it is given once a request has arrived. They end when this does.
pub(super) async fn accept<S, F>(listener: TcpListener, name: &str, limit: usize, serve: S)
where
    S: Fn(TcpStream, Arc<AtomicBool>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                evict_idle(&mut connections, limit).await;
                let has_asked = Arc::default();
                let task = tokio::spawn(serve(stream, Arc::clone(&has_asked)));
                connections.push_back(Connection { task, has_asked });
            }
            Err(error) => {
                // No descriptor is free: one may be when connections have ended.
                debug!("cannot accept a connection to {name}, and will try again: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Evicts a connection when there are `limit`: the first that has not asked yet, or else the first.
async fn evict_idle(connections: &mut VecDeque<Connection>, limit: usize) {
    connections.retain(|connection| !connection.task.is_finished());
    if connections.len() < limit {
        return;
    }
    let idle = connections
        .iter()
        .position(|connection| !connection.has_asked.load(Ordering::Relaxed));
    if let Some(mut connection) = connections.remove(idle.unwrap_or(0)) {
        connection.task.abort();
        // Its descriptor is free when it has ended, however it did.
        _ = (&mut connection.task).await;
    }
}

/// The pause before another try for a free descriptor.
const PAUSE: Duration = Duration::from_millis(100);
