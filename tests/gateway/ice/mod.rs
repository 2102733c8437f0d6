//! Real calls beside `offramp run`: two ICE agents, OpenVPN between them, and coturn as the A/V Edge.
//!
//! Tests the article's claims: without the filter the best path of a call is the tunnel; with it the call takes the
//! relay of the Edge, or goes from home to home, and media arrives in both directions.
//!
//! The prediction for the same policy (`verify::call`) must match the call: the pair that is nominated,
//! and the outcome of every other pair that both agents know.
//!
//! The agents nominate once, after all checks have ended, the valid pair of the highest priority, as the
//! article's clients do: an early nomination might hit the relay by chance. `--nocapture` prints their tables.

mod agent;
mod chromium;
mod nice;
mod signaling;

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use offramp::filter::{CompiledPolicy, Generation};
use offramp::plan::RoutePlan;
use offramp::verify::call::{self, CandidateKind, GatewayMode, Registration, Side, predict};
use tokio::sync::{Barrier, oneshot};
use webrtc_ice::agent::agent_stats::CandidateStats;
use webrtc_ice::candidate::{CandidatePairState, CandidateType};
use webrtc_ice::network_type::NetworkType;

use crate::site::filter::{self, Filter};
use crate::site::openvpn::OpenVpn;
use crate::site::{
    CLIENT, Daemon, EDGE_INSIDE, EDGE_PUBLIC, Family, HOME, Host, OFFICE, Site, Translation, Vpn,
    in_sandbox_of,
};
use crate::support::test_of;

use agent::{Negotiation, Role, take_part};

/// A voice packet of 20 ms: RTP version 2, payload type 0 (RFC 3550 §5.1, RFC 3551 §6), and a second's worth of them.
const VOICE: usize = 172;
const RTP: [u8; 2] = [0x80, 0x00];
const PACKETS: u16 = 50;

/// The delay before an agent nominates. A check without an answer is given up after [`CHECKS`] and one more of
/// [`CHECK_INTERVAL`]; [`Call::assert_settled`] asserts that this was long enough.
const SETTLED: Duration = Duration::from_secs(4);
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
const CHECKS: u16 = 7;

#[test]
fn a_client_calls_the_office_through_the_tunnel_without_a_filter() {
    on_site(Translation::KeepsPorts, |site| {
        let call = Call::between(site, client(site, 0, IPV4), office(site, IPV4));
        call.nominated(
            CLIENT[0].v4,
            CandidateType::Host,
            OFFICE.v4,
            CandidateType::Host,
        );
        // The answers leave by the same interface and are not counted.
        assert_eq!(call.in_tunnel, u64::from(PACKETS), "{call}");
        call.assert_predicted(question(Side::Internal, GatewayMode::Open));
    });
}

#[test]
fn a_client_calls_the_office_by_relay_with_the_filter() {
    on_site(Translation::KeepsPorts, |site| {
        let filter = Filter::start(site, OpenVpn::INTERFACES, "policy");
        let call = Call::between(site, client(site, 0, IPV4), office(site, IPV4));
        // From home, outside the tunnel, to the addresses that the Edge relays for the office.
        call.assert_relayed();
        call.assert_outside_the_tunnel(&filter, "media");
        call.assert_predicted(question(Side::Internal, GatewayMode::Judging));
        filter.stop();
    });
}

#[test]
fn a_client_calls_the_office_by_relay_where_its_checks_are_recognized() {
    on_site(Translation::KeepsPorts, |site| {
        let filter = Filter::recognizing("ice", site, OpenVpn::INTERFACES, "policy");
        let call = Call::between(site, client(site, 0, IPV4), office(site, IPV4));
        // From home, outside the tunnel, to the addresses that the Edge relays for the office.
        call.assert_relayed();
        call.assert_outside_the_tunnel(&filter, "media");
        call.assert_predicted(question(Side::Internal, GatewayMode::Judging));
        filter.stop();
    });
}

