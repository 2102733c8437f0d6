//! `offramp run` beside a real Ocserv.

use crate::site::filter::Filter;
use crate::site::ocserv::Ocserv;
use crate::site::table::{
    a_restarted_daemon_is_filtered, a_stop_restores_everything, everything_arrives, filter_holds,
    media_is_dropped, with_clients, with_site,
};
use crate::site::{Vpn, poll};

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
