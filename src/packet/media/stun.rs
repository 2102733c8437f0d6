//! STUN messages (RFC 8489 §5; RFC 3489 §11 without the cookie).
//!
//! ```text
//!   0         2         4                 8                                20
//!  ┌─────────┬─────────┬─────────────────┬───────────────────────────────┬────────────┐
//!  │ type    │ length  │ 21 12 A4 42     │ transaction id                │ attributes │
//!  └─────────┴─────────┴─────────────────┴───────────────────────────────┴────────────┘
//! ```
//!
//! The cookie and a length that agrees with the datagram suffice: real messages have lengths that are no multiple of
//! four, wrong or missing fingerprints, and unregistered methods.

use super::{Evidence, Sighting, half, ms_turn};

/// Length of the header.
pub(super) const HEADER: usize = 20;
/// RFC 8489 §5.
pub(super) const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// The two highest bits of the first byte are zero (RFC 8489 §5).
pub(super) const ZERO_BITS: u8 = 0xc0;

/// A binding request (RFC 8489 §18.2).
const BINDING_REQUEST: u16 = 0x0001;
/// Message types of RFC 3489 §11.1: binding and shared secret, request, response and error.
const CLASSIC_TYPES: [u16; 6] = [0x0001, 0x0101, 0x0111, 0x0002, 0x0102, 0x0112];
/// Attribute USERNAME (RFC 8489 §14.3).
const USERNAME: u16 = 0x0006;
/// Attributes from here on may be ignored by a receiver (RFC 8489 §14).
const COMPREHENSION_OPTIONAL: u16 = 0x8000;
/// Attributes that only Microsoft's software sends (MS-TURN §2.2.2, MS-ICE2 §2.2.2, MS-TURNBWM §2.2).
const MICROSOFT_ATTRIBUTES: [u16; 11] = [
    0x8006, 0x8008, 0x8036, 0x8037, 0x8039, 0x8050, 0x8054, 0x8055, 0x8070, 0x8090, 0x8095,
];
/// Length of an attribute's type and length.
const ATTRIBUTE_HEADER: usize = 4;
/// A transaction id looks random if its 16 bytes have more distinct values than this.
const MIN_RANDOM: usize = 8;

/// A header, and the attributes behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    kind: u16,
    /// Length of the whole message by its length field.
    pub(super) length: usize,
    has_cookie: bool,
    /// The available bytes of the attributes, none beyond the message.
    pub(super) attributes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the header at the start of `bytes`; `None` if they are too few, or their first two bits are not zero.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, attributes) = bytes.split_first_chunk::<HEADER>()?;
        let [t0, t1, l0, l1, c0, c1, c2, c3, ..] = *header;
        if t0 & ZERO_BITS != 0 {
            return None;
        }
        let length = half([l0, l1]);
        Some(Self {
            kind: u16::from_be_bytes([t0, t1]),
            length: HEADER + length,
            has_cookie: [c0, c1, c2, c3] == MAGIC_COOKIE,
            attributes: &attributes[..length.min(attributes.len())],
        })
    }

    /// True if it has the magic cookie.
    pub(super) fn has_cookie(&self) -> bool {
        self.has_cookie
    }

    /// True if the message is complete.
    pub(super) fn is_complete(&self) -> bool {
        HEADER + self.attributes.len() == self.length
    }

    /// The message as evidence, by its cookie.
    pub(super) fn sighting(&self) -> Sighting {
        let attributes = Attributes::read(self.attributes);
        let evidence = if ms_turn::is_first(self.attributes) {
            Evidence::MsTurn
        } else if self.kind == BINDING_REQUEST && attributes.has_user_name {
            Evidence::StunCheck
        } else {
            Evidence::Stun
        };
        Sighting {
            evidence,
            is_microsoft: evidence == Evidence::MsTurn || attributes.is_microsoft,
        }
    }

    /// Recognizes a complete message without the cookie: one of six types, with attributes known to RFC 3489 and its
    /// successors that end where the message ends.
    pub(super) fn classic(&self) -> Option<Sighting> {
        if !CLASSIC_TYPES.contains(&self.kind) || self.attributes.is_empty() || !self.is_complete()
        {
            return None;
        }
        let walks = [Padding::ToFour, Padding::None].map(|padding| walk(self.attributes, padding));
        let known = walks.iter().find(|walk| walk.ends_well && walk.all_known)?;
        Some(Sighting {
            evidence: Evidence::StunClassic,
            is_microsoft: known.is_microsoft,
        })
    }
}

