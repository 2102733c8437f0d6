//! Sockets at the addresses that a policy names.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Both sockets at one address.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) datagrams: UdpSocket,
    pub(super) connections: TcpListener,
}

impl Listening {
    /// Binds `address`, even while no interface has it: that of the VPN may come later, and go.
    pub(super) fn at(address: SocketAddr) -> io::Result<Self> {
        let datagrams = open(address, Type::DGRAM, Protocol::UDP)?;
        // A burst waits here while answers are given; what the kernel lets us have is enough.
        _ = datagrams.set_recv_buffer_size(RECEIVE_BUFFER);
        datagrams.bind(&address.into())?;
        let connections = open(address, Type::STREAM, Protocol::TCP)?;
        // Connections of a server that was here before may still be closing.
        connections.set_reuse_address(true)?;
        connections.bind(&address.into())?;
        connections.listen(BACKLOG)?;
        Ok(Self {
            datagrams: datagrams.into(),
            connections: connections.into(),
        })
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
