//! `offramp fleet agent` and a web server that serves the folder of a publisher: ETag, certificates, a proxy, and nonsense.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::certificates::Certificates;
use crate::support::fleet::{Fleet, agent, look, policy};
use crate::support::host::Daemon;
use crate::support::sandbox::poll;

/// A request: its path, and the status of the answer.
type Asked = Arc<Mutex<Vec<(String, u16)>>>;

/// A web server for a folder, one request a connection.
struct Web {
    port: u16,
    asked: Asked,
    /// Sent to everybody in place of a file.
    nonsense: Arc<Mutex<Option<String>>>,
}

impl Web {
    fn start(folder: String, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let web = Self {
            port: listener.local_addr().expect("it is bound").port(),
            asked: Arc::default(),
            nonsense: Arc::default(),
        };
        let (asked, nonsense) = (web.asked.clone(), web.nonsense.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let serve = |stream: &mut dyn ReadWrite| serve(stream, &folder, &asked, &nonsense);
                // A client that is refused, or closes early, is no error of the server.
                match &tls {
                    None => _ = serve(&mut stream),
                    Some(config) => {
                        let session = rustls::ServerConnection::new(config.clone());
                        let session = session.expect("the configuration is complete");
                        let mut stream = rustls::StreamOwned::new(session, stream);
                        _ = serve(&mut stream);
                        stream.conn.send_close_notify();
                        _ = stream.flush();
                    }
                }
            }
        });
        web
    }

    fn asked(&self) -> Vec<(String, u16)> {
        self.asked.lock().expect("no test panics with it").clone()
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn serve(
    stream: &mut dyn ReadWrite,
    folder: &str,
    asked: &Asked,
    nonsense: &Mutex<Option<String>>,
) -> io::Result<()> {
    let mut head = Vec::new();
    let mut lines = BufReader::new(&mut *stream);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? <= 2 {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let path = head.first().and_then(|line| line.split(' ').nth(1));
    let path = path.unwrap_or_default().to_owned();
    let known = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("if-none-match").then_some(value)
    });
    let instead = nonsense.lock().expect("no test panics with it").clone();
    let file = match instead {
        Some(text) => Some(text.into_bytes()),
        None => fs::read(format!("{folder}{path}")).ok(),
    };
    let etag = file.as_ref().map(|it| {
        let sum = it.iter().fold(7_u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        format!("\"{sum:x}\"")
    });
    let (status, body) = match (&file, &etag) {
        (Some(_), Some(etag)) if known == Some(etag.as_str()) => (304, &[][..]),
        (Some(file), _) => (200, &file[..]),
        (None, _) => (404, &b"nothing here"[..]),
    };
    asked
        .lock()
        .expect("no test panics with it")
        .push((path, status));
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nETag: {}\r\nConnection: close\r\n\r\n",
        body.len(),
        etag.unwrap_or_default()
    )?;
    stream.write_all(body)?;
    stream.flush()
}

const CHANNEL: &str = "/offramp/v1/channel/stable";

fn start(fleet: &Fleet, site: &str) -> Daemon {
    Daemon::start_here(
        "agent",
        fleet.folder.path("agent.log"),
        &mut agent(site, &[]),
    )
}

#[test]
fn a_web_server_is_asked_again_by_its_etag_and_the_next_release_is_taken() {
    let fleet = Fleet::new("fleet_web_etag");
    let web = Web::start(fleet.folder.path("store"), None);
    let source = format!("http://127.0.0.1:{}", web.port);
    let site = fleet.site("vpn1", &source, "poll_seconds = 1");
    fleet.publish(&policy("1024-65535"), "stable");
    let mut agent = start(&fleet, &site);
    agent.wait_for_log("release 1 is in ");
    poll("an answer without a body", || {
        web.asked()
            .contains(&(CHANNEL.to_owned(), 304))
            .then_some(())
    });
    fleet.publish(&policy("50000-50059"), "stable");
    agent.wait_for_log("release 2 is in ");
    // The parts of a release are asked for once.
    let manifest = |(path, _): &&(String, u16)| path == "/offramp/v1/release/1/manifest";
    assert_eq!(web.asked().iter().filter(manifest).count(), 1);
}

#[test]
fn a_portal_or_an_error_in_place_of_the_store_changes_nothing() {
    let fleet = Fleet::new("fleet_web_portal");
    let web = Web::start(fleet.folder.path("store"), None);
    let site = fleet.site("vpn1", &format!("http://127.0.0.1:{}", web.port), "");
    fleet.publish(&policy("1024-65535"), "stable");
    look(&site).success();
    let before = fleet.policy_file("vpn1");
    let say = |text: &str| {
        *web.nonsense.lock().expect("no test panics with it") = Some(text.to_owned());
    };
    say("<html>");
    let refused = look(&site).error(3);
    assert!(
        refused.contains("holds no serial of a release"),
        "{refused}"
    );
    say(&"<html>".repeat(1_000));
    let refused = look(&site).error(1);
    assert!(
        refused.contains("answered with more than 64 bytes"),
        "{refused}"
    );
    // A serial, and then the same for each part of the release.
    say("2");
    let refused = look(&site).error(3);
    assert!(
        refused.contains("is not a signature of minisign"),
        "{refused}"
    );
    assert_eq!(fleet.policy_file("vpn1"), before);
}

