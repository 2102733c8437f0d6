//! The outcome that a `[[test]]` expects: the verdict of a packet, the answer for a name, the side of a route.

use std::fmt;
use std::net::IpAddr;

use crate::message::shorten;
use crate::policy::diagnostic::Code;
use crate::policy::syntax::{Form, Key, Kind};
use crate::policy::value::{Problem, Word, nearest, parse_host, parse_word, quoted_list};
use crate::verdict::{Action, Reason};

/// The verdict that a packet is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Expected {
    /// The action.
    pub action: Action,
    /// The reason, where the file gives one.
    pub reason: Option<Reason>,
}

impl fmt::Display for Expected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.action.name())?;
        match self.reason {
            Some(reason) => write!(out, " {reason}"),
            None => Ok(()),
        }
    }
}

/// The answer that a client is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedAnswer {
    /// Records of the policy: these, as zone files write their data, or any where there are none.
    Resolves(Vec<String>),
    /// There is no such name.
    Hidden,
    /// The name is the policy's, and has no record of the type.
    NoData,
    /// Whatever the upstream says.
    Forwarded,
}

impl fmt::Display for ExpectedAnswer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolves(data) if data.is_empty() => out.write_str(RESOLVES),
            Self::Resolves(data) => write!(out, "{RESOLVES} {}", data.join(", ")),
            Self::Hidden => out.write_str(HIDDEN),
            Self::NoData => out.write_str(NO_DATA),
            Self::Forwarded => out.write_str(FORWARDED),
        }
    }
}

/// A type that clients look services up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LookupType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Service locations (RFC 2782).
    Srv,
    /// Hints for HTTPS, which may have addresses (RFC 9460).
    Https,
}

impl LookupType {
    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => 33,
            Self::Https => 65,
        }
    }
}

impl Word for LookupType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("A", Self::A),
        ("AAAA", Self::Aaaa),
        ("SRV", Self::Srv),
        ("HTTPS", Self::Https),
    ];
}

pub(super) const EXPECT: Key = Key::new("expect", Kind::Text(Form::Outcome))
    .required()
    .example("\"drop media\"")
    .means("Expected outcome")
    .since("0.1");

/// Reads `forward` or `drop`, optionally followed by a reason.
pub(super) fn parse_expected(text: &str) -> Result<Expected, Problem> {
    let (action_text, reason_text) = match text.trim().split_once(char::is_whitespace) {
        Some((action, reason)) => (action, Some(reason.trim())),
        None => (text.trim(), None),
    };
    let actions = Action::ALL.map(|action| (action.name(), action));
    let action = parse_word(EXPECT.name, action_text, &actions).map_err(|problem| {
        let of_names = [RESOLVES, HIDDEN, FORWARDED, NO_DATA];
        if of_names.iter().any(|word| text.trim().starts_with(word)) {
            return problem
                .help("a test of a name has `lookup` in place of `from`, `to` and `protocol`");
        }
        problem.help("a reason may follow, e.g. \"drop media\"")
    })?;
    let Some(reason_text) = reason_text else {
        return Ok(Expected {
            action,
            reason: None,
        });
    };
    let mut reasons = Reason::of_action(action);
    if let Some(reason) = reasons.find(|reason| reason.name() == reason_text) {
        return Ok(Expected {
            action,
            reason: Some(reason),
        });
    }
    let possible: Vec<_> = Reason::of_action(action).map(Reason::name).collect();
    let reason = shorten(reason_text);
    let done = match action {
        Action::Forward => "forwarded",
        Action::Drop => "dropped",
    };
    let problem = Problem::new(
        Code::UnknownValue,
        match nearest(reason_text, &possible) {
            Some(meant) => {
                format!("no packet is {done} for the reason `{reason}`; did you mean `{meant}`?")
            }
            None => format!("no packet is {done} for the reason `{reason}`"),
        },
    );
    Err(problem.help(format!(
        "the reasons to {action_text} are {}",
        quoted_list(&possible)
    )))
}

