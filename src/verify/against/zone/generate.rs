//! `$GENERATE` of BIND's zone files: a range of numbers, each put into a pattern.

use std::fmt::Write as _;

use crate::verify::against::files::Loader;

/// Returns the words of every record of `$GENERATE range left rest…`.
pub(super) fn generate(
    range: &str,
    left: &str,
    rest: &[&str],
    loader: &Loader<'_>,
) -> Result<Vec<Vec<String>>, String> {
    let wrong = || format!("`{range}` is not a range: START-STOP or START-STOP/STEP");
    let (bounds, step) = match range.split_once('/') {
        Some((bounds, step)) => (bounds, step.parse().map_err(|_| wrong())?),
        None => (range, 1_u32),
    };
    let (start, stop) = bounds.split_once('-').ok_or_else(wrong)?;
    let start: u32 = start.parse().map_err(|_| wrong())?;
    let stop: u32 = stop.parse().map_err(|_| wrong())?;
    let step = usize::try_from(step).map_err(|_| wrong())?;
    if step == 0 || start > stop {
        return Err(wrong());
    }
    let count = usize::try_from(stop - start).map_err(|_| wrong())? / step + 1;
    if !loader.count_records(count) {
        return Err("it generates too many records".to_owned());
    }
    let mut found = Vec::with_capacity(count);
    for number in (start..=stop).step_by(step) {
        let mut words = vec![filled(left, number)?];
        for word in rest {
            words.push(filled(word, number)?);
        }
        found.push(words);
    }
    Ok(found)
}

/// Replaces `$` and `${offset,width,base}` by the number; `\$` and `$$` are a dollar sign.
fn filled(pattern: &str, number: u32) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['$', '\\']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix('\\') {
            let escaped = behind.chars().next();
            if escaped != Some('$') {
                text.push('\\');
            }
            text.extend(escaped);
            rest = &behind[escaped.map_or(0, char::len_utf8)..];
        } else if let Some(behind) = rest.strip_prefix("$$") {
            text.push('$');
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("${") {
            let (format, behind) = behind
                .split_once('}')
                .ok_or_else(|| format!("`{pattern}` has no `}}`"))?;
            text.push_str(&formatted(format, number)?);
            rest = behind;
        } else {
            _ = write!(text, "{number}");
            rest = &rest[1..];
        }
    }
    text.push_str(rest);
    Ok(text)
}

/// The number in the format `offset,width,base`.
fn formatted(format: &str, number: u32) -> Result<String, String> {
    let wrong = || format!("`${{{format}}}` is not `${{OFFSET,WIDTH,BASE}}`");
    let mut parts = format.split(',').map(str::trim);
    let offset: i64 = parts
        .next()
        .map_or(Ok(0), str::parse)
        .map_err(|_| wrong())?;
    let width: usize = parts
        .next()
        .map_or(Ok(0), str::parse)
        .map_err(|_| wrong())?;
    let base = parts.next().unwrap_or("d");
    let value = i64::from(number) + offset;
    if value < 0 || width > MAX_WIDTH || parts.next().is_some() {
        return Err(wrong());
    }
    match base {
        "d" => Ok(format!("{value:0width$}")),
        "o" => Ok(format!("{value:0width$o}")),
        "x" => Ok(format!("{value:0width$x}")),
        "X" => Ok(format!("{value:0width$X}")),
        "n" => Ok(nibbles(value, width, "0123456789abcdef")),
        "N" => Ok(nibbles(value, width, "0123456789ABCDEF")),
        _ => Err(wrong()),
    }
}

/// Hexadecimal digits, the lowest first, with dots between them, as in names of `ip6.arpa`; the dots count for the width.
fn nibbles(value: i64, width: usize, digits: &str) -> String {
    let mut text = String::new();
    let mut value = value.cast_unsigned();
    loop {
        let digit = usize::try_from(value % 16).unwrap_or(0);
        text.push_str(&digits[digit..=digit]);
        value /= 16;
        if value == 0 && text.len() >= width {
            return text;
        }
        text.push('.');
        if value == 0 && text.len() >= width {
            return text;
        }
    }
}

/// Digits of a number: a label has no more.
const MAX_WIDTH: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_put_into_patterns_as_bind_does() {
        for (pattern, number, wanted) in [
            ("pool$", 3, "pool3"),
            ("pool${0,2}", 3, "pool03"),
            ("pool${10}", 3, "pool13"),
            ("x${-1,0,x}", 17, "x10"),
            ("a\\$", 3, "a$"),
            ("a$$b", 3, "a$b"),
            ("${0,3,n}", 1, "1.0"),
            ("a\\.$", 1, "a\\.1"),
        ] {
            assert_eq!(filled(pattern, number), Ok(wanted.to_owned()), "{pattern}");
        }
        assert!(filled("${0", 1).is_err());
        assert!(filled("${-2}", 1).is_err());
        assert!(filled("${0,0,z}", 1).is_err());
    }
}
