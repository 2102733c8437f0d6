//! `offramp feed` against a test server: the program follows the publisher's rules, and a bad answer changes no file.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::certificates::Certificates;
use crate::support::{Ended, Folder, offramp, program, run};

/// An answer: status, further header lines, body.
type Answer = (u16, String, Vec<u8>);

/// The function from the path of a request to its answer.
type Answers = Box<dyn Fn(&str) -> Answer + Send>;

/// A server that answers by the path of the request, and records its requests.
struct Publisher {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<Answers>>,
}

impl Publisher {
    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let publisher = Self {
            port: listener.local_addr().expect("it is bound").port(),
            asked: Arc::default(),
            answers: Arc::new(Mutex::new(Box::new(|_| (404, String::new(), Vec::new())))),
        };
        let (asked, answers) = (publisher.asked.clone(), publisher.answers.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                // One request a connection; a client that closes early is not an error.
                match &tls {
                    None => _ = answer(&mut stream, &asked, &answers),
                    Some(config) => {
                        let Ok(session) = rustls::ServerConnection::new(config.clone()) else {
                            return;
                        };
                        let mut stream = rustls::StreamOwned::new(session, stream);
                        _ = answer(&mut stream, &asked, &answers);
                        stream.conn.send_close_notify();
                        _ = stream.flush();
                    }
                }
            }
        });
        publisher
    }

    fn answer_with(&self, answers: impl Fn(&str) -> Answer + Send + 'static) {
        *self.answers.lock().expect("no test panics with it") = Box::new(answers);
    }

    /// Returns the requests since the last call, as `PATH?QUERY`.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("no test panics with it"))
    }
}

fn answer(
    stream: &mut (impl Read + Write),
    asked: &Mutex<Vec<String>>,
    answers: &Mutex<Answers>,
) -> std::io::Result<()> {
    let mut first = String::new();
    {
        let mut lines = BufReader::new(&mut *stream);
        lines.read_line(&mut first)?;
        let mut line = String::new();
        while lines.read_line(&mut line)? > 2 {
            line.clear();
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    asked
        .lock()
        .expect("no test panics with it")
        .push(path.clone());
    let (status, headers, body) = answers.lock().expect("no test panics with it")(&path);
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    )?;
    stream.write_all(&body)?;
    stream.flush()
}

fn good(body: impl Into<Vec<u8>>) -> Answer {
    (200, String::new(), body.into())
}

const FIRST: &str = r#"[{"id": 11, "serviceArea": "Skype", "category": "Optimize", "required": true,
  "ips": ["52.112.0.0/14", "52.120.0.0/14", "2603:1063::/38"], "udpPorts": "3478-3481"},
 {"id": 12, "serviceArea": "Skype", "category": "Allow", "required": true, "ips": ["52.238.119.141/32"]}]"#;

fn second() -> String {
    FIRST.replace("52.120.0.0/14", "52.122.0.0/15")
}

/// Returns the answers of the web service, in one of its versions.
fn service(version: &'static str, endpoints: String) -> impl Fn(&str) -> Answer {
    move |path| {
        if path.starts_with("/version/Worldwide?ClientRequestId=") {
            good(format!(
                r#"{{"instance": "Worldwide", "latest": "{version}"}}"#
            ))
        } else if path.starts_with("/endpoints/Worldwide?ClientRequestId=") {
            good(endpoints.clone())
        } else {
            (404, String::new(), Vec::new())
        }
    }
}

/// Returns a site with a feed of Microsoft's at `url`.
fn site(folder: &Folder, url: &str) -> String {
    folder.write(
        "site.toml",
        format!(
            r#"[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8", "52.120.0.0/20"]
[media]
ports = ["50000-50059"]
[routes]
tunnel = "full"
[[public]]
name = "Teams, by hand"
addresses = ["52.120.128.0/17", "52.112.0.0/13"]
[[feed]]
name = "Microsoft 365"
format = "microsoft-365"
file = "m365.json"
url = "{url}/endpoints/Worldwide"
categories = ["Optimize"]
"#
        ),
    )
}

/// Returns the program without the proxy settings of the tests' own environment.
fn fetch(policy: &str) -> Command {
    let mut command = program(&["feed", "fetch", policy]);
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
        command
            .env_remove(name)
            .env_remove(name.to_ascii_lowercase());
    }
    command
}

