//! Cisco ASA and FTD: an access list, and the group policy that splits the tunnel by it.
//!
//! One extended list holds both families; its *source* is the network that is split, its destination any. A full tunnel
//! is `excludespecified`, a split one `tunnelspecified`. The name is that of the group policy, as for the target
//! `cisco-asa-filter`, since a client has one; each of the two has a list of its own.

pub(in crate::render) mod read;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use ipnet::IpNet;

use super::lists::{Gateways, Lists, head, measures};
use super::ocserv::{LIMITS, form_of_clients};
use crate::message::shorten;
use crate::plan::RoutePlan;
use crate::render::{Families, Form, Options, Read, RenderError, Rendered, Target, Write};

/// Cisco ASA's configuration.
pub const TARGET: Target = Target {
    name: "cisco-asa",
    about: "an access list and the group policy that uses it",
    accepted_by: "a second reader; no ASA was tried",
    caveats: "lines of an access list add up: clear the list first where it exists",
    file: "asa-split-tunnel.txt",
    is_executable: false,
    families: Families::Both,
    limits: LIMITS,
    write: Write::Routes(write),
    read: Read::NamedRoutes(read::read),
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
            why: "it names a group policy: letters, digits, - and _, at most 64",
        });
    }
    let list = format!("{name}-SPLIT");
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
        "! {first}\n! {second}\n! Lines of an access list add up: clear the list first where it exists.\n\
         ! The rules of the filter for the same clients: the target cisco-asa-filter, with the same name.\n"
    );
    for line in listed {
        if !line.origin.is_empty() {
            let remark: String = line
                .origin
                .chars()
                .filter(char::is_ascii)
                .take(MAX_REMARK)
                .collect();
            _ = writeln!(text, "access-list {list} remark {remark}");
        }
        _ = match line.prefix {
            IpNet::V4(net) => writeln!(
                text,
                "access-list {list} extended permit ip {} {} any4",
                net.addr(),
                net.netmask()
            ),
            IpNet::V6(net) => writeln!(text, "access-list {list} extended permit ip {net} any6"),
        };
    }
    // An empty list would be refused: a full tunnel without exceptions is tunnelall.
    let word = if listed.is_empty() { "tunnelall" } else { word };
    _ = writeln!(
        text,
        "group-policy {name} internal\ngroup-policy {name} attributes"
    );
    for (has, key) in [
        (plan.families.has_v4(), "split-tunnel-policy"),
        (plan.families.has_v6(), "ipv6-split-tunnel-policy"),
    ] {
        if has {
            _ = writeln!(text, " {key} {word}");
        }
    }
    if !listed.is_empty() {
        _ = writeln!(text, " split-tunnel-network-list value {list}");
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
/// Characters of a group policy's name; an access list's has 241.
const MAX_NAME: usize = 64;
