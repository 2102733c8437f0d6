//! The obvious filter: a tun device without offload, one packet per await, with the crates tun and tokio.

use std::thread;
use std::time::Instant;

use offramp::filter::{Capacity, CompiledPolicy, Generation, Judge};
use offramp::packet::Received;
use offramp::verdict::Action;

use crate::bed::Bed;
use crate::policy::{self, Length};

/// Starts the filter on the gateway for as long as the benchmark runs: table [`TABLE`] routes packets to it.
pub(crate) fn start(bed: &Bed) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime");
    let mut configuration = tun::Configuration::default();
    configuration
        .tun_name("plain0")
        .platform_config(|platform| {
            platform.ensure_root_privileges(false);
        });
    let device = bed.gateway.run(|| {
        let _reactor = runtime.enter();
        tun::create_as_async(&configuration)
    });
    let device = device
        .expect("the namespace is there")
        .expect("a tun device");
    bed.on_gateway("ip link set plain0 txqueuelen 5000 up");
    bed.on_gateway("ip address add 192.0.0.8/32 dev plain0");
    bed.on_gateway(&format!("ip route add default dev plain0 table {TABLE}"));
    let text = policy::as_file(Length::Ten, "nftables", "all");
    let (policy, _) = offramp::policy::parse("bench.toml", text.as_bytes()).expect("a policy");
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small one");
    thread::spawn(move || runtime.block_on(filter(device, &policy)));
}

/// Reads, judges and writes back one packet at a time.
async fn filter(device: tun::AsyncDevice, policy: &CompiledPolicy) {
    let mut judge = Judge::new(Capacity::GATEWAY);
    let start = Instant::now();
    let mut packet = vec![0; 65_536];
    while let Ok(length) = device.recv(&mut packet).await {
        let packet = &packet[..length];
        let verdict = judge.judge_one(policy, Received::whole(packet, start.elapsed()));
        if verdict.action == Action::Forward {
            // A full device drops packets, like any device.
            _ = device.send(packet).await;
        }
    }
}

/// The route table that leads to the filter.
pub(crate) const TABLE: u32 = 100;