/// Lets an hour pass by moving the recorded times into the past.
fn an_hour_later(folder: &Folder) {
    let path = folder.path(".offramp-feeds.json");
    let text = fs::read_to_string(&path).expect("the state is there");
    let mut state: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for feed in state["feeds"].as_object_mut().expect("feeds").values_mut() {
        let asked = feed["asked_at"].as_u64().expect("seconds");
        feed["asked_at"] = (asked - 3_601).into();
    }
    fs::write(path, state.to_string()).expect("our own file");
}

#[test]
fn the_version_is_asked_first_then_the_endpoints_with_one_id_and_at_most_hourly() {
    let folder = Folder::new("feed-fetch");
    let publisher = Publisher::start(None);
    let policy = site(&folder, &format!("http://127.0.0.1:{}", publisher.port));
    publisher.answer_with(service("2026060100", FIRST.to_owned()));

    let told = run(&mut fetch(&policy)).success();
    assert!(
        told.contains("m365.json written, version 2026060100"),
        "{told}"
    );
    let asked = publisher.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].starts_with("/version/"), "{asked:?}");
    let id = asked[0].split('=').next_back().expect("an id").to_owned();
    assert_eq!(id.len(), 36);
    assert_eq!(
        asked[1],
        format!("/endpoints/Worldwide?ClientRequestId={id}")
    );
    assert_eq!(
        fs::read_to_string(folder.path("m365.json")).expect("written"),
        FIRST
    );

    let told = run(&mut fetch(&policy)).success();
    assert!(told.contains("may be asked again in 60 minutes"), "{told}");
    assert_eq!(publisher.asked(), [""; 0], "no question within the hour");

    an_hour_later(&folder);
    let told = run(&mut fetch(&policy)).success();
    assert!(told.contains("up to date, version 2026060100"), "{told}");
    assert_eq!(
        publisher.asked(),
        [format!("/version/Worldwide?ClientRequestId={id}")],
        "the same id, and no endpoints"
    );

    an_hour_later(&folder);
    publisher.answer_with(service("2026070100", second()));
    let told = run(&mut fetch(&policy)).success();
    assert!(
        told.contains("id 11 (Skype)\n  + 52.122.0.0/15\n  - 52.120.0.0/14\n"),
        "{told}"
    );
    assert_eq!(
        fs::read_to_string(folder.path("m365.json")).expect("written"),
        second()
    );
    assert_eq!(
        fs::read_to_string(folder.path("m365.json.previous")).expect("kept"),
        FIRST
    );
    let leftovers = fs::read_dir(folder.path("")).expect("a folder");
    let leftovers = leftovers.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().ends_with(".new")
    });
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn a_link_in_the_place_of_a_feed_or_of_its_earlier_version_is_not_written_through() {
    let folder = Folder::new("feed-link");
    let publisher = Publisher::start(None);
    let policy = site(&folder, &format!("http://127.0.0.1:{}", publisher.port));
    publisher.answer_with(service("2026060100", FIRST.to_owned()));
    run(&mut fetch(&policy)).success();
    let precious = folder.write("precious", "precious\n");
    let earlier = folder.path("m365.json.previous");
    symlink(&precious, &earlier).expect("a free place");
    an_hour_later(&folder);
    publisher.answer_with(service("2026070100", second()));
    let said = run(&mut fetch(&policy)).failure(1);
    let wanted = format!("{earlier}: it is a symbolic link to {precious}, which is not followed");
    assert!(said.contains(&wanted), "{said}");
    let kept = fs::read_to_string(folder.path("m365.json")).expect("the feed");
    assert_eq!(kept, FIRST, "the feed in use is unchanged");

    fs::remove_file(&earlier).expect("it is ours");
    let feed = folder.path("m365.json");
    fs::rename(&feed, folder.path("real.json")).expect("a free name");
    symlink("real.json", &feed).expect("a free place");
    an_hour_later(&folder);
    let said = run(&mut fetch(&policy)).failure(1);
    assert!(
        said.contains("it is a symbolic link to real.json"),
        "{said}"
    );
    let kept = fs::read_to_string(folder.path("real.json")).expect("the feed");
    assert_eq!(kept, FIRST);
    assert_eq!(
        fs::read_to_string(precious).expect("it is there"),
        "precious\n"
    );
    // It is still read through the link.
    offramp(&["check", &policy]).success();
}

