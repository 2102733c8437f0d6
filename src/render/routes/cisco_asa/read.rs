//! Reads what a group policy of an ASA splits the tunnel by, from a configuration that may have many of them.
//!
//! ```text
//!  object-group network TEAMS ─┐
//!  object network EDGE ────────┴▶ access-list EX … ◀── group-policy REMOTE attributes
//!                                                        split-tunnel-policy excludespecified
//!                                                        split-tunnel-network-list value EX
//! ```
//!
//! A group policy takes what it does not say from the one that it was made from, and from `DfltGrpPolicy`, whose own default is
//! `tunnelall`. A client has one group policy, so a file with several is refused until one of them is named.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::super::pushed::{Pushed, masked, read_prefix};
use crate::address::PrefixSet;
use crate::message::shorten;
use crate::render::ReadError;

/// Reads the group policy `name`, or the only one that there is.
pub(super) fn read(text: &str, name: Option<&str>) -> Result<Pushed, ReadError> {
    let config = Config::parse(text);
    let policy = config.policy(name)?;
    let split = config.value(policy, "split-tunnel-policy");
    let split_v6 = config.value(policy, "ipv6-split-tunnel-policy");
    // Where IPv6 has no word of its own, clients have no addresses of it.
    let modes = [
        Mode::of(split.as_ref().or(split_v6.as_ref()))?,
        Mode::of(split_v6.as_ref().or(split.as_ref()))?,
    ];
    let mut pushed = Pushed::default();
    for (mode, is_v6) in modes.into_iter().zip([false, true]) {
        if mode != Mode::Specified {
            pushed.includes.push(Pushed::everything(is_v6));
        }
    }
    if modes != [Mode::All; 2] {
        for prefix in config.network_list(policy)? {
            match modes[usize::from(prefix.addr().is_ipv6())] {
                Mode::All => {}
                Mode::Specified => pushed.includes.push(prefix),
                Mode::Excluded => pushed.excludes.push(prefix),
            }
        }
    }
    pushed.left_out = config.dynamic(policy);
    Ok(pushed)
}

/// Part of a family that enters the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    All,
    Specified,
    Excluded,
}

impl Mode {
    fn of(line: Option<&Line<'_>>) -> Result<Self, ReadError> {
        let Some(line) = line else {
            return Ok(Self::All);
        };
        match line.words.last() {
            Some(&"tunnelall") => Ok(Self::All),
            Some(&"tunnelspecified") => Ok(Self::Specified),
            Some(&"excludespecified") => Ok(Self::Excluded),
            word => Err(line.error(format!(
                "`{}` is no split tunnel policy: tunnelall, tunnelspecified or excludespecified",
                shorten(word.unwrap_or(&""))
            ))),
        }
    }
}

/// A line of the configuration, in words.
#[derive(Debug, Clone)]
pub(in crate::render) struct Line<'t> {
    number: usize,
    pub(in crate::render) words: Vec<&'t str>,
}

impl Line<'_> {
    pub(in crate::render) fn error(&self, message: impl Into<String>) -> ReadError {
        ReadError::new(self.number, message)
    }
}

/// The parts of a configuration that bear on split tunnels.
#[derive(Debug, Default)]
pub(in crate::render) struct Config<'t> {
    /// Group policies, with the lines of their attributes.
    policies: BTreeMap<&'t str, Vec<Line<'t>>>,
    /// The group policy that another was made from.
    made_from: BTreeMap<&'t str, &'t str>,
    /// Access lists, in the order of their lines.
    lists: BTreeMap<&'t str, Vec<Line<'t>>>,
    /// Values of `anyconnect-custom-data`, by attribute and name, in the order of their lines.
    data: BTreeMap<(&'t str, &'t str), Vec<Line<'t>>>,
    /// `object network` and `object-group network`.
    objects: BTreeMap<&'t str, Vec<Line<'t>>>,
    last_line: usize,
}

