//! Reads what `nft --json list ruleset` prints.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::addresses::{self, range_of_nft};
use super::chain::{
    Chain, Condition, Direction, Hook, HookPoint, Policy, Rule, Ruleset, Step, Table, Tool,
    Tracking, Translation,
};
use crate::address::Family;

/// Gives equal conditions equal numbers.
#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<String, u32>);

impl Numbers {
    /// Returns the condition for `text`.
    pub(super) fn condition(&mut self, text: String) -> Condition {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        Condition::Other(*self.0.entry(text).or_insert(next))
    }
}

/// Reads a listing, without the tables called `own` of family inet.
pub(super) fn read(listing: &Value, own: &str, numbers: &mut Numbers) -> Ruleset {
    let objects = listing["nftables"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mut reader = Reader {
        sets: interface_sets(objects),
        concatenated: elements_of(objects, "set"),
        maps: elements_of(objects, "map"),
        numbers,
    };
    let mut chains: Vec<Chain> = Vec::new();
    let mut places = HashMap::new();
    for object in objects {
        let kind = |kind: &str| object.get(kind).filter(|it| it["table"] != own);
        if let Some(chain) = kind("chain").and_then(read_chain) {
            places.insert(place_of(&object["chain"], "name"), chains.len());
            chains.push(chain);
        } else if let Some(rule) = kind("rule")
            && let Some(chain) = places.get(&place_of(rule, "chain"))
        {
            chains[*chain].rules.extend(reader.rules(rule));
        }
    }
    let mut ruleset = Ruleset::new(chains);
    name_tools(&mut ruleset, objects);
    ruleset
}

/// The family, table and chain of an object.
fn place_of(object: &Value, chain: &str) -> [String; 3] {
    ["family", "table", chain].map(|key| object[key].as_str().unwrap_or_default().to_owned())
}

/// The elements of each set of interfaces, by family, table and name.
fn interface_sets(objects: &[Value]) -> HashMap<[String; 3], BTreeSet<String>> {
    let sets = objects.iter().filter_map(|object| object.get("set"));
    let named = sets.filter(|set| set["type"] == "ifname");
    named
        .map(|set| (place_of(set, "name"), words(&set["elem"])))
        .collect()
}

/// The elements of each set or map that is listed with them, likewise.
fn elements_of(objects: &[Value], kind: &str) -> HashMap<[String; 3], Vec<Value>> {
    let sets = objects.iter().filter_map(|object| object.get(kind));
    let listed = sets.filter_map(|set| {
        let elements = set["elem"].as_array().cloned();
        Some((place_of(set, "name"), elements?))
    });
    listed.collect()
}

/// The strings of a value: one, a list, or a set of them.
fn words(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(word) => BTreeSet::from([word.clone()]),
        Value::Array(values) => values.iter().flat_map(words).collect(),
        Value::Object(object) => {
            let inner = ["set", "elem", "val"]
                .iter()
                .find_map(|key| object.get(*key));
            inner.map(words).unwrap_or_default()
        }
        _ => BTreeSet::new(),
    }
}

fn read_chain(chain: &Value) -> Option<Chain> {
    let [family, table, name] = place_of(chain, "name");
    if !["ip", "ip6", "inet"].contains(&family.as_str()) {
        return None;
    }
    let point = match chain["hook"].as_str() {
        Some("prerouting") => Some(HookPoint::Prerouting),
        Some("forward") => Some(HookPoint::Forward),
        Some("postrouting") => Some(HookPoint::Postrouting),
        _ => None,
    };
    Some(Chain {
        tool: Tool::Nft,
        table: Table {
            family,
            name: table,
        },
        name,
        hook: point.map(|point| Hook {
            point,
            priority: chain["prio"].as_i64().unwrap_or(0),
            is_nat: chain["type"] == "nat",
        }),
        policy: match chain["policy"].as_str() {
            Some("drop") => Policy::Drop,
            _ => Policy::Accept,
        },
        rules: Vec::new(),
    })
}

