//! Tests of messages in and out; hickory-proto writes the queries and upstream replies, and reads the answers.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{
    Edns, Message, MessageType, OpCode, Query as Question, ResponseCode as Code,
};
use hickory_proto::rr::rdata::svcb::{IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, NS, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::reference::{fuzz_dns, leak, zones};
use super::*;

mod properties;

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

/// Builds a question with id 0x1234 and recursion desired.
fn question(owner: &str, record_type: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(name(owner), record_type));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("a small message")
}

fn ask(message: &[u8]) -> Query<'_> {
    match Incoming::read(message) {
        Incoming::Ask(query) => query,
        other => panic!("{other:?}"),
    }
}

/// Returns the policy's answer.
fn answered(owner: &str, record_type: RecordType) -> Option<Message> {
    let message = bytes(&question(owner, record_type));
    let query = ask(&message);
    let mut out = Vec::new();
    write_local(&mut out, &query, zones(), query.datagram_limit())?;
    Some(Message::from_vec(&out).expect("an answer"))
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 300, data)
}

fn a(owner: &str, last: u8) -> Record {
    record(owner, RData::A(A(Ipv4Addr::new(10, 1, 0, last))))
}

fn alias(owner: &str, target: &str) -> Record {
    record(owner, RData::CNAME(CNAME(name(target))))
}

fn https(owner: &str, target: &str) -> Record {
    let hints = IpHint(vec![A(Ipv4Addr::new(10, 1, 0, 30))]);
    let parameters = vec![(SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(hints))];
    record(
        owner,
        RData::HTTPS(HTTPS(SVCB::new(1, name(target), parameters))),
    )
}

/// Builds an upstream's reply to `question`.
fn said(question: &Message, answers: &[Record], additionals: &[Record]) -> Message {
    let mut message = question.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.answers = answers.to_vec();
    message.additionals = additionals.to_vec();
    message
}

