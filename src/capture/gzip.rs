//! [`Gunzip`]: reads an input that may be compressed with gzip.

use std::fmt;
use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// Reads plain and gzip-compressed input alike; made by [`gunzip`].
pub struct Gunzip<R> {
    stream: Stream<R>,
}

enum Stream<R> {
    Plain(Sniffed<R>),
    Gzip(Box<MultiGzDecoder<BufReader<Sniffed<R>>>>),
}

/// The input with its first bytes put back.
type Sniffed<R> = Chain<Cursor<Vec<u8>>, R>;

/// First two bytes of a gzip member (RFC 1952 §2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Looks at the first two bytes of `reader` and decompresses the rest if they are those of gzip.
///
/// Several gzip members in a row count as one input. Memory stays constant whatever the ratio of compression.
pub fn gunzip<R: Read>(mut reader: R) -> io::Result<Gunzip<R>> {
    let mut start = Vec::with_capacity(GZIP_MAGIC.len());
    reader
        .by_ref()
        .take(GZIP_MAGIC.len() as u64)
        .read_to_end(&mut start)?;
    let compressed = start == GZIP_MAGIC;
    let sniffed = Cursor::new(start).chain(reader);
    let stream = if compressed {
        let buffered = BufReader::with_capacity(COMPRESSED_BUFFER, sniffed);
        Stream::Gzip(Box::new(MultiGzDecoder::new(buffered)))
    } else {
        Stream::Plain(sniffed)
    };
    Ok(Gunzip { stream })
}

/// Compressed bytes read at once.
const COMPRESSED_BUFFER: usize = 256 << 10;

impl<R> Gunzip<R> {
    /// True if the input is compressed.
    pub fn is_compressed(&self) -> bool {
        matches!(self.stream, Stream::Gzip(_))
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(plain) => plain.read(buffer),
            Stream::Gzip(gzip) => gzip.read(buffer),
        }
    }
}

impl<R> fmt::Debug for Gunzip<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gunzip")
            .field("compressed", &self.is_compressed())
            .finish_non_exhaustive()
    }
}
