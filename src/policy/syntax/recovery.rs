//! Error recovery: the syntax errors of a policy file, one for each cause.
//!
//! After a forgotten quote or bracket, TOML's parser reports every consequence down to the end of the file, and some
//! errors end its reading. Here the first error is taken, the statement that causes it is blanked (every other byte
//! keeps its place), and the rest is parsed again until it is TOML.

use std::borrow::Cow;
use std::ops::Range;

use toml::de::{DeTable, Error};

/// A syntax error at its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct SyntaxError {
    pub(in crate::policy) span: Range<usize>,
    pub(in crate::policy) kind: SyntaxErrorKind,
}

/// The mistake at the span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) enum SyntaxErrorKind {
    /// A key or section that exists already.
    Duplicate,
    /// A value that runs into the next statement.
    Unending,
    /// Anything else, in the words of the TOML parser.
    Other(String),
}

/// The source without its broken statements, and what is wrong with each of them; `None` instead of a source in which
/// errors are left when the bounds are reached.
///
/// `found` is what the parser said first.
pub(in crate::policy) fn recover<'s>(
    source: &'s str,
    found: &Error,
) -> (Option<Cow<'s, str>>, Vec<SyntaxError>) {
    if source.len() > MAX_RECOVERED {
        return (None, vec![syntax_error(found)]);
    }
    let mut errors = Vec::new();
    let mut text = Cow::Borrowed(source);
    let mut failure = first_error(&text);
    let rounds = (MAX_PARSED / source.len().max(1)).clamp(1, MAX_ERRORS);
    for _ in 0..rounds {
        let Some(error) = failure else {
            break;
        };
        let repair = best_repair(&text, &error);
        errors.push(repair.error);
        text = Cow::Owned(repair.text);
        failure = repair.failure;
    }
    // What is left when the rounds are spent.
    errors.extend(failure.as_ref().map(syntax_error));
    (failure.is_none().then_some(text), errors)
}

/// One way to get past an error.
struct Repair {
    error: SyntaxError,
    text: String,
    failure: Option<Error>,
}

impl Repair {
    fn new(source: &str, blank: Range<usize>, error: SyntaxError) -> Self {
        let text = blanked(source, blank);
        let failure = first_error(&text);
        Self {
            error,
            text,
            failure,
        }
    }

    /// How far the parser gets.
    fn reach(&self) -> usize {
        self.failure.as_ref().map_or(usize::MAX, start)
    }
}

/// The repair that lets the parser get furthest; the smallest where several do.
fn best_repair(source: &str, error: &Error) -> Repair {
    let found = syntax_error(error);
    let at = found.span.start.min(source.len());
    let line = line_around(source, at);
    let broken_header =
        is_header(&source[line.clone()]) && found.kind != SyntaxErrorKind::Duplicate;
    let own = if broken_header {
        // Without their header, the keys below would seem to belong to the section above.
        line.start..next_header(source, line.end)
    } else {
        line.clone()
    };
    let mut best = Repair::new(source, own, found.clone());
    if best.failure.is_none() || found.kind == SyntaxErrorKind::Duplicate {
        return best;
    }
    let statement = statement_start(source, line.start);
    if statement == line.start {
        return best;
    }
    let unending = |end| {
        let error = SyntaxError {
            span: trimmed(source, line_around(source, statement)),
            kind: SyntaxErrorKind::Unending,
        };
        Repair::new(source, statement..end, error)
    };
    let above = unending(line.start);
    // A sound statement is wrong from its first byte on only where the one above has no end.
    let swallowed =
        at == trimmed(source, line.clone()).start && begins_statement(&source[line.clone()]);
    if swallowed && above.reach() > line.end {
        return above;
    }
    for repair in [above, unending(line.end)] {
        if repair.reach() > best.reach() {
            best = repair;
        }
    }
    best
}

/// The error nearest to the beginning. The parser finds them in several passes, so its own first may be a consequence.
fn first_error(source: &str) -> Option<Error> {
    let (_, errors) = DeTable::parse_recoverable(source);
    errors.into_iter().min_by_key(start)
}

