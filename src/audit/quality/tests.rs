//! Calls and groups, from packets to the report.

use std::time::Duration;

use super::*;
use crate::audit::testing::udp;
use crate::filter::{Capacity, Generation, Judge};
use crate::packet::media::quality::ClockBasis;

fn compiled(recognition: &str) -> CompiledPolicy {
    let text = format!(
        r#"[vpn]
client_subnets = ["172.16.1.0/24", "172.16.2.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[media]
match = "{recognition}"
"#
    );
    let (policy, _) = crate::policy::parse("quality.toml", text.as_bytes()).expect("in order");
    CompiledPolicy::new(policy, Generation(1)).expect("a small policy")
}

/// Packets, and the milliseconds at which they arrive.
#[derive(Default)]
struct Traffic(Vec<(u64, Vec<u8>)>);

impl Traffic {
    /// Telephony of `packets` packets, of which each `lost`th is missing.
    fn stream(mut self, from: &str, to: &str, start: u64, packets: u64, lost: u64) -> Self {
        for number in (0..packets).filter(|number| number % lost != lost - 1) {
            let mut rtp = vec![0x80, 0];
            rtp.extend((number as u16).to_be_bytes());
            rtp.extend((number as u32 * 160).to_be_bytes());
            rtp.extend(start.to_be_bytes());
            rtp.resize(172, 0);
            self.0.push((start + number * 20, udp(from, to, &rtp)));
        }
        self
    }

    fn check(mut self, from: &str, to: &str, at: u64) -> Self {
        let mut check = vec![0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
        check.extend([7; 12]);
        check.extend([0, 6, 0, 4, b'a', b':', b'b', b'c']);
        self.0.push((at, udp(from, to, &check)));
        self
    }

    fn judge(mut self, policy: &CompiledPolicy) -> QualityReport {
        self.0.sort_by_key(|(at, _)| *at);
        let mut judge = Judge::new(Capacity::of(64));
        let mut quality = Quality::new(policy).expect("a small policy");
        for (at, bytes) in &self.0 {
            let packet = Received::whole(bytes, Duration::from_millis(*at));
            let verdict = judge.judge_one(policy, packet);
            quality.record(verdict, packet);
        }
        quality.report(policy)
    }
}

const ANN: &str = "172.16.1.5:50000";
const EVE: &str = "172.16.2.6:50002";
const DESK: &str = "10.0.0.9:24000";
const OTHER_DESK: &str = "10.0.0.10:24000";

fn calls(report: &QualityReport) -> (u64, u64, u64) {
    let calls = report.calls.expect("calls");
    (calls.count, calls.tunnel, calls.tunnel_with_ice)
}

#[test]
fn both_directions_and_all_streams_between_two_hosts_are_one_call() {
    let traffic = Traffic::default()
        .stream(ANN, DESK, 0, 100, 50)
        .stream(DESK, ANN, 10, 100, 1_000)
        .stream("172.16.1.5:50020", "10.0.0.9:24002", 500, 100, 10)
        .stream(ANN, OTHER_DESK, 0, 100, 50)
        .stream(EVE, "172.16.1.5:50030", 0, 100, 50);
    let report = traffic.judge(&compiled("ports"));
    assert_eq!(report.streams.len(), 5);
    // Without checks, ice lets all of them live.
    assert_eq!(calls(&report), (3, 0, 3));
    let calls = report.calls.expect("calls");
    assert_eq!(calls.median_loss, 1.0 / 99.0, "of what clients send");
    assert_eq!(calls.median_jitter.map(|it| it < 1e-9), Some(true));
}

#[test]
fn a_minute_without_packets_parts_two_calls() {
    let one = |pause: u64| {
        Traffic::default()
            .stream(ANN, DESK, 0, 100, 50)
            .stream(ANN, DESK, 1_960 + pause, 100, 50)
            .judge(&compiled("ports"))
    };
    assert_eq!(calls(&one(60_000)).0, 1);
    assert_eq!(calls(&one(60_001)).0, 2);
}

#[test]
fn calls_with_connectivity_checks_leave_the_tunnel_with_ice_and_phones_do_not() {
    let traffic = || {
        Traffic::default()
            .check(ANN, DESK, 0)
            .stream(ANN, DESK, 5, 100, 50)
            .stream(DESK, ANN, 10, 100, 50)
            .stream(ANN, OTHER_DESK, 0, 100, 50)
    };
    assert_eq!(calls(&traffic().judge(&compiled("ports"))), (2, 0, 1));
    assert_eq!(calls(&traffic().judge(&compiled("ice"))), (2, 1, 1));
    assert_eq!(
        calls(&traffic().judge(&compiled("ice-microsoft"))),
        (2, 2, 1)
    );
    assert_eq!(calls(&traffic().judge(&compiled("media"))), (2, 0, 1));
}

#[test]
fn streams_are_summed_by_pool_direction_and_peer() {
    let report = Traffic::default()
        .stream(ANN, DESK, 0, 100, 50)
        .stream(ANN, OTHER_DESK, 1, 100, 10)
        .stream(EVE, DESK, 2, 100, 1_000)
        .stream(DESK, ANN, 3, 150, 1_000)
        .stream(ANN, EVE, 4, 100, 1_000)
        .stream("203.0.113.9:5000", "10.0.0.9:24000", 5, 100, 1_000)
        .judge(&compiled("ports"));
    let groups = report.groups.iter().map(|group| {
        let pool = group.pool.map(|pool| pool.to_string());
        (
            pool.unwrap_or_default(),
            group.direction,
            group.peer,
            group.streams,
        )
    });
    use Direction::{FromClient, Neither, ToClient};
    assert_eq!(
        groups.collect::<Vec<_>>(),
        [
            (String::new(), Neither, Peer::Corporate, 1),
            ("172.16.1.0/24".to_owned(), FromClient, Peer::Corporate, 2),
            ("172.16.1.0/24".to_owned(), FromClient, Peer::Client, 1),
            ("172.16.1.0/24".to_owned(), ToClient, Peer::Corporate, 1),
            ("172.16.2.0/24".to_owned(), FromClient, Peer::Corporate, 1),
        ]
    );
    let first = &report.groups[1];
    assert_eq!(first.median_loss, 1.0 / 99.0);
    assert_eq!(first.p95_loss, 9.0 / 99.0);
    assert_eq!(report.groups[3].longest, Duration::from_millis(149 * 20));
}

#[test]
fn a_stream_that_was_captured_twice_has_lost_nothing() {
    let report = Traffic::default()
        .stream(ANN, EVE, 0, 100, 50)
        .stream(ANN, EVE, 0, 100, 50)
        .judge(&compiled("ports"));
    let stream = &report.streams[0];
    assert_eq!((stream.packets, stream.duplicates), (196, 98));
    assert_eq!(stream.loss, 1.0 / 99.0);
    assert_eq!(
        stream.clock.map(|it| it.basis),
        Some(ClockBasis::PayloadType)
    );
}

#[test]
fn traffic_without_streams_has_no_calls() {
    let report = Traffic::default()
        .check(ANN, DESK, 0)
        .judge(&compiled("ice"));
    assert_eq!(report.calls, None);
    assert!(report.streams.is_empty() && report.groups.is_empty());
}

#[test]
fn streams_beyond_the_list_are_counted() {
    let policy = compiled("ice");
    let mut quality = Quality::new(&policy).expect("a small policy");
    let stream = Traffic::default().stream(ANN, DESK, 0, 4, 50).0;
    let streams = Quality::MAX_STREAMS as u64 + 3;
    for round in 0..streams {
        for (at, bytes) in &stream {
            // Each a minute after the one before.
            let packet = Received::whole(bytes, Duration::from_millis(round * 61_000 + at));
            quality.record(Verdict::forward(crate::verdict::Reason::Default), packet);
        }
    }
    let report = quality.report(&policy);
    assert_eq!(report.streams.len(), Quality::MAX_STREAMS);
    assert_eq!((report.unlisted, report.evicted), (3, 0));
}
