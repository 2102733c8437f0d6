//! The memory of a gateway that has everything to do, for as long as `OFFRAMP_SOAK` says, in seconds: ten if it says nothing.

use std::env;
use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::bulk::resident;
use crate::flows::CHECK;
use crate::site::plain::{CLIENT, OFFICE, PlainSite};
use crate::site::{Diversion, in_sandbox, traffic};

/// The first of the media ports that packets are sent to.
const SERVICE: u16 = 50_000;
const MEBIBYTE: u64 = 1 << 20;
/// In half of it, all that use makes grow has reached its bound.
const LONG: Duration = Duration::from_secs(1_200);

#[test]
fn the_memory_of_a_gateway_that_has_everything_to_do_is_flat() {
    in_sandbox(&[], || {
        let seconds = env::var("OFFRAMP_SOAK").map_or(10, |it| it.parse().expect("seconds"));
        let length = Duration::from_secs(seconds);
        let site = PlainSite::new(&format!("soak-{:?}", Diversion::here()));
        answer_names(&site);
        let allowed = traffic::listen(&site.corporate, OFFICE.parse().expect("an address"), 443);
        let control = site.folder.path("control.sock");
        let log = site.folder.path("drops.jsonl");
        let policy = format!(
            "[vpn]\ninterfaces = [\"tun0\", \"vpns*\"]\nclient_subnets = [\"172.16.1.0/24\", \"fd00:1::/64\"]\n\
             [corporate]\nsubnets = [\"10.0.0.0/8\", \"fd00:2::/48\"]\n\
             [[public]]\nname = \"Edge\"\naddresses = [\"203.0.113.7\"]\nhosts = [\"sip.contoso.com\"]\n\
             [media]\nmatch = \"ice\"\n[filter]\nreject = \"all\"\n\
             [dns]\nlisten = [\"172.16.1.1:53\"]\nupstreams = [\"{OFFICE}\"]\n\
             [gateway]\ncontrol = \"{control}\"\nmetrics = \"127.0.0.1:9464\"\ndrop_log = \"{log}\"\n"
        );
        site.folder.write("policy.toml", policy);
        let mut gateway = site.start_again("gateway.log");
        let process = format!("/proc/{}", gateway.pid());

        let started = Instant::now();
        let (mut samples, mut turns) = (Vec::new(), 0_u32);
        while started.elapsed() < length {
            send(&site, turns);
            if turns % 16 == 0 {
                come_and_go(&site, &allowed);
            }
            if turns % 128 == 0 {
                gateway.signal("HUP");
                // On a host that is too busy the answer may be that there is none now.
                _ = site.get("/metrics");
            }
            samples.push(resident(&process));
            turns += 1;
            thread::sleep(Duration::from_millis(50));
        }
        let status = site.status();
        assert!(status["not_ready"].is_null(), "{}", status["not_ready"]);
        for (action, reason) in [("drop", "media"), ("forward", "default")] {
            assert!(site.count(action, reason) > 0, "{action} {reason}");
        }
        let (_, later) = samples.split_at(samples.len() / 2);
        let most = later.iter().max().expect("a sample");
        let least = later.iter().min().expect("a sample");
        let mebibytes = |bytes: u64| bytes as f64 / MEBIBYTE as f64;
        println!(
            "{turns} turns in {seconds} s: {:.2} MiB at the start, {:.2} to {:.2} in the second half",
            mebibytes(samples[0]),
            mebibytes(*least),
            mebibytes(*most)
        );
        let bound = if length < LONG { 8 } else { 2 } * MEBIBYTE;
        assert!(most - least <= bound, "it is not flat");
        assert_eq!(gateway.terminate().code(), Some(0), "{}", gateway.log());
    });
}

/// Answers every query to the upstream, with no record.
fn answer_names(site: &PlainSite) {
    let socket = site.corporate.enter(|| UdpSocket::bind((OFFICE, 53)));
    let socket = socket.expect("the address is there");
    thread::spawn(move || {
        let mut message = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut message) {
            // QR of RFC 1035 §4.1.1: a response.
            message[2] |= 0x80;
            _ = socket.send_to(&message[..length], client);
        }
    });
}

/// Packets of new flows, some of which are media, and queries for a pinned and for another name.
fn send(site: &PlainSite, turn: u32) {
    let socket = site.socket_to(OFFICE);
    for number in 0..50 {
        let port = SERVICE + (turn as u16).wrapping_mul(50) % 15_000 + number;
        let packet: &[u8] = if number % 5 == 0 { &CHECK } else { &[0x17; 64] };
        // Answers that refuse an earlier one are reported here.
        _ = socket.send_to(packet, (OFFICE, port));
    }
    let names = site.socket_to(CLIENT);
    for name in ["\x03sip".to_owned(), format!("\x09{turn:09}")] {
        let query = [
            &turn.to_be_bytes()[2..],
            &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            name.as_bytes(),
            b"\x07contoso\x03com\0\0\x01\0\x01",
        ];
        let sent = names.send_to(&query.concat(), ("172.16.1.1", 53));
        sent.expect("the gateway listens");
    }
}

/// An allowed connection, and a client's interface that comes and goes.
fn come_and_go(site: &PlainSite, allowed: &TcpListener) {
    let client = CLIENT.parse().expect("an address");
    traffic::connection_carries(&site.client, client, allowed);
    site.concentrator
        .ip("link add vpns0 type veth peer name peer0\nlink set vpns0 up\nlink delete vpns0");
}
