//! Asserts that the entry program, run by the kernel on packets (`BPF_PROG_TEST_RUN`), passes only what the judge forwards.
//!
//! It takes the right to load programs: without it, tests and the fuzz target skip this, and say so.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions};

use super::programs::{Programs, Target};
use crate::filter::strategy::Scenario;
use crate::filter::{Capacity, CompiledPolicy, Generation, Judge, KernelTables, TableRoom};
use crate::gateway::tun::ClearFlows as _;
use crate::packet::media::{FlowKey, Segment};
use crate::packet::{Received, Traffic};
use crate::policy::FailMode;
use crate::verdict::{Action, Reason, Verdict};

/// Runs the entry program on the packets of `scenario`, as they are and made plain, with and without addresses of the
/// gateway's own. Does nothing where programs may not be loaded, and says so once.
///
/// # Panics
/// If a packet passes that the judge would not forward for certain, or is counted as another one.
pub fn fuzz_programs(scenario: &Scenario) {
    thread_local! {
        static LOADED: RefCell<Option<(Programs, u64)>> = RefCell::new(programs().map(|it| (it, 0)));
    }
    let packets: Vec<Vec<u8>> = scenario
        .arrivals
        .iter()
        .flat_map(|it| [made_plain(&it.packet), Some(it.packet.clone())])
        .flatten()
        .collect();
    LOADED.with_borrow_mut(|loaded| {
        let Some((programs, generation)) = loaded else {
            return;
        };
        for own in [Vec::new(), scenario.own_addresses()] {
            // Or flows cleared under one policy would pass under the next.
            *generation += 1;
            let policy = compiled(scenario, Generation(*generation), &own);
            compare(programs, &policy, &packets);
        }
    });
}

fn compiled(scenario: &Scenario, generation: Generation, own: &[IpAddr]) -> CompiledPolicy {
    CompiledPolicy::at_gateway(scenario.policy.clone(), generation, own)
        .expect("a generated policy is small")
}

const ROOM: TableRoom = TableRoom {
    rows: 1 << 13,
    counters: 255,
};

/// The programs, with room for a large policy; `None` where this user may not load them. Any other reason is an error in CI.
pub(super) fn programs() -> Option<Programs> {
    let target = Target {
        index: 1,
        queues: 1,
    };
    let loaded = Programs::load(target, ROOM, FailMode::Closed);
    match loaded {
        Ok(programs) => Some(programs),
        Err(error) => {
            let is_forbidden = error.to_string().contains("Operation not permitted");
            assert!(
                is_forbidden || std::env::var_os("CI").is_none(),
                "nothing is skipped in CI: {error}"
            );
            eprintln!("SKIPPED: eBPF programs: {error}");
            None
        }
    }
}

/// The outcome of the entry program of Ethernet interfaces for a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passes,
    IsDiverted,
}

/// Has a packet enter; the worker has found its queue empty before.
pub(super) fn enter(programs: &mut Programs, packet: &[u8]) -> Outcome {
    programs.settle();
    enter_behind_others(programs, packet)
}

/// Has a packet enter while the worker may not have read those before.
pub(super) fn enter_behind_others(programs: &mut Programs, packet: &[u8]) -> Outcome {
    // To the address of the loopback device, on which the kernel runs it.
    let mut frame = vec![0; 12];
    frame.extend(match packet.first() {
        Some(first) if first >> 4 == 6 => [0x86, 0xdd],
        _ => [0x08, 0x00],
    });
    frame.extend(packet);
    let options = TestRunOptions {
        data_in: Some(&frame),
        repeat: 1,
        ..TestRunOptions::default()
    };
    let run = programs.entry().test_run(options);
    match run.expect("the kernel runs it").return_value {
        // TC_ACT_UNSPEC and TC_ACT_REDIRECT (linux/pkt_cls.h).
        u32::MAX => Outcome::Passes,
        7 => Outcome::IsDiverted,
        other => panic!("it returns {other}"),
    }
}

