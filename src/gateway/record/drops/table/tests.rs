//! The table, fed with samples of real packets.

use std::sync::Arc;
use std::time::Duration;

use super::super::sample::Suppressed;
use super::super::{DropOptions, samples};
use super::*;
use crate::filter::{Capacity, CompiledPolicy, Judge};
use crate::gateway::host::sample::compiled;
use crate::gateway::record::PolicyNames;
use crate::packet::Received;
use crate::packet::media::Payload;
use crate::verdict::Verdict;

const SERVER: &str = "[[server]]\nname = \"pool\"\naddresses = [\"10.1.0.10\"]\n";

/// A datagram from a client to a port, with `payload`.
fn datagram(from: [u8; 4], to: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4(from, to, 64)
        .udp(50_000, port)
        .write(&mut packet, payload)
        .expect("room");
    packet
}

/// A worker, its table, and the samples between them.
struct Bench {
    policy: CompiledPolicy,
    reader: super::super::SampleReader,
    judge: Judge,
    suppressed: Suppressed,
    table: DropTable,
}

impl Bench {
    fn new() -> Self {
        Self {
            policy: compiled(SERVER, 1),
            reader: samples(&DropOptions::default()),
            judge: Judge::new(Capacity::of(16)),
            suppressed: Suppressed::default(),
            table: DropTable::default(),
        }
    }

    fn judge(&mut self, packet: &[u8], times: usize) {
        let received = [Received::whole(packet, Duration::ZERO)];
        let mut verdicts = [Verdict::drop(Reason::Malformed)];
        self.judge.judge(&self.policy, &received, &mut verdicts);
        let (writer, names) = (
            self.reader.writer(),
            Arc::new(PolicyNames::of(&self.policy)),
        );
        for _ in 0..times {
            writer.note(&received, &verdicts, &names, &mut self.suppressed);
        }
    }

    /// Ends the tick.
    fn tick(&mut self) {
        let mut noted = Vec::new();
        while let Some(sample) = self.reader.next() {
            noted.extend(Noted::of(&sample));
            self.reader.give_back(sample);
        }
        self.table.add(noted);
        self.reader.begin_tick();
    }

    fn status(&self, with_addresses: bool) -> DropTableStatus {
        self.table.status(SystemTime::now(), with_addresses)
    }
}

const ALICE: [u8; 4] = [172, 16, 1, 10];
const BOB: [u8; 4] = [172, 16, 1, 11];
const POOL: [u8; 4] = [10, 1, 0, 10];
const OFFICE: [u8; 4] = [10, 20, 0, 7];

#[test]
fn at_a_low_rate_every_drop_is_counted_for_its_destination_service_and_client() {
    let mut bench = Bench::new();
    bench.judge(&datagram(ALICE, POOL, 5_061, &[7; 10]), 3);
    bench.judge(&datagram(BOB, POOL, 5_061, &[7; 10]), 1);
    // Passes.
    bench.judge(&datagram(BOB, OFFICE, 53, &[7; 10]), 5);
    bench.tick();
    let status = bench.status(true);
    assert_eq!((status.samples, status.packets), (4, 4));
    let [only] = &status.destinations[..] else {
        panic!("{status:#?}");
    };
    assert_eq!(only.destination, Some(POOL.into()));
    let service = &only.service;
    assert_eq!((service.packets, service.at_most), (4, 4));
    assert_eq!((&*service.protocol, service.port), ("udp", Some(5_061)));
    assert_eq!(service.rule.as_deref(), Some("pool"));
    assert_eq!(service.reason, "servers");
    let clients = status.clients.iter().map(|it| (it.client, it.packets));
    assert_eq!(
        clients.collect::<Vec<_>>(),
        [(Some(ALICE.into()), 3), (Some(BOB.into()), 1)]
    );
    assert_eq!(status.last.len(), 4);
    assert_eq!(status.last[0].client, Some(BOB.into()));
}

#[test]
fn no_address_of_a_client_is_told_unless_it_is_asked_for() {
    let mut bench = Bench::new();
    bench.judge(&datagram(ALICE, POOL, 5_061, &[7; 10]), 1);
    bench.judge(&datagram(ALICE, BOB, 50_020, &[0xff; 10]), 2);
    bench.judge(&datagram(BOB, ALICE, 50_020, &[0xff; 10]), 1);
    bench.tick();
    let status = bench.status(false);
    let text = serde_json::to_string(&status).expect("plain fields");
    assert!(!text.contains("172.16."), "{text}");
    assert!(text.contains("10.1.0.10"), "{text}");
    let others: Vec<_> = status
        .destinations
        .iter()
        .map(|it| (it.destination, it.service.packets))
        .collect();
    assert_eq!(others, [(None, 3), (Some(POOL.into()), 1)]);
    assert_eq!(status.clients.len(), 2);

    let text = serde_json::to_string(&bench.status(true)).expect("plain fields");
    assert!(text.contains("172.16.1.11"), "{text}");
}

#[test]
fn media_to_ports_of_many_calls_is_one_service() {
    let mut bench = Bench::new();
    let check = Payload::StunCheck
        .packets(crate::packet::Protocol::Udp)
        .concat();
    for port in 50_020..50_030 {
        bench.judge(&datagram(ALICE, OFFICE, port, &check), 1);
    }
    bench.judge(&datagram(ALICE, OFFICE, 8_443, &[7; 10]), 1);
    bench.tick();
    let services = bench.status(false).services;
    let told: Vec<_> = services
        .iter()
        .map(|it| (it.port, it.media.as_deref(), it.packets))
        .collect();
    assert_eq!(told[0], (None, Some("stun"), 10));
    // 0..=3 is what STUN begins with, and 7 is nothing's.
    assert_eq!(told[1], (Some(8_443), None, 1));
}

#[test]
fn drops_beyond_the_samples_of_a_tick_count_for_what_was_sampled_just_before() {
    let mut bench = Bench::new();
    bench.judge(&datagram(ALICE, OFFICE, 8_443, &[7; 10]), 1_000);
    bench.tick();
    let sampled = bench.status(true);
    assert_eq!((sampled.samples, sampled.packets), (20, 20));
    // Long after, somebody else: what Alice sent is not his.
    bench.tick();
    bench.judge(&datagram(BOB, OFFICE, 22_000, &[7; 10]), 1);
    bench.tick();
    let status = bench.status(true);
    assert_eq!((status.samples, status.packets), (21, 1_001));
    let clients = status.clients.iter().map(|it| (it.client, it.packets));
    assert_eq!(
        clients.collect::<Vec<_>>(),
        [(Some(ALICE.into()), 1_000), (Some(BOB.into()), 1)]
    );
}

#[test]
fn what_was_dropped_last_is_kept_up_to_a_bound() {
    let mut bench = Bench::new();
    for port in 30_000..30_100 {
        bench.judge(&datagram(ALICE, OFFICE, port, &[7; 10]), 1);
        bench.tick();
    }
    let last = bench.status(false).last;
    let ports: Vec<_> = last.iter().map(|it| it.port).collect();
    assert_eq!(ports.len(), LAST);
    assert_eq!((ports[0], ports[LAST - 1]), (Some(30_099), Some(30_084)));
}
