use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};
use proptest::prelude::*;

use super::reference::{completed, on_the_wire};
use super::*;

/// One direction of a connection, as it goes on.
#[derive(Debug, Clone)]
struct Flow {
    version: u8,
    protocol: Protocol,
    port: u16,
    sequence: u32,
    id: u16,
}

/// A packet of a flow, and what is unusual about it.
#[derive(Debug, Clone, Copy)]
struct Sent {
    payload: usize,
    oddity: Oddity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Oddity {
    None,
    /// PSH, as at the end of a burst.
    Push,
    Finish,
    /// CWR, URG, SYN, …: any flags.
    Flags(u8),
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
    /// The sequence number jumps.
    Gap,
    /// The packet before comes again.
    Again,
    /// A checksum that the kernel completes.
    Partial,
    /// One that it completes to a wrong one.
    PartialWrong,
    NoChecksum,
    /// A right checksum, but not the one of two that is usually written.
    AllOnes,
    Padding,
    /// One bit is wrong, somewhere.
    Corrupt(u16),
    Fragment,
    Options,
    OtherProtocol,
    Runt(u8),
}

impl Flow {
    fn all() -> Vec<Self> {
        let flow = |(version, protocol, port)| Self {
            version,
            protocol,
            port,
            // Both pass their ends.
            sequence: u32::MAX - 100,
            id: u16::MAX - 2,
        };
        let flows = [
            (4, Protocol::Tcp, 1_001),
            (4, Protocol::Tcp, 1_002),
            (4, Protocol::Udp, 1_001),
            (6, Protocol::Tcp, 1_001),
            (6, Protocol::Udp, 1_001),
        ];
        flows.map(flow).to_vec()
    }

    /// The next frame of it.
    fn send(&mut self, sent: Sent) -> Vec<u8> {
        let oddity = sent.oddity;
        if oddity == Oddity::Gap {
            self.sequence = self.sequence.wrapping_add(1_000);
        }
        if oddity == Oddity::Id {
            self.id = self.id.wrapping_add(7);
        }
        // Different from packet to packet.
        let seed = self.sequence.wrapping_mul(31).wrapping_add(self.id.into());
        let mut payload: Vec<u8> = (0..sent.payload)
            .map(|at| (seed as usize + at * 7) as u8)
            .collect();
        let mut frame = self.frame(&mut payload, oddity);
        if oddity != Oddity::Again {
            self.sequence = self.sequence.wrapping_add(sent.payload as u32);
            self.id = self.id.wrapping_add(1);
        }
        let bits = (frame.len() - VirtioHeader::LENGTH) * 8;
        match oddity {
            Oddity::Corrupt(at) if bits > 0 => {
                let at = usize::from(at) % bits;
                frame[VirtioHeader::LENGTH + at / 8] ^= 1 << (at % 8);
            }
            Oddity::Runt(length) => frame.truncate(length.into()),
            Oddity::Padding => frame.extend([0; 3]),
            _ => {}
        }
        frame
    }

