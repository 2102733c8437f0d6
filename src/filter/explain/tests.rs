//! Prefixes, rules and payloads behind a verdict.

use super::*;
use crate::filter::Generation;
use crate::policy;

const POLICY: &[u8] = br#"
[vpn]
client_subnets = ["172.16.1.0/24"]
[corporate]
subnets = ["10.0.0.0/8"]
[[server]]
name = "Front End pool"
addresses = ["10.1.0.0/28", "10.1.0.10"]
[[allow]]
name = "Remote Desktop"
to = ["10.9.0.0/24"]
ports = ["3389"]
[[allow]]
name = "one host"
to = ["10.9.0.5"]
ports = ["3389"]
"#;

fn compiled() -> CompiledPolicy {
    let (policy, _) = policy::parse("explain.toml", POLICY).expect("a good policy");
    CompiledPolicy::new(policy, Generation(1)).expect("a small policy")
}

fn question(to: &str, to_port: Option<u16>, protocol: Option<Protocol>) -> Question {
    let from = IpAddr::from([172, 16, 1, 10]);
    let to = to.parse().expect("an address");
    Question {
        from,
        from_port: None,
        to,
        to_port,
        protocol,
        payload: Payload::Other,
    }
}

#[test]
fn the_most_specific_prefix_of_the_rule_is_named_with_its_line() {
    let policy = compiled();
    let explanation = policy.explain(&question("10.1.0.10", Some(5061), Some(Protocol::Tcp)));
    let answers = explanation.expect("one family").answers;
    let [answer] = &answers[..] else {
        panic!("one port, one answer: {answers:?}")
    };
    assert_eq!(answer.verdict.to_string(), "drop servers");
    assert_eq!(
        answer.rule.map(|rule| (&*rule.name, rule.line)),
        Some(("Front End pool", Some(7)))
    );
    let matched = answer.matched.expect("a prefix led to it");
    assert_eq!(
        (matched.prefix.to_string(), matched.line),
        ("10.1.0.10/32".to_owned(), 8)
    );
}

#[test]
fn without_a_port_every_range_is_answered() {
    let policy = compiled();
    let explanation = policy.explain(&question("10.9.0.5", None, Some(Protocol::Tcp)));
    let answers = explanation.expect("one family").answers;
    let lines: Vec<String> = answers
        .iter()
        .map(|answer| format!("{} {}", answer.ports, answer.verdict))
        .collect();
    assert_eq!(
        lines,
        [
            "0-1023 forward default",
            "1024-3388 drop media",
            "3389 forward allow",
            "3390-65535 drop media"
        ]
    );
}

/// True if, by the compiled policy, an `[[allow]]` to `entries` lifts UDP from a client to port 50000 of `to`.
fn is_lifted(entries: &str, to: &str) -> bool {
    let text = format!(
        "[vpn]\nclient_subnets = [\"10.8.0.0/25\", \"10.8.0.128/25\", \"172.16.1.0/24\"]\n\
         [corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
         [[allow]]\nname = \"a\"\nto = [{entries}]\n"
    );
    let (policy, _) = policy::parse("explain.toml", text.as_bytes()).expect("a good policy");
    let question = question(to, Some(50_000), Some(Protocol::Udp));
    let compiled = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
    let explanation = compiled.explain(&question).expect("one family");
    let verdict = explanation.answers[0].verdict;
    match verdict.reason {
        Reason::Allow => true,
        Reason::Media | Reason::Hairpin => false,
        other => panic!("{other} for {to}"),
    }
}

