//! Oracles: a second, independent reader of messages, and invariants for arbitrary bytes.
//!
//! It decodes names as text and follows pointers anywhere, so it reads whatever any client could read in an answer.

use std::sync::OnceLock;

use hickory_proto::op::Message;

use super::{
    EdnsUse, Incoming, MAX_KEY, Query, STREAM_LIMIT, Upstream, UpstreamReply, screen, write_local,
};
use crate::name::DnsName;
use crate::name::record_type;
use crate::plan::zones::{Answer, Zones};

/// A record as this reader decodes it.
#[derive(Debug, Clone)]
struct Seen<'m> {
    owner: DnsName,
    record_type: u16,
    data: &'m [u8],
    /// The target name of an SVCB or HTTPS record.
    target: Option<DnsName>,
}

/// Returns a description of a record of `message` that leaks data hidden by the policy, if there is one.
///
/// A record of a pinned or hidden name must be one of the policy's own, and no record may describe services of such a
/// name.
pub fn leak(zones: &Zones, message: &[u8]) -> Option<String> {
    let Some(records) = records(message) else {
        return Some("the message cannot be read".to_owned());
    };
    records
        .iter()
        .find(|seen| !is_harmless(zones, seen))
        .map(|seen| format!("{seen:?}"))
}

fn is_harmless(zones: &Zones, seen: &Seen<'_>) -> bool {
    if let Some(target) = &seen.target
        && zones.answer(target, record_type::A) != Answer::Forward
    {
        return false;
    }
    let soa = zones.soa();
    let is_own_soa = |owner: &DnsName| {
        let primary: DnsName = soa.primary.parse().expect("a constant of the zones");
        seen.record_type == SOA && *owner == seen.owner && seen.data.starts_with(primary.wire())
    };
    match zones.answer(&seen.owner, seen.record_type) {
        Answer::Forward => true,
        Answer::Records { sets, .. } => match seen.record_type {
            record_type::A => sets.ipv4.iter().any(|it| it.octets() == *seen.data),
            record_type::AAAA => sets.ipv6.iter().any(|it| it.octets() == *seen.data),
            record_type::SRV => sets
                .srv
                .iter()
                .any(|it| seen.data.get(4..6) == Some(&it.port.to_be_bytes()[..])),
            _ => false,
        },
        Answer::NoData { owner } | Answer::NxDomain { owner } => is_own_soa(&owner.name),
    }
}

/// Returns the records of `message`, if it is readable to its end.
fn records(message: &[u8]) -> Option<Vec<Seen<'_>>> {
    let number = |at: usize| {
        let bytes = message.get(at..at + 2)?;
        Some(usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
    };
    let mut at = 12;
    for _ in 0..number(4)? {
        at = name(message, at)?.1 + 4;
    }
    let mut records = Vec::new();
    for _ in 0..number(6)? + number(8)? + number(10)? {
        let (owner, end) = name(message, at)?;
        let record_type = number(end)?;
        let data = end + 10;
        at = data + number(end + 8)?;
        records.push(Seen {
            owner,
            record_type: record_type as u16,
            data: message.get(data..at)?,
            target: match record_type {
                SVCB | HTTPS => name(message, data + 2).map(|(target, _)| target),
                _ => None,
            },
        });
    }
    (at == message.len()).then_some(records)
}

/// Reads the name at `at`, wherever its pointers lead. Returns it and its end.
fn name(message: &[u8], mut at: usize) -> Option<(DnsName, usize)> {
    let mut labels = Vec::new();
    let mut end = None;
    for _ in 0..MAX_STEPS {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            let labels = labels.iter().copied();
            let name = DnsName::from_labels(labels).ok()?;
            return Some((name, end.unwrap_or(at + 1)));
        }
        if length & 0xC0 == 0xC0 {
            end = end.or(Some(at + 2));
            at = (length & 0x3F) << 8 | usize::from(*message.get(at + 1)?);
        } else if length < 64 {
            labels.push(message.get(at + 1..at + 1 + length)?);
            at += 1 + length;
        } else {
            return None;
        }
    }
    None
}