/// Notes which program each table belongs to.
fn name_tools(ruleset: &mut Ruleset, objects: &[Value]) {
    let rules = objects.iter().filter_map(|object| object.get("rule"));
    let of_iptables = rules.filter(|rule| has_extension(rule)).map(|rule| {
        let [family, name, _] = place_of(rule, "chain");
        Table { family, name }
    });
    let mut of_iptables: HashSet<Table> = of_iptables.collect();
    let is_usual = |chain: &&Chain| {
        ["filter", "nat", "mangle", "raw"].contains(&chain.table.name.as_str())
            && ["FORWARD", "PREROUTING"].contains(&chain.name.as_str())
    };
    let usual = ruleset.chains.iter().filter(is_usual);
    of_iptables.extend(usual.map(|chain| chain.table.clone()));
    let mut names = ruleset.chains.iter().map(|chain| &chain.name);
    let is_ufw = names.any(|name| name.starts_with("ufw-") || name.starts_with("ufw6-"));
    for chain in &mut ruleset.chains {
        chain.tool = match of_iptables.contains(&chain.table) {
            _ if chain.table.name == "firewalld" => Tool::Firewalld,
            true if is_ufw => Tool::Ufw,
            true => Tool::Iptables,
            false => Tool::Nft,
        };
    }
}

/// Returns `true` if a rule has a match or a target of iptables.
pub(super) fn has_extension(rule: &Value) -> bool {
    let statements = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
    statements.iter().any(|it| it.get("xt").is_some())
}

struct Reader<'a> {
    sets: HashMap<[String; 3], BTreeSet<String>>,
    concatenated: HashMap<[String; 3], Vec<Value>>,
    maps: HashMap<[String; 3], Vec<Value>>,
    numbers: &'a mut Numbers,
}

