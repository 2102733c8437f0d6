//! Values of TOML, written.

use std::fmt::Write as _;

/// Returns a basic string (TOML 1.0, "String").
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            char if char.is_control() => _ = write!(out, "\\u{:04X}", u32::from(char)),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// Returns an array of strings in one line.
pub(super) fn list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|it| quoted(it.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use ::toml::de::DeTable;

    use super::*;

    #[test]
    fn a_string_is_read_back_as_it_was() {
        for text in ["Front End", "a \"b\" \\ c", "tab\tline\n\u{7f}", "Bäk"] {
            let file = format!("value = {}", quoted(text));
            let table = DeTable::parse(&file).expect("it is TOML");
            let value = table.get_ref().get("value").expect("it is there");
            assert_eq!(value.get_ref().as_str(), Some(text));
        }
    }
}
