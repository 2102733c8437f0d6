//! [`Daemon`]: what the configuration of a VPN daemon says of its tunnel, of its clients, and of what they are given.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{ocserv, openvpn, wireguard};
use crate::verify::against::files::{Files, Loader, Place};
use crate::verify::against::{Existing, Named};

/// A value of a configuration, and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    /// Its position.
    pub place: Place,
}

impl<T> Found<T> {
    pub(super) fn at(place: &Place, value: T) -> Self {
        Self {
            value,
            place: place.clone(),
        }
    }

    pub(super) fn each(place: &Place, values: Vec<T>) -> impl Iterator<Item = Self> {
        values.into_iter().map(|value| Self::at(place, value))
    }
}

impl<T> From<(Place, T)> for Found<T> {
    fn from((place, value): (Place, T)) -> Self {
        Self { value, place }
    }
}

/// The part that a host plays in a VPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// Clients connect to it.
    Server,
    /// It is a client of another host, or an end of a link between two sites.
    #[default]
    Peer,
}

/// Tunnel of a VPN daemon, as its configuration has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Daemon {
    /// The part that this host plays.
    pub role: Role,
    /// The interface, as a policy names it: `"tun0"`, `"vpns*"`.
    pub device: Option<Found<String>>,
    /// Of a server: networks that clients have addresses of.
    pub pools: Vec<Found<IpNet>>,
    /// Networks that lie behind clients, or that are routed into the tunnel; of a peer those of the tunnel itself.
    pub networks: Vec<Found<IpNet>>,
    /// Routes that clients are given.
    pub routes: Vec<Found<IpNet>>,
    /// DNS servers that clients are given.
    pub dns: Vec<Found<IpAddr>>,
    /// `client-to-client` of OpenVPN.
    pub client_to_client: Option<Place>,
}

impl Daemon {
    /// Adds a client that has an address of its own: outside the pools with the network around it, where one is routed into
    /// the tunnel.
    pub(super) fn add_client(&mut self, place: &Place, address: IpAddr) {
        if self.pools.iter().any(|it| it.value.contains(&address)) {
            return;
        }
        let around = self.networks.iter().find(|it| it.value.contains(&address));
        let pool = around.cloned();
        self.pools
            .push(pool.unwrap_or_else(|| Found::at(place, address.into())));
    }
}

