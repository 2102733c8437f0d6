//! `[[test]]`: what must hold before a policy is taken.
//!
//! A test is of a packet, of a name or of a route; [`SECTION`] has an example of each.

mod outcome;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub use outcome::{Expected, ExpectedAnswer, LookupType};

use crate::packet::media::Payload;
use crate::policy::diagnostic::{Code, Collector};
use crate::policy::syntax::write::{header, pair};
use crate::policy::syntax::{Form, Header, Key, Kind, Names, PolicyFile, Section, SectionTable};
use crate::policy::value::{
    Problem, Protocol, Sourced, Word, parse_address, parse_endpoint, parse_host, parse_service,
};
use outcome::{EXPECT, INSIDE, OUTSIDE, begins_as_side, parse_answer, parse_expected, parse_side};

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
        /// Its payload: counts where `media.match` asks for evidence.
        payload: Payload,
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

/// The protocol of a packet: `None` is ICMP.
impl Word for Option<Protocol> {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("tcp", Some(Protocol::Tcp)),
        ("udp", Some(Protocol::Udp)),
        ("icmp", None),
    ];
}

impl Word for Payload {
    const WORDS: &'static [(&'static str, Self)] = Self::WORDS;
}

const NAME: Key = Key::new("name", Kind::Text(Form::Name))
    .required()
    .example("\"media to the office is dropped\"")
    .means("The claim in your words, for reports; no two tests share one")
    .since("0.1");

const FROM: Key = Key::new("from", Kind::Text(Form::Endpoint))
    .otherwise("required in a test of a packet")
    .example("\"172.16.1.10:50000\"")
    .means("Source of the packet")
    .since("0.1");

const TO: Key = Key::new("to", Kind::Text(Form::Endpoint))
    .otherwise("required in a test of a packet or a route")
    .example("\"10.1.0.10:50000\"")
    .means("Destination of the packet; the address, without a port, that the route leads to")
    .since("0.1");

const PROTOCOL: Key = Key::new("protocol", Kind::word::<Option<Protocol>>())
    .otherwise("required in a test of a packet")
    .example("\"udp\"")
    .means("Protocol of the packet; ICMP goes without ports")
    .since("0.1");

const PAYLOAD: Key = Key::new("payload", Kind::word::<Payload>())
    .otherwise("`\"other\"` in a test of a packet")
    .example("\"stun-check\"")
    .means(
        "Payload of the packet, for a `media.match` that asks for evidence: a connectivity check of any ICE client or of \
         Microsoft's, a DTLS handshake for SRTP, RTP, or none of these",
    )
    .since("0.1");

const LOOKUP: Key = Key::new("lookup", Kind::Text(Form::Lookup))
    .otherwise("required in a test of a name")
    .example("\"sip.contoso.com\"")
    .means("Name that clients ask for")
    .since("0.1");

const TYPE: Key = Key::new("type", Kind::word::<LookupType>())
    .otherwise("`\"A\"` in a test of a name")
    .example("\"SRV\"")
    .means("Type of the records that they ask for")
    .since("0.1");

pub(in crate::policy) const SECTION: SectionTable = SectionTable {
    name: "test",
    header: Header::Repeated,
    meaning: "A claim that must hold before the policy is taken: `check`, `run` and each reload refuse a policy whose tests \
              fail. A test is of a packet (`from`, `to`, `protocol`), of a name (`lookup`, `type`) or of a route (`to` alone).",
    keys: &[NAME, FROM, TO, PROTOCOL, PAYLOAD, LOOKUP, TYPE, EXPECT],
    examples: &[PACKET_TEST, NAME_TEST, HIDDEN_TEST, ROUTE_TEST],
};

const PACKET_TEST: &str = "\
name = \"media to an office PC leaves the tunnel\"
from = \"172.16.1.10:50000\"
to = \"10.20.0.7:50020\"
protocol = \"udp\"
expect = \"drop media\"
";

const NAME_TEST: &str = "\
name = \"the Access Edge is found outside\"
lookup = \"sip.contoso.com\"
expect = \"resolves 167.55.49.32\"
";

const HIDDEN_TEST: &str = "\
name = \"the internal servers are not found\"
lookup = \"_sipinternaltls._tcp.contoso.com\"
type = \"SRV\"
expect = \"hidden\"
";

const ROUTE_TEST: &str = "\
name = \"the relay is reached outside the tunnel\"
to = \"167.55.49.34\"
expect = \"outside the tunnel\"
";

