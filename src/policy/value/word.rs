//! [`Word`]: a choice among a few words, with one table for who reads, writes and explains it.

use crate::message::shorten;
use crate::policy::diagnostic::Code;

use super::problem::{Problem, nearest, quoted_list};

/// A value that a policy writes as one of a few words.
pub(in crate::policy) trait Word: Copy + PartialEq + 'static {
    /// Every value with its word, in the order in which messages name them.
    const WORDS: &'static [(&'static str, Self)];

    /// Its word.
    fn word(self) -> &'static str {
        let known = Self::WORDS.iter().find(|(_, value)| *value == self);
        known.map_or("", |(word, _)| word)
    }
}

/// The words of a choice.
pub(in crate::policy) fn words<T: Word>() -> Vec<&'static str> {
    T::WORDS.iter().map(|(word, _)| *word).collect()
}

/// The meaning of `text`, a value of `key`, among `words`.
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
