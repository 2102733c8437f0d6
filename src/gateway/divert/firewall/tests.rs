//! Chains as firewalls have them, each as `nft` or `iptables-save` lists it.

use serde_json::{Value, json};

use super::chain::{Condition, Ruleset, Step, Tool, Tracking};
use super::nft_list::Numbers;
use super::passage::check_ruleset;
use super::*;
use crate::address::Family;
use crate::gateway::host::sample::{assert_one, compiled};
use crate::policy::Severity;

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
fn a_change_for_the_vpn_alone_is_found_and_one_for_all_is_not() {
    let mark = json!({"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}});
    let size = json!({"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": 1_000}});
    for (change, says) in [(mark, "sets marks"), (size, "limits the segment size")] {
        let check = |rule: Value| found(&[("f", forward("accept"), &[rule])]);
        let of_vpn = json!([is("iifname", "tun0"), is("oifname", "eth1"), change]);
        assert_one(&check(of_vpn), Severity::Warning, says);
        assert_eq!(check(json!([change])), [], "it holds for offramp0, too");
        assert_eq!(check(json!([is("iifname", "eth1"), change])), []);
        let of_both = json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": {"set": ["tun0", "offramp0"]}}});
        assert_eq!(check(json!([of_both, change])), []);
    }
}

#[test]
fn what_a_chain_stops_without_offramp_must_not_pass_behind_the_filter() {
    let between = [is("iifname", "tun0"), is("oifname", "eth1")];
    let block = |more: &[Value]| Value::from([&between[..], more, &[drop_it()]].concat());
    let check = |policy: &str, rules: &[Value]| found(&[("f", forward(policy), rules)]);
    for rules in [
        &[block(&[])][..],
        &[block(&[to("10.0.0.5")])],
        &[block(&[state(&["new"])])],
        &[json!([{"jump": {"target": "of_vpn"}}])],
    ] {
        let of_vpn = [block(&[to("10.0.0.5")])];
        let findings = found(&[
            ("f", forward("accept"), rules),
            ("of_vpn", json!({}), &of_vpn),
        ]);
        assert_one(
            &findings,
            Severity::Error,
            "would let it go on from offramp0",
        );
    }
    // An acceptance of the device that is wider than that of the VPN.
    let wide = [
        json!([is("oifname", "offramp0"), accept()]),
        json!([is("iifname", "offramp0"), accept()]),
        json!([is("iifname", "tun0"), to("10.0.0.5"), accept()]),
    ];
    assert_one(&check("drop", &wide), Severity::Error, "(its policy)");
    // Rules that do not ask where a packet comes from, or ask for the device, too.
    assert_eq!(
        check("accept", &[json!([is("oifname", "eth1"), drop_it()])]),
        []
    );
    assert_eq!(
        check("accept", &[json!([is("iifname", "tun0"), drop_it()])]),
        []
    );
    let both = [
        block(&[to("10.0.0.5")]),
        json!([
            is("iifname", "offramp0"),
            is("oifname", "eth1"),
            to("10.0.0.5"),
            drop_it()
        ]),
    ];
    assert_eq!(check("accept", &both), []);
}

fn from(right: Value) -> Value {
    json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": right}})
}

fn not(key: &str, name: &str) -> Value {
    json!({"match": {"op": "!=", "left": {"meta": {"key": key}}, "right": name}})
}

#[test]
fn a_filter_of_spoofed_sources_is_found_where_it_drops_those_of_clients() {
    let check = |rule: Value| found(&[("pre", prerouting(0), &[rule])]);
    let prefix = |address: &str, length: u8| json!({"prefix": {"addr": address, "len": length}});
    let rule = |source: Value| json!([not("iifname", "tun0"), from(source), drop_it()]);
    for source in [
        prefix("172.16.1.0", 24),
        prefix("172.16.0.0", 12),
        json!({"range": ["172.16.1.0", "172.16.2.255"]}),
        json!({"set": [prefix("10.0.0.0", 8), prefix("172.16.1.0", 24)]}),
    ] {
        assert_one(
            &check(rule(source)),
            Severity::Error,
            "stops what it does not know: what goes on from offramp0",
        );
    }
    let some = check(rule(json!("172.16.1.7")));
    assert_one(
        &some,
        Severity::Warning,
        "stops some of what goes on from offramp0",
    );
    for source in [prefix("192.168.0.0", 16), json!("10.0.0.5")] {
        assert_eq!(check(rule(source)), [], "no client has it");
    }
    let by_pairs = json!([
        {"match": {"op": "!=",
            "left": {"concat": [{"meta": {"key": "iifname"}}, {"payload": {"protocol": "ip", "field": "saddr"}}]},
            "right": {"set": [
                {"concat": ["tun0", prefix("172.16.1.0", 24)]},
                {"concat": ["eth1", prefix("10.0.0.0", 8)]},
            ]}}},
        drop_it()
    ]);
    assert_one(
        &check(by_pairs),
        Severity::Error,
        "what goes on from offramp0",
    );
}

#[test]
fn a_rule_that_stops_some_packets_on_their_way_to_the_filter_is_a_warning() {
    let rules = [json!([not("oifname", "eth1"), to("10.0.0.5"), drop_it()])];
    let findings = found(&[("f", forward("accept"), &rules)]);
    assert_one(
        &findings,
        Severity::Warning,
        "stops some of what goes from tun0 to offramp0",
    );
}

#[test]
fn a_chain_of_more_rules_than_are_compared_is_told() {
    let rules = |count: u8| -> Vec<Value> {
        let rules = (0..count).map(|host| json!([to(&format!("10.0.0.{host}")), drop_it()]));
        rules.collect()
    };
    let check = |count: u8| found(&[("f", forward("accept"), &rules(count))]);
    assert_eq!(check(100), []);
    assert_one(&check(200), Severity::Warning, "is known in part");
}

#[test]
fn verdict_maps_and_sets_of_pairs_are_read_by_their_names() {
    let named = |kind: &str, fields: Value| {
        let mut object = json!({"family": "ip", "table": "filter", "name": "named"});
        for (key, value) in fields.as_object().expect("an object") {
            object[key] = value.clone();
        }
        json!({ kind: object })
    };
    let check = |object: Value, policy: &str, rule: Value| {
        let of_vpn = [json!([accept()])];
        let rules = [rule];
        let chains = [
            ("f", forward(policy), &rules[..]),
            ("of_vpn", json!({}), &of_vpn),
        ];
        let mut listing = listing(&chains);
        let objects = listing["nftables"].as_array_mut().expect("a list");
        objects.push(object);
        found_in(&nft_list::read(
            &listing,
            "offramp",
            &mut Numbers::default(),
        ))
    };
    let zones = |names: &[&str]| {
        let jump = json!({"jump": {"target": "of_vpn"}});
        let elements: Vec<Value> = names.iter().map(|name| json!([name, jump])).collect();
        named(
            "map",
            json!({"type": "ifname", "map": "verdict", "elem": elements}),
        )
    };
    let by_zone = json!([{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@named"}}]);
    let missed = check(zones(&["tun0"]), "drop", by_zone.clone());
    assert_one(&missed, Severity::Error, "what goes on from offramp0");
    assert_eq!(check(zones(&["tun0", "offramp0"]), "drop", by_zone), []);

    let pairs = |names: &[&str]| {
        let prefix = json!({"prefix": {"addr": "172.16.1.0", "len": 24}});
        let pair = |name| json!({"concat": [name, prefix]});
        let elements: Vec<Value> = names.iter().map(pair).collect();
        named(
            "set",
            json!({"type": ["ifname", "ipv4_addr"], "elem": elements}),
        )
    };
    let others = json!([
        {"match": {"op": "!=", "right": "@named",
            "left": {"concat": [{"meta": {"key": "iifname"}}, {"payload": {"protocol": "ip", "field": "saddr"}}]}}},
        drop_it()
    ]);
    let missed = check(pairs(&["tun0", "eth0"]), "accept", others.clone());
    assert_one(&missed, Severity::Error, "what goes on from offramp0");
    assert_eq!(check(pairs(&["tun0", "offramp0"]), "accept", others), []);
}

#[test]
fn sources_are_read_as_iptables_writes_them() {
    let findings = |rule: &str| {
        found_in(&refined(&format!(
            "*filter\n:FORWARD DROP [0:0]\n{rule}\n-A FORWARD -j ACCEPT\nCOMMIT\n"
        )))
    };
    let spoofed = findings("-A FORWARD ! -i tun0 -s 172.16.1.0/24 -j DROP");
    assert_one(&spoofed, Severity::Error, "what goes on from offramp0");
    assert_eq!(
        findings("-A FORWARD ! -i tun0 -s 192.168.0.0/16 -j DROP"),
        []
    );
    let others = findings("-A FORWARD -i tun0 -o eth1 ! -s 172.16.1.0/24 -j DROP");
    assert_eq!(others, [], "no client meets it");
    let block = findings("-A FORWARD -i tun+ -o eth1 -s 172.16.1.9/32 -j DROP");
    assert_one(&block, Severity::Error, "would let it go on from offramp0");
    assert!(
        block[0].what.contains("-A FORWARD -i tun+ -o eth1"),
        "{block:?}"
    );
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
fn rules_of_iptables_are_read_with_their_matches() {
    let text = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j DOCKER-USER\n\
        -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment \"a b\" -j ACCEPT\n\
        -A DOCKER-USER ! -i eth+ -p udp -m multiport --dports 1,50020 -j REJECT --reject-with icmp-port-unreachable\n\
        -A DOCKER-USER -i tun+ -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n\
        *raw\n-A PREROUTING -m rpfilter --validmark --invert -j DROP\nCOMMIT\n";
    let ruleset = refined(text);
    let rules = |name: &str| {
        let chain = ruleset.chains.iter().find(|it| it.name == name);
        chain.expect("it is there").rules.clone()
    };
    assert!(ruleset.chains.iter().all(|it| it.tool != Tool::Nft));
    let [jump, tracked] = &rules("FORWARD")[..] else {
        panic!("two rules");
    };
    assert_eq!(jump.step, Step::Jump("DOCKER-USER".to_owned()));
    let states = Condition::Tracking([Tracking::Related, Tracking::Established].into());
    assert_eq!(tracked.conditions.len(), 2);
    assert_eq!(tracked.conditions[1], states);
    let [reject, accept] = &rules("DOCKER-USER")[..] else {
        panic!("two rules");
    };
    assert_eq!((&reject.step, &accept.step), (&Step::Drop, &Step::Accept));
    assert!(matches!(reject.conditions[0], Condition::Not(_)));
    assert_eq!(reject.ports, [(1, 1), (50_020, 50_020)]);
    let findings = found_in(&ruleset);
    // The first passage is not tracked, and so not new.
    let forward = findings
        .iter()
        .find(|it| it.what.contains("FORWARD"))
        .expect("a finding");
    assert!(
        forward
            .what
            .contains("from tun0 to offramp0, and what goes on"),
        "{forward:?}"
    );
    assert!(
        forward
            .remedy
            .contains("iptables -I FORWARD -o offramp0 -j ACCEPT"),
        "{forward:?}"
    );
    assert!(findings.iter().any(|it| {
        it.what
            .contains("chain ip raw PREROUTING is a reverse path filter")
    }));
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
