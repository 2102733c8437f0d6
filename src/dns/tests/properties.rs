//! Property tests: for arbitrary upstream and client messages, no hidden record leaks and nothing panics.

use std::net::Ipv6Addr;

use hickory_proto::op::{Edns, Message};
use hickory_proto::rr::rdata::{AAAA, NS, SRV};
use hickory_proto::rr::{RData, Record, RecordType};
use proptest::prelude::*;

use super::{a, alias, ask, bytes, https, name, question, record, said};
use crate::dns::reference::{fuzz_dns, zones};
use crate::dns::*;

/// Names of the policy, and names beside them, below them and in another letter case.
const NAMES: &[&str] = &[
    "sip.contoso.com",
    "SIP.Contoso.com",
    "av.contoso.com",
    "a.sip.contoso.com",
    "xsip.contoso.com",
    "pool01.contoso.com",
    "x.pool01.contoso.com",
    "lyncdiscoverinternal.contoso.com",
    "_sip._tls.contoso.com",
    "_sipinternaltls._tcp.contoso.com",
    "www.contoso.com",
    "next.contoso.com",
    "contoso.com",
    "com",
];

/// Names that the policy does not cover.
const OTHERS: &[&str] = &[
    "a.sip.contoso.com",
    "xsip.contoso.com",
    "WWW.contoso.com",
    "next.contoso.com",
    "contoso.com",
    "com",
];

const TYPES: &[RecordType] = &[
    RecordType::A,
    RecordType::AAAA,
    RecordType::CNAME,
    RecordType::SRV,
    RecordType::HTTPS,
    RecordType::MX,
    RecordType::ANY,
];

fn any_record(names: &'static [&'static str]) -> impl Strategy<Value = Record> {
    let names = || prop::sample::select(names);
    (names(), names(), 0_u8..6, any::<u8>(), 0_u32..900).prop_map(
        |(owner, target, kind, last, ttl)| {
            let mut record = match kind {
                0 => a(owner, last),
                1 => record(owner, RData::AAAA(AAAA(Ipv6Addr::from_bits(last.into())))),
                2 => alias(owner, target),
                3 => https(owner, target),
                4 => record(owner, RData::SRV(SRV::new(0, 0, last.into(), name(target)))),
                _ => record(owner, RData::NS(NS(name(target)))),
            };
            record.ttl = ttl;
            record
        },
    )
}

/// Replies of a hostile upstream.
fn any_answer(names: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let records = move || prop::collection::vec(any_record(names), 0..5);
    let names = prop::sample::select(names);
    let types = prop::sample::select(TYPES);
    (names, types, records(), records(), records(), 0_u8..3).prop_map(
        |(owner, record_type, answers, authorities, additionals, edns)| {
            let mut message = said(&question(owner, record_type), &answers, &additionals);
            message.authorities = authorities;
            message.edns = (edns > 0).then(Edns::new);
            let mut bytes = bytes(&message);
            if edns == 2 {
                // An OPT record in front of others has to be removed.
                let ns = b"\x03com\x00\x00\x02\x00\x01\x00\x00\x00\x05\x00\x01\x00";
                bytes.extend_from_slice(ns);
                let count = message.additionals.len() as u8 + 2;
                bytes[11] = count;
            }
            bytes
        },
    )
}

proptest! {
    #[test]
    fn no_answer_of_an_upstream_gives_away_what_is_pinned_or_hidden(answer in any_answer(NAMES)) {
        fuzz_dns(&answer);
    }

    #[test]
    fn no_bytes_make_it_panic_or_answer_a_response(
        answer in any_answer(NAMES),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
        is_query in any::<bool>(),
    ) {
        let mut bytes = answer;
        if is_query {
            bytes[2] &= 0x7F;
        }
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz_dns(&bytes);
        fuzz_dns(&bytes[..end.index(bytes.len())]);
    }

    #[test]
    fn arbitrary_bytes_do_neither(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_dns(&bytes);
    }

    #[test]
    fn hickory_reads_in_an_answer_that_passes_what_the_upstream_said(answer in any_answer(OTHERS)) {
        let said = Message::from_vec(&answer).expect("made by hickory");
        let mut asked = question("com", RecordType::A);
        asked.queries = said.queries.clone();
        let query = bytes(&asked);
        let query = ask(&query);
        let prepared = screen(&answer, &Upstream::of(&query), zones()).expect("nothing in it is ours");
        let mut out = Vec::new();
        prepared.write(&mut out, &query, 0, STREAM_LIMIT);
        let passed = Message::from_vec(&out).expect("an answer");
        prop_assert_eq!(passed.answers, said.answers);
        prop_assert_eq!(passed.authorities, said.authorities);
        prop_assert_eq!(passed.additionals, said.additionals);
    }
}
