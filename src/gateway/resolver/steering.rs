//! [`Steering`]: has the kernel choose the thread of a client by the client's address.
//!
//! ```text
//!  datagram, or first segment ─▶ sockets at one address ─▶ hash of the source address, not the port ─▶ socket of thread 0, 1, …
//! ```
//!
//! The sockets of an address share it by `SO_REUSEPORT`, and a classic BPF program at them (`SO_ATTACH_REUSEPORT_CBPF`, socket(7),
//! Linux 4.6) returns the number of the one that gets a packet. Without the program the kernel would hash the port, too, and
//! a client would have its limits on queries once for each thread.
//!
//! The program is attached before the first socket is bound. A socket that has one joins no others, so an address that
//! another server has is refused even where that server shares it, as a second instance of offramp does; sockets without one
//! join it.

use std::io;
#[cfg(test)]
use std::net::IpAddr;
use std::num::NonZeroU32;

use nix::libc::{self, sock_filter, sock_fprog};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket};

/// The choice among the sockets of this many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steering {
    pub(super) threads: NonZeroU32,
}

impl Steering {
    /// Has the kernel choose among the sockets that are to share the address of `socket`, in the order in which they are bound.
    ///
    /// # Errors
    /// The kernel's error: it does not know such programs.
    pub(super) fn attach(self, socket: &Socket) -> io::Result<()> {
        let mut program = self.program(socket.domain()?);
        let program = sock_fprog {
            len: u16::try_from(program.len()).map_err(io::Error::other)?,
            // The kernel copies it within the call.
            filter: program.as_mut_ptr(),
        };
        setsockopt(socket, sockopt::AttachReusePortCbpf, &program)?;
        Ok(())
    }

    /// The program for sockets of `domain`: the words of the source address, folded and hashed.
    fn program(self, domain: Domain) -> Vec<sock_filter> {
        let words = match domain {
            Domain::IPV6 => &IPV6_SOURCE[..],
            _ => &IPV4_SOURCE,
        };
        let mut program = Vec::new();
        for (number, offset) in words.iter().enumerate() {
            let load = instruction(LOAD_WORD, NETWORK_HEADER + offset);
            match number {
                0 => program.push(load),
                _ => program.extend([instruction(KEEP, 0), load, instruction(XOR_KEPT, 0)]),
            }
        }
        program.extend([
            instruction(MULTIPLY, MULTIPLIER),
            instruction(SHIFT_RIGHT, SHIFT),
            instruction(REMAINDER, self.threads.get()),
            instruction(RETURN, 0),
        ]);
        program
    }

    /// Returns the number of the thread that `client` meets: the program as it is meant.
    #[cfg(test)]
    pub(super) fn thread_of(self, client: IpAddr) -> usize {
        let folded = match client {
            IpAddr::V4(client) => client.to_bits(),
            IpAddr::V6(client) => {
                let bits = client.to_bits();
                (bits >> 96) as u32 ^ (bits >> 64) as u32 ^ (bits >> 32) as u32 ^ bits as u32
            }
        };
        let hash = folded.wrapping_mul(MULTIPLIER) >> SHIFT;
        (hash % self.threads) as usize
    }
}

const fn instruction(code: u32, operand: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: operand,
    }
}

/// Offsets from here are those of the IP header: the packet itself begins behind the header of UDP or TCP.
const NETWORK_HEADER: u32 = libc::SKF_NET_OFF as u32;
/// The source of an IPv4 packet (RFC 791 §3.1).
const IPV4_SOURCE: [u32; 1] = [12];
/// The source of an IPv6 packet (RFC 8200 §3).
const IPV6_SOURCE: [u32; 4] = [8, 12, 16, 20];
/// 2^32 divided by the golden ratio: neighboring addresses are spread evenly (multiplicative hashing).
const MULTIPLIER: u32 = 0x9E37_79B1;
/// The upper half, on which every bit of the address has an effect.
const SHIFT: u32 = 16;

const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const KEEP: u32 = libc::BPF_MISC | libc::BPF_TAX;
const XOR_KEPT: u32 = libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X;
const MULTIPLY: u32 = libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K;
const SHIFT_RIGHT: u32 = libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K;
const REMAINDER: u32 = libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_A;

