//! Flows for tests and fuzzing: packets as connections send them, and packets with one thing unusual.

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};

use super::layout::{Protocol, TCP_CHECKSUM, UDP_CHECKSUM};
use crate::packet::virtio::VirtioHeader;

/// The state of one direction of a connection.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) version: u8,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) sequence: u32,
    pub(super) id: u16,
}

/// A packet of a flow, and its oddity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) payload: usize,
    pub(super) oddity: Oddity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
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
    /// The previous packet is repeated.
    Again,
    /// A checksum that the kernel completes.
    Partial,
    /// A partial checksum that the kernel completes to a wrong one.
    PartialWrong,
    NoChecksum,
    /// A correct checksum, but in the unusual one of its two forms.
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
    pub(super) fn all() -> Vec<Self> {
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
    pub(super) fn send(&mut self, sent: Sent) -> Vec<u8> {
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

impl Oddity {
    /// The oddity of a number, for fuzzing: every second packet has none. `detail` is its bit, flags or length.
    pub(super) fn numbered(number: u8, detail: u16) -> Self {
        let [_, low] = detail.to_be_bytes();
        match number % 50 {
            0 => Self::Push,
            1 => Self::Finish,
            2 => Self::Flags(low),
            3 => Self::Reserved,
            4 => Self::Acknowledges,
            5 => Self::Window,
            6 => Self::Option,
            7 => Self::Urgent,
            8 => Self::Ttl,
            9 => Self::Tos,
            10 => Self::FlowLabel,
            11 => Self::Fragments,
            12 => Self::Id,
            13 => Self::Gap,
            14 => Self::Again,
            15 => Self::Partial,
            16 => Self::PartialWrong,
            17 => Self::NoChecksum,
            18 => Self::AllOnes,
            19 => Self::Padding,
            20 => Self::Corrupt(detail),
            21 => Self::Fragment,
            22 => Self::Options,
            23 => Self::OtherProtocol,
            24 => Self::Runt(low),
            _ => Self::None,
        }
    }
}
