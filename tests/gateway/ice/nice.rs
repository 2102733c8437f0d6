//! Calls of libnice's agents, in three of its modes, by UDP and by ICE over TCP: as other programs and Microsoft's clients send them.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::site::filter::Filter;
use crate::site::openvpn::OpenVpn;
use crate::site::{CLIENT, EDGE_INSIDE, EDGE_PUBLIC, Family, Host, OFFICE, Site, Translation, Vpn};
use crate::support::{is_installed, project, run, skip};

use super::media_in_tunnel;

/// The modes that an agent may have: RFC 5245, and those of Live Messenger 2009 and Office Communicator 2007 R2, whose checks have
/// the marks of Microsoft.
const MODES: [&str; 3] = ["rfc5245", "wlm2009", "oc2007r2"];
const PROTOCOLS: [&str; 2] = ["udp", "tcp"];

/// Of the 150 packets that an agent sends, so many arrive: a relay may not let the first ones pass.
const SOME: usize = 25;

/// The last line that a party of a call prints.
#[derive(Debug)]
struct Outcome {
    /// The selected pair: type and address of the local candidate, then of the remote one.
    pair: Option<[(String, IpAddr); 2]>,
    received: usize,
}

impl Outcome {
    #[track_caller]
    fn of(output: &str) -> Self {
        let mut outcome = Self {
            pair: None,
            received: 0,
        };
        for line in output.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["pair", local, here, remote, there] => {
                    let end = |kind: &str, address: &str| {
                        (kind.to_owned(), address.parse().expect("an address"))
                    };
                    outcome.pair = Some([end(local, here), end(remote, there)]);
                }
                ["received", packets] => outcome.received = packets.parse().expect("a number"),
                _ => panic!("{output}"),
            }
        }
        outcome
    }

    /// Returns `true` if both ends are addresses of the tunnel or of the corporate network.
    fn is_in_tunnel(&self) -> bool {
        let inner = [CLIENT[0], CLIENT[1], OFFICE];
        let is_inner = |(_, address): &(String, IpAddr)| {
            inner
                .iter()
                .any(|it| Family::BOTH.iter().any(|family| it.of(*family) == *address))
        };
        self.pair
            .as_ref()
            .is_some_and(|pair| pair.iter().all(is_inner))
    }
}

/// A call: the mode and the protocol of its agents, and the outcomes of the caller and of the called party.
#[derive(Debug)]
struct NiceCall {
    mode: &'static str,
    protocol: &'static str,
    ends: [Outcome; 2],
}

impl NiceCall {
    /// Returns `true` if voice has arrived. One way is enough: by libnice's account the other party's pair is not always ready.
    fn is_connected(&self) -> bool {
        self.ends.iter().any(|it| it.received >= SOME)
    }

    fn is_in_tunnel(&self) -> bool {
        self.ends.iter().any(Outcome::is_in_tunnel)
    }

    /// Asserts that neither party received anything or selected a pair.
    #[track_caller]
    fn assert_silent(&self) {
        let is_silent = |it: &Outcome| it.received == 0 && it.pair.is_none();
        assert!(self.ends.iter().all(is_silent), "{self:?}");
    }
}

/// A party: a host, and the leg of the Edge that it reaches.
type Party<'a> = (&'a Host, String);

/// The relay that the agents know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relay {
    None,
    /// The Edge, to those that follow RFC 5245 and use UDP: coturn does not know how others sign in.
    Edge,
}

