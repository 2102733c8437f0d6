//! [`Section`]: one table of a policy file, with readers for each kind of value it may hold.
//!
//! A reader reports what is wrong and returns what is right, so that one wrong value hides no other.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::PolicyFile;
use super::key::{Absent, Form, Header, Key, Kind, Need, SectionTable};
use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector, Diagnostic};
use crate::policy::value::{Problem, Sourced, Word, nearest, parse_word, quoted_list};

/// One table and what it is called.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Section<'f, 't> {
    /// As the operator writes it: `[vpn]`, `[[server]]`.
    pub(in crate::policy) title: String,
    /// Header of the table.
    span: Range<usize>,
    table: &'f DeTable<'t>,
    /// Keys that the file has in another spelling, which is reported.
    misspelt: Vec<&'static str>,
}

impl<'f, 't> Section<'f, 't> {
    /// The section of `table`, which stands once, where the file has it.
    pub(in crate::policy) fn single(
        file: &'f PolicyFile<'t>,
        table: &SectionTable,
        out: &mut Collector<'_>,
    ) -> Option<Self> {
        let name = table.name;
        let value = file.root().get(name)?;
        if is_array_of_tables(value) {
            let message = format!("`{name}` stands once: write [{name}], not [[{name}]]");
            out.error(value.span(), "", Code::WrongType, message);
            return None;
        }
        Self::open(table, value, out)
    }

    /// Every section of `table`, which may stand several times.
    pub(in crate::policy) fn repeated(
        file: &'f PolicyFile<'t>,
        table: &SectionTable,
        out: &mut Collector<'_>,
    ) -> Vec<Self> {
        let name = table.name;
        let Some(value) = file.root().get(name) else {
            return Vec::new();
        };
        match value.get_ref() {
            DeValue::Array(sections) => {
                let open = sections
                    .iter()
                    .filter_map(|section| Self::open(table, section, out));
                open.collect()
            }
            DeValue::Table(_) => {
                let message =
                    format!("`{name}` may stand several times: write [[{name}]], not [{name}]");
                out.error(value.span(), "", Code::WrongType, message);
                // Its keys are still worth checking.
                Self::open(table, value, out).into_iter().collect()
            }
            other => {
                if !value.span().is_empty() {
                    report_type(name, "tables", other, value.span(), out);
                }
                Vec::new()
            }
        }
    }

    /// The section `value`, whose keys must be those of `table`; `None` and an error when it is no table.
    fn open(
        table: &SectionTable,
        value: &'f Spanned<DeValue<'t>>,
        out: &mut Collector<'_>,
    ) -> Option<Self> {
        if value.span().is_empty() {
            return None;
        }
        let title = table.title();
        let DeValue::Table(values) = value.get_ref() else {
            let kind = kind_of(value.get_ref());
            let message = format!("`{}` is a table, not {kind}", table.name);
            let label = out
                .text
                .label(value.span(), format!("{kind}, where a table is wanted"));
            let problem = Diagnostic::error(Code::WrongType, message).with_label(label);
            out.add(problem.with_help(match table.header {
                Header::Single | Header::Repeated => {
                    format!("write {title} on a line of its own, and its keys below")
                }
                Header::Inline => {
                    format!("write {{ {} = ... }}", table.names().join(" = ..., "))
                }
            }));
            return None;
        };
        let mut section = Self {
            title,
            span: value.span(),
            table: values,
            misspelt: Vec::new(),
        };
        section.misspelt = section.check_keys(&table.names(), out);
        Some(section)
    }

    /// Reports unknown keys; returns those that they stand for.
    fn check_keys(&self, known: &[&'static str], out: &mut Collector<'_>) -> Vec<&'static str> {
        let mut misspelt = Vec::new();
        for (key, value) in self
            .table
            .iter()
            .filter(|(key, _)| !known.contains(&key.get_ref().as_ref()))
        {
            if value.span().is_empty() && out.damaged {
                continue;
            }
            let name = shorten(key.get_ref());
            let message = if let Some(home) = (out.home_of)(key.get_ref()) {
                format!(
                    "unknown key `{name}` in {}; did you mean it in {home}?",
                    self.title
                )
            } else if let Some(meant) = nearest(key.get_ref(), known) {
                misspelt.push(meant);
                format!(
                    "unknown key `{name}` in {}; did you mean `{meant}`?",
                    self.title
                )
            } else {
                format!("unknown key `{name}` in {}", self.title)
            };
            let label = out.text.label(key.span(), "unknown key");
            let problem = Diagnostic::error(Code::UnknownKey, message).with_label(label);
            out.add(problem.with_help(format!("{} takes {}", self.title, known.join(", "))));
        }
        misspelt
    }

