//! The cost that records of packets add to a worker: samples of drops, and traces of clients.
//!
//! `cargo bench --bench record`. Batches of 64 datagrams from one client to media ports, by the worked example of
//! `config/contoso.toml`. Nobody reads the samples, so a tick of them is used up at once, as it is while much is dropped; 20
//! samples for each reason in 100 ms are copied besides.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use offramp::datapath::Judgement;
use offramp::filter::{CompiledPolicy, Generation, Judge};
use offramp::gateway::record::drops::{DropOptions, samples};
use offramp::gateway::tun::publish::{Live, Published};
use offramp::packet::Received;
use offramp::verdict::{Reason, Verdict};

fn contoso() -> CompiledPolicy {
    let text = include_bytes!("../config/contoso.toml");
    let (policy, _) = offramp::policy::parse("contoso.toml", text).expect("it is in order");
    CompiledPolicy::new(policy, Generation(1)).expect("it is small")
}

/// Returns datagrams of one client to offices, to `port`.
fn batch(port: u16) -> Vec<Vec<u8>> {
    let datagram = |host| {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([172, 16, 1, 10], [10, 20, 0, host], 64)
            .udp(50_000, port)
            .write(&mut bytes, &[0x80; 160])
            .expect("writing to memory");
        bytes
    };
    (0..Judge::BATCH as u8).map(datagram).collect()
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(Judge::BATCH as u64));
    for (packets, port) in [("forwarded", 53), ("dropped", 50_020)] {
        let packets_of_batch = batch(port);
        let received: Vec<_> = packets_of_batch
            .iter()
            .map(|packet| Received::whole(packet, Duration::ZERO))
            .collect();
        for records in ["nothing", "samples", "samples, another client traced"] {
            let policy = contoso();
            let reader = samples(&DropOptions::default());
            let writer = (records != "nothing").then(|| reader.writer());
            let published = Arc::new(Published::new(policy, writer, 1));
            let other = "172.16.1.99".parse().expect("an address");
            let is_traced = records.contains("traced");
            let trace = is_traced.then(|| published.traces().begin(other));
            let mut live = Live::new(published, 0, Arc::default(), Arc::default());
            let mut verdicts = [Verdict::drop(Reason::Malformed); Judge::BATCH];
            group.bench_function(format!("{packets}/{records}"), |bencher| {
                bencher.iter(|| live.judge(&received, &mut verdicts));
            });
            drop(trace);
        }
    }
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
