//! The programs in the kernel, run on packets by `BPF_PROG_TEST_RUN`, agree with the judge. They take root: without it the
//! tests are skipped, loudly, and never in CI.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use aya::programs::{TestRun, TestRunOptions};

use super::programs::{Programs, Room, Target};
use crate::capture::{CaptureReader, LinkPayload, gunzip, ip_packet};
use crate::filter::strategy::{self, Scenario};
use crate::filter::{Capacity, CompiledPolicy, Generation, Judge, KernelTables};
use crate::packet::{Received, Traffic};
use crate::policy::FailMode;
use crate::random::Random;
use crate::verdict::{Action, Reason, Verdict};

/// The programs, with room for a large policy; `None` where this user may not load them. Any other reason is an error in CI.
fn programs() -> Option<Programs> {
    let target = Target {
        index: 1,
        workers: 1,
    };
    let loaded = Programs::load(
        target,
        Room {
            rows: 1 << 13,
            counters: 256,
        },
        FailMode::Closed,
    );
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

/// What the entry program of Ethernet interfaces does with a packet.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passes,
    IsDiverted,
}

fn enter(programs: &mut Programs, packet: &[u8]) -> Outcome {
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
    // Or packets that follow a diverted one would wait for it.
    programs.settle();
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

/// Runs the program on `packets`, and compares: what passes is forwarded, for the same reason and rule, and counted so.
/// Returns how many passed.
fn compare(programs: &mut Programs, policy: &CompiledPolicy, packets: &[Vec<u8>]) -> usize {
    let tables = KernelTables::of(policy);
    assert!(programs.room().fits(&tables), "it is a small policy");
    programs.enforce(&tables);
    let mut judge = Judge::new(Capacity::of(4096));
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

/// `EBPF_PACKETS` asks for as many: a million take minutes.
#[test]
fn the_kernel_passes_only_generated_packets_that_the_judge_forwards() {
    let Some(mut programs) = programs() else {
        return;
    };
    let wanted = std::env::var("EBPF_PACKETS").map_or(40_000, |it| it.parse().expect("a number"));
    let mut random = Random(1);
    let (mut sent, mut passed) = (0, 0);
    while sent < wanted {
        let mut noise = |length: usize| {
            let words = (0..length / 8).map(|_| random.next_u64().to_le_bytes());
            words.flatten().collect::<Vec<u8>>()
        };
        let bytes = noise(1_400);
        let Ok(scenario) = Scenario::arbitrary(&mut Unstructured::new(&bytes)) else {
            continue;
        };
        let policy = CompiledPolicy::new(scenario.policy.clone(), Generation(1)).expect("small");
        let mut packets = Vec::new();
        while packets.len() < 1_000 {
            let bytes = noise(1_000);
            let arrivals = strategy::arrivals(&mut Unstructured::new(&bytes), &scenario.policy);
            let arrivals = arrivals.into_iter().flatten();
            packets.extend(
                arrivals
                    .flat_map(|it| [made_plain(&it.packet), Some(it.packet)])
                    .flatten(),
            );
        }
        sent += packets.len();
        passed += compare(&mut programs, &policy, &packets);
    }
    println!("{passed} of {sent} packets pass");
    assert!(passed > sent / 20, "{passed} of {sent}");
}

/// The same addresses and ports in a whole packet without options, fragments or extension headers; `None` if it is too short.
fn made_plain(packet: &[u8]) -> Option<Vec<u8>> {
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

/// The packets of each capture, cut short or not, and the policy that comes with it.
#[test]
fn the_kernel_passes_only_recorded_packets_that_the_judge_forwards() {
    let Some(mut programs) = programs() else {
        return;
    };
    let folder = std::env::var_os("OFFRAMP_CAPTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures"),
        Into::into,
    );
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    if !folder.exists() {
        assert!(
            std::env::var_os("CI").is_none(),
            "nothing is skipped in CI: {}",
            folder.display()
        );
        eprintln!(
            "SKIPPED: the captures of others: there is no {}",
            folder.display()
        );
    }
    let (mut captures, mut sent, mut passed) = (0, 0, 0);
    for folder in [folder, own] {
        let files = fs::read_dir(&folder).into_iter().flatten();
        let files = files.filter_map(|file| Some(file.ok()?.path()));
        for policy_file in files.filter(|it| it.to_string_lossy().ends_with(".policy.toml")) {
            let text = fs::read(&policy_file).expect("it is readable");
            let Ok((policy, _)) = crate::policy::parse("policy.toml", &text) else {
                continue;
            };
            let Ok(policy) = CompiledPolicy::new(policy, Generation(1)) else {
                continue;
            };
            // `NAME.pcap.policy.toml` beside `NAME.pcap`, or `NAME.policy.toml` beside `NAME.pcapng`.
            let name = policy_file.to_string_lossy();
            let name = name.trim_end_matches(".policy.toml");
            let capture = [
                name.to_owned(),
                format!("{name}.pcapng"),
                format!("{name}.pcap"),
            ];
            let Some(capture) = capture.iter().map(Path::new).find(|it| it.is_file()) else {
                continue;
            };
            let packets = packets_of(capture);
            captures += 1;
            sent += packets.len();
            passed += compare(&mut programs, &policy, &packets);
        }
    }
    println!("{passed} of {sent} packets of {captures} captures pass");
    assert!(captures > 0 && passed > 0);
}

fn packets_of(capture: &Path) -> Vec<Vec<u8>> {
    let file = fs::File::open(capture).expect("it is readable");
    let mut reader = CaptureReader::new(gunzip(file).expect("a capture")).expect("a capture");
    let mut packets = Vec::new();
    // Some end in the middle of a block.
    while let Ok(Some(frame)) = reader.next_frame() {
        if let LinkPayload::Ip { packet, .. } = ip_packet(frame.link_type, frame.bytes) {
            packets.push(packet.to_vec());
        }
    }
    packets
}

/// The committed object is what its source compiles to, under the compiler that it is pinned to.
#[test]
fn the_object_is_that_of_its_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gateway/divert/ebpf");
    let built = std::env::temp_dir().join(format!("offramp-program-{}.o", std::process::id()));
    let compiled = std::process::Command::new(folder.join("build"))
        .arg(&built)
        .output();
    let has_compiler = std::process::Command::new("clang-14")
        .arg("--version")
        .output()
        .is_ok();
    if !has_compiler {
        assert!(
            std::env::var_os("CI").is_none(),
            "nothing is skipped in CI: clang-14"
        );
        return eprintln!("SKIPPED: the object of the eBPF programs: clang-14 is not installed");
    }
    let compiled = compiled.expect("a shell");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let fresh = fs::read(&built).expect("it was written");
    fs::remove_file(&built).expect("it is ours");
    let committed = fs::read(folder.join("program.o")).expect("it is committed");
    assert!(
        fresh == committed,
        "src/gateway/divert/ebpf/build writes another program.o: commit it"
    );
}
