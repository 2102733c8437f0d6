//! `offramp explain`: the verdict, the rule, the line of the policy and the prefix that matched.

use std::fs;

use crate::support::{Folder, offramp, project};
use serde_json::{Value, json};

const CONTOSO: &str = "config/contoso.toml";

fn explain(policy: &str, from: &str, to: &str, protocol: &str) -> String {
    offramp(&[
        "explain",
        policy,
        "--from",
        from,
        "--to",
        to,
        "--protocol",
        protocol,
    ])
    .success()
}

fn explain_json(policy: &str, from: &str, to: &str, protocol: &str) -> Value {
    let ends = ["--from", from, "--to", to, "--protocol", protocol, "--json"];
    let ended = offramp(&[&["explain", policy], &ends[..]].concat());
    let answer = ended.json();
    ended.success();
    answer
}

/// Returns the number of the first policy line that starts with `text`, after the first line that starts with `after`.
fn line(policy: &str, after: &str, text: &str) -> usize {
    let lines = fs::read_to_string(project(policy)).expect("a policy of config/");
    let mut lines = lines.lines().enumerate();
    lines
        .find(|(_, line)| line.starts_with(after))
        .expect(after);
    let (at, _) = lines.find(|(_, line)| line.starts_with(text)).expect(text);
    at + 1
}

#[test]
fn a_server_is_dropped_by_its_rule_line_and_prefix() {
    let answer = explain(CONTOSO, "172.16.1.10:51000", "10.1.0.10:5061", "tcp");
    let name = "name = \"Front End pool\"";
    let server = line(CONTOSO, name, "addresses");
    let clients = line(CONTOSO, "[vpn]", "client_subnets");
    let (verdict, sets) = answer
        .split_once("\n\n")
        .expect("the verdict, then the sets");
    assert!(verdict.starts_with("drop servers: "), "{answer}");
    assert!(verdict.contains("Front End pool"), "{answer}");
    assert!(
        verdict.contains(&format!("holds 10.1.0.10/32 ({CONTOSO}:{server})")),
        "{answer}"
    );
    assert!(
        sets.contains(&format!("vpn.client_subnets ({CONTOSO}:{clients})")),
        "{answer}"
    );

    let answer = explain_json(CONTOSO, "172.16.1.10:51000", "10.1.0.10:5061", "tcp");
    let answers = answer["answers"].as_array().expect("a list of answers");
    assert_eq!(answers.len(), 1, "{answer:#}");
    let answer = &answers[0];
    assert_eq!(
        (&answer["verdict"], &answer["reason"]),
        (&json!("drop"), &json!("servers"))
    );
    assert_eq!(answer["rule"]["name"], "Front End pool");
    let named = line(CONTOSO, "[[server]]", name);
    assert_eq!(answer["rule"]["line"], named);
    assert_eq!(answer["matched"]["prefix"], "10.1.0.10/32");
    assert_eq!(answer["matched"]["line"], server);
    assert_eq!(answer["ports"], json!({ "first": 5061, "last": 5061 }));
}

#[test]
fn media_to_an_office_is_dropped_by_the_ports_of_the_policy() {
    let answer = explain(CONTOSO, "172.16.1.10:50000", "10.20.0.7:50020", "udp");
    let corporate = line(CONTOSO, "[corporate]", "subnets");
    let ports = line(CONTOSO, "[media]", "ports");
    let holds = format!("corporate.subnets holds 10.0.0.0/8 ({CONTOSO}:{corporate})");
    assert!(
        answer.starts_with(&format!("drop media: {holds}")),
        "{answer}"
    );
    assert!(
        answer.contains(&format!("media.ports ({CONTOSO}:{ports})")),
        "{answer}"
    );
}

