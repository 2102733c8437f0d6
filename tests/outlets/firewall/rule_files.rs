//! Readers of the gateway's files, independent of the renderers, that decide by the rules they read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use offramp::filter::{Capacity, CompiledPolicy, Generation, Judge};
use offramp::packet::Received;
use offramp::policy::Policy;
use offramp::random::Random;
use offramp::render::{Families, Options, render, rules};
use offramp::verdict::Action;

use super::policies;

/// One line with a decision.
pub(super) struct Line {
    pub(super) forwards: bool,
    /// `ip` and `any` are every protocol.
    pub(super) protocols: Vec<String>,
    pub(super) from: Vec<IpNet>,
    pub(super) from_ports: Vec<(u16, u16)>,
    pub(super) to: Vec<IpNet>,
    pub(super) to_ports: Vec<(u16, u16)>,
}

impl Line {
    fn matches(&self, from: (IpAddr, u16), to: (IpAddr, u16), protocol: &str) -> bool {
        let has_address = |nets: &[IpNet], address| nets.iter().any(|net| net.contains(&address));
        let has_port = |ranges: &[(u16, u16)], port| {
            ranges.is_empty() || ranges.iter().any(|it| it.0 <= port && port <= it.1)
        };
        let mut protocols = self.protocols.iter();
        protocols.any(|it| it == "any" || it == "ip" || it == protocol)
            && has_address(&self.from, from.0)
            && has_address(&self.to, to.0)
            && has_port(&self.from_ports, from.1)
            && has_port(&self.to_ports, to.1)
    }
}

pub(super) fn everything() -> Vec<IpNet> {
    ["0.0.0.0/0", "::/0"]
        .map(|text| text.parse().expect("a prefix"))
        .to_vec()
}

/// Reads the access list of an ASA, which must end in a deny.
fn read_asa(text: &str) -> Vec<Line> {
    let mut groups: HashMap<String, Vec<IpNet>> = HashMap::new();
    let mut open = String::new();
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('!')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["object-group", "network", name] => open = name.to_owned(),
            ["network-object", "host", address] => {
                let address: IpAddr = address.parse().expect("an address");
                groups.entry(open.clone()).or_default().push(address.into());
            }
            ["network-object", prefix] => {
                let prefix = prefix.parse().expect("a prefix");
                groups.entry(open.clone()).or_default().push(prefix);
            }
            ["network-object", address, mask] => {
                let (address, mask) = (address.parse().expect("IPv4"), mask.parse().expect("IPv4"));
                let net = Ipv4Net::with_netmask(address, mask).expect("a netmask");
                groups.entry(open.clone()).or_default().push(net.into());
            }
            ["access-list", _, "remark", ..] | ["group-policy", ..] | ["vpn-filter", ..] => {}
            [
                "access-list",
                _,
                "extended",
                action,
                protocol,
                ref rest @ ..,
            ] => {
                let mut rest = rest.iter().copied().peekable();
                let (from, from_ports) = side(&mut rest, &groups);
                let (to, to_ports) = side(&mut rest, &groups);
                assert_eq!(rest.next(), None, "{line}");
                lines.push(Line {
                    forwards: action == "permit",
                    protocols: vec![protocol.to_owned()],
                    from,
                    from_ports,
                    to,
                    to_ports,
                });
            }
            _ => panic!("not a line of an ASA: {line}"),
        }
    }
    lines
}

/// Reads one side of an entry: an address, and ports where there are any.
fn side<'w>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'w str>>,
    groups: &HashMap<String, Vec<IpNet>>,
) -> (Vec<IpNet>, Vec<(u16, u16)>) {
    let nets = match words.next() {
        Some("any") => everything(),
        Some("object-group") => groups[words.next().expect("a name")].clone(),
        other => panic!("not an address: {other:?}"),
    };
    let port = |words: &mut std::iter::Peekable<_>| -> u16 {
        let word: Option<&str> = words.next();
        word.expect("a port").parse().expect("a number")
    };
    let ports = match words.peek() {
        Some(&"eq") => {
            words.next();
            let one = port(words);
            vec![(one, one)]
        }
        Some(&"range") => {
            words.next();
            vec![(port(words), port(words))]
        }
        _ => Vec::new(),
    };
    (nets, ports)
}