/// Recognizes a message that fills a datagram of `size` bytes, of which `bytes` are available.
pub(super) fn recognize(bytes: &[u8], size: usize) -> Option<Sighting> {
    let message = Message::read(bytes)?;
    if message.length != size {
        return None;
    }
    if message.has_cookie || ms_turn::is_first(message.attributes) {
        return Some(message.sighting());
    }
    message.classic()
}

/// True if a message whose length is by its field that of a datagram of `size` bytes may begin with `bytes`.
#[inline]
pub(super) fn may_fill(bytes: &[u8], size: usize) -> bool {
    matches!(bytes, &[_, _, l0, l1, ..] if HEADER + half([l0, l1]) == size)
}

/// Recognizes a message by its cookie alone, if its length matches a datagram of `size` bytes.
pub(super) fn recognize_cookie(bytes: &[u8], size: usize) -> Option<Sighting> {
    let message = Message::read(bytes)?;
    (message.length == size && message.has_cookie).then(|| message.sighting())
}

/// Recognizes a request of RFC 3489 without attributes, by the randomness of its transaction id.
pub(super) fn recognize_bare(bytes: &[u8], size: usize) -> Option<Sighting> {
    let (&[0, 1, 0, 0, ref id @ ..], _) = bytes.split_first_chunk::<HEADER>()? else {
        return None;
    };
    let first_seen = |&(at, byte): &(usize, &u8)| !id[..at].contains(byte);
    let different = id.iter().enumerate().filter(first_seen).count();
    (size == HEADER && different > MIN_RANDOM).then_some(Sighting::new(Evidence::StunBare))
}

/// The padding after the value of an attribute.
#[derive(Debug, Clone, Copy)]
enum Padding {
    /// Zeros up to a multiple of four (RFC 8489 §14).
    ToFour,
    /// No padding: Communicator 2007, WhatsApp.
    None,
}

/// The facts of one walk through attributes.
#[derive(Debug, Clone, Copy)]
struct Attributes {
    ends_well: bool,
    all_known: bool,
    is_microsoft: bool,
    has_user_name: bool,
}

impl Attributes {
    /// Walks with the padding by which the attributes end where the message ends; with that of the RFC if neither fits.
    fn read(attributes: &[u8]) -> Self {
        let padded = walk(attributes, Padding::ToFour);
        if padded.ends_well {
            return padded;
        }
        let unpadded = walk(attributes, Padding::None);
        if unpadded.ends_well { unpadded } else { padded }
    }
}

fn walk(mut rest: &[u8], padding: Padding) -> Attributes {
    let mut facts = Attributes {
        ends_well: false,
        all_known: true,
        is_microsoft: false,
        has_user_name: false,
    };
    while let Some((&[t0, t1, l0, l1], values)) = rest.split_first_chunk::<ATTRIBUTE_HEADER>() {
        let kind = u16::from_be_bytes([t0, t1]);
        let length = half([l0, l1]);
        let step = match padding {
            Padding::ToFour => length.next_multiple_of(4),
            Padding::None => length,
        };
        let Some(behind) = values.get(step..) else {
            return facts;
        };
        facts.all_known &= kind >= COMPREHENSION_OPTIONAL || is_known(kind);
        facts.is_microsoft |= MICROSOFT_ATTRIBUTES.contains(&kind);
        facts.has_user_name |= kind == USERNAME;
        rest = behind;
    }
    facts.ends_well = rest.is_empty();
    facts
}

/// Attributes of RFC 3489, STUN and TURN drafts, and ICE that a receiver must understand.
fn is_known(kind: u16) -> bool {
    matches!(kind, 0x0001..=0x0016 | 0x0018..=0x001a | 0x0020 | 0x0022 | 0x0024 | 0x0025)
}
