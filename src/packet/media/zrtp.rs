//! ZRTP packets (RFC 6189 §5).

use super::{Evidence, Sighting};

/// The first byte: neither RTP nor STUN.
const FIRST: u8 = 0x10;
/// Bytes 4 to 7.
const MAGIC_COOKIE: [u8; 4] = *b"ZRTP";
/// Bytes 12 and 13: the start of a message.
const PREAMBLE: [u8; 2] = *b"PZ";
/// The shortest packet: header, message of three words, checksum.
const MIN_SIZE: usize = 28;

/// Recognizes a packet that fills a datagram of `size` bytes.
pub(super) fn recognize(bytes: &[u8], size: usize) -> Option<Sighting> {
    let &[first, _, _, _, c0, c1, c2, c3, _, _, _, _, p0, p1] = bytes.first_chunk::<14>()?;
    let is_zrtp = first == FIRST
        && [c0, c1, c2, c3] == MAGIC_COOKIE
        && [p0, p1] == PREAMBLE
        && size >= MIN_SIZE;
    is_zrtp.then_some(Sighting::new(Evidence::Zrtp))
}
