//! [`LinkSocket`]: sends packets out of an interface, past the host's own routes and firewall (packet(7)).

use std::io;
use std::os::fd::AsRawFd;

use nix::libc;
use socket2::{Domain, SockFilter, Socket, Type};

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
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        // Whoever takes the process over could name a protocol, but not remove this filter.
        socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, NOTHING)])?;
        let locked: libc::c_int = 1;
        // SAFETY: the descriptor is open, as `socket` owns it, and `locked` is the `int` that SO_LOCK_FILTER reads.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LOCK_FILTER,
                (&raw const locked).cast(),
                size_of_val(&locked) as libc::socklen_t,
            )
        };
        nix::Error::result(done)?;
        Ok(Self(socket))
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

/// `BPF_RET | BPF_K` (linux/bpf_common.h): keeps as many bytes of a packet.
const RETURN: u16 = 0x06;
const NOTHING: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_have_it_receive() {
        // It takes rights that tests may lack.
        if let Ok(LinkSocket(socket)) = LinkSocket::open() {
            assert!(socket.detach_filter().is_err());
        }
    }
}
