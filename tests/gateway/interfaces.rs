//! Interfaces of the VPN that come and go while the gateway runs, and while it is away.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::site::plain::{self, DNS, MEDIA, OFFICE, PlainSite};
use crate::site::{in_ebpf_sandbox, poll};
use crate::support::{AtEnd, signal};

/// The site, with a gateway for `tun0` and interfaces that are called `vpn` and a number.
fn policy(site: &PlainSite, gateway: &str) {
    let text = plain::policy(&site.folder, gateway);
    let text = text.replace("[\"tun0\"]", "[\"tun0\", \"vpn*\"]");
    site.folder.write("policy.toml", text);
}

/// Adds an interface, which is down, and has the client use it for the office.
fn add(site: &PlainSite, name: &str) {
    site.concentrator.ip(&format!(
        "link add {name} address 02:00:00:00:00:01 type veth peer name {name} netns client"
    ));
    site.client.ip(&format!(
        "link set {name} up
        address add 172.16.1.77/32 dev {name}
        neigh add {OFFICE} lladdr 02:00:00:00:00:01 dev {name}
        route replace {OFFICE}/32 dev {name}"
    ));
}

fn switch_on(site: &PlainSite, name: &str) {
    site.concentrator.ip(&format!("link set {name} up"));
}

fn remove(site: &PlainSite, name: &str) {
    site.concentrator.ip(&format!("link del {name}"));
}

/// A socket of the office.
fn receiver(site: &PlainSite, port: u16) -> UdpSocket {
    let bound = site.corporate.enter(|| UdpSocket::bind((OFFICE, port)));
    let socket = bound.expect("a free port");
    let limit = Some(Duration::from_millis(300));
    socket.set_read_timeout(limit).expect("a duration");
    socket
}

fn receives(socket: &UdpSocket) -> bool {
    socket.recv(&mut [0; 256]).is_ok()
}

/// The nftables table of the guard; `None` without one.
fn guard(site: &PlainSite) -> Option<String> {
    let mut list = Command::new("nft");
    let listed = site
        .concentrator
        .run(list.args(["list", "table", "inet", "offramp"]));
    (listed.code == Some(0)).then(|| listed.success())
}

#[test]
fn nothing_passes_from_an_interface_that_sends_at_once_where_the_gateway_is_closed() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("sends_at_once");
        site.echo(OFFICE, DNS);
        let media = receiver(&site, MEDIA);
        policy(&site, "on_failure = \"closed\"");
        let mut gateway = site.start_again("gateway.log");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _ends = AtEnd(&is_over);
            scope.spawn(|| {
                let socket = site.socket_to(OFFICE);
                while !is_over.load(Ordering::Relaxed) {
                    // There may be no route at the moment.
                    _ = socket.send_to(&[7; 100], (OFFICE, MEDIA));
                }
            });
            for number in 0..10 {
                let name = format!("vpn{number}");
                add(&site, &name);
                switch_on(&site, &name);
                site.wait_for_answer(OFFICE, DNS);
                remove(&site, &name);
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(!receives(&media), "media passed");
        assert_eq!(site.status()["diversion"]["repairs"]["count"], 0);

        // It comes while the process is stopped, so that nobody attaches a program.
        signal(gateway.pid(), "STOP");
        add(&site, "vpn10");
        switch_on(&site, "vpn10");
        assert!(!site.is_answered(OFFICE, DNS, 100));
        site.send(OFFICE, MEDIA, 20, 100);
        assert!(!receives(&media), "media passed");
        signal(gateway.pid(), "CONT");
        site.wait_for_answer(OFFICE, DNS);
        site.send(OFFICE, MEDIA, 20, 100);
        assert!(!receives(&media), "media passed");
        gateway.wait_for_log("and were stopped");
        assert_eq!(gateway.terminate().code(), Some(0));
        assert_eq!(guard(&site), None);
        site.send(OFFICE, MEDIA, 1, 100);
        assert!(receives(&media), "nothing judges");
    });
}