/// Makes a call of each mode and protocol, all at once.
fn calls(site: &Site, parties: &[Party; 2], relay: Relay) -> Vec<NiceCall> {
    let program = site.folder.path("nice");
    let call = |mode, protocol| {
        let agent = |own: usize| {
            let (host, edge) = &parties[own];
            // Files of each call are its own: a description of another call would be taken for the peer's.
            let call = parties.each_ref().map(|(host, _)| host.name).concat();
            let file = |role| {
                site.folder
                    .path(&format!("{call}-{mode}-{protocol}-{role}"))
            };
            let roles = ["caller", "called"];
            let mut command = Command::new(&program);
            command.args([mode, protocol, roles[own]]);
            command.args([file(roles[own]), file(roles[1 - own])]);
            if (mode, protocol, relay) == ("rfc5245", "udp", Relay::Edge) {
                command.arg(edge);
            }
            Outcome::of(&host.run(&mut command).success())
        };
        thread::scope(|scope| {
            let called = scope.spawn(|| agent(1));
            let caller = agent(0);
            let called = called.join().expect("an agent that ends");
            NiceCall {
                mode,
                protocol,
                ends: [caller, called],
            }
        })
    };
    let call = &call;
    let calls = thread::scope(|scope| {
        let each = |mode| PROTOCOLS.map(|protocol| scope.spawn(move || call(mode, protocol)));
        let started = MODES.map(each);
        let ended = started.into_iter().flatten().map(|it| it.join());
        ended
            .map(|it| it.expect("a call that ends"))
            .collect::<Vec<_>>()
    });
    for call in &calls {
        println!("{call:?}");
    }
    calls
}

/// Runs `body` on a site where the agent is built.
fn on_site_with_agents(body: impl FnOnce(&Site)) {
    let test = crate::support::test_of(&body);
    if !["cc", "pkg-config"].iter().all(is_installed) {
        return;
    }
    if !Path::new("/usr/include/nice/agent.h").exists() {
        return skip("the headers of libnice are not installed");
    }
    super::on_site_of(test, Translation::KeepsPorts, |site| {
        let flags = run(Command::new("pkg-config").args(["--cflags", "--libs", "nice"])).success();
        let mut build = Command::new("cc");
        build.args(["-Wall", "-Werror", "-o", &site.folder.path("nice")]);
        build.arg(project("tests/gateway/ice/nice.c"));
        run(build.args(flags.split_whitespace())).success();
        body(site);
    });
}

fn client(site: &Site, number: usize) -> Party<'_> {
    (&site.clients[number], EDGE_PUBLIC.v4.to_string())
}

fn office(site: &Site) -> Party<'_> {
    (&site.office, EDGE_INSIDE.v4.to_string())
}

#[test]
fn agents_of_libnice_use_the_tunnel_without_a_filter() {
    on_site_with_agents(|site| {
        for called in [office(site), client(site, 1)] {
            let before = media_in_tunnel(site);
            for call in calls(site, &[client(site, 0), called], Relay::None) {
                assert!(call.is_connected(), "{call:?}");
                assert!(call.is_in_tunnel(), "{call:?}");
            }
            let packets = media_in_tunnel(site) - before;
            assert!(packets >= SOME as u64, "{packets} by UDP");
        }
    });
}

#[test]
fn agents_of_libnice_leave_the_tunnel_where_their_checks_are_recognized() {
    on_site_with_agents(|site| {
        let filter = Filter::recognizing("ice", site, OpenVpn::INTERFACES, "policy");
        for call in calls(site, &[client(site, 0), office(site)], Relay::Edge) {
            // The others know no relay.
            if (call.mode, call.protocol) == ("rfc5245", "udp") {
                assert!(!call.is_in_tunnel() && call.is_connected(), "{call:?}");
                let mut selected = call.ends.iter().flat_map(|it| it.pair.iter().flatten());
                assert!(selected.any(|(kind, _)| kind == "relay"), "{call:?}");
            } else {
                call.assert_silent();
            }
        }
        assert!(filter.status().dropped("media") > 0);

        // From home to home at best.
        for call in calls(site, &[client(site, 0), client(site, 1)], Relay::None) {
            assert!(!call.is_in_tunnel(), "{call:?}");
            assert!(call.protocol == "tcp" || call.is_connected(), "{call:?}");
        }
        assert!(filter.status().dropped("hairpin") > 0);
        assert_eq!(media_in_tunnel(site), 0);
        filter.stop();
    });
}

#[test]
fn only_microsofts_checks_are_recognized_where_the_policy_says_so() {
    on_site_with_agents(|site| {
        let filter = Filter::recognizing("ice-microsoft", site, OpenVpn::INTERFACES, "policy");
        for call in calls(site, &[client(site, 0), office(site)], Relay::None) {
            if call.mode == "rfc5245" {
                assert!(call.is_connected() && call.is_in_tunnel(), "{call:?}");
            } else {
                call.assert_silent();
            }
        }
        filter.stop();
    });
}
