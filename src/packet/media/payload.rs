//! [`Payload`]: the payload of a packet in question, as `explain`, `[[test]]` and probes name and build it.

use super::super::Protocol;

/// A kind of payload that media recognition tells from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Payload {
    /// No media: what RDP, SQL and everything else has.
    #[default]
    Other,
    /// A connectivity check of any ICE client, a browser's for example.
    StunCheck,
    /// A connectivity check of Lync, Skype for Business or native Teams.
    MicrosoftCheck,
    /// A DTLS handshake that negotiates SRTP.
    Dtls,
    /// RTP, without connectivity checks.
    Rtp,
}

impl Payload {
    /// The words that name them.
    pub const WORDS: &[(&str, Self)] = &[
        ("other", Self::Other),
        ("stun-check", Self::StunCheck),
        ("microsoft-check", Self::MicrosoftCheck),
        ("dtls", Self::Dtls),
        ("rtp", Self::Rtp),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        let words = Self::WORDS.iter();
        let mut named = words.filter(|(_, payload)| *payload == self);
        named.next().map_or("other", |(word, _)| word)
    }

    /// The payloads of the packets that show it, sent 20 ms apart; over TCP, of the first segments of a connection.
    pub fn packets(self, protocol: Protocol) -> Vec<Vec<u8>> {
        let packets = match self {
            Self::Other => vec![vec![0x17; 24]],
            Self::StunCheck => vec![stun_check(&[])],
            // IMPLEMENTATION-VERSION 2 ([MS-ICE2] §2.2.2)
            Self::MicrosoftCheck => vec![stun_check(&[0x80, 0x70, 0, 4, 0, 0, 0, 2])],
            Self::Dtls => vec![dtls_hello()],
            Self::Rtp => (0..RTP_PACKETS).map(rtp).collect(),
        };
        match (protocol, self) {
            (Protocol::Udp, _) | (Protocol::Tcp, Self::Other) => packets,
            (Protocol::Tcp, _) => packets.into_iter().map(framed).collect(),
        }
    }
}

/// Packets after which a row of RTP is recognized, and one more.
const RTP_PACKETS: u8 = 4;

/// A binding request with a user name (RFC 8489 §5, RFC 8445 §7.1.1), and `more` attributes.
fn stun_check(more: &[u8]) -> Vec<u8> {
    // USERNAME, nine bytes and padding
    let mut attributes = vec![0, 6, 0, 9];
    attributes.extend(*b"ice2:ice1\0\0\0");
    attributes.extend(more);
    let mut message = vec![0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42];
    message.extend(*b"offramp-test");
    message.extend(attributes);
    message
}

/// A client's hello with the extension `use_srtp` (RFC 6347 §4.2.2, RFC 5764 §4.1.1).
fn dtls_hello() -> Vec<u8> {
    let mut hello = vec![0xfe, 0xfd];
    hello.extend([0x5a; 32]);
    // No session, no cookie, one suite, no compression
    hello.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    // Extensions: use_srtp with one profile and no MKI
    hello.extend([0, 9, 0, 14, 0, 5, 0, 2, 0, 1, 0]);
    let length = hello.len() as u8;
    let mut handshake = vec![1, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, length];
    handshake.extend(hello);
    let mut record = vec![
        22,
        0xfe,
        0xff,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        handshake.len() as u8,
    ];
    record.extend(handshake);
    record
}

/// Packet `number` of G.711, 20 ms each (RFC 3550 §5.1, RFC 3551 §4.5.14).
fn rtp(number: u8) -> Vec<u8> {
    let stamp = u16::from(number) * 160;
    let [high, low] = stamp.to_be_bytes();
    let mut packet = vec![0x80, 0, 0, number, 0, 0, high, low, 0x12, 0x34, 0x56, 0x78];
    packet.extend([0xd5; 160]);
    packet
}

/// The frame of RFC 4571 §2.
fn framed(packet: Vec<u8>) -> Vec<u8> {
    let mut frame = (packet.len() as u16).to_be_bytes().to_vec();
    frame.extend(packet);
    frame
}