#[test]
fn a_closed_gateway_that_was_killed_stops_what_enters_from_interfaces_that_come_later() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("comes_later");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        policy(&site, "on_failure = \"closed\"");
        let file = site.folder.path("policy.toml");
        let rehearsed = site.offramp(&["run", "--dry-run", &file]).success();
        assert!(rehearsed.contains("iifname \"vpn*\" drop"), "{rehearsed}");
        let gateway = site.start_again("gateway.log");
        signal(gateway.pid(), "KILL");
        poll("the device to go", || {
            (!site.concentrator.has_interface("offramp0")).then_some(())
        });
        assert!(
            site.is_answered(OFFICE, DNS, 100),
            "from the one with a program"
        );
        add(&site, "vpn0");
        switch_on(&site, "vpn0");
        assert!(!site.is_answered(OFFICE, DNS, 100));

        // The next start lets it in.
        let gateway = site.start_again("again.log");
        site.wait_for_answer(OFFICE, DNS);
        assert!(!site.is_answered(OFFICE, MEDIA, 100));
        signal(gateway.pid(), "KILL");
        poll("the device to go", || {
            (!site.concentrator.has_interface("offramp0")).then_some(())
        });
        assert!(guard(&site).is_some());
        site.offramp(&["run", "--cleanup"]).success();
        assert_eq!(guard(&site), None);
        assert!(site.is_answered(OFFICE, MEDIA, 100));
    });
}

#[test]
fn a_guard_that_others_change_is_restored_and_a_bypass_takes_it_away() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("guard");
        policy(&site, "on_failure = \"closed\"");
        let mut gateway = site.start_again("gateway.log");
        let written = guard(&site).expect("a table");
        assert!(written.contains("tun0"), "{written}");
        site.concentrator.nft("flush ruleset");
        gateway.wait_for_log("another program has removed or changed the nftables table");
        assert_eq!(guard(&site), Some(written.clone()));
        let socket = site.folder.path("control.sock");
        for (word, wanted) in [("on", None), ("off", Some(written))] {
            site.offramp(&["bypass", word, "--control", &socket])
                .success();
            assert_eq!(guard(&site), wanted);
        }
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn an_interface_that_was_up_before_its_packets_are_judged_is_told() {
    in_ebpf_sandbox(&[], || {
        let site = PlainSite::new("late");
        site.echo(OFFICE, DNS);
        let media = receiver(&site, MEDIA);
        policy(&site, "metrics = \"127.0.0.1:9464\"");
        let mut gateway = site.start_again("gateway.log");
        assert_eq!(guard(&site), None, "it fails open");
        let late = || {
            let late = site.status()["diversion"]["late"].clone();
            let number = |key: &str| late[key].as_u64().expect("a number");
            (number("interfaces"), number("packets"))
        };
        // The program is attached as soon as it is there, and before it is up.
        add(&site, "vpn0");
        gateway.wait_for_log("packets that enter from vpn0 are judged");
        switch_on(&site, "vpn0");
        site.wait_for_answer(OFFICE, DNS);
        site.send(OFFICE, MEDIA, 20, 100);
        assert!(!receives(&media), "media passed");
        assert_eq!(late(), (0, 0));

        signal(gateway.pid(), "STOP");
        add(&site, "vpn1");
        switch_on(&site, "vpn1");
        // The first ones may be lost while the client's host finds its new gateway.
        poll("media, which is not judged", || {
            site.send(OFFICE, MEDIA, 20, 100);
            receives(&media).then_some(())
        });
        signal(gateway.pid(), "CONT");
        gateway.wait_for_log("vpn1 was up for ");
        let (interfaces, packets) = late();
        assert_eq!(interfaces, 1);
        assert!((20..1_000).contains(&packets), "{packets}");
        let (_, metrics) = site.get("/metrics");
        assert!(
            metrics.contains("\nofframp_late_interfaces_total 1\n"),
            "{metrics}"
        );
        let socket = site.folder.path("control.sock");
        let told = site.offramp(&["status", "--control", &socket]).success();
        assert!(
            told.contains("up before what enters there was judged: 1 interfaces"),
            "{told}"
        );
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}
