//! Reads what `iptables-nft-save` prints: of matches and targets of iptables `nft --json` has the names only.

use std::collections::BTreeSet;

use super::addresses;
use super::chain::{
    Chain, Condition, Direction, HookPoint, Rule, Ruleset, Step, Tool, Tracking, Translation,
};
use super::nft_list::Numbers;

/// The priority of a table's chain at a hook (linux/netfilter_ipv4.h).
pub(super) fn priority(table: &str, point: HookPoint) -> i64 {
    match (table, point) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", HookPoint::Postrouting) => 100,
        ("nat", _) => -100,
        ("security", _) => 50,
        _ => 0,
    }
}

/// Writes the rules of `text`, a listing of the tables of `family`, in place of those of `ruleset`.
pub(super) fn refine(ruleset: &mut Ruleset, family: &str, text: &str, numbers: &mut Numbers) {
    let mut table = "";
    let mut emptied: BTreeSet<(String, String)> = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim();
            continue;
        }
        let Some(rest) = line.strip_prefix("-A ") else {
            continue;
        };
        let words = split(rest);
        let Some((name, words)) = words.split_first() else {
            continue;
        };
        let chain = ruleset
            .chains
            .iter_mut()
            .find(|it| is_of(it, family, table, name));
        let Some(chain) = chain else { continue };
        if emptied.insert((table.to_owned(), name.clone())) {
            chain.rules.clear();
        }
        let mut rule = read_rule(words, numbers);
        rule.text = format!("-A {rest}");
        chain.rules.push(rule);
    }
}

fn is_of(chain: &Chain, family: &str, table: &str, name: &str) -> bool {
    chain.tool != Tool::IptablesLegacy
        && chain.table.family == family
        && chain.table.name == table
        && chain.name == name
}

/// The words of a line; those in quotes may have spaces.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let word = words.last_mut().expect("there is always one");
        match character {
            '"' => is_quoted = !is_quoted,
            '\\' => word.extend(characters.next()),
            ' ' if !is_quoted => words.push(String::new()),
            _ => word.push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Options that take no part in the decision, with one argument.
const WITHOUT_EFFECT: [&str; 2] = ["--comment", "--reject-with"];

fn read_rule(words: &[String], numbers: &mut Numbers) -> Rule {
    let mut rule = Rule::default();
    // The options of a match that only the packet's contents decide, with their arguments.
    let mut other: Vec<&str> = Vec::new();
    let mut reverse_path: Option<(bool, bool)> = None;
    let mut is_negated = false;
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let was_negated = std::mem::take(&mut is_negated);
        match word {
            "!" => is_negated = true,
            "-i" | "-o" => {
                let direction = if word == "-i" {
                    Direction::In
                } else {
                    Direction::Out
                };
                let pattern = words.next().unwrap_or_default().replace('+', "*");
                let condition = Condition::Interface(direction, BTreeSet::from([pattern]));
                rule.conditions.push(condition.negated_if(was_negated));
            }
            "-s" => {
                let prefix = words.next().unwrap_or_default();
                let other = numbers.condition(format!("-s {prefix}"));
                let condition = addresses::source(addresses::of_iptables(prefix), other);
                rule.conditions.push(condition.negated_if(was_negated));
            }
            "--ctstate" | "--state" => {
                let states = words.next().unwrap_or_default().split(',');
                let states = states.filter_map(Tracking::named).collect();
                rule.conditions
                    .push(Condition::Tracking(states).negated_if(was_negated));
            }
            "-m" => match words.next() {
                Some("rpfilter") => reverse_path = Some((false, true)),
                Some("comment" | "conntrack" | "state") | None => {}
                Some(name) => other.push(name),
            },
            "--validmark" => reverse_path = reverse_path.map(|(_, found)| (true, found)),
            "--invert" => reverse_path = reverse_path.map(|(mark, _)| (mark, false)),
            "-j" | "-g" => {
                let target = words.next().unwrap_or_default();
                let rest: Vec<&str> = words.by_ref().collect();
                read_target(&mut rule, word, target, &rest);
            }
            word if WITHOUT_EFFECT.contains(&word) => _ = words.next(),
            word => {
                if was_negated {
                    other.push("!");
                }
                other.push(word);
                let argument = words
                    .peek()
                    .filter(|it| **it != "!" && !it.starts_with('-'));
                note(&mut rule, word, argument.copied().filter(|_| !was_negated));
            }
        }
    }
    if let Some((with_mark, found)) = reverse_path {
        rule.conditions
            .push(Condition::NoWayBack { with_mark }.negated_if(found));
    }
    if !other.is_empty() {
        rule.conditions.push(numbers.condition(other.join(" ")));
    }
    rule
}

/// Notes the protocol or the ports that an option asks for.
fn note(rule: &mut Rule, option: &str, argument: Option<&str>) {
    let Some(argument) = argument else { return };
    match option {
        "-p" => rule.protocol = Some(argument.to_owned()),
        "--dport" | "--dports" => rule.ports = argument.split(',').filter_map(ports).collect(),
        _ => {}
    }
}

fn read_target(rule: &mut Rule, how: &str, target: &str, options: &[&str]) {
    let option = |name: &str| {
        let at = options.iter().position(|it| *it == name)?;
        options.get(at + 1).copied()
    };
    rule.step = match target {
        "ACCEPT" | "NFQUEUE" => Step::Accept,
        "DROP" | "REJECT" => Step::Drop,
        "RETURN" => Step::Return,
        "DNAT" => Step::Translate(destination(option("--to-destination").unwrap_or_default())),
        "REDIRECT" => Step::Translate(Translation::Redirect),
        "MASQUERADE" | "SNAT" | "NETMAP" => Step::Translate(Translation::Source),
        "MARK" | "CONNMARK" => {
            rule.sets_mark = true;
            Step::Continue
        }
        "TCPMSS" => {
            rule.sets_segment_size = true;
            Step::Continue
        }
        // Extensions are in capital letters, and go on to the next rule.
        target if CONTINUING.contains(&target) => Step::Continue,
        target if how == "-g" => Step::Goto(target.to_owned()),
        target => Step::Jump(target.to_owned()),
    };
}

/// Extensions behind which the next rule decides (iptables-extensions(8)).
const CONTINUING: [&str; 13] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNSECMARK",
    "CT",
    "DSCP",
    "LOG",
    "NFLOG",
    "NOTRACK",
    "SET",
    "TOS",
    "TRACE",
    "TTL",
];

/// `10.20.0.7`, `10.20.0.7-10.20.0.9:50020-50030`, `[fd00::7]:3478`, `:3478`.
fn destination(text: &str) -> Translation {
    let (addresses, port) = match text.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((addresses, port)) => (addresses, port.strip_prefix(':')),
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((addresses, port)) => (addresses, Some(port)),
            None => (text, None),
        },
    };
    let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
    Translation::Destination {
        addresses: first.parse().ok().zip(last.parse().ok()),
        ports: port.and_then(ports),
    }
}

/// `3478`, `3478-3481`, `3478:3481`.
fn ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once(['-', ':']).unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}
