//! [`AsOf`]: the date of a document, as exact as the document is.

use std::fmt;

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
    /// The day, or the first one of the month, as `2026-06-01`; none if there is no date.
    pub fn first_day(self) -> Option<String> {
        match self {
            Self::Undated => None,
            Self::Month { .. } => Some(format!("{self}-01")),
            Self::Day { .. } => Some(self.to_string()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_with_its_first_day() {
        let first_day = |text: &str| AsOf::parse(text).expect(text).first_day();
        assert_eq!(first_day("2000-02-29").as_deref(), Some("2000-02-29"));
        assert_eq!(first_day("2026-06").as_deref(), Some("2026-06-01"));
        assert_eq!(first_day("undated"), None);
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