#[test]
fn clients_call_each_other_through_the_tunnel_without_a_filter() {
    on_site(Translation::KeepsPorts, |site| {
        let call = Call::between(site, client(site, 0, IPV4), client(site, 1, IPV4));
        call.nominated(
            CLIENT[0].v4,
            CandidateType::Host,
            CLIENT[1].v4,
            CandidateType::Host,
        );
        assert_eq!(call.in_tunnel, 2 * u64::from(PACKETS), "{call}");
        call.assert_predicted(question(Side::Vpn, GatewayMode::Open));
    });
}

#[test]
fn clients_call_each_other_from_home_to_home_with_the_filter() {
    on_site(Translation::KeepsPorts, |site| {
        let filter = Filter::start(site, OpenVpn::INTERFACES, "policy");
        let call = Call::between(site, client(site, 0, IPV4), client(site, 1, IPV4));
        let (_, remote) = call.best();
        assert_eq!(remote.ip, HOME[1].v4.to_string(), "{call}");
        call.assert_outside_the_tunnel(&filter, "hairpin");
        call.assert_predicted(question(Side::Vpn, GatewayMode::Judging));
        filter.stop();
    });
}

#[test]
fn clients_call_each_other_from_home_to_home_where_their_checks_are_recognized() {
    on_site(Translation::KeepsPorts, |site| {
        let filter = Filter::recognizing("ice", site, OpenVpn::INTERFACES, "policy");
        let call = Call::between(site, client(site, 0, IPV4), client(site, 1, IPV4));
        let (_, remote) = call.best();
        assert_eq!(remote.ip, HOME[1].v4.to_string(), "{call}");
        call.assert_outside_the_tunnel(&filter, "hairpin");
        call.assert_predicted(question(Side::Vpn, GatewayMode::Judging));
        filter.stop();
    });
}

#[test]
fn clients_call_each_other_by_relay_where_their_homes_do_not_permit_more() {
    on_site(Translation::RandomPorts, |site| {
        let filter = Filter::start(site, OpenVpn::INTERFACES, "policy");
        let call = Call::between(site, client(site, 0, IPV4), client(site, 1, IPV4));
        call.assert_relayed();
        call.assert_outside_the_tunnel(&filter, "hairpin");
        call.assert_predicted(call::Call {
            translation: call::Translation::RandomPorts,
            ..question(Side::Vpn, GatewayMode::Judging)
        });
        filter.stop();
    });
}

#[test]
fn ipv6_takes_the_tunnel_too_without_a_filter() {
    on_site(Translation::KeepsPorts, |site| {
        let call = Call::between(site, client(site, 0, BOTH), office(site, BOTH));
        let is_valid = |family| {
            let inner = [CLIENT[0], OFFICE].map(|it| it.of(family).to_string());
            let mut valid = call
                .pairs
                .iter()
                .filter(|it| it.state == CandidatePairState::Succeeded);
            valid.any(|it| [&it.local.ip, &it.remote.ip] == [&inner[0], &inner[1]])
        };
        assert!(Family::BOTH.into_iter().all(is_valid), "{call}");
        assert_eq!(call.in_tunnel, u64::from(PACKETS), "{call}");
        call.assert_predicted(call::Call {
            family: None,
            ..question(Side::Internal, GatewayMode::Open)
        });
    });
}

#[test]
fn ipv6_is_no_way_around_the_filter() {
    on_site(Translation::KeepsPorts, |site| {
        let filter = Filter::start(site, OpenVpn::INTERFACES, "policy");
        let call = Call::between(site, client(site, 0, BOTH), office(site, BOTH));
        call.assert_relayed();
        call.assert_outside_the_tunnel(&filter, "media");
        call.assert_predicted(call::Call {
            family: None,
            ..question(Side::Internal, GatewayMode::Judging)
        });
        filter.stop();
    });
}

/// Runs `body` on a site with two clients of an OpenVPN and an A/V Edge.
fn on_site(translation: Translation, body: impl FnOnce(&Site)) {
    on_site_of(test_of(&body), translation, body);
}

/// Does the same for helpers that wrap a test's closure: `test` is the test's full name.
fn on_site_of(test: &str, translation: Translation, body: impl FnOnce(&Site)) {
    let programs = [OpenVpn::PROGRAMS, &["turnserver"]].concat();
    in_sandbox_of(test, &programs, || {
        let site = Site::new(test, translation);
        site.concentrator.nft(WITNESS);
        let mut vpn = OpenVpn::start(&site);
        vpn.connect(&site, 0);
        vpn.connect(&site, 1);
        let _edge = start_edge(&site);
        body(&site);
    });
}

