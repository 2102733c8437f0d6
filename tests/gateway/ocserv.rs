//! `offramp run` beside a real Ocserv.

#![cfg(feature = "gateway")]

mod site;
mod support;

use site::filter::Filter;
use site::ocserv::Ocserv;
use site::table::{
    a_restarted_daemon_is_filtered, a_stop_restores_everything, everything_arrives, filter_holds,
    media_is_dropped, with_clients, with_site,
};
use site::{Vpn, poll};

#[test]
fn without_a_filter_all_media_takes_the_tunnel() {
    with_clients::<Ocserv>("without_a_filter_all_media_takes_the_tunnel", |site, _| {
        everything_arrives::<Ocserv>(site);
    });
}

#[test]
fn table_1_and_hairpin_are_dropped_and_the_rest_passes() {
    filter_holds::<Ocserv>(
        "table_1_and_hairpin_are_dropped_and_the_rest_passes",
        "policy",
    );
}

#[test]
fn the_same_is_dropped_when_everything_is_diverted() {
    filter_holds::<Ocserv>("the_same_is_dropped_when_everything_is_diverted", "all");
}

#[test]
fn a_stop_leaves_the_concentrator_as_it_was() {
    a_stop_restores_everything::<Ocserv>("a_stop_leaves_the_concentrator_as_it_was");
}

#[test]
fn a_restarted_daemon_is_filtered_again() {
    a_restarted_daemon_is_filtered::<Ocserv>("a_restarted_daemon_is_filtered_again");
}

#[test]
fn devices_of_clients_that_come_and_go_are_filtered() {
    with_site::<Ocserv>("devices_of_clients_that_come_and_go_are_filtered", |site| {
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
