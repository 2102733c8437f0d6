//! `[[test]]`: what must hold before a policy is taken.
//!
//! ```toml
//! [[test]]                              # a packet and its verdict
//! name = "media to an office PC leaves the tunnel"
//! from = "172.16.1.10:50000"
//! to = "10.20.0.7:50020"
//! protocol = "udp"                      # or "tcp", "icmp"
//! expect = "drop media"                 # "forward" or "drop"; a reason may follow
//!
//! [[test]]                              # a name and what clients get for it
//! name = "the Access Edge is found outside"
//! lookup = "sip.contoso.com"
//! type = "A"                            # default; or "AAAA", "SRV", "HTTPS"
//! expect = "resolves 167.55.49.32"      # data is optional; or "hidden", "no data", "forwarded"
//!
//! [[test]]                              # an address and the side of the tunnel that it lies on
//! name = "the relay is reached outside the tunnel"
//! to = "167.55.49.34"
//! expect = "outside the tunnel"         # or "inside the tunnel"
//! ```

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::message::shorten;
use crate::policy::diagnostic::{Code, Collector};
use crate::policy::meaning::{Protocol, Sourced};
use crate::policy::print::pair;
use crate::policy::read::repeated;
use crate::policy::rules::Names;
use crate::policy::syntax::file::PolicyFile;
use crate::policy::syntax::section::{Section, parse_word};
use crate::policy::value::{Problem, nearest, quoted_list};
use crate::policy::value::{parse_address, parse_endpoint};
use crate::policy::value::{parse_host, parse_service};
use crate::verdict::{Action, Reason};

/// `[[test]]`: what must hold before the policy is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The operator's name for it.
    pub name: Sourced<String>,
    /// The claim that must hold.
    pub claim: Claim,
    /// Line of `expect`.
    pub line: u32,
}

/// The claim that must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// A packet gets a verdict.
    Packet {
        /// Source address, and port where it matters (0 otherwise).
        from: SocketAddr,
        /// Destination address, and port where it matters (0 otherwise).
        to: SocketAddr,
        /// IP protocol: `None` is ICMP.
        protocol: Option<Protocol>,
        /// The verdict.
        expect: Expected,
    },
    /// Clients get an answer for a name.
    Name {
        /// The name, in lower case.
        lookup: String,
        /// The type asked for.
        record_type: LookupType,
        /// The answer.
        expect: ExpectedAnswer,
    },
    /// An address lies on one side of the tunnel.
    Route {
        /// The address.
        to: IpAddr,
        /// True if it is reached through the tunnel.
        inside: bool,
    },
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

    fn word(self) -> &'static str {
        let known = TYPES.iter().find(|(_, known)| *known == self);
        known.map_or("", |(word, _)| word)
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

