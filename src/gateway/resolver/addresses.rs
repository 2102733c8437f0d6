//! [`BoundAddresses`]: the sockets of a server, for each of its threads, and the descriptors that these share.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

use super::socket::{Attach, Listening, NotShared};
use super::steering::Steering;
use crate::policy::Policy;
use crate::verify::Finding;

/// The addresses of a server that has yet to start: what takes a privilege is done.
#[derive(Debug)]
pub struct BoundAddresses {
    pub(super) listen: Vec<SocketAddr>,
    /// Those of each thread.
    pub(super) sockets: Vec<Vec<Listening>>,
    pub(super) limits: DescriptorLimits,
}

impl BoundAddresses {
    /// Listens at the addresses that `policy` names, for a thread on each processor, four at most; `None` if it names
    /// none.
    ///
    /// # Errors
    /// [`NoAddress`].
    pub fn of(policy: &Policy) -> Result<Option<Self>, NoAddress> {
        let listen = listen_addresses(policy);
        if listen.is_empty() {
            return Ok(None);
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::at(listen, processors, Steering::attach).map(Some)
    }

    /// Listens at the addresses `listen` with `wanted` threads, if there are descriptors for as many.
    fn at(listen: Vec<SocketAddr>, wanted: usize, attach: Attach) -> Result<Self, NoAddress> {
        let limits = DescriptorLimits::find();
        let threads = wanted.min(MAX_THREADS).min(limits.threads()).max(1);
        let shared = u32::try_from(threads).ok().and_then(NonZeroU32::new);
        let shared = shared.filter(|threads| threads.get() > 1);
        let sockets = match shared {
            Some(threads) => share_addresses(&listen, Steering { threads }, attach)?,
            None => None,
        };
        let sockets = match sockets {
            Some(sockets) => sockets,
            None => {
                let alone = listen.iter().map(|address| take_address(*address));
                vec![alone.collect::<Result<_, _>>()?]
            }
        };
        Ok(Self {
            listen,
            sockets,
            limits,
        })
    }
}

/// The reason why a DNS server cannot listen at an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot answer DNS queries at {address}: {why}; {remedy}: [dns] listen = [...]")]
pub struct NoAddress {
    address: SocketAddr,
    /// The system's error, or the conflict that would follow.
    why: String,
    remedy: &'static str,
}

impl From<NoAddress> for Finding {
    fn from(error: NoAddress) -> Self {
        let NoAddress {
            address,
            why,
            remedy,
        } = error;
        Self::host_error(
            format!("cannot answer DNS queries at {address}: {why}"),
            format!("{remedy}: [dns] listen = [...]"),
        )
    }
}

/// Binds each of `listen` for each thread of `steering`; returns the sockets by thread, `None` if this kernel does not steer.
fn share_addresses(
    listen: &[SocketAddr],
    steering: Steering,
    attach: Attach,
) -> Result<Option<Vec<Vec<Listening>>>, NoAddress> {
    let mut by_thread: Vec<Vec<Listening>> = Vec::new();
    by_thread.resize_with(steering.threads.get() as usize, Vec::new);
    for address in listen {
        refuse_unspecified(*address)?;
        let sockets = match Listening::of_threads(*address, steering, attach) {
            Ok(sockets) => sockets,
            Err(NotShared::Address(source)) => return Err(no_address(*address, &source)),
            Err(NotShared::Steering(error)) => {
                warn!(
                    "DNS queries are answered by one thread: this kernel does not choose threads by the client's address \
                     (SO_ATTACH_REUSEPORT_CBPF, Linux 4.6): {error}"
                );
                return Ok(None);
            }
        };
        for (of_thread, socket) in by_thread.iter_mut().zip(sockets) {
            of_thread.push(socket);
        }
    }
    Ok(Some(by_thread))
}

/// Returns the addresses at which `policy` wants queries answered, each once.
pub(in crate::gateway) fn listen_addresses(policy: &Policy) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for address in &policy.dns.listen {
        if !addresses.contains(&address.value) {
            addresses.push(address.value);
        }
    }
    addresses
}

/// Checks that a server for `policy` can bind its addresses, and keeps none.
pub(in crate::gateway) fn try_addresses(policy: &Policy) -> Vec<NoAddress> {
    let addresses = listen_addresses(policy).into_iter();
    addresses
        .filter_map(|address| take_address(address).err())
        .collect()
}

fn take_address(address: SocketAddr) -> Result<Listening, NoAddress> {
    refuse_unspecified(address)?;
    Listening::at(address).map_err(|source| no_address(address, &source))
}

fn refuse_unspecified(address: SocketAddr) -> Result<(), NoAddress> {
    if address.ip().is_unspecified() {
        return Err(NoAddress {
            address,
            why: "answers have to leave from the address that was asked".to_owned(),
            remedy: "name the addresses that clients ask, e.g. the one in the tunnel",
        });
    }
    Ok(())
}

