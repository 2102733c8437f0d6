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
    if let Some(several) = several(text, &known) {
        return Err(problem.help(format!("did you mean \"{several}\"?")));
    }
    let meant = nearest(text, &known).or_else(|| slipped(text, &known));
    let meant = meant.or_else(|| abbreviated(text, &known));
    Err(match meant.or_else(|| of_others(text, &known)) {
        Some(meant) => problem.help(format!("did you mean \"{meant}\"?")),
        None => problem,
    })
}

/// The entries that several words in one string mean: `tcp/udp` is `tcp", "udp`.
fn several(text: &str, known: &[&str]) -> Option<String> {
    let parts = text.split([',', '/', '+', ' ']);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    let are_known = parts.len() > 1 && parts.iter().all(|part| known.contains(part));
    are_known.then(|| parts.join("\", \""))
}

/// The word of `known` for one that other programs have for the same.
fn of_others<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let meant = match text.to_ascii_lowercase().as_str() {
        "block" | "deny" | "discard" => "drop",
        "accept" | "allow" | "pass" | "permit" => "forward",
        "force" | "forced" => "full",
        _ => return None,
    };
    known.iter().copied().find(|word| *word == meant)
}

/// The first word of `known` that is one slip away: a letter too many, too few, another one, or two in each other's place.
fn slipped<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let is_slip =
        |word: &&&str| (3..=16).contains(&text.len()) && strsim::osa_distance(text, word) <= 1;
    known.iter().find(is_slip).copied()
}

/// The only word of `known` that `text` shortens: `m365` is `microsoft-365`.
fn abbreviated<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let is_short_for = |word: &str| {
        let mut letters = word.chars();
        let mut wanted = text.chars().map(|it| it.to_ascii_lowercase());
        text.len() >= 2
            && word.chars().next() == text.chars().next().map(|it| it.to_ascii_lowercase())
            && wanted.all(|it| letters.any(|letter| letter == it))
    };
    let mut meant = known.iter().copied().filter(|word| is_short_for(word));
    meant.next().filter(|_| meant.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::{abbreviated, of_others, several, slipped};

    #[test]
    fn a_word_that_is_one_slip_away_is_understood() {
        let known = ["ice", "media", "ports"];
        assert_eq!(slipped("iec", &known), Some("ice"));
        assert_eq!(slipped("ices", &known), Some("ice"));
        assert_eq!(slipped("ports", &known), Some("ports"));
        assert_eq!(slipped("ic", &known), None, "two letters say too little");
        assert_eq!(slipped("mdei", &known), None);
    }

    #[test]
    fn a_word_that_shortens_one_alone_is_understood() {
        let known = ["microsoft-365", "prefixes", "policy"];
        assert_eq!(abbreviated("m365", &known), Some("microsoft-365"));
        assert_eq!(abbreviated("MS", &known), Some("microsoft-365"));
        assert_eq!(abbreviated("p", &known), None, "one letter says too little");
        assert_eq!(abbreviated("pi", &known), None, "it is two of them");
        assert_eq!(abbreviated("o365", &known), None, "another first letter");
        assert_eq!(abbreviated("\u{e9}x", &known), None);
        assert_eq!(abbreviated("", &known), None);
    }

    #[test]
    fn words_of_other_programs_are_understood_where_there_is_one_for_them() {
        assert_eq!(of_others("DENY", &["forward", "drop"]), Some("drop"));
        assert_eq!(of_others("allow", &["forward", "drop"]), Some("forward"));
        assert_eq!(of_others("deny", &["split", "full"]), None);
        let known = ["tcp", "udp"];
        assert_eq!(several("tcp/udp", &known).as_deref(), Some("tcp\", \"udp"));
        assert_eq!(several("tcp/icmp", &known), None);
        assert_eq!(several("tcp", &known), None);
    }
}