/// Rules that count media from the tunnel, ahead of all others.
const WITNESS: &str = "
    table inet witness {
        counter media { }
        chain arriving {
            type filter hook prerouting priority raw - 10;
            iifname tun0 meta l4proto udp udp length 180 @th,64,16 0x8000 counter name media
        }
    }";

/// Starts the A/V Edge: a relay with a leg inside and a public one, whose relayed addresses are public.
fn start_edge(site: &Site) -> Daemon {
    let mut command = Command::new("turnserver");
    command
        .args([
            "-n",
            "--log-file",
            "stdout",
            "--no-cli",
            "--no-tls",
            "--no-dtls",
        ])
        .args(["--listening-ip", &EDGE_PUBLIC.v4.to_string()])
        .args(["--listening-ip", &EDGE_INSIDE.v4.to_string()])
        .args(["--relay-ip", &EDGE_PUBLIC.v4.to_string()])
        .args(["--min-port", "50000", "--max-port", "59999"])
        .args(["--lt-cred-mech", "--realm", "contoso.com"])
        .args(["--user", &format!("{USER}:{PASSWORD}")])
        .args(["--userdb", &site.folder.path("turndb")])
        .args(["--pidfile", "/run/turnserver.pid"]);
    let log = site.folder.path("turnserver.log");
    let mut edge = Daemon::start(&site.edge, "turnserver", log, &mut command);
    for address in [EDGE_PUBLIC, EDGE_INSIDE] {
        let socket = format!("{}:3478", address.v4);
        edge.wait_until("it listens", |_| site.edge.listens("--udp", &socket));
    }
    edge
}

const USER: &str = "user";
const PASSWORD: &str = "password";

/// A party of a call.
#[derive(Clone, Copy)]
struct Party<'a> {
    host: &'a Host,
    /// The leg of the Edge that it reaches.
    edge: IpAddr,
    networks: &'a [NetworkType],
}

const IPV4: &[NetworkType] = &[NetworkType::Udp4];
const BOTH: &[NetworkType] = &[NetworkType::Udp4, NetworkType::Udp6];

/// Returns a VPN client. As it registers at the Access Edge, it gets the public leg.
fn client<'a>(site: &'a Site, number: usize, networks: &'a [NetworkType]) -> Party<'a> {
    Party {
        host: &site.clients[number],
        edge: EDGE_PUBLIC.v4.into(),
        networks,
    }
}

/// Returns a client of the corporate network.
fn office<'a>(site: &'a Site, networks: &'a [NetworkType]) -> Party<'a> {
    Party {
        host: &site.office,
        edge: EDGE_INSIDE.v4.into(),
        networks,
    }
}

/// Returns the number of media packets that have come out of the tunnel at the concentrator.
fn media_in_tunnel(site: &Site) -> u64 {
    let mut list = Command::new("nft");
    list.args(["-j", "list", "counter", "inet", "witness", "media"]);
    let listed = site.concentrator.run(&mut list).json();
    let objects = listed["nftables"].as_array().expect("a list");
    let counter = objects.iter().find_map(|object| object.get("counter"));
    let packets = counter.and_then(|counter| counter["packets"].as_u64());
    packets.expect("a counter of packets")
}

/// The result of a call, from the caller's view.
struct Call {
    pairs: Vec<Pair>,
    /// Media packets that came out of the tunnel.
    in_tunnel: u64,
}

/// Returns `true` if a candidate is an address of the tunnel or of the corporate network.
fn is_inner(candidate: &CandidateStats) -> bool {
    let inner = [CLIENT[0], CLIENT[1], OFFICE];
    let mut addresses = inner
        .iter()
        .flat_map(|it| Family::BOTH.map(|family| it.of(family)));
    addresses.any(|address| address.to_string() == candidate.ip)
}

/// A pair of candidates.
struct Pair {
    local: CandidateStats,
    remote: CandidateStats,
    state: CandidatePairState,
    nominated: bool,
}

