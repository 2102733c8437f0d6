//! [`Upstream`]: a question as forwarded to an upstream, and the classification of replies.

use super::DnsName;
use super::query::{PAYLOAD, Query};
use super::wire::{HEADER, Header, Malformed, Records, flag, number, read_name};

/// A question as forwarded: with an id of its own, the name in lower case, and none of the client's options.
///
/// EDNS options apply between two hops (RFC 6891 §6.1.1): clients' cookies mean nothing to an upstream, and their
/// location is not disclosed to it (RFC 7871 §11.1).
#[derive(Debug, Clone, Copy)]
pub struct Upstream {
    pub(super) name: DnsName,
    pub(super) record_type: u16,
    bits: u16,
    dnssec_ok: bool,
}

/// The classification of a message from an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamReply {
    /// Not the answer: a different id or question, as in spoofing attempts. The real answer may still come.
    Unrelated,
    /// A truncated answer: ask again over TCP.
    Truncated,
    /// The server does not support EDNS: ask again without it.
    WithoutEdns,
    /// The upstream failed: another may answer.
    Failed,
    /// The answer.
    Answer,
}

impl Upstream {
    /// Builds the upstream request for `query`.
    pub fn of(query: &Query<'_>) -> Self {
        Self {
            name: query.name,
            record_type: query.record_type,
            bits: query.upstream_bits(),
            dnssec_ok: query.wants_dnssec(),
        }
    }

    /// Appends the message to `out`.
    pub fn write(&self, out: &mut Vec<u8>, id: u16, edns: EdnsUse) {
        let header = Header {
            id,
            flags: self.bits,
            counts: [1, 0, 0, u16::from(edns == EdnsUse::With)],
        };
        header.write(out);
        out.extend_from_slice(self.name.wire());
        out.extend_from_slice(&self.record_type.to_be_bytes());
        out.extend_from_slice(&number::IN.to_be_bytes());
        if edns == EdnsUse::With {
            out.push(0);
            out.extend_from_slice(&number::OPT.to_be_bytes());
            out.extend_from_slice(&(PAYLOAD as u16).to_be_bytes());
            out.extend_from_slice(&[0, 0, if self.dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
        }
    }

    /// Classifies `message` as a reply to the question that was sent with this `id`.
    pub fn classify(&self, id: u16, message: &[u8]) -> UpstreamReply {
        let Some(header) = Header::read(message) else {
            return UpstreamReply::Unrelated;
        };
        if header.id != id || header.flags & (flag::QR | flag::OPCODE) != flag::QR {
            return UpstreamReply::Unrelated;
        }
        let code = header.flags & flag::RCODE;
        // Only servers without EDNS support may omit the question.
        let is_error = code == FORMERR || code == NOTIMP;
        if header.counts[0] == 0 && is_error {
            return UpstreamReply::WithoutEdns;
        }
        let Some(behind) = self.behind_question(message) else {
            return UpstreamReply::Unrelated;
        };
        if header.counts[0] != 1 {
            return UpstreamReply::Unrelated;
        }
        if is_error {
            return UpstreamReply::WithoutEdns;
        }
        if header.flags & flag::TC != 0 {
            return UpstreamReply::Truncated;
        }
        if code != NOERROR && code != NXDOMAIN {
            return UpstreamReply::Failed;
        }
        let says_nothing = code == NOERROR && header.counts[1] == 0;
        let is_asked_to_recurse = self.bits & flag::RD != 0;
        if says_nothing && is_asked_to_recurse && header.flags & (flag::RA | flag::AA) == 0 {
            // A lame server: it has no answer and does not recurse.
            return UpstreamReply::Failed;
        }
        for record in Records::new(message, header, behind) {
            match record {
                // RFC 6891 §6.1.3: the higher bits of the code, for errors defined with EDNS.
                Ok(record) if record.record_type == number::OPT => {
                    if message.get(record.ttl_at) != Some(&0) {
                        return UpstreamReply::WithoutEdns;
                    }
                }
                Ok(_) => {}
                Err(Malformed) => return UpstreamReply::Failed,
            }
        }
        UpstreamReply::Answer
    }

    /// Returns the offset of the records of `message`, if it has this question.
    pub(super) fn behind_question(&self, message: &[u8]) -> Option<usize> {
        let (name, end) = read_name(message, HEADER)?;
        let rest = message.get(end..)?.first_chunk::<4>()?;
        let [t0, t1, c0, c1] = *rest;
        let is_same = name == self.name
            && end - HEADER == name.wire().len()
            && u16::from_be_bytes([t0, t1]) == self.record_type
            && u16::from_be_bytes([c0, c1]) == number::IN;
        is_same.then_some(end + 4)
    }
}

/// The use of an OPT record in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdnsUse {
    /// With an OPT record, as servers have expected for twenty years.
    With,
    /// Without one, for older servers.
    Without,
}

/// Response codes of upstreams (RFC 1035 §4.1.1).
const NOERROR: u16 = 0;
const FORMERR: u16 = 1;
const NXDOMAIN: u16 = 3;
const NOTIMP: u16 = 4;