/// True if the kernel runs a program on the packet (it has a whole IP header, and a page has room for it), and if routers
/// forward it: the program leaves neighbor discovery alone.
fn is_run(packet: &[u8]) -> bool {
    match packet {
        [0x60..0x70, ..] => {
            let is_of_link = |packet: &[u8]| {
                packet[8] == 0xfe && packet[9] & 0xc0 == 0x80
                    || packet[24] == 0xff && packet[25] & 0x0f <= 2
            };
            (40..=3_000).contains(&packet.len()) && !is_of_link(packet)
        }
        _ => (20..=3_000).contains(&packet.len()),
    }
}

/// Runs the program on `packets`, and compares: what passes is forwarded, for the same reason and rule, and counted so. A judge
/// that sees what is diverted clears flows, as a worker does; another one sees every packet. Returns how many passed.
pub(super) fn compare(
    programs: &mut Programs,
    policy: &CompiledPolicy,
    packets: &[Vec<u8>],
) -> usize {
    let tables = Arc::new(KernelTables::within(ROOM, policy));
    assert!(!tables.is_partial(), "it is a small policy");
    // No packet is looked up meanwhile.
    programs.exchange(&tables);
    let flows = Arc::clone(programs.flows());
    let [mut judge, mut worker] = [(); 2].map(|()| Judge::new(Capacity::of(4096)));
    let mut expected: HashMap<Verdict, u64> = HashMap::new();
    let mut passed = 0;
    for packet in packets.iter().filter(|it| is_run(it)) {
        let verdict = judge.judge_one(policy, Received::whole(packet, Duration::ZERO));
        if enter(programs, packet) == Outcome::Passes {
            assert!(
                verdict.action == Action::Forward
                    && matches!(
                        verdict.reason,
                        Reason::Default
                            | Reason::Allow
                            | Reason::Public
                            | Reason::NotAClient
                            | Reason::Gateway
                    ),
                "{verdict}: {packet:02x?} {:?}",
                policy.policy()
            );
            *expected.entry(verdict).or_default() += 1;
            passed += 1;
        } else if let Some((flow, verdict)) = settled(&mut worker, policy, packet) {
            match verdict.action {
                Action::Forward => flows.clear(policy.generation(), &flow, verdict),
                Action::Drop => flows.forget(policy.generation(), &flow),
            }
        }
    }
    let counted = programs.passed(tables.verdicts().len());
    let counted = tables.verdicts().iter().zip(counted);
    let counted = counted.filter(|(_, traffic)| *traffic != Traffic::default());
    let counted: HashMap<Verdict, u64> = counted
        .map(|(it, traffic)| (*it, traffic.packets))
        .collect();
    assert_eq!(counted, expected, "{:?}", policy.policy());
    passed
}

/// The flow and the verdict of a packet, if it is what a worker tells the diversion of.
fn settled(
    worker: &mut Judge,
    policy: &CompiledPolicy,
    packet: &[u8],
) -> Option<(FlowKey, Verdict)> {
    let mut verdicts = [Verdict::drop(Reason::Malformed)];
    worker.judge(
        policy,
        &[Received::whole(packet, Duration::ZERO)],
        &mut verdicts,
    );
    let [verdict] = verdicts;
    let is_told = match verdict.action {
        Action::Forward => worker.is_certain(0) && verdict.reason != Reason::NotAClient,
        Action::Drop => verdict.media.is_some(),
    };
    let (flow, _) = Segment::of_plain(packet)?;
    is_told.then_some((flow, verdict))
}

/// The same addresses and ports in a whole packet without options, fragments or extension headers; `None` if it is too short.
pub(super) fn made_plain(packet: &[u8]) -> Option<Vec<u8>> {
    let mut plain = packet.to_vec();
    let protocol = [6, 17, 58, 1][packet.len() % 4];
    let length = u16::try_from(plain.len()).ok()?;
    match plain.first()? >> 4 {
        4 if plain.len() >= 24 => {
            plain[0] = 0x45;
            plain[2..4].copy_from_slice(&length.to_be_bytes());
            plain[6..8].fill(0);
            plain[9] = protocol;
        }
        6 if plain.len() >= 44 => {
            plain[4..6].copy_from_slice(&(length - 40).to_be_bytes());
            plain[6] = protocol;
        }
        _ => return None,
    }
    Some(plain)
}
