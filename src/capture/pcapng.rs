//! [`Section`]: the pcapng format, a chain of blocks (draft-ietf-opsawg-pcapng §3, §4).
//!
//! ```text
//!   block             type(4) length(4) body length again(4)       padded to a multiple of 4
//!   section header    byte-order magic(4) major(2) minor(2) ...    starts anew: byte order, interfaces
//!   interface         link type(2) reserved(2) snapshot(4) options
//!   enhanced packet   interface(4) time(8) captured(4) original(4) frame, padded; options
//!   simple packet     original(4) frame, padded                    of interface 0, without a time
//!   packet            interface(2) drops(2) time(8) captured(4) original(4) ...          obsolete
//! ```
//!
//! Interface descriptions, with their options, are read by the crate pcap-parser. Blocks that hold a packet are read here:
//! the crate collects the options of each packet in a `Vec`, which costs more than all the rest, and their fixed fields
//! are five words. All other blocks are stepped over.

use pcap_parser::pcapng::{
    BOM_MAGIC, EPB_MAGIC, IDB_MAGIC, InterfaceDescriptionBlock, OptionCode, SHB_MAGIC, SPB_MAGIC,
    parse_interfacedescriptionblock_be, parse_interfacedescriptionblock_le,
};

use super::error::Damage;
use super::link::LinkType;
use super::record::{Endian, MAX_RECORD, Record, Step};

/// The section that is being read.
#[derive(Debug)]
pub(super) struct Section {
    endian: Endian,
    interfaces: Vec<Interface>,
}

/// An interface description, as far as it concerns the frames of its interface.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link_type: LinkType,
    snapshot_length: u32,
    resolution: Resolution,
    /// Nanoseconds to add to each timestamp.
    offset: i128,
}

/// The unit of timestamps (option `if_tsresol`).
#[derive(Debug, Clone, Copy)]
enum Resolution {
    /// Ten to the minus nine or coarser: nanoseconds in a unit.
    Nanoseconds(u64),
    /// Finer than nanoseconds: units in a nanosecond.
    PerNanosecond(u128),
    /// Two to the minus this many seconds.
    BinaryFraction(u8),
}

/// Interfaces that one section may describe; each costs memory for as long as the section lasts.
const MAX_INTERFACES: usize = 1 << 16;
/// Largest interface description: its options are collected while it is read.
const MAX_DESCRIPTION: u32 = 1 << 20;
/// The obsolete Packet Block, which pcap-parser does not name.
const OBSOLETE_PACKET_MAGIC: u32 = 2;
/// Type, length, and length again.
const FRAME_OF_BLOCK: u32 = 12;

impl Section {
    /// A file before its first section header.
    pub(super) fn before_first() -> Self {
        Self {
            endian: Endian::Little,
            interfaces: Vec::new(),
        }
    }

    /// True if the file starts with a section header.
    pub(super) fn is_magic(magic: [u8; 4]) -> bool {
        // The same in both byte orders.
        u32::from_le_bytes(magic) == SHB_MAGIC
    }

    /// Reads the block at the start of `unread`.
    #[inline]
    pub(super) fn step(&mut self, unread: &[u8]) -> Step {
        let Some((header, _)) = unread.split_first_chunk::<8>() else {
            return Step::Need(8);
        };
        let [block_type, length] = self.endian.words(header);
        if block_type == SHB_MAGIC {
            return self.start_section(unread);
        }
        let shortest = FRAME_OF_BLOCK
            + match block_type {
                EPB_MAGIC | OBSOLETE_PACKET_MAGIC => 20,
                SPB_MAGIC => 4,
                IDB_MAGIC => 8,
                _ => 0,
            };
        if length < shortest {
            return Step::Damaged(Damage::BlockLength { block_type, length });
        }
        match block_type {
            EPB_MAGIC | SPB_MAGIC | OBSOLETE_PACKET_MAGIC => {
                self.packet(block_type, length, unread)
            }
            IDB_MAGIC => self.describe_interface(length, unread),
            _ => Step::Skip(stored(length)),
        }
    }

    #[cold]
    fn start_section(&mut self, unread: &[u8]) -> Step {
        let Some((header, _)) = unread.split_first_chunk::<16>() else {
            return Step::Need(16);
        };
        let [_, length, magic, version]: [[u8; 4]; 4] =
            std::array::from_fn(|i| header.as_chunks::<4>().0[i]);
        let orders = [Endian::Little, Endian::Big];
        let Some(endian) = orders
            .into_iter()
            .find(|order| order.u32(magic) == BOM_MAGIC)
        else {
            return Step::Damaged(Damage::ByteOrder(u32::from_be_bytes(magic)));
        };
        let major = endian.u16([version[0], version[1]]);
        let minor = endian.u16([version[2], version[3]]);
        if major != 1 {
            return Step::Damaged(Damage::UnknownVersion { major, minor });
        }
        let length = endian.u32(length);
        if length < FRAME_OF_BLOCK + 16 {
            return Step::Damaged(Damage::BlockLength {
                block_type: SHB_MAGIC,
                length,
            });
        }
        self.endian = endian;
        self.interfaces.clear();
        Step::Skip(stored(length))
    }

    #[cold]
    fn describe_interface(&mut self, length: u32, unread: &[u8]) -> Step {
        if length > MAX_DESCRIPTION {
            return Step::Damaged(Damage::InterfaceDescription);
        }
        let Some(block) = unread.get(..length as usize) else {
            return Step::Need(length as usize);
        };
        if self.interfaces.len() == MAX_INTERFACES {
            return Step::Damaged(Damage::TooManyInterfaces(MAX_INTERFACES));
        }
        let parsed = match self.endian {
            Endian::Little => parse_interfacedescriptionblock_le(block),
            Endian::Big => parse_interfacedescriptionblock_be(block),
        };
        match parsed {
            Ok((_, description)) => {
                self.interfaces
                    .push(Interface::new(&description, self.endian));
                Step::Skip(length.into())
            }
            Err(_) => Step::Damaged(Damage::InterfaceDescription),
        }
    }