fn start(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

fn syntax_error(error: &Error) -> SyntaxError {
    let kind = match error.message() {
        "duplicate key" => SyntaxErrorKind::Duplicate,
        message => SyntaxErrorKind::Other(message.to_owned()),
    };
    SyntaxError {
        span: error.span().unwrap_or(0..0),
        kind,
    }
}

/// The line of the byte at `at`, without its end.
fn line_around(source: &str, at: usize) -> Range<usize> {
    let bytes = source.as_bytes();
    let start = bytes[..at]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let length = bytes[start..].iter().position(|&byte| byte == b'\n');
    start..length.map_or(source.len(), |length| start + length)
}

/// Start of the nearest line above `line_start` that begins a statement; `line_start` where there is none.
fn statement_start(source: &str, line_start: usize) -> usize {
    let mut at = line_start;
    while at > 0 {
        let line = line_around(source, at - 1);
        if begins_statement(&source[line.clone()]) {
            return line.start;
        }
        at = line.start;
    }
    line_start
}

fn begins_statement(line: &str) -> bool {
    let key = line.trim_start().trim_start_matches(is_key_char);
    is_header(line) || (key.len() < line.trim_start().len() && key.trim_start().starts_with('='))
}

fn is_header(line: &str) -> bool {
    let name = line.trim_start().trim_start_matches('[');
    line.trim_start().starts_with('[') && name.starts_with(is_key_char)
}

fn is_key_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.')
}

/// Start of the first header at or after the line end `from`; the end of the text where there is none.
fn next_header(source: &str, from: usize) -> usize {
    let mut at = from;
    while at < source.len() {
        let line = line_around(source, at + 1);
        if is_header(&source[line.clone()]) {
            return line.start;
        }
        at = line.end.max(at + 1);
    }
    source.len()
}

fn trimmed(source: &str, line: Range<usize>) -> Range<usize> {
    let text = &source[line.clone()];
    let start = line.start + text.len() - text.trim_start().len();
    start..start + text.trim().len()
}

fn blanked(source: &str, range: Range<usize>) -> String {
    let mut text = String::with_capacity(source.len());
    text.push_str(&source[..range.start]);
    text.extend(
        source[range.clone()]
            .bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { ' ' }),
    );
    text.push_str(&source[range.end..]);
    text
}

/// Syntax errors looked for in one file: more are no typing errors.
const MAX_ERRORS: usize = 100;

/// Bytes of a file up to which more than its first error is looked for.
///
/// In a file that is not TOML at all every byte may be an error, and the parser spends a microsecond and some hundred
/// bytes of memory on each.
pub(in crate::policy) const MAX_RECOVERED: usize = 256 << 10;

/// Bytes parsed, over all rounds, in search of further errors: enough for 100 rounds on a policy of 20 KiB.
const MAX_PARSED: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn recovered(source: &str) -> (Option<Cow<'_, str>>, Vec<SyntaxError>) {
        let found = first_error(source).expect("the test's own text is broken");
        recover(source, &found)
    }

    fn causes(source: &str) -> Vec<&str> {
        let (_, errors) = recovered(source);
        errors
            .into_iter()
            .map(|error| &source[error.span])
            .collect()
    }

    #[test]
    fn a_forgotten_quote_is_one_error() {
        let source = "[a]\nx = [\"1\", \"2]\n\n[b]\ny = [\"3\"]\nz = 4\n";
        assert_eq!(causes(source).len(), 1);
        let (recovered, _) = recovered(source);
        let recovered = recovered.expect("one blanked line leaves TOML");
        assert_eq!(recovered.len(), source.len());
        assert_eq!(
            recovered.trim_start_matches("[a]").trim_start(),
            "[b]\ny = [\"3\"]\nz = 4\n"
        );
    }

    #[test]
    fn a_forgotten_bracket_is_blamed_on_the_list_that_has_no_end() {
        let source = "[a]\nx = [\n  \"1\",\n  \"2\"\n\n[b]\ny = [\"3\"]\n";
        assert_eq!(causes(source), ["x = ["]);
        assert_eq!(causes("[a]\nx = [\n  \"1\",\n"), ["x = ["]);
    }

    #[test]
    fn a_broken_header_hides_its_section_but_not_the_next() {
        let source = "[a]\nx = 1\n[[b]\nx = 2\n[c]\ny 3\n";
        let (recovered, errors) = recovered(source);
        assert_eq!(errors.len(), 2, "{errors:?}");
        let recovered = recovered.expect("two blanked statements leave TOML");
        assert!(
            recovered.contains("[c]") && !recovered.contains("x = 2"),
            "{recovered}"
        );
    }
}
