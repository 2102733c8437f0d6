//! The DNS server as a service: its log, metrics and reloads, and more connections than file descriptors.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Command;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;

use crate::names::{
    Client, NameServer, Upstream, addresses, free_address, policy, question, receive_framed,
    send_framed,
};
use crate::site::plain::{self, PlainSite};
use crate::site::{DEADLINE, Daemon, Host, in_nftables_sandbox, in_sandbox, poll};
use crate::support::{Folder, is_installed, program, run};

use super::{Gate, ip};

#[test]
fn queries_are_logged_with_what_became_of_them() {
    let upstream = Upstream::leaking();
    let folder = Folder::new("dns_query_log");
    let path = folder.path("queries.jsonl");
    let lines = format!("query_log = \"{path}\"\nquery_log_rate = 1000");
    let mut server = NameServer::start_as("dns_logged", &[&upstream], &lines, &[]);
    for (name, record_type) in [
        ("SIP.contoso.com", RecordType::A),
        ("lyncdiscoverinternal.contoso.com", RecordType::HTTPS),
        ("www.contoso.com", RecordType::A),
        ("www.contoso.com", RecordType::A),
        ("contoso.com", RecordType::AXFR),
    ] {
        server.ask(name, record_type);
    }
    let mut stream = TcpStream::connect(server.address).expect("it listens");
    let asked = question(1, "_sip._tls.contoso.com", RecordType::SRV).to_vec();
    send_framed(&mut stream, &asked.expect("a message")).expect("it reads");
    receive_framed(&mut stream).expect("an answer");

    let logged = poll("the query log", || {
        let text = std::fs::read_to_string(&path).ok()?;
        (text.lines().count() == 6).then_some(text)
    });
    let told: Vec<String> = logged
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("an object");
            let keys = ["outcome", "client", "protocol", "name", "type", "response"];
            keys.map(|key| line[key].as_str().expect("a text").to_owned())
                .join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "pinned 127.0.0.1 udp sip.contoso.com A NOERROR",
            "hidden 127.0.0.1 udp lyncdiscoverinternal.contoso.com HTTPS NXDOMAIN",
            "forwarded 127.0.0.1 udp www.contoso.com A NOERROR",
            "cached 127.0.0.1 udp www.contoso.com A NOERROR",
            "refused 127.0.0.1 udp contoso.com TYPE252 REFUSED",
            "pinned 127.0.0.1 tcp _sip._tls.contoso.com SRV NOERROR",
        ]
    );
    // A policy without `[dns]` stops the server.
    server.write_policy("");
    poll("the reload", || {
        server.daemon.log().contains("reloaded").then_some(())
    });
    server.ask("sip.contoso.com", RecordType::A);
    // On exit the server writes the log entries still pending.
    assert!(server.daemon.terminate().success());
    let text = std::fs::read_to_string(&path).expect("it was read");
    assert_eq!(text, logged);
}

#[test]
fn a_server_alone_has_metrics_of_its_own() {
    let upstream = Upstream::leaking();
    let folder = Folder::new("dns_metrics");
    let addresses = [(); 2].map(|()| {
        let (socket, _listener) = free_address();
        socket.local_addr().expect("it is bound")
    });
    let [address, metrics] = addresses;
    let text = policy(address, &[upstream.address], "", "");
    let path = folder.write("policy.toml", &text);
    let mut command = program(&["dns", &path, "--metrics", &metrics.to_string()]);
    let mut daemon = Daemon::start_here("offramp dns", folder.path("dns.log"), &mut command);
    daemon.wait_for_log("metrics are served at");
    let client = Client::of(address);
    client.send(&question(1, "sip.contoso.com", RecordType::A));
    assert_eq!(client.receive().expect("an answer").answers.len(), 1);
    folder.write("policy.toml", format!("{text}\n["));
    poll("the refusal", || {
        daemon.log().contains("reload refused").then_some(())
    });
    let told = get(metrics, "/metrics").expect("it listens");
    for line in [
        "offramp_dns_queries_total{outcome=\"pinned\"} 1\n",
        "offramp_dns_answer_seconds_count 1\n",
        "offramp_policy_reloads_total{result=\"refused\"} 1\n",
        "offramp_policy_last_reload_successful 0\n",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("offramp_packets"), "{told}");
    let ready = get(metrics, "/readyz").expect("it listens");
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.ends_with("names are answered\n"),
        "{ready}"
    );
    let not_enforced = text.replace("[gateway]\n", "[gateway]\nenforce = false\n");
    folder.write("policy.toml", not_enforced);
    daemon.wait_for_log(
        "the policy is not enforced (gateway.enforce = false): names that would be hidden",
    );
    client.send(&question(
        2,
        "lyncdiscoverinternal.contoso.com",
        RecordType::A,
    ));
    assert!(
        !client.receive().expect("an answer").answers.is_empty(),
        "it is not hidden"
    );
    let ready = get(metrics, "/readyz").expect("it listens");
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains("but the policy is not enforced"),
        "{ready}"
    );
    assert!(daemon.terminate().success());
}

