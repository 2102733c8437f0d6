//! The policy, and the queries of clients under it.

use std::collections::BTreeSet;

use offramp::name::DnsName;
use offramp::name::record_type;
use offramp::plan::{Answer, Zones};
use offramp::policy::{self, Policy};

use super::dig::Reply;
use super::leaky;

/// The company's DNS server, which would answer with internal addresses.
pub(super) const UPSTREAM: &str = "127.0.0.99";

/// Returns the policy, whose own DNS server listens at `listen`.
pub(super) fn policy(listen: &str) -> Policy {
    let text = POLICY
        .replace("LISTEN", listen)
        .replace("UPSTREAM", UPSTREAM);
    policy::parse("names.toml", text.as_bytes())
        .unwrap_or_else(|errors| panic!("{errors}"))
        .0
}

/// Returns its text.
pub(super) fn policy_text(listen: &str) -> String {
    POLICY
        .replace("LISTEN", listen)
        .replace("UPSTREAM", UPSTREAM)
}

const POLICY: &str = r#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[media]
ports = ["50000-50059"]
[[server]]
name = "Front End pool"
addresses = ["10.1.0.10"]
hosts = ["pool01.contoso.com", "rack.contoso.com"]
[[public]]
name = "Access Edge"
addresses = ["167.55.49.32", "2001:db8:ed9e::32"]
hosts = ["sip.contoso.com", "edge.site.rack.contoso.com"]
srv = [
    { name = "_sip._tls.contoso.com", target = "sip.contoso.com", port = 443 },
    { name = "_sip._tls.contoso.com", target = "meet.contoso.com", port = 5061, priority = 10, weight = 5 },
]
[[public]]
name = "Reverse proxy"
addresses = ["167.55.49.35", "167.55.50.35"]
hosts = ["meet.contoso.com", "lyncdiscover.contoso.com"]
[[public]]
name = "New world"
addresses = ["2001:db8:ed9e::40"]
hosts = ["only6.contoso.com"]
[dns]
listen = ["LISTEN"]
sip_domains = ["contoso.com"]
upstreams = ["UPSTREAM"]
clients = ["127.0.0.0/8"]
canaries = ["doh", "private-relay", "ddr"]
"#;

/// One query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// As it is sent, with its case.
    pub(super) name: &'static str,
    pub(super) record_type: u16,
}

impl Question {
    /// Returns it as `dig` takes it, and as the tables of differences name it.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.name, record_type::text(self.record_type))
    }
}

/// Returns all queries in order: first those whose answers could poison a cache for the others.
pub(super) fn questions() -> Vec<Question> {
    let cross = |names: &[&'static str], types: &[u16]| -> Vec<Question> {
        let each = |name| {
            types
                .iter()
                .map(move |&record_type| Question { name, record_type })
        };
        names.iter().flat_map(|name| each(*name)).collect()
    };
    [
        cross(LEADING_TO_PINNED, &[A, AAAA, HTTPS]),
        cross(WITH_PINNED_BESIDE, &[SRV, MX]),
        cross(
            OWN,
            &[
                A, AAAA, SRV, HTTPS, SVCB, CNAME, NS, SOA, PTR, MX, TXT, CAA, ANY,
            ],
        ),
        cross(OTHERS, &[A, AAAA, SRV, HTTPS, MX, TXT]),
    ]
    .concat()
}

/// Aliases inside the company that end in pinned or hidden names.
const LEADING_TO_PINNED: &[&str] = &["alias-of-sip.contoso.com", "alias-of-pool01.contoso.com"];

/// Their answers come with addresses of pinned names.
const WITH_PINNED_BESIDE: &[&str] = &["_sip._tcp.contoso.com", "contoso.com"];

