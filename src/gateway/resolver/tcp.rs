//! Queries over TCP (RFC 7766): many on a connection, answered in the order in which the answers are ready.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};

use super::connections::{Admitted, Connections};
use super::core::{Core, Route, Taken, send_out};
use super::forward::Forwarder;

/// Accepts connections, for ever.
pub(super) async fn serve(
    listener: TcpListener,
    core: Rc<RefCell<Core>>,
    forwarder: Rc<Forwarder>,
    connections: Rc<Connections>,
) {
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                // No descriptor is free, or the client has gone: one may come in a moment.
                sleep(PAUSE).await;
                continue;
            }
        };
        // A small answer is not held back for a larger one; a connection that cannot do it is as good.
        _ = stream.set_nodelay(true);
        let admitted = connections.admit(client.ip(), Instant::now());
        let conversation = Conversation {
            stream,
            client,
            core: Rc::clone(&core),
            forwarder: Rc::clone(&forwarder),
        };
        tokio::task::spawn_local(async move {
            tokio::select! {
                // A network error on a client's connection ends that connection, and nothing else.
                _ = conversation.hold(&admitted) => {}
                () = admitted.evicted.notified() => {}
            }
        });
        // One that gives way closes before the next is taken in.
        tokio::task::yield_now().await;
    }
}

struct Conversation {
    stream: TcpStream,
    client: SocketAddr,
    core: Rc<RefCell<Core>>,
    forwarder: Rc<Forwarder>,
}

impl Conversation {
    /// Answers the client's queries until it closes the connection or is idle for too long.
    async fn hold(mut self, admitted: &Admitted) -> io::Result<()> {
        let (sender, mut later) = mpsc::unbounded_channel();
        let route = Route::Stream(sender);
        let mut received = Vec::with_capacity(512);
        let mut waiting = 0;
        let mut client_speaks = true;
        loop {
            let answers = self.take(&mut received, &route, &mut waiting, admitted);
            self.send(&answers).await?;
            let listens = client_speaks && waiting < MAX_WAITING;
            if !listens && waiting == 0 {
                return Ok(());
            }
            let silence = sleep_until((admitted.last_query.get() + PATIENCE).into());
            tokio::select! {
                read = self.stream.read_buf(&mut received), if listens => client_speaks = read? > 0,
                Some(answer) = later.recv(), if waiting > 0 => {
                    waiting -= 1;
                    admitted.last_query.set(Instant::now());
                    self.send(&framed(&answer)).await?;
                }
                () = silence, if waiting == 0 => return Ok(()),
            }
        }
    }

    /// Takes the whole queries out of `received`, and returns the answers there are at once.
    fn take(
        &self,
        received: &mut Vec<u8>,
        route: &Route,
        waiting: &mut usize,
        admitted: &Admitted,
    ) -> Vec<u8> {
        let mut answers = Vec::new();
        let mut requests = Vec::new();
        let mut taken = 0;
        let mut core = self.core.borrow_mut();
        core.follow();
        while *waiting < MAX_WAITING
            && let Some(message) = first_message(&received[taken..])
        {
            let now = Instant::now();
            let mut answer = Vec::with_capacity(512);
            match core.take(message, self.client, route, now, &mut answer, &mut requests) {
                Taken::Done if !answer.is_empty() => {
                    answers.extend_from_slice(&framed(&answer));
                    core.note_answers(1, now);
                }
                Taken::Done => {}
                Taken::Waits => *waiting += 1,
            }
            taken += 2 + message.len();
            admitted.last_query.set(now);
        }
        drop(core);
        received.drain(..taken);
        send_out(&self.core, &mut requests, &self.forwarder);
        answers
    }

    /// Sends `bytes`, if the client reads them in time.
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        timeout(PATIENCE, self.stream.write_all(bytes)).await?
    }
}

/// Returns the first message in `received`, if it is there as a whole.
fn first_message(received: &[u8]) -> Option<&[u8]> {
    let (length, rest) = received.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// Returns `message` behind its length (RFC 1035 §4.2.2).
fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(message.len() + 2);
    // No answer is longer: `STREAM_LIMIT`.
    let length = u16::try_from(message.len()).unwrap_or(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// Questions of a connection that wait for an answer; beyond, it is not read.
const MAX_WAITING: usize = 32;
/// Time limit for a client to send a whole question, and to read an answer (RFC 7766 §6.2.3).
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before another try for a free descriptor.
const PAUSE: Duration = Duration::from_millis(100);