#[test]
fn a_reload_loses_no_query_that_waits_and_answers_by_the_new_policy() {
    let gate = Gate::default();
    let held = gate.clone();
    let upstream = Upstream::start(move |asked| {
        held.wait();
        Some(asked.internal())
    });
    let mut server = NameServer::start("dns_reload", &[&upstream]);
    let client = Client::of(server.address);
    server.write_policy(
        "[[public]]\nname = \"Web\"\naddresses = [\"167.55.49.40\"]\nhosts = [\"www7.contoso.com\"]",
    );
    // The file is read once it has not changed for a moment: long enough for these queries to arrive first and wait.
    for id in 0..20 {
        client.send(&question(
            id,
            &format!("www{id}.contoso.com"),
            RecordType::A,
        ));
    }
    server.daemon.wait_for_log("reloaded: ");
    gate.open();
    let mut answered = HashSet::new();
    for _ in 0..20 {
        let answer = client.receive().expect("an answer");
        let id = answer.metadata.id;
        let expected = if id == 7 {
            "167.55.49.40"
        } else {
            "10.66.66.66"
        };
        assert_eq!(addresses(&answer), [ip(expected)], "{answer}");
        answered.insert(id);
    }
    assert_eq!(answered.len(), 20);
    // An invalid policy changes nothing.
    server.folder.write("policy.toml", "[vpn]\n");
    server.daemon.wait_for_log("reload refused");
    let answer = server.ask("www7.contoso.com", RecordType::A);
    assert_eq!(addresses(&answer), [ip("167.55.49.40")]);
    assert!(server.daemon.terminate().success());
}

