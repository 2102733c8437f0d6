//! Reads the tables of `iptables-legacy` from the kernel (linux/netfilter_ipv4/ip_tables.h, ip6_tables.h).
//!
//! The program itself takes CAP_NET_RAW, which a running gateway has given up; the kernel asks for CAP_NET_ADMIN only.
//!
//! ```text
//!  entry   match…   target   entry   match…   target   …      one blob; jumps are offsets in it
//!  │       │        └ its size, a name, and data: a verdict, an offset, or what an extension keeps
//!  │       └ its size, a name, and data
//!  └ addresses, interfaces, protocol; the offsets of its target and of the next entry
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::UdpSocket;

use nix::libc;

use super::addresses;
use super::chain::{
    Chain, Condition, Direction, Hook, HookPoint, Policy, Rule, Step, Table, Tool, Tracking,
    Translation,
};
use super::nft_list::Numbers;
use super::save::priority;
use crate::address::Family;
use crate::gateway::sys;

/// A version of the tables.
#[derive(Debug, Clone, Copy)]
struct Version {
    family: &'static str,
    /// The file that lists the tables.
    names: &'static str,
    level: libc::c_int,
    /// An address for a socket of the family.
    any: &'static str,
    /// Offsets in an entry.
    layout: Layout,
}

/// Offsets in an entry (`struct ipt_entry`, `struct ip6t_entry`).
#[derive(Debug, Clone, Copy)]
struct Layout {
    interfaces: usize,
    protocol: usize,
    flags: usize,
    target: usize,
    matches: usize,
}

const VERSIONS: [Version; 2] = [
    Version {
        family: "ip",
        names: "/proc/net/ip_tables_names",
        level: libc::IPPROTO_IP,
        any: "0.0.0.0:0",
        layout: Layout {
            interfaces: 16,
            protocol: 80,
            flags: 82,
            target: 88,
            matches: 112,
        },
    },
    Version {
        family: "ip6",
        names: "/proc/net/ip6_tables_names",
        level: libc::IPPROTO_IPV6,
        any: "[::]:0",
        layout: Layout {
            interfaces: 64,
            protocol: 128,
            flags: 131,
            target: 140,
            matches: 168,
        },
    },
];

/// Reads all tables of both families.
///
/// # Errors
/// The table that could not be read, and why.
pub(super) fn read(numbers: &mut Numbers) -> Result<Vec<Chain>, String> {
    let mut chains = Vec::new();
    for version in VERSIONS {
        for name in names(version) {
            match read_table(version, &name) {
                Ok(Some((info, blob))) => {
                    let table = Table {
                        family: version.family.to_owned(),
                        name,
                    };
                    let blob = Blob {
                        bytes: &blob,
                        layout: version.layout,
                    };
                    chains.extend(blob.chains(&table, info, numbers));
                }
                Ok(None) => {}
                Err(error) => return Err(format!("{} {name}: {error}", version.family)),
            }
        }
    }
    Ok(chains)
}

/// The tables that exist; where they are not listed for this user, those that may.
fn names(version: Version) -> Vec<String> {
    match fs::read_to_string(version.names) {
        Ok(names) => names.lines().map(str::to_owned).collect(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            ["raw", "mangle", "nat", "filter"].map(str::to_owned).into()
        }
        // The kernel's module is not loaded.
        Err(_) => Vec::new(),
    }
}

/// The place of each hook's chain in a table.
#[derive(Debug, Clone, Copy)]
struct Info {
    valid: u32,
    entries: [u32; 5],
    underflows: [u32; 5],
    size: u32,
}

/// Reads one table; `None` if there is none. Asks in a way that loads no module.
fn read_table(version: Version, name: &str) -> io::Result<Option<(Info, Vec<u8>)>> {
    let socket = UdpSocket::bind(version.any)?;
    let mut header = [0; NAME + 8];
    header[..name.len()].copy_from_slice(name.as_bytes());
    let exists = sys::socket_option(&socket, version.level, GET_ENTRIES, &mut header);
    match exists.map_err(|error| error.raw_os_error()) {
        Err(Some(libc::ENOENT | libc::ENOPROTOOPT)) => return Ok(None),
        // It is there, and of another size.
        Err(Some(libc::EAGAIN)) | Ok(_) => {}
        Err(code) => {
            return Err(code.map_or(io::ErrorKind::Other.into(), io::Error::from_raw_os_error));
        }
    }
    let mut info = [0; NAME + 4 * 13];
    info[..name.len()].copy_from_slice(name.as_bytes());
    sys::socket_option(&socket, version.level, GET_INFO, &mut info)?;
    let word = |index: usize| u32_at(&info, NAME + 4 * index).unwrap_or(0);
    let info = Info {
        valid: word(0),
        entries: std::array::from_fn(|hook| word(1 + hook)),
        underflows: std::array::from_fn(|hook| word(6 + hook)),
        size: word(12),
    };
    let mut blob = vec![0; header.len() + info.size as usize];
    blob[..name.len()].copy_from_slice(name.as_bytes());
    blob[NAME..NAME + 4].copy_from_slice(&info.size.to_ne_bytes());
    sys::socket_option(&socket, version.level, GET_ENTRIES, &mut blob)?;
    Ok(Some((info, blob.split_off(header.len()))))
}

