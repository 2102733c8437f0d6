//! Flows that the filter has cleared: the kernel passes them, in order, until they show media.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use crate::site::plain::{OFFICE, OFFICE6, PlainSite};
use crate::site::{Diversion, in_sandbox, traffic};

/// A media port with a service that is no media.
const SERVICE: u16 = 50_000;

const ICE: &str = "divert = \"suspects\"\n\n[media]\nmatch = \"ice\"";

/// A connectivity check (RFC 8445 §7.1): a binding request with a user name.
pub(crate) const CHECK: [u8; 28] = [
    0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11, 12, 0, 6, 0, 4, b'a',
    b':', b'b', b'c',
];

/// In a frame of TURN (RFC 8656 §12.4): a number of a channel, and a length.
fn in_channel(message: &[u8]) -> Vec<u8> {
    [&[0x40, 1, 0, message.len() as u8][..], message].concat()
}

/// In a header of Multiplexed TURN (MS-TURN): ff10, a length, and an identifier of a session.
fn in_multiplex(message: &[u8]) -> Vec<u8> {
    [
        &[0xff, 0x10, 0, 8 + message.len() as u8][..],
        &[7; 8],
        message,
    ]
    .concat()
}

/// Long enough for flows to reach the kernel.
const MOMENT: Duration = Duration::from_millis(500);

/// A socket of the client that waits a moment for each answer.
fn socket(site: &PlainSite, address: &str) -> UdpSocket {
    let socket = site.socket_to(address);
    let waits = socket.set_read_timeout(Some(Duration::from_millis(300)));
    waits.expect("a duration");
    socket
        .connect((address, SERVICE))
        .expect("there is a route");
    socket
}

fn is_answered(socket: &UdpSocket, payload: &[u8]) -> bool {
    socket.send(payload).expect("there is a route");
    socket.recv(&mut [0; 2_000]).is_ok()
}

/// Packets that the workers have judged.
fn judged(site: &PlainSite) -> u64 {
    let status = site.status();
    let workers = status["device"]["judged"].as_array().expect("a list");
    workers.iter().filter_map(serde_json::Value::as_u64).sum()
}

