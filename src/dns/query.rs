//! [`Query`]: a client's question, or the reason to refuse it.

use super::wire::{HEADER, Header, Malformed, Records, flag, number, read_name};
use super::{DnsName, ResponseCode};

/// A message as the server classifies it, from a datagram or a connection.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, on the stack, and a question is what it mostly is"
)]
pub enum Incoming<'m> {
    /// No answer is allowed: the message is too short, or it is a response (two servers could answer each other for
    /// ever).
    Silence,
    /// Answered with this code alone.
    Refuse(Refusal<'m>),
    /// A question.
    Ask(Query<'m>),
}

/// The parts of a message that the refusal of it repeats.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'m> {
    /// The code to refuse it with.
    pub code: ResponseCode,
    pub(super) header: Header,
    /// The question, if there is one.
    pub(super) question: &'m [u8],
    pub(super) edns: Option<Edns>,
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub struct Query<'m> {
    pub(super) header: Header,
    /// The question as it was sent; the answer repeats it byte for byte.
    pub(super) question: &'m [u8],
    /// The name asked for.
    pub name: DnsName,
    /// The type asked for.
    pub record_type: u16,
    pub(super) edns: Option<Edns>,
}

/// The client's EDNS data (RFC 6891 §6.1.2). Its options apply only between the client and this server, and are
/// ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edns {
    /// Maximum size of a datagram to the client, in bytes.
    pub(super) payload: u16,
    /// The client asks for signatures (RFC 3225).
    pub(super) dnssec_ok: bool,
}

/// The key of an answer in the cache: the name in lower case, the type, and the flags passed to upstreams.
pub type Key = [u8];

impl<'m> Incoming<'m> {
    /// Reads `message`.
    pub fn read(message: &'m [u8]) -> Self {
        let Some(header) = Header::read(message) else {
            return Self::Silence;
        };
        if header.flags & flag::QR != 0 {
            return Self::Silence;
        }
        let mut refusal = Refusal {
            code: ResponseCode::FormErr,
            header,
            question: &[],
            edns: None,
        };
        if header.flags & flag::OPCODE != 0 {
            refusal.code = ResponseCode::NotImp;
            return Self::Refuse(refusal);
        }
        let [questions, answers, authorities, _] = header.counts;
        // RFC 9619: exactly one question.
        if questions != 1 {
            return Self::Refuse(refusal);
        }
        let Some((name, end)) = read_name(message, HEADER) else {
            return Self::Refuse(refusal);
        };
        let Some(&[t0, t1, c0, c1]) = message.get(end..).and_then(<[u8]>::first_chunk) else {
            return Self::Refuse(refusal);
        };
        // A pointer could only lead into the header; the encoded length equals that of the name only if there is no
        // pointer.
        if end - HEADER != name.wire().len() {
            return Self::Refuse(refusal);
        }
        let record_type = u16::from_be_bytes([t0, t1]);
        let class = u16::from_be_bytes([c0, c1]);
        let behind = end + 4;
        refusal.question = &message[HEADER..behind];
        match read_edns(message, header, behind) {
            Ok(edns) => refusal.edns = edns,
            Err(BadEdns::Version(edns)) => {
                refusal.code = ResponseCode::BadVers;
                refusal.edns = Some(edns);
                return Self::Refuse(refusal);
            }
            Err(BadEdns::Malformed) => return Self::Refuse(refusal),
        }
        // Zone transfers are refused, and so is every class but the Internet's.
        let is_way_of_asking = (number::FIRST_META..number::ANY).contains(&record_type);
        let is_asked = !is_way_of_asking && record_type != number::OPT;
        if !is_asked || class != number::IN {
            refusal.code = ResponseCode::Refused;
            return Self::Refuse(refusal);
        }
        if answers != 0 || authorities != 0 {
            return Self::Refuse(refusal);
        }
        Self::Ask(Query {
            header,
            question: refusal.question,
            name,
            record_type,
            edns: refusal.edns,
        })
    }
}