/// The entries of a table.
#[derive(Debug, Clone, Copy)]
struct Blob<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

/// An entry at its offset.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    at: usize,
    bytes: &'a [u8],
    target: usize,
}

impl<'a> Blob<'a> {
    fn entries(self) -> impl Iterator<Item = Entry<'a>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let bytes = self.bytes.get(at..)?;
            let target = usize::from(u16_at(bytes, self.layout.target)?);
            let next = usize::from(u16_at(bytes, self.layout.target + 2)?);
            let entry = Entry {
                at,
                bytes: bytes.get(..next).filter(|it| !it.is_empty())?,
                target,
            };
            at += next;
            Some(entry)
        })
    }

    /// The chains of the table; those that are called by others have their offset as name where they have no other.
    fn chains(self, table: &Table, info: Info, numbers: &mut Numbers) -> Vec<Chain> {
        let mut chains: Vec<Chain> = Vec::new();
        let mut called = BTreeMap::new();
        // The first pass finds the names of chains, by the offset that jumps lead to.
        for entry in self.entries() {
            if let Some(("ERROR", data)) = entry.target() {
                called.insert(entry.at + entry.bytes.len(), text(data));
            }
        }
        for entry in self.entries() {
            let at = u32::try_from(entry.at).unwrap_or(u32::MAX);
            let hook =
                (0..5).find(|hook| info.valid & (1 << hook) != 0 && info.entries[*hook] == at);
            if let Some(hook) = hook {
                chains.push(chain(table, HOOKS[hook].0, HOOKS[hook].1));
            }
            if let Some(("ERROR", data)) = entry.target() {
                chains.push(chain(table, text(data), None));
                continue;
            }
            let Some(current) = chains.last_mut() else {
                continue;
            };
            let rule = self.rule(entry, &called, numbers);
            let ends_hook = current.hook.is_some() && info.underflows.contains(&at);
            if ends_hook {
                if rule.step == Step::Drop {
                    current.policy = Policy::Drop;
                }
            } else {
                current.rules.push(rule);
            }
        }
        // The last entry marks the end of the table.
        chains.pop();
        chains
    }

    fn rule(self, entry: Entry<'_>, called: &BTreeMap<usize, &str>, numbers: &mut Numbers) -> Rule {
        let mut rule = Rule {
            conditions: self.conditions_of_head(entry, numbers),
            protocol: match u16_at(entry.bytes, self.layout.protocol) {
                Some(6) => Some("tcp".to_owned()),
                Some(17) => Some("udp".to_owned()),
                _ => None,
            },
            ..Rule::default()
        };
        let mut at = self.layout.matches;
        while at < entry.target {
            let Some((size, name, data)) = extension(entry.bytes, at) else {
                break;
            };
            if matches!(name, "tcp" | "udp")
                && let Some(ports) = u16_at(data, 4).zip(u16_at(data, 6))
                && ports != (0, u16::MAX)
            {
                rule.ports = vec![ports];
            }
            rule.conditions.extend(condition_of(name, data, numbers));
            at += size;
        }
        let Some((name, data)) = entry.target() else {
            return rule;
        };
        match name {
            "" => rule.step = self.standard_step(entry, data, called),
            "REJECT" => rule.step = Step::Drop,
            "MARK" | "CONNMARK" => rule.sets_mark = true,
            "TCPMSS" => rule.sets_segment_size = true,
            "DNAT" => rule.step = Step::Translate(destination(data, self.layout.flags == 82)),
            "REDIRECT" => rule.step = Step::Translate(Translation::Redirect),
            "MASQUERADE" | "SNAT" | "NETMAP" => rule.step = Step::Translate(Translation::Source),
            _ => {}
        }
        rule.text = match name {
            "" => "iptables-legacy-save shows it".to_owned(),
            name => format!("-j {name}, iptables-legacy-save shows it"),
        };
        rule
    }

    /// Interfaces, addresses and the protocol.
    fn conditions_of_head(self, entry: Entry<'_>, numbers: &mut Numbers) -> Vec<Condition> {
        let Layout {
            interfaces,
            protocol,
            flags,
            ..
        } = self.layout;
        let inverted = entry.bytes.get(flags + 1).copied().unwrap_or(0);
        let mut conditions = Vec::new();
        for (offset, direction, bit) in [(0, Direction::In, 1), (16, Direction::Out, 2)] {
            let name = entry.bytes.get(interfaces + offset..).unwrap_or_default();
            let mask = entry
                .bytes
                .get(interfaces + offset + 32..)
                .unwrap_or_default();
            let Some(pattern) = interface(name, mask) else {
                continue;
            };
            let condition = Condition::Interface(direction, BTreeSet::from([pattern]));
            conditions.push(condition.negated_if(inverted & bit != 0));
        }
        // Source, destination, and the mask of each.
        let mut addresses = entry.bytes.get(..interfaces).unwrap_or_default().to_vec();
        let width = interfaces / 4;
        let (source, mask) = (0..width, 2 * width..3 * width);
        if let (Some(from), Some(under)) =
            (addresses.get(source.clone()), addresses.get(mask.clone()))
            && under.iter().any(|byte| *byte != 0)
            && let Some(ranges) = addresses::of_mask(from, under)
        {
            let other = numbers.condition(format!("{from:?} {under:?}"));
            let condition = addresses::source(Some(ranges), other);
            conditions.push(condition.negated_if(inverted & INVERTED_SOURCE != 0));
            addresses[source].fill(0);
            addresses[mask].fill(0);
        }
        let rest = entry.bytes.get(protocol..flags + 2).unwrap_or_default();
        // A packet of any address and protocol meets an entry of zeros.
        if addresses.iter().any(|byte| *byte != 0) || rest[..2] != [0, 0] {
            let mut rest = rest.to_vec();
            rest.truncate(2);
            let rest_inverted = inverted & !(3 | INVERTED_SOURCE);
            let text = format!("{addresses:?} {rest:?} {rest_inverted}");
            conditions.push(numbers.condition(text));
        }
        conditions
    }

    /// A verdict of the kernel's own, or the chain at an offset.
    fn standard_step(self, entry: Entry<'_>, data: &[u8], called: &BTreeMap<usize, &str>) -> Step {
        let verdict = u32_at(data, 0).unwrap_or(0).cast_signed();
        let is_goto = entry
            .bytes
            .get(self.layout.flags)
            .is_some_and(|it| it & GOTO != 0);
        match verdict {
            DROP => Step::Drop,
            ACCEPT | QUEUE => Step::Accept,
            RETURN => Step::Return,
            offset => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                match called.get(&offset) {
                    Some(name) if is_goto => Step::Goto((*name).to_owned()),
                    Some(name) => Step::Jump((*name).to_owned()),
                    // A rule without a target leads to the next one.
                    None => Step::Continue,
                }
            }
        }
    }
}

