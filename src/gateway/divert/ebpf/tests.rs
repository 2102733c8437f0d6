//! The programs in the kernel, run on packets by `BPF_PROG_TEST_RUN`, agree with the judge. They take root: without it the
//! tests are skipped, loudly, and never in CI.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::EbpfPlan;
use super::agreement::{Outcome, compare, enter, enter_behind_others, made_plain, programs};
use super::entries::Entries;
use super::programs::Programs;
use crate::capture::{CaptureReader, LinkPayload, gunzip, ip_packet};
use crate::filter::strategy::{self, Scenario};
use crate::filter::{CompiledPolicy, Generation, KernelTables};
use crate::gateway::divert::DivertPlan as _;
use crate::gateway::divert::netlink::{Link, LinkKind};
use crate::gateway::tun::ClearFlows as _;
use crate::packet::Protocol;
use crate::packet::media::Segment;
use crate::random::Random;
use crate::verdict::{Reason, Verdict};
use arbitrary::{Arbitrary, Unstructured};

/// A policy that drops connectivity checks between clients and to offices.
const ICE: &str = "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"fd00::/64\"]\n\
                   [corporate]\nsubnets = [\"10.0.0.0/8\", \"fd01::/64\"]\n[media]\nmatch = \"ice\"\n";

fn ice(generation: u64) -> CompiledPolicy {
    let (policy, _) = crate::policy::parse("ice.toml", ICE.as_bytes()).expect("a good policy");
    CompiledPolicy::new(policy, Generation(generation)).expect("a small policy")
}

/// A packet from port 50000 of a client to `port` of an office, with `payload` behind its transport header.
fn to_office(is_ipv6: bool, protocol: Protocol, port: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let mut transport = vec![0xc3, 0x50, high, low];
    match protocol {
        Protocol::Udp => transport.extend([0, 8, 0, 0]),
        Protocol::Tcp => transport.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]),
    }
    transport.extend(payload);
    let length = transport.len() as u16;
    let mut packet = if is_ipv6 {
        let [high, low] = length.to_be_bytes();
        let mut header = vec![0x60, 0, 0, 0, high, low, protocol.number(), 64];
        for site in [0, 1] {
            header.extend([0xfd, site, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
        }
        header
    } else {
        let [high, low] = (length + 20).to_be_bytes();
        let header = [0x45, 0, high, low, 0, 0, 0, 0, 64, protocol.number(), 0, 0];
        [&header[..], &[172, 16, 1, 10, 10, 1, 0, 10]].concat()
    };
    packet.extend(transport);
    packet
}

#[test]
fn a_cleared_flow_passes_once_the_worker_has_forwarded_what_it_was_handed() {
    use Outcome::{IsDiverted, Passes};
    let Some(mut programs) = programs() else {
        return;
    };
    let flows = Arc::clone(programs.flows());
    let default = Verdict::forward(Reason::Default);
    let mut generation = 1;
    for is_ipv6 in [false, true] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let tables = Arc::new(KernelTables::of(&ice(generation)));
            programs.enforce(&tables);
            let packet = to_office(is_ipv6, protocol, 50_000, &[7; 40]);
            let (flow, _) = Segment::of_plain(&packet).expect("a plain packet");
            assert_eq!(
                enter(&mut programs, &packet),
                IsDiverted,
                "nothing is known of it"
            );
            flows.clear(Generation(generation + 1), &flow, default);
            assert_eq!(
                enter(&mut programs, &packet),
                IsDiverted,
                "by another policy"
            );
            flows.clear(Generation(generation), &flow, default);
            // Packets of the flow may be in the queue: the first one notes its number, and the others wait for it.
            assert_eq!(
                enter(&mut programs, &packet),
                IsDiverted,
                "the first behind"
            );
            assert_eq!(
                enter_behind_others(&mut programs, &packet),
                IsDiverted,
                "unread"
            );
            assert_eq!(enter(&mut programs, &packet), Passes, "all are written");
            assert_eq!(
                enter_behind_others(&mut programs, &packet),
                Passes,
                "and stay so"
            );
            let other_port = to_office(is_ipv6, protocol, 50_001, &[7; 40]);
            assert_eq!(
                enter(&mut programs, &other_port),
                IsDiverted,
                "another flow"
            );
            let other_family = to_office(!is_ipv6, protocol, 50_000, &[7; 40]);
            assert_eq!(
                enter(&mut programs, &other_family),
                IsDiverted,
                "another flow"
            );
            let counter = tables.counter(default).expect("it has one");
            let counted = programs.passed(counter.into()).pop();
            assert_eq!(
                counted.map(|it| it.packets),
                Some(2),
                "counted as forwarded"
            );

            // Nothing of it is known to a policy that comes later.
            generation += 1;
            programs.enforce(&Arc::new(KernelTables::of(&ice(generation))));
            assert_eq!(enter(&mut programs, &packet), IsDiverted, "another policy");
            generation += 1;
        }
    }
}

