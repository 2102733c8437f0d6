//! Packets that a chain stops or changes without offramp, or behind the filter, and not in both cases.

use super::*;

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
