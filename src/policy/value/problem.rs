//! [`Problem`]: why a string is not the value a key wants, and the nearest word for a misspelt one.

use crate::policy::diagnostic::Code;

/// Why one value is refused; the reader of the file adds the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Problem {
    pub(in crate::policy) code: Code,
    pub(in crate::policy) message: String,
    /// Text beside the underline.
    pub(in crate::policy) label: String,
    pub(in crate::policy) help: Option<String>,
}

impl Problem {
    pub(in crate::policy) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            label: String::new(),
            help: None,
        }
    }

    pub(in crate::policy) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(in crate::policy) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The word of `known` that `word` was most likely meant to be.
pub(in crate::policy) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Distance grows with the square of the length; no key is near this long.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|known| {
            (
                strsim::jaro_winkler(&word, &known.replace('-', "_")),
                *known,
            )
        })
        .filter(|&(likeness, _)| likeness >= LIKENESS)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, known)| known)
}

/// `words` as prose: `"a"`, `"a" or "b"`, `"a", "b" or "c"`.
pub(in crate::policy) fn quoted_list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

/// Jaro-Winkler likeness from which a word counts as misspelt; the tests show both sides of it.
const LIKENESS: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_recognized_and_another_is_not() {
        let known = [
            "interfaces",
            "client_subnets",
            "sip_domains",
            "hosts",
            "addresses",
        ];
        assert_eq!(nearest("client_subnet", &known), Some("client_subnets"));
        assert_eq!(nearest("client-subnets", &known), Some("client_subnets"));
        assert_eq!(nearest("clientSubnets", &known), Some("client_subnets"));
        assert_eq!(nearest("adresses", &known), Some("addresses"));
        assert_eq!(nearest("host", &known), Some("hosts"));
        assert_eq!(nearest("ports", &known), None);
        assert_eq!(nearest("mtu", &known), None);
    }
}
