//! OpenVPN: one device for all clients.

use std::process::Command;

use super::{CLIENT, CONCENTRATOR, Daemon, Site, Vpn, certificates};

#[derive(Debug)]
pub struct OpenVpn {
    pub server: Daemon,
    clients: [Option<Daemon>; 2],
}

impl OpenVpn {
    /// Starts the daemon with `options` in its configuration, in addition to those of every test.
    pub fn start_with(site: &Site, options: &str) -> Self {
        let folder = &site.folder;
        certificates::make(folder);
        for (name, address) in ["client1", "client2"].into_iter().zip(CLIENT) {
            folder.write(
                name,
                format!(
                    "ifconfig-push {} 255.255.255.0\nifconfig-ipv6-push {}/64\n",
                    address.v4, address.v6
                ),
            );
        }
        let server = format!(
            "port 1194\nproto udp\ndev tun0\ntopology subnet\ndisable-dco\n\
             server 172.16.1.0 255.255.255.0\nserver-ipv6 fd00:172:16:1::/64\n\
             push \"route 10.0.0.0 255.0.0.0\"\npush \"route-ipv6 fd00:10::/32\"\n\
             client-config-dir {}\nca ca.pem\ncert server.pem\nkey server.key\ndh none\n\
             keepalive 10 60\nverb 3\n{options}\n",
            folder.path("")
        );
        let server = openvpn(site, "server", &server, |command| {
            Daemon::start(
                &site.concentrator,
                "openvpn, server",
                folder.path("server.log"),
                command,
            )
        });
        Self {
            server,
            clients: [None, None],
        }
    }
}

/// Writes a configuration, and starts the program that reads it; waits until it is ready.
fn openvpn(
    site: &Site,
    name: &str,
    configuration: &str,
    start: impl FnOnce(&mut Command) -> Daemon,
) -> Daemon {
    let path = site.folder.write(&format!("{name}.conf"), configuration);
    let mut command = Command::new("openvpn");
    command.args(["--cd", &site.folder.path(""), "--config", &path]);
    let mut daemon = start(&mut command);
    daemon.wait_for_log("Initialization Sequence Completed");
    daemon
}

impl Vpn for OpenVpn {
    const PROGRAMS: &[&str] = &["openvpn", "openssl"];
    const INTERFACES: &str = "tun0";

    fn start(site: &Site) -> Self {
        Self::start_with(site, "")
    }

    fn connect(&mut self, site: &Site, client: usize) {
        let host = &site.clients[client];
        let name = host.name;
        let configuration = format!(
            "client\nremote {CONCENTRATOR} 1194 udp\nnobind\ndev tun0\ndisable-dco\n\
             ca ca.pem\ncert {name}.pem\nkey {name}.key\nremote-cert-tls server\nverb 3\n"
        );
        let daemon = openvpn(site, name, &configuration, |command| {
            let log = site.folder.path(&format!("{name}.log"));
            Daemon::start(host, &format!("openvpn, {name}"), log, command)
        });
        self.clients[client] = Some(daemon);
        site.wait_for_tunnel(client);
    }

    fn disconnect(&mut self, client: usize) {
        if let Some(mut daemon) = self.clients[client].take() {
            daemon.terminate();
        }
    }

    fn interface(_client: usize) -> &'static str {
        "tun0"
    }
}
