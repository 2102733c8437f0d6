//! [`hint`]: advice for lines that are written as another format or program has them.

use std::ops::Range;

/// A mistake, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) struct Hint {
    pub(in crate::policy) message: String,
    pub(in crate::policy) help: String,
}

fn hint_of(message: impl Into<String>, help: impl Into<String>) -> Option<Hint> {
    let (message, help) = (message.into(), help.into());
    Some(Hint { message, help })
}

/// Looks at the line of a syntax error at `span`, about which TOML's parser says `told`.
pub(in crate::policy) fn hint(source: &str, span: Range<usize>, told: &str) -> Option<Hint> {
    let start = source[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let length = source[start..].find('\n').unwrap_or(source.len() - start);
    let line = source[start..start + length].trim_end();
    if source[..start].trim().is_empty() && line.trim_start().starts_with('{') {
        return hint_of(
            "the file is JSON",
            "write a section as [vpn] on a line of its own, and its keys below as `key = value`",
        );
    }
    comment(line, &source[span.start..])
        .or_else(|| quotes(line))
        .or_else(|| colon(line))
        .or_else(|| bare_word(line))
        .or_else(|| in_the_parsers_words(told))
}

/// `// text`, `; text`.
fn comment(line: &str, rest: &str) -> Option<Hint> {
    let text = line.trim_start();
    let other = ["//", ";"];
    let is_one = other.iter().any(|it| text.starts_with(it)) || rest.starts_with("//");
    is_one.then_some(())?;
    hint_of("a comment begins with `#`", "write `#` in front of it")
}

/// Quotes that a word processor has made.
fn quotes(line: &str) -> Option<Hint> {
    let code = line.split('#').next()?;
    let curly = |char: char| {
        matches!(
            char,
            '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2018}' | '\u{2019}'
        )
    };
    let found = code.chars().find(|char| curly(*char))?;
    hint_of(
        format!("`{found}` is not the quote that TOML has"),
        "write values in straight quotes, e.g. \"172.16.1.0/24\"",
    )
}

/// `key: value` and `- value`, as YAML has them.
fn colon(line: &str) -> Option<Hint> {
    if let Some(value) = line.trim_start().strip_prefix("- ") {
        let value = value.trim().trim_matches('"');
        return hint_of(
            "a list stands in brackets",
            format!("write [\"{value}\"], with a comma between its values"),
        );
    }
    let (key, value) = line.split_once(':')?;
    let is_key = !key.trim().is_empty() && key.trim().bytes().all(is_bare);
    is_key.then_some(())?;
    let name = key.trim();
    match (value.trim(), key.starts_with(char::is_whitespace)) {
        ("", false) => hint_of(
            "a section stands in brackets",
            format!("write [{name}] on a line of its own, and its keys below as `key = value`"),
        ),
        ("", true) => hint_of(
            format!("`{name}` has no value"),
            format!("write `{name} = ` and its value behind it"),
        ),
        (value, _) => hint_of(
            "`=` stands between a key and its value, not `:`",
            format!("write `{name} = {value}`"),
        ),
    }
}

/// `key = word`, which TOML takes for a number that it does not know.
fn bare_word(line: &str) -> Option<Hint> {
    let (_, value) = line.split_once('=')?;
    let word = value.split('#').next()?.trim();
    let is_word =
        word.starts_with(|it: char| it.is_ascii_alphabetic()) && word.bytes().all(is_bare);
    if !is_word || matches!(word, "true" | "false") {
        return None;
    }
    let meant = match word.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    };
    match meant {
        Some(meant) => hint_of(
            format!("`{word}` is no value of TOML"),
            format!("write {meant}"),
        ),
        None => hint_of(
            format!("{word} is not in quotes"),
            format!("write \"{word}\""),
        ),
    }
}

/// Advice that follows from what the parser says.
fn in_the_parsers_words(told: &str) -> Option<Hint> {
    let help = if told.contains("missing comma") {
        "write `,` between the values"
    } else if told.contains("unclosed array") {
        "write `]` after the last value"
    } else {
        return None;
    };
    hint_of(told, help)
}

const fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn help(source: &str, at: &str) -> Option<String> {
        let start = source.find(at).expect("it is there");
        hint(source, start..start, "told").map(|it| it.help)
    }

    #[test]
    fn lines_of_other_formats_get_the_words_of_toml() {
        let written = |text| help(text, "x").unwrap_or_default();
        assert_eq!(written("ports: x"), "write `ports = x`");
        assert!(written("x:\n  a: b").contains("write [x]"));
        assert_eq!(written("enforce = No # x"), "write false");
        assert_eq!(written("match = ice # x"), "write \"ice\"");
        assert!(help("a = 1 // b", "// b").is_some_and(|it| it.contains('#')));
        assert!(help("\n\n{ \"vpn\": 1 }", "{").is_some_and(|it| it.contains("[vpn]")));
    }

    #[test]
    fn what_is_wrong_in_another_way_keeps_the_parsers_words() {
        assert_eq!(help("enforce = true x", "x"), None);
        assert_eq!(help("a = \"b:c\" x", "x"), None);
        assert_eq!(help("# said: \u{201c}no\u{201d}\nb", "b"), None);
    }
}
