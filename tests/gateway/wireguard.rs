//! `offramp run` beside a real WireGuard.

use crate::site::table::{
    a_restarted_daemon_is_filtered, a_stop_restores_everything, everything_arrives, filter_holds,
    with_clients, with_site,
};
use crate::site::wireguard::WireGuard;

#[test]
fn without_a_filter_all_media_takes_the_tunnel() {
    with_clients::<WireGuard>(|site, _| {
        everything_arrives::<WireGuard>(site);
    });
}

#[test]
fn table_1_and_hairpin_are_dropped_and_the_rest_passes() {
    with_clients::<WireGuard>(|site, _| filter_holds::<WireGuard>(site, "policy"));
}

#[test]
fn the_same_is_dropped_when_everything_is_diverted() {
    with_clients::<WireGuard>(|site, _| filter_holds::<WireGuard>(site, "all"));
}

#[test]
fn a_stop_leaves_the_concentrator_as_it_was() {
    with_clients::<WireGuard>(|site, _| a_stop_restores_everything::<WireGuard>(site));
}

#[test]
fn a_restarted_daemon_is_filtered_again() {
    with_site::<WireGuard>(|site| {
        a_restarted_daemon_is_filtered::<WireGuard>(site);
    });
}
