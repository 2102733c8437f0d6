//! `offramp run` beside a real Ocserv.

use std::time::Duration;

use crate::site::filter::Filter;
use crate::site::ocserv::Ocserv;
use crate::site::table::{
    a_restarted_daemon_is_filtered, a_stop_restores_everything, everything_arrives, filter_holds,
    media_is_dropped, with_clients, with_site,
};
use crate::site::traffic::{datagram_arrives, payload, udp};
use crate::site::{CLIENT, DNS, Site, Vpn, poll};

#[test]
fn without_a_filter_all_media_takes_the_tunnel() {
    with_clients::<Ocserv>(|site, _| {
        everything_arrives::<Ocserv>(site);
    });
}

#[test]
fn table_1_and_hairpin_are_dropped_and_the_rest_passes() {
    with_clients::<Ocserv>(|site, _| filter_holds::<Ocserv>(site, "policy"));
}

#[test]
fn the_same_is_dropped_when_everything_is_diverted() {
    with_clients::<Ocserv>(|site, _| filter_holds::<Ocserv>(site, "all"));
}

#[test]
fn a_stop_leaves_the_concentrator_as_it_was() {
    with_clients::<Ocserv>(|site, _| a_stop_restores_everything::<Ocserv>(site));
}

#[test]
fn a_restarted_daemon_is_filtered_again() {
    with_site::<Ocserv>(|site| {
        a_restarted_daemon_is_filtered::<Ocserv>(site);
    });
}

#[test]
fn devices_of_clients_that_come_and_go_are_filtered() {
    with_site::<Ocserv>(|site| {
        let mut vpn = Ocserv::start(site);
        let filter = Filter::start(site, Ocserv::INTERFACES, "policy");
        let device_count = || filter.status().interfaces().len();
        vpn.connect(site, 0);
        assert_eq!(device_count(), 1);
        vpn.connect(site, 1);
        assert_eq!(device_count(), 2);
        media_is_dropped::<Ocserv>(site, &filter);
        for client in [1, 0] {
            vpn.disconnect(client);
            poll("the end of a device", || {
                (device_count() == 1).then_some(())
            });
            vpn.connect(site, client);
            assert_eq!(device_count(), 2);
            media_is_dropped::<Ocserv>(site, &filter);
        }
        filter.stop();
    });
}

/// The packets that the concentrator's reverse path filter has dropped (`IPReversePathFilter` of netstat).
fn unexpected_sources(site: &Site) -> u64 {
    let shown = site.concentrator.show(&["cat /proc/net/netstat"]);
    let mut lines = shown[0].lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next(), lines.next());
    let mut fields = names.iter().flat_map(|line| line.split(' '));
    let at = fields.position(|name| name == "IPReversePathFilter");
    let value = values.and_then(|line| line.split(' ').nth(at?));
    value
        .and_then(|value| value.parse().ok())
        .expect("a number")
}

#[test]
fn a_client_that_sends_as_another_meets_the_reverse_path_filter() {
    with_clients::<Ocserv>(|site, _| {
        let [one, other] = &site.clients;
        let address = CLIENT[0].v4;
        other.ip(&format!("address add {address}/32 dev tun0"));
        let receiver = udp(site.host_of(DNS), DNS.v4.into(), 53);
        // Packets to this port pass in the kernel, or are judged first.
        for divert in ["suspects", "all"] {
            let filter = Filter::start(site, Ocserv::INTERFACES, divert);
            let sender = udp(one, address.into(), 0);
            datagram_arrives(&sender, &receiver, 100);

            let before = unexpected_sources(site);
            let sender = udp(other, address.into(), 0);
            let sent = sender.send_to(&payload(100), (DNS.v4, 53));
            sent.expect("there is a route");
            poll("the packet to be dropped", || {
                (unexpected_sources(site) > before).then_some(())
            });
            let limit = Some(Duration::from_millis(300));
            receiver.set_read_timeout(limit).expect("a duration");
            assert!(receiver.recv(&mut [0; 256]).is_err(), "{divert}");
            drop(sender);
            filter.stop();
        }
    });
}
