//! Recognizes TURN as Microsoft's relays use it (MS-TURN).
//!
//! Its magic cookie is an attribute, the first of each message; clients send the cookie of RFC 8489 as well, relays do
//! not. On TCP a header of four bytes frames the messages, on UDP Multiplexed TURN carries the sessions of several.
//!
//! ```text
//!  TCP          │ 02 │ 00 │ length │ message, `length` bytes
//!  multiplexed  │ FF │ 10 │ length │ session id, 8 bytes │ message: `length` counts both
//! ```

use super::prefix::Row;
use super::{Evidence, Sighting, half, stun};

/// Attribute Magic Cookie, whole: type, length, value (MS-TURN §2.2.2.1).
pub(super) const MAGIC_COOKIE_ATTRIBUTE: [u8; 8] = [0x00, 0x0f, 0x00, 0x04, 0x72, 0xc6, 0x4b, 0xc6];
/// The first bytes of a Multiplexed TURN frame (MS-TURN §2.2.3).
const MULTIPLEXED: [u8; 2] = [0xff, 0x10];
/// Length of its header up to the session id.
const MULTIPLEXED_HEADER: usize = 4;
/// The first bytes of a control message on TCP (MS-TURN §2.2.1): type 2, reserved. Type 3 is data, which comes later.
const CONTROL: [u8; 2] = [0x02, 0x00];

/// True if the magic cookie is the first of `attributes`.
pub(super) fn is_first(attributes: &[u8]) -> bool {
    attributes.starts_with(&MAGIC_COOKIE_ATTRIBUTE)
}

/// The message in a frame of Multiplexed TURN of `size` bytes, and its size.
pub(super) fn multiplexed(bytes: &[u8], size: usize) -> Option<(&[u8], usize)> {
    let (&[f0, f1, l0, l1, _, _, _, _, _, _, _, _], message) = bytes.split_first_chunk::<12>()?;
    let frame = MULTIPLEXED_HEADER + half([l0, l1]);
    ([f0, f1] == MULTIPLEXED && frame == size).then_some((message, size - 12))
}

/// A frame of Multiplexed TURN around a message: its first bytes alone are a mark of Microsoft.
pub(super) fn recognize_multiplexed(
    bytes: &[u8],
    size: usize,
    inner: fn(&[u8], usize) -> Option<Sighting>,
) -> Option<Sighting> {
    let (message, message_size) = multiplexed(bytes, size)?;
    inner(message, message_size)?;
    Some(Sighting::of_microsoft(Evidence::MsMultiplexed))
}

/// A control message at the start of a TCP stream.
pub(super) fn control(stream: &[u8]) -> Row {
    if !CONTROL
        .iter()
        .zip(stream)
        .all(|(ours, theirs)| ours == theirs)
    {
        return Row::RuledOut;
    }
    let Some((&[_, _, l0, l1], rest)) = stream.split_first_chunk::<4>() else {
        return Row::Undecided;
    };
    let Some(message) = stun::Message::read(rest) else {
        return if rest
            .first()
            .is_some_and(|first| first & stun::ZERO_BITS != 0)
        {
            Row::RuledOut
        } else {
            Row::Undecided
        };
    };
    if half([l0, l1]) != message.length {
        return Row::RuledOut;
    }
    Row::of_message(&message, Evidence::MsTurnTcp)
}
