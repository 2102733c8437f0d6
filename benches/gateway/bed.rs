//! [`Bed`]: a client, a gateway and a server, each a network namespace, and a VPN daemon's tun device.
//!
//! ```text
//!                              gateway
//!  client 172.16.1.10 ── gso0 ┐                    server
//!   ordinary sockets          ├─ forwards ── eth1 ── eth0  10.20.0.7, inside
//!  this process ──────── tun0 ┘                            198.51.100.7, outside
//!   plays the VPN daemon of 172.16.1.128/25
//! ```
//!
//! Everything lives in namespaces of this process: however it ends, the kernel removes all of it.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use offramp::gateway::testbed::namespace::{Host, enter_namespaces};
use offramp::gateway::tun::{CLONE_DEVICE, make_plain_device};

/// The client on the wired link.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 10);
/// The first client in the tunnel; the others follow.
pub(crate) const TUNNEL_CLIENT: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 130);
/// The server's address in the corporate network.
pub(crate) const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 7);
/// The server's address outside every prefix of the policy.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// The folder for files of a run: an in-memory file system that ends with this process.
pub(crate) const SCRATCH: &str = "/run/bench";

/// The hosts, and the VPN daemon's end of the tunnel.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) client: Host,
    pub(crate) gateway: Host,
    pub(crate) server: Host,
    /// The VPN daemon's end of the gateway's `tun0`; reads do not block.
    pub(crate) tunnel: File,
}

/// The privileges of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// All of root's.
    Root,
    /// Those of a user namespace: no eBPF.
    UserNamespace,
}

/// Puts this process into network and mount namespaces of its own; call it before there is a second thread.
///
/// # Errors
/// Names the step that this host does not allow.
pub(crate) fn enter_own_namespaces() -> Result<Rights, String> {
    File::open(CLONE_DEVICE).map_err(|error| format!("{CLONE_DEVICE}: {error}"))?;
    let alone = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    // Root stays in the initial user namespace: eBPF programs cannot be loaded from another.
    let rights = if nix::unistd::geteuid().is_root() && unshare(alone).is_ok() {
        Rights::Root
    } else {
        enter_namespaces().map_err(|error| error.to_string())?;
        Rights::UserNamespace
    };
    // Mounts made from here on are visible to this process alone.
    try_run(Command::new("mount").args(["--make-rprivate", "/"]))?;
    try_run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]))?;
    fs::create_dir(SCRATCH).map_err(|error| format!("{SCRATCH}: {error}"))?;
    Ok(rights)
}

impl Bed {
    pub(crate) fn build() -> Self {
        let make = |name| Host::new(name).unwrap_or_else(|error| panic!("{error}"));
        let (client, gateway, server) = (make("client"), make("gateway"), make("server"));
        let tunnel = gateway.run(|| make_plain_device("tun0"));
        let tunnel = tunnel
            .expect("the namespace is there")
            .expect("a tun device");
        fcntl(tunnel.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("an open file");

        for (name, peer) in [("gso0", &client), ("eth1", &server)] {
            let namespace = peer.path();
            ip(
                &gateway,
                &format!("link add {name} type veth peer name eth0 netns {namespace}"),
            );
            ip(&gateway, &format!("link set {name} up"));
            ip(peer, "link set eth0 up");
        }
        ip(&gateway, "link set tun0 txqueuelen 5000 up");
        ip(&gateway, "address add 172.16.1.1/25 dev gso0");
        ip(&gateway, "address add 172.16.1.129/25 dev tun0");
        ip(&gateway, "address add 10.0.0.1/8 dev eth1");
        ip(&gateway, &format!("route add 198.51.100.0/24 via {INSIDE}"));
        ip(&client, &format!("address add {CLIENT}/25 dev eth0"));
        ip(&client, "route add default via 172.16.1.1");
        ip(&server, &format!("address add {INSIDE}/8 dev eth0"));
        ip(&server, &format!("address add {OUTSIDE}/32 dev lo"));
        ip(&server, "route add default via 10.0.0.1");
        for (host, key, value) in [
            (&gateway, "ip_forward", "1"),
            (&gateway, "conf/all/rp_filter", "0"),
            (&server, "conf/all/rp_filter", "0"),
        ] {
            let set = host.set(&format!("net/ipv4/{key}"), value);
            set.unwrap_or_else(|error| panic!("{error}"));
        }
        Self {
            client,
            gateway,
            server,
            tunnel,
        }
    }

    /// Runs a command on the gateway; panics if it fails.
    pub(crate) fn on_gateway(&self, line: &str) {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        let done = self.gateway.run(|| try_run(&mut command));
        done.expect("the namespace is there")
            .unwrap_or_else(|why| panic!("{line}: {why}"));
    }
}

fn ip(host: &Host, line: &str) {
    host.ip(line).unwrap_or_else(|error| panic!("{error}"));
}

/// Runs a program to its end; returns its output as the error if it fails.
pub(crate) fn try_run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("it is not installed".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}