#[test]
fn a_feed_over_a_server_is_refused_by_check_and_by_fetch_unless_the_policy_accepts_it() {
    let folder = Folder::new("feed-server");
    folder.write("mirror.txt", "203.0.113.0/24\n198.51.100.0/24\n");
    let policy = |feed: &str| {
        let text = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\", \"20.40.0.0/16\"]\n\
             [[server]]\nname = \"Front End pool\"\naddresses = [\"20.40.7.10\"]\n\
             [[feed]]\nname = \"Vendor\"\nformat = \"prefixes\"\nfile = \"list.txt\"\n\
             url = \"file://{}\"\n{feed}",
            folder.path("mirror.txt")
        );
        folder.write("policy.toml", text)
    };
    let over = "20.40.0.0/14 overlaps 20.40.7.10/32 of [[server]] \"Front End pool\", and public services come first";
    folder.write("mirror.txt", "20.40.0.0/14\n");
    let said = run(&mut fetch(&policy(""))).failure(1);
    assert!(said.contains(over), "{said}");
    assert!(!fs::exists(folder.path("list.txt")).expect("a folder"));

    folder.write("list.txt", "20.40.0.0/14\n");
    let said = offramp(&["check", &policy("")]).failure(2);
    assert!(said.contains("error[feed-refused]"), "{said}");
    assert!(said.contains(over), "{said}");
    assert!(
        said.contains("or accept that with server_prefixes = \"accept\""),
        "{said}"
    );
    let accepted = policy("server_prefixes = \"accept\"\n");
    let ended = offramp(&["check", &accepted]);
    assert!(
        ended.stderr.contains("warning[server-outside-tunnel]"),
        "{ended:#?}"
    );
    ended.success();
    let verdict = [
        "explain",
        &accepted,
        "--from",
        "172.16.1.10",
        "--to",
        "20.40.7.10:5061",
        "--protocol",
        "tcp",
    ];
    assert!(offramp(&verdict).success().contains("public"));
    run(&mut fetch(&accepted)).success();
}

#[test]
fn a_bad_answer_changes_nothing_and_says_what_is_wrong() {
    let folder = Folder::new("feed-bad");
    let publisher = Publisher::start(None);
    let policy = site(&folder, &format!("http://127.0.0.1:{}", publisher.port));
    publisher.answer_with(service("2026060100", FIRST.to_owned()));
    run(&mut fetch(&policy)).success();
    let deep = "[".repeat(200_000);
    let long = format!("[{}]", " ".repeat(17 << 20));
    let bad: [(String, &str); 9] = [
        (FIRST[..200].to_owned(), "EOF while parsing"),
        (
            FIRST.replace("[\"52.112.0.0/14\"", "\"52.112.0.0/14\", [\"\""),
            "line 2",
        ),
        (String::new(), "it is empty"),
        ("[]".to_owned(), "it has no entries"),
        ("<html>sign in</html>".to_owned(), "it is a web page"),
        (
            FIRST.replace("52.112.0.0/14", "0.0.0.0/0"),
            "id 11: 0.0.0.0/0 is wider than /8",
        ),
        (
            FIRST.replace("\"id\": 12", "\"id\": 11"),
            "two entries have the id 11",
        ),
        (deep, "expected"),
        (long, "127.0.0.1"),
    ];
    for (body, message) in bad {
        an_hour_later(&folder);
        publisher.answer_with(service("2026070100", body));
        let said = run(&mut fetch(&policy)).failure(1);
        assert!(
            said.contains(message) && said.contains("its file is as it was"),
            "{message}: {said}"
        );
        assert_eq!(
            fs::read_to_string(folder.path("m365.json")).expect("in place"),
            FIRST
        );
        assert!(!fs::exists(folder.path("m365.json.previous")).unwrap_or(true));
    }
    for (status, message) in [
        (500, "answered 500"),
        (404, "answered 404"),
        (302, "answered 302"),
    ] {
        an_hour_later(&folder);
        publisher.answer_with(move |_| {
            (
                status,
                "Location: http://example.com/\r\n".to_owned(),
                Vec::new(),
            )
        });
        let said = run(&mut fetch(&policy)).failure(1);
        assert!(said.contains(message), "{said}");
    }
    // Meanwhile the policy is still judged by the last good file.
    let explained = offramp(&[
        "explain",
        &policy,
        "--from",
        "172.16.1.10",
        "--to",
        "52.113.0.1:3478",
        "--protocol",
        "udp",
    ]);
    let explained = explained.success();
    assert!(
        explained.contains("public")
            && explained.contains("[[feed]] \"Microsoft 365\" id 11 holds 52.112.0.0/14"),
        "{explained}"
    );
}