    #[inline]
    fn packet(&self, block_type: u32, length: u32, unread: &[u8]) -> Step {
        if length as usize > MAX_RECORD {
            return Step::Damaged(Damage::TooLarge {
                length: length.into(),
            });
        }
        let stored = stored(length) as usize;
        let Some(block) = unread.get(..stored) else {
            return Step::Need(stored);
        };
        let (Some((fixed, _)), Some((_, last))) = (
            block.split_first_chunk::<12>(),
            block.split_last_chunk::<4>(),
        ) else {
            return Step::Damaged(Damage::BlockLength { block_type, length });
        };
        let last = self.endian.u32(*last);
        if last != length {
            return Step::Damaged(Damage::LengthsDiffer {
                first: length,
                last,
            });
        }
        let [_, _, first_word] = self.endian.words(fixed);
        let interface_index = match block_type {
            EPB_MAGIC => first_word,
            // Two bytes of interface, two of drops.
            OBSOLETE_PACKET_MAGIC => self.endian.u16([fixed[8], fixed[9]]).into(),
            _ => 0,
        };
        let Some(interface) = self.interfaces.get(interface_index as usize) else {
            return Step::Damaged(Damage::UnknownInterface {
                interface: interface_index,
                described: self.interfaces.len(),
            });
        };
        if block_type == SPB_MAGIC {
            return Step::Frame(interface.simple_packet(first_word, length, stored));
        }
        let Some((fixed, _)) = block.split_first_chunk::<28>() else {
            return Step::Damaged(Damage::BlockLength { block_type, length });
        };
        let [_, _, _, high, low, captured, original_length] = self.endian.words(fixed);
        if captured > length - FRAME_OF_BLOCK - 20 {
            return Step::Damaged(Damage::PacketBeyondBlock {
                captured,
                block: length,
            });
        }
        Step::Frame(Record {
            header: fixed.len(),
            captured: captured as usize,
            length: stored,
            original_length,
            link_type: interface.link_type,
            nanoseconds: interface.nanoseconds(u64::from(high) << 32 | u64::from(low)),
        })
    }
}

/// Bytes of a block in the file. The format wants lengths to be multiples of 4; some programs write the length without the
/// padding that they write, and Wireshark reads them.
fn stored(length: u32) -> u64 {
    u64::from(length).next_multiple_of(4)
}

impl Interface {
    fn new(description: &InterfaceDescriptionBlock<'_>, endian: Endian) -> Self {
        // The values are decoded here: pcap-parser 0.17 reads `if_tsoffset` as little-endian in either byte order, and
        // knows no powers of two in `if_tsresol`.
        let option = |code: OptionCode| {
            let option = description
                .options
                .iter()
                .find(|option| option.code == code)?;
            option.as_bytes().ok()
        };
        let resolution = match option(OptionCode::IfTsresol) {
            Some(&[exponent]) => Resolution::new(exponent),
            _ => Resolution::MICROSECONDS,
        };
        let offset = match option(OptionCode::IfTsoffset).map(<[u8; 8]>::try_from) {
            Some(Ok(bytes)) => match endian {
                Endian::Little => i64::from_le_bytes(bytes),
                Endian::Big => i64::from_be_bytes(bytes),
            },
            _ => 0,
        };
        Self {
            link_type: LinkType(description.linktype.0 as u16),
            snapshot_length: description.snaplen,
            resolution,
            offset: i128::from(offset) * NANOSECONDS_IN_SECOND as i128,
        }
    }

    /// A simple packet has no captured length: it follows from the block, the packet and the snapshot length.
    #[cold]
    fn simple_packet(&self, original_length: u32, length: u32, stored: usize) -> Record {
        let room = length - FRAME_OF_BLOCK - 4;
        let snapshot_length = match self.snapshot_length {
            0 => u32::MAX,
            limit => limit,
        };
        Record {
            header: 12,
            captured: original_length.min(snapshot_length).min(room) as usize,
            length: stored,
            original_length,
            link_type: self.link_type,
            nanoseconds: 0,
        }
    }

    #[inline]
    fn nanoseconds(&self, units: u64) -> u64 {
        let nanoseconds = match self.resolution {
            Resolution::Nanoseconds(in_unit) => units.saturating_mul(in_unit),
            Resolution::PerNanosecond(units_in) => (u128::from(units) / units_in) as u64,
            Resolution::BinaryFraction(shift) => {
                let scaled = u128::from(units) * u128::from(NANOSECONDS_IN_SECOND);
                u64::try_from(scaled >> shift).unwrap_or(u64::MAX)
            }
        };
        if self.offset == 0 {
            return nanoseconds;
        }
        let shifted = i128::from(nanoseconds) + self.offset;
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

impl Resolution {
    /// The default, where no option says otherwise.
    const MICROSECONDS: Self = Self::Nanoseconds(1_000);

    /// Reads option `if_tsresol`: the highest bit chooses powers of two, the rest is a negative exponent.
    fn new(option: u8) -> Self {
        let exponent = option & 0x7f;
        if option & 0x80 != 0 {
            return Self::BinaryFraction(exponent);
        }
        match exponent {
            0..=9 => Self::Nanoseconds(10_u64.pow(9 - u32::from(exponent))),
            finer => Self::PerNanosecond(10_u128.saturating_pow(u32::from(finer) - 9)),
        }
    }
}

const NANOSECONDS_IN_SECOND: u64 = 1_000_000_000;
