//! The traffic of the article's Table 1: packets that pass a VPN, and packets that must not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use offramp::packet::Protocol;
use offramp::packet::media::Payload;

use super::filter::{Filter, KernelState, Status};
use super::traffic::{
    Attempt, connection_carries, connection_carries_from, datagram_arrives, is_alone, is_empty,
    listen, packets_of, payload, ping, udp,
};
use super::{
    CLIENT, DNS, DualStack, EDGE_INSIDE, EDGE_PUBLIC, FRONT_END, Family, HOME, INTRANET, JUMP_HOST,
    OFFICE, Site, Translation, Vpn, in_sandbox_of, poll,
};
use crate::support::test_of;
use Fate::{Dropped, Passes, PassesOutside};
use Sent::{Connection, Datagram, Ping};

/// The traffic a client sends, and its fate while the filter runs.
struct Row {
    what: &'static str,
    sent: Sent,
    to: DualStack,
    port: u16,
    fate: Fate,
}

#[derive(Debug, Clone, Copy)]
enum Sent {
    /// A UDP datagram with this many bytes.
    Datagram(usize),
    /// A TCP connection.
    Connection,
    /// An ICMP echo with this many bytes.
    Ping(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Arrives whole, from the client's address in the tunnel.
    Passes,
    /// Arrives whole, and was never in the tunnel.
    PassesOutside,
    /// Never arrives, and is counted under this reason.
    Dropped(&'static str),
}

/// The size of a voice packet, and one that exceeds a single packet of any tunnel.
const VOICE: usize = 172;
const LONG: usize = 4_000;

/// Connections come last: the kernel retransmits their first packet by timer, so that it cannot be counted exactly.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { what: "ping",                            sent: Ping(56),        to: FRONT_END,   port: 0,      fate: Passes },
    Row { what: "ping, in fragments",              sent: Ping(LONG),      to: INTRANET,    port: 0,      fate: Passes },
    Row { what: "DNS",                             sent: Datagram(40),    to: DNS,         port: 53,     fate: Passes },
    Row { what: "DNS, in fragments",               sent: Datagram(LONG),  to: DNS,         port: 53,     fate: Passes },
    Row { what: "port 53 of an office PC, long",   sent: Datagram(LONG),  to: OFFICE,      port: 53,     fate: Passes },
    Row { what: "Remote Desktop by UDP",           sent: Datagram(1_200), to: JUMP_HOST,   port: 3_389,  fate: Passes },
    Row { what: "port 53 of the other client",     sent: Datagram(LONG),  to: CLIENT[1],   port: 53,     fate: Passes },
    Row { what: "relay at the public Edge",        sent: Datagram(VOICE), to: EDGE_PUBLIC, port: 3_478,  fate: PassesOutside },
    Row { what: "relay at the inner Edge",         sent: Datagram(VOICE), to: EDGE_INSIDE, port: 3_478,  fate: Dropped("servers") },
    Row { what: "inner Edge, in fragments",        sent: Datagram(LONG),  to: EDGE_INSIDE, port: 443,    fate: Dropped("servers") },
    Row { what: "media to an office PC",           sent: Datagram(VOICE), to: OFFICE,      port: 50_020, fate: Dropped("media") },
    Row { what: "media, in fragments",             sent: Datagram(LONG),  to: OFFICE,      port: 50_021, fate: Dropped("media") },
    Row { what: "media to the other client",       sent: Datagram(VOICE), to: CLIENT[1],   port: 50_020, fate: Dropped("hairpin") },
    Row { what: "hairpin, in fragments",           sent: Datagram(LONG),  to: CLIENT[1],   port: 50_021, fate: Dropped("hairpin") },
    Row { what: "HTTPS",                           sent: Connection,      to: INTRANET,    port: 443,    fate: Passes },
    Row { what: "SMB",                             sent: Connection,      to: INTRANET,    port: 445,    fate: Passes },
    Row { what: "Remote Desktop",                  sent: Connection,      to: JUMP_HOST,   port: 3_389,  fate: Passes },
    Row { what: "SIP registration",                sent: Connection,      to: FRONT_END,   port: 5_061,  fate: Dropped("servers") },
    Row { what: "HTTPS to the Front End",          sent: Connection,      to: FRONT_END,   port: 443,    fate: Dropped("servers") },
    Row { what: "media by TCP",                    sent: Connection,      to: OFFICE,      port: 50_020, fate: Dropped("media") },
    Row { what: "hairpin by TCP",                  sent: Connection,      to: CLIENT[1],   port: 50_020, fate: Dropped("hairpin") },
];

/// Runs `body`, a closure of the test itself, on a site without a VPN.
pub fn with_site<V: Vpn>(body: impl FnOnce(&Site)) {
    let test = test_of(&body);
    in_sandbox_of(test, V::PROGRAMS, || {
        body(&Site::new(test, Translation::KeepsPorts));
    });
}

/// Runs `body`, a closure of the test itself, on a site with two connected clients of the VPN.
pub fn with_clients<V: Vpn>(body: impl FnOnce(&Site, &mut V)) {
    let test = test_of(&body);
    in_sandbox_of(test, V::PROGRAMS, || {
        let site = Site::new(test, Translation::KeepsPorts);
        let mut vpn = connected(&site);
        body(&site, &mut vpn);
    });
}

/// Returns a VPN with its two clients.
fn connected<V: Vpn>(site: &Site) -> V {
    let mut vpn = V::start(site);
    vpn.connect(site, 0);
    vpn.connect(site, 1);
    vpn
}

/// Asserts that without a filter every row arrives, Table 1 as well.
pub fn everything_arrives<V: Vpn>(site: &Site) {
    for row in TABLE {
        for family in Family::BOTH {
            let fate = match row.fate {
                Dropped(_) => Passes,
                fate => fate,
            };
            row.check::<V>(site, None, family, fate);
        }
    }
    helpdesk_reaches_a_client(site);
}

/// Asserts that with the filter every row meets its fate.
pub fn the_table_holds<V: Vpn>(site: &Site, filter: &Filter) {
    for row in TABLE {
        for family in Family::BOTH {
            row.check::<V>(site, Some(filter), family, row.fate);
        }
    }
    helpdesk_reaches_a_client(site);

    let status = filter.status();
    assert_eq!(status.lost(), 0, "{status:?}");
    assert_eq!(
        status.rule("Front End") + status.rule("Edge, internal interface"),
        status.dropped("servers"),
        "{status:?}"
    );
    // Whole connections of both families, with their acknowledgments.
    assert!(
        status.rule("Remote Desktop to the jump hosts") > 100,
        "{status:?}"
    );
    assert!(
        status.rule("Replies of services on the clients") > 100,
        "{status:?}"
    );
    assert!(status.forwarded("default") > 400, "{status:?}");
    for reason in [
        "malformed",
        "tiny-fragment",
        "source-routed",
        "spoofed-source",
    ] {
        assert_eq!(status.dropped(reason), 0, "{reason}: {status:?}");
    }
}

/// Asserts that a filter that recognizes media drops servers and connectivity checks with what follows in their flow, and
/// nothing else of Table 1.
pub fn only_calls_are_dropped<V: Vpn>(site: &Site, filter: &Filter) {
    for row in TABLE {
        let fate = match row.fate {
            Dropped("media" | "hairpin") => Passes,
            fate => fate,
        };
        for family in Family::BOTH {
            row.check::<V>(site, Some(filter), family, fate);
        }
    }
    helpdesk_reaches_a_client(site);
    for (to, reason) in [(OFFICE, "media"), (CLIENT[1], "hairpin")] {
        for family in Family::BOTH {
            a_call_is_dropped(site, filter, SocketAddr::new(to.of(family), 50_030), reason);
        }
    }
    let status = filter.status();
    assert_eq!(status.lost(), 0, "{status:?}");
    let evidence = status.0["media"]["evidence"].as_array().expect("a list");
    let packets = |by: &str| {
        let mut of = evidence.iter();
        let found = of.find(|it| it["evidence"] == "stun-check" && it["by"] == by);
        found.and_then(|it| it["packets"].as_u64())
    };
    // Of both kinds of destination, in both families.
    assert_eq!(
        [packets("packet"), packets("flow")],
        [Some(4), Some(4)],
        "{status:?}"
    );
}

/// Asserts that a connectivity check, and a voice packet after it in the same flow, do not arrive.
#[track_caller]
fn a_call_is_dropped(site: &Site, filter: &Filter, to: SocketAddr, reason: &str) {
    let family = match to.is_ipv4() {
        true => Family::V4,
        false => Family::V6,
    };
    let host = match to.ip() == OFFICE.of(family) {
        true => &site.office,
        false => &site.clients[1],
    };
    let receiver = udp(host, to.ip(), to.port());
    let sender = udp(&site.clients[0], CLIENT[0].of(family), 50_030);
    let before = filter.status().dropped(reason);
    let check = Payload::StunCheck.packets(Protocol::Udp);
    for packet in check.into_iter().chain([payload(VOICE)]) {
        sender.send_to(&packet, to).expect("a route leads there");
    }
    dropped(filter, reason, before + 2);
    assert!(is_empty(&receiver), "a call to {to} arrived");
}

/// Asserts that the datagrams of the table that must not pass are dropped.
pub fn media_is_dropped<V: Vpn>(site: &Site, filter: &Filter) {
    for row in TABLE {
        if matches!((row.sent, row.fate), (Datagram(_), Dropped(_))) {
            for family in Family::BOTH {
                row.check::<V>(site, Some(filter), family, row.fate);
            }
        }
    }
}

/// Asserts that a filter started before its VPN works, also after a restart of the VPN's daemon.
pub fn a_restarted_daemon_is_filtered<V: Vpn>(site: &Site) {
    let filter = Filter::start(site, V::INTERFACES, "policy");
    assert_eq!(filter.status().interfaces(), [""; 0]);
    for _ in 0..2 {
        let vpn: V = connected(site);
        assert_ne!(filter.status().interfaces(), [""; 0]);
        media_is_dropped::<V>(site, &filter);
        drop(vpn);
        poll("the end of its devices", || {
            filter.status().interfaces().is_empty().then_some(())
        });
    }
    filter.stop();
}

/// Asserts that the filter drops the right packets, with `gateway.divert` as given.
pub fn filter_holds<V: Vpn>(site: &Site, divert: &str) {
    let filter = Filter::start(site, V::INTERFACES, divert);
    the_table_holds::<V>(site, &filter);
    filter.stop();
}

/// Asserts that a stopped filter leaves the concentrator as it was.
pub fn a_stop_restores_everything<V: Vpn>(site: &Site) {
    let before = KernelState::of(&site.concentrator);
    for divert in ["policy", "all"] {
        let filter = Filter::start(site, V::INTERFACES, divert);
        assert_ne!(KernelState::of(&site.concentrator), before);
        media_is_dropped::<V>(site, &filter);
        filter.stop();
        assert_eq!(KernelState::of(&site.concentrator), before);
    }
    everything_arrives::<V>(site);
}

impl Row {
    /// Sends the row from the first client, and asserts its `fate`.
    #[track_caller]
    fn check<V: Vpn>(&self, site: &Site, filter: Option<&Filter>, family: Family, fate: Fate) {
        let what = format!("{}, {family:?}", self.what);
        let client = &site.clients[0];
        let inner = CLIENT[0].of(family);
        let to = SocketAddr::new(self.to.of(family), self.port);
        let host = site.host_of(self.to);
        // Not bound to the tunnel's address, so that the system chooses: the route leads outside.
        let (bound, seen) = match fate {
            PassesOutside => (unspecified(family), HOME[0].of(family)),
            Passes | Dropped(_) => (inner, inner),
        };
        match (self.sent, fate) {
            (Datagram(length), Passes | PassesOutside) => {
                let receiver = udp(host, to.ip(), to.port());
                // An answer to a high port of a client is media, too.
                let port = if CLIENT.contains(&self.to) {
                    self.port
                } else {
                    0
                };
                let sender = udp(client, bound, port);
                let from = datagram_arrives(&sender, &receiver, length);
                assert_eq!(from.ip(), seen, "{what}");
            }
            (Connection, Passes | PassesOutside) => {
                let listener = listen(host, to.ip(), to.port());
                let from = connection_carries(client, bound, &listener);
                assert_eq!(from.ip(), seen, "{what}");
            }
            (Ping(length), Passes | PassesOutside) => {
                ping(client, to.ip(), length);
            }
            (Datagram(length), Dropped(reason)) => {
                let filter = filter.expect("what is dropped is dropped by a filter");
                let receiver = udp(host, to.ip(), to.port());
                let sender = udp(client, bound, 0);
                let before = filter.status().dropped(reason);
                let sent = payload(length);
                sender.send_to(&sent, to).expect("a route leads there");
                let mtu = client.mtu(V::interface(0));
                let expected = before + packets_of(length, to.ip(), mtu);
                let status = dropped(filter, reason, expected);
                assert_eq!(status.dropped(reason), expected, "{what}: {status:?}");
                assert!(is_empty(&receiver), "{what} arrived");
            }
            (Connection, Dropped(reason)) => {
                let filter = filter.expect("what is dropped is dropped by a filter");
                let listener = listen(host, to.ip(), to.port());
                let before = filter.status().dropped(reason);
                let attempt = Attempt::start(client, SocketAddr::new(bound, 0), to);
                dropped(filter, reason, before + 1);
                assert!(attempt.is_waiting(), "{what} was answered");
                assert!(is_alone(&listener), "{what} arrived");
            }
            (Ping(_), Dropped(_)) => unreachable!("Table 1 has no ICMP"),
        }
    }
}

/// Waits until the filter has dropped at least `count` packets for `reason`.
#[track_caller]
fn dropped(filter: &Filter, reason: &str, count: u64) -> Status {
    poll(&format!("{count} packets dropped as {reason}"), || {
        let status = filter.status();
        (status.dropped(reason) >= count).then_some(status)
    })
}

/// The helpdesk opens a Remote Desktop to a client: the client's answers go to a high port of an office.
fn helpdesk_reaches_a_client(site: &Site) {
    for family in Family::BOTH {
        let helpdesk = SocketAddr::new(OFFICE.of(family), 50_123);
        let listener = listen(&site.clients[0], CLIENT[0].of(family), 3_389);
        let from = connection_carries_from(&site.office, helpdesk, &listener)
            .unwrap_or_else(|error| panic!("{helpdesk} to a client: {error}"));
        assert_eq!(from, helpdesk);
    }
}

const fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}