impl Reader<'_> {
    /// A rule as one or more: a verdict map has one for each element.
    fn rules(&mut self, rule: &Value) -> Vec<Rule> {
        let statements = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
        let mut read = Rule::default();
        let mut rules = Vec::new();
        for statement in statements {
            let Some((kind, value)) = statement.as_object().and_then(|it| it.iter().next()) else {
                continue;
            };
            match kind.as_str() {
                "match" => self.read_match(rule, value, &mut read),
                "limit" | "ct count" => {
                    let condition = self.numbers.condition(statement.to_string());
                    read.conditions.push(condition);
                }
                "mangle" => {
                    read.sets_mark |= value["key"]["meta"]["key"] == "mark";
                    read.sets_segment_size |= value["key"]["tcp option"]["name"] == "maxseg";
                }
                "xt" => self.read_extension(rule, value, &mut read),
                "vmap" => rules.extend(self.read_map(rule, value, &read)),
                kind => {
                    if let Some(step) = step_of(kind, value) {
                        read.step = step;
                    }
                }
            }
        }
        rules.push(read);
        let text = format!("handle {}", rule["handle"]);
        for rule in &mut rules {
            rule.text.clone_from(&text);
        }
        rules
    }

    fn read_match(&mut self, rule: &Value, value: &Value, read: &mut Rule) {
        let (left, right) = (&value["left"], &value["right"]);
        let is_negated = value["op"] == "!=";
        if let Some(field) = left.get("payload") {
            match (field["protocol"].as_str(), rule["family"].as_str()) {
                (Some("ip"), Some("inet")) => read.conditions.push(Condition::Family(Family::V4)),
                (Some("ip6" | "icmpv6"), Some("inet")) => {
                    read.conditions.push(Condition::Family(Family::V6));
                }
                _ => {}
            }
            if let Some(protocol @ ("udp" | "tcp" | "th")) = field["protocol"].as_str() {
                read.protocol = Some(protocol.to_owned()).filter(|it| it != "th");
                if field["field"] == "dport" && !is_negated {
                    read.ports = port_ranges(right);
                }
            }
        }
        if left["meta"]["key"] == "l4proto" && !is_negated {
            read.protocol = right.as_str().map(str::to_owned);
        }
        let mut conditions = self.conditions(rule, left, right);
        if is_negated && conditions.len() > 1 {
            conditions = vec![Condition::All(conditions)];
        }
        let conditions = conditions.into_iter();
        read.conditions
            .extend(conditions.map(|it| it.negated_if(is_negated)));
    }

    /// The conditions that `left` is `right`; of a concatenation one for each part, and one for their combination.
    fn conditions(&mut self, rule: &Value, left: &Value, right: &Value) -> Vec<Condition> {
        if let Some(lefts) = left["concat"].as_array()
            && let Some(elements) = self.elements(rule, right)
            && (elements.len() > 1 || right.is_string())
        {
            let parts_of = |element: &Value| {
                let element = element["elem"].get("val").unwrap_or(element);
                element["concat"].as_array().cloned()
            };
            let elements: Option<Vec<Vec<Value>>> = elements.iter().map(parts_of).collect();
            if let Some(elements) = elements {
                let mut conditions: Vec<Condition> = Vec::new();
                for (at, part) in lefts.iter().enumerate() {
                    let values: Vec<&Value> = elements.iter().filter_map(|it| it.get(at)).collect();
                    let any = serde_json::json!({ "set": values });
                    conditions.extend(self.conditions(rule, part, &any));
                }
                conditions.push(self.numbers.condition(format!("{left} {right}")));
                return conditions;
            }
        }
        if let (Some(lefts), Some(rights)) = (left["concat"].as_array(), right["concat"].as_array())
        {
            let pairs = lefts.iter().zip(rights);
            return pairs
                .flat_map(|(left, right)| self.conditions(rule, left, right))
                .collect();
        }
        if let (Some(_), Some([element])) = (
            left.get("concat"),
            right["set"].as_array().map(Vec::as_slice),
        ) {
            return self.conditions(rule, left, element);
        }
        let known = match (left["meta"]["key"].as_str(), left["ct"]["key"].as_str()) {
            (Some("iifname" | "iif"), _) => self.interfaces(rule, Direction::In, right),
            (Some("oifname" | "oif"), _) => self.interfaces(rule, Direction::Out, right),
            (Some("nfproto"), _) => match right.as_str() {
                Some("ipv4") => Some(Condition::Family(Family::V4)),
                Some("ipv6") => Some(Condition::Family(Family::V6)),
                _ => None,
            },
            (_, Some("state")) => {
                let states = words(right);
                let states = states.iter().filter_map(|it| Tracking::named(it));
                Some(Condition::Tracking(states.collect()))
            }
            _ => way_back(left, right).or_else(|| self.source(left, right)),
        };
        vec![known.unwrap_or_else(|| self.numbers.condition(format!("{left} {right}")))]
    }

    /// The elements of a set, where it stands or by its name.
    fn elements(&self, rule: &Value, right: &Value) -> Option<Vec<Value>> {
        match right.as_str().and_then(|it| it.strip_prefix('@')) {
            Some(set) => {
                let [family, table, _] = place_of(rule, "chain");
                self.concatenated
                    .get(&[family, table, set.to_owned()])
                    .cloned()
            }
            None => right["set"].as_array().cloned(),
        }
    }

    /// The condition on a source, if its addresses are known.
    fn source(&mut self, left: &Value, right: &Value) -> Option<Condition> {
        let field = &left["payload"];
        let is_source = field["field"] == "saddr"
            && ["ip", "ip6"].contains(&field["protocol"].as_str().unwrap_or_default());
        if !is_source {
            return None;
        }
        let ranges = addresses::of_nft(right)?;
        let other = self.numbers.condition(format!("{left} {right}"));
        Some(addresses::source(Some(ranges), other))
    }

    fn interfaces(&self, rule: &Value, direction: Direction, right: &Value) -> Option<Condition> {
        let names = match right.as_str().and_then(|it| it.strip_prefix('@')) {
            Some(set) => {
                let [family, table, _] = place_of(rule, "chain");
                self.sets.get(&[family, table, set.to_owned()])?.clone()
            }
            None => words(right),
        };
        (!names.is_empty()).then_some(Condition::Interface(direction, names))
    }

    /// The rules of a verdict map.
    fn read_map(&mut self, rule: &Value, value: &Value, read: &Rule) -> Vec<Rule> {
        let named = value["data"].as_str().and_then(|it| it.strip_prefix('@'));
        let elements = match named {
            Some(map) => {
                let [family, table, _] = place_of(rule, "chain");
                self.maps.get(&[family, table, map.to_owned()]).cloned()
            }
            None => value["data"]["set"].as_array().cloned(),
        };
        let mut rules = Vec::new();
        for element in elements.iter().flatten() {
            let Some([key, verdict]) = element.as_array().map(Vec::as_slice) else {
                continue;
            };
            let verdict = verdict.as_object().and_then(|it| it.iter().next());
            let Some(step) = verdict.and_then(|(kind, value)| step_of(kind, value)) else {
                continue;
            };
            let mut of_element = read.clone();
            of_element.step = step;
            let conditions = self.conditions(rule, &value["key"], key);
            of_element.conditions.extend(conditions);
            rules.push(of_element);
        }
        rules
    }

    /// A match or a target of iptables, of which a listing has no more than the name.
    fn read_extension(&mut self, rule: &Value, value: &Value, read: &mut Rule) {
        let name = value["name"].as_str().unwrap_or_default();
        match (value["type"].as_str(), name) {
            (_, "comment") => {}
            (Some("match"), "rpfilter") => {
                read.conditions
                    .push(Condition::NoWayBack { with_mark: false });
            }
            (Some("match"), _) => {
                let text = format!("{name} of rule {}", rule["handle"]);
                read.conditions.push(self.numbers.condition(text));
            }
            (_, "MARK" | "CONNMARK") => read.sets_mark = true,
            (_, "TCPMSS") => read.sets_segment_size = true,
            (_, "REJECT" | "DROP") => read.step = Step::Drop,
            (_, "DNAT") => {
                read.step = Step::Translate(Translation::Destination {
                    addresses: None,
                    ports: None,
                });
            }
            (_, "REDIRECT") => read.step = Step::Translate(Translation::Redirect),
            (_, "MASQUERADE" | "SNAT" | "NETMAP") => {
                read.step = Step::Translate(Translation::Source)
            }
            _ => {}
        }
    }
}

