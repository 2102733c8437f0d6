//! [`Forwarder`]: asks upstreams, moves on when one is slow, and accepts only answers to its own question.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

use super::screener::{LARGE, Screener};
use crate::dns::{EdnsUse, Upstream, UpstreamReply};

/// Sends questions to upstreams.
///
/// Every attempt has a socket of its own, whose port the kernel draws, and an id of its own (RFC 5452): an attacker who
/// forges an answer has to guess both. Clients that ask the same wait for the same attempt. The socket is connected, so
/// that datagrams from other addresses do not reach it.
#[derive(Debug)]
pub(super) struct Forwarder {
    /// Permits for sockets, of all threads.
    sockets: Arc<Semaphore>,
    /// The thread that reads large answers.
    pub(super) screener: Screener,
    /// The upstream that is asked first, and until when, unless it is the first of the list.
    preferred: Cell<(usize, Instant)>,
}

/// An attempt without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failed {
    /// The upstream, by its place in the list.
    upstream: usize,
    /// True if it responded without a usable answer: to ask it again is of no use.
    spoke: bool,
}

impl Forwarder {
    /// Creates a forwarder that takes one of `sockets` for each of its own, and has large answers read by `screener`.
    pub(super) fn new(sockets: Arc<Semaphore>, screener: Screener) -> Self {
        Self {
            sockets,
            screener,
            preferred: Cell::new((0, Instant::now())),
        }
    }

    /// Returns the answer of the first of `upstreams` that has one; `None` if none answers in time.
    pub(super) async fn ask(
        &self,
        upstreams: &[SocketAddr],
        question: &Upstream,
    ) -> Option<Vec<u8>> {
        let start = Instant::now();
        let deadline = sleep_until(start + PATIENCE);
        tokio::pin!(deadline);
        let first = self.first(upstreams.len(), start);
        let mut turns = (0..ROUNDS * upstreams.len()).map(|turn| (first + turn) % upstreams.len());
        let mut useless = vec![false; upstreams.len()];
        let mut attempts = FuturesUnordered::new();
        let mut next_turn = start;
        let mut more = true;
        loop {
            tokio::select! {
                biased;
                ended = attempts.next(), if !attempts.is_empty() => match ended {
                    Some(Ok((upstream, message))) => {
                        self.prefer(upstream, first);
                        return Some(message);
                    }
                    Some(Err(Failed { upstream, spoke })) => {
                        useless[upstream] |= spoke;
                        next_turn = Instant::now();
                    }
                    None => {}
                },
                () = sleep_until(next_turn), if more => {
                    match turns.find(|upstream| !useless[*upstream]) {
                        Some(upstream) => {
                            attempts.push(self.attempt(upstream, upstreams[upstream], question));
                            next_turn = Instant::now() + TURN;
                        }
                        None => more = false,
                    }
                }
                () = &mut deadline => return None,
            }
            if attempts.is_empty() && !more {
                return None;
            }
        }
    }

    fn first(&self, upstreams: usize, now: Instant) -> usize {
        let (upstream, until) = self.preferred.get();
        if now < until && upstream < upstreams {
            upstream
        } else {
            0
        }
    }

    /// Prefers the upstream that answered, so that the next questions do not wait for one that was silent.
    fn prefer(&self, answered: usize, asked_first: usize) {
        if answered != asked_first {
            self.preferred.set((answered, Instant::now() + PREFERENCE));
        }
    }

    async fn attempt(
        &self,
        upstream: usize,
        address: SocketAddr,
        question: &Upstream,
    ) -> Result<(usize, Vec<u8>), Failed> {
        let silent = Failed {
            upstream,
            spoke: false,
        };
        let spoke = Failed {
            upstream,
            spoke: true,
        };
        // Without a socket there is no answer, and waiting for one helps nobody.
        let _socket = self.sockets.try_acquire().map_err(|_| silent)?;
        let mut edns = EdnsUse::With;
        loop {
            let (reply, message) = ask_by_datagram(address, question, edns)
                .await
                .map_err(|_| silent)?;
            match reply {
                UpstreamReply::Answer => return Ok((upstream, message)),
                UpstreamReply::Truncated => {
                    let by_stream = timeout(PATIENCE, self.ask_by_stream(address, question, edns));
                    return match by_stream.await {
                        Ok(Ok((UpstreamReply::Answer, message))) => Ok((upstream, message)),
                        Ok(Ok(_) | Err(_)) | Err(_) => Err(spoke),
                    };
                }
                UpstreamReply::WithoutEdns if edns == EdnsUse::With => edns = EdnsUse::Without,
                UpstreamReply::WithoutEdns | UpstreamReply::Failed | UpstreamReply::Unrelated => {
                    return Err(spoke);
                }
            }
        }
    }

    /// Asks by TCP (RFC 7766).
    async fn ask_by_stream(
        &self,
        address: SocketAddr,
        question: &Upstream,
        edns: EdnsUse,
    ) -> io::Result<(UpstreamReply, Vec<u8>)> {
        let mut stream = TcpStream::connect(address).await?;
        let id = rand::random();
        let mut message = vec![0; 2];
        question.write(&mut message, id, edns);
        let length = u16::try_from(message.len() - 2).unwrap_or(0);
        message[..2].copy_from_slice(&length.to_be_bytes());
        stream.write_all(&message).await?;
        let length = stream.read_u16().await?;
        message.clear();
        message.resize(length.into(), 0);
        stream.read_exact(&mut message).await?;
        if message.len() < LARGE {
            return Ok((question.classify(id, &message), message));
        }
        let question = *question;
        let classified = self
            .screener
            .run(move || (question.classify(id, &message), message));
        classified.await.ok_or(io::ErrorKind::Interrupted.into())
    }
}

/// Asks once, and waits for what answers.
async fn ask_by_datagram(
    address: SocketAddr,
    question: &Upstream,
    edns: EdnsUse,
) -> io::Result<(UpstreamReply, Vec<u8>)> {
    let local: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(local, 0)).await?;
    socket.connect(address).await?;
    let id = rand::random();
    let mut message = Vec::with_capacity(MAX_DATAGRAM);
    question.write(&mut message, id, edns);
    socket.send(&message).await?;
    loop {
        message.clear();
        socket.recv_buf(&mut message).await?;
        match question.classify(id, &message) {
            UpstreamReply::Unrelated => {}
            reply => return Ok((reply, message)),
        }
    }
}

/// Time that an upstream may be silent before the next one is asked, too.
const TURN: Duration = Duration::from_millis(700);
/// Attempts for each upstream: datagrams get lost.
const ROUNDS: usize = 2;
/// Time limit of a question: stub resolvers ask again, or elsewhere, after five seconds.
const PATIENCE: Duration = Duration::from_millis(3_500);
/// Time for which another upstream is preferred after the first of the list was silent.
const PREFERENCE: Duration = Duration::from_secs(30);
/// Bytes of a datagram: more than we announce.
const MAX_DATAGRAM: usize = 4_096;
