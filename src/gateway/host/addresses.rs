//! The addresses of this host: [`local_addresses`], those that the filter forwards to ([`own_addresses`]), those of its
//! interfaces ([`interface_networks`]), and [`OwnAddresses`], which finds out that they have changed.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use tokio::time::{Instant, sleep_until};

/// The IPv4 dummy address (RFC 7600 §4.8), which nobody sends to.
pub const IPV4_DUMMY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// Returns every address of this host; not those of its peers at point-to-point interfaces.
///
/// # Errors
/// The kernel does not tell.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    Ok(getifaddrs()?.filter_map(|it| ip(it.address?)).collect())
}

/// Returns every address of each interface, but for link-local ones of IPv6.
///
/// # Errors
/// The kernel does not tell.
pub fn interface_addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let addresses = getifaddrs()?.filter_map(|it| Some((it.interface_name, ip(it.address?)?)));
    let is_link_local = |it: &IpAddr| matches!(it, IpAddr::V6(v6) if v6.is_unicast_link_local());
    Ok(addresses.filter(|(_, it)| !is_link_local(it)).collect())
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip())))
}

/// Returns what each address of an interface says about its neighbours: the network that it is in, and its peer. A single
/// address without a peer says nothing, nor does a link-local one.
///
/// # Errors
/// The kernel does not tell.
pub fn interface_networks() -> io::Result<Vec<(String, IpNet)>> {
    let networks = getifaddrs()?.flat_map(|interface| {
        let network = interface
            .address
            .and_then(ip)
            .zip(interface.netmask.and_then(ip));
        let network = network.and_then(|(address, mask)| IpNet::with_netmask(address, mask).ok());
        let peer = interface.destination.and_then(ip).map(IpNet::from);
        let all = network
            .filter(|it| it.prefix_len() < it.max_prefix_len())
            .into_iter();
        let is_local = |it: &IpNet| match it.addr() {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        let all = all.chain(peer).filter(move |it| !is_local(it));
        let name = interface.interface_name;
        all.map(|it| (name.clone(), it.trunc())).collect::<Vec<_>>()
    });
    Ok(networks.collect())
}

/// Returns the addresses at which this host receives packets of clients, ascending, each once.
///
/// # Errors
/// The kernel does not tell.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    local_addresses().map(own)
}

/// Leaves out loopback addresses, the dummy that a filter's device has, and link-local IPv6 addresses: every
/// interface brings another of these, a VPN daemon's for each client, and no policy speaks of them.
fn own(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.retain(|address| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && *v4 != IPV4_DUMMY,
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    });
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The own addresses that the policy in force was compiled for, and if they are to be read again.
#[derive(Debug)]
pub struct OwnAddresses {
    in_force: Vec<IpAddr>,
    read_again: Option<Instant>,
}

impl OwnAddresses {
    /// Creates it for a policy that was compiled for `in_force`.
    pub fn new(in_force: &[IpAddr]) -> Self {
        Self {
            in_force: in_force.to_vec(),
            read_again: None,
        }
    }

    /// A policy is in force that was compiled for `in_force`.
    pub fn change(&mut self, in_force: &[IpAddr]) {
        self.in_force = in_force.to_vec();
    }

    /// An interface has gained or lost an address.
    pub fn note(&mut self) {
        self.note_at(Instant::now());
    }

    fn note_at(&mut self, now: Instant) {
        self.read_again.get_or_insert(now + SETTLING);
    }

    /// Waits until changes are noted and have settled; without one, forever. Cancel-safe.
    pub async fn settled(&mut self) {
        let Some(at) = self.read_again else {
            return std::future::pending().await;
        };
        sleep_until(at).await;
        self.read_again = None;
    }

    /// True if the host has other addresses than the policy in force was compiled for; where the kernel does not tell, they are
    /// read again later.
    pub fn differ(&mut self) -> bool {
        match own_addresses() {
            Ok(own) => own != self.in_force,
            Err(_) => {
                self.note();
                false
            }
        }
    }
}

/// The time from the first change of an address until all are read: a VPN daemon that starts has many clients at once.
const SETTLING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        let parsed = texts.iter().map(|it| it.parse().expect("an address"));
        parsed.collect()
    }

    #[test]
    fn addresses_that_each_client_brings_or_nobody_sends_to_are_left_out() {
        let of_all_interfaces = [
            "::1",
            "127.0.0.1",
            "fd00:1::1",
            "fe80::1",
            "172.16.1.1",
            "192.0.0.8",
            "172.16.1.1",
            "10.0.0.1",
            "fe80::2",
        ];
        let own = own(addresses(&of_all_interfaces));
        assert_eq!(own, addresses(&["10.0.0.1", "172.16.1.1", "fd00:1::1"]));
    }

    #[test]
    fn many_changes_are_read_once_a_second_after_the_first() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut own = OwnAddresses::new(&[]);
            let first = Instant::now() - SETTLING;
            own.note_at(first);
            own.note_at(first + SETTLING);
            assert_eq!(own.read_again, Some(first + SETTLING), "it was put off");
            own.settled().await;
            assert_eq!(own.read_again, None);
        });
    }
}
