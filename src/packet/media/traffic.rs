//! Generates packets for the tests of recognition: media, media with changed bits, and protocols that resemble it.

mod adversary;

use std::net::Ipv4Addr;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::super::Protocol;
use super::{FlowKey, Profile, Segment};

pub use adversary::{Adversary, Noise};

/// Packets of a few flows, and the profile to examine them with.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The profile of the policy.
    pub profile: Profile,
    /// In the order of their arrival.
    pub arrivals: Vec<Arrival>,
}

/// One packet.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its flow.
    pub key: FlowKey,
    /// Its part of the flow.
    pub segment: OwnedSegment,
    /// Its time of arrival.
    pub at: Duration,
}

/// A [`Segment`] with bytes of its own.
#[derive(Debug, Clone)]
pub enum OwnedSegment {
    /// A datagram.
    Udp {
        /// As many bytes as there are.
        payload: Vec<u8>,
        /// As many as the header says.
        size: usize,
    },
    /// A segment of a connection.
    Tcp {
        /// Its sequence number.
        sequence: u32,
        /// It begins a connection.
        is_start: bool,
        /// Its bytes.
        payload: Vec<u8>,
    },
}

impl OwnedSegment {
    /// The segment that it owns.
    pub fn borrow(&self) -> Segment<'_> {
        match self {
            Self::Udp { payload, size } => Segment::Udp {
                payload: &payload[..payload.len().min(*size)],
                size: *size,
            },
            Self::Tcp {
                sequence,
                is_start,
                payload,
            } => Segment::Tcp {
                sequence: *sequence,
                is_start: *is_start,
                payload,
            },
        }
    }
}

impl Arbitrary<'_> for Scenario {
    fn arbitrary(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let profile = *bytes.choose(&[Profile::Any, Profile::Ice, Profile::Microsoft])?;
        let flows = bytes.int_in_range(1..=3u16)?;
        let mut senders: Vec<Sender> = (0..flows)
            .map(|number| Sender::new(bytes, number))
            .collect::<Result<_>>()?;
        let mut now = Duration::from_secs(100);
        let mut arrivals = Vec::new();
        while !bytes.is_empty() && arrivals.len() < 120 {
            now += match bytes.int_in_range(0..=31u8)? {
                0 => Duration::from_secs(61),
                1 => Duration::from_secs(60),
                2 => Duration::from_millis(59_999),
                3..=5 => Duration::from_millis(500),
                6 => Duration::from_millis(501),
                _ => Duration::from_millis(20),
            };
            let which = bytes.choose_index(senders.len())?;
            let sender = &mut senders[which];
            let segment = sender.next(bytes, now)?;
            arrivals.push(Arrival {
                key: sender.key,
                segment,
                at: now,
            });
        }
        Ok(Self { profile, arrivals })
    }
}

/// One end of a flow, with its counters.
struct Sender {
    key: FlowKey,
    sequence: u32,
    /// Bytes of the stream that are not sent yet.
    unsent: Vec<u8>,
    rtp: Vec<RtpSource>,
    index: u32,
}

struct RtpSource {
    source: u32,
    sequence: u16,
    stamp: u32,
    step: u32,
}

impl Sender {
    fn new(bytes: &mut Unstructured<'_>, number: u16) -> Result<Self> {
        let protocol = *bytes.choose(&[Protocol::Udp, Protocol::Udp, Protocol::Tcp])?;
        let source = |number: u32| {
            Ok(RtpSource {
                source: number,
                sequence: *bytes.choose(&[0, 1, 65_534, 40_000])?,
                stamp: bytes.arbitrary()?,
                step: *bytes.choose(&[160, 160, 3000, 32, 31, 0, 20, 65_536, 11_000])?,
            })
        };
        Ok(Self {
            key: FlowKey::new(
                protocol,
                (Ipv4Addr::new(172, 16, 1, 10).into(), 50_000 + number),
                (Ipv4Addr::new(10, 2, 0, 20).into(), 50_010),
            ),
            rtp: (0..5).map(source).collect::<Result<_>>()?,
            sequence: 0xffff_ff00,
            unsent: Vec::new(),
            index: 7,
        })
    }