    fn frame(&self, payload: &mut [u8], oddity: Oddity) -> Vec<u8> {
        let (network, transport) = (if self.version == 4 { 20 } else { 40 }, self.protocol);
        let is = |wanted| oddity == wanted;
        let mut tcp = TcpHeader::new(self.port, 443, self.sequence, 500);
        (tcp.ack, tcp.acknowledgment_number) = (true, 7_000 + u32::from(is(Oddity::Acknowledges)));
        (tcp.psh, tcp.fin) = (is(Oddity::Push), is(Oddity::Finish));
        tcp.window_size += u16::from(is(Oddity::Window));
        tcp.urgent_pointer = u16::from(is(Oddity::Urgent));
        // Timestamps (RFC 7323).
        let time = u8::from(is(Oddity::Option));
        tcp.set_options_raw(&[1, 1, 8, 10, 0, 0, 9, time, 0, 0, 0, 7])
            .expect("12 bytes");
        let tcp_bytes = |tcp: &TcpHeader| {
            let mut bytes = tcp.to_bytes().to_vec();
            if let Oddity::Flags(flags) = oddity {
                bytes[13] = flags;
            }
            bytes[12] |= u8::from(is(Oddity::Reserved));
            bytes
        };
        let mut l4 = match transport {
            Protocol::Tcp => tcp_bytes(&tcp),
            Protocol::Udp => UdpHeader {
                source_port: self.port,
                destination_port: 443,
                length: 8 + payload.len() as u16,
                checksum: 0,
            }
            .to_bytes()
            .to_vec(),
        };
        let at = if transport == Protocol::Tcp {
            TCP_CHECKSUM
        } else {
            UDP_CHECKSUM
        };
        let header_length = l4.len();
        l4.extend_from_slice(payload);
        let number = match (is(Oddity::OtherProtocol), transport) {
            (true, _) => IpNumber::ICMP,
            (false, Protocol::Tcp) => IpNumber::TCP,
            (false, Protocol::Udp) => IpNumber::UDP,
        };

        let mut packet = Vec::new();
        let ttl = 64 - u8::from(is(Oddity::Ttl));
        let addresses: Vec<u8>;
        if self.version == 4 {
            let mut ip = Ipv4Header::new(
                l4.len() as u16,
                ttl,
                number,
                [172, 16, 1, 10],
                [10, 20, 0, 7],
            )
            .expect("short");
            ip.identification = self.id;
            ip.dont_fragment = !is(Oddity::Fragments);
            ip.more_fragments = is(Oddity::Fragment);
            ip.dscp = u8::from(is(Oddity::Tos)).try_into().expect("six bits");
            if is(Oddity::Options) {
                ip.options = [148, 4, 0, 0].into();
                ip.set_payload_len(l4.len()).expect("short");
            }
            addresses = [ip.source, ip.destination].concat();
            ip.write(&mut packet).expect("room");
        } else {
            let mut ip = Ipv6Header {
                traffic_class: u8::from(is(Oddity::Tos)),
                flow_label: Ipv6FlowLabel::try_new(u32::from(is(Oddity::FlowLabel)))
                    .expect("20 bits"),
                payload_length: l4.len() as u16,
                next_header: number,
                hop_limit: ttl,
                source: [0xfd; 16],
                destination: [0xfe; 16],
            };
            addresses = [ip.source, ip.destination].concat();
            let fragment = is(Oddity::Fragment);
            if fragment || is(Oddity::Options) {
                ip.next_header = if fragment { IpNumber(44) } else { IpNumber(60) };
                ip.payload_length += 8;
            }
            ip.write(&mut packet).expect("room");
            if fragment || is(Oddity::Options) {
                packet.extend([number.0, 0, 0, u8::from(fragment), 1, 4, 0, 0]);
            }
        }

        let pseudo = [
            &addresses[..],
            &[0, number.0],
            &(l4.len() as u16).to_be_bytes(),
        ]
        .concat();
        let sum = |bytes: &[u8]| {
            let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&pseudo);
            sum.add_slice(bytes).ones_complement().to_ne_bytes()
        };
        if is(Oddity::AllOnes) && payload.len() >= 2 {
            // Makes the sum of the rest all ones.
            payload[..2].fill(0);
            l4[header_length..][..2].fill(0);
            let missing = sum(&l4);
            l4[header_length..][..2].copy_from_slice(&missing);
        }
        let full = sum(&l4);
        let checksum = match oddity {
            Oddity::Partial | Oddity::PartialWrong => {
                let [high, low] = sum(&[]);
                [!high, !low ^ u8::from(is(Oddity::PartialWrong))]
            }
            Oddity::NoChecksum => [0, 0],
            Oddity::AllOnes => [0xff, 0xff],
            _ if transport == Protocol::Udp && full == [0, 0] => [0xff, 0xff],
            _ => full,
        };
        l4[at..][..2].copy_from_slice(&checksum);

        packet.extend(l4);
        let mut virtio = VirtioHeader::default();
        if matches!(oddity, Oddity::Partial | Oddity::PartialWrong) {
            virtio.flags = VirtioHeader::NEEDS_CHECKSUM;
            virtio.checksum_start = network;
            virtio.checksum_offset = at as u16;
        }
        [&virtio.to_bytes()[..], &packet].concat()
    }
}

