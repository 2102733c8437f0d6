//! Answers: refusals, the policy's own answers, and cached answers of upstreams.
//!
//! ```text
//!  header │ question as it was sent │ records │ OPT, where the client sent one
//! ```
//!
//! An answer too large for a datagram is sent without records and with `TC` set; the client then asks again over TCP.

use super::query::{Edns, PAYLOAD, Query, Refusal, datagram_limit};
use super::wire::{HEADER, Header, flag, number};
use super::{DnsName, Prepared, ResponseCode};
use crate::name::record_type;
use crate::plan::zones::{Answer, RecordSets, Zones};

/// Maximum size of an answer over TCP, in bytes.
pub const STREAM_LIMIT: usize = u16::MAX as usize;

impl Refusal<'_> {
    /// Appends the answer to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let kept = self.header.flags & (flag::OPCODE | flag::RD | flag::CD);
        let has_question = !self.question.is_empty();
        let header = Header {
            id: self.header.id,
            flags: flag::QR | kept | flag::RA | (self.code.number() & flag::RCODE),
            counts: [
                u16::from(has_question),
                0,
                0,
                u16::from(self.edns.is_some()),
            ],
        };
        header.write(out);
        out.extend_from_slice(self.question);
        write_edns(out, self.edns, self.code);
    }

    /// Returns the maximum size of an answer in a datagram, in bytes.
    pub fn datagram_limit(&self) -> usize {
        datagram_limit(self.edns)
    }
}

/// Returns `true` if the policy hides the name of `query`.
pub fn is_hidden(query: &Query<'_>, zones: &Zones) -> bool {
    match zones.answer(&query.name, query.record_type) {
        Answer::Forward | Answer::Records { .. } => false,
        Answer::NoData { owner } => !owner.is_pinned(),
        Answer::NxDomain { .. } => true,
    }
}

/// Appends the policy's answer to `out`. Returns `false`, and appends nothing, if the question has to be forwarded.
///
/// `AA` is set: there is no better authority for these names. `AD` is never set: the names are unsigned.
pub fn write_local(
    out: &mut Vec<u8>,
    query: &Query<'_>,
    zones: &Zones,
    limit: usize,
) -> Option<Local> {
    let (local, code, sets, denied) = match zones.answer(&query.name, query.record_type) {
        Answer::Forward => return None,
        Answer::Records { sets, .. } => (Local::Pinned, ResponseCode::NoError, sets, None),
        Answer::NoData { owner } => {
            let local = match owner.treatment {
                crate::plan::zones::Treatment::Pinned(_) => Local::Pinned,
                crate::plan::zones::Treatment::Hidden
                | crate::plan::zones::Treatment::NoData(_) => Local::Hidden,
            };
            let none = RecordSets::default();
            (local, ResponseCode::NoError, none, Some(&owner.name))
        }
        Answer::NxDomain { owner } => {
            let none = RecordSets::default();
            (
                Local::Hidden,
                ResponseCode::NxDomain,
                none,
                Some(&owner.name),
            )
        }
    };
    let start = out.len();
    let records = sets.ipv4.len() + sets.ipv6.len() + sets.srv.len();
    let kept = query.header.flags & (flag::RD | flag::CD);
    let mut header = Header {
        id: query.header.id,
        flags: flag::QR | flag::AA | kept | flag::RA | code.number(),
        counts: [
            1,
            u16::try_from(records).unwrap_or(u16::MAX),
            u16::from(denied.is_some()),
            u16::from(query.edns.is_some()),
        ],
    };
    header.write(out);
    out.extend_from_slice(query.question);
    let behind_question = out.len();
    write_sets(out, sets, zones.ttl_seconds());
    if let Some(owner) = denied {
        write_soa(out, query, owner, zones);
    }
    write_edns(out, query.edns, code);
    if out.len() - start > limit || records > usize::from(u16::MAX) {
        out.truncate(start);
        header.flags |= flag::TC;
        header.counts = [1, 0, 0, u16::from(query.edns.is_some())];
        header.write(out);
        out.extend_from_slice(query.question);
        debug_assert_eq!(out.len(), behind_question);
        write_edns(out, query.edns, code);
    }
    Some(local)
}

/// The kind of answer that the policy gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// The name is pinned: its records, or no data of this type.
    Pinned,
    /// The name is hidden or is a canary.
    Hidden,
}