#[test]
fn a_publisher_that_asks_to_be_left_alone_is_left_alone() {
    let folder = Folder::new("feed-429");
    let publisher = Publisher::start(None);
    let policy = site(&folder, &format!("http://127.0.0.1:{}", publisher.port));
    publisher.answer_with(|_| (429, "Retry-After: 7200\r\n".to_owned(), Vec::new()));
    let said = run(&mut fetch(&policy)).failure(1);
    assert!(
        said.contains("(too many requests): try again in 120 minutes"),
        "{said}"
    );
    assert_eq!(publisher.asked().len(), 1);
    // One hour is over, but the server asked for two.
    an_hour_later(&folder);
    let told = run(&mut fetch(&policy)).success();
    assert!(told.contains("not fetched"), "{told}");
    assert_eq!(publisher.asked(), [""; 0]);
}

#[test]
fn https_is_trusted_by_the_systems_certificates_and_asked_by_the_proxy_of_the_environment() {
    let folder = Folder::new("feed-tls");
    let certificates = Certificates::new(&folder);
    let (certificate, key) = certificates.issue(&folder, "127.0.0.1");
    let config = server_config(&certificate, &key);
    let publisher = Publisher::start(Some(config));
    let policy = site(&folder, &format!("https://127.0.0.1:{}", publisher.port));
    publisher.answer_with(service("2026060100", FIRST.to_owned()));

    let said = run(&mut fetch(&policy)).failure(1);
    assert!(
        said.contains("https://127.0.0.1"),
        "an authority that nobody knows: {said}"
    );
    assert!(!fs::exists(folder.path("m365.json")).unwrap_or(true));

    an_hour_later(&folder);
    run(fetch(&policy).env("SSL_CERT_FILE", &certificates.authority)).success();
    assert_eq!(publisher.asked().len(), 2);

    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = proxy.local_addr().expect("it is bound");
    let relayed = thread::spawn(move || relay(&proxy, 1));
    an_hour_later(&folder);
    let through = run(fetch(&policy)
        .env("SSL_CERT_FILE", &certificates.authority)
        .env("HTTPS_PROXY", format!("http://{address}")));
    let told = through.success();
    assert!(told.contains("up to date"), "{told}");
    let connects = relayed.join().expect("it does not panic");
    assert_eq!(
        connects,
        [format!("CONNECT 127.0.0.1:{} HTTP/1.1", publisher.port)]
    );
}

/// Relays `count` connections as a proxy.
fn relay(listener: &TcpListener, count: usize) -> Vec<String> {
    let mut connects = Vec::new();
    for stream in listener.incoming().take(count) {
        let stream = stream.expect("a connection");
        let mut lines = BufReader::new(stream.try_clone().expect("a handle"));
        let mut first = String::new();
        lines.read_line(&mut first).expect("a request");
        let mut line = String::new();
        while lines.read_line(&mut line).expect("headers") > 2 {
            line.clear();
        }
        let first = first.trim_end().to_owned();
        let target = first.split(' ').nth(1).expect("a target").to_owned();
        let upstream = TcpStream::connect(target).expect("the publisher");
        let mut client = stream;
        client
            .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
            .expect("the client listens");
        let (mut from, mut to) = (
            upstream.try_clone().expect("a handle"),
            client.try_clone().expect("a handle"),
        );
        let back = thread::spawn(move || {
            _ = std::io::copy(&mut from, &mut to);
            _ = to.shutdown(std::net::Shutdown::Write);
        });
        let mut to = upstream;
        _ = std::io::copy(&mut lines, &mut to);
        _ = to.shutdown(std::net::Shutdown::Write);
        back.join().expect("it does not panic");
        connects.push(first);
    }
    connects
}

fn server_config(certificate: &str, key: &str) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_file(certificate).expect("our own file")];
    let key = PrivateKeyDer::from_pem_file(key).expect("our own file");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate and its key");
    Arc::new(config)
}

