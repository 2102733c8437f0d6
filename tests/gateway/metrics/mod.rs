//! The metrics endpoint: its series, its access rules, and its robustness against any client.

mod connections;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use offramp::verdict::Reason;
use serde_json::Value;

use crate::site::plain::{self, DNS, ELSEWHERE, MEDIA, OFFICE, PlainSite};
use crate::site::{in_sandbox, poll};
use crate::support::{project, run};

const METRICS: &str = "metrics = \"127.0.0.1:9464\"";

/// The response of the concentrator's endpoint.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn connect(site: &PlainSite) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], 9464));
    let stream = site.concentrator.enter(|| TcpStream::connect(address));
    let stream = stream.expect("the gateway listens");
    stream
        .set_read_timeout(Some(crate::site::DEADLINE))
        .expect("a duration");
    stream
}

#[track_caller]
fn request(site: &PlainSite, method: &str, path: &str) -> Answer {
    let mut stream = connect(site);
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: concentrator\r\n\r\n"
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {answer}")),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

#[track_caller]
fn scrape(site: &PlainSite) -> Scrape {
    let answer = request(site, "GET", "/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    let media_type = "content-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(answer.head.contains(media_type), "{answer:?}");
    Scrape::read(&answer.body)
}

/// Series by their names and labels.
#[derive(Debug)]
struct Scrape {
    series: BTreeMap<(String, Labels), f64>,
}

type Labels = BTreeMap<String, String>;

impl Scrape {
    /// Reads the text format strictly: each family once, with help and type first and at least one sample, each series
    /// once.
    #[track_caller]
    fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends");
        let mut series = BTreeMap::new();
        let mut families = BTreeSet::new();
        let mut family: Option<(&str, &str, usize)> = None;
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect("a name and words");
                assert!(!words.trim().is_empty(), "{line}");
                assert!(families.insert(name), "{name} is there twice");
                let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
                let (of, kind) = kind.and_then(|it| it.split_once(' ')).expect("a type");
                assert_eq!(of, name);
                assert!(matches!(kind, "counter" | "gauge"), "{kind}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                assert_ne!(
                    family.map(|(.., samples)| samples),
                    Some(0),
                    "before {name}"
                );
                family = Some((name, kind, 0));
                continue;
            }
            let (name, labels, value) = read_sample(line);
            let (of, kind, samples) = family.as_mut().expect("help comes first");
            assert_eq!(name, *of);
            *samples += 1;
            assert!(value.is_finite() && value >= 0.0, "{line}");
            assert!(*kind == "gauge" || value.fract() == 0.0, "{line}");
            let before = series.insert((name.to_owned(), labels), value);
            assert_eq!(before, None, "twice: {line}");
        }
        Self { series }
    }

    #[track_caller]
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let labels: Labels = labels.iter().map(owned).collect();
        let key = (name.to_owned(), labels);
        *self
            .series
            .get(&key)
            .unwrap_or_else(|| panic!("no {key:?} in {:#?}", self.series))
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Labels, f64)> {
        let series = self.series.iter().filter(move |((it, _), _)| it == name);
        series.map(|((_, labels), value)| (labels, *value))
    }
}

