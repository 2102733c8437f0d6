//! Protocols that resemble media are not recognized as media, at any point of a session.

use super::*;

/// Sends `packets` of `sessions` each, 5 to 45 ms apart, from packet `first` of the session on; returns the number
/// recognized as media.
fn flagged(adversary: Adversary, sessions: u64, packets: u32) -> usize {
    let mut flagged = 0;
    for session in 0..sessions {
        let mut noise = Noise(session ^ 0x5eed);
        let mut datagrams = Datagrams::new(Profile::Any);
        let first = noise.next() as u32;
        let pace = 5 + noise.next() % 40;
        let mut at = START;
        for number in 0..packets {
            at += Duration::from_millis(noise.next() % (2 * pace) + 1);
            let payload = adversary.payload(session, first.wrapping_add(number), at);
            flagged += usize::from(datagrams.look(&payload, at).is_some());
        }
    }
    flagged
}

#[test]
fn ten_thousand_sessions_of_rdp_over_udp_are_not_media() {
    assert_eq!(flagged(Adversary::RdpUdp, 10_000, 70), 0);
}

#[test]
fn protocols_that_resemble_media_are_not_media() {
    for adversary in Adversary::ALL {
        assert_eq!(flagged(adversary, 500, 70), 0, "{adversary:?}");
    }
}

#[test]
fn rdp_over_udp_from_any_part_of_the_counter_is_not_media() {
    // Its first byte is version 2 of RTP from here on: every start in this quarter, 2^16 apart.
    for high in 0x8000..0xc000u32 {
        let mut datagrams = Datagrams::new(Profile::Any);
        for number in 0..8 {
            let mut payload = ((high << 16) + 0xfffc + number).to_be_bytes().to_vec();
            payload.extend([0, 64, 0, 12, 0, 1, 0x3f, 0, 0, 0, 0, number as u8]);
            let at = START + Duration::from_millis(20) * number;
            assert_eq!(datagrams.look(&payload, at), None, "{payload:02x?}");
        }
    }
}