#[test]
fn a_plain_list_is_fetched_from_its_address() {
    let folder = Folder::new("feed-list");
    let publisher = Publisher::start(None);
    let policy = folder.write(
        "site.toml",
        format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[media]\nports = [\"50000-50059\"]\n[[feed]]\nname = \"Zoom\"\nformat = \"prefixes\"\n\
             file = \"zoom.txt\"\nurl = \"http://127.0.0.1:{}/Zoom.txt\"\n[[feed]]\nname = \"By hand\"\nformat = \"prefixes\"\nfile = \"hand.txt\"\n",
            publisher.port
        ),
    );
    publisher.answer_with(|_| good("3.7.35.0/25\n3.21.137.128/25\n"));
    let told = run(&mut fetch(&policy)).success();
    assert!(told.contains("zoom.txt written"), "{told}");
    let by_hand = format!(
        "feed \"By hand\": it has no `url`; {} is kept by hand",
        folder.path("hand.txt")
    );
    assert!(told.contains(&by_hand), "{told}");
    assert_eq!(publisher.asked(), ["/Zoom.txt"]);
    let ended = run(fetch(&policy).args(["--feed", "By hand"]));
    assert!(
        ended.stderr.contains("it has no `url` to be fetched from"),
        "{ended:?}"
    );
    assert!(ended.error(1).contains("1 feed was not fetched"));
    assert_eq!(
        run(&mut program(&["feed", "fetch", &policy, "--feed", "Zom"])).code,
        Some(2)
    );
}

#[test]
fn a_policy_without_feeds_has_nothing_to_fetch() {
    let folder = Folder::new("feed-none");
    let policy = folder.write("site.toml", "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n");
    assert_eq!(
        run(&mut fetch(&policy)).success(),
        format!("{policy} has no [[feed]] and no [[profile]]: nothing to fetch\n")
    );
    let json = run(fetch(&policy).arg("--json")).json();
    assert_eq!(json, serde_json::json!({ "feeds": [] }));
    assert!(
        !fs::exists(folder.path(".offramp-feeds.json")).unwrap_or(true),
        "nothing is written beside it"
    );
}

fn diff(arguments: &[&str]) -> Ended {
    offramp(&[&["feed", "diff"], arguments].concat())
}

#[test]
fn a_difference_says_which_routes_and_verdicts_change_and_what_was_named_by_hand() {
    let folder = Folder::new("feed-diff");
    let policy = site(&folder, "https://endpoints.office.com");
    let (old, new) = (
        folder.write("old.json", FIRST),
        folder.write("new.json", second()),
    );
    let same = diff(&[&old, &old]);
    assert_eq!(
        (same.code, same.stdout.as_str()),
        (Some(0), "the two have the same entries\n")
    );
    let ended = diff(&[&old, &new, "--policy", &policy]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    insta::assert_snapshot!(ended.stdout);
    let json = diff(&[&old, &new, "--policy", &policy, "--json"]).json();
    assert_eq!(json["added"], serde_json::json!([]));
    assert_eq!(json["removed"], serde_json::json!(["52.120.0.0/15"]));
    assert_eq!(json["policy"]["withdrawn_by_hand"][0]["line"], 11);
    let refused = diff(&[&old, &folder.write("bad.json", "[{}]")]).error(1);
    assert!(refused.contains("bad.json is refused: line 1"), "{refused}");
}

#[test]
fn announced_changes_are_told_with_their_dates() {
    let folder = Folder::new("feed-changes");
    let changes = folder.write(
        "changes.json",
        r#"[{"id": 424, "endpointSetId": 11, "disposition": "Change", "impact": "AddedIp", "version": "2026053000",
             "previous": {"category": "Optimize", "udpPorts": "3478-3481"}, "current": {"category": "Default", "udpPorts": "3478"},
             "add": {"effectiveDate": "20260630", "ips": ["52.122.0.0/15"]}, "remove": {"ips": ["52.120.0.0/14"]}}]"#,
    );
    let told = offramp(&["feed", "changes", &changes]).success();
    assert_eq!(
        told,
        "version 2026053000: change id 11 (AddedIp)\n  + 52.122.0.0/15 from 2026-06-30\n  - 52.120.0.0/14\n  \
         category from Optimize to Default\n  udpPorts from 3478-3481 to 3478\n"
    );
}