#[test]
fn between_clients_an_allow_counts_by_its_prefixes_inside_their_subnets_alone() {
    let pools = ["10.8.0.5", "10.8.0.200", "172.16.1.5"];
    let lifted = |entries: &str| pools.map(|to| is_lifted(entries, to));
    // A client pool lies inside it, but the entry is meant for the offices.
    assert_eq!(lifted("\"10.0.0.0/8\""), [false, false, false]);
    assert!(is_lifted("\"10.0.0.0/8\"", "10.8.1.5"));
    // Two adjacent pools cover it together.
    assert_eq!(lifted("\"10.8.0.0/24\""), [true, true, false]);
    assert_eq!(lifted("\"10.8.0.0/25\""), [true, false, false]);
    assert_eq!(lifted("\"10.8.0.5\""), [true, false, false]);
    // Half of it is office addresses.
    assert_eq!(lifted("\"10.8.0.0/23\""), [false, false, false]);
    assert!(is_lifted("\"10.8.0.0/23\"", "10.8.1.5"));
    // The word "clients" stands for all pools, and for nothing else.
    assert_eq!(lifted("\"clients\""), [true, true, true]);
    assert!(!is_lifted("\"clients\"", "10.8.1.5"));
    assert_eq!(lifted("\"10.0.0.0/8\", \"clients\""), [true, true, true]);
    assert!(is_lifted("\"10.0.0.0/8\", \"clients\"", "10.8.1.5"));
    assert_eq!(
        lifted("\"10.0.0.0/8\", \"10.8.0.128/25\""),
        [false, true, false]
    );
}

#[test]
fn a_hairpin_names_the_allow_whose_prefix_reaches_beyond_the_clients() {
    let text = String::from_utf8_lossy(POLICY)
        .replace("172.16.1.0/24\"]", "172.16.1.0/24\", \"10.9.0.0/28\"]");
    let (policy, _) = policy::parse("explain.toml", text.as_bytes()).expect("a good policy");
    let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
    let beyond = |port| {
        let explanation = policy.explain(&question("10.9.0.6", port, Some(Protocol::Tcp)));
        let answers = explanation.expect("one family").answers;
        let said = answers.iter().map(|answer| {
            let named = answer.beyond_clients.map(|it| it.prefix.to_string());
            format!("{} {:?}", answer.verdict, named)
        });
        said.collect::<Vec<_>>()
    };
    assert_eq!(beyond(Some(3389)), ["drop hairpin Some(\"10.9.0.0/24\")"]);
    assert_eq!(beyond(Some(3390)), ["drop hairpin None"]);
    assert_eq!(
        beyond(None),
        ["forward default None", "drop hairpin Some(\"10.9.0.0/24\")"]
    );
    let from = SocketAddr::from(([172, 16, 1, 10], 50_000));
    let exactly = |port| {
        let to = SocketAddr::from(([10, 9, 0, 6], port));
        let answer = policy.explain_exactly(from, to, Some(Protocol::Tcp), Payload::Other);
        let named = answer.expect("one family").beyond_clients;
        named.map(|it| it.prefix.to_string())
    };
    assert_eq!(exactly(3389), Some("10.9.0.0/24".to_owned()));
    assert_eq!(exactly(3390), None);
}

/// Each `[[allow]]` but the last asks for something else than the packet has.
#[test]
fn a_hairpin_names_no_allow_that_would_not_lift_it() {
    let allow = |name: &str, more: &str| {
        format!("[[allow]]\nname = \"{name}\"\nto = [\"10.9.0.0/24\"]\n{more}\n")
    };
    let others = [
        allow("servers", "lifts = [\"servers\"]"),
        allow("other ports", "ports = [\"3389\"]"),
        allow("other source ports", "from_ports = [\"80\"]"),
        allow("another protocol", "protocols = [\"udp\"]"),
    ];
    let named = |allows: &str| {
        let text = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\", \"10.9.0.0/28\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n{allows}"
        );
        let (policy, _) = policy::parse("explain.toml", text.as_bytes()).expect("a good policy");
        let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        let question = question("10.9.0.6", Some(5_000), Some(Protocol::Tcp));
        let answers = policy.explain(&question).expect("one family").answers;
        assert_eq!(answers[0].verdict.to_string(), "drop hairpin");
        answers[0].beyond_clients.map(|it| it.set.to_string())
    };
    for other in &others {
        assert_eq!(named(other), None, "{other}");
    }
    let last = allow(
        "this one",
        "from_ports = [\"49152-65535\"]\nports = [\"5000\"]",
    );
    assert_eq!(
        named(&(others.concat() + &last)),
        Some("[[allow]] \"this one\"".to_owned())
    );
}

