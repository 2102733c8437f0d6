//! Writers of headers, keys and values as TOML.

use std::fmt::{self, Display, Write as _};

use super::key::{Key, SectionTable};
use crate::policy::value::Sourced;

/// Writes the header of a section, below an empty line.
pub(in crate::policy) fn header(
    out: &mut fmt::Formatter<'_>,
    section: &SectionTable,
) -> fmt::Result {
    writeln!(out, "\n{}", section.title())
}

/// Writes `key = "value"`.
pub(in crate::policy) fn pair(
    out: &mut fmt::Formatter<'_>,
    key: &Key,
    value: impl Display,
) -> fmt::Result {
    raw(out, key, Quoted(value))
}

/// Writes `key = value`, for what is no string.
pub(in crate::policy) fn raw(
    out: &mut fmt::Formatter<'_>,
    key: &Key,
    value: impl Display,
) -> fmt::Result {
    writeln!(out, "{} = {value}", key.name)
}

/// Writes `key = ["item", ...]`.
pub(in crate::policy) fn list<T: Display>(
    out: &mut fmt::Formatter<'_>,
    key: &Key,
    items: impl IntoIterator<Item = T>,
) -> fmt::Result {
    write!(out, "{} = [", key.name)?;
    for (index, item) in items.into_iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(out, "{separator}{}", Quoted(item))?;
    }
    writeln!(out, "]")
}

/// The values of `items`, without their lines.
pub(in crate::policy) fn values<T>(items: &[Sourced<T>]) -> impl Iterator<Item = &T> {
    items.iter().map(|item| &item.value)
}

/// A TOML basic string.
pub(in crate::policy) struct Quoted<T>(pub(in crate::policy) T);

impl<T: Display> Display for Quoted<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_char('"')?;
        for char in self.0.to_string().chars() {
            match char {
                '"' | '\\' => write!(out, "\\{char}")?,
                _ => out.write_char(char)?,
            }
        }
        out.write_char('"')
    }
}