#[test]
fn check_warns_of_a_feed_that_is_old_or_writes_oddly_and_refuses_a_broken_one() {
    let folder = Folder::new("feed-check");
    let policy = site(&folder, "https://endpoints.office.com");
    let warned = offramp(&["check", &policy, "--json"]).json();
    let codes = |report: &serde_json::Value| -> Vec<String> {
        let items = report["diagnostics"].as_array().expect("a list");
        items
            .iter()
            .map(|item| item["code"].as_str().expect("a code").to_owned())
            .collect()
    };
    assert!(
        codes(&warned).contains(&"feed-not-loaded".to_owned()),
        "{warned}"
    );

    let feed = folder.write(
        "m365.json",
        second().replace("2603:1063::/38", "2603:1063:0::/38"),
    );
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(40 * 86_400);
    fs::File::options()
        .append(true)
        .open(&feed)
        .and_then(|file| file.set_modified(long_ago))
        .expect("our own file");
    let warned = offramp(&["check", &policy, "--json"]).json();
    for code in ["feed-old", "feed-spelling", "feed-withdrawn"] {
        assert!(
            codes(&warned).contains(&code.to_owned()),
            "{code}: {warned}"
        );
    }

    folder.write("m365.json", &FIRST[..200]);
    let refused = offramp(&["check", &policy]).failure(2);
    assert!(
        refused.contains("feed \"Microsoft 365\" is refused"),
        "{refused}"
    );
    assert!(
        refused.contains("file = \"m365.json\""),
        "the line is shown: {refused}"
    );
    let refused = offramp(&["render", "openvpn", &policy]).failure(2);
    assert!(refused.contains("is refused"), "{refused}");
}

/// A list, the public key of a mirror, and minisign's signature of the list by it, of 2026-07-25.
const SIGNED: &str = "3.7.35.0/25\n3.21.137.128/25\n";
const KEY: &str = "RWRvZmZyYW1wMQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const SIGNATURE: &str = "untrusted comment: signature\nRURvZmZyYW1wMfmEbD29reJe3mSq+N5zfhsTc+W7qJVSSZ6jtQZs+hwm8JatJHIxXSJRkB3uYU5qL7A2woF0z04yx1j0vpKd/wc=\ntrusted comment: timestamp:1785000000\tfile:zoom.txt\thashed\n3wWH5l0qTFW8shMawYYwjzq2m4+68zoDz+zzrp9q6Tkva64iOfAUjNXIsOdJNYllkfyIJNJS25toccuLH55mAw==\n";

/// Returns a site whose list is at `url`; `key` is a line of its section.
fn mirrored(folder: &Folder, url: &str, key: &str) -> String {
    folder.write(
        "site.toml",
        format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[media]\nports = [\"50000-50059\"]\n[[feed]]\nname = \"Zoom\"\n\
             format = \"prefixes\"\nfile = \"zoom.txt\"\nurl = \"{url}\"\n{key}"
        ),
    )
}

#[test]
fn a_mirror_is_a_file_and_as_old_as_it_says() {
    let folder = Folder::new("feed-mirror");
    let source = folder.write("mirror.txt", SIGNED);
    let year = std::time::Duration::from_secs(365 * 86_400);
    let file = fs::File::options()
        .append(true)
        .open(&source)
        .expect("ours");
    file.set_modified(std::time::SystemTime::now() - year)
        .expect("ours");
    let policy = mirrored(&folder, &format!("file://{source}"), "");
    for _ in 0..2 {
        // A file is no publisher that has to be spared, and reading it again makes it no younger.
        run(&mut fetch(&policy)).success();
        let checked = offramp(&["check", &policy]);
        assert!(
            checked.stderr.contains("feed \"Zoom\" is 365 days old"),
            "{checked:?}"
        );
    }
    fs::remove_file(&source).expect("ours");
    let said = run(&mut fetch(&policy)).failure(1);
    assert!(said.contains("mirror.txt: No such file"), "{said}");
}

#[test]
fn a_signed_mirror_is_taken_by_its_key_alone() {
    let folder = Folder::new("feed-signed");
    let source = folder.write("mirror.txt", SIGNED);
    folder.write("mirror.txt.minisig", SIGNATURE);
    let key = format!("public_key = \"{KEY}\"\n");
    let policy = mirrored(&folder, &format!("file://{source}"), &key);
    run(&mut fetch(&policy)).success();
    let taken = fs::metadata(folder.path("zoom.txt")).and_then(|it| it.modified());
    let signed = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_785_000_000);
    assert_eq!(taken.expect("written"), signed, "as old as its signature");

    let refused = |message: &str| {
        let said = run(&mut fetch(&policy)).failure(1);
        assert!(
            said.contains(message) && said.contains("its file is as it was"),
            "{said}"
        );
        assert_eq!(
            fs::read_to_string(folder.path("zoom.txt")).expect("in place"),
            SIGNED
        );
    };
    folder.write("mirror.txt", SIGNED.replace("3.7.35.0/25", "8.8.8.0/24"));
    refused("its signature is not of this file by `public_key`");
    folder.write("mirror.txt", SIGNED);
    folder.write("mirror.txt.minisig", "no signature");
    refused("its .minisig is not a signature of minisign");
    folder.write(
        "mirror.txt.minisig",
        SIGNATURE.replace("1785000000", "1785000001"),
    );
    refused("its signature is not of this file by `public_key`");
    fs::remove_file(folder.path("mirror.txt.minisig")).expect("ours");
    refused("mirror.txt.minisig: No such file");
}

