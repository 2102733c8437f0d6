//! Chains as firewalls have them, each as `nft` or `iptables-save` lists it.

use serde_json::{Value, json};

use super::chain::{Condition, Ruleset, Step, Tool, Tracking};
use super::nft_list::Numbers;
use super::passage::check_ruleset;
use super::*;
use crate::address::Family;
use crate::gateway::host::sample::{assert_one, compiled};
use crate::policy::Severity;

mod drops;
mod reading;

/// A listing of chains of table `ip filter`, each with its hook and policy, and its rules.
fn listing(chains: &[(&str, Value, &[Value])]) -> Value {
    let mut objects = vec![json!({"metainfo": {}})];
    for (name, hook, _) in chains {
        let mut chain = json!({"family": "ip", "table": "filter", "name": name});
        for (key, value) in hook.as_object().expect("an object") {
            chain[key] = value.clone();
        }
        objects.push(json!({ "chain": chain }));
    }
    for (name, _, rules) in chains {
        objects.extend(rules.iter().map(|statements| {
            json!({"rule": {"family": "ip", "table": "filter", "chain": name, "handle": 7, "expr": statements}})
        }));
    }
    json!({ "nftables": objects })
}

fn read(chains: &[(&str, Value, &[Value])]) -> Ruleset {
    nft_list::read(&listing(chains), "offramp", &mut Numbers::default())
}

fn forward(policy: &str) -> Value {
    json!({"hook": "forward", "type": "filter", "prio": 0, "policy": policy})
}

fn prerouting(priority: i64) -> Value {
    json!({"hook": "prerouting", "type": "filter", "prio": priority, "policy": "accept"})
}

fn is(key: &str, name: &str) -> Value {
    json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": name}})
}

fn state(words: &[&str]) -> Value {
    json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": words}})
}

fn to(address: &str) -> Value {
    json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": address}})
}

fn accept() -> Value {
    json!({"accept": null})
}

fn drop_it() -> Value {
    json!({"drop": null})
}

fn found(chains: &[(&str, Value, &[Value])]) -> Vec<Finding> {
    found_in(&read(chains))
}

fn found_in(ruleset: &Ruleset) -> Vec<Finding> {
    let passage = Passage {
        interfaces: vec!["tun0".to_owned()],
        device: "offramp0".to_owned(),
        families: vec![Family::V4, Family::V6],
        clients: vec!["172.16.1.0/24".parse().expect("a prefix")],
    };
    let present = ["lo", "eth0", "eth1", "tun0", "docker0"].map(str::to_owned);
    check_ruleset(ruleset, &passage, &present)
}

/// A listing of iptables-nft, as far as `nft` knows it, with the rules of `iptables-nft-save`.
fn refined(text: &str) -> Ruleset {
    let chain = |table: &str, name: &str, hook: Value| {
        let mut chain = json!({"family": "ip", "table": table, "name": name});
        for (key, value) in hook.as_object().expect("an object") {
            chain[key] = value.clone();
        }
        json!({ "chain": chain })
    };
    let nat = json!({"hook": "prerouting", "type": "nat", "prio": -100, "policy": "accept"});
    let listing = json!({"nftables": [
        chain("filter", "FORWARD", forward("drop")),
        chain("filter", "DOCKER-USER", json!({})),
        chain("raw", "PREROUTING", prerouting(-300)),
        chain("nat", "PREROUTING", nat),
    ]});
    let mut numbers = Numbers::default();
    let mut ruleset = nft_list::read(&listing, "offramp", &mut numbers);
    save::refine(&mut ruleset, "ip", text, &mut numbers);
    ruleset
}

#[test]
fn both_passages_are_asked_for() {
    let established = json!([state(&["established", "related"]), accept()]);
    let from_vpn = json!([is("iifname", "tun0"), accept()]);
    let to_filter = json!([is("oifname", "offramp0"), accept()]);
    let from_filter = json!([is("iifname", "offramp0"), accept()]);
    let check = |rules: &[Value]| found(&[("FORWARD", forward("drop"), rules)]);

    let neither = check(&[
        established.clone(),
        json!([is("iifname", "tun0"), is("oifname", "eth1"), accept()]),
    ]);
    assert_one(
        &neither,
        Severity::Error,
        "what goes from tun0 to offramp0, and what goes on from offramp0",
    );
    let second = check(&[established.clone(), from_vpn.clone()]);
    assert_one(
        &second,
        Severity::Error,
        "stops what it does not know: what goes on from offramp0",
    );
    let also = check(&[established.clone(), from_vpn.clone(), to_filter]);
    assert_one(
        &also,
        Severity::Error,
        "stops what it does not know: what goes on from offramp0",
    );
    assert_eq!(
        check(&[established.clone(), from_vpn, from_filter.clone()]),
        []
    );
    let first = check(&[
        established,
        from_filter,
        json!([is("iifname", "tun0"), is("oifname", "eth0"), accept()]),
    ]);
    assert_one(
        &first,
        Severity::Error,
        "stops what it does not know: what goes from tun0 to offramp0",
    );
}

