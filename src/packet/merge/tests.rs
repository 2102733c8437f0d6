use proptest::prelude::*;

use super::flows::{Flow, Oddity, Sent};
use super::reference::{assert_cut_gives_back, fuzz_merge, written};
use super::*;

fn usual(payload: usize) -> Sent {
    Sent {
        payload,
        oddity: Oddity::None,
    }
}

fn oddity() -> impl Strategy<Value = Oddity> {
    use Oddity::*;
    let rare = prop_oneof![
        any::<u8>().prop_map(Flags),
        any::<u16>().prop_map(Corrupt),
        any::<u16>().prop_map(Corrupt),
        (0..60_u8).prop_map(Runt),
        proptest::sample::select(vec![
            Push,
            Finish,
            Reserved,
            Acknowledges,
            Window,
            Option,
            Urgent,
            Ttl,
            Tos,
            FlowLabel,
            Fragments,
            Id,
            Gap,
            Again,
            PartialWrong,
            NoChecksum,
            AllOnes,
            Padding,
            Fragment,
            Options,
            OtherProtocol,
        ]),
    ];
    prop_oneof![8 => Just(None), 2 => Just(Partial), 3 => rare]
}

proptest! {
    #[test]
    fn what_went_in_comes_out_in_the_order_of_its_flow(
        sends in proptest::collection::vec((0..5_usize, prop_oneof![6 => Just(24_usize), 1 => 0..40_usize], oddity()), 0..=BATCH),
        offload in prop_oneof![Just(Offload::Tcp), Just(Offload::TcpAndUdp)],
    ) {
        let mut flows = Flow::all();
        let frames: Vec<Vec<u8>> = sends
            .into_iter()
            .map(|(flow, payload, oddity)| flows[flow].send(Sent { payload, oddity }))
            .collect();
        assert_cut_gives_back(&frames, offload);
    }

    #[test]
    fn any_bytes_do_no_harm(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..8)) {
        let written = written(&frames, Offload::TcpAndUdp);
        prop_assert_eq!(written.iter().map(|(_, packets)| packets).sum::<usize>(), frames.len());
    }
}

/// The number of packets in each write, for packets of one flow.
fn runs(flow: usize, sends: &[Sent]) -> Vec<usize> {
    let mut flow = Flow::all().swap_remove(flow);
    let frames: Vec<Vec<u8>> = sends.iter().map(|sent| flow.send(*sent)).collect();
    let written = written(&frames, Offload::TcpAndUdp);
    written.iter().map(|(_, packets)| *packets).collect()
}

const TCP4: usize = 0;
const UDP4: usize = 2;
const TCP6: usize = 3;
const UDP6: usize = 4;

#[test]
fn a_batch_of_one_flow_becomes_as_few_packets_as_it_can() {
    for flow in [TCP4, UDP4, TCP6, UDP6] {
        assert_eq!(runs(flow, &[usual(100); 64]), [64]);
        // 65,535 bytes hold 45 of these.
        assert_eq!(runs(flow, &[usual(1_440); 64])[..], [45, 19]);
    }
}

#[test]
fn a_run_is_no_longer_than_the_longest_packet() {
    // 45 payloads of 1,440 bytes, and a last one that fills 65,535 bytes to the end, or passes it by one.
    for (flow, headers) in [(TCP4, 52), (UDP4, 28), (TCP6, 72), (UDP6, 48)] {
        let rest = 65_535 - headers - 45 * 1_440;
        let with_last = |last| {
            let mut sends = vec![usual(1_440); 45];
            sends.push(usual(last));
            runs(flow, &sends)
        };
        assert_eq!(with_last(rest), [46]);
        assert_eq!(with_last(rest + 1), [45, 1]);
    }
}

#[test]
fn an_ipv4_checksum_of_all_ones_stands_apart() {
    // Zero and all ones are both right; the kernel writes zero.
    for number in [TCP4, UDP4] {
        let mut flow = Flow::all().swap_remove(number);
        let checksum =
            VirtioHeader::LENGTH + IPV4_CHECKSUM..VirtioHeader::LENGTH + IPV4_CHECKSUM + 2;
        flow.id = (0..u16::MAX)
            .find(|&id| {
                let frame = Flow { id, ..flow.clone() }.send(usual(100));
                frame[checksum.clone()] == [0, 0]
            })
            .expect("some identification makes the checksum zero");
        flow.id = flow.id.wrapping_sub(1);
        let mut frames: Vec<Vec<u8>> = (0..3).map(|_| flow.send(usual(100))).collect();
        let counts = |frames: &[Vec<u8>]| -> Vec<usize> {
            let written = written(frames, Offload::TcpAndUdp);
            written.iter().map(|(_, packets)| *packets).collect()
        };
        assert_eq!(counts(&frames), [3]);
        frames[1][checksum].fill(0xff);
        assert_eq!(counts(&frames), [1, 1, 1]);
    }
}

