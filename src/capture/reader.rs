//! [`CaptureReader`]: the frames of a capture, in order, in constant memory and without a copy of each.
//!
//! Frames are handed out in batches that borrow from the reader's buffer until the next batch is asked for:
//!
//! ```
//! use offramp::capture::{CaptureError, CaptureReader, LinkPayload, ip_packet};
//!
//! fn count(file: impl std::io::Read) -> Result<u64, CaptureError> {
//!     let mut reader = CaptureReader::new(file)?;
//!     let mut ip = 0;
//!     loop {
//!         let batch = reader.next_batch(64)?;
//!         if batch.is_empty() {
//!             return Ok(ip);
//!         }
//!         // The packets of the batch, side by side, as a judge of batches wants them.
//!         let mut packets: [&[u8]; 64] = [&[]; 64];
//!         let mut filled = 0;
//!         for frame in batch {
//!             if let LinkPayload::Ip { packet, .. } = ip_packet(frame.link_type, frame.bytes) {
//!                 packets[filled] = packet;
//!                 filled += 1;
//!             }
//!         }
//!         ip += packets[..filled].len() as u64;
//!     }
//! }
//! # assert!(count(&b""[..]).is_err());
//! ```

use std::io::{self, Read};
use std::time::Duration;

use super::buffer::RefillBuffer;
use super::classic::Classic;
use super::error::{CaptureError, Damage, Foreign};
use super::link::LinkType;
use super::pcapng::Section;
use super::record::{Record, Step};

/// Bytes that a reader asks its input for at once.
pub const BUFFER_SIZE: usize = 1 << 20;

/// Reads pcap and pcapng, of either byte order and any resolution, from a stream of bytes.
///
/// After an error, or after the end, there are no more frames.
#[derive(Debug)]
pub struct CaptureReader<R> {
    buffer: RefillBuffer<R>,
    format: Format,
    /// The frames of the current batch.
    places: Vec<FrameSpan>,
    /// Frames handed out in earlier batches.
    frames_before: u64,
    /// Bytes of the current record that are still to be stepped over.
    to_skip: u64,
    /// Offset in the input at which the current record starts.
    record_start: u64,
    finished: bool,
}

#[derive(Debug)]
enum Format {
    Classic(Classic),
    Pcapng(Section),
}

/// One frame of the current batch, by its place in the buffer.
#[derive(Debug, Clone, Copy)]
struct FrameSpan {
    start: usize,
    end: usize,
    nanoseconds: u64,
    original_length: u32,
    link_type: LinkType,
}

/// A frame of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapturedFrame<'a> {
    /// Its number: packets of the file, counted from 1, as Wireshark numbers them where every block is a packet.
    pub number: u64,
    /// Link type of the interface it was captured on.
    pub link_type: LinkType,
    /// Time since the epoch, zero where the file has none.
    pub timestamp: Duration,
    /// Its captured bytes, from the link header on.
    pub bytes: &'a [u8],
    /// Its length on the wire; as the file says, so it may even be less than what was captured.
    pub original_length: u32,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the start of the input and recognizes its format.
    pub fn new(input: R) -> Result<Self, CaptureError> {
        Self::with_buffer_size(input, BUFFER_SIZE)
    }

    /// [`Self::new`] with another size of the buffer, which records larger than it make grow.
    pub(super) fn with_buffer_size(input: R, size: usize) -> Result<Self, CaptureError> {
        let mut buffer = RefillBuffer::new(input, size);
        let format = recognize(&mut buffer)?;
        Ok(Self {
            record_start: buffer.consumed(),
            buffer,
            format,
            places: Vec::new(),
            frames_before: 0,
            to_skip: 0,
            finished: false,
        })
    }

    /// The next frame, or `None` at the end of the capture.
    pub fn next_frame(&mut self) -> Result<Option<CapturedFrame<'_>>, CaptureError> {
        Ok(self.next_batch(1)?.get(0))
    }

    /// The next frames, at least one and at most `most` (taken for 1 if it is 0), or none at the end of the capture.
    ///
    /// A batch may be short anywhere in the capture: it ends where the buffer ends, so that frames are neither copied nor
    /// waited for while there are some to hand out. An error comes in a call of its own, after the frames before it.
    pub fn next_batch(&mut self, most: usize) -> Result<Batch<'_>, CaptureError> {
        self.frames_before += self.places.len() as u64;
        self.places.clear();
        while !self.finished && self.places.len() < most.max(1) {
            let need = match self.advance() {
                Ok(None) => continue,
                Ok(Some(need)) => need,
                Err(_) if !self.places.is_empty() => break,
                Err(damage) => return Err(self.damaged(damage)),
            };
            // More bytes would move those that the frames of this batch lie in.
            if !self.places.is_empty() {
                break;
            }
            self.refill(need)?;
        }
        Ok(Batch {
            buffer: self.buffer.bytes(),
            places: &self.places,
            frames_before: self.frames_before,
        })
    }

    /// Bytes of the capture read so far, for showing progress.
    pub fn position(&self) -> u64 {
        self.buffer.consumed()
    }

    /// Takes what is at the start of the unread bytes, or says how many it needs.
    #[inline]
    fn advance(&mut self) -> Result<Option<usize>, Damage> {
        if self.to_skip > 0 {
            let most = usize::try_from(self.to_skip).unwrap_or(usize::MAX);
            self.to_skip -= self.buffer.consume(most) as u64;
            if self.to_skip > 0 {
                return Ok(Some(1));
            }
        }
        self.record_start = self.buffer.consumed();
        let step = match &mut self.format {
            Format::Classic(classic) => classic.step(self.buffer.unread()),
            Format::Pcapng(section) => section.step(self.buffer.unread()),
        };
        match step {
            Step::Frame(record) => self.place(&record),
            Step::Skip(length) => self.to_skip = length,
            Step::Need(need) => return Ok(Some(need)),
            Step::Damaged(damage) => return Err(damage),
        }
        Ok(None)
    }

    #[inline]
    fn place(&mut self, record: &Record) {
        let start = self.buffer.start() + record.header;
        self.places.push(FrameSpan {
            start,
            end: start + record.captured,
            nanoseconds: record.nanoseconds,
            original_length: record.original_length,
            link_type: record.link_type,
        });
        self.buffer.consume(record.length);
    }

    /// Waits for more bytes; the end of the input is fine between two records only.
    fn refill(&mut self, need: usize) -> Result<(), CaptureError> {
        match self.buffer.refill(need) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.finished = true;
                let end = self.buffer.consumed() + self.buffer.unread().len() as u64;
                if end == self.record_start {
                    return Ok(());
                }
                Err(CaptureError::Truncated {
                    frames: self.frames_before,
                    record: self.record_start,
                    end,
                })
            }
            Err(source) => {
                self.finished = true;
                Err(read_error(&self.buffer, self.frames_before, source))
            }
        }
    }

    #[cold]
    fn damaged(&mut self, damage: Damage) -> CaptureError {
        self.finished = true;
        CaptureError::Damaged {
            frames: self.frames_before,
            offset: self.record_start,
            damage,
        }
    }
}