    /// The value of `key`, where the file gives one that could be parsed.
    pub(in crate::policy) fn value(&self, key: &Key) -> Option<&'f Spanned<DeValue<'t>>> {
        self.table
            .get(key.name)
            .filter(|value| !value.span().is_empty())
    }

    /// Returns `true` if the file gives a value of `key`.
    pub(in crate::policy) fn has(&self, key: &Key) -> bool {
        self.value(key).is_some()
    }

    /// Span of the value of `key`; empty where there is none.
    pub(in crate::policy) fn span_of(&self, key: &Key) -> Range<usize> {
        self.value(key).map(Spanned::span).unwrap_or_default()
    }

    /// The value of `key`. Reports that it is absent where it must be there, but says nothing about a damaged file,
    /// where the key may be on a broken line.
    fn wanted(&self, key: &Key, out: &mut Collector<'_>) -> Option<&'f Spanned<DeValue<'t>>> {
        let value = self.value(key);
        let is_misspelt = self.misspelt.contains(&key.name);
        if value.is_none() && key.need == Need::Required && !is_misspelt && !out.damaged {
            let name = key.name;
            let message = format!("{} has no `{name}`", self.title);
            let label = out
                .text
                .label(self.span.clone(), format!("`{name}` is missing"));
            let problem = Diagnostic::error(Code::MissingKey, message).with_label(label);
            out.add(problem.with_help(format!("add `{name} = {}`", key.example)));
        }
        value
    }

    /// Reads a list of strings.
    pub(in crate::policy) fn list<T>(
        &self,
        key: &Key,
        parse: impl Fn(&str) -> Result<T, Problem>,
        out: &mut Collector<'_>,
    ) -> Vec<Sourced<T>> {
        let items = self.items(key, out);
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => values.extend(take(text, item.span(), &parse, out)),
                other => report_no_string(key, other, item.span(), out),
            }
        }
        values
    }

    /// Reads a list of words.
    pub(in crate::policy) fn words<T: Word>(
        &self,
        key: &Key,
        out: &mut Collector<'_>,
    ) -> Vec<Sourced<T>> {
        self.list(key, |text| parse_word(key.name, text, T::WORDS), out)
    }

    /// Reads a list of inline tables.
    pub(in crate::policy) fn tables(&self, key: &Key, out: &mut Collector<'_>) -> Vec<Self> {
        let Kind::Tables(table) = key.kind else {
            return Vec::new();
        };
        let items = self.items(key, out).iter();
        items
            .filter_map(|item| Self::open(table, item, out))
            .collect()
    }

    /// Reads a list of whole numbers.
    pub(in crate::policy) fn integers<T: TryFrom<i64>>(
        &self,
        key: &Key,
        out: &mut Collector<'_>,
    ) -> Vec<Sourced<T>> {
        let items = self.items(key, out).iter();
        items
            .filter_map(|item| read_integer(key, item, out))
            .collect()
    }

    /// The items of the list at `key`.
    fn items(&self, key: &Key, out: &mut Collector<'_>) -> &'f [Spanned<DeValue<'t>>] {
        let Some(value) = self.wanted(key, out) else {
            return &[];
        };
        let DeValue::Array(items) = value.get_ref() else {
            report_list(key, value, out);
            return &[];
        };
        if items.is_empty() && key.need != Need::Optional && !out.damaged {
            let (name, example) = (key.name, key.example);
            let message = format!(
                "`{name}` of {} is empty; it needs at least one value",
                self.title
            );
            let label = out.text.label(value.span(), "empty");
            let problem = Diagnostic::error(Code::EmptyList, message).with_label(label);
            out.add(match key.need {
                Need::Required => problem.with_help(format!("write e.g. `{name} = {example}`")),
                Need::NonEmpty | Need::Optional => problem.with_help(format!(
                    "write e.g. `{name} = {example}`, or leave the key out for its default"
                )),
            });
        }
        items
    }

    /// Reads a string.
    pub(in crate::policy) fn string<T>(
        &self,
        key: &Key,
        parse: impl Fn(&str) -> Result<T, Problem>,
        out: &mut Collector<'_>,
    ) -> Option<Sourced<T>> {
        let value = self.wanted(key, out)?;
        match value.get_ref() {
            DeValue::String(text) => take(text, value.span(), &parse, out),
            other => {
                report_no_string(key, other, value.span(), out);
                None
            }
        }
    }

    /// Reads one of a few words.
    pub(in crate::policy) fn word<T: Word>(
        &self,
        key: &Key,
        out: &mut Collector<'_>,
    ) -> Option<Sourced<T>> {
        self.string(key, |text| parse_word(key.name, text, T::WORDS), out)
    }

    /// Reads one of a few words; the default where the key is absent.
    pub(in crate::policy) fn word_or_default<T: Word + Default>(
        &self,
        key: &Key,
        out: &mut Collector<'_>,
    ) -> T {
        self.word(key, out)
            .map_or_else(T::default, |word| word.value)
    }

    /// Reads `true` or `false`; the default where the key is absent.
    pub(in crate::policy) fn boolean(&self, key: &Key, out: &mut Collector<'_>) -> bool {
        let default = matches!(key.absent, Absent::Value("true"));
        let value = self.wanted(key, out);
        value.map_or(default, |value| match value.get_ref() {
            DeValue::Boolean(value) => *value,
            other => {
                report_type(key.name, "true or false", other, value.span(), out);
                default
            }
        })
    }

    /// Reads a whole number.
    pub(in crate::policy) fn integer<T: TryFrom<i64>>(
        &self,
        key: &Key,
        out: &mut Collector<'_>,
    ) -> Option<Sourced<T>> {
        let value = self.wanted(key, out)?;
        read_integer(key, value, out)
    }
}