#[test]
fn a_signed_mirror_on_the_web_has_its_signature_beside_the_file() {
    let folder = Folder::new("feed-signed-web");
    let publisher = Publisher::start(None);
    let key = format!("public_key = \"{KEY}\"\n");
    let url = format!("http://localhost:{}/zoom.txt?site=1", publisher.port);
    let policy = mirrored(&folder, &url, &key);
    publisher.answer_with(|path| match path {
        "/zoom.txt?site=1" => good(SIGNED),
        "/zoom.txt.minisig?site=1" => good(SIGNATURE),
        _ => (404, String::new(), Vec::new()),
    });
    run(&mut fetch(&policy)).success();
    assert_eq!(publisher.asked().len(), 2);
    // Without a key, plain http to anything but an address of this machine is refused.
    let unsigned = mirrored(&folder, &url, "");
    let said = run(&mut fetch(&unsigned)).failure(2);
    assert!(said.contains("is not https"), "{said}");
}

#[test]
fn the_instance_decides_which_version_is_taken() {
    let folder = Folder::new("feed-instance");
    let publisher = Publisher::start(None);
    let policy = site(&folder, &format!("http://127.0.0.1:{}", publisher.port));
    publisher.answer_with(|path| {
        if path.starts_with("/endpoints/") {
            return good(FIRST);
        }
        good(
            r#"[{"instance": "China", "latest": "2026010100"}, {"instance": "Worldwide", "latest": "2026060100"}]"#,
        )
    });
    let told = run(&mut fetch(&policy)).success();
    assert!(told.contains("version 2026060100"), "{told}");
    an_hour_later(&folder);
    publisher.answer_with(|_| good(r#"{"instance": "China", "latest": "2026010100"}"#));
    let said = run(&mut fetch(&policy)).failure(1);
    assert!(
        said.contains("a version of the instance Worldwide"),
        "{said}"
    );
}

#[test]
fn check_tells_of_a_prefix_that_was_withdrawn_whole() {
    let folder = Folder::new("feed-withdrawn");
    let policy = site(&folder, "https://endpoints.office.com");
    let text = fs::read_to_string(&policy).expect("ours");
    folder.write(
        "site.toml",
        text.replace(
            "\"52.112.0.0/13\"",
            "\"13.107.64.0/18\", \"203.0.114.7\", \"52.238.119.0/24\"",
        ),
    );
    folder.write("m365.json", second());
    let checked = offramp(&["check", &policy]);
    let told = &checked.stderr;
    assert!(
        told.contains("13.107.64.0/18 of \"Teams, by hand\" is not of Microsoft 365 any more")
            && told.contains("it was of Teams' media (id 11) until 2024"),
        "{told}"
    );
    assert!(!told.contains("203.0.114.7 of [[public]]"), "{told}");
    // The version before is kept beside the file.
    folder.write(
        "m365.json.previous",
        second().replace("52.238.119.141/32", "203.0.114.0/24"),
    );
    let checked = offramp(&["check", &policy]);
    assert!(
        checked.stderr.contains("203.0.114.7/32 of [[public]]"),
        "{checked:?}"
    );
}

/// Returns a site with a profile of `vendor`; `lines` are of its section.
fn profile(folder: &Folder, vendor: &str, lines: &str) -> String {
    folder.write(
        "site.toml",
        format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[media]\nports = [\"50000-50059\"]\n[[profile]]\nvendor = \"{vendor}\"\n{lines}"
        ),
    )
}

fn explained(policy: &str, to: &str) -> String {
    let from = "172.16.1.10:50000";
    let arguments = [
        "explain",
        policy,
        "--from",
        from,
        "--to",
        to,
        "--protocol",
        "udp",
    ];
    offramp(&arguments).success()
}

#[test]
fn a_profile_has_the_addresses_that_ship_until_a_list_is_fetched() {
    let folder = Folder::new("profile");
    let list = folder.write("mirror.txt", "64.224.32.0/19\n");
    let policy = profile(&folder, "zoom", &format!("url = \"file://{list}\"\n"));
    let told = explained(&policy, "170.114.1.1:8801");
    assert!(
        told.contains("forward public: [[profile]] \"Zoom\" entry 37 holds 170.114.0.0/16"),
        "{told}"
    );
    let checked = offramp(&["check", &policy]);
    assert!(
        checked
            .stderr
            .contains("has the addresses that ship with offramp"),
        "{checked:?}"
    );

    run(&mut fetch(&policy)).success();
    let told = explained(&policy, "64.224.32.1:8801");
    assert!(
        told.contains("[[profile]] \"Zoom\" line 1 holds 64.224.32.0/19"),
        "{told}"
    );
    let told = explained(&policy, "170.114.1.1:8801");
    assert!(told.contains("forward default"), "{told}");
    let checked = offramp(&["check", &policy]);
    assert!(!checked.stderr.contains("ship with offramp"), "{checked:?}");
}

#[test]
fn prefixes_of_a_page_are_fetched_and_a_page_without_them_changes_nothing() {
    let folder = Folder::new("profile-page");
    let publisher = Publisher::start(None);
    let url = format!("url = \"http://127.0.0.1:{}/page\"\n", publisher.port);
    let policy = profile(&folder, "webex", &url);
    let page =
        "<html><table><tr><td>66.163.32.0/19</td><td>4.152.214.0/24*</td></tr></table></html>";
    publisher.answer_with(move |_| good(page));
    run(&mut fetch(&policy)).success();
    assert!(explained(&policy, "4.152.214.9:9000").contains("[[profile]] \"Webex\" entry 2"));
    an_hour_later(&folder);
    publisher.answer_with(|_| good("<html><script src=app.js></script></html>"));
    let said = run(&mut fetch(&policy)).failure(1);
    assert!(
        said.contains("save it from a browser") && said.contains("its file is as it was"),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(folder.path("webex.html")).expect("in place"),
        page
    );
}

#[test]
fn the_services_of_amazon_are_chosen_by_the_profile() {
    let folder = Folder::new("profile-aws");
    let ranges = r#"{"prefixes": [{"ip_prefix": "99.77.128.0/18", "service": "CHIME_MEETINGS"},
        {"ip_prefix": "3.5.140.0/22", "service": "S3"}], "ipv6_prefixes": []}"#;
    let file = folder.write("ranges.json", ranges);
    let policy = profile(&folder, "slack", &format!("url = \"file://{file}\"\n"));
    run(&mut fetch(&policy)).success();
    assert!(explained(&policy, "99.77.130.1:22466").contains("[[profile]] \"Slack huddles\""));
    assert!(explained(&policy, "3.5.140.1:443").contains("forward default"));
}

