//! [`Classic`]: the pcap format, a file header of 24 bytes and records of 16 bytes and a frame
//! (draft-ietf-opsawg-pcap §4, §5).
//!
//! ```text
//!   file header     magic(4) major(2) minor(2) zone(4) accuracy(4) snapshot length(4) link type(4)
//!   record header   seconds(4) fraction(4) captured length(4) original length(4)
//! ```
//!
//! The lengths are read as they are: real files hold frames longer than the snapshot length and frames with more bytes
//! captured than there were on the wire, and all of them can be judged.

use super::error::Damage;
use super::link::LinkType;
use super::record::{Endian, MAX_RECORD, Record, Step};

/// A classic capture, as its file header describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Classic {
    endian: Endian,
    /// Nanoseconds in a unit of the fraction field.
    fraction: u64,
    link_type: LinkType,
    record_header: usize,
    lengths: LengthOrder,
}

/// Order of the two lengths in a record header: libpcap before 0.4 had them the other way round.
#[derive(Debug, Clone, Copy)]
enum LengthOrder {
    CapturedFirst,
    OriginalFirst,
    /// Version 2.3 was written both ways; the smaller one is the captured length.
    SmallerIsCaptured,
}

impl Classic {
    /// Length of the file header.
    pub(super) const HEADER: usize = 24;

    /// True if the file starts with one of the pcap magics.
    pub(super) fn is_magic(magic: [u8; 4]) -> bool {
        parse_magic(magic).is_some()
    }

    /// Reads the file header; `None` when it does not start with a pcap magic.
    pub(super) fn parse_header(header: &[u8; Self::HEADER]) -> Option<Result<Self, Damage>> {
        let words: [[u8; 4]; 6] = std::array::from_fn(|i| header.as_chunks::<4>().0[i]);
        let [
            magic,
            version,
            _zone,
            _accuracy,
            _snapshot_length,
            link_type,
        ] = words;
        let (endian, fraction, record_header) = parse_magic(magic)?;
        let major = endian.u16([version[0], version[1]]);
        let minor = endian.u16([version[2], version[3]]);
        let lengths = match (major, minor) {
            (2, 0..=2) | (543, _) => LengthOrder::OriginalFirst,
            (2, 3) => LengthOrder::SmallerIsCaptured,
            (2, _) => LengthOrder::CapturedFirst,
            _ => return Some(Err(Damage::UnknownVersion { major, minor })),
        };
        Some(Ok(Self {
            endian,
            fraction,
            // The upper half holds the length of a frame check sequence and reserved bits.
            link_type: LinkType((endian.u32(link_type) & 0xffff) as u16),
            record_header,
            lengths,
        }))
    }

    /// Reads the record at the start of `unread`.
    #[inline]
    pub(super) fn step(&self, unread: &[u8]) -> Step {
        let Some((header, _)) = unread.split_first_chunk::<16>() else {
            return Step::Need(16);
        };
        let [seconds, fraction, first, second] = self.endian.words(header);
        let (captured, original_length) = match self.lengths {
            LengthOrder::CapturedFirst => (first, second),
            LengthOrder::OriginalFirst => (second, first),
            LengthOrder::SmallerIsCaptured => (first.min(second), first.max(second)),
        };
        if captured as usize > MAX_RECORD {
            return Step::Damaged(Damage::TooLarge {
                length: captured.into(),
            });
        }
        let length = self.record_header + captured as usize;
        if unread.len() < length {
            return Step::Need(length);
        }
        Step::Frame(Record {
            header: self.record_header,
            captured: captured as usize,
            length,
            original_length,
            link_type: self.link_type,
            // At most 2^32 * 10^9 + 2^32 * 10^3, which fits.
            nanoseconds: u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.fraction,
        })
    }
}

/// Byte order, nanoseconds in a unit of the fraction, and length of a record header.
fn parse_magic(magic: [u8; 4]) -> Option<(Endian, u64, usize)> {
    let kind = |value| match value {
        0xa1b2_c3d4 => Some((1_000, 16)),
        0xa1b2_3c4d => Some((1, 16)),
        // Alexey Kuznetsov's variant of the 1990s: interface, protocol and packet type behind the 16 bytes.
        0xa1b2_cd34 => Some((1_000, 24)),
        _ => None,
    };
    [Endian::Little, Endian::Big]
        .into_iter()
        .find_map(|endian| {
            let (fraction, record_header) = kind(endian.u32(magic))?;
            Some((endian, fraction, record_header))
        })
}
