//! [`Section`]: one table of a policy file, with readers for each kind of value it may hold.
//!
//! A reader reports what is wrong and returns what is right, so that one wrong value hides no other.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::meaning::Sourced;
use crate::policy::value::{Problem, nearest, quoted_list};

/// One table and what it is called.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Section<'f, 't> {
    /// As the operator writes it: `[vpn]`, `[[server]]`.
    pub(in crate::policy) title: String,
    /// Header of the table.
    pub(in crate::policy) span: Range<usize>,
    table: &'f DeTable<'t>,
}

/// Requirement on a list's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Need {
    /// The key may be absent and the list empty.
    Optional,
    /// The key may be absent; a list that is given has something in it.
    NonEmpty,
    /// The key must be there, with something in it.
    Required,
}

impl<'f, 't> Section<'f, 't> {
    /// The table `value`, whose keys must be among `known`; `None` and an error when it is no table.
    pub(in crate::policy) fn open(
        title: String,
        value: &'f Spanned<DeValue<'t>>,
        known: &[&str],
        out: &mut Collector<'_>,
    ) -> Option<Self> {
        if value.span().is_empty() {
            return None;
        }
        let DeValue::Table(table) = value.get_ref() else {
            let kind = kind_of(value.get_ref());
            let message = format!("`{}` is a table, not {kind}", bare(&title));
            let label = out
                .text
                .label(value.span(), format!("{kind}, where a table is wanted"));
            let problem = Diagnostic::error(Code::WrongType, message).with_label(label);
            let keys = known.join(" = ..., ");
            out.add(problem.with_help(if title.starts_with('[') {
                format!("write {title} on a line of its own, and its keys below")
            } else {
                format!("write {{ {keys} = ... }}")
            }));
            return None;
        };
        let section = Self {
            title,
            span: value.span(),
            table,
        };
        section.check_keys(known, out);
        Some(section)
    }

    fn check_keys(&self, known: &[&str], out: &mut Collector<'_>) {
        for (key, value) in self
            .table
            .iter()
            .filter(|(key, _)| !known.contains(&key.get_ref().as_ref()))
        {
            if value.span().is_empty() && out.damaged {
                continue;
            }
            let name = shorten(key.get_ref());
            let message = match nearest(key.get_ref(), known) {
                Some(meant) => format!(
                    "unknown key `{name}` in {}; did you mean `{meant}`?",
                    self.title
                ),
                None => format!("unknown key `{name}` in {}", self.title),
            };
            let label = out.text.label(key.span(), "unknown key");
            let problem = Diagnostic::error(Code::UnknownKey, message).with_label(label);
            out.add(problem.with_help(format!("{} takes {}", self.title, known.join(", "))));
        }
    }

    /// The value of `key`, where the file gives one that could be parsed.
    pub(in crate::policy) fn value(&self, key: &str) -> Option<&'f Spanned<DeValue<'t>>> {
        self.table.get(key).filter(|value| !value.span().is_empty())
    }

    /// Reports that `key` is absent; says nothing about a damaged file, where the key may be on a broken line.
    pub(in crate::policy) fn missing(&self, key: &str, example: &str, out: &mut Collector<'_>) {
        if out.damaged {
            return;
        }
        let message = format!("{} has no `{key}`", self.title);
        let label = out
            .text
            .label(self.span.clone(), format!("`{key}` is missing"));
        let problem = Diagnostic::error(Code::MissingKey, message).with_label(label);
        out.add(problem.with_help(format!("add `{key} = {example}`")));
    }

    /// Reads a list of strings.
    pub(in crate::policy) fn list<T>(
        &self,
        key: &str,
        need: Need,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Problem>,
        out: &mut Collector<'_>,
    ) -> Vec<Sourced<T>> {
        let Some(items) = self.items(key, need, example, out) else {
            return Vec::new();
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => values.extend(take(text, item.span(), &parse, out)),
                other => report_type(key, "a string", other, item.span(), out),
            }
        }
        values
    }

    /// The items of the list at `key`.
    pub(in crate::policy) fn items(
        &self,
        key: &str,
        need: Need,
        example: &str,
        out: &mut Collector<'_>,
    ) -> Option<&'f [Spanned<DeValue<'t>>]> {
        let Some(value) = self.value(key) else {
            if need == Need::Required {
                self.missing(key, example, out);
            }
            return None;
        };
        let DeValue::Array(items) = value.get_ref() else {
            report_list(key, value, example, out);
            return None;
        };
        if items.is_empty() && need != Need::Optional && !out.damaged {
            let message = format!(
                "`{key}` of {} is empty; it needs at least one value",
                self.title
            );
            let label = out.text.label(value.span(), "empty");
            let problem = Diagnostic::error(Code::EmptyList, message).with_label(label);
            out.add(match need {
                Need::Required => problem.with_help(format!("write e.g. `{key} = {example}`")),
                Need::NonEmpty | Need::Optional => problem.with_help(format!(
                    "write e.g. `{key} = {example}`, or leave the key out for its default"
                )),
            });
        }
        Some(items)
    }

    /// Reads an optional string.
    pub(in crate::policy) fn string<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Problem>,
        out: &mut Collector<'_>,
    ) -> Option<Sourced<T>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => take(text, value.span(), &parse, out),
            other => {
                report_type(key, "a string", other, value.span(), out);
                None
            }
        }
    }

    /// Reads a string that must be there.
    pub(in crate::policy) fn required<T>(
        &self,
        key: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Problem>,
        out: &mut Collector<'_>,
    ) -> Option<Sourced<T>> {
        if self.value(key).is_none() {
            self.missing(key, example, out);
        }
        self.string(key, parse, out)
    }

    /// Reads one of a few words; the default where the key is absent.
    pub(in crate::policy) fn word<T: Copy + Default>(
        &self,
        key: &str,
        words: &[(&str, T)],
        out: &mut Collector<'_>,
    ) -> T {
        let word = self.string(key, |text| parse_word(key, text, words), out);
        word.map_or_else(T::default, |word| word.value)
    }

    /// Reads an optional whole number.
    pub(in crate::policy) fn integer<T: TryFrom<i64> + PartialOrd + Display>(
        &self,
        key: &str,
        bounds: RangeInclusive<T>,
        out: &mut Collector<'_>,
    ) -> Option<Sourced<T>> {
        let value = self.value(key)?;
        read_integer(key, value, &bounds, out)
    }

    /// The numbers at `key`, each within `bounds`; `example` shows how they are written.
    pub(in crate::policy) fn integers<T: TryFrom<i64> + PartialOrd + Display>(
        &self,
        key: &str,
        bounds: RangeInclusive<T>,
        example: &str,
        out: &mut Collector<'_>,
    ) -> Vec<Sourced<T>> {
        let items = self.items(key, Need::Optional, example, out);
        let items = items.unwrap_or_default().iter();
        items
            .filter_map(|item| read_integer(key, item, &bounds, out))
            .collect()
    }
}