/// Returns the reply as a client receives it.
fn screened(question: &Message, said: &Message) -> Message {
    let query = bytes(question);
    let query = ask(&query);
    let prepared = screen(&bytes(said), &Upstream::of(&query), zones()).expect("of use");
    let mut out = Vec::new();
    prepared.write(&mut out, &query, 0, STREAM_LIMIT);
    assert_eq!(leak(zones(), &out), None);
    Message::from_vec(&out).expect("an answer")
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_no_question_is_refused_or_left_alone() {
    let good = bytes(&question("www.contoso.com", RecordType::A));
    let with = |at: usize, byte: u8| {
        let mut message = good.clone();
        message[at] = byte;
        message
    };
    let behind = |more: &[u8]| [&good[..], more].concat();
    let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    let extended = |count: u8, more: &[u8]| {
        let mut message = behind(more);
        message[11] = count;
        message
    };
    for (what, message, expected) in [
        ("empty", Vec::new(), None),
        ("a short header", good[..11].to_vec(), None),
        ("a response", with(2, 0x81), None),
        ("a response to an update", with(2, 0xA9), None),
        ("an update", with(2, 0x28), Some(ResponseCode::NotImp)),
        ("a notification", with(2, 0x20), Some(ResponseCode::NotImp)),
        ("no question", with(5, 0), Some(ResponseCode::FormErr)),
        ("two questions", with(5, 2), Some(ResponseCode::FormErr)),
        ("an answer in it", with(7, 1), Some(ResponseCode::FormErr)),
        ("counts that lie", with(11, 1), Some(ResponseCode::FormErr)),
        ("bytes behind it", behind(b"x"), Some(ResponseCode::FormErr)),
        (
            "cut in the type",
            good[..good.len() - 3].to_vec(),
            Some(ResponseCode::FormErr),
        ),
        (
            "a pointer to itself",
            with(12, 0xC0),
            Some(ResponseCode::FormErr),
        ),
        (
            "class CH",
            with(good.len() - 1, 3),
            Some(ResponseCode::Refused),
        ),
        (
            "class ANY",
            with(good.len() - 1, 255),
            Some(ResponseCode::Refused),
        ),
        (
            "a zone transfer",
            with(good.len() - 3, 252),
            Some(ResponseCode::Refused),
        ),
        (
            "OPT as a type",
            with(good.len() - 3, 41),
            Some(ResponseCode::Refused),
        ),
        (
            "two OPT records",
            extended(2, &opt.repeat(2)),
            Some(ResponseCode::FormErr),
        ),
        (
            "version 1 of EDNS",
            extended(1, b"\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00"),
            Some(ResponseCode::BadVers),
        ),
    ] {
        let code = match Incoming::read(&message) {
            Incoming::Silence => None,
            Incoming::Refuse(refusal) => {
                let mut out = Vec::new();
                refusal.write(&mut out);
                let answer = Message::from_vec(&out).expect(what);
                assert_eq!(answer.metadata.id, 0x1234, "{what}");
                assert_eq!(
                    u16::from(answer.metadata.response_code),
                    refusal.code.number(),
                    "{what}"
                );
                Some(refusal.code)
            }
            Incoming::Ask(query) => panic!("{what}: {query:?}"),
        };
        assert_eq!(code, expected, "{what}");
        fuzz_dns(&message);
    }
    assert!(matches!(
        Incoming::read(&extended(1, opt)),
        Incoming::Ask(_)
    ));
}

#[test]
fn a_pinned_name_is_answered_with_authority_and_a_short_life() {
    let answer = answered("sip.contoso.com", RecordType::A).expect("pinned");
    assert_eq!(
        lines(&answer.answers),
        ["sip.contoso.com. 60 IN A 167.55.49.32"]
    );
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
    assert!(answer.metadata.recursion_desired && !answer.metadata.authentic_data);
    assert!(answer.authorities.is_empty() && answer.edns.is_none());
    let service = answered("_sip._tls.contoso.com", RecordType::SRV).expect("pinned");
    assert_eq!(
        lines(&service.answers),
        ["_sip._tls.contoso.com. 60 IN SRV 0 0 443 sip.contoso.com."]
    );
    let all = answered("sip.contoso.com", RecordType::ANY).expect("pinned");
    assert_eq!(all.answers.len(), 2);
    assert_eq!(answered("www.contoso.com", RecordType::A), None);
}

#[test]
fn no_data_and_no_name_come_with_an_authority_of_their_own() {
    for (owner, record_type, code, authority) in [
        (
            "av.contoso.com",
            RecordType::AAAA,
            Code::NoError,
            "av.contoso.com.",
        ),
        (
            "av.contoso.com",
            RecordType::HTTPS,
            Code::NoError,
            "av.contoso.com.",
        ),
        (
            "pool01.contoso.com",
            RecordType::A,
            Code::NXDomain,
            "pool01.contoso.com.",
        ),
        (
            "x.y.pool01.contoso.com",
            RecordType::A,
            Code::NXDomain,
            "pool01.contoso.com.",
        ),
        (
            "use-application-dns.net",
            RecordType::A,
            Code::NoError,
            "use-application-dns.net.",
        ),
    ] {
        let answer = answered(owner, record_type).expect("not forwarded");
        assert_eq!(answer.metadata.response_code, code, "{owner}");
        assert_eq!(answer.answers, [], "{owner}");
        let expected =
            format!("{authority} 60 IN SOA localhost. nobody.invalid. 1 3600 1200 604800 60");
        assert_eq!(lines(&answer.authorities), [expected]);
    }
}

#[test]
fn the_question_comes_back_as_it_was_sent() {
    let message = bytes(&question("SiP.cOnToSo.CoM", RecordType::A));
    let mut out = Vec::new();
    write_local(&mut out, &ask(&message), zones(), 512).expect("pinned");
    assert_eq!(out[12..message.len()], message[12..]);

    // The cache gives the same answer, whichever client asked first.
    let first = question("www.contoso.com", RecordType::A);
    let prepared = screen(
        &bytes(&said(&first, &[a("www.contoso.com", 80)], &[])),
        &Upstream::of(&ask(&bytes(&first))),
        zones(),
    )
    .expect("of use");
    let second = bytes(&question("wWw.Contoso.com", RecordType::A));
    let mut out = Vec::new();
    prepared.write(&mut out, &ask(&second), 7, 512);
    assert_eq!(out[12..second.len()], second[12..]);
    let answer = Message::from_vec(&out).expect("an answer");
    assert_eq!(
        lines(&answer.answers),
        ["wWw.Contoso.com. 293 IN A 10.1.0.80"]
    );
}

#[test]
fn edns_is_answered_in_kind_and_large_answers_are_cut() {
    let mut asked = question("www.contoso.com", RecordType::A);
    let many: Vec<_> = (0..60).map(|last| a("www.contoso.com", last)).collect();
    let upstream = said(&asked, &many, &[]);
    let prepared = screen(
        &bytes(&upstream),
        &Upstream::of(&ask(&bytes(&asked))),
        zones(),
    );
    let prepared = prepared.expect("of use");
    for (payload, is_cut) in [
        (None, true),
        (Some(100), true),
        (Some(1_232), false),
        (Some(65_535), false),
    ] {
        asked.edns = payload.map(|payload| {
            let mut edns = Edns::new();
            edns.set_max_payload(payload).set_dnssec_ok(true);
            edns
        });
        let query = bytes(&asked);
        let query = ask(&query);
        let mut out = Vec::new();
        prepared.write(&mut out, &query, 0, query.datagram_limit());
        let answer = Message::from_vec(&out).expect("an answer");
        assert_eq!(answer.metadata.truncation, is_cut, "{payload:?}");
        assert_eq!(
            answer.answers.len(),
            if is_cut { 0 } else { 60 },
            "{payload:?}"
        );
        assert_eq!(answer.edns.is_some(), payload.is_some());
        if let Some(edns) = &answer.edns {
            assert_eq!(
                (edns.max_payload(), edns.version(), edns.flags().dnssec_ok),
                (1_232, 0, true)
            );
        }
    }
}

#[test]
fn an_answer_without_names_of_ours_passes_byte_for_byte() {
    let asked = question("www.contoso.com", RecordType::A);
    let signature = RData::Unknown {
        code: RecordType::RRSIG,
        rdata: hickory_proto::rr::rdata::NULL::with(vec![7; 90]),
    };
    let answers = [
        alias("www.contoso.com", "web.contoso.com"),
        a("web.contoso.com", 80),
        record("web.contoso.com", signature),
    ];
    let mut upstream = said(&asked, &answers, &[a("ns.contoso.com", 53)]);
    let ns = RData::NS(NS(name("ns.contoso.com")));
    upstream.authorities.push(record("contoso.com", ns));
    let plain = bytes(&upstream);
    let query = bytes(&asked);
    let prepared = screen(&plain, &Upstream::of(&ask(&query)), zones()).expect("of use");
    let mut out = Vec::new();
    prepared.write(&mut out, &ask(&query), 0, STREAM_LIMIT);
    assert_eq!(out, plain);
    assert_eq!(prepared.lifetime(), 300);

    // EDNS data of the hop is removed.
    upstream.edns = Some(Edns::new());
    let extended = screen(&bytes(&upstream), &Upstream::of(&ask(&query)), zones());
    assert_eq!(extended, Ok(prepared));
}

#[test]
fn an_alias_of_a_pinned_name_leads_to_the_pinned_address() {
    let asked = question("www.contoso.com", RecordType::A);
    let answers = [
        alias("www.contoso.com", "next.contoso.com"),
        alias("next.contoso.com", "SIP.contoso.com"),
        // The upstream's data behind the pinned name must not pass, under any name.
        alias("sip.contoso.com", "edge-inside.contoso.com"),
        a("edge-inside.contoso.com", 30),
    ];
    let answer = screened(
        &asked,
        &said(&asked, &answers, &[a("edge-inside.contoso.com", 30)]),
    );
    assert_eq!(
        lines(&answer.answers),
        [
            "www.contoso.com. 300 IN CNAME next.contoso.com.",
            "next.contoso.com. 300 IN CNAME SIP.contoso.com.",
            "sip.contoso.com. 60 IN A 167.55.49.32",
        ]
    );
    assert!(answer.additionals.is_empty() && !answer.metadata.authoritative);

    // Leads to a negative answer for types that are not pinned, even if the upstream leaves the rest of the chain to
    // the client.
    let asked = question("www.contoso.com", RecordType::MX);
    let answer = screened(
        &asked,
        &said(&asked, &[alias("www.contoso.com", "sip.contoso.com")], &[]),
    );
    assert_eq!((answer.answers.len(), answer.authorities.len()), (1, 1));
    assert_eq!(answer.metadata.response_code, Code::NoError);
}

#[test]
fn an_alias_of_a_hidden_name_leads_nowhere() {
    let asked = question("www.contoso.com", RecordType::A);
    let answers = [
        alias("www.contoso.com", "pool01.contoso.com"),
        a("pool01.contoso.com", 10),
    ];
    let answer = screened(&asked, &said(&asked, &answers, &[]));
    assert_eq!(
        lines(&answer.answers),
        ["www.contoso.com. 300 IN CNAME pool01.contoso.com."]
    );
    assert_eq!(answer.metadata.response_code, Code::NXDomain);
    // An alias asked for as data may pass.
    let asked = question("www.contoso.com", RecordType::CNAME);
    let answer = screened(&asked, &said(&asked, &answers[..1], &[]));
    assert_eq!(
        (answer.answers.len(), answer.metadata.response_code),
        (1, Code::NoError)
    );
}

#[test]
fn records_of_our_names_are_left_out_of_every_section() {
    let asked = question("_sip._tcp.contoso.com", RecordType::SRV);
    let srv = RData::SRV(SRV::new(0, 0, 5_061, name("pool01.contoso.com")));
    let v6 = RData::AAAA(AAAA(Ipv6Addr::LOCALHOST));
    let mut upstream = said(
        &asked,
        &[
            record("_sip._tcp.contoso.com", srv),
            a("sip.contoso.com", 30),
        ],
        &[
            a("pool01.contoso.com", 10),
            record("sip.contoso.com", v6),
            a("ns.contoso.com", 53),
        ],
    );
    upstream.authorities = vec![a("av.contoso.com", 34), https("av.contoso.com", ".")];
    let answer = screened(&asked, &upstream);
    assert_eq!(answer.answers.len(), 1);
    assert_eq!(answer.authorities, []);
    assert_eq!(
        lines(&answer.additionals),
        ["ns.contoso.com. 300 IN A 10.1.0.53"]
    );
}

#[test]
fn a_hint_at_the_addresses_of_a_pinned_name_is_left_out() {
    let asked = question("www.contoso.com", RecordType::HTTPS);
    let hints = [
        https("www.contoso.com", "sip.contoso.com"),
        https("www.contoso.com", "."),
    ];
    let answer = screened(&asked, &said(&asked, &hints, &[]));
    assert_eq!(answer.answers, [hints[1].clone()]);
}

#[test]
fn a_name_that_would_become_another_as_time_goes_by_is_written_out() {
    let asked = question("www.contoso.com", RecordType::A);
    let query = bytes(&asked);
    // The first record's TTL is read as the label `sir`, which is `sip` in two seconds.
    let mut upstream = bytes(&said(&asked, &[a("www.contoso.com", 80)], &[]));
    let ttl_at = query.len() + 6;
    upstream[ttl_at..ttl_at + 4].copy_from_slice(b"\x03sir");
    // The length of the data follows, 0 and 4: the end of a label.
    upstream.extend_from_slice(&[0xC0, u8::try_from(ttl_at).expect("a small message")]);
    upstream.extend_from_slice(b"\0\x01\0\x01\0\0\x0e\x10\0\x04\x0a\x42\x42\x42");
    upstream[7] = 2;
    let query = ask(&query);
    let prepared = screen(&upstream, &Upstream::of(&query), zones()).expect("of use");
    let owners = |age| {
        let mut out = Vec::new();
        prepared.write(&mut out, &query, age, STREAM_LIMIT);
        let answer = Message::from_vec(&out).expect("an answer");
        let owners = answer.answers.iter().map(|it| it.name.to_ascii());
        owners.collect::<Vec<_>>()
    };
    assert_eq!(owners(0), ["www.contoso.com.", "sir."]);
    assert_eq!(owners(2), owners(0));
}

#[test]
fn answers_are_kept_as_long_as_they_say() {
    let asked = question("www.contoso.com", RecordType::A);
    let lifetime = |upstream: &Message| {
        let query = bytes(&asked);
        let prepared = screen(&bytes(upstream), &Upstream::of(&ask(&query)), zones());
        prepared.expect("of use").lifetime()
    };
    let mut short = a("www.contoso.com", 1);
    short.ttl = 5;
    assert_eq!(
        lifetime(&said(
            &asked,
            &[a("www.contoso.com", 80), short.clone()],
            &[]
        )),
        5
    );
    short.ttl = u32::MAX;
    assert_eq!(lifetime(&said(&asked, &[short.clone()], &[])), 0);
    short.ttl = 1_000_000;
    assert_eq!(lifetime(&said(&asked, &[short], &[])), 86_400);
    // A negative answer: cached as the start of authority allows, else not at all.
    let mut absent = said(&asked, &[], &[]);
    absent.metadata.response_code = Code::NXDomain;
    assert_eq!(lifetime(&absent), 0);
    let soa = SOA::new(
        name("ns.contoso.com"),
        name("admin.contoso.com"),
        1,
        2,
        3,
        4,
        30,
    );
    absent
        .authorities
        .push(record("contoso.com", RData::SOA(soa)));
    assert_eq!(lifetime(&absent), 30);
}

#[test]
fn only_the_answer_to_the_question_asked_is_heard() {
    let asked = question("www.contoso.com", RecordType::A);
    let query = bytes(&asked);
    let upstream = Upstream::of(&ask(&query));
    let good = said(&asked, &[a("www.contoso.com", 80)], &[]);
    let classify = |message: &Message| upstream.classify(0x1234, &bytes(message));
    assert_eq!(classify(&good), UpstreamReply::Answer);
    assert_eq!(
        upstream.classify(0x1235, &bytes(&good)),
        UpstreamReply::Unrelated
    );
    assert_eq!(classify(&asked), UpstreamReply::Unrelated, "a question");
    for other in [
        question("www.contoso.co", RecordType::A),
        question("www.contoso.com", RecordType::AAAA),
    ] {
        assert_eq!(
            classify(&said(&other, &good.answers, &[])),
            UpstreamReply::Unrelated
        );
    }
    for length in 0..bytes(&good).len() {
        let reply = upstream.classify(0x1234, &bytes(&good)[..length]);
        assert!(reply != UpstreamReply::Answer, "{length} bytes of it");
    }
    let mut cut = good;
    cut.metadata.truncation = true;
    assert_eq!(classify(&cut), UpstreamReply::Truncated);
    for (code, expected) in [
        (Code::ServFail, UpstreamReply::Failed),
        (Code::Refused, UpstreamReply::Failed),
        (Code::FormErr, UpstreamReply::WithoutEdns),
        (Code::NotImp, UpstreamReply::WithoutEdns),
        (Code::NXDomain, UpstreamReply::Answer),
    ] {
        let mut message = said(&asked, &[], &[]);
        message.metadata.response_code = code;
        assert_eq!(classify(&message), expected, "{code}");
    }
    // A lame server: it has no answer and does not recurse.
    let mut lame = said(&asked, &[], &[]);
    lame.metadata.recursion_available = false;
    assert_eq!(classify(&lame), UpstreamReply::Failed);
}

#[test]
fn a_large_answer_is_not_rebuilt() {
    let asked = question("n.example", RecordType::A);
    let answer = |others: u8| {
        let mut records = vec![a("sip.contoso.com", 1)];
        for number in 0..u16::from(others) * 100 {
            records.push(a(&format!("n{number}.example"), 2));
        }
        bytes(&said(&asked, &records, &[]))
    };
    let query = bytes(&asked);
    let asked = Upstream::of(&ask(&query));
    let small = answer(5);
    assert!(screen(&small, &asked, zones()).is_ok(), "{}", small.len());
    let large = answer(12);
    assert!(large.len() > 16_384, "{}", large.len());
    assert_eq!(screen(&large, &asked, zones()), Err(Unusable::Entangled));
}