#[test]
fn thousands_of_idle_connections_keep_nobody_from_an_answer() {
    if !is_installed("prlimit") {
        return;
    }
    let upstream = Upstream::leaking();
    let starter = ["prlimit", "--nofile=256:256"];
    let server = NameServer::start_as("dns_idle", &[&upstream], "", &starter);
    let wanted = raise_descriptors(10_200).saturating_sub(200);
    let mut idle = Vec::new();
    for number in 0..wanted.min(10_000) {
        let own = Ipv4Addr::new(127, 1, (number / 250) as u8, (number % 250) as u8 + 1);
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        socket
            .bind(&SocketAddr::from((own, 0)).into())
            .expect("loopback");
        socket.connect(&server.address.into()).expect("it listens");
        // Half a query.
        _ = socket.send(&[0, 40, 1]);
        idle.push(socket);
    }
    assert!(idle.len() > 500, "too few descriptors: {}", idle.len());
    let answer = server.ask("sip.contoso.com", RecordType::A);
    assert_eq!(addresses(&answer), [ip("167.55.49.32")]);
    let answer = server.ask("www.contoso.com", RecordType::A);
    assert_eq!(addresses(&answer), [ip("10.66.66.66")]);
    let mut stream = TcpStream::connect(server.address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a duration");
    let asked = question(9, "sip.contoso.com", RecordType::A);
    send_framed(&mut stream, &asked.to_vec().expect("a message")).expect("it reads");
    let answer = receive_framed(&mut stream).expect("an answer");
    let answer = Message::from_vec(&answer).expect("an answer");
    assert_eq!(addresses(&answer), [ip("167.55.49.32")]);
}

#[test]
fn a_server_alone_keeps_no_rights_and_goes_on_answering_and_reloading() {
    in_nftables_sandbox(&[], || {
        let upstream = Upstream::leaking();
        let logs = Folder::new("dns_rights_logs");
        let outside = Folder::new("dns_rights_outside");
        let log = logs.path("queries.jsonl");
        let lines = format!("query_log = \"{log}\"");
        let mut server = NameServer::start_as("dns_rights", &[&upstream], &lines, &[]);
        server
            .daemon
            .wait_for_log("dropped privileges: all capabilities, and files outside ");
        server.write_policy("[[public]]\nname = \"Web\"\naddresses = [\"167.55.49.40\"]\nhosts = [\"web9.contoso.com\"]\n");
        server.daemon.wait_for_log("reloaded: ");
        let answer = server.ask("web9.contoso.com", RecordType::A);
        assert_eq!(addresses(&answer), [ip("167.55.49.40")]);

        // A reload has had every thread started.
        let tasks = format!("/proc/{}/task", server.daemon.pid());
        let mut names = Vec::new();
        for task in std::fs::read_dir(tasks).expect("it runs").flatten() {
            let Ok(status) = std::fs::read_to_string(task.path().join("status")) else {
                continue;
            };
            let fact = |name: &str| {
                let mut lines = status.lines().filter_map(|line| line.split_once(":\t"));
                lines.find(|line| line.0 == name).map_or("", |line| line.1)
            };
            names.push(fact("Name").to_owned());
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(fact(set), "0000000000000000", "{set}: {status}");
            }
            assert_eq!(fact("NoNewPrivs"), "1", "{status}");
        }
        let threads = std::thread::available_parallelism().map_or(1, |it| it.get().min(4));
        let dns = names.iter().filter(|name| name.starts_with("dns"));
        // One more reads large answers.
        assert_eq!(dns.count(), threads + 1, "{names:?}");
        assert!(names.len() >= 4 + threads, "{names:?}");

        // Of the files it reads and writes those of its policy.
        let secret = outside.write("prefixes.txt", "203.0.113.0/24\n");
        server.write_policy(&format!(
            "[[feed]]\nname = \"outside\"\nformat = \"prefixes\"\nfile = \"{secret}\"\n"
        ));
        server.daemon.wait_for_log("Permission denied");
        server.daemon.wait_for_log(&format!(
            "{secret} is in none of the folders that can be read"
        ));
        assert!(server.daemon.terminate().success());
    });
}

#[test]
fn the_query_log_is_no_link_to_another_file() {
    let upstream = Upstream::leaking();
    let logs = Folder::new("dns_log_link");
    let precious = logs.write("precious", "precious\n");
    let log = logs.path("queries.jsonl");
    symlink(&precious, &log).expect("a free place");
    let lines = format!("query_log = \"{log}\"");
    let mut server = NameServer::start_as("dns_log_linked", &[&upstream], &lines, &[]);
    server.daemon.wait_for_log(&format!(
        "cannot write the query log {log}: it is a symbolic link to {precious}, which is not followed when a file is written: \
         name that file itself, or remove the link"
    ));
    server.ask("sip.contoso.com", RecordType::A);
    // It is written once the link is gone.
    std::fs::remove_file(&log).expect("it is ours");
    poll("a line", || {
        server.ask("sip.contoso.com", RecordType::A);
        std::fs::read_to_string(&log)
            .ok()
            .filter(|text| text.contains("pinned"))
    });
    assert!(server.daemon.terminate().success());
    let text = std::fs::read_to_string(precious).expect("it is there");
    assert_eq!(text, "precious\n");
}

/// Raises this process's limit of descriptors as far as allowed, to at most `wanted`.
fn raise_descriptors(wanted: u64) -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let most = hard.min(wanted);
    if soft < most && setrlimit(Resource::RLIMIT_NOFILE, most, hard).is_ok() {
        return most;
    }
    soft.min(wanted)
}

