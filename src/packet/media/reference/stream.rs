//! The conditions on the first bytes of a stream: T1 to T5.

use super::payload::{COOKIE, Found, MS_COOKIE, Payload};
use crate::packet::media::{Evidence, Profile};

/// T1 to T5 on the first bytes of a stream.
pub(super) fn stream(bytes: &[u8], profile: Profile) -> Option<Evidence> {
    let bytes = &bytes[..bytes.len().min(256)];
    let stream = Payload {
        bytes,
        size: bytes.len(),
    };
    let rows = [
        t1(stream),
        t2(stream),
        t3(stream),
        t4(stream).then_some((Evidence::MsPseudoTls, true)),
        t5(stream).then_some((Evidence::GooglePseudoSsl, false)),
    ];
    let counts = |&(evidence, mark): &(Evidence, bool)| Found { evidence, mark }.counts(profile);
    rows.into_iter()
        .flatten()
        .find(counts)
        .map(|(evidence, _)| evidence)
}

/// The mark of a message in a stream counts once all of it is there.
pub(super) fn mark_of(message: Payload<'_>) -> bool {
    let is_whole = message.bytes.len() == message.size;
    (message.size >= 28 && message.has(20, MS_COOKIE)) || (is_whole && message.mark())
}

pub(super) fn t1(stream: Payload<'_>) -> Option<(Evidence, bool)> {
    let size = stream.u16(0)?;
    let message = stream.behind(2, size);
    if message.u8(0)? & 0xc0 != 0 || 20 + stream.u16(4)? != size {
        return None;
    }
    if stream.has(6, COOKIE) {
        return Some((Evidence::IceTcp, mark_of(message)));
    }
    message.u3().map(|mark| (Evidence::IceTcp, mark))
}

pub(super) fn t2(stream: Payload<'_>) -> Option<(Evidence, bool)> {
    if stream.u8(0)? & 0xc0 != 0 {
        return None;
    }
    let message = stream.behind(0, 20 + stream.u16(2)?);
    let fits = message.bytes.len() >= 20 && (stream.has(4, COOKIE) || message.has(20, MS_COOKIE));
    fits.then(|| (Evidence::TurnTcp, mark_of(message)))
}

pub(super) fn t3(stream: Payload<'_>) -> Option<(Evidence, bool)> {
    let size = stream.u16(2)?;
    let message = stream.behind(4, size);
    let fits = stream.has(0, &[2, 0])
        && size == 20 + stream.u16(6)?
        && message.u8(0)? & 0xc0 == 0
        && message.bytes.len() >= 20
        && (message.has(4, COOKIE) || message.has(20, MS_COOKIE));
    fits.then(|| (Evidence::MsTurnTcp, mark_of(message)))
}

pub(super) fn t4(stream: Payload<'_>) -> bool {
    stream.has(0, &[0x16, 3, 1, 0, 0x2d, 1, 0, 0, 0x29, 3, 1])
        && stream.has(43, &[0, 0, 2, 0, 0x18, 1, 0])
}

pub(super) fn t5(stream: Payload<'_>) -> bool {
    stream.has(0, &[0x80, 0x46, 1, 3, 1, 0, 0x2d, 0, 0, 0, 0x10]) && stream.bytes.len() >= 72
}
