//! The metrics endpoint with idle and slow connections, and with more connections than file descriptors.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use crate::site::plain::{self, DNS, MEDIA, OFFICE, OFFICE6, PlainSite};
use crate::site::{Daemon, in_sandbox, poll};
use crate::support::{program, run};

use super::{METRICS, connect, request, scrape};

/// Returns the number of descriptors that the gateway has open.
fn descriptors(gateway: &Daemon) -> usize {
    let folder = format!("/proc/{}/fd", gateway.pid());
    fs::read_dir(folder).expect("it runs").count()
}

#[test]
fn connections_that_idle_dawdle_or_talk_nonsense_harm_nobody() {
    in_sandbox(&[], || {
        let site = PlainSite::new("connections");
        for address in [OFFICE, OFFICE6] {
            site.echo(address, DNS);
            site.echo(address, MEDIA);
        }
        let mut gateway = site.start(METRICS);
        let quiet = descriptors(&gateway);

        let idle: Vec<_> = (0..100).map(|_| connect(&site)).collect();
        let mut slow = connect(&site);
        let mut request_of_slow = b"GET /metrics HTTP/1.1\r\nX-Slow: "
            .iter()
            .chain([b'a'].iter().cycle());
        let garbage: [&[u8]; 5] = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\0\0\0\0\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
            b"POST /metrics HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
            b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ];
        // One byte a second until the endpoint closes the connection.
        let mut rounds = 0;
        loop {
            rounds += 1;
            let mut noise = Vec::new();
            for bytes in garbage {
                let mut stream = connect(&site);
                // The endpoint may close at any byte.
                _ = stream.write_all(bytes);
                noise.push(stream);
            }
            scrape(&site);
            assert_eq!(request(&site, "GET", "/readyz").status, 200);
            site.status();
            for address in [OFFICE, OFFICE6] {
                assert!(site.is_answered(address, DNS, 100));
                assert!(!site.is_answered(address, MEDIA, 100));
            }
            // The connections, one more that waits, and the one that asked for the status.
            assert!(descriptors(&gateway) <= quiet + 32 + 2, "{rounds}");

            let byte = request_of_slow.next().expect("it never ends");
            slow.set_read_timeout(Some(Duration::from_secs(1)))
                .expect("a duration");
            let written = slow.write_all(&[*byte]);
            match (written, slow.read(&mut [0; 16])) {
                (Ok(()), Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The endpoint closes it.
                _ => break,
            }
            assert!(rounds < 20, "it is still borne with");
        }
        println!("bytes that the slow client could send: {rounds}");
        drop(idle);
        poll("the connections to close", || {
            (descriptors(&gateway) <= quiet).then_some(())
        });
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn without_free_descriptors_connections_wait_and_nothing_spins() {
    in_sandbox(&["prlimit"], || {
        let site = PlainSite::new("descriptors");
        site.echo(OFFICE, DNS);
        site.echo(OFFICE, MEDIA);
        let policy = plain::policy(&site.folder, METRICS);
        let policy = site.folder.write("policy.toml", policy);
        let mut gateway = Daemon::start(
            &site.concentrator,
            "offramp run",
            site.folder.path("gateway.log"),
            &mut program(&["run", &policy, "--verbose"]),
        );
        gateway.wait_for_log(" ready: ");
        let pid = gateway.pid().to_string();
        let limit = |most: u32| {
            let soft = format!("--nofile={most}:");
            run(Command::new("prlimit").args(["--pid", &pid, &soft])).success();
        };
        // Descriptors for one connection, and no more.
        limit(next_descriptor(&gateway) + 1);

        let idle: Vec<_> = (0..20).map(|_| connect(&site)).collect();
        gateway.wait_for_log(HAS_TO_WAIT);
        for _ in 0..3 {
            assert!(site.is_answered(OFFICE, DNS, 100));
            assert!(!site.is_answered(OFFICE, MEDIA, 100));
        }
        // The first connection has 5 seconds, during which the others wait.
        let mut first = &idle[0];
        let ended = first.read(&mut [0; 16]);
        assert!(matches!(ended, Ok(0)), "{ended:?}");
        // Ten tries a second; a busy loop would have made many thousands.
        let tries = gateway.log().matches(HAS_TO_WAIT).count();
        println!("tries to accept: {tries}");
        assert!(tries < 500, "{tries}");

        drop(idle);
        scrape(&site);
        // To stop, it has to run `nft`.
        limit(1_024);
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

/// The log's message for connections without a free descriptor.
const HAS_TO_WAIT: &str =
    "cannot accept a connection to the metrics endpoint, and will try again: Too many open files";

/// Returns the number of the gateway's next descriptor.
fn next_descriptor(gateway: &Daemon) -> u32 {
    let folder = fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("it runs");
    let numbers = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let open: BTreeSet<u32> = numbers.collect();
    let free = (0..).find(|number| !open.contains(number));
    free.expect("a process has few of them open")
}

#[test]
fn an_address_that_is_taken_or_is_not_ours_is_refused_before_anything_is_changed() {
    in_sandbox(&[], || {
        let site = PlainSite::new("taken");
        let before = site.kernel();
        let bind = || TcpListener::bind("127.0.0.1:9464");
        let taken = site.concentrator.enter(bind).expect("nobody else is there");
        for (address, why) in [
            ("127.0.0.1:9464", "Address already in use"),
            ("203.0.113.9:9464", "Cannot assign requested address"),
        ] {
            let gateway = format!("metrics = \"{address}\"");
            let policy = plain::policy(&site.folder, &gateway);
            let policy = site.folder.write("policy.toml", policy);
            let said = site.offramp(&["run", &policy]).failure(1);
            for part in [address, why, "[gateway] metrics ="] {
                assert!(said.contains(part), "{said}");
            }
            assert_eq!(site.kernel(), before);
        }
        drop(taken);

        // An address that other hosts reach is accepted, with a warning.
        let mut gateway = site.start("metrics = \"0.0.0.0:9464\"");
        let log = gateway.log();
        let warned = |line: &str| line.contains("WARN") && line.contains("http://0.0.0.0:9464");
        assert!(log.lines().any(warned), "{log}");
        scrape(&site);
        assert_eq!(gateway.terminate().code(), Some(0));
        assert_eq!(site.kernel(), before);

        // Without an endpoint in the policy, there is no listener.
        let mut gateway = site.start("");
        assert!(!site.concentrator.listens("--tcp", "127.0.0.1:9464"));
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}