/// Reads the table of rules (RFC 4180).
fn read_csv(text: &str) -> Vec<Line> {
    let mut rows = text
        .split("\r\n")
        .filter(|row| !row.is_empty() && !row.starts_with('#'));
    assert!(
        rows.next()
            .expect("a head")
            .starts_with("order,action,reason")
    );
    let line = |row: &str| {
        let fields = fields(row);
        assert_eq!(fields.len(), 10, "{row}");
        let nets = |text: &str| -> Vec<IpNet> {
            match text {
                "any" => everything(),
                _ => text
                    .split(' ')
                    .map(|net| net.parse().expect("a prefix"))
                    .collect(),
            }
        };
        let ports = |text: &str| -> Vec<(u16, u16)> {
            let ranges = text.split(' ').filter(|it| !it.is_empty());
            let range = |text: &str| {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                (
                    first.parse().expect("a port"),
                    last.parse().expect("a port"),
                )
            };
            ranges.map(range).collect()
        };
        Line {
            forwards: fields[1] == "forward",
            protocols: fields[6].split(' ').map(str::to_owned).collect(),
            from: nets(&fields[5]),
            from_ports: ports(&fields[7]),
            to: nets(&fields[8]),
            to_ports: ports(&fields[9]),
        }
    };
    rows.map(line).collect()
}

fn fields(row: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = row.chars().peekable();
    while let Some(char) = chars.next() {
        let field = fields.last_mut().expect("never empty");
        match char {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            char => field.push(char),
        }
    }
    fields
}

/// Returns the smallest packet with ports.
fn packet(from: IpAddr, to: IpAddr, protocol: u8, from_port: u16, to_port: u16) -> Vec<u8> {
    let mut packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0];
            packet.extend([from.octets(), to.octets()].concat());
            packet
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut packet = vec![0x60, 0, 0, 0, 0, 8, protocol, 64];
            packet.extend([from.octets(), to.octets()].concat());
            packet
        }
        _ => unreachable!("both are of one family"),
    };
    packet.extend(from_port.to_be_bytes());
    packet.extend(to_port.to_be_bytes());
    packet.extend([0, 8, 0, 0]);
    packet
}

/// Compares the filter with `lines` on packets of all kinds under `policy`, of the families that the file has. FortiOS counts ports from
/// 1, since 0 is reserved (RFC 6335 §6).
pub(super) fn compare(
    policy: &Policy,
    families: Families,
    lines: &[Line],
    random: &mut Random,
    what: &str,
) {
    let places = policies::places(policy);
    let compiled = CompiledPolicy::new(policy.clone(), Generation(1)).expect("a small policy");
    let mut judge = Judge::new(Capacity::of(16));
    let mut asked = 0;
    while asked < 3_000 {
        let from = match random.one_in(4) {
            true => random.of(&places.others),
            false => random.of(&places.clients),
        };
        let to = random.of(&places.others);
        if from.is_ipv4() != to.is_ipv4() || (from.is_ipv6() && !families.has_v6()) {
            continue;
        }
        let (word, number) = random.of(&[("tcp", 6), ("udp", 17), ("sctp", 132)]);
        let (from_port, to_port) = (random.of(&places.ports), random.of(&places.ports));
        if what == rules::fortigate_policy::TARGET.name && from_port.min(to_port) == 0 {
            continue;
        }
        asked += 1;
        let packet = packet(from, to, number, from_port, to_port);
        let verdict = judge.judge_one(&compiled, Received::whole(&packet, Duration::ZERO));
        let decides = lines
            .iter()
            .find(|line| line.matches((from, from_port), (to, to_port), word));
        // An access list without an entry for a packet denies it.
        let forwards = decides.is_some_and(|line| line.forwards);
        assert_eq!(
            forwards,
            verdict.action == Action::Forward,
            "{what}: {word} {from}:{from_port} to {to}:{to_port}: {verdict}\n{policy}"
        );
    }
}

#[test]
fn the_files_for_asa_and_for_people_decide_as_the_filter_does() {
    for seed in 1_000..1_040 {
        let mut random = Random(seed);
        let policy = policies::parsed(&policies::text(&mut random));
        for target in [&rules::cisco_asa_filter::TARGET, &rules::rules_csv::TARGET] {
            let text = render(target, &policy, &Options::default())
                .expect("a whole policy")
                .text;
            let lines = if *target == rules::cisco_asa_filter::TARGET {
                read_asa(&text)
            } else {
                read_csv(&text)
            };
            compare(&policy, target.families, &lines, &mut random, target.name);
        }
    }
}
