//! [`RefillBuffer`]: the one buffer that frames are borrowed from.
//!
//! ```text
//!   0        start              end           len
//!   │ consumed │ unread bytes ... │ free space  │
//! ```

use std::io::{self, ErrorKind, Read};

/// Bytes of a [`Read`], with the unread ones in one piece.
#[derive(Debug)]
pub(super) struct RefillBuffer<R> {
    reader: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the input before `start`.
    consumed: u64,
}

impl<R: Read> RefillBuffer<R> {
    /// An empty buffer that asks `reader` for up to `size` bytes at once.
    pub(super) fn new(reader: R, size: usize) -> Self {
        Self {
            reader,
            bytes: vec![0; size.max(1)],
            start: 0,
            end: 0,
            consumed: 0,
        }
    }

    /// The bytes received and not consumed.
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The whole buffer, in which places given by [`Self::start`] stay valid until the next [`Self::refill`].
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Place of the first unread byte in [`Self::bytes`].
    #[inline]
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Bytes of the input before the first unread one.
    #[inline]
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Steps over `count` bytes, or over all unread ones if there are fewer; says how many those were.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) -> usize {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.consumed += count as u64;
        count
    }

    /// Reads once from the input; `false` at its end. `need` is how many unread bytes the caller waits for in all.
    ///
    /// Makes room by moving the unread bytes to the front, and grows (by doubling, to `need` at most) only when the whole
    /// buffer is full of bytes that have really arrived.
    pub(super) fn refill(&mut self, need: usize) -> io::Result<bool> {
        if self.bytes.len() - self.start < need.max(1) || self.start == self.end {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.bytes.len() {
            let grown = self
                .bytes
                .len()
                .saturating_mul(2)
                .min(need)
                .max(self.end + 1);
            self.bytes.resize(grown, 0);
        }
        loop {
            match self.reader.read(&mut self.bytes[self.end..]) {
                Ok(received) => {
                    self.end += received;
                    return Ok(received > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
