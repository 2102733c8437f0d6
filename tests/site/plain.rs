//! The smallest site: a client, the concentrator and the corporate network, on two links. The client's link stands for
//! the tunnel; these tests are about the gateway, not the daemon.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::filter::Status;
use super::{Daemon, Host, poll, traffic};
use crate::support::{Ended, Folder, program};

pub struct PlainSite {
    pub client: Host,
    pub concentrator: Host,
    pub corporate: Host,
    pub folder: Folder,
    /// The older version that gateways take the kernel for, if any.
    pub kernel: Option<&'static str>,
}

pub const CLIENT: &str = "172.16.1.10";
pub const CLIENT6: &str = "fd00:1::10";
/// A corporate host to which media is dropped and other traffic forwarded.
pub const OFFICE: &str = "10.20.0.7";
pub const OFFICE6: &str = "fd00:2::7";
/// An address outside every prefix of the policy.
pub const ELSEWHERE: &str = "192.0.2.7";
pub const MEDIA: u16 = 50_020;
pub const DNS: u16 = 53;

/// Returns a policy for the site; `gateway` is the content of `[gateway]`.
///
/// By default all packets to a prefix of the policy are diverted, so that tests can count them.
pub fn policy(folder: &Folder, gateway: &str) -> String {
    let divert = if gateway.contains("divert") {
        ""
    } else {
        "divert = \"policy\""
    };
    format!(
        "[vpn]\ninterfaces = [\"tun0\"]\nclient_subnets = [\"172.16.1.0/24\", \"fd00:1::/64\"]\n\
         [corporate]\nsubnets = [\"10.0.0.0/8\", \"fd00:2::/48\"]\n\
         [gateway]\ncontrol = \"{}\"\n{divert}\n{gateway}\n",
        folder.path("control.sock")
    )
}

impl PlainSite {
    /// Builds it; `name` is that of the test.
    pub fn new(name: &str) -> Self {
        let site = Self {
            client: Host::new("client"),
            concentrator: Host::new("concentrator"),
            corporate: Host::new("corporate"),
            folder: Folder::new(name),
            kernel: None,
        };
        site.concentrator.ip("
            link add tun0 type veth peer name tun0 netns client
            link add eth1 type veth peer name eth1 netns corporate
            address add 172.16.1.1/24 dev tun0
            address add fd00:1::1/64 dev tun0 nodad
            address add 10.0.0.1/8 dev eth1
            address add 192.0.2.1/24 dev eth1
            address add fd00:2::1/48 dev eth1 nodad
            link set tun0 up
            link set eth1 up");
        site.client.ip("
            address add 172.16.1.10/24 dev tun0
            address add fd00:1::10/64 dev tun0 nodad
            link set tun0 up
            route add default via 172.16.1.1
            route add default via fd00:1::1");
        site.corporate.ip("
            address add 10.20.0.7/8 dev eth1
            address add 192.0.2.7/24 dev eth1
            address add fd00:2::7/48 dev eth1 nodad
            link set eth1 up
            route add default via 10.0.0.1
            route add default via fd00:2::1");
        site.concentrator.forward();
        // The kernel takes note of a carrier a little later than it is there, and shows so in routes and links.
        poll("the carriers of the links", || {
            (!site.kernel().contains("linkdown")).then_some(())
        });
        site
    }

    /// Writes the policy and starts the gateway with it; returns once the gateway judges packets.
    pub fn start(&self, gateway: &str) -> Daemon {
        self.folder
            .write("policy.toml", policy(&self.folder, gateway));
        self.start_again("gateway.log")
    }

    /// Starts the gateway with the policy written last.
    pub fn start_again(&self, log: &str) -> Daemon {
        let mut gateway = self.start_quietly(log);
        gateway.wait_for_log(" ready: ");
        gateway
    }

    /// Starts the same, without waiting for it.
    pub fn start_quietly(&self, log: &str) -> Daemon {
        Daemon::start(
            &self.concentrator,
            "offramp run",
            self.folder.path(log),
            &mut self.program(&["run", &self.folder.path("policy.toml")]),
        )
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut program = program(arguments);
        program.envs(self.kernel.map(|version| ("OFFRAMP_KERNEL", version)));
        program
    }

    /// Runs the program on the concentrator.
    pub fn offramp(&self, arguments: &[&str]) -> Ended {
        self.concentrator.run(&mut self.program(arguments))
    }

    /// Returns the status of the running gateway.
    pub fn status(&self) -> Value {
        Status::ask(&self.folder.path("control.sock")).0
    }

    /// Asks the metrics endpoint at port 9464; returns the status and the body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut answer = String::new();
        self.concentrator.enter(|| {
            let mut stream = TcpStream::connect("127.0.0.1:9464").expect("it listens");
            let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("it reads");
            stream.read_to_string(&mut answer).expect("it answers");
        });
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.expect("a status"), body.to_owned())
    }

    /// Returns the number of packets with this verdict.
    pub fn count(&self, action: &str, reason: &str) -> u64 {
        Status(self.status()).verdicts(action, reason)
    }

    /// Returns the complete network configuration of the concentrator's kernel.
    pub fn kernel(&self) -> String {
        let shown = self.concentrator.show(&[
            "ip -4 rule",
            "ip -6 rule",
            "ip -4 route show table all",
            "ip -6 route show table all",
            "ip -brief link",
            "nft list ruleset",
        ]);
        shown.join("\n")
    }

    /// Answers every datagram to a socket of the corporate network, for as long as the test runs.
    pub fn echo(&self, address: &str, port: u16) {
        traffic::echo(&self.corporate, address, port);
    }

    /// Returns a UDP socket of the client, at a free port, for the family of `address`.
    pub fn socket_to(&self, address: &str) -> UdpSocket {
        traffic::socket_to(&self.client, address)
    }

    /// Sends `count` datagrams of `length` bytes from a port of its own, and returns the port.
    pub fn send(&self, to: &str, port: u16, count: usize, length: usize) -> u16 {
        let socket = self.socket_to(to);
        for _ in 0..count {
            let sent = socket.send_to(&vec![7; length], (to, port));
            sent.expect("there is a route");
        }
        socket.local_addr().expect("it is bound").port()
    }

    /// Returns `true` if a datagram of `length` bytes to the address is answered, after several attempts.
    pub fn is_answered(&self, address: &str, port: u16, length: usize) -> bool {
        let socket = self.socket_to(address);
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a duration");
        (0..5).any(|_| {
            // There is no listener or no route: no answer.
            _ = socket.send_to(&vec![7; length], (address, port));
            socket
                .recv(&mut vec![0; 65_536])
                .is_ok_and(|answered| answered == length)
        })
    }

    /// Waits until a datagram is answered.
    #[track_caller]
    pub fn wait_for_answer(&self, address: &str, port: u16) {
        poll("an answer", || {
            self.is_answered(address, port, 100).then_some(())
        });
    }
}