fn read_integer<T: TryFrom<i64>>(
    key: &Key,
    value: &Spanned<DeValue<'_>>,
    out: &mut Collector<'_>,
) -> Option<Sourced<T>> {
    let span = value.span();
    let DeValue::Integer(integer) = value.get_ref() else {
        report_type(key.name, "a number", value.get_ref(), span, out);
        return None;
    };
    let bounds = key.bounds();
    let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
    let number = number.filter(|number| bounds.contains(number));
    match number.and_then(|number| T::try_from(number).ok()) {
        Some(number) => Some(Sourced {
            value: number,
            line: out.text.line(span.start),
        }),
        None => {
            let message = format!(
                "`{}` is {}; it takes {} to {}",
                key.name,
                shorten(&integer.to_string()),
                bounds.start(),
                bounds.end(),
            );
            out.error(span, "out of range", Code::OutOfRange, message);
            None
        }
    }
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

fn report_list(key: &Key, value: &Spanned<DeValue<'_>>, out: &mut Collector<'_>) {
    let (key, example) = (key.name, key.example);
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

/// Reports a value of another type where a string is wanted.
fn report_no_string(key: &Key, value: &DeValue<'_>, span: Range<usize>, out: &mut Collector<'_>) {
    let written = &out.text.as_str()[span.clone()];
    let help = match (key.kind, value) {
        (Kind::Word(words) | Kind::Words(words), _) => {
            Some(format!("write {}", quoted_list(&words())))
        }
        // In quotes it would be one: a port, a name.
        (
            Kind::Text(Form::Ports | Form::Name) | Kind::Texts(Form::Ports | Form::Name),
            DeValue::Integer(_) | DeValue::Float(_),
        ) => Some(format!("write \"{written}\"")),
        (Kind::Text(_) | Kind::Texts(_), _) => {
            Some(format!("write e.g. `{} = {}`", key.name, key.example))
        }
        _ => None,
    };
    report_wrong_type(key.name, "a string", value, span, help, out);
}

/// Reports a value of the wrong type.
fn report_type(
    key: &str,
    wanted: &str,
    value: &DeValue<'_>,
    span: Range<usize>,
    out: &mut Collector<'_>,
) {
    let help = match value {
        DeValue::String(text) if wanted == "true or false" && is_boolean(text) => {
            Some(format!("write {text}"))
        }
        DeValue::String(text) if wanted == "a number" && is_number(text) => {
            Some(format!("write {text}, without quotes"))
        }
        _ => None,
    };
    report_wrong_type(key, wanted, value, span, help, out);
}

fn report_wrong_type(
    key: &str,
    wanted: &str,
    value: &DeValue<'_>,
    span: Range<usize>,
    help: Option<String>,
    out: &mut Collector<'_>,
) {
    let kind = kind_of(value);
    let message = format!("`{key}` takes {wanted}, not {kind}");
    let label = out
        .text
        .label(span, format!("{kind}, where {wanted} is wanted"));
    let mut problem = Diagnostic::error(Code::WrongType, message).with_label(label);
    problem.help.extend(help);
    out.add(problem);
}

/// True for what TOML reads as an integer that keys take.
fn is_number(text: &str) -> bool {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).is_ok(),
        None => text.parse::<u32>().is_ok() && (text == "0" || !text.starts_with(['0', '+'])),
    }
}

fn is_boolean(text: &str) -> bool {
    text.parse::<bool>().is_ok()
}

/// A TOML type in prose.
const fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Returns `true` for `[[name]]`.
pub(in crate::policy) fn is_array_of_tables(value: &Spanned<DeValue<'_>>) -> bool {
    let first = value.get_ref().as_array().and_then(|array| array.first());
    first.is_some_and(|first| first.get_ref().is_table())
}
