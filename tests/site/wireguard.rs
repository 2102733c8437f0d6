//! WireGuard (wireguard-go): one device for all peers.

use std::process::Command;

use super::{CLIENT, CONCENTRATOR, Daemon, DualStack, Host, Site, Vpn};
use crate::support::run;

#[derive(Debug)]
pub struct WireGuard {
    _server: Daemon,
    clients: [Option<Daemon>; 2],
}

/// The concentrator's address in the tunnel.
const SERVER: DualStack = DualStack::new([172, 16, 1, 1], [0xfd00, 0x172, 0x16, 1, 0, 0, 0, 1]);

impl Vpn for WireGuard {
    const PROGRAMS: &[&str] = &["wireguard-go", "wg"];
    const INTERFACES: &str = "wg0";

    fn start(site: &Site) -> Self {
        let server = make_key(site, "server");
        let clients = ["client1", "client2"].map(|name| make_key(site, name));
        let daemon = start(site, &site.concentrator, "wg0", SERVER);
        set(
            &site.concentrator,
            &["wg0", "listen-port", "51820", "private-key", &server.path],
        );
        for (key, address) in clients.iter().zip(CLIENT) {
            let allowed = format!("{}/32,{}/128", address.v4, address.v6);
            set(
                &site.concentrator,
                &["wg0", "peer", &key.public, "allowed-ips", &allowed],
            );
        }
        Self {
            _server: daemon,
            clients: [None, None],
        }
    }

    fn connect(&mut self, site: &Site, client: usize) {
        let host = &site.clients[client];
        let interface = Self::interface(client);
        let daemon = start(site, host, interface, CLIENT[client]);
        let server = public_key(&site.folder.path("server.key"));
        let private = site.folder.path(&format!("{}.key", host.name));
        set(
            host,
            &[
                interface,
                "private-key",
                &private,
                "peer",
                &server,
                "endpoint",
                &format!("{CONCENTRATOR}:51820"),
                "persistent-keepalive",
                "25",
                "allowed-ips",
                "10.0.0.0/8,172.16.1.0/24,fd00:10::/32,fd00:172:16:1::/64",
            ],
        );
        host.ip(&format!(
            "route add 10.0.0.0/8 dev {interface}\nroute add fd00:10::/32 dev {interface}\n"
        ));
        self.clients[client] = Some(daemon);
        site.wait_for_tunnel(client);
    }

    fn disconnect(&mut self, client: usize) {
        if let Some(mut daemon) = self.clients[client].take() {
            daemon.terminate();
        }
    }

    fn interface(client: usize) -> &'static str {
        // Not the concentrator's name: `wg` finds a daemon by the name of its interface alone.
        ["wg1", "wg2"][client]
    }
}

/// A private key in a file, and the public key.
struct Key {
    path: String,
    public: String,
}

fn make_key(site: &Site, name: &str) -> Key {
    let private = run(Command::new("wg").arg("genkey")).success();
    let path = site.folder.write(&format!("{name}.key"), private);
    let public = public_key(&path);
    Key { path, public }
}

fn public_key(path: &str) -> String {
    let command = format!("wg pubkey < '{path}'");
    let key = run(Command::new("sh").args(["-c", &command])).success();
    key.trim().to_owned()
}

/// Starts a daemon whose interface has `address` of the tunnel's subnet.
fn start(site: &Site, host: &Host, interface: &str, address: DualStack) -> Daemon {
    let log = site.folder.path(&format!("{interface}.log"));
    let mut command = Command::new("wireguard-go");
    command
        .args(["--foreground", interface])
        .env("LOG_LEVEL", "verbose");
    let name = format!("wireguard-go, {}", host.name);
    let mut daemon = Daemon::start(host, &name, log, &mut command);
    daemon.wait_for_log("UAPI listener started");
    host.ip(&format!(
        "address add {}/24 dev {interface}\naddress add {}/64 dev {interface}\nlink set {interface} up\n",
        address.v4, address.v6
    ));
    daemon
}

fn set(host: &Host, arguments: &[&str]) {
    host.run(Command::new("wg").arg("set").args(arguments))
        .success();
}
