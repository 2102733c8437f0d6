//! Readers of the files for firewall appliances, independent of the renderers: FortiOS, RouterOS, pfSense, OPNsense, Meraki.
//!
//! No such appliance is there; each reader takes the words that the vendor documents and nothing else.

use std::collections::HashMap;

use ipnet::{IpNet, Ipv4Net};
use offramp::random::Random;
use offramp::render::{Options, render, rules};

use super::policies;
use super::rule_files::{Line, compare, everything};

type Lists = HashMap<String, Vec<IpNet>>;

/// Returns the line with which a chain or list ends: what nobody decides passes.
fn the_rest() -> Line {
    Line {
        forwards: true,
        protocols: vec!["any".to_owned()],
        from: everything(),
        from_ports: Vec::new(),
        to: everything(),
        to_ports: Vec::new(),
    }
}

/// Returns what is not in `nets`, as prefixes.
fn others(nets: &[IpNet]) -> Vec<IpNet> {
    let nets: offramp::address::PrefixSet = nets.iter().copied().collect();
    let all: offramp::address::PrefixSet = everything().into_iter().collect();
    all.subtract(&nets).prefixes().collect()
}

fn ranges(text: &str, between: char, inside: char) -> Vec<(u16, u16)> {
    let range = |text: &str| {
        let (first, last) = text.split_once(inside).unwrap_or((text, text));
        let port = |text: &str| text.parse().expect("a port");
        (port(first), port(last))
    };
    text.split(between).map(range).collect()
}

/// Reads a script of RouterOS: the chain `offramp` of both families.
fn read_mikrotik(text: &str) -> Vec<Line> {
    let mut menu = String::new();
    let mut lists: HashMap<String, Lists> = HashMap::new();
    let mut lines = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if line.starts_with('/') {
            menu = line.to_owned();
            continue;
        }
        let (family, place) = menu.split_once(' ').expect("a menu");
        let everything = match family {
            "/ip" => vec![everything()[0]],
            "/ipv6" => vec![everything()[1]],
            other => panic!("not a menu: {other}"),
        };
        let lists = lists.entry(family.to_owned()).or_default();
        let Some(line) = line.strip_prefix("add ") else {
            assert!(line.starts_with("remove [find "), "{line}");
            continue;
        };
        let (values, comment) = line.split_once(" comment=").unwrap_or((line, "\"\""));
        let inner = comment
            .strip_prefix('"')
            .and_then(|it| it.strip_suffix('"'));
        assert!(
            inner.is_some_and(|it| !it.contains(['"', '\\', '$'])),
            "{comment}"
        );
        let values = values
            .split(' ')
            .map(|it| it.split_once('=').expect("a value"));
        let mut values: HashMap<&str, &str> = values.collect();
        let mut take = |key| values.remove(key);
        if place == "firewall address-list" {
            let list = take("list").expect("a name").to_owned();
            let net: IpNet = take("address")
                .expect("an address")
                .parse()
                .expect("a prefix");
            assert_eq!(net.addr().is_ipv4(), family == "/ip");
            lists.entry(list).or_default().push(net);
        } else {
            assert_eq!((place, take("chain")), ("firewall filter", Some("offramp")));
            let side = |name: Option<&str>| match name {
                None => everything.clone(),
                Some(name) => match name.strip_prefix('!') {
                    Some(name) => others(&lists[name]),
                    None => lists[name].clone(),
                },
            };
            let ports = |list: Option<&str>| list.map_or(Vec::new(), |it| ranges(it, ',', '-'));
            let protocol = take("protocol");
            let line = Line {
                forwards: match take("action") {
                    Some("return") => true,
                    Some("drop") => false,
                    other => panic!("not an action: {other:?}"),
                },
                protocols: vec![protocol.unwrap_or("any").to_owned()],
                from: side(take("src-address-list")),
                from_ports: ports(take("src-port")),
                to: side(take("dst-address-list")),
                to_ports: ports(take("dst-port")),
            };
            let has_ports = !line.from_ports.is_empty() || !line.to_ports.is_empty();
            assert!(!has_ports || protocol.is_some(), "ports need a protocol");
            // multiport: fifteen ports, a range is two.
            assert!(line.from_ports.len() <= 7 && line.to_ports.len() <= 7);
            lines.push(line);
        }
        assert!(values.is_empty(), "{values:?}");
    }
    lines.push(the_rest());
    lines
}