#[test]
fn a_rule_elsewhere_that_names_the_device_provides_for_nothing() {
    let named = json!([is("iifname", "offramp0"), accept()]);
    let findings = found(&[
        (
            "INPUT",
            json!({"hook": "input", "type": "filter", "prio": 0, "policy": "accept"}),
            &[named],
        ),
        (
            "FORWARD",
            forward("drop"),
            &[json!([is("iifname", "tun0"), accept()])],
        ),
    ]);
    assert_one(&findings, Severity::Error, "chain ip filter FORWARD stops");
}

#[test]
fn chains_that_are_called_take_part() {
    let jump = |target: &str| json!([{"jump": {"target": target}}]);
    let reject = json!([{"counter": {}}, {"reject": null}]);
    let rules = |named: &str| json!([is("iifname", named), accept()]);
    let check = |users: &[Value]| {
        found(&[
            (
                "FORWARD",
                forward("accept"),
                &[jump("USERS"), reject.clone()],
            ),
            ("USERS", json!({}), users),
        ])
    };
    assert_one(
        &check(&[rules("tun0")]),
        Severity::Error,
        "what goes on from offramp0",
    );
    assert_eq!(check(&[rules("tun0"), rules("offramp0")]), []);
    assert_eq!(check(&[json!([accept()])]), [], "whatever it is, it passes");
}

#[test]
fn an_accepted_destination_is_no_provision_for_all_others() {
    let rules = [
        json!([is("iifname", "tun0"), accept()]),
        json!([is("oifname", "offramp0"), accept()]),
        json!([to("10.0.0.5"), accept()]),
    ];
    let findings = found(&[("FORWARD", forward("drop"), &rules)]);
    assert_one(&findings, Severity::Error, "what goes on from offramp0");
    // What is refused anyway is not missed.
    let rules = [json!([to("10.0.0.5"), drop_it()]), json!([accept()])];
    assert_eq!(found(&[("FORWARD", forward("drop"), &rules)]), []);
}