impl Pair {
    /// Returns the pair's priority by RFC 8445 §6.1.2.3; the caller controls.
    fn priority(&self) -> u64 {
        let (controlling, controlled) = (self.local.priority, self.remote.priority);
        let (low, high) = (controlling.min(controlled), controlling.max(controlled));
        (u64::from(low) << 32) + 2 * u64::from(high) + u64::from(controlling > controlled)
    }
}

impl Call {
    /// Makes the call, and asserts that its media arrives both ways.
    #[track_caller]
    fn between(site: &Site, caller: Party, called: Party) -> Self {
        let (to_called, from_caller) = oneshot::channel();
        let (to_caller, from_called) = oneshot::channel();
        let end = Barrier::new(2);
        let pairs = thread::scope(|scope| {
            let called = scope.spawn(|| {
                let answer = Negotiation {
                    role: Role::Called,
                    send: to_caller,
                    receive: from_caller,
                    end: &end,
                };
                take_part(called, answer)
            });
            let offer = Negotiation {
                role: Role::Caller,
                send: to_called,
                receive: from_called,
                end: &end,
            };
            let pairs = take_part(caller, offer);
            called.join().expect("the called agent does not panic");
            pairs
        });
        let call = Self {
            pairs,
            in_tunnel: media_in_tunnel(site),
        };
        println!("{} calls {}:\n{call}", caller.host.name, called.host.name);
        call.assert_settled();
        call
    }

    /// Asserts that the nominated pair is the best one, and the only possible outcome.
    #[track_caller]
    fn assert_settled(&self) {
        let settled = |pair: &Pair| {
            matches!(
                pair.state,
                CandidatePairState::Succeeded | CandidatePairState::Failed
            )
        };
        assert!(self.pairs.iter().all(settled), "{self}");
        let valid = |pair: &&Pair| pair.state == CandidatePairState::Succeeded;
        let highest = self.pairs.iter().filter(valid).map(Pair::priority).max();
        let nominated = self.pairs.iter().find(|pair| pair.nominated);
        assert_eq!(nominated.map(Pair::priority), highest, "{self}");
    }

    /// Returns the nominated pair.
    #[track_caller]
    fn best(&self) -> (&CandidateStats, &CandidateStats) {
        let mut nominated = self.pairs.iter().filter(|pair| pair.nominated);
        let (Some(best), None) = (nominated.next(), nominated.next()) else {
            panic!("one pair is nominated: {self}");
        };
        (&best.local, &best.remote)
    }

    #[track_caller]
    fn nominated(
        &self,
        local: impl Into<IpAddr>,
        local_type: CandidateType,
        remote: impl Into<IpAddr>,
        remote_type: CandidateType,
    ) {
        let (best_local, best_remote) = self.best();
        let best = [best_local, best_remote];
        let addresses = best.map(|it| it.ip.parse::<IpAddr>().expect("an address"));
        assert_eq!(addresses, [local.into(), remote.into()], "{self}");
        let types = best.map(|it| it.candidate_type);
        assert_eq!(types, [local_type, remote_type], "{self}");
    }

    #[track_caller]
    fn assert_relayed(&self) {
        let (local, remote) = self.best();
        let is_relayed = [local, remote].iter().any(|it| {
            it.candidate_type == CandidateType::Relay && it.ip == EDGE_PUBLIC.v4.to_string()
        });
        assert!(is_relayed, "{self}");
    }

    /// Asserts that the library's prediction from the policy alone matches the call.
    #[track_caller]
    fn assert_predicted(&self, question: call::Call) {
        // Checks are media by port and by evidence.
        for recognition in ["ports", "ice"] {
            self.assert_predicted_by(recognition, &question);
        }
    }

