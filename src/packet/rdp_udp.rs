//! Remote Desktop over UDP ([MS-RDPEUDP]): the datagram that opens a connection.
//!
//! ```text
//!   0            4        6       8                  12         14           16
//!  ┌────────────┬────────┬───────┬──────────────────┬──────────┬────────────┬───────────┐
//!  │ FF FF FF FF│ window │ flags │ initial sequence │ MTU up   │ MTU down   │ 0 … 0     │
//!  └────────────┴────────┴───────┴──────────────────┴──────────┴────────────┴───────────┘
//! ```
//!
//! RDP Shortpath is this protocol behind connectivity checks, at ports of their choice, so that only the datagram tells. It is
//! not media, but its checks are those of media.

use super::media::Segment;

/// Length of the fields.
const FIELDS: usize = 16;
/// Nothing was received before (§3.1.5.1.1: -1).
const NOTHING_RECEIVED: [u8; 4] = [0xff; 4];
/// Opens the connection (§2.2.2.1).
const SYN: u16 = 0x0001;
/// Flags that may stand beside it: no retransmission, a correlation id, a version.
const BESIDE_SYN: u16 = 0x0200 | 0x0800 | 0x1000;
/// Sizes of datagrams that the sides offer each other (§2.2.2.5); this one is padded to them.
const MTU: std::ops::RangeInclusive<u16> = 1_132..=1_232;

/// True for a datagram by which a client opens a connection.
pub fn opens_rdp_udp(segment: Segment<'_>) -> bool {
    let Segment::Udp { payload, size } = segment else {
        return false;
    };
    let Some(&[a0, a1, a2, a3, _, _, f0, f1, _, _, _, _, u0, u1, d0, d1]) =
        payload.first_chunk::<FIELDS>()
    else {
        return false;
    };
    let flags = u16::from_be_bytes([f0, f1]);
    [a0, a1, a2, a3] == NOTHING_RECEIVED
        && flags & SYN != 0
        && flags & !(SYN | BESIDE_SYN) == 0
        && MTU.contains(&u16::from_be_bytes([u0, u1]))
        && MTU.contains(&u16::from_be_bytes([d0, d1]))
        && size >= usize::from(*MTU.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(payload: &[u8]) -> bool {
        let size = payload.len();
        opens_rdp_udp(Segment::Udp { payload, size })
    }

    fn syn() -> Vec<u8> {
        let mut payload = vec![0xff, 0xff, 0xff, 0xff, 0, 64, 0x10, 0x01, 1, 2, 3, 4];
        payload.extend([0x04, 0xd0, 0x04, 0xd0]);
        payload.resize(1_232, 0);
        payload
    }

    #[test]
    fn a_connection_is_opened_by_a_padded_syn_alone() {
        assert!(opens(&syn()));
        let with = |at: usize, byte: u8| {
            let mut payload = syn();
            payload[at] = byte;
            payload
        };
        // An earlier packet, the answer (ACK), no SYN, sizes out of bounds.
        for (at, byte) in [(3, 0xfe), (7, 0x05), (7, 0x00), (12, 0x03), (14, 0x05)] {
            assert!(!opens(&with(at, byte)), "{at}: {byte:#x}");
        }
        assert!(opens(&with(6, 0x02)));
        assert!(!opens(&syn()[..1_131]));
        assert!(!opens(&[0xff; 1_232]));
    }
}
