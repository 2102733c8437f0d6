//! Numbers for people, estimates of an audit, and rates.

pub(super) use crate::number::{bytes, packets, share, whole};

use crate::audit::Estimate;
use crate::number::scaled;

/// `~1.23 M` for an estimate, all digits for a count.
pub(super) fn flows(number: Estimate) -> String {
    if number.exact {
        packets(number.count)
    } else {
        let units = ["", " k", " M", " G", " T", " P", " E"];
        format!("~{}", scaled(number.count as f64, 1_000.0, &units))
    }
}

/// `4,096+` for the least that it can be, all digits for a count.
pub(super) fn hosts(number: Estimate) -> String {
    let more = if number.exact { "" } else { "+" };
    whole(number.count) + more
}

/// A number in a second: one digit behind the point where it is small.
pub(super) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        format!("{:.1}", per_second.max(0.1))
    } else {
        packets(per_second.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_nothing_only_if_it_is() {
        let rates = [0.0, 0.02, 0.55, 9.94, 9.96, 1_234.4].map(rate);
        assert_eq!(rates, ["0", "0.1", "0.6", "9.9", "10", "1,234"]);
    }

    #[test]
    fn an_estimate_says_that_it_is_one() {
        assert_eq!(flows(Estimate::about(1_234_567)), "~1.2 M");
        assert_eq!(flows(Estimate::exactly(1_234_567)), "1,234,567");
        assert_eq!(hosts(Estimate::about(4_096)), "4,096+");
    }
}
