//! Recognizes media by the first bytes of a TCP stream.
//!
//! A sender may write a length alone, or half a hello. So each kind of evidence reports for a prefix that it is
//! present, that it is ruled out, or that it needs more bytes; the first two are final.

use super::{Evidence, Profile, Sighting, ice_tcp, ms_turn, pseudo_tls, stun};

/// Maximum number of bytes examined in a stream: a complete check without the cookie has fewer than 200.
pub(super) const MAX_PREFIX: usize = 256;

/// The answer of one kind of evidence to a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    /// The evidence is present.
    Seen(Sighting),
    /// The evidence is present; the bytes that follow show if it has a mark of Microsoft.
    MarkUndecided(Sighting),
    /// More bytes are needed.
    Undecided,
    /// The evidence is ruled out.
    RuledOut,
}

impl Row {
    /// Evaluates a message at its place in a stream: evidence by one of its cookies.
    pub(super) fn of_message(message: &stun::Message<'_>, evidence: Evidence) -> Self {
        let is_ms_turn = ms_turn::is_first(message.attributes);
        if message.has_cookie() || is_ms_turn {
            let sighting = Sighting {
                evidence,
                ..message.sighting()
            };
            if message.is_complete() || is_ms_turn {
                Self::Seen(sighting)
            } else {
                Self::MarkUndecided(Sighting::new(evidence))
            }
        } else if could_become(message.attributes, &ms_turn::MAGIC_COOKIE_ATTRIBUTE)
            && !message.is_complete()
        {
            Self::Undecided
        } else {
            Self::RuledOut
        }
    }

    /// Evaluates a fixed pattern.
    pub(super) fn of_pattern(
        is_there: bool,
        prefix: &[u8],
        wanted: usize,
        sighting: Sighting,
    ) -> Self {
        if !is_there {
            Self::RuledOut
        } else if prefix.len() < wanted {
            Self::Undecided
        } else {
            Self::Seen(sighting)
        }
    }
}

/// True if `bytes` start with `pattern`, as far as they go.
pub(super) fn could_become(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes
        .iter()
        .zip(pattern)
        .all(|(ours, theirs)| ours == theirs)
}

/// The answer of all kinds of evidence to a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// The stream is media.
    Media(Evidence),
    /// More bytes are needed.
    Undecided,
    /// The stream is something else.
    RuledOut,
}

/// Recognizes a stream by its first bytes, no more than [`MAX_PREFIX`] of them.
pub(super) fn recognize(profile: Profile, stream: &[u8]) -> Prefix {
    let stream = &stream[..stream.len().min(MAX_PREFIX)];
    let is_full = stream.len() == MAX_PREFIX;
    let rows = [
        ice_tcp::recognize(stream),
        turn_on_tcp(stream),
        ms_turn::control(stream),
        pseudo_tls::microsoft(stream),
        pseudo_tls::google(stream),
    ];
    let mut verdict = Prefix::RuledOut;
    for row in rows {
        match row {
            Row::Seen(sighting) | Row::MarkUndecided(sighting) if profile.takes(sighting) => {
                return Prefix::Media(sighting.evidence);
            }
            Row::MarkUndecided(_) | Row::Undecided if !is_full => verdict = Prefix::Undecided,
            Row::Seen(_) | Row::MarkUndecided(_) | Row::Undecided | Row::RuledOut => {}
        }
    }
    verdict
}

/// TURN messages one after the other (RFC 8656 §2.1), also before a connection that RFC 6062 binds.
fn turn_on_tcp(stream: &[u8]) -> Row {
    match stun::Message::read(stream) {
        Some(message) => Row::of_message(&message, Evidence::TurnTcp),
        None if stream
            .first()
            .is_some_and(|first| first & stun::ZERO_BITS != 0) =>
        {
            Row::RuledOut
        }
        None => Row::Undecided,
    }
}
