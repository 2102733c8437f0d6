//! [`CaptureError`]: the reason why a capture could not be read to its end.

use std::fmt;
use std::io;

use super::record::MAX_RECORD;

/// Why a capture could not be read, or not to its end.
///
/// All frames before the error have been handed out; the error comes once, after them.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file is something else.
    #[error("not a pcap or pcapng capture: {0}")]
    NotACapture(Foreign),
    /// The input ends inside a record.
    #[error(
        "capture truncated after frame {frames} at byte {end}: the record that starts at byte {record} is incomplete; \
         copy the file again, or go on with the {frames} complete frames"
    )]
    Truncated {
        /// Complete frames before the end.
        frames: u64,
        /// Start of the incomplete record, in bytes from the start of the capture.
        record: u64,
        /// End of the input.
        end: u64,
    },
    /// A record contradicts the format, so that nothing behind it can be trusted.
    #[error("capture damaged after frame {frames} at byte {offset}: {damage}")]
    Damaged {
        /// Complete frames before the damage.
        frames: u64,
        /// Start of the damaged record, in bytes from the start of the capture.
        offset: u64,
        /// The defect.
        damage: Damage,
    },
    /// The input itself failed (a disk, a pipe, a truncated or corrupt gzip stream).
    #[error("reading the capture failed after frame {frames} at byte {offset}: {source}")]
    Read {
        /// Complete frames before the failure.
        frames: u64,
        /// Bytes of the capture received before the failure.
        offset: u64,
        /// The error of the input.
        source: io::Error,
    },
}

/// The likely format of a file that is no capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// No bytes at all.
    Empty,
    /// Compressed with the named tool.
    Compressed(&'static str),
    /// Another capture format, by name.
    OtherFormat(&'static str),
    /// Printable text.
    Text,
    /// None of the known beginnings; at most 4 bytes of it.
    UnknownMagic {
        /// The first bytes; those behind `length` are zero.
        bytes: [u8; 4],
        /// How many bytes there are.
        length: usize,
    },
}

impl Foreign {
    /// Names a file by its first bytes, at most [`Foreign::SNIFFED`] of them.
    pub(super) fn sniff(start: &[u8]) -> Self {
        if start.is_empty() {
            return Self::Empty;
        }
        if let Some((_, kind)) = BEGINNINGS
            .iter()
            .find(|(magic, _)| start.starts_with(magic))
        {
            return *kind;
        }
        if start
            .iter()
            .all(|&b| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
        {
            return Self::Text;
        }
        let mut bytes = [0; 4];
        let length = start.len().min(bytes.len());
        bytes[..length].copy_from_slice(&start[..length]);
        Self::UnknownMagic { bytes, length }
    }

    /// Bytes that [`Foreign::sniff`] looks at: enough to tell text from chance.
    pub(super) const SNIFFED: usize = 64;
}

/// Beginnings of files that people hand to a capture reader by mistake.
const BEGINNINGS: [(&[u8], Foreign); 9] = [
    (b"\x1f\x8b", Foreign::Compressed("gunzip")),
    (b"\x28\xb5\x2f\xfd", Foreign::Compressed("unzstd")),
    (b"\xfd7zXZ\0", Foreign::Compressed("unxz")),
    (b"BZh", Foreign::Compressed("bunzip2")),
    (b"PK\x03\x04", Foreign::Compressed("unzip")),
    (b"\x04\x22\x4d\x18", Foreign::Compressed("unlz4")),
    (b"snoop\0\0\0", Foreign::OtherFormat("Sun snoop")),
    (b"GMBU", Foreign::OtherFormat("Microsoft Network Monitor 2")),
    (b"RTSS", Foreign::OtherFormat("Microsoft Network Monitor 1")),
];

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty"),
            Self::Compressed(tool) => {
                write!(f, "the file is compressed; unpack it with `{tool}` first")
            }
            Self::OtherFormat(name) => {
                write!(
                    f,
                    "the file is in {name} format; convert it with `editcap -F pcapng`"
                )
            }
            Self::Text => {
                f.write_str("the file is text; give a capture made by tcpdump or Wireshark")
            }
            Self::UnknownMagic { bytes, length } => {
                f.write_str("the file starts with the unknown bytes ")?;
                for byte in &bytes[..*length] {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("; give a capture made by tcpdump or Wireshark")
            }
        }
    }
}

/// The defect of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file header names a version this reader does not know.
    #[error(
        "version {major}.{minor} of the format is not known; convert the file with `editcap -F pcapng`"
    )]
    UnknownVersion {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// The record claims to be larger than any packet.
    #[error("the record claims {length} bytes, more than the {MAX_RECORD} that a packet can have")]
    TooLarge {
        /// The length field.
        length: u64,
    },
    /// A pcapng block is too short for its own fixed fields.
    #[error("block of type {block_type:#x} has the impossible length {length}")]
    BlockLength {
        /// Block type.
        block_type: u32,
        /// The length field.
        length: u32,
    },
    /// The length at the end of a pcapng block differs from the one at its start.
    #[error("block has length {first} at its start but {last} at its end")]
    LengthsDiffer {
        /// Length at the start.
        first: u32,
        /// Length at the end.
        last: u32,
    },
    /// A pcapng packet is longer than the block it lies in.
    #[error("packet of {captured} bytes does not fit into its block of {block} bytes")]
    PacketBeyondBlock {
        /// Captured length of the packet.
        captured: u32,
        /// Length of the block.
        block: u32,
    },
    /// A pcapng section starts without a byte-order magic.
    #[error("section starts with the unknown byte-order magic {0:#010x}")]
    ByteOrder(u32),
    /// A pcapng interface description is over 1 MiB long, or its fields do not fill it.
    #[error("interface description cannot be read")]
    InterfaceDescription,
    /// A pcapng packet names an interface that its section has not described.
    #[error("packet names interface {interface}, but its section has described {described}")]
    UnknownInterface {
        /// Index named by the packet.
        interface: u32,
        /// Interfaces described so far.
        described: usize,
    },
    /// A pcapng section describes more interfaces than this reader remembers.
    #[error("section describes more than {0} interfaces")]
    TooManyInterfaces(usize),
}