fn usual(payload: usize) -> Sent {
    Sent {
        payload,
        oddity: Oddity::None,
    }
}

/// The writes for `frames`, each with the number of its packets.
fn written(frames: &[Vec<u8>], offload: Offload) -> Vec<(Vec<u8>, usize)> {
    let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut merger = Merger::new(offload);
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let writes = merger.merge(&slices, &mut pieces);
    let whole = |merged: Merged<'_>| {
        let pieces: Vec<&[u8]> = merged.pieces.iter().map(|piece| &**piece).collect();
        (pieces.concat(), merged.frames.len())
    };
    writes.map(whole).collect()
}

/// The packet of a frame as it leaves a host that does not merge.
fn alone(frame: &[u8]) -> Vec<u8> {
    match VirtioHeader::split(frame) {
        Some((virtio, packet)) if virtio.flags & VirtioHeader::NEEDS_CHECKSUM != 0 => completed(
            packet,
            virtio.checksum_start.into(),
            virtio.checksum_offset.into(),
        ),
        Some((_, packet)) => packet.to_vec(),
        None => frame.to_vec(),
    }
}

/// The flow in which order must be kept: addresses, protocol and, with TCP and UDP, ports. A packet of `None` may belong
/// to any flow.
fn flow(packet: &[u8]) -> Option<Vec<u8>> {
    let (protocol, addresses, ports) = match packet.first()? {
        0x45 if packet.len() >= 20 && packet[6] & 0x3f == 0 && packet[7] == 0 => {
            (9, 12..20, 20..24)
        }
        0x60..0x70 if packet.len() >= 40 && !EXTENSIONS.contains(&packet[6]) => (6, 8..40, 40..44),
        _ => return None,
    };
    let ports = match packet[protocol] {
        6 | 17 => packet.get(ports)?,
        // Cut short or not, it is no part of a flow that has ports.
        _ => &[],
    };
    Some([&[packet[protocol]], &packet[addresses], ports].concat())
}

/// Hop-by-hop and destination options, routing, fragment, AH, mobility, HIP, shim6.
const EXTENSIONS: [u8; 8] = [0, 60, 43, 44, 51, 135, 139, 140];

/// The packets of each flow, together with those of unknown flows, in order.
fn by_flow(packets: &[Vec<u8>]) -> Vec<Vec<&[u8]>> {
    let mut flows: Vec<_> = packets.iter().filter_map(|packet| flow(packet)).collect();
    flows.sort();
    flows.dedup();
    let of = |wanted: &Vec<u8>| {
        let is_of = |packet: &&Vec<u8>| flow(packet).is_none_or(|flow| flow == *wanted);
        packets.iter().filter(is_of).map(Vec::as_slice).collect()
    };
    let mut lists: Vec<Vec<&[u8]>> = flows.iter().map(of).collect();
    let unnamed = packets.iter().filter(|packet| flow(packet).is_none());
    lists.push(unnamed.map(Vec::as_slice).collect());
    lists
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
        let written = written(&frames, offload);

        let before: Vec<Vec<u8>> = frames.iter().map(|frame| alone(frame)).collect();
        let mut after = Vec::new();
        for (frame, packets) in &written {
            let cut = if *packets == 1 { vec![alone(frame)] } else { on_the_wire(frame) };
            prop_assert_eq!(cut.len(), *packets);
            after.extend(cut);
        }
        prop_assert_eq!(by_flow(&before), by_flow(&after));
    }

    #[test]
    fn any_bytes_do_no_harm(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..8)) {
        let written = written(&frames, Offload::TcpAndUdp);
        prop_assert_eq!(written.iter().map(|(_, packets)| packets).sum::<usize>(), frames.len());
    }
}

/// How many packets each write is of, for packets of one flow each.
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
        let rest = MAX_PACKET - headers - 45 * 1_440;
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
    let mut merger = Merger::new(Offload::Tcp);
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
    let mut merger = Merger::new(Offload::Tcp);
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