/// Reads every `[[test]]`.
pub(in crate::policy) fn read(file: &PolicyFile<'_>, out: &mut Collector<'_>) -> Vec<Expectation> {
    let mut names = Names::default();
    let mut tests = Vec::new();
    for section in Section::repeated(file, &SECTION, out) {
        let name = names.read(&section, &NAME, out);
        let claim = if section.has(&LOOKUP) {
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
        &[TYPE],
        "a packet: what is looked up is `lookup`",
        out,
    );
    let from = section.string(&FROM.required(), parse_endpoint, out);
    let to = section.string(&TO.required(), parse_endpoint, out);
    let protocol = section.word(&PROTOCOL.required(), out);
    let payload = if section.has(&PAYLOAD) {
        section.word(&PAYLOAD, out).map(|it| it.value)
    } else {
        Some(Payload::default())
    };
    let expect = section.string(&EXPECT, parse_expected, out);
    let (from, to, protocol, expect) = (from?.value, to?.value, protocol?.value, expect?);
    let payload = payload?;
    check_packet(section, from, to, protocol, out);
    Some(expect.map(|expect| Claim::Packet {
        from: socket(from),
        to: socket(to),
        protocol,
        payload,
        expect,
    }))
}

fn read_name_test(section: &Section<'_, '_>, out: &mut Collector<'_>) -> Option<Sourced<Claim>> {
    let about = "a name, which has `lookup`, `type` and `expect` alone";
    refuse_keys(section, &[FROM, TO, PROTOCOL, PAYLOAD], about, out);
    let lookup = section.string(&LOOKUP, parse_lookup, out);
    let record_type = if section.has(&TYPE) {
        section.word(&TYPE, out).map(|it| it.value)
    } else {
        Some(LookupType::A)
    };
    let parse = |text: &str| parse_answer(text, record_type.unwrap_or(LookupType::A));
    let expect = section.string(&EXPECT.example("\"resolves\""), parse, out);
    let (lookup, record_type) = (lookup?.value, record_type?);
    Some(expect?.map(|expect| Claim::Name {
        lookup,
        record_type,
        expect,
    }))
}

fn read_route_test(section: &Section<'_, '_>, out: &mut Collector<'_>) -> Option<Sourced<Claim>> {
    let about = "a route, which has `to` and `expect` alone";
    refuse_keys(section, &[FROM, PROTOCOL, PAYLOAD, TYPE], about, out);
    let to = TO.required().example("\"167.55.49.34\"");
    let to = section.string(&to, parse_address, out);
    let inside = section.string(&EXPECT, parse_side, out);
    let to = to?.value;
    Some(inside?.map(|inside| Claim::Route { to, inside }))
}

/// Returns `true` if `expect` begins as that of a route does.
fn is_route_test(section: &Section<'_, '_>) -> bool {
    let text = section
        .value(&EXPECT)
        .and_then(|value| value.get_ref().as_str());
    text.is_some_and(begins_as_side)
}

/// Reports each of `keys` that is there: the test is about something else.
fn refuse_keys(section: &Section<'_, '_>, keys: &[Key], about: &str, out: &mut Collector<'_>) {
    for key in keys {
        if section.has(key) {
            let message = format!("`{}` stands in a test of {about}", key.name);
            out.error(section.span_of(key), "", Code::ImpossibleTest, message);
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

fn check_packet(
    section: &Section<'_, '_>,
    from: (IpAddr, Option<u16>),
    to: (IpAddr, Option<u16>),
    protocol: Option<Protocol>,
    out: &mut Collector<'_>,
) {
    if from.0.is_ipv4() != to.0.is_ipv4() {
        let message = format!(
            "no packet goes from {} to {}: one is IPv4, the other IPv6",
            from.0, to.0
        );
        out.error(section.span_of(&TO), "", Code::ImpossibleTest, message);
    }
    for (key, port) in [(FROM, from.1), (TO, to.1)] {
        if let (None, Some(port)) = (protocol, port) {
            let message = format!("ICMP has no ports; `{}` names port {port}", key.name);
            out.error(section.span_of(&key), "", Code::ImpossibleTest, message);
        }
    }
}

impl Expectation {
    /// Writes the section.
    pub(in crate::policy) fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        header(out, &SECTION)?;
        pair(out, &NAME, &self.name.value)?;
        match &self.claim {
            Claim::Packet {
                from,
                to,
                protocol,
                payload,
                ..
            } => {
                pair(out, &FROM, host_and_port(*from))?;
                pair(out, &TO, host_and_port(*to))?;
                pair(out, &PROTOCOL, protocol.word())?;
                pair(out, &PAYLOAD, payload.word())?;
            }
            Claim::Name {
                lookup,
                record_type,
                ..
            } => {
                pair(out, &LOOKUP, lookup)?;
                pair(out, &TYPE, record_type.word())?;
            }
            Claim::Route { to, .. } => pair(out, &TO, to)?,
        }
        pair(out, &EXPECT, self.claim.expected())
    }
}

/// The address alone where the port does not matter.
fn host_and_port(address: SocketAddr) -> String {
    match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    }
}