/// Reads what clients get for a name: a word, and behind `resolves` the data, one after the other with commas.
pub(super) fn parse_answer(text: &str, record_type: LookupType) -> Result<ExpectedAnswer, Problem> {
    let words = [
        (RESOLVES, ExpectedWord::Resolves),
        (HIDDEN, ExpectedWord::Hidden),
        (NO_DATA, ExpectedWord::NoData),
        (FORWARDED, ExpectedWord::Forwarded),
    ];
    let text = text.trim();
    let (word, data) = match text.split_once(char::is_whitespace) {
        Some((RESOLVES, data)) => (RESOLVES, Some(data)),
        Some(_) | None => (text, None),
    };
    let word = parse_word(EXPECT.name, word, &words)
        .map_err(|problem| problem.help("data may follow, e.g. \"resolves 167.55.49.32\""))?;
    let data = data.into_iter().flat_map(|data| data.split(','));
    let data = data.map(|entry| parse_data(entry.trim(), record_type));
    let data = data.collect::<Result<Vec<_>, _>>()?;
    Ok(match word {
        ExpectedWord::Resolves => ExpectedAnswer::Resolves(data),
        ExpectedWord::Hidden => ExpectedAnswer::Hidden,
        ExpectedWord::NoData => ExpectedAnswer::NoData,
        ExpectedWord::Forwarded => ExpectedAnswer::Forwarded,
    })
}

#[derive(Debug, Clone, Copy)]
enum ExpectedWord {
    Resolves,
    Hidden,
    NoData,
    Forwarded,
}

/// Reads the data of a record, as a policy's own answers write it.
fn parse_data(text: &str, record_type: LookupType) -> Result<String, Problem> {
    let bad = |help: &str| {
        let message = format!(
            "`{}` is no data of type {}",
            shorten(text),
            record_type.word()
        );
        Err(Problem::new(Code::UnknownValue, message).help(help))
    };
    match (record_type, text.parse::<IpAddr>()) {
        (LookupType::A, Ok(address @ IpAddr::V4(_)))
        | (LookupType::Aaaa, Ok(address @ IpAddr::V6(_))) => Ok(address.to_string()),
        (LookupType::A, _) => bad("write IPv4 addresses, e.g. \"resolves 167.55.49.32\""),
        (LookupType::Aaaa, _) => bad("write IPv6 addresses, e.g. \"resolves 2001:db8::32\""),
        (LookupType::Srv, _) => {
            let fields: Vec<&str> = text.split_whitespace().collect();
            let example = "write priority, weight, port and target, e.g. \"resolves 0 0 443 sip.contoso.com\"";
            match fields[..] {
                [priority, weight, port, target]
                    if [priority, weight, port]
                        .iter()
                        .all(|it| it.parse::<u16>().is_ok()) =>
                {
                    Ok(format!(
                        "{priority} {weight} {port} {}",
                        parse_host(target)?
                    ))
                }
                _ => bad(example),
            }
        }
        (LookupType::Https, _) => {
            bad("no name of a policy has such records: write \"no data\" or \"hidden\"")
        }
    }
}

/// Reads a side of the tunnel: `true` for the inside.
pub(super) fn parse_side(text: &str) -> Result<bool, Problem> {
    parse_word(EXPECT.name, text, SIDES)
}

/// Returns `true` if `text` begins as the outcome of a route does.
pub(super) fn begins_as_side(text: &str) -> bool {
    let first = text.split_whitespace().next();
    first.is_some_and(|word| SIDES.iter().any(|(side, _)| *side == word))
}

/// Words of `expect` in a test of a route; `true` for the one that means the tunnel.
const SIDES: &[(&str, bool)] = &[
    (OUTSIDE, false),
    (INSIDE, true),
    ("outside", false),
    ("inside", true),
];
pub(super) const OUTSIDE: &str = "outside the tunnel";
pub(super) const INSIDE: &str = "inside the tunnel";
const RESOLVES: &str = "resolves";
const HIDDEN: &str = "hidden";
const NO_DATA: &str = "no data";
const FORWARDED: &str = "forwarded";