impl<'a> Entry<'a> {
    /// The name of its target, and the data.
    fn target(self) -> Option<(&'a str, &'a [u8])> {
        extension(self.bytes, self.target).map(|(_, name, data)| (name, data))
    }
}

fn chain(table: &Table, name: &str, point: Option<HookPoint>) -> Chain {
    Chain {
        tool: Tool::IptablesLegacy,
        table: table.clone(),
        name: name.to_owned(),
        hook: point.map(|point| Hook {
            point,
            priority: priority(&table.name, point),
            is_nat: table.name == "nat",
        }),
        policy: Policy::Accept,
        rules: Vec::new(),
    }
}

/// The size, name and data of a match or a target at `at`.
fn extension(bytes: &[u8], at: usize) -> Option<(usize, &str, &[u8])> {
    let bytes = bytes.get(at..)?;
    let size = usize::from(u16_at(bytes, 0)?);
    let data = bytes.get(HEADER..size)?;
    Some((size, text(&bytes[2..HEADER - 1]), data))
}

/// The condition of a match; `None` for one that is always met.
fn condition_of(name: &str, data: &[u8], numbers: &mut Numbers) -> Option<Condition> {
    let known = match name {
        "comment" => return None,
        "rpfilter" => {
            let flags = data.first().copied().unwrap_or(0);
            let found = Condition::NoWayBack {
                with_mark: flags & 2 != 0,
            }
            .negated_if(true);
            Some(found.negated_if(flags & 8 != 0))
        }
        "conntrack" | "state" => tracking(name, data),
        _ => None,
    };
    Some(known.unwrap_or_else(|| numbers.condition(format!("{name} {data:?}"))))
}