#[test]
fn a_cleared_flow_is_judged_where_it_begins_or_has_the_cookie_of_stun() {
    use Outcome::{IsDiverted, Passes};
    let Some(mut programs) = programs() else {
        return;
    };
    let flows = Arc::clone(programs.flows());
    programs.enforce(&Arc::new(KernelTables::of(&ice(1))));
    let clear = |programs: &mut Programs, packet: &[u8]| {
        let (flow, _) = Segment::of_plain(packet).expect("a plain packet");
        flows.clear(Generation(1), &flow, Verdict::forward(Reason::Default));
        _ = enter(programs, packet);
        assert_eq!(enter(programs, packet), Passes);
        flow
    };
    for is_ipv6 in [false, true] {
        let plain = to_office(is_ipv6, Protocol::Udp, 50_000, &[7; 40]);
        let flow = clear(&mut programs, &plain);
        for at in [4, 8, 16] {
            let mut payload = [7; 40];
            payload[at..at + 4].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            let check = to_office(is_ipv6, Protocol::Udp, 50_000, &payload);
            assert_eq!(enter(&mut programs, &check), IsDiverted, "a cookie at {at}");
            assert_eq!(
                enter_behind_others(&mut programs, &plain),
                IsDiverted,
                "what follows waits"
            );
            assert_eq!(enter(&mut programs, &plain), Passes, "it was no media");
        }
        let short = to_office(is_ipv6, Protocol::Udp, 50_000, &[7; 3]);
        assert_eq!(enter(&mut programs, &short), Passes, "no room for a cookie");
        flows.forget(Generation(1), &flow);
        assert_eq!(enter(&mut programs, &plain), IsDiverted, "it was media");

        let segment = to_office(is_ipv6, Protocol::Tcp, 50_000, &[7; 40]);
        clear(&mut programs, &segment);
        let mut start = segment.clone();
        let flags = if is_ipv6 { 40 } else { 20 } + 13;
        start[flags] = 0x02;
        assert_eq!(
            enter(&mut programs, &start),
            IsDiverted,
            "another connection"
        );
        assert_eq!(
            enter(&mut programs, &segment),
            IsDiverted,
            "of which nothing is known"
        );
    }
}

#[test]
fn an_interface_that_takes_no_program_is_a_failure_until_it_is_gone() {
    let Some(mut programs) = programs() else {
        return;
    };
    let (policy, _) = crate::policy::parse(
        "vpn.toml",
        ICE.replacen("[vpn]", "[vpn]\ninterfaces = [\"nowhere*\"]", 1)
            .as_bytes(),
    )
    .expect("a good policy");
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
    let plan = EbpfPlan::of(&policy);
    let link = Link {
        index: u32::MAX >> 1,
        name: "nowhere0".to_owned(),
        kind: LinkKind::Ip,
        is_bridge_port: false,
        is_up: true,
        received: 0,
    };
    let mut entries = Entries::default();
    entries.follow(&plan, &mut programs, &[link]);
    let failed: Vec<&str> = entries.failed().map(|(name, _)| name).collect();
    assert_eq!(failed, ["nowhere0"]);
    entries.follow(&plan, &mut programs, &[]);
    assert_eq!(entries.failed().count(), 0);
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
        // Or flows cleared under one policy would pass under the next.
        let generation = Generation(sent as u64 + 1);
        let policy = CompiledPolicy::new(scenario.policy.clone(), generation).expect("small");
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

/// The packets of each capture, cut short or not, and the policy that comes with it.
#[test]
fn the_kernel_passes_only_recorded_packets_that_the_judge_forwards() {
    let Some(mut programs) = programs() else {
        return;
    };
    let (mut captures, mut sent, mut passed) = (0, 0, 0);
    for folder in [folder_of_others("captures"), own_captures()] {
        let files = fs::read_dir(&folder).into_iter().flatten();
        let files = files.filter_map(|file| Some(file.ok()?.path()));
        for policy_file in files.filter(|it| it.to_string_lossy().ends_with(".policy.toml")) {
            let text = fs::read(&policy_file).expect("it is readable");
            let Ok((policy, _)) = crate::policy::parse("policy.toml", &text) else {
                continue;
            };
            let Ok(policy) = CompiledPolicy::new(policy, Generation(captures + 1)) else {
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

/// Flows of real clients and everything else, each cleared or not by the evidence that is asked for.
#[test]
fn the_kernel_passes_only_recorded_flows_that_show_no_media() {
    let Some(mut programs) = programs() else {
        return;
    };
    let (mut sent, mut passed, mut compared) = (0, 0, 0);
    for folder in ["captures", "captures-media"] {
        let files = fs::read_dir(folder_of_others(folder)).into_iter().flatten();
        let files = files.filter_map(|file| Some(file.ok()?.path()));
        let is_capture = |file: &PathBuf| {
            let name = file.to_string_lossy();
            [".pcap", ".pcapng", ".pcap.gz"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        for capture in files.filter(is_capture) {
            let packets = packets_of(&capture);
            for word in ["ice", "ice-microsoft", "media"] {
                let text = format!(
                    "[vpn]\nclient_subnets = [\"0.0.0.0/0\", \"::/0\"]\n[media]\nmatch = \"{word}\"\nports = [\"1024-65535\"]\n"
                );
                let (policy, _) =
                    crate::policy::parse("media.toml", text.as_bytes()).expect("good");
                let policy = CompiledPolicy::new(policy, Generation(compared)).expect("small");
                compared += 1;
                sent += packets.len();
                passed += compare(&mut programs, &policy, &packets);
            }
        }
    }
    let flows = programs.flows().counts().cleared;
    println!("{passed} of {sent} packets pass, {flows} flows were cleared");
    assert!(sent == 0 || flows > 100 && passed > sent / 4);
}

fn own_captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// A folder of captures that are not ours; without it, the test skips them, loudly, and never in CI.
fn folder_of_others(name: &str) -> PathBuf {
    let elsewhere = std::env::var_os("OFFRAMP_CAPTURES").filter(|_| name == "captures");
    let shared = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = elsewhere.map_or_else(|| shared().join(name), Into::into);
    if !folder.exists() {
        let folder = folder.display();
        assert!(
            std::env::var_os("CI").is_none(),
            "nothing is skipped in CI: {folder}"
        );
        eprintln!("SKIPPED: captures of others: there is no {folder}");
    }
    folder
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
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let built = scratch.path().join("program.o");
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
