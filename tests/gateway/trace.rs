//! `offramp trace`: verdicts on one client's packets as they are given, bounded, and its end announced.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::site::plain::{CLIENT, DNS, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Daemon, in_sandbox, poll};
use crate::support::program;

const SERVER: &str = "[[server]]\nname = \"Front End\"\naddresses = [\"10.1.0.10\"]\n";
/// Another client.
const OTHER: &str = "172.16.1.11";

/// Starts a trace, and waits until it has begun.
#[track_caller]
fn trace(site: &PlainSite, log: &str, arguments: &[&str]) -> Daemon {
    let control = site.folder.path("control.sock");
    let running = site.status()["traces"].as_u64().expect("a number");
    let trace = Daemon::start(
        &site.concentrator,
        "offramp trace",
        site.folder.path(log),
        &mut program(&[&["trace", CLIENT, "--control", &control], arguments].concat()),
    );
    poll("the trace", || {
        (site.status()["traces"] == running + 1).then_some(())
    });
    trace
}

/// Returns the JSON lines of a trace that has ended: those of packets, and the last.
#[track_caller]
fn events(trace: &Daemon) -> (Vec<Value>, Value) {
    let log = trace.log();
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {log}"));
    let mut events: Vec<Value> = log.lines().map(parse).collect();
    assert_eq!(events[0]["event"], "begin", "{log}");
    let end = events.pop().expect("an end");
    assert_eq!(end["event"], "end", "{log}");
    events.remove(0);
    assert!(events.iter().all(|it| it["event"] == "packet"), "{log}");
    (events, end)
}

