//! `offramp run` beside a real OpenVpn.

use crate::site::filter::{Filter, KernelState};
use crate::site::openvpn::OpenVpn;
use crate::site::table::{
    a_restarted_daemon_is_filtered, a_stop_restores_everything, everything_arrives, filter_holds,
    media_is_dropped, only_calls_are_dropped, the_table_holds, with_clients, with_site,
};
use crate::site::traffic::{datagram_arrives, udp};
use crate::site::{CLIENT, Family, Vpn};

#[test]
fn without_a_filter_all_media_takes_the_tunnel() {
    with_clients::<OpenVpn>(|site, _| {
        everything_arrives::<OpenVpn>(site);
    });
}

#[test]
fn table_1_and_hairpin_are_dropped_and_the_rest_passes() {
    with_clients::<OpenVpn>(|site, _| filter_holds::<OpenVpn>(site, "policy"));
}

#[test]
fn the_same_is_dropped_when_everything_is_diverted() {
    with_clients::<OpenVpn>(|site, _| filter_holds::<OpenVpn>(site, "all"));
}

#[test]
fn a_stop_leaves_the_concentrator_as_it_was() {
    with_clients::<OpenVpn>(|site, _| a_stop_restores_everything::<OpenVpn>(site));
}

#[test]
fn a_restarted_daemon_is_filtered_again() {
    with_site::<OpenVpn>(|site| {
        a_restarted_daemon_is_filtered::<OpenVpn>(site);
    });
}

/// The firewall tracks connections, drops invalid packets, and does NAT toward the Internet: a fragmented datagram
/// is reassembled and fragmented again on its way, and a packet back from the filter passes the firewall a second time.
#[test]
fn the_same_is_dropped_beside_a_stateful_firewall() {
    with_clients::<OpenVpn>(|site, _| {
        site.concentrator.nft(FIREWALL);
        for divert in ["policy", "all"] {
            let before = KernelState::of(&site.concentrator);
            let filter = Filter::start(site, OpenVpn::INTERFACES, divert);
            the_table_holds::<OpenVpn>(site, &filter);
            filter.stop();
            assert_eq!(KernelState::of(&site.concentrator), before);
        }
    });
}

#[test]
fn recognizing_media_the_filter_drops_calls_and_servers_alone() {
    with_clients::<OpenVpn>(|site, _| {
        for divert in ["policy", "all", "suspects"] {
            let filter = Filter::recognizing("ice", site, OpenVpn::INTERFACES, divert);
            only_calls_are_dropped::<OpenVpn>(site, &filter);
            filter.stop();
        }
    });
}

const FIREWALL: &str = "
    table inet firewall {
        chain forward {
            type filter hook forward priority filter; policy accept;
            ct state invalid drop
        }
        chain translate {
            type nat hook postrouting priority srcnat;
            oifname wan masquerade
        }
    }";

/// With `client-to-client` the daemon forwards between its clients itself: no filter outside it sees their media. This
/// test documents that; the gateway can only warn the operator.
#[test]
fn hairpin_inside_the_daemon_is_out_of_reach_and_the_operator_is_told() {
    with_site::<OpenVpn>(|site| {
        let mut vpn = OpenVpn::start_with(site, "client-to-client");
        vpn.connect(site, 0);
        vpn.connect(site, 1);
        let filter = Filter::start(site, OpenVpn::INTERFACES, "all");
        for family in Family::BOTH {
            let [sender, receiver] =
                [0, 1].map(|client| udp(&site.clients[client], CLIENT[client].of(family), 50_020));
            datagram_arrives(&sender, &receiver, 172);
        }
        let status = filter.status();
        assert_eq!(status.dropped("hairpin"), 0, "{status:?}");
        let log = filter.log();
        let warning = log.lines().find(|line| line.contains("WARN"));
        let warning = warning.unwrap_or_else(|| panic!("no warning: {log}"));
        assert!(
            warning.contains("hairpin media never leaves it"),
            "{warning}"
        );
        assert!(warning.contains("remove client-to-client"), "{warning}");
        filter.stop();
    });
}

/// The daemon's own default, for which the warning would be false.
#[test]
fn without_client_to_client_there_is_no_warning() {
    with_clients::<OpenVpn>(|site, _| {
        let filter = Filter::start(site, OpenVpn::INTERFACES, "all");
        media_is_dropped::<OpenVpn>(site, &filter);
        let log = filter.log();
        assert!(!log.contains("WARN"), "{log}");
        filter.stop();
    });
}
