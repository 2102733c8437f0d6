//! [`comment`]: text for a comment of XML.

/// The text as a comment may have it (XML 1.0 §2.5): without two hyphens in a row, and without one at its end.
pub(super) fn comment(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for char in text.chars() {
        if char == '-' && harmless.ends_with('-') {
            harmless.push(' ');
        }
        harmless.push(char);
    }
    if harmless.ends_with('-') {
        harmless.push(' ');
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::comment;

    #[test]
    fn hyphens_in_a_row_and_at_the_end_are_kept_apart() {
        for (text, harmless) in [
            ("Front-End pool", "Front-End pool"),
            ("a--b", "a- -b"),
            ("---", "- - - "),
            ("", ""),
        ] {
            assert_eq!(comment(text), harmless);
        }
    }
}
