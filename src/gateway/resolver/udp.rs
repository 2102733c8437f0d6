//! Queries over UDP, received and answered in batches: one system call for many datagrams.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Instant;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::core::{Core, Route, Taken, send_out};
use super::forward::Forwarder;

/// Answers queries at `socket`, for ever.
pub(super) async fn serve(
    socket: Rc<UdpSocket>,
    core: Rc<RefCell<Core>>,
    forwarder: Rc<Forwarder>,
) -> io::Error {
    let mut queries = Queries::new();
    let mut answers = Answers::new();
    let mut requests = Vec::new();
    loop {
        if let Err(error) = socket.readable().await {
            return error;
        }
        let received = socket.try_io(Interest::READABLE, || queries.receive(&socket));
        // No datagram there, or an error that belongs to one sent before: neither is a reason to end.
        let Ok(()) = received else { continue };
        let now = Instant::now();
        {
            let mut core = core.borrow_mut();
            core.follow();
            for (message, client) in queries.iter() {
                let route = Route::Datagram(Rc::clone(&socket), client);
                let out = answers.next();
                match core.take(message, client, &route, now, out, &mut requests) {
                    Taken::Done if !out.is_empty() => answers.keep(client),
                    Taken::Done | Taken::Waits => {}
                }
            }
            core.note_answers(answers.count(), now);
        }
        send_out(&core, &mut requests, &forwarder);
        answers.send(&socket);
        // Lets connections and upstreams run after each batch.
        tokio::task::yield_now().await;
    }
}

/// The datagrams of one call.
struct Queries {
    headers: MultiHeaders<SockaddrStorage>,
    buffers: Vec<[u8; MAX_QUERY]>,
    /// The length and the sender of each datagram.
    received: Vec<(usize, SocketAddr)>,
}

impl Queries {
    fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: vec![[0; MAX_QUERY]; BATCH],
            received: Vec::with_capacity(BATCH),
        }
    }

    fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.received.clear();
        let mut slices: Vec<_> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        let results = recvmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        for result in results {
            // A truncated datagram is no query: it keeps its place in the batch, and is too short for an answer.
            let whole = !result.flags.contains(MsgFlags::MSG_TRUNC);
            let length = if whole { result.bytes } else { 0 };
            let client = result.address.as_ref().and_then(socket_address);
            self.received.push((length, client.unwrap_or(NOBODY)));
        }
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let received = self.received.iter().zip(&self.buffers);
        received.map(|((length, client), buffer)| (&buffer[..*length], *client))
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(address) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*address).into()));
    }
    address
        .as_sockaddr_in6()
        .map(|address| SocketAddr::V6((*address).into()))
}

/// The answers to one batch.
struct Answers {
    headers: MultiHeaders<SockaddrStorage>,
    buffers: Vec<Vec<u8>>,
    clients: Vec<Option<SockaddrStorage>>,
}

impl Answers {
    fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: (0..=BATCH).map(|_| Vec::with_capacity(512)).collect(),
            clients: Vec::with_capacity(BATCH),
        }
    }

    fn count(&self) -> usize {
        self.clients.len()
    }

    /// Room for the next answer.
    fn next(&mut self) -> &mut Vec<u8> {
        let buffer = &mut self.buffers[self.clients.len()];
        buffer.clear();
        buffer
    }

    /// Keeps the answer that was written there, for `client`.
    fn keep(&mut self, client: SocketAddr) {
        self.clients.push(Some(client.into()));
    }

    /// Sends them. Answers that the kernel does not take are lost, as on the network: the client asks again.
    fn send(&mut self, socket: &UdpSocket) {
        let mut done = 0;
        while done < self.clients.len() {
            let slices: Vec<_> = self.buffers[done..self.clients.len()]
                .iter()
                .map(|buffer| [IoSlice::new(buffer)])
                .collect();
            let sent = sendmmsg(
                socket.as_raw_fd(),
                &mut self.headers,
                slices.iter(),
                &self.clients[done..],
                [],
                MsgFlags::MSG_DONTWAIT,
            );
            // An error is that of the first: its client cannot be reached.
            done += sent.map_or(1, |results| results.count().max(1));
        }
        self.clients.clear();
    }
}

/// Datagrams of a call.
const BATCH: usize = 32;
/// Bytes of a query: room for a name, a type and the options of EDNS.
const MAX_QUERY: usize = 2_048;
/// Port 0: nobody is answered there.
const NOBODY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
