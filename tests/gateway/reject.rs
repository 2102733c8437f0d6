//! Answers to clients whose packets are dropped (`filter.reject`): real programs that give up at once, and sources that get none.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::site::plain::{MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Daemon, in_sandbox};

/// A time within which an answer comes, and after which there is none.
const AT_ONCE: Duration = Duration::from_millis(700);

/// Starts a gateway with this value of `filter.reject`.
fn start(site: &PlainSite, reject: &str) -> Daemon {
    site.start(&format!("[filter]\nreject = \"{reject}\""))
}

/// Connects from the client; an attempt that nobody answers times out.
fn connect(site: &PlainSite, address: &str, port: u16) -> io::Result<()> {
    let to = SocketAddr::new(address.parse().expect("an address"), port);
    site.client.enter(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.connect_timeout(&to.into(), AT_ONCE)
    })
}

/// Sends a datagram from the client, and waits for an answer.
fn ask(site: &PlainSite, address: &str, port: u16, payload: &[u8]) -> io::Result<usize> {
    let address: IpAddr = address.parse().expect("an address");
    let socket = site.client.enter(|| -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(match address {
            IpAddr::V4(_) => "0.0.0.0:0",
            IpAddr::V6(_) => "[::]:0",
        })?;
        socket.connect((address, port))?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(AT_ONCE))?;
    socket.send(payload)?;
    socket.recv(&mut [0; 64])
}

#[track_caller]
fn assert_refused(what: &str, result: io::Result<impl std::fmt::Debug>) {
    match result {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[track_caller]
fn assert_unanswered(what: &str, result: io::Result<impl std::fmt::Debug>) {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn programs_that_try_a_blocked_service_fail_at_once() {
    in_sandbox(&[], || {
        let site = PlainSite::new("reject");
        for (reject, tcp, udp) in [
            ("none", false, false),
            ("tcp", true, false),
            ("all", true, true),
        ] {
            let mut gateway = start(&site, reject);
            for address in [OFFICE, OFFICE6] {
                let scene = format!("reject = \"{reject}\", {address}");
                let began = Instant::now();
                let connected = connect(&site, address, MEDIA);
                if tcp {
                    assert_refused(&scene, connected);
                    assert!(began.elapsed() < AT_ONCE, "{scene}");
                } else {
                    assert_unanswered(&scene, connected);
                }
                let asked = ask(&site, address, MEDIA, b"a query");
                if udp {
                    assert_refused(&scene, asked);
                } else {
                    assert_unanswered(&scene, asked);
                }
            }
            assert_eq!(gateway.terminate().code(), Some(0));
        }
    });
}
