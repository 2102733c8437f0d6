//! Recognizes RTP by rows of headers (RFC 3550 §5.1).
//!
//! ```text
//!   0    1      2          4        8         12
//!  ┌────┬──────┬──────────┬────────┬─────────┬──────────────────────┐
//!  │2 CC│ type │ sequence │ stamp  │ source  │ CC sources, payload  │
//!  └────┴──────┴──────────┴────────┴─────────┴──────────────────────┘
//! ```
//!
//! A header proves nothing: a quarter of all payloads start with version 2. The clock distinguishes media from
//! counters: a row is media once its stamps have advanced twice at the rate of a media clock, and no faster. RDP over
//! UDP, game protocols and sensors count packets in all of these fields, but none of them counts time.

use std::time::Duration;

/// Length of the header without contributing sources.
pub(super) const HEADER: usize = 12;
/// The version, in the two highest bits of the first byte.
const VERSION: u8 = 2;
/// Payload types that would be taken for RTCP (RFC 5761 §4).
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 64..=95;
/// Length of a contributing source.
const CONTRIBUTING: usize = 4;

/// Maximum advance of the sequence number within a row, and maximum distance of a late packet behind it.
const MAX_STEP: u16 = 32;
/// The longest pause within a row.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// Minimum advance of the stamp: 4 ms of telephony.
const MIN_CLOCK: u32 = 32;
/// The fastest media clock, in ticks a second: video.
const CLOCK_RATE: u64 = 90_000;
/// Maximum lead of the clock over the arrival of packets.
const CLOCK_LEAD: Duration = Duration::from_millis(100);
/// Advances of the clock that make a row media: three packets.
const MOVES: u8 = 2;
/// Packets after which a row is under way.
const UNDER_WAY: u8 = 2;

/// The fields of a header that a row compares, and those that the measurement of a stream needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) source: u32,
    pub(super) sequence: u16,
    pub(super) stamp: u32,
    contributing: u8,
    /// Marker above, payload type below.
    kind: u8,
}

impl Header {
    /// All zeros, for entries without a packet.
    pub(super) const EMPTY: Self = Self {
        source: 0,
        sequence: 0,
        stamp: 0,
        contributing: 0,
        kind: 0,
    };

    /// Reads the header of a packet of `size` bytes, as far as it can be one.
    pub(super) fn read(bytes: &[u8], size: usize) -> Option<Self> {
        let &[first, kind, q0, q1, t0, t1, t2, t3, s0, s1, s2, s3] =
            bytes.first_chunk::<HEADER>()?;
        let contributing = first & 0x0f;
        let is_rtp = first >> 6 == VERSION
            && !RTCP_TYPES.contains(&(kind & 0x7f))
            && size >= HEADER + CONTRIBUTING * usize::from(contributing);
        is_rtp.then_some(Self {
            source: u32::from_be_bytes([s0, s1, s2, s3]),
            sequence: u16::from_be_bytes([q0, q1]),
            stamp: u32::from_be_bytes([t0, t1, t2, t3]),
            contributing,
            kind,
        })
    }

    /// The payload type.
    pub(super) const fn payload_type(&self) -> u8 {
        self.kind & 0x7f
    }

    /// True if the marker is set: the first packet after silence, or the last of a picture.
    pub(super) const fn is_marked(&self) -> bool {
        self.kind & 0x80 != 0
    }
}

/// Packets of one source that follow each other as in media.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    last: Header,
    at: Duration,
    /// Saturates: only values up to two matter.
    packets: u8,
    moves: u8,
}

impl Row {
    /// The row that `header` begins.
    pub(super) fn start(header: Header, at: Duration) -> Self {
        Self {
            last: header,
            at,
            packets: 1,
            moves: 0,
        }
    }

    /// The source of its packets.
    pub(super) fn source(&self) -> u32 {
        self.last.source
    }

    /// The time of its last packet.
    pub(super) fn at(&self) -> Duration {
        self.at
    }

    /// True if more than one packet stands on it.
    pub(super) fn is_under_way(&self) -> bool {
        self.packets >= UNDER_WAY
    }

    /// Appends the next packet of its source to the row, or restarts the row with it; duplicates and late packets
    /// change nothing. Returns `true` if the row is media.
    pub(super) fn follow(&mut self, next: Header, now: Duration) -> bool {
        let step = next.sequence.wrapping_sub(self.last.sequence);
        if step == 0 || step.wrapping_neg() <= MAX_STEP {
            return false;
        }
        let since = now.saturating_sub(self.at);
        let clock = next.stamp.wrapping_sub(self.last.stamp);
        let moved = (MIN_CLOCK..=max_clock(since)).contains(&clock);
        if step > MAX_STEP
            || next.contributing != self.last.contributing
            || since > MAX_PAUSE
            || !(moved || clock == 0)
        {
            *self = Self::start(next, now);
            return false;
        }
        *self = Self {
            last: next,
            at: now,
            packets: self.packets.saturating_add(1),
            moves: self.moves + u8::from(moved),
        };
        self.moves >= MOVES
    }
}

/// Maximum advance of the stamp within `since`.
fn max_clock(since: Duration) -> u32 {
    let nanoseconds = (since.min(MAX_PAUSE) + CLOCK_LEAD).as_nanos() as u64;
    (CLOCK_RATE * nanoseconds / 1_000_000_000) as u32
}

const _: () = assert!(
    CLOCK_RATE * (MAX_PAUSE.as_nanos() + CLOCK_LEAD.as_nanos()) as u64 / 1_000_000_000
        <= u32::MAX as u64,
    "a stamp has 32 bits"
);
