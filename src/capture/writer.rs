//! [`PcapngWriter`]: writes frames to a pcapng file that Wireshark, tshark and [`CaptureReader`](super::CaptureReader) open.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::link::LinkType;
use super::reader::CapturedFrame;

/// Writes one section of pcapng, little-endian, with timestamps in nanoseconds.
///
/// An interface is described for each link type that occurs, in order of occurrence, so that frames of different link
/// types can share a file. Blocks are written field by field: hand in a [`BufWriter`](io::BufWriter).
pub struct PcapngWriter<W: Write> {
    blocks: PcapNgWriter<W>,
}

impl<W: Write> PcapngWriter<W> {
    /// Longest comment that is written whole, in bytes; the format allows 65,535, and a reader shows one line.
    pub const MAX_COMMENT: usize = 4096;

    /// Starts a file.
    pub fn new(output: W) -> io::Result<Self> {
        let application = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
        let header = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(
                application,
            ))],
            ..SectionHeaderBlock::default()
        };
        let blocks = PcapNgWriter::with_section_header(output, header).map_err(io_error)?;
        Ok(Self { blocks })
    }

    /// Writes a frame (all but its number, which is its place in the file), and a comment on it if there is one.
    ///
    /// Comments are truncated after [`Self::MAX_COMMENT`] bytes, timestamps held to what 64 bits of nanoseconds can say
    /// (the year 2554).
    pub fn write_frame(
        &mut self,
        frame: &CapturedFrame<'_>,
        comment: Option<&str>,
    ) -> io::Result<()> {
        let interface_id = self.interface(frame.link_type)?;
        let options = comment.map(|text| {
            let text = &text[..text.floor_char_boundary(Self::MAX_COMMENT)];
            EnhancedPacketOption::Comment(Cow::Borrowed(text))
        });
        let packet = EnhancedPacketBlock {
            interface_id,
            timestamp: frame.timestamp.min(LATEST_TIMESTAMP),
            original_len: frame.original_length,
            data: Cow::Borrowed(frame.bytes),
            options: options.into_iter().collect(),
        };
        self.blocks.write_pcapng_block(packet).map_err(io_error)?;
        Ok(())
    }

    /// Describes the interface of frames of `link_type`, unless it is described already.
    pub fn describe(&mut self, link_type: LinkType) -> io::Result<()> {
        self.interface(link_type).map(|_| ())
    }

    /// Ends the file: everything is flushed, and the output comes back.
    pub fn finish(self) -> io::Result<W> {
        let mut output = self.blocks.into_inner();
        output.flush()?;
        Ok(output)
    }

    /// The index of the interface of a link type, which is described first if it is not yet.
    fn interface(&mut self, link_type: LinkType) -> io::Result<u32> {
        let link = DataLink::from(u32::from(link_type.0));
        let described = self.blocks.interfaces();
        let index = match described
            .iter()
            .position(|interface| interface.linktype == link)
        {
            Some(index) => index,
            None => {
                let index = described.len();
                let description = InterfaceDescriptionBlock {
                    linktype: link,
                    snaplen: NO_LIMIT,
                    options: vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)],
                };
                self.blocks
                    .write_pcapng_block(description)
                    .map_err(io_error)?;
                index
            }
        };
        u32::try_from(index).map_err(io::Error::other)
    }
}

impl PcapngWriter<Vec<u8>> {
    /// Takes out what was written so far; what is written next belongs behind it.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.blocks.get_mut())
    }
}

impl<W: Write> fmt::Debug for PcapngWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interfaces = self.blocks.interfaces().len();
        f.debug_struct("PcapngWriter")
            .field("interfaces", &interfaces)
            .finish_non_exhaustive()
    }
}

/// Snapshot length of an interface that has none.
const NO_LIMIT: u32 = 0;
/// Option `if_tsresol`: 10^-9 seconds.
const NANOSECONDS: u8 = 9;
/// The last moment that 64 bits of nanoseconds reach.
const LATEST_TIMESTAMP: std::time::Duration = std::time::Duration::from_nanos(u64::MAX);

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