    #[track_caller]
    fn assert_predicted_by(&self, recognition: &str, question: &call::Call) {
        let interfaces = OpenVpn::INTERFACES;
        let text = filter::policy(recognition, interfaces, "policy", "/run/unused.sock");
        let (policy, _) = offramp::policy::parse("site.toml", text.as_bytes()).expect("a policy");
        let plan = RoutePlan::new(&policy);
        let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        let prediction = predict(&policy, &plan, question);

        let predicted = prediction.winner().expect("a way");
        let (local, remote) = self.best();
        let kinds = [&predicted.local, &predicted.remote].map(|it| it.kind);
        let best = [local, remote].map(|it| kind(it.candidate_type));
        assert_eq!(
            kinds.map(as_reflexive),
            best.map(as_reflexive),
            "{predicted:?}\n{self}"
        );
        // With two families, either may come first.
        if question.family.is_some() {
            let addresses =
                [&predicted.local, &predicted.remote].map(|it| it.address.ip().to_string());
            assert_eq!(
                addresses,
                [&local.ip, &remote.ip].map(Clone::clone),
                "{self}"
            );
        }
        assert_eq!(
            prediction.is_in_tunnel(),
            self.in_tunnel > 0,
            "{predicted:?}\n{self}"
        );

        let mut compared = 0;
        for pair in &self.pairs {
            let same = |end: &call::Candidate, real: &CandidateStats| {
                end.kind == kind(real.candidate_type) && end.address.ip().to_string() == real.ip
            };
            let mut known = prediction.pairs.iter();
            let Some(known) =
                known.find(|it| same(&it.local, &pair.local) && same(&it.remote, &pair.remote))
            else {
                continue;
            };
            let works = pair.state == CandidatePairState::Succeeded;
            assert_eq!(known.outcome.is_ok(), works, "{known:?}\n{self}");
            compared += 1;
        }
        println!(
            "  predicted: {} pairs, {compared} of them compared",
            prediction.pairs.len()
        );
        assert!(
            compared >= 4,
            "{compared} pairs compared\n{prediction:#?}\n{self}"
        );
    }

    /// Asserts that no check in the tunnel succeeded, no media passed there, and the filter was the reason.
    #[track_caller]
    fn assert_outside_the_tunnel(&self, filter: &Filter, reason: &str) {
        let (local, remote) = self.best();
        assert!(!is_inner(local) && !is_inner(remote), "{self}");
        for pair in &self.pairs {
            let is_inside = is_inner(&pair.local) && is_inner(&pair.remote);
            assert!(
                !is_inside || pair.state == CandidatePairState::Failed,
                "{self}"
            );
        }
        assert_eq!(self.in_tunnel, 0, "{self}");
        let status = filter.status();
        assert!(status.dropped(reason) >= u64::from(CHECKS), "{status:?}");
    }
}

/// Returns the input for the prediction that matches these calls: agents here get the Edge's public leg, by IPv4.
fn question(to: Side, gateway: GatewayMode) -> call::Call {
    call::Call {
        gateway,
        family: Some(offramp::address::Family::V4),
        relay: Some(EDGE_PUBLIC.v4.into()),
        office: call::HostAddresses {
            v4: Some(OFFICE.v4),
            v6: Some(OFFICE.v6),
        },
        registration: Some(Registration::External),
        ..call::Call::new(Side::Vpn, to)
    }
}

fn kind(real: CandidateType) -> CandidateKind {
    match real {
        CandidateType::PeerReflexive => CandidateKind::PeerReflexive,
        CandidateType::ServerReflexive => CandidateKind::ServerReflexive,
        CandidateType::Relay => CandidateKind::Relayed,
        CandidateType::Host | CandidateType::Unspecified => CandidateKind::Host,
    }
}

/// These agents ask the relay for their address through a separate socket, so that the working address was learned from
/// the peer and not from the relay: both kinds of reflexive address are treated as one here.
fn as_reflexive(kind: CandidateKind) -> CandidateKind {
    match kind {
        CandidateKind::ServerReflexive => CandidateKind::PeerReflexive,
        CandidateKind::Host | CandidateKind::PeerReflexive | CandidateKind::Relayed => kind,
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |it: &CandidateStats| format!("{:5} {}:{}", it.candidate_type, it.ip, it.port);
        for pair in &self.pairs {
            let (local, remote) = (end(&pair.local), end(&pair.remote));
            let nominated = if pair.nominated { ", nominated" } else { "" };
            writeln!(f, "  {local:28} {remote:28} {}{nominated}", pair.state)?;
        }
        writeln!(f, "  media packets out of the tunnel: {}", self.in_tunnel)
    }
}