#[test]
fn the_prefix_of_the_set_that_led_to_the_verdict_is_named() {
    let policy = compiled();
    let exactly = |to: &str, port| {
        let from = SocketAddr::from(([172, 16, 1, 10], 50_000));
        let to = SocketAddr::new(to.parse().expect("an address"), port);
        let answer = policy.explain_exactly(from, to, Some(Protocol::Udp), Payload::Other);
        let answer = answer.expect("one family");
        let matched = answer.matched.map(|it| format!("{} {}", it.set, it.prefix));
        (answer.verdict.to_string(), matched)
    };
    let named = |verdict: &str, matched: &str| (verdict.to_owned(), Some(matched.to_owned()));
    assert_eq!(
        exactly("10.2.0.20", 50_010),
        named("drop media", "corporate.subnets 10.0.0.0/8")
    );
    assert_eq!(
        exactly("172.16.1.20", 50_010),
        named("drop hairpin", "vpn.client_subnets 172.16.1.0/24")
    );
    assert_eq!(
        exactly("10.1.0.3", 80),
        named("drop servers", "[[server]] \"Front End pool\" 10.1.0.0/28")
    );
    // Another entry is more specific, but this one is the first in the file.
    assert_eq!(
        exactly("10.9.0.5", 3389),
        named("forward allow", "[[allow]] \"Remote Desktop\" 10.9.0.0/24")
    );
    assert_eq!(
        exactly("10.9.0.5", 80),
        ("forward default".to_owned(), None)
    );
}

#[test]
fn each_match_drops_the_payloads_that_it_is_for() {
    let forwarded = "forward default";
    let told = |recognition: &str, protocol, payload| {
        let text = format!(
            "[vpn]\nclient_subnets = [\"172.16.1.0/24\"]\n[corporate]\nsubnets = [\"10.0.0.0/8\"]\n\
             [media]\nmatch = \"{recognition}\"\n"
        );
        let (policy, _) = policy::parse("media.toml", text.as_bytes()).expect("a good policy");
        let policy = CompiledPolicy::new(policy, Generation(1)).expect("a small policy");
        let from = SocketAddr::from(([172, 16, 1, 10], 50_000));
        let to = SocketAddr::from(([10, 2, 0, 20], 50_010));
        let answer = policy.explain_exactly(from, to, Some(protocol), payload);
        let verdict = answer.expect("one family").verdict;
        let evidence = verdict.media.map(|it| format!(", {}", it.evidence));
        format!("{verdict}{}", evidence.unwrap_or_default())
    };
    use Payload::{Dtls, MicrosoftCheck, Other, Rtp, StunCheck};
    use Protocol::{Tcp, Udp};
    for (payload, udp, tcp) in [
        (StunCheck, "stun-check", "ice-tcp"),
        (MicrosoftCheck, "stun-check", "ice-tcp"),
        (Rtp, "rtp", "rtp-tcp"),
    ] {
        assert_eq!(told("media", Udp, payload), format!("drop media, {udp}"));
        assert_eq!(told("media", Tcp, payload), format!("drop media, {tcp}"));
    }
    assert_eq!(told("media", Udp, Dtls), "drop media, dtls-srtp");
    assert_eq!(told("ice", Udp, StunCheck), "drop media, stun-check");
    assert_eq!(told("ice", Tcp, StunCheck), "drop media, ice-tcp");
    for payload in [Dtls, Rtp, Other] {
        assert_eq!(told("ice", Udp, payload), forwarded);
        assert_eq!(told("ice", Tcp, payload), forwarded);
    }
    assert_eq!(
        told("ice-microsoft", Udp, MicrosoftCheck),
        "drop media, stun-check"
    );
    assert_eq!(
        told("ice-microsoft", Tcp, MicrosoftCheck),
        "drop media, ice-tcp"
    );
    assert_eq!(told("ice-microsoft", Udp, StunCheck), forwarded);
    for (_, payload) in Payload::WORDS {
        assert_eq!(told("ports", Udp, *payload), "drop media");
        assert_eq!(told("ports", Tcp, *payload), "drop media");
    }
}

#[test]
fn a_question_across_families_has_no_answer() {
    assert_eq!(
        compiled().explain(&question("2001:db8::1", Some(80), Some(Protocol::Tcp))),
        None
    );
}
