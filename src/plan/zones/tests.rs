//! Tests of zones against the rules of a policy.

use super::*;
use crate::policy;

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
name = "Reverse proxy"
addresses = ["167.55.49.35"]
hosts = ["meet.contoso.com", "deep.rack1.pool01.contoso.com"]
[dns]
sip_domains = ["contoso.com"]
"#;

fn zones(text: &str) -> Zones {
    let (policy, _) = policy::parse("policy.toml", text.as_bytes()).expect("a good policy");
    Zones::of(&policy)
}

fn ask(zones: &Zones, name: &str, record_type: u16) -> String {
    let name: DnsName = name.parse().expect("a name");
    let answer = zones.answer(&name, record_type);
    match answer {
        Answer::Records { .. } => answer.data().join(", "),
        Answer::NoData { .. } | Answer::NxDomain { .. } | Answer::Forward => {
            assert!(answer.data().is_empty());
            answer.word().replace('-', " ")
        }
    }
}

#[test]
fn a_pinned_name_has_its_records_and_no_others() {
    let zones = zones(POLICY);
    for (name, record_type, expected) in [
        ("sip.contoso.com", record_type::A, "167.55.49.32"),
        ("SIP.Contoso.COM.", record_type::A, "167.55.49.32"),
        ("sip.contoso.com", record_type::AAAA, "2001:db8:ed9e::32"),
        (
            "sip.contoso.com",
            record_type::ANY,
            "167.55.49.32, 2001:db8:ed9e::32",
        ),
        ("sip.contoso.com", record_type::HTTPS, "no data"),
        ("sip.contoso.com", record_type::SRV, "no data"),
        ("meet.contoso.com", record_type::AAAA, "no data"),
        (
            "_sip._tls.contoso.com",
            record_type::SRV,
            "0 0 443 sip.contoso.com",
        ),
        ("_sip._tls.contoso.com", record_type::A, "no data"),
    ] {
        assert_eq!(
            ask(&zones, name, record_type),
            expected,
            "{name} {record_type}"
        );
    }
}

#[test]
fn internal_names_do_not_exist_and_nothing_is_below_them() {
    let zones = zones(POLICY);
    for name in [
        "lyncdiscoverinternal.contoso.com",
        "sipinternal.contoso.com",
        "_sipinternaltls._tcp.contoso.com",
        "_sipinternal._tcp.contoso.com",
        "a.b.sipinternal.contoso.com",
        "_http._tcp.sipinternal.contoso.com",
    ] {
        for (record_type, _) in record_type::NAMES.iter().copied() {
            assert_eq!(ask(&zones, name, record_type), "no such name", "{name}");
        }
    }
}

#[test]
fn a_hidden_name_above_a_pinned_one_exists_without_data() {
    let zones = zones(POLICY);
    for (name, expected) in [
        ("pool01.contoso.com", "no data"),
        ("rack1.pool01.contoso.com", "no data"),
        ("deep.rack1.pool01.contoso.com", "167.55.49.35"),
        ("rack2.pool01.contoso.com", "no such name"),
        ("other.rack1.pool01.contoso.com", "no such name"),
        // The nearest name decides.
        ("a.deep.rack1.pool01.contoso.com", "forward"),
    ] {
        assert_eq!(ask(&zones, name, record_type::A), expected, "{name}");
    }
    let hidden = zones.find(&"rack1.pool01.contoso.com".parse().expect("a name"));
    let rule = hidden.and_then(|owner| owner.sources.first()?.kind.rule());
    assert_eq!(rule, Some("Front End pool"));
}

proptest::proptest! {
    #[test]
    fn every_name_gets_what_the_rules_say(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 2_000)) {
        let mut bytes = arbitrary::Unstructured::new(&bytes);
        let policy = reference::policy_with_names(&mut bytes).expect("bytes enough");
        reference::check_answers(&Zones::of(&policy), &mut bytes);
    }
}

