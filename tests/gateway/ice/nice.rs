//! Calls of libnice's agents, in three of its modes, by UDP and by ICE over TCP: as other programs and Microsoft's clients send them.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::site::filter::Filter;
use crate::site::openvpn::OpenVpn;
use crate::site::{
    CLIENT, DualStack, EDGE_INSIDE, EDGE_PUBLIC, Family, HOME, Host, OFFICE, Site, Translation, Vpn,
};
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
}

/// A call: the mode and the protocol of its agents, and the outcomes of the caller and of the called party.
#[derive(Debug)]
struct NiceCall {
    mode: &'static str,
    protocol: &'static str,
    ends: [Outcome; 2],
}

impl NiceCall {
    /// Asserts that voice arrived, and that the selected pairs join addresses of these two hosts, the caller's end first. By
    /// libnice's account the pair of one party is not always ready: then it sends nothing, and over TCP may have no pair.
    #[track_caller]
    fn assert_between(&self, hosts: [DualStack; 2]) {
        for (end, [own, peer]) in self.ends.iter().zip([hosts, [hosts[1], hosts[0]]]) {
            let Some(pair) = &end.pair else {
                assert_eq!(self.protocol, "tcp", "{self:?}");
                continue;
            };
            let addresses = pair.each_ref().map(|(_, address)| *address);
            let joined = Family::BOTH.map(|family| [own.of(family), peer.of(family)]);
            assert!(joined.contains(&addresses), "{self:?}");
        }
        assert!(self.is_connected(), "{self:?}");
        let heard = self.ends.iter().any(|it| it.received >= SOME);
        assert!(heard, "{self:?}");
    }

    /// Returns `true` if a party selected a pair.
    fn is_connected(&self) -> bool {
        self.ends.iter().any(|it| it.pair.is_some())
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
        for (called, host) in [(office(site), OFFICE), (client(site, 1), CLIENT[1])] {
            let before = media_in_tunnel(site);
            let calls = calls(site, &[client(site, 0), called], Relay::None);
            let packets = media_in_tunnel(site) - before;
            for call in &calls {
                call.assert_between([CLIENT[0], host]);
            }
            // All that clients sent by UDP, and the office's agents or the other client have received.
            let by_udp = calls.iter().filter(|it| it.protocol == "udp");
            let received = by_udp.map(|it| {
                let from_client = it.ends[1].received;
                from_client + usize::from(host == CLIENT[1]) * it.ends[0].received
            });
            let received = received.sum::<usize>();
            assert!(packets >= received as u64, "{packets} of {received}");
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
                // From home to the address that the Edge relays for the office.
                call.assert_between([HOME[0], EDGE_PUBLIC]);
                let ends = call.ends.iter().flat_map(|it| it.pair.iter().flatten());
                let relay = IpAddr::V4(EDGE_PUBLIC.v4);
                let mut relayed = ends.filter(|(_, address)| *address == relay);
                assert!(relayed.all(|(kind, _)| kind == "relay"), "{call:?}");
            } else {
                call.assert_silent();
            }
        }
        assert!(filter.status().dropped("media") > 0);

        for call in calls(site, &[client(site, 0), client(site, 1)], Relay::None) {
            // From home to home; firewalls there may not let a connection in.
            if call.protocol == "udp" || call.is_connected() {
                call.assert_between(HOME);
            } else {
                call.assert_silent();
            }
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
                call.assert_between([CLIENT[0], OFFICE]);
            } else {
                call.assert_silent();
            }
        }
        filter.stop();
    });
}