/// Recognizes the format by the first bytes, and takes the file header of a classic capture.
fn recognize<R: Read>(buffer: &mut RefillBuffer<R>) -> Result<Format, CaptureError> {
    let magic = match fill(buffer, 4)?.first_chunk::<4>() {
        Some(magic) => *magic,
        None => return Err(CaptureError::NotACapture(Foreign::sniff(buffer.unread()))),
    };
    if Section::is_magic(magic) {
        return Ok(Format::Pcapng(Section::before_first()));
    }
    if !Classic::is_magic(magic) {
        let start = fill(buffer, Foreign::SNIFFED)?;
        let sniffed = start.len().min(Foreign::SNIFFED);
        return Err(CaptureError::NotACapture(Foreign::sniff(&start[..sniffed])));
    }
    let start = fill(buffer, Classic::HEADER)?;
    let end = start.len() as u64;
    let header = start.first_chunk::<{ Classic::HEADER }>();
    match header.and_then(Classic::parse_header) {
        Some(Ok(classic)) => {
            buffer.consume(Classic::HEADER);
            Ok(Format::Classic(classic))
        }
        Some(Err(damage)) => Err(CaptureError::Damaged {
            frames: 0,
            offset: 0,
            damage,
        }),
        None => Err(CaptureError::Truncated {
            frames: 0,
            record: 0,
            end,
        }),
    }
}

/// Waits for `need` unread bytes, or as many as there are.
fn fill<R: Read>(buffer: &mut RefillBuffer<R>, need: usize) -> Result<&[u8], CaptureError> {
    while buffer.unread().len() < need {
        match buffer.refill(need) {
            Ok(true) => {}
            Ok(false) => break,
            Err(source) => return Err(read_error(buffer, 0, source)),
        }
    }
    Ok(buffer.unread())
}

fn read_error<R: Read>(buffer: &RefillBuffer<R>, frames: u64, source: io::Error) -> CaptureError {
    CaptureError::Read {
        frames,
        offset: buffer.consumed() + buffer.unread().len() as u64,
        source,
    }
}

/// Frames that lie in the reader's buffer together.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    buffer: &'a [u8],
    places: &'a [FrameSpan],
    frames_before: u64,
}

impl<'a> Batch<'a> {
    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if there are none, which is the end of the capture.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The frame at `index`, counted from 0 within the batch.
    #[inline]
    pub fn get(&self, index: usize) -> Option<CapturedFrame<'a>> {
        let place = self.places.get(index)?;
        Some(CapturedFrame {
            number: self.frames_before + index as u64 + 1,
            link_type: place.link_type,
            timestamp: Duration::from_nanos(place.nanoseconds),
            bytes: &self.buffer[place.start..place.end],
            original_length: place.original_length,
        })
    }
}

impl<'a> IntoIterator for Batch<'a> {
    type Item = CapturedFrame<'a>;
    type IntoIter = Frames<'a>;

    fn into_iter(self) -> Self::IntoIter {
        Frames {
            batch: self,
            next: 0,
        }
    }
}

/// The frames of a [`Batch`], in order.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    batch: Batch<'a>,
    next: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = CapturedFrame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let frame = self.batch.get(self.next)?;
        self.next += 1;
        Some(frame)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batch.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Frames<'_> {}