/// The condition of a reverse path filter.
fn way_back(left: &Value, right: &Value) -> Option<Condition> {
    let fib = &left["fib"];
    let flags = words(&fib["flags"]);
    if fib["result"] != "oif" || !flags.contains("saddr") || !flags.contains("iif") {
        return None;
    }
    let missing = Condition::NoWayBack {
        with_mark: flags.contains("mark"),
    };
    match right {
        Value::Bool(found) => Some(missing.negated_if(*found)),
        Value::String(interface) if interface == "0" => Some(missing),
        Value::Number(_) => Some(missing),
        _ => None,
    }
}

/// The verdict that a statement gives, if it does.
fn step_of(kind: &str, value: &Value) -> Option<Step> {
    let target = || value["target"].as_str().unwrap_or_default().to_owned();
    Some(match kind {
        // A program in user space decides what is queued.
        "accept" | "queue" => Step::Accept,
        "drop" | "reject" => Step::Drop,
        "jump" => Step::Jump(target()),
        "goto" => Step::Goto(target()),
        "return" => Step::Return,
        "dnat" => Step::Translate(Translation::Destination {
            addresses: range_of_nft(&value["addr"]),
            ports: port_ranges(&value["port"]).first().copied(),
        }),
        "redirect" => Step::Translate(Translation::Redirect),
        "snat" | "masquerade" => Step::Translate(Translation::Source),
        _ => return None,
    })
}

/// The ranges of port numbers in a value.
fn port_ranges(value: &Value) -> Vec<(u16, u16)> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    match value {
        Value::Number(_) => port(value).map(|it| (it, it)).into_iter().collect(),
        Value::Object(object) => match (object.get("set"), object.get("range")) {
            (Some(Value::Array(set)), _) => set.iter().flat_map(port_ranges).collect(),
            (_, Some(Value::Array(range))) => match &range[..] {
                [first, last] => port(first).zip(port(last)).into_iter().collect(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}
