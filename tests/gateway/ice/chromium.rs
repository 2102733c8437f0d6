//! Calls of two browsers: Chromium without a window, with a page of ours that makes a WebRTC call, an artificial microphone, and
//! the Edge as its STUN and TURN server.
//!
//! A call begins without a filter, through the tunnel, and the filter starts meanwhile. The page does what such pages do: it asks
//! for other paths (an ICE restart) where Chromium reports that the one in use has failed. A second call begins beside the filter.

use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use offramp::render::{Options, render, settings};
use serde_json::{Value, json};

use crate::site::filter::Filter;
use crate::site::openvpn::OpenVpn;
use crate::site::{
    CLIENT, Daemon, Diversion, DualStack, EDGE_PUBLIC, Family, HOME, Host, OFFICE, Site,
    Translation, Vpn, poll,
};
use crate::support::{is_installed, run, test_of};

use super::signaling::Signaling;
use super::{IPV4, PASSWORD, Party, USER, client, office};

/// A second of voice: packets of 20 ms.
const SECOND: u64 = 50;

/// Rules that count RTP and RTCP (version 2, RFC 3550 §5.1) that leave the concentrator, from clients and to them. What is
/// diverted to the filter does not leave.
const WITNESS: &str = "
    table inet calls {
        counter from_clients { }
        counter to_clients { }
        chain leaving {
            type filter hook postrouting priority raw;
            oifname != { corp, tun0 } accept
            udp dport < 1024 accept
            meta l4proto != udp accept
            @th,64,8 & 0xc0 != 0x80 accept
            ip saddr 172.16.1.0/24 counter name from_clients
            ip6 saddr fd00:172:16:1::/64 counter name from_clients
            ip daddr 172.16.1.0/24 counter name to_clients
            ip6 daddr fd00:172:16:1::/64 counter name to_clients
        }
    }";

/// Returns the media packets that the concentrator has forwarded so far, from clients and to them.
fn forwarded_media(site: &Site) -> [u64; 2] {
    let mut list = Command::new("nft");
    list.args(["-j", "list", "counters", "table", "inet", "calls"]);
    let listed = site.concentrator.run(&mut list).json();
    let objects = listed["nftables"].as_array().expect("a list");
    ["from_clients", "to_clients"].map(|name| {
        let mut counters = objects.iter().map(|object| &object["counter"]);
        let counter = counters.find(|it| it["name"] == name);
        let packets = counter.and_then(|it| it["packets"].as_u64());
        packets.expect("a counter of packets")
    })
}

/// A candidate of a call: its type and its address, if the browser tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    kind: String,
    address: Option<IpAddr>,
}

impl End {
    fn of(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default();
        Self {
            kind: text("kind").to_owned(),
            address: text("address").parse().ok(),
        }
    }

    fn is_at(&self, host: DualStack) -> bool {
        Family::BOTH
            .iter()
            .any(|family| self.address == Some(host.of(*family)))
    }

    /// Returns `true` if it is an address of the tunnel or of the corporate network.
    fn is_inner(&self) -> bool {
        [CLIENT[0], CLIENT[1], OFFICE]
            .iter()
            .any(|it| self.is_at(*it))
    }
}

/// A pair of candidates, the page's own one first.
type Path = [End; 2];

fn path_of(pair: &Value) -> Path {
    [End::of(&pair[0]), End::of(&pair[1])]
}

/// The latest report of a page about its call.
#[derive(Debug, Clone, Default)]
struct State {
    call: u64,
    selected: Option<Path>,
    /// Pairs whose checks were answered.
    answered: Vec<Path>,
    received: u64,
    restarts: u64,
    /// The time at which voice was last seen to arrive, and the longest time without any before that.
    heard: Option<Instant>,
    silence: Duration,
}

impl State {
    fn take(&mut self, at: Instant, report: &Value) {
        assert!(report["error"].is_null(), "a page: {}", report["error"]);
        let number = |key: &str| report[key].as_u64().unwrap_or(0);
        if number("call") != self.call {
            *self = Self {
                call: number("call"),
                ..Self::default()
            };
        }
        if number("received") > self.received {
            if let Some(heard) = self.heard {
                self.silence = self.silence.max(at - heard);
            }
            self.heard = Some(at);
        }
        self.received = number("received");
        self.restarts = number("restarts");
        let selected = &report["selected"];
        self.selected = (!selected.is_null()).then(|| path_of(selected));
        let answered = report["answered"].as_array().into_iter().flatten();
        self.answered = answered.map(path_of).collect();
    }
}

/// Two browsers, each in its party's host.
struct Browsers<'a> {
    parties: [Party<'a>; 2],
    signaling: Signaling,
    states: [State; 2],
    calls: u64,
    _processes: [Daemon; 2],
}

