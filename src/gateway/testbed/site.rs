//! [`Site`]: the article's example network.

use std::net::Ipv4Addr;

use super::namespace::{Host, SiteError};
use super::vpn::{self, Client};

/// The hosts of the site.
#[derive(Debug)]
pub struct Site {
    /// The home of the first client.
    pub home_a: Host,
    /// The home of the second client.
    pub home_b: Host,
    /// The VPN concentrator, on which offramp runs.
    pub concentrator: Host,
    /// Everything in the corporate network except the Edge: office computers, the Front End, servers.
    pub corporate: Host,
    /// The A/V Edge, with an interface on either side.
    pub edge: Host,
    /// The link between homes, Edge and concentrator; held so that it stays up.
    _internet: Host,
}

/// The first client in the tunnel.
pub const CLIENT_A: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 10);
/// The second client in the tunnel.
pub const CLIENT_B: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 11);
/// The first client at home.
pub const HOME_A: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The second client at home.
pub const HOME_B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// A Front End of the pool.
pub const FRONT_END: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
/// An office computer.
pub const OFFICE: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 7);
/// A web and file server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 5, 0, 2);
/// The company's DNS server.
pub const DNS_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
/// A jump host for Remote Desktop.
pub const JUMP_HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 4);
/// The A/V Edge on the Internet.
pub const EDGE_PUBLIC: Ipv4Addr = Ipv4Addr::new(167, 55, 49, 34);
/// The Edge in the corporate network.
pub const EDGE_INTERNAL: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 5);
/// The concentrator in the tunnel.
pub const CONCENTRATOR_VPN: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 1);
/// The concentrator in the corporate network.
const CONCENTRATOR_CORPORATE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The concentrator on the Internet.
const CONCENTRATOR_PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

impl Site {
    /// Builds the site in this process's own network namespace.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn build() -> Result<Self, SiteError> {
        let site = Self {
            _internet: Host::here("the Internet")?,
            home_a: Host::new("home A")?,
            home_b: Host::new("home B")?,
            concentrator: Host::new("the concentrator")?,
            corporate: Host::new("the corporate network")?,
            edge: Host::new("the Edge")?,
        };
        site.wire_the_internet()?;
        site.wire_the_corporate_network()?;
        site.start_the_vpn()?;
        Ok(site)
    }

    fn wire_the_internet(&self) -> Result<(), SiteError> {
        let internet = &self._internet;
        internet.ip("link add internet type bridge")?;
        internet.ip("link set internet up")?;
        let hosts = [
            (&self.home_a, HOME_A),
            (&self.home_b, HOME_B),
            (&self.concentrator, CONCENTRATOR_PUBLIC),
            (&self.edge, EDGE_PUBLIC),
        ];
        for (number, (host, address)) in hosts.into_iter().enumerate() {
            let namespace = host.path();
            internet.ip(&format!(
                "link add port{number} type veth peer name eth0 netns {namespace}"
            ))?;
            internet.ip(&format!("link set port{number} master internet up"))?;
            host.ip(&format!("address add {address}/24 dev eth0"))?;
            host.ip("link set eth0 up")?;
            // One link stands for the Internet: every public address is on it.
            host.ip("route add default dev eth0")?;
        }
        Ok(())
    }

    fn wire_the_corporate_network(&self) -> Result<(), SiteError> {
        let (corporate, concentrator, edge) = (&self.corporate, &self.concentrator, &self.edge);
        corporate.ip("link add lan type bridge")?;
        let inside = [
            (concentrator, CONCENTRATOR_CORPORATE),
            (edge, EDGE_INTERNAL),
        ];
        for (number, (host, address)) in inside.into_iter().enumerate() {
            let namespace = host.path();
            corporate.ip(&format!(
                "link add port{number} type veth peer name eth1 netns {namespace}"
            ))?;
            corporate.ip(&format!("link set port{number} master lan up"))?;
            host.ip(&format!("address add {address}/8 dev eth1"))?;
            host.ip("link set eth1 up")?;
        }
        for address in [OFFICE, FRONT_END, SERVER, JUMP_HOST, DNS_SERVER] {
            corporate.ip(&format!("address add {address}/8 dev lan"))?;
        }
        corporate.ip("link set lan up")?;
        corporate.ip(&format!("route add default via {CONCENTRATOR_CORPORATE}"))
    }

    fn start_the_vpn(&self) -> Result<(), SiteError> {
        let clients = [
            Client {
                host: &self.home_a,
                address: CLIENT_A,
            },
            Client {
                host: &self.home_b,
                address: CLIENT_B,
            },
        ];
        vpn::start(&self.concentrator, &clients)?;
        self.concentrator
            .ip(&format!("address add {CONCENTRATOR_VPN}/24 dev tun0"))?;
        self.concentrator.ip("link set tun0 up")?;
        self.concentrator.set("net/ipv4/ip_forward", "1")?;
        // New namespaces inherit the settings of this host.
        self.concentrator.set("net/ipv4/conf/all/rp_filter", "0")?;
        for Client { host, address } in clients {
            host.ip(&format!("address add {address}/32 dev vpn0"))?;
            host.ip("link set vpn0 up")?;
            // Split tunnel: the routes that the VPN pushes.
            for prefix in ["172.16.1.0/24", "10.0.0.0/8"] {
                host.ip(&format!("route add {prefix} dev vpn0 src {address}"))?;
            }
        }
        Ok(())
    }
}
