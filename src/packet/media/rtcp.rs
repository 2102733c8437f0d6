//! RTCP (RFC 3550 §6) and SRTCP (RFC 3711 §3.4).
//!
//! ```text
//!  RTCP   │2 count│ type │ length │ source │ report … │2 count│ type │ length │ …
//!  SRTCP  │2 count│ type │ length │ source │ encrypted … │ E, index │ key id * │ tag │
//! ```
//!
//! `length` counts words of four bytes behind the first. A compound packet that starts with a report proves itself. Of
//! anything else (one part, or encrypted) two packets of one source are wanted: either both end where their parts end,
//! or both have an index at the same place, and it moved on.

use super::{Evidence, Sighting, half};

/// The version, in the two highest bits of the first byte of each part.
const VERSION: u8 = 2;
/// Sender report.
const SENDER_REPORT: u8 = 200;
/// Receiver report.
const RECEIVER_REPORT: u8 = 201;
/// Types of parts, those of later documents and of old video included.
const TYPES: std::ops::RangeInclusive<u8> = 192..=223;
/// Types at the start of what may be SRTCP.
const FIRST_TYPES: std::ops::RangeInclusive<u8> = 200..=207;
/// A sender report without report blocks: header, source, sender information.
const SENDER_REPORT_SIZE: usize = 28;
/// A receiver report without report blocks: header and source.
const RECEIVER_REPORT_SIZE: usize = 8;
/// A report block.
const REPORT_BLOCK: usize = 24;

/// Places of the index, in bytes before the end: a tag of 10 bytes; one with a key id of 1 byte; with one of 4; no
/// tag, as AES-GCM has it in front (RFC 7714 §9.2).
const INDEX_PLACES: [usize; 4] = [14, 15, 18, 4];
/// Header and source, which no index overlaps.
const MIN_BEFORE_INDEX: usize = 8;
/// The bit beside the index: the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// Maximum advance of the index between two packets.
const MAX_INDEX_STEP: u32 = 64;

/// Recognizes a compound packet that fills a datagram of `size` bytes.
pub(super) fn recognize_compound(bytes: &[u8], size: usize) -> Option<Sighting> {
    let &[first, kind, l0, l1] = bytes.first_chunk::<4>()?;
    let report = match kind {
        SENDER_REPORT => SENDER_REPORT_SIZE,
        RECEIVER_REPORT => RECEIVER_REPORT_SIZE,
        _ => return None,
    };
    let blocks = REPORT_BLOCK * usize::from(first & 0x1f);
    if part_length([l0, l1]) < report + blocks {
        return None;
    }
    (parts(bytes, size)? >= 2).then_some(Sighting::new(Evidence::Rtcp))
}

/// The number of parts that end exactly where `size` bytes end; `None` if they do not, or one is not a valid part.
fn parts(bytes: &[u8], size: usize) -> Option<usize> {
    let mut rest = bytes.get(..size)?;
    let mut parts = 0;
    while !rest.is_empty() {
        let &[first, kind, l0, l1] = rest.first_chunk::<4>()?;
        if first >> 6 != VERSION || !TYPES.contains(&kind) {
            return None;
        }
        rest = rest.get(part_length([l0, l1])..)?;
        parts += 1;
    }
    Some(parts)
}

const fn part_length(words: [u8; 2]) -> usize {
    4 * (half(words) + 1)
}

/// A packet that is RTCP or SRTCP if another packet of its source confirms it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) source: u32,
    ends_well: bool,
    /// The words at [`INDEX_PLACES`]; 0 if missing.
    words: [u32; 4],
}

impl Candidate {
    /// Reads a packet that fills a datagram of `size` bytes, as far as it can be one.
    pub(super) fn read(bytes: &[u8], size: usize) -> Option<Self> {
        let &[first, kind, l0, l1, s0, s1, s2, s3] = bytes.first_chunk::<8>()?;
        if first >> 6 != VERSION || !FIRST_TYPES.contains(&kind) || part_length([l0, l1]) > size {
            return None;
        }
        let word = |place: usize| {
            let at = size.checked_sub(place)?;
            let word = bytes.get(at..)?.first_chunk::<4>()?;
            (at >= MIN_BEFORE_INDEX).then_some(u32::from_be_bytes(*word))
        };
        Some(Self {
            source: u32::from_be_bytes([s0, s1, s2, s3]),
            ends_well: parts(bytes, size).is_some(),
            words: INDEX_PLACES.map(|place| word(place).unwrap_or(0)),
        })
    }

    /// True if `next`, of the same source, confirms that the two are media.
    pub(super) fn is_followed_by(&self, next: &Self) -> bool {
        let index_moved = |(before, after): (&u32, &u32)| {
            before & after & ENCRYPTED != 0
                && (1..=MAX_INDEX_STEP).contains(&after.wrapping_sub(*before))
        };
        (self.ends_well && next.ends_well) || self.words.iter().zip(&next.words).any(index_moved)
    }
}
