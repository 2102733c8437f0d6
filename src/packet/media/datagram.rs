//! Recognizes media by a single UDP payload.
//!
//! The first byte selects the protocols to check (RFC 7983 §7); alone it proves nothing.

use super::{Sighting, dtls, ms_turn, rtcp, stun, turn, zoom, zrtp};

/// Recognizes a payload of `size` bytes, of which `bytes` are available.
pub(super) fn recognize(bytes: &[u8], size: usize) -> Option<Sighting> {
    match bytes.first()? {
        0x10 => recognize_stun(bytes, size).or_else(|| zrtp::recognize(bytes, size)),
        0x16 => recognize_stun(bytes, size).or_else(|| dtls::recognize(bytes)),
        0..=0x3f => recognize_stun(bytes, size),
        0x40..=0x4f => turn::recognize(bytes, size, stun::recognize),
        0x80..=0xbf => rtcp::recognize_compound(bytes, size),
        0xff => ms_turn::recognize_multiplexed(bytes, size, stun::recognize),
        _ => None,
    }
}

/// False if [`recognize_cookie`] finds nothing in a payload, by its first bytes; true if it has to look.
#[inline]
pub(super) fn may_have_cookie(bytes: &[u8], size: usize) -> bool {
    match bytes.first() {
        Some(0..=0x3f) => stun::may_fill(bytes, size),
        Some(0x40..=0x4f | 0xff) => true,
        _ => false,
    }
}

/// Recognizes the cookie of STUN alone, by itself and in the frames of TURN.
pub(super) fn recognize_cookie(bytes: &[u8], size: usize) -> Option<Sighting> {
    match bytes.first()? {
        0..=0x3f => stun::recognize_cookie(bytes, size),
        0x40..=0x4f => turn::recognize(bytes, size, stun::recognize_cookie),
        0xff => ms_turn::recognize_multiplexed(bytes, size, stun::recognize_cookie),
        _ => None,
    }
}

fn recognize_stun(bytes: &[u8], size: usize) -> Option<Sighting> {
    stun::recognize(bytes, size)
        .or_else(|| stun::recognize_bare(bytes, size))
        .or_else(|| zoom::recognize(bytes, size))
}