#[test]
fn a_shorter_packet_is_the_last_and_a_longer_one_begins_anew() {
    for flow in [TCP4, UDP4, TCP6, UDP6] {
        let sends = [100, 100, 99, 100, 100, 101, 101].map(usual);
        assert_eq!(runs(flow, &sends), [3, 2, 2]);
    }
}

#[test]
fn flags_that_the_kernel_keeps_for_the_last_packet_end_a_run() {
    let push = Sent {
        payload: 100,
        oddity: Oddity::Push,
    };
    for flow in [TCP4, TCP6] {
        let sends = [usual(100), usual(100), push, usual(100), usual(100)];
        assert_eq!(runs(flow, &sends), [3, 2]);
    }
}

#[test]
fn whatever_cutting_would_not_give_back_stands_apart() {
    let of = |oddity| Sent {
        payload: 100,
        oddity,
    };
    let everywhere = [
        Oddity::Ttl,
        Oddity::Tos,
        Oddity::Padding,
        Oddity::Corrupt(500),
        Oddity::Fragment,
        Oddity::Options,
        Oddity::NoChecksum,
        Oddity::PartialWrong,
    ];
    let of_tcp = [
        Oddity::Flags(0x90),
        Oddity::Flags(0x02),
        Oddity::Flags(0x00),
        Oddity::Reserved,
        Oddity::Acknowledges,
        Oddity::Window,
        Oddity::Option,
        Oddity::Urgent,
        Oddity::AllOnes,
    ];
    for flow in [TCP4, UDP4, TCP6, UDP6] {
        for oddity in everywhere {
            let sends = [usual(100), usual(100), of(oddity), usual(100), usual(100)];
            assert_eq!(runs(flow, &sends), [2, 1, 2], "{oddity:?}");
        }
    }
    for flow in [TCP4, TCP6] {
        for oddity in of_tcp {
            let sends = [usual(100), usual(100), of(oddity), usual(100), usual(100)];
            assert_eq!(runs(flow, &sends), [2, 1, 2], "{oddity:?}");
        }
        // From a gap on, all goes on as usual.
        assert_eq!(
            runs(flow, &[usual(100), of(Oddity::Gap), usual(100)]),
            [1, 2]
        );
    }
    for flow in [TCP4, UDP4] {
        assert_eq!(
            runs(flow, &[usual(100), of(Oddity::Id), usual(100)]),
            [1, 2]
        );
        // May be fragmented, must not be fragmented.
        let sends = [usual(100), of(Oddity::Fragments), usual(100)];
        assert_eq!(runs(flow, &sends), [1, 1, 1]);
    }
    assert_eq!(
        runs(TCP6, &[usual(100), of(Oddity::FlowLabel), usual(100)]),
        [1, 1, 1]
    );
}

#[test]
fn checksums_that_the_kernel_completes_are_no_obstacle() {
    let partial = Sent {
        payload: 100,
        oddity: Oddity::Partial,
    };
    for flow in [TCP4, UDP4, TCP6, UDP6] {
        assert_eq!(runs(flow, &[partial; 5]), [5]);
        assert_eq!(runs(flow, &[usual(100), partial, usual(100)]), [3]);
    }
}

#[test]
fn a_kernel_that_takes_no_udp_gets_none_merged() {
    let mut flow = Flow::all().swap_remove(UDP4);
    let frames: Vec<Vec<u8>> = (0..5).map(|_| flow.send(usual(100))).collect();
    assert_eq!(written(&frames, Offload::Tcp).len(), 5);
    assert_eq!(written(&frames, Offload::TcpAndUdp).len(), 1);
}

#[test]
fn flows_that_alternate_are_merged_each() {
    let mut flows = Flow::all();
    let frames: Vec<Vec<u8>> = (0..50)
        .map(|number| flows[number % 5].send(usual(100)))
        .collect();
    let written = written(&frames, Offload::TcpAndUdp);
    assert!(
        written.iter().all(|(_, packets)| *packets == 10),
        "a hash that two of five share"
    );
}

#[test]
fn a_write_knows_the_frames_that_it_is_made_of() {
    let mut flows = Flow::all();
    let frames = [TCP4, UDP4, TCP4, UDP4].map(|flow| flows[flow].send(usual(100)));
    let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut merger = Merger::new(Offload::Tcp, Framing::Ip);
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let writes = merger.merge(&slices, &mut pieces);
    assert_eq!(writes.len(), 3);
    let of: Vec<Vec<&[u8]>> = writes.map(|merged| merged.frames.collect()).collect();
    assert_eq!(
        of,
        [vec![slices[0], slices[2]], vec![slices[1]], vec![slices[3]]]
    );
}