impl Claim {
    /// The expected outcome, as the file writes it.
    pub fn expected(&self) -> String {
        match self {
            Self::Packet { expect, .. } => expect.to_string(),
            Self::Name { expect, .. } => expect.to_string(),
            Self::Route { inside: true, .. } => INSIDE.to_owned(),
            Self::Route { inside: false, .. } => OUTSIDE.to_owned(),
        }
    }
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

/// Reads every `[[test]]`.
pub(in crate::policy) fn read_tests(
    file: &PolicyFile<'_>,
    out: &mut Collector<'_>,
) -> Vec<Expectation> {
    let mut names = Names::default();
    let mut tests = Vec::new();
    for section in repeated(file, "test", KEYS, out) {
        let name = names.read(&section, "\"media to the office is dropped\"", out);
        let claim = if section.value("lookup").is_some() {
            read_name_test(&section, out)
        } else if is_route_test(&section) {
            read_route_test(&section, out)
        } else {
            read_packet_test(&section, out)
        };
        if let (Some(name), Some(Sourced { value: claim, line })) = (name, claim) {
            tests.push(Expectation { name, claim, line });
        }
    }
    tests
}

fn read_packet_test(section: &Section<'_, '_>, out: &mut Collector<'_>) -> Option<Sourced<Claim>> {
    refuse_keys(
        section,
        &["type"],
        "a packet: what is looked up is `lookup`",
        out,
    );
    let from = section.required("from", "\"172.16.1.10:50000\"", parse_endpoint, out);
    let to = section.required("to", "\"10.1.0.10:50000\"", parse_endpoint, out);
    let parse = |text: &str| parse_word("protocol", text, PROTOCOLS);
    let protocol = section.required("protocol", "\"udp\"", parse, out);
    let expect = section.required("expect", "\"drop media\"", parse_expected, out);
    let (from, to, protocol, expect) = (from?.value, to?.value, protocol?.value, expect?);
    check_packet(section, from, to, protocol, out);
    Some(expect.map(|expect| Claim::Packet {
        from: socket(from),
        to: socket(to),
        protocol,
        expect,
    }))
}

fn read_name_test(section: &Section<'_, '_>, out: &mut Collector<'_>) -> Option<Sourced<Claim>> {
    let about = "a name, which has `lookup`, `type` and `expect` alone";
    refuse_keys(section, &["from", "to", "protocol"], about, out);
    let lookup = section.required("lookup", "\"sip.contoso.com\"", parse_lookup, out);
    let parse = |text: &str| parse_word("type", text, TYPES);
    let record_type = match section.value("type") {
        Some(_) => section.string("type", parse, out).map(|it| it.value),
        None => Some(LookupType::A),
    };
    let parse = |text: &str| parse_answer(text, record_type.unwrap_or(LookupType::A));
    let expect = section.required("expect", "\"resolves\"", parse, out);
    let (lookup, record_type) = (lookup?.value, record_type?);
    Some(expect?.map(|expect| Claim::Name {
        lookup,
        record_type,
        expect,
    }))
}

fn read_route_test(section: &Section<'_, '_>, out: &mut Collector<'_>) -> Option<Sourced<Claim>> {
    let about = "a route, which has `to` and `expect` alone";
    refuse_keys(section, &["from", "protocol", "type"], about, out);
    let to = section.required("to", "\"167.55.49.34\"", parse_address, out);
    let parse = |text: &str| parse_word("expect", text, SIDES);
    let inside = section.required("expect", "\"outside the tunnel\"", parse, out);
    let to = to?.value;
    Some(inside?.map(|inside| Claim::Route { to, inside }))
}

/// Returns `true` if `expect` begins as that of a route does.
fn is_route_test(section: &Section<'_, '_>) -> bool {
    let text = section
        .value("expect")
        .and_then(|value| value.get_ref().as_str());
    let first = text.and_then(|text| text.split_whitespace().next());
    first.is_some_and(|word| SIDES.iter().any(|(side, _)| *side == word))
}

/// Reports each of `keys` that is there: the test is about something else.
fn refuse_keys(section: &Section<'_, '_>, keys: &[&str], about: &str, out: &mut Collector<'_>) {
    for key in keys {
        if let Some(value) = section.value(key) {
            let message = format!("`{key}` stands in a test of {about}");
            out.error(value.span(), "", Code::ImpossibleTest, message);
        }
    }
}

fn socket((address, port): (IpAddr, Option<u16>)) -> SocketAddr {
    SocketAddr::new(address, port.unwrap_or(0))
}

/// Reads a name that clients look up: of a host, or of a service.
fn parse_lookup(text: &str) -> Result<String, Problem> {
    if text.starts_with('_') {
        parse_service(text)
    } else {
        parse_host(text)
    }
}

/// Reads what clients get for a name: a word, and behind `resolves` the data, one after the other with commas.
fn parse_answer(text: &str, record_type: LookupType) -> Result<ExpectedAnswer, Problem> {
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
    let word = parse_word("expect", word, &words)
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

fn check_packet(
    section: &Section<'_, '_>,
    from: (IpAddr, Option<u16>),
    to: (IpAddr, Option<u16>),
    protocol: Option<Protocol>,
    out: &mut Collector<'_>,
) {
    let span = |key: &str| section.value(key).map_or(0..0, toml::Spanned::span);
    if from.0.is_ipv4() != to.0.is_ipv4() {
        let message = format!(
            "no packet goes from {} to {}: one is IPv4, the other IPv6",
            from.0, to.0
        );
        out.error(span("to"), "", Code::ImpossibleTest, message);
    }
    for (key, port) in [("from", from.1), ("to", to.1)] {
        if let (None, Some(port)) = (protocol, port) {
            let message = format!("ICMP has no ports; `{key}` names port {port}");
            out.error(span(key), "", Code::ImpossibleTest, message);
        }
    }
}

/// Reads `forward` or `drop`, optionally followed by a reason.
fn parse_expected(text: &str) -> Result<Expected, Problem> {
    let (action_text, reason_text) = match text.trim().split_once(char::is_whitespace) {
        Some((action, reason)) => (action, Some(reason.trim())),
        None => (text.trim(), None),
    };
    let actions = Action::ALL.map(|action| (action.name(), action));
    let action = parse_word("expect", action_text, &actions).map_err(|problem| {
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

/// Writes a test as TOML.
pub(in crate::policy) fn write_test(
    out: &mut fmt::Formatter<'_>,
    test: &Expectation,
) -> fmt::Result {
    writeln!(out, "\n[[test]]")?;
    pair(out, "name", &test.name.value)?;
    match &test.claim {
        Claim::Packet {
            from, to, protocol, ..
        } => {
            pair(out, "from", host_and_port(*from))?;
            pair(out, "to", host_and_port(*to))?;
            let protocol = PROTOCOLS.iter().find(|(_, known)| known == protocol);
            pair(out, "protocol", protocol.map_or("icmp", |(word, _)| word))?;
        }
        Claim::Name {
            lookup,
            record_type,
            ..
        } => {
            pair(out, "lookup", lookup)?;
            pair(out, "type", record_type.word())?;
        }
        Claim::Route { to, .. } => pair(out, "to", to)?,
    }
    pair(out, "expect", test.claim.expected())
}

/// The address alone where the port does not matter.
fn host_and_port(address: SocketAddr) -> String {
    match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    }
}

const KEYS: &[&str] = &["name", "from", "to", "protocol", "lookup", "type", "expect"];
const PROTOCOLS: &[(&str, Option<Protocol>)] = &[
    ("tcp", Some(Protocol::Tcp)),
    ("udp", Some(Protocol::Udp)),
    ("icmp", None),
];
const TYPES: &[(&str, LookupType)] = &[
    ("A", LookupType::A),
    ("AAAA", LookupType::Aaaa),
    ("SRV", LookupType::Srv),
    ("HTTPS", LookupType::Https),
];
/// Words of `expect` in a test of a route; `true` for the one that means the tunnel.
const SIDES: &[(&str, bool)] = &[
    (OUTSIDE, false),
    (INSIDE, true),
    ("outside", false),
    ("inside", true),
];
const OUTSIDE: &str = "outside the tunnel";
const INSIDE: &str = "inside the tunnel";
const RESOLVES: &str = "resolves";
const HIDDEN: &str = "hidden";
const NO_DATA: &str = "no data";
const FORWARDED: &str = "forwarded";
