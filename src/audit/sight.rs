//! Facts about a conversation from one packet of it: the start of TCP, and signs that UDP carries media.

use super::service::Role;
use crate::packet::{Addresses, PacketView, Protocol, Transport};

/// The side that the client is on, where this packet opens a TCP connection.
///
/// Behind IPv6 extension headers the flags are not looked for: the ports tell, then.
#[inline]
pub(super) fn tcp_start(packet: &PacketView<'_>) -> Option<Role> {
    let flags = *segment(packet)?.get(TCP_FLAGS)?;
    match flags & (SYN | ACK) {
        SYN => Some(Role::Request),
        both if both == SYN | ACK => Some(Role::Reply),
        _ => None,
    }
}

/// Returns `Some(true)` if a UDP packet looks like media; `None` if too little of it can be seen.
///
/// By the first bytes that RFC 7983 §7 tells apart: STUN (whose length field must be right: Lync's old format has no
/// cookie), DTLS, TURN channels, RTP and RTCP. One packet proves nothing; most packets of a conversation do.
#[inline]
pub(super) fn looks_like_media(packet: &PacketView<'_>) -> Option<bool> {
    let payload = segment(packet)?.get(UDP_HEADER..)?;
    let &[first, second, length_high, length_low] = payload.first_chunk::<4>()?;
    let on_wire = packet
        .length()
        .checked_sub(packet.bytes().len() - payload.len())?;
    if on_wire < STUN_HEADER && !is_rtp(first) {
        // A keep-alive, of media or of anything else.
        return None;
    }
    let stated = usize::from(u16::from_be_bytes([length_high, length_low]));
    Some(match first {
        0..=3 => stated + STUN_HEADER == on_wire,
        20..=63 => second == DTLS_VERSION,
        64..=79 => stated + TURN_CHANNEL_HEADER <= on_wire,
        _ => is_rtp(first),
    })
}

/// The bytes from the TCP or UDP header on, where it follows the IP header directly.
#[inline]
fn segment<'a>(packet: &PacketView<'a>) -> Option<&'a [u8]> {
    let bytes = packet.bytes();
    let Transport::Ports { protocol, .. } = packet.transport() else {
        return None;
    };
    let header = match packet.addresses() {
        // RFC 791 §3.1, IHL in words of four bytes.
        Addresses::V4 { .. } => usize::from(bytes.first()? & 0x0f) * 4,
        Addresses::V6 { .. } => {
            let next_header = *bytes.get(IPV6_NEXT_HEADER)?;
            let expected = match protocol {
                Protocol::Tcp => 6,
                Protocol::Udp => 17,
            };
            if next_header != expected {
                return None;
            }
            IPV6_HEADER
        }
    };
    bytes.get(header..)
}

/// RTP version 2 (RFC 3550 §5.1).
const fn is_rtp(first: u8) -> bool {
    first >> 6 == 2
}

/// RFC 9293 §3.1: offset of the control bits.
const TCP_FLAGS: usize = 13;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// RFC 768.
const UDP_HEADER: usize = 8;
/// RFC 8200 §3.
const IPV6_HEADER: usize = 40;
const IPV6_NEXT_HEADER: usize = 6;
/// RFC 8489 §5: bytes that the length field of STUN does not count.
const STUN_HEADER: usize = 20;
/// RFC 8656 §12.4.
const TURN_CHANNEL_HEADER: usize = 4;
/// RFC 9147 §4.1: high byte of every version of DTLS, after the type.
const DTLS_VERSION: u8 = 0xfe;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::audit::testing::{tcp, udp};

    fn media(payload: &[u8]) -> Option<bool> {
        let bytes = udp("172.16.1.5:50020", "10.0.0.9:24000", payload);
        looks_like_media(&PacketView::parse(&bytes).unwrap())
    }

    #[test]
    fn stun_rtp_dtls_and_turn_channels_look_like_media() {
        let mut stun = [0; 28];
        stun[1] = 1;
        stun[3] = 8;
        assert_eq!(media(&stun), Some(true));
        assert_eq!(media(&[0x80; 12]), Some(true));
        let mut dtls = [22; 40];
        dtls[1] = 0xfe;
        assert_eq!(media(&dtls), Some(true));
        let mut channel = [0x40; 24];
        channel[2..4].copy_from_slice(&20_u16.to_be_bytes());
        assert_eq!(media(&channel), Some(true));
    }

    #[test]
    fn other_payloads_do_not_and_a_keep_alive_says_nothing() {
        assert_eq!(media(&[0; 28]), Some(false));
        assert_eq!(media(b"GET / HTTP/1.1 and so on"), Some(false));
        assert_eq!(media(b"\0\0\0\0"), None);
        assert_eq!(media(b""), None);
    }

    #[test]
    fn a_start_of_tcp_is_told_by_its_flags() {
        let start = |flags| {
            let bytes = tcp("172.16.1.5:50020", "10.0.0.9:3389", flags, b"");
            tcp_start(&PacketView::parse(&bytes).unwrap())
        };
        assert_eq!(start(SYN), Some(Role::Request));
        assert_eq!(start(SYN | ACK), Some(Role::Reply));
        assert_eq!(start(ACK), None);
    }

    #[test]
    fn a_start_of_tcp_over_ipv6_is_told_too() {
        let bytes = tcp("[fd00::5]:50020", "[fd01::9]:3389", SYN, b"");
        assert_eq!(
            tcp_start(&PacketView::parse(&bytes).unwrap()),
            Some(Role::Request)
        );
    }
}