/// Appends the records of the name asked for.
fn write_sets(out: &mut Vec<u8>, sets: RecordSets<'_>, ttl: u32) {
    for address in sets.ipv4 {
        write_record(out, record_type::A, ttl, &address.octets());
    }
    for address in sets.ipv6 {
        write_record(out, record_type::AAAA, ttl, &address.octets());
    }
    for srv in sets.srv {
        let numbers = [srv.priority, srv.weight, srv.port].map(u16::to_be_bytes);
        // RFC 2782: the target is not compressed.
        write_record(
            out,
            record_type::SRV,
            ttl,
            &[numbers.as_flattened(), srv.target.wire()].concat(),
        );
    }
}

fn write_record(out: &mut Vec<u8>, record_type: u16, ttl: u32, data: &[u8]) {
    out.extend_from_slice(&QUESTION_NAME);
    write_fixed(out, record_type, ttl, data.len());
    out.extend_from_slice(data);
}

/// Appends the fields between the owner and the data of a record.
fn write_fixed(out: &mut Vec<u8>, record_type: u16, ttl: u32, length: usize) {
    out.extend_from_slice(&record_type.to_be_bytes());
    out.extend_from_slice(&number::IN.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    // Names and addresses are far below 65,536 bytes.
    out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
}

/// Appends the start of authority of `owner`, which is the name asked for or an ancestor.
fn write_soa(out: &mut Vec<u8>, query: &Query<'_>, owner: &DnsName, zones: &Zones) {
    let above = query.name.wire().len() - owner.wire().len();
    // A pointer has 14 bits, and the question follows the header.
    let pointer = 0xC000 | u16::try_from(HEADER + above).unwrap_or(HEADER as u16);
    out.extend_from_slice(&pointer.to_be_bytes());
    let soa = zones.soa();
    let mut data = Vec::with_capacity(64);
    for name in [soa.primary, soa.mailbox] {
        let name = name.parse().unwrap_or(DnsName::ROOT);
        data.extend_from_slice(name.wire());
    }
    for number in [
        soa.serial,
        soa.refresh_seconds,
        soa.retry_seconds,
        soa.expire_seconds,
        soa.negative_ttl_seconds,
    ] {
        data.extend_from_slice(&number.to_be_bytes());
    }
    write_fixed(out, number::SOA, soa.negative_ttl_seconds, data.len());
    out.extend_from_slice(&data);
}

/// Appends an OPT record if the client sent one (RFC 6891 §6.1.1).
fn write_edns(out: &mut Vec<u8>, edns: Option<Edns>, code: ResponseCode) {
    let Some(edns) = edns else { return };
    let dnssec = if edns.dnssec_ok { 0x80 } else { 0 };
    let [high, _] = (code.number() << 4).to_be_bytes();
    out.push(0);
    out.extend_from_slice(&number::OPT.to_be_bytes());
    out.extend_from_slice(&(PAYLOAD as u16).to_be_bytes());
    out.extend_from_slice(&[high, 0, dnssec, 0, 0, 0]);
}

impl Prepared {
    /// Appends the answer to `query` to `out`, `age` seconds after it was received.
    pub fn write(&self, out: &mut Vec<u8>, query: &Query<'_>, age: u32, limit: usize) {
        let start = out.len();
        let edns_bytes = if query.edns.is_some() { EDNS } else { 0 };
        let Some(mut header) = Header::read(&self.message) else {
            return;
        };
        header.id = query.header.id;
        let kept = query.header.flags & (flag::RD | flag::CD);
        header.flags = header.flags & !(flag::RD | flag::CD) | kept | flag::RA;
        let behind = HEADER + query.question.len();
        if self.message.len() + edns_bytes > limit {
            header.flags |= flag::TC;
            header.counts = [1, 0, 0, u16::from(query.edns.is_some())];
            header.write(out);
            out.extend_from_slice(query.question);
        } else {
            header.counts[3] = header.counts[3].saturating_add(u16::from(query.edns.is_some()));
            header.write(out);
            out.extend_from_slice(query.question);
            // The question of the message differs only in letter case.
            out.extend_from_slice(self.message.get(behind..).unwrap_or_default());
            if age > 0 {
                self.lower_ttls(&mut out[start..], age);
            }
        }
        write_edns(out, query.edns, ResponseCode::NoError);
    }

    fn lower_ttls(&self, message: &mut [u8], age: u32) {
        for &at in &self.ttls {
            let ttl = message
                .get_mut(usize::from(at)..)
                .and_then(<[u8]>::first_chunk_mut::<4>);
            if let Some(ttl) = ttl {
                *ttl = u32::from_be_bytes(*ttl).saturating_sub(age).to_be_bytes();
            }
        }
    }
}

/// A compression pointer to the name of the question.
const QUESTION_NAME: [u8; 2] = [0xC0, HEADER as u8];
/// Size of an OPT record without options, in bytes.
const EDNS: usize = 11;
