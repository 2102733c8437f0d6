//! Reads `named.conf` of BIND for the zones that answer the clients of a VPN.
//!
//! Statements, blocks and comments follow BIND's manual (Administrator Reference Manual, "Configuration File Grammar");
//! statements that do not affect zones are skipped.

use std::iter::Peekable;
use std::net::IpAddr;
use std::str::Chars;

use ipnet::IpNet;

use crate::message::shorten;
use crate::name::DnsName;
use crate::render::ReadError;

/// A zone with its records in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BindZone {
    pub(super) name: DnsName,
    /// Its path as written; relative to `directory` if that is set.
    pub(super) file: String,
    /// True if it is a response policy zone.
    pub(super) is_policy: bool,
}

/// The parts of a `named.conf` that affect clients' names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct BindZones {
    /// `directory` of its `options`.
    pub(super) directory: Option<String>,
    /// The zones that answer the clients, in order.
    pub(super) zones: Vec<BindZone>,
    /// True if there are views, but none for the clients.
    pub(super) no_view: bool,
}

/// Reads a `named.conf` and the files that it includes, through `read`.
pub(super) fn zones(
    text: &str,
    clients: &[IpNet],
    read: Includes<'_>,
) -> Result<BindZones, ReadError> {
    let statements = statements_of(text, read, 0)?;
    let of = |word: &'static str| {
        let all = statements.iter();
        all.filter(move |it| it.is(word)).collect::<Vec<_>>()
    };
    let options: Vec<&Statement> = of("options").iter().flat_map(|it| &it.block).collect();
    let directory = options.iter().find(|it| it.is("directory"));
    let mut found = BindZones {
        directory: directory.and_then(|it| it.words.get(1)).cloned(),
        ..BindZones::default()
    };
    let acls = of("acl");
    let views = of("view");
    let scope: Vec<&Statement> = if views.is_empty() {
        statements.iter().collect()
    } else {
        let is_theirs = |view: &&&Statement| {
            let lists = view.block.iter().filter(|it| it.is("match-clients"));
            let mut elements = lists.flat_map(|it| &it.block).peekable();
            // A view without the list matches everyone.
            elements.peek().is_none() || elements.any(|element| admits(element, &acls, clients, 0))
        };
        match views.iter().find(is_theirs) {
            Some(view) => view.block.iter().collect(),
            None => {
                found.no_view = true;
                Vec::new()
            }
        }
    };
    let policies = |statements: &[&Statement]| -> Vec<String> {
        let lists = statements.iter().filter(|it| it.is("response-policy"));
        let zones = lists.flat_map(|it| &it.block).filter(|it| it.is("zone"));
        zones.filter_map(|it| it.words.get(1)).cloned().collect()
    };
    // The policies of a view replace the global ones.
    let own = policies(&scope);
    let policies = if own.is_empty() {
        policies(&options)
    } else {
        own
    };
    for zone in scope.iter().filter(|it| it.is("zone")) {
        let value = |key: &str| {
            let statement = zone.block.iter().find(|it| it.is(key))?;
            statement.words.get(1).map(String::as_str)
        };
        let (Some(name), Some("primary" | "master"), Some(file)) =
            (zone.words.get(1), value("type"), value("file"))
        else {
            continue;
        };
        let parsed = name.parse().map_err(|error| {
            ReadError::new(zone.line, format!("zone `{}`: {error}", shorten(name)))
        })?;
        found.zones.push(BindZone {
            name: parsed,
            file: file.to_owned(),
            is_policy: policies.iter().any(|it| it.eq_ignore_ascii_case(name)),
        });
    }
    Ok(found)
}

/// Returns `true` if an element of an address list admits any of `clients`.
fn admits(element: &Statement, acls: &[&Statement], clients: &[IpNet], depth: usize) -> bool {
    let Some(word) = element.words.first().filter(|_| depth < DEEPEST) else {
        return false;
    };
    if word == "any" {
        return true;
    }
    let address = word.parse::<IpAddr>().map(IpNet::from);
    if let Ok(prefix) = word.parse::<IpNet>().or(address) {
        let mut clients = clients.iter();
        return clients.any(|client| prefix.contains(client) || client.contains(&prefix));
    }
    let mut lists = acls.iter().filter(|acl| acl.words.get(1) == Some(word));
    lists.any(|acl| {
        let mut elements = acl.block.iter();
        elements.any(|element| admits(element, acls, clients, depth + 1))
    })
}

/// A statement: words, and an optional block in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    line: usize,
    words: Vec<String>,
    block: Vec<Statement>,
}

impl Statement {
    fn is(&self, word: &str) -> bool {
        self.words.first().is_some_and(|first| first == word)
    }
}

type Includes<'r> = &'r dyn Fn(&str) -> Result<String, String>;

/// Parses the statements of `text`, with each included file expanded in place.
fn statements_of(
    text: &str,
    includes: Includes<'_>,
    depth: usize,
) -> Result<Vec<Statement>, ReadError> {
    let mut tokens = Tokens::new(text);
    let found = block(&mut tokens, includes, depth)?;
    match tokens.closed {
        Some(line) => Err(ReadError::new(line, "a `}` that closes nothing")),
        None => Ok(found),
    }
}

/// Parses statements up to the end or to the closing brace, which [`Tokens::closed`] then records.
fn block(
    tokens: &mut Tokens<'_>,
    includes: Includes<'_>,
    depth: usize,
) -> Result<Vec<Statement>, ReadError> {
    let mut found = Vec::new();
    let mut current: Option<Statement> = None;
    while let Some((line, token)) = tokens.next() {
        let begun = |current: Option<Statement>| {
            current.unwrap_or_else(|| Statement {
                line,
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
                return Err(ReadError::new(line, "braces are nested too deeply"));
            }
            Token::Open => {
                let mut statement = begun(current.take());
                statement.block.extend(block(tokens, includes, depth + 1)?);
                if tokens.closed.take().is_none() {
                    return Err(ReadError::new(line, "a `{` that is not closed"));
                }
                current = Some(statement);
            }
            Token::Close => {
                tokens.closed = Some(line);
                break;
            }
            Token::End => match current.take() {
                Some(statement) if statement.is("include") => {
                    found.extend(included(&statement, includes, depth)?);
                }
                ended => found.extend(ended),
            },
        }
    }
    found.extend(current);
    Ok(found)
}

fn included(
    statement: &Statement,
    includes: Includes<'_>,
    depth: usize,
) -> Result<Vec<Statement>, ReadError> {
    let file = statement.words.get(1).map_or("", String::as_str);
    let failed = |why: &str| ReadError::new(statement.line, format!("include \"{file}\": {why}"));
    if depth == DEEPEST {
        return Err(failed("files include one another in a circle"));
    }
    let text = includes(file).map_err(|why| failed(&why))?;
    statements_of(&text, includes, depth + 1).map_err(|error| failed(&error.to_string()))
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
    chars: Peekable<Chars<'t>>,
    line: usize,
    /// The line of the closing brace that ended a block.
    closed: Option<usize>,
}

impl<'t> Tokens<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            chars: text.chars().peekable(),
            line: 1,
            closed: None,
        }
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
                other => Token::Word(self.word(other)),
            };
            return Some((line, token));
        }
    }
}

/// Maximum nesting of braces, files and lists: more than anyone writes.
const DEEPEST: usize = 16;
