//! Policies that are not enforced, or for a pilot only: everything is judged and counted, and what would be dropped passes.

use std::net::UdpSocket;
use std::time::Duration;

use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::names::{Client, Upstream, addresses, internal, question};
use crate::site::plain::{CLIENT, DNS, MEDIA, OFFICE, OFFICE6, PlainSite, policy};
use crate::site::{in_sandbox, poll};
use crate::support::program;

/// A client for whom a pilot is not.
const OTHER_CLIENT: &str = "172.16.1.11";

#[track_caller]
fn reload(site: &PlainSite, gateway: &str) {
    let generation = site.status()["generation"].as_u64().expect("a number");
    site.folder
        .write("policy.toml", policy(&site.folder, gateway));
    poll("the reload", || {
        (site.status()["generation"] == generation + 1).then_some(())
    });
}

/// Returns `true` if media that a client sends from `address` to the office is answered.
fn is_answered_from(site: &PlainSite, address: &str) -> bool {
    let socket = site.client.enter(|| UdpSocket::bind((address, 0)));
    let socket = socket.expect("an address of the client");
    let limit = Some(Duration::from_millis(100));
    socket.set_read_timeout(limit).expect("a duration");
    (0..5).any(|_| {
        socket.send_to(&[7; 100], (OFFICE, MEDIA)).expect("a route");
        socket.recv(&mut [0; 256]).is_ok()
    })
}