    fn next(&mut self, bytes: &mut Unstructured<'_>, now: Duration) -> Result<OwnedSegment> {
        match self.key.protocol() {
            Protocol::Udp => self.datagram(bytes, now),
            Protocol::Tcp => self.segment(bytes),
        }
    }

    fn datagram(&mut self, bytes: &mut Unstructured<'_>, _now: Duration) -> Result<OwnedSegment> {
        let mut payload = match bytes.int_in_range(0..=15u8)? {
            0..=6 => self.rtp(bytes)?,
            7..=8 => self.rtcp(bytes)?,
            _ => payload(bytes)?,
        };
        mutate(bytes, &mut payload)?;
        let mut size = payload.len();
        match bytes.int_in_range(0..=31u8)? {
            0 => payload.truncate(bytes.choose_index(size + 1)?),
            1 => size += 1,
            2 => size = size.saturating_sub(1),
            _ => {}
        }
        payload.truncate(size);
        Ok(OwnedSegment::Udp { payload, size })
    }

    /// A packet of one of five sources, usually as in real media.
    fn rtp(&mut self, bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let which = *bytes.choose(&[0, 0, 0, 0, 1, 2, 3, 4])?;
        let source = &mut self.rtp[which];
        let jump = match bytes.int_in_range(0..=15u8)? {
            0 => 0,
            1 => *bytes.choose(&[32, 33, 2])?,
            2 => *bytes.choose(&[u16::MAX, 65_504, 65_503])?,
            _ => 1,
        };
        source.sequence = source.sequence.wrapping_add(jump);
        source.stamp = source.stamp.wrapping_add(source.step);
        let kind = *bytes.choose(&[0, 0x80, 111, 96, 63, 64, 72, 95])?;
        let first = *bytes.choose(&[0x80, 0x80, 0x90, 0xa0, 0x81, 0x8f])?;
        let mut packet = vec![first, kind];
        packet.extend(source.sequence.to_be_bytes());
        packet.extend(source.stamp.to_be_bytes());
        packet.extend(source.source.to_be_bytes());
        packet.resize(12 + *bytes.choose(&[0, 4, 20, 60])?, 0xd5);
        Ok(packet)
    }

    fn rtcp(&mut self, bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let kind = *bytes.choose(&[200, 201, 205, 207, 208])?;
        let words = *bytes.choose(&[1u16, 6, 7])?;
        let mut packet = vec![0x80, kind];
        packet.extend(words.to_be_bytes());
        packet.extend(u32::from(*bytes.choose(&[1u8, 1, 2])?).to_be_bytes());
        packet.resize(4 * (usize::from(words) + 1), 0x11);
        match bytes.int_in_range(0..=5u8)? {
            0 => {}
            1 => packet.extend(b"\x81\xca\x00\x02\x00\x00\x00\x01\x01\x02ab"),
            kind => {
                self.index += *bytes.choose(&[1, 64, 65, 0])?;
                packet.extend((1 << 31 | self.index).to_be_bytes());
                packet.resize(packet.len() + [10, 11, 14, 0][usize::from(kind - 2)], 0x80);
            }
        }
        Ok(packet)
    }