/// Reads a configuration of FortiOS: the policies of the interface OFFRAMP, in the order of the file.
fn read_fortigate(text: &str) -> Vec<Line> {
    type Entry = HashMap<String, Vec<String>>;
    let mut tables: HashMap<String, Vec<(String, Entry)>> = HashMap::new();
    let mut table = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words: Vec<String> = Vec::new();
        for (at, part) in line.split('"').enumerate() {
            match at % 2 {
                1 => words.push(part.to_owned()),
                _ => words.extend(part.split_whitespace().map(str::to_owned)),
            }
        }
        let entries = tables.entry(table.clone()).or_default();
        match words[0].as_str() {
            "config" => table = words[1..].join(" "),
            "edit" => {
                assert!(words[1].len() <= 79, "{line}");
                assert!(entries.iter().all(|entry| entry.0 != words[1]), "{line}");
                entries.push((words[1].clone(), Entry::new()));
            }
            "set" => {
                let entry = entries.last_mut().expect("an entry is open");
                entry.1.insert(words[1].clone(), words[2..].to_vec());
            }
            "unset" | "next" | "end" => {}
            other => panic!("not a word of FortiOS: {other}"),
        }
    }
    let find = |table: &str, name: &str| -> &Entry {
        let mut entries = tables[table].iter();
        &entries
            .find(|entry| entry.0 == name)
            .expect("it is there")
            .1
    };
    let nets = |policy: &Entry, side: &str| -> Vec<IpNet> {
        let mut nets = Vec::new();
        for end in ["", "6"] {
            for group in policy.get(&format!("{side}{end}")).into_iter().flatten() {
                for name in &find(&format!("firewall addrgrp{end}"), group)["member"] {
                    let address = find(&format!("firewall address{end}"), name);
                    nets.push(match end {
                        "6" => address["ip6"][0].parse().expect("a prefix"),
                        _ => {
                            let [net, mask] = [0, 1].map(|at| address["subnet"][at].parse());
                            let (net, mask) = (net.expect("IPv4"), mask.expect("IPv4"));
                            Ipv4Net::with_netmask(net, mask).expect("a netmask").into()
                        }
                    });
                }
            }
        }
        nets
    };
    let mut lines = Vec::new();
    for (_, policy) in &tables["firewall policy"] {
        assert_eq!(
            ["srcintf", "dstintf", "schedule"].map(|key| policy[key][0].as_str()),
            ["OFFRAMP", "any", "always"]
        );
        for service in &policy["service"] {
            let service = find("firewall service custom", service);
            let mut line = |protocol: &str, to: &str, from: &str| {
                let ports = |text: &str| match text {
                    "" => Vec::new(),
                    _ => ranges(text, ' ', '-'),
                };
                lines.push(Line {
                    forwards: match policy["action"][0].as_str() {
                        "accept" => true,
                        "deny" => false,
                        other => panic!("not an action: {other}"),
                    },
                    protocols: vec![protocol.to_owned()],
                    from: nets(policy, "srcaddr"),
                    from_ports: ports(from),
                    to: nets(policy, "dstaddr"),
                    to_ports: ports(to),
                });
            };
            if service.contains_key("protocol") {
                let number = service.get("protocol-number").map(|it| it[0].as_str());
                let word = match number {
                    None => "any",
                    Some("6") => "tcp",
                    Some("17") => "udp",
                    Some(other) => panic!("not a protocol of a policy: {other}"),
                };
                line(word, "", "");
            }
            for word in ["tcp", "udp"] {
                let pairs = service.get(&format!("{word}-portrange"));
                for pair in pairs.into_iter().flatten() {
                    let (to, from) = pair.split_once(':').unwrap_or((pair, ""));
                    line(word, to, from);
                }
            }
        }
    }
    lines.push(the_rest());
    lines
}