#[test]
fn every_reason_of_contoso_is_told_apart() {
    let cases = [
        (
            "172.16.1.10:50000",
            "172.16.1.11:50020",
            "udp",
            "drop",
            "hairpin",
            Some("172.16.1.0/24"),
        ),
        (
            "172.16.1.10:51000",
            "167.55.49.32:443",
            "tcp",
            "forward",
            "public",
            Some("167.55.49.32/32"),
        ),
        (
            "172.16.1.10:51000",
            "10.9.0.4:3389",
            "tcp",
            "forward",
            "allow",
            Some("10.9.0.0/24"),
        ),
        (
            "172.16.1.10:51000",
            "10.5.0.2:443",
            "tcp",
            "forward",
            "default",
            None,
        ),
        (
            "10.1.0.10:51000",
            "10.5.0.2:8000",
            "tcp",
            "forward",
            "not-a-client",
            None,
        ),
    ];
    for (from, to, protocol, verdict, reason, prefix) in cases {
        let answer = &explain_json(CONTOSO, from, to, protocol)["answers"][0];
        assert_eq!(answer["verdict"], verdict, "{from} {to}: {answer:#}");
        assert_eq!(answer["reason"], reason, "{from} {to}: {answer:#}");
        assert_eq!(
            answer["matched"]["prefix"].as_str(),
            prefix,
            "{from} {to}: {answer:#}"
        );
    }
}

#[test]
fn without_a_port_the_answer_is_given_by_ranges() {
    let answer = explain(CONTOSO, "172.16.1.10", "10.9.0.4", "tcp");
    let (verdicts, _) = answer
        .split_once("\n\n")
        .expect("the verdicts, then the sets");
    let starts: Vec<String> = verdicts
        .lines()
        .map(|line| line.split_once(':').map_or(line, |(start, _)| start))
        .map(|start| start.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "0-1023 forward default",
        "1024-3388 drop media",
        "3389 forward allow",
        "3390-65535 drop media",
    ];
    assert_eq!(starts, expected, "{answer}");

    let answer = explain_json(CONTOSO, "172.16.1.10", "10.9.0.4", "tcp");
    let answers = answer["answers"].as_array().expect("a list of answers");
    let mut next = 0;
    for answer in answers {
        assert_eq!(answer["ports"]["first"], next, "ranges without a gap");
        next = answer["ports"]["last"].as_u64().expect("a port") + 1;
    }
    assert_eq!(next, 65_536);
}

#[test]
fn icmp_passes_and_has_no_ports() {
    let answer = explain(CONTOSO, "172.16.1.10", "10.20.0.7", "icmp");
    assert!(answer.starts_with("forward default: "), "{answer}");
    assert!(answer.contains("ICMP"), "{answer}");
    // The policy has no ranges of ports, although ports would matter.
    let answer = explain_json(CONTOSO, "172.16.1.10", "10.1.0.10", "icmp");
    assert_eq!(
        answer["answers"].as_array().map(Vec::len),
        Some(1),
        "{answer:#}"
    );

    let ends = [
        "--from",
        "172.16.1.10",
        "--to",
        "10.20.0.7:80",
        "--protocol",
        "icmp",
    ];
    let message = offramp(&[&["explain", CONTOSO], &ends[..]].concat()).failure(2);
    assert!(message.contains("ICMP has no ports"), "{message}");
}

#[test]
fn ipv6_is_written_with_brackets_where_there_is_a_port() {
    let policy = "config/dual-stack.toml";
    for from in [
        "fd00:c0de:200::10",
        "[fd00:c0de:200::10]",
        "[fd00:c0de:200::10]:50004",
    ] {
        let answer = explain_json(policy, from, "[2001:db8:c0de:40::7]:50020", "udp");
        let answer = &answer["answers"][0];
        assert_eq!(
            (&answer["verdict"], &answer["reason"]),
            (&json!("drop"), &json!("media"))
        );
        assert_eq!(answer["matched"]["prefix"], "2001:db8:c0de::/48", "{from}");
        assert_eq!(
            answer["matched"]["line"],
            line(policy, "[corporate]", "subnets")
        );
    }
}