#[test]
fn the_packets_of_one_client_are_shown_with_verdict_rule_and_line_up_to_their_number() {
    in_sandbox(&[], || {
        let site = PlainSite::new("traced");
        site.client.ip(&format!("address add {OTHER}/24 dev tun0"));
        let mut gateway = site.start(&format!("divert = \"all\"\n{SERVER}"));
        let mut json = trace(&site, "trace.json", &["--packets", "3", "--json"]);
        let mut text = trace(&site, "trace.txt", &["--packets", "3"]);

        let other = site
            .client
            .enter(|| std::net::UdpSocket::bind((OTHER, 0)).expect("an address of the client"));
        for _ in 0..5 {
            other.send_to(&[7; 20], (OFFICE, MEDIA)).expect("a route");
        }
        let from = |to: &str, port| {
            let socket = site
                .client
                .enter(|| std::net::UdpSocket::bind((CLIENT, 0)).expect("its address"));
            socket.send_to(&[7; 20], (to, port)).expect("a route");
            socket.local_addr().expect("it is bound").port()
        };
        let ports = [
            from(OFFICE, MEDIA),
            from(OFFICE, DNS),
            from("10.1.0.10", 5_061),
        ];
        // Another family: another address, and another client.
        site.send(OFFICE6, MEDIA, 1, 20);
        assert_eq!(json.wait().code(), Some(0), "{}", json.log());
        assert_eq!(text.wait().code(), Some(0), "{}", text.log());

        let (packets, end) = events(&json);
        assert_eq!(end["reason"], "packets");
        assert_eq!((&end["packets"], &end["left_out"]), (&3.into(), &0.into()));
        // Packets to different hosts have no order among them.
        let told: BTreeSet<_> = packets
            .iter()
            .map(|it| {
                let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
                let to = format!("{}:{}", text("destination"), it["destination_port"]);
                (
                    text("verdict"),
                    text("reason"),
                    to,
                    it["source_port"].as_u64(),
                )
            })
            .collect();
        let line = |verdict: &str, reason: &str, to: &str, port: u16| {
            let port = Some(port.into());
            (verdict.to_owned(), reason.to_owned(), to.to_owned(), port)
        };
        assert_eq!(
            told,
            BTreeSet::from([
                line("drop", "media", "10.20.0.7:50020", ports[0]),
                line("forward", "default", "10.20.0.7:53", ports[1]),
                line("drop", "servers", "10.1.0.10:5061", ports[2]),
            ])
        );
        let of_server = packets.iter().find(|it| it["rule"] == "Front End");
        let of_server = of_server.expect("the packet to the server");
        let policy = site.folder.path("policy.toml");
        let policy = std::fs::read_to_string(policy).expect("it was written");
        let lines = policy.lines().position(|line| line.starts_with("name = "));
        assert_eq!(of_server["line"].as_u64(), lines.map(|at| at as u64 + 1));

        let text = text.log();
        for part in [
            "All packets of clients reach the filter",
            "drop servers: [[server]] Front End, line ",
            "The trace has ended: 3 packets are shown. 3 packets shown, 0 left out.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!gateway.log().contains(CLIENT), "{}", gateway.log());
        poll("the end of both", || {
            (site.status()["traces"] == 0).then_some(())
        });
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn the_end_is_announced_whoever_brings_it_about_and_says_what_was_left_out() {
    in_sandbox(&[], || {
        let site = PlainSite::new("trace_ends");
        let mut gateway = site.start("");
        let mut timed = trace(&site, "timed", &["--for", "1s", "--json"]);
        assert_eq!(timed.wait().code(), Some(0));
        assert_eq!(events(&timed).1["reason"], "time");

        let mut interrupted = trace(&site, "interrupted", &["--json"]);
        site.send(OFFICE, MEDIA, 1, 20);
        interrupted.wait_for_log("\"packet\"");
        interrupted.signal("INT");
        assert_eq!(interrupted.wait().code(), Some(0));
        let (packets, end) = events(&interrupted);
        assert_eq!((packets.len(), &end["reason"]), (1, &"asked".into()));

        // One that is killed leaves nothing behind.
        let mut killed = trace(&site, "killed", &[]);
        killed.wait_for_log("Only packets that reach the filter are shown.");
        killed.wait_for_log("gateway.divert = \"policy\"");
        drop(killed);
        poll("the end of the one that was killed", || {
            (site.status()["traces"] == 0).then_some(())
        });

        let mut flooded = trace(&site, "flooded", &["--json"]);
        site.send(OFFICE, MEDIA, 500, 20);
        poll("the packets", || {
            (site.count("drop", "media") >= 501).then_some(())
        });
        flooded.wait_for_log("\"packet\"");
        assert_eq!(gateway.terminate().code(), Some(0));
        assert_eq!(flooded.wait().code(), Some(0), "{}", flooded.log());
        let (packets, end) = events(&flooded);
        assert_eq!(end["reason"], "gateway-stops");
        let number = |key: &str| end[key].as_u64().expect("a number");
        assert_eq!(number("packets"), packets.len() as u64);
        assert_eq!(number("packets") + number("left_out"), 500);
        assert!(number("left_out") > 300, "{end}");

        let mut gateway = site.start_again("again.log");
        let mut lost = trace(&site, "lost", &[]);
        gateway.signal("KILL");
        gateway.wait();
        assert_eq!(lost.wait().code(), Some(1));
        let said = lost.log();
        assert!(
            said.contains("the gateway has ended without a word"),
            "{said}"
        );
    });
}

#[test]
fn an_address_that_is_no_client_s_and_one_trace_too_many_are_refused() {
    in_sandbox(&[], || {
        let site = PlainSite::new("trace_refused");
        let mut gateway = site.start("");
        let control = site.folder.path("control.sock");
        let refused = |client: &str| {
            let ended = site.offramp(&["trace", client, "--control", &control]);
            ended.error(1)
        };
        let said = refused(OFFICE);
        assert!(
            said.contains(
                "the gateway has refused the trace: 10.20.0.7 is in none of vpn.client_subnets"
            ),
            "{said}"
        );
        let names = ["one", "two", "three", "four"];
        let _running = names.map(|name| trace(&site, name, &[]));
        let said = refused(CLIENT);
        assert!(said.contains("4 traces are running"), "{said}");
        let policy = site.folder.path("policy.toml");
        let status = site.offramp(&["status", &policy]).success();
        assert!(
            status.contains("clients are traced at the moment: 4"),
            "{status}"
        );
        assert_eq!(gateway.terminate().code(), Some(0));

        let said = site
            .offramp(&["trace", CLIENT, "--control", &control])
            .error(1);
        assert!(said.contains("no gateway listens on"), "{said}");
        let said = site.offramp(&["trace", CLIENT, "--for", "2h"]).failure(2);
        assert!(said.contains("write a time between 1s and 1h"), "{said}");
    });
}