/// Reads the configuration of a VPN daemon and the files that it names, absolute paths below `root`. The second value has
/// what was not understood and has a bearing on routes or names, each with its line.
pub fn daemon(
    existing: Existing,
    file: &Named,
    files: &dyn Files,
    root: &str,
) -> (Daemon, Vec<String>) {
    let loader = Loader::new(files, root);
    let daemon = match existing {
        Existing::OpenVpn => openvpn::daemon(file, &loader),
        Existing::Ocserv => ocserv::daemon(file, &loader),
        Existing::WireGuard => wireguard::daemon(file, &loader),
        Existing::Unbound | Existing::Bind | Existing::ResponsePolicyZone | Existing::Dnsmasq => {
            Daemon::default()
        }
    };
    let unread = loader.unread();
    let unread = unread.into_iter().map(|it| {
        let place = Place {
            file: it.file,
            line: it.line,
        };
        format!("{place}: `{}` is not read: {}", it.word, it.why)
    });
    (daemon, unread.chain(loader.exceeded()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files by their paths.
    struct Tree<'t>(&'t [(&'t str, &'t str)]);

    impl Files for Tree<'_> {
        fn read(&self, path: &str) -> Result<Vec<u8>, String> {
            let found = self.0.iter().find(|(it, _)| *it == path);
            found
                .map(|(_, text)| text.as_bytes().to_vec())
                .ok_or_else(|| "no such file".to_owned())
        }

        fn list(&self, folder: &str) -> Result<Vec<String>, String> {
            let names = self.0.iter().filter_map(|(path, _)| {
                let (above, name) = path.rsplit_once('/')?;
                (above == folder).then(|| name.to_owned())
            });
            Ok(names.collect())
        }
    }

    fn read(existing: Existing, files: &[(&str, &str)]) -> (Daemon, Vec<String>) {
        let (path, text) = files[0];
        let named = Named {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        daemon(existing, &named, &Tree(files), "")
    }

    fn shown<T: ToString>(found: &[Found<T>]) -> Vec<String> {
        let each = found.iter();
        each.map(|it| format!("{} {}", it.value.to_string(), it.place))
            .collect()
    }

    #[test]
    fn a_server_of_openvpn_has_its_pools_and_what_it_pushes() {
        let text = "dev tun\nserver 10.8.0.0 255.255.255.0\nserver-ipv6 fd00:8::/64\n\
                    push \"route 10.0.0.0 255.0.0.0\"\npush \"route-ipv6 fd00:10::/32\"\n\
                    push \"dhcp-option DNS 10.0.0.53\"\nclient-to-client\nconfig more.conf\n";
        let files = [
            ("/etc/openvpn/a.conf", text),
            (
                "/etc/openvpn/more.conf",
                "push \"redirect-gateway def1\"\nclient-connect /bin/x\n",
            ),
        ];
        let (daemon, unread) = read(Existing::OpenVpn, &files);
        assert_eq!(daemon.role, Role::Server);
        assert_eq!(daemon.device.map(|it| it.value), Some("tun*".to_owned()));
        assert_eq!(
            shown(&daemon.pools),
            [
                "10.8.0.0/24 /etc/openvpn/a.conf:2",
                "fd00:8::/64 /etc/openvpn/a.conf:3"
            ]
        );
        assert_eq!(
            shown(&daemon.routes),
            [
                "10.0.0.0/8 /etc/openvpn/a.conf:4",
                "fd00:10::/32 /etc/openvpn/a.conf:5",
                "0.0.0.0/1 /etc/openvpn/more.conf:1",
                "128.0.0.0/1 /etc/openvpn/more.conf:1"
            ]
        );
        assert_eq!(shown(&daemon.dns), ["10.0.0.53 /etc/openvpn/a.conf:6"]);
        assert_eq!(daemon.client_to_client.map(|it| it.line), Some(7));
        assert_eq!(
            unread,
            [
                "/etc/openvpn/more.conf:2: `client-connect /bin/x` is not read: a program may push options"
            ]
        );
    }

    #[test]
    fn a_client_with_an_address_of_its_own_is_a_client() {
        let text = "dev tun0\nserver 10.8.0.0 255.255.255.0\nroute 10.9.0.0 255.255.255.0\n\
                    client-config-dir ccd\n";
        let files = [
            ("/etc/openvpn/a.conf", text),
            (
                "/etc/openvpn/ccd/one",
                "ifconfig-push 10.9.0.7 255.255.255.0\n",
            ),
            (
                "/etc/openvpn/ccd/two",
                "ifconfig-push 10.8.0.7 255.255.255.0\n",
            ),
            (
                "/etc/openvpn/ccd/zwei",
                "ifconfig-push 10.7.0.7 255.255.255.0\n",
            ),
        ];
        let (daemon, unread) = read(Existing::OpenVpn, &files);
        assert_eq!(
            shown(&daemon.pools),
            [
                "10.8.0.0/24 /etc/openvpn/a.conf:2",
                "10.9.0.0/24 /etc/openvpn/a.conf:3",
                "10.7.0.7/32 /etc/openvpn/ccd/zwei:1"
            ]
        );
        assert!(unread.is_empty(), "{unread:?}");
    }

    #[test]
    fn a_client_of_another_server_is_no_server() {
        let text = "client\ndev tun1\nremote vpn.example.com\n";
        let (daemon, _) = read(Existing::OpenVpn, &[("/etc/openvpn/up.conf", text)]);
        assert_eq!(daemon.role, Role::Peer);
        assert_eq!(daemon.device.map(|it| it.value), Some("tun1".to_owned()));
        let text = "[Interface]\nAddress = 10.66.0.2/32\n[Peer]\nEndpoint = 192.0.2.1:51820\nAllowedIPs = 0.0.0.0/0\n";
        let (daemon, _) = read(Existing::WireGuard, &[("/etc/wireguard/up.conf", text)]);
        assert_eq!(daemon.role, Role::Peer);
        assert!(daemon.pools.is_empty());
    }

    #[test]
    fn ocserv_has_its_networks_in_either_notation_and_those_of_groups() {
        let text = "auth = plain\ndevice = vpns\nipv4-network = 192.168.200.0\nipv4-netmask = 255.255.252.0\n\
                    ipv6-network = fd00:200::/48\nroute = 10.0.0.0/255.0.0.0\ndns = 10.0.0.53\n\
                    config-per-group = /etc/ocserv/groups\n";
        let files = [
            ("/etc/ocserv/ocserv.conf", text),
            (
                "/etc/ocserv/groups/staff",
                "ipv4-network = 192.168.204.0/24\nroute = 172.16.0.0/12\n",
            ),
            ("/etc/ocserv/groups/boss", "explicit-ipv4 = 192.168.9.9\n"),
        ];
        let (daemon, unread) = read(Existing::Ocserv, &files);
        assert_eq!(daemon.device.map(|it| it.value), Some("vpns*".to_owned()));
        assert_eq!(
            shown(&daemon.pools),
            [
                "192.168.200.0/22 /etc/ocserv/ocserv.conf:3",
                "fd00:200::/48 /etc/ocserv/ocserv.conf:5",
                "192.168.204.0/24 /etc/ocserv/groups/staff:1",
                "192.168.9.9/32 /etc/ocserv/groups/boss:1"
            ]
        );
        assert_eq!(
            shown(&daemon.routes),
            [
                "10.0.0.0/8 /etc/ocserv/ocserv.conf:6",
                "172.16.0.0/12 /etc/ocserv/groups/staff:2"
            ]
        );
        assert!(unread.is_empty(), "{unread:?}");
    }

    #[test]
    fn wireguard_has_the_network_of_its_address_and_peers_beyond_it() {
        let text = "[Interface]\nAddress = 10.99.0.1/22, fd00:99::1/64\nListenPort = 51820\nPrivateKey = x\n\
                    [Peer]\nPublicKey = a\nAllowedIPs = 10.99.0.2/32\n\
                    [Peer]\nPublicKey = b\nAllowedIPs = 10.98.0.7/32, 192.168.50.0/24\n";
        let (daemon, unread) = read(Existing::WireGuard, &[("/etc/wireguard/wg0.conf", text)]);
        assert_eq!(daemon.role, Role::Server);
        assert_eq!(daemon.device.map(|it| it.value), Some("wg0".to_owned()));
        assert_eq!(
            shown(&daemon.pools),
            [
                "10.99.0.0/22 /etc/wireguard/wg0.conf:2",
                "fd00:99::/64 /etc/wireguard/wg0.conf:2",
                "10.98.0.7/32 /etc/wireguard/wg0.conf:10"
            ]
        );
        assert_eq!(
            shown(&daemon.networks),
            ["192.168.50.0/24 /etc/wireguard/wg0.conf:10"]
        );
        assert!(unread.is_empty(), "{unread:?}");
    }
}