#[test]
fn addresses_of_two_families_are_no_packet() {
    let ends = [
        "--from",
        "172.16.1.10",
        "--to",
        "2001:db8::1",
        "--protocol",
        "udp",
    ];
    let message = offramp(&[&["explain", CONTOSO], &ends[..]].concat()).failure(2);
    assert!(
        message.contains("172.16.1.10 and 2001:db8::1 are of two families"),
        "{message}"
    );
}

#[test]
fn what_is_no_address_is_refused_with_what_to_write() {
    for wrong in [
        "lync.contoso.com",
        "10.1.0",
        "10.1.0.10:",
        "10.1.0.10:99999",
        "10.1.0.10:-1",
        "[2001:db8::1",
        "2001:db8::g",
        "",
    ] {
        let ends = ["--from", "172.16.1.10", "--to", wrong, "--protocol", "udp"];
        let message = offramp(&[&["explain", CONTOSO], &ends[..]].concat()).failure(2);
        assert!(message.contains("--to"), "{wrong}: {message}");
        assert!(message.contains("10.1.0.10:5061"), "{wrong}: {message}");
        assert!(message.contains("[2001:db8::1]:5061"), "{wrong}: {message}");
    }
    let ends = [
        "--from",
        "172.16.1.10",
        "--to",
        "10.1.0.10",
        "--protocol",
        "sctp",
    ];
    let message = offramp(&[&["explain", CONTOSO], &ends[..]].concat()).failure(2);
    assert!(message.contains("tcp, udp, icmp"), "{message}");
}

#[test]
fn a_refused_policy_explains_nothing() {
    let ends = [
        "--from",
        "172.16.1.10",
        "--to",
        "10.1.0.10",
        "--protocol",
        "udp",
        "--json",
    ];
    let policy = "tests/refused/host_bits_of_the_article.toml";
    let ended = offramp(&[&["explain", policy], &ends[..]].concat());
    assert_eq!(ended.stdout, "");
    let message = ended.failure(2);
    assert!(message.contains(&format!("{policy}:2:19")), "{message}");
}

#[test]
fn a_pinned_name_has_its_public_addresses_in_any_case() {
    let edge = line(CONTOSO, "name = \"Access Edge\"", "hosts");
    for name in ["sip.contoso.com", "SIP.Contoso.COM."] {
        let answer = offramp(&["explain", CONTOSO, "--name", name]).success();
        let (types, why) = answer.split_once("\n\n").expect("the types, then why");
        let types: Vec<String> = types
            .lines()
            .map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            types,
            [
                "A 167.55.49.32",
                "AAAA no data",
                "SRV no data",
                "HTTPS no data"
            ],
            "{answer}"
        );
        assert!(why.starts_with("sip.contoso.com is pinned "), "{answer}");
        let place = format!("hosts of [[public]] \"Access Edge\" ({CONTOSO}:{edge})");
        assert!(why.contains(&place), "{answer}");
    }
}

#[test]
fn a_service_record_is_explained_for_programs() {
    let name = ["--name", "_sip._tls.contoso.com", "--type", "srv", "--json"];
    let answer = offramp(&[&["explain", CONTOSO], &name[..]].concat()).json();
    let expected =
        json!([{ "type": "SRV", "answer": "records", "records": ["0 0 443 sip.contoso.com"] }]);
    assert_eq!(answer["answers"], expected, "{answer:#}");
    assert_eq!(answer["rule"]["treatment"], "pinned");
    let srv = line(CONTOSO, "name = \"Access Edge\"", "srv");
    let source = json!({ "key": "public.srv", "rule": "Access Edge", "line": srv });
    assert_eq!(answer["rule"]["sources"], json!([source]), "{answer:#}");
    assert_eq!(answer["ttl_seconds"], 60);
}