#[test]
fn a_server_with_a_private_authority_asks_for_a_certificate() {
    let fleet = Fleet::new("fleet_web_certificates");
    let authority = Certificates::new(&fleet.folder);
    let (certificate, key) = authority.issue(&fleet.folder, "127.0.0.1");
    let (of_gateway, key_of_gateway) = authority.issue(&fleet.folder, "vpn1");
    let config = asking_config(&authority.authority, &certificate, &key);
    let web = Web::start(fleet.folder.path("store"), Some(config));
    let source = format!("https://127.0.0.1:{}", web.port);
    fleet.publish(&policy("1024-65535"), "stable");

    let stranger = fleet.site("vpn1", &source, "");
    let refused = look(&stranger).error(1);
    assert!(
        refused.contains("certificate") || refused.contains("Issuer"),
        "{refused}"
    );
    let ca = format!("ca = \"{}\"", authority.authority);
    let nobody = fleet.site("vpn1", &source, &ca);
    look(&nobody).failure(1);
    let known =
        format!("{ca}\nclient_certificate = \"{of_gateway}\"\nclient_key = \"{key_of_gateway}\"");
    let known = fleet.site("vpn1", &source, &known);
    look(&known).success();
    let missing = fleet.site("vpn1", &source, "ca = \"/nowhere/ca.pem\"");
    assert!(look(&missing).error(1).contains("/nowhere/ca.pem"));
}

/// A server that takes clients with a certificate of the authority alone.
fn asking_config(authority: &str, certificate: &str, key: &str) -> Arc<rustls::ServerConfig> {
    let read = |path: &str| CertificateDer::from_pem_file(path).expect("our own file");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(read(authority)).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        provider.clone(),
    );
    let key = PrivateKeyDer::from_pem_file(key).expect("our own file");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_client_cert_verifier(verifier.build().expect("one authority"))
        .with_single_cert(vec![read(certificate)], key);
    Arc::new(config.expect("a certificate and its key"))
}

#[test]
fn a_proxy_leads_to_the_store() {
    let fleet = Fleet::new("fleet_web_proxy");
    let authority = Certificates::new(&fleet.folder);
    let (certificate, key) = authority.issue(&fleet.folder, "policies.example");
    let (of_gateway, key_of_gateway) = authority.issue(&fleet.folder, "vpn1");
    let config = asking_config(&authority.authority, &certificate, &key);
    let web = Web::start(fleet.folder.path("store"), Some(config));
    let (proxy, connects) = start_proxy(web.port);
    fleet.publish(&policy("1024-65535"), "stable");
    let lines = format!(
        "ca = \"{}\"\nclient_certificate = \"{of_gateway}\"\nclient_key = \"{key_of_gateway}\"\n\
         proxy = \"http://127.0.0.1:{proxy}\"",
        authority.authority
    );
    // No such name exists: the proxy alone knows the way.
    let site = fleet.site("vpn1", "https://policies.example", &lines);
    look(&site).success();
    let connects = connects.lock().expect("no test panics with it").clone();
    assert_eq!(
        connects.first().map(String::as_str),
        Some("policies.example:443")
    );
}

/// A proxy that leads every CONNECT to `port` of this machine; returns its port, and what it was asked for.
fn start_proxy(port: u16) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("it is bound").port();
    let connects: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = connects.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let noted = noted.clone();
            thread::spawn(move || tunnel(stream, port, &noted));
        }
    });
    (own, connects)
}

fn tunnel(mut client: TcpStream, port: u16, noted: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    noted.lock().expect("no test panics with it").push(target);
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut up, mut down) = (client.try_clone()?, server.try_clone()?);
    let upward = thread::spawn(move || {
        _ = io::copy(&mut up, &mut down);
        _ = down.shutdown(Shutdown::Write);
    });
    _ = io::copy(&mut server, &mut client);
    _ = client.shutdown(Shutdown::Write);
    _ = upward.join();
    Ok(())
}

#[test]
fn releases_are_checked_by_minisign_and_sha256sum_alone() {
    let fleet = Fleet::new("fleet_web_minisign");
    fleet.publish(&policy("1024-65535"), "stable");
    let gzip = Command::new("gzip")
        .args(["-dc", &fleet.stored("release/1/policy.toml.gz")])
        .output()
        .expect("gzip is there");
    let plain = fleet.folder.write("plain.toml", &gzip.stdout);
    let sum = Command::new("sha256sum")
        .arg(&plain)
        .output()
        .expect("it is there");
    let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
    let manifest = fs::read_to_string(fleet.stored("release/1/manifest")).expect("it is there");
    let digest = sum.split(' ').next().expect("a digest");
    assert!(manifest.contains(digest), "{sum} {manifest}");
    let signature = fs::read_to_string(fleet.stored("release/1/manifest.minisig"));
    let signature = signature.expect("it is there");
    assert!(
        signature.contains("trusted comment: offramp release 1 at "),
        "{signature}"
    );
}