fn no_address(address: SocketAddr, source: &io::Error) -> NoAddress {
    let remedy = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another program answers there: stop it, or name another address or port"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 take CAP_NET_BIND_SERVICE (the systemd unit says how): name a higher one, or grant it"
        }
        _ => "name another address",
    };
    NoAddress {
        address,
        why: source.to_string(),
        remedy,
    }
}

/// The limits on sockets and connections open at a time, in all threads.
#[derive(Debug, Clone, Copy)]
pub(super) struct DescriptorLimits {
    descriptors: usize,
    pub(super) questions: usize,
    pub(super) connections: usize,
}

impl DescriptorLimits {
    /// Raises the limit on descriptors as far as the process may, and shares it out.
    fn find() -> Self {
        let descriptors = match getrlimit(Resource::RLIMIT_NOFILE) {
            Ok((soft, hard)) => {
                let wanted = hard.min(DESCRIPTORS);
                if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
                    wanted
                } else {
                    soft
                }
            }
            Err(_) => MIN_DESCRIPTORS,
        };
        let descriptors = usize::try_from(descriptors.min(DESCRIPTORS)).unwrap_or(0);
        Self {
            descriptors,
            questions: (descriptors / 2).min(2_048),
            connections: (descriptors / 4).min(1_024),
        }
    }

    /// Returns the number of threads that they suffice for: one whose few connections a single client could take would serve nobody
    /// else by TCP.
    const fn threads(self) -> usize {
        self.descriptors / DESCRIPTORS_OF_THREAD
    }
}

/// Threads at most: the workers of the filter need processors, too.
const MAX_THREADS: usize = 4;
/// Descriptors that the server can make use of.
const DESCRIPTORS: u64 = 8_192;
/// Descriptors that every process has.
const MIN_DESCRIPTORS: u64 = 256;
/// Descriptors for each of several threads: 64 connections, twice what a client may have.
const DESCRIPTORS_OF_THREAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// Does `body` with an address that nobody has; again if somebody else was faster.
    fn at_a_free_address<T>(
        ip: IpAddr,
        body: impl Fn(SocketAddr) -> Result<T, NoAddress>,
    ) -> (SocketAddr, T) {
        let tries = (0..100).find_map(|_| {
            let free = std::net::UdpSocket::bind((ip, 0)).and_then(|it| it.local_addr());
            let address = free.expect("a free port");
            Some((address, body(address).ok()?))
        });
        tries.expect("no port of loopback is free for both protocols")
    }

    fn two_threads(address: SocketAddr) -> Result<BoundAddresses, NoAddress> {
        BoundAddresses::at(vec![address], 2, Steering::attach)
    }

    #[test]
    fn a_second_server_of_the_same_user_is_refused() {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        for ip in loopback {
            let (address, first) = at_a_free_address(ip, two_threads);
            assert_eq!(first.sockets.len(), 2);
            for threads in [1, 2] {
                let second = BoundAddresses::at(vec![address], threads, Steering::attach);
                let error = second.map(|_| ()).expect_err("it is taken").to_string();
                assert!(error.contains("another program answers there"), "{error}");
            }
            let policy = format!(
                "[vpn]\nclient_subnets = [\"10.8.0.0/24\"]\n[dns]\nlisten = [\"{address}\"]\n"
            );
            let (policy, _) = crate::policy::parse("test.toml", policy.as_bytes()).expect("one");
            assert_eq!(try_addresses(&policy).len(), 1, "a check sees it, too");
            drop(first);
            two_threads(address).expect("it is free again");
        }
    }

    #[test]
    fn an_address_of_a_server_that_shares_it_is_refused() {
        for (kind, protocol) in [
            (socket2::Type::DGRAM, "udp"),
            (socket2::Type::STREAM, "tcp"),
        ] {
            let other = socket2::Socket::new(socket2::Domain::IPV4, kind, None).expect("a socket");
            other.set_reuse_port(true).expect("an option");
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            other.bind(&any.into()).expect("a free port");
            if kind == socket2::Type::STREAM {
                other.listen(1).expect("it is bound");
            }
            let address = other.local_addr().ok().and_then(|it| it.as_socket());
            assert!(
                two_threads(address.expect("it is bound")).is_err(),
                "{protocol}"
            );
        }
    }

    #[test]
    fn one_thread_answers_where_the_kernel_does_not_steer() {
        let refused: Attach = |_, _| Err(io::ErrorKind::Unsupported.into());
        let (_, bound) = at_a_free_address(Ipv4Addr::LOCALHOST.into(), |address| {
            BoundAddresses::at(vec![address], 4, refused)
        });
        assert_eq!(bound.sockets.len(), 1);
        assert_eq!(bound.sockets[0].len(), 1);
    }

    #[test]
    fn threads_need_descriptors() {
        let of = |descriptors| {
            let limits = DescriptorLimits {
                descriptors,
                questions: 0,
                connections: 0,
            };
            limits.threads()
        };
        assert_eq!([256, 1_023, 1_024].map(of), [1, 3, 4]);
    }
}