fn read_integer<T: TryFrom<i64> + PartialOrd + Display>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    bounds: &RangeInclusive<T>,
    out: &mut Collector<'_>,
) -> Option<Sourced<T>> {
    let span = value.span();
    let DeValue::Integer(integer) = value.get_ref() else {
        report_type(key, "a number", value.get_ref(), span, out);
        return None;
    };
    let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
    let number = number.and_then(|number| T::try_from(number).ok());
    match number.filter(|number| bounds.contains(number)) {
        Some(number) => Some(Sourced {
            value: number,
            line: out.text.line(span.start),
        }),
        None => {
            let message = format!(
                "`{key}` is {}; it takes {} to {}",
                shorten(&integer.to_string()),
                bounds.start(),
                bounds.end(),
            );
            out.error(span, "out of range", Code::OutOfRange, message);
            None
        }
    }
}

/// The meaning of `text` among `words`.
pub(in crate::policy) fn parse_word<T: Copy>(
    key: &str,
    text: &str,
    words: &[(&str, T)],
) -> Result<T, Problem> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let choices = quoted_list(&known);
    let problem = Problem::new(
        Code::UnknownValue,
        format!("`{key}` is \"{}\"; it takes {choices}", shorten(text)),
    );
    Err(match nearest(text, &known) {
        Some(meant) => problem.help(format!("did you mean \"{meant}\"?")),
        None => problem,
    })
}

/// Parses `text`; a problem goes to `out` with its place.
fn take<T>(
    text: &str,
    span: Range<usize>,
    parse: impl Fn(&str) -> Result<T, Problem>,
    out: &mut Collector<'_>,
) -> Option<Sourced<T>> {
    match parse(text) {
        Ok(value) => Some(Sourced {
            value,
            line: out.text.line(span.start),
        }),
        Err(problem) => {
            let label = out.text.label(span, problem.label);
            let mut item = Diagnostic::error(problem.code, problem.message).with_label(label);
            item.help.extend(problem.help);
            out.add(item);
            None
        }
    }
}

fn report_list(key: &str, value: &Spanned<DeValue<'_>>, example: &str, out: &mut Collector<'_>) {
    let kind = kind_of(value.get_ref());
    let written = &out.text.as_str()[value.span()];
    let help = match value.get_ref() {
        DeValue::String(_) if written.len() < 100 => format!("write `{key} = [{written}]`"),
        _ => format!("write e.g. `{key} = {example}`"),
    };
    let label = out
        .text
        .label(value.span(), format!("{kind}, where a list is wanted"));
    let message = format!("`{key}` takes a list, not {kind}");
    out.add(
        Diagnostic::error(Code::WrongType, message)
            .with_label(label)
            .with_help(help),
    );
}

/// Reports a value of the wrong type.
pub(in crate::policy) fn report_type(
    key: &str,
    wanted: &str,
    value: &DeValue<'_>,
    span: Range<usize>,
    out: &mut Collector<'_>,
) {
    let kind = kind_of(value);
    let written = &out.text.as_str()[span.clone()];
    let help = match value {
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_)
            if wanted == "a string" =>
        {
            Some(format!("write \"{written}\""))
        }
        DeValue::String(text) if wanted == "a number" && text.parse::<u16>().is_ok() => {
            Some(format!("write {text}"))
        }
        _ => None,
    };
    let message = format!("`{key}` takes {wanted}, not {kind}");
    let label = out
        .text
        .label(span, format!("{kind}, where {wanted} is wanted"));
    let mut problem = Diagnostic::error(Code::WrongType, message).with_label(label);
    problem.help.extend(help);
    out.add(problem);
}

/// A TOML type in prose.
pub(in crate::policy) const fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn bare(title: &str) -> &str {
    title.trim_matches(['[', ']'])
}
