//! [`withdrawn_long_ago`]: prefixes of Microsoft 365 that guides still list, and that Microsoft no longer publishes.
//!
//! The endpoints document does not say what it had before. A prefix that is in none of its entries may be the operator's
//! own service, so only this table can tell of one that was withdrawn whole.

use std::sync::LazyLock;

use ipnet::IpNet;

/// A prefix that Microsoft no longer publishes for the worldwide instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WithdrawnPrefix {
    /// The prefix as it was published.
    pub prefix: IpNet,
    /// The part of it that is still published.
    pub still: Option<IpNet>,
    /// Its use at the time, and until when it was listed.
    pub was: &'static str,
    /// Advice to those who have written it by hand.
    pub instead: &'static str,
}

/// The row of the table that `prefix` is, or is a withdrawn part of.
///
/// ```
/// let row = offramp::feed::withdrawn_long_ago("13.107.64.0/19".parse().unwrap());
/// assert_eq!(row.map(|row| row.prefix.to_string()).as_deref(), Some("13.107.64.0/18"));
/// assert!(offramp::feed::withdrawn_long_ago("52.112.0.0/14".parse().unwrap()).is_none());
/// ```
pub fn withdrawn_long_ago(prefix: IpNet) -> Option<&'static WithdrawnPrefix> {
    ROWS.iter().find(|row| {
        let overlaps = |still: IpNet| still.contains(&prefix) || prefix.contains(&still);
        row.prefix == prefix || (row.prefix.contains(&prefix) && !row.still.is_some_and(overlaps))
    })
}

static ROWS: LazyLock<Vec<WithdrawnPrefix>> = LazyLock::new(|| {
    let parse = |text: &str| -> IpNet { text.parse().expect("a test reads every row") };
    let rows = TABLE
        .iter()
        .map(|(prefix, still, was, instead)| WithdrawnPrefix {
            prefix: parse(prefix),
            still: still.map(parse),
            was,
            instead,
        });
    rows.collect()
});

/// Prefix, the part of it that is still published, use, advice.
///
/// Sources: 13.107.64.0/18 was of id 11 in version 2023073100 of the endpoints, and is not in that of June 2026.
/// 52.120.0.0/14 became 52.122.0.0/15 in April 2023 (MicrosoftDocs/OfficeDocs-SkypeForBusiness, change 11705).
/// Microsoft's "Implementing VPN split tunneling for Office 365" listed 191.234.140.0/22 in March 2020 among the prefixes
/// of the category Optimize; version 2023073100 does not have it. The same page asked for 13.107.60.1/32 until an
/// update of the Teams client due in spring 2020; the endpoints never had it.
const TABLE: [(&str, Option<&str>, &str, &str); 4] = [
    (
        "13.107.64.0/18",
        None,
        "it was of Teams' media (id 11) until 2024",
        "take it out; a [[feed]] of the format microsoft-365 keeps Teams' prefixes current",
    ),
    (
        "52.120.0.0/14",
        Some("52.122.0.0/15"),
        "it was of Teams' media (id 11) until 2023",
        "write 52.122.0.0/15, or a [[feed]] of the format microsoft-365",
    ),
    (
        "191.234.140.0/22",
        None,
        "it was of the category Optimize in 2020, and is not in the endpoints of July 2023",
        "take it out; a [[feed]] of the format microsoft-365 keeps the prefixes of Exchange current",
    ),
    (
        "13.107.60.1/32",
        None,
        "guides of 2020 asked for it until an update of the Teams client; the endpoints never had it",
        "take it out",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_prefix_without_host_bits() {
        for row in ROWS.iter() {
            assert_eq!(row.prefix, row.prefix.trunc());
        }
        assert_eq!(ROWS.len(), TABLE.len());
    }

    #[test]
    fn the_part_that_is_still_published_is_not_called_withdrawn() {
        let is_withdrawn =
            |text: &str| withdrawn_long_ago(text.parse().expect("a prefix")).is_some();
        assert!(is_withdrawn("52.120.0.0/14") && is_withdrawn("52.121.0.0/16"));
        assert!(!is_withdrawn("52.122.0.0/15") && !is_withdrawn("52.123.7.0/24"));
        assert!(!is_withdrawn("52.112.0.0/13"));
    }
}