#[test]
fn what_would_be_dropped_passes_in_order_and_is_told_of_until_the_policy_is_enforced() {
    in_sandbox(&[], || {
        let site = PlainSite::new("not_enforced");
        site.echo(OFFICE, DNS);
        let log = site.folder.path("drops.jsonl");
        let common = format!("metrics = \"127.0.0.1:9464\"\ndrop_log = \"{log}\"");
        let mut gateway = site.start(&format!("enforce = false\n{common}"));
        gateway.wait_for_log("the policy is not enforced (gateway.enforce = false): what would be");
        let media = site.corporate.enter(|| UdpSocket::bind((OFFICE, MEDIA)));
        let media = media.expect("a free port");
        let limit = Some(Duration::from_secs(1));
        media.set_read_timeout(limit).expect("a duration");
        let socket = site.socket_to(OFFICE);
        let mut seen = Vec::new();
        for number in 0_u32..1_000 {
            let to = (OFFICE, MEDIA);
            socket.send_to(&number.to_be_bytes(), to).expect("a route");
            if number % 100 == 99 {
                // No more than a queue holds.
                while seen.len() <= number as usize {
                    let mut bytes = [0; 4];
                    media.recv(&mut bytes).expect("it passes");
                    seen.push(u32::from_be_bytes(bytes));
                }
            }
        }
        assert!(seen.is_sorted(), "they keep their order");
        assert!(site.is_answered(OFFICE, DNS, 100));

        let status = site.status();
        assert_eq!(site.count("drop", "media"), 1_000, "judged all the same");
        let enforcement = &status["enforcement"];
        assert_eq!(enforcement["packets"], 1_000);
        assert_eq!(
            enforcement["gap"],
            "the policy is not enforced (gateway.enforce = false)"
        );
        let socket = site.folder.path("control.sock");
        let told = site.offramp(&["status", "--control", &socket]).success();
        let wanted = "NOT ENFORCED: the policy is not enforced (gateway.enforce = false); 1,000 packets would have been dropped";
        assert!(told.contains(wanted), "{told}");
        let (code, ready) = site.get("/readyz");
        assert_eq!(code, 200);
        assert!(
            ready.contains("traffic is judged, but the policy is not enforced"),
            "{ready}"
        );
        let (_, metrics) = site.get("/metrics");
        for line in [
            "offramp_policy_enforced 0\n",
            "offramp_not_enforced_packets_total 1000\n",
        ] {
            assert!(metrics.contains(line), "{metrics}");
        }
        let first = poll("the drop log", || {
            let text = std::fs::read_to_string(&log).ok()?;
            text.lines().next().map(str::to_owned)
        });
        assert!(first.contains("\"enforced\":false"), "{first}");

        reload(&site, &common);
        site.send(OFFICE, MEDIA, 20, 100);
        let limit = Some(Duration::from_millis(300));
        media.set_read_timeout(limit).expect("a duration");
        assert!(media.recv(&mut [0; 4]).is_err(), "it is dropped");
        let enforcement = &site.status()["enforcement"];
        assert_eq!(enforcement["gap"], serde_json::Value::Null);
        assert_eq!(enforcement["packets"], 1_000);
        assert_eq!(site.get("/readyz"), (200, "traffic is judged\n".to_owned()));

        reload(&site, &format!("enforce = false\n{common}"));
        site.send(OFFICE, MEDIA, 1, 100);
        assert!(media.recv(&mut [0; 256]).is_ok(), "it passes again");
        let file = site.folder.path("policy.toml");
        let mut verify = program(&["verify", &file, "--live", "gateway", "--json"]);
        let found = site.concentrator.run(&mut verify).json();
        let gap = "the policy is not enforced (gateway.enforce = false)";
        let mut findings = found["findings"].as_array().expect("a list").iter();
        let is_leak = findings.any(|it| it["code"] == "LEAK" && it["what"] == gap);
        assert!(is_leak, "{found}");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn a_pilot_is_enforced_for_its_clients_alone() {
    in_sandbox(&[], || {
        let site = PlainSite::new("pilot");
        site.client
            .ip(&format!("address add {OTHER_CLIENT}/24 dev tun0"));
        site.echo(OFFICE, MEDIA);
        site.echo(OFFICE6, MEDIA);
        let mut gateway = site.start(&format!("pilot = [\"{CLIENT}/32\"]"));
        gateway.wait_for_log("the policy is enforced for 172.16.1.10/32 only (gateway.pilot)");
        assert!(!is_answered_from(&site, CLIENT));
        assert!(is_answered_from(&site, OTHER_CLIENT));
        assert!(site.is_answered(OFFICE6, MEDIA, 100), "not of the pilot");
        let spared = site.status()["enforcement"]["packets"].as_u64();
        let spared = spared.expect("a number");
        assert!(spared >= 2, "{spared}");
        // Those of the pilot, none of which is answered.
        assert_eq!(site.count("drop", "media"), spared + 5);

        reload(&site, &format!("pilot = [\"{OTHER_CLIENT}/32\"]"));
        assert!(is_answered_from(&site, CLIENT));
        assert!(!is_answered_from(&site, OTHER_CLIENT));
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn names_that_would_be_hidden_are_answered_and_counted_until_the_policy_is_enforced() {
    in_sandbox(&[], || {
        let site = PlainSite::new("not_hidden");
        // An alias leads to a hidden host; everything else has an internal address.
        let upstream = site.concentrator.enter(|| {
            Upstream::start(|asked| {
                if asked.name() != "lync.contoso.com." {
                    return Some(asked.internal());
                }
                let host = Name::from_ascii("pool01.contoso.com.").expect("a name");
                let owner = asked.question.queries[0].name().clone();
                let alias = Record::from_rdata(owner, 300, RData::CNAME(CNAME(host.clone())));
                Some(asked.answer(vec![alias, internal(host, asked.record_type())]))
            })
        });
        let names = format!(
            "metrics = \"127.0.0.1:9464\"\n\
             [[server]]\nname = \"pool\"\naddresses = [\"10.1.0.10\"]\nhosts = [\"pool01.contoso.com\"]\n\
             [dns]\nlisten = [\"127.0.0.1:5353\"]\nclients = [\"127.0.0.0/8\"]\nupstreams = [\"{}\"]\nsip_domains = [\"contoso.com\"]",
            upstream.address
        );
        let mut gateway = site.start(&format!("enforce = false\n{names}"));
        let ask = |name| {
            site.concentrator.enter(|| {
                let client = Client::of(([127, 0, 0, 1], 5_353).into());
                client.send(&question(1, name, RecordType::A));
                addresses(&client.receive().expect("an answer"))
            })
        };
        let counted = || site.status()["dns"]["not_enforced"].as_u64();
        for (name, count) in [
            ("www.contoso.com", 0),
            ("lyncdiscoverinternal.contoso.com", 1),
            // From the cache.
            ("lyncdiscoverinternal.contoso.com", 2),
            ("pool01.contoso.com", 3),
            ("lync.contoso.com", 4),
            ("lync.contoso.com", 5),
        ] {
            assert_eq!(ask(name).len(), 1, "{name} is answered");
            assert_eq!(counted(), Some(count), "{name}");
        }
        let socket = site.folder.path("control.sock");
        let told = site.offramp(&["status", "--control", &socket]).success();
        let wanted = "names of 5 queries would have been hidden, and were answered";
        assert!(told.contains(wanted), "{told}");
        let (_, metrics) = site.get("/metrics");
        let line = "offramp_dns_not_enforced_queries_total 5\n";
        assert!(metrics.contains(line), "{metrics}");

        reload(&site, &names);
        for name in ["lyncdiscoverinternal.contoso.com", "lync.contoso.com"] {
            assert_eq!(ask(name).len(), 0, "{name} is hidden");
        }
        assert_eq!(counted(), Some(5), "what is hidden is not counted");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}