    /// Bytes of a stream, in segments of any length, some of them lost, repeated or out of order.
    fn segment(&mut self, bytes: &mut Unstructured<'_>) -> Result<OwnedSegment> {
        let is_start = bytes.int_in_range(0..=23u8)? == 0 || self.sequence == 0xffff_ff00;
        if is_start && bytes.ratio(3, 4)? {
            self.unsent.clear();
            self.sequence = 0xffff_ff01;
            return Ok(OwnedSegment::Tcp {
                sequence: self.sequence - 1,
                is_start,
                payload: Vec::new(),
            });
        }
        if self.unsent.is_empty() {
            self.unsent = self.stream(bytes)?;
            mutate(bytes, &mut self.unsent)?;
        }
        let most = self.unsent.len();
        let length = match bytes.int_in_range(0..=7u8)? {
            0 => 0,
            1 => 2.min(most),
            2 | 3 => bytes.choose_index(most + 1)?,
            _ => most,
        };
        let payload: Vec<u8> = self.unsent[..length].to_vec();
        let sequence = self.sequence;
        let is_repeated = bytes.int_in_range(0..=15u8)? == 0;
        if !is_repeated {
            self.unsent.drain(..length);
            self.sequence = sequence.wrapping_add(length as u32);
        }
        let shift = match bytes.int_in_range(0..=31u8)? {
            0 => 5,
            1 => u32::MAX,
            _ => 0,
        };
        Ok(OwnedSegment::Tcp {
            sequence: sequence.wrapping_add(shift),
            is_start: false,
            payload,
        })
    }

    fn stream(&mut self, bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
        let framed = |message: Vec<u8>| [&(message.len() as u16).to_be_bytes(), &*message].concat();
        Ok(match bytes.int_in_range(0..=9u8)? {
            0 | 1 => framed(message(bytes)?),
            2 => message(bytes)?,
            3 => {
                let message = message(bytes)?;
                [&[2, 0], &(message.len() as u16).to_be_bytes(), &*message].concat()
            }
            4 => pseudo_tls().to_vec(),
            5 => {
                let mut hello = vec![0x80, 0x46, 1, 3, 1, 0, 0x2d, 0, 0, 0, 0x10];
                hello.resize(72, 0x55);
                hello
            }
            6 => payload(bytes)?,
            _ => {
                let mut frames = Vec::new();
                for _ in 0..bytes.int_in_range(1..=4u8)? {
                    frames.extend(framed(self.rtp(bytes)?));
                }
                frames
            }
        })
    }
}

/// Changes bits of one packet in four.
fn mutate(bytes: &mut Unstructured<'_>, payload: &mut [u8]) -> Result<()> {
    if !payload.is_empty() && bytes.ratio(1, 4)? {
        for _ in 0..bytes.int_in_range(1..=3u8)? {
            let at = bytes.choose_index(payload.len().min(64))?;
            payload[at] ^= 1 << bytes.int_in_range(0..=7u8)?;
        }
    }
    Ok(())
}

/// A payload that is evidence of media, or nearly so.
fn payload(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Ok(match bytes.int_in_range(0..=12u8)? {
        0..=3 => message(bytes)?,
        4 => {
            let message = message(bytes)?;
            let length = (message.len() + 8) as u16;
            [&[0xff, 0x10], &length.to_be_bytes()[..], &[7; 8], &message].concat()
        }
        5 => {
            let message = message(bytes)?;
            let length = (message.len() as u16).to_be_bytes();
            let padding = bytes.int_in_range(0..=4usize)?;
            [&[0x40, 1], &length[..], &message, &[0; 4][..padding]].concat()
        }
        6 => zoom_request(),
        7 => zoom_other(),
        8 => client_hello(bytes.arbitrary()?),
        9 => zrtp_hello(),
        10 => compound_report(),
        11 => {
            let mut bare = vec![0, 1, 0, 0];
            bare.extend((0..16).map(|at| if at < 9 { at } else { 0 }));
            bare
        }
        _ => {
            let mut junk = vec![0; bytes.int_in_range(0..=40usize)?];
            bytes.fill_buffer(&mut junk)?;
            junk
        }
    })
}

