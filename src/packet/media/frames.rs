//! [`Frames`]: RTP in the frames of a TCP stream (RFC 4571 §2).
//!
//! ```text
//!  │ length, 2 │ RTP packet of `length` bytes │ length, 2 │ …
//! ```
//!
//! Tracks frames by TCP sequence numbers: reads only the first 14 bytes of each, and skips the rest. One frame that
//! does not start with an RTP header ends the recognition.

use std::time::Duration;

use super::half;
use super::rows::RtpRows;
use super::rtp::{self, Header};

/// Length and RTP header.
const FRAME_START: usize = 2 + rtp::HEADER;

/// Follows the frames of one stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Frames {
    rows: RtpRows,
    /// The next frame, in bytes from the start of the stream.
    next: usize,
    /// Its first bytes, where a segment ended among them.
    start: [u8; FRAME_START],
    have: usize,
}

/// The answer to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Followed {
    /// The frames are media.
    Media,
    /// All frames so far start with an RTP header.
    On,
    /// These are no frames.
    Ended,
}

impl Frames {
    /// Reads the frames that start in `bytes`, which stand `offset` bytes behind the start of the stream.
    pub(super) fn follow(&mut self, offset: usize, bytes: &[u8], now: Duration) -> Followed {
        loop {
            let wanted = self.next + self.have;
            // A gap, or the middle of a packet: another segment brings what is wanted.
            let Some(rest) = wanted.checked_sub(offset).and_then(|at| bytes.get(at..)) else {
                return Followed::On;
            };
            let room = &mut self.start[self.have..];
            let taken = room.len().min(rest.len());
            room[..taken].copy_from_slice(&rest[..taken]);
            self.have += taken;
            if self.have < FRAME_START {
                return if self.could_be_rtp() {
                    Followed::On
                } else {
                    Followed::Ended
                };
            }
            let [l0, l1, packet @ ..] = &self.start;
            let length = half([*l0, *l1]);
            let Some(header) = Header::read(packet, length) else {
                return Followed::Ended;
            };
            if self.rows.put(header, now) {
                return Followed::Media;
            }
            self.next += 2 + length;
            self.have = 0;
        }
    }

    /// True if the bytes of a header that are there do not speak against it.
    fn could_be_rtp(&self) -> bool {
        self.have < 3 || self.start[2] >> 6 == 2
    }
}
