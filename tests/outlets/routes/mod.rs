//! What the tests of routes share: a VPN server and a client in namespaces of their own, real daemons, the kernel's routes.
//!
//! A test starts itself again under `unshare`, which is the server's side; the client's side is one more namespace behind
//! a veth pair. All of it goes when the test ends.

mod dhcp;
mod ocserv;
mod openvpn;
mod readers;
mod strongswan;
mod wireguard;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use offramp::address::{PrefixSet, more_specific};
use offramp::plan::RoutePlan;
use offramp::policy;
use offramp::render::{self, Form, Options, Target};

use crate::support::{is_installed, run, skip, test_of};

/// Address of the server on the link between the two.
const SERVER: &str = "192.0.2.1";
/// Address of the client on the link.
const CLIENT: &str = "192.0.2.2";

/// Set in the namespace.
const INSIDE: &str = "OFFRAMP_TEST_INSIDE_NAMESPACE";

/// A site with a full tunnel, of both families: the article's Edge, and Teams.
const FULL: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24", "fd00:1::/64"]
[corporate]
subnets = ["10.0.0.0/8", "2001:db8:c0de::/48"]
dns_servers = ["10.0.0.53"]
[routes]
tunnel = "full"
gateways = ["192.0.2.1"]
[[public]]
name = "Edge"
addresses = ["167.55.49.32", "167.55.49.33", "167.55.49.34", "167.55.49.35", "167.55.49.36"]
[[public]]
name = "Teams media"
addresses = ["52.112.0.0/14", "52.122.0.0/15", "2603:1063::/38"]
"#;

/// The same with a split tunnel, where the company uses the Edge's network inside too.
fn split() -> String {
    FULL.replace("\"full\"", "\"split\"")
        .replace("\"10.0.0.0/8\"", "\"10.0.0.0/8\", \"167.55.0.0/16\"")
}

fn plan(text: &str) -> RoutePlan {
    let (policy, _) = policy::parse("policy.toml", text.as_bytes()).expect("a good policy");
    RoutePlan::new(&policy)
}

/// The file of a target for `plan`.
fn rendered(target: Target, plan: &RoutePlan, form: Option<Form>) -> String {
    let options = Options {
        form,
        via: Some("172.16.1.1".parse().expect("an address")),
        name: None,
    };
    render::render(target, plan, &options)
        .expect("within the limits")
        .text
}

/// Runs `body`, a closure of the test itself, in a network and a mount namespace of its own, if all `programs` are there.
fn in_namespace(programs: &[&str], body: impl FnOnce()) {
    let test = test_of(&body);
    if std::env::var_os(INSIDE).is_some() {
        // Daemons write here; nothing of it stays.
        run(Command::new("mount").args(["-t", "tmpfs", "none", "/run"])).success();
        run(Command::new("ip").args(["link", "set", "lo", "up"])).success();
        return body();
    }
    let needed = ["unshare", "nsenter", "ip", "mount"];
    if !needed.iter().chain(programs).all(is_installed) {
        return;
    }
    let can = run(Command::new("unshare").args(["--net", "--mount", "true"]));
    if can.code != Some(0) {
        return skip("namespaces with daemons in them need root");
    }
    let binary = std::env::current_exe().expect("the path of this test binary");
    let ended = run(Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arg(binary)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1"));
    assert!(
        ended.stdout.contains("1 passed"),
        "{}\n{}",
        ended.stdout,
        ended.stderr
    );
}

/// Runs `ip` with these arguments, and it must succeed.
fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' '))).success();
}

/// The client's side: a network namespace, with a default route to the server.
struct Client {
    keeper: Child,
}

impl Client {
    /// Makes it, behind a veth pair.
    fn start() -> Self {
        let keeper = Command::new("unshare")
            .args(["--net", "sleep", "300"])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare starts");
        let client = Self { keeper };
        // The namespace is there once it is another one than ours.
        let ours = fs::read_link("/proc/self/ns/net").expect("proc is mounted");
        let theirs = format!("/proc/{}/ns/net", client.keeper.id());
        until("the client's namespace", || {
            fs::read_link(&theirs).is_ok_and(|theirs| theirs != ours)
        });
        ip(&format!(
            "link add up0 type veth peer name up1 netns {}",
            client.keeper.id()
        ));
        ip(&format!("address add {SERVER}/24 dev up0"));
        ip("link set up0 up");
        client.ip("link set lo up");
        client.ip(&format!("address add {CLIENT}/24 dev up1"));
        client.ip("link set up1 up");
        client.ip(&format!("route add default via {SERVER}"));
        // Exclusions of IPv6 need a way to go too.
        ip("address add fd00:ff::1/64 dev up0 nodad");
        client.ip("address add fd00:ff::2/64 dev up1 nodad");
        client.ip("-6 route add default via fd00:ff::1");
        client
    }