/// Checks the invariants for arbitrary bytes, both as a query and as an upstream's reply.
///
/// # Panics
/// If an invariant is broken.
pub fn fuzz_dns(bytes: &[u8]) {
    check_query(bytes);
    check_answer(bytes);
}

fn check_query(bytes: &[u8]) {
    let mut out = Vec::new();
    match Incoming::read(bytes) {
        Incoming::Silence => return,
        Incoming::Refuse(refusal) => refusal.write(&mut out),
        Incoming::Ask(query) => {
            let limit = query.datagram_limit();
            if write_local(&mut out, &query, zones(), limit).is_none() {
                assert!(out.is_empty(), "a question for an upstream is not answered");
                return;
            }
            assert!(out.len() <= limit);
            assert_eq!(query.question, &out[12..12 + query.question.len()]);
            assert_eq!(leak(zones(), &out), None);
        }
    }
    assert_eq!(bytes[..2], out[..2], "the id");
    assert!(out[2] & 0x80 != 0, "an answer says that it is one");
    assert!(matches!(Incoming::read(&out), Incoming::Silence));
    if let Err(error) = Message::from_vec(&out) {
        panic!("{error} in {out:?}");
    }
}

/// Checks `bytes` as the answer to the question that they contain.
fn check_answer(bytes: &[u8]) {
    let Some(query) = question_of(bytes) else {
        return;
    };
    let Incoming::Ask(query) = Incoming::read(&query) else {
        return;
    };
    let asked = Upstream::of(&query);
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    assert_eq!(
        asked.classify(id.wrapping_add(1), bytes),
        UpstreamReply::Unrelated
    );
    if asked.classify(id, bytes) != UpstreamReply::Answer {
        return;
    }
    let Ok(prepared) = screen(bytes, &asked, zones()) else {
        return;
    };
    for limit in [query.datagram_limit(), STREAM_LIMIT] {
        let mut out = Vec::new();
        prepared.write(&mut out, &query, 3, limit);
        assert!(out.len() <= limit);
        assert_eq!(leak(zones(), &out), None, "{out:?}");
        assert!(matches!(Incoming::read(&out), Incoming::Silence));
    }
    let mut sent = Vec::new();
    asked.write(&mut sent, id, EdnsUse::With);
    let Incoming::Ask(again) = Incoming::read(&sent) else {
        panic!("what is sent on is a question: {sent:?}");
    };
    let (mut first, mut second) = ([0; MAX_KEY], [0; MAX_KEY]);
    let same = |query: &Query<'_>, key: &mut [u8; MAX_KEY]| query.key(key).to_vec();
    assert_eq!(same(&query, &mut first), same(&again, &mut second));
}

/// Returns the question in `message` as a client would ask it.
fn question_of(message: &[u8]) -> Option<Vec<u8>> {
    let end = name(message, 12)?.1 + 4;
    let mut query = message.get(..end)?.to_vec();
    query[2] = 1;
    query[3] = 0;
    query[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    Some(query)
}

/// Returns the zones of a small company.
pub fn zones() -> &'static Zones {
    static ZONES: OnceLock<Zones> = OnceLock::new();
    ZONES.get_or_init(|| {
        let (policy, _) = crate::policy::parse("names.toml", POLICY.as_bytes())
            .expect("the policy below has no mistakes");
        Zones::of(&policy)
    })
}

const POLICY: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
dns_servers = ["10.0.0.53"]
[[server]]
name = "Front End pool"
addresses = ["10.1.0.10"]
hosts = ["pool01.contoso.com"]
[[public]]
name = "Access Edge"
addresses = ["167.55.49.32", "2001:db8:ed9e::32"]
hosts = ["sip.contoso.com"]
srv = [{ name = "_sip._tls.contoso.com", target = "sip.contoso.com", port = 443 }]
[[public]]
name = "A/V Edge"
addresses = ["167.55.49.34"]
hosts = ["av.contoso.com"]
[dns]
sip_domains = ["contoso.com"]
"#;

/// RFC 1035 §3.3.13.
const SOA: u16 = 6;
/// RFC 9460.
const SVCB: usize = 64;
/// RFC 9460.
const HTTPS: usize = 65;
/// Maximum number of labels and pointers in a name.
const MAX_STEPS: usize = 512;