/// The block that indented lines belong to.
#[derive(Debug, Clone, Copy)]
enum Block<'t> {
    None,
    Policy(&'t str),
    Object(&'t str),
}

impl<'t> Config<'t> {
    pub(in crate::render) fn parse(text: &'t str) -> Self {
        let mut config = Self::default();
        let mut block = Block::None;
        for (at, text) in text.lines().enumerate() {
            let words: Vec<&str> = text.split_whitespace().collect();
            let number = at + 1;
            config.last_line = number;
            if words.is_empty() || words[0].starts_with('!') {
                continue;
            }
            let line = Line { number, words };
            let is_part = text.starts_with(char::is_whitespace)
                || matches!(block, Block::Policy(_)) && is_attribute(line.words[0])
                || matches!(block, Block::Object(_)) && is_member(line.words[0]);
            match (block, is_part) {
                (Block::Policy(name), true) => {
                    config.policies.entry(name).or_default().push(line);
                }
                (Block::Object(name), true) => config.objects.entry(name).or_default().push(line),
                (Block::None, true) | (_, false) => block = config.begin(line),
            }
        }
        config
    }

    /// Takes a line that stands by itself, and returns the block that it begins.
    fn begin(&mut self, line: Line<'t>) -> Block<'t> {
        match line.words[..] {
            ["group-policy", name, "attributes"] => {
                self.policies.entry(name).or_default();
                Block::Policy(name)
            }
            ["group-policy", name, "internal", ref rest @ ..] => {
                self.policies.entry(name).or_default();
                if let ["from", other] = rest {
                    self.made_from.insert(name, other);
                }
                Block::None
            }
            ["object" | "object-group", "network", name] => {
                self.objects.entry(name).or_default();
                Block::Object(name)
            }
            ["anyconnect-custom-data", attribute, name, ..] => {
                self.data.entry((attribute, name)).or_default().push(line);
                Block::None
            }
            ["access-list", name, ..] => {
                self.lists.entry(name).or_default().push(line);
                Block::None
            }
            _ => Block::None,
        }
    }

    /// The group policy that is meant.
    pub(in crate::render) fn policy(&self, name: Option<&str>) -> Result<&'t str, ReadError> {
        let last = |message: String| ReadError::new(self.last_line.max(1), message);
        let names: Vec<&str> = self.policies.keys().copied().collect();
        let listed = names.join(", ");
        if let Some(name) = name {
            let same = names.iter().find(|known| **known == name);
            return same.copied().ok_or_else(|| {
                last(match &names[..] {
                    [] => format!(
                        "there is no group policy `{}`, nor any other",
                        shorten(name)
                    ),
                    _ => format!(
                        "there is no group policy `{}`, but: {listed}",
                        shorten(name)
                    ),
                })
            });
        }
        // The default one alone is whom clients without another have.
        let own = names.iter().filter(|name| **name != DEFAULT);
        match (&own.copied().collect::<Vec<_>>()[..], &names[..]) {
            ([one], _) | ([], [one]) => Ok(one),
            ([], _) => Err(last(
                "there is no `group-policy NAME attributes`".to_owned(),
            )),
            (several, _) => Err(last(format!(
                "there are {} group policies, and a client has one: name it with --name: {}",
                several.len(),
                several.join(", ")
            ))),
        }
    }

    /// The line of an attribute of a group policy: its own, or an inherited one.
    fn value(&self, policy: &str, key: &str) -> Option<Line<'t>> {
        self.attribute(policy, &[key])
    }

    /// As [`Self::value`], of an attribute that begins with several words.
    pub(in crate::render) fn attribute(&self, policy: &str, key: &[&str]) -> Option<Line<'t>> {
        let mut policy = Some(policy);
        let mut steps = 0;
        while let Some(name) = policy.filter(|_| steps < MAX_DEPTH) {
            let mut lines = self.policies.get(name).into_iter().flatten();
            // A later line replaces an earlier one.
            let own = lines.rfind(|line| line.words.starts_with(key));
            if own.is_some() {
                return own.cloned();
            }
            policy = match self.made_from.get(name) {
                Some(other) => Some(other),
                None => (name != DEFAULT).then_some(DEFAULT),
            };
            steps += 1;
        }
        None
    }

    /// The value of a custom attribute: its lines joined as they are.
    pub(in crate::render) fn custom_data(&self, attribute: &str, name: &str) -> Option<String> {
        let lines = self.data.get(&(attribute, name))?;
        let values = lines.iter().map(|line| line.words[3..].join(" "));
        Some(values.collect())
    }

    /// The lines by which names, not addresses, split the tunnel: they are not compared.
    fn dynamic(&self, policy: &str) -> Vec<(usize, String)> {
        let lines = self.policies.get(policy).into_iter().flatten();
        let dynamic = lines.filter(|line| {
            let mut words = line.words.iter();
            words.any(|word| word.starts_with("dynamic-split-"))
        });
        dynamic
            .map(|line| (line.number, line.words.join(" ")))
            .collect()
    }

    /// The networks of the list that the policy splits the tunnel by.
    fn network_list(&self, policy: &str) -> Result<Vec<IpNet>, ReadError> {
        let Some(line) = self.value(policy, "split-tunnel-network-list") else {
            return Err(ReadError::new(
                self.last_line.max(1),
                format!(
                    "group policy `{}` splits the tunnel by no list: split-tunnel-network-list value LIST",
                    shorten(policy)
                ),
            ));
        };
        let name = match line.words[..] {
            [_, "value", name] => name,
            _ => return Err(line.error("write split-tunnel-network-list value LIST")),
        };
        let Some(entries) = self.lists.get(name) else {
            let message = format!("there is no access list `{}` in this file", shorten(name));
            return Err(line.error(message));
        };
        let mut networks = Vec::new();
        for entry in entries {
            networks.extend(self.entry(entry)?);
        }
        Ok(networks)
    }

    /// The networks of a line of an access list.
    fn entry(&self, line: &Line<'_>) -> Result<Vec<IpNet>, ReadError> {
        let mut words = &line.words[2..];
        if let ["line", _, rest @ ..] = words {
            words = rest;
        }
        match words {
            ["remark", ..] => Ok(Vec::new()),
            [.., "inactive"] => Ok(Vec::new()),
            ["standard", "permit", network @ ..] => {
                let (networks, rest) = self.network(line, network)?;
                match rest {
                    [] => Ok(networks),
                    _ => Err(line.error("a standard entry has one network: host A, or A MASK")),
                }
            }
            ["extended", "permit", "ip", networks @ ..] | ["permit", "ip", networks @ ..] => {
                let (networks, destination) = self.network(line, networks)?;
                match destination {
                    ["any" | "any4" | "any6", ..] => Ok(networks),
                    _ => Err(line.error(
                        "the source of an entry is the network that is split, and its destination is any",
                    )),
                }
            }
            _ => Err(line.error("only `permit ip` splits a tunnel")),
        }
    }

    /// Reads the first network of `words`, and returns what is behind it.
    fn network<'w>(
        &self,
        line: &Line<'_>,
        words: &'w [&'t str],
    ) -> Result<(Vec<IpNet>, &'w [&'t str]), ReadError> {
        match words {
            ["any", rest @ ..] => Ok((
                vec![Pushed::everything(false), Pushed::everything(true)],
                rest,
            )),
            ["any4", rest @ ..] => Ok((vec![Pushed::everything(false)], rest)),
            ["any6", rest @ ..] => Ok((vec![Pushed::everything(true)], rest)),
            ["host", address, rest @ ..] => Ok((vec![read_prefix(line.number, address)?], rest)),
            ["object" | "object-group", name, rest @ ..] => {
                let mut networks = Vec::new();
                self.members(line, name, 0, &mut networks)?;
                Ok((networks, rest))
            }
            [prefix, rest @ ..] if prefix.contains(':') => {
                Ok((vec![read_prefix(line.number, prefix)?], rest))
            }
            [address, mask, rest @ ..] => {
                let wrong = |what: &str, text: &str| {
                    line.error(format!("`{}` is not {what}", shorten(text)))
                };
                let parsed: Ipv4Addr = address.parse().map_err(|_| wrong("an address", address))?;
                let mask: Ipv4Addr = mask.parse().map_err(|_| wrong("a netmask", mask))?;
                Ok((vec![masked(line.number, parsed, mask)?], rest))
            }
            _ => Err(line.error("a line without a network")),
        }
    }

    /// Adds the networks of an object or a group of them.
    fn members(
        &self,
        line: &Line<'_>,
        name: &str,
        depth: usize,
        networks: &mut Vec<IpNet>,
    ) -> Result<(), ReadError> {
        let Some(members) = self.objects.get(name) else {
            let message = format!("there is no object `{}` in this file", shorten(name));
            return Err(line.error(message));
        };
        if depth > MAX_DEPTH || networks.len() > MAX_NETWORKS {
            let message = format!("object `{}` contains itself, or too much", shorten(name));
            return Err(line.error(message));
        }
        for member in members {
            match member.words[..] {
                ["description", ..] => {}
                ["network-object", "object", other] | ["group-object", other] => {
                    self.members(member, other, depth + 1, networks)?;
                }
                ["network-object" | "subnet", ref network @ ..] => {
                    networks.extend(self.network(member, network)?.0);
                }
                ["host", address] => networks.push(read_prefix(member.number, address)?),
                ["range", first, last] => networks.extend(range(member, first, last)?),
                _ => {
                    let text = shorten(&member.words.join(" "));
                    return Err(
                        member.error(format!("`{text}` has no addresses that could be compared"))
                    );
                }
            }
        }
        Ok(())
    }
}