/// A STUN message, of any dialect.
fn message(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let kind = *bytes.choose(&[0x0001, 0x0101, 0x0111, 0x0003, 0x0115, 0x0800, 0x0002])?;
    let cookie = match bytes.ratio(2, 3)? {
        true => [0x21, 0x12, 0xa4, 0x42],
        false => [1, 2, 3, 4],
    };
    let is_padded = bytes.ratio(2, 3)?;
    let mut attributes = Vec::new();
    if bytes.ratio(1, 5)? {
        attributes.extend([0x00, 0x0f, 0x00, 0x04, 0x72, 0xc6, 0x4b, 0xc6]);
    }
    for _ in 0..bytes.int_in_range(0..=4u8)? {
        let kind = *bytes.choose(&[
            0x0006u16, 0x0024, 0x8029, 0x8070, 0x0008, 0x0017, 0x8054, 0xc057,
        ])?;
        let length = *bytes.choose(&[0, 4, 9, 20, 72])?;
        attributes.extend(kind.to_be_bytes());
        attributes.extend((length as u16).to_be_bytes());
        attributes.resize(attributes.len() + length, 0x61);
        if is_padded {
            attributes.resize(attributes.len().next_multiple_of(4), 0);
        }
    }
    Ok(stun(kind, cookie, &attributes))
}

/// A STUN message.
pub(super) fn stun(kind: u16, cookie: [u8; 4], attributes: &[u8]) -> Vec<u8> {
    let length = (attributes.len() as u16).to_be_bytes();
    let id = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11, 12];
    [&kind.to_be_bytes(), &length, &cookie[..], &id, attributes].concat()
}

/// Zoom's request.
pub(super) fn zoom_request() -> Vec<u8> {
    [
        &[0, 1, 0, 0x18][..],
        &[5; 16],
        b"\x01\x01\x00\x141234567890123456789\x00",
    ]
    .concat()
}

/// Zoom's other message.
pub(super) fn zoom_other() -> Vec<u8> {
    [
        &[0, 2, 0, 12][..],
        &[5; 16],
        &[1, 3, 0, 8, 0, 1, 9, 9, 9, 9, 9, 9],
    ]
    .concat()
}

/// A DTLS hello that offers SRTP, of a client or of a server.
pub(super) fn client_hello(is_server: bool) -> Vec<u8> {
    let extensions = [0, 10, 0, 2, 0, 23, 0, 14, 0, 5, 0, 2, 0, 7, 0];
    let mut hello = vec![0xfe, 0xfd];
    hello.extend([3; 32]);
    hello.push(0);
    if is_server {
        hello.extend([0xc0, 0x2b, 0]);
    } else {
        hello.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2c, 1, 0]);
    }
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    let length = (hello.len() as u32).to_be_bytes();
    let mut handshake = vec![if is_server { 2 } else { 1 }];
    handshake.extend(&length[1..]);
    handshake.extend([0, 0, 0, 0, 0]);
    handshake.extend(&length[1..]);
    handshake.extend(hello);
    let mut record = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}

/// The shortest ZRTP packet.
pub(super) fn zrtp_hello() -> Vec<u8> {
    let mut packet = vec![0x10, 0, 0, 1];
    packet.extend(b"ZRTP\x00\x00\x00\x01PZ\x00\x03");
    packet.resize(28, 0);
    packet
}

/// An empty receiver report, and a description.
pub(super) fn compound_report() -> Vec<u8> {
    b"\x80\xc9\x00\x01\x00\x00\x00\x01\x81\xca\x00\x02\x00\x00\x00\x01\x01\x02ab".to_vec()
}

/// The pseudo-TLS hello of Microsoft's clients.
pub(super) fn pseudo_tls() -> [u8; 50] {
    let mut hello = [0x5a; 50];
    hello[..11].copy_from_slice(&[0x16, 3, 1, 0, 0x2d, 1, 0, 0, 0x29, 3, 1]);
    hello[43..].copy_from_slice(&[0, 0, 2, 0, 0x18, 1, 0]);
    hello
}