#[test]
fn a_flow_passes_in_the_kernel_once_it_is_cleared_until_it_shows_a_check() {
    in_sandbox(&[], || {
        let by_programs = Diversion::here() == Diversion::Ebpf;
        let site = PlainSite::new("cleared");
        let mut gateway = site.start(ICE);
        for address in [OFFICE, OFFICE6] {
            site.echo(address, SERVICE);
            let socket = socket(&site, address);
            // nftables takes over after 32 packets, and a moment.
            for _ in 0..40 {
                assert!(is_answered(&socket, b"a service"));
            }
            std::thread::sleep(MOMENT);
            let (before, counted) = (judged(&site), site.count("forward", "default"));
            for _ in 0..200 {
                assert!(is_answered(&socket, b"a service"));
            }
            let judged = judged(&site) - before;
            let flows = &site.status()["diversion"]["flows"];
            assert!(judged < 10, "the kernel passes them: {judged}, {flows}");
            if by_programs {
                let more = site.count("forward", "default") - counted;
                assert!(more >= 200, "and counts them: {more}");
            }

            for check in [CHECK.to_vec(), in_channel(&CHECK), in_multiplex(&CHECK)] {
                assert!(!is_answered(&socket, &check), "a check of a cleared flow");
            }
            if !by_programs {
                std::thread::sleep(MOMENT);
            }
            assert!(!is_answered(&socket, b"what follows"), "the flow is media");
            assert!(site.count("drop", "media") >= 4);
            assert!(is_answered(&self::socket(&site, address), b"another flow"));
        }
        let flows = &site.status()["diversion"]["flows"];
        assert!(flows["cleared"].as_u64() >= Some(2), "{flows}");

        let socket = socket(&site, OFFICE);
        assert!((0..40).all(|_| is_answered(&socket, b"a service")));
        std::thread::sleep(MOMENT);
        let before = judged(&site);
        gateway.signal("HUP");
        gateway.wait_for_log("reloaded: ");
        assert!((0..40).all(|_| is_answered(&socket, b"a service")));
        std::thread::sleep(MOMENT);
        assert!((0..100).all(|_| is_answered(&socket, b"a service")));
        let anew = judged(&site) - before;
        let expected = if by_programs { 8..60 } else { 32..60 };
        assert!(
            expected.contains(&anew),
            "judged again after a reload: {anew}"
        );
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn no_datagram_overtakes_another_of_its_flow_when_the_kernel_takes_over() {
    const FLOWS: u16 = 100;
    const DATAGRAMS: u32 = 300;
    /// Sent at once: the filter is behind, and catches up in between.
    const BURST: u32 = 100;
    in_sandbox(&[], || {
        let site = PlainSite::new("order");
        let mut gateway = site.start(ICE);
        let receiver = site.corporate.enter(|| UdpSocket::bind((OFFICE, SERVICE)));
        let receiver = receiver.expect("a free port");
        let waits = receiver.set_read_timeout(Some(Duration::from_millis(300)));
        waits.expect("a duration");
        let mut arrived = 0_u32;
        let mut disordered = 0;
        // nftables has no way to wait for the filter: packets overtake others when it takes over. The programs wait until the filter has
        // written what came before, but not for the kernel's own queue, which is late where other tests hold the processors.
        let allowed = match Diversion::here() {
            Diversion::Ebpf => 2,
            Diversion::Nftables => FLOWS,
        };
        for _ in 0..FLOWS {
            let sender = socket(&site, OFFICE);
            let sent = std::thread::scope(|scope| {
                let received = scope.spawn(|| {
                    let mut last = BTreeMap::new();
                    let mut overtaken = 0;
                    let mut buffer = [0; 100];
                    while let Ok((_, from)) = receiver.recv_from(&mut buffer) {
                        let number =
                            u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
                        if let Some(before) = last.insert(from, number) {
                            overtaken += u32::from(number < before);
                            assert!(overtaken <= BURST, "{number} came behind {before}");
                        }
                        arrived += 1;
                        if number == DATAGRAMS {
                            break;
                        }
                    }
                    overtaken > 0
                });
                for number in 1..=DATAGRAMS {
                    sender
                        .send(&number.to_be_bytes())
                        .expect("there is a route");
                    if number % BURST == 0 {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                received.join()
            });
            disordered += u16::from(sent.expect("once at most"));
        }
        assert!(disordered <= allowed, "{disordered} of {FLOWS} flows");
        let all = u32::from(FLOWS) * DATAGRAMS;
        assert!(arrived > all * 9 / 10, "{arrived} of {all} arrived");
        if Diversion::here() == Diversion::Ebpf {
            let judged = judged(&site);
            assert!(
                judged < u64::from(all) * 9 / 10,
                "the kernel takes over: {judged} were judged"
            );
        }
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}

#[test]
fn connections_at_media_ports_arrive_whole() {
    in_sandbox(&[], || {
        let site = PlainSite::new("bulk");
        let mut gateway = site.start(ICE);
        for (own, address) in [("172.16.1.10", OFFICE), ("fd00:1::10", OFFICE6)] {
            let [own, address] = [own, address].map(|it| it.parse().expect("an address"));
            let listener = traffic::listen(&site.corporate, address, SERVICE);
            for _ in 0..5 {
                traffic::connection_carries(&site.client, own, &listener);
            }
        }
        // By nftables short connections are over before they are handed to the kernel.
        if Diversion::here() == Diversion::Ebpf {
            let flows = &site.status()["diversion"]["flows"];
            assert!(flows["cleared"].as_u64() >= Some(10), "{flows}");
        }
        assert_eq!(gateway.terminate().code(), Some(0));
    });
}
