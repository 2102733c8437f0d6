//! ocserv and openconnect: one device per client, which exists as long as the connection.

use std::fs;
use std::process::Command;

use super::{CLIENT, CONCENTRATOR, Daemon, Site, Vpn, certificates};

#[derive(Debug)]
pub struct Ocserv {
    _server: Daemon,
    clients: [Option<Daemon>; 2],
}

impl Vpn for Ocserv {
    const PROGRAMS: &[&str] = &["ocserv", "openconnect", "openssl"];
    const INTERFACES: &str = "vpns*";

    fn start(site: &Site) -> Self {
        let folder = &site.folder;
        certificates::make(folder);
        let users = folder.path("users");
        fs::create_dir_all(&users).expect("a folder of the test");
        for (name, address) in ["client1", "client2"].into_iter().zip(CLIENT) {
            folder.write(
                &format!("users/{name}"),
                format!(
                    "explicit-ipv4 = {}\nexplicit-ipv6 = {}\n",
                    address.v4, address.v6
                ),
            );
        }
        let path = |name: &str| folder.path(name);
        // Sandboxed workers, another user, …: settings that a namespace does not allow are left out.
        let configuration = format!(
            "auth = certificate\ncert-user-oid = 2.5.4.3\nca-cert = {}\nserver-cert = {}\nserver-key = {}\n\
             tcp-port = 443\nudp-port = 443\nsocket-file = /run/ocserv\npid-file = /run/ocserv.pid\n\
             device = vpns\nipv4-network = 172.16.1.0/24\nipv6-network = fd00:172:16:1::/64\n\
             ipv6-subnet-prefix = 128\nconfig-per-user = {users}\n\
             route = 10.0.0.0/8\nroute = 172.16.1.0/24\nroute = fd00:10::/32\nroute = fd00:172:16:1::/64\n\
             isolate-workers = false\nuse-occtl = false\nmax-clients = 8\nmax-same-clients = 0\n\
             rate-limit-ms = 0\nkeepalive = 30\ndpd = 60\ntry-mtu-discovery = false\nlog-level = 2\n",
            path("ca.pem"),
            path("server.pem"),
            path("server.key"),
        );
        let configuration = folder.write("ocserv.conf", configuration);
        let mut command = Command::new("ocserv");
        command.args(["--foreground", "--debug=2", "--config", &configuration]);
        let mut server = Daemon::start(
            &site.concentrator,
            "ocserv",
            path("ocserv.log"),
            &mut command,
        );
        for protocol in ["--tcp", "--udp"] {
            let listens = |_: &Daemon| site.concentrator.listens(protocol, "0.0.0.0:443");
            server.wait_until("it listens", listens);
        }
        Self {
            _server: server,
            clients: [None, None],
        }
    }

    fn connect(&mut self, site: &Site, client: usize) {
        let host = &site.clients[client];
        let path = |end: &str| site.folder.path(&format!("{}.{end}", host.name));
        let mut command = Command::new("openconnect");
        command
            .args(["--protocol", "anyconnect", "--non-inter", "--verbose"])
            .args(["--interface", Self::interface(client)])
            .args(["--cafile", &site.folder.path("ca.pem")])
            .args(["--certificate", &path("pem"), "--sslkey", &path("key")])
            .arg(format!("https://{CONCENTRATOR}:443"));
        let name = format!("openconnect, {}", host.name);
        let mut daemon = Daemon::start(host, &name, path("log"), &mut command);
        daemon.wait_for_log("Established DTLS connection");
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
