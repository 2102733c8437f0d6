//! Many bytes at media ports arrive as they were sent, while the gateway reloads and restarts.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use socket2::{Domain, Protocol, Socket, Type};

use crate::site::plain::{OFFICE, OFFICE6, PlainSite};
use crate::site::{in_sandbox, poll, traffic};

const SERVICE: u16 = 50_000;
const MEBIBYTE: u64 = 1 << 20;

/// A length that no buffer and no segment has: bytes at a wrong place are other bytes.
const PATTERN: usize = 1_000_003;
const DATAGRAM: usize = 1_200;

#[test]
fn bulk_transfers_outlast_reload_and_restart() {
    in_sandbox(&[], || transfer("bulk-short", 256 * MEBIBYTE));
}

#[test]
#[ignore = "20 GB: `tests/run --test gateway -- --ignored`, as CI does"]
fn ten_gigabytes_outlast_reload_and_restart() {
    in_sandbox(&[], || transfer("bulk-long", 10_000 * 1_000_000));
}

/// Transfers `bytes` by two connections and a stream of datagrams; the gateway reloads after a third, and restarts after
/// two.
fn transfer(name: &str, bytes: u64) {
    let site = PlainSite::new(name);
    let mut gateway = site.start("divert = \"suspects\"\n[media]\nmatch = \"ice\"");
    let arrived = AtomicU64::new(0);
    let reaches = |part: u64| {
        while arrived.load(Ordering::Relaxed) < bytes / 3 * part {
            thread::sleep(Duration::from_millis(10));
        }
    };
    thread::scope(|scope| {
        let by_datagrams = bytes / 10;
        for address in [OFFICE, OFFICE6] {
            let all = (bytes - by_datagrams) / 2;
            let (site, arrived) = (&site, &arrived);
            scope.spawn(move || by_connection(site, address, all, arrived));
        }
        let (through, arrived) = (&site, &arrived);
        scope.spawn(move || by_datagrams_of(through, by_datagrams, arrived));
        reaches(1);
        gateway.signal("HUP");
        gateway.wait_for_log("reloaded: ");
        reaches(2);
        let flows = &site.status()["diversion"]["flows"];
        assert!(flows["cleared"].as_u64() >= Some(1), "{flows}");
        assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
        gateway = site.start_again("gateway-again.log");
    });
    assert!(arrived.load(Ordering::Relaxed) >= bytes * 99 / 100);
    let dropped = site.status()["verdicts"].to_string();
    assert!(!dropped.contains("media"), "{dropped}");
    assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
}

/// Sends so many bytes by one connection, and compares each.
fn by_connection(site: &PlainSite, address: &str, bytes: u64, arrived: &AtomicU64) {
    let pattern = traffic::payload(PATTERN);
    let chunks = bytes / PATTERN as u64;
    let listener = traffic::listen(
        &site.corporate,
        address.parse().expect("an address"),
        SERVICE,
    );
    let to = listener.local_addr().expect("it is bound");
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut chunk = vec![0; PATTERN];
            for number in 0..chunks {
                stream.read_exact(&mut chunk).expect("it goes on");
                assert!(chunk == pattern, "chunk {number} to {to} has other bytes");
                arrived.fetch_add(PATTERN as u64, Ordering::Relaxed);
            }
        });
        let mut stream = site
            .client
            .enter(|| TcpStream::connect(to))
            .expect("it listens");
        for _ in 0..chunks {
            stream.write_all(&pattern).expect("it reads");
        }
    });
}

