//! `offramp run` on the concentrator, its counters, and the state it leaves in the kernel.

use serde_json::Value;

use super::{Daemon, Host, Site};
use crate::support::{program, run};

/// A running filter.
#[derive(Debug)]
pub struct Filter {
    daemon: Daemon,
    control: String,
}

impl Filter {
    /// Starts it with the article's policy for this site, and waits until it judges.
    #[track_caller]
    pub fn start(site: &Site, interfaces: &str, divert: &str) -> Self {
        Self::recognizing("ports", site, interfaces, divert)
    }

    /// Starts it with this `media.match`.
    #[track_caller]
    pub fn recognizing(recognition: &str, site: &Site, interfaces: &str, divert: &str) -> Self {
        // Not in the test's folder: the path of a socket must be short (108 bytes, unix(7)).
        let control = "/run/offramp-of-the-test.sock".to_owned();
        let policy = policy(recognition, interfaces, divert, &control);
        let policy = site.folder.write("policy.toml", policy);
        let mut daemon = Daemon::start(
            &site.concentrator,
            "offramp",
            site.folder.path("offramp.log"),
            &mut program(&["run", &policy]),
        );
        daemon.wait_for_log("ready");
        Self { daemon, control }
    }

    /// Returns its log so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Returns its status.
    #[track_caller]
    pub fn status(&self) -> Status {
        Status::ask(&self.control)
    }

    /// Stops it as an init system does.
    #[track_caller]
    pub fn stop(mut self) {
        let status = self.daemon.terminate();
        assert!(status.success(), "{status}: {}", self.log());
    }
}

/// The counters of a running filter.
#[derive(Debug)]
pub struct Status(pub Value);

impl Status {
    /// Asks the filter that listens at `control`.
    #[track_caller]
    pub fn ask(control: &str) -> Self {
        let ended = run(&mut program(&["status", "--control", control, "--json"]));
        let status = ended.json();
        ended.success();
        Self(status)
    }

    /// Returns packets dropped for `reason`.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.verdicts("drop", reason)
    }

    /// Returns packets forwarded for `reason`.
    pub fn forwarded(&self, reason: &str) -> u64 {
        self.verdicts("forward", reason)
    }

    /// Returns packets with this verdict.
    pub fn verdicts(&self, action: &str, reason: &str) -> u64 {
        self.packets("verdicts", |it| {
            it["action"] == action && it["reason"] == reason
        })
    }

    /// Returns packets decided by the rule called `name`.
    pub fn rule(&self, name: &str) -> u64 {
        self.packets("rules", |it| it["name"] == name)
    }

    fn packets(&self, list: &str, is_meant: impl Fn(&&Value) -> bool) -> u64 {
        let entries = self.0[list].as_array().expect("a list");
        let meant = entries.iter().filter(is_meant);
        meant
            .map(|it| it["packets"].as_u64().expect("a number of packets"))
            .sum()
    }

    /// Returns the existing interfaces that it diverts from.
    pub fn interfaces(&self) -> Vec<&str> {
        let entries = self.0["diversion"]["interfaces"].as_array();
        let names = entries
            .into_iter()
            .flatten()
            .filter_map(|it| it["present"].as_array());
        names.flatten().filter_map(Value::as_str).collect()
    }

    /// Returns packets that the filter lost: it was too slow, or the kernel did not accept them back.
    pub fn lost(&self) -> u64 {
        let of = |key: &str| self.0["device"][key].as_u64().expect("a number of packets");
        of("overload_drops") + of("failed_writes")
    }
}

/// Returns the policy of Contoso, with the addresses of this site, IPv6 too.
pub fn policy(recognition: &str, interfaces: &str, divert: &str, control: &str) -> String {
    format!(
        r#"
[vpn]
interfaces = ["{interfaces}"]
client_subnets = ["172.16.1.0/24", "fd00:172:16:1::/64"]

[corporate]
subnets = ["10.0.0.0/8", "fd00:10::/32"]

[media]
match = "{recognition}"

[[server]]
name = "Front End"
addresses = ["10.1.0.10", "fd00:10:1::10"]

[[server]]
name = "Edge, internal interface"
addresses = ["10.2.0.5", "fd00:10:2::5"]

[[allow]]
name = "Remote Desktop to the jump hosts"
to = ["10.9.0.0/24", "fd00:10:9::/64"]
ports = ["3389"]

[[allow]]
name = "Replies of services on the clients"
to = ["10.0.0.0/8", "fd00:10::/32"]
protocols = ["tcp"]
from_ports = ["1-1023", "3389"]

[[public]]
name = "A/V Edge"
addresses = ["167.55.49.34", "2001:db8:ed9e::34"]

[gateway]
divert = "{divert}"
control = "{control}"
"#
    )
}

/// The host state that a filter may change, as the system's tools show it.
#[derive(Debug, PartialEq, Eq)]
pub struct KernelState(Vec<String>);

impl KernelState {
    pub fn of(host: &Host) -> Self {
        Self(host.show(&[
            "ip rule",
            "ip -6 rule",
            "ip route show table all",
            "ip -6 route show table all",
            "ip -details link",
            "ip address",
            "nft list ruleset",
            "grep -r . /proc/sys/net/ipv4/conf --include=rp_filter --include=src_valid_mark",
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding",
        ]))
    }
}