impl<'m> Query<'m> {
    /// Returns a refusal of the same question.
    pub const fn refuse(self, code: ResponseCode) -> Refusal<'m> {
        Refusal {
            code,
            header: self.header,
            question: self.question,
            edns: self.edns,
        }
    }

    /// Writes the key into `buffer` and returns the part used.
    pub fn key<'b>(&self, buffer: &'b mut [u8; MAX_KEY]) -> &'b Key {
        let name = self.name.wire();
        let [t0, t1] = self.record_type.to_be_bytes();
        let [b0, b1] = self.upstream_bits().to_be_bytes();
        let dnssec = u8::from(self.wants_dnssec());
        let end = name.len() + 5;
        buffer[..name.len()].copy_from_slice(name);
        buffer[name.len()..end].copy_from_slice(&[t0, t1, b0, b1, dnssec]);
        &buffer[..end]
    }

    /// Returns the flags passed to an upstream.
    pub(super) const fn upstream_bits(&self) -> u16 {
        self.header.flags & (flag::RD | flag::AD | flag::CD)
    }

    /// Returns `true` if the client asks for signatures.
    pub(super) fn wants_dnssec(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// Returns the maximum size of an answer in a datagram, in bytes.
    pub fn datagram_limit(&self) -> usize {
        datagram_limit(self.edns)
    }
}

/// Returns the name and type that `message` asks for, if they can be read.
pub fn asked_for(message: &[u8]) -> Option<(DnsName, u16)> {
    let [questions, ..] = Header::read(message)?.counts;
    let (name, end) = read_name(message, HEADER).filter(|_| questions > 0)?;
    let record_type = message.get(end..)?.first_chunk()?;
    Some((name, u16::from_be_bytes(*record_type)))
}

/// Returns the size limit of RFC 1035 §4.2.1 and RFC 6891 §6.2.5, reduced to a size that crosses any path without
/// fragmentation.
pub(super) fn datagram_limit(edns: Option<Edns>) -> usize {
    edns.map_or(MIN_PAYLOAD, |edns| {
        usize::from(edns.payload).clamp(MIN_PAYLOAD, PAYLOAD)
    })
}

enum BadEdns {
    Malformed,
    Version(Edns),
}

/// Reads the EDNS data from the records behind the question; they must end the message.
fn read_edns(message: &[u8], header: Header, at: usize) -> Result<Option<Edns>, BadEdns> {
    let mut records = Records::new(message, header, at);
    let mut found = None;
    for record in records.by_ref() {
        let record = record.map_err(|Malformed| BadEdns::Malformed)?;
        if record.record_type != number::OPT {
            continue;
        }
        if found.is_some() || record.owner != DnsName::ROOT {
            return Err(BadEdns::Malformed);
        }
        // RFC 6891 §6.1.3: the TTL holds code, version, DO and zeros.
        let raw = message.get(record.ttl_at..).and_then(<[u8]>::first_chunk);
        let &[_, version, bits, _] = raw.ok_or(BadEdns::Malformed)?;
        let edns = Edns {
            payload: record.class,
            dnssec_ok: bits & 0x80 != 0,
        };
        found = Some((version, edns));
    }
    if records.position() != message.len() {
        return Err(BadEdns::Malformed);
    }
    match found {
        Some((0, edns)) => Ok(Some(edns)),
        Some((_, edns)) => Err(BadEdns::Version(edns)),
        None => Ok(None),
    }
}

/// Maximum length of a [`Key`] in bytes: a name, and five.
pub const MAX_KEY: usize = 255 + 5;
/// Datagram size that every client accepts, in bytes.
const MIN_PAYLOAD: usize = 512;
/// Size in bytes that crosses any path without fragmentation (DNS flag day 2020: 1232 behind IPv6's minimum MTU).
pub(super) const PAYLOAD: usize = 1_232;
