//! [`RtpStream`]: measures the quality of one RTP stream: loss, order and jitter (RFC 3550 §6.4.1, appendix A).
//!
//! ```text
//!  header, time of arrival ──▶ Sequence   expected, received, reordered, duplicates
//!                         ├──▶ Jitter     by the clock of the payload type
//!                         └──▶ Jitter*    by each common clock, until the stream tells which is its own
//! ```
//!
//! SRTP leaves the header in the clear, so encrypted calls are measured like others. What is measured is the path between the
//! sender and the place of the measurement, and nothing behind it. A stream has a fixed size, whatever its length, and a
//! packet allocates nothing. The clock of a payload type that was agreed on in the call setup is not known until the stream has
//! lasted a while; its jitter is measured by every common clock meanwhile, so that it is the same as if the clock had been
//! known.
//!
//! [`RtpTable`] recognizes streams and holds them.

mod clock;
mod jitter;
mod sequence;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::rtp::Header;
use clock::{COMFORT_NOISE, COMMON};
use sequence::Sequence;

pub use clock::{Clock, ClockBasis};
pub use jitter::Jitter;
pub use table::{MeasuredStream, RtpTable};

/// The measurements of one RTP stream.
#[derive(Debug, Clone, Copy)]
pub struct RtpStream {
    sequence: Sequence,
    first: Duration,
    last: Duration,
    /// The packet that arrived last.
    arrived: Duration,
    stamp: u32,
    /// Type of the packet that arrived last.
    last_type: u8,
    /// Type of the last packet that was not comfort noise.
    payload_type: u8,
    /// Ticks that its stamps have advanced.
    ticks: i64,
    /// Packets whose type has a clock, and packets whose type has none.
    with_clock: u64,
    without_clock: u64,
    known: Jitter,
    common: [Jitter; COMMON.len()],
}

impl RtpStream {
    /// The stream that `header` begins.
    pub(super) fn start(header: Header, now: Duration) -> Self {
        let payload_type = header.payload_type();
        let has_clock = clock::of_payload_type(payload_type).is_some();
        Self {
            sequence: Sequence::start(header.sequence),
            first: now,
            last: now,
            arrived: now,
            stamp: header.stamp,
            last_type: payload_type,
            payload_type,
            ticks: 0,
            with_clock: has_clock.into(),
            without_clock: (!has_clock).into(),
            known: Jitter::default(),
            common: [Jitter::default(); COMMON.len()],
        }
    }

    /// Measures the next packet to arrive.
    pub(super) fn add(&mut self, header: Header, now: Duration) {
        let before = self.sequence.received();
        self.sequence.count(header.sequence);
        let is_noise = |payload_type| COMFORT_NOISE.contains(&payload_type);
        let payload_type = header.payload_type();
        let counts = !header.is_marked() && !is_noise(payload_type) && !is_noise(self.last_type);
        let ticks = header.stamp.wrapping_sub(self.stamp) as i32;
        let since = signed_seconds(now, self.arrived);
        let difference = |rate: u32| since - f64::from(ticks) / f64::from(rate);
        match clock::of_payload_type(payload_type) {
            Some(rate) => {
                self.known.add(difference(rate), before, counts);
                self.with_clock += u64::from(!is_noise(payload_type));
            }
            None => {
                for (jitter, rate) in self.common.iter_mut().zip(COMMON) {
                    jitter.add(difference(rate), before, counts);
                }
                self.without_clock += 1;
            }
        }
        self.ticks += i64::from(ticks);
        self.first = self.first.min(now);
        self.last = self.last.max(now);
        self.arrived = now;
        self.stamp = header.stamp;
        self.last_type = payload_type;
        if !is_noise(payload_type) {
            self.payload_type = payload_type;
        }
    }

    /// Packets that arrived.
    pub fn received(&self) -> u64 {
        self.sequence.received()
    }

    /// Packets that the sequence numbers promise.
    pub fn expected(&self) -> u64 {
        self.sequence.expected()
    }

    /// Packets that are missing; negative where duplicates arrived (RFC 3550 §6.4.1, cumulative number of packets lost).
    pub fn lost(&self) -> i64 {
        self.expected() as i64 - self.received() as i64
    }

    /// Packets that arrived behind a later one.
    pub fn reordered(&self) -> u64 {
        self.sequence.reordered()
    }

    /// Packets that arrived once more.
    pub fn duplicates(&self) -> u64 {
        self.sequence.duplicates()
    }

    /// The share of the expected packets that never arrived, whatever arrived twice.
    pub fn loss(&self) -> f64 {
        let distinct = self.received() - self.duplicates();
        let missing = self.expected().saturating_sub(distinct);
        missing as f64 / self.expected() as f64
    }

    /// The type of its last packet of media.
    pub fn payload_type(&self) -> u8 {
        self.payload_type
    }

    /// Arrival of its first packet.
    pub fn first(&self) -> Duration {
        self.first
    }

    /// Arrival of its last packet.
    pub fn last(&self) -> Duration {
        self.last
    }

    /// The time between both.
    pub fn duration(&self) -> Duration {
        self.last - self.first
    }

    /// Its clock; `None` if no common clock fits the stamps.
    pub fn clock(&self) -> Option<Clock> {
        self.clock_and_jitter().map(|(clock, _)| clock)
    }

    /// Its jitter by that clock.
    pub fn jitter(&self) -> Option<Jitter> {
        self.clock_and_jitter().map(|(_, jitter)| jitter)
    }

    fn clock_and_jitter(&self) -> Option<(Clock, Jitter)> {
        let has_clock = self.with_clock > self.without_clock;
        if let (true, Some(rate)) = (has_clock, clock::of_payload_type(self.payload_type)) {
            let basis = ClockBasis::PayloadType;
            return Some((Clock { rate, basis }, self.known));
        }
        if self.received() < clock::MIN_PACKETS {
            return None;
        }
        let at = clock::estimate(self.ticks, self.duration())?;
        let basis = ClockBasis::Estimated;
        let rate = COMMON[at];
        Some((Clock { rate, basis }, self.common[at]))
    }
}

/// The seconds from `before` to `now`, which a capture may have in the other order.
fn signed_seconds(now: Duration, before: Duration) -> f64 {
    match now.checked_sub(before) {
        Some(since) => since.as_secs_f64(),
        None => -(before - now).as_secs_f64(),
    }
}