#[test]
fn a_condition_on_contents_holds_both_times() {
    let rules = [
        json!([{"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "10.0.0.0"}}, drop_it()]),
        json!([is("iifname", "tun0"), accept()]),
    ];
    let findings = found(&[("FORWARD", forward("drop"), &rules)]);
    assert_one(&findings, Severity::Error, "what goes on from offramp0");
    let rules = [json!([to("10.0.0.5"), accept()])];
    assert_eq!(found(&[("FORWARD", forward("drop"), &rules)]), []);
}

#[test]
fn a_firewall_that_lets_no_client_pass_is_a_warning() {
    let rules = [json!([state(&["established"]), accept()])];
    let findings = found(&[("FORWARD", forward("drop"), &rules)]);
    assert_one(&findings, Severity::Warning, "with offramp or without");
}

#[test]
fn reverse_path_filters_are_found_by_what_they_ask() {
    let missing = |flags: &[&str]| json!([{"match": {"op": "==", "left": {"fib": {"result": "oif", "flags": flags}}, "right": false}}, drop_it()]);
    let with_mark = missing(&["saddr", "mark", "iif"]);
    let without = missing(&["saddr", "iif"]);
    let check = |priority, rules: &[Value]| found(&[("pre", prerouting(priority), rules)]);
    assert_one(
        &check(0, std::slice::from_ref(&with_mark)),
        Severity::Error,
        "drops packets to and from the filter's device",
    );
    assert_one(
        &check(-450, std::slice::from_ref(&with_mark)),
        Severity::Error,
        "drops packets that come back from",
    );
    assert_one(
        &check(0, &[without]),
        Severity::Error,
        "drops packets that come back from",
    );
    let spared = json!([is("iifname", "offramp0"), accept()]);
    assert_one(
        &check(0, &[spared, with_mark.clone()]),
        Severity::Error,
        "drops packets from tun0 with the filter's mark",
    );
    let both = json!([{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": {"set": ["offramp0", "tun*"]}}}, accept()]);
    assert_eq!(check(0, &[both, with_mark]), []);
    let local = json!([{"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "broadcast"}}, drop_it()]);
    assert_eq!(check(0, &[local]), []);
}

#[test]
fn translation_for_the_vpn_alone_is_found() {
    let hook = json!({"hook": "postrouting", "type": "nat", "prio": 100, "policy": "accept"});
    let check = |rule: Value| found(&[("post", hook.clone(), &[rule])]);
    let masquerade = json!({"masquerade": null});
    let findings = check(json!([
        is("iifname", "tun0"),
        is("oifname", "eth0"),
        masquerade
    ]));
    assert_one(
        &findings,
        Severity::Error,
        "translates addresses of what comes from tun0, and not",
    );
    assert_eq!(check(json!([is("oifname", "eth0"), masquerade])), []);
}

#[test]
fn the_remedy_is_in_the_words_of_the_program() {
    let jump = json!([{"jump": {"target": "ufw-user-forward"}}]);
    let rules = [json!([is("iifname", "tun0"), accept()])];
    let findings = found(&[
        ("FORWARD", forward("drop"), &[jump]),
        ("ufw-user-forward", json!({}), &rules),
    ]);
    assert!(
        findings[0]
            .remedy
            .contains("ufw route allow in on offramp0"),
        "{findings:?}"
    );
    let mut listing = listing(&[("f", forward("drop"), &rules)]);
    for object in listing["nftables"].as_array_mut().expect("a list") {
        for kind in ["chain", "rule"] {
            if let Some(it) = object.get_mut(kind) {
                it["table"] = json!("firewalld");
            }
        }
    }
    let ruleset = nft_list::read(&listing, "offramp", &mut Numbers::default());
    let findings = found_in(&ruleset);
    assert!(findings[0].remedy.contains("firewall-cmd"), "{findings:?}");
}

/// The findings about port forwardings of `rules`, as `iptables-nft-save` has them.
fn forwarded(rules: &str) -> Vec<Finding> {
    let clients = Clients {
        inputs: vec!["tun0".to_owned()],
    };
    let policy = "[media]\nports = [\"50000-50059\"]\n";
    let firewalls = Firewalls {
        nft: Ok(refined(&format!("*nat\n{rules}COMMIT\n"))),
        legacy: Ok(Ruleset::default()),
        generation: None,
    };
    check_forwarding(&firewalls, &compiled(policy, 1), &clients)
}

#[test]
fn a_port_forwarding_to_blocked_media_is_a_warning() {
    let rule = |text: &str| format!("-A PREROUTING {text}\n");
    let hidden =
        rule("-d 192.0.2.1/32 -p udp -m udp --dport 5000 -j DNAT --to-destination 10.20.0.7:50020");
    let findings = forwarded(&hidden);
    assert_one(
        &findings,
        Severity::Warning,
        "to 10.20.0.7:50020, which the policy blocks",
    );
    assert!(
        findings[0].what.contains("-A PREROUTING -d 192.0.2.1/32"),
        "{findings:?}"
    );
    assert!(findings[0].remedy.contains("! -i tun0"), "{findings:?}");
    for (text, is_found) in [
        // The port is the client's.
        (
            "-p udp -m udp --dport 50010:50020 -j DNAT --to-destination 10.20.0.7",
            true,
        ),
        ("-j DNAT --to-destination 10.20.0.7", true),
        ("-p udp -j DNAT --to-destination :50000-50010", true),
        ("-i tun+ -j DNAT --to-destination 10.20.0.7:50059", true),
        (
            "-p tcp -m tcp --dport 80 -j DNAT --to-destination 10.20.0.7",
            false,
        ),
        (
            "-p udp -m udp --dport 5000 -j DNAT --to-destination 10.20.0.7:53",
            false,
        ),
        (
            "-p udp -m udp --dport 5000 -j DNAT --to-destination 192.0.2.9:50020",
            false,
        ),
        ("-i eth0 -j DNAT --to-destination 10.20.0.7:50020", false),
        ("! -i tun0 -j DNAT --to-destination 10.20.0.7:50020", false),
        (
            "-p udp -m udp --dport 53 -j REDIRECT --to-ports 5353",
            false,
        ),
    ] {
        assert_eq!(!forwarded(&rule(text)).is_empty(), is_found, "{text}");
    }
}