#[test]
fn a_profile_and_a_feed_of_one_name_are_a_mistake() {
    let folder = Folder::new("profile-names");
    let feed = "[[feed]]\nname = \"Zoom\"\nformat = \"prefixes\"\nfile = \"z.txt\"\n";
    let policy = profile(&folder, "zoom", feed);
    let said = offramp(&["check", &policy]).failure(2);
    assert!(
        said.contains("two feeds or profiles are named \"Zoom\""),
        "{said}"
    );
}

#[test]
fn direct_calls_at_fixed_ports_that_are_no_media_are_found() {
    let folder = Folder::new("profile-ports");
    let policy = profile(
        &folder,
        "ringcentral",
        "[corporate]\nsubnets = [\"10.0.0.0/8\"]\n",
    );
    let told = offramp(&["verify", &policy]);
    let what = "LEAK: ports 8850-8869 of RingCentral are not all among media.ports";
    assert!(told.stdout.contains(what), "{told:?}");
}

#[test]
fn every_fact_about_a_vendor_has_its_source_or_is_said_to_be_unknown() {
    let told = offramp(&["feed", "profiles", "webex"]).success();
    assert!(
        told.contains("udp 5004, 9000") && told.contains("[2026-03-16: https://help.webex.com"),
        "{told}"
    );
    assert!(
        told.contains("direct calls unknown: the vendor's pages do not say"),
        "{told}"
    );
    let json = offramp(&["feed", "profiles", "--json"]).json();
    assert_eq!(json["profiles"].as_array().map(Vec::len), Some(7));
    let unknown = offramp(&["feed", "profiles", "8x8"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
}
