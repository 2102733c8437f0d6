//! Statements of `named.conf`: words, and blocks in braces (BIND's manual, "Configuration File Grammar").

use std::iter::Peekable;
use std::str::Chars;

use crate::render::ReadError;
use crate::verify::against::files::{DEEPEST, Loader, Place};

/// A statement: words, and an optional block in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) place: Place,
    pub(super) words: Vec<String>,
    pub(super) block: Vec<Statement>,
}

impl Statement {
    pub(super) fn is(&self, word: &str) -> bool {
        self.key().eq_ignore_ascii_case(word)
    }

    /// Returns its first word.
    pub(super) fn key(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Returns its second word.
    pub(super) fn value(&self) -> Option<&str> {
        self.words.get(1).map(String::as_str)
    }

    /// Returns the statements of its block that begin with `word`.
    pub(super) fn all(&self, word: &str) -> impl Iterator<Item = &Self> {
        self.block.iter().filter(move |it| it.is(word))
    }

    /// Returns the last of them, which counts.
    pub(super) fn last(&self, word: &str) -> Option<&Self> {
        self.all(word).last()
    }

    /// Returns the value of the last of them.
    pub(super) fn last_value(&self, word: &str) -> Option<&str> {
        self.last(word).and_then(Self::value)
    }
}

/// Reads files and those that they include, each in its place.
pub(super) struct Reader<'r> {
    pub(super) loader: &'r Loader<'r>,
    /// The folder to which paths are relative: `directory`, once it is set.
    pub(super) folder: String,
}

impl Reader<'_> {
    /// Parses the statements of a file.
    pub(super) fn statements(
        &mut self,
        file: &str,
        text: &str,
        depth: usize,
    ) -> Result<Vec<Statement>, ReadError> {
        let mut tokens = Tokens::new(file, text);
        let found = self.block(&mut tokens, depth)?;
        match tokens.closed {
            Some(line) => Err(tokens.wrong(line, "a `}` that closes nothing")),
            None => Ok(found),
        }
    }

    /// Parses statements up to the end or to the closing brace, which [`Tokens::closed`] then records.
    fn block(
        &mut self,
        tokens: &mut Tokens<'_>,
        depth: usize,
    ) -> Result<Vec<Statement>, ReadError> {
        let mut found = Vec::new();
        let mut current: Option<Statement> = None;
        while let Some((line, token)) = tokens.next() {
            if !self.loader.count_records(1) {
                break;
            }
            let file = tokens.file;
            let begun = |current: Option<Statement>| {
                current.unwrap_or_else(|| Statement {
                    place: Place {
                        file: file.to_owned(),
                        line,
                    },
                    words: Vec::new(),
                    block: Vec::new(),
                })
            };
            match token {
                Token::Word(word) => {
                    let mut statement = begun(current.take());
                    statement.words.push(word);
                    current = Some(statement);
                }
                Token::Open if depth == DEEPEST => {
                    return Err(tokens.wrong(line, "braces are nested too deeply"));
                }
                Token::Open => {
                    let mut statement = begun(current.take());
                    statement.block.extend(self.block(tokens, depth + 1)?);
                    if tokens.closed.take().is_none() {
                        return Err(tokens.wrong(line, "a `{` that is not closed"));
                    }
                    current = Some(statement);
                }
                Token::Close => {
                    tokens.closed = Some(line);
                    break;
                }
                Token::End => match current.take() {
                    Some(statement) if statement.is("include") => {
                        found.extend(self.included(&statement, depth)?);
                    }
                    Some(statement) => {
                        // Files included from here on are relative to it.
                        if statement.is("directory") {
                            let folder = statement.value().unwrap_or_default();
                            self.folder = self.loader.path(&self.folder, folder);
                        }
                        found.push(statement);
                    }
                    None => {}
                },
            }
        }
        found.extend(current);
        Ok(found)
    }

    fn included(
        &mut self,
        statement: &Statement,
        depth: usize,
    ) -> Result<Vec<Statement>, ReadError> {
        let pattern = statement.value().unwrap_or_default();
        let note = |why: String| {
            let word = format!("include \"{pattern}\"");
            self.loader.note(&statement.place, &word, why);
        };
        if depth == DEEPEST {
            note("files include one another in a circle".to_owned());
            return Ok(Vec::new());
        }
        let files = self.loader.glob(&self.folder, pattern);
        if files.is_empty() {
            note("no file has such a name".to_owned());
        }
        let mut found = Vec::new();
        for file in files {
            match self.loader.read(&file) {
                Ok(text) => found.extend(self.statements(&file, &text, depth + 1)?),
                Err(why) => {
                    let word = format!("include \"{pattern}\"");
                    self.loader.note(&statement.place, &word, why);
                }
            }
        }
        Ok(found)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

/// The tokens of a file, with their lines.
struct Tokens<'t> {
    file: &'t str,
    chars: Peekable<Chars<'t>>,
    line: usize,
    /// The line of the closing brace that ended a block.
    closed: Option<usize>,
}

impl<'t> Tokens<'t> {
    fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            file,
            chars: text.chars().peekable(),
            line: 1,
            closed: None,
        }
    }

    fn wrong(&self, line: usize, message: &str) -> ReadError {
        ReadError::new(line, format!("{}: {message}", self.file))
    }

    fn step(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn skip_line(&mut self) {
        while self.chars.peek().is_some_and(|it| *it != '\n') {
            self.step();
        }
    }

    fn skip_comment(&mut self) {
        let mut last = ' ';
        while let Some(next) = self.step() {
            if (last, next) == ('*', '/') {
                return;
            }
            last = next;
        }
    }

    fn quoted(&mut self) -> String {
        let mut word = String::new();
        while let Some(next) = self.step() {
            match next {
                '"' => break,
                '\\' => word.extend(self.step()),
                other => word.push(other),
            }
        }
        word
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(next) = self.chars.peek().copied() {
            if next.is_whitespace() || matches!(next, '{' | '}' | ';' | '"') {
                break;
            }
            word.push(next);
            self.step();
        }
        word
    }
}

impl Iterator for Tokens<'_> {
    type Item = (usize, Token);

    fn next(&mut self) -> Option<(usize, Token)> {
        loop {
            let first = self.step()?;
            let line = self.line;
            let token = match first {
                _ if first.is_whitespace() => continue,
                '#' => {
                    self.skip_line();
                    continue;
                }
                '/' if self.chars.peek() == Some(&'/') => {
                    self.skip_line();
                    continue;
                }
                '/' if self.chars.peek() == Some(&'*') => {
                    self.step();
                    self.skip_comment();
                    continue;
                }
                '{' => Token::Open,
                '}' => Token::Close,
                ';' => Token::End,
                '"' => Token::Word(self.quoted()),
                '!' => Token::Word("!".to_owned()),
                other => Token::Word(self.word(other)),
            };
            return Some((line, token));
        }
    }
}
