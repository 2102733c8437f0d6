//! Two gateways that share the VPN's address by VRRP, a client outside and a corporate host inside.
//!
//! ```text
//!                          ┌─ wan ─ first  ─ corp ─┐
//!  client ── outside ──────┤ 192.0.2.1   10.0.0.1  ├────── inside ── office  10.20.0.7, fd00:2::7
//!  172.16.1.10 in tun0     └─ wan ─ second ─ corp ─┘
//! ```
//!
//! The tunnel is a VXLAN to the shared address. It keeps no sessions, so a failover takes as long as VRRP takes, and no VPN daemon
//! adds its own time.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::filter::Status;
use super::{Daemon, Host, plain, poll, traffic};
use crate::support::{Ended, Folder, program, project};

/// The VPN's address, which the master has.
pub const SHARED: &str = "192.0.2.1/24";

/// A gateway of the pair.
pub struct Member {
    pub host: Host,
    pub folder: Folder,
    priority: u8,
}

pub struct Pair {
    pub client: Host,
    pub outside: Host,
    pub first: Member,
    pub second: Member,
    pub corporate: Host,
    inside: Host,
}

impl Pair {
    /// Builds it; `test` is the name of the test.
    pub fn new(test: &str) -> Self {
        let pair = Self {
            client: Host::new("client"),
            outside: Host::new("outside"),
            first: Member::new("first", test, 150),
            second: Member::new("second", test, 100),
            corporate: Host::new("corporate"),
            inside: Host::new("inside"),
        };
        for switch in [&pair.outside, &pair.inside] {
            switch.ip("
                link add name switch type bridge mcast_snooping 0
                link set switch up");
        }
        pair.outside.ip("
            link add name client netns outside type veth peer name eth0 netns client
            link add name first type veth peer name wan netns first
            link add name second type veth peer name wan netns second");
        pair.inside.ip("
            link add name office type veth peer name eth1 netns corporate
            link add name first type veth peer name corp netns first
            link add name second type veth peer name corp netns second");
        for (switch, port) in [(&pair.outside, "client"), (&pair.inside, "office")] {
            for port in [port, "first", "second"] {
                switch.ip(&format!(
                    "link set {port} master switch\nlink set {port} up\n"
                ));
            }
        }
        pair.client.ip("
            address add 192.0.2.10/24 dev eth0
            link set eth0 up
            link add name tun0 type vxlan id 7 remote 192.0.2.1 dstport 4789 dev eth0 nolearning
            address add 172.16.1.10/24 dev tun0
            address add fd00:1::10/64 dev tun0 nodad
            link set tun0 up
            route add default via 172.16.1.1
            route add default via fd00:1::1");
        pair.corporate.ip("
            address add 10.20.0.7/8 dev eth1
            address add fd00:2::7/48 dev eth1 nodad
            link set eth1 up
            route add 172.16.1.0/24 via 10.0.0.1
            route add fd00:1::/64 via fd00:2::1");
        for (member, number) in [(&pair.first, 2), (&pair.second, 3)] {
            member.host.ip(&format!(
                "address add 192.0.2.{number}/24 dev wan
                 address add 10.0.0.{number}/8 dev corp
                 address add fd00:2::{number}/48 dev corp nodad
                 link set wan up
                 link set corp up"
            ));
            member.host.forward();
            member.bring_up_the_tunnel();
        }
        pair
    }

    /// Starts both filters with a policy whose `[gateway]` has these lines.
    #[must_use]
    pub fn start_filters(&self, gateway: &str) -> [Daemon; 2] {
        [&self.first, &self.second].map(|member| {
            member.write_policy(gateway);
            member.start_filter("gateway.log")
        })
    }

    /// Starts keepalived on both, and waits until the first has the shared address.
    #[must_use]
    pub fn start_vrrp(&self) -> [Daemon; 2] {
        let vrrp = [&self.first, &self.second].map(Member::start_vrrp);
        self.first.wait_until_master();
        vrrp
    }

    /// Answers every datagram to a socket of the corporate network, for as long as the test runs.
    pub fn echo(&self, address: &str, port: u16) {
        traffic::echo(&self.corporate, address, port);
    }

    /// A connected socket of the client that waits a moment for an answer.
    pub fn socket_to(&self, address: &str, port: u16) -> UdpSocket {
        let socket = traffic::socket_to(&self.client, address);
        let waits = socket.set_read_timeout(Some(Duration::from_millis(300)));
        waits.expect("a duration");
        socket.connect((address, port)).expect("a route");
        socket
    }

    /// Waits until a datagram of the client is answered.
    #[track_caller]
    pub fn wait_for_answer(&self, address: &str, port: u16) {
        let socket = self.socket_to(address, port);
        poll("an answer", || {
            _ = socket.send(b"?");
            socket.recv(&mut [0; 16]).ok()
        });
    }
}

impl Member {
    fn new(name: &'static str, test: &str, priority: u8) -> Self {
        Self {
            host: Host::new(name),
            folder: Folder::new(&format!("{test}-{name}")),
            priority,
        }
    }

    /// Creates its end of the tunnel. Both have the same address, by link, too, as ends of one VPN do; its packets come from the shared
    /// address, so the standby sends none.
    pub fn bring_up_the_tunnel(&self) {
        self.host.ip("
            link add name tun0 address 02:00:00:00:00:01 type vxlan id 7 local 192.0.2.1 remote 192.0.2.10 dstport 4789 dev wan
            address add 172.16.1.1/24 dev tun0
            address add fd00:1::1/64 dev tun0 nodad
            link set tun0 up");
    }

    /// Writes its policy; `gateway` is the content of `[gateway]`.
    pub fn write_policy(&self, gateway: &str) {
        let policy = plain::policy(&self.folder, gateway);
        self.folder.write("policy.toml", policy);
    }

    /// Starts its filter, and waits until it judges.
    #[must_use]
    pub fn start_filter(&self, log: &str) -> Daemon {
        let policy = self.folder.path("policy.toml");
        let mut filter = Daemon::start(
            &self.host,
            &format!("offramp run, {}", self.host.name),
            self.folder.path(log),
            &mut program(&["run", &policy]),
        );
        filter.wait_for_log(" ready: ");
        filter
    }

    /// Starts keepalived with the configuration of docs/ha.md. It runs no scripts in a user namespace, where it may not choose their groups.
    #[must_use]
    pub fn start_vrrp(&self) -> Daemon {
        let control = self.folder.path("control.sock");
        let configuration = configuration(self.priority, &control);
        let configuration = self.folder.write("keepalived.conf", configuration);
        let mut command = Command::new("keepalived");
        command
            .args(["--dont-fork", "--log-console", "--log-detail"])
            .args(["--no-syslog", "--vrrp", "--use-file", &configuration])
            .args(["--pid", &self.folder.path("keepalived.pid")])
            .args(["--vrrp_pid", &self.folder.path("vrrp.pid")]);
        Daemon::start(
            &self.host,
            &format!("keepalived, {}", self.host.name),
            self.folder.path("keepalived.log"),
            &mut command,
        )
    }

    /// Has WireGuard leave from the shared address alone, by the rules of docs/ha.md.
    pub fn keep_wireguard_at_the_address(&self) {
        self.host.nft(&block_of_the_page("table inet wireguard {"));
    }

    /// Returns `true` if it has the shared address.
    pub fn is_master(&self) -> bool {
        let mut command = Command::new("ip");
        let shown = self.host.run(command.args(["address", "show", "wan"]));
        shown.success().contains(SHARED)
    }

    #[track_caller]
    pub fn wait_until_master(&self) {
        poll(&format!("{} as master", self.host.name), || {
            self.is_master().then_some(())
        });
    }

    /// Asks its filter whether it is ready.
    pub fn ready(&self) -> Ended {
        let control = self.folder.path("control.sock");
        let arguments = ["status", "--control", &control, "--ready"];
        self.host.run(&mut program(&arguments))
    }

    /// Returns the status of its filter.
    pub fn status(&self) -> Value {
        Status::ask(&self.folder.path("control.sock")).0
    }
}

/// The configuration of docs/ha.md, with the priority and the control socket of a gateway of the test.
fn configuration(priority: u8, control: &str) -> String {
    let program = env!("CARGO_BIN_EXE_offramp");
    let asked = format!("{program} status --control {control} --ready");
    let changes = [
        ("priority 150", format!("priority {priority}")),
        ("/usr/bin/offramp status --ready", asked),
    ];
    let text = block_of_the_page("global_defs {");
    changes.iter().fold(text, |text, (here, there)| {
        assert!(text.contains(here), "docs/ha.md has no {here:?}: {text}");
        text.replace(here, there)
    })
}

/// The block of docs/ha.md that begins with this line.
fn block_of_the_page(first: &str) -> String {
    let page = fs::read_to_string(project("docs/ha.md")).expect("docs/ha.md");
    let block = page
        .lines()
        .skip_while(|line| line.trim() != first)
        .take_while(|line| line.starts_with("    ") || line.is_empty());
    let block: String = block.flat_map(|line| [line, "\n"]).collect();
    assert!(!block.is_empty(), "docs/ha.md has no block {first:?}");
    block
}
