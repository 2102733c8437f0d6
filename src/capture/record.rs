//! [`Step`]: the item at the start of the unread bytes, the same for either format.

use super::error::Damage;
use super::link::LinkType;

/// Largest record (a classic record, or a pcapng block that holds a packet) that is taken for real.
///
/// Linux builds packets of up to 512 KiB (BIG TCP), and tcpdump's own limit is 256 KiB; 16 MiB leaves room for both and
/// still bounds the memory that a lying length field can claim.
pub const MAX_RECORD: usize = 16 << 20;

/// The item at the start of the unread bytes.
pub(super) enum Step {
    /// A frame.
    Frame(Record),
    /// This many bytes without a frame; they need not be in the buffer.
    Skip(u64),
    /// The decision needs this many bytes, counted from the start of the record.
    Need(usize),
    /// Something that contradicts the format.
    Damaged(Damage),
}

/// A frame and its place in the unread bytes.
#[derive(Clone, Copy)]
pub(super) struct Record {
    /// Bytes before the frame.
    pub(super) header: usize,
    /// Bytes of the frame.
    pub(super) captured: usize,
    /// Bytes of the whole record: header, frame, and what follows it.
    pub(super) length: usize,
    /// Length of the packet on the wire.
    pub(super) original_length: u32,
    /// Link type of the interface.
    pub(super) link_type: LinkType,
    /// Nanoseconds since the epoch.
    pub(super) nanoseconds: u64,
}

/// Byte order of a file or section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Endian {
    /// Reads two bytes.
    #[inline]
    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// Reads four bytes.
    #[inline]
    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    /// Reads a run of 32-bit words, as headers of captures are made of them.
    #[inline]
    pub(super) fn words<const BYTES: usize, const WORDS: usize>(
        self,
        bytes: &[u8; BYTES],
    ) -> [u32; WORDS] {
        const { assert!(BYTES == 4 * WORDS) };
        let (words, _) = bytes.as_chunks::<4>();
        std::array::from_fn(|i| self.u32(words[i]))
    }
}