impl<'a> Browsers<'a> {
    /// Starts them, and waits until their pages are ready for calls.
    #[track_caller]
    fn start(site: &Site, parties: [Party<'a>; 2]) -> Self {
        let signaling = Signaling::default();
        let mut processes = [0, 1].map(|number| {
            let host = parties[number].host;
            let port = signaling.serve(host, number);
            browser(site, host, port)
        });
        for (number, process) in processes.iter_mut().enumerate() {
            process.wait_until("the page is ready", |_| {
                let mut reports = signaling.reports(number).into_iter();
                reports.any(|(_, report)| report["ready"] == true)
            });
        }
        Self {
            parties,
            signaling,
            states: Default::default(),
            calls: 0,
            _processes: processes,
        }
    }

    /// Begins a call of the first party to the second; a call before it ends.
    fn call(&mut self) {
        self.calls += 1;
        for (number, role) in [(1, "called"), (0, "caller")] {
            let call = json!({
                "number": self.calls, "role": role,
                "edge": self.parties[number].edge, "username": USER, "credential": PASSWORD,
            });
            self.signaling.send(number, json!({ "call": call }));
        }
    }

    /// Returns the states of this call at both parties.
    #[track_caller]
    fn states(&mut self) -> &[State; 2] {
        for (number, state) in self.states.iter_mut().enumerate() {
            for (at, report) in self.signaling.reports(number) {
                state.take(at, &report);
            }
        }
        &self.states
    }

    /// Waits until both parties use a path that `is_meant`, and both have received a second of voice meanwhile.
    #[track_caller]
    fn wait_for_voice(&mut self, what: &str, is_meant: impl Fn(&Path) -> bool) {
        let call = self.calls;
        let mut since = None;
        poll(what, || {
            let states = self.states();
            let selected = states.each_ref().map(|it| it.selected.clone());
            let meant = |it: &State| it.call == call && it.selected.as_ref().is_some_and(&is_meant);
            if !states.iter().all(meant) {
                since = None;
                return None;
            }
            let received = states.each_ref().map(|it| it.received);
            let (paths, before) = since.get_or_insert((selected.clone(), received));
            if *paths != selected {
                since = None;
                return None;
            }
            let has_heard = |number: usize| received[number] >= before[number] + SECOND;
            [0, 1].into_iter().all(has_heard).then_some(())
        });
        for (party, state) in self.parties.iter().zip(&self.states) {
            println!("  {}: {state:?}", party.host.name);
        }
    }
}

/// Starts a browser that opens the page at `port`.
fn browser(site: &Site, host: &Host, port: u16) -> Daemon {
    // The sandbox's own file system: quick, and the paths of sockets there are short.
    let home = format!("/run/{}", host.name);
    std::fs::create_dir(&home).expect("a folder of the sandbox");
    let mut command = Command::new("chromium");
    command.args(["--headless=new", "--no-sandbox", "--disable-gpu"]);
    command.args(["--no-first-run", "--disable-dev-shm-usage", "--mute-audio"]);
    command.args([
        "--disable-background-networking",
        "--disable-component-update",
    ]);
    // Asks no server for names.
    command.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost");
    // A microphone that everybody may use, and addresses in candidates as Teams and Skype for Business have them.
    command.args([
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ]);
    command.arg("--disable-features=WebRtcHideLocalIpsWithMdns");
    command.arg(format!("--user-data-dir={home}"));
    command.arg(format!("http://localhost:{port}/"));
    command.env("HOME", &home).env("TMPDIR", &home);
    let log = site.folder.path(&format!("chromium-{}.log", host.name));
    Daemon::start(host, &format!("chromium, {}", host.name), log, &mut command)
}

/// Does `work`, and returns when media was last forwarded in the tunnel meanwhile, from clients and to them, if at all.
fn last_media(site: &Site, work: impl FnOnce()) -> [Option<Instant>; 2] {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (mut before, mut last) = (forwarded_media(site), [None; 2]);
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
                let (at, packets) = (Instant::now(), forwarded_media(site));
                for (last, (before, packets)) in last.iter_mut().zip(before.iter().zip(packets)) {
                    if packets > *before {
                        *last = Some(at);
                    }
                }
                before = packets;
            }
            last
        });
        let over = Over(&is_over);
        work();
        drop(over);
        watching.join().expect("it only counts")
    })
}

/// Ends the watching when it is dropped, by a panic, too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Differences between calls to the office and to another client.
struct Arrangement {
    /// The addresses of the parties in the tunnel and at the office.
    inside: [DualStack; 2],
    /// Returns `true` for a path that such a call may take outside of the tunnel.
    is_outside: fn(&Path) -> bool,
    /// The reason of the filter's verdicts.
    reason: &'static str,
}

impl Arrangement {
    /// Returns `true` for the direct path between both hosts, as either of them sees it.
    fn is_in_tunnel(&self, path: &Path) -> bool {
        let [one, other] = self.inside;
        let is_between = |a, b| path[0].is_at(a) && path[1].is_at(b);
        let is_direct = path.iter().all(|it| it.kind == "host");
        is_direct && (is_between(one, other) || is_between(other, one))
    }
}

