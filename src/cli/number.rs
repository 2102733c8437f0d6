//! Numbers for people, and estimates of an audit.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_that_it_is_one() {
        assert_eq!(flows(Estimate::about(1_234_567)), "~1.2 M");
        assert_eq!(flows(Estimate::exactly(1_234_567)), "1,234,567");
        assert_eq!(hosts(Estimate::about(4_096)), "4,096+");
    }
}
