//! Recognizes DTLS handshakes that negotiate SRTP (RFC 6347 §4, RFC 5764 §4.1.1).
//!
//! ```text
//!  record     │ 16 │ version │ epoch │ sequence, 6 bytes │ length │
//!  handshake  │ type │ length, 3 │ sequence, 2 │ fragment offset, 3 │ fragment length, 3 │
//!  hello      │ version, 2 │ random, 32 │ session id │ cookie * │ suites │ compression │ extensions │
//! ```
//!
//! * in a client's hello. A hello may be cut into fragments: the first is read as far as it goes.

use super::{Evidence, Sighting, half};

/// Content type of a handshake record.
const HANDSHAKE: u8 = 22;
/// Record versions: DTLS 1.0, DTLS 1.2, and that of old OpenSSL.
const VERSIONS: [[u8; 2]; 3] = [[0xfe, 0xff], [0xfe, 0xfd], [0x01, 0x00]];
/// Handshake type of a client's hello.
const CLIENT_HELLO: u8 = 1;
/// Handshake type of a server's hello.
const SERVER_HELLO: u8 = 2;
/// Version and random.
const HELLO_START: usize = 34;
/// A server's choice: one suite, one compression method.
const SERVER_CHOICE: usize = 3;
/// Extension `use_srtp` (RFC 5764 §4.1.1).
const USE_SRTP: [u8; 2] = [0x00, 0x0e];

/// Recognizes a hello with the extension in the first record of a datagram.
pub(super) fn recognize(bytes: &[u8]) -> Option<Sighting> {
    let (&[content, v0, v1, e0, e1, _, _, _, _, _, _, l0, l1], rest) =
        bytes.split_first_chunk::<13>()?;
    if content != HANDSHAKE || !VERSIONS.contains(&[v0, v1]) || [e0, e1] != [0, 0] {
        return None;
    }
    let record = &rest[..half([l0, l1]).min(rest.len())];
    let (&[kind, _, _, _, _, _, o0, o1, o2, f0, f1, f2], rest) =
        record.split_first_chunk::<12>()?;
    if [o0, o1, o2] != [0, 0, 0] {
        return None;
    }
    let fragment = u32::from_be_bytes([0, f0, f1, f2]) as usize;
    let hello = rest[..fragment.min(rest.len())].get(HELLO_START..)?;
    let after_session = behind_short(hello)?;
    let extensions = match kind {
        CLIENT_HELLO => behind_short(behind_long(behind_short(after_session)?)?)?,
        SERVER_HELLO => after_session.get(SERVER_CHOICE..)?,
        _ => return None,
    };
    offers_srtp(extensions).then_some(Sighting::new(Evidence::DtlsSrtp))
}

/// Skips a vector with a length of one byte.
fn behind_short(bytes: &[u8]) -> Option<&[u8]> {
    let (&length, rest) = bytes.split_first()?;
    rest.get(usize::from(length)..)
}

/// Skips a vector with a length of two bytes.
fn behind_long(bytes: &[u8]) -> Option<&[u8]> {
    let (&length, rest) = bytes.split_first_chunk::<2>()?;
    rest.get(half(length)..)
}

/// Walks the extensions, as many as there are.
fn offers_srtp(extensions: &[u8]) -> bool {
    let Some((&length, rest)) = extensions.split_first_chunk::<2>() else {
        return false;
    };
    let mut rest = &rest[..half(length).min(rest.len())];
    while let Some((&[t0, t1, l0, l1], value)) = rest.split_first_chunk::<4>() {
        if [t0, t1] == USE_SRTP {
            return true;
        }
        let Some(behind) = value.get(half([l0, l1])..) else {
            return false;
        };
        rest = behind;
    }
    false
}