/// The prefixes of an object that is a range.
fn range(line: &Line<'_>, first: &str, last: &str) -> Result<Vec<IpNet>, ReadError> {
    let address = |text: &str| {
        text.parse::<IpAddr>()
            .map_err(|_| line.error(format!("`{}` is not an address", shorten(text))))
    };
    let set = PrefixSet::of_spans([(address(first)?, address(last)?)]);
    if set.is_empty() {
        return Err(line.error("the range has no address: its first one is above its last"));
    }
    Ok(set.prefixes().collect())
}

/// Returns `true` for attributes that are read, which may stand without indent in a file that was pasted together.
fn is_attribute(word: &str) -> bool {
    matches!(
        word,
        "split-tunnel-policy"
            | "ipv6-split-tunnel-policy"
            | "split-tunnel-network-list"
            | "anyconnect-custom"
    )
}

/// Returns `true` for the members of objects, likewise.
fn is_member(word: &str) -> bool {
    matches!(
        word,
        "network-object" | "group-object" | "subnet" | "range" | "host" | "fqdn" | "description"
    )
}

/// The group policy that all others inherit from.
const DEFAULT: &str = "DfltGrpPolicy";
/// Nested groups, and group policies made from others: more than anybody writes.
const MAX_DEPTH: usize = 16;
/// Networks of one entry, beyond which a file is not one of an ASA.
const MAX_NETWORKS: usize = 100_000;