#[test]
fn an_address_that_cannot_be_had_is_named_with_its_key() {
    let folder = Folder::new("dns_taken");
    let (socket, _listener) = free_address();
    let address = socket.local_addr().expect("it is bound");
    let start = |address: SocketAddr| {
        let text = policy(address, &[SocketAddr::from(([127, 0, 0, 1], 1))], "", "");
        let path = folder.write("policy.toml", text);
        run(&mut program(&["dns", &path])).error(1)
    };
    let message = start(address);
    assert!(message.contains(&address.to_string()), "{message}");
    assert!(
        message.contains("another program answers there"),
        "{message}"
    );
    assert!(message.contains("[dns] listen"), "{message}");
    let message = start(SocketAddr::from(([0, 0, 0, 0], 5_353)));
    assert!(message.contains("[dns] listen"), "{message}");
}

#[test]
fn the_gateway_answers_names_at_an_address_that_comes_later() {
    in_sandbox(&["dig"], || {
        let site = PlainSite::new("dns_later");
        let names = plain::policy(
            &site.folder,
            "[dns]\nlisten = [\"172.16.1.53:53\"]\nupstreams = [\"10.20.0.7\"]\nquery_log = \"-\"",
        );
        let path = site.folder.write("names.toml", names);
        let mut alone = Daemon::start(
            &site.concentrator,
            "offramp dns",
            site.folder.path("dns.log"),
            &mut program(&["dns", &path]),
        );
        alone.wait_for_log("DNS queries are answered at");
        let rehearsed = site.offramp(&["run", &path, "--dry-run"]);
        assert_eq!(rehearsed.code, Some(1), "{}", rehearsed.stderr);
        for said in [
            "# error: cannot answer DNS queries at 172.16.1.53:53: Address already in use",
            "another program answers there: stop it, or name another address or port: [dns] listen",
            "# DNS queries are logged to standard output, 10 lines a second at most for each outcome",
        ] {
            assert!(rehearsed.stdout.contains(said), "{}", rehearsed.stdout);
        }
        assert!(alone.terminate().success());
        let log = site.folder.path("queries.jsonl");
        let mut gateway = site.start(&format!(
            "metrics = \"127.0.0.1:9464\"\n\
             [dns]\nlisten = [\"172.16.1.53:53\"]\nupstreams = [\"10.20.0.7\"]\nquery_log = \"{log}\"\n\
             [[public]]\nname = \"Edge\"\naddresses = [\"167.55.49.32\"]\nhosts = [\"sip.contoso.com\"]"
        ));
        site.concentrator.ip("address add 172.16.1.53/24 dev tun0");
        let ask = |host: &Host, way: &str| {
            let mut dig = Command::new("dig");
            dig.args(["-r", "@172.16.1.53", way, "+short", "+tries=3", "+time=5"]);
            host.run(dig.arg("sip.contoso.com")).success()
        };
        for way in ["+notcp", "+tcp"] {
            assert_eq!(ask(&site.client, way), "167.55.49.32\n");
        }
        let status = site.status();
        let outcomes = status["dns"]["outcomes"].as_array().expect("a list");
        let pinned = outcomes.iter().find(|it| it["outcome"] == "pinned");
        assert_eq!(pinned.expect("an outcome")["queries"], 2, "{status}");
        let told = site.offramp(&["status", "--control", &site.folder.path("control.sock")]);
        let told = told.success();
        assert!(
            told.contains("DNS queries at 172.16.1.53:53") && told.contains(": 2 pinned"),
            "{told}"
        );
        let logged = format!("query log {log}: 2 lines written");
        poll("the query log", || {
            let told = site.offramp(&["status", "--control", &site.folder.path("control.sock")]);
            told.success().contains(&logged).then_some(())
        });
        let scraped = poll("the metrics", || scrape(&site.concentrator));
        assert!(
            scraped.contains("offramp_dns_log_lines_total{result=\"written\"} 2"),
            "{scraped}"
        );
        assert!(
            scraped.contains("offramp_dns_queries_total{outcome=\"pinned\"} 2"),
            "{scraped}"
        );
        assert!(
            scraped.contains("offramp_dns_answer_seconds_count 2"),
            "{scraped}"
        );
        assert!(gateway.terminate().success());
    });
}

/// Returns the response of a host's metrics endpoint.
fn scrape(host: &Host) -> Option<String> {
    host.enter(|| get(SocketAddr::from(([127, 0, 0, 1], 9_464)), "/metrics"))
}

/// Returns the response at `path` of a metrics endpoint.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: offramp\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}
