//! The cost of auditing judged packets.
//!
//! `cargo bench --bench audit`. The policy is the worked example of `config/contoso.toml`; verdicts are computed
//! beforehand, so that only [`Audit::record`] and header parsing are timed.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use offramp::audit::Audit;
use offramp::filter::{Capacity, CompiledPolicy, Generation, Judge};
use offramp::packet::{PacketView, Received};
use offramp::random::Random;
use offramp::verdict::Verdict;

const PACKETS: usize = 65_536;

/// Returns packets of `flows` flows in random order; `dropped` percent go to services and peers that the policy blocks.
fn traffic(flows: usize, dropped: usize) -> Vec<Vec<u8>> {
    let mut random = Random(flows as u64);
    let flow = |random: &mut Random| {
        let client = [172, 16, 1, random.below(256) as u8];
        let host = [10, 9, 10, random.below(256) as u8];
        let port = 49_152 + random.below(16_384) as u16;
        let builder = PacketBuilder::ipv4(client, host, 64);
        let mut bytes = Vec::new();
        let written = if random.below(100) >= dropped {
            builder
                .tcp(port, 443, 1, 64_000)
                .ack(1)
                .write(&mut bytes, &[0; 24])
        } else if random.below(2) == 0 {
            let service = [1_433, 5_432, 8_080, 49_670][random.below(4)];
            builder
                .tcp(port, service, 1, 64_000)
                .ack(1)
                .write(&mut bytes, &[0; 24])
        } else {
            let peer = 20_000 + random.below(20_000) as u16;
            builder.udp(port, peer).write(&mut bytes, &[0x80; 36])
        };
        written.expect("writing to memory");
        bytes
    };
    let flows: Vec<_> = (0..flows).map(|_| flow(&mut random)).collect();
    (0..PACKETS)
        .map(|_| flows[random.below(flows.len())].clone())
        .collect()
}

fn contoso() -> CompiledPolicy {
    let text = include_bytes!("../config/contoso.toml");
    let (policy, _) = offramp::policy::parse("contoso.toml", text).expect("it is in order");
    CompiledPolicy::new(policy, Generation(1)).expect("it is small")
}

fn record(criterion: &mut Criterion) {
    let policy = contoso();
    let mut group = criterion.benchmark_group("audit");
    group.throughput(Throughput::Elements(PACKETS as u64));
    for (flows, dropped) in [(2_000, 20), (2_000, 100), (20_000, 50)] {
        let mut judge = Judge::new(Capacity::of(16));
        let judged: Vec<(Vec<u8>, Verdict)> = traffic(flows, dropped)
            .into_iter()
            .map(|packet| {
                let received = Received::whole(&packet, Duration::ZERO);
                let verdict = judge.judge_one(&policy, received);
                (packet, verdict)
            })
            .collect();
        let mut audit = Audit::new();
        let name = BenchmarkId::new(format!("{dropped}% dropped"), flows);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for (packet, verdict) in &judged {
                    audit.record(*verdict, PacketView::parse(packet), packet.len());
                }
                black_box(&audit);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
