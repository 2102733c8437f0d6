//! Cisco ASA and FTD: an access list, and the group policy that splits the tunnel by it.
//!
//! One extended list holds both families; its *source* is the network that is split, its destination any. A full tunnel
//! is `excludespecified`, a split one `tunnelspecified`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::lists::{Gateways, Lists, head, measures};
use super::ocserv::{LIMITS, form_of_clients};
use super::pushed::{Pushed, masked, read_prefix};
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::{
    Families, Form, Options, Read, ReadError, RenderError, Rendered, Target, Write, code_lines,
};

/// Cisco ASA's configuration.
pub const TARGET: Target = Target {
    name: "cisco-asa",
    about: "an access list and the group policy that uses it",
    file: "asa-split-tunnel.txt",
    is_executable: false,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::Routes(read),
};

fn write(plan: &RoutePlan, options: &Options) -> Result<Rendered, RenderError> {
    let form = form_of_clients(&TARGET, plan, options)?;
    let name = options.name.as_deref().unwrap_or("OFFRAMP");
    let is_word = !name.is_empty()
        && name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !is_word {
        return Err(RenderError::BadName {
            target: &TARGET,
            name: shorten(name),
            why: "it names an access list: letters, digits, - and _",
        });
    }
    let lists = match form {
        Form::Include => Lists::of(plan, form, form, Gateways::LeftToClient),
        Form::Exclude => Lists::out_of_everything(plan),
    };
    let (listed, word) = match form {
        Form::Include => (&lists.includes, "tunnelspecified"),
        Form::Exclude => (&lists.excludes, "excludespecified"),
    };
    let measures = measures(listed);
    let [first, second] = head(plan, &format!("{} entries", listed.len()));
    let mut text = format!(
        "! {first}\n! {second}\n! Lines of an access list add up: clear the list first where it exists.\n"
    );
    for line in listed {
        if !line.origin.is_empty() {
            let remark: String = line
                .origin
                .chars()
                .filter(char::is_ascii)
                .take(MAX_REMARK)
                .collect();
            _ = writeln!(text, "access-list {name} remark {remark}");
        }
        _ = match line.prefix {
            IpNet::V4(net) => writeln!(
                text,
                "access-list {name} extended permit ip {} {} any4",
                net.addr(),
                net.netmask()
            ),
            IpNet::V6(net) => writeln!(text, "access-list {name} extended permit ip {net} any6"),
        };
    }
    // An empty list would be refused: a full tunnel without exceptions is tunnelall.
    let word = if listed.is_empty() { "tunnelall" } else { word };
    _ = writeln!(text, "group-policy {name} attributes");
    for (has, key) in [
        (plan.families.has_v4(), "split-tunnel-policy"),
        (plan.families.has_v6(), "ipv6-split-tunnel-policy"),
    ] {
        if has {
            _ = writeln!(text, " {key} {word}");
        }
    }
    if !listed.is_empty() {
        _ = writeln!(text, " split-tunnel-network-list value {name}");
    }
    Ok(Rendered {
        text,
        form: Some(form),
        measures,
        warnings: Vec::new(),
    })
}

/// Characters of a remark; the ASA takes 100.
const MAX_REMARK: usize = 100;
/// Characters of an access list's name; a group policy's has 64.
const MAX_NAME: usize = 64;

fn read(text: &str) -> Result<Pushed, ReadError> {
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let lines: Vec<(usize, Vec<String>)> = code_lines(text, &['!'])
        .map(|(number, line)| (number, words(line)))
        .collect();
    let value = |key: &str| {
        let of_key = lines
            .iter()
            .find(|(_, words)| words.first().is_some_and(|word| word == key));
        of_key
            .and_then(|(_, words)| words.last())
            .map(String::as_str)
    };
    let policy = value("split-tunnel-policy").or_else(|| value("ipv6-split-tunnel-policy"));
    let list = value("split-tunnel-network-list");
    let mut listed = Vec::new();
    for (number, words) in &lines {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ["access-list", name, ref rest @ ..] = words[..] else {
            continue;
        };
        if list.is_some_and(|list| list != name) {
            continue;
        }
        let network = match *rest {
            ["extended", "permit", "ip", ref network @ ..]
            | ["standard", "permit", ref network @ ..] => network,
            ["remark", ..] => continue,
            _ => {
                return Err(ReadError::new(*number, "only `permit ip` splits a tunnel"));
            }
        };
        listed.push(read_network(*number, network)?);
    }
    let mut pushed = Pushed::default();
    match policy {
        Some("excludespecified") => {
            pushed
                .includes
                .extend([false, true].map(Pushed::everything));
            pushed.excludes = listed;
        }
        Some("tunnelspecified") => pushed.includes = listed,
        Some(_) | None => pushed
            .includes
            .extend([false, true].map(Pushed::everything)),
    }
    Ok(pushed)
}

/// Reads `A MASK`, `host A`, a prefix of IPv6, `any4`, `any6`.
fn read_network(line: usize, words: &[&str]) -> Result<IpNet, ReadError> {
    match words {
        ["any4", ..] => Ok(Pushed::everything(false)),
        ["any6", ..] => Ok(Pushed::everything(true)),
        ["host", address, ..] => read_prefix(line, address),
        [prefix, ..] if prefix.contains(':') => read_prefix(line, prefix),
        [address, mask, ..] => {
            let address: IpAddr = address.parse().map_err(|_| {
                ReadError::new(line, format!("`{}` is not an address", shorten(address)))
            })?;
            let mask: Ipv4Addr = mask.parse().map_err(|_| {
                ReadError::new(line, format!("`{}` is not a netmask", shorten(mask)))
            })?;
            match address {
                IpAddr::V4(address) => masked(line, address, mask),
                IpAddr::V6(_) => Err(ReadError::new(line, "an IPv6 address with a netmask")),
            }
        }
        _ => Err(ReadError::new(line, "a line without a network")),
    }
}