/// Names in the policy, listed or below a listed name.
const OWN: &[&str] = &[
    // pinned
    "sip.contoso.com",
    "SIP.CONTOSO.COM",
    "sIp.CoNtOsO.cOm",
    "meet.contoso.com",
    "only6.contoso.com",
    "_sip._tls.contoso.com",
    "_SIP._TLS.contoso.com",
    "edge.site.rack.contoso.com",
    // hidden
    "lyncdiscoverinternal.contoso.com",
    "LyncDiscoverInternal.contoso.com",
    "sipinternal.contoso.com",
    "_sipinternaltls._tcp.contoso.com",
    "_sipinternal._tcp.contoso.com",
    "pool01.contoso.com",
    "rack.contoso.com",
    "site.rack.contoso.com",
    "other.rack.contoso.com",
    "a.b.pool01.contoso.com",
    // canaries
    "use-application-dns.net",
    "mask.icloud.com",
    "_dns.resolver.arpa",
];

/// Names not in the policy.
const OTHERS: &[&str] = &[
    "xsip.contoso.com",
    "sip.contoso.com.example.net",
    "www.sip.contoso.com",
    "_8443._https.sip.contoso.com",
    "below.edge.site.rack.contoso.com",
    "x._sip._tls.contoso.com",
    "x.use-application-dns.net",
    "_tls.contoso.com",
    "missing.contoso.com",
    "www.example.net",
    "WWW.Example.Net",
];

const A: u16 = record_type::A;
const AAAA: u16 = record_type::AAAA;
const SRV: u16 = record_type::SRV;
const HTTPS: u16 = record_type::HTTPS;
const ANY: u16 = record_type::ANY;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
const SVCB: u16 = 64;
const CAA: u16 = 257;

/// Returns a server's differences from the policy, a line each; `direct` are the replies of the company's DNS server.
pub(super) fn differences(
    zones: &Zones,
    questions: &[Question],
    direct: &[Reply],
    replies: &[Reply],
) -> BTreeSet<String> {
    assert_eq!(replies.len(), questions.len(), "each question has a reply");
    let mut found = BTreeSet::new();
    for ((question, direct), reply) in questions.iter().zip(direct).zip(replies) {
        let (code, answers) = expected(zones, question, direct);
        let text = question.text();
        let leaks = leaks(zones, reply);
        let ttl = reply
            .answers
            .iter()
            .filter(|record| is_own(zones, &record.owner))
            .map(|it| it.ttl);
        let longest = ttl.max().unwrap_or(0);
        if !leaks.is_empty() {
            found.insert(format!("{text}: leaks {}", leaks.join(", ")));
        } else if reply.code != code {
            found.insert(format!("{text}: {} for {code}", reply.code));
        } else if reply.data() != answers {
            found.insert(format!("{text}: {:?} for {answers:?}", reply.data()));
        } else if longest > zones.ttl_seconds() {
            found.insert(format!("{text}: for {longest} s"));
        }
    }
    found
}

/// Returns the code and the data of the answer that a client must get.
fn expected(
    zones: &Zones,
    question: &Question,
    direct: &Reply,
) -> (&'static str, BTreeSet<String>) {
    // An alias is forwarded, and its target is replaced.
    let target = question.name.strip_prefix(leaky::ALIAS);
    let name: DnsName = target.unwrap_or(question.name).parse().expect("a name");
    let alias = target.map(str::to_owned);
    match zones.answer(&name, question.record_type) {
        answer @ Answer::Records { .. } => {
            ("NOERROR", answer.data().into_iter().chain(alias).collect())
        }
        Answer::NoData { .. } => ("NOERROR", alias.into_iter().collect()),
        Answer::NxDomain { .. } => ("NXDOMAIN", alias.into_iter().collect()),
        Answer::Forward if direct.code == "NXDOMAIN" => ("NXDOMAIN", direct.data()),
        Answer::Forward => ("NOERROR", direct.data()),
    }
}

fn is_own(zones: &Zones, name: &str) -> bool {
    let name: DnsName = name.parse().expect("a name");
    zones.answer(&name, ANY) != Answer::Forward
}

/// Returns the internal records, in any section, of names in the policy.
fn leaks(zones: &Zones, reply: &Reply) -> Vec<String> {
    let records = reply.answers.iter().chain(&reply.beside);
    let leaking = records.filter(|record| is_own(zones, &record.owner) && record.is_internal());
    leaking
        .map(|record| format!("{} {}", record.owner, record.record_type))
        .collect()
}
