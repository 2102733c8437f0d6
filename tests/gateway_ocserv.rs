//! `offramp run` beside a real Ocserv.

#![cfg(feature = "gateway")]

mod site;
mod support;

use site::ocserv::Ocserv;
use site::table::{a_stop_restores_everything, everything_arrives, filter_holds, with_clients};

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
