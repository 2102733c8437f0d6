//! `offramp run` beside a real WireGuard.

#![cfg(feature = "gateway")]

mod site;
mod support;

use site::table::{
    a_restarted_daemon_is_filtered, a_stop_restores_everything, everything_arrives, filter_holds,
    with_clients,
};
use site::wireguard::WireGuard;

#[test]
fn without_a_filter_all_media_takes_the_tunnel() {
    with_clients::<WireGuard>("without_a_filter_all_media_takes_the_tunnel", |site, _| {
        everything_arrives::<WireGuard>(site);
    });
}

#[test]
fn table_1_and_hairpin_are_dropped_and_the_rest_passes() {
    filter_holds::<WireGuard>(
        "table_1_and_hairpin_are_dropped_and_the_rest_passes",
        "policy",
    );
}

#[test]
fn the_same_is_dropped_when_everything_is_diverted() {
    filter_holds::<WireGuard>("the_same_is_dropped_when_everything_is_diverted", "all");
}

#[test]
fn a_stop_leaves_the_concentrator_as_it_was() {
    a_stop_restores_everything::<WireGuard>("a_stop_leaves_the_concentrator_as_it_was");
}

#[test]
fn a_restarted_daemon_is_filtered_again() {
    a_restarted_daemon_is_filtered::<WireGuard>("a_restarted_daemon_is_filtered_again");
}
