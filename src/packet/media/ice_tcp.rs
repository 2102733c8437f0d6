//! Connectivity checks on TCP (RFC 6544 §3), in the frames of RFC 4571.
//!
//! ```text
//!  │ length, 2 │ STUN message of `length` bytes │ length, 2 │ …
//! ```

use super::prefix::Row;
use super::{Evidence, Sighting, half, stun};

/// A check at the start of a stream.
pub(super) fn recognize(stream: &[u8]) -> Row {
    let Some((&length, framed)) = stream.split_first_chunk::<2>() else {
        return Row::Undecided;
    };
    let size = half(length);
    if framed
        .first()
        .is_some_and(|first| first & stun::ZERO_BITS != 0)
        || size < stun::HEADER
    {
        return Row::RuledOut;
    }
    let Some(message) = stun::Message::read(framed) else {
        return early(framed, size);
    };
    if message.length != size {
        return Row::RuledOut;
    }
    if !message.has_cookie() && message.is_complete() {
        return match message.classic() {
            Some(sighting) => Row::Seen(Sighting {
                evidence: Evidence::IceTcp,
                ..sighting
            }),
            None => Row::RuledOut,
        };
    }
    match message.has_cookie() {
        true => Row::of_message(&message, Evidence::IceTcp),
        false => Row::Undecided,
    }
}

/// Evaluates fewer bytes than a message header: the cookie and a matching length suffice.
fn early(framed: &[u8], size: usize) -> Row {
    match *framed {
        [_, _, l0, l1, ..] if stun::HEADER + half([l0, l1]) != size => Row::RuledOut,
        [_, _, _, _, c0, c1, c2, c3, ..] if [c0, c1, c2, c3] == stun::MAGIC_COOKIE => {
            Row::MarkUndecided(Sighting::new(Evidence::IceTcp))
        }
        _ => Row::Undecided,
    }
}