#[test]
fn names_beside_above_and_below_a_pinned_one_are_forwarded() {
    let zones = zones(POLICY);
    for name in [
        ".",
        "com",
        "contoso.com",
        "_tls.contoso.com",
        "_tcp.contoso.com",
        "xsip.contoso.com",
        "a.sip.contoso.com",
        "_8443._https.sip.contoso.com",
        "sip.contoso.com.example.net",
        "sip\\.contoso.com",
        "www.example.net",
    ] {
        assert_eq!(ask(&zones, name, record_type::A), "forward", "{name}");
    }
}

#[test]
fn canaries_are_a_choice() {
    let by_default = zones(POLICY);
    assert_eq!(
        ask(&by_default, "use-application-dns.net", record_type::A),
        "no data"
    );
    assert_eq!(ask(&by_default, "_dns.resolver.arpa", 64), "no data");
    assert_eq!(
        ask(&by_default, "mask.icloud.com", record_type::A),
        "forward"
    );
    let chosen = zones(&POLICY.replace("[dns]", "[dns]\ncanaries = [\"private-relay\"]"));
    assert_eq!(
        ask(&chosen, "use-application-dns.net", record_type::A),
        "forward"
    );
    assert_eq!(
        ask(&chosen, "mask-h2.icloud.com", record_type::A),
        "no data"
    );
}

#[test]
fn a_name_with_two_rules_is_pinned_with_the_records_of_both() {
    let text = format!(
        "{POLICY}
[[public]]
name = \"Second Edge\"
addresses = [\"167.55.50.32\", \"167.55.49.32\"]
hosts = [\"sip.contoso.com\", \"pool01.contoso.com\", \"sipinternal.contoso.com\"]
srv = [{{ name = \"_sip._tls.contoso.com\", target = \"sip.contoso.com\", port = 5061, priority = 10 }}]
"
    );
    let zones = zones(&text);
    let both = "167.55.49.32, 167.55.50.32";
    assert_eq!(ask(&zones, "sip.contoso.com", record_type::A), both);
    assert_eq!(
        ask(&zones, "_sip._tls.contoso.com", record_type::SRV),
        "0 0 443 sip.contoso.com, 10 0 5061 sip.contoso.com"
    );
    for name in ["pool01.contoso.com", "sipinternal.contoso.com"] {
        assert_eq!(
            ask(&zones, name, record_type::A),
            "167.55.50.32, 167.55.49.32",
            "{name}"
        );
    }
    let owner = zones
        .find(&"sip.contoso.com".parse().expect("a name"))
        .expect("pinned");
    let rules: Vec<_> = owner
        .sources
        .iter()
        .map(|it| (it.kind.rule(), it.line))
        .collect();
    assert_eq!(
        rules,
        [(Some("Access Edge"), 14), (Some("Second Edge"), 26)]
    );
}

#[test]
fn hosts_of_prefixes_alone_stay_with_the_public_dns() {
    let zones = zones(&POLICY.replace("\"167.55.49.35\"", "\"167.55.49.0/24\""));
    assert_eq!(ask(&zones, "meet.contoso.com", record_type::A), "forward");
}

#[test]
fn the_ttl_is_that_of_the_policy() {
    assert_eq!(zones(POLICY).ttl_seconds(), 60);
    let short = zones(&POLICY.replace("[dns]", "[dns]\nttl_seconds = 5"));
    assert_eq!(
        (short.ttl_seconds(), short.soa().negative_ttl_seconds),
        (5, 5)
    );
}

#[test]
fn treatments_and_their_rules_have_names_for_programs() {
    let zones = zones(POLICY);
    let told = |name: &str| {
        let name: DnsName = name.parse().expect("a name");
        let owner = zones.find(&name).expect("an owner");
        (owner.treatment.name(), owner.sources[0].kind.key())
    };
    for (name, expected) in [
        ("sip.contoso.com", ("pinned", "public.hosts")),
        ("_sip._tls.contoso.com", ("pinned", "public.srv")),
        ("pool01.contoso.com", ("hidden", "server.hosts")),
        (
            "lyncdiscoverinternal.contoso.com",
            ("hidden", "dns.sip_domains"),
        ),
        ("use-application-dns.net", ("canary", "dns.canaries")),
    ] {
        assert_eq!(told(name), expected, "{name}");
    }
}