#[test]
fn hidden_names_canaries_and_others_are_told_apart() {
    let domains = line(CONTOSO, "[dns]", "sip_domains");
    for (name, word, owner, at) in [
        (
            "lyncdiscoverinternal.contoso.com",
            "no-such-name",
            Some("lyncdiscoverinternal.contoso.com"),
            json!(domains),
        ),
        (
            "a.b.sipinternal.contoso.com",
            "no-such-name",
            Some("sipinternal.contoso.com"),
            json!(domains),
        ),
        (
            "use-application-dns.net",
            "no-data",
            Some("use-application-dns.net"),
            Value::Null,
        ),
        ("xsip.contoso.com", "forward", None, Value::Null),
        ("www.sip.contoso.com", "forward", None, Value::Null),
    ] {
        let answer = offramp(&["explain", CONTOSO, "--name", name, "--json"]).json();
        let answers = answer["answers"].as_array().expect("a list of answers");
        assert_eq!(answers.len(), 4, "{answer:#}");
        assert!(
            answers.iter().all(|it| it["answer"] == word),
            "{name}: {answer:#}"
        );
        assert_eq!(answer["rule"]["name"].as_str(), owner, "{answer:#}");
        assert_eq!(answer["rule"]["sources"][0]["line"], at, "{answer:#}");
    }
    let answer = offramp(&["explain", CONTOSO, "--name", "www.contoso.com"]).success();
    assert!(
        answer.contains("the policy does not name www.contoso.com; answered by 10.0.0.53:53"),
        "{answer}"
    );
}

#[test]
fn a_question_of_both_kinds_or_of_none_is_refused() {
    let packet = [
        "--from",
        "172.16.1.10",
        "--to",
        "10.1.0.10",
        "--protocol",
        "udp",
    ];
    for (arguments, says) in [
        (&["--name", "a..b"][..], "a label is empty"),
        (&["--name", &"x".repeat(64)], "longer than 63 bytes"),
        (&["--name", "sip.contoso.com", "--type", "HTTP"], "HTTPS"),
        (
            &["--name", "sip.contoso.com", "--type", "TYPE65536"],
            "TYPE and a number",
        ),
        (
            &[&packet[..], &["--name", "sip.contoso.com"]].concat(),
            "cannot be used with",
        ),
        (&[&packet[..], &["--type", "A"]].concat(), "--name"),
        (&["--from", "172.16.1.10"], "--to"),
        (&[], "--from"),
    ] {
        let message = offramp(&[&["explain", CONTOSO], arguments].concat()).failure(2);
        assert!(message.contains(says), "{arguments:?}: {message}");
    }
}

#[test]
fn where_media_is_recognized_the_payload_decides() {
    let folder = Folder::new("the_payload_decides");
    let policy = "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n[media]\nmatch = \"ice\"\n";
    let policy = folder.write("ice.toml", policy);
    let explain = |more: &[&str]| {
        let ends = ["--from", "172.16.1.10", "--to", "10.2.0.20:50010"];
        let asked = ["explain", &policy, "--protocol", "udp"];
        offramp(&[&asked, &ends, more].concat())
    };
    let text = explain(&[]).success();
    insta::assert_snapshot!("explain-ice", text.replace(&policy, "ice.toml"));
    let json = explain(&["--json"]).json();
    assert_eq!(json["answers"][0]["verdict"], "forward");
    assert_eq!(json["media"]["answers"][0]["reason"], "media");
    assert_eq!(json["media"]["answers"][0]["evidence"], "stun-check");
    for (payload, verdict) in [
        ("stun-check", "drop"),
        ("rtp", "forward"),
        ("other", "forward"),
    ] {
        let json = explain(&["--payload", payload, "--json"]).json();
        assert_eq!(json["payload"], payload);
        assert_eq!(json["answers"][0]["verdict"], verdict, "{payload}");
        assert!(json["media"].is_null());
    }
    let refused = explain(&["--payload", "stun"]).failure(2);
    assert!(
        refused.contains("write one of other, stun-check"),
        "{refused}"
    );
}