/// The states that a match asks for, if it asks for nothing else (`struct xt_conntrack_mtinfo3`, `struct xt_state_info`).
fn tracking(name: &str, data: &[u8]) -> Option<Condition> {
    let (mask, is_negated) = if name == "state" {
        (u32_at(data, 0)?, false)
    } else {
        let (asked, inverted) = (u16_at(data, 146)?, u16_at(data, 148)?);
        if asked != 1 {
            return None;
        }
        (u32::from(u16_at(data, 150)?), inverted & 1 != 0)
    };
    let states = [
        (1, Tracking::Invalid),
        (2, Tracking::Established),
        (4, Tracking::Related),
        (8, Tracking::New),
        // Of `state`, and of `conntrack`.
        (64, Tracking::Untracked),
        (256, Tracking::Untracked),
    ];
    let asked = states.into_iter().filter(|(bit, _)| mask & bit != 0);
    Some(Condition::Tracking(asked.map(|(_, state)| state).collect()).negated_if(is_negated))
}

/// The new destination in the data of a DNAT target, if it is in the form of `iptables` (`struct nf_nat_ipv4_multi_range_compat`
/// or `struct nf_nat_range2`).
fn destination(data: &[u8], is_v4: bool) -> Translation {
    let read = || -> Option<Translation> {
        let of_old = is_v4 && data.len() <= 24;
        let (flags, first, last, ports) = if of_old {
            (u32_at(data, 4)?, data.get(8..12)?, data.get(12..16)?, 16)
        } else {
            let width = if is_v4 { 4 } else { 16 };
            let (first, last) = (data.get(4..4 + width)?, data.get(20..20 + width)?);
            (u32_at(data, 0)?, first, last, 36)
        };
        let address = |bytes: &[u8]| -> Option<std::net::IpAddr> {
            match bytes.len() {
                4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
                _ => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
            }
        };
        let port = |at: usize| Some(u16::from_be(u16_at(data, at)?));
        Some(Translation::Destination {
            addresses: if flags & 1 != 0 {
                Some((address(first)?, address(last)?))
            } else {
                None
            },
            ports: if flags & 2 != 0 {
                Some((port(ports)?, port(ports + 2)?))
            } else {
                None
            },
        })
    };
    read().unwrap_or(Translation::Destination {
        addresses: None,
        ports: None,
    })
}

/// The pattern of a name and its mask; `None` for any interface.
fn interface(name: &[u8], mask: &[u8]) -> Option<String> {
    let length = mask.iter().take(16).take_while(|byte| **byte != 0).count();
    let compared = name.get(..length)?;
    match compared.iter().position(|byte| *byte == 0) {
        Some(0) => None,
        Some(end) => Some(String::from_utf8_lossy(&compared[..end]).into_owned()),
        None if length == 0 => None,
        None => Some(format!("{}*", String::from_utf8_lossy(compared))),
    }
}

/// The text before the first NUL.
fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|byte| *byte == 0);
    std::str::from_utf8(&bytes[..end.unwrap_or(bytes.len())]).unwrap_or("?")
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// The chains of the kernel's hooks, by number (`NF_INET_*`).
const HOOKS: [(&str, Option<HookPoint>); 5] = [
    ("PREROUTING", Some(HookPoint::Prerouting)),
    ("INPUT", None),
    ("FORWARD", Some(HookPoint::Forward)),
    ("OUTPUT", None),
    ("POSTROUTING", Some(HookPoint::Postrouting)),
];
/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`, the same for IPv6.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// `XT_TABLE_MAXNAMELEN`.
const NAME: usize = 32;
/// `struct xt_entry_match`, `struct xt_entry_target`: size, name, revision.
const HEADER: usize = 32;
/// `IPT_INV_SRCIP`.
const INVERTED_SOURCE: u8 = 8;
/// `IPT_F_GOTO`.
const GOTO: u8 = 2;
/// Verdicts are `-NF_* - 1`; `XT_RETURN` is `-NF_REPEAT - 1`.
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
const QUEUE: i32 = -4;
const RETURN: i32 = -5;

/// The family of a table.
pub(super) fn family_of(table: &Table) -> Option<Family> {
    match table.family.as_str() {
        "ip" => Some(Family::V4),
        "ip6" => Some(Family::V6),
        _ => None,
    }
}