#[cfg(test)]
mod tests {
    use super::super::socket::Listening;
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
    use std::os::fd::{AsFd, BorrowedFd};

    /// Sockets for this many threads at a free port of `ip`.
    fn bound(ip: IpAddr, steering: Steering) -> (SocketAddr, Vec<Listening>) {
        let tries = (0..100).find_map(|_| {
            let free = UdpSocket::bind((ip, 0)).and_then(|it| it.local_addr());
            let address = free.expect("a free port");
            let bound = Listening::of_threads(address, steering, Steering::attach).ok()?;
            Some((address, bound))
        });
        tries.expect("no port of loopback is free for both protocols")
    }

    /// Returns the place of the one of `sockets` that has something to read.
    fn ready<'a>(sockets: impl Iterator<Item = BorrowedFd<'a>>) -> usize {
        let mut sockets: Vec<_> = sockets
            .map(|it| PollFd::new(it, PollFlags::POLLIN))
            .collect();
        let patience = PollTimeout::try_from(20_000).expect("milliseconds");
        poll(&mut sockets, patience).expect("a poll");
        let ready = |it: &PollFd<'_>| it.any().unwrap_or(false);
        assert_eq!(sockets.iter().filter(|it| ready(it)).count(), 1);
        sockets.iter().position(ready).expect("there is one")
    }

    /// Has `client` ask from two ports by UDP and from two by TCP; returns the thread that it meets.
    fn meets(client: IpAddr, address: SocketAddr, threads: &[Listening]) -> usize {
        let mut met = Vec::new();
        for _ in 0..2 {
            let socket = UdpSocket::bind((client, 0)).expect("a free port");
            socket.send_to(b"query", address).expect("loopback");
            let thread = ready(threads.iter().map(|it| it.datagrams.as_fd()));
            let received = threads[thread].datagrams.recv_from(&mut [0; 16]);
            assert_eq!(received.expect("a datagram").1.ip(), client);
            met.push(thread);

            let domain = Domain::for_address(address);
            let stream = Socket::new(domain, socket2::Type::STREAM, None).expect("a socket");
            let own = SocketAddr::new(client, 0);
            stream.bind(&own.into()).expect("a free port");
            stream.connect(&address.into()).expect("it listens");
            let thread = ready(threads.iter().map(|it| it.connections.as_fd()));
            let accepted = threads[thread].connections.accept();
            assert_eq!(accepted.expect("a connection").1.ip(), client);
            met.push(thread);
            drop(TcpStream::from(stream));
        }
        assert!(met.iter().all(|it| *it == met[0]), "{client}: {met:?}");
        met[0]
    }

    #[test]
    fn a_client_meets_the_thread_of_its_address_at_every_port_by_udp_and_tcp() {
        for threads in 2..=4 {
            let steering = Steering {
                threads: NonZeroU32::new(threads).expect("a number"),
            };
            let (address, sockets) = bound(Ipv4Addr::LOCALHOST.into(), steering);
            let mut clients = vec![0; threads as usize];
            for number in 1..=40 {
                let client = Ipv4Addr::new(127, 0, 9, number).into();
                let thread = meets(client, address, &sockets);
                assert_eq!(thread, steering.thread_of(client), "{client}");
                clients[thread] += 1;
            }
            // Evenly: 40 in order, over a few threads.
            assert!(clients.iter().all(|it| *it >= 5), "{clients:?}");
            let client = Ipv6Addr::LOCALHOST.into();
            let (address, sockets) = bound(client, steering);
            let thread = meets(client, address, &sockets);
            assert_eq!(thread, steering.thread_of(client));
        }
    }

    #[test]
    fn ipv6_clients_are_spread_by_every_part_of_their_address() {
        let steering = Steering {
            threads: NonZeroU32::new(4).expect("a number"),
        };
        for shift in [0, 16, 32, 64, 96] {
            let mut clients = [0; 4];
            for number in 0..64_u128 {
                let client = Ipv6Addr::from_bits(0xfd00 << 112 | number << shift);
                clients[steering.thread_of(client.into())] += 1;
            }
            assert!(clients.iter().all(|it| *it >= 4), "{shift}: {clients:?}");
        }
    }
}
