//! [`fuzz_reader`]: checks the properties that hold for any bytes handed to a reader, the slow and obvious way.

use std::io::{self, Read};
use std::time::Duration;

use super::link::{LinkPayload, LinkType, ip_packet};
use super::reader::{CaptureReader, CapturedFrame};
use super::writer::PcapngWriter;

/// Reads `data` as a capture and panics if a promise of this folder is broken.
///
/// - Reading it in one piece, and reading it byte by byte through a buffer of 7 bytes in batches of 3, gives the same
///   frames and the same end.
/// - The frames together are no longer than the data, and their numbers count from 1.
/// - The IP packet of a frame lies in the frame, at the offset that is told.
/// - All frames, written to pcapng and read again, are the same.
pub fn fuzz_reader(data: &[u8]) {
    let (frames, end) = read_all(CaptureReader::new(data), 64);
    let (slow_frames, slow_end) = read_all(CaptureReader::with_buffer_size(ByteByByte(data), 7), 3);
    assert_eq!(frames, slow_frames);
    assert_eq!(end, slow_end);

    let total: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
    assert!(
        total <= data.len(),
        "{total} bytes of frames in {} bytes",
        data.len()
    );
    for (index, frame) in frames.iter().enumerate() {
        assert_eq!(frame.number, index as u64 + 1);
        if let LinkPayload::Ip { packet, offset } = ip_packet(frame.link_type, &frame.bytes) {
            assert_eq!(Some(packet), frame.bytes.get(offset..));
        }
    }
    assert_eq!(
        read_all(CaptureReader::new(&write_all(&frames)[..]), 64),
        (frames, None)
    );
}

/// A frame with bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFrame {
    /// As in [`CapturedFrame`].
    pub number: u64,
    /// As in [`CapturedFrame`].
    pub link_type: LinkType,
    /// As in [`CapturedFrame`].
    pub timestamp: Duration,
    /// As in [`CapturedFrame`].
    pub bytes: Vec<u8>,
    /// As in [`CapturedFrame`].
    pub original_length: u32,
}

impl OwnedFrame {
    /// The same frame, borrowed.
    pub fn borrow(&self) -> CapturedFrame<'_> {
        CapturedFrame {
            number: self.number,
            link_type: self.link_type,
            timestamp: self.timestamp,
            bytes: &self.bytes,
            original_length: self.original_length,
        }
    }
}

impl From<CapturedFrame<'_>> for OwnedFrame {
    fn from(frame: CapturedFrame<'_>) -> Self {
        Self {
            number: frame.number,
            link_type: frame.link_type,
            timestamp: frame.timestamp,
            bytes: frame.bytes.to_vec(),
            original_length: frame.original_length,
        }
    }
}

/// All frames of a reader, taken in batches of `most`, and the words of the error that ended them.
pub fn read_all<R: Read>(
    reader: Result<CaptureReader<R>, super::CaptureError>,
    most: usize,
) -> (Vec<OwnedFrame>, Option<String>) {
    let mut frames = Vec::new();
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => return (frames, Some(error.to_string())),
    };
    loop {
        match reader.next_batch(most) {
            Ok(batch) if batch.is_empty() => return (frames, None),
            Ok(batch) => frames.extend(batch.into_iter().map(OwnedFrame::from)),
            Err(error) => return (frames, Some(error.to_string())),
        }
    }
}

/// Frames as a pcapng file in memory.
fn write_all(frames: &[OwnedFrame]) -> Vec<u8> {
    let mut writer = PcapngWriter::new(Vec::new()).expect("writing to memory does not fail");
    for frame in frames {
        let comment = (frame.number % 2 == 0).then_some("even");
        writer
            .write_frame(&frame.borrow(), comment)
            .expect("a frame that was read fits a block");
    }
    writer.finish().expect("writing to memory does not fail")
}

/// Gives one byte at a time, as a slow pipe does.
struct ByteByByte<'a>(&'a [u8]);

impl Read for ByteByByte<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}