/// Reads the aliases and floating rules of a config.xml.
fn read_pf(text: &str) -> Vec<Line> {
    let document = roxmltree::Document::parse(text).expect("XML");
    let below = |node: roxmltree::Node<'_, '_>, name: &str| {
        let mut found = node.children().filter(|it| it.has_tag_name(name));
        let text = found
            .next()
            .map(|it| it.text().unwrap_or_default().to_owned());
        assert!(found.next().is_none(), "two {name}");
        text
    };
    let mut aliases: HashMap<String, Vec<String>> = HashMap::new();
    for alias in document.descendants().filter(|it| it.has_tag_name("alias")) {
        let name = below(alias, "name").expect("a name");
        assert!(name.len() <= 31, "{name}");
        let entries = below(alias, "address").or_else(|| below(alias, "content"));
        let entries = entries.expect("entries");
        let entries = entries.split_whitespace().map(str::to_owned).collect();
        assert!(aliases.insert(name, entries).is_none(), "two of one name");
    }
    let side = |node: roxmltree::Node<'_, '_>| -> (Vec<IpNet>, Vec<(u16, u16)>) {
        let nets = match below(node, "address") {
            None => everything(),
            Some(name) => {
                let nets = aliases[&name]
                    .iter()
                    .map(|it| it.parse().expect("a prefix"));
                let nets: Vec<IpNet> = nets.collect();
                match below(node, "not") {
                    Some(_) => others(&nets),
                    None => nets,
                }
            }
        };
        let ports = below(node, "port").map_or(Vec::new(), |name| {
            ranges(&aliases[&name].join(" "), ' ', ':')
        });
        (nets, ports)
    };
    let child = |rule: roxmltree::Node<'_, '_>, name: &str| {
        let mut children = rule.children();
        let found = children.find(|it| it.has_tag_name(name));
        side(found.expect("both sides"))
    };
    let rules = document.descendants().filter(|it| it.has_tag_name("rule"));
    let mut lines: Vec<Line> = rules
        .map(|rule| {
            for (key, value) in [
                ("floating", "yes"),
                ("quick", "yes"),
                ("direction", "in"),
                ("ipprotocol", "inet46"),
                ("interface", "openvpn"),
            ] {
                assert_eq!(below(rule, key).as_deref(), Some(value), "{key}");
            }
            let (from, from_ports) = child(rule, "source");
            let (to, to_ports) = child(rule, "destination");
            let protocol = below(rule, "protocol").unwrap_or_else(|| "any".to_owned());
            Line {
                forwards: match below(rule, "type").as_deref() {
                    Some("pass") => true,
                    Some("block") => false,
                    other => panic!("not an action: {other:?}"),
                },
                protocols: protocol.split('/').map(str::to_owned).collect(),
                from,
                from_ports,
                to,
                to_ports,
            }
        })
        .collect();
    lines.push(the_rest());
    lines
}

/// Reads layer 3 rules of an MX, which are for IPv4; what they leave out is passed.
fn read_meraki(text: &str) -> Vec<Line> {
    let body: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let rules = body["rules"].as_array().expect("a list").iter();
    let mut lines: Vec<Line> = rules
        .map(|rule| {
            let field = |key: &str| rule[key].as_str().expect("a text");
            let nets = |key: &str| -> Vec<IpNet> {
                match field(key) {
                    "Any" => vec![everything()[0]],
                    list => list
                        .split(',')
                        .map(|it| it.parse().expect("a prefix"))
                        .collect(),
                }
            };
            let ports = |key: &str| match field(key) {
                "Any" => Vec::new(),
                list => ranges(list, ',', '-'),
            };
            Line {
                forwards: match field("policy") {
                    "allow" => true,
                    "deny" => false,
                    other => panic!("not a policy: {other}"),
                },
                protocols: vec![field("protocol").to_owned()],
                from: nets("srcCidr"),
                from_ports: ports("srcPort"),
                to: nets("destCidr"),
                to_ports: ports("destPort"),
            }
        })
        .collect();
    lines.push(the_rest());
    lines
}

#[test]
fn the_files_for_appliances_decide_as_the_filter_does() {
    for seed in 2_000..2_040 {
        let mut random = Random(seed);
        let policy = policies::parsed(&policies::text(&mut random));
        for (target, read) in [
            (
                &rules::mikrotik::TARGET,
                read_mikrotik as fn(&str) -> Vec<Line>,
            ),
            (&rules::fortigate_policy::TARGET, read_fortigate),
            (&rules::pfsense::TARGET, read_pf),
            (&rules::opnsense::TARGET, read_pf),
            (&rules::meraki_l3::TARGET, read_meraki),
        ] {
            let text = render(target, &policy, &Options::default())
                .expect("a whole policy")
                .text;
            compare(
                &policy,
                target.families,
                &read(&text),
                &mut random,
                target.name,
            );
        }
    }
}
