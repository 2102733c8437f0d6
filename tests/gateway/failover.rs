//! Two gateways with one address of the VPN (VRRP, keepalived): `docs/ha.md`, whose configuration these tests use.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::flows::CHECK;
use crate::site::filter::Status;
use crate::site::pair::{Member, Pair};
use crate::site::plain::{DNS, MEDIA, OFFICE, OFFICE6};
use crate::site::{Daemon, Host, in_ebpf_sandbox, in_sandbox, poll, traffic};
use crate::support::{AtEnd, Folder, run};

const PROGRAMS: &[&str] = &["keepalived"];

/// A media port with a service that is no media.
const SERVICE: u16 = 50_000;

/// A port that is none of media.
const HTTPS: u16 = 443;

const ICE: &str = "divert = \"suspects\"\n\n[media]\nmatch = \"ice\"";

/// Numbered datagrams of the client: one a millisecond to an allowed service, by both families, and as many to a media port.
#[derive(Default)]
struct Progress {
    sent: AtomicU32,
    /// The last number that has arrived, by IPv4 and by IPv6.
    arrived: [AtomicU32; 2],
    is_over: AtomicBool,
}

impl Progress {
    /// Waits until datagrams that are sent from here on arrive by both families; returns the time that it takes.
    #[track_caller]
    fn wait(&self, what: &str) -> Duration {
        let (sent, start) = (self.sent.load(Ordering::Relaxed), Instant::now());
        poll(&format!("traffic after {what}"), || {
            let has_arrived = |last: &AtomicU32| last.load(Ordering::Relaxed) > sent;
            self.arrived.iter().all(has_arrived).then_some(())
        });
        start.elapsed()
    }
}

/// Numbers of datagrams that arrived, in the order of their arrival.
struct Arrived([Vec<u32>; 2]);

