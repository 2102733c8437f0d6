//! [`AsOf`]: the date of a document, as exact as the document is.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, de};

/// Date of a document: a day, a month, or unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// The document has no date.
    Undated,
    /// A month.
    Month {
        /// Year.
        year: u16,
        /// Month, from 1.
        month: u8,
    },
    /// A day.
    Day {
        /// Year.
        year: u16,
        /// Month, from 1.
        month: u8,
        /// Day, from 1.
        day: u8,
    },
}

impl AsOf {
    /// The beginning of the day or month, in UTC; none if there is no date.
    pub fn time(self) -> Option<SystemTime> {
        let (year, month, day) = match self {
            Self::Undated => return None,
            Self::Month { year, month } => (year, month, 1),
            Self::Day { year, month, day } => (year, month, day),
        };
        // Days from 1970-01-01 (Fliegel and Van Flandern's formula for Julian day numbers).
        let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
        let shift = (month - 14) / 12;
        let julian = (1461 * (year + 4800 + shift)) / 4 + (367 * (month - 2 - 12 * shift)) / 12
            - (3 * ((year + 4900 + shift) / 100)) / 4
            + day
            - 32_075;
        let days = u64::try_from(julian - JULIAN_DAY_OF_1970).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_secs(days * SECONDS_OF_A_DAY))
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "undated" {
            return Some(Self::Undated);
        }
        let mut parts = text.split('-');
        let year = parts.next()?.parse().ok()?;
        let month = parts
            .next()?
            .parse()
            .ok()
            .filter(|it| (1..=12).contains(it))?;
        let day = parts.next().map(|day| day.parse().ok());
        if parts.next().is_some() {
            return None;
        }
        match day {
            None => Some(Self::Month { year, month }),
            Some(day) => {
                let day = day.filter(|it| (1..=31).contains(it))?;
                Some(Self::Day { year, month, day })
            }
        }
    }
}

impl fmt::Display for AsOf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undated => out.write_str("undated"),
            Self::Month { year, month } => write!(out, "{year:04}-{month:02}"),
            Self::Day { year, month, day } => write!(out, "{year:04}-{month:02}-{day:02}"),
        }
    }
}

impl<'de> Deserialize<'de> for AsOf {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is not a date, a month or \"undated\""))
        })
    }
}

const JULIAN_DAY_OF_1970: i64 = 2_440_588;
const SECONDS_OF_A_DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_the_beginning_of_its_day_or_month() {
        let seconds = |text: &str| {
            let time = AsOf::parse(text).expect(text).time().expect("dated");
            time.duration_since(UNIX_EPOCH).expect("later").as_secs()
        };
        assert_eq!(seconds("1970-01-01"), 0);
        assert_eq!(seconds("2000-02-29"), 951_782_400);
        assert_eq!(seconds("2026-03-16"), 1_773_619_200);
        assert_eq!(seconds("2026-06"), seconds("2026-06-01"));
        assert_eq!(AsOf::Undated.time(), None);
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2026",
            "2026-13",
            "2026-01-32",
            "2026-01-01-01",
            "May 2026",
        ] {
            assert_eq!(AsOf::parse(text), None, "{text}");
        }
    }
}
