//! [`Clock`]: the clock of a stream's stamps, by its payload type or estimated.

use std::time::Duration;

/// The clock of a stream's stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Ticks a second.
    pub rate: u32,
    /// How it is known.
    pub basis: ClockBasis,
}

/// How a clock is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClockBasis {
    /// The payload type has a fixed clock.
    PayloadType,
    /// The payload type was agreed on in a call setup that was not read: the clock is the common one that is nearest to the
    /// ticks that were counted in the time of the stream.
    Estimated,
}

impl ClockBasis {
    /// The word for it in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::PayloadType => "payload type",
            Self::Estimated => "estimated",
        }
    }
}

/// Comfort noise (RFC 3389), and the number that it had before.
pub(super) const COMFORT_NOISE: [u8; 2] = [13, 19];

/// The clocks of payload types that are agreed on: telephony, wideband speech, Opus, video.
pub(super) const COMMON: [u32; 6] = [8_000, 16_000, 24_000, 32_000, 48_000, 90_000];

/// Packets from which a clock is estimated.
pub(super) const MIN_PACKETS: u64 = 8;
/// The shortest stream whose clock is estimated: arrival may be uneven by 100 ms, and common clocks differ by a third.
const MIN_TIME: Duration = Duration::from_secs(1);
/// Largest factor between the counted rate and a common clock.
const MAX_FACTOR: f64 = 1.4;

/// The clock of a payload type (RFC 3551 tables 4 and 5; 1, 2 and 19 as they were assigned before).
pub(super) const fn of_payload_type(payload_type: u8) -> Option<u32> {
    match payload_type {
        0..=5 | 7..=9 | 12 | 13 | 15 | 18 | 19 => Some(8_000),
        6 => Some(16_000),
        10 | 11 => Some(44_100),
        16 => Some(11_025),
        17 => Some(22_050),
        14 | 25 | 26 | 28 | 31..=34 => Some(90_000),
        _ => None,
    }
}

/// The position in [`COMMON`] of the clock that counted `ticks` in `time`; `None` if none did.
pub(super) fn estimate(ticks: i64, time: Duration) -> Option<usize> {
    if time < MIN_TIME {
        return None;
    }
    let rate = ticks as f64 / time.as_secs_f64();
    let factor = |clock: u32| {
        let clock = f64::from(clock);
        (rate / clock).max(clock / rate)
    };
    (0..COMMON.len())
        .filter(|&at| rate > 0.0 && factor(COMMON[at]) <= MAX_FACTOR)
        .min_by(|&one, &other| factor(COMMON[one]).total_cmp(&factor(COMMON[other])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_types_have_the_clocks_of_rfc_3551() {
        let fixed: Vec<(u8, u32)> = (0..128)
            .filter_map(|it| Some((it, of_payload_type(it)?)))
            .collect();
        let expected = [
            (0, 8_000),
            (1, 8_000),
            (2, 8_000),
            (3, 8_000),
            (4, 8_000),
            (5, 8_000),
            (6, 16_000),
            (7, 8_000),
            (8, 8_000),
            (9, 8_000),
            (10, 44_100),
            (11, 44_100),
            (12, 8_000),
            (13, 8_000),
            (14, 90_000),
            (15, 8_000),
            (16, 11_025),
            (17, 22_050),
            (18, 8_000),
            (19, 8_000),
            (25, 90_000),
            (26, 90_000),
            (28, 90_000),
            (31, 90_000),
            (32, 90_000),
            (33, 90_000),
            (34, 90_000),
        ];
        assert_eq!(fixed, expected);
    }

    #[test]
    fn an_estimate_is_the_nearest_common_clock_or_nothing() {
        let second = Duration::from_secs(1);
        let rate = |ticks, time| estimate(ticks, time).map(|at| COMMON[at]);
        for (ticks, expected) in [
            (8_000, Some(8_000)),
            (7_100, Some(8_000)),
            (15_000, Some(16_000)),
            (47_000, Some(48_000)),
            (50_000, Some(48_000)),
            (97_000, Some(90_000)),
            (1_000, None),
            (5_000, None),
            (1_000_000, None),
            (0, None),
            (-48_000, None),
        ] {
            assert_eq!(rate(ticks, second), expected, "{ticks}");
        }
        assert_eq!(rate(47_952, Duration::from_millis(999)), None);
    }
}
