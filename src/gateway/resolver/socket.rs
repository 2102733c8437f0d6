//! Sockets at the addresses that a policy names.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::steering::Steering;

/// Both sockets at one address.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) datagrams: UdpSocket,
    pub(super) connections: TcpListener,
}

/// The reason why sockets do not share an address.
#[derive(Debug)]
pub(super) enum NotShared {
    /// The kernel does not choose among sockets by a program.
    Steering(io::Error),
    /// The address cannot be bound.
    Address(io::Error),
}

/// [`Steering::attach`], but in the test of a kernel that refuses it.
pub(super) type Attach = fn(Steering, &Socket) -> io::Result<()>;

/// The sockets that share an address with one that is to be bound.
#[derive(Debug, Clone, Copy)]
enum Companions {
    /// There are none.
    None,
    /// They follow.
    Follow(Steering, Attach),
    /// They are bound.
    Bound,
}

impl Listening {
    /// Binds `address`, even while no interface has it: that of the VPN may come later, and go.
    pub(super) fn at(address: SocketAddr) -> io::Result<Self> {
        match Self::beside(address, Companions::None) {
            Ok(bound) => Ok(bound),
            Err(NotShared::Steering(error) | NotShared::Address(error)) => Err(error),
        }
    }

    /// Binds `address` once for each thread; `steering` chooses the thread of a client.
    pub(super) fn of_threads(
        address: SocketAddr,
        steering: Steering,
        attach: Attach,
    ) -> Result<Vec<Self>, NotShared> {
        let first = Self::beside(address, Companions::Follow(steering, attach))?;
        let mut bound = vec![first];
        for _ in 1..steering.threads.get() {
            bound.push(Self::beside(address, Companions::Bound)?);
        }
        Ok(bound)
    }

    fn beside(address: SocketAddr, companions: Companions) -> Result<Self, NotShared> {
        let datagrams = open(address, Type::DGRAM, Protocol::UDP).map_err(NotShared::Address)?;
        let connections = open(address, Type::STREAM, Protocol::TCP).map_err(NotShared::Address)?;
        for socket in [&datagrams, &connections] {
            share(socket, companions).map_err(NotShared::Steering)?;
        }
        let bind = || {
            // A burst waits here while answers are given; what the kernel lets us have is enough.
            _ = datagrams.set_recv_buffer_size(RECEIVE_BUFFER);
            datagrams.bind(&address.into())?;
            // Connections of a server that was here before may still be closing.
            connections.set_reuse_address(true)?;
            connections.bind(&address.into())?;
            connections.listen(BACKLOG)
        };
        bind().map_err(NotShared::Address)?;
        Ok(Self {
            datagrams: datagrams.into(),
            connections: connections.into(),
        })
    }
}

fn share(socket: &Socket, companions: Companions) -> io::Result<()> {
    match companions {
        Companions::None => Ok(()),
        Companions::Follow(steering, attach) => {
            socket.set_reuse_port(true)?;
            attach(steering, socket)
        }
        Companions::Bound => socket.set_reuse_port(true),
    }
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    Ok(socket)
}

/// A thousand queries and more.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