/// Reads name, labels and value of a line such as `name{key="value"} 1`.
#[track_caller]
fn read_sample(line: &str) -> (&str, Labels, f64) {
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(name.starts_with("offramp_"), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (key, quoted) = rest.split_once("=\"").expect("a label");
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            assert!(key.chars().all(is_plain), "{line}");
            let mut value = String::new();
            let mut characters = quoted.char_indices();
            let end = loop {
                match characters.next().expect("the value ends") {
                    (at, '"') => break at,
                    (_, '\\') => match characters.next().expect("something is escaped") {
                        (_, 'n') => value.push('\n'),
                        (_, c @ ('"' | '\\')) => value.push(c),
                        (_, other) => panic!("\\{other} is no escape: {line}"),
                    },
                    (_, c) => value.push(c),
                }
            };
            assert_eq!(labels.insert(key.to_owned(), value), None, "{line}");
            rest = &quoted[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("the labels end");
    }
    let value = rest.strip_prefix(' ').expect("a space before the value");
    (name, labels, value.parse().expect("a number"))
}

/// Returns `offramp status --json` as series: verdicts and rules only if they counted anything.
fn counters_of_status(status: &Value) -> BTreeMap<(String, Labels), f64> {
    let mut series = BTreeMap::new();
    let mut add = |name: &str, labels: &[(&str, &Value)], value: &Value| {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let labels = labels.iter().map(|(key, it)| ((*key).to_owned(), text(it)));
        let value = value.as_f64().expect("a number");
        series.insert((name.to_owned(), labels.collect()), value);
    };
    for it in status["verdicts"].as_array().expect("a list") {
        let labels = [("action", &it["action"]), ("reason", &it["reason"])];
        add("offramp_packets_total", &labels, &it["packets"]);
        add("offramp_bytes_total", &labels, &it["bytes"]);
    }
    for it in status["rules"].as_array().expect("a list") {
        let labels = [("kind", &it["kind"]), ("name", &it["name"])];
        add("offramp_rule_packets_total", &labels, &it["packets"]);
        add("offramp_rule_bytes_total", &labels, &it["bytes"]);
    }
    for (name, value) in [
        (
            "offramp_overload_dropped_packets_total",
            &status["device"]["overload_drops"],
        ),
        (
            "offramp_failed_writes_total",
            &status["device"]["failed_writes"],
        ),
        (
            "offramp_evicted_fragments_total",
            &status["evicted_fragments"],
        ),
        ("offramp_policy_generation", &status["generation"]),
        ("offramp_workers", &status["device"]["workers"]),
        (
            "offramp_diverted_prefixes",
            &status["diversion"]["prefixes"],
        ),
    ] {
        add(name, &[], value);
    }
    series
}

/// Names that need escaping in labels.
const QUOTED: &str = r#"the "Front End" pool"#;
const BACKSLASHES: &str = r"\\corp\pool\n";
const UNICODE: &str = "Zürich 東京 {a=\"b\"}, 1";

/// Returns a policy with a rule of each kind.
fn policy_of_all_kinds(site: &PlainSite) -> String {
    let text = |name: &str| format!("'{name}'");
    plain::policy(&site.folder, &format!("divert = \"all\"\n{METRICS}"))
        + &format!(
            "[[server]]\nname = {}\naddresses = [\"10.20.0.8\"]\n\
             [[server]]\nname = {}\naddresses = [\"10.20.0.9\"]\n\
             [[allow]]\nname = {}\nto = [\"10.20.0.7\"]\nports = [\"50021\"]\n\
             [[public]]\nname = \"Edge\"\naddresses = [\"{ELSEWHERE}\"]\n",
            text(QUOTED),
            text(BACKSLASHES),
            text(UNICODE),
        )
}

#[test]
fn the_endpoint_tells_what_the_status_tells() {
    in_sandbox(&[], || {
        let site = PlainSite::new("agrees");
        site.folder.write("policy.toml", policy_of_all_kinds(&site));
        let mut gateway = site.start_again("gateway.log");
        assert!(
            gateway.log().contains("http://127.0.0.1:9464/metrics"),
            "{}",
            gateway.log()
        );
        // Before any packet, every rule has its series.
        let first = scrape(&site);
        for (kind, name) in [
            ("media", "media"),
            ("server", QUOTED),
            ("server", BACKSLASHES),
            ("allow", UNICODE),
            ("public", "Edge"),
        ] {
            let labels = [("kind", kind), ("name", name)];
            assert_eq!(first.value("offramp_rule_packets_total", &labels), 0.0);
        }

        site.send("10.20.0.8", DNS, 3, 100);
        site.send("10.20.0.9", DNS, 4, 100);
        site.send(OFFICE, 50_021, 5, 100);
        site.send(OFFICE, MEDIA, 6, 100);
        site.send(OFFICE, DNS, 7, 100);
        site.send(ELSEWHERE, DNS, 8, 100);
        poll("the last packet", || {
            (site.count("forward", "public") == 8).then_some(())
        });

        // The hosts' own packets (neighbors, multicast) may arrive between two reads; then the test tries again.
        let (told, status) = poll("two looks between which nothing came", || {
            let before = site.status();
            let told = scrape(&site);
            let after = site.status();
            (before["verdicts"] == after["verdicts"]).then_some((told, after))
        });
        let wanted = counters_of_status(&status);
        for (key, value) in &wanted {
            assert_eq!(told.series.get(key), Some(value), "{key:?}");
        }
        let counts = |(name, _): &(String, Labels)| name.ends_with("_total");
        let others = told
            .series
            .iter()
            .filter(|(key, _)| !wanted.contains_key(key));
        for (key, value) in others.filter(|(key, _)| counts(key)) {
            assert_eq!(*value, 0.0, "the status does not tell of {key:?}");
        }

        // And they equal the packets sent.
        let of_rule = |kind, name| {
            let labels = [("kind", kind), ("name", name)];
            let of = |family| told.value(family, &labels);
            (
                of("offramp_rule_packets_total"),
                of("offramp_rule_bytes_total"),
            )
        };
        assert_eq!(of_rule("server", QUOTED), (3.0, 3.0 * 128.0));
        assert_eq!(of_rule("server", BACKSLASHES), (4.0, 4.0 * 128.0));
        assert_eq!(of_rule("allow", UNICODE), (5.0, 5.0 * 128.0));
        assert_eq!(of_rule("media", "media"), (6.0, 6.0 * 128.0));
        assert_eq!(of_rule("public", "Edge"), (8.0, 8.0 * 128.0));
        let reasons: BTreeSet<&str> = told
            .of("offramp_packets_total")
            .map(|(labels, _)| &*labels["reason"])
            .collect();
        assert_eq!(reasons.len(), Reason::ALL.len(), "{reasons:?}");
        let tun0 = [("pattern", "tun0")];
        assert_eq!(told.value("offramp_interfaces_present", &tun0), 1.0);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        assert_eq!(told.value("offramp_build_info", &version), 1.0);
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn prometheus_takes_the_metrics_and_the_queries_of_the_dashboards() {
    in_sandbox(&["promtool"], || {
        let site = PlainSite::new("promtool");
        site.folder.write("policy.toml", policy_of_all_kinds(&site));
        let _gateway = site.start_again("gateway.log");
        let text = request(&site, "GET", "/metrics").body;
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool starts");
        let mut stdin = promtool.stdin.take().expect("piped just above");
        stdin.write_all(text.as_bytes()).expect("it reads");
        drop(stdin);
        let ended = promtool
            .wait_with_output()
            .expect("a child of this process");
        assert!(ended.status.success(), "{ended:?}\n{text}");
        // Its advice, too.
        assert!(
            ended.stderr.is_empty() && ended.stdout.is_empty(),
            "{ended:?}"
        );

        let mut rules = String::from("groups:\n- name: dashboards\n  rules:\n");
        for file in ["grafana-offramp.json", "grafana-offramp-fleet.json"] {
            let dashboard = fs::read(project(&format!("config/{file}"))).expect("a file");
            let dashboard: Value = serde_json::from_slice(&dashboard).expect("JSON");
            let panels = dashboard["panels"].as_array().expect("panels");
            let targets = panels.iter().flat_map(|panel| panel["targets"].as_array());
            for (number, target) in targets.flatten().enumerate() {
                let query = target["expr"].as_str().expect("a query");
                let query = query.replace("$__rate_interval", "5m").replace('\'', "''");
                let name = file.replace(['-', '.'], "_");
                rules += &format!("  - record: {name}:{number}\n    expr: '{query}'\n");
            }
        }
        let rules = site.folder.write("rules.yml", rules);
        let checked = run(Command::new("promtool").args(["check", "rules", &rules])).success();
        assert!(checked.contains("rules found"), "{checked}");
    });
}

#[test]
fn a_policy_of_a_thousand_servers_makes_no_more_than_200_series() {
    in_sandbox(&[], || {
        let site = PlainSite::new("thousand");
        let server = |at: usize| {
            format!(
                "[[server]]\nname = \"server {at}\"\naddresses = [\"10.20.{}.{}\"]\n",
                1 + at / 250,
                1 + at % 250
            )
        };
        let servers: String = (0..1_000).map(server).collect();
        let policy = plain::policy(&site.folder, METRICS) + &servers;
        site.folder.write("policy.toml", policy);
        let _gateway = site.start_again("gateway.log");
        assert!(scrape(&site).series.len() <= 200);

        for at in 0..1_000 {
            let to = format!("10.20.{}.{}", 1 + at / 250, 1 + at % 250);
            site.send(&to, DNS, 1, 100);
        }
        poll("the last packet", || {
            (site.count("drop", "servers") == 1_000).then_some(())
        });
        let told = scrape(&site);
        assert!(told.series.len() <= 200, "{}", told.series.len());
        let of_rules = told.of("offramp_rule_packets_total");
        let (named, others): (Vec<_>, Vec<_>) = of_rules
            .filter(|(labels, _)| labels["kind"] == "server")
            .partition(|(labels, _)| labels["name"] != "(others)");
        assert!(named.len() >= 50, "{named:?}");
        assert!(
            named.iter().all(|(_, packets)| *packets == 1.0),
            "{named:?}"
        );
        assert_eq!(others.len(), 1);
        let sum: f64 = named
            .iter()
            .chain(&others)
            .map(|(_, packets)| packets)
            .sum();
        assert_eq!(sum, 1_000.0);
    });
}

#[test]
fn each_path_is_what_an_operator_and_a_supervisor_expect() {
    in_sandbox(&[], || {
        let site = PlainSite::new("paths");
        let mut gateway = site.start(METRICS);
        let status = |method: &str, path: &str| request(&site, method, path).status;
        assert_eq!(status("GET", "/healthz"), 200);
        assert_eq!(status("GET", "/readyz"), 200);
        assert_eq!(status("GET", "/elsewhere"), 404);
        assert_eq!(status("POST", "/metrics"), 405);
        let head = request(&site, "HEAD", "/metrics");
        assert_eq!((head.status, &*head.body), (200, ""));
        let length = head
            .head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        assert_ne!(length.expect("it says how much there is"), "0");

        // Traffic is not diverted while the device is off.
        assert_eq!(scrape(&site).value("offramp_ready", &[]), 1.0);
        site.concentrator.ip("link set offramp0 down");
        poll("it is not ready", || {
            (status("GET", "/readyz") == 503).then_some(())
        });
        assert_eq!(status("GET", "/healthz"), 200);
        assert_eq!(scrape(&site).value("offramp_ready", &[]), 0.0);
        site.concentrator.ip("link set offramp0 up");
        poll("it is ready", || {
            (status("GET", "/readyz") == 200).then_some(())
        });
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn reloads_are_counted_and_the_address_stays_that_of_the_start() {
    in_sandbox(&[], || {
        let site = PlainSite::new("reloads");
        let mut gateway = site.start(METRICS);
        let reloads =
            |result| scrape(&site).value("offramp_policy_reloads_total", &[("result", result)]);
        let last = || scrape(&site).value("offramp_policy_last_reload_successful", &[]);
        assert_eq!(
            (reloads("taken"), reloads("refused"), last()),
            (0.0, 0.0, 1.0)
        );

        site.folder.write("policy.toml", "[vpn");
        poll("the refusal", || (reloads("refused") == 1.0).then_some(()));
        assert_eq!(last(), 0.0);

        let moved = plain::policy(&site.folder, "metrics = \"127.0.0.1:9465\"");
        site.folder.write("policy.toml", moved);
        poll("the reload", || (reloads("taken") == 1.0).then_some(()));
        assert_eq!(last(), 1.0);
        let told = scrape(&site);
        assert_eq!(told.value("offramp_policy_generation", &[]), 2.0);
        gateway.wait_for_log("gateway.metrics takes effect at the next start");
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

/// A phone without ICE, under a policy that lets it live; a burst, so its jitter is that of its clock.
#[test]
fn a_stream_that_still_tunnels_is_told_with_its_loss_and_without_addresses() {
    in_sandbox(&[], || {
        let site = PlainSite::new("quality");
        let policy = |recognition: &str| {
            let policy = plain::policy(&site.folder, METRICS);
            format!("{policy}[media]\nmatch = \"{recognition}\"\n")
        };
        site.folder.write("policy.toml", policy("ice"));
        let _gateway = site.start_again("gateway.log");
        let quality = || site.status()["media"]["quality"].clone();
        assert_eq!(quality()["groups"], serde_json::json!([]));

        let socket = site.socket_to(OFFICE);
        // The ninth of ten is lost: 4 of the 49 that the numbers promise.
        for number in (0..50_u16).filter(|number| number % 10 != 9) {
            let mut rtp = vec![0x80, 0];
            rtp.extend(number.to_be_bytes());
            rtp.extend((u32::from(number) * 160).to_be_bytes());
            rtp.resize(172, 7);
            socket.send_to(&rtp, (OFFICE, MEDIA)).expect("a route");
        }
        poll("all of it", || {
            (site.count("forward", "default") >= 45).then_some(())
        });
        let metrics = || request(&site, "GET", "/metrics").body;
        poll("the stream", || (quality()["streams"] == 1).then_some(()));
        assert!(metrics().contains("\nofframp_rtp_streams 1\n"));

        // A policy of ports ends what is measured, with the next packet.
        let generation = |number: u64| {
            poll("the reload", || {
                (site.status()["generation"] == number).then_some(())
            });
        };
        site.folder.write("policy.toml", policy("ports"));
        generation(2);
        assert!(site.status()["media"].is_null());
        let before = site.count("forward", "default");
        site.send(OFFICE, DNS, 1, 100);
        poll("the next packet", || {
            (site.count("forward", "default") > before).then_some(())
        });
        site.folder.write("policy.toml", policy("ice"));
        generation(3);
        let group = quality()["groups"][0].clone();
        assert_eq!(group["pool"], "172.16.1.0/24", "{group:#}");
        assert_eq!(group["peer"], "corporate");
        let loss = &group["loss_millionths"];
        assert_eq!(loss["sum"], 81_633, "{loss:#}");
        assert_eq!(
            loss["buckets"][5],
            serde_json::json!({ "up_to": 100_000, "streams": 1 })
        );
        assert_eq!(
            group["jitter_microseconds"]["buckets"]
                .as_array()
                .map(Vec::len),
            Some(7)
        );

        let text = metrics();
        let has = |line: &str| assert!(text.lines().any(|it| it == line), "no {line} in {text}");
        has("offramp_rtp_streams 0");
        has("offramp_rtp_stream_loss_ratio_bucket{le=\"0.05\"} 0");
        has("offramp_rtp_stream_loss_ratio_bucket{le=\"0.1\"} 1");
        has("offramp_rtp_stream_loss_ratio_count 1");
        has("offramp_rtp_stream_jitter_seconds_count 1");
        assert!(!text.contains("172.16.1"), "{text}");
        let socket = site.folder.path("control.sock");
        let shown = site.offramp(&["status", "--control", &socket]).success();
        assert!(shown.contains("RTP streams forwarded and ended"), "{shown}");
        assert!(shown.contains("10 %"), "{shown}");
    });
}