/// Does `changes` while the client sends; no media arrives meanwhile.
#[track_caller]
fn under_traffic(pair: &Pair, changes: impl FnOnce(&Progress)) -> Arrived {
    let receivers = |port| {
        [OFFICE, OFFICE6].map(|address| {
            let address = address.parse().expect("an address");
            traffic::udp(&pair.corporate, address, port)
        })
    };
    let (allowed, media) = (receivers(DNS), receivers(MEDIA));
    let senders = [OFFICE, OFFICE6].map(|address| traffic::socket_to(&pair.client, address));
    let progress = Progress::default();
    let arrived = thread::scope(|scope| {
        let progress = &progress;
        let receive = |family: usize| {
            let socket = &allowed[family];
            let waits = socket.set_read_timeout(Some(Duration::from_millis(200)));
            waits.expect("a duration");
            scope.spawn(move || {
                let mut numbers = Vec::new();
                let mut number = [0; 4];
                loop {
                    match socket.recv(&mut number) {
                        Ok(_) => {
                            let number = u32::from_be_bytes(number);
                            numbers.push(number);
                            progress.arrived[family].store(number, Ordering::Relaxed);
                        }
                        Err(_) if progress.is_over.load(Ordering::Relaxed) => return numbers,
                        Err(_) => {}
                    }
                }
            })
        };
        let received = [receive(0), receive(1)];
        scope.spawn(move || {
            while !progress.is_over.load(Ordering::Relaxed) {
                let number = progress.sent.fetch_add(1, Ordering::Relaxed) + 1;
                // Every tenth in fragments.
                let call = vec![
                    7;
                    if number.is_multiple_of(10) {
                        3_000
                    } else {
                        160
                    }
                ];
                for (sender, address) in senders.iter().zip([OFFICE, OFFICE6]) {
                    // Nobody has the address for a moment.
                    _ = sender.send_to(&number.to_be_bytes(), (address, DNS));
                    _ = sender.send_to(&call, (address, MEDIA));
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        let end = AtEnd(&progress.is_over);
        progress.wait("the start");
        changes(progress);
        drop(end);
        received.map(|it| it.join().expect("a receiver does not panic"))
    });
    for socket in &media {
        assert!(traffic::is_empty(socket), "media has arrived");
    }
    Arrived(arrived)
}

impl Arrived {
    /// Returns the number of datagrams of each gap.
    fn gaps(&self) -> [Vec<u32>; 2] {
        [0, 1].map(|family| {
            let mut numbers = self.0[family].clone();
            numbers.sort_unstable();
            let lost = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1);
            lost.filter(|lost| *lost > 0).collect()
        })
    }

    /// Returns the number of datagrams that arrived behind a later one: by the gateway that has just given up the address, while that one
    /// came by the other.
    fn late(&self) -> [usize; 2] {
        [0, 1].map(|family| {
            let mut last = 0;
            let is_late = |number: &&u32| {
                last = last.max(**number);
                **number < last
            };
            self.0[family].iter().filter(is_late).count()
        })
    }
}

/// Packets that the filter of a gateway has dropped as media, after a look at what it lost: nothing.
#[track_caller]
fn dropped_media(member: &Member) -> u64 {
    let status = Status(member.status());
    assert_eq!(status.lost(), 0, "{}: {}", member.host.name, status.0);
    status.dropped("media")
}

#[test]
fn a_failover_loses_what_vrrp_takes_and_no_media_passes_at_any_moment() {
    in_sandbox(PROGRAMS, || {
        let pair = Pair::new("failover");
        let filters = pair.start_filters("divert = \"all\"");
        let [mut vrrp, _second] = pair.start_vrrp();
        assert!(!pair.second.is_master());
        let arrived = under_traffic(&pair, |progress| {
            assert_eq!(vrrp.terminate().code(), Some(0), "{}", vrrp.log());
            let stop = progress.wait("a stop of keepalived");
            assert!(pair.second.is_master());

            vrrp = pair.first.start_vrrp();
            pair.first.wait_until_master();
            poll("one master", || (!pair.second.is_master()).then_some(()));
            let back = progress.wait("its return");

            pair.outside.ip("link set first down");
            pair.second.wait_until_master();
            let cut = progress.wait("a link that goes down");
            assert!(!pair.first.is_master());
            println!(
                "traffic goes on {stop:?} after a stop, {back:?} after a return, {cut:?} after the cut was noticed"
            );
        });
        let gaps = arrived.gaps();
        let late = arrived.late();
        println!(
            "datagrams that were lost at once, of one a millisecond: {gaps:?}; that came late: {late:?}"
        );
        for (gaps, late) in gaps.iter().zip(late) {
            // On a busy machine one gateway forwards what it has while the other has begun.
            assert!(late < 500, "{late} come behind a later one");
            // Two times half a second, and some more on a busy machine.
            let lost: u32 = gaps.iter().sum();
            assert!(lost < 10_000, "{gaps:?}");
        }
        for member in [&pair.first, &pair.second] {
            assert!(dropped_media(member) > 0, "{}", member.host.name);
        }
        for mut filter in filters {
            assert_eq!(filter.terminate().code(), Some(0), "{}", filter.log());
        }
    });
}

fn is_answered(socket: &UdpSocket, payload: &[u8]) -> bool {
    // Nobody has the address for a moment.
    _ = socket.send(payload);
    socket.recv(&mut [0; 2_000]).is_ok()
}

/// Packets that the workers of a gateway have judged.
fn judged(member: &Member) -> u64 {
    let status = member.status();
    let workers = status["device"]["judged"].as_array().expect("a list");
    workers.iter().filter_map(serde_json::Value::as_u64).sum()
}

#[test]
fn the_other_gateway_looks_at_flows_again_and_knows_a_call_by_its_next_check() {
    in_sandbox(PROGRAMS, || {
        let pair = Pair::new("failover-memory");
        pair.echo(OFFICE, SERVICE);
        pair.echo(OFFICE, MEDIA);
        let _filters = pair.start_filters(ICE);
        let [mut vrrp, _second] = pair.start_vrrp();
        pair.wait_for_answer(OFFICE, SERVICE);
        let service = pair.socket_to(OFFICE, SERVICE);
        // nftables passes a flow in the kernel after 32 packets.
        assert!((0..40).all(|_| is_answered(&service, b"a service")));
        let call = pair.socket_to(OFFICE, MEDIA);
        assert!(!is_answered(&call, &CHECK));
        assert!(!is_answered(&call, b"what follows"));
        assert_eq!(Status(pair.second.status()).forwarded("default"), 0);
        let before = judged(&pair.second);

        assert_eq!(vrrp.terminate().code(), Some(0), "{}", vrrp.log());
        pair.second.wait_until_master();
        poll("the service", || {
            is_answered(&service, b"a service").then_some(())
        });
        let anew = judged(&pair.second);
        assert!(anew > before, "the flow that the first has cleared");
        assert!(Status(pair.second.status()).forwarded("default") > 0);
        assert!((0..100).all(|_| is_answered(&service, b"a service")));

        assert!(is_answered(&call, b"what follows"), "it has seen no check");
        // Its policy is loaded again for the addresses that it has taken over, which is the end of what it knows, too.
        poll("the call to be known", || {
            assert!(!is_answered(&call, &CHECK));
            (!is_answered(&call, b"what follows")).then_some(())
        });
        assert!(Status(pair.second.status()).dropped("media") >= 2);
    });
}

#[test]
fn a_standby_without_interfaces_of_the_vpn_is_ready_unless_the_policy_requires_one() {
    in_sandbox(PROGRAMS, || {
        let pair = Pair::new("failover-standby");
        pair.echo(OFFICE, HTTPS);
        // As where the VPN daemon runs on the master alone.
        pair.second.host.ip("link del tun0");
        let closed = "divert = \"all\"\non_failure = \"closed\"";
        let [_first, mut second] = pair.start_filters(closed);
        let [mut vrrp, _vrrp] = pair.start_vrrp();
        pair.wait_for_answer(OFFICE, HTTPS);
        assert_eq!(pair.second.ready().success(), "");
        let status = Status(pair.second.status());
        assert!(status.0["not_ready"].is_null(), "{}", status.0);
        assert_eq!(status.interfaces(), Vec::<&str>::new());

        under_traffic(&pair, |progress| {
            assert_eq!(vrrp.terminate().code(), Some(0), "{}", vrrp.log());
            pair.second.wait_until_master();
            // As `notify_master` starts the daemon.
            pair.second.bring_up_the_tunnel();
            progress.wait("the start of the VPN on the second");
        });
        assert!(dropped_media(&pair.second) > 0);

        pair.second.host.ip("link del tun0");
        pair.second
            .write_policy(&format!("{closed}\nrequire_interfaces = 1"));
        second.wait_for_log("no interface of the VPN (tun0) has been there for 1 s");
        let asked = pair.second.ready();
        assert_eq!(asked.code, Some(3), "{asked:?}");
        let said = "not ready: no interface of the VPN";
        assert!(asked.stdout.starts_with(said), "{asked:?}");
    });
}

#[test]
fn a_gateway_whose_filter_has_died_hands_the_address_over_and_takes_it_back() {
    in_ebpf_sandbox(PROGRAMS, || {
        let pair = Pair::new("failover-filter");
        let [filter, _second] = pair.start_filters("divert = \"all\"\non_failure = \"closed\"");
        let _vrrp = pair.start_vrrp();
        let arrived = under_traffic(&pair, |progress| {
            filter.signal("KILL");
            pair.second.wait_until_master();
            let handed = progress.wait("the end of a filter");
            let again = pair.first.start_filter("again.log");
            pair.first.wait_until_master();
            let back = progress.wait("its return");
            println!(
                "traffic goes on {handed:?} after the address was handed over, {back:?} after it came back"
            );
            assert_eq!(again.log().matches(" ERROR ").count(), 0, "{}", again.log());
        });
        println!(
            "datagrams that were lost at once, of one a millisecond: {:?}",
            arrived.gaps()
        );
        assert!(dropped_media(&pair.second) > 0);
    });
}

/// Starts a daemon of WireGuard with these settings of `wg set`.
fn wireguard(member: (&Host, &Folder), interface: &str, address: &str, settings: &str) -> Daemon {
    let (host, folder) = member;
    let mut command = Command::new("wireguard-go");
    command
        .args(["--foreground", interface])
        .env("LOG_LEVEL", "verbose");
    let log = folder.path(&format!("{interface}.log"));
    let mut daemon = Daemon::start(host, interface, log, &mut command);
    daemon.wait_for_log("UAPI listener started");
    let set = ["set", interface].into_iter().chain(settings.split(' '));
    host.run(Command::new("wg").args(set)).success();
    host.ip(&format!(
        "address add {address} dev {interface}\nlink set {interface} up\n"
    ));
    daemon
}

/// Makes a key; returns the path of its file, and the public key.
fn key(folder: &Folder, name: &str) -> (String, String) {
    let private = run(Command::new("wg").arg("genkey")).success();
    let path = folder.write(name, private);
    let public = run(Command::new("sh").args(["-c", &format!("wg pubkey < '{path}'")])).success();
    (path, public.trim().to_owned())
}

/// The other gateway has no session with the client, which waits some 15 s for answers before it begins another (Donenfeld, mailing list of
/// WireGuard, 2 January 2019: "~ 15 seconds to recover").
const HANDSHAKE: Duration = Duration::from_secs(60);

#[test]
fn a_client_of_wireguard_goes_on_by_the_other_gateway_after_its_own_handshake() {
    in_ebpf_sandbox(&["keepalived", "wireguard-go", "wg"], || {
        let pair = Pair::new("failover-wireguard");
        for host in [&pair.client, &pair.first.host, &pair.second.host] {
            host.ip("link del tun0");
        }
        let folder = Folder::new("failover-wireguard-client");
        // Both gateways have one key, so they are one to the client.
        let (gateway, client) = (key(&folder, "gateway"), key(&folder, "client"));
        let server = format!(
            "private-key {} listen-port 51820 peer {} allowed-ips 172.16.1.10/32",
            gateway.0, client.1
        );
        let _servers = [(&pair.first, "wg1"), (&pair.second, "wg2")].map(|(member, interface)| {
            member.keep_wireguard_at_the_address();
            let member = (&member.host, &member.folder);
            wireguard(member, interface, "172.16.1.1/24", &server)
        });
        let settings = format!(
            "private-key {} peer {} endpoint 192.0.2.1:51820 allowed-ips 10.0.0.0/8",
            client.0, gateway.1
        );
        let _client = wireguard((&pair.client, &folder), "wg0", "172.16.1.10/24", &settings);
        pair.client.ip("route add 10.0.0.0/8 dev wg0");
        pair.echo(OFFICE, HTTPS);
        let address = OFFICE.parse().expect("an address");
        let media = traffic::udp(&pair.corporate, address, MEDIA);

        let filters = [&pair.first, &pair.second].map(|member| {
            member.write_policy("divert = \"all\"");
            let path = member.folder.path("policy.toml");
            let policy = fs::read_to_string(&path).expect("it was just written");
            member
                .folder
                .write("policy.toml", policy.replace("\"tun0\"", "\"wg*\""));
            member.start_filter("gateway.log")
        });
        let [mut vrrp, _second] = pair.start_vrrp();
        let (service, call) = (pair.socket_to(OFFICE, HTTPS), pair.socket_to(OFFICE, MEDIA));
        let waits = |member: &Member| {
            let start = Instant::now();
            while !is_answered(&service, b"a service") {
                assert!(start.elapsed() < HANDSHAKE, "{}", member.host.name);
                call.send(&[7; 160]).expect("a route");
            }
            call.send(&[7; 160]).expect("a route");
            assert!(is_answered(&service, b"a service"));
            start.elapsed()
        };
        waits(&pair.first);
        assert!(dropped_media(&pair.first) > 0);
        assert_eq!(vrrp.terminate().code(), Some(0), "{}", vrrp.log());
        pair.second.wait_until_master();
        println!(
            "the client goes on {:?} after the address was taken over",
            waits(&pair.second)
        );
        assert!(dropped_media(&pair.second) > 0);
        assert!(traffic::is_empty(&media), "media has arrived");
        for mut filter in filters {
            assert_eq!(filter.terminate().code(), Some(0), "{}", filter.log());
        }
    });
}