#[test]
fn what_is_sent_to_the_gateway_itself_passes_where_its_address_is_given() {
    let ask = |gateway: &[&str], to: &str| {
        let ends = ["--from", "172.16.1.10", "--protocol", "udp", "--to", to];
        offramp(&[&["explain", CONTOSO], &ends[..], gateway].concat()).success()
    };
    let gateway = ["--gateway-address", "172.16.1.1"];
    let both = ["--gateway-address", "10.1.0.10", gateway[0], gateway[1]];

    assert!(ask(&[], "172.16.1.1:5353").starts_with("drop hairpin: "));
    let answer = ask(&gateway, "172.16.1.1:5353");
    let sentence = "forward gateway: 172.16.1.1 is the gateway's own address\n";
    assert!(answer.starts_with(sentence), "{answer}");
    assert!(ask(&gateway, "172.16.1.1").starts_with(sentence));
    assert!(ask(&gateway, "172.16.1.2:5353").starts_with("drop hairpin: "));
    // A server's rule names this address.
    assert!(ask(&both, "10.1.0.10:5353").starts_with("drop servers: "));
    assert!(ask(&both, "172.16.1.1:5353").starts_with(sentence));
}

#[test]
fn it_says_which_drops_are_not_enforced() {
    let folder = Folder::new("not_enforced");
    let answer = |gateway: &str, from: &str, to: &str| {
        let policy = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
             [filter]\nreject = \"tcp\"\n[gateway]\n{gateway}\n"
        );
        let policy = folder.write("policy.toml", policy);
        let json = explain_json(&policy, from, to, "tcp");
        let answer = json["answers"][0].clone();
        assert_eq!(answer["verdict"] == "drop", to.ends_with("50020"));
        (explain(&policy, from, to, "tcp"), answer)
    };
    let media = "10.20.0.7:50020";
    for (gateway, gap) in [
        (
            "enforce = false",
            "the policy is not enforced (gateway.enforce = false)",
        ),
        (
            "pilot = [\"172.16.1.16/28\"]",
            "the policy is enforced for 172.16.1.16/28 only (gateway.pilot)",
        ),
    ] {
        let (text, answer) = answer(gateway, "172.16.1.10", media);
        let wanted = format!("; NOT ENFORCED, the gateway forwards it: {gap}\n");
        assert!(text.contains(&wanted), "{text}");
        assert_eq!(answer["enforced"], false);
        assert_eq!(answer["answered_by"], Value::Null);
    }
    for (gateway, from, to) in [
        ("", "172.16.1.10", media),
        ("pilot = [\"172.16.1.0/28\"]", "172.16.1.10", media),
        ("enforce = false", "172.16.1.10", "10.20.0.7:53"),
    ] {
        let (text, answer) = answer(gateway, from, to);
        assert!(!text.contains("NOT ENFORCED"), "{text}");
        assert_eq!(answer["enforced"], true);
    }
}

#[test]
fn it_says_which_drops_are_answered() {
    let folder = Folder::new("answered");
    let answer = |reject: &str, protocol: &str, payload: &str| {
        let policy = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
             [filter]\nreject = \"{reject}\"\n"
        );
        let policy = folder.write("policy.toml", policy);
        let ends = [
            "--from",
            "172.16.1.10",
            "--to",
            "10.20.0.7:50020",
            "--protocol",
            protocol,
        ];
        let arguments = [&["explain", &policy], &ends[..], &["--payload", payload]].concat();
        let text = offramp(&arguments).success();
        let json = offramp(&[&arguments[..], &["--json"]].concat()).json();
        (text, json["answers"][0]["answered_by"].clone())
    };
    let (text, json) = answer("tcp", "tcp", "other");
    assert!(text.contains("; answered by RST\n"), "{text}");
    assert_eq!(json, "rst");
    let (text, json) = answer("all", "udp", "other");
    assert!(
        text.contains("; answered by ICMP port unreachable\n"),
        "{text}"
    );
    assert_eq!(json, "unreachable");
    for (reject, protocol, payload) in [
        ("none", "tcp", "other"),
        ("tcp", "udp", "other"),
        ("all", "udp", "stun-check"),
    ] {
        let (text, json) = answer(reject, protocol, payload);
        assert!(
            !text.contains("; answered by"),
            "{reject} {protocol} {payload}: {text}"
        );
        assert_eq!(json, Value::Null);
    }
}
