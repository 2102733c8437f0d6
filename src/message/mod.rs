//! Text of others in messages to people.

/// Shortens `value` for a message: at most 80 characters of it, `...` where it was longer. Characters that do not show,
/// such as control characters and those that turn the direction of text, are escaped.
pub(crate) fn shorten(value: &str) -> String {
    let mut short = String::new();
    for char in value.chars().take(MAX_SHOWN) {
        match char {
            '"' | '\'' | '\\' => short.push(char),
            other => short.extend(other.escape_debug()),
        }
    }
    if value.chars().nth(MAX_SHOWN).is_some() {
        short.push_str("...");
    }
    short
}

/// Characters of a value that a message repeats.
const MAX_SHOWN: usize = 80;

#[cfg(test)]
mod tests {
    use super::shorten;

    #[test]
    fn a_value_is_shown_as_it_is_written() {
        for value in ["", "172.16.1.0/8", "\"a\" or 'b'", r"C:\tools", "Büro"] {
            assert_eq!(shorten(value), value);
        }
    }

    #[test]
    fn a_long_value_is_cut_and_says_so() {
        assert_eq!(shorten(&"ä".repeat(80)), "ä".repeat(80));
        assert_eq!(shorten(&"ä".repeat(81)), "ä".repeat(80) + "...");
    }

    #[test]
    fn characters_that_do_not_show_are_escaped() {
        assert_eq!(shorten("a\tb\u{1b}[2J\u{202e}c"), r"a\tb\u{1b}[2J\u{202e}c");
    }
}
