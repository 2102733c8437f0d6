//! Sets, maps and sources as nft lists them, and rules as iptables saves them.

use super::*;

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