#[test]
fn a_write_is_as_long_as_its_pieces() {
    let mut flow = Flow::all().swap_remove(TCP4);
    let frames: Vec<Vec<u8>> = (0..3).map(|_| flow.send(usual(100))).collect();
    let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut merger = Merger::new(Offload::Tcp, Framing::Ip);
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let lengths: Vec<usize> = merger
        .merge(&slices, &mut pieces)
        .map(|merged| merged.length())
        .collect();
    assert_eq!(lengths, [VirtioHeader::LENGTH + 52 + 300]);
}

#[test]
fn a_partial_checksum_at_another_offset_stands_apart() {
    let partial = Sent {
        payload: 100,
        oddity: Oddity::Partial,
    };
    for number in [TCP4, UDP4, TCP6, UDP6] {
        // In the virtio header: where the sum starts, and where it is written.
        for at in [6, 8] {
            let mut flow = Flow::all().swap_remove(number);
            let mut frames: Vec<Vec<u8>> = (0..3).map(|_| flow.send(partial)).collect();
            let field = u16::from_ne_bytes([frames[1][at], frames[1][at + 1]]) + 2;
            frames[1][at..at + 2].copy_from_slice(&field.to_ne_bytes());
            let written = written(&frames, Offload::TcpAndUdp);
            assert_eq!(written.len(), 3, "flow {number}, field {at}");
        }
    }
}

#[test]
fn few_of_many_flows_share_a_place() {
    // Two packets of 32 flows in turn, which differ by a port.
    for number in [TCP4, UDP4, TCP6, UDP6] {
        let mut flows: Vec<Flow> = (0..32)
            .map(|port| Flow {
                port: 50_000 + port,
                ..Flow::all().swap_remove(number)
            })
            .collect();
        let frames: Vec<Vec<u8>> = (0..64).map(|at| flows[at % 32].send(usual(100))).collect();
        let writes = written(&frames, Offload::TcpAndUdp).len();
        assert!(writes < 32 + 8, "{writes} writes of 32 flows by port");
    }
}

#[test]
fn unusual_packets_are_not_merged_with_each_other_either() {
    let of_tcp = [
        Oddity::Flags(0x90),
        Oddity::Flags(0x12),
        Oddity::Flags(0x30),
        Oddity::Flags(0x00),
        Oddity::Reserved,
        Oddity::Urgent,
        Oddity::Padding,
    ];
    for flow in [TCP4, TCP6] {
        for oddity in of_tcp {
            let sends = [Sent {
                payload: 100,
                oddity,
            }; 3];
            assert_eq!(runs(flow, &sends), [1, 1, 1], "{oddity:?}");
        }
    }
}

#[test]
fn a_super_packet_is_not_merged() {
    let partial = Sent {
        payload: 100,
        oddity: Oddity::Partial,
    };
    let of = [VirtioHeader::TCP_V4, VirtioHeader::TCP_V6];
    for (number, gso_type) in [TCP4, TCP6].into_iter().zip(of) {
        let mut flow = Flow::all().swap_remove(number);
        let mut frames: Vec<Vec<u8>> = (0..3).map(|_| flow.send(partial)).collect();
        frames[1][1] = gso_type;
        assert_eq!(written(&frames, Offload::TcpAndUdp).len(), 3);
    }
}

#[test]
fn udp_without_a_checksum_is_not_merged_though_its_sum_may_be_right() {
    let right = Sent {
        payload: 100,
        oddity: Oddity::AllOnes,
    };
    for (number, network) in [(UDP4, IPV4_HEADER), (UDP6, IPV6_HEADER)] {
        let mut flow = Flow::all().swap_remove(number);
        let mut frames: Vec<Vec<u8>> = (0..3).map(|_| flow.send(right)).collect();
        assert_eq!(written(&frames, Offload::TcpAndUdp).len(), 1);
        frames[1][VirtioHeader::LENGTH + network + UDP_CHECKSUM..][..2].fill(0);
        assert_eq!(written(&frames, Offload::TcpAndUdp).len(), 3);
    }
}

#[test]
fn a_fuzzed_batch_of_every_oddity_is_given_back() {
    let packets = (0..=u8::MAX).flat_map(|number| [number % 5, 24, number, 1, number]);
    let packets: Vec<u8> = packets.collect();
    for choice in 0..4 {
        for batch in packets.chunks(5 * BATCH) {
            fuzz_merge(&[&[choice], batch].concat());
        }
    }
}
