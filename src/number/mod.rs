//! Numbers for people: digits in groups, units, shares.

/// All digits, in groups of three: `1,234,567`.
pub(crate) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// All digits where a narrow column has room for them, else three: `12.3 M`.
pub(crate) fn packets(number: u64) -> String {
    if number < 10_000_000 {
        whole(number)
    } else {
        scaled(
            number as f64,
            1_000.0,
            &["", " k", " M", " G", " T", " P", " E"],
        )
    }
}

/// `1.2 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    let units = [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"];
    scaled(number as f64, 1_024.0, &units)
}

/// Formats the share of `part` in `all`: `65 %`; never 0 or 100 unless it is.
pub(crate) fn share(part: u64, all: u64) -> String {
    let percent = part as f64 * 100.0 / all.max(1) as f64;
    if part == 0 || part == all {
        format!("{percent:.0} %")
    } else if percent < 0.1 {
        "<0.1 %".to_owned()
    } else if percent > 99.9 {
        ">99.9 %".to_owned()
    } else if !(10.0..=99.0).contains(&percent) {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// Three digits and a unit; no more digits than there are below the first step.
pub(crate) fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut number = number;
    let mut unit = 0;
    // What would round up to the next unit belongs there.
    while number >= step - 0.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = match number {
        _ if unit == 0 => 0,
        small if small < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let numbers = [0, 999, 1_000, 123_456, 1_234_567].map(whole);
        assert_eq!(numbers, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn bytes_have_the_unit_that_leaves_few_digits() {
        let numbers = [0, 1_023, 1_024, 1_536, 1_048_575, 123 << 20, 5 << 40].map(bytes);
        assert_eq!(
            numbers,
            [
                "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "123 MiB", "5.0 TiB"
            ]
        );
    }

    #[test]
    fn a_share_is_neither_nothing_nor_all_unless_it_is() {
        let shares = [
            (0, 9),
            (1, 9_999),
            (1, 30),
            (13, 20),
            (9_998, 9_999),
            (9, 9),
        ]
        .map(|(part, all)| share(part, all));
        assert_eq!(
            shares,
            ["0 %", "<0.1 %", "3.3 %", "65 %", ">99.9 %", "100 %"]
        );
    }
}
