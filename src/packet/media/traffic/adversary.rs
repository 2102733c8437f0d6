//! Protocols over UDP that resemble media.

use std::time::Duration;

/// A protocol over UDP that is not media; each session has numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adversary {
    /// RDP over UDP, version 1 (MS-RDPEUDP §2.2.2.1): a counter where RTP has its first four bytes.
    RdpUdp,
    /// A header that is always the same, with a counter of 16 bits at byte 2.
    Counter,
    /// The same with a second counter where RTP has the stamp.
    TwoCounters,
    /// ENet: a peer id with flags, a time in milliseconds, commands.
    Enet,
    /// QUIC with a short header (RFC 9000 §17.3), the fixed bit set.
    Quic,
    /// The same, the fixed bit at random (RFC 9287).
    QuicGreased,
    /// WireGuard's transport data.
    WireGuard,
    /// uTP (BEP 29).
    Utp,
    /// SRT: data with a time in microseconds, and control packets.
    Srt,
    /// Any bytes.
    Random,
}

impl Adversary {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::RdpUdp,
        Self::Counter,
        Self::TwoCounters,
        Self::Enet,
        Self::Quic,
        Self::QuicGreased,
        Self::WireGuard,
        Self::Utp,
        Self::Srt,
        Self::Random,
    ];

    /// Packet `number` of the session that starts with the numbers of `seed`, sent `at` after its start.
    pub fn payload(self, seed: u64, number: u32, at: Duration) -> Vec<u8> {
        let mut session = Noise(seed);
        let (start, fixed) = (session.next() as u32, session.next());
        let mut packet = Noise(seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let counter = start.wrapping_add(number);
        let length = 20 + packet.next() as usize % 1200;
        let mut payload = Vec::new();
        match self {
            Self::RdpUdp => {
                // Window, flags (acknowledgment, some with data), vector of what came.
                payload.extend(counter.to_be_bytes());
                payload.extend([0, 64]);
                payload.extend(if packet.next().is_multiple_of(3) {
                    [0, 12]
                } else {
                    [0, 4]
                });
                payload.extend([0, 1, 0x3f.min(number) as u8, 0]);
                payload.extend(counter.wrapping_mul(3).to_be_bytes());
            }
            Self::Counter => {
                payload.extend([0x80 | fixed as u8 & 0x20, 0x21]);
                payload.extend((counter as u16).to_be_bytes());
                payload.extend(fixed.to_be_bytes());
            }
            Self::TwoCounters => {
                payload.extend([0x80, 0x21]);
                payload.extend((counter as u16).to_be_bytes());
                payload.extend(counter.to_be_bytes());
                payload.extend((fixed as u32).to_be_bytes());
            }
            Self::Enet => {
                let peer = 0x8000 | fixed as u16 & 0x0fff;
                payload.extend(peer.to_be_bytes());
                payload.extend((at.as_millis() as u16).to_be_bytes());
                payload.extend([0x86, 0]);
                payload.extend((counter as u16).to_be_bytes());
                payload.extend([0, 40, fixed as u8, 0]);
            }
            Self::Quic => {
                payload.push(0x40 | packet.next() as u8 & 0x3f);
                payload.extend(fixed.to_be_bytes());
            }
            Self::QuicGreased => {
                payload.push(packet.next() as u8 & 0x7f | 0x80 & (fixed as u8));
                payload.extend(fixed.to_be_bytes());
            }
            Self::WireGuard => {
                payload.extend([4, 0, 0, 0]);
                payload.extend((fixed as u32).to_le_bytes());
                payload.extend(u64::from(number).to_le_bytes());
            }
            Self::Utp => {
                payload.extend([0x01, 0]);
                payload.extend((fixed as u16).to_be_bytes());
                payload.extend((at.as_micros() as u32).to_be_bytes());
                payload.extend((packet.next() as u32).to_be_bytes());
                payload.extend([0, 16, 0, 0]);
                payload.extend((counter as u16).to_be_bytes());
            }
            Self::Srt => {
                match packet.next() % 4 {
                    // Acknowledgment of acknowledgments: a counter where RTP has the stamp.
                    0 => payload.extend([0x80, 6, 0, 0]),
                    _ => payload.extend((counter & 0x7fff_ffff).to_be_bytes()),
                }
                payload.extend((0xc000_0000 | counter).to_be_bytes());
                payload.extend((at.as_micros() as u32).to_be_bytes());
                payload.extend((fixed as u32).to_be_bytes());
            }
            Self::Random => {}
        }
        while payload.len() < length {
            payload.extend(packet.next().to_be_bytes());
        }
        payload.truncate(length);
        payload
    }
}

/// Numbers that look random, the same for the same seed (splitmix64).
#[derive(Debug, Clone, Copy)]
pub struct Noise(
    /// The seed.
    pub u64,
);

impl Noise {
    /// The next one.
    #[expect(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