    /// A command on the client's side.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--net",
            "--target",
            &self.keeper.id().to_string(),
            "--",
            program,
        ]);
        command
    }

    /// Runs `ip` on the client's side.
    fn ip(&self, arguments: &str) -> String {
        run(self.command("ip").args(arguments.split(' '))).success()
    }

    /// The addresses that the kernel sends into the interface `device`: the most specific route decides.
    fn enters(&self, device: &str) -> PrefixSet {
        // Of two routes with one destination the lower metric counts.
        let mut best: HashMap<IpNet, (u64, bool)> = HashMap::new();
        for family in ["-4", "-6"] {
            let json = self.ip(&format!("-j {family} route show table main"));
            let routes: serde_json::Value = serde_json::from_str(&json).expect("ip prints JSON");
            for route in routes.as_array().expect("a list of routes") {
                let prefix: IpNet = match route["dst"].as_str().expect("a destination") {
                    "default" if family == "-4" => "0.0.0.0/0".parse(),
                    "default" => "::/0".parse(),
                    prefix if prefix.contains('/') => prefix.parse(),
                    address if family == "-4" => format!("{address}/32").parse(),
                    address => format!("{address}/128").parse(),
                }
                .expect("a prefix");
                let metric = route["metric"].as_u64().unwrap_or(0);
                let is_into = route["dev"].as_str() == Some(device);
                let known = best.entry(prefix).or_insert((metric, is_into));
                if metric < known.0 {
                    *known = (metric, is_into);
                }
            }
        }
        let of = |wanted: bool| {
            let chosen = best.iter().filter(move |(_, (_, into))| *into == wanted);
            chosen.map(|(prefix, _)| *prefix).collect::<Vec<_>>()
        };
        let (into, elsewhere) = (of(true), of(false));
        more_specific(into, elsewhere)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        _ = self.keeper.kill();
        _ = self.keeper.wait();
    }
}

/// The addresses that the plan and the kernel must agree on: not those of the link itself, and those that IPv6 has on
/// every link.
fn comparable(set: &PrefixSet) -> PrefixSet {
    let link = ["192.0.2.0/24", "fd00:ff::/64", "fe80::/10", "ff00::/8"];
    let link = link.map(|text| text.parse::<IpNet>().expect("a literal prefix"));
    set.subtract(&PrefixSet::from_iter(link))
}

/// The kernel's answer for single addresses: at the edges of every entry, does `ip route get` lead into `device`?
fn assert_routed(client: &Client, plan: &RoutePlan, device: &str) {
    let entries = plan.includes.iter().chain(&plan.excludes);
    let mut asked = HashSet::new();
    for entry in entries {
        for address in [entry.prefix.network(), entry.prefix.broadcast()] {
            let special = address.is_loopback()
                || address.is_multicast()
                || address.is_unspecified()
                || address.to_string() == "255.255.255.255";
            let on_link = !comparable(&PrefixSet::from_iter([address])).contains(address);
            // What has no route at all is outside as well, and the broadcast address of the pool is the tunnel's own.
            if special || on_link || !asked.insert(address) {
                continue;
            }
            let answer = run(client
                .command("ip")
                .args(["route", "get", &address.to_string()]));
            let inside = answer.stdout.contains(&format!("dev {device}"))
                || answer.stdout.contains("dev lo")
                || answer.stdout.starts_with("broadcast");
            assert_eq!(
                inside,
                plan.tunnel.contains(address),
                "{address}: {answer:?}"
            );
        }
    }
}

/// A program that runs beside the test, and does not outlive it.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
    /// What it said so far.
    said: Vec<String>,
}

impl Daemon {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("piped just above");
        let stderr = child.stderr.take().expect("piped just above");
        let also = sender.clone();
        thread::spawn(move || forward(BufReader::new(stdout), &sender));
        thread::spawn(move || forward(BufReader::new(stderr), &also));
        Self {
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// Waits until it says a line with `text` in it.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said.iter().any(|line| line.contains(text)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(_) => panic!("it never said `{text}`:\n{}", self.said.join("\n")),
            }
        }
    }
}

fn forward(lines: impl BufRead, to: &std::sync::mpsc::Sender<String>) {
    for line in lines.lines() {
        let Ok(line) = line else { return };
        if to.send(line).is_err() {
            return;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Waits until `holds`.
#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: never");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the routes of the client into `device` are those of the plan.
#[track_caller]
fn assert_enters(client: &Client, plan: &RoutePlan, device: &str) {
    let deadline = Instant::now() + PATIENCE;
    let wanted = comparable(&plan.tunnel);
    loop {
        let enters = comparable(&client.enters(device));
        if enters == wanted {
            return;
        }
        if Instant::now() > deadline {
            panic!(
                "missing: {}\nsurplus: {}",
                wanted.subtract(&enters),
                enters.subtract(&wanted)
            );
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// No daemon takes nearly this long.
const PATIENCE: Duration = Duration::from_secs(25);