/// Sends so many bytes by datagrams of one flow, a few at a time, and compares each; a few may be lost at a restart.
fn by_datagrams_of(site: &PlainSite, bytes: u64, arrived: &AtomicU64) {
    const AT_A_TIME: u64 = 64;
    let count = bytes / DATAGRAM as u64;
    let pattern = traffic::payload(DATAGRAM + 256);
    let expected = |number: u64| {
        let at = (number % 256) as usize;
        [&number.to_be_bytes(), &pattern[at..at + DATAGRAM - 8]].concat()
    };
    let to: SocketAddr = (
        OFFICE.parse::<std::net::IpAddr>().expect("an address"),
        SERVICE + 1,
    )
        .into();
    let receiver = site
        .corporate
        .enter(|| UdpSocket::bind(to))
        .expect("a free port");
    let waits = receiver.set_read_timeout(Some(Duration::from_millis(500)));
    waits.expect("a duration");
    let sender = site.socket_to(OFFICE);
    let mut buffer = vec![0; DATAGRAM + 1];
    let mut lost = 0;
    for first in (0..count).step_by(AT_A_TIME as usize) {
        let numbers = first..(first + AT_A_TIME).min(count);
        for number in numbers.clone() {
            sender
                .send_to(&expected(number), to)
                .expect("there is a route");
        }
        let mut missing = numbers.end - numbers.start;
        while missing > 0 {
            let Ok((length, _)) = receiver.recv_from(&mut buffer) else {
                break;
            };
            let number = u64::from_be_bytes(*buffer.first_chunk().expect("a number"));
            assert!(
                buffer[..length] == expected(number),
                "datagram {number} has other bytes"
            );
            missing -= 1;
        }
        lost += missing;
        arrived.fetch_add(
            (numbers.end - numbers.start) * DATAGRAM as u64,
            Ordering::Relaxed,
        );
    }
    assert!(
        lost <= 2 * AT_A_TIME + count / 1_000,
        "{lost} of {count} are lost"
    );
    poll("nothing more", || {
        receiver.recv_from(&mut buffer).is_err().then_some(())
    });
}

#[test]
#[ignore = "15 s: `tests/run --test gateway -- --ignored`, as CI does"]
fn as_many_flows_as_there_is_room_for_take_less_than_20_mebibytes() {
    in_sandbox(&[], || {
        let site = PlainSite::new("many-flows");
        // Replies to addresses that nobody has would wait for their owners.
        site.corporate.ip("route add blackhole 172.16.0.0/16");
        // Under `ports` no flow is remembered.
        let mut gateway = site.start("");
        let without = resident(&format!("/proc/{}", gateway.pid()));
        assert_eq!(gateway.terminate().code(), Some(0));
        let gateway = site.start("[media]\nmatch = \"ice\"");
        let process = format!("/proc/{}", gateway.pid());
        let before = processor_seconds(&process);

        let started = Instant::now();
        let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)));
        let sent = new_flows(&site.client.enter(raw).expect("a raw socket"), FLOWS);
        assert_eq!(sent, FLOWS);
        let rate = f64::from(sent) / started.elapsed().as_secs_f64();
        let judged = poll("all of them judged", || {
            let judged = site.count("forward", "default");
            (judged >= u64::from(FLOWS) * 99 / 100).then_some(judged)
        });
        let more = resident(&process).saturating_sub(without);
        let flows = site.status()["media"]["flows"].as_u64();
        println!(
            "{rate:.0} new flows/s, {judged} of {sent} judged, {flows:?} in memory, {:.1} MiB more, {:.2} s of a processor",
            more as f64 / MEBIBYTE as f64,
            processor_seconds(&process) - before
        );
        assert!(flows >= Some(110_000), "{flows:?}");
        assert!((10 * MEBIBYTE..=20 * MEBIBYTE).contains(&more), "{more}");
    });
}

const FLOWS: u32 = 131_072;
/// The protocol of sockets that write IP headers themselves (raw(7)).
const IPPROTO_RAW: i32 = 255;

/// Sends `count` datagrams, each of a flow of its own, some 10,000 a second; returns how many were sent.
fn new_flows(socket: &Socket, count: u32) -> u32 {
    let to: SocketAddr = format!("{OFFICE}:0").parse().expect("an address");
    let started = Instant::now();
    let mut sent = 0;
    for number in 0..count {
        let client = [172, 16, 1, 11 + (number % 200) as u8];
        let port = SERVICE + (number / 200) as u16;
        let mut packet = Vec::new();
        PacketBuilder::ipv4(client, [10, 20, 0, 7], 64)
            .udp(40_000, port)
            .write(&mut packet, &[0x17; 64])
            .expect("room");
        sent += u32::from(socket.send_to(&packet, &to.into()).is_ok());
        let due = Duration::from_micros(u64::from(number) * 100);
        thread::sleep(due.saturating_sub(started.elapsed()));
    }
    sent
}

/// Bytes of memory that a process has in use.
pub(crate) fn resident(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|it| it.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.expect("a number") << 10
}

/// Time that a process has computed, in seconds.
fn processor_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("{process}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("its name ends");
    let mut fields = fields
        .split(' ')
        .skip(11)
        .map(|it| it.parse::<f64>().expect("a number"));
    let ticks = fields.next().unwrap_or(0.0) + fields.next().unwrap_or(0.0);
    // USER_HZ is 100 on every architecture of today.
    ticks / 100.0
}
