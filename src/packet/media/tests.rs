//! Each condition of recognition, and protocols that resemble media.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;

use super::super::Protocol;
use super::reference::assert_agreement;
use super::traffic::{Adversary, Noise, Scenario};
use super::{Evidence, FlowKey, FlowTable, Look, Profile, Segment};

mod adversaries;
mod memory;
mod packets;
mod streams;
mod vectors;

const START: Duration = Duration::from_secs(1000);

/// The flow from port 50000 of a client to a corporate host.
fn flow(protocol: Protocol) -> FlowKey {
    flow_of(protocol, Ipv4Addr::new(172, 16, 1, 10), 50_000)
}

fn flow_of(protocol: Protocol, client: Ipv4Addr, port: u16) -> FlowKey {
    FlowKey::new(
        protocol,
        (client.into(), port),
        (Ipv4Addr::new(10, 2, 0, 20).into(), 50_010),
    )
}

/// A table with one flow of datagrams under a profile.
struct Datagrams {
    table: FlowTable,
    profile: Profile,
}

impl Datagrams {
    fn new(profile: Profile) -> Self {
        Self {
            table: FlowTable::new(64),
            profile,
        }
    }

    /// The word of the evidence, if the datagram is media.
    fn look(&mut self, payload: &[u8], at: Duration) -> Option<&'static str> {
        let segment = Segment::Udp {
            payload,
            size: payload.len(),
        };
        let found = self
            .table
            .look(self.profile, &flow(Protocol::Udp), segment, at)
            .media();
        found.map(|found| found.evidence.word())
    }
}

/// Scenarios of a generator that needs no shrinking: the same ones in every run.
fn scenarios(count: u64) -> impl Iterator<Item = Scenario> {
    (0..count).filter_map(|seed| {
        let mut noise = Noise(seed);
        let bytes: Vec<u8> = (0..400).flat_map(|_| noise.next().to_be_bytes()).collect();
        Scenario::arbitrary(&mut Unstructured::new(&bytes)).ok()
    })
}

#[test]
fn generated_packets_show_every_evidence() {
    let mut seen = BTreeSet::new();
    let mut packets = 0;
    for scenario in scenarios(4000) {
        assert_agreement(&scenario);
        let mut table = FlowTable::new(4096);
        packets += scenario.arrivals.len();
        for arrival in &scenario.arrivals {
            let found = table
                .look(
                    scenario.profile,
                    &arrival.key,
                    arrival.segment.borrow(),
                    arrival.at,
                )
                .media();
            seen.extend(found.map(|found| found.evidence.word()));
        }
    }
    let all: BTreeSet<&str> = Evidence::TABLE.iter().map(|row| row.word).collect();
    assert_eq!(seen, all);
    assert!(packets > 300_000, "only {packets} packets");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_table_agrees_with_the_reference_model(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        if let Ok(scenario) = Scenario::arbitrary(&mut Unstructured::new(&bytes)) {
            assert_agreement(&scenario);
        }
    }
}
