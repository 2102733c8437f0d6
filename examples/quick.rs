#[path = "../benches/support/mod.rs"]
mod support;
use offramp::filter::*;
use offramp::packet::*;
use std::time::*;
fn main() {
    for v6 in [false, true] {
        for count in [4096usize, 65536] {
            for size in [16, 1000, 10000] {
                let sets = support::sets(size, v6);
                let ring = support::packets(&sets, count, 64);
                let packets: Vec<Received> = ring
                    .chunks_exact(64)
                    .map(|p| Received::whole(p, Duration::ZERO))
                    .collect();
                let t = Instant::now();
                let policy = CompiledPolicy::new(support::policy(&sets), Generation(1)).unwrap();
                let compile = t.elapsed();
                let mut judge = Judge::new(1024);
                let mut verdicts = [Verdict::drop(Reason::Malformed); 64];
                let mut best = f64::MAX;
                let rounds = 20_000_000 / count;
                for _ in 0..rounds {
                    let t = Instant::now();
                    for batch in packets.chunks(64) {
                        judge.judge(&policy, batch, &mut verdicts[..batch.len()]);
                        std::hint::black_box(&verdicts);
                    }
                    best = best.min(t.elapsed().as_nanos() as f64 / count as f64);
                }
                println!(
                    "v6={v6} ring={count} size={size}: {best:.2} ns, memory {} compile {compile:?}",
                    policy.memory_bytes()
                );
                if v6 && size > 100 {
                    break;
                }
            }
        }
    }
}
