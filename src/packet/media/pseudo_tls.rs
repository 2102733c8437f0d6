//! Recognizes the hellos by which clients of relays imitate TLS to pass through proxies.
//!
//! Both are fixed except for time and random, and TURN follows after an equally fixed answer.

use super::prefix::{Row, could_become};
use super::{Evidence, Sighting};

/// MS-TURN §2.2.1: a TLS 1.0 record with a hello of 41 bytes.
const MICROSOFT_START: [u8; 11] = [
    0x16, 0x03, 0x01, 0x00, 0x2d, 0x01, 0x00, 0x00, 0x29, 0x03, 0x01,
];
/// Behind 32 bytes of time and random: no session, the single suite 0018 (anonymous DH with RC4), no compression.
const MICROSOFT_END: [u8; 7] = [0x00, 0x00, 0x02, 0x00, 0x18, 0x01, 0x00];
/// Time and random.
const RANDOM: usize = 32;
/// libnice, socket/pseudossl.c: a hello of SSL 2 that offers TLS 1.0.
const GOOGLE_START: [u8; 11] = [
    0x80, 0x46, 0x01, 0x03, 0x01, 0x00, 0x2d, 0x00, 0x00, 0x00, 0x10,
];
/// Its length.
const GOOGLE_LENGTH: usize = 72;

/// The hello of Microsoft's clients.
pub(super) fn microsoft(stream: &[u8]) -> Row {
    let behind = stream
        .get(MICROSOFT_START.len() + RANDOM..)
        .unwrap_or_default();
    Row::of_pattern(
        could_become(stream, &MICROSOFT_START) && could_become(behind, &MICROSOFT_END),
        stream,
        MICROSOFT_START.len() + RANDOM + MICROSOFT_END.len(),
        Sighting::of_microsoft(Evidence::MsPseudoTls),
    )
}

/// The hello of Google's clients.
pub(super) fn google(stream: &[u8]) -> Row {
    Row::of_pattern(
        could_become(stream, &GOOGLE_START),
        stream,
        GOOGLE_LENGTH,
        Sighting::new(Evidence::GooglePseudoSsl),
    )
}
