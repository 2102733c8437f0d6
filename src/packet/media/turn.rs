//! TURN ChannelData (RFC 8656 §12.4).
//!
//! ```text
//!  │ channel number │ length │ application data │ padding, up to 3 bytes │
//! ```

use super::{Evidence, Sighting, half};

/// Longest padding behind the data.
const MAX_PADDING: usize = 3;
/// First bytes of channel numbers: 0x4000 to 0x4FFF.
const CHANNELS: std::ops::RangeInclusive<u8> = 0x40..=0x4f;

/// A message inside ChannelData that fills a datagram of `size` bytes.
pub(super) fn recognize(
    bytes: &[u8],
    size: usize,
    inner: fn(&[u8], usize) -> Option<Sighting>,
) -> Option<Sighting> {
    let (data, length) = channel_data(bytes, size)?;
    let sighting = inner(data, length)?;
    Some(Sighting {
        evidence: Evidence::ChannelData,
        ..sighting
    })
}

/// The application data of ChannelData that fills a datagram of `size` bytes: the available bytes, and their number on the
/// wire.
pub(super) fn channel_data(bytes: &[u8], size: usize) -> Option<(&[u8], usize)> {
    let (&[number, _, l0, l1], data) = bytes.split_first_chunk::<4>()?;
    let length = half([l0, l1]);
    let padding = size.checked_sub(4 + length)?;
    let is_channel = CHANNELS.contains(&number) && padding <= MAX_PADDING;
    is_channel.then(|| (&data[..length.min(data.len())], length))
}