/// Makes a call through the tunnel, which a filter that starts meanwhile takes out of it, and then another one.
fn leave_the_tunnel(site: &Site, parties: [Party; 2], arrangement: &Arrangement) {
    site.concentrator.nft(WITNESS);
    let start = Instant::now();
    let mut browsers = Browsers::start(site, parties);
    println!("browsers: {:.1?}", start.elapsed());

    browsers.call();
    browsers.wait_for_voice("a call in the tunnel", |it| arrangement.is_in_tunnel(it));
    let before = forwarded_media(site);
    assert!(before.iter().all(|it| *it >= SECOND), "{before:?} packets");

    let filter = Filter::recognizing("ice", site, OpenVpn::INTERFACES, "policy");
    let ready = Instant::now();
    let [from_clients, to_clients] = last_media(site, || {
        browsers.wait_for_voice("the call outside the tunnel", arrangement.is_outside);
    });
    let silence = browsers.states.each_ref().map(|it| it.silence);
    println!(
        "{:?}: media last forwarded from clients {:.1?}, to clients {:.1?} after the start; \
         silence of {silence:.1?}, {} restarts",
        Diversion::here(),
        from_clients.map(|it| it - ready),
        to_clients.map(|it| it - ready),
        browsers.states[0].restarts
    );
    // The next check of the flow betrays it, within 2.5 s; a browser that gets no processor sends it late.
    if let Some(last) = from_clients {
        assert!(last - ready < Duration::from_secs(6), "{:?}", last - ready);
    }

    let before = forwarded_media(site);
    browsers.call();
    browsers.wait_for_voice("another call, outside the tunnel", arrangement.is_outside);
    for state in browsers.states() {
        let is_answered = |path: &&Path| path.iter().all(End::is_inner);
        assert_eq!(state.answered.iter().find(is_answered), None, "{state:?}");
    }
    assert_eq!(forwarded_media(site), before, "no media in the tunnel");
    let status = filter.status();
    assert!(status.dropped(arrangement.reason) > 0, "{status:?}");
    filter.stop();
}

/// Runs `body` on a site where browsers are installed.
fn on_site_with_browsers(body: impl FnOnce(&Site)) {
    let test = test_of(&body);
    if is_installed("chromium") {
        super::on_site_of(test, Translation::KeepsPorts, body);
    }
}

#[test]
fn a_browser_that_calls_the_office_takes_the_relay_where_its_checks_are_recognized() {
    on_site_with_browsers(|site| {
        let parties = [client(site, 0, IPV4), office(site, IPV4)];
        let arrangement = Arrangement {
            inside: [CLIENT[0], OFFICE],
            // From home to an address that the Edge relays.
            is_outside: |path| {
                let is_relayed = |it: &End| it.kind == "relay" && it.is_at(EDGE_PUBLIC);
                path.iter().any(is_relayed) && !path.iter().any(End::is_inner)
            },
            reason: "media",
        };
        leave_the_tunnel(site, parties, &arrangement);
    });
}

#[test]
fn browsers_of_two_clients_talk_from_home_to_home_where_their_checks_are_recognized() {
    on_site_with_browsers(|site| {
        let parties = [client(site, 0, IPV4), client(site, 1, IPV4)];
        let arrangement = Arrangement {
            inside: CLIENT,
            is_outside: |path| {
                HOME.iter().any(|home| path[1].is_at(*home)) && !path.iter().any(End::is_inner)
            },
            reason: "hairpin",
        };
        leave_the_tunnel(site, parties, &arrangement);
    });
}

/// Writes the settings of `render chrome-json` where Debian's Chromium looks for them, in the sandbox alone.
fn manage_browsers() {
    let mut mount = Command::new("mount");
    run(mount.args(["-t", "tmpfs", "tmpfs", "/etc/chromium"])).success();
    let policy =
        "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n";
    let (policy, _) =
        offramp::policy::parse("site.toml", policy.as_bytes()).expect("a good policy");
    let target = &settings::browser::chrome_json::TARGET;
    let text = render(target, &policy, &Options::default())
        .expect("a split tunnel")
        .text;
    let folder = "/etc/chromium/policies/managed";
    std::fs::create_dir_all(folder).expect("a folder of the sandbox");
    std::fs::write(format!("{folder}/{}", target.file), text).expect("a file of the sandbox");
}

/// Without the settings such a call takes the tunnel where no filter stands: `leave_the_tunnel` begins with one.
#[test]
fn managed_browsers_of_two_clients_offer_no_address_of_the_tunnel_and_talk_from_home_to_home() {
    on_site_with_browsers(|site| {
        manage_browsers();
        site.concentrator.nft(WITNESS);
        let parties = [client(site, 0, IPV4), client(site, 1, IPV4)];
        let mut browsers = Browsers::start(site, parties);
        browsers.call();
        browsers.wait_for_voice("a call outside the tunnel", |path| {
            !path.iter().any(End::is_inner)
        });
        for state in browsers.states() {
            let is_inner = |path: &&Path| path.iter().any(End::is_inner);
            assert_eq!(state.answered.iter().find(is_inner), None, "{state:?}");
        }
        assert_eq!(forwarded_media(site), [0, 0], "no media in the tunnel");
    });
}
