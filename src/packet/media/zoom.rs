//! Zoom's STUN: the types of RFC 3489 with attributes of its own.

use super::{Evidence, Sighting};

/// Header of a request with one attribute.
const REQUEST: [u8; 4] = [0x00, 0x01, 0x00, 0x18];
/// Its attribute, whole: type 0101, 20 bytes of digits.
const REQUEST_ATTRIBUTE: &[u8; 24] = b"\x01\x01\x00\x141234567890123456789\x00";
/// Header of the other message.
const OTHER: [u8; 4] = [0x00, 0x02, 0x00, 0x0c];
/// The start of its attribute.
const OTHER_ATTRIBUTE: [u8; 6] = [0x01, 0x03, 0x00, 0x08, 0x00, 0x01];

/// Recognizes one of the two messages, which fill a datagram of `size` bytes.
pub(super) fn recognize(bytes: &[u8], size: usize) -> Option<Sighting> {
    let (header, attribute) = bytes.split_first_chunk::<20>()?;
    let is_request =
        size == 44 && header.starts_with(&REQUEST) && attribute.starts_with(REQUEST_ATTRIBUTE);
    let is_other =
        size == 32 && header.starts_with(&OTHER) && attribute.starts_with(&OTHER_ATTRIBUTE);
    (is_request || is_other).then_some(Sighting::new(Evidence::ZoomStun))
}
