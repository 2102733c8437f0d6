//! [`LinkSocket`]: sends packets out of an interface, past the host's own routes and firewall (packet(7)).

use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use socket2::{Domain, Socket, Type};

/// A socket that sends IP packets out of interfaces, and receives nothing.
#[derive(Debug)]
pub(in crate::gateway) struct LinkSocket(Socket);

impl LinkSocket {
    /// Opens it; sending takes no rights any more.
    ///
    /// # Errors
    /// The kernel's error: it takes CAP_NET_RAW.
    pub(in crate::gateway) fn open() -> io::Result<Self> {
        // Without a protocol no packet is received. The kernel writes the link header, where the interface has one.
        Socket::new(Domain::PACKET, Type::DGRAM, None).map(Self)
    }

    /// Sends `packet`, which is of the Ethernet protocol `protocol`, out of the interface of this index to the neighbor at
    /// `address`, if it has Ethernet headers. Does not wait for room in its queue.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in crate::gateway) fn send(
        &self,
        interface: u32,
        protocol: u16,
        address: Option<[u8; 6]>,
        packet: &[u8],
    ) -> io::Result<()> {
        let mut bytes = [0; 8];
        let length = address.map_or(0, |address| {
            bytes[..address.len()].copy_from_slice(&address);
            address.len() as u8
        });
        let to = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol.to_be(),
            sll_ifindex: interface.try_into().map_err(io::Error::other)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: length,
            sll_addr: bytes,
        };
        // SAFETY: the descriptor is open, as `self` owns it; the packet and the address are readable for as long as is said,
        // and `to` is the `sockaddr_ll` that sockets of this family read.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_DONTWAIT,
                (&raw const to).cast(),
                size_of_val(&to) as libc::socklen_t,
            )
        };
        nix::Error::result(sent)?;
        Ok(())
    }
}
