//! Conditions of the host that change while the gateway runs: findings, readiness and metrics follow them.

use std::net::UdpSocket;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use serde_json::Value;

use crate::site::plain::{DNS, MEDIA, OFFICE, PlainSite, policy};
use crate::site::{Diversion, in_ebpf_sandbox, in_nftables_sandbox, in_sandbox, poll};
use crate::support::skip;

/// Waits until the gateway has a finding of this severity that says `part`.
#[track_caller]
pub(crate) fn wait_for_finding(site: &PlainSite, severity: &str, part: &str) -> Value {
    poll(&format!("the finding \"{part}\""), || {
        let status = site.status();
        let mut findings = status["health"].as_array().expect("a list").iter();
        let says = |it: &&Value| it["what"].as_str().is_some_and(|what| what.contains(part));
        let found = findings.find(|it| it["severity"] == severity && says(it));
        found.cloned()
    })
}

#[track_caller]
pub(crate) fn wait_for_none(site: &PlainSite) {
    poll("no finding", || {
        let status = site.status();
        (status["health_checks"].as_u64() > Some(0) && status["health"] == serde_json::json!([]))
            .then_some(())
    });
}

#[test]
fn forwarding_that_is_switched_off_is_reported_everywhere_until_it_is_on() {
    in_sandbox(&[], || {
        let site = PlainSite::new("forwarding_off");
        let mut gateway = site.start("metrics = \"127.0.0.1:9464\"");
        wait_for_none(&site);
        assert_eq!(site.get("/readyz"), (200, "traffic is judged\n".to_owned()));

        site.concentrator.set("ipv6/conf/all/forwarding", "0");
        let finding = wait_for_finding(&site, "error", "does not forward IPv6");
        let remedy = "sysctl -w net.ipv6.conf.all.forwarding=1";
        assert!(finding["remedy"].as_str().expect("a text").contains(remedy));
        let (code, body) = site.get("/readyz");
        assert!(
            code == 503 && body.contains("does not forward IPv6") && body.contains(remedy),
            "{code} {body}"
        );
        let (_, metrics) = site.get("/metrics");
        assert!(
            metrics.contains("offramp_findings{severity=\"error\"} 1"),
            "{metrics}"
        );
        assert!(
            metrics.contains("offramp_findings{severity=\"warning\"} 0"),
            "{metrics}"
        );
        assert!(metrics.contains("offramp_ready 0"), "{metrics}");
        let control = site.folder.path("control.sock");
        let text = site.offramp(&["status", "--control", &control]).success();
        assert!(
            text.contains("ERROR: this host does not forward IPv6"),
            "{text}"
        );
        let policy = site.folder.path("policy.toml");
        let verified = site.offramp(&["verify", &policy, "--live", "gateway"]);
        assert_eq!(verified.code, Some(3));
        assert!(
            verified
                .stdout
                .contains("HOST: this host does not forward IPv6"),
            "{}",
            verified.stdout
        );
        assert!(verified.stdout.contains(remedy), "{}", verified.stdout);

        site.concentrator.set("ipv6/conf/all/forwarding", "1");
        wait_for_none(&site);
        gateway.wait_for_log("resolved: this host does not forward IPv6");
        assert_eq!(site.get("/readyz").0, 200);
        let log = gateway.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("does not forward IPv6") && !line.contains("resolved"));
        assert_eq!(lines.count(), 1, "{log}");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn an_interface_that_gets_another_name_or_a_bridge_is_an_error() {
    in_sandbox(&[], || {
        let site = PlainSite::new("interface_lost");
        let _gateway = site.start("");
        wait_for_none(&site);
        site.concentrator.ip("
            link add bridge0 type bridge
            link set tun0 master bridge0");
        wait_for_finding(&site, "error", "tun0 is a port of a bridge");
        site.concentrator.ip("link set tun0 nomaster");
        wait_for_none(&site);
        site.concentrator.ip("
            link set tun0 down
            link set tun0 name vpn7
            link set vpn7 up");
        wait_for_finding(&site, "error", "interface tun0 is called vpn7 now");
        site.concentrator.ip("
            link set vpn7 down
            link set vpn7 name tun0
            link set tun0 up");
        wait_for_none(&site);
    });
}

#[test]
fn a_strict_filter_at_the_device_is_an_error() {
    in_nftables_sandbox(&[], || {
        let site = PlainSite::new("strict_device");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        let _gateway = site.start("divert = \"all\"");
        wait_for_none(&site);
        assert_eq!(Diversion::here(), Diversion::Nftables);
        assert!(site.is_answered(OFFICE, DNS, 100));
        site.concentrator.set("ipv4/conf/offramp0/rp_filter", "1");
        wait_for_finding(&site, "error", "net.ipv4.conf.offramp0.rp_filter is 1");
        assert!(!site.is_answered(OFFICE, DNS, 100), "it stops nothing");
        // A loose one for all interfaces is in force there, too.
        site.concentrator.set("ipv4/conf/all/rp_filter", "2");
        wait_for_none(&site);
        site.wait_for_answer(OFFICE, DNS);
    });
}

#[test]
fn a_mistyped_client_subnet_is_told_by_the_interface_and_by_the_traffic() {
    in_sandbox(&[], || {
        let site = PlainSite::new("mistyped_pool");
        site.echo(OFFICE, MEDIA);
        let policy = policy(&site.folder, "").replace("172.16.1.0/24", "172.61.1.0/24");
        site.folder.write("policy.toml", &policy);
        let mut gateway = site.start_again("gateway.log");
        gateway.wait_for_log("tun0 is in 172.16.1.0/24, and vpn.client_subnets has no address");
        let finding = wait_for_finding(&site, "warning", "tun0 is in 172.16.1.0/24");
        let remedy = finding["remedy"].as_str().expect("a text");
        assert!(remedy.contains("\"172.16.1.0/24\""), "{remedy}");
        assert!(site.is_answered(OFFICE, MEDIA, 100), "all media passes");

        site.send(OFFICE, MEDIA, 300, 100);
        let finding = wait_for_finding(&site, "warning", "outside vpn.client_subnets");
        let what = finding["what"].as_str().expect("a text");
        let percent = what.split(' ').next().and_then(|it| it.parse::<u64>().ok());
        assert!(percent >= Some(90), "{what}");

        // What the finding says solves the first at once, and the second once it has seen other traffic.
        let corrected = policy.replace("\"172.61.1.0/24\"", "\"172.61.1.0/24\", \"172.16.1.0/24\"");
        site.folder.write("policy.toml", corrected);
        gateway.wait_for_log("resolved: tun0 is in 172.16.1.0/24");
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
    });
}

/// One processor sends, and has the other one process what enters: it cannot keep up, and its backlog is full.
#[test]
#[ignore = "drops packets of the whole host: `tests/run --test gateway -- --ignored`, as CI does"]
fn drops_in_the_backlog_of_a_processor_are_a_finding() {
    in_ebpf_sandbox(&[], || {
        let own = sched_getaffinity(Pid::from_raw(0)).expect("it is ours");
        let processors: Vec<usize> = (0..CpuSet::count())
            .filter(|it| own.is_set(*it).unwrap_or(false))
            .collect();
        let [sends, receives, ..] = processors[..] else {
            return skip("it takes two processors");
        };
        let site = PlainSite::new("backlog");
        let mut gateway = site.start("");
        wait_for_none(&site);

        let steer = format!(
            "echo {:x} >/sys/class/net/tun0/queues/rx-0/rps_cpus",
            1 << receives
        );
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "concentrator", "sh", "-c", &steer]);
        site.concentrator.run(&mut command).success();
        // Each packet takes longer there than it takes to send one.
        let rule = "ip saddr 203.0.113.1 counter\n".repeat(1_000);
        site.concentrator.nft(&format!(
            "table ip slow {{ chain pre {{ type filter hook prerouting priority 0; policy accept;\n{rule}}}; }}"
        ));
        // Datagrams of a super-packet enter one by one.
        site.client.ip("link set tun0 gso_max_segs 1");
        let socket = site.client.enter(|| UdpSocket::bind("0.0.0.0:0"));
        let socket = socket.expect("a free port");
        setsockopt(&socket, sockopt::UdpGsoSegment, &64).expect("an option of Linux");
        // More than a backlog has room for.
        setsockopt(&socket, sockopt::SndBufForce, &(8 << 20)).expect("root may");
        socket.connect((OFFICE, DNS)).expect("a route");
        let sender = thread::spawn(move || {
            let mut only = CpuSet::new();
            only.set(sends).expect("it is one of ours");
            sched_setaffinity(Pid::from_raw(0), &only).expect("it is one of ours");
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(5) {
                // Nobody listens there: refusals are answers, too.
                _ = socket.send(&[0; 64 * 64]);
            }
        });
        let finding = wait_for_finding(&site, "warning", "the backlog of a processor is full");
        let remedy = finding["remedy"].as_str().expect("a text");
        assert!(remedy.contains("net.core.netdev_max_backlog"), "{remedy}");
        sender.join().expect("it only sends");
        gateway.wait_for_log("the backlog of a processor is full");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}
